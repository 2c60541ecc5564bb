"""OpenVINO: the fastest way to run these networks on a CPU (Intel, AMD, ARM): 2–6 times as fast as eager torch.

The network is recorded while it runs once (`Recorder`) and written down in OpenVINO's own operations. OpenVINO's
PyTorch frontend would do that too, but by way of ``torch.jit.trace``, which is deprecated and keeps 1–4 MB for good
each time (measured with torch 2.13): a show that changes worlds all night would grow.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from l2s_node.errors import EngineError
from l2s_node.machine import threads
from l2s_node.models.engines.base import INT8, READY, Shape, pick_precision, prepared, refuse_dropout, seeds_of
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot
from l2s_node.models.quantise import quantised
from l2s_node.models.unheard import unheard

DEVICES = ("cpu",)
PACKAGES: tuple[str, ...] = ("openvino",)

TYPES = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names of precisions."""


def missing() -> str | None:
    """Why OpenVINO can't be used here, or None."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino isn't installed: pip install openvino"
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE) -> _OpenVINO:
    """See `engines.base`."""
    refuse_dropout(generator, "openvino")
    try:
        return _OpenVINO(generator, shape, device, precision, slot)
    except (ImportError, OSError) as err:
        raise EngineError(f"openvino can't be loaded ({err}): install it again") from err
    except RuntimeError as err:  # OpenVINO's only kind
        raise EngineError(f"openvino can't build this world: {err}") from err


class _OpenVINO:
    name = "openvino"
    step = None
    fence = None

    def __init__(
        self, generator: Generator, shape: Shape, device: torch.device, asked: str, slot: Slot = NOWHERE
    ) -> None:
        with unheard():
            import openvino

        self.device = device
        core = openvino.Core()
        precisions, why = offered(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        self.precision, why = pick_precision(asked, precisions, why)
        rest = precisions[0] if self.precision == INT8 else self.precision
        if self.precision == INT8:
            why = f"8 bits between the first and the last convolution, {rest} elsewhere"
        count = threads()
        self.reason = f"{why}; {count} threads"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": TYPES[rest],
            "INFERENCE_NUM_THREADS": count,
            # a pinned thread waits for its core while another process has it; free ones share the rest
            "ENABLE_CPU_PINNING": False,
        }
        compiled = self._ready(core, settings, slot)
        if compiled is None:
            compiled = self._compiled(core, settings, slot, self._written(generator, shape, slot))
        self._request = compiled.create_infer_request()
        n, _, h, w = shape
        self._input = torch.zeros(shape)
        self._output = torch.empty((n, 3, h, w))
        self.seeds = seeds_of(generator, device)
        for index, tensor in enumerate([self._input] if self.seeds is None else [self._input, self.seeds]):
            self._request.set_input_tensor(index, openvino.Tensor(tensor.numpy(), shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._output.numpy(), shared_memory=True))

    def _ready(self, core: Any, settings: dict[str, Any], slot: Slot) -> Any:
        """What was compiled before, or None; OpenVINO's own format: XML and numbers."""
        kept = slot.take(self.precision)
        if kept is None:
            return None
        try:
            compiled = core.import_model(kept, "CPU", settings)
        except RuntimeError as err:
            return slot.refused(self.precision, err)
        self.reason += f"; {READY}"
        return compiled

    def _written(self, generator: Generator, shape: Shape, slot: Slot) -> Any:
        model = written(generator, shape)
        return quantised(model, slot.examples(shape)) if self.precision == INT8 else model

    def _compiled(self, core: Any, settings: dict[str, Any], slot: Slot, model: Any) -> Any:
        compiled = core.compile_model(model, "CPU", settings)
        if slot.building:
            stream = io.BytesIO()
            compiled.export_model(stream)
            slot.keep(self.precision, stream.getvalue())
        return compiled

    def __call__(self, x: Tensor) -> Tensor:
        self._input.copy_(x)
        self._request.infer()
        return self._output

    def close(self) -> None:
        del self._request, self._input, self._output


