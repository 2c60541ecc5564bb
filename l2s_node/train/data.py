"""Batches for the training, made on the device from pictures that lie there as uint8.

Every picture's input is made by `picture.condition`, the very code that plays on stage; only the knobs are drawn at
random here. Half of a batch (in the dream recipe) is *foreign*: inputs that come from no picture of the world, such as
a table, a hand, random shapes or nothing at all, because that is what a venue's camera will see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l2s_node.picture import condition
from l2s_node.train.pictures import Pixels

DETAIL = (8, 32)
"""Fewest and most cells across the picture that a training draws (`condition.shrink_and_grow`)."""

CELL = 16
"""An object moves by one such part of the side: a cell of the detail that a show starts with."""

SENSOR_NOISE = 0.01
"""Standard deviation of the noise on a conditioned input, of full range 0…1: a webcam's, indoors."""


class Album:
    """Pictures of any sizes as one flat buffer on the device, four bytes a pixel, so that crops are made there."""

    def __init__(self, pictures: Sequence[Pixels], device: torch.device) -> None:
        self.device = device
        sizes = torch.tensor([p.shape[:2] for p in pictures], dtype=torch.int64).view(-1, 2)
        self.height, self.width = sizes.to(device).unbind(1)
        ends = sizes.prod(1).cumsum(0)
        self.start = (ends - sizes.prod(1)).to(device)
        # a pixel's three bytes and a spare one are gathered as one int32: a third of the reads
        self.pixels = torch.zeros(int(ends[-1]) if len(ends) else 0, dtype=torch.int32, device=device)
        places = self.pixels.view(torch.uint8).view(-1, 4)[:, :3]
        for picture, end in zip(pictures, ends.tolist(), strict=True):
            flat = torch.from_numpy(picture).reshape(-1, 3)
            places[end - len(flat) : end] = flat.to(device)

    def __len__(self) -> int:
        return len(self.start)

    def crops(self, count: int, size: int, scale: tuple[float, float], turn: bool = False) -> Tensor:
        """Random square crops ``(count, 3, size, size)`` float 0…1, mirrored half of the time.

        Args:
            count: how many, each from a picture drawn at random.
            size: pixels of a side.
            scale: least and greatest side of what is cropped, as part of the picture's short side.
            turn: also turned by 90° half of the time.
        """
        device = self.device
        which = torch.randint(len(self), (count,), device=device)
        low, high = scale
        part = low + (high - low) * torch.rand(count, device=device)
        place = torch.rand(2, count, device=device)
        crops = self.cut(which, size, part, place, mirror=torch.rand(count, device=device) < 0.5)
        return torch.where(coin(count, device), crops.mT, crops) if turn else crops

    def middle(self, which: Tensor, size: int) -> Tensor:
        """The greatest centred squares of the pictures `which` ``(n,)``: ``(n, 3, size, size)`` float 0…1."""
        ones = torch.ones(len(which), device=self.device)
        return self.cut(which, size, ones, torch.full((2, len(which)), 0.5, device=self.device))

    def cut(self, which: Tensor, size: int, part: Tensor, place: Tensor, mirror: Tensor | None = None) -> Tensor:
        """Squares of `part` of the short side at `place` (2, n: down, across; 0…1), bilinear, half-pixel centres.

        Those that `mirror` ``(n,)`` names are mirrored left to right. ``(n, 3, size, size)`` float, channels_last.
        """
        height, width, start = self.height[which], self.width[which], self.start[which]
        side = part * torch.minimum(height, width)
        y, y_low, y_high = _samples(place[0] * (height - side), side, size, height)
        x, x_low, x_high = _samples(place[1] * (width - side), side, size, width, mirror)
        x, y = x[:, None, :, None], y[:, :, None, None]

        def pixels(rows: Tensor, columns: Tensor) -> Tensor:
            at = start[:, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
            return self.pixels[at].view(torch.uint8).view(-1, size, size, 4)[..., :3].float()

        above = torch.lerp(pixels(y_low, x_low), pixels(y_low, x_high), x)
        below = torch.lerp(pixels(y_high, x_low), pixels(y_high, x_high), x)
        return (torch.lerp(above, below, y) / 255).permute(0, 3, 1, 2)


def _samples(
    start: Tensor, side: Tensor, size: int, limit: Tensor, mirror: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Where `size` samples over ``[start, start + side)`` lie: (fraction, index below, index above), each (n, size)."""
    steps = ((torch.arange(size, device=start.device) + 0.5) / size)[None]
    if mirror is not None:
        steps = torch.where(mirror[:, None], 1 - steps, steps)
    position = (start[:, None] + steps * side[:, None] - 0.5).clamp_min(0)
    low = torch.minimum(position.long(), limit[:, None] - 1)
    return position - low, low, torch.minimum(low + 1, limit[:, None] - 1)


def coin(count: int, device: torch.device, chance: float = 0.5) -> Tensor:
    """``(count, 1, 1, 1)`` bool, true with `chance`."""
    return torch.rand(count, 1, 1, 1, device=device) < chance


def uniform(count: int, device: torch.device, low: float, high: float) -> Tensor:
    """``(count, 1, 1, 1)`` float, uniform in ``[low, high)``."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, device=device)


def shapes(count: int, size: int, device: torch.device, most: int = 6) -> Tensor:
    """Luma ``(count, 1, size, size)`` 0…1: a tilted gradient with up to `most` ellipses, boxes and bars on it."""
    line = torch.linspace(-1, 1, size, device=device)
    y, x = line.view(1, 1, -1, 1), line.view(1, 1, 1, -1)

    def draw(low: float, high: float) -> Tensor:
        return uniform(count, device, low, high)

    luma = draw(0, 1) + draw(-0.3, 0.3) * x + draw(-0.3, 0.3) * y
    share = draw(0, 1)
    for _ in range(most):
        angle = draw(0, math.pi)
        across, down = x - draw(-1, 1), y - draw(-1, 1)
        u = (across * angle.cos() + down * angle.sin()) / draw(0.04, 0.5)
        v = (down * angle.cos() - across * angle.sin()) / draw(0.04, 0.5)
        inside = torch.where(coin(count, device), u.square() + v.square() < 1, torch.maximum(u.abs(), v.abs()) < 1)
        there = inside & (torch.rand_like(share) < share)
        luma = torch.where(there, draw(0, 1), luma)
    return luma.clamp(0, 1)


@dataclass(frozen=True)
class Knobs:
    """One draw of a performer's knobs for each picture of a batch, each ``(n, 1, 1, 1)``; `cells` is ``(n,)`` int64."""

    brightness: Tensor
    contrast: Tensor
    gamma: Tensor
    invert: Tensor
    cells: Tensor

    @classmethod
    def draw(cls, own: int, foreign: int, device: torch.device) -> Knobs:
        """Mild for `own` inputs (their colours are asked for); wide and at times inverted for `foreign` ones."""

        def both(low: float, high: float, wide: float) -> Tensor:
            middle, half = (low + high) / 2, (high - low) / 2
            wider = uniform(foreign, device, middle - wide * half, middle + wide * half)
            return torch.cat([uniform(own, device, low, high), wider])

        return cls(
            brightness=both(-0.15, 0.15, 1.6),
            contrast=both(0.7, 1.3, 1.6),
            gamma=both(-0.3, 0.3, 1.5).exp(),
            invert=torch.cat([torch.zeros(own, 1, 1, 1, device=device), coin(foreign, device, 0.3).float()]),
            cells=torch.randint(DETAIL[0], DETAIL[1] + 1, (own + foreign,), device=device),
        )


class Conditioner:
    """`picture.condition` for a batch in which every picture has its own knobs."""

    def __init__(self, size: int, device: torch.device) -> None:
        made = [condition.operator(size, float(k), DETAIL[1]) for k in range(DETAIL[0], DETAIL[1] + 1)]
        self.down = torch.stack([d for d, _ in made])[:, None].to(device)  # (kinds, 1, 32, size)
        self.up = torch.stack([u for _, u in made])[:, None].to(device)  # (kinds, 1, size, 32)

    def __call__(self, luma: Tensor, knobs: Knobs) -> Tensor:
        """``(n, 1, size, size)`` luma 0…1 to the same, levelled and coarsened."""
        luma = condition.levels(luma, knobs.brightness, knobs.contrast, knobs.gamma, knobs.invert)
        down, up = self.down[knobs.cells - DETAIL[0]], self.up[knobs.cells - DETAIL[0]]
        return condition.apply_detail(luma, down, up, down, up)


def to_input(luma: Tensor) -> Tensor:
    """Luma 0…1 to a generator's input in [-1, 1]."""
    return luma * 2 - 1


def flats(count: int, size: int, device: torch.device) -> Tensor:
    """Luma ``(count, 1, size, size)`` 0…1 of empty tables: one grey each, most with a slope of light across it."""
    line = torch.linspace(-1, 1, size, device=device)
    slope = 0.3 * uniform(count, device, 0, 1) ** 3
    down, across = (slope * uniform(count, device, -1, 1) for _ in range(2))
    grey = uniform(count, device, 0, 1)
    return (grey + down * line.view(1, 1, -1, 1) + across * line.view(1, 1, 1, -1)).clamp(0, 1)


def moved(luma: Tensor) -> tuple[Tensor, Tensor]:
    """``(n, 1, s, s)`` luma 0…1 with an object on it, an ellipse or a box, before and after it moved by a cell.

    It is bright on a dark ground and dark on a bright one.
    """
    count, size, device = len(luma), luma.shape[-1], luma.device
    line = torch.linspace(-1, 1, size, device=device)
    wide, high, way = uniform(count, device, 0.1, 0.35), uniform(count, device, 0.1, 0.35), uniform(count, device, 0, 1)
    x = (line.view(1, 1, 1, -1) - uniform(count, device, -0.7, 0.7)) / wide
    y = (line.view(1, 1, -1, 1) - uniform(count, device, -0.7, 0.7)) / high
    angle, step = 2 * math.pi * way, 2 / CELL
    contrast = uniform(count, device, 0.3, 0.45)
    ground = luma.mean((2, 3), keepdim=True)
    tone = 0.5 + torch.where(ground < 0.5, contrast, -contrast)
    box = coin(count, device)

    def with_object(x: Tensor, y: Tensor) -> Tensor:
        inside = torch.where(box, torch.maximum(x.abs(), y.abs()), (x.square() + y.square()).sqrt()) < 1
        return torch.where(inside, tone, luma)

    return with_object(x, y), with_object(x - step * angle.cos() / wide, y - step * angle.sin() / high)


@dataclass(frozen=True)
class Batch:
    """What one step learns from: first the world's own inputs, then foreign ones, flat ones first among these.

    Attributes:
        luma: ``(n, 1, s, s)`` 0…1: conditioned inputs, without sensor noise; the first `own` from `pictures`.
        pictures: ``(n, 3, s, s)`` in [-1, 1]: pictures of the world; the first `own` belong to `luma`.
        own: how many inputs come from `pictures`.
        flat: how many after those are flat.
        moved: ``(m, 1, s, s)`` each: some of the world's own inputs with an object on them, before and after it moved;
            none where there are no foreign ones.
    """

    luma: Tensor
    pictures: Tensor
    own: int
    flat: int
    moved: tuple[Tensor, Tensor]

    def inputs(self, part: slice = slice(None)) -> Tensor:
        """``(n, 1, s, s)`` in [-1, 1]: what a camera would give of `part` of the luma, under fresh sensor noise."""
        luma = self.luma[part]
        return to_input(luma + SENSOR_NOISE * torch.randn_like(luma))

    def moved_inputs(self) -> tuple[Tensor, Tensor]:
        """Before and after an object moved, in [-1, 1], without sensor noise: only the move shall show."""
        before, after = self.moved
        return to_input(before), to_input(after)


class Batches:
    """Makes batches without end from the world's album and a foreign one (which may be empty)."""

    def __init__(self, world: Album, foreign: Album, size: int, batch: int, own: int) -> None:
        self.world, self.foreign = world, foreign
        self.size, self.batch, self.own, self.device = size, batch, own, world.device
        strange = batch - own
        self.turned, self.filmed = strange // 3, strange // 3 if len(foreign) else 0
        self.flat = (strange - self.turned - self.filmed) // 2
        self.moved = max(own // 4, 1) if strange else 0  # the recipe without foreign inputs has no use for them
        self.conditioner = Conditioner(size, self.device)

    @torch.no_grad()
    def draw(self) -> Batch:
        pictures = self.world.crops(self.batch, self.size, (0.65, 1.0))
        own = condition.luma_of(pictures[: self.own])
        luma = self.conditioner(
            torch.cat([own, *self._strange()]), Knobs.draw(self.own, self.batch - self.own, self.device)
        )
        knobs = Knobs.draw(self.moved, 0, self.device)
        before, after = (self.conditioner(each, knobs) for each in moved(own[: self.moved]))
        return Batch(luma, pictures * 2 - 1, self.own, self.flat, (before, after))

    def _strange(self) -> list[Tensor]:
        """Foreign luma: a third flats and shapes, a third turned own pictures, a third foreign ones (or shapes)."""
        size, device = self.size, self.device
        shaped = self.batch - self.own - self.flat - self.turned - self.filmed
        parts = [flats(self.flat, size, device), shapes(shaped, size, device)]
        if self.turned:
            parts.append(condition.luma_of(self.world.crops(self.turned, size, (0.3, 1.0), turn=True)))
        if self.filmed:
            parts.append(condition.luma_of(self.foreign.crops(self.filmed, size, (0.5, 1.0))))
        return parts
