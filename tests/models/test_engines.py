"""Engines: one shape, chosen with a reason, each agreeing with eager float32."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib.util
import logging
import shutil
import subprocess
import sys
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture
from torch import Tensor
from torch._dynamo.utils import counters

from l2s_node import config
from l2s_node.collector import put_off
from l2s_node.errors import EngineError
from l2s_node.models import engines
from l2s_node.models.capture import CAPTURING
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import base, inductor, onnxruntime, openvino, tensorrt
from l2s_node.models.pix2pix import SEEDS, Generator
from l2s_node.models.prebuilt import Prebuilt, Slot

CPU = torch.device("cpu")
SHALLOW = dataclasses.replace(SUBPIXEL, channels=(4, 4), multiple=4)
FOLDER = Path(base.__file__).parent
CPU_ENGINES = [name for name in engines.NAMES if "cpu" in engines.room(name).DEVICES]

TOLERANCE = {"float32": (1e-5, 1e-4), "bfloat16": (0.01, 0.15)}
"""Mean and greatest difference to eager float32, in values of -1…1."""


def test_what_can_be_asked_for_is_what_engines_know() -> None:
    """The settings have a list of their own: they must not import torch."""
    assert config.PRECISIONS == ("auto", *base.PRECISIONS, base.INT8)


def skip_missing(name: str) -> None:
    reason = engines.room(name).missing()
    if reason is not None:
        pytest.skip(reason)


def reference(card: ModelCard, height: int, width: int, batch: int = 1) -> tuple[Generator, Tensor, Tensor]:
    """(generator, x, what it makes of x in eager float32)."""
    generator = lively(card)
    generator.draw_field(height, width, 5)
    x = picture(height, width, batch=batch)
    with torch.inference_mode():
        return generator, x, generator(x).clone()


def differences(got: Tensor, want: Tensor) -> tuple[float, float]:
    error = (got - want).abs()
    return error.mean().item(), error.max().item()


# --- shape ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", engines.NAMES)
def test_every_engine_has_the_same_shape(name: str) -> None:
    """Checked without importing it: this holds for engines that this machine can't run."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ast.unparse(functions["missing"].args) == ""
    assert ast.unparse(functions["missing"].returns or tree) == "str | None"
    wanted = "generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot=NOWHERE"
    assert ast.unparse(functions["build"].args) == wanted
    assigned = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    assert any(text.startswith("DEVICES = (") for text in assigned)
    (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and is_engine(node))
    assert ast.unparse(functions["build"].returns or tree) == made.name
    for attribute in ("device", "precision", "reason", "step", "seeds"):
        assert attribute in ast.unparse(made)


def is_engine(node: ast.ClassDef) -> bool:
    return {"__call__", "close"} <= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}


def test_every_file_is_an_engine_of_the_list() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.py")) == sorted([*engines.NAMES, "__init__", "base"])


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("norm", "size"), [("running", (256, 256)), ("running", (256, 448)), ("frame", (256, 448))], ids=str
)
@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_agrees_with_eager_float32(
    name: str, card: ModelCard, norm: str, size: tuple[int, int], precision: str
) -> None:
    skip_missing(name)
    agree(name, dataclasses.replace(card, norm=norm), size, precision)


@pytest.mark.parametrize(
    ("card", "norm", "size"),
    [(SUBPIXEL, "running", (256, 256)), (CLASSIC, "frame", (256, 448))],
    ids=["subpixel", "classic"],
)
def test_onnxruntime_agrees_with_eager_float32(card: ModelCard, norm: str, size: tuple[int, int]) -> None:
    skip_missing("onnxruntime")
    agree("onnxruntime", dataclasses.replace(card, norm=norm), size, "float32")


