"""Streams: how many channels one process plays in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np

from l2s_node.bench._live import live
from l2s_node.bench._row import Row, Task, in_turns, timing
from l2s_node.bench._worlds import OURS, random_world, table_like
from l2s_node.config import RunConfig
from l2s_node.cuda_graph import create
from l2s_node.loader import canvas_of, draw_field
from l2s_node.models import engines
from l2s_node.params import Params
from l2s_node.pipeline import Pipeline, Player

METHOD = (
    "without a GPU a live node of so many channels, each a moving 720p30 pattern through flowers/small to null:, its "
    "slowest channel against one channel alone; on a GPU rounds of 1080p frames, one of each of so many channels of "
    "one world, all begun and then all finished as a node does it, against one after the other, in turns; bytes in "
    "host memory to bytes in host memory, random weights"
)
RATE = 30.0
LIVE = (2, 3)
"""Channels of the live runs; the goal is the first one's."""
FRAME = (1920, 1080)
CHANNELS = 64
TICK = 1e3 / 60
"""Milliseconds that all channels have together at 60 pictures a second."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    if task.device.type == "cpu":
        alone = _played(1, task.seconds)
        for count in LIVE:
            yield _live_row(count, _played(count, task.seconds), alone)
        return
    for architecture in (OURS, "classic"):
        yield _row(architecture, task)


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


def _row(architecture: str, task: Task) -> Row:
    """Channels of 1080p60 that the GPU has time for."""
    generator, card = random_world(architecture, "large")
    canvas = canvas_of(card, RunConfig(source="null:", sinks=("null:",)), FRAME, task.device)
    draw_field(generator, card, canvas)
    engine, _ = engines.build("auto", generator, card, (1, 1, canvas[1], canvas[0]), task.device)
    with ExitStack() as stack:
        stack.enter_context(closing(engine))
        pipelines = [stack.enter_context(closing(create(task.device))) for _ in range(CHANNELS)]
        for pipeline in pipelines:
            pipeline.use(Player.of("random", engine, canvas), 0.0)
        together, alone = _rounds(pipelines, task.seconds)
    fits, before = ([CHANNELS * TICK / ms for ms in times] for times in (together, alone))
    return timing(
        f"channels of 1080p60, {'our' if architecture == OURS else architecture} large at {canvas[0]}x{canvas[1]}",
        fits,
        "one after the other",
        before,
        unit="",
        more=True,
        goal=float(CHANNELS),
        note=f"{CHANNELS} channels take {np.median(together):.1f} ms on {engine.name} {engine.precision}",
    )


def _rounds(pipelines: list[Pipeline], seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of whole rounds, each channel once: all begun and then all finished, and one after the other."""
    # each channel has pages of its own, as its room would: they are locked for the GPU, which works once a page
    frames = [[table_like(FRAME, seed) for seed in range(2)] for _ in pipelines]
    number = 0

    def together() -> None:
        nonlocal number
        number += 1
        for pipeline, own in zip(pipelines, frames, strict=True):
            pipeline.begin(own[number % len(own)], Params(), number / 60)
        for pipeline in pipelines:
            pipeline.finish()

    def alone() -> None:
        nonlocal number
        number += 1
        for pipeline, own in zip(pipelines, frames, strict=True):
            pipeline.step(own[number % len(own)], Params(), number / 60)

    for _ in range(2):
        together()
        for pipeline in pipelines:
            pipeline.settle()
    return in_turns(together, alone, budget=seconds)
