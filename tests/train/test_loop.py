"""Whole trainings on the CPU, tiny ones: they end in a world, go on after a kill, and survive what is no number."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import l2s_node
from l2s_node import config
from l2s_node.errors import TrainError
from l2s_node.models import store
from l2s_node.models.pix2pix import TwoScales
from l2s_node.picture import condition
from l2s_node.train import loop, loss
from l2s_node.train.recipes import RECIPES
from l2s_node.train.settings import TrainSettings


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No demo clip (its 1,189 frames take seconds to read) and a small critic."""
    monkeypatch.setattr(config, "demo_clip", lambda: tmp_path / "none.mp4")
    critic = functools.partial(TwoScales, (8, 8, 8, 8))
    monkeypatch.setitem(RECIPES, "dream", dataclasses.replace(RECIPES["dream"], critic=critic))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(24):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        small.resize((176, 160), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no")
    return folder


@pytest.fixture
def settings(pictures, tmp_path):
    return TrainSettings(
        (pictures,), "meadow", out=tmp_path, images=6, batch=2, resolution=128, channels=(4, 6, 8), device="cpu"
    )


def test_a_training_ends_in_a_world_that_can_be_played(settings):
    path = loop.run(settings)
    assert path == settings.out / "meadow" / "small.safetensors"
    world = store.find([settings.out], "meadow", "small")
    generator, card = store.load(world.path)
    condition.check(card.condition)
    assert card.condition["detail"] == [8, 32] and card.seed == 0
    assert card.training["images"] == 6 and card.training["skipped"] == 1 and card.training["held_back"] == 1
    assert {"critic", "adversarial", "consistency", "colour", "grid"} <= card.training["losses"].keys()
    assert "24 pictures" in card.sources
    generator.draw_field(128, 192, card.seed)
    with torch.no_grad():
        made = generator(torch.zeros(1, 1, 128, 192))
    assert made.shape == (1, 3, 128, 192) and made.isfinite().all() and made.std() > 0
    with Image.open(next(settings.workshop.glob("sheet-*.jpg"))) as sheet:
        assert sheet.width > 3 * sheet.height
    assert not settings.checkpoint.exists()


def test_the_same_seed_gives_the_same_world_and_another_seed_another(settings):
    hashes = []
    for seed, folder in ((1, "a"), (1, "b"), (2, "c")):
        path = loop.run(dataclasses.replace(settings, seed=seed, out=settings.out / folder))
        hashes.append(store.read_card(path).hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_classic_recipe_trains_the_classic_network(settings):
    path = loop.run(dataclasses.replace(settings, recipe="classic", images=2))
    card = store.read_card(path)
    assert card.architecture == "classic" and card.seed is None
    assert card.training["losses"].keys() == {"critic", "adversarial", "pixels"}


KILLED = """
import dataclasses, functools, sys
from pathlib import Path
from l2s_node import config
from l2s_node.models.pix2pix import TwoScales
from l2s_node.train import loop
from l2s_node.train.recipes import RECIPES
from l2s_node.train.recipes import RECIPES
from l2s_node.train.settings import TrainSettings
config.demo_clip = lambda: Path("none.mp4")
loop.LOOK = 1
RECIPES["dream"] = dataclasses.replace(RECIPES["dream"], critic=functools.partial(TwoScales, (8, 8, 8, 8)))
loop.run(TrainSettings((Path(sys.argv[1]),), "meadow", out=Path(sys.argv[2]), images=10**6, batch=2, resolution=128,
                       channels=(4, 6, 8), device="cpu", save_seconds=0.0))
"""


def test_a_killed_training_goes_on(settings, pictures):
    root = Path(l2s_node.__file__).parents[1]
    command = [sys.executable, "-c", KILLED, str(pictures), str(settings.out)]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 90
        while (seen := images_in(settings.checkpoint)) < 4:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()
    seen = images_in(settings.checkpoint)
    with pytest.raises(TrainError, match="unfinished training: go on with --resume"):
        loop.run(settings)
    path = loop.run(dataclasses.replace(settings, images=seen + 4, resume=True))
    assert store.read_card(path).training["images"] == seen + 4


def images_in(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["progress"]["images"]) if checkpoint.exists() else 0


def test_resuming_draws_on_as_if_never_interrupted(settings, monkeypatch):
    whole = store.read_card(loop.run(dataclasses.replace(settings, out=settings.out / "whole"))).hash
    halved = dataclasses.replace(settings, out=settings.out / "halved")
    monkeypatch.setattr(loop, "LOOK", 1)

    class KillError(Exception):
        pass

    def killed(*_):
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_sheet", killed)
        with pytest.raises(KillError):
            loop.run(dataclasses.replace(halved, save_seconds=0.0, sheet_seconds=0.0))
    assert 0 < images_in(halved.checkpoint) < settings.images
    assert store.read_card(loop.run(dataclasses.replace(halved, resume=True))).hash == whole


def test_resume_refuses_nothing_and_another_training(settings, monkeypatch):
    with pytest.raises(TrainError, match="no unfinished training to resume"):
        loop.run(dataclasses.replace(settings, resume=True))
    monkeypatch.setattr(store, "save", lambda *_: (_ for _ in ()).throw(loop.ModelError("disk full")))
    with pytest.raises(TrainError, match="disk full"):
        loop.run(dataclasses.replace(settings, images=2))
    with pytest.raises(TrainError, match=r"seed = 0, this one has 5"):
        loop.run(dataclasses.replace(settings, resume=True, seed=5))


def test_a_loss_that_is_no_number_rolls_back(settings, monkeypatch, caplog):
    honest, calls = loss.grid, []

    def once_broken(made):
        calls.append(1)
        return honest(made) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(loss, "grid", once_broken)
    generator, card = store.load(loop.run(settings))
    assert "back to 0" in caplog.text and card.training["images"] == 6 and len(calls) == 6
    assert all(p.isfinite().all() for p in generator.parameters())


def test_losses_that_keep_running_away_are_given_up(settings, monkeypatch):
    monkeypatch.setattr(loop, "GIVE_UP", 1)
    monkeypatch.setattr(loss, "grid", lambda made: made.mean() * float("inf"))
    with pytest.raises(TrainError, match="ran away 2 times"):
        loop.run(dataclasses.replace(settings, images=2))


def test_a_broken_checkpoint_is_one_sentence(settings):
    settings.workshop.mkdir(parents=True)
    settings.checkpoint.write_bytes(b"PK broken")
    with pytest.raises(TrainError, match="is broken, remove it"):
        loop.run(dataclasses.replace(settings, resume=True))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "../up"}, "a world's name takes"),
        ({"recipe": "soup"}, "dream, classic"),
        ({"size": "huge"}, "small, medium, large"),
        ({"minutes": 0.0}, "greater than 0"),
        ({"batch": 1}, "at least 2"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"resolution": 100}, "steps of 8"),
        ({"pictures": (Path("nowhere"),)}, "no folder or file nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(settings, change, sentence):
    with pytest.raises(TrainError, match=sentence):
        loop.run(dataclasses.replace(settings, **change))
