"""Colour: RGB in 0…1 to Y'CbCr bytes in limited range and back, BT.601 or BT.709 by size."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from l2s_node.frame import is_sd

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""Weights of R and B in luma: ITU-R BT.601-7 §2.5.1, BT.709-6 item 3.2."""


def standard_for(width: int, height: int) -> str:
    """ "bt601" or "bt709", by `frame.is_sd`."""
    return "bt601" if is_sd(width, height) else "bt709"


CPU = torch.device("cpu")


Rows = tuple[tuple[float, float, float], ...]
OFFSET = (16.0, 128.0, 128.0)


def _forth(standard: str) -> Rows:
    """The matrix of `to_bytes`."""
    kr, kb = KR_KB[standard]
    kg = 1 - kr - kb
    blue, red = 224 / (2 * (1 - kb)), 224 / (2 * (1 - kr))
    return (
        (219 * kr, 219 * kg, 219 * kb),
        (-blue * kr, -blue * kg, blue * (1 - kb)),
        (red * (1 - kr), -red * kg, -red * kb),
    )


def _back(standard: str) -> Rows:
    """The inverse of `_forth`."""
    kr, kb = KR_KB[standard]
    kg = 1 - kr - kb
    blue, red = 2 * (1 - kb) / 224, 2 * (1 - kr) / 224
    return (1 / 219, 0.0, red), (1 / 219, -kb * blue / kg, -kr * red / kg), (1 / 219, blue, 0.0)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def to_bytes(standard: str, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """(matrix ``(3, 3)``, offset ``(3, 1, 1)``): ``matrix @ rgb + offset`` = Y 16…235, Cb and Cr 16…240.

    Kept on `device`, because a captured graph may not upload anything.
    """
    return torch.tensor(_forth(standard), device=device), torch.tensor(OFFSET, device=device).view(3, 1, 1)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def from_bytes(standard: str, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """(matrix ``(3, 3)``, offset ``(3, 1, 1)``): ``matrix @ (yuv - offset)`` = RGB 0…1."""
    return torch.tensor(_back(standard), device=device), to_bytes(standard, device)[1]


def rgb_to_yuv(rgb: Tensor, standard: str) -> Tensor:
    """``(3, h, w)`` RGB 0…1 to ``(3, h, w)`` float Y'CbCr in byte scale."""
    matrix, offset = to_bytes(standard, rgb.device)
    return (matrix @ rgb.flatten(1)).view_as(rgb) + offset


def luma_and_chroma(rgb: Tensor, standard: str) -> tuple[Tensor, Tensor]:
    """`rgb_to_yuv` in two: ``(1, h, w)`` and ``(2, h, w)``."""
    if torch.compiler.is_compiling():
        luma, *chroma = (_sum(row, rgb) + at for row, at in zip(_forth(standard), OFFSET, strict=True))
        return luma[None], torch.stack(chroma)
    yuv = rgb_to_yuv(rgb, standard)
    return yuv[:1], yuv[1:]


def yuv_to_rgb(yuv: Tensor, standard: str) -> Tensor:
    """``(3, h, w)`` float Y'CbCr in byte scale to ``(3, h, w)`` RGB, clamped to 0…1."""
    if torch.compiler.is_compiling():
        apart = torch.stack([yuv[i] - at for i, at in enumerate(OFFSET)])
        return torch.stack([_sum(row, apart) for row in _back(standard)]).clamp(0, 1)
    matrix, offset = from_bytes(standard, yuv.device)
    return (matrix @ (yuv - offset).flatten(1)).view_as(yuv).clamp(0, 1)


def _sum(weights: tuple[float, ...], planes: Tensor) -> Tensor:
    """The weighted sum of planes, spelled out: a compiler makes one kernel of it and its neighbours."""
    first, second, third = weights
    return planes[0] * first + planes[1] * second + planes[2] * third
