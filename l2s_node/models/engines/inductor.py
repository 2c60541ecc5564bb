"""Inductor: the network compiled by torch's compiler for one shape, replayed as a CUDA graph. NVIDIA GPUs.

What torch compiled it keeps, but to find it again, `torch.compile` follows a network's Python step by step, for seconds
in which Python is busy while a show goes on. A network that is recorded once as it runs on tensors without content is
found in half of that. What records and finds it is not published by torch: where it fails, `torch.compile` does it.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import logging
import shutil
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from l2s_node.collector import YOUNG_ONLY, keep
from l2s_node.errors import EngineError
from l2s_node.models.capture import ATTEMPTS, CAPTURING, captured
from l2s_node.models.engines.base import PRECISIONS, READY, Shape, pick_precision, prepared, seeds_of
from l2s_node.models.gemm import as_products
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

log = logging.getLogger(__name__)

DEVICES = ("cuda",)
PACKAGES: tuple[str, ...] = ("triton",)

_OFFERED = (("float16", "bfloat16", "float32"), "half the memory traffic of float32, relative error 5e-4")

Made = TypeVar("Made")
Run = Callable[[Tensor, Tensor | None], Tensor]
"""The network of (x, seeds), float32 to float32."""
Weights = dict[str, Tensor]
"""Of a network, by name."""
AnyWeights = Callable[[Weights, Tensor, "Tensor | None"], Tensor]
"""A network of (weights, x, seeds)."""
Options = dict[str, Any]
"""Of inductor, for one network."""
QUICK: Options = {
    "triton.enable_pdl": True,
    "combo_kernels": True,
    "combo_kernels_autotune": 0,
    "triton.autotune_pointwise": False,
    "realize_acc_reads_threshold": 20,
    "realize_opcount_threshold": 200,
}
"""On Hopper a kernel's launch overlaps the end of the one before; steps that depend on nothing of each other share one:
0.01 ms a network on an H100. The parts of a product (`gemm`), 16 at most, are added up where the sum is read, not by a
kernel of their own: of our small's 26 kernels between two products 16 are left, of the classic large's 24 are 17.
Block sizes of elementwise kernels go by rule: measured, what a slow or busy processor made of launches decided over
0.18 or 0.24 ms of the classic large; by rule it takes what it took at best."""
CAPTURED = "when stream is capturing"
"""What CUDA says to whoever waits for the whole GPU while some thread captures a graph."""
FAULTS = (RuntimeError, OSError, AssertionError, AttributeError, TypeError, ValueError, LookupError, ImportError)
"""What torch raises that can't compile, or whose unpublished functions have changed."""


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
    """See `engines.base`. Compiles at once; the CUDA graph is captured by the first call.

    torch keeps what it compiled, for all weights of a network, in a cache of its own, from where it takes seconds
    instead of a minute. `slot` keeps the fact.
    """
    precision, reason = pick_precision(precision, *_OFFERED)
    known = slot.take(precision) is not None and any(cache().iterdir())

    def made(options: Options) -> _Inductor:
        run = compiled(generator, shape, device, PRECISIONS[precision], options, slot.called)
        return _Inductor(run, generator, shape, device, precision, f"{reason}; {READY}" if known else reason)

    engine = either(made)
    if not known:
        slot.keep(precision, b"what torch compiled is in its own cache\n")
    return engine


def cache() -> Path:
    """Where torch keeps what it compiled; a folder that is there."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir())


def either(make: Callable[[Options], Made], quick: Options = QUICK) -> Made:
    """What `make` makes by inductor's `quick` ways or, where these fail, which is said, by its usual ones."""
    with YOUNG_ONLY:
        made = _either(make, quick)
        _keep_compiler()
    return made


def _either(make: Callable[[Options], Made], quick: Options) -> Made:
    for _ in range(ATTEMPTS):
        try:
            return make(quick)
        except (*FAULTS, EngineError) as err:
            reason = first_line(err)
        if CAPTURED not in reason:  # else another thread captured a graph while the compiler measured
            break
    log.info("inductor goes its usual ways, since the quick ones fail here: %s", reason)
    return make({})


@functools.cache
def _keep_compiler() -> None:
    """What the first world brought along: the compiler, 200,000 objects, and of its own 50,000.

    Its weights are held by none of these in circles: they go with the engine.
    """
    keep()


