"""`l2s gallery`: every world and size on the same inputs, as a sheet and as a moving picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_worlds import make_world

from l2s_node import gallery
from l2s_node.cli import main
from l2s_node.errors import ConfigError, ModelError
from l2s_node.gallery import CAPTION, CELL, MOVING, PASSING, STILLS, Asked
from l2s_node.train.data import Album

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small worlds, and six pictures in place of the bundled clip, which takes seconds to read."""
    folder = tmp_path / "home"
    make_world(folder, "moss")
    make_world(folder, "moss", "large", grey=1.0 - 1e-3)
    make_world(folder, "bark", grey=0.5)
    clip = tmp_path / "clip"
    clip.mkdir()
    rng = np.random.default_rng(1)
    for number in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
        coarse.resize((240, 160), Image.Resampling.BICUBIC).save(clip / f"{number}.png")
    monkeypatch.setenv("L2S_HOME", str(folder))
    monkeypatch.setattr(gallery, "worlds_folders", lambda: (folder / "worlds",))
    monkeypatch.setattr(gallery, "demo_clip", lambda: clip)
    return folder


def test_a_sheet_and_a_moving_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    state = torch.get_rng_state()
    assert main(["gallery", str(out), "--device", "cpu"]) == 0
    assert torch.equal(state, torch.get_rng_state())
    assert capsys.readouterr().out == f"{out / 'gallery.jpg'}\n{out / 'gallery.webp'}\n"
    with Image.open(out / "gallery.jpg") as sheet:
        assert sheet.size == ((STILLS + 3) * CELL, 4 * (CELL + CAPTION))  # input, bark/small, moss/small, moss/large
        rows = np.asarray(sheet.convert("L"), np.float32).reshape(4, CELL + CAPTION, -1)[:, CAPTION:]
    assert rows[0, :, : STILLS * CELL].std() > 20  # the clip
    assert abs(rows[1].mean() - 127) < 3 and rows[1].std() < 3  # bark is grey whatever it sees
    assert rows[2].std() > 3 and rows[3].mean() > 250  # moss/small is random, moss/large white
    with Image.open(out / "gallery.webp") as film:
        assert film.size == (3 * CELL, 2 * (CELL + CAPTION))  # input, small, large (none of bark); bark, moss
        assert film.n_frames == 6 + PASSING and film.info["loop"] == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["gallery", str(out), "--device", "cpu"]) == 0
    assert first == {path.name: path.read_bytes() for path in out.iterdir()}


def test_worlds_are_chosen_and_others_things_shown(tmp_path: Path) -> None:
    clip = gallery.demo_clip()
    sheet, film = gallery.gallery(Asked(tmp_path / "out", ("bark",), (clip,), "cpu"))
    with Image.open(sheet) as shown, Image.open(film) as moved:
        assert shown.size == ((2 * STILLS + 3) * CELL, 2 * (CELL + CAPTION))
        assert moved.size == (2 * CELL, CELL + CAPTION)


def test_a_moving_picture_that_is_too_large_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(tmp_path / "out", ("moss",), (), "cpu")
    whole = gallery.gallery(asked)[1].stat().st_size
    monkeypatch.setattr(gallery, "MOST", whole - 1)
    assert gallery.gallery(asked)[1].stat().st_size < whole
    monkeypatch.setattr(gallery, "MOST", 100)
    with pytest.raises(ConfigError, match="name fewer of them"):
        gallery.gallery(asked)


def test_what_moves_and_what_is_unusual_is_shown() -> None:
    """A still film in which a bright frame flashes up now and then, at its end."""
    frames = [np.full((40, 40, 3), 255 if number in (10, 78, 80) else 60, np.uint8) for number in range(90)]
    film = Album(frames, CPU)
    moving = gallery._liveliest(film)
    assert len(moving) == MOVING and {78, 80} <= set(moving.tolist())
    assert moving.diff().eq(1).all()
    assert gallery._unusual(film).tolist()[0] == 10 and gallery._unusual(film).tolist()[2] == 78
    alone = Album(frames[:1], CPU)
    assert gallery._liveliest(alone).tolist() == [0] and gallery._unusual(alone).tolist() == [0]


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no world 'sea'; there are bark, moss"):
        gallery.gallery(Asked(tmp_path / "out", ("sea",), (), "cpu"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="empty has no picture that can be used"):
        gallery.gallery(Asked(tmp_path / "out", (), (empty,), "cpu"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't write .*file.gallery\.jpg: .*; name another folder"):
        gallery.gallery(Asked(tmp_path / "file", ("bark",), (), "cpu"))
    monkeypatch.setattr(gallery, "worlds_folders", lambda: ())
    with pytest.raises(ModelError, match="there is no world to show"):
        gallery.gallery(Asked(tmp_path / "out"))
