"""Frame: the whole way of a picture, host memory to host memory, sample to compose, beside the same way in eager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from l2s_node.bench._row import Row, Task, timed, timing
from l2s_node.bench._worlds import OURS, random_world, table_like
from l2s_node.config import RunConfig
from l2s_node.cuda.graph import create
from l2s_node.loader import canvas_of, draw_field
from l2s_node.models import engines
from l2s_node.params import Params
from l2s_node.pipeline import Pipeline, Player

METHOD = (
    "single steps of one frame at a time, each from UYVY bytes in host memory to UYVY bytes in host memory; three "
    "frames in turn; random weights; against plain eager torch (on a GPU each operation is launched by itself)"
)
LONG = 20_000
"""Steps of the run that tells how even they are, on a GPU."""


@dataclass(frozen=True, slots=True)
class Case:
    """One picture's way; the goals are those of the project, of two CPU cores or of one H100."""

    architecture: str
    size: str
    frame: tuple[int, int]
    canvas: tuple[int, int] | None = None
    goal: float | None = None
    factor: float | None = None

    def named(self, canvas: tuple[int, int]) -> str:
        ours = "our" if self.architecture == OURS else self.architecture
        return f"{self.frame[1]}p → {ours} {self.size} at {canvas[0]}x{canvas[1]} → {self.frame[1]}p"


CASES = {
    "cpu": (Case(OURS, "small", (1280, 720), goal=6.0), Case(OURS, "small", (1920, 1080))),
    "cuda": (
        Case(OURS, "small", (1280, 720)),
        Case(OURS, "small", (1920, 1080)),
        Case(OURS, "large", (1920, 1080)),
        Case("classic", "large", (1920, 1080), canvas=(256, 256), goal=0.45, factor=8.0),
    ),
    "mps": (Case(OURS, "small", (1280, 720)), Case(OURS, "large", (1920, 1080))),
}


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    for case in CASES[task.device.type]:
        long = task.device.type == "cuda" and case.goal is not None
        fast, what, canvas = steps(case, task.device, "auto", most=LONG if long else 400, budget=60 if long else 3)
        slow, plain, _ = steps(case, task.device, "eager")
        yield timing(case.named(canvas), fast, plain, slow, goal=case.goal, factor_goal=case.factor, note=what)
        if long:
            p50, p99 = np.percentile(fast, (50, 99))
            yield Row("the same: 99th percentile by median", float(p99 / p50), "×", count=len(fast), goal=1.5)


def steps(
    case: Case, device: torch.device, engine: str, *, most: int = 400, budget: float = 3.0
) -> tuple[list[float], str, tuple[int, int]]:
    """(milliseconds of single steps, what ran, canvas)."""
    generator, card = random_world(case.architecture, case.size)
    config = RunConfig(source="null:", sinks=("null:",), canvas=case.canvas)
    canvas = canvas_of(card, config, case.frame, device)
    draw_field(generator, card, canvas)
    plain = engine == "eager"
    precision = "float16" if plain and device.type == "cuda" else "float32" if plain else "auto"
    player, _ = engines.build(engine, generator, card, (1, 1, canvas[1], canvas[0]), device, precision)
    pipeline = Pipeline(device) if plain else create(device)
    with closing(player), closing(pipeline):
        pipeline.use(Player.of("random", player, canvas), 0.0)
        step = _stepping(pipeline, case.frame)
        step()  # what it meets is prepared now
        pipeline.settle()
        return timed(step, budget, most), f"{player.name} {player.precision}", canvas


def _stepping(pipeline: Pipeline, size: tuple[int, int]) -> Callable[[], object]:
    frames = [table_like(size, seed) for seed in range(3)]
    params, count = Params(), 0

    def step() -> None:
        nonlocal count
        count += 1
        pipeline.step(frames[count % 3], params, count / 30)

    return step
