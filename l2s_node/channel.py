"""Channel: one way from a source to its sinks, with its own knobs, world and numbers. A node has one, or several.

Nothing waits here but what it is told to: the node decides whose turn it is. Everything lives on the frame loop's
thread, but for `board`, `presets` and `reports`, which any thread may use.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from l2s_node import __version__
from l2s_node.clock import exact_rate
from l2s_node.config import RunConfig, preset_folders
from l2s_node.control.presets import Presets
from l2s_node.control.report import AVERAGE_OF, Report, Reports
from l2s_node.errors import ClosedError, ConfigError, MissingError, RoomError
from l2s_node.feed import Feed
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.loader import known
from l2s_node.meter import Meter
from l2s_node.outlet import Outlet, takes_textures
from l2s_node.params import Board, Params
from l2s_node.picture.looks import Library, Overlay
from l2s_node.shelf import Shelf
from l2s_node.stage import Stage, world_names
from l2s_node.video import open_sink
from l2s_node.video.base import Options, Sink

if TYPE_CHECKING:
    from l2s_node.control.panel import Panel

log = logging.getLogger(__name__)

TAKEN = ("status", "preset", "presets", "reset", "refresh", "worlds")
"""What a channel can't be called, beside knobs: first parts of OSC addresses."""
FIRST_SIZE = Options().size
FIRST_RATE = Options().rate
"""What goes out before anything came in, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A picture that was begun, until it goes out.

    Attributes:
        frame: what it is made of; None where nothing ever came.
        received: when that came; None where it shows nothing new.
        params: the knobs.
        turned: those that the pipeline plays, see `Overlay.before`.
        start: when it was begun.
    """

    frame: Frame | None
    received: float | None
    params: Params
    turned: Params
    start: float


