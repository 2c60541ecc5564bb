"""Trial: which engine is the best for a world here, by measurement. `l2s build` makes it, `auto` goes by it.

The best is the fastest. Only 8 bits, which cost some of the picture, have to be near enough to it and to pay for it.

It is kept beside the engines themselves and depends on as much (`identity`), with the versions of all that took part:
whatever is installed, updated or removed asks for a new one, but for NNCF, which plays nothing.
"""

from __future__ import annotations

import datetime
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import torch

from l2s_node.models.prebuilt import Slot

ROUNDS = 5
"""Each engine is timed in as many turns, so that a noisy moment doesn't hit only one of them."""
TURN = 0.15
"""Seconds that a turn takes at least, and three calls."""

CLOSE = 35.0
"""dB of `decibels` that a contender in 8 bits needs. There its pictures are 0.036 from float32's in the mean square, of
-1…1: 4.5 of 255 grey levels. Bfloat16 has 52 to 63."""
WORTH = 0.85
"""So much of the time of the fastest other it may take."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured.

    Attributes:
        milliseconds: of a picture, by contender ("openvino", "openvino int8"), the fastest first.
        date: when, as in "2026-11-25".
        near: `decibels` of those in 8 bits.
    """

    milliseconds: Mapping[str, float]
    date: str
    near: Mapping[str, float] = field(default_factory=dict)

    def best(self) -> list[str]:
        """The contenders that "auto" may take, the first one if it can."""
        return [name for name in self.milliseconds if name not in self.passed_over()]

    def passed_over(self) -> dict[str, str]:
        """Contenders in 8 bits that "auto" doesn't take, and why."""
        others = [taken for name, taken in self.milliseconds.items() if name not in self.near]
        reasons = {}
        for name, near in self.near.items():
            part = self.milliseconds[name] / min(others) if others else 0.0
            if near < CLOSE:
                reasons[name] = f"its PSNR to float32 is {near:.0f} dB, and {CLOSE:g} are wanted"
            elif part > WORTH:
                reasons[name] = f"it takes {part:.2f} of the fastest other's time, and at most {WORTH:g} is worth it"
        return reasons

    def text(self) -> str:
        """As in "openvino 6.1 ms, onnxruntime 14 ms, eager 20 ms, measured on this machine on 2026-11-25"."""
        near = {name: f" (PSNR {value:.0f} dB to float32)" for name, value in self.near.items()}
        times = ", ".join(f"{name} {taken:.2g} ms{near.get(name, '')}" for name, taken in self.milliseconds.items())
        over = "".join(f"; {name} is passed over: {reason}" for name, reason in self.passed_over().items())
        return f"{times}, measured on this machine on {self.date}{over}"


def decibels(
    made: Callable[[torch.Tensor], torch.Tensor], wanted: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
) -> float:
    """How near the pictures of two that play one world are, in -1…1: the peak signal-to-noise ratio, at most 100 dB.

    ``20 log₁₀(2 / √mean((made - wanted)²))``, with the mean over all pictures of `inputs` ``(n, 1, h, w)``.
    """
    with torch.inference_mode():
        squares = [(made(x[None]) - wanted(x[None])).square().mean() for x in inputs]
    return min(20 * math.log10(2 / max(float(torch.stack(squares).mean().sqrt()), 1e-9)), 100.0)


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
    slot.keep("any", json.dumps(asdict(trial)).encode())


def find(slot: Slot) -> Trial | None:
    """The trial that was kept."""
    data = slot.peek("any")
    return None if data is None else Trial(**json.loads(data))  # as `keep` wrote it: it is sealed
