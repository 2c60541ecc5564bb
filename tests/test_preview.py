"""Preview: what is shown arrives, again and again where it is live, and nobody who shows waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from l2s_node import preview
from l2s_node.errors import RoomError
from l2s_node.frame import Frame
from l2s_node.preview import Preview
from l2s_node.video import null


def coloured(red: int, green: int, blue: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (size[1], size[0], 3)).copy()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """Frames that the sink of `null:` got."""
    frames: list[Frame] = []
    monkeypatch.setattr(null.Sink, "write", lambda _, frame: frames.append(frame))
    return frames


def until(done: object) -> None:
    end = time.monotonic() + 10
    while not done() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)


def test_a_live_sink_is_fed_again_and_again(written: list[Frame]) -> None:
    with Preview("null:") as shown:
        until(lambda: len(written) >= 2)
        assert written[0].size == (1280, 720)  # black, before there is anything to see
        shown.show(coloured(255, 255, 255, (65, 48)))
        until(lambda: sum(frame.number == 1 for frame in written) >= 3)
    last = written[-1]
    assert last.size == (64, 48) and set(np.unique(last.planes[0][:, 1::2])) == {235}
    assert not any(thread.name == "l2s-preview" for thread in threading.enumerate())


def test_who_shows_never_waits_for_a_sink_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, free = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hanging.set()
        free.wait(10)

    monkeypatch.setattr(null.Sink, "write", hang)
    with Preview("null:") as shown:
        assert hanging.wait(5)
        for _ in range(100):
            shown.show(coloured(1, 2, 3))
        assert not free.is_set()  # all of them were taken while the sink hung
        free.set()


def test_a_recording_gets_each_picture_once(tmp_path: Path) -> None:
    with Preview(f"file:{tmp_path / 'growth.mp4'}") as shown:
        for level in (40, 120, 200):
            shown.show(coloured(level, level, level))
            time.sleep(3 / float(preview.RATE))
    with av.open(str(tmp_path / "growth.mp4")) as film:
        levels = [float(frame.to_ndarray(format="rgb24").mean()) for frame in film.decode(video=0)]
    assert levels == pytest.approx([40, 120, 200], abs=4)


def test_a_sink_that_cannot_be_opened_is_refused_at_once() -> None:
    with pytest.raises(RoomError, match="names no room"):
        Preview("growth")


def test_a_sink_that_breaks_ends_the_preview_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RoomError("the disk is full")

    monkeypatch.setattr(null.Sink, "write", broken)
    with Preview("null:") as shown:
        until(lambda: "no preview any more: the disk is full" in caplog.text)
        shown.show(coloured(1, 2, 3))
    assert "no preview any more: the disk is full" in caplog.text
