"""Pixels of targets back to host memory, without waiting for the whole queue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from l2s_node.texture.context import COMPLETE, EXPIRED, FLUSH, FOREVER, GL
from l2s_node.texture.target import Target

if TYPE_CHECKING:
    import moderngl


class ReadBack:
    """Pixels of targets to host memory through two pixel buffer objects, so that nobody waits for the whole queue.

    `start` asks for a target's pixels, `take` hands out the newest that have arrived: those asked for last, or, where
    they are not there in time, those before, once. So what comes is at most one frame late.

    Attributes:
        kept: arrays that pixels come to in turns: what was taken stays for so many calls of `take` less one.
        late: how often it was the former frame's.
        taken: how often pixels were taken.
        bytes: read back so far.
    """

    def __init__(self, gl: GL, patience: float = 0.004, kept: int = 2) -> None:
        """`patience`: seconds that `take` waits for what was asked for last, where the former frame's are there."""
        self._gl, self._patience, self.kept = gl, patience, kept
        self._arrays: list[np.ndarray] = []
        self._slots = [_Slot(gl), _Slot(gl)]
        self.late = self.taken = self.bytes = 0

    def start(self, target: Target) -> None:
        """Ask for all of `target`; returns at once."""
        self._slots.reverse()
        self._slots[0].start(target)

    def take(self) -> np.ndarray:
        """``(h, w, components)``, rows as they lie in the target; valid for the next ``kept - 1`` calls.

        After at least one `start`. A former frame of another shape is never handed out.
        """
        newest, former = self._slots
        self.taken += 1
        taken = newest
        same = former.shape == newest.shape
        if not self._arrive(newest, self._patience if same else None) and same:
            self.late += 1
            taken = former
            self._arrive(former, None)
        pixels = self._next(taken.shape, taken.kind) if taken.pixels is None else taken.pixels  # the GPU hangs
        self.bytes += pixels.nbytes
        return pixels

    def release(self) -> None:
        for slot in self._slots:
            slot.release()
        self._arrays = []

    def _arrive(self, slot: _Slot, patience: float | None) -> bool:
        """Whether the bytes of `slot` are in one of the arrays now, after at most `patience` seconds; None: waits."""
        if slot.asked:
            if not slot.there(FOREVER if patience is None else patience):
                return False
            slot.fetch(self._next(slot.shape, slot.kind))
        return slot.pixels is not None

    def _next(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
        if not self._arrays or self._arrays[0].shape != shape or self._arrays[0].dtype != kind:
            self._arrays = [np.zeros(shape, kind) for _ in range(self.kept)]
        self._arrays.append(self._arrays.pop(0))
        return self._arrays[-1]


class _Slot:
    """One pixel buffer object.

    Attributes:
        shape: of what was asked for last.
        kind: its type.
        pixels: what has come; None until then.
    """

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self._buffer: moderngl.Buffer | None = None
        self._fence: int | None = None
        self.shape: tuple[int, ...] = ()
        self.kind = np.dtype(np.uint8)
        self.pixels: np.ndarray | None = None

    @property
    def asked(self) -> bool:
        """Whether there is something to wait for."""
        return self._fence is not None

    def start(self, target: Target) -> None:
        self._forget()
        shape = (target.size[1], target.size[0], target.components)
        if self._buffer is None or shape != self.shape or self.kind != target.kind:
            self.release()
            self.shape, self.kind = shape, target.kind
            self._buffer = self._gl.ctx.buffer(reserve=math.prod(shape) * self.kind.itemsize)
        self.pixels = None
        target.fbo.read_into(self._buffer, components=target.components, dtype=target.dtype, alignment=1)
        self._fence = self._gl.call("glFenceSync", COMPLETE, 0)

    def there(self, seconds: float) -> bool:
        """Whether the bytes are in the buffer, after at most so long."""
        flags, wait = FLUSH, round(seconds * 1e9)
        return bool(self._gl.call("glClientWaitSync", self._fence, flags, wait) != EXPIRED)

    def fetch(self, into: np.ndarray) -> None:
        self._forget()
        assert self._buffer is not None
        self._buffer.read_into(into)
        self.pixels = into

    def release(self) -> None:
        self._forget()
        if self._buffer is not None:
            self._buffer.release()
        self._buffer, self.pixels, self.shape = None, None, ()

    def _forget(self) -> None:
        if self._fence is not None:
            self._gl.call("glDeleteSync", self._fence)
        self._fence = None
