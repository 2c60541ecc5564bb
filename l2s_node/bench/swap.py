"""Swap: a change of the world on stage, from the knob to its first picture, and what the audience sees meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from l2s_node.bench import _live
from l2s_node.bench._row import Row, Task, timing
from l2s_node.bench._worlds import OURS, random_world
from l2s_node.control.packet import write_message
from l2s_node.models import store

METHOD = (
    "a node plays a pattern at 720p60 into null:, and OSC turns `size` to and fro between our small and our medium, "
    "both of random weights; from a trace of it: how long until the new one plays, and the gaps between two pictures "
    "while it is being loaded and faded in, beside those at rest"
)
SIZES = ("small", "medium")
EACH = 4.0
"""Seconds from one change to the next."""
CHANGES = 4
FADING = 1.0
"""Seconds after the new world's first picture that count as the change (crossfade takes half of them)."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    with tempfile.TemporaryDirectory() as folder, _own_worlds(Path(folder)):
        trace = Path(folder) / "trace.json"
        turned = _played(trace)
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    came = [(event["ts"] / 1e6, event["name"]) for event in events if event["name"].startswith("from here on")]
    writes = sorted(event["ts"] / 1e6 for event in events if event["name"] == "write null:")
    took: dict[str, list[float]] = {}
    changes = []
    for at, size in turned:
        first = next((t for t, name in came if t >= at and f"/{size} " in name), None)
        if first is not None:
            took.setdefault(size, []).append((first - at) * 1e3)
            changes.append((at, first + FADING))
    for size, times in took.items():
        yield timing(f"from the knob to our {size}'s first picture", times)
    gaps = [(start, (end - start) * 1e3) for start, end in itertools.pairwise(writes)]
    begin = turned[0][0] - EACH / 2
    during = [gap for at, gap in gaps if any(a <= at <= b for a, b in changes)]
    rest = [gap for at, gap in gaps if at > begin and not any(a <= at <= b for a, b in changes)]
    yield timing("between two pictures during a change", during, "at rest", rest, note=f"longest {max(during):.1f} ms")
    yield Row("longest gap during a change", max(during), "ms", baseline=max(rest), against="at rest", goal=50.0,
              count=len(changes))  # fmt: skip


def _played(trace: Path) -> list[tuple[float, str]]:
    """(when OSC turned it on the monotonic clock, to which size)."""
    port = _free_port()
    options = ("--in", "pattern:", "--out", "null:", "--fps", "60", "--output-size", "1280x720", "--world", "random")
    turned = []
    with (
        _live.live(*options, "--osc", str(port), "--trace", str(trace)) as node,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender,
    ):
        node.wait("small on ")
        time.sleep(EACH)
        for n in range(CHANGES):
            size = SIZES[(n + 1) % 2]
            turned.append((time.monotonic(), size))
            sender.sendto(write_message("/l2s-bench/size", size), ("127.0.0.1", port))
            time.sleep(EACH)
    return turned


@contextmanager
def _own_worlds(folder: Path) -> Iterator[None]:
    """Let nodes find the world "random" in `folder`, in place of the user's own."""
    for size in SIZES:
        generator, card = random_world(OURS, size)
        (folder / "worlds" / "random").mkdir(parents=True, exist_ok=True)
        store.save(folder / "worlds" / "random" / f"{size}{store.SUFFIX}", generator, card)
    before: Any = os.environ.get("L2S_HOME")
    os.environ["L2S_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["L2S_HOME"]
        else:
            os.environ["L2S_HOME"] = before


def _free_port() -> int:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
