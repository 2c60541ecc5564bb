"""OSC over UDP: ``/l2s/<knob> VALUE`` turns a knob, and the node's state goes out ten times a second.

What arrives, per datagram, whole or nothing:

- every knob of the board; int, float, bool, T/F, numeric string, a choice's name or index; clamped; a point, a colour
  and the list of looks take several arguments;
- ``?`` or no argument: the value goes back to the sender's address and port (``/l2s/* ?`` asks for everything);
- the `commands` (``/l2s/preset NAME``, ``/l2s/reset``, …); a 0 is a button's release and does nothing;
- ``/l2s/refresh`` sends every knob to the feedback target, for a surface that has just been opened;
- ``/l2s/worlds`` answers the worlds' names.

Of several channels each is ``/l2s/<number>/…`` or ``/l2s/<name>/…``. Without either, knobs, presets and reset mean all
of them, and what is asked, saved or answered is the first one's.

All knobs of a datagram, those that a command recalls included, are turned in one step between two frames. If one of
them can't be read, none is turned; an address that is not ours is passed over, since a sender's bundle may be meant
for others as well. A command in a bundle sees the board as it was before that bundle. Each mistake is logged once.

What goes out to the feedback target: ``/l2s/status/<field>`` of `report.Report`, and ``/l2s/<knob>`` where a knob
was turned, except by the target's own host: a fader is not fought by its own echo. Of several channels, each one's
goes out as ``/l2s/<number>/…``, and the first one's without a number as well.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from l2s_node.clock import Ticker
from l2s_node.control.packet import MAX_DATAGRAM, Argument, Message, is_pattern, matching, read_packet, write_message
from l2s_node.control.presets import Command, Worlds, known_world
from l2s_node.control.report import FIELDS, Reports
from l2s_node.errors import ControlError, L2SError
from l2s_node.params import Board, Kind, Value, parse_all

log = logging.getLogger(__name__)

Address = tuple[str, int]

STATE_RATE = 10.0
"""Times a second that state and turned knobs go out."""

RECEIVE_BUFFER = 1 << 20
"""Bytes that the system is asked to hold while a burst is read."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What is steered: one channel.

    Attributes:
        board: the knobs that are turned and watched.
        reports: where the state comes from.
        commands: what else can be called, by the rest of its address; see `Command`.
        name: its part of an address beside its number; "" for none.
    """

    board: Board
    reports: Reports
    commands: Mapping[str, Command] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Meant:
    """What an address means: `name` at the channel of index `desk`, which was `said` as "", "2/" or "cam1/"."""

    desk: int
    name: str
    said: str


ALL = ("preset", "preset/next", "preset/previous", "reset")
"""Commands that mean every channel where none is named."""


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
        channel: str = "",
        others: Sequence[Desk] = (),
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
            channel: name of the channel that `board`, `reports` and `commands` belong to.
            others: the channels after it.

        Raises:
            ControlError: the port is in use or can't be listened on.
        """
        self.prefix = re.sub(r"[^!-~]|[#*,/?\[\]{}]", "_", prefix)
        self._worlds = worlds
        own: dict[str, Command] = {
            "refresh": self._refresh,
            "worlds": lambda args: sorted(worlds()) if worlds else (),
        }
        desks = (Desk(board, reports, commands or {}, channel), *others)
        self._desks = tuple(dataclasses.replace(desk, commands={**desk.commands, **own}) for desk in desks)
        self._status = tuple(f"status/{field}" for field in FIELDS)
        self._sent = [-1] * len(desks)  # the boards' revisions that the feedback target has seen
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
        wishes: dict[int, dict[str, object]] = {}
        origins: dict[int, str | None] = {}
        asked: list[Meant] = []
        for address, args in messages:
            for meant in self._meant(address, bool(args) and args[0] != "?"):
                desk = self._desks[meant.desk]
                if meant.name in desk.commands:
                    if recalled := self._call(meant, args, sender):
                        wishes.setdefault(meant.desk, {}).update(recalled)
                        origins[meant.desk] = None  # it turned knobs that the sender doesn't know of
                elif not args or args[0] == "?":
                    asked.append(meant)
                elif meant.name in desk.board.knobs:
                    wishes.setdefault(meant.desk, {})[meant.name] = self._wanted(desk, meant.name, args)
                else:
                    raise ControlError(f"{self._full(meant)} can only be read")
        for index, wish in wishes.items():
            parse_all(wish, self._desks[index].board.knobs)  # all of them, before the first one is turned
        for index, wish in wishes.items():
            self._desks[index].board.set(wish, origins.get(index, sender[0]))
        for meant in asked:
            self._send(sender, meant, *self._value(meant))

    def _wanted(self, desk: Desk, name: str, args: Sequence[Argument]) -> object:
        """The value for the knob `name`: the first argument, or all of them where it takes several."""
        if name == "world":
            return known_world(args[0], self._worlds)
        several = desk.board.knobs[name].kind in (Kind.LIST, Kind.VECTOR) and len(args) > 1
        return list(args) if several else args[0]

    def _meant(self, address: str, given: bool) -> Sequence[Meant]:
        """What an incoming address means; nothing, when it isn't ours. A pattern never means a command.

        `given`: it came with a value; without one the first channel answers for all.
        """
        head, _, tail = address.lower().strip("/").partition("/")
        if head == self.prefix.lower():
            if found := self._named(range(len(self._desks)) if given else range(1), tail, ""):
                return found
            part, _, rest = tail.partition("/")
            if found := [each for desk in self._called(part) for each in self._named([desk], rest, f"{part}/")]:
                return found
        self._mistakes.log("address", address, "OSC: unknown address %s", _Nearest(address, self._addresses))
        return []

    def _named(self, desks: Sequence[int], tail: str, said: str) -> list[Meant]:
        """The knobs, the status or the command that `tail` means at each of `desks`."""
        found = []
        for index in desks:
            desk = self._desks[index]
            shared = tail in desk.board.knobs or tail in ALL
            if shared and (tail in desk.board.knobs or tail in desk.commands):
                names = [tail]
            elif tail in desk.commands or tail in self._status:
                names = [tail] if index == desks[0] else []
            else:
                names = matching(tail, (*desk.board.knobs, *self._status)) if is_pattern(tail) else []
            found += [Meant(index, name, f"{index + 1}/" if is_pattern(said) else said) for name in names]
        return found

    def _called(self, part: str) -> list[int]:
        """The channels that go by that number or name."""
        names = {name: i for i, desk in enumerate(self._desks) for name in (str(i + 1), desk.name.lower()) if name}
        wanted = matching(part, names) if is_pattern(part) else [part]
        return sorted({names[name] for name in wanted if name in names})

    def _addresses(self) -> list[str]:
        desk = self._desks[0]
        return [f"/{self.prefix}/{name}" for name in (*desk.board.knobs, *self._status, *desk.commands)]

    def _call(self, meant: Meant, args: Sequence[Argument], sender: Address) -> Mapping[str, object] | None:
        """Call a command; the knobs that it wants turned. Its answer goes to whoever asked."""
        if args and args[0] == 0:  # False and 0.0 as well
            return None
        result = self._desks[meant.desk].commands[meant.name](args)
        if isinstance(result, Mapping):
            return result
        if result is not None and (not args or args[0] == "?"):
            self._send(sender, meant, *([result] if isinstance(result, str) else result))
        return None

    def _refresh(self, args: Sequence[object]) -> None:
        if list(args) != ["?"]:
            self._sent = [-1] * len(self._desks)

    def _value(self, meant: Meant) -> tuple[float | int | bool | str, ...]:
        desk = self._desks[meant.desk]
        if meant.name in desk.board.knobs:
            return _arguments(desk.board.get(meant.name))
        return (desk.reports.get().items()[meant.name.removeprefix("status/")],)

    # what goes out

    def _publish(self) -> None:
        if self._feedback is None:
            return
        for index in range(len(self._desks)):
            self._publish_desk(index, self._feedback)

    def _publish_desk(self, index: int, target: Address) -> None:
        desk = self._desks[index]
        prefixes = [*([""] if index == 0 else []), *([f"{index + 1}/"] if len(self._desks) > 1 else [])]
        told: list[tuple[str, Value]] = [(f"status/{name}", v) for name, v in desk.reports.get().items().items()]
        revision, sent = desk.board.revision, self._sent[index]
        if sent < 0:
            told += desk.board.values().items()
        elif revision > sent:
            told += [(name, value) for name, value, who in desk.board.changes_since(sent) if who != target[0]]
        self._sent[index] = revision
        for name, value in told:
            for said in prefixes:
                self._send(target, Meant(index, name, said), *_arguments(value))

    def _full(self, meant: Meant) -> str:
        return f"/{self.prefix}/{meant.said}{meant.name}"

    def _send(self, target: Address, meant: Meant, *values: float | int | bool | str) -> None:
        try:
            self._socket.sendto(write_message(self._full(meant), *values), target)
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
