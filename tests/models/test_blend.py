"""Worlds between two others: what lies at the ends, what lies between, and what can't be mixed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from small_worlds import make_world

from l2s_node import loader
from l2s_node.config import RunConfig
from l2s_node.errors import ModelError
from l2s_node.models import blend, store, worlds

ROOT = Path(__file__).parent.parent.parent
SEA, CLOUDS = (ROOT / "presets" / "worlds" / name / "small.safetensors" for name in ("sea", "clouds"))


def played(generator, seed=7):
    generator.eval().draw_field(128, 128, seed)
    x = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2)), (128, 128))
    with torch.inference_mode():
        return generator(x * 2 - 1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sea", None),
        ("sea+clouds", ("sea", "clouds", 0.5)),
        ("sea+clouds@0.3", ("sea", "clouds", 0.3)),
        ("sea+clouds@1", ("sea", "clouds", 1.0)),
        ("shows/a+b.safetensors", None),
    ],
)
def test_names_of_worlds_between_two(name, meant):
    assert worlds.between(name) == meant


@pytest.mark.parametrize("name", ["sea+", "+sea", "sea+clouds@", "sea+clouds@2", "sea+clouds@nan", "sea+fire+clouds"])
def test_what_is_no_name_is_refused_with_how_to_write_it(name):
    with pytest.raises(ModelError, match=r"write it as sea\+clouds@0\.3"):
        worlds.between(name)


@pytest.mark.parametrize(("part", "end"), [(0.0, SEA), (1.0, CLOUDS)])
def test_at_either_end_lies_that_world(part, end):
    want = played(store.load(end)[0])
    assert torch.allclose(played(blend.generator(SEA, CLOUDS, part)), want, atol=1e-4)


def test_in_the_middle_lies_neither_and_no_grey():
    """The mean of all weights alone is pale; settled norms keep the contrast of what both paint."""
    sea, clouds, middle = (
        played(net) for net in (store.load(SEA)[0], store.load(CLOUDS)[0], blend.generator(SEA, CLOUDS, 0.5))
    )
    assert (middle - sea).abs().mean() > 0.1 < (middle - clouds).abs().mean()
    assert middle.std() > 0.7 * min(sea.std(), clouds.std())


def test_a_show_loads_it_by_name_and_its_engine_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    make_world(tmp_path, "black", grey=0.1)
    make_world(tmp_path, "white", grey=0.9)
    greys = []
    for world in ("black", "black+white@0.5", "white"):
        card, weights = loader.opened(world, "small")
        greys.append((card.hash, float(weights().eval().head.bias.detach().mean())))
    assert greys[1][1] == pytest.approx((greys[0][1] + greys[2][1]) / 2, abs=1e-3)
    assert len({hashed for hashed, _ in greys}) == 3
    request = loader.Request("black+white@0.5", "small", (128, 64))
    config = RunConfig(source="null:", sinks=("null:",), engine="eager", device="cpu")
    (ready,) = loader.load(request, config, torch.device("cpu"))
    assert ready.request.name == "black+white@0.5/small"
    ready.close()


def test_two_networks_that_differ_are_refused_with_both_named(tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    make_world(tmp_path, "thin", channels=(4, 4, 4))
    make_world(tmp_path, "wide")
    with pytest.raises(ModelError, match=r"thin/small and wide/small can't be mixed.*channels \(4, 4, 4\) and \(8, 8"):
        loader.opened("thin+wide", "small")


def test_an_unknown_one_of_the_two_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="no world 'moss'"):
        loader.known("sea+moss@0.2", "small")


def test_strangers_are_mixed_with_a_word_of_warning(tmp_path, caplog):
    """Other first weights: nothing holds the middle together, but the show is the artist's."""
    one, other = (make_world(tmp_path, name) for name in ("one", "other"))
    with caplog.at_level(logging.WARNING):
        blend.generator(one, other, 0.5)
    assert "grew from different first weights" in caplog.text
    assert blend.KIN < blend._likeness(*(store.load(path)[0].state_dict() for path in (SEA, CLOUDS)))
