"""OSC over UDP: ``/l2s/<knob> VALUE`` turns a knob, and the node's state goes out ten times a second.

What arrives, per datagram, whole or nothing:

- every knob of the board; int, float, bool, T/F, numeric string, a choice's name or index; clamped; a point, a colour
  and the list of looks take several arguments;
- ``?`` or no argument: the value goes back to the sender's address and port (``/l2s/* ?`` asks for everything);
- the `commands` (``/l2s/preset NAME``, ``/l2s/reset``, …); a 0 is a button's release and does nothing;
- ``/l2s/refresh`` sends every knob to the feedback target, for a surface that has just been opened;
- ``/l2s/worlds`` answers the worlds' names.

All knobs of a datagram, those that a command recalls included, are turned in one step between two frames. If one of
them can't be read, none is turned; an address that is not ours is passed over, since a sender's bundle may be meant
for others as well. A command in a bundle sees the board as it was before that bundle. Each mistake is logged once.

What goes out to the feedback target: ``/l2s/status/<field>`` of `report.Report`, and ``/l2s/<knob>`` where a knob
was turned, except by the target's own host: a fader is not fought by its own echo.
"""

from __future__ import annotations

import difflib
import errno
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from l2s_node.clock import Ticker
from l2s_node.control.packet import MAX_DATAGRAM, Argument, Message, is_pattern, matching, read_packet, write_message
from l2s_node.control.presets import Command, Worlds, known_world
from l2s_node.control.report import FIELDS, Reports
from l2s_node.errors import ControlError, L2SError
from l2s_node.params import Board, Kind, Value

log = logging.getLogger(__name__)

Address = tuple[str, int]

STATE_RATE = 10.0
"""Times a second that state and turned knobs go out."""

RECEIVE_BUFFER = 1 << 20
"""Bytes that the system is asked to hold while a burst is read."""


