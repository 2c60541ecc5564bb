"""Textures: the one OpenGL context of a run, programs that draw full rectangles, and ways in and out of host memory.

Whoever needs OpenGL (a look, a texture room) calls `gl()`; the first call makes the context, so that a run without
either never has one. Nothing here knows what a picture means: that is in `picture/gl.py` (sample, compose) and in the
looks. `moderngl` is imported here and nowhere else, when it is needed and not before.

**Threads.** There is one context, and it is current on one thread: the one that made it, in a run the node's main
thread. Every call here is made on that thread; any other gets a `TextureError`. Rooms that hold textures therefore
never have ``blocks = True``. A room that makes another context current (a second window, an SDK) calls `gl().use()`
before it returns.

**Whose context.** A room whose library insists on a context of its own (a window, Spout's hidden one) makes it current
and calls `adopt()` before anybody called `gl()` (sinks are opened first); from then on it is the one. It calls
`close()` before it destroys it. Where the one context exists already, `adopt()` says so; a room whose context shares
with it (a second window) then calls `share()`.

**Orientation.** Everything that is drawn here lies OpenGL's way: row 0 is the bottom, as in Syphon, Spout and ISF. Host
memory has the top row first: an `Image` is a texture with ``flipped=True``, and what is to be read back is drawn upside
down by its program. `Texture.flipped` says which it is; whoever reads a texture looks at it.

**The contract of `Frame.texture`.** A source of textures returns ``Frame((), PixelFormat.RGBA, w, h, seconds, number,
rate, Texture(…))`` (RGBX where alpha is to be ignored) from `read`, with the one context current before and after. The
texture may be the SDK's own if it keeps the same pixels until the next `read` returns another one, else a copy of it
(`Copier`). A sink that takes textures has the class attribute ``textures = True``; its `write` is then
given frames with a texture and nothing else: RGBA or RGBX, OpenGL's way up, valid until the next `write` returns. All
other sinks are given host memory as ever.

Values of uniforms: a float, an int, a bool, a sequence of floats (vec2 … vec4), a `Texture`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from l2s_node import egl
from l2s_node.errors import L2SError
from l2s_node.frame import Texture

if TYPE_CHECKING:
    import moderngl

VERSION = 330
"""OpenGL 3.3 core: macOS has 4.1, everything else more."""
EGL = importlib.util.find_spec("glcontext") is not None and importlib.util.find_spec("glcontext.egl") is not None
"""moderngl brings it for Linux only. EGL needs no screen, and its contexts can go from thread to thread."""
NAMES = 4096
"""Names of OpenGL's objects that `GL.objects` looks through."""
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

_TEXTURE0, _TEXTURE_2D, _TEXTURE_RECTANGLE, _TRIANGLE_STRIP = 0x84C0, 0x0DE1, 0x84F5, 0x0005
_SAMPLERS = (0x8B5E, 0x8B63)
"""GL_SAMPLER_2D, GL_SAMPLER_2D_RECT."""
_SYNC_GPU_COMMANDS_COMPLETE, _SYNC_FLUSH_COMMANDS_BIT, _TIMEOUT_EXPIRED = 0x9117, 1, 0x911B
_TIMEOUT_IGNORED = 0xFFFFFFFFFFFFFFFF
_FOREVER = 1.0
"""Seconds that a read-back may take at most: past it the GPU hangs, and old pixels are better than none."""
_KINDS = {"f1": np.uint8, "f2": np.float16, "f4": np.float32}

_VERTEX_SHADER, _FRAGMENT_SHADER, _COMPILE_STATUS, _LINK_STATUS = 0x8B31, 0x8B30, 0x8B81, 0x8B82
_INFO_LOG_LENGTH, _ACTIVE_UNIFORMS = 0x8B84, 0x8B86
_SETTERS = {
    **dict.fromkeys((0x1404, 0x8B56), ("glUniform1i", int)),  # GL_INT, GL_BOOL
    0x1406: ("glUniform1f", float),
    **{0x8B50 + n: (f"glUniform{n + 2}f", None) for n in range(3)},  # GL_FLOAT_VEC2 …
}
"""How a uniform of a type is set, and what is made of the number before."""

