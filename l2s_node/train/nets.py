"""Nets: generator and critic with all that training them needs, and their step as one CUDA graph."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from l2s_node.models.pix2pix import Dreaming, Generator

Losses = dict[str, Tensor]
"""0-dim tensors by name, detached."""

KEEP = 0.999
"""What the weights' moving average keeps of itself in a step, once it has seen some thousand."""


class Nets:
    """Generator, its moving average, critic and their optimisers, on one device.

    `rates` are the learning rates of generator and critic.
    """

    def __init__(
        self, generator: Generator, critic: nn.Module, rates: tuple[float, float], device: torch.device
    ) -> None:
        self.device = device
        self.rates = rates
        self.generator = generator.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.critic = critic.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimisers = [
            make_adam(net, rate, device) for net, rate in zip((self.generator, self.critic), self.rates, strict=True)
        ]
        pairs = zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True)
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        self._averaged, self._newest = [a for a, _ in floats], [b for _, b in floats]
        self.steps = 0
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] | None = None
        self._play: Callable[..., Any] = self.generator
        self._judge: Callable[..., Any] = self.critic

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False)

    def compile(self, really: bool = True) -> None:
        """Let the compiler fuse both nets and the other parts of a step (at their first calls, a minute), or not."""
        if really:  # or a net within DistributedDataParallel is cut up at its buckets, and each part compiled
            torch._dynamo.config.optimize_ddp = False
        for net in (self.generator, self.critic):  # in place: within DistributedDataParallel, too
            if really:
                net.compile(dynamic=False)
            else:
                net._compiled_call_impl = None  # torch has no word for it
        self._compiled = {} if really else None

    def fused(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, a part of a step beside the nets, as the compiler makes it, where it shall."""
        if self._compiled is None:
            return call
        if call not in self._compiled:
            self._compiled[call] = torch.compile(call, dynamic=False)
        return self._compiled[call]

    def spread(self) -> None:
        """Train with the other processes of the default group: gradients are averaged.

        Buffers (a norm's statistics) stay each process's own. On GPUs no process leaves the group (NCCL waits) while
        there is a graph of a step in which gradients are averaged.
        """
        cuda = self.device.type == "cuda"
        ours = [self.device] if cuda else None
        # on another stream, or their backward pass can't be captured ("CUDA semantics" in PyTorch's notes)
        with torch.cuda.stream(torch.cuda.Stream(self.device)) if cuda else contextlib.nullcontext():
            self._play = DistributedDataParallel(self.generator, device_ids=ours, broadcast_buffers=False)
            self._judge = DistributedDataParallel(self.critic, device_ids=ours, broadcast_buffers=False)

    def judge(self, *what: Any) -> Any:
        """The critic's opinion, to train it; through the group where there is one. Else ask `critic` itself."""
        return self._judge(*what)

    def play(self, inputs: Tensor, fields: list[Tensor]) -> Tensor:
        made: Tensor = self._play(inputs, fields) if fields else self._play(inputs)
        return made

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """What is begun inside runs beside what follows, as far as the GPU has room; `join` before using it.

        Kernels for small pictures fill a part of a large GPU only.
        """
        if self._side is None:
            yield
            return
        self._side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._side):
            yield

    def join(self) -> None:
        """Wait (on the device) for what runs `beside`."""
        if self._side is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._side)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The critic passes gradients on and takes none."""
        trained = [p for p in self.critic.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def fields(self, batch: int, size: int) -> list[Tensor]:
        """Fresh seed fields for `play`; none for a generator without."""
        if not isinstance(self.generator, Dreaming):
            return []
        return self.generator.random_field(batch, size, size, device=self.device)

    def set_pace(self, part: float) -> None:
        """Learning rates as scheduled: full for three fifths of the training, then linearly to 1/50 at `part` 1."""
        factor = max(min(1.0, (1 - part) / 0.4), 0.02)
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * factor)  # in place: a captured step reads it there
                else:
                    group["lr"] = rate * factor

    def descend(self, which: int, value: Tensor) -> None:
        optimiser = self.optimisers[which]
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()

    @torch.no_grad()
    def follow(self) -> None:
        """Count a step and let the average follow the generator; its norms' statistics too."""
        self.steps += 1
        keep = min(KEEP, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self._averaged, self._newest, 1 - keep)

    def finite(self) -> bool:
        """Whether all weights and statistics are numbers, of both nets and of the average."""
        judging = [tensor for tensor in self.critic.state_dict().values() if tensor.is_floating_point()]
        return bool(torch.stack(torch._foreach_norm(self._averaged + self._newest + judging)).isfinite().all())

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a training needs to go on, by name; the tensors themselves, not copies."""
        found: dict[str, Tensor] = {}
        for name in ("generator", "critic", "average"):
            found |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        for optimiser, name in zip(self.optimisers, ("generator", "critic"), strict=True):
            for index, state in enumerate(optimiser.state.values()):
                found |= {f"{name}.adam.{index}.{key}": value for key, value in state.items()}
        return found

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Put `tensors` (of another `tensors()`) in place: a captured step goes on with them."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.steps = steps

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is trained inside is forgotten."""
        before = {name: tensor.clone() for name, tensor in self.tensors().items()}, self.steps
        yield
        self.load(*before)


def make_adam(net: nn.Module, rate: float, device: torch.device) -> torch.optim.Adam:
    """Adam as pix2pix sets it, with its state made at once, so that `Nets.tensors` is complete from the start."""
    cuda = device.type == "cuda"
    start = torch.tensor(rate, device=device) if cuda else rate
    trained = [p for p in net.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, start, betas=(0.5, 0.999), fused=cuda, capturable=cuda)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    adam.step()  # of zero gradients: it moves nothing
    adam.zero_grad(set_to_none=True)
    for state in adam.state.values():
        state["step"].zero_()
    return adam


def capture(step: Callable[[], Losses], warm: int = 3) -> Callable[[], Losses]:
    """`step` as one CUDA graph: launching its thousand kernels one by one takes several times their own time.

    It is taken `warm` times before (DistributedDataParallel needs 11 times: "CUDA semantics" in PyTorch's notes).

    The losses that a replay returns are overwritten by the next one. Whatever `step` decides in Python is decided now.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # cuDNN chooses its kernels and allocates its workspaces, before the capture
        for _ in range(warm):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()

    def replay() -> Losses:
        graph.replay()
        return losses

    return replay