def agree(name: str, card: ModelCard, size: tuple[int, int], precision: str) -> None:
    generator, x, want = reference(card, *size)
    try:
        engine, _ = engines.build(name, generator, card, (1, 1, *size), CPU, precision)
    except EngineError as err:
        if precision == "float32":
            raise
        pytest.skip(str(err))  # a CPU without bfloat16
    apart = [differences(engine(x), want)]
    assert (engine.seeds is None) == (card.seed is None)
    if engine.seeds is not None:
        engine.seeds.copy_(torch.tensor([0.5, -0.9, 0.3, 1.0]))
        with torch.inference_mode():
            other = generator(x, seeds=engine.seeds)
        assert differences(other, want)[0] > 0.02
        apart.append(differences(engine(x), other))
    engine.close()
    assert want.std() > 0.3
    assert all(mean <= TOLERANCE[precision][0] and most <= TOLERANCE[precision][1] for mean, most in apart)
    assert engine.precision == precision and engine.device == CPU


def test_the_deepest_classic_agrees() -> None:
    """Its innermost norm sees 1x1, where a frame's statistics are a case of their own."""
    skip_missing("openvino")
    card = dataclasses.replace(CLASSIC, channels=(4, 4, 4, 4, 4, 4, 4, 4), multiple=256, norm="frame")
    agree("openvino", card, (256, 256), "float32")


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_batches(name: str) -> None:
    skip_missing(name)
    generator, x, want = reference(SUBPIXEL, 64, 128, 3)
    engine, _ = engines.build(name, generator, SUBPIXEL, (3, 1, 64, 128), CPU, "float32")
    assert differences(engine(x), want)[1] < 1e-4
    engine.close()


# --- behaviour --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Built:
    engine: engines.Engine
    generator: Generator
    before: dict[str, Tensor]
    x: Tensor
    want: Tensor


@pytest.fixture(scope="module", params=CPU_ENGINES)
def built(request: pytest.FixtureRequest) -> Iterator[Built]:
    """Each engine of a CPU, built once (an export to ONNX takes seconds)."""
    skip_missing(request.param)
    generator, x, want = reference(SUBPIXEL, 64, 64)
    before = copy.deepcopy(generator.state_dict())
    engine, _ = engines.build(request.param, generator, SUBPIXEL, (1, 1, 64, 64), CPU, "float32")
    yield Built(engine, generator, before, x, want)
    engine.close()


def test_the_output_is_one_fixed_buffer(built: Built) -> None:
    first = built.engine(built.x)
    kept, place = first.clone(), first.data_ptr()
    second = built.engine(-built.x)
    assert second.data_ptr() == place and not torch.equal(second, kept)
    assert torch.equal(built.engine(built.x), kept) and differences(kept, built.want)[1] < 1e-4
    assert first.shape == (1, 3, 64, 64) and first.dtype == torch.float32 and first.is_contiguous()


def test_the_generator_is_left_as_it_was(built: Built) -> None:
    built.engine(built.x)
    after = built.generator.state_dict()
    assert built.before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in built.before.items())


def test_threads_dont_spin_between_frames(built: Built) -> None:
    if built.engine.name == "eager":
        pytest.skip("its threads are OpenMP's: __main__ tells them to sleep before torch is loaded")
    for _ in range(5):
        built.engine(built.x)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25  # one spinning thread would have spent 0.5 s


def test_eager_offers_its_step() -> None:
    generator, x, want = reference(SUBPIXEL, 64, 64)
    engine, _ = engines.build("eager", generator, SUBPIXEL, (1, 1, 64, 64), CPU)
    assert engine.step is not None
    assert differences(engine.step(x), want)[1] < 1e-4


def test_a_step_takes_seeds_of_its_own_and_leaves_the_engine_s_alone() -> None:
    """So that the graphs of several channels may be played at once."""
    generator, x, want = reference(SUBPIXEL, 64, 64)
    engine, _ = engines.build("eager", generator, SUBPIXEL, (1, 1, 64, 64), CPU)
    assert engine.step is not None and engine.seeds is not None
    before, own = engine.seeds.clone(), torch.tensor([0.5, -0.9, 0.3, 1.0])
    made = engine.step(x, own)
    with torch.inference_mode():
        assert differences(made, generator(x, seeds=own))[1] < 1e-4
    assert torch.equal(engine.seeds, before) and differences(engine.step(x), want)[1] < 1e-4


