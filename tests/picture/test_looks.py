"""Looks: ISF files over the picture, as a performer plays them; drawn for real, by Mesa where there is no GPU."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from l2s_node import texture
from l2s_node.config import assets
from l2s_node.frame import Frame, PixelFormat
from l2s_node.params import Board, Params
from l2s_node.picture import compose
from l2s_node.picture.looks import Library, Overlay
from l2s_node.picture.post import Post

REASON = texture.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")

SIZE = (96, 54)
OURS = ("colour_grade", "edge_glow", "feedback_bloom", "grain", "kaleidoscope", "slit_scan")
IMAGE = {"NAME": "inputImage", "TYPE": "image"}
SAME = "gl_FragColor = IMG_THIS_PIXEL(inputImage);"


@pytest.fixture(autouse=True)
def no_context_before_and_after() -> Iterator[None]:
    assert not texture.exists()
    yield
    texture.close()


def write(folder: Path, name: str, body: str, **head: Any) -> Path:
    """An ISF file; `body` is what stands in main."""
    inputs = [IMAGE, *head.pop("INPUTS", [])]
    text = json.dumps({"ISFVSN": "2", "INPUTS": inputs, **head})
    path = folder / f"{name}.fs"
    path.write_text(f"/*{text}*/\nvoid main() {{\n{body}\n}}\n", encoding="utf-8")
    later = time.time_ns() + 10**9 * len(list(folder.iterdir()))  # a file system may know no smaller steps
    os.utime(path, ns=(later, later))
    return path


def uyvy(rgb: np.ndarray, fmt: PixelFormat = PixelFormat.UYVY) -> Frame:
    """A frame that shows ``(h, w, 3)`` RGB in 0…1."""
    height, width = rgb.shape[:2]
    packed = torch.empty(height, 2 * width, dtype=torch.uint8)
    compose.pack_rgb(torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1), packed, "bt601")
    planes = (packed.numpy(), np.full((height, width), 77, np.uint8))
    return Frame(planes if fmt.has_alpha else planes[:1], fmt, width, height, seconds=0.0, number=0)


def plain(colour: tuple[float, float, float] = (0.5, 0.5, 0.5), size: tuple[int, int] = SIZE) -> Frame:
    return uyvy(np.broadcast_to(np.array(colour), (size[1], size[0], 3)))


def rich() -> Frame:
    """Large shapes of colour."""
    coarse = np.random.default_rng(3).uniform(0.1, 0.9, (9, 16, 3))
    return uyvy(coarse.repeat(6, 0).repeat(6, 1))


def rgb(frame: Frame) -> np.ndarray:
    """``(h, w, 3)`` in 0…1."""
    return compose.unpack_rgb(torch.from_numpy(frame.planes[0].copy()), "bt601").permute(1, 2, 0).numpy()


def grey(frame: Frame) -> float:
    return float(rgb(frame).mean())


class Desk:
    """A library of looks, its board, and the looks over one output."""

    def __init__(self, *folders: Path) -> None:
        self.library = Library(folders)
        self.board = Board()
        self.library.join(self.board)
        self.post = Post(self.library, patience=1.0)
        self.now = 100.0

    def play(self, frame: Frame, seconds: float = 1 / 30, **knobs: object) -> Frame:
        """The next picture, `seconds` after the last, with these knobs turned for good; "__" stands for "/"."""
        self.board.set({name.replace("__", "/"): value for name, value in knobs.items()})
        params = self.board.snapshot()
        self.now += seconds
        return self.post.through(frame, params, self.now) if self.post.on(params) else frame


@pytest.fixture(params=[False, True], ids=["drawn", "computed"])
def way(request: pytest.FixtureRequest) -> bool:
    """Both ways in which a look's passes are run, for whatever is made from here on."""
    made = texture.gl()
    made.computes = bool(request.param)
    if made.computes and not made.can_compute:
        pytest.skip("this OpenGL has no compute shaders")
    return made.computes


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[[], Desk]]:
    """Makes a desk with the looks that lie in the test's folder by then."""
    made: list[Desk] = []

    def make(*folders: Path) -> Desk:
        made.append(Desk(*(folders or (tmp_path,))))
        return made[-1]

    yield make
    for each in made:
        each.post.close()


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_changes_the_picture_and_leaves_it_alone_at_nothing(way: bool, desk: Any, name: str) -> None:
    made, frame = desk(assets() / "shaders" / "looks"), rich()
    for _ in range(20):
        out = made.play(frame, look=name)
    assert np.abs(rgb(out) - rgb(frame)).mean() > 0.005 or name == "slit_scan", "it rests where nothing moves"
    for _ in range(4):
        out = made.play(frame, **{f"look__{name}__amount": 0})
    assert np.abs(rgb(out) - rgb(frame)).max() < 0.03


