"""Host: `sample` and `compose.paint` for frames in host memory, on bytes, through OpenCV.

Twins of the definitions in `sample` and `compose`, 5 to 30 times faster on a CPU because nothing of the frame's size
is ever a float. A parity test binds them: at most 3/255 apart (bytes are rounded between the steps).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
from torch import Tensor

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture import colour
from l2s_node.picture import sample as definition
from l2s_node.picture.compose import Style
from l2s_node.picture.condition import LUMA_WEIGHTS
from l2s_node.picture.geometry import Geometry

U8 = np.ndarray
METHODS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


# --- sample ----------------------------------------------------------------------------------------------------------


def sample(frame: Frame, geometry: Geometry, canvas: tuple[int, int]) -> Tensor:
    """``(1, 1, h, w)`` float32 luma, 0…1, on the CPU; `canvas` is (width, height)."""
    left, top, width, height = geometry.into
    luma = _unit(_shrink(frame, geometry, (width, height)), frame.format)
    if (width, height) != canvas:
        right, bottom = canvas[0] - left - width, canvas[1] - top - height
        luma = cv2.copyMakeBorder(luma, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return definition.flip(torch.from_numpy(luma)[None, None], geometry.flip)


def _shrink(frame: Frame, geometry: Geometry, size: tuple[int, int]) -> U8:
    """The taken box at `size`: OpenCV where it is whole pixels and gets smaller (nearly always), else the matrices."""
    left, top, right, bottom = geometry.taken
    whole = all(float(edge).is_integer() for edge in geometry.taken)
    if not whole or right - left < size[0] or bottom - top < size[1]:
        luma = torch.from_numpy(_luma(frame, slice(None), slice(None)))
        picture: U8 = definition.by_matrix(luma, *definition.matrices(frame.size, geometry.taken, size)).numpy()
        return picture
    part = _luma(frame, slice(int(top), int(bottom)), slice(int(left), int(right)))
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA)


def _luma(frame: Frame, rows: slice, columns: slice) -> U8:
    """Part of the frame's luma, contiguous: bytes, or float32 in 0…255 of a format that has none."""
    plane = frame.planes[0]
    if frame.format.is_rgb:
        weights = LUMA_WEIGHTS if frame.format in (PixelFormat.RGBA, PixelFormat.RGBX) else LUMA_WEIGHTS[::-1]
        return cv2.transform(plane[rows, columns].astype(np.float32), np.array([[*weights, 0.0]], np.float32))
    if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA):
        pairs = plane.reshape(frame.height, frame.width, 2)  # a view, even where rows are padded
        return cv2.extractChannel(pairs[rows, columns], 1)
    return plane[rows, columns]


def _unit(luma: U8, fmt: PixelFormat) -> U8:
    values = luma.astype(np.float32)
    if not fmt.is_rgb:
        values -= 16
    values *= 1 / 255 if fmt.is_rgb else 1 / 219
    return np.clip(values, 0, 1, out=values)


# --- paint -----------------------------------------------------------------------------------------------------------


