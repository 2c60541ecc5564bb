"""TrainSettings: everything that a training starts from, checked before the first picture is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from l2s_node.errors import TrainError
from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import CHANNELS
from l2s_node.picture import condition
from l2s_node.train.data import DETAIL
from l2s_node.train.recipes import RECIPES

MINUTES = 10.0
"""How long to train where neither minutes nor images are given."""

LEAST = 4
"""Pictures in a batch: with fewer there is no flat input among them."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that a training starts from.

    Attributes:
        pictures: folders, picture files and videos of the world.
        name: the world's name; its folder under `out`.
        size: "small", "medium" or "large".
        out: the folder of worlds; the result is ``out/name/size.safetensors``.
        minutes: the whole takes so long, reading, compiling and saving included; the schedule fits it.
        images: train until so many pictures were seen; with `minutes` whichever comes first.
        start: the world, by name or file, whose weights it starts from; None starts from nothing.
        resume: go on with the unfinished training of this name and size.
        recipe: key of `RECIPES`.
        seed: of everything that is drawn at random, the played seed field included.
        device: "auto", "cpu", "cuda" or "mps".
        foreign: folders and videos of other things that a camera may see (hands, tables), as inputs only.
        batch: pictures in a step; None for 48 on a GPU and 4 without.
        resolution: side of the square that is trained on, pixels.
        channels: of the generator's levels; None for those of `size`.
        frames: how many to take from each video.
        licence: of the weights, for the card.
        save_seconds: between checkpoints.
        sheet_seconds: between contact sheets.
    """

    pictures: tuple[Path, ...]
    name: str
    size: str = "small"
    out: Path = Path("worlds")
    minutes: float | None = None
    images: int | None = None
    start: str | None = None
    resume: bool = False
    recipe: str = "dream"
    seed: int = 0
    device: str = "auto"
    foreign: tuple[Path, ...] = ()
    batch: int | None = None
    resolution: int = 256
    channels: tuple[int, ...] | None = None
    frames: int = 600
    licence: str = ""
    save_seconds: float = 45.0
    sheet_seconds: float = 60.0

    @property
    def world(self) -> Path:
        """The result."""
        return self.out / self.name / f"{self.size}{store.SUFFIX}"

    @property
    def workshop(self) -> Path:
        """The folder of checkpoint and contact sheets."""
        return self.out / self.name / f"{self.size}.training"

    @property
    def checkpoint(self) -> Path:
        """There while the training is unfinished."""
        return self.workshop / "checkpoint.pt"

    @property
    def seconds(self) -> float | None:
        """How long it may take; None where only the images count."""
        minutes = MINUTES if self.minutes is None and self.images is None else self.minutes
        return None if minutes is None else 60 * minutes

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to fit."""
        card = draft_card(self)
        mine = {"recipe": self.recipe, "seed": self.seed}
        return mine | {"channels": list(card.channels), "resolution": card.resolution, "condition": card.condition}


def check(settings: TrainSettings) -> None:
    """Refuse what can't be trained.

    Raises:
        TrainError: says what.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,59}", settings.name):
        raise TrainError(f"a world's name takes letters, digits, dots, dashes and underscores, not {settings.name!r}")
    if settings.recipe not in RECIPES:
        raise TrainError(f"there is no recipe {settings.recipe!r}; there are {', '.join(RECIPES)}")
    if settings.size not in store.SIZES:
        raise TrainError(f"there is no size {settings.size!r}; there are {', '.join(store.SIZES)}")
    if any(limit is not None and not limit > 0 for limit in (settings.minutes, settings.images)):
        raise TrainError("minutes and images must be greater than 0")
    if settings.batch is not None and settings.batch < LEAST:
        raise TrainError(f"a batch must have at least {LEAST} pictures, not {settings.batch}")
    if settings.checkpoint.exists() and not settings.resume:
        raise TrainError(f"{settings.workshop} holds an unfinished training: go on with --resume, or remove it")
    if settings.resume and not settings.checkpoint.exists():
        raise TrainError(f"there is no unfinished training to resume: {settings.checkpoint} is not there")


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" takes an NVIDIA GPU, then Apple's, then the CPU.

    Raises:
        TrainError: it is not there.
    """
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, there in have.items() if there)
    if not have.get(wanted, False):
        there = ", ".join(name for name, is_there in have.items() if is_there)
        raise TrainError(f"there is no device {wanted!r} for training here; there is {there}")
    return torch.device(wanted)


def draft_card(settings: TrainSettings) -> ModelCard:
    """The card of the world to be, without what only the training will know.

    Raises:
        TrainError: the resolution doesn't fit the number of levels.
    """
    architecture = RECIPES[settings.recipe].architecture
    channels = settings.channels or CHANNELS[architecture][settings.size]
    multiple = 2 ** len(channels)
    if settings.resolution % multiple:
        raise TrainError(f"{len(channels)} levels need a resolution in steps of {multiple}, not {settings.resolution}")
    return ModelCard(
        name=settings.name,
        size=settings.size,
        architecture=architecture,
        channels=channels,
        resolution=settings.resolution,
        multiple=multiple,
        seed=settings.seed if architecture != "classic" else None,
        condition={**condition.SETTINGS, "detail": list(DETAIL)},
        licence=settings.licence,
    )
