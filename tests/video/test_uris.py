"""URIs: what opens a room, and what is said where none does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from l2s_node import video
from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame
from l2s_node.video.base import Options

OPTIONS = Options(size=(64, 36))


def said(uri: str, kind: type[RoomError] = RoomError) -> str:
    with pytest.raises(kind) as error:
        video.open_source(uri, OPTIONS)
    return str(error.value)


def test_a_room_is_a_file() -> None:
    assert {"camera", "file", "null", "pattern"} <= set(video.schemes())
    assert "base" not in video.schemes()


def test_a_file_put_beside_the_others_is_a_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newroom.py").write_text(
        "from l2s_node.video.null import Sink, Source\n"
        "def missing(): return None\n"
        "def names(): return ['newroom:one']\n"
    )
    (tmp_path / "lacking.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.setattr(video, "__path__", [*video.__path__, str(tmp_path)])
    rows = dict(video.survey())
    assert rows["newroom:one"] is None
    assert "no_such_package_anywhere" in str(rows["lacking:"])
    assert dict(video.survey_sinks())["newroom:"] is None
    video.open_source("newroom:one", OPTIONS).close()
    assert "pip install no_such_package_anywhere" in said("lacking:x")


def test_an_unknown_room_lists_those_that_there_are() -> None:
    text = said("patern:bars", NotFoundError)
    assert "did you mean pattern:bars" in text
    assert all(f"{scheme}:" in text for scheme in video.schemes())


def test_a_name_without_a_room_is_not_guessed_at() -> None:
    assert "ndi:cam" in said("cam")


def test_a_bare_path_is_told_how_to_be_played(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    assert f"file:{clip}" in said(str(clip))


def test_the_scheme_may_be_in_capitals() -> None:
    video.open_source("NULL:", OPTIONS).close()


def test_the_survey_names_each_room_with_its_reason() -> None:
    rows = video.survey()
    assert {uri.partition(":")[0] for uri, _ in rows} == set(video.schemes())
    assert ("pattern:bars", None) in rows
    assert all(reason is None or len(reason) > 20 for _, reason in rows)


def test_a_room_that_takes_no_pictures_says_where_else() -> None:
    assert "null:" in str(dict(video.survey_sinks())["pattern:"])
    with pytest.raises(RoomError, match="only makes pictures"):
        video.open_sink("pattern:bars", OPTIONS)


def test_rooms_are_imported_when_they_are_opened() -> None:
    code = (
        "import sys; from l2s_node import video; from l2s_node.video.base import Options\n"
        "video.schemes(); video.open_source('pattern:', Options(size=(64, 36))); print(*sys.modules)"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {"av", "torch", "cyndilib", "l2s_node.video.file", "l2s_node.video.ndi"} & loaded


def test_null_gives_black_and_counts() -> None:
    source = video.open_source("null:", OPTIONS)
    frame = source.read(1.0)
    assert isinstance(frame, Frame) and frame.size == (64, 36)
    assert frame.planes[0][0, :4].tolist() == [128, 16, 128, 16]
    sink = video.open_sink("null:", OPTIONS)
    for _ in range(3):
        sink.write(frame)
    assert getattr(sink, "frames") == 3  # noqa: B009 (not part of what every sink has)
    assert sink.dropped == 0
