"""Node: opens the rooms, owns every thread, runs the frame loop, follows the source, changes worlds between frames.

The node has no maths: a frame's way is `pipeline`. The pipeline has no lifecycle: that is here.

    name         owner           does                                                     stops by
    main         cli             the frame loop; every call of the pipeline, GPU and GL   event set by SIGINT, SIGTERM
    l2s-load     loader.Loader   imports torch; loads, compiles and warms worlds          event, join
    l2s-read     reader.Reader   reads sources that block (files, cameras)                event, join, then close
    l2s-osc      control.osc     OSC in, state out                                        event, join
    l2s-http     control.panel   the panel (and l2s-jpeg, which encodes for it)           stop, join
    l2s-looks    picture.looks   watches and reads the files of looks                     event, join
    l2s-record   video.file      encodes a recording                                      end of queue, join

Order at the start: sinks, so that the show sees a source at once; then the source and the control; torch is imported
in `l2s-load` while frames already go out. Order at the end: the reverse, through one `ExitStack`.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from fractions import Fraction
from types import FrameType
from typing import TYPE_CHECKING

from l2s_node import __version__, texture
from l2s_node.clock import exact_rate
from l2s_node.config import RunConfig, looks_folders, preset_folders
from l2s_node.control.osc import OscServer
from l2s_node.control.presets import Presets, preset_commands
from l2s_node.control.report import AVERAGE_OF, Report, Reports, format_line
from l2s_node.errors import ControlError, RoomError
from l2s_node.feed import Feed
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.loader import find
from l2s_node.machine import reach
from l2s_node.meter import Meter
from l2s_node.outlet import Outlet, takes_textures
from l2s_node.params import Board, Params
from l2s_node.picture.looks import Library, Overlay
from l2s_node.stage import Stage, world_names
from l2s_node.video import open_sink
from l2s_node.video.base import Options, Sink

if TYPE_CHECKING:
    from l2s_node.control.panel import Panel

log = logging.getLogger(__name__)

FIRST_SIZE = Options().size
FIRST_RATE = Options().rate
"""What goes out before anything came in, unless the settings say otherwise."""
TURN = 5e-4
"""Seconds that another thread may keep Python while the frame loop wants it (5 ms by default, felt in every frame)."""
STATE_EVERY = 1.0
"""Seconds between two lines of state."""


class Node:
    """One run, from `run` to its return.

    Attributes:
        board: the knobs; may be turned from any thread.
        reports: its state, once a frame; may be read from any thread.
    """

    def __init__(self, config: RunConfig, tell: Callable[[str], None] = print) -> None:
        """Check what can be checked before anything is opened.

        Args:
            config: the settings.
            tell: gets the lines that are for the person at the desk: where to find what, then one of state a second.

        Raises:
            ConfigError: a preset or a knob's start value can't be used.
            ModelError: there is no such world; the message lists those that there are.
        """
        self.config = config
        self.reports = Reports()
        self.board = Board()
        self._library = Library(looks_folders(config.looks))
        self._library.join(self.board)
        self._looks = Overlay(self._library)
        self._outlet = Outlet()
        self._presets = Presets(preset_folders(), world_names, lambda: self.board.knobs)
        if config.preset:
            self._presets.load(config.preset, self.board)
        self.board.set(config.start_knobs())
        start = self.board.snapshot()
        find(start.world, start.size)
        self._tell = tell
        self._stop = threading.Event()
        rate = exact_rate(config.fps) if config.fps else FIRST_RATE
        self._options = Options(config.name, __version__, rate, config.output_size or FIRST_SIZE)
        self._sinks: list[Sink] = []
        self._gone: list[Sink] = []
        self._sent = 0
        self._played = False
        self._before = (0, 0)
        self._panel: Panel | None = None
        self._black: Frame | None = None
        self._next_state = time.monotonic() + STATE_EVERY

    def stop(self) -> None:
        """End the run after the frame at hand; safe from any thread and from a signal handler."""
        self._stop.set()

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, object]:
        """Play until `stop`, SIGINT, SIGTERM, the end of a source that plays once, or the settings' limit.

        Limits count from when the world plays. Returns the flat summary (see `_summary` and `Meter.summary`).

        Raises:
            L2SError: the source or a sink can't be opened, no world can be played at the start, or the last sink
                has broken. What was opened is closed again, recordings are finished.
        """
        with ExitStack() as stack:
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(TURN)
            self._catch_signals(stack)
            stack.callback(texture.close)
            self._library.start()
            stack.callback(self._library.close)
            self._opened = time.monotonic()
            self._meter = Meter(self._opened)
            self._open_sinks(stack)
            self._feed = stack.enter_context(closing(Feed(self.config, self._options)))
            self._tell(f"in:  {self._feed.uri} ({self._feed.state})")
            self._open_control(stack)  # before torch: two imports at a time would hold up the first frames
            self._stage = stack.enter_context(closing(Stage(self.config, self.board)))
            stack.callback(self._outlet.close)
            stack.callback(self._looks.close)  # before the rooms: the OpenGL context may be one's own
            self._loop()
            return self._summary()

    def _catch_signals(self, stack: ExitStack) -> None:
        """The first Ctrl-C ends the run properly; the second does nothing; whoever insists gets out at once."""
        if threading.current_thread() is not threading.main_thread():
            return

        def end(number: int, _: FrameType | None) -> None:
            if self._stop.is_set():
                signal.signal(number, former[number])
            self.stop()

        former = {int(number): signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in former.items():
            stack.callback(signal.signal, number, handler)

    def _open_sinks(self, stack: ExitStack) -> None:
        """Open them, and let the live ones show black at once."""
        for uri in self.config.sinks:
            sink = open_sink(uri, self._options)
            stack.callback(sink.close)
            self._sinks.append(sink)
            self._tell(f"out: {sink.uri}")
        self._write(self._blank(self._options.size), self._options.rate, [sink for sink in self._sinks if sink.live])
        self._meter.sent(time.monotonic(), None)

    def _open_control(self, stack: ExitStack) -> None:
        """OSC and the panel; a port in use is one sentence, and the show runs without."""
        host = "0.0.0.0" if self.config.lan else "127.0.0.1"
        if self.config.osc:
            try:
                self._open_osc(stack, host)
            except ControlError as err:
                log.warning("%s; the show runs without OSC", err)
        if self.config.panel:
            try:
                self._open_panel(stack, host)
            except ControlError as err:
                log.warning("%s; the show runs without the panel", err)

    def _open_osc(self, stack: ExitStack, host: str) -> None:
        port = self.config.osc
        feedback = self.config.osc_feedback or (("127.0.0.1", port + 1) if port < 65535 else None)
        osc = OscServer(
            self.board,
            self.reports,
            prefix=self.config.name,
            host=host,
            port=port,
            feedback=feedback,
            commands=preset_commands(self._presets, self.board),
            worlds=world_names,
        )
        stack.callback(osc.close)
        self._tell(f"osc: {reach('udp {}:{}', osc.address)}, as in /{osc.prefix}/mix 0.5")
        if feedback:
            self._tell("     state goes to udp {}:{}".format(*feedback))

    def _open_panel(self, stack: ExitStack, host: str) -> None:
        from l2s_node.control.panel import Panel

        panel = Panel(self.reports, name=self.config.name, host=host, port=self.config.panel)
        self._panel = stack.enter_context(closing(panel))
        self._tell(f"see: {reach('http://{}:{}/', panel.address)}")

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._over():
            frame = self._feed.next(self._stop)
            if self._stop.is_set():
                return
            params = self.board.snapshot()
            self._stage.follow(params, frame.size if frame else self._options.size)
            if self._stage.playing and not self._played:
                self._begin()
            self._send(frame, self._picture(frame, params))
            self._account()

    def _begin(self) -> None:
        """The world plays: from here on the run is measured, and its limits count."""
        self._played = True
        self._before = self._feed.count - self._feed.new, self._feed.dropped
        self._meter = Meter(time.monotonic())

    def _over(self) -> bool:
        seconds, frames = time.monotonic() - self._meter.start, self._meter.frames_out
        limited = self._played and (
            (self.config.seconds is not None and seconds >= self.config.seconds)
            or (self.config.frames is not None and frames >= self.config.frames)
        )
        return limited or self._stop.is_set() or self._feed.over

    def _picture(self, frame: Frame | None, params: Params) -> Frame:
        """What goes out for `frame`."""
        pipeline, lost = self._stage.pipeline, self._feed.lost
        if frame is None or pipeline is None or (lost and self.config.on_loss == "black"):
            return self._blank(frame.size if frame else self._options.size)
        if lost and self.config.on_loss == "bypass":
            params = dataclasses.replace(params, show="input")
        pipeline.textures = any(takes_textures(sink) for sink in self._sinks)
        start = time.monotonic()
        picture = self._looks(lambda turned: pipeline.step(frame, turned, start), params, start)
        self._meter.steps.add(time.monotonic() - start)
        return picture

    def _blank(self, size: tuple[int, int]) -> Frame:
        """Black, for an input of (width, height)."""
        width, height = self.config.output_size or size
        size = (max(width // 2 * 2, 2), height)
        if self._black is None or self._black.size != size:
            planes = blank(PixelFormat.UYVY, *size)
            self._black = Frame(planes, PixelFormat.UYVY, *size, seconds=0.0, number=0)
        return dataclasses.replace(self._black, seconds=time.monotonic())

    def _send(self, frame: Frame | None, picture: Frame) -> None:
        """Hand `picture`, made of `frame`, to every sink; a recording waits until the first input is there."""
        self._write(picture, self._feed.rate, [sink for sink in self._sinks if sink.live or frame])
        self._meter.sent(time.monotonic(), frame.seconds if frame and self._feed.new else None)
        if self._panel is not None and self._panel.watching:
            self._panel.show(self._outlet.preview(frame or picture), self._outlet.preview(picture))

    def _write(self, picture: Frame, rate: Fraction, sinks: list[Sink]) -> None:
        self._outlet.put(dataclasses.replace(picture, number=self._sent, rate=rate))
        self._sent += 1
        for sink in sinks:
            try:
                sink.write(self._outlet.taken(sink))
            except RoomError as err:
                self._sinks.remove(sink)
                self._gone.append(sink)
                if not self._sinks:
                    raise
                log.error("%s: %s; the show goes on without it", sink.uri, err)

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
                dropped=self._feed.dropped + self._dropped_output(),
                frames_in=self._feed.count,
                frames_out=self._sent,
                heartbeat=self._sent,
                state=self._feed.state,
                source=self._feed.uri,
                world=playing.request.world if playing else "",
                size=playing.request.size if playing else "",
                engine=playing.engine if playing else "",
                loading=self._stage.loading,
            )
        )
        if now >= self._next_state:
            self._next_state = now + STATE_EVERY
            self._tell(format_line(self.reports.get()))

    def _dropped_output(self) -> int:
        return sum(sink.dropped for sink in [*self._sinks, *self._gone])

    def _summary(self) -> dict[str, object]:
        """Of the time that the world played; of all of it where none did. Two numbers say what was before."""
        playing = self._stage.playing
        frames_in, dropped = self._before
        return {
            **self._meter.summary(time.monotonic(), self._feed.count - frames_in),
            "dropped_input": self._feed.dropped - dropped,
            "dropped_output": self._dropped_output(),
            "start_seconds": round(self._meter.start - self._opened, 3),
            "start_frames_out": self._sent - self._meter.frames_out,
            "engine": playing.engine if playing else "",
            "engine_reason": playing.reason if playing else "",
        }
