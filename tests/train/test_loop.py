"""Whole trainings on the CPU, tiny ones: they end in a world, go on after a kill, and survive what is no number."""

import dataclasses
import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick import quick, small

import l2s_node
from l2s_node import config
from l2s_node.errors import TrainError
from l2s_node.models import store
from l2s_node.picture import condition
from l2s_node.train import loop, schedule
from l2s_node.train.data import Album
from l2s_node.train.group import Group
from l2s_node.train.loop import Training
from l2s_node.train.nets import Nets

ROOT = Path(l2s_node.__file__).parents[1]


@pytest.fixture(autouse=True)
def small_critics(monkeypatch):
    quick(monkeypatch)


@pytest.fixture
def settings(pictures, tmp_path):
    return small(pictures, tmp_path)


def elsewhere(code: str, *args: object) -> list[str]:
    """The command of another process with quick trainings; `code` finds `args` in ``sys.argv[1:]``."""
    head = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
    return [sys.executable, "-c", head + "from quick import *\nquick()\n" + code, *map(str, args)]


def test_a_training_ends_in_a_world_that_can_be_played(settings):
    path = loop.run(settings)
    assert path == settings.out / "meadow" / "small.safetensors"
    world = store.find([settings.out], "meadow", "small")
    generator, card = store.load(world.path)
    condition.check(card.condition)
    assert card.condition["detail"] == [8, 32] and card.seed == 0
    assert card.training["images"] == 12 and card.training["skipped"] == 1 and card.training["held_back"] == 1
    assert {"critic", "adversarial", "consistency", "colour", "response", "grid"} <= card.training["losses"].keys()
    assert "24 pictures" in card.sources
    generator.draw_field(128, 192, card.seed)
    with torch.no_grad():
        made = generator(torch.zeros(1, 1, 128, 192))
    assert made.shape == (1, 3, 128, 192) and made.isfinite().all() and made.std() > 0
    with Image.open(next(settings.workshop.glob("sheet-*.jpg"))) as sheet:
        assert sheet.size == (4 * 128, 4 * 128)  # a held-back picture, three shapes and three greys, over their outputs
    assert not settings.checkpoint.exists()


def test_a_film_of_a_table_is_as_many_foreign_inputs_as_it_has_frames(settings, tmp_path):
    """They are nearly the same, and that is what a venue's camera sees."""
    frames = tmp_path / "table"
    frames.mkdir()
    table = np.full((160, 200, 3), 128, np.uint8)
    for number in range(5):
        table[70:90, 80 + number : 100 + number] = 30
        Image.fromarray(table).save(frames / f"{number}.png")
    card = store.read_card(loop.run(dataclasses.replace(settings, foreign=(frames,))))
    assert card.training["foreign"] == 5


