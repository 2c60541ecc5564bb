"""GraphPipeline: the captured graph shows what the CPU's pipeline shows, at most 3/255 apart, whatever is turned."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from pictures import gradient, knobs, noise, tint
from pictures import one_thread as one_thread

from l2s_node.cuda.graph import PROGRAMS, GraphPipeline
from l2s_node.cuda.program import FUSING, Program
from l2s_node.frame import Frame, PixelFormat
from l2s_node.params import BLENDS
from l2s_node.pipeline import Pipeline, Player

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU: torch.cuda.is_available() says no"),
]

SIZE = (192, 128)
FORMATS = list(PixelFormat)


class Both:
    """The same frames and knobs through both pipelines; what one frame asks for is there for the next one."""

    def __init__(self, output: tuple[int, int] | None = None, *, fuse: bool = False) -> None:
        self.cpu = Pipeline(output_size=output)
        self.gpu = GraphPipeline(torch.device("cuda"), output, fuse=fuse)
        self.now = 0.0

    def use(self, play=tint, canvas: tuple[int, int] = (96, 64)) -> None:
        made = Player("tried", play, canvas, play)
        self.cpu.use(made, self.now)
        self.gpu.use(made, self.now)

    def step(self, frame: Frame, **values: object) -> tuple[Frame, int]:
        """(what the GPU shows, by how much its planes differ from what the CPU shows)."""
        self.now += 1 / 30
        params = knobs(**values)
        a, b = self.cpu.step(frame, params, self.now), self.gpu.step(frame, params, self.now)
        self.gpu.settle()
        assert (a.format, a.size, a.number) == (b.format, b.size, b.number)
        return b, max(int(np.abs(p.astype(int) - q).max()) for p, q in zip(a.planes, b.planes, strict=True))


@pytest.fixture
def both() -> Both:
    made = Both()
    made.use()
    return made


CASES: list[dict[str, object]] = [
    {},
    *({"blend": blend, "mix": 0.6} for blend in BLENDS),
    *({"show": show, "fade": 0.3} for show in ("output", "input", "conditioned", "split")),
    *({"framing": framing, "zoom": 1.7, "pan_x": 0.4, "mix": 0.5} for framing in ("crop", "fit", "stretch")),
    {"zoom": 8, "pan_y": -1},
    {"flip_x": True},
    {"flip_x": True, "flip_y": True, "mix": 0.5, "zoom": 1.3},
    {"upscale": "bilinear"},
    {"saturation": 0},
    {"saturation": 3},
    {"brightness": 0.2, "contrast": 1.8, "gamma": 0.6, "invert": True},
    {"detail": 6},
    {"detail": 23.4},
    {"detail": 64},
    {"auto_levels": 0.8},
    {"input_smoothing": 0.3, "output_smoothing": 0.4},
    {"feedback": 0.9},
    {"feedback": 0.6, "output_smoothing": 0.2, "auto_levels": 1, "saturation": 1.5, "mix": 0.7, "blend": "screen"},
]


@pytest.mark.parametrize("values", CASES, ids=str)
def test_every_knob(both: Both, values: dict[str, object]) -> None:
    for i in range(4):
        _, apart = both.step(noise(PixelFormat.UYVY, SIZE, seed=i, smooth=4), **values)
        assert apart <= 3, i


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("size", [(192, 128), (1280, 720), (64, 128), (2, 2)])
def test_every_format_and_size(both: Both, fmt: PixelFormat, size: tuple[int, int]) -> None:
    odd = fmt not in (PixelFormat.UYVY, PixelFormat.UYVA) and size != (2, 2)
    frame = noise(fmt, (size[0] - odd, size[1] - odd), padded=True, smooth=8)
    for values in ({}, {"mix": 0.5}, {"show": "input"}, {"zoom": 2.1, "mix": 0.3}):
        assert both.step(frame, **values)[1] <= 3, values


@pytest.mark.parametrize("fmt", [PixelFormat.UYVY, PixelFormat.NV12, PixelFormat.BGRA])
@pytest.mark.parametrize("output", [(1280, 720), (320, 240), (90, 160)])
def test_another_size_goes_out(fmt: PixelFormat, output: tuple[int, int]) -> None:
    """Bars, and the other standard's matrix."""
    both = Both(output)
    both.use()
    for i in range(4):
        assert both.step(noise(fmt, SIZE, seed=i, smooth=8), mix=0.5 + i / 10)[1] <= 3


