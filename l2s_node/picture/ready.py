"""Ready: looks compiled and drawn by another thread, ``l2s-look``, while the picture plays on without them.

The first one needs a context, and whatever it is drawn with is made in that: all of it is handed to the frame loop's
thread, which then has nothing to wait for. Where there is a context already, a second one is used and thrown away: the
driver keeps what it compiled, and compiling it again on the frame loop's thread takes some milliseconds.

What takes its time (making a context, compiling, drawing) leaves Python's other threads alone, see `egl` and `texture`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from l2s_node import texture
from l2s_node.errors import LookError
from l2s_node.picture.looks import Look
from l2s_node.texture import GL, TextureError


class Stage(Protocol):
    """What looks are compiled for and drawn with; see `post`."""

    def compile(self, look: Look) -> object: ...

    def rehearse(self) -> None: ...


S = TypeVar("S", bound=Stage)


class Making(Generic[S]):
    """Some looks on their way.

    Attributes:
        looks: those.
        failure: why there is no OpenGL here; None where there is.
        refused: what the driver doesn't compile, and why.
    """

    def __init__(self, looks: Sequence[Look], stage: Callable[[GL], S]) -> None:
        """Begin; `stage` is called on the thread."""
        self.looks = tuple(looks)
        self.failure: TextureError | None = None
        self.refused: dict[Look, LookError] = {}
        self._stage = stage
        self._made: tuple[GL, S] | None = None
        self._first = not texture.exists()
        self._thread = threading.Thread(target=self._make, name="l2s-look")
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def taken(self) -> S | None:
        """What was made, for the thread that calls this, when all is done: its context is now the one.

        None where there is another one; then the looks are compiled anew, which is quick now.
        """
        self._thread.join()
        made, self._made = self._made, None
        if made is None:
            return None
        gl, stage = made
        if texture.hand_in(gl):
            return stage
        gl.use()
        gl.close()
        texture.gl()
        return None

    def close(self) -> None:
        """Wait until it ends, and release what nobody took."""
        self._thread.join()
        if self._made is not None:
            gl, self._made = self._made[0], None
            gl.use()
            gl.close()

    def _make(self) -> None:
        try:
            gl = texture.beside()
        except TextureError as err:
            self.failure = err
            return
        assert gl is not None
        stage = self._stage(gl)
        for look in self.looks:
            try:
                stage.compile(look)
            except LookError as err:
                self.refused[look] = err
        stage.rehearse()
        if self._first:
            gl.leave()
            self._made = gl, stage
        else:
            gl.close()
