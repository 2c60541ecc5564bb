"""Blocks: a number as a picture of dark and light, and the reader that learns to tell it from what was made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2s_node.frame import Frame, PixelFormat

ACROSS, DOWN = 4, 3
BLOCKS, BITS = ACROSS * DOWN, 8
DARK, LIGHT = 40, 210
"""Luma of the blocks (limited range)."""
GRID = (9, 16)
"""Rows and columns of cells that a picture is looked at in, each the mean of `POINTS` by `POINTS` pixels."""
POINTS = 4
CLEAR = 2.0
"""How much better the best number must fit than the second best; 6 where every block is read as it was learnt."""


def _codes() -> np.ndarray:
    """``(256, 12)`` of -1 and 1: Hamming's code, shortened to eight bits of data (Hamming 1950)."""
    places = [n for n in range(1, BLOCKS + 1) if n & (n - 1)]  # those that are no power of two hold data
    codes = np.zeros((1 << BITS, BLOCKS), np.int8)
    for number in range(1 << BITS):
        held = [place for bit, place in enumerate(places) if number >> bit & 1]
        for place in held:
            codes[number, place - 1] = 1
        for check in (1, 2, 4, 8):
            codes[number, check - 1] = sum(1 for place in held if place & check) % 2
    return codes * 2 - 1


CODES = _codes()


def paint(plane: np.ndarray, code: np.ndarray) -> None:
    """Blocks of `code` (twelve of -1 and 1) onto a UYVY plane ``(h, 2w)``, row by row from the top left."""
    height, width = plane.shape[0], plane.shape[1] // 2
    for block, sign in enumerate(code):
        y, x = divmod(block, ACROSS)
        rows = slice(height * y // DOWN, height * (y + 1) // DOWN)
        plane[rows, 2 * (width * x // ACROSS) + 1 : 2 * (width * (x + 1) // ACROSS) : 2] = LIGHT if sign > 0 else DARK


def seen(frame: Frame) -> np.ndarray:
    """What `frame` looks like from afar: float32, 0…255, `GRID` cells of one to four channels in a row."""
    rows = _points(frame.height, GRID[0])
    if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA):
        pixels = frame.planes[0].reshape(frame.height, -1, 4)[np.ix_(rows, _points(frame.width // 2, GRID[1]))]
    elif frame.format.is_rgb:
        pixels = frame.planes[0][np.ix_(rows, _points(frame.width, GRID[1]))][..., :3]
    else:
        pixels = frame.planes[0][np.ix_(rows, _points(frame.width, GRID[1]))][..., None]
    cells = pixels.reshape(GRID[0], POINTS, GRID[1], POINTS, -1).mean((1, 3), dtype=np.float32)
    look: np.ndarray = cells.ravel()
    return look


def _points(length: int, cells: int) -> np.ndarray:
    return ((np.arange(cells * POINTS) + 0.5) * length / (cells * POINTS)).astype(np.intp)


@dataclass(frozen=True, slots=True)
class Reader:
    """What was learnt.

    Attributes:
        mean: what a picture looks like on the average.
        weights: ``(features, 12)``: sums of these over what differs from it, near -1 or 1, are the blocks.
        way: seconds from a picture sent to what came of it, roughly.
        right: share of single blocks that were read rightly where they were known.
    """

    mean: np.ndarray
    weights: np.ndarray
    way: float
    right: float = 0.0

    def blocks(self, look: np.ndarray) -> np.ndarray:
        found: np.ndarray = (look - self.mean) @ self.weights
        return found

    def number(self, look: np.ndarray) -> int | None:
        """The number that it shows; None if that isn't clear."""
        fits = CODES @ np.clip(self.blocks(look), -1.5, 1.5)
        second, best = np.argsort(fits)[-2:]
        return int(best) if fits[best] - fits[second] >= CLEAR else None


def fit(looks: list[np.ndarray], codes: list[np.ndarray], way: float = 0.0) -> Reader:
    """Ridge regression of the blocks on what came back, in its dual form: fewer pictures than features."""
    x, y = np.array(looks, np.float64), np.array(codes, np.float64)
    mean = x.mean(0)
    x -= mean
    products = x @ x.T
    products[np.diag_indices_from(products)] += 1e-2 * np.trace(products) / len(products) + 1e-9
    return Reader(mean, x.T @ np.linalg.solve(products, y), way)