class _Inductor:
    name = "inductor"
    fence = None

    def __init__(
        self,
        run: Run,
        generator: Generator,
        shape: Shape,
        device: torch.device,
        precision: str,
        reason: str,
    ) -> None:
        self.device = device
        self.precision = precision
        self.reason = reason
        self._graph: torch.cuda.CUDAGraph | None = None
        self._input = torch.zeros(shape, device=device)
        n, _, h, w = shape
        self._output = torch.empty((n, 3, h, w), device=device)
        self._compiled = run
        self.seeds = seeds_of(generator, device)
        try:
            self.step(self._input)
            torch.cuda.synchronize(device)
        except RuntimeError as err:  # the root of dynamo's, inductor's and CUDA's own
            raise EngineError(f"torch.compile can't build this world: {first_line(err)}") from err

    @torch.inference_mode()
    def step(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self._compiled(x, self.seeds if seeds is None else seeds)

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
        with CAPTURING, torch.cuda.stream(stream):
            for _ in range(3):
                self.step(self._input)
            with captured(graph):
                self._output.copy_(self.step(self._input))
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return graph

    def close(self) -> None:
        self._graph = None
        del self._compiled, self._input, self._output


class _Whole(nn.Module):
    """`generator` for playing on inputs of `shape`, float32 to float32."""

    def __init__(self, generator: Generator, shape: Shape, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        net = prepared(generator, device, dtype)
        self.net = as_products(net, torch.zeros(shape, device=device, dtype=dtype))
        self.dtype = dtype

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        y: Tensor = self.net(x.to(dtype=self.dtype, memory_format=torch.channels_last), seeds=seeds)
        return y.to(dtype=torch.float32, memory_format=torch.contiguous_format)


def compiled(
    generator: Generator,
    shape: Shape,
    device: torch.device,
    dtype: torch.dtype,
    options: Options | None = None,
    network: str | None = None,
) -> Run:
    """`generator` as one compiled function; without `options` it is compiled by its first call.

    `network` says all of it but its weights: whoever is called alike takes what the first one compiled, as long as it
    is remembered.

    Raises:
        *FAULTS: with `options` alone.
    """
    whole = _Whole(generator, shape, device, dtype)
    weights = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    key = network, shape, device, dtype, repr(options)
    call = NETWORKS.get(key) if network else None
    if call is None:
        example = _there(torch.zeros(shape, device=device), seeds_of(generator, device))
        call = _recorded(whole, weights, example, options) if options else _followed(whole)
        if network:
            NETWORKS.put(key, call)
    return functools.partial(call, weights)


class Remembered(Generic[Made]):
    """What is compiled, by what it is for: so many; the one that was put first goes. For any threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._made: dict[tuple[object, ...], Made] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: tuple[object, ...]) -> Made | None:
        """What was put there, if it still is."""
        return self._made.get(key)

    def put(self, key: tuple[object, ...], made: Made) -> None:
        with self._lock:
            self._made[key] = made
            if len(self._made) > self.most:
                self._made.pop(next(iter(self._made)))

    def forget(self, key: tuple[object, ...]) -> None:
        with self._lock:
            self._made.pop(key, None)


NETWORKS: Remembered[AnyWeights] = Remembered(8)
"""Without weights: a change to another world of the size compiles nothing."""


def _recorded(whole: _Whole, weights: Weights, example: list[Tensor], options: Options) -> AnyWeights:
    """`whole` compiled as it runs once on tensors like `example` and `weights`, without content.

    Whatever torch has compiled refuses to run while any thread records (before torch 2.14), and two that record at once
    leave `nn.Module` changed: all of that is done by one thread at a time.
    """
    from torch._dynamo.convert_frame import compile_lock
    from torch.fx.experimental.proxy_tensor import make_fx

    names, split = tuple(weights), len(example)

    def run(*inputs: Tensor) -> list[Tensor]:
        return [functional_call(whole, dict(zip(names, inputs[split:], strict=True)), inputs[:split])]

    def call(weights: Weights, x: Tensor, seeds: Tensor | None) -> Tensor:
        y: Tensor = made(*_there(x, seeds), *weights.values())[0]
        return y

    with CAPTURING, compile_lock, torch.inference_mode(False), torch.no_grad():
        inputs = [*example, *weights.values()]
        made = by_inductor(make_fx(run, tracing_mode="fake")(*inputs), inputs, options)
    return call


def _there(*tensors: Tensor | None) -> list[Tensor]:
    return [each for each in tensors if each is not None]


def by_inductor(graph: torch.fx.GraphModule, inputs: list[Tensor], options: Options) -> Any:
    """`graph` as a compiled function of such inputs, to a list of what it gives.

    As `torch._inductor.compile`, which never looks for what it has compiled.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv()))):
        return compile_fx(graph, inputs, config_patches=options, ignore_shape_env=True)


def _followed(whole: _Whole) -> AnyWeights:
    """`whole` by `torch.compile`."""

    def run(weights: Weights, x: Tensor, seeds: Tensor | None) -> Tensor:
        y: Tensor = functional_call(bare, weights, (x, seeds))
        return y

    def call(weights: Weights, x: Tensor, seeds: Tensor | None) -> Tensor:
        # inference tensors and others would each be compiled for (seconds, in the middle of the show)
        y: Tensor = made(weights, x if x.is_inference() else x.clone(), seeds)
        return y

    bare = copy.deepcopy(whole).to("meta")
    made = afresh(run)
    return call


def afresh(function: Any, backend: str = "inductor", options: Options | None = None) -> Any:
    """`function` for one shape, compiled by its first call.

    torch counts recompilations per code object and gives up after eight, so each build gets a code object of its own.
    """
    code = function.__code__.replace()
    fresh = types.FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)
    return torch.compile(fresh, backend=backend, dynamic=False, fullgraph=True, options=options or None)


def first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