def test_the_same_seed_gives_the_same_world_and_another_seed_another(settings):
    hashes = []
    for seed, folder in ((1, "a"), (1, "b"), (2, "c")):
        path = loop.run(dataclasses.replace(settings, seed=seed, out=settings.out / folder))
        hashes.append(store.read_card(path).hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_classic_recipe_trains_the_classic_network(settings):
    path = loop.run(dataclasses.replace(settings, recipe="classic", images=4))
    card = store.read_card(path)
    assert card.architecture == "classic" and card.seed is None
    assert card.training["losses"].keys() == {"critic", "adversarial", "pixels"}


KILLED = """
from l2s_node.train import loop, schedule
loop.run(small(Path(sys.argv[1]), Path(sys.argv[2]), images=10**6, save_seconds=0.0))
"""


def test_a_killed_training_goes_on(settings, pictures):
    process = subprocess.Popen(elsewhere(KILLED, pictures, settings.out), stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 90
        while images_in(settings.checkpoint) < 8:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()
    seen = images_in(settings.checkpoint)
    with pytest.raises(TrainError, match="unfinished training: go on with --resume"):
        loop.run(settings)
    path = loop.run(dataclasses.replace(settings, images=seen + 8, resume=True))
    assert store.read_card(path).training["images"] == seen + 8


def images_in(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["progress"]["images"]) if checkpoint.exists() else 0


class KillError(Exception):
    pass


def test_resuming_draws_on_as_if_never_interrupted(settings, monkeypatch):
    whole = store.read_card(loop.run(dataclasses.replace(settings, out=settings.out / "whole"))).hash
    halved = dataclasses.replace(settings, out=settings.out / "halved", save_seconds=0.0)
    save, saves = Training.save, []

    def killed(training):
        save(training)
        saves.append(1)
        if len(saves) == 2:
            raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", killed)
        with pytest.raises(KillError):
            loop.run(halved)
    assert 0 < images_in(halved.checkpoint) < settings.images
    assert store.read_card(loop.run(dataclasses.replace(halved, resume=True))).hash == whole


@pytest.mark.slow
def test_a_slow_device_saves_within_its_minute(settings, monkeypatch):
    """However few steps that is: a look every 25 steps would come too late."""
    taken, saves = Training.attempt, []
    monkeypatch.setattr(Training, "attempt", lambda self: (time.sleep(0.2), taken(self))[1])
    monkeypatch.setattr(Training, "save", lambda self: saves.append(self.progress.images))
    monkeypatch.setattr(loop, "finish", lambda _: None)
    loop.run(dataclasses.replace(settings, images=40, save_seconds=0.5))
    assert len(saves) >= 4 and saves[-1] == 40


def test_resume_refuses_nothing_and_another_training(settings, monkeypatch):
    with pytest.raises(TrainError, match="no unfinished training to resume"):
        loop.run(dataclasses.replace(settings, resume=True))
    monkeypatch.setattr(store, "save", lambda *_: (_ for _ in ()).throw(loop.ModelError("disk full")))
    with pytest.raises(TrainError, match="disk full"):
        loop.run(dataclasses.replace(settings, images=4))
    with pytest.raises(TrainError, match=r"seed = 0, this one has 5"):
        loop.run(dataclasses.replace(settings, resume=True, seed=5))


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)])
def test_a_weight_that_is_no_number_rolls_back_to_the_last_good_state(settings, monkeypatch, caplog, value):
    follow, steps = Nets.follow, []

    def poisoned(nets):
        steps.append(1)
        if len(steps) == 3:  # one weight of the critic: the next step carries it into everything
            with torch.no_grad():
                next(nets.critic.parameters())[0, 0, 0, 0] = value
        follow(nets)

    monkeypatch.setattr(Nets, "follow", poisoned)
    monkeypatch.setattr(loop.checkpoint, "save", saved := Saved())
    generator, card = store.load(loop.run(dataclasses.replace(settings, images=20, save_seconds=0.0)))
    good = int(re.search(r"no number after \d+ images: back to (\d+)", caplog.text)[1])
    assert 0 < good <= 12 and card.training["images"] == 20 and len(steps) > 5
    assert saved.all_finite and all(p.isfinite().all() for p in generator.parameters())


class Saved:
    """Saves, and looks whether only numbers were saved."""

    def __init__(self):
        self.save, self.all_finite = loop.checkpoint.save, True

    def __call__(self, path, nets, *rest):
        self.all_finite &= all(bool(t.isfinite().all()) for t in nets.generator.state_dict().values())
        self.save(path, nets, *rest)


def test_losses_that_keep_running_away_are_given_up(settings, monkeypatch):
    monkeypatch.setattr(loop, "GIVE_UP", 1)
    monkeypatch.setattr(Nets, "finite", lambda _: False)
    with pytest.raises(TrainError, match="ran away 2 times"):
        loop.run(settings)