def paint(rgb: Tensor, dry: U8 | None, out: U8, style: Style, mix: float, light: float) -> None:
    """See `compose.paint`; `out` and `dry` are ``(h, 2w)`` bytes in host memory, `rgb` is on the CPU."""
    size = out.shape[1] // 2, out.shape[0]
    if style.mixed and style.blend not in ("normal", "luma"):
        assert dry is not None
        _blended(rgb, dry, out, style)
    else:
        yuv = _bytes(colour.rgb_to_yuv(rgb.clamp(0, 1), style.standard))
        luma = _luma_of(dry) if style.blend == "luma" and dry is not None else _enlarge(yuv[0], size, style.upscale)
        chroma = _enlarge(np.dstack(tuple(yuv[1:])), (size[0] // 2, size[1]), "bilinear")
        _pack(luma, chroma, out)
    if style.mixed and dry is not None:
        _towards(dry, out, mix)
    if style.faded:
        _towards(_black(*size), out, light)
    if style.split and dry is not None:
        half = size[0] // 4 * 4
        out[:, :half] = dry[:, :half]


def dim(out: U8, light: float) -> None:
    """``(h, 2w)`` UYVY bytes towards black by 1 - `light`, in place."""
    if light < 1:
        _towards(_black(out.shape[1] // 2, out.shape[0]), out, light)


def rgb_of(uyvy: U8) -> U8:
    """``(h, w, 3)`` RGB bytes of ``(h, 2w)`` UYVY, in the matrix of its size."""
    return cv2.transform(_pixels(uyvy), _affine(colour.standard_for(uyvy.shape[1] // 2, uyvy.shape[0]), back=True))


def _bytes(planes: Tensor) -> U8:
    made: U8 = planes.round().clamp_(0, 255).to(torch.uint8).numpy()
    return made


def _enlarge(plane: U8, size: tuple[int, int], mode: str) -> U8:
    return cv2.resize(plane, size, interpolation=METHODS[mode])


def _luma_of(uyvy: U8) -> U8:
    return cv2.extractChannel(uyvy.reshape(uyvy.shape[0], -1, 2), 1)


def _pack(luma: U8, chroma: U8, out: U8) -> None:
    height, width = luma.shape
    out.reshape(height, width, 2)[...] = cv2.merge([chroma.reshape(height, width), luma])


def _towards(base: U8, out: U8, weight: float) -> None:
    """``out = base + (out - base) · weight``, in place: linear, so it may be done on packed Y'CbCr."""
    out[...] = cv2.addWeighted(base, 1 - weight, out, weight, 0)


@functools.lru_cache(maxsize=2)
def _black(width: int, height: int) -> U8:
    black = np.empty((height, 2 * width), np.uint8)
    black[:, 0::2], black[:, 1::2] = 128, 16
    return black


def _blended(rgb: Tensor, dry: U8, out: U8, style: Style) -> None:
    """The blends that are not linear in Y'CbCr, on RGB bytes."""
    height, width = out.shape[0], out.shape[1] // 2
    small = np.ascontiguousarray(_bytes(rgb * 255).transpose(1, 2, 0))
    above = _enlarge(small, (width, height), style.upscale)
    below = cv2.transform(_pixels(dry), _affine(style.standard, back=True))
    yuv = cv2.transform(_blend(style.blend, below, above), _affine(style.standard, back=False))
    _pack(cv2.extractChannel(yuv, 0), np.ascontiguousarray(yuv[:, 0::2, 1:]), out)


def _blend(mode: str, below: U8, above: U8) -> U8:
    if mode == "add":
        return cv2.add(below, above)
    if mode == "screen":
        return cv2.bitwise_not(cv2.multiply(cv2.bitwise_not(below), cv2.bitwise_not(above), scale=1 / 255))
    if mode == "multiply":
        return cv2.multiply(below, above, scale=1 / 255)
    if mode == "overlay":
        dark = cv2.multiply(below, above, scale=2 / 255)
        inverse = cv2.multiply(cv2.bitwise_not(below), cv2.bitwise_not(above), scale=2 / 255)
        return np.where(below < 128, dark, cv2.bitwise_not(inverse))
    if mode == "lighten":
        return cv2.max(below, above)
    return cv2.absdiff(below, above)


def _pixels(uyvy: U8) -> U8:
    """``(h, w, 3)`` Y'CbCr bytes of ``(h, 2w)`` UYVY; two neighbours share their colour."""
    height, width = uyvy.shape[0], uyvy.shape[1] // 2
    pairs = np.ascontiguousarray(uyvy).reshape(height, width // 2, 4)
    chroma = cv2.resize(np.ascontiguousarray(pairs[..., 0::2]), (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.merge([_luma_of(uyvy), *cv2.split(chroma)])


@functools.lru_cache(maxsize=4)
def _affine(standard: str, back: bool) -> U8:
    """``(3, 4)`` for `cv2.transform` on bytes: Y'CbCr to RGB in 0…255 (`back`), or RGB to Y'CbCr."""
    matrix, offset = (t.numpy() for t in (colour.from_bytes if back else colour.to_bytes)(standard))
    if back:
        return np.hstack([matrix * 255, -(matrix @ offset[:, 0]) * 255]).astype(np.float32)
    return np.hstack([matrix / 255, offset[:, 0]]).astype(np.float32)
