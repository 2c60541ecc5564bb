"""Node: opens the rooms, owns every thread, runs the frame loop, follows the source, changes worlds between frames.

The node has no maths: a frame's way is `pipeline`. The pipeline has no lifecycle: that is here.

    name         owner           does                                                     stops by
    main         cli             the frame loop; every call of the pipeline, GPU and GL   event set by SIGINT, SIGTERM
    l2s-load     loader.Loader   imports torch; loads, compiles and warms worlds          event, join
    l2s-read     reader.Reader   reads sources that block (files, cameras)                event, join, then close
    l2s-osc      control.osc     OSC in, state out                                        event, join
    l2s-http     control.panel   the panel (and l2s-jpeg, which encodes for it)           stop, join
    l2s-record   video.file      encodes a recording                                      end of queue, join

Order at the start: sinks, so that the show sees a source at once; then the source and the control; torch is imported
in `l2s-load` while frames already go out. Order at the end: the reverse, through one `ExitStack`.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from fractions import Fraction
from typing import TYPE_CHECKING

import psutil

from l2s_node import __version__
from l2s_node.clock import Ticker, exact_rate
from l2s_node.config import RunConfig, preset_folders
from l2s_node.control.osc import OscServer
from l2s_node.control.presets import Presets, preset_commands
from l2s_node.control.report import AVERAGE_OF, Report, Reports, format_line
from l2s_node.errors import ControlError, RoomError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.meter import Meter
from l2s_node.params import Board, Params
from l2s_node.reader import Reader
from l2s_node.stage import Stage, world_names
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options, Sink, Source

if TYPE_CHECKING:
    from l2s_node.control.panel import Panel

log = logging.getLogger(__name__)

FIRST_SIZE = (1280, 720)
FIRST_RATE = Fraction(30)
"""What goes out before anything came in, unless the settings say otherwise."""
LATE = 1.5
"""With `--fps auto` a picture that is this many periods late is replaced by a repeated one."""
PLAYING_SLICE = 0.05
"""Longest wait for a picture in one go, seconds, so that a signal is noticed soon."""


class Node:
    """One run, from `run` to its return."""

    def __init__(self, config: RunConfig, tell: Callable[[str], None] = print) -> None:
        """`tell` gets the lines that are for the person at the desk.

        Raises:
            ConfigError: a preset or a knob's start value can't be used.
        """
        self.config = config
        self.reports = Reports()
        self.board = Board()
        self._presets = Presets(preset_folders(), world_names)
        if config.preset:
            self._presets.load(config.preset, self.board)
        self.board.set(config.start_knobs())
        self._tell = tell
        self._stop = threading.Event()
        self._meter = Meter(time.monotonic())
        self._rate = exact_rate(config.fps) if config.fps else FIRST_RATE
        self._sinks: list[Sink] = []
        self._panel: Panel | None = None
        self._last: Frame | None = None
        self._new = False
        self._sent = 0
        self._next_line = time.monotonic() + 1.0
        self._black: Frame | None = None

    def stop(self) -> None:
        """End the run after the frame at hand; safe from any thread and from a signal handler."""
        self._stop.set()

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, object]:
        """Play until `stop`, SIGINT, SIGTERM, the end of a source that plays once, or the settings' limit.

        Returns the flat summary (see `Meter.summary`).

        Raises:
            L2SError: the source or every sink can't be opened, or no world can be played at the start.
        """
        with ExitStack() as stack:
            self._catch_signals(stack)
            self._open_sinks(stack)
            self._source = self._open_source(stack)
            self._stand_in = self._open_stand_in(stack)
            self._stage = stack.enter_context(closing(Stage(self.config, self.board)))
            self._open_control(stack)
            self._loop()
            return self._summary()

    def _catch_signals(self, stack: ExitStack) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            former = signal.signal(number, lambda *_: self.stop())
            stack.callback(signal.signal, number, former)

    def _open_sinks(self, stack: ExitStack) -> None:
        for uri in self.config.sinks:
            sink = open_sink(uri, self._options())
            stack.callback(sink.close)
            self._sinks.append(sink)
            self._tell(f"out: {sink.uri}")
        self._send(self._blank(), new=False)

    def _open_source(self, stack: ExitStack) -> Source:
        source = open_source(self.config.source, self._options())
        if source.blocks:
            source = Reader(source)
        stack.callback(source.close)
        self._tell(f"in:  {source.uri} ({source.state})")
        return source

    def _open_stand_in(self, stack: ExitStack) -> Source | None:
        if self.config.on_loss != "pattern":
            return None
        pattern = open_source("pattern:table", self._options())
        stack.callback(pattern.close)
        return pattern

    def _options(self) -> Options:
        size = self.config.output_size or FIRST_SIZE
        return Options(self.config.name, __version__, self._rate, size)

    def _open_control(self, stack: ExitStack) -> None:
        """OSC and the panel; a port in use is one sentence, and the show runs without."""
        host = "0.0.0.0" if self.config.lan else "127.0.0.1"
        if self.config.osc:
            try:
                osc = self._osc(host)
                stack.callback(osc.close)
                self._tell(f"osc: udp {self._reach(osc.address)}, as in /{osc.prefix}/mix 0.5")
            except ControlError as err:
                log.warning("%s; the show runs without OSC", err)
        if self.config.panel:
            from l2s_node.control.panel import Panel

            try:
                self._panel = stack.enter_context(closing(Panel(self.reports, port=self.config.panel, host=host)))
                self._tell(f"see: http://{self._reach(self._panel.address, '/')}")
            except ControlError as err:
                log.warning("%s; the show runs without the panel", err)

    def _reach(self, address: tuple[str, int], path: str = "") -> str:
        """How to reach what listens at `address`, from here and from elsewhere."""
        port = f":{address[1]}{path}"
        if not self.config.lan:
            return f"127.0.0.1{port} (from this machine only; --lan opens it to others)"
        return " or ".join(f"{host}{port}" for host in ["127.0.0.1", *own_addresses()])

    def _osc(self, host: str) -> OscServer:
        port = self.config.osc
        return OscServer(
            self.board,
            self.reports,
            prefix=self.config.name,
            host=host,
            port=port,
            feedback=self.config.osc_feedback or ("127.0.0.1", port + 1),
            commands=preset_commands(self._presets, self.board),
            worlds=world_names,
        )

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self._ticker = Ticker(float(self._rate), time.monotonic())
        while not self._over():
            frame = self._next_frame()
            params = self.board.snapshot()
            self._stage.follow(params, self._size(frame))
            self._send(self._picture(frame, params), self._new)
            self._account()

    def _over(self) -> bool:
        now = time.monotonic()
        limit, frames = self.config.seconds, self.config.frames
        return (
            self._stop.is_set()
            or (limit is not None and now - self._meter.start >= limit)
            or (frames is not None and self._meter.frames_out >= frames)
            or (self._source.state == "ended" and not self._new and self._meter.frames_in > 0)
            or not self._sinks
        )

    def _next_frame(self) -> Frame | None:
        """The frame to play now: the newest there is, the last one again, or None where nothing ever came."""
        frame = self._wait()
        self._new = frame is not None
        if frame is not None:
            self._last = frame
            self._meter.frames_in += 1
            if self.config.fps is None:
                self._follow_rate(frame)
        elif self._source.state in ("waiting", "silent") and self._stand_in is not None:
            self._last = self._stand_in.read(0.0) or self._last
        return self._last

    def _wait(self) -> Frame | None:
        """Wait for the next tick. Following the source, a picture is the tick; at a fixed rate the newest one is."""
        follows = self.config.fps is None
        patience = (LATE - 1) * self._ticker.period if follows else 0.0
        newest: Frame | None = None
        while not self._stop.is_set():
            due = self._ticker.due(time.monotonic()) + patience
            frame = self._source.read(min(due, PLAYING_SLICE))
            newest = frame or newest
            now = time.monotonic()
            if follows and frame is not None:
                self._ticker.restart(now)
                break
            if now >= self._ticker.next + patience:
                self._ticker.advance(now)
                break
        return newest

    def _follow_rate(self, frame: Frame) -> None:
        if frame.rate is not None and frame.rate != self._rate:
            log.info("the source sends %.5g frames a second; so does this node", float(frame.rate))
            self._rate = frame.rate
            self._ticker.period = 1 / float(frame.rate)

    def _picture(self, frame: Frame | None, params: Params) -> Frame:
        """What goes out for `frame`."""
        lost = self._source.state in ("waiting", "silent") and not self._new
        pipeline = self._stage.pipeline
        if frame is None or pipeline is None or (lost and self.config.on_loss == "black"):
            return self._blank()
        if lost and self.config.on_loss == "bypass":
            params = dataclasses.replace(params, show="input")
        start = time.monotonic()
        picture = pipeline.step(frame, params, start)
        self._meter.steps.add(time.monotonic() - start)
        return picture

    def _blank(self) -> Frame:
        """Black, of the size that went out last."""
        width, height = self.config.output_size or self._size(self._last)
        size = (width // 2 * 2, height)
        if self._black is None or self._black.size != size:
            planes = blank(PixelFormat.UYVY, *size)
            self._black = Frame(planes, PixelFormat.UYVY, *size, seconds=time.monotonic(), number=0)
        return self._black

    def _size(self, frame: Frame | None) -> tuple[int, int]:
        return frame.size if frame else self.config.output_size or FIRST_SIZE

    def _send(self, picture: Frame, new: bool) -> None:
        outgoing = dataclasses.replace(picture, number=self._sent, rate=self._rate)
        self._sent += 1
        for sink in [sink for sink in self._sinks if sink.live or self._last]:
            try:
                sink.write(_as_taken(outgoing, sink.format))
            except RoomError as err:
                log.error("%s: %s; the show goes on without it", sink.uri, err)
                self._sinks.remove(sink)
        now = time.monotonic()
        self._meter.sent(now)
        if new and self._last is not None:
            self._meter.latencies.add(now - self._last.seconds)
        else:
            self._meter.repeated += 1
        if self._panel is not None:
            self._panel.show(self._last or outgoing, outgoing)

    # --- what is said ------------------------------------------------------------------------------------------------

    def _account(self) -> None:
        now = time.monotonic()
        meter, playing = self._meter, self._stage.playing
        meter.sample_memory(now)
        if now >= self._next_line:
            self._next_line = now + 1.0
            self._tell(format_line(self.reports.get()))
        self.reports.set(
            Report(
                fps=meter.fps(now),
                step_ms=meter.steps.last_ms(),
                average_ms=meter.steps.mean_ms(AVERAGE_OF),
                latency_ms=meter.latencies.mean_ms(AVERAGE_OF),
                dropped=self._source.dropped + sum(sink.dropped for sink in self._sinks),
                frames_in=meter.frames_in,
                frames_out=meter.frames_out,
                heartbeat=meter.frames_out,
                state=self._source.state,
                source=self._source.uri,
                world=playing.request.world if playing else "",
                size=playing.request.size if playing else "",
                engine=playing.engine if playing else "",
                loading=self._stage.loading,
            )
        )

    def _summary(self) -> dict[str, object]:
        playing = self._stage.playing
        return {
            **self._meter.summary(time.monotonic()),
            "dropped_input": self._source.dropped,
            "dropped_output": sum(sink.dropped for sink in self._sinks),
            "engine": playing.engine if playing else "",
            "engine_reason": playing.reason if playing else "",
        }


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses on its networks, loopback left out."""
    cards = psutil.net_if_addrs().values()
    found = {a.address for card in cards for a in card if a.family == socket.AF_INET}
    return sorted(address for address in found if not address.startswith("127."))


def _as_taken(frame: Frame, fmt: PixelFormat) -> Frame:
    """`frame` for a sink that takes `fmt`: alpha is left away where it takes none (UYVY is UYVA's first plane)."""
    if frame.format is PixelFormat.UYVA and fmt is PixelFormat.UYVY:
        return dataclasses.replace(frame, planes=frame.planes[:1], format=PixelFormat.UYVY)
    return frame
