"""Noise: whether the machine was quiet enough while a verb measured for anything to follow from the numbers.

A fixed piece of work, on every core at once, is timed before, after and between the rows. It shows what the scheduler
gave to others (processor time below wall time), and what nothing else shows: a virtual machine's neighbours, or a
clock that went down (the same work takes longer). What other programs took over the whole time is counted besides.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch

WORK = bytes(4 << 20)
"""What each core hashes, 2 to 10 ms; hashlib lets other threads run meanwhile."""
MOST_CORES = 16
BEFORE, BETWEEN = 20, 4
"""Probes before and after, and between two rows."""
WAKE = 0.03
"""Seconds that a GPU works before it is timed."""
WIDEST = 1.35
"""90th by 10th percentile of the probes' times, above which nothing is concluded (quiet machines: 1.02 to 1.2)."""
FOREIGN = 0.10
"""Share of all cores that others may have taken."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What was heard.

    Attributes:
        probes: how many.
        median_ms: of a probe's time.
        spread: 90th by 10th percentile of it.
        got: processor time by wall time, median over the probes.
        foreign: share of all cores that other programs took over the whole time.
        gpu_spread: as `spread`, of a fixed piece of work on the GPU; None without one.
    """

    probes: int
    median_ms: float
    spread: float
    got: float
    foreign: float
    gpu_spread: float | None = None

    @property
    def quiet(self) -> bool:
        """Quiet enough to conclude something."""
        return not self._complaints()

    def _complaints(self) -> list[str]:
        found = []
        if self.foreign > FOREIGN:
            found.append(f"other programs took {self.foreign:.0%} of the processors (at most {FOREIGN:.0%})")
        for name, spread in (("the processors", self.spread), ("the GPU", self.gpu_spread or 1.0)):
            if spread > WIDEST:
                found.append(f"the same work took {name} up to {spread:.2f} times as long (at most {WIDEST:g})")
        return found

    def text(self) -> str:
        """One sentence."""
        if self._complaints():
            return f"too noisy, nothing is concluded: {'; '.join(self._complaints())}"
        gpu = "" if self.gpu_spread is None else f", GPU {self.gpu_spread - 1:+.0%}"
        return (
            f"quiet: {self.probes} times the same work took {self.median_ms:.1f} ms "
            f"({self.spread - 1:+.0%} between 10th and 90th percentile{gpu}); others took {self.foreign:.0%}"
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class Listener:
    """Listens from entering to leaving; a context manager that owns its threads."""

    def __init__(self, device: torch.device) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._cores = min(cores, MOST_CORES)
        self._gpu = _GpuWork(device) if device.type == "cuda" else None
        self._times: list[float] = []
        self._shares: list[float] = []
        self._gpu_times: list[float] = []
        self._pools = [
            ThreadPoolExecutor(1, thread_name_prefix="l2s-spin", initializer=_stay, initargs=(core,))
            for core in range(self._cores)
        ]

    def __enter__(self) -> Listener:
        self._start = _spent()
        self.listen(BEFORE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.listen(BEFORE)
        self._end = _spent()
        for pool in self._pools:
            pool.shutdown()

    def listen(self, times: int = BETWEEN) -> None:
        """Time the fixed work so many times, once the threads of what was just measured have come to rest."""
        self._probe()
        for _ in range(times):
            seconds, share, gpu = self._probe()
            self._times.append(seconds)
            self._shares.append(share)
            self._gpu_times += gpu

    def heard(self, elsewhere: float = 0.0) -> Noise:
        """After leaving: what was heard; `elsewhere` are seconds of processor time that were our own all the same."""
        low, high = np.percentile(self._times, (10, 90))
        gpu = np.percentile(self._gpu_times, (10, 90)) if self._gpu_times else None
        everyone, own, capacity = (end - start for start, end in zip(self._start, self._end, strict=True))
        return Noise(
            len(self._times),
            round(statistics.median(self._times) * 1e3, 3),
            round(float(high / low), 3),
            round(statistics.median(self._shares), 3),
            round(max(0.0, everyone - own - elsewhere) / max(capacity, 1e-9), 3),
            None if gpu is None else round(float(gpu[1] / gpu[0]), 3),
        )

    def _probe(self) -> tuple[float, float, list[float]]:
        """(seconds, processor time by wall time, the GPU's seconds if there is one)."""
        start = time.perf_counter()
        shares = [work.result() for work in [pool.submit(_work) for pool in self._pools]]
        seconds = time.perf_counter() - start
        return seconds, min(shares), [self._gpu.seconds()] if self._gpu is not None else []


def _stay(nth: int) -> None:
    """Keep this thread on the n-th core: else the scheduler may wake two of them on the same."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[nth]})


def _work() -> float:
    """Do the fixed work; processor time by wall time."""
    wall, own = time.perf_counter(), time.thread_time()
    hashlib.sha256(WORK)
    return (time.thread_time() - own) / (time.perf_counter() - wall)


def _spent() -> tuple[float, float, float]:
    """Seconds of processor time so far: (of all programs, of this one and its ended children, of all cores)."""
    everyone, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = everyone.idle + getattr(everyone, "iowait", 0.0)
    guests = getattr(everyone, "guest", 0.0) + getattr(everyone, "guest_nice", 0.0)  # counted in user as well
    mine = own.user + own.system + own.children_user + own.children_system
    return sum(everyone) - guests - idle, mine, sum(everyone) - guests


class _GpuWork:
    """A fixed piece of work for the GPU: products of 2048x2048 matrices."""

    def __init__(self, device: torch.device) -> None:
        self._matrix = torch.randn((2048, 2048), device=device, dtype=torch.float16)
        self._device = device

    def seconds(self) -> float:
        awake = time.perf_counter() + WAKE
        while time.perf_counter() < awake:  # a GPU without work slows its clock down, and rows are measured at work
            self._once()
        return self._once()

    def _once(self) -> float:
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        for _ in range(8):
            self._matrix @ self._matrix
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - start
