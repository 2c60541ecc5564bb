"""Latency: how long a picture takes through another program and back, measured as a person sees it, from outside.

A counter written into the corner would not come back from a generator that paints a meadow over everything, and time
stamps beside the picture stay with the program that made it. So the whole picture is the counter: 4x3 blocks, dark or
light, so large that even six cells of `detail` keep them apart. What the program makes of them is not assumed, but
learnt:

1. All dark, all light, in turn: when does what comes back follow? That is the way's length, roughly.
2. Blocks at random, known to us: ridge regression (Hoerl and Kennard 1970) finds, for each block, the sum over what
   comes back that tells dark from light. A generator, colours, a crop, a flip, a mix, a codec: all are learnt alike.
3. More blocks at random: only if nearly all of these are read rightly is anything measured.
4. Every picture carries a new number of eight bits in a Hamming code of twelve, three blocks apart from any other. A
   picture that isn't clearly one number counts as unreadable; so does one that would go back in time.

The round trip of a number is from just before its picture is handed to the sink to just after its first return from
the source. What has a memory (`input_smoothing`, `output_smoothing`, `feedback`) shows old pictures on purpose; turned
up, it makes numbers unreadable. The picture flickers: don't show it to people.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from l2s_node.errors import RoomError
from l2s_node.frame import PixelFormat
from l2s_node.latency._ask import Asking
from l2s_node.latency._blocks import BLOCKS, CODES, Reader, fit, seen
from l2s_node.latency._send import Log, Sender
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options, Sink, Source

FLIP = 0.6
"""Seconds that all dark or all light is shown."""
HOLD = 0.1
"""Seconds that each of the blocks to learn from is shown."""
LEARN, CHECK = 44, 12
"""How many blocks at random to learn from, and how many to check what was learnt."""
RIGHT = 0.98
"""Share of single blocks that must be read rightly in the check."""
PATIENCE = 15.0
"""Seconds to wait for the first picture."""
TRIES = 3
"""How often to learn before giving up: a world may just have been fading in."""


@dataclass(slots=True)
class Trip:
    """What was measured.

    Attributes:
        way: from where to where, for people.
        rate: pictures a second that were sent.
        size: their (width, height).
        milliseconds: round trips, in the order of arrival, one for each number that came back.
        sent: pictures sent while it was counted.
        unreadable: pictures that came back and were not clearly a number.
        own: milliseconds that the node says it took itself, one for each time it was asked.
    """

    way: str
    rate: Fraction
    size: tuple[int, int]
    milliseconds: list[float] = field(default_factory=list)
    sent: int = 0
    unreadable: int = 0
    own: list[float] = field(default_factory=list)

    @property
    def arrived(self) -> float:
        """Share of the numbers sent that came back, in percent."""
        return 100 * len(self.milliseconds) / max(self.sent, 1)

    @property
    def doubtful(self) -> bool:
        """Most of what came back could not be read: what could is no fair sample."""
        return self.unreadable > len(self.milliseconds)

    def percentile(self, q: float) -> float:
        """Milliseconds, `q` in 0…100."""
        return float(np.percentile(self.milliseconds, q))

    def lines(self) -> list[str]:
        """For people: the numbers, and how often which latency was seen."""
        p50, p95, p99 = (self.percentile(q) for q in (50, 95, 99))
        found = [
            f"{self.way}, {self.size[0]}x{self.size[1]} at {float(self.rate):.5g} FPS",
            f"round trip  p50 {p50:.1f} ms   p95 {p95:.1f} ms   p99 {p99:.1f} ms   "
            f"({min(self.milliseconds):.1f} … {max(self.milliseconds):.1f})",
            f"{len(self.milliseconds)} of {self.sent} pictures came back ({self.arrived:.1f} %), "
            f"{self.unreadable} could not be read",
        ]
        if self.doubtful:
            found.append("doubtful: most pictures can't be read; are smoothing, feedback and freeze off?")
        if self.own:
            own = statistics.median(self.own)
            found.append(f"of it the node itself  p50 {own:.1f} ms (its own count, asked {len(self.own)} times)")
        counts, edges = np.histogram(self.milliseconds, bins="auto" if len(self.milliseconds) > 1 else 1)
        if len(counts) > 16:
            counts, edges = np.histogram(self.milliseconds, bins=16)
        bars = (round(40 * count / max(counts)) for count in counts)
        found += [f"{low:8.1f} ms  {'█' * bar:<40} {count}" for low, bar, count in zip(edges, bars, counts)]  # noqa: B905
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in milliseconds."""
        return {
            "way": self.way,
            "fps": float(self.rate),
            "size": list(self.size),
            "sent": self.sent,
            "arrived": len(self.milliseconds),
            "unreadable": self.unreadable,
            "doubtful": self.doubtful,
            **{f"p{q}": round(self.percentile(q), 3) for q in (10, 50, 90, 95, 99)},
            "own_p50": round(statistics.median(self.own), 3) if self.own else None,
            "round_trips": [round(ms, 3) for ms in self.milliseconds],
        }


