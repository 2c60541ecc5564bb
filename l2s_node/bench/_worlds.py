"""Worlds and frames to measure with.

Weights are random: a convolution takes as long whatever it multiplies (numbers far from 0 and from the smallest ones,
so that no denormals slow it down).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from l2s_node.frame import Frame, PixelFormat, page_aligned
from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import CHANNELS, Generator
from l2s_node.picture import condition

OURS = "subpixel"
"""The architecture that our own worlds have."""


def random_world(architecture: str, size: str) -> tuple[Generator, ModelCard]:
    """A world of that network whose weights are as they start: (generator, card)."""
    channels = CHANNELS[architecture][size]
    card = ModelCard(
        name="random",
        size=size,
        architecture=architecture,
        channels=channels,
        multiple=2 ** len(channels),
        condition=dict(condition.SETTINGS),
        seed=None if architecture == "classic" else 0,
    )
    torch.manual_seed(0)
    return store.instantiate(card).eval(), card


def table_like(size: tuple[int, int], seed: int) -> Frame:
    """A UYVY frame of (width, height): large shapes with a little noise on them, as a camera gives."""
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (size[1] // 40 + 1, size[0] // 20 + 1), dtype=np.uint8)
    blocks = np.kron(small, np.ones((40, 40), np.uint8))
    plane = page_aligned((size[1], 2 * size[0]))  # as the rooms' are
    plane[:] = blocks[: size[1], : 2 * size[0]] + rng.integers(0, 8, plane.shape, dtype=np.uint8)
    return Frame((plane,), PixelFormat.UYVY, *size, seconds=0.0, number=seed, rate=Fraction(30))
