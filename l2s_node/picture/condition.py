"""Condition: everything that is done to the luma before the generator, on stage and in training alike.

Luma is ``(n, 1, h, w)`` float, 0 black … 1 white. This is the one definition: `pipeline` plays it, `train` makes its
pairs with it, and `SETTINGS` goes into the model card, so that a world is never fed what it was not trained on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.errors import ModelError

SETTINGS: dict[str, Any] = {"version": 1, "luma": "bt709", "shrink": "area", "grow": "bicubic"}
"""What a card records of this module; any other value in a card is refused by `check`."""

LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)
"""R, G, B to luma, ITU-R BT.709-6, item 3.2."""

Scalar = float | Tensor
"""A knob's value: a number, or a 0-dim tensor on the device where a captured graph reads it anew each frame."""


def check(recorded: Mapping[str, Any]) -> None:
    """Refuse a world that was trained on another conditioning.

    Raises:
        ModelError: names the setting and both values.
    """
    for key, ours in SETTINGS.items():
        theirs = recorded.get(key)
        if theirs != ours:
            raise ModelError(
                f"this world was trained with {key} = {theirs!r}, this node conditions with {key} = {ours!r}: "
                "train it again, or play it with the version that made it"
            )


def luma_of(rgb: Tensor) -> Tensor:
    """``(n, 3, h, w)`` RGB to ``(n, 1, h, w)`` luma, in the range that came in (BT.709 weights)."""
    if torch.compiler.is_compiling():  # spelled out: no table to look up, one kernel with its neighbours
        red, green, blue = LUMA_WEIGHTS
        return rgb[:, :1] * red + rgb[:, 1:2] * green + rgb[:, 2:] * blue
    return (rgb * _weights(rgb.device, rgb.dtype)).sum(1, keepdim=True)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)  # whoever asks first may be in it, and a training could not use the tensor
def _weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    """`LUMA_WEIGHTS` as ``(1, 3, 1, 1)``, kept on the device: a captured graph may not upload anything."""
    return torch.tensor(LUMA_WEIGHTS, device=device, dtype=dtype).view(1, 3, 1, 1)


def levels(luma: Tensor, brightness: Scalar, contrast: Scalar, gamma: Scalar, invert: Scalar) -> Tensor:
    """Invert, then contrast around 0.5, then brightness, then gamma (``x ** (1 / gamma)``); clamped to 0…1.

    `invert` is 0…1: halfway is flat grey.
    """
    x = luma * (1 - 2 * invert) + invert
    x = ((x - 0.5) * contrast + (0.5 + brightness)).clamp(0, 1)
    return x ** (1 / gamma)


def spread(luma: Tensor, mean: Tensor, deviation: Tensor, strength: Scalar) -> Tensor:
    """Auto-levels: ``mean ± 2 deviation`` is stretched to 0…1, blended in by `strength` (0…1).

    A deviation under 0.05 counts as 0.05, so that a flat table's sensor noise isn't blown up to a picture.
    """
    stretched = (luma - mean) / (4 * deviation.clamp_min(0.05)) + 0.5
    return (luma + (stretched - luma) * strength).clamp(0, 1)


def statistics(luma: Tensor) -> Tensor:
    """``(2,)``: mean and standard deviation of the whole picture, for `spread`."""
    mean = luma.mean()
    return torch.stack([mean, (luma - mean).square().mean().sqrt()])


def shrink_and_grow(luma: Tensor, cells: float) -> Tensor:
    """Detail: shrink by area to `cells` across the short side (square cells), then bicubic back, clamped to 0…1.

    The seed of the whole instrument (*Learning to See*; 10 cells at 256 in the original): what is smaller than a cell
    is the world's to decide. A fractional number of cells lies smoothly between its neighbours.
    """
    height, width = luma.shape[-2:]
    rows, columns = cells_of(height, width, cells)
    down_y, up_y = (m.to(luma) for m in operator(height, rows))
    down_x, up_x = (m.to(luma) for m in operator(width, columns))
    return apply_detail(luma, down_y, up_y, down_x, up_x)


def apply_detail(luma: Tensor, down_y: Tensor, up_y: Tensor, down_x: Tensor, up_x: Tensor) -> Tensor:
    """`shrink_and_grow` with its four matrices given."""
    small = down_y @ luma @ down_x.mT
    return (up_y @ (small @ up_x.mT)).clamp_(0, 1)  # the long side first: fewer products than the short side first


def apply_products(luma: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`shrink_and_grow` with the products ``up @ down`` of either axis given, of any float type.

    More arithmetic in fewer steps, as a large GPU likes it; half floats are within 0.2 of 255.
    """
    return (rows @ luma.to(rows.dtype) @ columns.mT).to(luma.dtype).clamp_(0, 1)


def cells_of(height: int, width: int, cells: float) -> tuple[float, float]:
    """Cells down and across, for `cells` on the short side of a `height`×`width` canvas."""
    short = min(height, width)
    return cells * height / short, cells * width / short


@functools.lru_cache(maxsize=8)  # cheap to make of whole ones; a knob that is being turned would fill any cache
@torch.inference_mode(False)
def operator(size: int, cells: float, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """(down ``(k, size)``, up ``(size, k)``) of `shrink_and_grow` along one axis; padded with zeros to `rank` rows.

    A fractional `cells` stacks both neighbours, weighted: ``k = floor + ceil``. Rounded to 1/16 of a cell.
    """
    cells = min(max(round(cells * 16) / 16, 1.0), float(size))
    low = int(cells)
    parts = [(low, 1.0 - (cells - low)), (low + 1, cells - low)]
    made = [(w, *_integer_operator(size, min(k, size))) for k, w in parts if w > 0]
    down = torch.cat([d for _, d, _ in made], 0)
    up = torch.cat([u * w for w, _, u in made], 1)
    if rank is not None:
        down = F.pad(down, (0, 0, 0, rank - down.shape[0]))
        up = F.pad(up, (0, rank - up.shape[1]))
    return down, up


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _integer_operator(size: int, cells: int) -> tuple[Tensor, Tensor]:
    return area_matrix(size, cells), bicubic_matrix(cells, size)


def area_matrix(size: int, cells: int, start: float = 0.0, stop: float | None = None) -> Tensor:
    """``(cells, size)``: exact box filter over ``[start, stop)`` (all of it by default); rows sum to 1.

    Outside ``[0, size)`` the border sample goes on (so a box may hang over the edge).
    """
    stop = float(size) if stop is None else stop
    edges = torch.linspace(start, stop, cells + 1, dtype=torch.float64)
    left, right = edges[:-1, None], edges[1:, None]
    sample = torch.arange(size, dtype=torch.float64)[None]
    lower, upper = sample.clone(), sample + 1
    lower[:, 0], upper[:, -1] = -torch.inf, torch.inf
    overlap = (torch.minimum(right, upper) - torch.maximum(left, lower)).clamp_min(0)
    return (overlap / (right - left)).float()


def bicubic_matrix(cells: int, size: int) -> Tensor:
    """``(size, cells)``: torch's own bicubic enlargement (a = -0.75, half-pixel centres) along one axis."""
    eye = torch.eye(cells, dtype=torch.float64)[None, None]
    return F.interpolate(eye, size=(size, cells), mode="bicubic", align_corners=False)[0, 0].float()
