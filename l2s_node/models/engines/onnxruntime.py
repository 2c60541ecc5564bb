"""ONNX Runtime: for CPUs where OpenVINO isn't available. Exporting takes some seconds."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import torch
from torch import Tensor

from l2s_node.errors import EngineError
from l2s_node.models.engines.base import Shape, pick_precision, prepared, refuse_dropout, seeds_of, threads
from l2s_node.models.pix2pix import Generator

DEVICES = ("cpu",)

_OFFERED = (("float32",), "its CPU kernels have no other")


def missing() -> str | None:
    """Why ONNX Runtime can't be used here, or None."""
    for package in ("onnxruntime", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            return f"{package} isn't installed: pip install onnxruntime onnx onnxscript"
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str) -> _ONNXRuntime:
    """See `engines.base`."""
    refuse_dropout(generator, "onnxruntime")
    precision, why = pick_precision(precision, *_OFFERED)
    try:
        return _ONNXRuntime(exported(generator, shape), shape, seeds_of(generator, device), why)
    except (ImportError, OSError) as err:
        raise EngineError(f"onnxruntime or onnx can't be loaded ({err}): install them again") from err
    except RuntimeError as err:  # the exporter's and the runtime's
        raise EngineError(f"onnxruntime can't build this world: {err}") from err


class _ONNXRuntime:
    name = "onnxruntime"
    precision = "float32"
    step = None

    def __init__(self, model: bytes, shape: Shape, seeds: Tensor | None, why: str) -> None:
        import onnxruntime

        self.device, self.seeds = torch.device("cpu"), seeds
        count = threads()
        self.reason = f"{why}; {count} threads"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        for pool in ("intra_op", "inter_op"):  # quiet 2.9 instead of 2.0 ms, beside a busy process 2.7 instead of 6.2
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        n, _, h, w = shape
        self._input = torch.zeros(shape)
        self._output = torch.empty((n, 3, h, w))
        self._binding = self._session.io_binding()
        inputs = [self._input] if seeds is None else [self._input, seeds]
        for there, tensor in zip(self._session.get_inputs(), inputs, strict=True):
            self._bind(self._binding.bind_input, there.name, tensor)
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
    """`generator` as a serialised ONNX model of fixed shape, of x and, where it has a seed field, its weights."""
    net = prepared(generator, torch.device("cpu"))
    seeds = seeds_of(generator, torch.device("cpu"))
    more = {} if seeds is None else {"seeds": seeds}
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it complains about torchvision, which nobody needs here
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations among torch, onnxscript and onnx
            program = torch.onnx.export(net, (torch.zeros(shape),), kwargs=more, dynamo=True, verbose=False)
    finally:
        log.setLevel(level)
    assert program is not None  # the dynamo exporter without a file name always gives one
    model: bytes = program.model_proto.SerializeToString()
    return model
