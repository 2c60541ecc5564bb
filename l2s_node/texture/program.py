"""Programs that fill rectangles of a target: drawn here, as fragment shaders, or computed (see `compute`).

Values of uniforms: a float, an int, a bool, a sequence of floats (vec2 … vec4), a `Texture`.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from l2s_node.frame import Texture
from l2s_node.texture.context import GL, ShaderError
from l2s_node.texture.target import Target

if TYPE_CHECKING:
    import moderngl

VERTEX = """#version 330
out vec2 isf_FragNormCoord;
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    isf_FragNormCoord = corner;
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
"""
"""Draws all of the viewport as a strip of two triangles; `isf_FragNormCoord` is 0…1, (0, 0) at the bottom left."""

Value = float | int | bool | Sequence[float] | Texture
Rect = tuple[int, int, int, int]
"""(left, bottom, width, height) in pixels of a target."""

_SAMPLERS = (0x8B5E, 0x8B63)
"""GL_SAMPLER_2D, GL_SAMPLER_2D_RECT."""
_STAGES = {"vertex": 0x8B31, "fragment": 0x8B30, "compute": 0x91B9}
_COMPILE_STATUS, _LINK_STATUS = 0x8B81, 0x8B82
_INFO_LOG_LENGTH, _ACTIVE_UNIFORMS = 0x8B84, 0x8B86
_SETTERS = {
    **dict.fromkeys((0x1404, 0x8B56), ("glUniform1i", int)),  # GL_INT, GL_BOOL
    0x1406: ("glUniform1f", float),
    **{0x8B50 + n: (f"glUniform{n + 2}f", None) for n in range(3)},  # GL_FLOAT_VEC2 …
}
"""How a uniform of a type is set, and what is made of the number before."""

_I, _U, _S = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p


class Filler(ABC):
    """A program that fills a rectangle of a target.

    Its inputs are uniforms by name; it gets ``vec2 isf_FragNormCoord``. Every sampler has a texture unit of its own.
    """

    def __init__(self, gl: GL, name: str, stages: Mapping[str, str]) -> None:
        """Compile and link.

        Args:
            gl: the context.
            name: for people ("bloom.fs").
            stages: GLSL with its ``#version`` by "vertex", "fragment" or "compute".

        Raises:
            ShaderError: the driver refuses it.
        """
        self.gl, self.name = gl, name
        self._glo = _linked(gl, name, stages)
        self._numbers: dict[str, tuple[int, str, Any]] = {}  # where, how, and what is made of it before
        self._told: dict[str, object] = {}  # what the numbers are: most stay from frame to frame
        self._units: dict[str, int] = {}
        gl.call("glUseProgram", self._glo)
        for key, kind in _uniforms(gl, self._glo):
            where = gl.call("glGetUniformLocation", self._glo, key.encode())
            if kind in _SAMPLERS:
                self._units[key] = len(self._units)
                gl.call("glUniform1i", where, self._units[key])
            elif kind in _SETTERS and where >= 0:
                self._numbers[key] = where, *_SETTERS[kind]

    @property
    def uniforms(self) -> frozenset[str]:
        """The inputs that it makes use of; others may be given and are ignored."""
        return frozenset({*self._numbers, *self._units})

    @abstractmethod
    def run(self, target: Target, values: dict[str, Value], into: Rect | None = None, smooth: bool = True) -> None:
        """Fill `into` of `target` (all of it by default), whose own texture must not be among `values`.

        `smooth` reads textures linear between texels, else the nearest one. What isn't given keeps its last value.
        """

    def release(self) -> None:
        self.gl.call("glDeleteProgram", self._glo)

    def _use(self, values: dict[str, Value], smooth: bool) -> None:
        self.gl.call("glUseProgram", self._glo)
        for key, value in values.items():
            if isinstance(value, Texture):
                if key in self._units:
                    self.gl.bind(self._units[key], value, smooth)
            elif key in self._numbers:
                self._set(key, value)

    def _set(self, key: str, value: float | Sequence[float]) -> None:
        number = value if isinstance(value, (float, int)) else tuple(value)
        if self._told.get(key) != number:
            where, how, kind = self._numbers[key]
            self.gl.call(how, where, *(number if isinstance(number, tuple) else (kind(number),)))
            self._told[key] = number


class Program(Filler):
    """A fragment shader that is drawn: on any framebuffer, by any driver.

    It gets ``in vec2 isf_FragNormCoord`` from `VERTEX`, or what another vertex shader gives it.
    """

    def __init__(self, gl: GL, fragment: str, vertex: str = VERTEX, name: str = "a shader") -> None:
        """Compile and link `fragment`, drawn as a strip of four vertices without attributes; see `Filler`."""
        super().__init__(gl, name, {"vertex": vertex, "fragment": fragment})

    def run(self, target: Target, values: dict[str, Value], into: Rect | None = None, smooth: bool = True) -> None:
        self.run_on(target.fbo, values, into or (0, 0, *target.size), smooth)

    def run_on(self, fbo: moderngl.Framebuffer, values: dict[str, Value], into: Rect, smooth: bool = True) -> None:
        """Draw on a framebuffer of any origin, as the screen (``gl.ctx.screen``)."""
        self._use(values, smooth)
        fbo.use()
        fbo.viewport = into
        self.gl.draw(self._glo)


def _linked(gl: GL, name: str, stages: Mapping[str, str]) -> int:
    """OpenGL's name of a program.

    Raises:
        ShaderError: see `Filler`.
    """
    program, shaders, refused = gl.call("glCreateProgram"), list[int](), ""
    for stage, text in stages.items():
        shader = gl.call("glCreateShader", _STAGES[stage])
        gl.call("glShaderSource", shader, 1, ctypes.byref(_S(text.encode())), None)
        gl.call("glCompileShader", shader)
        gl.call("glAttachShader", program, shader)
        shaders.append(shader)
        if not refused and not _asked(gl, "glGetShaderiv", shader, _COMPILE_STATUS):
            refused = f"{stage}_shader\n{_log(gl, 'Shader', shader)}"
    if not refused:
        gl.call("glLinkProgram", program)
        if not _asked(gl, "glGetProgramiv", program, _LINK_STATUS):
            refused = _log(gl, "Program", program)
    for shader in shaders:
        gl.call("glDeleteShader", shader)  # as soon as its program is
    if refused:
        gl.call("glDeleteProgram", program)
        raise ShaderError(name, refused)
    return int(program)


def _uniforms(gl: GL, program: int) -> Iterator[tuple[str, int]]:
    """(name, type) of each that the program makes use of."""
    text, size, kind = ctypes.create_string_buffer(256), _I(), _U()
    for index in range(_asked(gl, "glGetProgramiv", program, _ACTIVE_UNIFORMS)):
        gl.call("glGetActiveUniform", program, index, 256, None, ctypes.byref(size), ctypes.byref(kind), text)
        yield text.value.decode(), kind.value


def _asked(gl: GL, how: str, of: int, what: int) -> int:
    answer = _I()
    gl.call(how, of, what, ctypes.byref(answer))
    return answer.value


def _log(gl: GL, kind: str, of: int) -> str:
    text = ctypes.create_string_buffer(max(_asked(gl, f"glGet{kind}iv", of, _INFO_LOG_LENGTH), 1))
    gl.call(f"glGet{kind}InfoLog", of, len(text), None, text)
    return text.value.decode(errors="replace")


def reading(name: str, rectangle: bool) -> str:
    """GLSL that declares the sampler `name`, of a texture or a rectangle texture, and two functions on it.

    ``vec4 NAME_texel(ivec2 p)`` is one texel; ``vec4 NAME_at(vec2 uv)`` reads at 0…1 as the sampler is set;
    ``ivec2 NAME_size()`` its size.
    """
    kind, lod, scale = ("sampler2DRect", "", " * vec2(textureSize({0}))") if rectangle else ("sampler2D", ", 0", "")
    return (
        f"uniform {kind} {name};\n"
        f"vec4 {name}_texel(ivec2 p) {{ return texelFetch({name}, p{lod}); }}\n"
        f"vec4 {name}_at(vec2 uv) {{ return texture({name}, uv{scale.format(name)}); }}\n"
        f"ivec2 {name}_size() {{ return textureSize({name}{lod}); }}\n"
    )