def test_a_slit_scan_shows_the_past_beside_the_present(way: bool, desk: Any) -> None:
    made = desk(assets() / "shaders" / "looks")
    for i in range(90):
        out = made.play(plain((i / 90,) * 3), look="slit_scan", look__slit_scan__seconds=1)
    columns = rgb(out).mean((0, 2))
    assert columns.max() - columns.min() > 0.15, "a second ago it was a third darker"


def test_there_are_six_and_all_their_inputs_are_knobs(desk: Any) -> None:
    made = desk(assets() / "shaders" / "looks")
    assert tuple(made.library.looks) == OURS and not made.library.broken
    assert {"look/grain/amount", "look/kaleidoscope/centre", "look/slit_scan/order"} <= set(made.board.knobs)


# --- what a file may declare ------------------------------------------------------------------------------------------


def test_looks_lie_over_each_other_in_the_order_of_the_knob(desk: Any, tmp_path: Path) -> None:
    write(tmp_path, "half", "gl_FragColor = IMG_THIS_PIXEL(inputImage) * 0.5;")
    write(tmp_path, "Turned Over", "gl_FragColor = vec4(1.0 - IMG_THIS_PIXEL(inputImage).rgb, 1.0);")
    made, frame = desk(), plain((0.8, 0.8, 0.8))
    assert grey(made.play(frame, look="half, turned_over")) == pytest.approx(0.6, abs=0.02)
    assert grey(made.play(frame, look="turned_over, half")) == pytest.approx(0.1, abs=0.02)
    assert made.play(frame, look="") is frame


def test_inputs_of_every_kind_are_knobs_and_reach_the_shader(way: bool, desk: Any, tmp_path: Path) -> None:
    kinds = [
        {"NAME": "level", "TYPE": "float", "DEFAULT": 0.25, "MIN": 0, "MAX": 1},
        {"NAME": "on", "TYPE": "bool", "DEFAULT": True},
        {"NAME": "which", "TYPE": "long", "VALUES": [3, 7], "LABELS": ["three", "seven"], "DEFAULT": 3},
        {"NAME": "count", "TYPE": "long", "MIN": 0, "MAX": 10, "DEFAULT": 5},
        {"NAME": "tint", "TYPE": "color", "DEFAULT": [1, 0, 0, 1]},
        {"NAME": "place", "TYPE": "point2D", "DEFAULT": [0.5, 0.5], "MIN": [0, 0], "MAX": [1, 1]},
    ]
    body = """
        bool all = level == 0.75 && !on && which == 7 && count == 9 && tint == vec4(0, 1, 0, 1) && place.x == 0.25;
        bool given = level == 0.25 && on && which == 3 && count == 5 && tint == vec4(1, 0, 0, 1) && place.y == 0.5;
        gl_FragColor = vec4(vec3(all ? 1.0 : given ? 0.5 : 0.0), 1.0);"""
    write(tmp_path, "x", body, INPUTS=kinds)
    made = desk()
    assert grey(made.play(plain((0.1, 0.1, 0.1)), look="x")) == pytest.approx(0.5, abs=0.02)
    turned: dict[str, object] = {"level": 0.75, "on": 0, "which": "seven", "count": 12, "tint": "0 1 0 1".split()}
    turned |= {"place": (0.25, 2.0), "count": 9}
    out = made.play(plain(), **{f"look__x__{name}": value for name, value in turned.items()})
    assert grey(out) == pytest.approx(1, abs=0.02)
    assert made.board.get("look/x/place") == (0.25, 1.0), "clamped to what the file declares"


def test_an_event_is_true_for_one_frame(desk: Any, tmp_path: Path) -> None:
    write(tmp_path, "x", "gl_FragColor = vec4(vec3(hit ? 1.0 : 0.0), 1.0);", INPUTS=[{"NAME": "hit", "TYPE": "event"}])
    made = desk()
    seen = [grey(made.play(plain(), look="x"))]
    seen.append(grey(made.play(plain(), look__x__hit=1)))
    seen += [grey(made.play(plain())) for _ in range(2)]
    seen.append(grey(made.play(plain(), look__x__hit=1)))
    assert [value > 0.5 for value in seen] == [False, True, False, False, True]


