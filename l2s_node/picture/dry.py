"""Dry: the part of an input frame that the audience sees, as UYVY at the output's size, in host memory.

Only needed where the input shows through (mix, blend, split, bypass). A UYVY frame that is shown whole is handed on
as it is, without a copy.
"""

from __future__ import annotations

import cv2
import numpy as np

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture.colour import standard_for, to_bytes
from l2s_node.picture.geometry import Geometry

U8 = np.ndarray


def dry_uyvy(frame: Frame, geometry: Geometry) -> U8:
    """``(h, 2w)`` uint8 UYVY of ``geometry.place``'s size."""
    packed = frame.format in (PixelFormat.UYVY, PixelFormat.UYVA)
    if packed and geometry.seen_as_it_is(frame.size):
        return frame.planes[0]
    size = geometry.place[2:]
    luma, chroma = _rgb_planes(frame, geometry) if frame.format.is_rgb else _yuv_planes(frame, geometry)
    out = cv2.merge([chroma.reshape(size[1], size[0]), luma])
    return out.reshape(size[1], 2 * size[0])


def dry_alpha(frame: Frame, geometry: Geometry) -> U8 | None:
    """``(h, w)`` uint8 alpha of ``geometry.place``'s size; None where the frame is opaque."""
    if not frame.format.has_alpha:
        return None
    plane = frame.planes[1] if frame.format is PixelFormat.UYVA else frame.planes[0][..., 3]
    return plane if geometry.seen_as_it_is(frame.size) else _cut(plane, frame, geometry, geometry.place[2:])


def _yuv_planes(frame: Frame, geometry: Geometry) -> tuple[U8, U8]:
    """(luma ``(h, w)``, chroma ``(h, w/2, 2)``) at the output's size."""
    width, height = geometry.place[2:]
    if frame.format is PixelFormat.I420:
        chroma = np.dstack(frame.planes[1:])
        luma = frame.planes[0]
    elif frame.format is PixelFormat.NV12:
        chroma = frame.planes[1].reshape(frame.planes[1].shape[0], -1, 2)
        luma = frame.planes[0]
    else:
        chroma = frame.planes[0][:, 0::2].reshape(frame.height, -1, 2)
        luma = frame.planes[0][:, 1::2]
    return _cut(luma, frame, geometry, (width, height)), _cut(chroma, frame, geometry, (width // 2, height))


def _rgb_planes(frame: Frame, geometry: Geometry) -> tuple[U8, U8]:
    width, height = geometry.place[2:]
    pixels = _cut(frame.planes[0], frame, geometry, (width, height))
    matrix, offset = (t.numpy() for t in to_bytes(standard_for(width, height)))
    if frame.format in (PixelFormat.BGRA, PixelFormat.BGRX):
        matrix = matrix[:, ::-1]
    affine = np.hstack([matrix / 255, np.zeros((3, 1)), offset[:, 0]]).astype(np.float32)
    yuv = np.clip(np.rint(cv2.transform(pixels.astype(np.float32), affine)), 0, 255).astype(np.uint8)
    chroma = cv2.resize(yuv[..., 1:], (width // 2, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(yuv[..., 0]), chroma


def _cut(plane: U8, frame: Frame, geometry: Geometry, size: tuple[int, int]) -> U8:
    """The seen box of a plane (of any resolution relative to the frame) at `size`, flipped as the input is."""
    sx, sy = plane.shape[1] / frame.width, plane.shape[0] / frame.height
    left, top, right, bottom = geometry.seen
    x0, y0, x1, y1 = left * sx, top * sy, right * sx, bottom * sy
    if all(float(edge).is_integer() for edge in (x0, y0, x1, y1)) and x1 - x0 >= size[0] and y1 - y0 >= size[1]:
        part = np.ascontiguousarray(plane[int(y0) : int(y1), int(x0) : int(x1)])
        made = part if part.shape[1::-1] == size else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    else:
        made = _warp(np.ascontiguousarray(plane), (x0, y0, x1, y1), size)
    for axis, on in enumerate(geometry.flip):
        made = cv2.flip(made, 1 - axis) if on else made
    return made


def _warp(plane: U8, box: tuple[float, float, float, float], size: tuple[int, int]) -> U8:
    """Bilinear, with fractional borders (a slow zoom moves smoothly)."""
    sx, sy = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    matrix = np.array([[sx, 0, box[0] + sx / 2 - 0.5], [0, sy, box[1] + sy / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
