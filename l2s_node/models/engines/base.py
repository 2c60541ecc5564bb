"""The shape of an engine: what a module of `engines/` exports, and what they share.

An engine is a module beside this one that exports these public names:

    missing() -> str | None                                  why it can't be used here and the remedy, in one sentence
    DEVICES: tuple[str, ...]                                 types of torch devices that it runs on
    PACKAGES: tuple[str, ...]                                what it is made with beside torch, as pip calls it
    build(generator, shape, device, precision, slot) -> Engine     see `build` below

``build(generator: Generator, shape: Shape, device: torch.device, precision: str, slot: Slot = NOWHERE) -> Engine``

    generator: float32 on the CPU, in eval mode, its seed field drawn for the canvas. It is left as it is.
    shape: (n, 1, h, w) of every input from now on.
    precision: "auto", one of `PRECISIONS`, or `INT8`, which is never taken by itself.
    slot: where it looks for what it compiled before, and keeps what it compiles now. What the library refuses of it is
        dropped (`Slot.refused`) and built anew. An engine whose library would unpickle it leaves the slot alone.
    Raises EngineError: it can't build this generator here.

Engines don't know each other; which one is used is chosen in `engines/__init__.py`. None of them lets threads spin
while they wait: with one foreign busy process that took a step of eager torch from 12 ms to 29–450 ms.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from l2s_node.errors import EngineError
from l2s_node.models.pix2pix import SEEDS, Dropout, Generator

Shape = tuple[int, int, int, int]

PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
INT8 = "int8"
"""8 bits where that does, floats elsewhere: no dtype of torch's, and only of some engines. Its ranges are found by
examples (`Slot.examples`), which takes seconds: it is made by `l2s build`, and a show takes what was kept."""


class Step(Protocol):
    """A generator as a plain function, float32 to float32, that a CUDA graph may hold together with other work.

    Each graph works in memory of its own, and with `seeds`, weights like `Engine.seeds` in place of these, so that
    several may run at once. A network without a seed field takes none.
    """

    def __call__(self, x: Tensor, seeds: Tensor | None = None, /) -> Tensor:
        """``(n, 1, h, w)`` in [-1, 1] to ``(n, 3, h, w)`` in [-1, 1], both on the engine's device."""
        ...


class Engine(Protocol):
    """A generator made ready for one shape on one device. Called by one thread at a time.

    Attributes:
        name: the module's name.
        precision: what it calculates in, one of `PRECISIONS` or `INT8`.
        reason: why in that precision (and with how many threads).
        device: where its input and output lie.
        step: see `Step`; None where the engine is not made of what a CUDA graph can hold.
        seeds: weights ``(SEEDS,)`` float32 of the seed field's maps (see `pix2pix.Dreaming`), where `device` is; what
            is written there counts from the next call on. None for a network without a seed field.
        fence: where graphs of `step` share memory, so that no two may run at once: recorded after each, waited for by
            the next. None where they share nothing.
    """

    name: str
    precision: str
    reason: str
    device: torch.device
    step: Step | None
    seeds: Tensor | None
    fence: torch.cuda.Event | None

    def __call__(self, x: Tensor) -> Tensor:
        """``(n, 1, h, w)`` float32 in [-1, 1] on `device` to ``(n, 3, h, w)`` float32 in [-1, 1].

        The output is a fixed buffer: valid until the next call. The first call may take longer (it warms up).
        """
        ...

    def close(self) -> None:
        """Release what it holds; outputs that it gave are void from now on. Called exactly once."""
        ...


def prepared(generator: Generator, device: torch.device, dtype: torch.dtype = torch.float32) -> Generator:
    """A copy of `generator` for playing: norms folded, no gradients, on `device` as `dtype`."""
    net = copy.deepcopy(generator).eval().requires_grad_(False)
    net.fold_norms()
    return net.to(device=device, dtype=dtype)


READY = "built before"
"""In the reason of an engine that was taken from its slot."""


class Typed(nn.Module):
    """A prepared network in its own precision, between float32 input and output: for exporters."""

    def __init__(self, net: Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.net = net
        self.dtype = dtype

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        y: Tensor = self.net(x.to(self.dtype), seeds=seeds)
        return y.float()


def seeds_of(generator: Generator, device: torch.device) -> Tensor | None:
    """`Engine.seeds` at first: the field as it was drawn first."""
    return torch.eye(1, SEEDS, device=device)[0] if generator.seeded else None


def pick_precision(asked: str, offered: Sequence[str], why: str) -> tuple[str, str]:
    """(precision, reason): what was `asked` for, or for "auto" the first of `offered`, because of `why`.

    Raises:
        EngineError: it is not offered; the message says what is.
    """
    if asked == "auto":
        return offered[0], why
    if asked not in offered:
        raise EngineError(f"this engine can't calculate in {asked} here, but in {' and '.join(offered)}")
    return asked, "asked for"


def refuse_dropout(generator: Generator, name: str) -> None:
    """Refuse a generator whose dropout plays: compilers for inference leave it out.

    Raises:
        EngineError: always for such a generator.
    """
    if any(isinstance(module, Dropout) and module.live for module in generator.modules()):
        raise EngineError(f"{name} leaves dropout out, and this world plays with it: take --engine eager")