_I, _U, _P = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
_F, _S = ctypes.c_float, ctypes.c_char_p
_RAW: dict[str, tuple[Any, ...]] = {
    "glActiveTexture": (None, _U),
    "glBindTexture": (None, _U, _U),
    "glFlush": (None,),
    "glFenceSync": (_P, _U, _U),
    "glClientWaitSync": (_U, _P, _U, ctypes.c_uint64),
    "glWaitSync": (None, _P, _U, ctypes.c_uint64),
    "glDeleteSync": (None, _P),
    "glIsTexture": (ctypes.c_ubyte, _U),
    "glIsFramebuffer": (ctypes.c_ubyte, _U),
    "glIsBuffer": (ctypes.c_ubyte, _U),
    "glIsProgram": (ctypes.c_ubyte, _U),
    "glCreateShader": (_U, _U),
    "glShaderSource": (None, _U, _I, ctypes.POINTER(_S), _P),
    "glCompileShader": (None, _U),
    "glGetShaderiv": (None, _U, _U, _P),
    "glGetShaderInfoLog": (None, _U, _I, _P, _P),
    "glDeleteShader": (None, _U),
    "glCreateProgram": (_U,),
    "glAttachShader": (None, _U, _U),
    "glLinkProgram": (None, _U),
    "glGetProgramiv": (None, _U, _U, _P),
    "glGetProgramInfoLog": (None, _U, _I, _P, _P),
    "glDeleteProgram": (None, _U),
    "glGetActiveUniform": (None, _U, _U, _I, _P, _P, _P, _P),
    "glGetUniformLocation": (_I, _U, _S),
    "glUseProgram": (None, _U),
    "glUniform1i": (None, _I, _I),
    **{f"glUniform{n}f": (None, _I, *[_F] * n) for n in range(1, 5)},
    "glGenVertexArrays": (None, _I, _P),
    "glBindVertexArray": (None, _U),
    "glDeleteVertexArrays": (None, _I, _P),
    "glDrawArrays": (None, _U, _I, _I),
}
"""(result, *arguments) of the functions of OpenGL that moderngl has no words for, or that take their time: moderngl
would hold all threads of Python while the driver compiles or draws, these don't."""


class TextureError(L2SError):
    """OpenGL is not here, is used from another thread, or a shader can't be built."""


class ShaderError(TextureError):
    """A shader that the driver refuses; `log` is what the driver says, with the line numbers of the source given."""

    def __init__(self, name: str, log: str) -> None:
        super().__init__(f"{name} can't be compiled: {log.strip()}")
        self.log = log


# --- the one context --------------------------------------------------------------------------------------------------

_the_one: GL | None = None


def gl() -> GL:
    """The one context, current; made now if there is none.

    Raises:
        TextureError: there is no OpenGL 3.3 here (with the remedy), or this is not its thread.
    """
    global _the_one
    if _the_one is None:
        _the_one = _standalone()
    _the_one.use()
    return _the_one


def exists() -> bool:
    """Whether the one context has been made."""
    return _the_one is not None


def adopt(make_current: Callable[[], object]) -> GL:
    """Make the context that is current on this thread, a room's own, the one.

    Args:
        make_current: makes it current again, after another one was.

    Raises:
        TextureError: there is one already, or none is current, or it is older than OpenGL 3.3.
    """
    global _the_one
    if _the_one is not None:
        raise TextureError("there is an OpenGL context already; share with that one")
    _the_one = GL(_current(), make_current)
    return _the_one


def share(make_current: Callable[[], object]) -> GL:
    """The context that is current on this thread, a room's own that shares its textures with the one: a second window.

    Only the room that made it draws with it, closes it, and calls ``gl()`` when it is done. Framebuffers and vertex
    arrays aren't shared, so what draws (a `Copier`) is made for it. Order between the two is by `GL.after`.

    Args:
        make_current: makes it current again, after another one was.

    Raises:
        TextureError: none is current, or it is older than OpenGL 3.3.
    """
    return GL(_current(), make_current)


def beside() -> GL | None:
    """A context that is not the one, current on this thread, to make things ready in; None where there is no EGL.

    It is closed here, or left to the frame loop's thread: see `GL.leave` and `hand_in`.

    Raises:
        TextureError: there is no OpenGL 3.3 here (with the remedy).
    """
    return _standalone() if EGL else None


def hand_in(made: GL) -> bool:
    """Make `made`, which was left by another thread, the one, current on this thread; False: there is one already."""
    global _the_one
    if _the_one is not None:
        return False
    made.use()
    _the_one = made
    return True


def close() -> None:
    """Release the one context and all that was made with it; nothing happens where there is none."""
    global _the_one
    if _the_one is not None:
        the_one, _the_one = _the_one, None
        the_one.close()


def missing() -> str | None:
    """Why no OpenGL can be had here and the remedy, in one sentence; None where it can. Makes no context that stays."""
    if _the_one is not None:
        return None
    try:
        _standalone().close()
    except TextureError as err:
        return str(err)
    return None


def _moderngl() -> Any:
    try:
        import moderngl
    except ImportError as err:
        raise TextureError("textures need the Python package 'moderngl': pip install moderngl") from err
    return moderngl


def _standalone() -> GL:
    _moderngl()
    try:
        context = egl.Context() if EGL else None
        settings = {"context": context} if context else {}
        return GL(_created(standalone=True, **settings), context=context)
    except (egl.EGLError, TextureError) as err:
        remedy = "apt install libegl1 libgl1-mesa-dri" if EGL else "install the graphics card's driver"
        raise TextureError(f"there is no OpenGL 3.3 here ({err}): {remedy}") from err


