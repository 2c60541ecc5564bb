"""Upload: bytes in host memory to the GPU, from where they lie if their pages can be locked, else from such pages."""

from __future__ import annotations

import mmap
import weakref
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from l2s_node.frame import Frame
from l2s_node.picture import dry
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.geometry import Geometry

LOCKED = 16
"""Frames whose pages are locked at a time; rooms rotate through three."""
SMALLEST = 1 << 18
"""Bytes that are worth locking."""
STUCK: list[object] = []
"""What CUDA didn't unlock, and so must stay."""


class Locked:
    """Host memory whose pages are locked, so that the GPU fetches it without a copy.

    Only arrays on pages of their own (`frame.page_aligned`) are taken, and they are held until they are unlocked:
    a page that is freed while it is locked, or locked twice, breaks every later call of CUDA.

    Attributes:
        close: unlocks them. Left to the garbage collector it may come from a thread that captures a graph, where CUDA
            refuses it.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[np.ndarray, Tensor]] = {}
        self._works = True
        self.close = weakref.finalize(self, _unlock, self._held)

    def take(self, array: np.ndarray) -> Tensor | None:
        """`array` as a tensor if it is locked now; it is locked when it is met for the first time."""
        address = array.ctypes.data
        held = self._held.get(address)
        if held is not None and held[0].shape == array.shape:
            return held[1]
        if not self._works or address % mmap.PAGESIZE or array.nbytes < SMALLEST or not array.flags.c_contiguous:
            return None
        if held is not None or len(self._held) >= LOCKED:
            _unlock(self._held)
        self._works = int(torch.cuda.cudart().cudaHostRegister(address, array.nbytes, 0)) == 0
        if self._works:
            self._held[address] = array, torch.from_numpy(array)
            return self._held[address][1]
        with suppress(RuntimeError):  # a limit on locked memory; the error waits for the next launch, which clears it
            torch.zeros(1, device="cuda")
        return None


def _unlock(held: dict[int, tuple[np.ndarray, Tensor]]) -> None:
    for address in list(held):
        array = held.pop(address)
        if int(torch.cuda.cudart().cudaHostUnregister(address)) != 0:
            STUCK.append(array)


class Upload:
    """A tensor on the GPU and its page-locked twin on the host, for what isn't locked where it lies."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.there = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._here: Tensor | None = None

    def send(self, array: np.ndarray, locked: Locked) -> None:
        """On the current stream; the former `send` must have arrived."""
        source = locked.take(array)
        if source is None:
            if self._here is None:
                self._here = torch.empty_like(self.there, device="cpu", pin_memory=True)
            source = self._here.copy_(torch.from_numpy(array))
        self.there.copy_(source, non_blocking=True)


def packed(frame: Frame, buffers: Buffers) -> np.ndarray:
    """The frame (but for an odd last column) as UYVY bytes whose luma is what `sample` takes.

    They are its own where it is packed so, and converted on the host where not.
    """
    rect = (0, 0, even(frame.width), frame.height)
    made = frame.planes[0]
    if frame.format not in dry.PACKED or rect[2] != frame.width:
        whole = (0.0, 0.0, float(rect[2]), float(rect[3]))
        standard = "bt709" if frame.format.is_rgb else standard_for(*frame.size)
        geometry = Geometry(whole, rect, rect, whole, rect, (False, False))
        made = dry.dry_uyvy(frame, geometry, standard, buffers, "packed")
    if made.flags.c_contiguous and made.flags.writeable:
        return made
    staged = buffers("packed", made.shape)  # torch takes no array that is read-only
    np.copyto(staged, made)
    return staged


def even(width: int) -> int:
    """The nearest width that UYVY can have."""
    return max(width // 2 * 2, 2)
