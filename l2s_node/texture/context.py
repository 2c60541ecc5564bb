"""A context: OpenGL's functions for who draws, on one thread at a time; see the package's docstring."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from l2s_node import egl
from l2s_node.errors import L2SError
from l2s_node.frame import Texture

if TYPE_CHECKING:
    import moderngl

VERSION = 330
"""OpenGL 3.3 core: macOS has 4.1, everything else more."""
COMPUTE_VERSION = 430
"""The first OpenGL in which all that compute shaders need is certain to be there."""
EGL = importlib.util.find_spec("glcontext") is not None and importlib.util.find_spec("glcontext.egl") is not None
"""moderngl brings it for Linux only. EGL needs no screen, and its contexts can go from thread to thread."""
NAMES = 4096
"""Names of OpenGL's objects that `GL.objects` looks through."""

COMPLETE = 0x9117
"""GL_SYNC_GPU_COMMANDS_COMPLETE."""
FLUSH, EXPIRED = 1, 0x911B
"""GL_SYNC_FLUSH_COMMANDS_BIT, GL_TIMEOUT_EXPIRED."""
FOREVER = 1.0
"""Seconds that drawing may take at most: past it the GPU hangs, and old pixels are better than none."""

_TEXTURE0, _TEXTURE_2D, _TEXTURE_RECTANGLE, _TRIANGLE_STRIP = 0x84C0, 0x0DE1, 0x84F5, 0x0005
_TIMEOUT_IGNORED = 0xFFFFFFFFFFFFFFFF


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


_COMPUTE: dict[str, tuple[Any, ...]] = {
    "glUniform4i": (None, *[_I] * 5),
    "glBindImageTexture": (None, _U, _U, _I, ctypes.c_ubyte, _I, _U, _U),
    "glMemoryBarrier": (None, _U),
    "glDispatchCompute": (None, _U, _U, _U),
}
"""Likewise; only of `COMPUTE_VERSION` and newer."""


class TextureError(L2SError):
    """OpenGL is not here, is used from another thread, or a shader can't be built."""


class ShaderError(TextureError):
    """A shader that the driver refuses; `log` is what the driver says, with the line numbers of the source given."""

    def __init__(self, name: str, log: str) -> None:
        super().__init__(f"{name} can't be compiled: {log.strip()}")
        self.log = log


def _moderngl() -> Any:
    try:
        import moderngl
    except ImportError as err:
        raise TextureError("textures need the Python package 'moderngl': pip install moderngl") from err
    return moderngl


def standalone() -> GL:
    """A context of our own, current on this thread.

    Raises:
        TextureError: there is no OpenGL 3.3 here, with the remedy.
    """
    _moderngl()
    try:
        context = egl.Context() if EGL else None
        settings = {"context": context} if context else {}
        return GL(_created(standalone=True, **settings), context=context)
    except (egl.EGLError, TextureError) as err:
        remedy = "apt install libegl1 libgl1-mesa-dri" if EGL else "install the graphics card's driver"
        raise TextureError(f"there is no OpenGL 3.3 here ({err}): {remedy}") from err


def current() -> moderngl.Context:
    """The context, a room's own, that is current on this thread.

    Raises:
        TextureError: there is none, or it is older than OpenGL 3.3.
    """
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
    """One context; see the package's docstring. `texture.gl()` hands it out.

    Attributes:
        ctx: moderngl's context, for what has no words here.
        renderer: the driver's name for the device.
        can_compute: whether there are compute shaders.
        computes: whether what can be is run as a compute shader; None until that is chosen (see `compute`). Who
            compares both ways sets it before programs are made: each is of the kind that was chosen then.
    """

    def __init__(
        self,
        ctx: moderngl.Context,
        make_current: Callable[[], object] | None = None,
        context: egl.Context | None = None,
    ) -> None:
        self.ctx = ctx
        self.renderer = str(ctx.info["GL_RENDERER"])
        self.can_compute = ctx.version_code >= COMPUTE_VERSION
        self.computes: bool | None = None
        self._own = make_current is None
        self._context = context
        self._make_current = context.use if context else make_current or ctx.__enter__
        self._thread: int | None = threading.get_ident()
        self._raw = {
            name: self._load(name, types) for name, types in (_RAW | (_COMPUTE if self.can_compute else {})).items()
        }
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
        fence = other.call("glFenceSync", COMPLETE, 0)
        other.call("glFlush")  # a fence that isn't flushed may never be passed
        self.use()
        self.call("glWaitSync", fence, 0, _TIMEOUT_IGNORED)
        self.call("glDeleteSync", fence)

    def wait(self) -> None:
        """Until all that it was told to draw is drawn. By a fence, as `ReadBack` does, not by ``glFinish``."""
        fence = self.call("glFenceSync", COMPLETE, 0)
        self.call("glClientWaitSync", fence, FLUSH, round(FOREVER * 1e9))
        self.call("glDeleteSync", fence)

    def close(self) -> None:
        """Release what it owns; targets, images and programs are released by who made them."""
        for sampler in self._samplers.values():
            sampler.release()
        self.call("glDeleteVertexArrays", 1, ctypes.byref(self._corners))
        if self._own:
            self.ctx.release()

    def call(self, name: str, *arguments: object) -> Any:
        """A function of `_RAW`, or where it `can_compute` of `_COMPUTE`."""
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
