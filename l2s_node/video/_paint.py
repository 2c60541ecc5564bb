"""The pictures of the room `pattern:`, painted into UYVY canvases ``(h, 2w)`` with little arithmetic a frame.

Whatever stands still is drawn once, at start; a frame copies it and lays the moving things over it. All motion is
a function of the time, so that two nodes show the same and a lost frame is only a lost frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2s_node.frame import is_sd

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

BLACK, WHITE, NEUTRAL = 16, 235, 128
"""Limited range: luma 16…235, chroma around 128 (ITU-R BT.709-6, item 4.6)."""


class Painter(Protocol):
    """One pattern of one size."""

    def paint(self, canvas: Bytes, seconds: float, number: int) -> None:
        """Fill `canvas` with the picture at `seconds`, which is picture `number`."""
        ...


class Bars:
    """Colour bars at 75 %, their reverse, a grey ramp from black to white, and a mark that shows that time runs.

    The order of the bars is that of SMPTE EG 1; the colours are converted as pictures of their size are read (`is_sd`):
    as ITU-R BT.601-7 says (2.5), or BT.709-6 (items 3.2, 3.3 and 4.6).
    """

    _COLOURS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1))
    _REVERSE = ((0, 0, 1), (0, 0, 0), (1, 0, 1), (0, 0, 0), (0, 1, 1), (0, 0, 0), (1, 1, 1))

    def __init__(self, width: int, height: int) -> None:
        top, middle = height * 2 // 3, height * 3 // 4
        self._card = np.empty((height, 2 * width), np.uint8)
        weights = (0.299, 0.114) if is_sd(width, height) else (0.2126, 0.0722)
        for rows, colours in ((slice(0, top), self._COLOURS), (slice(top, middle), self._REVERSE)):
            edges = [round(i * width / 14) * 2 for i in range(8)]  # on whole UYVY groups of two pixels
            for left, right, colour in zip(edges, edges[1:], colours, strict=False):
                self._card[rows, 2 * left : 2 * right] = np.tile(_uyvy(colour, 0.75, *weights), (right - left) // 2)
        self._card[middle:, 0::2] = NEUTRAL
        self._card[middle:, 1::2] = np.linspace(BLACK, WHITE, width).round()
        self._mark = slice(height - max(1, (height - middle) // 4), height)

    def paint(self, canvas: Bytes, seconds: float, number: int) -> None:
        """The card, with a mark that crosses the foot of it in four seconds."""
        np.copyto(canvas, self._card)
        width = canvas.shape[1] // 2
        side = max(2, width // 64)
        left = round((width - side) * (seconds / 4 % 1))
        canvas[self._mark, 2 * left + 1 : 2 * (left + side) : 2] = WHITE


def _uyvy(rgb: tuple[int, int, int], level: float, kr: float, kb: float) -> Bytes:
    """The four bytes of two pixels of one colour, R'G'B' 0 or 1 times `level`, in limited range; kr, kb as in luma."""
    r, g, b = (channel * level for channel in rgb)
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    luma = round(16 + 219 * y)
    return np.array([round(128 + 224 * u), luma, round(128 + 224 * v), luma], np.uint8)


class Noise:
    """Grey noise, new in every picture: windows of one larger noise picture, which cost no more than a copy."""

    _MARGIN = 64

    def __init__(self, width: int, height: int) -> None:
        rng = np.random.default_rng(7)
        shape = (height + self._MARGIN, 2 * (width + self._MARGIN))
        self._bank = rng.integers(BLACK, WHITE + 1, shape, np.uint8)
        self._bank[:, 0::2] = NEUTRAL

    def paint(self, canvas: Bytes, seconds: float, number: int) -> None:
        """The window of this number; neighbours lie far apart (both steps have no factor in common with 64)."""
        top, left = number * 29 % self._MARGIN, number * 37 // self._MARGIN * 11 + number * 23
        left = 2 * (left % self._MARGIN)
        np.copyto(canvas, self._bank[top : top + canvas.shape[0], left : left + canvas.shape[1]])


