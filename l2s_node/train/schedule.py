"""Schedule: how far a training is, by images and by the clock, and when to look at its losses."""

from __future__ import annotations

import time

from l2s_node.train.checkpoint import Progress
from l2s_node.train.settings import TrainSettings

LOOK = 25
"""Most steps between looks at the losses; each makes the host wait for the device."""

LOOK_SECONDS = 1.0
"""A slow device is looked at more often: nothing that is due may wait for long."""


class Schedule:
    """Fits a training into the time and the images it was given.

    The clock runs from `began`, when the command started. What passes until the first step is taken is gone: the
    parts of the schedule are spread over what is left.

    Attributes:
        progress: how far it is.
        part: the same as part of the whole, 0…1 and over: the learning rates go by it.
        steps: taken in this sitting.
    """

    def __init__(self, settings: TrainSettings, progress: Progress, began: float) -> None:
        self.progress = progress
        self.steps = 0
        self._total, self._images = settings.seconds, settings.images
        self._began = began - progress.seconds
        self._start: tuple[float, int, float] | None = None  # seconds, images and part when steps began
        self._looked, self._since, self._stride = 0.0, 0, 1
        self.part = max(self._by_images(), progress.seconds / self._total if self._total else 0.0)

    def clock(self) -> float:
        """Seconds that the training has had, over all its sittings."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Images a second of this sitting, from the second look on."""
        if self._start is None:
            return 0.0
        return (self.progress.images - self._start[1]) / max(self.progress.seconds - self._start[0], 1e-9)

    def stepped(self, images: int) -> bool:
        """Count a step; True when it is time to look at its losses. Processes that step together count the same."""
        self.steps += 1
        self._since += 1
        self.progress.images += images
        self.part = max(self.part, self._by_images())
        return self._since >= self._stride or self.part >= 1

    def looked(self, now: float) -> None:
        """The losses were looked at when the clock said `now`: so far it is, and so often it is looked at."""
        seconds, steps = now - self._looked, self._since
        self._looked, self._since = now, 0
        self.progress.seconds = now
        if self._start is None:  # the first step took what compiling takes, and tells nothing of the next ones
            self._start = now, self.progress.images, self.part
            return
        self._stride = max(1, min(LOOK, int(LOOK_SECONDS * steps / max(seconds, 1e-9))))
        if self._total is not None:
            start, _, part = self._start
            left = max(self._total - start, 1e-9)
            self.part = max(self.part, part + (1 - part) * (now - start) / left)

    def go_back(self, good: Progress) -> None:
        """To `good`, an earlier progress; the clock goes on."""
        self.progress.images, self.progress.losses = good.images, good.losses
        if self._total is None:
            self.part = self._by_images()
        if self._start is not None:
            self._start = self.clock(), good.images, self.part
        self._looked, self._since = self.clock(), 0

    def _by_images(self) -> float:
        return self.progress.images / self._images if self._images else 0.0
