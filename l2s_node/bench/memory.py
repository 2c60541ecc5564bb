"""Memory: the resident set over a long run with knobs being turned, beside itself soon after the start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psutil
import torch

from l2s_node.bench._row import Row, Task
from l2s_node.bench._worlds import OURS, random_world, table_like
from l2s_node.cuda.graph import create
from l2s_node.loader import draw_field
from l2s_node.models import engines
from l2s_node.params import Params
from l2s_node.pipeline import Player

METHOD = "640x360 frames through our small world, knobs turned every 50 frames; what is resident, and what torch holds"
SETTLED, LONG = 1_000, 20_000
CANVAS = (256, 256)
TURNED = (Params(), Params(mix=0.5), Params(feedback=0.8, output_smoothing=0.3), Params(detail=40.0, zoom=2.0))


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    generator, card = random_world(OURS, "small")
    draw_field(generator, card, CANVAS)
    engine, _ = engines.build("auto", generator, card, (1, 1, *CANVAS), task.device)
    frame, process, pipeline = table_like((640, 360), 0), psutil.Process(), create(task.device)
    settled = on_gpu = 0.0
    with closing(engine), closing(pipeline):
        pipeline.use(Player.of("random", engine, CANVAS), 0.0)
        for n in range(LONG + SETTLED):
            pipeline.step(frame, replace(TURNED[n // 50 % len(TURNED)]), n / 60)
            if n < SETTLED:
                pipeline.settle()  # what it meets is prepared while nothing is weighed yet
            if n == SETTLED:
                settled, on_gpu = process.memory_info().rss / 1e6, _on_gpu(task.device)
        yield _row("resident set", process.memory_info().rss / 1e6, settled)
        if task.device.type == "cuda":
            yield _row("on the GPU", _on_gpu(task.device), on_gpu)


def _row(what: str, end: float, settled: float) -> Row:
    note = f"growth {end - settled:+.1f} MB"
    what = f"{what} after {LONG:,} more frames"
    return Row(what, end, "MB", baseline=settled, against=f"after {SETTLED:,}", note=note)


def _on_gpu(device: torch.device) -> float:
    return torch.cuda.memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
