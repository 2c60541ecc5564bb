"""The room `window:` on a desktop of the tests' own: what is really seen there, and what its user can do.

The desktop is white and 640x480, so that black bars, and the desktop beside a window, are told apart.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desktop import WHITE, Desktop, running
from desktop import reason as no_desktop
from small_worlds import make_world

from l2s_node import texture, video
from l2s_node.doctor import _rooms
from l2s_node.errors import ClosedError, MissingError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.listing import listing
from l2s_node.texture import Image
from l2s_node.video import _glfw, window
from l2s_node.video.base import Options

CORNERS = np.array([[(200, 40, 60), (30, 180, 70)], [(50, 60, 210), (230, 220, 40)]], np.uint8)
"""RGB of the picture's quarters, top row first."""
BLACK = (0, 0, 0)


class Show:
    """Windows, and a picture of the four colours that they are given."""

    def __init__(self) -> None:
        self.sinks: list[window.Sink] = []
        self.number = 0

    def open(self, address: str, size: tuple[int, int] = (320, 180), **options: Any) -> window.Sink:
        made = window.Sink(address, Options(size=size, **options))
        self.sinks.append(made)
        return made

    def frame(self, size: tuple[int, int] = (320, 180), rate: int = 30) -> Frame:
        pixels = np.full((size[1], size[0], 4), 255, np.uint8)
        pixels[..., :3] = np.kron(CORNERS, np.ones((size[1] // 2, size[0] // 2, 1), np.uint8))
        image = Image(texture.gl(), size)  # goes with the context
        self.number += 1
        made = image.write(np.ascontiguousarray(pixels[::-1]))  # OpenGL's way up, as sinks are given it
        upright = dataclasses.replace(made, flipped=False)
        return Frame((), PixelFormat.RGBX, *size, time.monotonic(), self.number, Fraction(rate), upright)

    def until(self, seen: Callable[[], object], size: tuple[int, int] = (320, 180)) -> None:
        """Show the picture on all that is open until something can be seen."""
        frame, end = self.frame(size), time.monotonic() + 10
        while not seen():
            assert time.monotonic() < end, "waited in vain"
            for sink in self.sinks:
                sink.write(frame)
            time.sleep(0.01)

    def close(self) -> None:
        while self.sinks:
            self.sinks.pop().close()


@pytest.fixture
def show(desktop: Desktop) -> Iterator[Show]:
    assert not texture.exists()
    made = Show()
    yield made
    made.close()
    assert not texture.exists(), "the one context went with the last window"


def is_picture(pixels: np.ndarray) -> bool:
    """Whether all of `pixels` ``(h, w, 3)`` is the picture, upright and in its colours."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    near = np.abs(pixels[: 2 * height, : 2 * width].astype(int) - np.kron(CORNERS, np.ones((height, width, 1)))) <= 1
    near[height - 2 : height + 2] = near[:, width - 2 : width + 2] = True  # between two colours
    return bool(near.all())


def is_all(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((pixels == colour).all())


def covers(pixels: np.ndarray, top: int = 60) -> bool:
    """Whether a 16:9 picture fills the desktop, with black above and below."""
    bars = is_all(pixels[:top], BLACK) and is_all(pixels[-top:], BLACK)
    return bars and is_picture(pixels[top : len(pixels) - top])


def stands(pixels: np.ndarray, at: tuple[int, int] = (160, 150), size: tuple[int, int] = (320, 180)) -> bool:
    """Whether the picture is there, of that size, and the desktop around it is free."""
    left, top = at
    outside = np.ones(pixels.shape[:2], bool)
    outside[top : top + size[1], left : left + size[0]] = False
    return is_picture(pixels[~outside].reshape(size[1], size[0], 3)) and is_all(pixels[outside], WHITE)


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_a_display_is_covered_upright_letterboxed_in_its_colours_and_without_a_cursor(
    show: Show, desktop: Desktop
) -> None:
    assert desktop.cursor() > 0
    show.open("0")
    show.until(lambda: covers(desktop.seen()))
    assert desktop.cursor() == 0
    show.until(lambda: is_picture(desktop.seen()[:, 120:520]), size=(400, 480))  # as tall as the display
    assert is_all(desktop.seen()[:, :120], BLACK) and is_all(desktop.seen()[:, 520:], BLACK)
    show.close()
    assert is_all(desktop.seen(), WHITE) and desktop.cursor() > 0


def test_a_plain_window_keeps_its_picture_in_shape_when_it_is_resized_and_moved(show: Show, desktop: Desktop) -> None:
    show.open("", name="left", channel="one")
    show.until(lambda: stands(desktop.seen()))
    number = desktop.window("left one")
    desktop.do("windowsize", number, 400, 300)
    desktop.do("windowmove", number, 10, 20)
    show.until(lambda: is_picture(desktop.seen()[57:283, 10:410][1:-1]))  # 400x225 of 400x300
    bars = desktop.seen()[20:320, 10:410]
    assert is_all(bars[:36], BLACK) and is_all(bars[-36:], BLACK) and is_all(desktop.seen()[321:], WHITE)
    assert desktop.cursor() == 0


def test_a_large_picture_opens_a_window_that_fits(show: Show, desktop: Desktop) -> None:
    show.open("0?bare", size=(3840, 2160))
    show.until(lambda: stands(desktop.seen(), (64, 96), (512, 288)))


def test_two_windows_share_the_picture_and_one_goes_on_without_the_other(show: Show, desktop: Desktop) -> None:
    first, second = show.open("", name="a"), show.open("", name="b")
    assert first._synced and not second._synced
    desktop.do("windowmove", desktop.window("a"), 0, 0)
    desktop.do("windowmove", desktop.window("b"), 320, 300)
    show.until(lambda: is_picture(desktop.seen()[:180, :320]) and is_picture(desktop.seen()[300:, 320:]))
    desktop.close(desktop.window("a"))
    frame = show.frame()
    with pytest.raises(ClosedError, match="its user"):
        for _ in range(200):
            first.write(frame)
            time.sleep(0.01)
    show.sinks.remove(first)
    show.until(lambda: stands(desktop.seen(), (320, 300)))
    show.sinks.append(first)


def test_a_source_that_is_faster_than_the_display_is_thinned_out(
    show: Show, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [dataclasses.replace(each, rate=50) for each in _glfw.displays()]
    monkeypatch.setattr(_glfw, "displays", lambda: found)
    synced = show.open("")
    for rate, dropped in ((30, 0), (50, 0), (60, 10), (100, 40)):
        before, frame = synced.dropped, show.frame(rate=rate)
        for _ in range(60 if rate == 60 else 80):
            synced.write(frame)
        assert abs(synced.dropped - before - dropped) <= 1, rate
    free = show.open("?unsynced")
    for _ in range(20):
        free.write(frame)
    assert free.dropped == 0


# --- displays that come and go ----------------------------------------------------------------------------------------


def test_a_display_that_goes_is_waited_for_and_covered_again(
    show: Show, desktop: Desktop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(window, "_LOOK", 0.05)
    beamer = _glfw.displays()[0]
    laptop = dataclasses.replace(beamer, number=1, name="laptop", rect=(2000, 0, 640, 480))
    there = [beamer, laptop]
    monkeypatch.setattr(_glfw, "displays", lambda: there)
    sink = show.open("0")
    show.until(lambda: covers(desktop.seen()))
    there = [dataclasses.replace(laptop, number=0)]  # counted anew; it isn't for us for all that
    show.until(lambda: is_all(desktop.seen(), WHITE))
    assert caplog.messages == ["window:0: that display isn't there and is waited for; there is 0 (laptop 640x480)"]
    there = [laptop, dataclasses.replace(beamer, number=7)]  # known by its name, whatever its number
    show.until(lambda: covers(desktop.seen()))
    assert caplog.messages[1:] == ["window:0: display 7 (screen 640x480) is there"]
    there = [laptop]
    show.until(lambda: is_all(desktop.seen(), WHITE))
    there = [dataclasses.replace(beamer, name="another"), laptop]  # in the place of the one that broke
    show.until(lambda: covers(desktop.seen()))
    assert len(caplog.messages) == 4 and sink.dropped == 0


def test_a_display_that_isnt_there_yet_is_waited_for(
    show: Show, desktop: Desktop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(window, "_LOOK", 0.05)
    there = _glfw.displays()
    monkeypatch.setattr(_glfw, "displays", lambda: there)
    show.open("1")
    assert caplog.messages == ["window:1: that display isn't there and is waited for; there is 0 (screen 640x480)"]
    show.sinks[0].write(show.frame())
    assert is_all(desktop.seen(), WHITE)
    there = [*there, dataclasses.replace(there[0], number=1, name="beamer")]
    show.until(lambda: covers(desktop.seen()))


def test_a_window_that_the_system_takes_off_its_display_goes_back(show: Show, desktop: Desktop) -> None:
    """So do GLFW's own windows when a display is unplugged and comes back before anybody looked."""
    sink = show.open("0")
    show.until(lambda: covers(desktop.seen()))
    sink._pane.place(None, (100, 100))
    assert not sink._pane.full
    show.until(lambda: covers(desktop.seen()))


# --- what its user does -----------------------------------------------------------------------------------------------


def test_escape_leaves_full_screen_and_ctrl_q_is_ctrl_c(
    show: Show, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", heard.append)
    show.open("0")
    show.until(lambda: covers(desktop.seen()))
    desktop.do("key", "q")
    desktop.do("key", "Escape")
    show.until(lambda: stands(desktop.seen()))
    desktop.do("key", "Escape")
    assert not heard
    desktop.do("key", "ctrl+q")
    show.until(lambda: heard)
    desktop.do("key", "super+q")
    show.until(lambda: stands(desktop.seen()))
    assert heard == [signal.SIGINT]


def start(folder: Path, desktop: Desktop, *options: str) -> subprocess.Popen[str]:
    """`l2s run` of colour bars, half over a world of 25 % grey."""
    make_world(folder, "night", grey=0.25)
    command = [sys.executable, "-m", "l2s_node", "run", "--in", "pattern:bars", "--world", "night", "--size", "small",
               "--engine", "eager", "--device", "cpu", "--osc", "0", "--panel", "0", "--set", "mix=0.5"]  # fmt: skip
    home = {"L2S_HOME": str(folder), "PYTHONPATH": str(Path(texture.__file__).parents[2])}
    env = os.environ | home | {"DISPLAY": desktop.name}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*command, *options], cwd=folder, env=env, **pipes)


def shows(node: subprocess.Popen[str], desktop: Desktop, seen: Callable[[np.ndarray], bool]) -> None:
    """Wait until something can be seen there."""
    end = time.monotonic() + 30
    while not seen(desktop.seen()):
        if node.poll() is not None or time.monotonic() > end:
            node.kill()
            pytest.fail(node.communicate()[0])
        time.sleep(0.05)


def test_the_run_of_a_window_alone_from_its_first_picture_to_ctrl_q(desktop: Desktop, tmp_path: Path) -> None:
    node = start(tmp_path, desktop, "--out", "window:0", "--summary", "sum.json")
    try:
        shows(node, desktop, lambda pixels: is_all(pixels, BLACK))
        shows(node, desktop, lambda pixels: bool((np.abs(pixels[100, AT].astype(int) - HALF_NIGHT) <= 4).all()))
        assert is_all(desktop.seen()[:60], BLACK) and is_all(desktop.seen()[-60:], BLACK)
        desktop.do("key", "Escape")
        around = np.ones((480, 640), bool)
        around[96:384, 64:576] = False
        shows(node, desktop, lambda pixels: ((pixels == WHITE).all(-1) == around).all())
        desktop.do("key", "ctrl+q")
        said = node.communicate(timeout=30)[0]
    finally:
        node.kill()
    assert node.returncode == 0, said
    assert "out: window:0\n" in said and "window:0: its user quits" in said
    summary = json.loads((tmp_path / "sum.json").read_text())
    assert summary["frames_out"] > 0 and summary["start_frames_out"] > 0 and summary["dropped_output"] == 0


def test_the_show_goes_on_when_the_desktop_ends(tmp_path: Path) -> None:
    """Somebody logs out, or the X server crashes: Xlib's own way is to end the process."""
    if reason := no_desktop():
        pytest.skip(reason)
    with running() as own:
        node = start(tmp_path, own, "--out", "window:", "--out", "null:", "--set", "look=grain")
        shows(node, own, lambda pixels: not is_all(pixels, WHITE))
    try:
        assert node.stdout is not None
        said = [node.stdout.readline()]
        while said[-1] and "goes on without it" not in said[-1]:
            said.append(node.stdout.readline())
        time.sleep(0.5)
        node.send_signal(signal.SIGINT)
        rest = node.communicate(timeout=30)[0]
    finally:
        node.kill()
    assert node.returncode == 0, "".join(said) + rest
    assert said[-1].startswith("l2s: window:: the desktop that windows were on has ended"), said


AT = [46, 137, 320, 503, 594]
HALF_NIGHT = [(127, 127, 127), (127, 127, 32), (32, 127, 32), (127, 32, 32), (32, 32, 127)]
"""Bars of 75 % (191) half under a world of 25 % grey (64), at these x on the desktop."""


# --- where there is none ----------------------------------------------------------------------------------------------


def test_without_a_desktop_it_is_one_sentence_and_the_other_sinks_run_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("glfw", reason="no Python package glfw: pip install glfw")
    if sys.platform != "linux":
        pytest.skip("only Linux can be without a desktop")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(video, "schemes", lambda: ["null", "window"])  # NDI would be looked for
    reason = window.missing()
    assert reason is not None and "DISPLAY=:0" in reason and "\n" not in reason
    with pytest.raises(MissingError, match="DISPLAY=:0"):
        video.open_sink("window:", Options())
    assert ("window:", reason) in video.survey_sinks()
    assert next(check for check in _rooms() if check.name == "window:").text == reason
    from l2s_node.config import RunConfig
    from l2s_node.node import Node

    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    make_world(tmp_path, "night", grey=0.25)
    settings = {"world": "night", "osc": 0, "panel": 0, "fps": 100.0, "frames": 3, "device": "cpu"}
    summary = Node(RunConfig("null:", ("window:1", "null:"), **settings), lambda _: None).run()  # type: ignore[arg-type]
    assert summary["frames_out"] == 3
    assert [text for text in caplog.messages if "window:" in text] == [
        f"window:1 can't be a sink: {reason}; the show runs without it"
    ]
    with pytest.raises(MissingError, match="DISPLAY=:0"):
        Node(RunConfig("null:", ("window:1",), **settings), lambda _: None).run()  # type: ignore[arg-type]


def test_displays_are_listed_where_pictures_go_to_and_not_where_they_come_from(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "schemes", lambda: ["null", "window"])  # NDI would be looked for
    assert window.missing() is None
    sinks = list(listing("sinks"))
    assert "window:0 (screen 640x480)" in sinks and any(line.startswith("window:  ") for line in sinks)
    assert ("window:", window.Source.refuses) in video.survey()
    with pytest.raises(RoomError, match="only shows pictures"):
        video.open_source("window:0", Options())
    found = next(check for check in _rooms() if check.name == "window:")
    assert (found.good, found.advice, found.text) == (True, False, "sees window:0 (screen 640x480)")


@pytest.mark.parametrize("address", ["beamer", "-1", "1?fast", "1?bare&fast", "1 2"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(RoomError, match="takes the number of a display"):
        window.Sink(address, Options())


def test_an_address_as_it_is_listed_opens(show: Show, desktop: Desktop) -> None:
    show.open("0 (screen 640x480)?unsynced")
    show.until(lambda: covers(desktop.seen()))


def test_another_thread_and_a_foreign_context_are_refused_in_words(desktop: Desktop) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(RoomError, match="main thread"):
        pool.submit(video.open_sink, "window:", Options()).result()
    texture.gl()
    with pytest.raises(RoomError, match="name window: before"):
        video.open_sink("window:", Options())
    texture.close()
    window.Sink("", Options()).close()  # and once that is closed, one opens


def test_what_the_x_server_refuses_ends_nothing(show: Show, desktop: Desktop, caplog: pytest.LogCaptureFixture) -> None:
    """Xlib's own way is to end the process, as when a window that is to get the focus was unmapped a moment before."""
    show.open("")
    show.until(lambda: stands(desktop.seen()))
    number = desktop.window("l2s")
    desktop.do("windowunmap", number)
    glfw, x11 = _glfw.load(), ctypes.CDLL("libX11.so.6")
    server = ctypes.cast(glfw.get_x11_display(), ctypes.c_void_p)
    x11.XSetInputFocus(server, ctypes.c_ulong(int(number)), 2, ctypes.c_ulong(0))
    show.until(lambda: caplog.messages)
    assert "the X server refused something (error 8, request 42.0)" in caplog.messages
