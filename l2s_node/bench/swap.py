"""Swap: a change of the world on stage, from the knob to its first picture, and what the audience sees meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

from l2s_node.bench import _live
from l2s_node.bench._row import Row, Task, timing
from l2s_node.bench._worlds import OURS, random_world
from l2s_node.control.packet import write_message
from l2s_node.errors import EngineError
from l2s_node.loader import SLOW
from l2s_node.models import engines, store
from l2s_node.models.card import ModelCard
from l2s_node.models.prebuilt import Prebuilt

METHOD = (
    "a node plays a pattern at 720p60 into null:, and OSC turns `size` to and fro between our small and our medium, "
    "both of random weights; from a trace of it: how long until the new one plays, and the gaps between two pictures "
    "while it is being loaded and faded in, beside those at rest; then the same after l2s build"
)
SIZES = ("small", "medium")
EACH = 4.0
"""Seconds from a change that is complete to the next."""
PATIENCE = 300.0
"""Seconds for an engine to be built beside the show."""
CHANGES = 4
FADING = 1.0
"""Seconds after the new world's first picture that count as the change (crossfade takes half of them)."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    with tempfile.TemporaryDirectory() as folder, _own_worlds(Path(folder)) as card:
        engine = engines.choose("auto", task.device, card)[0].name
        before = _Show(Path(folder) / "before.json", engine)
        yield from _rows_of(before)
        if not _build(engine):
            return
        after = _Show(Path(folder) / "after.json", engine)
    for size, times in after.compiled.items():
        what = f"from the knob to our {size}'s first picture on {engine}, after l2s build"
        yield timing(what, times, "without", before.compiled.get(size, ()))
    for size, times in after.back.items():
        yield timing(f"from the knob back to our {size}, which stays built, on {engine}", times)
    yield timing("between two pictures during such a change", after.during, "without", before.during,
                 note=f"longest {max(after.during):.1f} ms, without {max(before.during):.1f} ms")  # fmt: skip


class _Show:
    """A run of `CHANGES` changes, as its trace tells of it.

    Attributes:
        first, compiled: milliseconds from the knob to the first picture of any engine's, and of the wanted one's, by
            size.
        back: as `compiled`, of what took long to be built and had played in this show before, so that it is kept.
        during, rest: milliseconds between two pictures, during changes and else.
        changes: how many there were.
    """

    def __init__(self, trace: Path, engine: str) -> None:
        turned = _played(trace, engine)
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
        came = [(event["ts"] / 1e6, event["name"]) for event in events if event["name"].startswith("from here on")]
        writes = sorted(event["ts"] / 1e6 for event in events if event["name"] == "write null:")
        self.first: dict[str, list[float]] = {}
        self.compiled: dict[str, list[float]] = {}
        self.back: dict[str, list[float]] = {}
        changes, played = [], {SIZES[0]}
        for at, size in turned:
            wanted = self.back if engine in SLOW and size in played else self.compiled
            played.add(size)
            for times, end in ((self.first, f"/{size} on "), (wanted, f"/{size} on {engine}")):
                seen = next((t for t, name in came if t >= at and end in name), None)
                if seen is not None:
                    times.setdefault(size, []).append((seen - at) * 1e3)
                    changes.append((at, seen + FADING))
        gaps = [(start, (end - start) * 1e3) for start, end in itertools.pairwise(writes)]
        begin = turned[0][0] - EACH / 2
        self.during = [gap for at, gap in gaps if any(a <= at <= b for a, b in changes)]
        self.rest = [gap for at, gap in gaps if at > begin and not any(a <= at <= b for a, b in changes)]
        self.changes = len(turned)


def _rows_of(show: _Show) -> Iterator[Row]:
    for size, times in show.first.items():
        yield timing(f"from the knob to our {size}'s first picture", times)
    longest = max(show.during)
    note = f"longest {longest:.1f} ms"
    yield timing("between two pictures during a change", show.during, "at rest", show.rest, note=note)
    yield Row("longest gap during a change", longest, "ms", baseline=max(show.rest), against="at rest", goal=50.0,
              count=show.changes)  # fmt: skip


def _build(engine: str) -> bool:
    """Build both sizes with `engine`, as a user does for pictures of 720p; whether anything is kept of them.

    Raises:
        EngineError: it can't.
    """
    command = [sys.executable, "-m", "l2s_node", "build", "random", "--engine", engine]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EngineError(f"l2s build for the measurement failed: {done.stderr[-500:].strip()}")
    return bool(Prebuilt().entries())


def _played(trace: Path, engine: str) -> list[tuple[float, str]]:
    """(when OSC turned it on the monotonic clock, to which size)."""
    port = _free_port()
    options = ("--in", "pattern:", "--out", "null:", "--fps", "60", "--output-size", "1280x720", "--world", "random",
               "--engine", engine)  # fmt: skip
    turned = []
    with (
        _live.live(*options, "--osc", str(port), "--trace", str(trace)) as node,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender,
    ):
        for n in range(CHANGES + 1):
            size, times = SIZES[n % 2], 1 + n // 2
            if n > 0:
                turned.append((time.monotonic(), size))
                sender.sendto(write_message("/l2s-bench/size", size), ("127.0.0.1", port))
            node.wait(f"random/{size} is ready on {engine}", PATIENCE, times)
            time.sleep(EACH)
    return turned


@contextmanager
def _own_worlds(folder: Path) -> Iterator[ModelCard]:
    """Let nodes find the world "random" in `folder`, in place of the user's own; yields a card of it."""
    for size in SIZES:
        generator, card = random_world(OURS, size)
        (folder / "worlds" / "random").mkdir(parents=True, exist_ok=True)
        store.save(folder / "worlds" / "random" / f"{size}{store.SUFFIX}", generator, card)
    with patch.dict(os.environ, L2S_HOME=str(folder), TORCHINDUCTOR_CACHE_DIR=str(folder / "inductor")):
        yield card


def _free_port() -> int:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
