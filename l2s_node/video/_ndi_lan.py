"""Which l2s nodes are on the NDI network: every source is asked what program it is. For the room `ndi` and `doctor`.

A sender tells who it is to whoever connects, as connection metadata; a connection for metadata alone costs the network
nothing to speak of.
"""

from __future__ import annotations

import ctypes as C
import time
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from l2s_node.video import _libndi
from l2s_node.video._ndi_link import Finder, advise
from l2s_node.video.base import Options

ELEMENT = "l2s_node"


@dataclass(frozen=True, slots=True)
class Peer:
    """An NDI sender of an l2s node.

    Attributes:
        source: "HOST (l2s)".
        address: of its host, an IP address.
        name: the node's name.
        version: of l2s-node.
        channel: of several, "cam1"; "" for the only one.
        osc: UDP port that it listens on; 0 for none.
        open: its OSC answers other machines, too.
    """

    source: str
    address: str
    name: str
    version: str
    channel: str
    osc: int
    open: bool


def about(options: Options) -> _libndi.Metadata:
    """What an l2s node tells of itself to whoever connects to one of its senders."""
    facts = {
        "name": options.name,
        "version": options.version,
        "channel": options.channel,
        "osc": str(options.osc),
        "open": str(int(options.lan)),
    }
    text = " ".join(f"{key}={quoteattr(value)}" for key, value in facts.items())
    return _libndi.Metadata(timecode=_libndi.SYNTHESIZE, data=f"<{ELEMENT} {text}/>".encode())


def peers(seconds: float = 3.0) -> tuple[list[Peer], list[str]]:
    """(senders of l2s nodes, names of all other sources), after listening for `seconds`.

    Raises:
        RoomError: libndi can't be used here.
    """
    advise()
    finder = Finder()
    asked: dict[str, _Asked] = {}
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            for name, address in finder.sources().items():
                if name not in asked:
                    asked[name] = _Asked(name, address)
            for each in asked.values():
                each.listen()
            time.sleep(0.02)
        found = [each.peer for each in asked.values() if each.peer]
        return sorted(found, key=lambda p: p.source), sorted(n for n, each in asked.items() if not each.peer)
    finally:
        for each in asked.values():
            each.close()
        finder.close()


class _Asked:
    """A connection to one source, for its metadata alone.

    Attributes:
        peer: what it said of itself; None as long as it isn't known for a node.
    """

    def __init__(self, source: str, address: str) -> None:
        self.peer: Peer | None = None
        self._source, self._address = source, address
        self._lib = _libndi.load()
        target = _libndi.NDISource(source.encode(), address.encode() or None)
        create = _libndi.Recv(target, _libndi.FASTEST, _libndi.METADATA_ONLY, True, b"l2s doctor")
        self._receiver = self._lib.NDIlib_recv_create_v3(C.byref(create))

    def listen(self) -> None:
        """Take what has come; returns at once."""
        frame = _libndi.Metadata()
        while self._receiver and self._lib.NDIlib_recv_capture_v3(self._receiver, None, None, C.byref(frame), 0):
            if not frame.data:
                return  # news about the connection
            self.peer = self.peer or _read(frame.data, self._source, self._address)
            self._lib.NDIlib_recv_free_metadata(self._receiver, C.byref(frame))
            frame = _libndi.Metadata()

    def close(self) -> None:
        if self._receiver:
            self._lib.NDIlib_recv_destroy(self._receiver)


def _read(data: bytes, source: str, address: str) -> Peer | None:
    """What a stranger sent as one element of XML, if it is that of a node."""
    if not data.startswith(f"<{ELEMENT} ".encode()) or len(data) > 2000:
        return None
    try:
        facts = ElementTree.fromstring(data).attrib
    except ElementTree.ParseError:
        return None
    port = facts.get("osc", "")
    return Peer(
        source,
        address.rpartition(":")[0],
        facts.get("name", ""),
        facts.get("version", ""),
        facts.get("channel", ""),
        int(port[:5]) if port.isdecimal() and int(port[:5]) < 65536 else 0,
        facts.get("open") == "1",
    )
