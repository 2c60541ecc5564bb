"""Frames that overlap on an NVIDIA GPU, of several pipelines or of one, show what they show one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest
import torch
from models.nets import CLASSIC, SUBPIXEL, lively
from pictures import gradient, knobs, noise, tint
from pictures import one_thread as one_thread

from l2s_node.cuda.graph import GraphPipeline
from l2s_node.frame import Frame, PixelFormat, page_aligned
from l2s_node.models import engines
from l2s_node.models.capture import OnStream
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.pipeline import Player

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU: torch.cuda.is_available() says no"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]

CUDA = torch.device("cuda")
SIZE, CANVAS = (1280, 720), (448, 256)
MANY = 40
"""More pipelines than torch has streams: some share one."""

Make = Callable[..., GraphPipeline]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes pipelines that are closed at the end."""
    with ExitStack() as stack:

        def made(player: Player, ahead: int = 0) -> GraphPipeline:
            pipeline = GraphPipeline(CUDA, fuse=False, ahead=ahead)
            stack.enter_context(closing(pipeline))
            pipeline.use(player, 0.0)
            return pipeline

        yield made


@pytest.fixture(scope="module")
def engine() -> Iterator[Callable[[ModelCard], Engine]]:
    """An eager engine of a world, the same one each time."""
    held: dict[str, Engine] = {}

    def of(card: ModelCard) -> Engine:
        if card.architecture not in held:
            generator = lively(card)
            generator.draw_field(CANVAS[1], CANVAS[0], 5)
            shape = (1, 1, CANVAS[1], CANVAS[0])
            held[card.architecture] = engines.build("eager", generator, card, shape, CUDA)[0]
        return held[card.architecture]

    yield of
    for each in held.values():
        each.close()


def frames(count: int) -> list[Frame]:
    return [noise(PixelFormat.UYVY, SIZE, seed=i, smooth=8) for i in range(count)]


def settled(pipelines: list[GraphPipeline]) -> None:
    for pipeline in pipelines:
        pipeline.settle()


def test_a_stream_is_the_current_one_within_alone() -> None:
    before, one, other = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()
    with OnStream(one):
        assert torch.cuda.current_stream() == one
        with pytest.raises(ValueError, match="within"), OnStream(other):
            assert torch.cuda.current_stream() == other
            raise ValueError("within")
        assert torch.cuda.current_stream() == one
    assert torch.cuda.current_stream() == before


@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
def test_channels_that_overlap_show_what_they_show_one_after_the_other(
    make: Make, engine: Callable[[ModelCard], Engine], card: ModelCard
) -> None:
    """Bit for bit, with one engine for all, each with a dream, a detail and a memory of its own."""
    player = Player.of("shared", engine(card), CANVAS)
    straight, overlapped = ([make(player) for _ in range(MANY)] for _ in range(2))
    seen = frames(7)
    for i in range(8):
        now = i / 30
        params = [knobs(drift=n / 20, texture=1 + n / MANY, detail=8 + n, output_smoothing=0.1) for n in range(MANY)]
        mine = [seen[(n + i) % len(seen)] for n in range(MANY)]
        want = [p.step(f, k, now).planes[0].copy() for p, f, k in zip(straight, mine, params, strict=True)]
        for pipeline, frame, knob in zip(overlapped, mine, params, strict=True):
            pipeline.begin(frame, knob, now)
        for n, pipeline in enumerate(overlapped):
            assert np.array_equal(pipeline.finish().planes[0], want[n]), (i, n)
        settled([*straight, *overlapped])
    assert all(len(pipeline._programs) == 1 for pipeline in [*straight, *overlapped]), "some played step by step"
    if card is SUBPIXEL:
        assert not np.array_equal(want[0], want[7]), "they dream the same"


def test_what_is_prepared_beside_disturbs_no_channel(make: Make, engine: Callable[[ModelCard], Engine]) -> None:
    """Others are captured, warmed up and captured anew, on all of torch's streams, while one plays."""
    player = Player.of("shared", engine(SUBPIXEL), CANVAS)
    one, frame = make(player), frames(1)[0]
    for i in range(3):
        one.step(frame, knobs(), i / 30)
        one.settle()
    want = one.step(frame, knobs(), 1.0).planes[0].copy()
    others = [make(player) for _ in range(MANY)]
    for n, other in enumerate(others):
        other.step(frame, knobs(drift=1, blend="screen", mix=0.5), n / 30)  # asks for its graph
        assert np.array_equal(one.step(frame, knobs(), 1 + n / 30).planes[0], want), n
    while any(other._preparer.busy for other in others):
        assert np.array_equal(one.step(frame, knobs(), 3.0).planes[0], want)


# --- one frame ahead -------------------------------------------------------------------------------------------------

MEMORY = {"feedback": 0.6, "output_smoothing": 0.2, "input_smoothing": 0.1, "auto_levels": 1, "mix": 0.7}


@pytest.mark.parametrize("output", [None, (640, 360)], ids=["as it comes", "another size"])
def test_where_throughput_is_favored_the_same_pictures_come_one_later(output: tuple[int, int] | None) -> None:
    """A room writes over its frame as soon as it may; what each leaves in the memory, the next one finds."""
    straight, ahead = (GraphPipeline(CUDA, output, fuse=False, ahead=n) for n in (0, 1))
    with closing(straight), closing(ahead):
        for each in (straight, ahead):
            each.use(Player("tried", tint, CANVAS, tint), 0.0)
        pages = page_aligned((SIZE[1], 2 * SIZE[0]))
        room = Frame((pages,), PixelFormat.UYVY, *SIZE, seconds=0.0, number=0)
        want: list[np.ndarray] = []
        for i in range(60):
            values = {**MEMORY, "zoom": 1.1 + i / 40, "detail": 8 + i / 3, "brightness": i / 200}
            frame = noise(PixelFormat.UYVY, SIZE, seed=i % 9, smooth=8)
            want.append(straight.step(frame, knobs(**values), i / 30).planes[0].copy())
            pages[:] = frame.planes[0]
            ahead.begin(room, knobs(**values), i / 30)
            assert ahead.due is (i > 0)
            if ahead.due:
                made = ahead.finish()
                pages[:] = 77
                apart = np.abs(made.planes[0].astype(int) - want[made.number]).max()
                assert made.number == i - 1 and apart <= (3 if i < 30 else 1), i
            if i < 6:
                settled([straight, ahead])
        assert len(ahead._programs) == 2 and len(straight._programs) == 1


def test_worlds_change_while_a_frame_is_under_way(make: Make) -> None:
    straight, ahead = (make(Player("tried", tint, CANVAS, tint), n) for n in (0, 1))
    want: list[np.ndarray] = []
    seen = frames(5)
    for i in range(60):
        if i in (10, 30, 34):
            play, canvas = {10: (gradient, CANVAS), 30: (tint, (256, 256)), 34: (gradient, CANVAS)}[i]
            for each in (straight, ahead):
                each.use(Player(f"world {i}", play, canvas, play), i / 30)
        values = {"crossfade": 0.3, "output_smoothing": 0.1}
        want.append(straight.step(seen[i % 5], knobs(**values), i / 30).planes[0].copy())
        ahead.begin(seen[i % 5], knobs(**values), i / 30)
        while ahead.due:
            made = ahead.finish()
            assert np.abs(made.planes[0].astype(int) - want[made.number]).max() <= 3, made.number
        settled([straight, ahead])
    assert not ahead.crossfading