def latency(
    to: str, back: str, *, seconds: float, fps: float, size: tuple[int, int], osc: tuple[str, int] | None, name: str,
    say: Callable[[str], None],
) -> Trip:  # fmt: skip
    """Send to the sink `to`, watch the source `back`, for `seconds`; see the module's docstring.

    Args:
        to: URI of a sink that the program under test looks at.
        back: URI of a source, the program's output. The same NDI name as `to` measures NDI alone.
        seconds: how long to count.
        fps: pictures a second.
        size: (width, height) of them.
        osc: where an l2s node listens, to ask it for its own share; None to ask nobody.
        name: the node's name, the first part of its OSC addresses.
        say: gets a line about what happens.

    Raises:
        RoomError: a room can't be opened, nothing comes back, or what comes back can't be read.
    """
    options = Options("l2s-latency", rate=Fraction(fps).limit_denominator(1001), size=size)
    with ExitStack() as stack:
        sink = stack.enter_context(closing(open_sink(to, options)))
        source = stack.enter_context(closing(open_source(back, options)))
        ask = stack.enter_context(closing(Asking(osc, name))) if osc else None
        return measure(sink, source, seconds, options, say, ask)


def measure(
    sink: Sink, source: Source, seconds: float, options: Options, say: Callable[[str], None],
    ask: Asking | None = None,
) -> Trip:  # fmt: skip
    """As `latency`, with rooms that are open; they stay open."""
    if getattr(sink, "textures", False):
        raise RoomError(f"{sink.uri} takes textures, and what is sent here isn't: send to ndi:NAME")
    if sink.format not in (PixelFormat.UYVY, PixelFormat.UYVA):
        raise RoomError(f"{sink.uri} takes {sink.format.value}: send to ndi:NAME")
    trip = Trip(f"{sink.uri} … {source.uri}", options.rate, options.size)
    with closing(Sender(sink, options)) as sender:
        _arrived(source)
        trip.way = f"{sink.uri} … {source.uri}"
        for left in reversed(range(TRIES)):
            try:
                reader = _learn(sender, source)
                break
            except RoomError:
                if not left:
                    raise
        say(f"way of about {reader.way * 1e3:.0f} ms; {reader.right:.1%} of the blocks are read rightly")
        _count(sender, source, reader, seconds, trip, ask)
    if not trip.milliseconds:
        raise RoomError(
            f"no number came back from {source.uri}, though blocks did: is something cut or remembered there?"
        )
    return trip


# --- what comes back -------------------------------------------------------------------------------------------------


Look = tuple[float, np.ndarray]
"""When it came, and what it looked like."""


def _arrived(source: Source) -> None:
    """Wait for the first picture."""
    end = time.monotonic() + PATIENCE
    while (frame := source.read(0.2)) is None:
        if time.monotonic() > end:
            raise RoomError(
                f"nothing came from {source.uri} within {PATIENCE:.0f} s (l2s list sources shows what is there)"
            )
    if frame.texture is not None:
        raise RoomError(f"{source.uri} hands out textures, which can't be read here: watch ndi:NAME")


def _watch(source: Source, seconds: float) -> list[Look]:
    found: list[Look] = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        frame = source.read(min(0.1, end - now))
        if frame is not None:
            found.append((time.monotonic(), seen(frame)))
    return found