def _current() -> moderngl.Context:
    _moderngl()
    try:
        return _created()
    except TextureError as err:
        raise TextureError(f"no OpenGL 3.3 context is current ({err})") from err


def _created(**settings: Any) -> moderngl.Context:
    """moderngl's context by these settings; by none that which is current.

    Raises:
        TextureError: moderngl's words.
    """
    try:
        made: moderngl.Context = _moderngl().create_context(require=VERSION, **settings)
    except Exception as err:  # glcontext raises just that
        raise TextureError(str(err)) from err
    return made


class GL:
    """One context; see the module's docstring. `gl()` hands it out.

    Attributes:
        ctx: moderngl's context, for what has no words here.
        renderer: the driver's name for the device.
    """

    def __init__(
        self,
        ctx: moderngl.Context,
        make_current: Callable[[], object] | None = None,
        context: egl.Context | None = None,
    ) -> None:
        self.ctx = ctx
        self.renderer = str(ctx.info["GL_RENDERER"])
        self._own = make_current is None
        self._context = context
        self._make_current = context.use if context else make_current or ctx.__enter__
        self._thread: int | None = threading.get_ident()
        self._raw = {name: self._load(name, types) for name, types in _RAW.items()}
        library = _moderngl()
        self._samplers = {
            smooth: ctx.sampler(repeat_x=False, repeat_y=False, filter=(mode, mode))
            for smooth, mode in ((False, library.NEAREST), (True, library.LINEAR))
        }
        self._corners = _U()
        self.call("glGenVertexArrays", 1, ctypes.byref(self._corners))  # none has attributes, so there is one

    def use(self) -> None:
        """Make it current, after another one was.

        Raises:
            TextureError: this is not its thread.
        """
        self._thread = self._thread or threading.get_ident()
        if threading.get_ident() != self._thread:
            raise TextureError("OpenGL is used by the thread that made its context and by no other")
        self._make_current()

    def leave(self) -> None:
        """Let go of it on this thread: the next one that calls `use` is its thread. Only one of `beside` can."""
        assert self._context is not None
        self._context.leave()
        self._thread = None

    def after(self, other: GL) -> None:
        """From here on this context, current after the call, waits on the GPU for what `other` was told to draw."""
        other.use()
        fence = other.call("glFenceSync", _SYNC_GPU_COMMANDS_COMPLETE, 0)
        other.call("glFlush")  # a fence that isn't flushed may never be passed
        self.use()
        self.call("glWaitSync", fence, 0, _TIMEOUT_IGNORED)
        self.call("glDeleteSync", fence)

    def wait(self) -> None:
        """Until all that it was told to draw is drawn. By a fence, as `ReadBack` does, not by ``glFinish``."""
        fence = self.call("glFenceSync", _SYNC_GPU_COMMANDS_COMPLETE, 0)
        self.call("glClientWaitSync", fence, _SYNC_FLUSH_COMMANDS_BIT, round(_FOREVER * 1e9))
        self.call("glDeleteSync", fence)

    def close(self) -> None:
        """Release what it owns; targets, images and programs are released by who made them."""
        for sampler in self._samplers.values():
            sampler.release()
        self.call("glDeleteVertexArrays", 1, ctypes.byref(self._corners))
        if self._own:
            self.ctx.release()

    def call(self, name: str, *arguments: object) -> Any:
        """A function of `_RAW`."""
        return self._raw[name](*arguments)

    def bind(self, unit: int, texture: Texture, smooth: bool) -> None:
        """`texture` on a texture unit: linear between texels, or the nearest; its border goes on outside."""
        self.call("glActiveTexture", _TEXTURE0 + unit)
        self.call("glBindTexture", _TEXTURE_RECTANGLE if texture.rectangle else _TEXTURE_2D, texture.glo)
        self._samplers[smooth].use(unit)

    def draw(self, program: int) -> None:
        """All of the viewport of what is bound, with a program of `VERTEX`'s kind."""
        self.call("glUseProgram", program)
        self.call("glBindVertexArray", self._corners)
        self.call("glDrawArrays", _TRIANGLE_STRIP, 0, 4)

    def objects(self) -> dict[str, int]:
        """How many textures, framebuffers, buffers and programs there are, asked of OpenGL itself (for tests)."""
        kinds = ("Texture", "Framebuffer", "Buffer", "Program")
        return {kind: sum(self.call(f"glIs{kind}", name) for name in range(1, NAMES)) for kind in kinds}

    def _load(self, name: str, types: tuple[Any, ...]) -> Any:
        loader = self.ctx.mglo._context  # of a context that moderngl made, or of one that it found
        load = getattr(loader, "load", None) or loader.load_opengl_function
        address = load(name)
        if not address:
            raise TextureError(f"this OpenGL has no {name}")
        return ctypes.CFUNCTYPE(*types)(address)