def test_knobs_that_move_need_no_new_graph(both: Both) -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=4)
    for _ in range(2):
        both.step(frame, zoom=1.1, mix=0.5, detail=7)
    graphs = len(both.gpu._programs)
    for i in range(20):
        wave = i / 20
        values = {
            "zoom": 1.1 + 3 * wave,
            "pan_x": wave,
            "mix": 0.9 * wave,
            "detail": 7 + 50 * wave,
            "gamma": 0.5 + wave,
        }
        assert both.step(frame, **values, saturation=2 * wave, brightness=wave / 4)[1] <= 3, i
    assert len(both.gpu._programs) == graphs == 1


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which a program was captured."""
    threads: list[str] = []
    capture = Program.capture

    def counting(program: Program) -> None:
        threads.append(threading.current_thread().name)
        capture(program)

    monkeypatch.setattr(Program, "capture", counting)
    return threads


def test_a_new_structure_is_captured_beside_the_loop_and_taken_later(both: Both, captures: list[str]) -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=4)
    for _ in range(3):
        both.step(frame)
    assert captures == ["l2s-graph"] and both.gpu._current
    go, prepare = threading.Event(), both.gpu._preparer.ask
    prepare(lambda: assert_set(go), urgent=True)  # busy for as long as we want
    for i in range(5):
        both.now += 1 / 30
        a, b = (each.step(frame, knobs(blend="screen", mix=0.5), both.now) for each in (both.cpu, both.gpu))
        assert int(np.abs(a.planes[0].astype(int) - b.planes[0]).max()) <= 3, i
    assert len(captures) == 1 and both.gpu.crossfading  # nobody may close what is still warmed up with
    go.set()
    both.gpu.settle()
    for i in range(3):
        assert both.step(frame, blend="screen", mix=0.5 + i / 10)[1] <= 3, i
    assert captures == ["l2s-graph"] * 2 and len(both.gpu._programs) == 2 and not both.gpu.crossfading


def test_the_first_world_is_captured_before_it_plays(captures: list[str]) -> None:
    """In a show it begins while others are loaded and compiled, beside which steps by hand took a second."""
    made = Both()
    frame = noise(PixelFormat.UYVY, SIZE, smooth=4)
    made.step(frame)
    made.gpu.prepare(Player("tried", tint, (96, 64), tint))
    made.use()
    assert len(captures) == 1
    for i in range(3):
        assert made.step(frame)[1] <= 3, i
    assert len(captures) == 1 and made.gpu._current


def test_a_frame_that_is_sent_before_it_is_planned_shows_what_is_planned(both: Both) -> None:
    """What shows through depends on knobs; a frozen frame isn't the one that came."""
    frames = [noise(PixelFormat.UYVY, SIZE, smooth=4, seed=seed) for seed in range(4)]
    values: list[dict[str, object]] = [
        {}, {}, {"mix": 0.5}, {"mix": 0.5, "zoom": 2.0}, {"mix": 0.5, "zoom": 2.0, "pan_x": 0.5}, {"zoom": 2.0},
        {"freeze": True}, {"freeze": True}, {"show": "input"}, {"show": "input"}, {}, {"flip_x": True, "mix": 0.3},
    ]  # fmt: skip
    for _ in range(2):  # the second time all of it is captured
        for i, each in enumerate(values):
            assert both.step(frames[i % 4], **each)[1] <= 3, (i, each)


def assert_set(event: threading.Event) -> None:
    assert event.wait(30)


def test_a_world_that_was_prepared_plays_from_its_first_frame_on(both: Both, captures: list[str]) -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=4)
    for _ in range(3):
        both.step(frame)
    for canvas in ((96, 64), (64, 64)):
        player = Player("next", gradient, canvas, gradient)
        both.gpu.prepare(player)
        before = len(captures)
        both.use(gradient, canvas)
        for i in range(12):
            assert both.step(frame, crossfade=0.2)[1] <= 3, i
        if canvas == (96, 64):  # on another canvas what fades out is a still, which nobody could prepare
            assert len(captures) == before == 3
        both.use(tint, (96, 64))