def test_a_live_dropout_isnt_compiled_away() -> None:
    card = dataclasses.replace(CLASSIC, dropout=True)
    generator = lively(card)
    ((name, _, reason),) = engines.choose("auto", CPU, card)
    assert name == "eager" and "dropout" in reason
    engine, _ = engines.build("auto", generator, card, (1, 1, 64, 64), CPU)
    x = picture()
    assert not torch.equal(engine(x).clone(), engine(x))
    for other in set(CPU_ENGINES) - {"eager"}:
        if engines.room(other).missing() is None:
            with pytest.raises(EngineError, match="dropout"):
                engines.build(other, generator, card, (1, 1, 64, 64), CPU)


class Odd(Generator):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, fields: None = None, seeds: None = None) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (torch.sin, "sin"),
        (lambda x: torch.nn.functional.conv2d(x.expand(-1, 2, -1, -1), torch.ones(2, 1, 1, 1), groups=2), "expand"),
        (lambda x: torch.nn.functional.batch_norm(x, torch.zeros(1), torch.ones(1)), "running statistics"),
    ],
    ids=["sin", "groups", "norm"],
)
def test_openvino_says_what_it_cant_write(function: Callable[[Tensor], Tensor], text: str) -> None:
    skip_missing("openvino")
    with pytest.raises(EngineError, match=text):
        openvino.build(Odd(function), (1, 1, 8, 8), CPU, "auto")


def brighter(x: Tensor) -> Tensor:
    return x + 1


def test_torchs_compiler_doesnt_give_up_after_eight_shapes() -> None:
    """It counts recompilations per code object; here without a GPU, so without inductor itself."""
    for height in range(8, 48, 4):
        run = inductor.afresh(brighter, "eager")
        with torch.inference_mode():
            assert run(torch.zeros(1, 1, height, 8)).min() == 1


def as_it_is(graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]) -> Callable[..., Any]:
    """A compiler that takes no time."""
    return graph


def test_so_many_networks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "by_inductor", as_it_is)
    monkeypatch.setattr(inductor, "NETWORKS", inductor.Remembered(inductor.NETWORKS.most))
    generator = lively(SHALLOW)
    for index in range(10):
        height = 8 + 4 * index
        generator.draw_field(height, 8, 1)
        x, shape = picture(height, 8), (1, 1, height, 8)
        run = inductor.compiled(generator, shape, CPU, torch.float32, inductor.QUICK, "shallow")
        weights = torch.tensor([0.5, 0.5, 0.5, 0.5])
        with torch.inference_mode():
            assert differences(run(x, weights), generator(x, seeds=weights))[1] < 1e-4
    assert len(inductor.NETWORKS) == inductor.NETWORKS.most < 10


def made_by_inductor(generator: Generator, monkeypatch: pytest.MonkeyPatch, store: Prebuilt | None = None) -> Any:
    """Its engine but for the graph: there may be no GPU here."""

    class Played:
        def __init__(self, run: Callable[..., Tensor], *others: Any) -> None:
            self.run, self.reason = run, others[-1]

    monkeypatch.setattr(inductor, "_Inductor", Played)
    monkeypatch.setattr(inductor, "by_inductor", as_it_is)
    slot = Slot(store, {"engine": "inductor"})
    return inductor.build(generator, (1, 1, 64, 64), CPU, "float32", slot)


