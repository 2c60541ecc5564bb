"""The desktop that windows are tested on, and who libndi asks for senders.

libndi reads where others may be once, when it starts: this computer, whichever test is the first to start it.
Set while tests are collected, so before any of them runs. Tests on hosts of their own (`ndi_loopback`) override it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import desktop as x
import pytest
from gl_halls import hall as hall

os.environ.setdefault("NDI_CONFIG_DIR", str(Path(__file__).parent / "ndi_config"))


@pytest.fixture(scope="session")
def _server() -> Iterator[x.Desktop]:
    if reason := x.reason():
        pytest.skip(reason)
    with x.running() as made:
        yield made


@pytest.fixture
def desktop(_server: x.Desktop, monkeypatch: pytest.MonkeyPatch) -> Iterator[x.Desktop]:
    """An empty desktop that windows of this process and of its children open on."""
    from l2s_node.video import _glfw, window

    monkeypatch.setenv("DISPLAY", _server.name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    _server.do("mousemove", x.SIZE[0] // 2, x.SIZE[1] // 2)
    yield _server
    assert not window._open, "a test left a window open"
    _glfw.load()
    _glfw.unload()  # the X server goes before this process does
