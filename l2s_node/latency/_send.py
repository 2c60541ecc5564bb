"""Sending: pictures of blocks at a rate of their own, and when each of them went off."""

from __future__ import annotations

import threading
import time

import numpy as np

from l2s_node.clock import Ticker
from l2s_node.errors import RoomError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.latency._blocks import BLOCKS, CODES, paint
from l2s_node.video.base import Options, Sink

Log = list[tuple[float, np.ndarray, int]]
"""What was sent: when, blocks, number or -1."""


class Sender:
    """Sends pictures of blocks from a thread of its own, ``l2s-send``, until `close`.

    Attributes:
        log: (when, code of twelve -1 and 1, number or -1) of every picture sent, oldest first.
    """

    def __init__(self, sink: Sink, options: Options) -> None:
        self.log: Log = []
        self._sink, self._options = sink, options
        self._code: np.ndarray | None = np.full(BLOCKS, -1, np.int8)
        self._failed: RoomError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="l2s-send")
        self._thread.start()

    def show(self, code: np.ndarray | None) -> None:
        """From the next picture on: these blocks; None for numbers that count up."""
        self._code = code
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        width, height = self._options.size
        planes = [blank(PixelFormat.UYVY, width, height) for _ in range(3)]  # a sink may still be sending the last two
        ticker, count = Ticker(float(self._options.rate), time.monotonic()), 0
        while not self._stop.wait(ticker.due(time.monotonic())):
            ticker.advance(time.monotonic())
            code, number = self._code, -1
            if code is None:
                number = count % len(CODES)
                code, count = CODES[number], count + 1
            turn = planes[len(self.log) % 3]
            paint(turn[0], code)
            now = time.monotonic()
            frame = Frame(turn, PixelFormat.UYVY, width, height, now, len(self.log), self._options.rate)
            self.log.append((now, code, number))
            try:
                self._sink.write(frame)
            except RoomError as err:
                self._failed = err
                return
