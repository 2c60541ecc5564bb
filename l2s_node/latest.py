"""Latest: a mailbox with one slot. Newest wins; what nobody took in time is counted, never queued."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """One slot between a thread that puts and a thread that takes.

    `dropped` counts the items that a newer one replaced before anybody took them.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        """Replace what is in the slot. Never blocks."""
        with self._ready:
            if self._item is not None:
                self.dropped += 1
            self._item = item
            self._ready.notify()

    def take(self, timeout: float = 0.0) -> T | None:
        """The newest item, at most once; None when none came within `timeout` seconds or the box was closed."""
        with self._ready:
            if self._item is None and timeout > 0 and not self._closed:
                self._ready.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake whoever waits; later `take` calls return at once."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
