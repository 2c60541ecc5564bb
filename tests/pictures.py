"""Pictures to try things on: random ones in every format, moving ones, and the smallest generator there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from l2s_node.frame import Frame, PixelFormat, plane_shapes
from l2s_node.params import Board, Params
from l2s_node.pipeline import Player

ALPHA = {PixelFormat.UYVA: 1, PixelFormat.BGRA: 0, PixelFormat.RGBA: 0}
"""Which plane has the alpha."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Torch as the node runs it: threads that wait for each other are slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tint(x: Tensor) -> Tensor:
    """A generator without weights: every value of the luma has a colour of its own."""
    return torch.cat([x, x * 0.5, -x], 1)


def gradient(x: Tensor) -> Tensor:
    """A generator whose picture has a place: red grows to the right, green downwards."""
    height, width = x.shape[-2:]
    red = torch.linspace(-1, 1, width, device=x.device).expand(height, width)
    green = torch.linspace(-1, 1, height, device=x.device)[:, None].expand(height, width)
    return torch.stack([red, green, torch.zeros_like(red)])[None]


def player(canvas: tuple[int, int] = (96, 64)) -> Player:
    """`tint` on a canvas of (width, height)."""
    return Player("tint", tint, canvas, tint)


def flat_player(rgb: tuple[float, float, float], canvas: tuple[int, int] = (96, 64)) -> Player:
    """One colour (0…1), whatever comes in."""
    made = (
        (torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1) * 2 - 1)
        .expand(1, 3, canvas[1], canvas[0])
        .contiguous()
    )

    def play(_: Tensor) -> Tensor:
        return made

    return Player("flat", play, canvas, play)


def knobs(**values: object) -> Params:
    """A snapshot with these knobs turned, parsed and clamped as on stage."""
    return Board(**values).snapshot()


def noise(
    fmt: PixelFormat, size: tuple[int, int], seed: int = 0, *, padded: bool = False, smooth: int = 1, number: int = 0
) -> Frame:
    """A frame of random bytes, legal in range.

    Args:
        fmt: its format.
        size: (width, height).
        seed: of the bytes.
        padded: the rows lie in a larger array, as senders pad them.
        smooth: every byte stands for a block of so many pixels.
        number: the frame's number.
    """
    rng = np.random.default_rng(seed)
    planes = []
    for shape in plane_shapes(fmt, *size):
        coarse = rng.integers(0, 256, (-(-shape[0] // smooth), -(-shape[1] // smooth), *shape[2:]), np.uint8)
        fine = coarse.repeat(smooth, 0).repeat(smooth, 1)[: shape[0], : shape[1]]
        planes.append(_legal(fmt, np.ascontiguousarray(fine)))
    if padded:
        planes = [_padded(plane) for plane in planes]
    return Frame(tuple(planes), fmt, *size, seconds=0.0, number=number, rate=Fraction(30))


def flat(fmt: PixelFormat, size: tuple[int, int], value: int) -> Frame:
    """Every byte the same (with U = V = 128 where there are any)."""
    planes = [np.full(shape, value, np.uint8) for shape in plane_shapes(fmt, *size)]
    if fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        planes[0][:, 0::2] = 128
    for chroma in planes[1:] if fmt in (PixelFormat.NV12, PixelFormat.I420) else []:
        chroma[:] = 128
    return Frame(tuple(planes), fmt, *size, seconds=0.0, number=0, rate=Fraction(30))


def grey(luma: np.ndarray) -> Frame:
    """A UYVY frame that shows ``(h, w)`` bytes of luma."""
    height, width = luma.shape
    plane = np.full((height, 2 * width), 128, np.uint8)
    plane[:, 1::2] = luma
    return Frame((plane,), PixelFormat.UYVY, width, height, seconds=0.0, number=0, rate=Fraction(30))


def mirrored(frame: Frame, axis: int) -> Frame:
    """An RGB frame turned round along `axis` (0 upside down, 1 left-right)."""
    assert frame.format.is_rgb
    return dataclasses.replace(frame, planes=(np.ascontiguousarray(np.flip(frame.planes[0], axis)),))


def _legal(fmt: PixelFormat, plane: np.ndarray) -> np.ndarray:
    return plane if fmt.is_rgb else np.clip(plane, 16, 235)


def _padded(plane: np.ndarray) -> np.ndarray:
    """The same picture as a view of a wider array; the rest of each row is rubbish."""
    width = plane.shape[1]
    wide = np.full((plane.shape[0], width + 48 // (plane[0, 0].size), *plane.shape[2:]), 77, np.uint8)
    wide[:, :width] = plane
    return wide[:, :width]