class Channel:
    """One way from a source to its sinks.

    Attributes:
        config: its settings.
        number: 1 for the first.
        name: "cam1"; "" where it is the only one.
        board: its knobs; may be turned from any thread.
        presets: recalls and saves them.
        reports: its state, once a frame; may be read from any thread.
        feed: where its pictures come from.
        panel: shows its pictures where somebody watches; set by the node.
    """

    feed: Feed

    def __init__(self, config: RunConfig, number: int, library: Library) -> None:
        """Check what can be checked before anything is opened.

        Raises:
            ConfigError: a preset, a knob's start value or its name can't be used.
            ModelError: there is no such world; the message lists those that there are.
        """
        self.config, self.number, self.name = config, number, config.channel
        self.reports = Reports()
        self.board = Board()
        library.join(self.board)
        if self.name.lower() in {*self.board.knobs, *TAKEN}:
            raise ConfigError(f"a channel can't be called {self.name}: that is an OSC address already")
        self.presets = Presets(preset_folders(), world_names, lambda: self.board.knobs)
        if config.preset:
            self.presets.load(config.preset, self.board)
        self.board.set(config.start_knobs())
        start = self.board.snapshot()
        known(start.world, start.size)
        self.panel: Panel | None = None
        self._looks = Overlay(library)
        self._outlet = Outlet()
        rate = exact_rate(config.fps) if config.fps else FIRST_RATE
        self._options = Options(
            config.name,
            __version__,
            rate,
            config.output_size or FIRST_SIZE,
            channel=self.name,
            osc=config.osc,
            lan=config.lan,
        )
        self._sinks: list[Sink] = []
        self._gone: list[Sink] = []
        self._sent = 0
        self._played = self._closed = False
        self._before = (0, 0)
        self._turn: Turn | None = None
        self._turns: deque[Turn] = deque()
        self._black: Frame | None = None

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def open_sinks(self, stack: ExitStack) -> list[str]:
        """Open them, and let the live ones show black at once. Returns their URIs.

        What this machine lacks something for is one sentence, and the show runs without, if there is another.

        Raises:
            RoomError: one can't be opened; or none can be used on this machine.
        """
        self._opened = time.monotonic()
        self._meter = Meter(self._opened)
        lacking: list[MissingError] = []
        for uri in self.config.sinks:
            try:
                sink = open_sink(uri, self._options)
            except MissingError as err:
                lacking.append(err)
                continue
            stack.callback(sink.close)
            self._sinks.append(sink)
        if lacking and not self._sinks:
            raise lacking[0]
        for lack in lacking:
            log.error("%s; the show runs without it", lack)
        uris = [sink.uri for sink in self._sinks]
        self._sinks.sort(key=lambda sink: bool(getattr(sink, "waits", False)))
        self._write(self._blank(self._options.size), self._options.rate, [sink for sink in self._sinks if sink.live])
        self._meter.sent(time.monotonic(), None)
        return uris

    def open_source(self, stack: ExitStack) -> None:
        """Open it.

        Raises:
            RoomError: it can't be opened.
        """
        self.feed = stack.enter_context(closing(Feed(self.config, self._options)))

    def open_stage(self, stack: ExitStack, shelf: Shelf) -> None:
        """Begin to load the world; engines lie on `shelf`, for other channels as well."""
        self._stage = stack.enter_context(closing(Stage(self.config, self.board, shelf)))
        stack.callback(self._outlet.close)
        stack.callback(self._looks.close)  # before the rooms: the OpenGL context may be one's own

    # --- one turn ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the picture that is due: knobs, world, picture.

        Raises:
            L2SError: the world that it started with can't be loaded.
        """
        frame = self.feed.take()
        params = self.board.snapshot()
        self._stage.follow(params, frame.size if frame else self._options.size)
        if self._stage.playing and not self._played:
            self._measure()
        pipeline, lost = self._stage.pipeline, self.feed.lost
        if lost and self.config.on_loss == "bypass":
            params = dataclasses.replace(params, show="input")
        received, start = frame.seconds if frame and self.feed.new else None, time.monotonic()
        self._turn = Turn(frame, received, params, params, start)
        if frame is None or pipeline is None or (lost and self.config.on_loss == "black"):
            self._forget()
            return
        pipeline.textures = any(takes_textures(sink) for sink in self._sinks)
        self._turn = dataclasses.replace(self._turn, turned=self._looks.before(params))
        self._turns.append(self._turn)
        pipeline.begin(frame, self._turn.turned, start)

    def finish(self) -> None:
        """Wait for the picture that is due, and hand it to the sinks; that is the one begun last, or the one before.

        Raises:
            L2SError: the last sink has broken.
        """
        assert self._turn is not None, "begin() comes first"
        turn, picture = self._turn, None
        while self._turns and self._stage.pipeline is not None and self._stage.pipeline.due:
            turn = self._turns.popleft()
            picture = self._looks.after(self._stage.pipeline.finish(), turn.params, turn.turned, turn.start)
            self._meter.steps.add(time.monotonic() - turn.start)
        if picture is None:
            received = None if self._turns else turn.received
            turn = dataclasses.replace(turn, received=received)
            picture = self._blank(turn.frame.size if turn.frame else self._options.size)
        self._send(turn, picture)
        self._account()

    @property
    def over(self) -> bool:
        """Its source has ended, its limit is reached, or its user has closed all that it showed itself on."""
        seconds, frames = time.monotonic() - self._meter.start, self._meter.frames_out
        limited = self._played and (
            (self.config.seconds is not None and seconds >= self.config.seconds)
            or (self.config.frames is not None and frames >= self.config.frames)
        )
        return limited or self.feed.over or self._closed

    def _measure(self) -> None:
        """The world plays: from here on the run is measured, and its limits count."""
        self._played = True
        self._before = self.feed.count - self.feed.new, self.feed.dropped
        self._meter = Meter(time.monotonic())

    def _forget(self) -> None:
        """What is under way is not shown any more."""
        while self._turns and self._stage.pipeline is not None:
            self._turns.popleft()
            self._stage.pipeline.finish()

    def _blank(self, size: tuple[int, int]) -> Frame:
        """Black, for an input of (width, height)."""
        width, height = self.config.output_size or size
        size = (max(width // 2 * 2, 2), height)
        if self._black is None or self._black.size != size:
            planes = blank(PixelFormat.UYVY, *size)
            self._black = Frame(planes, PixelFormat.UYVY, *size, seconds=0.0, number=0)
        return dataclasses.replace(self._black, seconds=time.monotonic())

    def _send(self, turn: Turn, picture: Frame) -> None:
        """Hand `picture`, made in `turn`, to every sink; a recording waits until the first input is there."""
        frame = turn.frame
        self._write(picture, self.feed.rate, [sink for sink in self._sinks if sink.live or frame])
        self._meter.sent(time.monotonic(), turn.received)
        if self.panel is not None and self.panel.watched(self.number):
            self.panel.show(self._outlet.preview(frame or picture), self._outlet.preview(picture), self.number)

    def _write(self, picture: Frame, rate: Fraction, sinks: list[Sink]) -> None:
        self._outlet.put(dataclasses.replace(picture, number=self._sent, rate=rate))
        self._sent += 1
        for sink in sinks:
            try:
                sink.write(self._outlet.taken(sink))
            except RoomError as err:
                self._lose(sink, err)

    def _lose(self, sink: Sink, err: RoomError) -> None:
        """Go on without `sink`; without any, the run fails, unless that is what the user wants."""
        self._sinks.remove(sink)
        self._gone.append(sink)
        wanted = isinstance(err, ClosedError)
        self._closed = wanted and not self._sinks
        if not self._sinks and not wanted:
            raise err
        rest = "and so the run ends" if self._closed else "the show goes on without it"
        log.log(logging.INFO if wanted else logging.ERROR, "%s: %s; %s", sink.uri, err, rest)

    # --- what is said ------------------------------------------------------------------------------------------------

    def _account(self) -> None:
        now = time.monotonic()
        meter, playing = self._meter, self._stage.playing
        meter.sample_memory(now)
        self.reports.set(
            Report(
                fps=meter.fps(now),
                step_ms=meter.steps.last_ms(),
                average_ms=meter.steps.mean_ms(AVERAGE_OF),
                latency_ms=meter.latencies.mean_ms(AVERAGE_OF),
                dropped=self.feed.dropped + self._dropped_output(),
                frames_in=self.feed.count,
                frames_out=self._sent,
                heartbeat=self._sent,
                state=self.feed.state,
                source=self.feed.uri,
                world=playing.request.world if playing else "",
                size=playing.request.size if playing else "",
                engine=playing.engine if playing else "",
                loading=self._stage.loading,
            )
        )

    def _dropped_output(self) -> int:
        return sum(sink.dropped for sink in [*self._sinks, *self._gone])

    def summary(self) -> dict[str, object]:
        """Of the time that the world played; of all of it where none did. Two numbers say what was before."""
        playing = self._stage.playing
        frames_in, dropped = self._before
        return {
            **self._meter.summary(time.monotonic(), self.feed.count - frames_in),
            "dropped_input": self.feed.dropped - dropped,
            "dropped_output": self._dropped_output(),
            "start_seconds": round(self._meter.start - self._opened, 3),
            "start_frames_out": self._sent - self._meter.frames_out,
            "engine": playing.engine if playing else "",
            "engine_reason": playing.reason if playing else "",
        }
