"""Inductor: the network compiled by torch.compile for one shape, replayed as a CUDA graph. NVIDIA GPUs."""

from __future__ import annotations

import importlib.util
import shutil
import types
from collections.abc import Callable

import torch
from torch import Tensor

from l2s_node.errors import EngineError
from l2s_node.models.engines.base import PRECISIONS, Shape, pick_precision, prepared
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

DEVICES = ("cuda",)
PACKAGES: tuple[str, ...] = ("triton",)

_OFFERED = (("float16", "bfloat16", "float32"), "half the memory traffic of float32, relative error 5e-4")


def missing() -> str | None:
    """Why torch.compile can't be used here, or None."""
    if not torch.cuda.is_available():
        return "there is no NVIDIA GPU that this torch can use"
    if importlib.util.find_spec("triton") is None:
        return "triton isn't installed: pip install triton (on Windows triton-windows)"
    if torch.cuda.get_device_capability() < (7, 0):
        return "triton needs a GPU of compute capability 7.0 or newer"
    if not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang", "cl")):
        return "triton needs a C compiler: install gcc"
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE) -> _Inductor:
    """See `engines.base`. Compiles at once (seconds); the CUDA graph is captured by the first call."""
    return _Inductor(generator, shape, device, *pick_precision(precision, *_OFFERED))


class _Inductor:
    name = "inductor"

    def __init__(self, generator: Generator, shape: Shape, device: torch.device, precision: str, reason: str) -> None:
        self.device = device
        self.precision = precision
        self.reason = reason
        self._graph: torch.cuda.CUDAGraph | None = None
        self._input = torch.zeros(shape, device=device)
        n, _, h, w = shape
        self._output = torch.empty((n, 3, h, w), device=device)
        self._compiled = compiled(generator, device, PRECISIONS[precision])
        try:
            self.step(self._input)
            torch.cuda.synchronize(device)
        except RuntimeError as err:  # the root of dynamo's, inductor's and CUDA's own
            raise EngineError(f"torch.compile can't build this world: {_first_line(err)}") from err

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        # inference tensors and others would each be compiled for (seconds, in the middle of the show)
        return self._compiled(x if x.is_inference() else x.clone())

    def __call__(self, x: Tensor) -> Tensor:
        self._input.copy_(x)
        if self._graph is None:
            self._graph = self._captured()
        self._graph.replay()
        return self._output

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The step as a graph from `_input` to `_output`; other threads may go on using the GPU meanwhile."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(self._input)
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._output.copy_(self.step(self._input))
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return graph

    def close(self) -> None:
        self._graph = None
        del self._compiled, self._input, self._output


def compiled(
    generator: Generator, device: torch.device, dtype: torch.dtype, backend: str = "inductor"
) -> Callable[[Tensor], Tensor]:
    """`generator` as one compiled function, float32 to float32; it is compiled by its first call.

    torch counts recompilations per code object and gives up after eight, so each build gets a code object of its own.
    """
    net = prepared(generator, device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(x: Tensor) -> Tensor:
        y: Tensor = net(x.to(dtype=dtype, memory_format=torch.channels_last))
        return y.to(dtype=torch.float32, memory_format=torch.contiguous_format)

    fresh = types.FunctionType(run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__)
    made: Callable[[Tensor], Tensor] = torch.compile(fresh, backend=backend, dynamic=False, fullgraph=True)
    return made


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
