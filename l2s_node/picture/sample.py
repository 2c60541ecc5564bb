"""Sample: a picture becomes one luma channel at the generator's size, with an area filter.

The only step whose cost depends on the input's size; one byte per pixel moves on from here. This is the definition,
in torch for any device; `host.sample` is its twin for frames in host memory.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.picture.colour import CPU
from l2s_node.picture.condition import area_matrix
from l2s_node.picture.geometry import Box, Rect


def by_matrix(luma: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(h, w)`` float from ``(H, W)`` of any dtype: ``rows @ luma @ columns.T``, values in the input's scale."""
    return rows @ luma.to(rows.dtype) @ columns.T


@functools.lru_cache(maxsize=2)  # a picture that is being zoomed has new ones in every frame
@torch.inference_mode(False)
def matrices(frame: tuple[int, int], taken: Box, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(rows ``(h, H)``, columns ``(w, W)``) that take the box `taken` of a frame to `size` (both width, height)."""
    return matrices_on(CPU, frame, taken, size)


def matrices_on(
    device: torch.device, frame: tuple[int, int], taken: Box, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """`matrices`, made where they are wanted; whoever works on another of a GPU's streams can't share them."""
    columns = resample_matrix(frame[0], size[0], taken[0], taken[2], device)
    rows = resample_matrix(frame[1], size[1], taken[1], taken[3], device)
    return rows, columns


def resample_matrix(size: int, samples: int, start: float, stop: float, device: torch.device = CPU) -> Tensor:
    """``(samples, size)``: the area filter where `samples` are fewer than pixels, linear interpolation where more."""
    if stop - start >= samples:
        return area_matrix(size, samples, start, stop, device)
    sample = torch.arange(samples, dtype=torch.float64, device=device)
    centres = start + (sample + 0.5) * (stop - start) / samples - 0.5
    pixel = torch.arange(size, dtype=torch.float64, device=device)
    return (1 - (centres.clamp(0, size - 1)[:, None] - pixel).abs()).clamp_min(0).float()


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
