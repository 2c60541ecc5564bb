"""Sample: a picture becomes one luma channel at the generator's size, with an area filter.

The only step whose cost depends on the input's size; one byte per pixel moves on from here. This is the definition,
in torch for any device; `host.sample` is its twin for frames in host memory.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.picture.condition import area_matrix
from l2s_node.picture.geometry import Box, Rect

Taps = tuple[Tensor, Tensor]
"""Pixels of an axis, ``(samples, reach)`` int64, of which each sample is made, and their weights, float32."""
SLIVER = 1e-6
"""Of a pixel, that a sample may miss."""


def by_matrix(luma: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(h, w)`` float from ``(H, W)`` of any dtype: ``rows @ luma @ columns.T``, values in the input's scale."""
    return rows @ luma.to(rows.dtype) @ columns.T


@functools.lru_cache(maxsize=2)  # a picture that is being zoomed has new ones in every frame
@torch.inference_mode(False)
def matrices(frame: tuple[int, int], taken: Box, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(rows ``(h, H)``, columns ``(w, W)``) that take the box `taken` of a frame to `size` (both width, height)."""
    columns = resample_matrix(frame[0], size[0], taken[0], taken[2])
    rows = resample_matrix(frame[1], size[1], taken[1], taken[3])
    return rows, columns


def resample_matrix(size: int, samples: int, start: float, stop: float) -> Tensor:
    """``(samples, size)``: the area filter where `samples` are fewer than pixels, linear interpolation where more."""
    if stop - start >= samples:
        return area_matrix(size, samples, start, stop)
    sample = torch.arange(samples, dtype=torch.float64)
    centres = start + (sample + 0.5) * (stop - start) / samples - 0.5
    pixel = torch.arange(size, dtype=torch.float64)
    return (1 - (centres.clamp(0, size - 1)[:, None] - pixel).abs()).clamp_min(0).float()


def by_taps(luma: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """`by_matrix` for who knows what of the matrices isn't 0; compiled, it is one pass over the bytes."""
    across = (luma[:, columns[0]].float() * columns[1]).sum(-1)
    return (across[rows[0]] * rows[1][..., None]).sum(1)


def taps(size: int, samples: int, start: Tensor, stop: Tensor, reach: int) -> Taps:
    """What isn't 0 in `resample_matrix`; `start` and `stop` are 0-dim tensors, so that a captured graph follows them.

    In float32 they are 0.0005 of a pixel from where they are in a frame of 8,192.
    """
    step = (stop - start) / samples
    left = start + torch.arange(samples, device=start.device) * step
    right, centre = left + step, (left + 0.5 * step - 0.5).clamp(0, size - 1)
    fewer = step >= 1
    pixel = torch.where(fewer, left, centre).floor()[:, None] + torch.arange(reach, device=start.device)
    overlap = torch.minimum(right[:, None], pixel + 1) - torch.maximum(left[:, None], pixel)
    weight = torch.where(fewer, overlap / step, 1 - (centre[:, None] - pixel).abs()).clamp_min(0)
    return pixel.clamp(0, size - 1).long(), weight


def reach(frame: tuple[int, int], taken: Box, size: tuple[int, int]) -> tuple[int, int]:
    """(across, down): pixels that a sample is made of at most, however far into the frame a box of that shape zooms."""
    aspect = (taken[2] - taken[0]) / (taken[3] - taken[1])
    sides = min(frame[0], frame[1] * aspect), min(frame[1], frame[0] / aspect)
    across, down = (max(math.ceil(side / n - SLIVER) + 1, 2) for side, n in zip(sides, size, strict=True))
    return across, down


def into_canvas(luma: Tensor, into: Rect, canvas: tuple[int, int]) -> Tensor:
    """``(1, 1, h, w)`` from ``(h', w')``: placed at `into`, its border repeated outwards."""
    return surround(luma[None, None], into, canvas)


def surround(picture: Tensor, into: Rect, canvas: tuple[int, int]) -> Tensor:
    """``(n, c, h', w')`` to ``(n, c, h, w)``: placed at `into`, its border repeated outwards."""
    left, top, width, height = into
    pads = (left, canvas[0] - left - width, top, canvas[1] - top - height)
    return F.pad(picture, pads, mode="replicate") if any(pads) else picture


def flip(picture: Tensor, which: tuple[bool, bool]) -> Tensor:
    """Mirror the last two axes: which = (left-right, upside-down)."""
    axes = [axis for axis, on in zip((-1, -2), which, strict=True) if on]
    return picture.flip(axes) if axes else picture


def unit_luma(luma: Tensor) -> Tensor:
    """Limited-range luma (16…235, BT.601/709) to float32 0…1, clamped."""
    return ((luma.float() - 16) * (1 / 219)).clamp(0, 1)
