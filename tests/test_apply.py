"""Apply: pictures, videos and folders go the way of a show; arrays go straight through the network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_worlds import make_world
from video.clips import luma_of, make_clip, recorded

from l2s_node import apply as apply_module
from l2s_node.apply import apply, apply_raw
from l2s_node.config import RunConfig
from l2s_node.errors import ConfigError, L2SError, ModelError, RoomError
from l2s_node.models import store

GREY = 0.6


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("home")
    make_world(folder, "grey", grey=GREY)
    make_world(folder, "moss")
    make_world(folder, "old", architecture="classic", channels=(4, 8, 8), norm="frame", seed=None)
    make_world(folder, "colour", input_channels=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L2S_HOME", str(folder))
        yield folder


def settings(world: str, **more: Any) -> RunConfig:
    return RunConfig(**{"source": "null:", "sinks": (), "world": world, "engine": "eager", "device": "cpu", **more})


def played(world: str, inputs: list[Path], out: Path, **more: Any) -> list[Path]:
    return list(apply(settings(world, **more), inputs, out))


def picture(path: Path, size: tuple[int, int] = (96, 64), shade: int = 120) -> Path:
    """A picture that is darker on its left."""
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[:, : size[0] // 2] //= 2
    Image.fromarray(pixels).save(path)
    return path


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


# --- pictures and videos ---------------------------------------------------------------------------------------------


def test_a_picture_becomes_a_png_of_its_size(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    (made,) = played("grey", [picture(tmp_path / "table.jpg", (97, 63))], out)
    assert made == out / "table.png" and pixels_of(made).shape == (63, 96, 3)  # a pair of pixels shares its colour
    assert np.abs(pixels_of(made)[:-1] - 255 * GREY).max() <= 3  # the last row may be a bar: 97x63 is no 96x63


def test_knobs_and_output_size_hold_as_on_stage(tmp_path: Path) -> None:
    source = picture(tmp_path / "table.png")
    (same,) = played("grey", [source], tmp_path / "a", knobs={"show": "input"})
    assert np.abs(pixels_of(same) - pixels_of(source))[:, :40].max() <= 3
    (mixed,) = played("grey", [source], tmp_path / "b", knobs={"mix": 0.5}, output_size=(48, 32))
    assert pixels_of(mixed).shape == (32, 48, 3)
    assert abs(pixels_of(mixed)[16, 40, 1] - (120 + 255 * GREY) / 2) < 6


def test_a_video_keeps_its_pictures_and_their_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.24, 0.5]
    clip = make_clip(tmp_path / "hands.mkv", 5, times=times)
    (made,) = played("grey", [clip], tmp_path / "out", knobs={"show": "input"})
    seen, lumas = recorded(made)
    assert made == tmp_path / "out" / "hands.mp4" and seen == pytest.approx(times, abs=0.002)
    assert [round(float(luma.mean())) for luma in lumas] == pytest.approx([luma_of(n) for n in range(5)], abs=2)


def test_every_input_starts_without_the_memory_of_the_last_one(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "white.mp4", 5)
    inputs = [clip, picture(tmp_path / "black.png", (64, 48), 0)]
    *_, still = played("moss", inputs, tmp_path / "a", knobs={"output_smoothing": 5, "input_smoothing": 5})
    (alone,) = played("moss", inputs[1:], tmp_path / "b")
    assert np.array_equal(pixels_of(still), pixels_of(alone))


def test_of_a_folder_what_can_be_read_is_done_and_the_rest_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    picture(folder / "b.png")
    make_clip(folder / "a.mp4", 3)
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not tried")
    picture(folder / "deeper" / "c.png")
    picture(folder / ".hidden.png")
    made = played("grey", [folder, tmp_path / "absent.png"], tmp_path / "out")
    assert [path.name for path in made] == ["a.mp4", "b.png"]
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2 and "bad.jpg" in errors[0] and "absent.png" in errors[1]
    assert all(error.endswith("; passed over") for error in errors)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    """Neither another input's result, nor one of an earlier run, nor the input itself."""
    inputs = [picture(tmp_path / "a.png"), picture(tmp_path / "a.bmp"), make_clip(tmp_path / "a.mp4", 3)]
    before = [path.read_bytes() for path in inputs]
    names = [path.name for path in played("grey", inputs, tmp_path)]
    assert names == ["a-2.png", "a-3.png", "a-2.mp4"]
    assert [path.name for path in played("grey", inputs[2:], tmp_path)] == ["a-3.mp4"]
    assert [path.read_bytes() for path in inputs] == before


