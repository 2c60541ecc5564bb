"""`l2s latency`: numbers are read from whatever a program makes of them, and their round trip is told."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import deque
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ndi_loopback import Hosts

from l2s_node import latency
from l2s_node.cli import main
from l2s_node.errors import RoomError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.latency import Trip, measure
from l2s_node.latency._blocks import CODES, fit, paint, seen
from l2s_node.video.base import Options

OPTIONS = Options(rate=Fraction(60), size=(320, 180))


class Program:
    """A program as sink and source: what is written comes back `delay` seconds later as `change` makes it."""

    uri, state, format, dropped, live, blocks = "test:program", "connected", PixelFormat.UYVY, 0, True, False

    def __init__(self, delay: float, change) -> None:  # type: ignore[no-untyped-def]
        self._delay, self._change = delay, change
        self._waiting: deque[tuple[float, np.ndarray]] = deque()

    def write(self, frame: Frame) -> None:
        self._waiting.append((time.monotonic() + self._delay, frame.planes[0].copy()))

    def read(self, timeout: float) -> Frame | None:
        end = time.monotonic() + timeout
        while not self._waiting or self._waiting[0][0] > time.monotonic():
            if time.monotonic() > end:
                return None
            time.sleep(5e-4)
        plane = self._change(self._waiting.popleft()[1])
        return Frame((plane,), PixelFormat.UYVY, *OPTIONS.size, time.monotonic(), 0)

    def close(self) -> None:
        pass


def dreamt(plane: np.ndarray) -> np.ndarray:
    """Upside down, mirrored, inverted, squeezed into a third of the range, grey become colour, with noise over it."""
    height, width = plane.shape[0], plane.shape[1] // 2
    luma = 255 - plane[::-1, 1::2][:, ::-1].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 8, luma.shape)  # the same every time: a painted meadow
    made = np.empty_like(plane)
    made[:, 1::2] = np.clip(90 + luma / 3 * np.linspace(0.5, 1.0, width) + noise, 0, 255)
    made[:, 0::2] = np.clip(100 + luma[:, ::1] / 4, 0, 255)
    return made.reshape(height, -1)


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FLIP": 0.2, "HOLD": 0.05, "LEARN": 30, "CHECK": 6, "PATIENCE": 1.0, "TRIES": 1}.items():
        monkeypatch.setattr(latency, name, value)


def test_numbers_are_three_blocks_apart() -> None:
    apart = (CODES[:, None] != CODES[None]).sum(-1)
    assert CODES.shape == (256, 12) and apart[~np.eye(256, dtype=bool)].min() == 3


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_every_format_is_seen(fmt: PixelFormat) -> None:
    dark = blank(fmt, 64, 36)
    light = tuple(plane.copy() for plane in dark)
    light[0][:, :32] = 235
    looks = [seen(Frame(planes, fmt, 64, 36, 0.0, 0)).reshape(9, 16, -1) for planes in (dark, light)]
    assert (looks[1] - looks[0]).max() > 100


def test_every_number_is_read_from_what_was_made_of_it() -> None:
    def look(code: np.ndarray) -> np.ndarray:
        plane = blank(PixelFormat.UYVY, *OPTIONS.size)[0]
        paint(plane, code)
        return seen(Frame((dreamt(plane),), PixelFormat.UYVY, *OPTIONS.size, 0.0, 0))

    rng = np.random.default_rng(1)
    learnt = [rng.choice(np.array([-1, 1], np.int8), 12) for _ in range(40)]
    reader = fit([look(code) for code in learnt], learnt)
    assert [reader.number(look(CODES[n])) for n in range(256)] == list(range(256))
    assert reader.number((look(CODES[3]) + look(CODES[252])) / 2) is None  # half of one, half of its opposite


@pytest.mark.usefixtures("_in_a_hurry")
@pytest.mark.slow
def test_the_round_trip_is_at_least_the_delay() -> None:
    program = Program(0.04, dreamt)
    trip = measure(program, program, 0.5, OPTIONS, lambda text: None)
    assert min(trip.milliseconds) >= 40
    assert 0 < len(trip.milliseconds) <= trip.sent
    text = "\n".join(trip.lines())
    assert f"p50 {trip.percentile(50):.1f} ms" in text and f"{len(trip.milliseconds)} of {trip.sent}" in text


@pytest.mark.parametrize("unreadable", [0, 3])
def test_what_can_hardly_be_read_is_doubtful(unreadable: int) -> None:
    trip = Trip("here … there", Fraction(60), (64, 36), [20.0, 21.0], sent=5, unreadable=unreadable)
    assert trip.as_dict()["doubtful"] is (unreadable == 3)
    assert any("doubtful" in line for line in trip.lines()) is (unreadable == 3)


@pytest.mark.usefixtures("_in_a_hurry")
def test_a_program_that_looks_elsewhere_is_said() -> None:
    program = Program(0.01, lambda plane: np.full_like(plane, 77))
    with pytest.raises(RoomError, match="doesn't follow"):
        measure(program, program, 0.5, OPTIONS, lambda text: None)


@pytest.mark.usefixtures("_in_a_hurry")
@pytest.mark.slow
def test_a_program_that_tells_dark_from_light_only_is_said() -> None:
    program = Program(0.01, lambda plane: np.full_like(plane, plane[:, 1::2].mean()))
    with pytest.raises(RoomError, match="can't be read"):
        measure(program, program, 0.5, OPTIONS, lambda text: None)


@pytest.mark.usefixtures("_in_a_hurry")
def test_nothing_coming_is_said() -> None:
    program = Program(60.0, dreamt)
    with pytest.raises(RoomError, match="nothing came from"):
        measure(program, program, 0.5, OPTIONS, lambda text: None)


@pytest.mark.slow
def test_through_a_node_over_ndi(ndi_hosts: Hosts, tmp_path: Path) -> None:
    """Between two hosts, through the generator, with the node's own share asked over OSC."""
    options = ("--in", "ndi:test", "--out", "ndi:l2s", "--panel", "0", "--lan")
    node = ndi_hosts.b.start(sys.executable, "-m", "l2s_node", "run", *options)
    node.wait(lambda event: "small on" in event.get("text", ""), 30)
    kept, drawn = tmp_path / "trip.json", tmp_path / "trip.svg"
    asked = ("--to", "ndi:test", "--from", "ndi:l2s", "--osc", "10.77.0.2:7400", "--seconds", "1.5", "--fps", "30")
    files = ("--size", "640x360", "--json", str(kept), "--plot", str(drawn))
    run = ndi_hosts.a.start(sys.executable, "-m", "l2s_node", "latency", *asked, *files)
    run.wait(lambda event: "of it the node itself" in event.get("text", ""), 60)
    run.popen.wait(10)
    node.popen.send_signal(signal.SIGINT)
    trip = json.loads(kept.read_text())
    assert 10 <= trip["arrived"] <= trip["sent"]  # how many is a matter of speed
    assert 0 < trip["own_p50"] and 0 < trip["p50"] <= trip["p95"] <= trip["p99"]
    assert drawn.read_text().startswith("<svg")


@pytest.mark.parametrize(
    "wrong, said",
    [(("--fps", "auto"), "a rate and a size of their own"), (("--size", "same"), "a rate and a size of their own"),
     (("--osc", "7400"), "HOST:PORT"), (("--seconds", "0"), "a number over 0")],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(wrong: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["latency", "--to", "ndi:a", "--from", "ndi:b", *wrong])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    words = capsys.readouterr().err
    assert said in words and words.count("\n") == 1
