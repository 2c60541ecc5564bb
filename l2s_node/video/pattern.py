"""The room `pattern:`: pictures made here, so that a show can be rehearsed without a camera.

``pattern:table`` (the default) is a table seen from above with things moving on it, ``pattern:bars`` colour bars and
a grey ramp, ``pattern:noise`` moving grey noise.
"""

from __future__ import annotations

import difflib
import time

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.video._pace import Pace, even
from l2s_node.video._paint import PAINTERS
from l2s_node.video.base import Options


def missing() -> str | None:
    """Always None: it needs nothing."""
    return None


def names() -> list[str]:
    """The URI of every pattern."""
    return [f"pattern:{name}" for name in PAINTERS]


class Source:
    """UYVY pictures of `options.size` at `options.rate`, each a function of its time since the first `read`.

    Raises:
        NotFoundError: no such pattern.
    """

    blocks = False

    def __init__(self, address: str, options: Options) -> None:
        name = address.strip().lower() or "table"
        if name not in PAINTERS:
            close = difflib.get_close_matches(name, PAINTERS, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise NotFoundError(f"there is no pattern {address!r}{hint}; there are {', '.join(PAINTERS)}")
        self.uri = f"pattern:{name}"
        self.state = "connected"
        self.dropped = 0
        self._size = even(options.size)
        self._painter = PAINTERS[name](*self._size)
        # two canvases in turn: a frame stays valid until the next-but-one read
        self._canvases = [blank(PixelFormat.UYVY, *self._size) for _ in range(2)]
        self._painted = 0
        self._pace = Pace(options.rate)

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`."""
        number = self._pace.next(timeout)
        if number is None:
            return None
        self.dropped = self._pace.dropped
        planes = self._canvases[self._painted % 2]
        self._painted += 1
        seconds = time.monotonic()
        self._painter.paint(planes[0], float(number / self._pace.rate), number)
        return Frame(planes, PixelFormat.UYVY, *self._size, seconds, number, self._pace.rate)

    def close(self) -> None:
        """Nothing to release."""


class Sink:
    """This room only makes pictures."""

    format = PixelFormat.UYVY
    refuses = "a pattern only makes pictures; send them to ndi:NAME, file:out.mp4 or null:"

    def __init__(self, address: str, options: Options) -> None:
        raise RoomError(self.refuses)

    def write(self, frame: Frame) -> None:
        """Never called: there is no such sink."""

    def close(self) -> None:
        """Never called: there is no such sink."""
