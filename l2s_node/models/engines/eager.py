"""Eager: the network as torch runs it, operation by operation. Needs nothing else, runs on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from l2s_node.models.engines.base import PRECISIONS, Shape, pick_precision, prepared, seeds_of
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Slot

DEVICES = ("cpu", "cuda", "mps")
PACKAGES: tuple[str, ...] = ()

_OFFERED = {
    "cpu": (("float32", "bfloat16"), "exact, and few CPUs are faster in less"),
    "cuda": (("float16", "bfloat16", "float32"), "half the memory traffic of float32, relative error 5e-4"),
    "mps": (("float32", "float16"), "exact on every Mac"),
}


def missing() -> str | None:
    """None: torch is always there."""
    return None


def build(generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE) -> _Eager:
    """See `engines.base`."""
    return _Eager(generator, shape, device, *pick_precision(precision, *_OFFERED[device.type]))


class _Eager:
    name = "eager"
    fence = None

    def __init__(self, generator: Generator, shape: Shape, device: torch.device, precision: str, reason: str) -> None:
        self.device = device
        self.precision = precision
        self.reason = reason
        self._dtype = PRECISIONS[precision]
        # convolutions on CPU and CUDA are fastest in this layout (4.6 instead of 11.6 ms); Metal has its own
        self._format = torch.contiguous_format if device.type == "mps" else torch.channels_last
        self._net = prepared(generator, device, self._dtype).to(memory_format=self._format)  # type: ignore[call-overload]
        self.seeds = seeds_of(generator, device)
        n, _, h, w = shape
        self._output = torch.empty((n, 3, h, w), device=device)

    @torch.inference_mode()
    def step(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        seeds = self.seeds if seeds is None else seeds
        y: Tensor = self._net(x.to(dtype=self._dtype, memory_format=self._format), seeds=seeds)
        return y.to(dtype=torch.float32, memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        return self._output.copy_(self.step(x))

    def close(self) -> None:
        del self._net, self._output
