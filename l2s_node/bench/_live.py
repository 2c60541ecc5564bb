"""Live: a node in a process of its own, as it runs on stage, for the verbs that measure from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from l2s_node.errors import RoomError

FIRST_PORT = 5961
"""From here on libndi's senders take free TCP ports, one a sender (5960 is discovery's)."""
PATIENCE = 60.0
"""Seconds for torch to be imported and the first world to play."""


class Live:
    """A running node.

    Attributes:
        summary: its numbers, filled when it has ended.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path, summary: Path) -> None:
        self.process = process
        self.summary: dict[str, Any] = {}
        self._log, self._summary = log, summary

    def said(self) -> str:
        """All that it printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self, text: str, patience: float = PATIENCE, times: int = 1) -> None:
        """Until it has printed `text` so many times.

        Raises:
            RoomError: it didn't, or it ended.
        """
        end = time.monotonic() + patience
        while self.said().count(text) < times:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RoomError(f"the node for the measurement said no {text!r}: {self.said()[-500:].strip()}")
            time.sleep(0.05)

    def port(self) -> int:
        """The TCP port that its NDI sender serves on."""
        return sender_port(self.process.pid)

    def end(self) -> None:
        """Stop it properly, and take its numbers."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        if not self._summary.exists():
            raise RoomError(f"the node for the measurement failed: {self.said()[-500:].strip()}")
        self.summary = json.loads(self._summary.read_text(encoding="utf-8"))


@contextmanager
def live(*options: str, name: str = "l2s-bench") -> Iterator[Live]:
    """A node with these options, without page; its `summary` is there when it is left."""
    with tempfile.TemporaryDirectory() as folder:
        log, summary = Path(folder) / "log", Path(folder) / "summary.json"
        command = [sys.executable, "-m", "l2s_node", "run", "--name", name, "--panel", "0", "--summary", str(summary)]
        if "--osc" not in options:
            command += ["--osc", "0"]
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen([*command, *options], stdout=out, stderr=subprocess.STDOUT, text=True)
            node = Live(process, log, summary)
            try:
                yield node
                node.end()
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()


def sender_port(pid: int, patience: float = 20.0, known: frozenset[int] = frozenset()) -> int:
    """The TCP port that the NDI sender of a process serves its pictures on, none of those `known`.

    Raises:
        RoomError: it serves none.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end and psutil.pid_exists(pid):
        found = sender_ports(pid) - known
        if found:
            return min(found)
        time.sleep(0.05)
    raise RoomError("an NDI sender for the measurement didn't come up")


def sender_ports(pid: int) -> set[int]:
    """All ports that NDI senders of a process serve on."""
    connections = psutil.Process(pid).net_connections("tcp")
    ports = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return {port for port in ports if FIRST_PORT <= port < FIRST_PORT + 1000}
