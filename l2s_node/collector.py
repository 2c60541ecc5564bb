"""Collector: Python's search for objects that hold each other, during which no thread runs, kept short in a show.

The more has lived for long, the longer it is searched: 0.1 to 0.3 s, again and again, while a compiler is imported.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEVER = (1 << 31) - 1
"""More rounds of young objects than there will ever be before one of the old."""


def keep() -> None:
    """What is there now stays for good, and is not searched any more. It takes no time."""
    gc.freeze()


@contextmanager
def put_off() -> Iterator[None]:
    """Nothing is searched for within, for milliseconds. One thread at a time."""
    usual = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if usual:
            gc.enable()


class YoungOnly:
    """A context manager for any threads: while one is within, only young objects are searched, a matter of
    milliseconds. The old ones' turn comes after it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._usual = gc.get_threshold()

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._usual = gc.get_threshold()
                gc.set_threshold(*self._usual[:2], NEVER)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                gc.set_threshold(*self._usual)


YOUNG_ONLY = YoungOnly()
"""The process's one."""
