"""TensorRT, built through Torch-TensorRT's dynamo path and played by its own runtime. NVIDIA GPUs.

Written against the source of torch-tensorrt 2.11 to 2.14; not run anywhere yet. What is kept is the engine itself, in
TensorRT's own format: Torch-TensorRT's caches of engines are pickles.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from l2s_node.errors import EngineError
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

DEVICES = ("cuda",)
PACKAGES: tuple[str, ...] = ("torch-tensorrt", "tensorrt", "tensorrt-cu13", "tensorrt-cu13-libs")

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
    """See `engines.base`. Building takes minutes; what was built is kept in any case."""
    refuse_dropout(generator, "tensorrt")
    precision, reason = pick_precision(precision, *_OFFERED)
    try:
        importlib.import_module("tensorrt")  # where its libraries lack, torch_tensorrt raises a bare Exception
        kept, seeds = slot.take(precision), seeds_of(generator, device)
        if kept is not None:
            try:
                return _TensorRT(kept, shape, seeds, device, precision, f"{reason}; {READY}")
            except RuntimeError as err:
                slot.refused(precision, err)
        made = serialised(generator, shape, device, PRECISIONS[precision])
        engine = _TensorRT(made, shape, seeds, device, precision, reason)
    except (ImportError, OSError) as err:
        raise EngineError(f"TensorRT can't be loaded ({err}): install torch-tensorrt again") from err
    except (RuntimeError, ValueError, AssertionError) as err:  # what Torch-TensorRT raises when it refuses a network
        raise EngineError(f"TensorRT can't build this world: {err}") from err
    slot.keep(precision, made)
    return engine


def serialised(generator: Generator, shape: Shape, device: torch.device, dtype: torch.dtype) -> bytes:
    """`generator` as a TensorRT engine for this GPU, the whole of it or nothing."""
    import torch_tensorrt

    example, seeds = torch.zeros(shape, device=device), seeds_of(generator, device)
    inputs = (example,) if seeds is None else (example, seeds)
    program = torch.export.export(Typed(prepared(generator, device, dtype), dtype).eval(), inputs)
    made: bytes = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
        program, inputs=list(inputs), device=device, require_full_compilation=True
    )
    return made


class _TensorRT:
    name = "tensorrt"

    def __init__(
        self, engine: bytes, shape: Shape, seeds: Tensor | None, device: torch.device, precision: str, reason: str
    ) -> None:
        self.device, self.precision, self.reason, self.seeds = device, precision, reason, seeds
        trt: Any = importlib.import_module("tensorrt")
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise RuntimeError("TensorRT can't read the engine")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if self._context is None or len(names) != len(inputs) + 1 or len(inputs) != 1 + (seeds is not None):
            raise RuntimeError(f"the engine goes from {inputs} to {len(names) - len(inputs)} outputs, or has no memory")
        (self._from, *self._sown), (self._to,) = inputs, [name for name in names if name not in inputs]
        self.fence = torch.cuda.Event()  # all graphs of the one context work in its memory
        self._shape = (shape[0], 3, *shape[2:])
        self._output = self.step(torch.zeros(shape, device=device)).clone()

    def step(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        x, y = x.contiguous(), torch.empty(self._shape, device=self.device)
        places = {self._from: x, self._to: y}
        if self._sown and self.seeds is not None:
            places[self._sown[0]] = self.seeds if seeds is None else seeds
        for name, tensor in places.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream(self.device).cuda_stream):
            raise RuntimeError("TensorRT can't run the engine")
        return y

    def __call__(self, x: Tensor) -> Tensor:
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(self.fence)
        self._output.copy_(self.step(x))
        self.fence.record(stream)
        return self._output

    def close(self) -> None:
        del self._context, self._engine, self._runtime, self._output
