"""OpenVINO: the fastest way to run these networks on a CPU (Intel, AMD, ARM): 2–6 times as fast as eager torch."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor

from l2s_node.errors import EngineError
from l2s_node.models.engines.base import Shape, pick_precision, prepared, refuse_dropout, threads
from l2s_node.models.pix2pix import Generator

DEVICES = ("cpu",)

_TYPES = {"float32": "f32", "bfloat16": "bf16"}


def missing() -> str | None:
    """Why OpenVINO can't be used here, or None."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino isn't installed: pip install openvino"
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str) -> _OpenVINO:
    """See `engines.base`."""
    refuse_dropout(generator, "openvino")
    try:
        return _OpenVINO(generator, shape, device, precision)
    except (ImportError, OSError) as err:
        raise EngineError(f"openvino can't be loaded ({err}): install it again") from err
    except RuntimeError as err:  # OpenVINO's only kind
        raise EngineError(f"openvino can't build this world: {err}") from err


class _OpenVINO:
    name = "openvino"
    step = None

    def __init__(self, generator: Generator, shape: Shape, device: torch.device, asked: str) -> None:
        import openvino

        self.device = device
        core = openvino.Core()
        self.precision, why = pick_precision(asked, *offered(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
        count = threads()
        self.reason = f"{why}; {count} threads"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _TYPES[self.precision],
            "INFERENCE_NUM_THREADS": count,
            # a pinned thread waits for its core when another process has it: 32 instead of 16 ms, measured
            "ENABLE_CPU_PINNING": False,
        }
        model = converted(generator, shape)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        n, _, h, w = shape
        self._input = torch.zeros(shape)
        self._output = torch.empty((n, 3, h, w))
        self._request.set_input_tensor(openvino.Tensor(self._input.numpy(), shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._output.numpy(), shared_memory=True))

    def __call__(self, x: Tensor) -> Tensor:
        self._input.copy_(x)
        self._request.infer()
        return self._output

    def close(self) -> None:
        del self._request, self._input, self._output


def offered(capabilities: list[str]) -> tuple[tuple[str, ...], str]:
    """Precisions, the one for "auto" first, and why, from what OpenVINO says that the CPU is optimised for."""
    if "BF16" in capabilities:  # AMX or AVX512-BF16
        return ("bfloat16", "float32"), "this CPU has bfloat16 instructions"
    return ("float32",), "this CPU has no bfloat16 instructions"


def converted(generator: Generator, shape: Shape) -> Any:
    """`generator` as an ``openvino.Model`` of fixed shape.

    `openvino.convert_model` would do the same with telemetry, and tracing inside its decoder imports torch's compiler
    (1.2 s); so the network is traced here and handed to the frontend itself.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    net = prepared(generator, torch.device("cpu"))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit: still what OpenVINO reads fastest
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # shapes become constants, as they should
        traced = torch.jit.trace(net, (torch.zeros(shape),), check_trace=False)  # type: ignore[no-untyped-call]
    decoder = TorchScriptPythonDecoder(traced)  # must outlive convert()
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    return model
