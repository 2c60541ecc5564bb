"""The room `camera:`. No camera is needed: FFmpeg's own synthetic device takes its place, opened as cameras are."""

from __future__ import annotations

import time

import pytest

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.video import camera, open_source
from l2s_node.video.base import Options, Source

SOON = "testsrc=size=64x48:rate=50:duration=0.2"
"""A device that sends ten pictures and is gone."""


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    there = {0: SOON}
    monkeypatch.setattr(camera, "_SYSTEMS", dict.fromkeys(camera._SYSTEMS, "lavfi"))
    monkeypatch.setattr(camera, "_devices", lambda: dict(there))
    return there


def read_until(source: Source, state: str, patience: float = 10) -> int:
    """How many pictures came until `source` was in that state."""
    count, until = 0, time.monotonic() + patience
    while source.state != state and time.monotonic() < until:
        count += source.read(0.05) is not None
    assert source.state == state
    return count


def test_without_a_camera_the_reason_and_the_remedy_are_said(
    devices: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices.clear()
    assert "plug one in" in str(camera.missing())
    with pytest.raises(RoomError, match="plug one in"):
        open_source("camera:0", Options())
    monkeypatch.setattr(camera, "_SYSTEMS", {})
    assert "as NDI" in str(camera.missing())


def test_a_number_that_is_not_there_lists_those_that_are(devices: dict[int, str]) -> None:
    devices[2] = SOON
    assert camera.names() == ["camera:0", "camera:2"]
    for address in ("1", "front", ""):
        with pytest.raises(NotFoundError, match="camera:0, camera:2"):
            camera.Source(address, Options())


def test_pictures_arrive_in_a_native_format(devices: dict[int, str]) -> None:
    source = camera.Source("0", Options())
    frame = source.read(2.0)
    source.close()
    assert frame is not None and frame.size == (64, 48) and frame.rate == 50
    assert source.uri == "camera:0" and source.state == "connected"


def test_a_lost_camera_is_found_again(devices: dict[int, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    source = camera.Source("0", Options())
    assert read_until(source, "waiting") == 10
    devices.clear()
    assert source.read(0.05) is None and source.state == "waiting"
    devices[0] = "testsrc=size=96x48:rate=50:duration=0.2"
    read_until(source, "connected")
    frame = source.read(2.0)
    source.close()
    assert frame is not None and frame.size == (96, 48) and frame.number >= 10
    assert sum("is lost" in r.message for r in caplog.records) == 1


def test_one_that_cannot_be_opened_is_one_sentence(devices: dict[int, str]) -> None:
    devices[0] = "no_such_filter"
    with pytest.raises(RoomError, match="camera:0 can't be opened"):
        camera.Source("0", Options())
