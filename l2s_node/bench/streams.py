"""Streams: how many channels one process plays in time."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np

from l2s_node.bench._live import live
from l2s_node.bench._row import Row, Task, in_turns, timing
from l2s_node.bench._worlds import OURS, random_world, table_like
from l2s_node.config import FAVOR, RunConfig
from l2s_node.cuda.chorus import Choir
from l2s_node.cuda.graph import create
from l2s_node.frame import Frame
from l2s_node.loader import canvas_of, draw_field
from l2s_node.models import engines
from l2s_node.models.engines import Engine
from l2s_node.params import Params
from l2s_node.pipeline import Pipeline, Player

METHOD = (
    "without a GPU a live node of so many channels, each a moving 720p30 pattern through flowers/small to null:, its "
    "slowest channel against one channel alone; on a GPU rounds of 1080p frames, one of each of so many channels of "
    "one world, all begun and then all finished as a node does it, each by itself and then several a launch, both "
    "against one after the other, in turns; before that one channel alone, whichever --favor; bytes in host memory to "
    "bytes in host memory, random weights"
)
RATE = 30.0
LIVE = (2, 3)
"""Channels of the live runs; the goal is the first one's."""
FRAME = (1920, 1080)
CHANNELS = 64
STILL = Params(crossfade=0.0)
TICK = 1e3 / 60
"""Milliseconds that all channels have together at 60 pictures a second."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    if task.device.type == "cpu":
        alone = _played(1, task.seconds)
        for count in LIVE:
            yield _live_row(count, _played(count, task.seconds), alone)
        return
    yield from _on_gpu(task)


def _played(count: int, seconds: float) -> dict[str, dict[str, float]]:
    """The summaries of the channels of a live node."""
    ways = [part for n in range(count) for part in ("--channel", f"ch{n + 1}:pattern:table>null:")]
    with live(*ways, "--seconds", str(seconds)) as node:
        node.process.wait(seconds + 120)
    channels: dict[str, dict[str, float]] = node.summary["channels"]
    return channels


def _live_row(count: int, played: dict[str, dict[str, float]], alone: dict[str, dict[str, float]]) -> Row:
    """The slowest channel's pictures a second."""
    (one,) = alone.values()
    slowest = min(played.values(), key=lambda each: each["frames_in"] / each["seconds"])
    steps = ", ".join(f"{each['step_ms_p50']:.1f}" for each in played.values())
    lost = sum(each["dropped_input"] for each in played.values())
    return Row(
        f"{count} channels 720p30 → flowers/small: the slowest",
        slowest["frames_in"] / slowest["seconds"],
        "FPS",
        baseline=one["frames_in"] / one["seconds"],
        against="one alone",
        more=True,
        goal=0.99 * RATE if count == LIVE[0] else None,
        note=f"steps {steps} ms, alone {one['step_ms_p50']:.1f}; passed over {lost:.0f}",
    )


def _on_gpu(task: Task) -> Iterator[Row]:
    """Channels of 1080p60 that the GPU has time for."""
    generator, card = random_world(OURS, "large")
    canvas = canvas_of(card, RunConfig(source="null:", sinks=("null:",)), FRAME, task.device)
    draw_field(generator, card, canvas)

    def built(name: str, count: int) -> Engine:
        return engines.build(name, generator, card, (count, 1, canvas[1], canvas[0]), task.device)[0]

    large = f"our large at {canvas[0]}x{canvas[1]}"
    what = f"channels of 1080p60, {large}"
    with ExitStack() as stack:
        engine = stack.enter_context(closing(built("auto", 1)))
        yield _ahead(large, engine, canvas, task)
        choir = stack.enter_context(closing(Choir(task.device)))
        pipelines = [stack.enter_context(closing(create(task.device, choir=choir))) for _ in range(CHANNELS)]
        rounds = _Rounds(pipelines)
        player = Player.of("random", engine, canvas)
        rounds.use(player)
        yield _fits(f"{what}, overlapped", rounds, engine, task.seconds)
        rounds.use(dataclasses.replace(player, batched=functools.partial(built, engine.name)))
        choir.settle()
        rounds.settle()
        yield _fits(f"{what}, several a launch", rounds, engine, task.seconds, float(CHANNELS))


def _ahead(large: str, engine: Engine, canvas: tuple[int, int], task: Task) -> Row:
    """One channel whose frames overlap, against one whose frames go straight through."""
    with ExitStack() as stack:
        made = [stack.enter_context(closing(create(task.device, favor=favor))) for favor in FAVOR]
        straight, ahead = (_Rounds([pipeline]) for pipeline in made)
        for each in (straight, ahead):
            each.use(Player.of("random", engine, canvas))
        times = in_turns(ahead.together, straight.together, budget=task.seconds)
    return timing(f"1080p → {large} → 1080p, throughput favored", times[0], "latency favored", times[1])


def _fits(what: str, rounds: _Rounds, engine: Engine, seconds: float, goal: float | None = None) -> Row:
    together, alone = in_turns(rounds.together, rounds.alone, budget=seconds)
    fits, before = ([CHANNELS * TICK / ms for ms in times] for times in (together, alone))
    took, begun = float(np.median(together)), float(np.median(rounds.begun[-len(together) :]))
    note = f"{CHANNELS} take {took:.1f} ms, begun after {begun:.1f}; {engine.name} {engine.precision}, {rounds.seated}"
    return timing(what, fits, "one after the other", before, unit="", more=True, goal=goal, note=note)


class _Rounds:
    """Each channel's frame once: all begun and then all finished as a node does it, or one after the other.

    Attributes:
        begun: milliseconds until all were begun, of each round of the former kind.
    """

    def __init__(self, pipelines: list[Pipeline]) -> None:
        self._pipelines = pipelines
        # each channel has pages of its own, as its room would: they are locked for the GPU, which works once a page
        self._frames = [[table_like(FRAME, seed) for seed in range(2)] for _ in pipelines]
        self._number = 0
        self.begun: list[float] = []

    def use(self, player: Player) -> None:
        for pipeline in self._pipelines:
            pipeline.use(player, self._number / 60)
        self.settle()

    def settle(self) -> None:
        """What a round asks for is there for the next one."""
        for _ in range(4):
            self.together()
            for pipeline in self._pipelines:
                pipeline.settle()

    @property
    def seated(self) -> str:
        """How many share a launch."""
        places = [getattr(pipeline, "place", None) for pipeline in self._pipelines]
        count = max((place.chorus.count for place in places if place is not None), default=1)
        return f"{count} at once" if count > 1 else "each by itself"

    def together(self) -> None:
        start = time.perf_counter()
        for pipeline, frame in self._due():
            pipeline.begin(frame, STILL, self._number / 60)
        self.begun.append((time.perf_counter() - start) * 1e3)
        for pipeline in self._pipelines:
            if pipeline.due:
                pipeline.finish()

    def alone(self) -> None:
        for pipeline, frame in self._due():
            pipeline.step(frame, STILL, self._number / 60)

    def _due(self) -> Iterator[tuple[Pipeline, Frame]]:
        self._number += 1
        for pipeline, own in zip(self._pipelines, self._frames, strict=True):
            yield pipeline, own[self._number % len(own)]