def test_that_inductor_has_compiled_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    generator, _, _ = reference(CLASSIC, 64, 64)
    with pytest.raises(EngineError):
        made_by_inductor(generator, monkeypatch, Prebuilt(only=True))
    first = made_by_inductor(generator, monkeypatch, Prebuilt())
    (inductor.cache() / "code").touch()
    second = made_by_inductor(generator, monkeypatch, Prebuilt())
    assert base.READY not in first.reason and base.READY in second.reason
    shutil.rmtree(tmp_path / "inductor")
    assert base.READY not in made_by_inductor(generator, monkeypatch, Prebuilt()).reason


def test_one_build_of_inductors_is_of_use_to_all_worlds_of_a_size(tmp_path: Path) -> None:
    store, shape = Prebuilt(tmp_path), (1, 1, 64, 64)
    one, other = (dataclasses.replace(SUBPIXEL, hash=each * 64, seed=ord(each)) for each in "ab")
    engines.slot("inductor", one, shape, CPU, store).keep("float16", b"kept")
    assert engines.slot("inductor", other, shape, CPU, store).has("float16")
    for card in (dataclasses.replace(other, channels=(4, 8, 16)), dataclasses.replace(other, seed=None)):
        assert not engines.slot("inductor", card, shape, CPU, store).has("float16")
    engines.slot("openvino", one, shape, CPU, store).keep("float32", b"kept")
    assert not engines.slot("openvino", other, shape, CPU, store).has("float32")


def test_a_compiler_that_a_capture_disturbed_is_asked_again() -> None:
    """Seen on an H100 with eight channels: it went its usual, slower ways from there on."""
    asked: list[dict[str, Any]] = []

    def make(options: dict[str, Any]) -> str:
        asked.append(options)
        if len(asked) == 1:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore of it")
        return "made"

    assert inductor.either(make) == "made" and asked == [inductor.QUICK] * 2
    asked.clear()

    def never(options: dict[str, Any]) -> str:
        asked.append(options)
        if options:
            raise RuntimeError("no such option")
        return "made"

    assert inductor.either(never) == "made" and asked == [inductor.QUICK, {}]