class Table:
    """A mottled grey table seen from above: two hands, a disc and a turning rod, with the grain of a camera."""

    _GRAINS = 3

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._unit = unit = float(min(width, height))
        self._tables = _tables(width, height, self._GRAINS)
        hand = _hand(unit)
        self._things = (
            (_Sprite(*_disc(unit), (150, 112)), self._disc),
            (_Sprite(*hand, (104, 150)), self._first_hand),
            (_Sprite(hand[0][::-1, ::-1] * 0.8, hand[1][::-1, ::-1], (108, 146)), self._second_hand),
        )
        self._rod = _Rod(0.21 * unit, 0.018 * unit)

    def paint(self, canvas: Bytes, seconds: float, number: int) -> None:
        """The table, and everything where it is at `seconds`."""
        np.copyto(canvas, self._tables[number % self._GRAINS])
        x, y = self._sway(seconds, 0.72, 0.2, 0.067, 0.35, 0.22, 0.091)
        self._rod.paste(canvas, x, y, 0.5 * seconds + 0.8 * math.sin(0.17 * seconds))
        for sprite, where in self._things:
            sprite.paste(canvas, *where(seconds))

    def _sway(self, t: float, x: float, ax: float, fx: float, y: float, ay: float, fy: float) -> tuple[float, float]:
        """A Lissajous figure around (x, y), in pixels; places and amplitudes are parts of the picture's sides."""
        width, height = self._size
        return width * (x + ax * math.sin(2 * math.pi * fx * t)), height * (y + ay * math.cos(2 * math.pi * fy * t))

    def _first_hand(self, t: float) -> tuple[float, float]:
        x, y = self._sway(t, 0.34, 0.14, 0.061, 0.5, 0.12, 0.083)
        return x, y + 0.43 * self._unit

    def _second_hand(self, t: float) -> tuple[float, float]:
        x, y = self._sway(t + 3, 0.68, 0.1, 0.047, 0.38, 0.14, 0.071)
        return x, y - 0.43 * self._unit

    def _disc(self, t: float) -> tuple[float, float]:
        return self._sway(t, 0.5, 0.3, 0.053, 0.55, 0.28, 0.079)


class _Sprite:
    """A thing with soft edges, drawn once: ``canvas = add + canvas * keep / 256``, byte by byte.

    Args:
        luma: ``(h, w)``, 0…255, what the thing looks like.
        alpha: ``(h, w)``, 0…1, how much of it covers the table.
        chroma: its U and V.
    """

    def __init__(self, luma: Floats, alpha: Floats, chroma: tuple[int, int]) -> None:
        # drawn at two phases, so that it moves in steps of one pixel although UYVY comes in groups of two
        self._phases = [self._draw(luma, alpha, chroma, phase) for phase in (0, 1)]
        self._work: NDArray[np.uint16] = np.empty(self._phases[0][0].shape, np.uint16)

    @staticmethod
    def _draw(luma: Floats, alpha: Floats, chroma: tuple[int, int], phase: int) -> tuple[Bytes, NDArray[np.uint16]]:
        height, width = luma.shape
        pad = ((0, 0), (phase, 2 + width % 2 - phase))
        luma, alpha = np.pad(luma, pad), np.pad(alpha, pad)
        pairs = (alpha[:, 0::2] + alpha[:, 1::2]) / 2
        add = np.empty((height, 2 * luma.shape[1]), np.float32)
        keep = np.empty_like(add)
        add[:, 1::2], keep[:, 1::2] = luma * alpha, 1 - alpha
        for first, value in zip((0, 2), chroma, strict=True):
            add[:, first::4], keep[:, first::4] = value * pairs, 1 - pairs
        return add.round().astype(np.uint8), (256 * keep).round().astype(np.uint16)

    def paste(self, canvas: Bytes, x: float, y: float) -> None:
        """Lay it over `canvas` with its middle at pixel (x, y); what lies outside is cut off."""
        left, top = round(x) - self._work.shape[1] // 4, round(y) - self._work.shape[0] // 2
        add, keep = self._phases[left % 2]
        left = 2 * (left - left % 2)  # in bytes
        rows, columns = _overlap(top, add.shape[0], canvas.shape[0]), _overlap(left, add.shape[1], canvas.shape[1])
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        target, work = canvas[rows, columns], self._work[inner]
        np.multiply(target, keep[inner], out=work)
        work >>= 8
        work += add[inner]
        np.copyto(target, work, casting="unsafe")  # add + keep never exceed a byte


