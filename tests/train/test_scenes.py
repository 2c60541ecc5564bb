"""`l2s scenes`: pictures follow from scene, seed, number and size, a run can be resumed, and what is wrong is said."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from l2s_node.cli import main
from l2s_node.errors import TrainError
from l2s_node.train import scenes
from l2s_node.train.scenes import SCENES, Asked, clouds, make, picture
from l2s_node.train.scenes._tools import Block, Draw, Tile, fractal

CPU = torch.device("cpu")
SIZE = 32
each_scene = pytest.mark.parametrize("scene", SCENES)


def plain(generator: torch.Generator, size: int, device: torch.device) -> torch.Tensor:
    """Stands in for a scene where only the files matter."""
    return torch.rand((3, size, size), generator=generator).to(device)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for scene in SCENES:
        monkeypatch.setattr(f"l2s_node.train.scenes.{scene}.draw", plain)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


# --- scenes ----------------------------------------------------------------------------------------------------------


def test_there_are_three_of_one_shape() -> None:
    assert set(SCENES) == {"sea", "clouds", "fire"}
    for scene in SCENES:
        tree = ast.parse((Path(scenes.__file__).parent / f"{scene}.py").read_text(encoding="utf-8"))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        assert [f.name for f in functions] == ["draw"]
        assert [a.arg for a in functions[0].args.args] == ["generator", "size", "device"]


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds with fewer steps and smaller noise: at the tests' size that is what takes the time."""
    monkeypatch.setattr(clouds, "STEPS", 24)
    monkeypatch.setattr(clouds, "POINTS", 48)


@each_scene
@pytest.mark.usefixtures("coarse")
def test_same_seed_same_picture_and_another_seed_another(scene: str) -> None:
    one = picture(scene, 1, 0, SIZE, CPU)
    other = picture(scene, 2, 0, SIZE, CPU)
    torch.manual_seed(7)  # nobody else's random numbers matter, and nobody else's are touched
    state = torch.get_rng_state()
    assert torch.equal(one, picture(scene, 1, 0, SIZE, CPU))
    assert torch.equal(state, torch.get_rng_state())
    assert (one - other).abs().mean() > 0.02
    for made in (one, other):
        assert made.shape == (3, SIZE, SIZE) and made.dtype == torch.float32
        assert 0 <= made.min() and made.max() <= 1
        assert made.mean(0).std() > 0.04


@pytest.mark.usefixtures("quick")
def test_every_number_and_scene_has_a_picture_of_its_own() -> None:
    asked = [(scene, seed, number) for scene in SCENES for seed in (1, 2) for number in range(3)]
    assert len({picture(*one, SIZE, CPU).numpy().tobytes() for one in asked}) == len(asked)


def test_pictures_that_show_nothing_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def mostly_empty(generator: torch.Generator, size: int, device: torch.device) -> torch.Tensor:
        tried.append(generator.initial_seed())
        if len(tried) < 3:
            return torch.full((3, size, size), [0.5, float("nan")][len(tried) - 1])
        return plain(generator, size, device)

    monkeypatch.setattr("l2s_node.train.scenes.sea.draw", mostly_empty)
    assert picture("sea", 1, 0, SIZE, CPU).isfinite().all()
    assert len(set(tried)) == 3

    monkeypatch.setattr("l2s_node.train.scenes.sea.draw", lambda g, size, device: torch.zeros(3, size, size))
    with pytest.raises(TrainError, match="no picture 7 of sea with seed 1 shows anything"):
        picture("sea", 1, 7, SIZE, CPU)


# --- what they share -------------------------------------------------------------------------------------------------


def test_look_up_is_linear_and_periodic() -> None:
    noise = torch.randn(2, 6, 6, 6, generator=torch.Generator().manual_seed(1))
    block, tile = Block(noise, 3.0), Tile(noise[:, 0], 3.0)
    k, j, i = 4, 5, 1
    here = torch.tensor([[i * 0.5, j * 0.5, k * 0.5]])
    torch.testing.assert_close(block(here)[:, 0], noise[:, k, j, i])
    torch.testing.assert_close(tile(here[:, :2])[:, 0], noise[:, 0, j, i])
    torch.testing.assert_close(block(here - 9.0), block(here), rtol=0, atol=1e-5)
    halfway = torch.tensor([[i * 0.5, 2.75, 2.75]])  # between the last and the first of both axes
    corners = [noise[:, a, b, i] for a in (5, 0) for b in (5, 0)]
    torch.testing.assert_close(block(halfway)[:, 0], torch.stack(corners).mean(0))
    assert tile(torch.rand(13, 2)).shape == (2, 13) and tile(torch.empty(0, 2)).shape == (2, 0)


