"""Train: pictures a second that `l2s train` takes in, beside the original's recipe and network on the same machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np
import torch

from l2s_node.bench._row import Row, Task, spread_of, timed
from l2s_node.models import store
from l2s_node.train.data import Album, Batches
from l2s_node.train.loop import Step, prepare
from l2s_node.train.nets import Nets
from l2s_node.train.recipes import RECIPES
from l2s_node.train.settings import TrainSettings, draft_card

METHOD = (
    "single steps of both nets with making the batch, as `l2s train` does it (on an NVIDIA GPU as CUDA graphs), from "
    "synthetic pictures; half of our recipe's inputs are foreign; against pix2pix with the original's small network"
)
BATCH = {"cuda": 48, "mps": 8, "cpu": 4}
SIZES = {"cuda": ("small", "medium", "large"), "mps": ("small",), "cpu": ("small",)}
PICTURES = 16


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    batch = BATCH[task.device.type]
    theirs = _rates("classic", "small", batch, task)
    for size in SIZES[task.device.type]:
        ours = _rates("dream", size, batch, task)
        yield Row(
            f"training our {size}, batch {batch}", statistics.median(ours), "/s", spread_of(ours), len(ours),
            statistics.median(theirs), "pix2pix, its small", spread_of(theirs), more=True,
        )  # fmt: skip


def _rates(recipe: str, size: str, batch: int, task: Task) -> list[float]:
    """Pictures a second of single steps."""
    step = _step(TrainSettings((), "bench", size=size, recipe=recipe, batch=batch, minutes=1.0), task.device)

    def whole() -> None:
        step()
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)

    return [batch / ms * 1e3 for ms in timed(whole, budget=task.seconds)]


def _step(settings: TrainSettings, device: torch.device) -> Step:
    """One step, made as `train.loop.run` makes it."""
    assert settings.batch is not None
    recipe = RECIPES[settings.recipe]
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    nets = Nets(store.instantiate(draft_card(settings)), recipe.critic(device), recipe.rates, device)
    album = Album([_picture(seed) for seed in range(PICTURES)], device)
    own = math.ceil(settings.batch * recipe.own)
    return prepare(settings, nets, Batches(album, album, settings.resolution, settings.batch, own))


def _picture(seed: int) -> np.ndarray:
    """``(320, 320, 3)`` uint8: large shapes with a little noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 240, (8, 8, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    return np.ascontiguousarray(blocks + rng.integers(0, 16, blocks.shape, dtype=np.uint8))
