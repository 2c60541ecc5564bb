"""libndi reads where others may be once, when it starts: this computer, whichever test is the first to start it.

Set while tests are collected, so before any of them runs. Tests on hosts of their own (`ndi_loopback`) override it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gl_exchange import SpoutHere, SyphonHere
from gl_halls import Hall, SpoutHall, SyphonHall

from l2s_node import texture
from l2s_node.video import _syphon, spout, syphon

os.environ.setdefault("NDI_CONFIG_DIR", str(Path(__file__).parent / "ndi_config"))


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
