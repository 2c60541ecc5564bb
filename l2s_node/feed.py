"""Feed: the pictures that the frame loop plays, at their pace, and what stands in for them while there are none."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from fractions import Fraction

from l2s_node.clock import Ticker
from l2s_node.config import RunConfig
from l2s_node.frame import Frame
from l2s_node.reader import Reader
from l2s_node.video import open_source
from l2s_node.video.base import Options, Source

log = logging.getLogger(__name__)

LATE = 1.5
"""Following the source, a picture that is this many periods late is replaced by a repeated one."""
PLAYING_SLICE = 0.05
"""Longest wait for a picture in one go, seconds, so that a signal is noticed soon."""
FOLLOWED = (1, 240)
"""Frames a second that a source may state to be followed: the output must go on at a usable rate when it is lost."""


class Feed:
    """The source of one run, opened from construction until `close`; lives on the frame loop's thread.

    Attributes:
        rate: frames a second of the output: the settings', or else the source's.
        last: the newest picture there is, kept while no other comes; None before the first.
        new: `last` came with the last call of `take`.
        count: pictures that came.
    """

    def __init__(self, config: RunConfig, options: Options) -> None:
        """Open ``config.source``.

        Raises:
            RoomError: it can't be opened. A source that may still come (NDI, a camera) is no error.
        """
        self._options = options
        self._on_loss = config.on_loss
        self._follows = config.fps is None
        self.rate: Fraction = options.rate
        self.last: Frame | None = None
        self.new = False
        self.count = 0
        self._size = options.size
        self._passed_over = 0
        self._newest: Frame | None = None
        self._stand_in: Source | None = None
        self._stand_in_size = options.size
        source = open_source(config.source, options)
        self._source: Source = Reader(source) if source.blocks else source
        self._ticker = Ticker(float(self.rate), time.monotonic())

    @property
    def uri(self) -> str:
        return self._source.uri

    @property
    def state(self) -> str:
        """See `video.base.Source`."""
        return self._source.state

    @property
    def dropped(self) -> int:
        """Pictures that were passed over because a newer one was there."""
        return self._source.dropped + self._passed_over

    @property
    def lost(self) -> bool:
        """There is no source to be seen now."""
        return self.state in ("waiting", "silent") and not self.new

    @property
    def over(self) -> bool:
        """The source has ended, and its last picture was played."""
        return self.state == "ended" and not self.new

    def next(self, stop: threading.Event) -> Frame | None:
        """Wait until a picture is to be played, or `stop` is set, and take it."""
        while not stop.is_set() and not self.ready(PLAYING_SLICE):
            pass
        return self.take()

    def ready(self, longest: float) -> bool:
        """Whether a picture is to be played now; waits for that, but at most `longest` seconds.

        Following the source, a picture is the tick; at a fixed rate the newest one is played at each tick.
        """
        patience = (LATE - 1) * self._ticker.period if self._follows else 0.0
        due = self._ticker.due(time.monotonic()) + patience
        frame = self._source.read(min(due, longest))
        self._passed_over += frame is not None and self._newest is not None
        self._newest = frame or self._newest
        now = time.monotonic()
        if self._follows and frame is not None:
            self._ticker.restart(now)
            return True
        if now >= self._ticker.next + patience:
            self._ticker.advance(now)
            return True
        return False

    def take(self) -> Frame | None:
        """The picture to play now: the newest there is, the last one again, or None where nothing ever came."""
        frame, self._newest = self._newest, None
        self.new = frame is not None
        if frame is not None:
            self.last = frame
            self._size = frame.size
            self.count += 1
            self._follow_rate(frame)
        elif self.lost and self._on_loss == "pattern":
            self.last = self._pattern().read(0.0) or self.last
        return self.last

    def close(self) -> None:
        """Close the source."""
        self._source.close()
        if self._stand_in is not None:
            self._stand_in.close()

    def _follow_rate(self, frame: Frame) -> None:
        rate = frame.rate
        if not self._follows or rate is None or rate == self.rate or not FOLLOWED[0] <= rate <= FOLLOWED[1]:
            return
        log.info("the source sends %.5g frames a second; so does this node", float(rate))
        self.rate = rate
        self._ticker.period = 1 / float(rate)

    def _pattern(self) -> Source:
        """The stand-in, of the size that the source had, so that neither the output nor the world's canvas jumps."""
        if self._stand_in is None or self._stand_in_size != self._size:
            if self._stand_in is not None:
                self._stand_in.close()
            options = dataclasses.replace(self._options, size=self._size, rate=self.rate)
            self._stand_in, self._stand_in_size = open_source("pattern:table", options), self._size
        return self._stand_in