def _learn(sender: Sender, source: Source) -> Reader:
    way = _way(sender, source)
    rng = np.random.default_rng(0)
    looks: list[Look] = []
    for _ in range(LEARN + CHECK):
        sender.show(rng.choice(np.array([-1, 1], np.int8), BLOCKS))
        looks += _watch(source, HOLD)
    looks += _watch(source, way)
    pairs = _paired(sender.log, looks, way)
    split = len(pairs) * LEARN // (LEARN + CHECK)
    if split < LEARN // 2:
        raise RoomError(f"too few pictures come from {source.uri} to read anything from them")
    reader = fit([look for look, _ in pairs[:split]], [code for _, code in pairs[:split]], way)
    signs = [(np.sign(reader.blocks(look)) == code).mean() for look, code in pairs[split:]]
    right = float(np.mean(signs))
    if right < RIGHT:
        raise RoomError(
            f"what comes from {source.uri} can't be read: {right:.0%} of the blocks sent were told rightly from it, "
            f"{RIGHT:.0%} are needed; is it made of what is sent, and are smoothing, feedback and freeze off?"
        )
    return Reader(reader.mean, reader.weights, way, right)


def _way(sender: Sender, source: Source) -> float:
    """Seconds until what comes back follows all dark and all light, halfway, the median of four changes."""
    shown: list[tuple[float, list[Look]]] = []
    for sign in (-1, 1, -1, 1, -1):
        sender.show(np.full(BLOCKS, sign, np.int8))
        shown.append((time.monotonic(), _watch(source, FLIP)))
    rests = [[look for at, look in looks if at > start + FLIP * 0.75] for start, looks in shown]
    if not all(rests):
        raise RoomError(f"too few pictures come from {source.uri} to read anything from them")
    ends = [np.mean(rest, 0) for rest in rests]
    noise = statistics.mean(
        float(np.linalg.norm(look - end)) for rest, end in zip(rests, ends, strict=True) for look in rest
    )
    if min(float(np.linalg.norm(b - a)) for a, b in itertools.pairwise(ends)) < 3 * max(noise, 1.0):
        raise RoomError(f"what comes from {source.uri} doesn't follow what is sent: does the program look at it?")
    ways = []
    for (start, looks), before, after in zip(shown[1:], ends, ends[1:], strict=False):
        ways += [next((at - start for at, look in looks if _nearer(look, after, before)), math.inf)]
    return statistics.median(ways)


def _nearer(look: np.ndarray, this: np.ndarray, that: np.ndarray) -> bool:
    return bool(np.linalg.norm(look - this) < np.linalg.norm(look - that))


def _paired(
    log: list[tuple[float, np.ndarray, int]], looks: list[Look], way: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(what came back, blocks that were sent) where no other blocks were sent a third of a hold before or after."""
    times = np.array([at for at, _, _ in log])
    pairs = []
    for at, look in looks:
        near = np.searchsorted(times, (at - way - HOLD / 3, at - way + HOLD / 3))
        codes = [code for _, code, _ in log[max(int(near[0]) - 1, 0) : int(near[1])]]
        if codes and all((code == codes[0]).all() for code in codes):
            pairs.append((look, codes[0]))
    return pairs


def _count(sender: Sender, source: Source, reader: Reader, seconds: float, trip: Trip, ask: Asking | None) -> None:
    """Fill `trip`."""
    first = len(sender.log)
    sender.show(None)
    begin = time.monotonic() + 2 * reader.way + HOLD
    end = begin + seconds
    last = first
    came: dict[int, float] = {}
    while (now := time.monotonic()) < end + 2 * reader.way + 0.25:
        frame = source.read(0.05)
        if ask is not None:
            ask.look(trip.own if begin <= now <= end else [])
        if frame is None:
            continue
        now, number = time.monotonic(), reader.number(seen(frame))
        index = None if number is None else _newest(sender.log, first, number)
        if index is None or index < last:
            trip.unreadable += begin <= now <= end
        else:
            last = index
            came.setdefault(index, now)
    counted = [n for n in range(first, len(sender.log)) if begin <= sender.log[n][0] < end]
    trip.sent = len(counted)
    trip.milliseconds = [(came[n] - sender.log[n][0]) * 1e3 for n in counted if n in came]


def _newest(log: Log, first: int, number: int) -> int | None:
    """Index of the newest picture with that number."""
    for index in range(len(log) - 1, max(first, len(log) - len(CODES)) - 1, -1):
        if log[index][2] == number:
            return index
    return None