def test_a_lasting_buffer_remembers_and_one_that_does_not_last_is_drawn_anew(
    way: bool, desk: Any, tmp_path: Path
) -> None:
    passes = [{"TARGET": "sum", "PERSISTENT": True, "FLOAT": True, "WIDTH": "1", "HEIGHT": "$HEIGHT / 2"}, {}]
    body = """
        if (PASSINDEX == 0) gl_FragColor = IMG_NORM_PIXEL(sum, vec2(0.5)) + vec4(0.1);
        else gl_FragColor = vec4(IMG_NORM_PIXEL(sum, vec2(0.5)).rgb, 1.0);"""
    write(tmp_path, "x", body, PASSES=passes)
    made = desk()
    assert [grey(made.play(plain(), look="x")) for _ in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.02)
    made.play(plain(), look="")
    assert grey(made.play(plain(), look="x")) == pytest.approx(0.1, abs=0.02), "off means forgotten"


@pytest.mark.parametrize("fps", [10, 60])
def test_time_is_in_seconds_whatever_the_frame_rate(desk: Any, tmp_path: Path, fps: int) -> None:
    write(tmp_path, "x", "gl_FragColor = vec4(TIME / 4.0, TIMEDELTA * 4.0, float(FRAMEINDEX) / 256.0, 1.0);")
    made = desk()
    for _ in range(fps + 1):
        out = made.play(plain(), 1 / fps, look="x")
    assert rgb(out).mean((0, 1)) == pytest.approx([0.25, 4 / fps, fps / 256], abs=0.03)


def test_the_picture_is_upright_and_its_size_is_known(way: bool, desk: Any, tmp_path: Path) -> None:
    body = "gl_FragColor = vec4(isf_FragNormCoord.y, IMG_THIS_PIXEL(inputImage).g, RENDERSIZE.x / 256.0, 1.0);"
    write(tmp_path, "x", body)
    ramp = np.zeros((SIZE[1], SIZE[0], 3))
    ramp[..., 1] = np.linspace(1, 0, SIZE[1])[:, None]  # bright at the top
    out = rgb(desk().play(uyvy(ramp), look="x"))
    assert out[2, :, 0].mean() > 0.9 and out[-3, :, 0].mean() < 0.1, "ISF counts from the bottom"
    assert (
        out[2, :, 1].mean() > 0.9
        and out[-3, :, 1].mean() < 0.1
        and out[..., 2].mean() == pytest.approx(0.375, abs=0.03)
    )


def test_an_imported_picture_is_read_from_beside_the_file(way: bool, desk: Any, tmp_path: Path) -> None:
    Picture.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    write(
        tmp_path, "x", "gl_FragColor = IMG_NORM_PIXEL(red, isf_FragNormCoord);", IMPORTED={"red": {"PATH": "red.png"}}
    )
    assert rgb(desk().play(plain(), look="x")).mean((0, 1)) == pytest.approx([1, 0, 0], abs=0.04)


def test_alpha_goes_through_as_it_was(way: bool, desk: Any, tmp_path: Path) -> None:
    write(tmp_path, "x", "gl_FragColor = vec4(1.0 - IMG_THIS_PIXEL(inputImage).rgb, IMG_THIS_PIXEL(inputImage).a);")
    out = desk().play(uyvy(np.full((SIZE[1], SIZE[0], 3), 0.25), PixelFormat.UYVA), look="x")
    assert out.format is PixelFormat.UYVA and (out.planes[1] == 77).all() and grey(out) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("fmt", [PixelFormat.UYVY, PixelFormat.UYVA])
def test_a_picture_stays_for_the_next_two_calls(desk: Any, tmp_path: Path, fmt: PixelFormat) -> None:
    write(tmp_path, "same", SAME)
    table, made = desk(), []
    for n in range(8):
        level = 0.1 * n
        made.append((level, table.play(uyvy(np.full((*SIZE[::-1], 3), level), fmt), look="same")))
        assert [grey(frame) for _, frame in made[-3:]] == pytest.approx([level for level, _ in made[-3:]], abs=0.01)
        assert all((plane == 77).all() for _, frame in made[-3:] for plane in frame.planes[1:])


# --- beside the picture -----------------------------------------------------------------------------------------------

COSTLY = " ".join(f"c.rgb = sin(c.gbr * {n}.5) + cos(c.brg + {n}.25);" for n in range(12))
"""Some milliseconds of compiling, at least."""


