"""The room `null:`: a source of black pictures and a sink that counts and forgets. For bench and tests."""

from __future__ import annotations

import time

from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.video._pace import Pace, even
from l2s_node.video.base import Options


def missing() -> str | None:
    """Always None: it needs nothing."""
    return None


def names() -> list[str]:
    """The one URI of this room."""
    return ["null:"]


class Source:
    """Black UYVY pictures of `options.size` at `options.rate`; the address means nothing."""

    blocks = False

    def __init__(self, address: str, options: Options) -> None:
        self.uri = "null:"
        self.state = "connected"
        self.dropped = 0
        self._size = even(options.size)
        self._planes = blank(PixelFormat.UYVY, *self._size)
        self._pace = Pace(options.rate)

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`. Every frame shares the same planes."""
        number = self._pace.next(timeout)
        if number is None:
            return None
        self.dropped = self._pace.dropped
        return Frame(self._planes, PixelFormat.UYVY, *self._size, time.monotonic(), number, self._pace.rate)

    def close(self) -> None:
        """Nothing to release."""


class Sink:
    """Takes pictures of any size and drops them.

    Attributes:
        frames: pictures taken so far.
    """

    format = PixelFormat.UYVY
    live = True

    def __init__(self, address: str, options: Options) -> None:
        self.uri = "null:"
        self.dropped = 0
        self.frames = 0

    def write(self, frame: Frame) -> None:
        """Count the picture."""
        self.frames += 1

    def close(self) -> None:
        """Nothing to release."""
