"""Dry: the part of an input frame that the audience sees, as UYVY at the output's size, in host memory.

Only needed where the input shows through (mix, blend, split, bypass). A UYVY frame that is shown whole is handed on
as it is, without a copy.
"""

from __future__ import annotations

import cv2
import numpy as np

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture import uyvy
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.geometry import Box, Geometry, around

U8 = np.ndarray
PACKED = (PixelFormat.UYVY, PixelFormat.UYVA)
FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}
"""OpenCV's codes for (left-right, upside-down)."""


def as_it_is(frame: Frame, geometry: Geometry) -> bool:
    """The frame's own bytes are what the output shows."""
    return frame.format in PACKED and geometry.seen_as_it_is(frame.size)


def dry_uyvy(frame: Frame, geometry: Geometry, standard: str, buffers: Buffers, name: str = "dry") -> U8:
    """``(h, 2w)`` uint8 UYVY of ``geometry.place``'s size, in the `standard` ("bt601" or "bt709") of the output.

    They are the frame's own, or lie in the buffer `name`.
    """
    if as_it_is(frame, geometry):
        return frame.planes[0]
    width, height = geometry.place[2:]
    out = buffers(name, (height, 2 * width))
    if frame.format.is_rgb:
        seen = _cut(frame.planes[0], frame, geometry, (width, height), buffers, "cut")
        pixels = cv2.cvtColor(seen, cv2.COLOR_BGRA2BGR, buffers("three", (height, width, 3)))
        uyvy.pack_pixels(pixels, _rgb_affine(frame.format, standard), out, buffers)
        return out
    luma, chroma = _planes(frame, buffers)
    chroma = _cut(chroma, frame, geometry, (width // 2, height), buffers, "cut chroma")
    uyvy.pack(_cut(luma, frame, geometry, (width, height), buffers, "cut"), chroma, out)
    uyvy.restandard(out, standard_for(*frame.size), standard, buffers)
    return out


def dry_alpha(frame: Frame, geometry: Geometry, buffers: Buffers) -> U8 | None:
    """``(h, w)`` uint8 alpha of ``geometry.place``'s size; None where the frame is opaque."""
    if not frame.format.has_alpha:
        return None
    if frame.format is PixelFormat.UYVA:
        plane = frame.planes[1]
    else:
        plane = cv2.extractChannel(frame.planes[0], 3, buffers("alpha", (frame.height, frame.width)))
    return _cut(plane, frame, geometry, geometry.place[2:], buffers, "cut")


def _planes(frame: Frame, buffers: Buffers) -> tuple[U8, U8]:
    """(luma ``(h, w)``, Cb and Cr ``(h', ⌈w/2⌉, 2)``) of a Y'CbCr frame, at its own size."""
    if frame.format is PixelFormat.I420:
        return frame.planes[0], cv2.merge(frame.planes[1:], buffers("chroma", (*frame.planes[1].shape, 2)))
    if frame.format is PixelFormat.NV12:
        return frame.planes[0], frame.planes[1].reshape(frame.planes[1].shape[0], -1, 2)
    luma, chroma = uyvy.apart(uyvy.pairs(frame.planes[0]), buffers)
    return luma, chroma.reshape(frame.height, -1, 2)


def _rgb_affine(fmt: PixelFormat, standard: str) -> np.ndarray:
    affine = uyvy.yuv_affine(standard)
    return affine[:, [2, 1, 0, 3]] if fmt in (PixelFormat.BGRA, PixelFormat.BGRX) else affine


def _cut(plane: U8, frame: Frame, geometry: Geometry, size: tuple[int, int], buffers: Buffers, name: str) -> U8:
    """The seen box of a plane, whose sides are the frame's or (of chroma) half as long, at `size` and flipped.

    It is part of `plane` where nothing is to be done, else it lies in the buffer `name`.
    """
    sx = 1.0 if plane.shape[1] == frame.width else 0.5  # of an odd width too: the last sample is half outside
    sy = 1.0 if plane.shape[0] == frame.height else 0.5
    left, top, right, bottom = geometry.seen
    box = (left * sx, top * sy, right * sx, bottom * sy)
    out = buffers(name, (size[1], size[0], *plane.shape[2:]))
    if all(float(edge).is_integer() for edge in box) and box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]:
        made = plane[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
        if made.shape[1::-1] != size:
            made = cv2.resize(made, size, out, interpolation=cv2.INTER_AREA)
    else:
        where, within = around(box, (plane.shape[1], plane.shape[0]))
        made = _warp(plane[where], within, size, out)
    if any(geometry.flip):
        made = cv2.flip(made, FLIPS[geometry.flip], buffers(f"{name} flipped", out.shape))
    return made


def _warp(plane: U8, box: Box, size: tuple[int, int], out: U8) -> U8:
    """Bilinear, with fractional borders (a slow zoom moves smoothly); shrunk by area before, where it gets smaller."""
    sx, sy = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    if max(sx, sy) >= 1.5:
        height, width = plane.shape[:2]
        less = max(width // max(round(sx), 1), 1), max(height // max(round(sy), 1), 1)
        plane = cv2.resize(plane, less, interpolation=cv2.INTER_AREA)
        fx, fy = less[0] / width, less[1] / height
        sx, sy, box = sx * fx, sy * fy, (box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy)
    matrix = np.array([[sx, 0, box[0] + sx / 2 - 0.5], [0, sy, box[1] + sy / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix, size, out, flags=flags, borderMode=cv2.BORDER_REPLICATE)
