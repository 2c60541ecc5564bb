"""Play: a world as `score` plays it, and what it plays on.

The network runs as the definition has it (torch, float32) with its own card's settings, in batches where that changes
nothing, or on an engine, as in a show; what it is given is made by `picture.condition`, as on stage.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from l2s_node.errors import ModelError, TrainError
from l2s_node.loader import draw_field
from l2s_node.models import engines, store
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.params import Params
from l2s_node.picture import condition
from l2s_node.train.data import CELL, Album, to_input
from l2s_node.train.examples import examples
from l2s_node.train.pictures import Pixels, gather_all

BATCH = {"cuda": 32, "cpu": 8, "mps": 16}

FEWEST = 8
"""Pictures below which nothing can be said of a world."""

FRAMES = 96
"""Frames that are taken from each video."""

MOVE = 1 / CELL
"""How far the object moves, in parts of the side: as in the training."""

Play = Callable[[Tensor], Tensor]
"""Conditioned luma ``(n, 1, h, w)`` 0…1 to pictures ``(n, 3, h, w)`` in [-1, 1]."""

log = logging.getLogger(__name__)

# --- worlds ----------------------------------------------------------------------------------------------------------


class World:
    """A world on a device, played as its card says. It is a `Play`.

    Args:
        path: the weights file.
        device: where it plays.
        precision: that of the engine that plays it; None for the definition itself.

    Attributes:
        card: the world's.
        side: of the square that it is played on, pixels: the one that it was trained on.
        cells: detail that it is played with: the node's default, or the nearest that it was trained with.

    Raises:
        ModelError: the file can't be read, or was made for another input than the node gives.
        EngineError: no engine plays it in that precision here.
    """

    def __init__(self, path: Path, device: torch.device, precision: str | None = None) -> None:
        self._generator, self.card = store.load(path)
        condition.check(self.card.condition)
        if self.card.input_channels != 1:
            raise ModelError(f"{path} takes {self.card.input_channels} channels, a show gives one: luma")
        self.side = self.card.resolution
        self.cells = _cells(self.card)
        # with statistics of the picture at hand, a batch would see those of all its pictures
        self._together = self.card.norm == "running" and precision is None
        draw_field(self._generator, self.card, (self.side, self.side))
        self._engine = None if precision is None else engine_for(self._generator, self.card, device, precision)
        self._run: Callable[[Tensor], Tensor] = self._engine or self._generator.to(device).requires_grad_(False)

    def __call__(self, luma: Tensor) -> Tensor:
        x = to_input(luma)
        if self._together:
            return self._run(x)
        return torch.cat([self._run(one[None]).clone() for one in x])  # an engine's picture is gone with the next

    def close(self) -> None:
        """Release the engine, if it has one."""
        if self._engine is not None:
            self._engine.close()


def engine_for(generator: Generator, card: ModelCard, device: torch.device, precision: str | None) -> Engine:
    """The engine that a show would take here for a world on its square, in `precision` (None for "auto").

    8 bits are made on the spot where `l2s build` didn't.

    Raises:
        EngineError: there is none.
    """
    draw_field(generator, card, (card.resolution, card.resolution))
    shape = (1, 1, card.resolution, card.resolution)
    engine, _ = engines.build("auto", generator, card, shape, device, precision or "auto", Prebuilt(examples=examples))
    return engine


def _cells(card: ModelCard) -> float:
    trained = card.condition.get("detail", [0, math.inf])
    if not isinstance(trained, list) or [type(cells) in (int, float) for cells in trained] != [True, True]:
        raise ModelError(f"the model card's detail must be two numbers of cells, not {trained!r}")
    return float(min(max(Params().detail, trained[0]), trained[1]))


def as_grey(luma: Tensor) -> Tensor:
    """The `Play` that does nothing: what goes in comes out, grey."""
    return to_input(luma).expand(-1, 3, -1, -1)


# --- what is played on -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """Pictures of a world that it never saw, and other things, as squares of one size on a device.

    Attributes:
        own: the world's.
        foreign: of other things (may be empty).
        side: of the squares, pixels.
    """

    own: Album
    foreign: Album
    side: int

    @property
    def device(self) -> torch.device:
        return self.own.device

    def real(self, most: int | None = None) -> Iterator[Tensor]:
        """Batches ``(n, 3, side, side)`` in [-1, 1] of the world's own pictures, the first `most`."""
        for batch in self._squares(self.own, most):
            yield batch * 2 - 1

    def luma(self, foreign: bool, cells: float, most: int | None = None) -> Iterator[Tensor]:
        """Batches of inputs ``(n, 1, side, side)`` 0…1, conditioned, of the world's own pictures or of others."""
        for batch in self._squares(self.foreign if foreign else self.own, most):
            yield condition.shrink_and_grow(condition.luma_of(batch), cells)

    def objects(self, cells: float, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of inputs as above with an object on them, before and after it moved."""
        for batch in self._squares(self.own, most):
            places = (with_disc(condition.luma_of(batch), at) for at in (0.5 - MOVE / 2, 0.5 + MOVE / 2))
            before, after = (condition.shrink_and_grow(luma, cells) for luma in places)
            yield before, after

    def _squares(self, album: Album, most: int | None) -> Iterator[Tensor]:
        count = len(album) if most is None else min(most, len(album))
        for which in torch.arange(count, device=self.device).split(BATCH[self.device.type]):
            yield album.middle(which, self.side)


def with_disc(luma: Tensor, at: float) -> Tensor:
    """A disc, a quarter of the side wide, in the middle of the height and `at` (0…1) of the width of ``(n, 1, h, w)``.

    It is bright on a dark ground and dark on a bright one.
    """
    height, width = luma.shape[-2:]
    y = ((torch.arange(height, device=luma.device) + 0.5) / height - 0.5).view(-1, 1)
    x = ((torch.arange(width, device=luma.device) + 0.5) / width - at).view(1, -1)
    inside = x.square() + y.square() < 1 / 64
    tone = torch.where(luma.mean((2, 3), keepdim=True) < 0.5, 0.9, 0.1)
    return torch.where(inside, tone, luma)


def flats(side: int, device: torch.device) -> Tensor:
    """Luma ``(8, 1, side, side)`` of flat fields, 0.15 … 0.85."""
    return torch.linspace(0.15, 0.85, 8, device=device).view(-1, 1, 1, 1).expand(-1, -1, side, side)


def read(own: list[Path], foreign: list[Path], side: int, most: int, device: torch.device) -> Material:
    """Read all pictures, at most `most` of each kind (spread over all), and put them on the device.

    Raises:
        TrainError: a path is not there, or there are too few pictures.
    """
    pictures = gather_all(own, side, FRAMES)
    if len(pictures) < FEWEST:
        where = ", ".join(map(str, own))
        raise TrainError(f"{where} has {len(pictures)} usable pictures, a score needs at least {FEWEST}")
    others = gather_all(foreign, side, FRAMES)
    if others and len(others) < FEWEST:
        raise TrainError(f"{', '.join(map(str, foreign))} has {len(others)} usable pictures, it needs {FEWEST}")
    log.info("scored on %d pictures and %d foreign ones", min(len(pictures), most), min(len(others), most))
    return Material(Album(_some(pictures, most), device), Album(_some(others, most), device), side)


def _some(pictures: list[Pixels], most: int) -> list[Pixels]:
    """At most `most` of them, spread over all."""
    step = max(len(pictures) / most, 1.0)
    return [pictures[int(index * step)] for index in range(min(most, len(pictures)))]


@contextmanager
def exactly() -> Iterator[None]:
    """Without gradients, and without the rounding to 10 bits that torch otherwise allows convolutions on a GPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
