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

**Rooms.** `context` is OpenGL itself, `target` and `readback` are pictures there and their way back, `program` fills
them by fragment shaders and `compute`, where that is faster, by compute shaders made of the same text; `copier` copies.
"""

from __future__ import annotations

from collections.abc import Callable

from l2s_node.frame import Texture
from l2s_node.texture.compute import filler
from l2s_node.texture.context import EGL, GL, ShaderError, TextureError, current, standalone
from l2s_node.texture.copier import Copier
from l2s_node.texture.program import Filler, Program, Rect, Value, reading
from l2s_node.texture.readback import ReadBack
from l2s_node.texture.target import Image, Target

__all__ = [
    "EGL", "GL", "Copier", "Filler", "Image", "Program", "ReadBack", "Rect", "ShaderError", "Target", "Texture",
    "TextureError", "Value", "adopt", "beside", "close", "exists", "filler", "gl", "hand_in", "missing", "reading",
    "share",
]  # fmt: skip

_the_one: GL | None = None


def gl() -> GL:
    """The one context, current; made now if there is none.

    Raises:
        TextureError: there is no OpenGL 3.3 here (with the remedy), or this is not its thread.
    """
    global _the_one
    if _the_one is None:
        _the_one = standalone()
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
    _the_one = GL(current(), make_current)
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
    return GL(current(), make_current)


def beside() -> GL | None:
    """A context that is not the one, current on this thread, to make things ready in; None where there is no EGL.

    It is closed here, or left to the frame loop's thread: see `GL.leave` and `hand_in`.

    Raises:
        TextureError: there is no OpenGL 3.3 here (with the remedy).
    """
    return standalone() if EGL else None


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
        standalone().close()
    except TextureError as err:
        return str(err)
    return None
