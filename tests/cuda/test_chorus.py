"""Channels of one world, played by one launch on an NVIDIA GPU: each shows what it shows alone, and is turned alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest
import torch
from models.nets import SUBPIXEL, lively
from pictures import knobs, noise, tint
from pictures import one_thread as one_thread

from l2s_node.cuda import chorus
from l2s_node.cuda.chorus import Choir, Chorus, Run, alike
from l2s_node.cuda.graph import GraphPipeline
from l2s_node.errors import EngineError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.models import engines
from l2s_node.models.engines import Engine
from l2s_node.params import Params
from l2s_node.pipeline import Player

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU: torch.cuda.is_available() says no")
CUDA = torch.device("cuda")
SIZE, CANVAS = (640, 360), (448, 256)
SEATS = 4
MOST, MEAN = 20, 1.0
"""Of 255, between one network and another for so many pictures, each as far from float32 as TOLERANCE in
models/test_engines_gpu.py allows; `saturation` spreads it."""


class Show:
    """So many channels of one world, who find together; beside each one that plays the same alone."""

    def __init__(self, stack: ExitStack, built: Callable[[int], Engine], *, ahead: int = 0, fuse: bool = False) -> None:
        engine = stack.enter_context(closing(built(1)))
        self.engines: list[Engine] = []

        def batched(count: int) -> Engine:
            self.engines.append(built(count))
            return self.engines[-1]

        self.player = Player.of("shared", engine, CANVAS, batched)
        self.choir = stack.enter_context(closing(Choir(CUDA, patience=0.0)))
        joined = threading.Event()
        self.choir._preparer.ask(lambda: assert_set(joined), urgent=True)  # it is built when all have come

        def made(choir: Choir | None) -> GraphPipeline:
            return stack.enter_context(closing(GraphPipeline(CUDA, fuse=fuse, ahead=ahead, choir=choir)))

        self.together = [made(self.choir) for _ in range(SEATS)]
        self.alone = [made(None) for _ in range(SEATS)]
        for pipeline in [*self.together, *self.alone]:
            pipeline.use(self.player, 0.0)
        joined.set()
        self.now = 0.0
        for _ in range(2 + ahead):  # what is asked for by one is there for the next
            self.round([knobs()] * SEATS)
            self.settle()
        self.choir.settle()
        for _ in range(1 + ahead):
            self.round([knobs()] * SEATS)
            self.settle()

    def settle(self) -> None:
        for pipeline in [*self.together, *self.alone]:
            pipeline.settle()

    def round(
        self, params: list[Params], frames: list[Frame] | None = None, due: tuple[int, ...] = tuple(range(SEATS))
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(what each who is due shows, what it shows alone); all are begun, and then all finished."""
        self.now += 1 / 30
        frames = frames or [noise(PixelFormat.UYVY, SIZE, seed=n, smooth=8) for n in range(SEATS)]
        shown = []
        for several in (self.together, self.alone):
            for n in due:
                several[n].begin(frames[n], params[n], self.now)
            shown.append([several[n].finish().planes[0].copy() for n in due if several[n].due])
        return list(zip(*shown, strict=True))


