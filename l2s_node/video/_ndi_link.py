"""Who is on the NDI network, and a connection that holds. For the room `ndi` only."""

from __future__ import annotations

import ctypes as C
import functools
import json
import logging
import math
import os
import socket
import sys
import threading
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

from l2s_node.errors import RoomError
from l2s_node.video import _libndi
from l2s_node.video.base import Options

log = logging.getLogger("l2s_node.video.ndi")
LOOK = 0.1  # seconds between two looks at the network; one takes microseconds
PATIENCE = 2.0  # seconds without a picture after which the connection is made anew
DISTRUST = 1.5  # seconds until a broken connection is made again: mDNS lists the dead for one (RFC 6762, 10.1)


class Finder:
    """Which sources there are. Say `advise` first: without discovery it finds nothing, silently."""

    def __init__(self) -> None:
        self._lib = _libndi.load()
        self._find = self._create()

    def _create(self) -> int | None:
        find: int | None = self._lib.NDIlib_find_create_v2(C.byref(_libndi.Find(show_local=True)))
        return find

    def sources(self) -> dict[str, str]:
        """{"HOST (cam)": "host:port"} of all that answered so far and are still there."""
        count = C.c_uint32()
        found = self._lib.NDIlib_find_get_current_sources(self._find, C.byref(count))
        listed = (found[i] for i in range(count.value))
        return {source.name.decode(errors="replace"): (source.address or b"").decode() for source in listed}

    def forget(self) -> None:
        """Ask everybody again: a sender that died may stay listed for seconds otherwise."""
        self.close()
        self._find = self._create()

    def close(self) -> None:
        self._lib.NDIlib_find_destroy(self._find)


