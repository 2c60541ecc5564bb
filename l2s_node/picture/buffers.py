"""Buffers: memory for what is only needed within one frame, the same memory frame after frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


class Buffers:
    """Arrays by name. Asking for a name again hands out the same memory, whatever is in it.

    Arrays of a megabyte that a frame allocates and frees go back to the system and come again page by page, which can
    cost as much as the work that is done on them.
    """

    def __init__(self) -> None:
        self._flat: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
        """An array of `shape` and `dtype`, contiguous; `name` must always be used with the same dtype."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = self._flat[name] = np.empty(size, dtype)
        return flat[:size].reshape(shape)
