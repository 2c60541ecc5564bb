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


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def to_bytes(standard: str, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """(matrix ``(3, 3)``, offset ``(3, 1, 1)``): ``matrix @ rgb + offset`` = Y 16…235, Cb and Cr 16…240.

    Kept on `device`, because a captured graph may not upload anything.
    """
    kr, kb = KR_KB[standard]
    kg = 1 - kr - kb
    luma = torch.tensor([kr, kg, kb], dtype=torch.float64)
    blue = (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - luma) / (2 * (1 - kb))
    red = (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - luma) / (2 * (1 - kr))
    matrix = torch.stack([luma * 219, blue * 224, red * 224])
    return matrix.float().to(device), torch.tensor([16.0, 128.0, 128.0], device=device).view(3, 1, 1)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def from_bytes(standard: str, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """(matrix ``(3, 3)``, offset ``(3, 1, 1)``): ``matrix @ (yuv - offset)`` = RGB 0…1."""
    matrix, _ = to_bytes(standard)
    return torch.linalg.inv(matrix.double()).float().to(device), to_bytes(standard, device)[1]


def rgb_to_yuv(rgb: Tensor, standard: str) -> Tensor:
    """``(3, h, w)`` RGB 0…1 to ``(3, h, w)`` float Y'CbCr in byte scale."""
    matrix, offset = to_bytes(standard, rgb.device)
    return (matrix @ rgb.flatten(1)).view_as(rgb) + offset


def yuv_to_rgb(yuv: Tensor, standard: str) -> Tensor:
    """``(3, h, w)`` float Y'CbCr in byte scale to ``(3, h, w)`` RGB, clamped to 0…1."""
    matrix, offset = from_bytes(standard, yuv.device)
    return (matrix @ (yuv - offset).flatten(1)).view_as(yuv).clamp(0, 1)
