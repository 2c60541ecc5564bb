"""Trial: which engine is the fastest for a world here, by measurement. `l2s build` makes it, `auto` goes by it.

It is kept beside the engines themselves and depends on as much (`identity`), with the versions of all that took part:
whatever is installed, updated or removed asks for a new one.
"""

from __future__ import annotations

import datetime
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from l2s_node.models.prebuilt import Slot

ROUNDS = 5
"""Each engine is timed in as many turns, so that a noisy moment doesn't hit only one of them."""
TURN = 0.15
"""Seconds that a turn takes at least, and three calls."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured.

    Attributes:
        milliseconds: of a picture, by engine, the fastest first.
        date: when, as in "2026-11-25".
    """

    milliseconds: Mapping[str, float]
    date: str

    def text(self) -> str:
        """As in "openvino 6.1 ms, onnxruntime 14 ms, eager 20 ms, measured on this machine on 2026-11-25"."""
        times = ", ".join(f"{name} {taken:.2g} ms" for name, taken in self.milliseconds.items())
        return f"{times}, measured on this machine on {self.date}"


def measure(engines: Mapping[str, Callable[[torch.Tensor], object]], x: torch.Tensor) -> Trial:
    """Time `engines` on `x` in turns: the median of each one's single calls, by the clock on the wall."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for name in engines:
        _turn(engines[name], x)  # the first calls warm up
    for _ in range(ROUNDS):
        for name in engines:
            times[name] += _turn(engines[name], x)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    fastest = sorted(medians, key=lambda name: medians[name])
    return Trial({name: medians[name] for name in fastest}, datetime.date.today().isoformat())


def _turn(engine: Callable[[torch.Tensor], object], x: torch.Tensor) -> list[float]:
    """Milliseconds of single calls."""
    times: list[float] = []
    end = time.perf_counter() + TURN
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        engine(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def keep(slot: Slot, trial: Trial) -> None:
    """For the next `find`."""
    slot.keep("any", json.dumps({"milliseconds": dict(trial.milliseconds), "date": trial.date}).encode())


def find(slot: Slot) -> Trial | None:
    """The trial that was kept."""
    data = slot.peek("any")
    return None if data is None else Trial(**json.loads(data))  # as `keep` wrote it: it is sealed