def test_a_compiled_world_goes_without_a_search_for_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first one that is compiled nothing is ever searched again: see `collector.keep`."""
    held: list[weakref.ref[object]] = []

    class Watched(inductor._Whole):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            held.extend(map(weakref.ref, self.parameters()))

    monkeypatch.setattr(inductor, "_Whole", Watched)
    monkeypatch.setattr(inductor, "by_inductor", as_it_is)
    generator = lively(SHALLOW)
    generator.draw_field(8, 8, 5)
    with put_off():
        shape = (1, 1, 8, 8)
        run = inductor.compiled(generator, shape, CPU, torch.float32, inductor.QUICK, "remembered")
        with torch.inference_mode():
            run(torch.zeros(1, 1, 8, 8), inductor.seeds_of(generator, CPU))
        assert held and all(each() is not None for each in held)
        del run
        assert not any(each() is not None for each in held)


@pytest.mark.parametrize(
    "card", [SHALLOW, dataclasses.replace(CLASSIC, channels=(4, 4), multiple=4)], ids=lambda c: c.architecture
)
def test_another_world_of_the_network_compiles_nothing(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def noted(graph: torch.fx.GraphModule, *_: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(inductor, "by_inductor", noted)

    def played(number: int, network: str) -> Tensor:
        generator, shape = lively(card, number), (1, 1, 8, 8)
        generator.draw_field(8, 8, number)
        run = inductor.compiled(generator, shape, CPU, torch.float32, inductor.QUICK, network)
        x, seeds = picture(8, 8), inductor.seeds_of(generator, CPU)
        with torch.inference_mode():
            wanted = generator(x) if seeds is None else generator(x, seeds=seeds)
            assert differences(run(x, seeds), wanted)[1] < 1e-4
            return wanted

    first = played(0, f"{card.architecture} one")
    for number in (1, 2, 3):
        assert differences(played(number, f"{card.architecture} one"), first)[1] > 0.1
    assert len(graphs) == 1
    played(4, f"{card.architecture} other")
    assert len(graphs) == 2


def test_where_nothing_can_be_recorded_torchs_compiler_follows_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all that it is given in a show, and for all worlds."""
    followed: list[torch.fx.GraphModule] = []

    def noted(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        followed.append(graph)
        return graph.forward

    afresh = inductor.afresh
    monkeypatch.setattr(inductor, "afresh", lambda function: afresh(function, noted))
    x = picture(8, 8)
    for number in (0, 1):
        generator = lively(SHALLOW, number)
        generator.draw_field(8, 8, number)
        run = inductor.compiled(generator, (1, 1, 8, 8), CPU, torch.float32, network="followed")
        seeds = inductor.seeds_of(generator, CPU)
        with torch.inference_mode():
            wanted = generator(x, seeds=seeds)
            assert differences(run(x, seeds), wanted)[1] < 1e-4
            assert differences(run(x.clone(), seeds), wanted)[1] < 1e-4
    assert len(followed) == 1


def test_nothing_that_is_compiled_is_called_while_a_network_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses that in any thread: graphs would be given up by `l2s-graph` while `l2s-build` records."""
    monkeypatch.setattr(inductor, "by_inductor", as_it_is)
    runs, recording, shown = 0, threading.Event(), list[Tensor]()
    compiled = inductor.afresh(brighter, "eager")

    def slow(x: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        if runs == 2:  # the first time it is looked at, for its sizes
            recording.set()
            time.sleep(0.3)
        return x.expand(-1, 3, -1, -1)

    def capture() -> None:
        assert recording.wait(10)
        with CAPTURING, torch.inference_mode():
            shown.append(compiled(torch.ones(2)))

    other = threading.Thread(target=capture)
    other.start()
    inductor.compiled(Odd(slow), (1, 1, 8, 8), CPU, torch.float32, inductor.QUICK)
    other.join()
    assert runs == 2 and len(shown) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within torch
@pytest.mark.parametrize("norm", ["running", "frame"])
def test_what_inductor_has_compiled_it_finds_again(norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own hand, for a CPU: recorded again, another world of the network compiles nothing."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    card = dataclasses.replace(CLASSIC, channels=(4, 4), multiple=4, norm=norm)
    found = []
    for number in (0, 1):
        generator, x = lively(card, number), picture(8, 8)
        before = counters["aot_autograd"]["autograd_cache_hit"]
        run = inductor.compiled(generator, (1, 1, 8, 8), CPU, torch.float32, inductor.QUICK)
        found.append(counters["aot_autograd"]["autograd_cache_hit"] - before)
        with torch.inference_mode():
            assert differences(run(x, None), generator(x))[1] < 1e-4
    assert found == [0, 1]


# --- ONNX Runtime with NVIDIA's plugin --------------------------------------------------------------------------------


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """A package of the plugin's shape whose library isn't there; yields what was registered with ONNX Runtime."""
    skip_missing("onnxruntime")
    import onnxruntime as ort

    taken: list[tuple[str, str]] = []
    module = ModuleType(onnxruntime.PLUGIN)
    module.get_ep_name = lambda: "NvTensorRTRTXExecutionProvider"  # type: ignore[attr-defined]
    module.get_library_path = lambda: "/nowhere/libonnxruntime_providers_nv_tensorrt_rtx.so"  # type: ignore[attr-defined]
    module.__spec__ = ModuleSpec(onnxruntime.PLUGIN, None)
    monkeypatch.setitem(sys.modules, onnxruntime.PLUGIN, module)
    monkeypatch.setattr(ort, "register_execution_provider_library", lambda *args: taken.append(args))
    onnxruntime._registered.cache_clear()
    yield taken
    onnxruntime._registered.cache_clear()


def on_a_gpu() -> engines.Engine:
    return onnxruntime.build(lively(CLASSIC), (1, 1, 64, 64), torch.device("cuda"), "auto")


def test_the_plugin_is_named_where_it_lacks() -> None:
    skip_missing("onnxruntime")
    if importlib.util.find_spec(onnxruntime.PLUGIN) is not None:
        pytest.skip("it is installed")
    with pytest.raises(EngineError, match="pip install onnxruntime-ep-nv-tensorrt-rtx"):
        on_a_gpu()


def test_a_plugin_without_a_gpu_is_one_sentence(plugin: list[tuple[str, str]]) -> None:
    for _ in range(2):
        with pytest.raises(EngineError, match="finds no GPU; it wants an RTX 30"):
            on_a_gpu()
    assert plugin == [("NvTensorRTRTXExecutionProvider", "/nowhere/libonnxruntime_providers_nv_tensorrt_rtx.so")]


def test_a_plugin_that_cant_be_loaded_is_one_sentence(
    plugin: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no NVIDIA driver: "libcuda.so.1: cannot open shared object file"."""
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    monkeypatch.setattr(ort, "register_execution_provider_library", state.register_execution_provider_library)
    with pytest.raises(EngineError, match="/nowhere/libonnxruntime_providers"):
        on_a_gpu()


@pytest.mark.slow
def test_the_export_for_a_gpu_is_in_half_precision() -> None:
    skip_missing("onnxruntime")
    import onnxruntime as ort

    generator, x, want = reference(SUBPIXEL, 64, 64)
    model = onnxruntime.exported(generator, (1, 1, 64, 64), torch.float16)
    assert len(model) < 0.7 * len(onnxruntime.exported(generator, (1, 1, 64, 64)))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given, weights), (made,) = session.get_inputs(), session.get_outputs()
    assert given.type == weights.type == made.type == "tensor(float)"
    first = np.eye(1, SEEDS, dtype=np.float32)[0]
    mean, most = differences(torch.from_numpy(session.run(None, {given.name: x.numpy(), weights.name: first})[0]), want)
    assert mean < 0.005 and most < 0.1


