"""A training as small as it can be, for this process or another one: `quick()` before `loop.run`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from l2s_node import config
from l2s_node.train import recipes
from l2s_node.train.critics import Critics
from l2s_node.train.settings import TrainSettings

LEVELS = (4, 6, 8)


def critics(device: torch.device) -> Critics:
    """Narrow ones, and means of pixels instead of a network's features."""
    return Critics(lambda pictures: [F.avg_pool2d(pictures, 2**i) for i in range(2, 6)], (3, 3, 3, 3), (8, 8, 8))


def quick(patch: Any = None) -> None:
    """No demo clip (its 1,189 frames take seconds to read) and small critics; through `patch` for a test only."""
    recipe = dataclasses.replace(recipes.RECIPES["dream"], critic=critics)
    if patch is None:
        config.demo_clip, recipes.RECIPES["dream"] = no_clip, recipe
    else:
        patch.setattr(config, "demo_clip", no_clip)
        patch.setitem(recipes.RECIPES, "dream", recipe)


def no_clip() -> Path:
    return Path("no clip.mp4")


def small(pictures: Path, out: Path, **other: Any) -> TrainSettings:
    """Settings of a training of twelve pictures, three steps."""
    given = {"images": 12, "batch": 4, "resolution": 128, "channels": LEVELS, "device": "cpu"}
    return TrainSettings((pictures,), "meadow", out=out, **{**given, **other})
