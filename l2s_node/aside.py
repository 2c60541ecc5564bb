"""Aside: worlds compiled in a process of their own, so that frames don't wait for Python meanwhile.

torch's compiler is Python for most of a minute, and a frame loop beside it waits for its turn at every step. What
another process has compiled lies in torch's cache; this one takes it from there in seconds.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import psutil

from l2s_node.config import RunConfig
from l2s_node.errors import EngineError

log = logging.getLogger(__name__)

NICE: int = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)
"""Priority of the process, below the show's; Windows has names for it."""


class Aside:
    """Runs `l2s build`; from any threads."""

    def __init__(self, config: RunConfig) -> None:
        """`config`: the show's, whose precision and canvas are built."""
        self._config = config
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def build(self, world: str, engine: str, frame: tuple[int, int], channels: int = 1) -> None:
        """Compile a world, "flowers/small" or a file, for `frame` (width, height), for one channel and for so many.

        Where that fails, the log says why.

        Raises:
            EngineError: `close` was called.
        """
        command = [sys.executable, "-m", "l2s_node", "build", world, *self._options(engine, frame, channels)]
        with self._lock:
            if self._closed:
                raise EngineError("the show is over")
            log.info("%s is compiled for this GPU in a process of its own, which may take a minute", world)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._running.add(process)
        try:
            psutil.Process(process.pid).nice(NICE)
        except psutil.Error:
            log.debug("the process that compiles has ended already, or keeps its priority")
        said = process.communicate()[1].strip()
        with self._lock:
            self._running.remove(process)
            if self._closed:
                raise EngineError("the show is over")
        if process.returncode:
            last = said.splitlines()[-1] if said else f"it ended with {process.returncode}"
            log.warning("%s is compiled within the show, which frames may feel: %s", world, last)

    def close(self) -> None:
        """End what runs, and build no more."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _options(self, engine: str, frame: tuple[int, int], channels: int) -> list[str]:
        config, canvas = self._config, self._config.canvas
        return [
            "--engine", engine, "--precision", config.precision, "--device", config.device, "--no-looks",
            "--frame", "{}x{}".format(*frame), "--canvas", "{}x{}".format(*canvas) if canvas else "auto",
            "--channels", str(channels),
        ]  # fmt: skip