def test_fractal_noise_is_rougher_with_less_slope() -> None:
    dice = Draw(torch.Generator().manual_seed(1), CPU)
    smooth, rough = fractal(dice, (64, 64), 2.5), fractal(dice, (64, 64), 1.0)
    for field in (smooth, rough):
        assert abs(float(field.mean())) < 1e-4 and abs(float(field.std()) - 1) < 1e-3
    assert (smooth - smooth.roll(1, 0)).std() < 0.5 * (rough - rough.roll(1, 0)).std()


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_more_can_be_asked_for_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    few, many = Asked("sea", tmp_path / "few", 2, SIZE), Asked("sea", tmp_path / "many", 4, SIZE)
    make(few)
    first = contents(few.out)
    assert list(first) == ["sea-1-00000.jpg", "sea-1-00001.jpg"]
    paths = make(many)
    whole = contents(many.out)
    assert [path.name for path in paths] == list(whole)
    assert first.items() <= whole.items()  # the first pictures are the same to the byte, however many follow
    kept = paths[0].stat().st_mtime_ns
    paths[2].unlink()
    assert make(many) == paths and contents(many.out) == whole
    assert paths[0].stat().st_mtime_ns == kept


@pytest.mark.usefixtures("quick")
def test_files_say_what_they_are(tmp_path: Path) -> None:
    for seed, count in ((1, 1), (2, 3), (2, 1)):
        make(Asked("fire", tmp_path, count, SIZE, seed))
    with Image.open(tmp_path / "fire-2-00000.jpg") as made:
        assert made.size == (SIZE, SIZE) and made.mode == "RGB"
        assert b"CC0" in made.info["comment"] and b"picture 0 of l2s scenes fire OUT N" in made.info["comment"]
    said = (tmp_path / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    assert [line.count("simulated, not photographed") for line in said if line.startswith("- ")] == [1, 1]
    assert "`l2s scenes fire OUT 3 --size 32 --seed 2`" in said[-1]


@pytest.mark.usefixtures("quick")
def test_sources_of_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "SOURCES.md").write_text("# Photographs\n\n- `a.jpg`: CC BY\n", encoding="utf-8")
    make(Asked("fire", tmp_path, 1, SIZE))
    said = (tmp_path / "SOURCES.md").read_text(encoding="utf-8")
    assert said.startswith("# Photographs\n\n- `a.jpg`: CC BY\n- `fire-1-*.jpg`, 32 px: simulated")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_only_whole_files_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    save = Image.Image.save

    def half(self: Image.Image, path: Path, *args: Any, **keys: Any) -> None:
        if "00001" in path.name:
            path.write_bytes(b"half of it")
            raise error
        save(self, path, *args, **keys)

    monkeypatch.setattr(Image.Image, "save", half)
    told = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else TrainError
    with pytest.raises(told) as caught:
        make(Asked("sea", tmp_path, 3, SIZE))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SOURCES.md", "sea-1-00000.jpg"]
    if told is TrainError:
        assert "sea-1-00001.jpg: No space left on device; those before it are whole" in str(caught.value)


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for asked, sentence in (
        (Asked("snow", tmp_path, 1), "there is no scene 'snow'; there are clouds, fire, sea"),
        (Asked("sea", tmp_path, 0), "at least one picture, not 0"),
        (Asked("sea", tmp_path, 1, 8), "32 to 2048 pixels, not 8"),
        (Asked("sea", tmp_path, 1, 64, device="abacus"), "there is no device 'abacus'"),
        (Asked("sea", tmp_path / "file", 1), "can't make the folder .*file: File exists; name another one"),
    ):
        with pytest.raises(TrainError, match=sentence):
            make(asked)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("quick")
def test_pictures_of_another_size_and_broken_ones_are_named(tmp_path: Path) -> None:
    make(Asked("sea", tmp_path, 1, SIZE))
    with pytest.raises(TrainError, match=r"sea-1-00000\.jpg is 32x32, not 64x64"):
        make(Asked("sea", tmp_path, 1, 64))
    (tmp_path / "sea-1-00000.jpg").write_bytes(b"no")
    with pytest.raises(TrainError, match=r"sea-1-00000\.jpg can't be read"):
        make(Asked("sea", tmp_path, 1, SIZE))


def test_a_gpu_that_is_too_small_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("l2s_node.train.scenes.sea.draw", too_much)
    with pytest.raises(TrainError, match="64 pixels don't fit into the GPU's memory"):
        make(Asked("sea", tmp_path, 1, 64))


@pytest.mark.usefixtures("quick")
def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--size", "32", "--seed", "5", "--device", "cpu")
    assert main(["scenes", "clouds", str(tmp_path / "made"), "2", *options]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'made'}\n"
    assert list(contents(tmp_path / "made")) == ["clouds-5-00000.jpg", "clouds-5-00001.jpg"]
    for words, sentence in (
        (("snow", "made", "1"), "invalid choice: 'snow' (choose from"),
        (("sea", "made", "0"), "a whole number over 0, not '0'"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["scenes", *words])
        said = capsys.readouterr().err
        assert end.value.code == 2 and sentence in said and said.count("\n") == 1
