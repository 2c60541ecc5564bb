"""Preparer: what the frame loop will want of the GPU is got ready beside it, one thing after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Preparer:
    """Does one job after the other on a thread, `l2s-graph` or `l2s-choir`, that lives as long as there are any."""

    def __init__(self, name: str = "graph") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._urgent: deque[Callable[[], None]] = deque()
        self._patient: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, job: Callable[[], None], *, urgent: bool) -> None:
        """Do `job` soon, urgent ones first. It may ask for others; once closed, nothing is begun."""
        with self._lock:
            if self._closed:
                return
            (self._urgent if urgent else self._patient).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"l2s-{self._name}")
                self._thread.start()

    @property
    def busy(self) -> bool:
        """Something is being done or waits."""
        return self._thread is not None

    def settle(self) -> None:
        """Wait until everything is done."""
        while (thread := self._thread) is not None:
            thread.join()

    def close(self) -> None:
        """Let go of what waits, and wait for what is being done."""
        with self._lock:
            self._closed = True
            self._urgent.clear()
            self._patient.clear()
        self.settle()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None  # a job failed, and whoever waits for it would wait for ever

    def _next(self) -> Callable[[], None] | None:
        """The next job; None where there is none, and then the thread ends."""
        with self._lock:
            waiting = self._urgent or self._patient
            if waiting:
                return waiting.popleft()
            self._thread = None
            return None
