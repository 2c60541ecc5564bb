"""Small worlds for tests, saved as a training would leave them: the network of a show, in a size that loads at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.picture import condition

CONDITION = {**condition.SETTINGS, "detail": [8, 32]}


def make_world(home: Path, name: str, size: str = "small", grey: float | None = None, **card: Any) -> Path:
    """Save a world with random weights into the user's folder `home` (``$L2S_HOME``); returns its file.

    Args:
        home: the folder that ``worlds`` lies in.
        name: of the world.
        size: "small", "medium" or "large", in name only.
        grey: the world is a flat grey, 0…1, whatever it sees; None leaves it random.
        card: what the card says else.
    """
    facts = {"architecture": "subpixel", "channels": (8, 8, 8), "multiple": 8, "resolution": 64, "seed": 1,
             "condition": CONDITION}  # fmt: skip
    made = ModelCard(name, size, **{**facts, **card})
    torch.manual_seed(sum(map(ord, name + size)))
    generator = store.instantiate(made).requires_grad_(False)
    if grey is not None:
        generator.head.weight.zero_()  # type: ignore[union-attr]
        generator.head.bias.fill_(math.atanh(2 * grey - 1))  # type: ignore[union-attr]
    path = home / "worlds" / name / f"{size}{store.SUFFIX}"
    store.save(path, generator, made)
    return path
