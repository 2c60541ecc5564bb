"""What the node says about itself: one frozen `Report`, read by the terminal, by OSC and by the panel alike."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

AVERAGE_OF = 10
"""Steps in `Report.average_ms`: the "Average (ms)" of Learning to See's own display was the mean of the last 10."""


@dataclass(frozen=True, slots=True)
class Report:
    """The node's state at one moment. Numbers are floats (one OSC address each), the rest is text.

    Attributes:
        fps: output frames a second.
        step_ms: the newest frame's step, sample to compose, in milliseconds.
        average_ms: mean step of the last `AVERAGE_OF` frames.
        latency_ms: from a frame received to its picture handed to the sinks.
        dropped: pictures passed over so far because a newer one was there.
        frames_in: pictures received so far.
        frames_out: pictures sent so far.
        heartbeat: counts up with every turn of the frame loop; when it stands still, the loop does.
        state: the source's state: "starting", "waiting", "connected", "silent", "ended".
        source: URI of what is seen.
        world: the world that plays, and not the one being loaded.
        size: its size.
        engine: what runs it, with its precision ("openvino bf16").
        loading: "world/size" being loaded behind the scene, or "".
    """

    fps: float = 0.0
    step_ms: float = 0.0
    average_ms: float = 0.0
    latency_ms: float = 0.0
    dropped: float = 0.0
    frames_in: float = 0.0
    frames_out: float = 0.0
    heartbeat: float = 0.0
    state: str = "starting"
    source: str = ""
    world: str = ""
    size: str = ""
    engine: str = ""
    loading: str = ""

    def items(self) -> dict[str, float | str]:
        """Every field by name, in the order above; a number is a float even where a counter was given."""
        values = {name: getattr(self, name) for name in FIELDS}
        return {name: value if isinstance(value, str) else float(value) for name, value in values.items()}


FIELDS = tuple(field.name for field in dataclasses.fields(Report))


class Reports:
    """The newest report, between the frame loop that sets it and the threads that read it."""

    def __init__(self, report: Report | None = None) -> None:
        self._lock = threading.Lock()
        self._report = report or Report()

    def get(self) -> Report:
        with self._lock:
            return self._report

    def set(self, report: Report) -> None:
        with self._lock:
            self._report = report


def format_line(report: Report) -> str:
    """One line for the terminal and the panel; a number that isn't known yet is "–", as in the original.

    >>> format_line(Report(fps=30, step_ms=8.24, average_ms=8.5, latency_ms=12, state="connected", source="ndi:cam",
    ...                    world="flowers", size="small", engine="openvino bf16"))
    'Step 8.2 ms · Average 8.5 ms · 30.0 FPS · Latency 12.0 ms · Dropped 0 · flowers/small on openvino bf16 · ndi:cam connected'
    """  # noqa: E501
    parts = [
        f"Step {_known(report.step_ms)} ms",
        f"Average {_known(report.average_ms)} ms",
        f"{_known(report.fps)} FPS",
        f"Latency {_known(report.latency_ms)} ms",
        f"Dropped {report.dropped:.0f}",
        _world(report),
        f"{report.source} {report.state}".strip(),
    ]
    return " · ".join(part for part in parts if part)


def _known(number: float) -> str:
    return f"{number:.1f}" if number > 0 else "–"


def _world(report: Report) -> str:
    text = "/".join(part for part in (report.world, report.size) if part)
    if report.engine:
        text = f"{text} on {report.engine}".strip()
    return f"{text} (loading {report.loading})".strip() if report.loading else text