def offered(capabilities: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Precisions, the one for "auto" first, and why, from what OpenVINO says that the CPU is optimised for."""
    eight = (INT8,) if "INT8" in capabilities else ()
    if "BF16" in capabilities:  # AMX or AVX512-BF16
        return ("bfloat16", "float32", *eight), "this CPU has bfloat16 instructions"
    return ("float32", *eight), "this CPU has no bfloat16 instructions"


def written(generator: Generator, shape: Shape) -> Any:
    """`generator` as an ``openvino.Model`` from (n, 1, h, w), and a seed field's weights, to (n, 3, h, w).

    Raises:
        EngineError: the network uses an operation that isn't in `Operations`.
    """
    with unheard():
        import openvino

    x = torch.zeros(shape)
    net = prepared(generator, torch.device("cpu"))
    seeds = seeds_of(generator, x.device)
    inputs = [x] if seeds is None else [x, seeds]
    with torch.inference_mode(), Recorder(inputs) as recorder:
        y = net(x, seeds=seeds)
    return openvino.Model([recorder.node(y)], recorder.node(inputs), "generator")


class Recorder(TorchFunctionMode):
    """While it is entered, every torch function called on what comes from `inputs` is written down as an OpenVINO node.

    What doesn't depend on them (kernels, the maps of the seed field) is calculated by torch and becomes a constant.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._write = Operations()
        # tensors are known by identity, so they are kept alive beside their nodes
        self._known: dict[int, tuple[Tensor, Any]] = {id(x): (x, self._write.parameter(x)) for x in inputs}

    def node(self, value: object) -> Any:
        """The node of a tensor (a constant where it isn't known), lists of tensors likewise; all else as it is."""
        if isinstance(value, (list, tuple)):
            return [self.node(v) for v in value]
        if not isinstance(value, Tensor):
            return value
        return self._known[id(value)][1] if id(value) in self._known else self._write.constant(value)

    def _depends(self, value: object) -> bool:
        if isinstance(value, (list, tuple)):
            return any(self._depends(v) for v in value)
        return isinstance(value, Tensor) and id(value) in self._known

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is Tensor.expand_as:  # a constant where only the shape comes from an input
            depends = self._depends(args[0])
        else:
            depends = self._depends([*args, *kwargs.values()])
        if depends and isinstance(result, Tensor):
            self._known[id(result)] = (result, self._written(func, args, kwargs))
        return result

    def _written(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", str(func))
        if func not in self._write.table:
            raise EngineError(f"the openvino engine doesn't know {name}: take --engine eager")
        try:
            return self._write.table[func](*map(self.node, args), **{k: self.node(v) for k, v in kwargs.items()})
        except TypeError as err:
            raise EngineError(f"the openvino engine doesn't know this form of {name} ({err})") from err


class Operations:
    """Torch functions as OpenVINO operations: each takes its function's own arguments, with nodes for tensors."""

    def __init__(self) -> None:
        from openvino import Type, opset13

        self.ops = opset13
        self.types = Type
        self.table: dict[Any, Callable[..., Any]] = {
            F.conv2d: self.conv2d,
            F.pad: self.pad,
            F.conv_transpose2d: self.conv_transpose2d,
            F.batch_norm: self.batch_norm,
            F.leaky_relu: self.leaky_relu,
            F.relu: self.relu,
            F.pixel_shuffle: self.pixel_shuffle,
            F.avg_pool2d: self.avg_pool2d,
            F.dropout: self.dropout,
            torch.tanh: self.ops.tanh,
            torch.cat: self.cat,
            Tensor.add: self.ops.add,
            Tensor.mul: self.ops.multiply,
            torch.matmul: self.matmul,
            Tensor.view: self.view,
            Tensor.expand: self.expand,
            Tensor.to: self.as_it_is,
        }

    def parameter(self, x: Tensor) -> Any:
        return self.ops.parameter(list(x.shape), self.types.f32)

    def constant(self, value: Tensor) -> Any:
        return self.ops.constant(value.numpy())

    def _integers(self, *values: int) -> Any:
        return self.ops.constant(list(values), self.types.i64)

    def _per_channel(self, vector: Any) -> Any:
        return self.ops.unsqueeze(vector, self._integers(0, 2, 3))

    def pad(self, x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
        """Of the last two axes, with the border's own values."""
        _refuse(mode != "replicate" or len(pad) != 4, f"padding of the kind {mode}")
        left, right, top, bottom = pad
        return self.ops.pad(x, self._integers(0, 0, top, left), self._integers(0, 0, bottom, right), "edge")

    def conv2d(self, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        _refuse(groups != 1, "grouped convolutions")
        y = self.ops.convolution(x, weight, stride, padding, padding, dilation)
        return y if bias is None else self.ops.add(y, self._per_channel(bias))

    def conv_transpose2d(
        self, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any
    ) -> Any:
        _refuse(groups != 1, "grouped convolutions")
        write = self.ops.convolution_backprop_data
        y = write(x, weight, stride, None, padding, padding, dilation, output_padding=extra)
        return y if bias is None else self.ops.add(y, self._per_channel(bias))

    def batch_norm(
        self, x: Any, running_mean: Any, running_var: Any, *, weight: Any, bias: Any, training: bool, **settings: Any
    ) -> Any:
        """With the statistics of the picture at hand; running ones are folded away before."""
        _refuse(not training, "norms with running statistics")
        y = self.ops.mvn(x, self._integers(0, 2, 3), True, settings["eps"], "inside_sqrt")
        return self.ops.add(self.ops.multiply(y, self._per_channel(weight)), self._per_channel(bias))

    def leaky_relu(self, x: Any, negative_slope: float, inplace: bool) -> Any:
        return self.ops.prelu(x, self.ops.constant([negative_slope], self.types.f32))

    def relu(self, x: Any, inplace: bool) -> Any:
        return self.ops.relu(x)

    def pixel_shuffle(self, x: Any, upscale_factor: int) -> Any:
        return self.ops.depth_to_space(x, "depth_first", upscale_factor)

    def avg_pool2d(self, x: Any, kernel_size: int, stride: int | None = None) -> Any:
        step = stride or kernel_size
        return self.ops.avg_pool(x, [step, step], [0, 0], [0, 0], [kernel_size, kernel_size], True)

    def dropout(self, x: Any, p: float, training: bool, inplace: bool) -> Any:
        _refuse(training, "dropout")
        return x

    def matmul(self, a: Any, b: Any) -> Any:
        return self.ops.matmul(a, b, False, False)

    def view(self, x: Any, shape: Sequence[int]) -> Any:
        return self.ops.reshape(x, self._integers(*shape), False)

    def expand(self, x: Any, *shape: int) -> Any:
        _refuse(-1 in shape, "open sides of an expanded tensor")
        return self.ops.broadcast(x, self._integers(*shape))

    def as_it_is(self, x: Any, *_: object) -> Any:
        """The precision of what is calculated is the engine's."""
        return x

    def cat(self, tensors: list[Any], dim: int = 0) -> Any:
        return self.ops.concat(tensors, dim)


def _refuse(condition: bool, what: str) -> None:
    if condition:
        raise EngineError(f"the openvino engine knows no {what}: take --engine eager")
