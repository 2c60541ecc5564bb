"""`l2s doctor --rooms`: really there and back, and what is wrong on the way is told from what is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gl_exchange import SpoutHere, SyphonHere
from gl_halls import Hall, SpoutHall, needs_gl

from l2s_node import rooms, texture
from l2s_node.doctor import Check
from l2s_node.errors import RoomError
from l2s_node.rooms import TRIED, examine_rooms
from l2s_node.video import spout


def test_on_this_system_rooms_of_others_are_said_not_to_be_of_it() -> None:
    """In a process of its own, where NDI looks for sources on this computer."""
    env = {**os.environ, "NDI_CONFIG_DIR": str(Path(__file__).parent / "ndi_config")}
    command = [sys.executable, "-m", "l2s_node", "doctor", "--rooms"]
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=120)
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert "upright, with its colours" in lines["file:"] and lines["file:"].startswith("ok")
    assert "lost and found again" in lines["ndi:"] and "with alpha" in lines["ndi:"], lines["ndi:"]
    foreign = {"darwin": ["spout"], "win32": ["syphon"]}.get(sys.platform, ["syphon", "spout"])
    for scheme in foreign:
        assert "not of this system" in lines[f"{scheme}:"] and lines[f"{scheme}:"].startswith("note")
    assert ("report" in lines) is (len(foreign) == 1)
    assert len(foreign) == 1 or (done.returncode, done.stderr) == (0, "")


def tried(hall: Hall, way: str = "") -> Check:
    return rooms._tried(hall.scheme, way)


@needs_gl
@pytest.mark.slow
def test_both_ways_go_there_and_back(hall: Hall) -> None:
    for way in TRIED[hall.scheme]:
        check = tried(hall, way)
        assert check.good, check.text
        # 854 is no width for Spout's images
        ways = ("as textures", "as textures") if not way else ("BGRA", "BGRA" if way == "?metal" else "as textures")
        for size, how in zip(("1280x720", "854x480"), ways, strict=True):
            assert f"of {size} came back {how} with alpha" in check.text
        assert "lost and found again" in check.text


@needs_gl
def test_a_room_that_refuses_is_one_line(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RoomError("no sender can be made")

    here, method = (SpoutHere, "name") if isinstance(hall, SpoutHall) else (SyphonHere, "serve")
    monkeypatch.setattr(here, method, refuse)
    assert tried(hall) == Check(f"{hall.scheme}:", False, "no sender can be made")


def flipped(pixels: np.ndarray) -> np.ndarray:
    return pixels[::-1]


def swapped(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., [2, 1, 0, 3]]


def mirrored(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, ::-1]


def opaque(pixels: np.ndarray) -> np.ndarray:
    return np.dstack([pixels[..., :3], np.full(pixels.shape[:2], 255, np.uint8)])


@needs_gl
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (flipped, "it is upside down"),
        (swapped, "red and blue are swapped"),
        (mirrored, "its quarters are green, red, grey, blue, not red, green, blue, grey"),
        (opaque, "its alpha is [255, 255, 255, 255], not [255, 255, 255, 128]"),
    ],
)
def test_what_is_wrong_is_said(hall: Hall, monkeypatch: pytest.MonkeyPatch, spoil: Any, words: str) -> None:
    show = hall.world.show
    monkeypatch.setattr(rooms, "COUNT", 2)
    monkeypatch.setattr(hall.world, "show", lambda where, pixels: show(where, spoil(pixels)))
    check = tried(hall)
    assert not check.good and check.text.endswith(f"; {words}"), check.text


@needs_gl
def test_what_never_ends_is_said(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PATIENCE", 0.5)
    monkeypatch.setattr(rooms, "COUNT", 2)
    if isinstance(hall, SpoutHall):
        monkeypatch.setattr(SpoutHere, "retire", lambda self: None)
    else:
        monkeypatch.setattr(SyphonHere, "stop", lambda self, either: None)
    assert tried(hall).text.endswith("; the sender's end goes unnoticed")


@needs_gl
def test_what_never_comes_is_said(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PATIENCE", 0.3)
    monkeypatch.setattr(hall.world, "show", lambda where, pixels: None)
    assert tried(hall) == Check(f"{hall.scheme}:", False, "nothing came back (waiting)")


@needs_gl
@pytest.mark.slow
def test_the_lines_of_a_system_with_the_room(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of one that lacks its package."""
    monkeypatch.setattr(rooms, "TRIED", {hall.scheme: ("",)})
    monkeypatch.setattr(rooms, "SYSTEM", rooms.SYSTEMS[hall.scheme])
    monkeypatch.setattr(texture, "close", lambda: None)  # the other program shares with it
    lines = {check.name: check for check in examine_rooms()}
    assert list(lines) == ["machine", "packages", "opengl", f"{hall.scheme}:", "report"]
    assert all(check.good for check in lines.values()) and "open an issue" in lines["report"].text
    monkeypatch.undo()
    monkeypatch.setattr(rooms, "TRIED", {"spout": ("",)})
    monkeypatch.setattr(rooms, "SYSTEM", "win32")
    monkeypatch.setattr(spout, "SYSTEM", "win32")
    (line,) = [check for check in examine_rooms() if check.name == "spout:"]
    assert not line.good and "pip install 'l2s-node[spout]'" in line.text
    texture.gl()
