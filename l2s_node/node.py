"""Node: opens the rooms, owns every thread, runs the frame loop: whichever channel's turn it is, plays.

The node has no maths: a frame's way is `pipeline`. The pipeline has no lifecycle: that is here, and in `channel`.

    name         owner           does                                                     stops by
    main         cli             the frame loop; every call of a pipeline, GPU and GL     event set by SIGINT, SIGTERM
    l2s-load     loader.Loader   imports torch; loads and warms worlds                    event, join
    l2s-build    loader.Loader   compiles worlds where that takes long                    end of its work, join
    l2s-graph    cuda.graph      captures CUDA graphs that the loop misses                end of its work, join
    l2s-choir    cuda.chorus     builds a world for several channels at once              end of its work, join
    l2s-read     reader.Reader   reads sources that block (files, cameras)                event, join, then close
    l2s-osc      control.osc     OSC in, state out                                        event, join
    l2s-http     control.panel   the panel (and l2s-jpeg, which encodes for it)           stop, join
    l2s-looks    picture.looks   watches and reads the files of looks                     event, join
    l2s-look     picture.ready   makes a look ready that was turned on, on Linux          end of its work, join
    l2s-record   video.file      encodes a recording                                      end of queue, join

Several channels have a `l2s-load` and a `l2s-build` each, and a `l2s-read` where their source blocks. The one thread
that may call CUDA, and OpenGL (but in contexts of `l2s-look`), begins the pictures of all channels whose turn it is and
then finishes them, so that a GPU makes them side by side. No channel waits for another's source: of several, none is
waited for, they are looked at in turn.

Order at the start: sinks, so that the show sees a source at once; then the source and the control; torch is imported
in `l2s-load` while frames already go out. Order at the end: the reverse, through one `ExitStack`.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import FrameType

from l2s_node import texture
from l2s_node.channel import Channel
from l2s_node.config import RunConfig, looks_folders
from l2s_node.control.osc import Desk, OscServer
from l2s_node.control.presets import preset_commands
from l2s_node.control.report import format_line
from l2s_node.errors import ControlError, L2SError
from l2s_node.feed import PLAYING_SLICE
from l2s_node.machine import reach
from l2s_node.picture.looks import Library
from l2s_node.shelf import REST, Shelf
from l2s_node.stage import world_names
from l2s_node.turns import short_turns

log = logging.getLogger(__name__)

LOOK_EVERY = 1e-3
"""Seconds between two looks at the sources of several channels."""
STATE_EVERY = 1.0
"""Seconds between two lines of state."""


class Node:
    """One run, from `run` to its return.

    Attributes:
        channels: one, or those of the settings; of a running node those that still play.
        board: the knobs of the first; may be turned from any thread.
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
        self._library = Library(looks_folders(config.looks))
        ways = config.channels or (config,)
        self.channels = [Channel(way, number, self._library) for number, way in enumerate(ways, 1)]
        self._all = tuple(self.channels)
        self.board, self.reports = self.channels[0].board, self.channels[0].reports
        self._tell = tell
        self._stop = threading.Event()
        self._next_state = time.monotonic() + STATE_EVERY

    def stop(self) -> None:
        """End the run after the frame at hand; safe from any thread and from a signal handler."""
        self._stop.set()

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, object]:
        """Play until `stop`, SIGINT, SIGTERM, the end of every source that plays once, or the settings' limit.

        Limits count from when a channel's world plays. Returns the flat summary (see `Channel.summary` and
        `Meter.summary`), of several channels ``{"channels": {name: summary}}``.

        Raises:
            L2SError: a source or a sink can't be opened; or the last channel ends, because no world can be played at
                the start, or its last sink has broken. What was opened is closed again, recordings are finished.
        """
        with ExitStack() as stack:
            stack.enter_context(short_turns())
            self._catch_signals(stack)
            stack.callback(texture.close)
            self._library.start()
            stack.callback(self._library.close)
            for channel in self.channels:
                for uri in channel.open_sinks(stack):
                    self._tell(f"out: {_of(channel)}{uri}")
            for channel in self.channels:
                channel.open_source(stack)
                self._tell(f"in:  {_of(channel)}{channel.feed.uri} ({channel.feed.state})")
            self._open_control(stack)  # before torch: two imports at a time would hold up the first frames
            shelf = Shelf(len(self.channels), REST)
            stack.callback(shelf.close)
            for channel in self.channels:
                channel.open_stage(stack, shelf)
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
        first, *others = (Desk(c.board, c.reports, preset_commands(c.presets, c.board), c.name) for c in self.channels)
        osc = OscServer(
            first.board,
            first.reports,
            prefix=self.config.name,
            host=host,
            port=port,
            feedback=feedback,
            commands=first.commands,
            worlds=world_names,
            channel=first.name,
            others=others,
        )
        stack.callback(osc.close)
        self._tell(f"osc: {reach('udp {}:{}', osc.address)}, as in /{osc.prefix}/mix 0.5")
        if feedback:
            self._tell("     state goes to udp {}:{}".format(*feedback))

    def _open_panel(self, stack: ExitStack, host: str) -> None:
        from l2s_node.control.panel import Panel

        others = {channel.name: channel.reports for channel in self.channels[1:]}
        made = Panel(
            self.reports,
            name=self.config.name,
            host=host,
            port=self.config.panel,
            channel=self.channels[0].name,
            others=others,
        )
        panel = stack.enter_context(closing(made))
        for channel in self.channels:
            channel.panel = panel
        self._tell(f"see: {reach('http://{}:{}/', panel.address)}")

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._over():
            due = self._wait()
            if self._stop.is_set():
                return
            begun = [channel for channel in due if self._went(channel, channel.begin)]
            for channel in begun:
                self._went(channel, channel.finish)
            self._say()

    def _wait(self) -> list[Channel]:
        """The channels whose turn it is. One alone is waited for; of several, none is waited for by the others."""
        if len(self.channels) == 1:
            return [channel for channel in self.channels if channel.feed.ready(PLAYING_SLICE)]
        due = [channel for channel in self.channels if channel.feed.ready(0.0)]
        if not due:
            time.sleep(LOOK_EVERY)
        return due

    def _went(self, channel: Channel, turn: Callable[[], None]) -> bool:
        """Half a turn; a channel that can't go on leaves the others alone, and the last one ends the run."""
        try:
            turn()
        except L2SError as err:
            if len(self.channels) == 1:
                raise
            log.error("%s: %s; the other channels go on", channel.name, err)
            self.channels.remove(channel)
            return False
        return True

    def _over(self) -> bool:
        if len(self.channels) > 1:
            self.channels = [channel for channel in self.channels if not channel.over] or self.channels[:1]
        return self._stop.is_set() or (len(self.channels) == 1 and self.channels[0].over)

    # --- what is said ------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        now = time.monotonic()
        if now >= self._next_state:
            self._next_state = now + STATE_EVERY
            for channel in self.channels:
                self._tell(_of(channel) + format_line(channel.reports.get()))

    def _summary(self) -> dict[str, object]:
        if not self.config.channels:
            return self._all[0].summary()
        return {"channels": {channel.name: channel.summary() for channel in self._all}}


def _of(channel: Channel) -> str:
    return f"{channel.name}: " if channel.name else ""