LIMITED = """
import resource
from l2s_node.train import loop, schedule
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = False  # it says "could not create a primitive" where memory is short
honest = loop.prepare
def prepare(*args):  # all that a training needs but its batches is there
    loop.prepare = honest
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + int(sys.argv[3]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return honest(*args)
loop.prepare = prepare
import logging
logging.basicConfig(level=logging.INFO)
print(loop.run(small(Path(sys.argv[1]), Path(sys.argv[2]), images=int(sys.argv[4]), batch=64)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space that the system keeps")
@pytest.mark.slow
def test_a_batch_that_does_not_fit_the_memory_is_halved(settings, pictures):
    """The allocator itself refuses: the process may not have 150 MB more than it has when it starts to train."""
    command = elsewhere(LIMITED, pictures, settings.out, 150, 40)
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert "the memory is too small for a batch of 64: going on with 32" in said.stderr
    training = store.read_card(settings.world).training
    assert training["batch"] in (4, 8, 16, 32) and training["images"] >= 40


def test_where_not_even_two_pictures_fit_is_one_sentence(settings, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Nets, "follow", full)
    with pytest.raises(TrainError, match="too small for a batch of 4: take a smaller --size"):
        loop.run(dataclasses.replace(settings, batch=8))


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_minutes_are_minutes_on_the_clock_and_the_schedule_fits_them(settings, monkeypatch):
    """Reading takes 1.5 of 4 seconds here; the rates still fall to their end."""
    monkeypatch.setattr(schedule, "LOOK_SECONDS", 0.1)  # the schedule goes on where the losses are looked at
    read, pace, factors = loop.read, Nets.set_pace, []
    monkeypatch.setattr(loop, "read", lambda *args: (time.sleep(1.5), read(*args))[1])
    monkeypatch.setattr(Nets, "set_pace", lambda nets, part: (factors.append(part), pace(nets, part))[1])
    began = time.monotonic()
    card = store.read_card(loop.run(dataclasses.replace(settings, images=None, minutes=4 / 60)))
    assert time.monotonic() - began < 8 and card.training["minutes"] >= 0.06
    assert factors == sorted(factors) and factors[0] == 0 and 0.75 < factors[-1] < 1


def test_a_cpu_says_how_slow_it_is(settings, caplog):
    caplog.set_level("INFO")
    loop.run(dataclasses.replace(settings, images=20, minutes=10.0))
    assert re.search(r"training on cpu: [\d.e+]+ images a second, [\d,]+ in 10 minutes; .* hours", caplog.text)


# --- from another world ----------------------------------------------------------------------------------------------


def test_a_training_starts_from_another_world(settings, monkeypatch):
    first = loop.run(settings)
    monkeypatch.setattr(config, "worlds_folders", lambda extra: tuple(extra))
    starts = []
    begin = loop.begin
    monkeypatch.setattr(loop, "begin", lambda s, nets, g: (starts.append(copied(nets)), begin(s, nets, g))[1])
    for start in ("meadow", str(first)):
        again = loop.run(dataclasses.replace(settings, name="heath", start=start, images=4, seed=9))
        assert store.read_card(again).training["from"] == start
    trained = store.load(first)[0].state_dict()
    for weights in starts:
        assert all(torch.equal(weights[name], trained[name]) for name in trained if "num_batches" not in name)


def copied(nets):
    return {name: tensor.clone() for name, tensor in nets.average.state_dict().items()}


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("nowhere", "can't start from nowhere: there is no world 'nowhere'"),
        ("meadow", "it is a subpixel of 4,6,8 channels, this is to be a subpixel of 4,8,8 channels"),
    ],
)
def test_what_cannot_be_started_from_is_one_sentence(settings, start, sentence):
    loop.run(dataclasses.replace(settings, images=4))
    with pytest.raises(TrainError, match=sentence):
        loop.run(dataclasses.replace(settings, name="heath", start=start, channels=(4, 8, 8)))


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_sheet_of_the_moment_is_shown_while_it_trains(settings):
    shown = []
    loop.run(dataclasses.replace(settings, images=16), shown.append)
    assert shown and all(picture.shape == (512, 512, 3) and picture.dtype == np.uint8 for picture in shown)
    assert shown[0].std() > 10


# --- what is refused -------------------------------------------------------------------------------------------------


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
        ({"batch": 1}, "at least 4"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"resolution": 100}, "steps of 8"),
        ({"pictures": (Path("nowhere"),)}, "no folder or file nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(settings, change, sentence):
    with pytest.raises(TrainError, match=sentence):
        loop.run(dataclasses.replace(settings, **change))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own ways
def test_a_compiled_step_learns_the_same(settings, monkeypatch):
    """By torch's own compiler up to, but without, making code: that is for GPUs and takes a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    album = Album([np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)] * 2, torch.device("cpu"))
    learned = []
    for compiled in (False, True):
        torch.manual_seed(0)
        nets = loop.make_nets(settings, Group(torch.device("cpu")))
        nets.compile(compiled)
        step = loop.prepare(settings, nets, loop.make_batches(settings, album, album, 4))
        learned.append([{name: float(value) for name, value in step().items()} for _ in range(2)])
    for plain, fused in zip(*learned, strict=True):
        assert fused == pytest.approx(plain, rel=1e-3, abs=1e-4)
