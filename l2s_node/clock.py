"""Pacing, rates and percentiles as functions of `now`: nothing here sleeps or reads a clock."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

BROADCAST_RATES = tuple(
    Fraction(n, d)
    for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1),
                 (100, 1), (120000, 1001), (120, 1))
)  # fmt: skip


def exact_rate(fps: float) -> Fraction:
    """The broadcast rate (29.97 → 30000/1001) within 0.02 % of `fps`, else `fps` to three decimals.

    Raises:
        ValueError: `fps` is not a positive finite number.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"a frame rate is a positive number, not {fps}")
    best = min(BROADCAST_RATES, key=lambda rate: abs(float(rate) - fps))
    if abs(float(best) - fps) <= 2e-4 * fps:
        return best
    return Fraction(round(fps * 1000), 1000)


class Ticker:
    """Absolute ticks `1/rate` seconds apart: no drift, and after a stall no burst to catch up."""

    def __init__(self, rate: float, now: float) -> None:
        self.period = 1.0 / rate
        self.next = now

    def due(self, now: float) -> float:
        """Seconds until the next tick (0 when it is due)."""
        return max(0.0, self.next - now)

    def advance(self, now: float) -> None:
        """Take the tick; ticks that already lie in the past are skipped."""
        self.next += self.period
        if self.next <= now:
            self.next = now + self.period

    def restart(self, now: float) -> None:
        """The next tick is one period after `now` (a frame that came by itself took this one)."""
        self.next = now + self.period


class RateMeter:
    """Events a second over a sliding window of `window` seconds."""

    def __init__(self, window: float = 2.0) -> None:
        self.window = window
        self._times: list[float] = []

    def add(self, now: float) -> None:
        self._times.append(now)
        cut = now - self.window
        while self._times and self._times[0] < cut:
            self._times.pop(0)

    def rate(self, now: float) -> float:
        """Events a second in ``(now - window, now]``; 0 before the second event."""
        times = [t for t in self._times if t > now - self.window]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-9)


class Durations:
    """The newest `capacity` durations in a fixed ring, with means and percentiles (milliseconds out)."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._ring = np.zeros(capacity, np.float64)
        self._count = 0

    def add(self, seconds: float) -> None:
        self._ring[self._count % self._ring.size] = seconds
        self._count += 1

    def _values(self, last: int | None = None) -> np.ndarray:
        size = self._ring.size
        n = min(self._count, size if last is None else min(last, size))
        return self._ring[np.arange(self._count - n, self._count) % size]

    def last_ms(self) -> float:
        return float(self._values(1)[-1] * 1e3) if self._count else 0.0

    def mean_ms(self, last: int | None = None) -> float:
        """Mean of the newest `last` (all that are kept, by default)."""
        values = self._values(last)
        return float(values.mean() * 1e3) if values.size else 0.0

    def percentile_ms(self, q: float) -> float:
        """The `q`-th percentile, `q` in 0…100."""
        values = self._values()
        return float(np.percentile(values, q) * 1e3) if values.size else 0.0


def decay(dt: float, time_constant: float) -> float:
    """Weight that the old value keeps after `dt` seconds of exponential smoothing.

    ``exp(-dt / time_constant)``, so that smoothing looks the same at every frame rate; 0 for no smoothing.
    """
    return math.exp(-dt / time_constant) if time_constant > 1e-4 else 0.0
