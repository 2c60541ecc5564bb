"""ONNX Runtime: for CPUs where OpenVINO isn't available. Exporting takes some seconds."""

from __future__ import annotations

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
from l2s_node.models.engines.base import READY, Shape, pick_precision, prepared, refuse_dropout
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

DEVICES = ("cpu",)
PACKAGES: tuple[str, ...] = ("onnxruntime", "onnx", "onnxscript")

_OFFERED = (("float32",), "its CPU kernels have no other")


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
    precision, why = pick_precision(precision, *_OFFERED)
    try:
        return _ready(shape, device, why, slot) or _exported(generator, shape, device, why, slot)
    except (ImportError, OSError) as err:
        raise EngineError(f"onnxruntime or onnx can't be loaded ({err}): install them again") from err
    except _refusals() as err:
        raise EngineError(f"onnxruntime can't build this world: {err}") from err


def _ready(shape: Shape, device: torch.device, why: str, slot: Slot) -> _ONNXRuntime | None:
    """What was exported and optimised before, or None; ONNX's own format: operations by name, and numbers."""
    kept = slot.take("float32")
    if kept is None:
        return None
    try:
        return _ONNXRuntime(kept, shape, device, f"{why}; {READY}")
    except _refusals() as err:
        slot.refused("float32", err)
        return None


def _exported(generator: Generator, shape: Shape, device: torch.device, why: str, slot: Slot) -> _ONNXRuntime:
    model = exported(generator, shape)
    if not slot.building:
        return _ONNXRuntime(model, shape, device, why)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        engine = _ONNXRuntime(model, shape, device, why, path)
        slot.keep("float32", path.read_bytes())
    return engine


def _refusals() -> tuple[type[Exception], ...]:
    """What the exporter and ONNX Runtime raise for a model that they don't take."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented")
    return RuntimeError, state.RuntimeException, *(getattr(state, name) for name in named)


class _ONNXRuntime:
    name = "onnxruntime"
    precision = "float32"
    step = None

    def __init__(self, model: bytes, shape: Shape, device: torch.device, why: str, write: Path | None = None) -> None:
        import onnxruntime

        self.device = device
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
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        n, _, h, w = shape
        self._input = torch.zeros(shape)
        self._output = torch.empty((n, 3, h, w))
        self._binding = self._session.io_binding()
        self._bind(self._binding.bind_input, self._session.get_inputs()[0].name, self._input)
        self._bind(self._binding.bind_output, self._session.get_outputs()[0].name, self._output)

    def _bind(self, bind: Any, name: str, tensor: Tensor) -> None:
        bind(name, "cpu", 0, "float32", tuple(tensor.shape), tensor.data_ptr())

    def __call__(self, x: Tensor) -> Tensor:
        self._input.copy_(x)
        self._session.run_with_iobinding(self._binding)
        return self._output

    def close(self) -> None:
        del self._binding, self._session, self._input, self._output


def exported(generator: Generator, shape: Shape) -> bytes:
    """`generator` as a serialised ONNX model of fixed shape."""
    net = prepared(generator, torch.device("cpu"))
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it complains about torchvision, which nobody needs here
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations among torch, onnxscript and onnx
            program = torch.onnx.export(net, (torch.zeros(shape),), dynamo=True, verbose=False)
    finally:
        log.setLevel(level)
    assert program is not None  # the dynamo exporter without a file name always gives one
    model: bytes = program.model_proto.SerializeToString()
    return model
