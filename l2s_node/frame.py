"""Frame: one picture as a room hands it out, in its native pixel format, top row first, never converted."""

from __future__ import annotations

import enum
import math
import mmap
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


class PixelFormat(enum.Enum):
    """Native pixel formats (fourcc names as NDI spells them) and the planes that each one has.

    ======  =======================================================================  ==========
    format  planes, all ``uint8``                                                    range
    ======  =======================================================================  ==========
    UYVY    ``(h, 2w)``: U Y0 V Y1, 4:2:2; w even                                    limited
    UYVA    the UYVY plane, then alpha ``(h, w)``                                    limited
    NV12    Y ``(h, w)``, then UV ``(⌈h/2⌉, 2⌈w/2⌉)`` interleaved, 4:2:0             limited
    I420    Y ``(h, w)``, U and V ``(⌈h/2⌉, ⌈w/2⌉)``, 4:2:0                          limited
    BGRA    ``(h, w, 4)`` with alpha                                                 full
    BGRX    ``(h, w, 4)``, fourth byte unused                                        full
    RGBA    ``(h, w, 4)`` with alpha                                                 full
    RGBX    ``(h, w, 4)``, fourth byte unused                                        full
    ======  =======================================================================  ==========

    Planes may be strided views (rows padded by the sender); the last axis is always contiguous.
    """

    UYVY = "UYVY"
    UYVA = "UYVA"
    NV12 = "NV12"
    I420 = "I420"
    BGRA = "BGRA"
    BGRX = "BGRX"
    RGBA = "RGBA"
    RGBX = "RGBX"

    @property
    def is_rgb(self) -> bool:
        """Packed RGB in full range (the others are Y'CbCr in limited range)."""
        return self in _RGB

    @property
    def has_alpha(self) -> bool:
        return self in _ALPHA


_RGB = frozenset({PixelFormat.BGRA, PixelFormat.BGRX, PixelFormat.RGBA, PixelFormat.RGBX})
_ALPHA = frozenset({PixelFormat.UYVA, PixelFormat.BGRA, PixelFormat.RGBA})


def plane_shapes(fmt: PixelFormat, width: int, height: int) -> tuple[tuple[int, ...], ...]:
    """The shape of each plane of a `width`×`height` frame.

    Raises:
        ValueError: UYVY or UYVA with an odd width: two pixels share one U and V.
    """
    half = ((height + 1) // 2, (width + 1) // 2)
    if fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        if width % 2:
            raise ValueError(f"{fmt.value} needs an even width, not {width}")
        packed = (height, 2 * width)
        return (packed,) if fmt is PixelFormat.UYVY else (packed, (height, width))
    if fmt is PixelFormat.NV12:
        return (height, width), (half[0], 2 * half[1])
    if fmt is PixelFormat.I420:
        return (height, width), half, half
    return ((height, width, 4),)


def is_sd(width: int, height: int) -> bool:
    """Whether Y'CbCr of that size is BT.601: up to 720x576; above it is BT.709 (the NDI SDK's rule)."""
    return width <= 720 and height <= 576


@dataclass(frozen=True, slots=True)
class Texture:
    """A picture in the memory of OpenGL, in the one context that `l2s_node.texture` keeps (or one that shares with it).

    Attributes:
        glo: its name in OpenGL.
        width: texels in a row.
        height: rows.
        flipped: texel row 0 is the top of the picture, as host memory is uploaded; False is OpenGL's own way and that
            of Syphon and Spout: row 0 is the bottom.
        rectangle: it is a ``GL_TEXTURE_RECTANGLE`` (Syphon's), read by whole texels; else a ``GL_TEXTURE_2D``.
    """

    glo: int
    width: int
    height: int
    flipped: bool = False
    rectangle: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in texels."""
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        planes: ``uint8`` arrays as `PixelFormat` lays them out. They belong to whoever made the frame and stay
            valid until two more pictures have come from there. Empty where there is a `texture`.
        format: how to read `planes`.
        width: pixels in a row.
        height: rows.
        seconds: ``time.monotonic()`` when the picture arrived here.
        number: counts this source's pictures from 0; a gap means that pictures were dropped.
        rate: frames a second as the source states them, or None where it states none.
        texture: the picture as a texture, in place of `planes`; `format` is then RGBA, or RGBX where the fourth channel
            is to be ignored (OpenGL hands out red first, however the bytes lie), and colours are full range. It stays
            valid until the room that made it hands out another one or is closed, also when the sender is gone.
    """

    planes: tuple[np.ndarray, ...]
    format: PixelFormat
    width: int
    height: int
    seconds: float
    number: int
    rate: Fraction | None = None
    texture: Texture | None = None

    def __post_init__(self) -> None:
        if self.texture is not None:
            if self.planes or self.format not in (PixelFormat.RGBA, PixelFormat.RGBX):
                raise ValueError("a frame with a texture is RGBA or RGBX and has no planes")
            if self.texture.size != self.size:
                raise ValueError(f"a {self.width}x{self.height} frame with a texture of {self.texture.size}")
            return
        want = plane_shapes(self.format, self.width, self.height)
        got = tuple(p.shape for p in self.planes)
        if got != want:
            raise ValueError(f"{self.format.value} {self.width}x{self.height} needs planes {want}, got {got}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    def __repr__(self) -> str:
        return f"Frame({self.format.value} {self.width}x{self.height} #{self.number} @{self.seconds:.3f}s)"


def page_aligned(shape: tuple[int, ...]) -> np.ndarray:
    """A ``uint8`` array of zeros on memory pages of its own, which a GPU may lock and fetch from without a copy."""
    pages = mmap.mmap(-1, max(math.prod(shape), 1))
    return np.frombuffer(pages, np.uint8, math.prod(shape)).reshape(shape)


def blank(fmt: PixelFormat, width: int, height: int) -> tuple[np.ndarray, ...]:
    """New planes showing opaque black (limited range: Y 16, U and V 128)."""
    planes = tuple(np.zeros(shape, np.uint8) for shape in plane_shapes(fmt, width, height))
    if fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        planes[0][:, 0::2] = 128
        planes[0][:, 1::2] = 16
    elif fmt in (PixelFormat.NV12, PixelFormat.I420):
        planes[0][:] = 16
        for chroma in planes[1:]:
            chroma[:] = 128
    if fmt is PixelFormat.UYVA:
        planes[1][:] = 255
    if fmt.is_rgb:
        planes[0][..., 3] = 255
    return planes
