"""Reader: the thread `l2s-read`, for sources whose `read` works for milliseconds (files, cameras)."""

from __future__ import annotations

import threading

from l2s_node.frame import Frame
from l2s_node.latest import Latest
from l2s_node.video.base import Source

PATIENCE = 0.1
"""Seconds that one `read` may wait, so that the thread notices soon that it is to stop."""


class Reader:
    """A source of the shape of `video.base.Source` that reads another one in a thread. Newest wins, drops counted."""

    blocks = False

    def __init__(self, source: Source) -> None:
        self._source = source
        self.uri, self.state, self.dropped = source.uri, source.state, source.dropped
        self._box: Latest[Frame] = Latest()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="l2s-read")
        self._thread.start()

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source.read`; waits without working. A source whose thread broke off has ended."""
        # before the box is looked into: whoever reads "ended" has then been given the last picture
        state = self._source.state if self._thread.is_alive() else "ended"
        frame = self._box.take(timeout)
        self.uri, self.state = self._source.uri, state
        self.dropped = self._source.dropped + self._box.dropped
        return frame

    def close(self) -> None:
        """Stop, join, then close the source."""
        self._stop.set()
        self._thread.join()
        self._source.close()

    def _run(self) -> None:
        while not self._stop.is_set() and self._source.state != "ended":
            frame = self._source.read(PATIENCE)
            if frame is not None:
                self._box.put(frame)