class OscServer:
    """Serves OSC in a thread of its own, ``l2s-osc``, from construction until `close`.

    Attributes:
        prefix: first part of every address, without slashes; what OSC doesn't allow there is an underscore.
        address: (host, port) that it listens on.
    """

    def __init__(
        self,
        board: Board,
        reports: Reports,
        *,
        prefix: str = "l2s",
        host: str = "127.0.0.1",
        port: int = 7400,
        feedback: Address | None = None,
        commands: Mapping[str, Command] | None = None,
        worlds: Worlds | None = None,
    ) -> None:
        """Listen on UDP `host`:`port` (port 0 takes a free one; "0.0.0.0" listens beyond this machine).

        Args:
            board: the knobs that are turned and watched.
            reports: where the state comes from.
            prefix: first part of every address.
            host: IPv4 address to listen on.
            port: UDP port.
            feedback: (host, port) that state goes to; None for none. A name that can't be resolved is logged.
            commands: what else can be called, by the rest of its address; see `Command`.
            worlds: names of the worlds there are; None takes any name.

        Raises:
            ControlError: the port is in use or can't be listened on.
        """
        self.prefix = re.sub(r"[^!-~]|[#*,/?\[\]{}]", "_", prefix)
        self._board = board
        self._reports = reports
        self._worlds = worlds
        self._commands: dict[str, Command] = {
            **(commands or {}),
            "refresh": self._refresh,
            "worlds": lambda args: sorted(worlds()) if worlds else (),
        }
        self._status = tuple(f"status/{field}" for field in FIELDS)
        self._sent = -1  # the board's revision that the feedback target has seen
        self._mistakes = _Once()
        self._feedback = _resolved(feedback)
        self._socket = _listen(host, port)
        self.address: Address = self._socket.getsockname()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="l2s-osc")
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, join it, give the port back."""
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        ticker = Ticker(STATE_RATE, time.monotonic())
        while not self._stop.is_set():
            wait = ticker.due(time.monotonic())
            if wait > 0:
                self._receive(wait)
            else:  # asked before every datagram, so that a flood can't silence the state
                ticker.advance(time.monotonic())
                self._publish()

    # what arrives

    def _receive(self, wait: float) -> None:
        """Take one datagram, if one comes within `wait` seconds."""
        self._socket.settimeout(wait)
        try:
            data, sender = self._socket.recvfrom(MAX_DATAGRAM)
        except TimeoutError:
            return
        except OSError as err:  # Windows tells here that an earlier answer found nobody
            self._mistakes.log("receive", str(err.errno), "OSC: %s", err)
            return
        try:
            messages = read_packet(data)
        except ControlError as err:
            self._mistakes.log("malformed", sender[0], "OSC from %s: %s", sender[0], err)
            return
        try:
            self._handle(messages, sender)
        except L2SError as err:
            self._mistakes.log("value", str(err), "OSC from %s: %.300s", sender[0], err)

    def _handle(self, messages: Sequence[Message], sender: Address) -> None:
        """Do what one datagram says, whole or not at all."""
        wish: dict[str, object] = {}
        asked: list[str] = []
        origin: str | None = sender[0]
        for address, args in messages:
            for name in self._meant(address):
                if name in self._commands:
                    if recalled := self._call(name, args, sender):
                        wish.update(recalled)
                        origin = None  # it turned knobs that the sender doesn't know of
                elif not args or args[0] == "?":
                    asked.append(name)
                elif name in self._board.knobs:
                    wish[name] = self._wanted(name, args)
                else:
                    raise ControlError(f"{self._full(name)} can only be read")
        if wish:
            self._board.set(wish, origin)
        for name in asked:
            self._send(sender, name, *self._value(name))

    def _wanted(self, name: str, args: Sequence[Argument]) -> object:
        """The value for the knob `name`: the first argument, or all of them where it takes several."""
        if name == "world":
            return known_world(args[0], self._worlds)
        several = self._board.knobs[name].kind in (Kind.LIST, Kind.VECTOR) and len(args) > 1
        return list(args) if several else args[0]

    def _meant(self, address: str) -> Sequence[str]:
        """The names that an incoming address means; none, when it isn't ours. A pattern never means a command."""
        head, _, tail = address.lower().strip("/").partition("/")
        if head == self.prefix.lower():
            knobs = self._board.knobs
            if tail in knobs or tail in self._status or tail in self._commands:
                return [tail]
            if is_pattern(tail) and (found := matching(tail, (*knobs, *self._status))):
                return found
        self._mistakes.log("address", address, "OSC: unknown address %s", _Nearest(address, self._addresses))
        return []

    def _addresses(self) -> list[str]:
        return [self._full(name) for name in (*self._board.knobs, *self._status, *self._commands)]

    def _call(self, name: str, args: Sequence[Argument], sender: Address) -> Mapping[str, object] | None:
        """Call a command; the knobs that it wants turned. Its answer goes to whoever asked."""
        if args and args[0] == 0:  # False and 0.0 as well
            return None
        result = self._commands[name](args)
        if isinstance(result, Mapping):
            return result
        if result is not None and (not args or args[0] == "?"):
            self._send(sender, name, *([result] if isinstance(result, str) else result))
        return None

    def _refresh(self, args: Sequence[object]) -> None:
        if list(args) != ["?"]:
            self._sent = -1

    def _value(self, name: str) -> tuple[float | int | bool | str, ...]:
        if name in self._board.knobs:
            return _arguments(self._board.get(name))
        return (self._reports.get().items()[name.removeprefix("status/")],)

    # what goes out

    def _publish(self) -> None:
        if self._feedback is None:
            return
        for field, value in self._reports.get().items().items():
            self._send(self._feedback, f"status/{field}", value)
        revision = self._board.revision
        if self._sent < 0:
            for name, turned in self._board.values().items():
                self._send(self._feedback, name, *_arguments(turned))
        elif revision > self._sent:
            for name, turned, origin in self._board.changes_since(self._sent):
                if origin != self._feedback[0]:
                    self._send(self._feedback, name, *_arguments(turned))
        self._sent = revision

    def _full(self, name: str) -> str:
        return f"/{self.prefix}/{name}"

    def _send(self, target: Address, name: str, *values: float | int | bool | str) -> None:
        try:
            self._socket.sendto(write_message(self._full(name), *values), target)
        except OSError as err:  # no network, nobody there: the show goes on
            self._mistakes.log("send", f"{target} {err.errno}", "OSC to %s:%d: %s", *target, err)


def _arguments(value: Value) -> tuple[float | int | bool | str, ...]:
    return value if isinstance(value, tuple) else (value,)


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port))
    except OSError as err:
        sock.close()
        if err.errno == errno.EADDRINUSE:
            why = f"UDP port {port} is in use by another program; choose another one with --osc PORT"
        else:
            why = f"UDP {host}:{port} can't be listened on: {err.strerror or err}"
        raise ControlError(f"no OSC: {why}") from err
    return sock


def _resolved(target: Address | None) -> Address | None:
    """`target` with its IPv4 address, which is what senders are known by."""
    if target is None:
        return None
    try:
        return socket.gethostbyname(target[0]), target[1]
    except OSError as err:
        log.warning("no OSC feedback: %s can't be found: %s", target[0], err)
        return None


class _Once:
    """Logs each mistake once, and remembers no more than `limit` of a kind: the network decides how many come."""

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._seen: dict[str, set[str]] = {}

    def log(self, kind: str, key: str, text: str, *args: object) -> None:
        seen = self._seen.setdefault(kind, set())
        if key[:200] in seen or len(seen) >= self._limit:
            return
        seen.add(key[:200])
        log.warning(text, *args)
        if len(seen) == self._limit:
            log.warning("OSC: %d mistakes of this kind have been told; further ones are not", self._limit)


class _Nearest:
    """`address` with the known one that is most like it; looked for only when it is printed, since that is slow."""

    def __init__(self, address: str, known: Callable[[], Sequence[str]]) -> None:
        self._address = address[:80]
        self._known = known

    def __str__(self) -> str:
        close = difflib.get_close_matches(self._address.lower(), self._known(), 1, 0.5)
        return f"{self._address!r}" + (f"; did you mean {close[0]}?" if close else "")
