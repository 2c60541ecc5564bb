"""Which pictures are nearly the same: a perceptual hash and a tiny thumbnail of each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, KEPT = 32, 8

DUPLICATE = 6
"""Bits of 63 in which two hashes of one picture may differ (compressed again, scaled, a frame later)."""

KIN = 10
"""Bits up to which two pictures count as the same motif. Of 1,119 photographs of flowers 4 pairs are that alike."""

COLOUR = 8.0
"""Mean difference of two thumbnails, of 0…255, up to which duplicates are duplicates; another grade is another one."""


def _cosines() -> NDArray[np.float32]:
    """The lowest `KEPT` rows of the discrete cosine transform (type II) of `SIDE` values."""
    row, column = np.arange(KEPT)[:, None], np.arange(SIDE)[None]
    return np.cos(np.pi * (2 * column + 1) * row / (2 * SIDE)).astype(np.float32)


_COSINES = _cosines()


class Likeness:
    """Hashes and thumbnails of many pictures.

    The hash is pHash: the luma at 32x32, its 8x8 lowest cosine coefficients without the constant one, each a bit: over
    their median or not (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1).
    It told our five sets' pictures apart far better than dHash, which takes skies and seas for one another.

    Args:
        pictures: ``(h, w, 3)`` uint8 RGB each.
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.bits = np.stack([_bits(p) for p in pictures]) if pictures else np.zeros((0, KEPT * KEPT - 1), np.float32)
        self.thumbs = np.stack([_thumb(p) for p in pictures]) if pictures else np.zeros((0, 192), np.float32)

    def distances(self, one: int, others: Sequence[int]) -> NDArray[np.float32]:
        """Bits, 0…63, in which the hash of picture `one` differs from those of `others`."""
        product: NDArray[np.float32] = self.bits[list(others)] @ self.bits[one]
        bits: NDArray[np.float32] = (self.bits.shape[1] - product) / 2
        return bits

    def unique(self) -> list[int]:
        """Indices of the pictures without near-duplicates; of several the first stays."""
        kept: list[int] = []
        for index in range(len(self.bits)):
            close = self.distances(index, kept) <= DUPLICATE
            colours = np.abs(self.thumbs[kept] - self.thumbs[index]).mean(1) if close.any() else np.zeros(0)
            if not (close.any() and (close & (colours <= COLOUR)).any()):
                kept.append(index)
        return kept

    def kin(self, index: int, others: Sequence[int]) -> bool:
        """Whether picture `index` shows the motif of one of `others`."""
        return bool(others) and bool((self.distances(index, others) <= KIN).any())


def _bits(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """-1 and 1, so that a product counts equal bits less unequal ones."""
    luma = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    coefficients = (_COSINES @ luma.astype(np.float32) @ _COSINES.T).ravel()[1:]
    return np.where(coefficients > np.median(coefficients), np.float32(1), np.float32(-1))


def _thumb(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.resize(picture, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
