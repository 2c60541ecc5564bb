"""Geometry: which part of a frame the canvas takes, and where that part lies in the output. Numbers only, no pixels.

    frame ──taken──> canvas[into]        what the generator looks at
    canvas[shown] ──> output[place]      what the audience sees of its picture
    frame[seen] ──> output[place]        the same region of the input, for mix and split

`crop` takes the frame's middle in the canvas's shape and fills the output; `fit` takes all of it, lets its border go
on to fill the canvas, and keeps its shape in the output (bars where they differ); `stretch` squeezes both ways.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the frame."""
Rect = tuple[int, int, int, int]
"""(left, top, width, height) in whole pixels of the canvas or the output."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """One mapping; see the module's drawing. `flip` is (left-right, upside-down), of what was taken or seen."""

    taken: Box
    into: Rect
    shown: Rect
    seen: Box
    place: Rect
    flip: tuple[bool, bool]

    def seen_as_it_is(self, frame: tuple[int, int]) -> bool:
        """The output shows the whole frame pixel for pixel."""
        width, height = frame
        return (
            self.seen == (0, 0, width, height) and self.place == (0, 0, width, height) and self.flip == (False, False)
        )


@functools.lru_cache(maxsize=8)  # asked for in every frame, and the same until somebody turns a knob
def solve(
    frame: tuple[int, int],
    canvas: tuple[int, int],
    output: tuple[int, int],
    framing: str,
    zoom: float = 1.0,
    pan: tuple[float, float] = (0.0, 0.0),
    flip: tuple[bool, bool] = (False, False),
) -> Geometry:
    """The geometry for sizes given as (width, height).

    `zoom` ≥ 1 shrinks the region looked at; `pan` in [-1, 1] moves it from one border to the other.
    """
    whole = (0.0, 0.0, float(frame[0]), float(frame[1]))
    everything = (0, 0, canvas[0], canvas[1])
    if framing == "crop":
        taken = _view(_inscribed(whole, canvas[0] / canvas[1]), whole, zoom, pan)
        seen = _inscribed(taken, output[0] / output[1])
        return Geometry(taken, everything, _within(seen, taken, canvas), seen, (0, 0, *output), flip)
    seen = _view(whole, whole, zoom, pan)
    if framing == "stretch":
        return Geometry(seen, everything, everything, seen, (0, 0, *output), flip)
    aspect = frame[0] / frame[1]
    into = _letterbox(canvas, aspect, step=1)
    return Geometry(seen, into, into, seen, _letterbox(output, aspect, step=2), flip)


def canvas_for(
    frame: tuple[int, int], resolution: int, multiple: int, thrifty: bool = False, widest: float = 2.0
) -> tuple[int, int]:
    """The generator's (width, height) for a frame: `resolution` on the short side, the frame's shape on the long one.

    The long side is the nearest multiple of `multiple`, at most `widest` times the short one. A network whose
    innermost layer needs the very square it was trained on (`multiple` ≥ `resolution`) keeps the square. `thrifty`
    takes the canvas that shows most of such a frame with no more pixels than that square: as fast for every shape.
    """
    if multiple >= resolution:
        return resolution, resolution
    if thrifty:
        sides = range(multiple, int(resolution * widest) + 1, multiple)
        sizes = [(w, h) for w in sides for h in sides if w * h <= resolution**2]
        return max(sizes, key=lambda size: (_shown(frame, size), -size[0] * size[1]))
    width, height = frame
    ratio = min(max(width, height) / min(width, height), widest)
    long = max(round(resolution * ratio / multiple) * multiple, resolution)
    return (long, resolution) if width >= height else (resolution, long)


def _shown(frame: tuple[int, int], canvas: tuple[int, int]) -> float:
    """Pixels of the canvas that a whole frame covers in its own shape."""
    aspect = frame[0] / frame[1]
    return min(canvas[0], canvas[1] * aspect) * min(canvas[1], canvas[0] / aspect)


def around(box: Box, size: tuple[int, int]) -> tuple[tuple[slice, slice], Box]:
    """((rows, columns) of the whole pixels that `box` needs with a border of one, `box` within them).

    `size` is the (width, height) of what they are cut from.
    """
    left, top = max(math.floor(box[0]) - 1, 0), max(math.floor(box[1]) - 1, 0)
    right, bottom = min(math.ceil(box[2]) + 1, size[0]), min(math.ceil(box[3]) + 1, size[1])
    within = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return (slice(top, bottom), slice(left, right)), within


def _view(box: Box, whole: Box, zoom: float, pan: tuple[float, float]) -> Box:
    """`box` shrunk by `zoom`, then moved towards the borders of `whole` by `pan`."""
    width, height = (box[2] - box[0]) / zoom, (box[3] - box[1]) / zoom
    left = (whole[2] - width) * (0.5 + pan[0] / 2)
    top = (whole[3] - height) * (0.5 + pan[1] / 2)
    return left, top, left + width, top + height


def _inscribed(box: Box, aspect: float) -> Box:
    """The largest box of that shape in the middle of `box`."""
    width, height = box[2] - box[0], box[3] - box[1]
    inner_width, inner_height = min(width, height * aspect), min(height, width / aspect)
    left, top = box[0] + (width - inner_width) / 2, box[1] + (height - inner_height) / 2
    return left, top, left + inner_width, top + inner_height


def _within(inner: Box, outer: Box, canvas: tuple[int, int]) -> Rect:
    """`inner` in pixels of a canvas that shows `outer`."""
    sx, sy = canvas[0] / (outer[2] - outer[0]), canvas[1] / (outer[3] - outer[1])
    left, top = round((inner[0] - outer[0]) * sx), round((inner[1] - outer[1]) * sy)
    right, bottom = round((inner[2] - outer[0]) * sx), round((inner[3] - outer[1]) * sy)
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _letterbox(size: tuple[int, int], aspect: float, step: int) -> Rect:
    """The largest rectangle of that shape in the middle of `size`; left and width are multiples of `step`."""
    width = _unless_a_seam(size[0], size[1] * aspect, step, step)
    height = _unless_a_seam(size[1], size[0] / aspect, 1, step)
    left = (size[0] - width) // 2 // step * step
    return left, (size[1] - height) // 2, width, height


def _unless_a_seam(side: int, wanted: float, step: int, seam: int) -> int:
    """`wanted` in multiples of `step`, at most `side`; all of `side` where under `seam` pixels (and 1 %) were left."""
    if side - wanted < min(seam, 0.01 * side):
        return side
    return max(step, round(wanted / step) * step)