class Link:
    """The connection to one source: made when the source appears, made again when it breaks or falls silent.

    While pictures come, nothing is asked: discovery may forget a source that is well, or list it elsewhere.
    libndi never asks who answers at an address: after a sender's death whoever takes its port is shown in its place.
    So a connection that breaks is given up at once, and the same name at the same address isn't believed until word
    of the death must have got round. A connection whose host lost power never breaks; so one that brings nothing for
    two seconds is made anew.

    Attributes:
        name: the source's full name once it is found, until then what was asked for.
        state: "waiting", "connected" or "silent", see `base.Source`; logged whenever it changes.
        receiver: libndi's handle; another one after each `look` that made a new connection.

    Raises:
        RoomError: `address` begins with "@" and is not host:port.
    """

    def __init__(self, address: str, options: Options) -> None:
        self.name = address
        self.state = "waiting"
        self._fixed = ("", resolve(address[1:])) if address.startswith("@") else None
        self._lib = _libndi.load()
        self._options = options
        self._finder = Finder()
        self.receiver = self._receiver()
        self._target: tuple[str, str] | None = None  # (name, address) that a connection was asked for to
        self._online = False
        self._broken: tuple[str, str] | None = None
        self._broke = -math.inf
        self._patience = PATIENCE
        self._begun = self._tried = self._heard = time.monotonic()
        self._next_look = 0.0
        self._sends = ""
        self._told = False
        self._lost = 0

    def look(self, now: float) -> None:
        """Every 0.1 s, unless pictures come: connect to where the source is now, leave where it no longer is."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK
        was_online, self._online = self._online, self._lib.NDIlib_recv_get_no_connections(self.receiver) > 0
        if self._online and now - self._heard < self._patience:
            return
        if was_online and not self._online:
            self._broken, self._broke = self._target, now
            self._finder.forget()
        target = self._fixed or self._locate(now)
        if target == self._broken and now - self._broke < (LOOK if self._fixed else DISTRUST):
            target = None
        if target is None:
            self._become("waiting")
        if target != self._target:
            self._connect(target, now)
        elif target and now - max(self._heard, self._tried) > self._patience:
            self._become("silent" if self._online else "waiting")
            self._connect(target, now)

    def heard(self, now: float, sends: str, period: float) -> None:
        """A picture came: `sends` describes it, `period` is its duration in seconds (0: unknown)."""
        self._heard = now
        self._patience = max(PATIENCE, 3 * period)
        if sends != self._sends or self.state != "connected":
            log.info("ndi:%s sends %s", self.name, sends)
        self.state, self._sends = "connected", sends

    def lost(self) -> int:
        """Pictures for which libndi's queue had no room, since this link was made."""
        lost = _libndi.Performance()
        self._lib.NDIlib_recv_get_performance(self.receiver, None, C.byref(lost))
        return int(lost.video) + self._lost

    def close(self) -> None:
        self._dispose().join(1.0)
        self._finder.close()

    def _receiver(self) -> int:
        create = _libndi.Recv(_libndi.NDISource(), _libndi.FASTEST, _libndi.HIGHEST, True, self._options.name.encode())
        receiver: int | None = self._lib.NDIlib_recv_create_v3(C.byref(create))
        if not receiver:
            raise RoomError(f"ndi:{self.name}: libndi makes no receiver")
        # libndi keeps both and sends them with every connection
        self._lib.NDIlib_recv_set_tally(receiver, C.byref(_libndi.Tally(program=True)))
        self._lib.NDIlib_recv_add_connection_metadata(receiver, C.byref(product(self._options)))
        return receiver

    def _dispose(self) -> threading.Thread:
        """Destroy the receiver in a thread: libndi waits up to 16 s for a dead peer's goodbye.

        Not later, when that would be quick: until it is destroyed, libndi goes on reconnecting it in secret.
        """
        thread = threading.Thread(target=self._lib.NDIlib_recv_destroy, args=(self.receiver,), name="l2s-ndi-close")
        # the one daemon in this house: it does nothing but wait, and the end of the show must not wait with it
        thread.daemon = True
        thread.start()
        return thread

    def _locate(self, now: float) -> tuple[str, str] | None:
        """(full name, address) of the source now; once found it stays this one, whoever else is called so."""
        sources = self._finder.sources()
        wanted = self.name.casefold()
        for name in sorted(sources):
            if name.casefold() == wanted or name.casefold().endswith(f" ({wanted})"):
                self.name = name
                return name, sources[name]
        if not (self._told or self._sends) and now - self._begun > 1:
            self._told = True
            there = ", ".join(f"ndi:{name}" for name in sorted(sources)) or "no other source"
            log.warning("ndi:%s isn't on the network yet, waiting for it; there is %s", self.name, there)
        return None

    def _connect(self, target: tuple[str, str] | None, now: float) -> None:
        """Leave the present target, if any, and go to `target`, if any."""
        if self._target:
            self._lost = self.lost()
            self._dispose()
            self.receiver = self._receiver()
        if target:
            name, address = target
            source = _libndi.NDISource(name.encode() or None, address.encode() or None)
            self._lib.NDIlib_recv_connect(self.receiver, C.byref(source))
        self._target, self._tried, self._online = target, now, False

    def _become(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        if state == "silent":
            log.warning("ndi:%s is there but sends no pictures", self.name)
        else:
            log.warning("ndi:%s is gone; waiting for its return", self.name)


def product(options: Options) -> _libndi.Metadata:
    """Who is at this end of a connection, in the element that NDI reserves for that."""
    facts = {
        "long_name": "l2s-node",
        "short_name": "l2s",
        "manufacturer": "l2s-node",
        "version": options.version,
        "session_name": options.name,
    }
    text = " ".join(f"{key}={quoteattr(value)}" for key, value in facts.items())
    return _libndi.Metadata(timecode=_libndi.SYNTHESIZE, data=f"<ndi_product {text}/>".encode())


def resolve(text: str) -> str:
    """ "host:port" with the host as a number, looked up once: a name server must never hold up a frame.

    Raises:
        RoomError: it is no address, or there is no such host.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise RoomError(f"ndi:@{text}: an address is a host and a port, as in ndi:@192.168.1.20:5961")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError as err:
        raise RoomError(f"ndi:@{text}: there is no host {host!r}; give its number") from err


def no_discovery() -> str | None:
    """Why nobody is found by name here, in one sentence with the remedy; None where discovery works.

    On Linux libndi leaves discovery to Avahi, over D-Bus; listed hosts or a discovery server in NDI's own
    configuration do as well. Elsewhere libndi needs nothing.
    """
    if sys.platform != "linux" or Path("/run/avahi-daemon/pid").exists():
        return None
    config = Path(os.environ.get("NDI_CONFIG_DIR") or Path.home() / ".ndi") / "ndi-config.v1.json"
    try:
        networks = json.loads(config.read_text())["ndi"]["networks"]
        if networks.get("ips") or networks.get("discovery"):
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # no configuration, or none that names anybody
    return (
        "NDI finds nobody by name here, because Avahi isn't running: sudo apt install avahi-daemon "
        f"(or list hosts in {config}, or use ndi:@host:port)"
    )


@functools.cache
def advise() -> None:
    """Log what `no_discovery` says, once."""
    if advice := no_discovery():
        log.warning(advice)