@pytest.mark.slow
@pytest.mark.parametrize("values", [{}, {"blend": "screen", "mix": 0.5, "show": "split"}, {"feedback": 0.6}], ids=str)
def test_compiled_steps_show_the_same(values: dict[str, object]) -> None:
    both = Both(fuse=True)
    both.use()
    for i in range(6):
        assert both.step(noise(PixelFormat.UYVY, SIZE, seed=i, smooth=4), **values)[1] <= 3, i
    program = next(iter(both.gpu._programs.values()))
    assert FUSING.of(program.plan) is not None, "torch.compile can't compile the steps here: see the log"


def test_graphs_are_captured_in_the_middle_of_what_is_remembered(both: Both) -> None:
    """Each structure is captured when it is met: warming it up must not count as frames."""
    for i in range(3 * PROGRAMS):
        values = {"blend": BLENDS[i % len(BLENDS)], "mix": 0.5, "show": ("output", "split")[i % 2]}
        frame = noise(PixelFormat.UYVY, SIZE, seed=i, smooth=8)
        memory = {"feedback": 0.8, "output_smoothing": 0.3, "input_smoothing": 0.3, "auto_levels": 1}
        assert both.step(frame, **values, **memory)[1] <= 3, i


@pytest.mark.parametrize("canvas", [(96, 64), (64, 64)])
def test_crossfades(both: Both, canvas: tuple[int, int]) -> None:
    for i in range(3):
        both.step(noise(PixelFormat.UYVY, SIZE, seed=i, smooth=8), saturation=1.3)
    both.use(gradient, canvas)
    for i in range(12):
        frame = noise(PixelFormat.UYVY, SIZE, seed=i, smooth=8)
        assert both.step(frame, crossfade=0.3, saturation=1.3)[1] <= 3, i
    assert not both.gpu.crossfading
    both.use(tint, canvas)
    both.step(frame, crossfade=0.3)
    both.use(gradient, canvas)  # in the middle of the other
    for i in range(4):
        assert both.step(frame, crossfade=0.3)[1] <= 3, i


def sown(device: str) -> Player:
    """Plays the weights of its seed fields as a colour."""
    seeds = torch.eye(1, 4, device=device)[0]

    def step(x: torch.Tensor, seeds: torch.Tensor = seeds) -> torch.Tensor:
        return (seeds[:3].view(1, 3, 1, 1) * 0.8).expand(1, 3, *x.shape[2:]) + 0.1 * x

    return Player("sown", step, (96, 64), step, seeds)


def test_a_dream_drifts_alike_and_nothing_is_captured_anew(both: Both) -> None:
    both.cpu.use(sown("cpu"), both.now)
    both.gpu.use(sown("cuda"), both.now)
    frame, means = noise(PixelFormat.UYVY, SIZE, smooth=8), set()
    for i in range(20):
        out, apart = both.step(frame, crossfade=0, drift=1.5, texture=1 + i / 40)
        assert apart <= 3, i
        means.add(round(float(out.planes[0].mean()), 1))
    assert len(means) > 10 and len(both.gpu._programs) == 1


def test_freeze_and_changes_of_format_and_size(both: Both) -> None:
    for i in range(24):
        fmt = FORMATS[i % len(FORMATS)]
        size = [(192, 128), (128, 192), (66, 40)][i % 3]
        frame = noise(fmt, size, seed=i, smooth=4)
        assert both.step(frame, freeze=i % 7 > 3, zoom=1 + i / 10, mix=0.5)[1] <= 3, i


def test_planes_stay_valid_and_frames_that_a_room_reuses_are_seen_anew(both: Both) -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    shown = []
    for value in (40, 120, 200):
        frame.planes[0][:, 1::2] = value
        out, apart = both.step(frame)
        shown.append((out, out.planes[0].copy()))
        assert apart <= 3
    assert all(np.array_equal(out.planes[0], copy) for out, copy in shown)
    assert shown[0][1].mean() != shown[2][1].mean()


def test_frames_that_cannot_be_written_to(both: Both) -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    frame.planes[0].flags.writeable = False
    for _ in range(3):
        assert both.step(frame, mix=0.5)[1] <= 3
