"""ONNX Runtime: for CPUs where OpenVINO isn't available, and, by name, for RTX GPUs with NVIDIA's TensorRT-RTX plugin.

Exporting takes some seconds. The plugin's part is written against the files of onnxruntime-ep-nv-tensorrt-rtx 0.5.0 and
not run on a GPU yet; pictures go to it through host memory, which it takes on any system.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2s_node.errors import EngineError
from l2s_node.machine import threads
from l2s_node.models.engines.base import (
    PRECISIONS,
    READY,
    Shape,
    Typed,
    pick_precision,
    prepared,
    refuse_dropout,
    seeds_of,
)
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

DEVICES = ("cpu", "cuda")
PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
PACKAGES: tuple[str, ...] = (
    "onnxruntime", "onnx", "onnxscript", "onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12",
)  # fmt: skip

_OFFERED = {
    "cpu": (("float32",), "its CPU kernels have no other"),
    "cuda": (("float16", "float32"), "half the memory traffic of float32, relative error 5e-4"),
}


def missing() -> str | None:
    """Why ONNX Runtime can't be used here, or None."""
    for package in ("onnxruntime", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            return f"{package} isn't installed: pip install onnxruntime onnx onnxscript"
    return None


def build(
    generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE
) -> _ONNXRuntime:
    """See `engines.base`."""
    refuse_dropout(generator, "onnxruntime")
    precision, why = pick_precision(precision, *_OFFERED[device.type])
    try:
        kept = _ready(generator, shape, device, precision, why, slot)
        return kept or _exported(generator, shape, device, precision, why, slot)
    except (ImportError, OSError) as err:
        raise EngineError(f"onnxruntime or onnx can't be loaded ({err}): install them again") from err
    except _refusals() as err:
        raise EngineError(f"onnxruntime can't build this world: {err}") from err


def _ready(
    generator: Generator, shape: Shape, device: torch.device, precision: str, why: str, slot: Slot
) -> _ONNXRuntime | None:
    """What was exported and optimised before, or None; ONNX's own format: operations by name, and numbers."""
    kept = slot.take(precision)
    if kept is None:
        return None
    try:
        return _ONNXRuntime(kept, shape, seeds_of(generator, device), device, precision, f"{why}; {READY}")
    except _refusals() as err:
        slot.refused(precision, err)
        return None


def _exported(
    generator: Generator, shape: Shape, device: torch.device, precision: str, why: str, slot: Slot
) -> _ONNXRuntime:
    if device.type == "cuda":
        plugin_devices()  # before seconds of exporting
    model, seeds = exported(generator, shape, PRECISIONS[precision]), seeds_of(generator, device)
    if not slot.building or device.type == "cuda":
        engine = _ONNXRuntime(model, shape, seeds, device, precision, why)
        if slot.building:  # what a plugin compiles can't be written with it
            slot.keep(precision, model)
        return engine
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        engine = _ONNXRuntime(model, shape, seeds, device, precision, why, path)
        slot.keep(precision, path.read_bytes())
    return engine


def _refusals() -> tuple[type[Exception], ...]:
    """What the exporter and ONNX Runtime raise for a model that they don't take."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented")
    return RuntimeError, state.RuntimeException, *(getattr(state, name) for name in named)


def plugin_devices() -> list[Any]:
    """The GPUs that NVIDIA's plugin runs on, at least one.

    Raises:
        EngineError: it isn't installed, or there are none; with the remedy.
    """
    import onnxruntime

    if importlib.util.find_spec(PLUGIN) is None:
        raise EngineError("onnxruntime plays on a GPU with NVIDIA's plugin: pip install onnxruntime-ep-nv-tensorrt-rtx")
    name = _registered()
    found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not found:
        raise EngineError("NVIDIA's plugin for onnxruntime finds no GPU; it wants an RTX 30 or newer: --engine auto")
    return found


@functools.cache
def _registered() -> str:
    """The plugin's name, after it was made known to ONNX Runtime, which takes it once in a process."""
    import onnxruntime

    plugin = importlib.import_module(PLUGIN)
    name: str = plugin.get_ep_name()
    onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
    return name


class _ONNXRuntime:
    name = "onnxruntime"
    step = None
    fence = None

    def __init__(
        self,
        model: bytes,
        shape: Shape,
        seeds: Tensor | None,
        device: torch.device,
        precision: str,
        why: str,
        write: Path | None = None,
    ) -> None:
        import onnxruntime

        self.device = device
        self.precision = precision
        self.seeds = seeds
        count = threads()
        self.reason = f"{why}; {count} threads"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        if write is not None:  # as this processor wants it, after all its rewriting
            options.optimized_model_filepath = str(write)
            options.log_severity_level = 3  # it warns that the file is for this processor only; so does its key
        for pool in ("intra_op", "inter_op"):  # quiet 2.9 instead of 2.0 ms, beside a busy process 2.7 instead of 6.2
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        if device.type == "cuda":
            options.add_provider_for_devices(plugin_devices()[:1], {})
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # all of it there, or nothing
            self._session = onnxruntime.InferenceSession(model, options)
        else:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        n, _, h, w = shape
        self._input = torch.zeros(shape)
        self._output = torch.empty((n, 3, h, w))
        self._there = self._output.to(device)  # the same tensor on a CPU
        self._binding = self._session.io_binding()
        self._weights = None if seeds is None else seeds.cpu()  # the same tensor on a CPU
        inputs = [self._input] if self._weights is None else [self._input, self._weights]
        for there, tensor in zip(self._session.get_inputs(), inputs, strict=True):
            self._bind(self._binding.bind_input, there.name, tensor)
        self._bind(self._binding.bind_output, self._session.get_outputs()[0].name, self._output)

    def _bind(self, bind: Any, name: str, tensor: Tensor) -> None:
        bind(name, "cpu", 0, "float32", tuple(tensor.shape), tensor.data_ptr())

    def __call__(self, x: Tensor) -> Tensor:
        self._input.copy_(x)
        if self._weights is not None and self.seeds is not None and self._weights is not self.seeds:
            self._weights.copy_(self.seeds)
        self._session.run_with_iobinding(self._binding)
        return self._output if self._there is self._output else self._there.copy_(self._output)

    def close(self) -> None:
        del self._binding, self._session, self._input, self._output, self._there


def exported(generator: Generator, shape: Shape, dtype: torch.dtype = torch.float32) -> bytes:
    """`generator` as a serialised ONNX model of fixed shape, of x and, where it has a seed field, its weights."""
    net = Typed(prepared(generator, torch.device("cpu"), dtype), dtype).eval()
    seeds = seeds_of(generator, torch.device("cpu"))
    inputs = (torch.zeros(shape),) if seeds is None else (torch.zeros(shape), seeds)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it complains about torchvision, which nobody needs here
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations among torch, onnxscript and onnx
            program = torch.onnx.export(net, inputs, dynamo=True, verbose=False)
    finally:
        log.setLevel(level)
    assert program is not None  # the dynamo exporter without a file name always gives one
    model: bytes = program.model_proto.SerializeToString()
    return model
