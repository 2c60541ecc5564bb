"""8 bits: the picture survives, what is kept plays without NNCF, and nobody hears of it."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively

from l2s_node.errors import EngineError
from l2s_node.models import engines, quantise, trial
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import openvino
from l2s_node.models.engines.base import READY, Engine
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.train.examples import examples

CPU = torch.device("cpu")
SHAPE = (1, 1, 64, 128)
OTHERS = [pytest.param(shape, marks=pytest.mark.slow) for shape in ((1, 1, 128, 128), (1, 1, 192, 64))]
CARD = dataclasses.replace(SUBPIXEL, hash="0" * 64)

pytestmark = pytest.mark.skipif(openvino.missing() is not None, reason="openvino isn't here")
needs_nncf = pytest.mark.skipif(quantise.missing() is not None, reason=str(quantise.missing()))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prebuilt:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    return Prebuilt(building=True, examples=examples)


def built(card: ModelCard, store: Prebuilt | None) -> tuple[Engine, Generator]:
    generator = lively(card)
    generator.draw_field(*SHAPE[2:], 5)
    engine, _ = engines.build("openvino", generator, card, SHAPE, CPU, "int8", store)
    return engine, generator


# --- without NNCF -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store_of_a_show", [None, Prebuilt(Path("nowhere"))], ids=["none", "empty"])
def test_where_nothing_is_kept_a_show_says_what_to_do(store_of_a_show: Prebuilt | None) -> None:
    with pytest.raises(EngineError, match="int8 isn't made in a show") as refused:
        built(CARD, store_of_a_show)
    assert "--precision int8" in str(refused.value)


def test_what_is_missing_is_named(store: Prebuilt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "missing", lambda: "nncf isn't installed: pip install nncf")
    with pytest.raises(EngineError, match="pip install nncf"):
        built(CARD, store)
    assert ("openvino", "int8") not in engines.contenders(CPU, CARD)


def test_a_processor_without_8_bits_has_none(store: Prebuilt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "offered", lambda _: (("float32",), "an old one"))
    with pytest.raises(EngineError, match="can't calculate in int8 here, but in float32"):
        built(CARD, store)


@pytest.mark.parametrize("shape", [SHAPE, *OTHERS], ids=str)
def test_examples_are_like_a_shows_inputs(shape: tuple[int, int, int, int]) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    made = examples(shape, 40, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before), "they leave others' random numbers alone"
    assert made.shape == (40, *shape[1:]) and made.dtype == torch.float32 and made.is_contiguous()
    assert torch.equal(made, examples(shape, 40, seed=3)) and not torch.equal(made, examples(shape, 40, seed=4))
    assert -1.1 < made.min() < -0.8 and 0.8 < made.max() < 1.1
    means = made.mean((1, 2, 3))
    assert means.std() > 0.1, "some are dark, some bright"


# --- with it ----------------------------------------------------------------------------------------------------------


@needs_nncf
@pytest.mark.parametrize(
    "card",
    [CARD, dataclasses.replace(CLASSIC, hash="1" * 64), dataclasses.replace(CARD, norm="frame", hash="2" * 64)],
    ids=["subpixel", "classic", "frame"],
)
def test_the_picture_survives(card: ModelCard, store: Prebuilt, capfd: pytest.CaptureFixture[str]) -> None:
    """Random weights are the hardest: nothing in them is redundant."""
    engine, generator = built(card, store)
    assert capfd.readouterr().out == "", "no progress bar in the lines of l2s build"
    assert engine.precision == "int8" and READY not in engine.reason and "8 bits between" in engine.reason
    inputs = examples(SHAPE, 24, seed=1)
    assert 22 < trial.decibels(engine, generator, inputs) < 60
    if engine.seeds is not None:
        engine.seeds.copy_(torch.tensor([0.5, -0.5, 0.5, 0.5]))
        drifted = lambda x: generator(x, seeds=engine.seeds)  # noqa: E731
        assert trial.decibels(generator, drifted, inputs) < 20 < trial.decibels(engine, drifted, inputs)
    engine.close()


@needs_nncf
def test_what_is_kept_plays_without_nncf(store: Prebuilt, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = built(CARD, store)
    (x,) = examples(SHAPE, 1, seed=2)[:, None]
    want = first(x).clone()
    first.close()
    monkeypatch.setattr(quantise, "missing", lambda: "nncf isn't installed")
    for again in (Prebuilt(), Prebuilt(only=True)):
        engine, _ = built(CARD, again)
        assert READY in engine.reason and torch.equal(engine(x), want)
        engine.close()


def origin(op: Any, index: int) -> str:
    """What an operation's input is made by, borders, scales and changes of type left out; of constants their type."""
    node = op.input_value(index).get_node()
    kind = str(node.get_type_name())
    if kind in ("Pad", "Convert", "Multiply"):
        return origin(node, 0)
    return str(node.get_output_element_type(0).to_string()) if kind == "Constant" else kind


@needs_nncf
def test_both_ends_stay_as_they_are_and_what_lies_between_doesnt() -> None:
    generator = lively(CARD)
    generator.draw_field(*SHAPE[2:], 5)
    model = quantise.quantised(openvino.written(generator, SHAPE), examples(SHAPE, 24))
    convolutions = [op for op in model.get_ordered_ops() if op.get_type_name() in quantise.CONVOLUTIONS]
    eight = [(origin(op, 0), origin(op, 1)) == ("FakeQuantize", "i8") for op in convolutions]
    assert len(eight) > 5 and eight == [False, *[True] * (len(eight) - 2), False]


@needs_nncf
def test_loggers_stay_pythons() -> None:
    quantise._imported()
    assert logging.getLoggerClass() is logging.Logger
