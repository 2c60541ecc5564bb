"""TensorRT through Torch-TensorRT's dynamo path. NVIDIA GPUs; written against 2.11 and 2.14, chosen by name only."""

from __future__ import annotations

import importlib
import importlib.util

import torch
from torch import Tensor, nn

from l2s_node.errors import EngineError
from l2s_node.models.engines.base import PRECISIONS, Shape, pick_precision, prepared, refuse_dropout
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

DEVICES = ("cuda",)
PACKAGES: tuple[str, ...] = ("torch-tensorrt", "tensorrt")

_OFFERED = (("float16", "bfloat16", "float32"), "half the memory traffic of float32, relative error 5e-4")


def missing() -> str | None:
    """Why TensorRT can't be used here, or None."""
    if not torch.cuda.is_available():
        return "there is no NVIDIA GPU that this torch can use"
    for package in ("tensorrt", "torch_tensorrt"):
        if importlib.util.find_spec(package) is None:
            return f"{package} isn't installed: pip install torch-tensorrt, of torch's own version"
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE) -> _TensorRT:
    """See `engines.base`."""
    refuse_dropout(generator, "tensorrt")
    precision, reason = pick_precision(precision, *_OFFERED)
    try:
        return _TensorRT(generator, shape, device, precision, reason)
    except (ImportError, OSError) as err:
        raise EngineError(f"TensorRT can't be loaded ({err}): install torch-tensorrt again") from err
    except (RuntimeError, ValueError, AssertionError) as err:  # what Torch-TensorRT raises when it refuses a network
        raise EngineError(f"TensorRT can't build this world: {err}") from err


class _Typed(nn.Module):
    """The network in its own precision between float32 input and output: engines are strongly typed."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net = net
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x.to(self.dtype))
        return y.float()


class _TensorRT:
    name = "tensorrt"

    def __init__(self, generator: Generator, shape: Shape, device: torch.device, precision: str, reason: str) -> None:
        importlib.import_module("tensorrt")  # where its libraries lack, torch_tensorrt raises a bare Exception
        import torch_tensorrt

        self.device, self.precision, self.reason = device, precision, reason
        dtype = PRECISIONS[precision]
        example = torch.zeros(shape, device=device)
        program = torch.export.export(_Typed(prepared(generator, device, dtype), dtype).eval(), (example,))
        self._module = torch_tensorrt.dynamo.compile(
            program, inputs=[example], device=device, min_block_size=1, require_full_compilation=True
        )
        self._output = self.step(example).clone()

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        y: Tensor = self._module(x)
        return y

    def __call__(self, x: Tensor) -> Tensor:
        return self._output.copy_(self.step(x))

    def close(self) -> None:
        del self._module, self._output