class Show:
    """Looks over a picture of a show: who plays it never waits for one."""

    def __init__(self, folder: Path) -> None:
        self.library, self.board, self.frame = Library([folder]), Board(), plain()
        self.library.join(self.board)
        self.overlay, self.steps = Overlay(self.library), list[float]()

    def step(self) -> Frame:
        start = time.monotonic()
        made = self.overlay(lambda _: self.frame, self.board.snapshot(), start)
        self.steps.append(time.monotonic() - start)
        if made is self.frame:
            return made
        return dataclasses.replace(made, planes=tuple(plane.copy() for plane in made.planes))

    def until(self, wanted: Callable[[Frame], bool], seconds: float = 30.0) -> list[Frame]:
        """All that went out, the wanted last."""
        made, end = [self.step()], time.monotonic() + seconds
        while not wanted(made[-1]):
            assert time.monotonic() < end, "it never came"
            time.sleep(0.005)
            made.append(self.step())
        return made


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Callable[[], Show]]:
    made: list[Show] = []

    def make() -> Show:
        made.append(Show(tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.overlay.close()
    assert all(thread.name != "l2s-look" for thread in threading.enumerate())


needs_egl = pytest.mark.skipif(not texture.EGL, reason="contexts go from thread to thread through EGL only")


@needs_egl
def test_the_picture_goes_on_while_its_first_look_is_made_ready(show: Any, tmp_path: Path) -> None:
    key = time.time_ns() % 10**6  # no driver has compiled this before
    write(tmp_path, "slow", f"vec4 c = IMG_THIS_PIXEL(inputImage); {COSTLY} gl_FragColor = vec4(c.r * {key}.0);")
    each = show()
    assert each.step() is each.frame and not texture.exists()
    each.board.set({"look": "slow"})
    made = each.until(lambda frame: frame is not each.frame)
    assert len(made) > 3 and all(frame is each.frame for frame in made[:-1])
    assert each.step() is not each.frame
    assert max(each.steps) < 0.25, "it was waited for"
    each.board.set({"look": ""})
    assert each.step() is each.frame


@needs_egl
def test_a_second_look_and_a_new_version_come_in_when_they_are_ready(show: Any, tmp_path: Path) -> None:
    write(tmp_path, "white", "gl_FragColor = vec4(1.0);")
    path = write(tmp_path, "black", "gl_FragColor = vec4(0.0, 0.0, 0.0, 1.0);")
    each = show()
    each.board.set({"look": "white"})
    each.until(lambda frame: grey(frame) > 0.95)
    each.board.set({"look": "white, black"})
    made = each.until(lambda frame: grey(frame) < 0.05)
    assert all(grey(frame) > 0.95 for frame in made[:-1]), "the first one plays on"
    write(tmp_path, "black", "gl_FragColor = vec4(0.5);")
    each.library.refresh()
    made = each.until(lambda frame: 0.4 < grey(frame) < 0.6)
    assert all(grey(frame) < 0.05 for frame in made[:-1]), "its former version plays on"
    assert path.exists()


@needs_egl
def test_one_that_never_compiles_is_said_once_and_the_picture_goes_on(
    show: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "bad", "gl_FragColor = nonsense;")
    write(tmp_path, "white", "gl_FragColor = vec4(1.0);")
    each = show()
    each.board.set({"look": "bad, white"})
    each.until(lambda frame: grey(frame) > 0.95)
    each.step()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 1 and "bad.fs" in said[0] and "it is left out" in said[0]


@needs_egl
def test_a_context_that_came_in_between_is_used_instead(show: Any, tmp_path: Path) -> None:
    write(tmp_path, "white", "gl_FragColor = vec4(1.0);")
    each = show()
    each.board.set({"look": "white"})
    each.step()
    the_one = texture.gl()
    each.until(lambda frame: grey(frame) > 0.95)
    assert texture.gl() is the_one


@needs_egl
def test_who_ends_meanwhile_leaves_nothing_behind(show: Any, tmp_path: Path) -> None:
    write(tmp_path, "white", "gl_FragColor = vec4(1.0);")
    each = show()
    each.board.set({"look": "white"})
    each.step()
    each.overlay.close()
    assert not texture.exists()


# --- and the fade -----------------------------------------------------------------------------------------------------


def test_the_fade_to_black_comes_last(tmp_path: Path) -> None:
    write(tmp_path, "x", "gl_FragColor = vec4(1.0);")
    library, asked = Library([tmp_path]), []
    board = Board()
    library.join(board)
    board.set({"look": "x", "fade": 1.0})
    overlay = Overlay(library, patience=1.0)

    def step(params: Params) -> Frame:
        asked.append(params.fade)
        return plain()

    assert grey(overlay(step, board.snapshot(), 1.0)) < 0.01 and asked == [0.0]
    board.set({"fade": 0.0, "show": "input"})
    assert grey(overlay(step, board.snapshot(), 2.0)) == pytest.approx(0.5, abs=0.02), (
        "what comes in has no look over it"
    )
    overlay.close()


# --- while the show runs ----------------------------------------------------------------------------------------------


def test_a_file_that_changes_plays_anew_and_keeps_its_knobs_and_its_memory(
    way: bool, desk: Any, tmp_path: Path
) -> None:
    level = {"NAME": "level", "TYPE": "float", "DEFAULT": 0.2, "MIN": 0, "MAX": 1}
    passes = [{"TARGET": "sum", "PERSISTENT": True, "FLOAT": True}, {}]
    add = "if (PASSINDEX == 0) gl_FragColor = IMG_THIS_PIXEL(sum) + vec4(level); else gl_FragColor = "
    write(tmp_path, "x", add + "vec4(IMG_THIS_PIXEL(sum).rgb, 1.0);", INPUTS=[level], PASSES=passes)
    made = desk()
    assert grey(made.play(plain(), look="x", look__x__level=0.3)) == pytest.approx(0.3, abs=0.02)
    write(tmp_path, "x", add + "vec4(1.0 - IMG_THIS_PIXEL(sum).rgb, 1.0);", INPUTS=[level], PASSES=passes)
    made.library.refresh()
    assert grey(made.play(plain())) == pytest.approx(0.4, abs=0.02) and made.board.get("look/x/level") == 0.3


@pytest.mark.parametrize("fault", ["glsl", "json"])
def test_a_file_that_breaks_is_named_with_its_line_and_the_last_good_version_plays_on(
    way: bool, desk: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.ERROR)
    write(tmp_path, "x", "gl_FragColor = vec4(0.75);")
    made = desk()
    made.play(plain(), look="x")
    if fault == "glsl":
        write(tmp_path, "x", "// one\n// two\ngl_FragColor = nonsense;")  # the head is line 1, main line 2
    else:
        path = write(tmp_path, "x", SAME)
        path.write_text(path.read_text().replace("{", "{,", 1))
    made.library.refresh()
    for _ in range(3):
        assert grey(made.play(plain())) == pytest.approx(0.75, abs=0.02)
    errors = [record.getMessage() for record in caplog.records]
    assert len(errors) == 1 and "x.fs" in errors[0] and "its last good version goes on playing" in errors[0]
    assert fault == "json" or ("5" in errors[0] and "nonsense" in errors[0])
    write(tmp_path, "x", "gl_FragColor = vec4(0.25);")
    made.library.refresh()
    assert grey(made.play(plain())) == pytest.approx(0.25, abs=0.02), "mended, it plays"


def test_a_look_that_never_compiled_is_left_out_and_the_others_play(
    desk: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "bad", "gl_FragColor = vec4(1.0)")
    write(tmp_path, "good", "gl_FragColor = vec4(0.75);")
    made = desk()
    for _ in range(3):
        assert grey(made.play(plain(), look="good, bad")) == pytest.approx(0.75, abs=0.02)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR and "left out" in r.getMessage()]


def test_the_thread_that_watches_finds_what_is_new_and_ends(tmp_path: Path) -> None:
    library = Library([tmp_path])
    board = Board()
    library.join(board)
    library.start()
    try:
        write(tmp_path, "late", SAME, INPUTS=[{"NAME": "level", "TYPE": "float", "DEFAULT": 1}])
        end = time.monotonic() + 10
        while "look/late/level" not in board.knobs and time.monotonic() < end:
            time.sleep(0.02)
        board.set({"look": "late"})
        assert "look/late/level" in board.knobs and board.get("look") == "late"
    finally:
        library.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "l2s-looks"]


def test_frames_of_changing_sizes_leave_nothing_behind(desk: Any) -> None:
    made = desk(assets() / "shaders" / "looks")
    look = "feedback_bloom, slit_scan, kaleidoscope, edge_glow"
    counts = []
    for lap in range(4):
        for size in ((96, 54), (64, 64), (130, 40)):
            for _ in range(3):
                made.play(plain(size=size), look=look)
        counts.append(texture.gl().objects())
        if lap == 2:
            made.play(plain(), look="")
    assert counts[1] == counts[2] == counts[3]
