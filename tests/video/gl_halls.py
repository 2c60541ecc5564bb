"""The rooms `syphon` and `spout` with `gl_exchange` in their SDKs' place, and what another program does in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gl_exchange import Server, SpoutWorld, SyphonWorld


class Hall:
    """What is the same in both rooms, seen from another program; pictures have the top row first, red first."""

    scheme: str
    slow: str
    """What an address ends with to go through host memory."""
    world: Any

    def send(self, name: str, picture: np.ndarray) -> None:
        raise NotImplementedError

    def retire(self, name: str) -> None:
        raise NotImplementedError

    def seen(self, name: str) -> np.ndarray:
        raise NotImplementedError

    def full(self, name: str) -> str:
        """The URI that a sender is listed by."""
        raise NotImplementedError


class SyphonHall(Hall):
    scheme, slow = "syphon", "?metal"

    def __init__(self) -> None:
        self.world = SyphonWorld()

    def send(self, name: str, picture: np.ndarray) -> None:
        self.world.show(self._server(name), picture[::-1])

    def retire(self, name: str) -> None:
        server = self._server(name)
        server.alive = False
        self.world.servers.remove(server)
        self.world.drop(server)

    def seen(self, name: str) -> np.ndarray:
        return self.world.other.pixels(self._server(name).surface)[::-1]

    def full(self, name: str) -> str:
        return f"syphon:{self._server(name).program}/{name}"

    def _server(self, name: str) -> Server:
        found = [server for server in self.world.servers if server.name == name]
        if not found:
            found = [Server("Resolume", name, listed=True)]
            self.world.servers += found
        return found[0]


class SpoutHall(Hall):
    scheme, slow = "spout", "?image"

    def __init__(self) -> None:
        self.world = SpoutWorld()

    def send(self, name: str, picture: np.ndarray) -> None:
        self.world.show(name, picture)

    def retire(self, name: str) -> None:
        self.world.drop(name)

    def seen(self, name: str) -> np.ndarray:
        return self.world.other.pixels(self.world.senders[name].surface)

    def full(self, name: str) -> str:
        return f"spout:{name}"
