"""Preview: still pictures that change now and then, such as a training's contact sheets, as a source on any screen.

A thread of its own, `l2s-preview`, opens the sink, feeds it and closes it: whatever a receiver or a disk does, whoever
shows a picture waits for nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from l2s_node import __version__
from l2s_node.errors import L2SError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.latest import Latest
from l2s_node.outlet import Outlet
from l2s_node.video import open_sink
from l2s_node.video.base import Options, Sink

RATE = Fraction(10)
"""Pictures a second that a live sink is given, the same one again and again: who tunes in sees it at once."""

Pixels = NDArray[np.uint8]

log = logging.getLogger(__name__)


class Preview:
    """Shows the newest picture on the sink `uri`, black before the first one; a recording gets each picture once.

    Raises:
        RoomError: the sink can't be opened.
    """

    def __init__(self, uri: str, name: str = "l2s train") -> None:
        self._uri, self._name = uri, name
        self._pictures: Latest[Pixels] = Latest()
        self._opened = threading.Event()
        self._ending = threading.Event()
        self._refused: L2SError | None = None
        self._thread = threading.Thread(target=self._run, name="l2s-preview")
        self._thread.start()
        self._opened.wait()
        if self._refused is not None:
            self._thread.join()
            raise self._refused

    def show(self, picture: Pixels) -> None:
        """From now on show `picture` ``(h, w, 3)`` RGB, which must stay as it is. Never waits."""
        self._pictures.put(picture)

    def __enter__(self) -> Preview:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sink."""
        self._ending.set()
        self._pictures.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            sink = open_sink(self._uri, Options(name=self._name, version=__version__, rate=RATE))
        except L2SError as err:
            self._refused = err
            return
        finally:
            self._opened.set()
        log.info("the contact sheet of the moment is shown on %s", sink.uri)
        outlet = Outlet()
        try:
            self._feed(sink, outlet)
        except L2SError as err:
            log.warning("no preview any more: %s", err)
        finally:
            outlet.close()
            sink.close()

    def _feed(self, sink: Sink, outlet: Outlet) -> None:
        frame = _frame(blank(PixelFormat.UYVY, 1280, 720)[0], 0)
        while not self._ending.is_set():
            newest = self._pictures.take(float(1 / RATE))
            if newest is not None:
                frame = _frame(_uyvy(newest), frame.number + 1)
            if newest is not None or sink.live:
                outlet.put(frame)
                sink.write(outlet.taken(sink))


def _uyvy(picture: Pixels) -> Pixels:
    """``(h, 2w)``; an odd last column is cut off."""
    from l2s_node.picture import uyvy  # imports torch, which the source is there before
    from l2s_node.picture.buffers import Buffers
    from l2s_node.picture.colour import standard_for

    height, width = picture.shape[0], picture.shape[1] // 2 * 2
    out = np.empty((height, 2 * width), np.uint8)
    even = np.ascontiguousarray(picture[:, :width])
    uyvy.pack_pixels(even, uyvy.yuv_affine(standard_for(width, height)), out, Buffers())
    return out


def _frame(plane: Pixels, number: int) -> Frame:
    height, width = plane.shape[0], plane.shape[1] // 2
    return Frame((plane,), PixelFormat.UYVY, width, height, time.monotonic(), number, RATE)
