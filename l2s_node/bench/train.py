"""Train: pictures a second that `l2s train` takes in, beside the original's recipe and network on the same machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import torch

from l2s_node.bench._row import Row, Task, spread_of, timed
from l2s_node.errors import L2SError
from l2s_node.train.data import Album
from l2s_node.train.group import Group
from l2s_node.train.loop import Step, make_batches, make_nets, prepare
from l2s_node.train.settings import TrainSettings

METHOD = (
    "single steps of both nets with making the batch, as `l2s train` does it (on an NVIDIA GPU as CUDA graphs), from "
    "synthetic pictures, half of our recipe's inputs foreign; against pix2pix with the original's small network; where "
    "there are several GPUs, also on all of them at once"
)
BATCH = {"cuda": 48, "mps": 8, "cpu": 4}
PICTURES = 16
SIZE = "small"
"""Each size takes the compiler a minute or two."""
GOAL = 3000.0
"""Pictures a second, on one H100."""
GROUP = "l2s_node.bench._group"
PATIENCE = 400.0
"""Seconds for which several GPUs are waited for."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    batch = BATCH[task.device.type]
    theirs = _rates("classic", "small", batch, task)
    ours = _rates("dream", SIZE, batch, task)
    goal = GOAL if task.device.type == "cuda" else None
    yield Row(
        f"training our {SIZE}, batch {batch}", statistics.median(ours), "/s", spread_of(ours), len(ours),
        statistics.median(theirs), "pix2pix, its small", spread_of(theirs), more=True, goal=goal,
    )  # fmt: skip
    yield from _together(SIZE, batch, ours)


def _together(size: str, batch: int, alone: list[float]) -> Iterator[Row]:
    """The same on all GPUs of this machine, by `torchrun`, where there are several."""
    count = torch.cuda.device_count()
    if count < 2:
        return
    ranks = ("--standalone", "--nproc-per-node", str(count), "--virtual-local-rank")  # one GPU's code does for all
    command = (sys.executable, "-m", "torch.distributed.run", *ranks, "-m", GROUP, size, str(batch))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as err:
        raise L2SError(f"training on {count} GPUs took more than {PATIENCE:.0f} s") from err
    if done.returncode:
        raise L2SError(f"training on {count} GPUs failed: {done.stderr.strip()[-400:]}")
    rates = [count * batch / ms * 1e3 for ms in json.loads(done.stdout.splitlines()[-1])]
    yield Row(
        f"training our {size} on {count} GPUs, batch {batch} each", statistics.median(rates), "/s", spread_of(rates),
        len(rates), statistics.median(alone), "on one", spread_of(alone), more=True, factor_goal=0.9 * count,
    )  # fmt: skip


def _rates(recipe: str, size: str, batch: int, task: Task) -> list[float]:
    """Pictures a second of single steps."""
    step = make_step(recipe, size, batch, Group(task.device))

    def whole() -> None:
        step()
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)

    return [batch / ms * 1e3 for ms in timed(whole, budget=task.seconds)]


def make_step(recipe: str, size: str, batch: int, group: Group) -> Step:
    """One step on synthetic pictures, made as `train.loop.run` makes it."""
    settings = TrainSettings((), "bench", size=size, recipe=recipe, batch=batch, images=1)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = group.device.type == "cuda"
    nets = make_nets(settings, group)
    album = Album([_picture(seed) for seed in range(PICTURES)], group.device)
    return prepare(settings, nets, make_batches(settings, album, album, batch), group)


def _picture(seed: int) -> np.ndarray:
    """``(320, 320, 3)`` uint8: large shapes with a little noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 240, (8, 8, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    return np.ascontiguousarray(blocks + rng.integers(0, 16, blocks.shape, dtype=np.uint8))
