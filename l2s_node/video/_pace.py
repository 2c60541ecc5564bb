"""Pace: when a self-made picture is due. Shared by the rooms that make pictures by themselves."""

from __future__ import annotations

import math
import time
from fractions import Fraction


class Pace:
    """Picture n is due `n/rate` seconds after the first call of `next`: absolute times, so that nothing drifts.

    Attributes:
        dropped: pictures that nobody fetched before the one after them was due.
    """

    def __init__(self, rate: Fraction) -> None:
        self.rate = rate
        self.dropped = 0
        self._start: float | None = None
        self._last = -1

    def next(self, timeout: float) -> int | None:
        """The number of the newest picture that is due, each at most once; None if none is within `timeout` s."""
        now = time.monotonic()
        if self._start is None:
            self._start = now
        wait = self._start + (self._last + 1) / self.rate - now
        if wait > timeout:
            time.sleep(max(timeout, 0.0))
            return None
        if wait > 0:
            time.sleep(wait)
            now = time.monotonic()
        # the wait may end a rounding error before the due time: never hand out a number twice
        number = max(self._last + 1, math.floor((now - self._start) * self.rate))
        self.dropped += number - self._last - 1
        self._last = number
        return number


def even(size: tuple[int, int]) -> tuple[int, int]:
    """`size` with the width that UYVY can have: even, at least 2."""
    return max(2, size[0] - size[0] % 2), size[1]
