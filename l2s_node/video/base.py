"""The shape of a room: what a module of `video/` exports, who calls it, on which thread.

A room is a module beside this one that exports exactly four public names:

    missing() -> str | None     why the room can't be used here and the remedy, in one sentence; None when it can
    names() -> list[str]        what can be opened right now ("ndi:HOST (cam)", "camera:0", …), full URIs
    Source(address, options)    see `Source`
    Sink(address, options)      see `Sink`

A room that only sends or only receives still exports both; the one it lacks raises `RoomError` with the reason, which
is its class attribute ``refuses``.
Rooms import no torch, convert no pixels and don't know each other. `sys.platform` is asked only here, in rooms.

Threads: `read`, `write` and `close` are called by one thread, the node's main thread, except that a source with
``blocks = True`` is read by the node's `l2s-read` thread instead (files and cameras decode for milliseconds).
A room that needs a thread of its own names it ``l2s-…`` and joins it in `close`.

Orientation is a contract: row 0 is the top of the picture. A room turns a foreign orientation round itself.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from l2s_node.frame import Frame, PixelFormat

SYSTEM: str = sys.platform
"""What this machine runs, as Python and pip name it: "linux", "darwin" for macOS, "win32" for Windows."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the node tells a room when it opens it.

    Attributes:
        name: this node's name ("l2s"), for metadata and for windows.
        version: this node's version.
        rate: frames a second that a sink should announce first, and that a source without a rate of its own makes.
        size: (width, height) that a sink should announce first, and that a source without a size of its own makes.
        channel: which of several channels this is for; "" for the only one.
        osc: UDP port that the node listens on; 0 for none.
        lan: it listens beyond this machine.
    """

    name: str = "l2s"
    version: str = "0"
    rate: Fraction = Fraction(30)
    size: tuple[int, int] = (1280, 720)
    channel: str = ""
    osc: int = 0
    lan: bool = False


class Source(Protocol):
    """Where pictures come from.

    Attributes:
        uri: the full URI, as `names` would list it ("ndi:HOST (cam)" once it is found).
        state: "waiting" (nothing there yet), "connected" (pictures come), "silent" (there, but sends nothing),
            "ended" (a source that plays once is over). Changes are logged by the room, once each.
        dropped: pictures that arrived and were passed over because a newer one was there.
        blocks: `read` may take milliseconds of work (decoding); the node then reads in a thread of its own.
    """

    uri: str
    state: str
    dropped: int
    blocks: bool

    def read(self, timeout: float) -> Frame | None:
        """The newest picture not read before, waiting at most `timeout` seconds; None when there is none.

        The frame's planes stay valid until two more pictures have been read (a source that `blocks` hands out planes
        that it never writes to again, since it is read ahead of the frame loop). Never raises because a source is
        absent, dies or changes size, rate or format: those are states, and the room finds the source again by itself.
        """
        ...

    def close(self) -> None:
        """Release the device; joins the room's own threads. Called exactly once."""
        ...


class Sink(Protocol):
    """Where pictures go.

    Attributes:
        uri: the full URI.
        format: the pixel format that `write` takes (the node composes straight into it); a sink of UYVA takes opaque
            pictures as UYVY. Of textures it is RGBX, or RGBA where their alpha matters.
        dropped: pictures that the sink could not take in time.
        live: it shows what goes out now, from the first second on; a recording (False) begins when pictures come in.

    Two class attributes may be left away where they are False:
        textures: it takes textures and nothing else (see `l2s_node.texture`).
        waits: `write` may wait for a display; it is given its picture when all others have theirs.
    """

    uri: str
    format: PixelFormat
    dropped: int
    live: bool

    def write(self, frame: Frame) -> None:
        """Send one picture and return at once. The planes may be reused as soon as the next `write` returns.

        A new size or rate is just another frame: the room adapts.

        Raises:
            RoomError: the device is gone for good; the node says so once and goes on without this sink.
            ClosedError: its user closed it; likewise, and when it was the last one the run ends as it should.
        """
        ...

    def close(self) -> None:
        """Finish what was begun (a file gets its trailer) and release the device. Called exactly once."""
        ...
