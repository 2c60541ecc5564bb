"""Packing: UYVY bytes in host memory to textures and back, and how the shaders of `shaders/` become programs. No torch.

Everything here runs on the thread of the one context (see `texture`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from l2s_node.config import assets
from l2s_node.frame import Texture, is_sd
from l2s_node.picture import isf, isf_glsl
from l2s_node.texture import GL, Filler, Image, ReadBack, Target, Value, filler


def shader(gl: GL, name: str, rectangle: bool = False) -> Filler:
    """The program of ``shaders/name.fs``; with `rectangle`, its ``inputImage`` is a rectangle texture."""
    read = isf.read(assets() / "shaders" / f"{name}.fs")
    fragment, vertex = isf_glsl.fragment(read), isf_glsl.vertex(read)
    if rectangle:  # both: a linker refuses one name of two types
        assert _PLAIN in fragment and _PLAIN in vertex
        fragment, vertex = (text.replace(_PLAIN, _RECTANGLE) for text in (fragment, vertex))
    return filler(gl, fragment, vertex, f"{name}.fs")


_PLAIN = "uniform sampler2D inputImage;\n"
_RECTANGLE = """\
uniform sampler2DRect inputImage;
vec2 IMG_SIZE(sampler2DRect i) { return vec2(textureSize(i)); }
vec4 IMG_PIXEL(sampler2DRect i, vec2 p) { return texture(i, p); }
"""


class Shaders:
    """Programs by name and by the kind of the input's texture."""

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self._programs: dict[tuple[str, bool], Filler] = {}

    def __call__(self, name: str, rectangle: bool = False) -> Filler:
        program = self._programs.get((name, rectangle))
        if program is None:
            program = self._programs[name, rectangle] = shader(self._gl, name, rectangle)
        return program

    def release(self) -> None:
        for program in self._programs.values():
            program.release()
        self._programs.clear()


class Packer:
    """Textures to UYVY in host memory, asynchronously: at most one frame late.

    Attributes:
        back: what is read back, and how often it came late.
    """

    def __init__(self, gl: GL, patience: float = 0.004, kept: int = 2) -> None:
        """`patience`, `kept`: see `ReadBack`."""
        self._shaders = Shaders(gl)
        self._target = Target(gl, (1, 1))
        self.back = ReadBack(gl, patience, kept)

    def __call__(self, texture: Texture, alpha: bool) -> tuple[np.ndarray, ...]:
        """UYVY ``(h, 2w)`` and, with `alpha`, alpha ``(h, w)``, of an upright texture of even width.

        Their bytes are valid for the next ``kept - 1`` calls.
        """
        width, height = texture.size
        size = width // 2, height + (height + 1) // 2 * alpha
        self._target.resize(size)
        values: dict[str, Value] = {"inputImage": texture, "sd": is_sd(width, height), "RENDERSIZE": size}
        self._shaders("pack").run(self._target, values, smooth=False)
        self.back.start(self._target)
        flat, split = self.back.take().reshape(-1), 2 * width * height
        uyvy = flat[:split].reshape(height, 2 * width)
        return (uyvy, flat[split : split + width * height].reshape(height, width)) if alpha else (uyvy,)

    def release(self) -> None:
        for each in (self._target, self.back, self._shaders):
            each.release()


class Unpacker:
    """UYVY in host memory (and alpha) to a texture, OpenGL's way up."""

    def __init__(self, gl: GL) -> None:
        self._gl, self._shaders = gl, Shaders(gl)
        self._uyvy, self._alpha = Image(gl, (1, 1)), Image(gl, (1, 1), 1)
        self.target = Target(gl, (1, 1))

    def __call__(self, planes: Iterable[np.ndarray], standard: str) -> Texture:
        """UYVY ``(h, 2w)`` and perhaps alpha ``(h, w)``, bytes in the matrix of `standard`."""
        uyvy, *alpha = planes
        height, width = uyvy.shape[0], uyvy.shape[1] // 2
        self.target.resize((width, height))
        seen = self._uyvy.write(np.ascontiguousarray(uyvy).reshape(height, width // 2, 4))
        values: dict[str, Value] = {
            "inputImage": seen,
            # never whatever else was bound there: some drivers compile anew for another kind of texture
            "alpha": self._alpha.write(np.ascontiguousarray(alpha[0])) if alpha else seen,
            "opaque": not alpha,
            "sd": standard == "bt601",
            "RENDERSIZE": (width, height),
        }
        self._shaders("unpack").run(self.target, values, smooth=False)
        return self.target.texture

    def release(self) -> None:
        for each in (self._uyvy, self._alpha, self.target, self._shaders):
            each.release()