# --- pictures in OpenGL -----------------------------------------------------------------------------------------------


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


# --- programs ---------------------------------------------------------------------------------------------------------


class Program:
    """A fragment shader that is drawn over a rectangle of a target.

    Its inputs are uniforms by name; it gets ``in vec2 isf_FragNormCoord`` from `VERTEX`, or what another vertex shader
    gives it. Every sampler has a texture unit of its own.
    """

    def __init__(self, gl: GL, fragment: str, vertex: str = VERTEX, name: str = "a shader") -> None:
        """Compile and link.

        Args:
            gl: the context.
            fragment: GLSL with its ``#version``.
            vertex: likewise; it is drawn as a strip of four vertices without attributes.
            name: for people ("bloom.fs").

        Raises:
            ShaderError: the driver refuses it.
        """
        self.gl, self.name = gl, name
        self._glo = _linked(gl, name, vertex, fragment)
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

    def run(self, target: Target, values: dict[str, Value], into: Rect | None = None, smooth: bool = True) -> None:
        """Draw on `into` of `target` (all of it by default), whose own texture must not be among `values`.

        `smooth` reads textures linear between texels, else the nearest one. What isn't given keeps its last value.
        """
        self.run_on(target.fbo, values, into or (0, 0, *target.size), smooth)

    def run_on(self, fbo: moderngl.Framebuffer, values: dict[str, Value], into: Rect, smooth: bool = True) -> None:
        """Draw on a framebuffer of any origin, as the screen (``gl.ctx.screen``)."""
        self.gl.call("glUseProgram", self._glo)
        for key, value in values.items():
            if isinstance(value, Texture):
                if key in self._units:
                    self.gl.bind(self._units[key], value, smooth)
            elif key in self._numbers:
                self._set(key, value)
        fbo.use()
        fbo.viewport = into
        self.gl.draw(self._glo)

    def release(self) -> None:
        self.gl.call("glDeleteProgram", self._glo)

    def _set(self, key: str, value: float | Sequence[float]) -> None:
        number = value if isinstance(value, (float, int)) else tuple(value)
        if self._told.get(key) != number:
            where, how, kind = self._numbers[key]
            self.gl.call(how, where, *(number if isinstance(number, tuple) else (kind(number),)))
            self._told[key] = number


def _linked(gl: GL, name: str, vertex: str, fragment: str) -> int:
    """OpenGL's name of a program.

    Raises:
        ShaderError: see `Program`.
    """
    program, shaders, refused = gl.call("glCreateProgram"), list[int](), ""
    for stage, kind, text in (("vertex", _VERTEX_SHADER, vertex), ("fragment", _FRAGMENT_SHADER, fragment)):
        shader = gl.call("glCreateShader", kind)
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


class Copier:
    """Copies textures of any kind and size to targets, linear between texels, the right way up."""

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self._programs: dict[bool, Program] = {}

    def copy(self, texture: Texture, target: Target) -> None:
        """All of `texture` to all of `target`."""
        self.copy_to(texture, target.fbo, (0, 0, *target.size))

    def copy_to(self, texture: Texture, fbo: moderngl.Framebuffer, into: Rect) -> None:
        """All of `texture` to a rectangle of a framebuffer of any origin, as the screen."""
        program = self._programs.get(texture.rectangle)
        if program is None:
            program = self._programs[texture.rectangle] = Program(self._gl, _copy(texture.rectangle), name="copy")
        program.run_on(fbo, {"source": texture, "flipped": texture.flipped}, into)

    def release(self) -> None:
        for program in self._programs.values():
            program.release()
        self._programs.clear()


def _copy(rectangle: bool) -> str:
    return (
        "#version 330\n" + reading("source", rectangle) + "uniform bool flipped; in vec2 isf_FragNormCoord;\n"
        "out vec4 colour; void main() { vec2 uv = isf_FragNormCoord;\n"
        "colour = source_at(vec2(uv.x, flipped ? 1.0 - uv.y : uv.y)); }\n"
    )


# --- and back to host memory ------------------------------------------------------------------------------------------


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
            if not slot.there(_FOREVER if patience is None else patience):
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
        self._fence = self._gl.call("glFenceSync", _SYNC_GPU_COMMANDS_COMPLETE, 0)

    def there(self, seconds: float) -> bool:
        """Whether the bytes are in the buffer, after at most so long."""
        flags, wait = _SYNC_FLUSH_COMMANDS_BIT, round(seconds * 1e9)
        return bool(self._gl.call("glClientWaitSync", self._fence, flags, wait) != _TIMEOUT_EXPIRED)

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