@pytest.fixture
def sung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sang together, each time."""
    counts: list[int] = []
    together = Chorus._together

    def counting(chorus: Chorus, runs: list[Run]) -> None:
        counts.append(len(runs))
        together(chorus, runs)

    monkeypatch.setattr(Chorus, "_together", counting)
    return counts


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def built(name: str) -> Callable[[int], Engine]:
    generator = lively(SUBPIXEL)
    generator.draw_field(CANVAS[1], CANVAS[0], 5)

    def build(count: int) -> Engine:
        return engines.build(name, generator, SUBPIXEL, (count, 1, CANVAS[1], CANVAS[0]), CUDA)[0]

    return build


def near(one: np.ndarray, other: np.ndarray) -> bool:
    apart = np.abs(one.astype(int) - other)
    return bool(apart.max() <= MOST and apart.mean() <= MEAN)


def own(n: int) -> Params:
    return knobs(detail=8 + 9 * n, saturation=1 + n / 4, mix=1 - n / 8, output_smoothing=0.05 * n)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("ahead", [0, 1], ids=["latency", "throughput"])
def test_together_they_show_what_each_shows_alone(stack: ExitStack, sung: list[int], ahead: int) -> None:
    show = Show(stack, built("eager"), ahead=ahead)
    del sung[:]
    for i in range(12):
        frames = [noise(PixelFormat.UYVY, SIZE, seed=10 * n + i, smooth=8) for n in range(SEATS)]
        shown = show.round([own(n) for n in range(SEATS)], frames)
        assert len(shown) == SEATS
        for n, (one, other) in enumerate(shown):
            assert near(one, other), (i, n, np.abs(one.astype(int) - other).max())
        if i < 2 * (1 + ahead):
            show.settle()  # these knobs are another structure
            continue
        assert not near(shown[0][0], shown[1][0])
    assert sung and set(sung[-6:]) == {SEATS} and len(show.engines) == 1


@needs_gpu
@pytest.mark.gpu
def test_a_knob_that_one_turns_changes_that_one_only(stack: ExitStack, sung: list[int]) -> None:
    show = Show(stack, built("eager"))
    before = show.round([knobs()] * SEATS)
    for turned in ({"detail": 40}, {"brightness": 0.3}, {"saturation": 0}, {"invert": True}):
        after = show.round([knobs(**turned) if n == 2 else knobs() for n in range(SEATS)])
        for n in range(SEATS):
            assert np.array_equal(before[n][0], after[n][0]) is (n != 2), (turned, n)
        assert near(*after[2])
    assert sung[-4:] == [SEATS] * 4


@needs_gpu
@pytest.mark.gpu
def test_who_dreams_otherwise_plays_alone_and_disturbs_nobody(stack: ExitStack, sung: list[int]) -> None:
    show = Show(stack, built("eager"))
    before = show.round([knobs()] * SEATS)
    for _ in range(12):
        after = show.round([knobs(drift=2) if n == 0 else knobs() for n in range(SEATS)])
        assert all(np.array_equal(before[n][0], after[n][0]) for n in range(1, SEATS))
        assert np.array_equal(*after[0]), "the same program plays the same alone"
    assert not near(before[0][0], after[0][0]) and sung[-12:] == [SEATS - 1] * 12
    del sung[:]
    show.round([knobs(texture=1 + n / 10) for n in range(SEATS)])
    assert not sung, "nobody dreams alike"


@needs_gpu
@pytest.mark.gpu
def test_who_is_not_due_is_not_waited_for(stack: ExitStack, sung: list[int]) -> None:
    show = Show(stack, built("eager"))
    want = show.round([knobs()] * SEATS)
    for due, together in (((0, 1, 2), 3), ((3,), 0), ((1, 3), 2), ((2,), 0), ((0, 1, 2, 3), 4)):
        del sung[:]
        shown = show.round([knobs()] * SEATS, due=due)
        assert all(near(one, want[n][0]) for n, (one, _) in zip(due, shown, strict=True)), due
        assert sum(sung) == together, due


@needs_gpu
@pytest.mark.gpu
def test_worlds_come_and_go(stack: ExitStack, sung: list[int]) -> None:
    show = Show(stack, built("eager"))
    show.together[1].use(Player("tint", tint, CANVAS, tint), show.now)
    for _ in range(4):
        show.round([knobs(crossfade=0)] * SEATS)
        show.settle()
    assert sung[-1] == SEATS - 1 and not show.together[1].crossfading
    show.together[1].use(show.player, show.now)
    for _ in range(4):
        shown = show.round([knobs(crossfade=0)] * SEATS)
        show.settle()
    assert sung[-1] == SEATS and all(near(*each) for each in shown) and len(show.engines) == 1
    for pipeline in show.together:
        pipeline.use(Player("tint", tint, CANVAS, tint), show.now)
    assert not hasattr(show.engines[0], "_net"), "closed, when the last one left"
    show.round([knobs(crossfade=0)] * SEATS)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own parts
def test_compiled_worlds_and_steps_show_the_same_together(stack: ExitStack, sung: list[int]) -> None:
    if (reason := engines.room("inductor").missing()) is not None:
        pytest.skip(reason)
    show = Show(stack, built("inductor"), fuse=True)
    for i in range(6):
        frames = [noise(PixelFormat.UYVY, SIZE, seed=10 * n + i, smooth=8) for n in range(SEATS)]
        shown = show.round([knobs(detail=8 + 9 * n) for n in range(SEATS)], frames)
        assert all(near(*each) for each in shown), i
    assert sung[-6:] == [SEATS] * 6


# --- without a GPU ---------------------------------------------------------------------------------------------------


class Singer:
    place = None


def unbuildable(count: int) -> Engine:
    raise EngineError(f"there is no room for {count}")


def test_most_of_those_who_dream_alike() -> None:
    def run(*seeds: float) -> Run:
        return Run(None, None, seeds or None, None)  # type: ignore[arg-type]

    one, other, third, unseeded = run(1, 0, 0, 0), run(0, 1, 0, 0), run(0, 1, 0, 0), run()
    assert alike([one, other, third]) == [other, third]
    assert alike([unseeded, unseeded]) == [unseeded] * 2 and alike([]) == []


def test_a_network_that_cant_be_built_for_several_is_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    choir = Choir(torch.device("cpu"), patience=0.0)
    player = Player("sea/large", tint, CANVAS, tint, batched=unbuildable)
    singers = [Singer() for _ in range(13)]
    held = threading.Event()
    choir._preparer.ask(lambda: assert_set(held), urgent=True)  # so that all have come before it is built
    for singer in singers:
        choir.join(singer, player)
    held.set()
    choir.settle()
    assert caplog.messages == [
        "sea/large: 13 channels play it, so it is built for 8 at once",
        "sea/large: its channels play one by one: there is no room for 8",
    ]
    assert all(singer.place is None for singer in singers)
    for singer in singers:
        choir.leave(singer)
    choir.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "l2s-choir"]


def test_one_alone_and_worlds_that_cant_be_batched_ask_for_nothing() -> None:
    choir = Choir(torch.device("cpu"))
    choir.join(Singer(), Player("tint", tint, CANVAS, tint, batched=unbuildable))
    for _ in range(3):
        choir.join(Singer(), Player("other", tint, CANVAS, None, batched=unbuildable))
        choir.join(Singer(), Player("third", tint, CANVAS, tint))
    assert not choir._preparer.busy
    choir.close()


def test_the_end_does_not_wait_for_what_is_not_begun() -> None:
    choir = Choir(torch.device("cpu"), patience=600.0)
    for _ in range(2):
        choir.join(Singer(), Player("tint", tint, CANVAS, tint, batched=unbuildable))
    assert choir._preparer.busy
    choir.close()
    assert not choir._preparer.busy and chorus.PATIENCE < 10


def assert_set(event: threading.Event) -> None:
    assert event.wait(30)
