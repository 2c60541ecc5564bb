"""Host: `sample` and `compose.paint` for frames in host memory, on bytes, through OpenCV.

Twins of the definitions in `sample` and `compose`, several times faster on a CPU because nothing of the frame's size
is ever a float. A parity test binds them: at most 3/255 apart (bytes are rounded between the steps).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture import sample as definition
from l2s_node.picture import uyvy
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.compose import Style
from l2s_node.picture.condition import LUMA_WEIGHTS
from l2s_node.picture.dry import FLIPS
from l2s_node.picture.geometry import Box, Geometry, around

U8 = np.ndarray
F32 = np.ndarray
METHODS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


# --- sample ----------------------------------------------------------------------------------------------------------


def sample(frame: Frame, geometry: Geometry, canvas: tuple[int, int], buffers: Buffers) -> Tensor:
    """``(1, 1, h, w)`` float32 luma, 0…1, on the CPU; `canvas` is (width, height). It lies in the buffer "canvas"."""
    left, top, width, height = geometry.into
    luma = _unit(_resampled(frame, geometry.taken, (width, height), buffers), frame.format, buffers)
    if any(geometry.flip):
        luma = cv2.flip(luma, FLIPS[geometry.flip])
    borders = top, canvas[1] - top - height, left, canvas[0] - left - width
    out = buffers("canvas", canvas[::-1], np.float32)
    return torch.from_numpy(cv2.copyMakeBorder(luma, *borders, cv2.BORDER_REPLICATE, out))[None, None]


def _resampled(frame: Frame, taken: Box, size: tuple[int, int], buffers: Buffers) -> U8 | F32:
    """The luma of the taken box at `size`, ``(h, w)``, by area, or bilinear where a side grows.

    Bytes, or float32 in the scale of bytes.
    """
    cell = (taken[2] - taken[0]) / size[0], (taken[3] - taken[1]) / size[1]
    if all(number.is_integer() for number in (*taken, *cell)):
        left, top, right, bottom = map(int, taken)
        part = _part(frame, slice(top, bottom), slice(left, right), buffers)
        return _luma(_shrunk(part, size, buffers), frame.format, buffers)
    where, box = around(taken, frame.size)
    luma = _luma(_part(frame, *where, buffers), frame.format, buffers)
    if min(cell) >= 1:
        return _box_means(luma, box, size, buffers)
    rows, columns = definition.matrices(luma.shape[1::-1], box, size)
    grown: F32 = definition.by_matrix(torch.from_numpy(luma.astype(np.float32)), rows, columns).numpy()
    return grown


def _shrunk(pixels: U8, size: tuple[int, int], buffers: Buffers) -> U8:
    """The means of cells of whole pixels: by halves as long as that goes, which is the quickest that OpenCV has."""
    height, width = pixels.shape[:2]
    while width % (2 * size[0]) == 0 and height % (2 * size[1]) == 0:
        width, height = width // 2, height // 2
        out = buffers(f"at width {width}", (height, width, *pixels.shape[2:]))
        pixels = cv2.resize(pixels, (width, height), out, interpolation=cv2.INTER_AREA)
    if (width, height) == size:
        return pixels
    return cv2.resize(pixels, size, buffers("shrunk", (*size[::-1], *pixels.shape[2:])), interpolation=cv2.INTER_AREA)


def _box_means(luma: U8, box: Box, size: tuple[int, int], buffers: Buffers) -> F32:
    """The mean of each of `size` cells of `box`, whose edges may lie anywhere between pixels.

    From sums over the rectangles above and left of every pixel (F. Crow, "Summed-area tables for texture mapping",
    1984), which are linear between pixels. Sums may wrap round at 2³²; their differences don't.
    """
    height, width = luma.shape
    table = cv2.integral(luma, buffers("table", (height + 1, width + 1), np.int32))
    strips = _strips(table, *_edges(box[1], box[3], size[1], height), buffers)
    column, part = _edges(box[0], box[2], size[0], width)
    shape = (size[1], size[0] + 1)
    before = np.take(strips, column, 1, buffers("before", shape, np.float32), "clip")
    after = np.take(strips, column + 1, 1, buffers("after", shape, np.float32), "clip")
    after -= before
    after *= part
    before += after
    means: F32 = np.subtract(before[:, 1:], before[:, :-1], out=buffers("means", size[::-1], np.float32))
    means *= np.float32(size[0] * size[1] / ((box[2] - box[0]) * (box[3] - box[1])))
    return means


def _strips(table: np.ndarray, row: np.ndarray, part: F32, buffers: Buffers) -> F32:
    """The sums between neighbouring edges, which lie `part` of a pixel below the rows `row` of `table`."""
    shape = (row.size, table.shape[1])
    above = np.take(table, row, 0, buffers("above", shape, np.int32), "clip")
    below = np.take(table, row + 1, 0, buffers("below", shape, np.int32), "clip")
    below -= above
    beyond = np.multiply(below, part[:, None], out=buffers("beyond", shape, np.float32), dtype=np.float32)
    whole = np.subtract(above[1:], above[:-1], out=below[1:])
    strips: F32 = buffers("strips", whole.shape, np.float32)
    np.subtract(beyond[1:], beyond[:-1], out=strips)
    np.add(strips, whole, out=strips, dtype=np.float32)
    return strips


def _edges(start: float, stop: float, cells: int, size: int) -> tuple[np.ndarray, F32]:
    """(pixel, part of it 0…1) at which each of the `cells + 1` edges lies."""
    at = np.linspace(max(start, 0.0), min(stop, float(size)), cells + 1)
    pixel = np.minimum(at.astype(np.intp), size - 1)
    return pixel, (at - pixel).astype(np.float32)


def _part(frame: Frame, rows: slice, columns: slice, buffers: Buffers) -> U8:
    """Part of the frame as bytes: ``(h, w, 4)`` pixels of the RGB formats, ``(h, w)`` luma of the others."""
    if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA):
        return uyvy.apart(uyvy.pairs(frame.planes[0])[rows], buffers)[0][:, columns]  # whole rows are taken at once
    return frame.planes[0][rows, columns]


def _luma(part: U8, fmt: PixelFormat, buffers: Buffers) -> U8:
    """``(h, w)`` of what `_part` gave: full range of the RGB formats, limited range of the others."""
    if not fmt.is_rgb:
        return part
    weights = LUMA_WEIGHTS if fmt in (PixelFormat.RGBA, PixelFormat.RGBX) else LUMA_WEIGHTS[::-1]
    shape = (*part.shape[:2], 3)
    three = cv2.cvtColor(part, cv2.COLOR_BGRA2BGR, buffers("three", shape))  # either order; the fourth byte goes
    # OpenCV is fast from three channels to three only
    grey = cv2.transform(three, np.array([weights] * 3, np.float32), buffers("pixels", shape))
    return cv2.extractChannel(grey, 0, buffers("luma", shape[:2]))


def _unit(luma: U8 | F32, fmt: PixelFormat, buffers: Buffers) -> F32:
    """float32: 0 black … 1 white, clipped."""
    unit: F32 = buffers("unit", luma.shape, np.float32)
    np.subtract(luma, 0 if fmt.is_rgb else 16, out=unit, dtype=np.float32)
    unit *= np.float32(1 / 255 if fmt.is_rgb else 1 / 219)
    return np.clip(unit, 0, 1, out=unit)


# --- paint -----------------------------------------------------------------------------------------------------------


def paint(rgb: Tensor, dry: U8 | None, out: U8, style: Style, mix: float, light: float, buffers: Buffers) -> None:
    """See `compose.paint`; `out` and `dry` are ``(h, 2w)`` bytes in host memory, `rgb` is on the CPU."""
    width = out.shape[1] // 2
    _enlarged(rgb, out, style, buffers)
    if dry is not None and style.mixed:
        if style.blend == "luma":
            out[:, 1::2] = dry[:, 1::2]
        elif style.blend != "normal":
            below = uyvy.to_rgb(dry, style.standard, buffers, "below")
            above = uyvy.to_rgb(out, style.standard, buffers, "above")
            both = _blend(style.blend, below, above, buffers)
            uyvy.pack_pixels(both, uyvy.yuv_affine(style.standard), out, buffers)
        _towards(dry, out, mix)
    if dry is not None and style.split:
        half = width // 4 * 4
        out[:, :half] = dry[:, :half]
    if style.faded:
        dim(out, light)


def dim(out: U8, light: float) -> None:
    """``(h, 2w)`` UYVY bytes towards black by 1 - `light`, in place."""
    _towards(uyvy.black(out.shape[1] // 2, out.shape[0]), out, light)


def rgb_of(plane: U8) -> U8:
    """``(h, w, 3)`` RGB bytes of ``(h, 2w)`` UYVY, in the matrix of its size."""
    return uyvy.to_rgb(plane, standard_for(plane.shape[1] // 2, plane.shape[0]), Buffers(), "above")


def _enlarged(rgb: Tensor, out: U8, style: Style, buffers: Buffers) -> None:
    """``(3, h', w')`` RGB in 0…1 into all of `out`."""
    width, height = out.shape[1] // 2, out.shape[0]
    planes = rgb.clamp(0, 1).numpy()
    shape = (*planes.shape[1:], 3)
    pixels = cv2.merge(list(planes), buffers("rgb", shape, np.float32))
    yuv = cv2.transform(pixels, uyvy.yuv_affine(style.standard, 1.0), buffers("yuv", shape, np.float32))
    # never negative: "abs" does nothing here, and this is OpenCV's quick way to rounded bytes
    luma, *chroma = cv2.split(cv2.convertScaleAbs(yuv, buffers("yuv bytes", shape)))
    large = buffers("luma", (height, width))
    luma = cv2.resize(luma, (width, height), large, interpolation=METHODS[style.upscale])
    large = buffers("chroma", (height, width // 2, 2))
    uyvy.pack(luma, cv2.resize(cv2.merge(chroma), (width // 2, height), large, interpolation=cv2.INTER_LINEAR), out)


def _towards(base: U8, out: U8, weight: float) -> None:
    """``out = base + (out - base) · weight``, in place: linear, so it may be done on packed Y'CbCr."""
    if weight < 1:
        cv2.addWeighted(base, 1 - weight, out, weight, 0, out)


def _blend(mode: str, below: U8, above: U8, buffers: Buffers) -> U8:
    """`compose.blend` on bytes; both are written over."""
    if mode == "add":
        return cv2.add(below, above, below)
    if mode == "multiply":
        return cv2.multiply(below, above, below, 1 / 255)
    if mode == "lighten":
        return cv2.max(below, above, below)
    if mode == "difference":
        return cv2.absdiff(below, above, below)
    if mode == "screen":
        return _screen(below, above, 1)
    dark = cv2.multiply(below, above, buffers("dark", below.shape), 2 / 255)
    _, shade = cv2.threshold(below, 127, 255, cv2.THRESH_BINARY_INV, buffers("shade", below.shape))
    return cv2.copyTo(dark, shade, _screen(below, above, 2))


def _screen(below: U8, above: U8, weight: int) -> U8:
    """``1 - weight (1 - below) (1 - above)``, at least 0; both are written over."""
    cv2.bitwise_not(below, below)
    cv2.bitwise_not(above, above)
    cv2.multiply(below, above, above, weight / 255)
    return cv2.bitwise_not(above, above)
