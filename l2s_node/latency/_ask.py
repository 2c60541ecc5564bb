"""Asking: an l2s node's own latency, over OSC."""

from __future__ import annotations

import socket
import time

from l2s_node.control.packet import read_packet, write_message
from l2s_node.errors import ControlError


class Asking:
    """Asks an l2s node ten times a second for its own latency, over OSC."""

    EVERY = 0.1

    def __init__(self, address: tuple[str, int], name: str) -> None:
        self._address = f"/{name}/status/latency_ms"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._to, self._next = address, 0.0

    def look(self, into: list[float]) -> None:
        """Put what was answered into `into`, and ask again when it is time; returns at once."""
        now = time.monotonic()
        try:
            while True:
                for message in read_packet(self._socket.recv(65536)):
                    if message.address == self._address and isinstance(message.args[0], float):
                        into.append(message.args[0])
        except (BlockingIOError, ConnectionRefusedError):  # nothing yet; or nobody listens there: another program
            pass
        except ControlError:
            return  # not for us
        if now >= self._next:
            self._next = now + self.EVERY
            try:
                self._socket.sendto(write_message(self._address, "?"), self._to)
            except OSError:
                return  # the next answer is as good

    def close(self) -> None:
        self._socket.close()
