"""UYVY bytes in host memory: taken apart, put together and turned into other colours, through OpenCV.

What a function returns lies in the `Buffers` that it was given, under the name that its docstring or caller gives.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from l2s_node.picture import colour
from l2s_node.picture.buffers import Buffers

U8 = np.ndarray


def pairs(uyvy: U8) -> U8:
    """``(h, w, 2)``: (U or V, Y) of every pixel; a view, even where rows are padded."""
    return uyvy.reshape(uyvy.shape[0], -1, 2)


def apart(pairs: U8, buffers: Buffers) -> tuple[U8, U8]:
    """(``(h, w)`` Y in "luma", ``(h, w)`` U or V in "chroma") of ``(h, w, 2)``.

    OpenCV takes all channels out in a third of the time that it needs for one, where no columns are left out.
    """
    shape = pairs.shape[:2]
    chroma, luma = cv2.split(pairs, [buffers(name, shape) for name in ("chroma", "luma")])
    return luma, chroma


def pack(luma: U8, chroma: U8, out: U8) -> None:
    """``(h, w)`` and ``(h, w/2, 2)`` into `out` ``(h, 2w)``, which may be part of a larger plane."""
    cv2.merge([chroma.reshape(luma.shape), luma], pairs(out))


def pixels(uyvy: U8, buffers: Buffers) -> U8:
    """``(h, w, 3)`` Y'CbCr in "pixels"; two neighbours share their colour."""
    luma, chroma = apart(pairs(uyvy), buffers)
    height, half = uyvy.shape[0], uyvy.shape[1] // 4
    halves = [buffers(f"half {name}", (height, half)) for name in ("blue", "red")]
    blue, red = cv2.split(chroma.reshape(height, half, 2), halves)
    twice = _twice(blue, buffers("blue", luma.shape)), _twice(red, buffers("red", luma.shape))
    return cv2.merge([luma, *twice], buffers("pixels", (*luma.shape, 3)))


def _twice(plane: U8, out: U8) -> U8:
    """Every byte of ``(h, w)`` twice, side by side, in `out` ``(h, 2w)``."""
    return cv2.merge([plane, plane], out.reshape(*plane.shape, 2)).reshape(out.shape)


def pack_pixels(colours: U8, affine: np.ndarray, out: U8, buffers: Buffers) -> None:
    """``(h, w, 3)`` bytes into `out` ``(h, 2w)``; `affine` ``(3, 4)`` makes Y'CbCr of them.

    The colour of two neighbours is their mean.
    """
    height, width = colours.shape[:2]
    yuv = cv2.transform(colours, affine, buffers("converted", colours.shape))
    luma, *chroma = cv2.split(yuv, [buffers(name, (height, width)) for name in ("luma", "blue", "red")])
    half = width // 2, height
    halves = [
        cv2.resize(plane, half, buffers(f"half {name}", half[::-1]), interpolation=cv2.INTER_LINEAR)
        for plane, name in zip(chroma, ("blue", "red"), strict=True)
    ]
    pack(luma, cv2.merge(halves, buffers("chroma", (height, width // 2, 2))), out)


def to_rgb(uyvy: U8, standard: str, buffers: Buffers, name: str) -> U8:
    """``(h, w, 3)`` RGB bytes in `name`."""
    yuv = pixels(uyvy, buffers)
    return cv2.transform(yuv, _rgb_affine(standard), buffers(name, yuv.shape))


def restandard(uyvy: U8, source: str, target: str, buffers: Buffers) -> None:
    """From one standard's matrix to the other's, in place: the same colours, in other bytes."""
    if source != target:
        pack_pixels(pixels(uyvy, buffers), _standards_affine(source, target), uyvy, buffers)


@functools.lru_cache(maxsize=2)
def black(width: int, height: int) -> U8:
    """``(h, 2w)``, not to be written to."""
    plane = np.empty((height, 2 * width), np.uint8)
    plane[:, 0::2], plane[:, 1::2] = 128, 16
    return plane


@functools.lru_cache(maxsize=4)
def yuv_affine(standard: str, white: float = 255) -> np.ndarray:
    """``(3, 4)`` float32 for `cv2.transform`: RGB in 0…`white` to Y'CbCr bytes."""
    matrix, offset = (t.numpy() for t in colour.to_bytes(standard))
    return np.hstack([matrix / white, offset[:, 0]]).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _rgb_affine(standard: str) -> np.ndarray:
    """Y'CbCr bytes to RGB bytes."""
    matrix, offset = (t.numpy() for t in colour.from_bytes(standard))
    return np.hstack([matrix * 255, -(matrix @ offset[:, 0]) * 255]).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _standards_affine(source: str, target: str) -> np.ndarray:
    """Y'CbCr bytes in one standard to those in the other."""
    matrix = (colour.to_bytes(target)[0] @ colour.from_bytes(source)[0]).numpy()
    offset = colour.to_bytes(source)[1][:, 0].numpy()
    return np.hstack([matrix, offset - matrix @ offset]).astype(np.float32)
