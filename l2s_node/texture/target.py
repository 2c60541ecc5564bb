"""Pictures in OpenGL: textures that are drawn on, and textures that are filled from host memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2s_node.frame import Texture
from l2s_node.texture.context import GL

_KINDS = {"f1": np.uint8, "f2": np.float16, "f4": np.float32}


class Target:
    """A texture that can be drawn on; OpenGL's way up.

    Attributes:
        texture: for `Program.run` and `Frame`.
        mgl: moderngl's texture.
        fbo: moderngl's framebuffer.
    """

    def __init__(self, gl: GL, size: tuple[int, int], components: int = 4, dtype: str = "f1") -> None:
        """Black (transparent) at first.

        Args:
            gl: the context.
            size: (width, height).
            components: 1 to 4 channels.
            dtype: "f1" bytes that are read as 0…1, "f2" half floats, "f4" floats.
        """
        self.gl, self.components, self.dtype = gl, components, dtype
        self._make(size)

    @property
    def size(self) -> tuple[int, int]:
        return self.texture.size

    @property
    def kind(self) -> np.dtype[Any]:
        """NumPy's type of its channels."""
        return np.dtype(_KINDS[self.dtype])

    def resize(self, size: tuple[int, int]) -> bool:
        """Another size, black; whether it was another one."""
        if size == self.size:
            return False
        self.release()
        self._make(size)
        return True

    def clear(self, colour: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)) -> None:
        self.fbo.clear(*colour)

    def read(self) -> np.ndarray:
        """``(h, w, components)`` in the target's dtype, row 0 the bottom; waits until all is drawn."""
        data = self.fbo.read(components=self.components, dtype=self.dtype, alignment=1)
        return np.frombuffer(data, self.kind).reshape(self.size[1], self.size[0], self.components)

    def release(self) -> None:
        self.fbo.release()
        self.mgl.release()

    def _make(self, size: tuple[int, int]) -> None:
        self.mgl = self.gl.ctx.texture(size, self.components, dtype=self.dtype)
        self.fbo = self.gl.ctx.framebuffer([self.mgl])
        self.texture = Texture(self.mgl.glo, *size)
        self.clear()


class Image:
    """A texture that is filled from host memory, top row first (``flipped``)."""

    def __init__(self, gl: GL, size: tuple[int, int], components: int = 4, dtype: str = "f1") -> None:
        self.gl, self.components, self.dtype = gl, components, dtype
        self._make(size)

    def write(self, pixels: np.ndarray) -> Texture:
        """Upload ``(h, w, components)`` (or ``(h, w)`` of one), contiguous, in the image's dtype; any size."""
        self.resize((pixels.shape[1], pixels.shape[0]))
        self.mgl.write(pixels, alignment=1)
        return self.texture

    def resize(self, size: tuple[int, int]) -> None:
        """Another size; what is in it then is nobody's business until it is written to."""
        if size != self.texture.size:
            self.release()
            self._make(size)

    def release(self) -> None:
        self.mgl.release()

    def _make(self, size: tuple[int, int]) -> None:
        self.mgl = self.gl.ctx.texture(size, self.components, dtype=self.dtype)
        self.texture = Texture(self.mgl.glo, *size, flipped=True)
