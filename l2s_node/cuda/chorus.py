"""Chorus: channels of one world that are due together are played by one launch of its generator.

Each has a seat, a slice of what the generator takes and of what it gives. When all who are due have sent their frames,
the steps before the generator fill one seat after the other, and the generator plays every seat at once; from there
each goes on by itself, on its own stream. Knobs stay each channel's own. The weights of the seed field are one for all
seats: who dreams otherwise plays alone, and so do all if less than half of the seats are taken.

The network for so many pictures at once is built beside the show, in `l2s-choir`; until it is there, all play alone.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch

from l2s_node.cuda.prepare import Preparer
from l2s_node.cuda.program import Program, Seat
from l2s_node.errors import L2SError
from l2s_node.models.capture import CAPTURING, OnStream, attempted, playing_stream, recorded
from l2s_node.models.engines import inductor
from l2s_node.models.engines.base import Engine, Step
from l2s_node.models.pix2pix import SEEDS
from l2s_node.picture.way import Seeds
from l2s_node.pipeline import Player

log = logging.getLogger(__name__)

MOST = 16
"""Seats of a chorus, at most."""
PATIENCE = 2.0
"""Seconds in which no other channel takes up a world that several play, before it is built for so many."""


def seats(channels: int) -> int:
    """For how many pictures at once a world is built that so many channels play: the most of 2, 4, 8, … that they fill.

    1 where they are too few. It is built once, so that a smaller number of them is not another build.
    """
    return min(1 << (max(channels, 1).bit_length() - 1), MOST)


@dataclass(slots=True, eq=False)
class Run:
    """A frame under way on the GPU.

    Attributes:
        program: what plays it, sent to and refreshed; held until the frame is through.
        stream: where.
        seeds: weights of its seed field; None for a network without one.
        fetch: asks for the picture's way back, on `stream`; returns the event of its arrival.
        sent: the frame's bytes are its room's again; None where `arrived` says so.
        arrived: the picture is there; None until it was asked for.
    """

    program: Program
    stream: torch.cuda.Stream
    seeds: Seeds | None
    fetch: Callable[[], torch.cuda.Event]
    sent: torch.cuda.Event | None = None
    arrived: torch.cuda.Event | None = None

    def play(self) -> None:
        """Play it alone; its stream is the current one."""
        self.program.run(self.stream)
        self.arrived = self.fetch()

    def wait(self) -> None:
        """Until its picture is there."""
        assert self.arrived is not None
        self.arrived.synchronize()


class Chorus:
    """Seats, and the graph of the generator that plays them all. Made in a preparing thread, used by the frame loop."""

    @torch.inference_mode()
    def __init__(self, engine: Engine, canvas: tuple[int, int], count: int, device: torch.device) -> None:
        """
        Raises:
            RuntimeError: CUDA can't capture it, or another thread disturbed it.
        """
        width, height = canvas
        self._x = torch.zeros(count, 1, height, width, device=device)
        self._y = torch.zeros(count, 3, height, width, device=device)
        self.count = count
        self.free = [Seat(self._x[n : n + 1], self._y[n : n + 1]) for n in range(count)]
        self._waiting: list[Run] = []
        self._former: list[torch.cuda.Event] = []
        with torch.inference_mode(False):  # as an engine's own are
            self._seeds = torch.eye(1, SEEDS, device=device)[0]
        self._stream = playing_stream(device)
        self._ready = torch.cuda.Event()
        step, seeds = engine.step, None if engine.seeds is None else self._seeds
        assert step is not None
        spare = torch.empty_like(self._y)
        with CAPTURING:
            self._graph = recorded(
                device, lambda: spare.copy_(step(self._x, seeds)), lambda: self._y.copy_(step(self._x, seeds))
            )

    @property
    def waiting(self) -> bool:
        """Somebody waits for the others."""
        return bool(self._waiting)

    def wait(self, run: Run) -> None:
        """Let `run` wait for the others; the last of them begins it all."""
        if any(each.stream is run.stream for each in self._waiting):
            self.sing()  # a frame of the same channel: it has only one seat
        self._waiting.append(run)
        if len(self._waiting) == self.count - len(self.free):
            self.sing()

    @torch.inference_mode()
    def sing(self) -> None:
        """Play whoever waits: together those who dream alike, if they are enough, the others alone."""
        runs, self._waiting = self._waiting, []
        together = alike(runs)
        if len(together) < max(2, self.count / 2):
            together = []
        for run in runs:
            if run not in together:
                with OnStream(run.stream):
                    run.play()
        if together:
            self._together(together)

    def _together(self, runs: list[Run]) -> None:
        """Up to the generator on one stream, since these steps are short; from there each on its own."""
        for run in runs:
            self._ready.record(run.stream)
            self._stream.wait_event(self._ready)
        # who sang last time and doesn't now may still look at its picture; or at a later one, whose event is the same
        for event in self._former:
            self._stream.wait_event(event)
        with OnStream(self._stream):
            for run in runs:
                run.program.lead()
            self._seeds.copy_(runs[0].program.seeds)
            self._graph.replay()
            self._ready.record(self._stream)
        for run in runs:
            run.stream.wait_event(self._ready)
            with OnStream(run.stream):
                run.program.trail()
                run.arrived = run.fetch()
        self._former = [run.arrived for run in runs if run.arrived is not None]


def alike(runs: Iterable[Run]) -> list[Run]:
    """Most of those whose seed fields have the same weights."""
    runs = list(runs)
    ((most, _),) = Counter(run.seeds for run in runs).most_common(1) or ((None, 0),)
    return [run for run in runs if run.seeds == most]


class Place(NamedTuple):
    """A seat, and whose."""

    chorus: Chorus
    seat: Seat


class Singer(Protocol):
    """A pipeline: `place` is set while it has one."""

    place: Place | None


@dataclass(slots=True, eq=False)
class Song:
    """A world that several play: who, on what engine, in which choruses; `asked` is whether that is being built."""

    player: Player
    asked: bool = False
    singers: list[Singer] = field(default_factory=list)
    engine: Engine | None = None
    choruses: list[Chorus] = field(default_factory=list)

    def seat(self) -> None:
        """Give a place to whoever has none, as long as there are any."""
        free = [Place(chorus, seat) for chorus in self.choruses for seat in chorus.free]
        for singer, place in zip([each for each in self.singers if each.place is None], free, strict=False):
            place.chorus.free.remove(place.seat)
            singer.place = place


class Choir:
    """The choruses of a node: who plays a world joins, who doesn't any more leaves.

    All of it is for the frame loop's thread.
    """

    def __init__(self, device: torch.device, patience: float = PATIENCE) -> None:
        self._device = device
        self._patience = patience
        self._songs: dict[Step, Song] = {}
        self._made: queue.SimpleQueue[tuple[Song, Engine, list[Chorus]]] = queue.SimpleQueue()
        self._preparer = Preparer("choir")
        self._closing = threading.Event()

    def join(self, singer: Singer, player: Player) -> None:
        """`singer` plays `player` from now on; the second one to do so asks for what they can share."""
        if player.step is None or player.batched is None:
            return
        song = self._songs.setdefault(player.step, Song(player))
        song.singers.append(singer)
        song.seat()
        if len(song.singers) > 1 and not song.asked:
            song.asked = True
            self._preparer.ask(lambda: self._build(song), urgent=False)

    def leave(self, singer: Singer) -> None:
        """It plays that no more; nothing of it may be on its way."""
        step, song = next(((k, s) for k, s in self._songs.items() if singer in s.singers), (None, None))
        if step is None or song is None:
            return
        song.singers.remove(singer)
        if singer.place is not None:
            singer.place.chorus.free.append(singer.place.seat)
            singer.place = None
        if not song.singers:
            del self._songs[step]
            if song.engine is not None:
                song.engine.close()

    def sing(self) -> None:
        """Whoever waits for others plays now."""
        for song in self._songs.values():
            for chorus in song.choruses:
                if chorus.waiting:
                    chorus.sing()

    def collect(self) -> None:
        """Take what was built."""
        while not self._made.empty():
            song, engine, choruses = self._made.get()
            if not song.singers:
                engine.close()  # nobody plays it any more
                continue
            song.engine, song.choruses = engine, choruses
            song.seat()

    def settle(self) -> None:
        """Wait until everything that was asked for is built, and take it; for measurements and tests."""
        self._preparer.settle()
        self.collect()

    def close(self) -> None:
        """Wait for what is being built; everybody has left."""
        self._closing.set()
        if self._preparer.busy:
            log.info("the end waits until what is being built for several channels is ready")
        self._preparer.close()
        self.collect()

    def _build(self, song: Song) -> None:
        """The network for several pictures at once, and choruses that play it. In a preparing thread."""
        singers, name = 0, song.player.name
        while singers != len(song.singers):
            singers = len(song.singers)
            if self._closing.wait(self._patience):
                return
        if singers < 2 or song.player.batched is None:
            song.asked = False
            return
        count = seats(singers)
        log.info("%s: %d channels play it, so it is built for %d at once", name, singers, count)
        engine: Engine | None = None
        try:
            engine = song.player.batched(count)
            made = functools.partial(Chorus, engine, song.player.canvas, count, self._device)
            choruses = [attempted(made) for _ in range((singers + count // 2) // count)]
        except (L2SError, *inductor.FAULTS) as err:
            log.warning("%s: its channels play one by one: %s", name, err)
            if engine is not None:
                engine.close()
            return
        log.info("%s: %d channels at once are one launch from now on", name, count)
        self._made.put((song, engine, choruses))
