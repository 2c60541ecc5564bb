"""Capture: CUDA graphs are captured by one thread at a time, while the frame loop goes on using the GPU."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from l2s_node.collector import put_off

Made = TypeVar("Made")

ATTEMPTS = 3
"""How often a capture is tried: other threads that use the GPU can break one."""
CAPTURING = threading.RLock()
"""Held by whoever warms up and captures: what one thread does to get ready can break what another is capturing."""


def playing_stream(device: torch.device) -> torch.cuda.Stream:
    """A stream for the frame loop, and none that anything is ever captured on: what it queued there would be captured.

    Torch hands out the same 32 streams of each priority over and over; graphs are captured on those of the lowest one.
    """
    return torch.cuda.Stream(device, priority=-1)


class OnStream:
    """What is done within is queued on `stream`, as within `torch.cuda.stream`, for the frame loop.

    That one makes a stream, in Python, to see which is the current one: 9 to 19 µs, as much as two copies to a GPU.
    """

    __slots__ = ("_device", "_former", "_stream")

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        index = self._stream.device_index
        self._device = torch._C._cuda_getDevice()
        self._former = torch._C._cuda_getCurrentStream(index)
        torch.cuda.set_stream(self._stream)  # whose device is the current one then, too

    def __exit__(self, *_: object) -> None:
        number, index, kind = self._former
        torch._C._cuda_setStream(stream_id=number, device_index=index, device_type=kind)
        if self._device != index:
            torch.cuda.set_device(self._device)


def attempted(make: Callable[[], Made]) -> Made:
    """What `make` captures, which is tried again where it fails.

    Raises:
        RuntimeError: it failed for the last time.
    """
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(RuntimeError):
            return make()
    return make()


def recorded(device: torch.device, warm: Callable[[], object], take: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """What `take` does as a graph, after `warm` was done twice, on what the default stream has made by then.

    The caller holds `CAPTURING`.

    Raises:
        RuntimeError: CUDA can't, or another thread disturbed it.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.default_stream(device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(2):
            warm()
        stream.synchronize()
        with captured(graph):
            take()
    return graph


@contextlib.contextmanager
def captured(graph: torch.cuda.CUDAGraph) -> Iterator[None]:
    """What is done on the current stream, which is not the default one, becomes `graph`; nothing of it is executed.

    `torch.cuda.graph` would first wait for the whole GPU and give the allocator's memory back, which the frame loop
    would feel.

    A graph shares no memory with another, so that both may run at once. cuBLAS needs room to work in, which torch keeps
    for each thread and stream, and streams come round again after 32: it is forgotten before and after, and so `graph`
    gets its own, as it gets all other memory that it works in.

    What Python would collect meanwhile may be CUDA's: freed by the thread that captures, it breaks `graph`.
    """
    torch._C._cuda_clearCublasWorkspaces()
    with put_off():
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            yield
        finally:
            graph.capture_end()
            torch._C._cuda_clearCublasWorkspaces()
