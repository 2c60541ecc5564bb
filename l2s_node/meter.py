"""Meter: what a run measures of itself, in memory that doesn't grow."""

from __future__ import annotations

import psutil

from l2s_node.clock import Durations, RateMeter

SAMPLES = 512
"""Memory samples kept; when there are more, every second one goes, so that they always span the whole run."""


class Meter:
    """Counts, durations and memory of one run. `now` is ``time.monotonic()`` everywhere.

    Attributes:
        frames_out: pictures handed to the sinks.
        repeated: of these, those that showed no new picture, because none had come.
        steps: from `Pipeline.begin` to what `Pipeline.finish` handed out for it, looks included.
        latencies: from a picture received to its output handed to the last sink.
    """

    def __init__(self, now: float) -> None:
        self.start = now
        self.frames_out = 0
        self.repeated = 0
        self.steps = Durations()
        self.latencies = Durations()
        self._out = RateMeter()
        self._process = psutil.Process()
        self._memory: list[tuple[float, float]] = []
        self._every = 1.0

    def sent(self, now: float, received: float | None) -> None:
        """A picture went out, made of one that was received then; None where it shows nothing new."""
        self.frames_out += 1
        self._out.add(now)
        if received is None:
            self.repeated += 1
        else:
            self.latencies.add(now - received)

    def fps(self, now: float) -> float:
        return self._out.rate(now)

    def sample_memory(self, now: float) -> None:
        """Remember the resident set size, once in a while; cheap to call every frame."""
        if self._memory and now - self._memory[-1][0] < self._every:
            return
        self._memory.append((now, self._process.memory_info().rss / 1e6))
        if len(self._memory) > SAMPLES:
            self._memory = self._memory[::2]
            self._every *= 2

    def summary(self, now: float, frames_in: int) -> dict[str, float]:
        """The flat numbers of `l2s run --summary`; megabytes are 10^6 bytes.

        `frames_in` are the pictures that came from the source. `rss_mb_10pct` is what was resident when a tenth of the
        run was over, `rss_mb_end` now.
        """
        seconds = now - self.start
        self._every = 0.0
        self.sample_memory(now)
        tenth = next((mb for at, mb in self._memory if at - self.start >= seconds / 10), self._memory[-1][1])
        return {
            "seconds": round(seconds, 3),
            "frames_in": frames_in,
            "frames_out": self.frames_out,
            "repeated": self.repeated,
            "fps": round(self.frames_out / max(seconds, 1e-9), 3),
            "step_ms_mean": round(self.steps.mean_ms(), 3),
            "step_ms_p50": round(self.steps.percentile_ms(50), 3),
            "step_ms_p95": round(self.steps.percentile_ms(95), 3),
            "step_ms_p99": round(self.steps.percentile_ms(99), 3),
            "latency_ms_p50": round(self.latencies.percentile_ms(50), 3),
            "latency_ms_p99": round(self.latencies.percentile_ms(99), 3),
            "rss_mb_10pct": round(tenth, 1),
            "rss_mb_end": round(self._memory[-1][1], 1),
        }
