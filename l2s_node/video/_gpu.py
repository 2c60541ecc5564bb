"""What the rooms that hold textures share: whose name is free, what a sender's coming and going is, copies of textures.

Nothing here knows Syphon or Spout; everything in OpenGL is done in the one context of `l2s_node.texture`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

import numpy as np

from l2s_node.errors import RoomError
from l2s_node.frame import Frame, PixelFormat, Texture
from l2s_node.texture import GL, Copier, Target, filler, reading

LOOK = 0.1
"""Seconds between two looks at who is there."""
PATIENCE = 2.0
"""Seconds without a picture after which a sender that is still there counts as silent."""

_OPAQUE = (
    "#version 330\n" + reading("source", False) + "in vec2 isf_FragNormCoord; out vec4 colour;\n"
    "void main() { colour = vec4(source_at(isf_FragNormCoord).rgb, 1.0); }\n"
)


def free_name(wanted: str, taken: Collection[str], log: logging.Logger) -> str:
    """`wanted`, or where another program has it the first that is free of "name 2" … "name 9", which the log says.

    Raises:
        RoomError: all of them are taken.
    """
    for own in [wanted, *(f"{wanted} {n}" for n in range(2, 10))]:
        if own not in taken:
            if own != wanted:
                log.warning("another program here already sends as %r: this node sends as %r", wanted, own)
            return own
    raise RoomError(f"{wanted!r} and eight names made of it are taken here: choose another")


class Presence:
    """Whether the sender that a source waits for is there and sends; logged whenever that changes.

    Attributes:
        uri: the source's; its sender's full one once that is found.
        state: see `base.Source`.
    """

    def __init__(self, uri: str, log: logging.Logger) -> None:
        self.uri, self.state = uri, "waiting"
        self._log = log
        self._delivered = 0
        self._heard = 0.0
        self._sends = ""
        self._next_look = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time to look who is there."""
        if now < self._next_look:
            return False
        self._next_look = now + LOOK
        return True

    def found(self, uri: str, now: float) -> None:
        """A connection was made."""
        self.uri, self._heard = uri, now

    def lost(self) -> None:
        """The sender has retired, or its program has died."""
        if self.state != "waiting":
            self._log.warning("%s is gone; it is found again when it returns", self.uri)
        self.state, self._sends = "waiting", ""

    def heard(self, fmt: PixelFormat, made: Texture | np.ndarray, seconds: float, dropped: int) -> Frame:
        """The picture that came: a texture, or ``(h, w, 4)`` in host memory, top row first."""
        shown, planes = (made, ()) if isinstance(made, Texture) else (None, (made,))
        width, height = made.size if isinstance(made, Texture) else made.shape[1::-1]
        sends = f"{width}x{height} {'as textures' if shown else 'through host memory'}"
        if sends != self._sends or self.state != "connected":
            self._log.info("%s sends %s", self.uri, sends)
        self.state, self._sends, self._heard = "connected", sends, time.monotonic()
        number, self._delivered = self._delivered + dropped, self._delivered + 1
        return Frame(planes, fmt, width, height, seconds, number, None, shown)

    def quiet(self, now: float) -> None:
        """It is there, and no picture came."""
        if self.state != "silent" and now - self._heard > PATIENCE:
            self._log.warning("%s is there and sends nothing", self.uri)
            self.state = "silent"


class Kept:
    """A texture of ours that pictures are copied to, so that they outlive their sender."""

    def __init__(self, gl: GL) -> None:
        self._gl, self._copier, self._target = gl, Copier(gl), Target(gl, (1, 1))
        self._former: Target | None = None

    def sized(self, size: tuple[int, int]) -> Texture:
        """The texture itself, to be written to; another one, black, where `size` is new.

        The one of the size before lives on until the next change: it may still be shown.
        """
        if size != self._target.size:
            if self._former is not None:
                self._former.release()
            self._former, self._target = self._target, Target(self._gl, size)
        return self._target.texture

    def copy(self, texture: Texture) -> Texture:
        """A copy of `texture` in its own size, OpenGL's way up, alpha and all."""
        self.sized(texture.size)
        self._copier.copy(texture, self._target)
        return self._target.texture

    def pixels(self, texture: Texture) -> np.ndarray:
        """`texture` in host memory: ``(h, w, 4)``, red first, row 0 the bottom; waits for the GPU."""
        self.copy(texture)
        return self._target.read()

    def release(self) -> None:
        self._copier.release()
        for target in filter(None, (self._former, self._target)):
            target.release()


class Shown:
    """A frame's texture as others may show it: whose fourth channel is to be ignored becomes opaque, for they don't."""

    def __init__(self, gl: GL) -> None:
        self._gl, self._target, self._program = gl, Target(gl, (1, 1)), filler(gl, _OPAQUE, name="opaque")

    def __call__(self, frame: Frame) -> Texture:
        """A texture that is valid until the next call.

        Raises:
            RoomError: the frame has none.
        """
        if frame.texture is None:
            raise RoomError(f"this room sends textures, not {frame.format.value} in host memory")
        if frame.format is PixelFormat.RGBA:
            return frame.texture
        self._target.resize(frame.size)
        self._program.run(self._target, {"source": frame.texture}, smooth=False)
        return Texture(self._target.texture.glo, *frame.size, flipped=frame.texture.flipped)

    def release(self) -> None:
        self._program.release()
        self._target.release()


def now_left(deadline: float) -> tuple[float, float]:
    """The time, and seconds until `deadline`, none of them negative."""
    now = time.monotonic()
    return now, max(deadline - now, 0.0)
