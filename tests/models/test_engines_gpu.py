"""Engines on an NVIDIA GPU: parity with eager float32 on the CPU, fixed buffers, steps inside foreign CUDA graphs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture

from l2s_node.models import engines
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine, inductor
from l2s_node.models.engines.base import READY
from l2s_node.models.pix2pix import SEEDS, Generator
from l2s_node.models.prebuilt import Prebuilt

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]

CUDA = torch.device("cuda")
SIZE = (256, 448)

TOLERANCE = {"float32": (0.002, 0.05), "float16": (0.005, 0.1), "bfloat16": (0.02, 0.3)}
"""Mean and greatest difference, in values of -1…1. Convolutions of float32 are TF32 (10 bits) by torch's default."""


def made(name: str, card: ModelCard, precision: str = "auto") -> tuple[Generator, Engine]:
    reason = engines.room(name).missing()
    if reason is not None:
        pytest.skip(reason)
    generator = lively(card)
    generator.draw_field(*SIZE, 5)
    return generator, engines.build(name, generator, card, (1, 1, *SIZE), CUDA, precision)[0]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
@pytest.mark.parametrize("name", ["eager", "inductor", "tensorrt"])
def test_agrees_with_eager_float32(name: str, card: ModelCard, precision: str) -> None:
    generator, engine = made(name, card, precision)
    for seed in (1, 2):
        x = picture(*SIZE, seed=seed)
        with torch.inference_mode():
            error = (engine(x.to(CUDA)).cpu() - generator(x)).abs()
        assert error.mean() <= TOLERANCE[precision][0] and error.max() <= TOLERANCE[precision][1]
    engine.close()


@pytest.mark.parametrize("name", ["eager", "inductor"])
def test_the_output_is_one_fixed_buffer(name: str) -> None:
    _, engine = made(name, SUBPIXEL)
    x = picture(*SIZE).to(CUDA)
    place = engine(x).data_ptr()
    first = engine(x).clone()
    held = torch.cuda.memory_allocated()
    for _ in range(20):
        out = engine(x)
    assert out.data_ptr() == place and torch.equal(out, first) and torch.cuda.memory_allocated() == held
    assert out.dtype == torch.float32 and out.device.type == "cuda"
    engine.close()


@pytest.mark.parametrize("name", ["eager", "inductor"])
def test_the_step_can_be_captured_with_other_work(name: str) -> None:
    """What the pipeline does with the whole way of a frame."""
    _, engine = made(name, SUBPIXEL)
    assert engine.step is not None
    x = picture(*SIZE).to(CUDA)
    want = engine(x).clone() * 0.5 + 0.5
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            engine.step(x * 1.0)
    torch.cuda.current_stream().wait_stream(stream)
    source, graph = torch.zeros_like(x), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = engine.step(source * 1.0) * 0.5 + 0.5
    source.copy_(x)
    graph.replay()
    assert torch.allclose(out, want, atol=1e-2)
    engine.close()


def test_inference_mode_makes_no_second_compilation() -> None:
    """Seconds in the middle of a show."""
    _, engine = made("inductor", SUBPIXEL)
    assert engine.step is not None
    x = picture(*SIZE).to(CUDA)
    with torch._dynamo.config.patch(error_on_recompile=True):
        engine.step(x)
        with torch.inference_mode():
            engine.step(x.clone())
        with torch.no_grad():
            engine.step(x)
        own = torch.zeros(SEEDS, device=CUDA)  # of a program that plays beside others
        with torch.inference_mode():
            own.copy_(torch.tensor([0.5, -0.9, 0.3, 1.0]))
            other = engine.step(x, own)
    assert (other - engine.step(x)).abs().mean() > 0.02
    engine.close()


def test_auto_takes_inductor() -> None:
    engine = made("inductor", SUBPIXEL)[1]
    generator = lively(SUBPIXEL)
    generator.draw_field(*SIZE, 5)
    chosen, reason = engines.build("auto", generator, SUBPIXEL, (1, 1, *SIZE), CUDA)
    assert chosen.name == engine.name == "inductor" and "float16" in reason


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inductor", "tensorrt"])
def test_what_was_built_before_plays_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept by `l2s build`, taken by a show, and captured in a graph there."""
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    reason = engines.room(name).missing()
    if reason is not None:
        pytest.skip(reason)
    card = dataclasses.replace(SUBPIXEL, hash="0" * 64)
    generator = lively(card)
    generator.draw_field(*SIZE, 5)
    x = picture(*SIZE)
    with torch.inference_mode():
        want = generator(x)
    for store in (Prebuilt(building=True), Prebuilt(only=True)):
        engine, _ = engines.build(name, generator, card, (1, 1, *SIZE), CUDA, "auto", store)
        assert "not kept" not in engine.reason and (READY in engine.reason) is store.only
        assert (engine(x.to(CUDA)).cpu() - want).abs().mean() <= TOLERANCE["float16"][0]
        assert engine.step is not None
        source, graph = x.to(CUDA), torch.cuda.CUDAGraph()
        engine.step(source)
        with torch.cuda.graph(graph):
            out = engine.step(source) * 1.0
        graph.replay()
        assert (out.cpu() - want).abs().mean() <= TOLERANCE["float16"][0]
        engine.close()


@pytest.mark.slow
def test_worlds_of_one_network_share_what_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    reason = engines.room("inductor").missing()
    if reason is not None:
        pytest.skip(reason)
    compiled: list[object] = []

    def noted(graph: torch.fx.GraphModule, *others: Any) -> Any:
        compiled.append(graph)
        return by_inductor(graph, *others)

    by_inductor = inductor.by_inductor
    monkeypatch.setattr(inductor, "NETWORKS", inductor.Remembered(2))
    monkeypatch.setattr(inductor, "by_inductor", noted)
    x, shown = picture(*SIZE), []
    for number in (1, 2):
        card = dataclasses.replace(SUBPIXEL, hash=str(number) * 64, seed=number)
        generator = lively(card, number)
        generator.draw_field(*SIZE, number)
        with torch.inference_mode():
            want = generator(x)
        engine, _ = engines.build("inductor", generator, card, (1, 1, *SIZE), CUDA, "auto", Prebuilt())
        shown.append((engine, want))
        for played, wanted in shown:  # the first one still plays its own weights
            assert (played(x.to(CUDA)).cpu() - wanted).abs().mean() <= TOLERANCE["float16"][0]
    assert len(compiled) == 1
    assert (shown[0][1] - shown[1][1]).abs().mean() > 0.05
    for played, _ in shown:
        played.close()