@pytest.mark.slow
def test_the_real_plugin_has_the_shape_that_it_is_used_by(tmp_path: Path) -> None:
    """Read, not imported: 146 MB, most of them NVIDIA's libraries."""
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    try:
        subprocess.run(
            [*get, "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0"], check=True, capture_output=True, timeout=300
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"can't download the plugin: {err}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        source = ast.parse(archive.read(f"{onnxruntime.PLUGIN}/__init__.py"))
    functions = {node.name: ast.unparse(node.args) for node in source.body if isinstance(node, ast.FunctionDef)}
    assert functions["get_ep_name"] == functions["get_library_path"] == ""


# --- choice -----------------------------------------------------------------------------------------------------------


def test_auto_on_a_cpu_prefers_openvino() -> None:
    skip_missing("openvino")
    names = [choice.name for choice in engines.choose("auto", CPU, SUBPIXEL) if choice.why]
    assert names[0] == "openvino" and names[-1] == "eager"


def test_auto_says_why_it_took_another(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What is missing is passed over, what fails falls back, and both reasons are told."""

    def broken(*_: object) -> None:
        raise EngineError("no such kernel")

    monkeypatch.setattr(engines.room("openvino"), "missing", lambda: "openvino isn't installed: pip install openvino")
    monkeypatch.setattr(engines.room("onnxruntime"), "missing", lambda: None)
    monkeypatch.setattr(engines.room("onnxruntime"), "build", broken)
    generator, x, want = reference(SUBPIXEL, 64, 64)
    with caplog.at_level(logging.INFO):
        engine, reason = engines.build("auto", generator, SUBPIXEL, (1, 1, 64, 64), CPU)
    assert engine.name == "eager" and differences(engine(x), want)[1] < 1e-4
    assert "pip install openvino" in reason and "no such kernel" in reason and "float32" in reason
    assert "onnxruntime: no such kernel" in caplog.text and reason in caplog.text


def test_on_a_gpu_eager_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, mps = torch.device("cuda"), torch.device("mps")
    monkeypatch.setattr(inductor, "missing", lambda: None)
    assert [choice.name for choice in engines.choose("auto", cuda, SUBPIXEL)] == ["inductor", "eager"]
    monkeypatch.setattr(inductor, "missing", lambda: "triton isn't installed")
    ((name, _, reason),) = engines.choose("auto", cuda, SUBPIXEL)
    assert name == "eager" and "triton isn't installed" in reason
    assert [choice.name for choice in engines.choose("auto", mps, SUBPIXEL)] == ["eager"]


def test_what_was_asked_for_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.choose("eager", CPU, SUBPIXEL) == [("eager", "auto", "asked for")]
    with pytest.raises(EngineError, match="no engine 'warp'; there are eager"):
        engines.choose("warp", CPU, SUBPIXEL)
    with pytest.raises(EngineError, match="inductor doesn't run on cpu, but on cuda"):
        engines.choose("inductor", CPU, SUBPIXEL)
    monkeypatch.setattr(openvino, "missing", lambda: "openvino isn't installed: pip install openvino")
    with pytest.raises(EngineError, match="pip install openvino"):
        engines.choose("openvino", CPU, SUBPIXEL)


def test_precision_and_canvas_are_checked() -> None:
    generator, _, _ = reference(SUBPIXEL, 64, 64)
    with pytest.raises(EngineError, match=r"float16 here, but in float32"):
        engines.build("eager", generator, SUBPIXEL, (1, 1, 64, 64), CPU, "float16")
    with pytest.raises(EngineError, match=r"100x64 is no canvas .* multiples of 64"):
        engines.build("eager", generator, SUBPIXEL, (1, 1, 64, 100), CPU)


def test_openvino_takes_bfloat16_only_where_the_cpu_has_it() -> None:
    assert openvino.offered(["FP32", "BIN"])[0] == ("float32",)
    precisions, why = openvino.offered(["BF16", "FP32"])
    assert precisions == ("bfloat16", "float32") and "bfloat16" in why
    assert openvino.offered(["FP32", "INT8", "BIN"])[0] == ("float32", "int8")
    assert openvino.offered(["BF16", "FP32", "INT8"])[0] == ("bfloat16", "float32", "int8")


def test_survey_names_every_engine_with_its_remedy() -> None:
    survey = dict(engines.survey())
    assert tuple(survey) == engines.NAMES and survey["eager"] is None
    if not torch.cuda.is_available():
        assert "NVIDIA" in str(survey["inductor"]) and "NVIDIA" in str(survey["tensorrt"])


def test_devices() -> None:
    device, reason = engines.pick_device("auto")
    assert reason and device.type in ("cpu", "cuda", "mps")
    assert engines.pick_device("cpu") == (CPU, "asked for")
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="NVIDIA"):
            engines.pick_device("cuda")
    with pytest.raises(EngineError, match="no device 'tpu'"):
        engines.pick_device("tpu")


# --- TensorRT, read ---------------------------------------------------------------------------------------------------


RUNTIME = {
    "Runtime": 1,
    "deserialize_cuda_engine": 1,
    "create_execution_context": 0,
    "get_tensor_name": 1,
    "get_tensor_mode": 1,
    "set_tensor_address": 2,
    "execute_async_v3": 1,
}
"""What the engine calls of TensorRT's own runtime, with how many arguments."""


def calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("fault", ["", "refused", "unbuildable"])
def test_what_tensorrt_built_is_kept_and_taken(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The way of the bytes only: neither TensorRT nor a GPU is here."""
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    built: list[bytes] = []

    def serialised(*_: object) -> bytes:
        if fault == "unbuildable":
            raise RuntimeError("no kernel")
        built.append(b"engine %d" % len(built))
        return built[-1]

    class Played:
        def __init__(self, engine: bytes, *others: Any) -> None:
            if engine == b"engine 0" and others[-1].endswith(base.READY) and fault == "refused":
                raise RuntimeError("TensorRT can't read the engine")
            self.engine, self.reason = engine, others[-1]

    def made() -> Any:
        return tensorrt.build(lively(CLASSIC), (1, 1, 64, 64), CPU, "auto", Slot(Prebuilt(), {"engine": "tensorrt"}))

    monkeypatch.setattr(tensorrt, "serialised", serialised)
    monkeypatch.setattr(tensorrt, "_TensorRT", Played)
    if fault == "unbuildable":
        with pytest.raises(EngineError, match="TensorRT can't build this world: no kernel"):
            made()
        return
    assert made().engine == b"engine 0" and not caplog.messages
    second = made()
    assert second.engine == (b"engine 1" if fault else b"engine 0")
    assert (base.READY in second.reason) is (not fault) and len(caplog.messages) == bool(fault)
    assert base.READY in made().reason


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def test_tensorrt_calls_what_is_checked() -> None:
    ours = calls((FOLDER / "tensorrt.py").read_text(encoding="utf-8"))
    for name, count in RUNTIME.items():
        found = [node for node in ours if called(node) == name]
        assert found and all(len(node.args) == count and not node.keywords for node in found), name


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.11.*", "2.12.*", "2.13.*", "2.14.*"])
def test_torch_tensorrt_takes_what_it_is_given(version: str, tmp_path: Path) -> None:
    """Its libraries are too big to install for a test; its source says what it takes and how it calls TensorRT.

    Its Python runtime makes the same calls as our engine does, so each must occur in it with as many arguments.
    """
    get = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "-d",
        str(tmp_path),
        f"torch-tensorrt=={version}",
    ]
    try:
        subprocess.run(get, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"can't download torch-tensorrt: {err}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        compiler = archive.read("torch_tensorrt/dynamo/_compiler.py").decode()
        exported = archive.read("torch_tensorrt/dynamo/__init__.py").decode()
        runtime = [name for name in archive.namelist() if name.startswith("torch_tensorrt/dynamo/runtime/")]
        theirs_run = [node for name in runtime if name.endswith(".py") for node in calls(archive.read(name).decode())]
    name = "convert_exported_program_to_serialized_trt_engine"
    (theirs,) = (n for n in ast.parse(compiler).body if isinstance(n, ast.FunctionDef) and n.name == name)
    (ours,) = (n for n in calls((FOLDER / "tensorrt.py").read_text(encoding="utf-8")) if called(n) == name)
    assert ast.unparse(ours.func) == f"torch_tensorrt.dynamo.{name}" and name in exported
    known = {a.arg for a in [*theirs.args.args, *theirs.args.kwonlyargs]}
    assert {k.arg for k in ours.keywords} <= known and len(ours.args) <= len(theirs.args.args)
    assert theirs.returns is not None and ast.unparse(theirs.returns) == "bytes"
    for each in RUNTIME.keys() - {"get_tensor_name", "get_tensor_mode", "create_execution_context"}:
        assert any(called(n) == each and len(n.args) == RUNTIME[each] for n in theirs_run), each
    text = "\n".join(ast.unparse(node) for node in theirs_run)
    assert "create_execution_context" in text
    if version in ("2.13.*", "2.14.*"):  # from 2.13 on it asks the engine for the names as well
        assert "get_tensor_name(" in text and "get_tensor_mode(" in text


def test_inductor_says_why_it_goes_its_usual_ways(caplog: pytest.LogCaptureFixture) -> None:
    def make(options: inductor.Options) -> str:
        if options:
            raise RuntimeError("vr must not be None\nand more")
        return "made"

    with caplog.at_level("INFO"):
        assert inductor.either(make) == "made"
    assert [each.getMessage().rpartition(": ")[2] for each in caplog.records] == ["vr must not be None"]
