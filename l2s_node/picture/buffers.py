"""Buffers: memory for what is only needed within one frame, the same memory frame after frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


class Buffers:
    """Arrays by name. Asking for a name again hands out the same memory, whatever is in it.

    Arrays of a megabyte that a frame allocates and frees go back to the system and come again page by page, which can
    cost more than the work that is done on them.
    """

    def __init__(self) -> None:
        self._bytes: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
        """An array of `shape` and `dtype`, contiguous; it grows with the largest one asked for by that name."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        flat = self._bytes.get(name)
        if flat is None or flat.size < size:
            flat = self._bytes[name] = np.empty(size, np.uint8)
        return flat[:size].view(dtype).reshape(shape)