def test_the_world_is_loaded_once_for_each_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, load = [], apply_module.load
    monkeypatch.setattr(apply_module, "load", lambda request, *a: loads.append(request.frame) or load(request, *a))
    shapes = [(96, 64), (64, 96), (192, 128), (64, 96)]
    inputs = [picture(tmp_path / f"{n}.png", size) for n, size in enumerate(shapes)]
    assert len(played("grey", inputs, tmp_path / "out")) == 4 and loads == shapes[:2]


@pytest.mark.parametrize(
    ("world", "inputs", "said"),
    [
        ("gray", ["table.png"], "no world 'gray'.*did you mean grey"),
        ("grey", ["absent.png"], "there is no file absent.png"),
        ("grey", ["absent.png", "bad.png"], "nothing that could be read"),
        ("grey", ["table.png", "as-folder"], None),
    ],
)
def test_what_cant_be_is_one_sentence(tmp_path: Path, world: str, inputs: list[str], said: str | None) -> None:
    picture(tmp_path / "table.png")
    (tmp_path / "bad.png").write_bytes(b"")
    paths = [tmp_path / name for name in inputs]
    if said is None:
        with pytest.raises(ConfigError, match="can't make the folder"):
            played(world, paths, tmp_path / "table.png" / "out")
        return
    with pytest.raises(L2SError, match=said):
        played(world, paths, tmp_path / "out")


# --- arrays ----------------------------------------------------------------------------------------------------------


def raw(world: str, x: np.ndarray, folder: Path, **more: Any) -> np.ndarray:
    np.save(folder / "x.npy", x)
    (made,) = apply_raw(settings(world, **{"engine": "auto", **more}), [folder / "x.npy"], folder / "out")
    result: np.ndarray = np.load(made)
    return result


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("world", "channels"), [("moss", 1), ("old", 1), ("colour", 3)])
def test_raw_is_exactly_the_generator(tmp_path: Path, home: Path, world: str, channels: int) -> None:
    x = noise(3, 24, 40, channels)
    y = raw(world, x, tmp_path)
    generator, card = store.load(home / "worlds" / world / "small.safetensors")
    if card.seed is not None:
        generator.draw_field(24, 40, card.seed)
    with torch.inference_mode():
        wanted = [generator(torch.from_numpy(item).permute(2, 0, 1)[None]) for item in x]
    assert y.dtype == np.float32 and y.shape == (3, 24, 40, 3)
    assert np.array_equal(y, torch.cat(wanted).permute(0, 2, 3, 1).numpy())


def test_raw_through_an_engine_that_is_named(tmp_path: Path) -> None:
    x = noise(2, 32, 32, 1)
    assert np.abs(raw("moss", x, tmp_path, engine="eager") - raw("moss", x, tmp_path)).max() < 1e-4


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (noise(1, 32, 32, 3), r"has the shape \(1, 32, 32, 3\); this world takes \(n, h, w, 1\)"),
        (noise(1, 30, 32, 1), "multiples of 8"),
        (noise(32, 32, 1), r"must be float32 of shape \(n, h, w, c\), it is float32 of \(32, 32, 1\)"),
        (noise(0, 32, 32, 1), r"it is float32 of \(0, 32, 32, 1\)"),
        (noise(1, 32, 32, 1).astype(np.float64), "it is float64"),
        (np.array([{}], object), "can't read .*x.npy as a .npy array"),
    ],
)
def test_raw_refuses_other_arrays(tmp_path: Path, x: np.ndarray, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        raw("moss", x, tmp_path)


def test_raw_passes_over_what_is_no_array_and_overwrites_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(1, 16, 16, 1))
    (tmp_path / "b.npy").write_bytes(b"")
    np.savez(tmp_path / "c.npz", noise(1, 16, 16, 1))
    made = list(apply_raw(settings("moss"), [tmp_path, tmp_path / "c.npz"], tmp_path))
    assert [path.name for path in made] == ["a-2.npy"]
    with pytest.raises(ModelError, match="no size 'large'"):
        list(apply_raw(settings("moss", size="large"), [tmp_path], tmp_path))


def test_a_world_of_three_channels_is_for_arrays_only(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 3 channels"):
        played("colour", [picture(tmp_path / "table.png")], tmp_path)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RoomError, match=r"can't write .*table.png: No space left"):
        played("grey", [picture(tmp_path / "table.bmp")], tmp_path)
