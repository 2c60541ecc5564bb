"""Examples: inputs like those of a show, to find ranges for 8 bits by, and to compare pictures on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node import config
from l2s_node.train.data import Album, Batches
from l2s_node.train.pictures import gather_all

COUNT = 192
"""With half as many, rare inputs of large worlds fell out of the ranges."""
FRAMES = 96
"""That are taken from the demo clip."""
BATCH = 24


def examples(shape: tuple[int, int, int, int], count: int = COUNT, seed: int = 0) -> Tensor:
    """`count` conditioned inputs ``(count, 1, h, w)`` float32 in [-1, 1] on the CPU, for the canvas of `shape`.

    They are drawn as the trainer draws them, with the demo clip for the pictures of the world: half of them parts of
    it at mild knobs; the others flats, shapes and parts of the clip that are turned, at wild ones. All have detail of 8
    to 32 cells and a webcam's noise. The same seed gives the same ones.

    Raises:
        TrainError: the clip can't be read.
    """
    height, width = shape[2:]
    side = min(height, width)
    cpu = torch.device("cpu")
    clip = Album(gather_all([config.demo_clip()], side, FRAMES), cpu)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = Batches(clip, clip, side, BATCH, BATCH // 2)
        drawn = [
            F.interpolate(batches.draw().inputs(), (height, width), mode="bilinear") for _ in range(0, count, BATCH)
        ]
    return torch.cat(drawn)[:count].contiguous()
