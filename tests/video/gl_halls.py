"""The rooms `syphon` and `spout` with `gl_exchange` in their SDKs' place, and what another program does in them."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes.util import find_library
from typing import Any

import numpy as np
import pytest
from gl_exchange import Server, SpoutHere, SpoutWorld, SyphonHere, SyphonWorld

from l2s_node import texture
from l2s_node.video import _syphon, spout, syphon

REASON = texture.missing() or (None if find_library("EGL") else "the second context is EGL's")
needs_gl = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")


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


@pytest.fixture(params=[SyphonHall, SpoutHall], ids=lambda hall: hall.scheme)
def hall(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    """A room whose SDK's place is taken by `gl_exchange`, seen from another program."""
    assert not texture.exists()
    made: Hall = request.param()
    room, here = (syphon, SyphonHere) if made.scheme == "syphon" else (spout, SpoutHere)
    monkeypatch.setattr(room, "missing", lambda: None)
    monkeypatch.setattr(room, "Sdk", lambda: here(made.world))
    monkeypatch.setattr(_syphon, "SETTLE", 0.02)
    yield made
    made.world.other.close()
    texture.close()