class _Rod:
    """A dark rod that turns: drawn anew for every picture, in luma only, so that it turns smoothly."""

    def __init__(self, half: float, radius: float) -> None:
        self._half, self._radius = half, radius
        side = math.ceil(half + radius + 2)
        self._y, self._x = (axis.astype(np.float32) for axis in np.mgrid[-side : side + 1, -side : side + 1])
        self._side = side

    def paste(self, canvas: Bytes, x: float, y: float, angle: float) -> None:
        """Lay it over `canvas` with its middle at (x, y), turned by `angle` (radians)."""
        left, top, size = round(x) - self._side, round(y) - self._side, 2 * self._side + 1
        rows, columns = _overlap(top, size, canvas.shape[0]), _overlap(left, size, canvas.shape[1] // 2)
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        px, py = self._x[inner], self._y[inner]
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        along = np.maximum(np.abs(px * c + py * s) - np.float32(self._half), 0)
        across = px * s - py * c
        keep = np.clip(np.sqrt(along * along + across * across) - np.float32(self._radius), 0, 1)
        target = canvas[rows, 2 * columns.start + 1 : 2 * columns.stop : 2]
        np.copyto(target, 52 + (target - np.float32(52)) * keep, casting="unsafe")


def _overlap(start: int, size: int, limit: int) -> slice:
    """The part of ``start … start + size`` that lies in ``0 … limit``."""
    low = min(max(start, 0), limit)
    return slice(low, max(low, min(start + size, limit)))


def _tables(width: int, height: int, count: int) -> list[Bytes]:
    """`count` pictures of the empty table that differ in their grain only."""
    rng = np.random.default_rng(3)
    luma = np.full((height, width), 112, np.float32)
    for cells, contrast in ((5, 14.0), (16, 7.0), (48, 4.0)):
        luma += contrast * _mottle(rng, width, height, max(1, min(width, height) // cells))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    luma *= 1 - 0.14 * (x * x + y * y)  # lamps light the middle
    grain = rng.integers(-3, 4, (height, width), np.int8)
    tables = []
    for i in range(count):
        table = np.empty((height, 2 * width), np.uint8)
        table[:, 0::4], table[:, 2::4] = 125, 130
        table[:, 1::2] = np.clip(luma + np.roll(grain, (17 * i, 31 * i), (0, 1)), BLACK, WHITE)
        tables.append(table)
    return tables


def _mottle(rng: np.random.Generator, width: int, height: int, cell: int) -> Floats:
    """``(height, width)`` of smooth noise, mean 0, in -1…1, with blots `cell` pixels wide."""
    grid = rng.uniform(-1, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    y, x = np.arange(height, dtype=np.float32) / cell, np.arange(width, dtype=np.float32) / cell
    rows, columns = y.astype(int), x.astype(int)
    fy, fx = _ease(y - rows)[:, None], _ease(x - columns)
    coarse = grid[rows] * (1 - fy) + grid[rows + 1] * fy
    return np.asarray(coarse[:, columns] * (1 - fx) + coarse[:, columns + 1] * fx, np.float32)


def _ease(t: Floats) -> Floats:
    """0…1 to 0…1 with level ends (3t² - 2t³), so that the cells of the grid don't show."""
    return t * t * (3 - 2 * t)


def _disc(unit: float) -> tuple[Floats, Floats]:
    """(luma, alpha) of a bright round thing, in a square."""
    x, y = _grid(0.26 * unit, 0.26 * unit)
    radius = 0.11 * unit
    luma = 205 - 60 * np.hypot(x + 0.3 * radius, y + 0.3 * radius) / radius
    return _shadowed(luma.astype(np.float32), (np.hypot(x, y) - radius).astype(np.float32), unit)


def _hand(unit: float) -> tuple[Floats, Floats]:
    """(luma, alpha) of a hand and its forearm, the fingers up and the arm off below, ``1.35 unit`` high."""
    x, y = _grid(0.42 * unit, 1.35 * unit)
    x, y = x / unit, y / unit + 0.43  # the hand's middle, above the middle of the sprite
    bones = [((0, 0.05), (0.02, 1.2), 0.062), ((-0.025, 0.0), (0.03, 0.03), 0.062)]
    for angle, length, root in ((-26, 0.13, -0.05), (-9, 0.165, -0.02), (5, 0.17, 0.015), (19, 0.14, 0.05)):
        a = math.radians(angle)
        bones.append(((root, -0.03), (root + length * math.sin(a), -0.03 - length * math.cos(a)), 0.02))
    bones.append(((0.05, 0.04), (0.14, -0.03), 0.022))
    distance = np.full(x.shape, 9, np.float32)
    for bone in bones:
        distance = _soft_min(distance, _capsule(x, y, *bone), 0.02)
    luma = 150 + 40 * np.clip(-distance / 0.045, 0, 1)
    return _shadowed(luma, distance * np.float32(unit), unit)


def _grid(width: float, height: float) -> tuple[Floats, Floats]:
    """x and y of every pixel of a sprite, 0 in its middle."""
    w, h = 2 * round(width / 2), 2 * round(height / 2)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return x - w / 2 + 0.5, y - h / 2 + 0.5


def _capsule(x: Floats, y: Floats, a: tuple[float, float], b: tuple[float, float], radius: float) -> Floats:
    """Signed distance to a rod with round ends from `a` to `b`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.asarray(np.hypot(x - a[0] - t * dx, y - a[1] - t * dy) - radius, np.float32)


def _soft_min(a: Floats, b: Floats, width: float) -> Floats:
    """The smaller of two distances, rounded off where they are within `width` (I. Quilez, polynomial smooth min)."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return np.asarray(np.minimum(a, b) - h * h * width / 4, np.float32)


def _shadowed(luma: Floats, distance: Floats, unit: float) -> tuple[Floats, Floats]:
    """(luma, alpha) of a thing inside ``distance < 0`` (pixels), with its shadow around it."""
    body = np.clip(0.5 - distance / 2, 0, 1)
    shadow = 0.45 * np.clip(1 - distance / (0.035 * unit), 0, 1) ** 2
    alpha = body + (1 - body) * shadow
    colour = np.where(alpha > 0, (luma * body + BLACK * (1 - body) * shadow) / np.maximum(alpha, 1e-6), BLACK)
    return np.clip(colour, BLACK, WHITE).astype(np.float32), alpha.astype(np.float32)


PAINTERS: dict[str, Callable[[int, int], Painter]] = {"table": Table, "bars": Bars, "noise": Noise}
