"""Row: one number and what it is compared with; and how single calls are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Task:
    """What a verb is asked to do.

    Attributes:
        device: where worlds play: a GPU if there is one, else the CPU.
        seconds: length of each live run.
        elsewhere: seconds of processor time of processes that a verb started and that the system doesn't count as
            ours, because others than we ended them; the verb adds to it.
    """

    device: torch.device
    seconds: float
    elsewhere: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One number and what it is compared with.

    Attributes:
        what: what was measured.
        ours: the number, a median where it is a time.
        unit: of both.
        spread: 10th and 90th percentile of ours, where it is a median.
        count: how many single measurements ours is made of.
        baseline: the number that it is compared with; None where there is none.
        against: what that one is.
        baseline_spread: its 10th and 90th percentile.
        more: more of it is better (frames a second); else less of it (milliseconds).
        goal: "at most" or "at least" so much of ours; None where there is none.
        factor_goal: at least so many times better than the baseline; None where there is none.
        note: what else was seen.
    """

    what: str
    ours: float
    unit: str
    spread: tuple[float, float] | None = None
    count: int = 1
    baseline: float | None = None
    against: str = ""
    baseline_spread: tuple[float, float] | None = None
    more: bool = False
    goal: float | None = None
    factor_goal: float | None = None
    note: str = ""

    @property
    def factor(self) -> float | None:
        """How many times better than the baseline; None where there is none."""
        if not self.baseline or not self.ours:
            return None
        return self.ours / self.baseline if self.more else self.baseline / self.ours

    def text(self) -> str:
        """One line."""
        against = ""
        if self.baseline is not None:
            against = f"{self.against}: {self.baseline:.2f} {self.unit} {_between(self.baseline_spread)}".rstrip()
        return (
            f"{self.what:<56} {self.ours:8.2f} {self.unit:<4} {_between(self.spread):<20} {against}  {self.note}"
        ).rstrip()

    def conclusion(self) -> str:
        """What follows, where there is something to compare with; only worth saying of a quiet machine."""
        parts = []
        if self.factor is not None and self.factor > 1.05:
            parts.append(f"{self.factor:.2f} times better than {self.against}")
        if self.factor_goal is not None and self.factor is not None:
            parts.append(f"goal at least {self.factor_goal:g}×: {_verdict(self.factor >= self.factor_goal)}")
        if self.goal is not None:
            met = self.ours >= self.goal if self.more else self.ours <= self.goal
            parts.append(f"goal at {'least' if self.more else 'most'} {self.goal:g} {self.unit}: {_verdict(met)}")
        return f"{self.what}: {'; '.join(parts)}" if parts else ""


def timing(
    what: str,
    ours: Sequence[float],
    against: str = "",
    baseline: Sequence[float] = (),
    *,
    unit: str = "ms",
    more: bool = False,
    goal: float | None = None,
    factor_goal: float | None = None,
    note: str = "",
) -> Row:
    """A row of medians of single measurements, beside those of the baseline where there are any."""
    return Row(
        what,
        statistics.median(ours),
        unit,
        spread_of(ours),
        len(ours),
        statistics.median(baseline) if baseline else None,
        against,
        spread_of(baseline) if baseline else None,
        more,
        goal,
        factor_goal,
        note,
    )


def timed(call: Callable[[], object], budget: float = 3.0, most: int = 400) -> list[float]:
    """Milliseconds of single calls, warm, for `budget` seconds or `most` calls, at least three."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 3 or (len(times) < most and time.perf_counter() < end):
        times.append(_once(call))
    return times


def in_turns(
    one: Callable[[], object], other: Callable[[], object], budget: float = 3.0, most: int = 200
) -> tuple[list[float], list[float]]:
    """`timed` of two that are called in turns, so that what disturbs the machine disturbs both."""
    for _ in range(WARM_UP):
        one()
        other()
    times: tuple[list[float], list[float]] = [], []
    end = time.perf_counter() + budget
    while len(times[0]) < 3 or (len(times[0]) < most and time.perf_counter() < end):
        for call, found in zip((one, other), times, strict=True):
            found.append(_once(call))
    return times


def _once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def spread_of(times: Sequence[float]) -> tuple[float, float]:
    """10th and 90th percentile."""
    low, high = np.percentile(times, (10, 90))
    return float(low), float(high)


def _between(spread: tuple[float, float] | None) -> str:
    return f"({spread[0]:.2f} … {spread[1]:.2f})" if spread else ""


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
