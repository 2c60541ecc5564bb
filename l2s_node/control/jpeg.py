"""Frames as small JPEG pictures for the panel: `thin` is all that the frame loop pays, `encode` is done elsewhere."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from l2s_node.frame import Frame, PixelFormat, is_sd

MAX_WIDTH, MAX_HEIGHT = 640, 720
"""Pixels that a preview has at most."""

THIN_ROWS = 360
"""Rows that `thin` leaves at least, where there are so many."""

QUALITY = 80
"""JPEG's own scale; 80 is past what a preview shows the loss of, at a third of the bytes of 95."""


class Thinned(NamedTuple):
    """Every n-th row of a frame, copied.

    Attributes:
        planes: ``uint8``, laid out as `format` says but with fewer rows.
        format: how to read them.
        width: pixels in a row of the frame.
        height: rows of the frame (not of `planes`).
    """

    planes: tuple[np.ndarray, ...]
    format: PixelFormat
    width: int
    height: int


def thin(frame: Frame) -> Thinned:
    """Copy every n-th row of `frame`: whole rows are the cheapest copy there is (0.25 ms at 1080p with cold caches)."""
    step = max(1, frame.height // THIN_ROWS)
    return Thinned(tuple(plane[::step].copy() for plane in frame.planes), frame.format, *frame.size)


def encode(picture: Thinned) -> bytes:
    """`picture` as JPEG in its own shape, at most 640×720; alpha is left out."""
    scale = min(1.0, MAX_WIDTH / picture.width, MAX_HEIGHT / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    channels = [_resized(plane, size) for plane in _channels(picture)]
    image = Image.merge("RGB", channels)
    if not picture.format.is_rgb:
        image = image.convert("RGB", yuv_to_rgb(picture.width, picture.height))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _channels(picture: Thinned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R, G, B or Y, U, V, each with a size of its own."""
    first, *rest = picture.planes
    match picture.format:
        case PixelFormat.UYVY | PixelFormat.UYVA:
            return first[:, 1::2], first[:, 0::4], first[:, 2::4]
        case PixelFormat.NV12:
            return first, rest[0][:, 0::2], rest[0][:, 1::2]
        case PixelFormat.I420:
            return first, rest[0], rest[1]
        case PixelFormat.BGRA | PixelFormat.BGRX:
            return first[..., 2], first[..., 1], first[..., 0]
    return first[..., 0], first[..., 1], first[..., 2]


def _resized(channel: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(channel)).resize(size, Image.Resampling.BOX)


@functools.lru_cache(maxsize=2)
def _rows(kr: float, kb: float) -> tuple[float, ...]:
    kg = 1 - kr - kb
    luma, chroma = 255 / 219, 255 / 224  # limited range: Y 16…235, U and V 16…240
    red, blue = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
    rows = ((0.0, red), (-blue * kb / kg, -red * kr / kg), (blue, 0.0))
    return tuple(x for u, v in rows for x in (luma, u, v, -16 * luma - 128 * (u + v)))


def yuv_to_rgb(width: int, height: int) -> tuple[float, ...]:
    """Rows R, G, B of a 3×4 matrix from Y, U, V, 1 (bytes, limited range) to RGB (bytes, full range).

    BT.601 or BT.709 by size, as `picture` composes them (ITU-R BT.601-7 §2.5, BT.709-6 item 3).
    """
    return _rows(0.299, 0.114) if is_sd(width, height) else _rows(0.2126, 0.0722)
