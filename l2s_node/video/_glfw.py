"""GLFW, which the room `window:` opens its windows through: the library, the displays, and a window of the system's.

Every call of GLFW is made here, and on the process's main thread, as macOS wants it. Under Wayland windows come by way
of XWayland: only there can a window be put on a display of one's choice, and moderngl finds its context by GLX.
"""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass, field
from typing import Any

from l2s_node import llvm
from l2s_node.errors import RoomError
from l2s_node.video import _xlib

FIT = 0.8
"""Of a display's free area that a plain window takes at most, in each direction."""


_state = "away"
"""From the desktop; or "ready"; or "gone" for good, with the X server that it was on."""


def load() -> Any:
    """The module `glfw`, ready to be used; returns at once where it is already.

    Raises:
        RoomError: it isn't installed, there is no display to open windows on, or this isn't the main thread.
    """
    global _state
    if threading.current_thread() is not threading.main_thread():
        raise RoomError("windows belong to the main thread, which l2s run is on: show this on ndi:NAME instead")
    if gone():
        raise RoomError("the desktop that windows were on has ended: start l2s anew in the next session")
    os.environ.setdefault("PYGLFW_LIBRARY_VARIANT", "x11")  # read by the package on Linux alone, at its import
    try:
        import glfw
    except ImportError as err:
        raise RoomError("a window needs the Python package 'glfw': pip install glfw") from err
    if _state == "away":
        llvm.keep_apart()
        glfw.ERROR_REPORTING = "log"  # at debug level; what fails is asked for where it matters
        glfw.init_hint(glfw.COCOA_CHDIR_RESOURCES, glfw.FALSE)
        if not glfw.init():
            raise RoomError(
                f"there is no desktop to open a window on ({_error(glfw)}): start l2s in a desktop session, or, from "
                "elsewhere on Linux, set DISPLAY to one's, as in DISPLAY=:0"
            )
        if glfw.get_platform() == glfw.PLATFORM_X11:
            _xlib.survive(ctypes.cast(glfw.get_x11_display(), ctypes.c_void_p), _on_end)
        _state = "ready"
    return glfw


def unload() -> None:
    """Leave the desktop; all panes are destroyed before."""
    global _state
    load().terminate()
    _state = "away"


def gone() -> bool:
    """Whether the X server has ended: nothing but `load` may be called then, which says so."""
    return _state == "gone"


@dataclass(frozen=True, slots=True)
class Display:
    """A display as it is now.

    Attributes:
        number: 0 for the desktop's first, its primary one.
        name: what its maker calls it, or its plug.
        rect: (left, top, width, height) on the desktop, in its own units.
        rate: pictures a second that it shows; 0 where nobody knows.
        free: the part of `rect` that no bar or dock takes.
    """

    number: int
    name: str
    rect: tuple[int, int, int, int]
    rate: int
    free: tuple[int, int, int, int] = field(compare=False)
    handle: Any = field(compare=False, repr=False, default=None)

    def __str__(self) -> str:
        return f"{self.number} ({self.name} {self.rect[2]}x{self.rect[3]})"

    def holds(self, x: int, y: int) -> bool:
        """Whether that point of the desktop is on it."""
        left, top, width, height = self.rect
        return left <= x < left + width and top <= y < top + height


def displays() -> list[Display]:
    """Every display that is connected now."""
    glfw = load()
    found: list[Display] = []
    for handle in glfw.get_monitors():
        try:
            mode = glfw.get_video_mode(handle)
        except ValueError:  # a null pointer: it is being unplugged
            continue
        name = _text(glfw.get_monitor_name(handle)) or "display"
        rect = (*glfw.get_monitor_pos(handle), *mode.size)
        free = tuple(glfw.get_monitor_workarea(handle))
        found.append(Display(len(found), name, rect, mode.refresh_rate, free if min(free[2:]) > 0 else rect, handle))
    return found


def attend() -> None:
    """Let the system tell all panes what happened to them; returns at once."""
    load().poll_events()


class Pane:
    """One window of the system's with an OpenGL 3.3 context, invisible until it is placed; the cursor hides over it.

    Attributes:
        shown: it was placed, and not hidden since.
        iconified: its user made it an icon.
    """

    def __init__(self, title: str, shared: Pane | None = None) -> None:
        """Open it and make its context current.

        Args:
            title: for its frame and for task bars.
            shared: its context shares textures with this one's.

        Raises:
            RoomError: there is no such OpenGL on this desktop.
        """
        self._glfw = glfw = load()
        glfw.default_window_hints()
        for hint, value in {
            glfw.CONTEXT_VERSION_MAJOR: 3,
            glfw.CONTEXT_VERSION_MINOR: 3,
            glfw.OPENGL_PROFILE: glfw.OPENGL_CORE_PROFILE,
            glfw.OPENGL_FORWARD_COMPAT: True,
            glfw.VISIBLE: False,
            glfw.AUTO_ICONIFY: False,  # a click on another display must not take the picture off the projector
            glfw.ALPHA_BITS: 0,  # nothing of the desktop shows through
            glfw.DEPTH_BITS: 0,
            glfw.STENCIL_BITS: 0,
        }.items():
            glfw.window_hint(hint, value)
        self._handle: Any = glfw.create_window(640, 360, title, None, shared._handle if shared else None)
        if not self._handle:
            raise RoomError(
                f"no window with OpenGL 3.3 can be had ({_error(glfw)}): install the graphics card's driver"
            )
        self.shown = self.iconified = False
        self._wish = ""
        glfw.set_input_mode(self._handle, glfw.CURSOR, glfw.CURSOR_HIDDEN)
        glfw.set_key_callback(self._handle, self._pressed)
        glfw.set_window_close_callback(self._handle, self._closed)
        glfw.set_window_iconify_callback(self._handle, self._iconified)
        self.use()

    # --- where it is -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """It covers a display; false again when that display is unplugged."""
        return bool(self._glfw.get_window_monitor(self._handle))

    def fill(self, display: Display) -> None:
        """Cover that display, in the mode that it is in."""
        glfw, (left, top, width, height) = self._glfw, display.rect
        if not self.shown:  # first: while it is full, GLFW neither shows nor hides it
            glfw.set_window_pos(self._handle, left, top)
            glfw.set_window_size(self._handle, width, height)
            self._show()
        rate = display.rate or glfw.DONT_CARE
        glfw.set_window_monitor(self._handle, display.handle, left, top, width, height, rate)

    def place(self, display: Display | None, size: tuple[int, int]) -> None:
        """Be a plain window in the middle of that display, of `size`, or as much of its shape as fits."""
        left, top, width, height = display.free if display else (0, 0, *size)
        scale = min(FIT * width / size[0], FIT * height / size[1], 1.0)
        across, down = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        x, y = left + (width - across) // 2, top + (height - down) // 2
        if self.full:
            self._glfw.set_window_monitor(self._handle, None, x, y, across, down, self._glfw.DONT_CARE)
        else:
            self._glfw.set_window_size(self._handle, across, down)
            self._glfw.set_window_pos(self._handle, x, y)
        self._show()

    def hide(self) -> None:
        """Take it off the desktop; it can be placed again."""
        if self.full:
            where = (*self._glfw.get_window_pos(self._handle), *self._glfw.get_window_size(self._handle))
            self._glfw.set_window_monitor(self._handle, None, *where, self._glfw.DONT_CARE)
        self._glfw.hide_window(self._handle)
        self.shown = False

    def middle(self) -> tuple[int, int]:
        """The point of the desktop that it is around."""
        (x, y), (width, height) = self._glfw.get_window_pos(self._handle), self._glfw.get_window_size(self._handle)
        return x + width // 2, y + height // 2

    # --- what is in it -----------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, of which a unit of the desktop may have several; (0, 0) for an icon."""
        width, height = self._glfw.get_framebuffer_size(self._handle)
        return width, height

    def use(self) -> None:
        """Make its context current."""
        self._glfw.make_context_current(self._handle)

    def sync(self, synced: bool) -> None:
        """Whether `swap` waits for the display to be between two pictures; its context is current."""
        self._glfw.swap_interval(int(synced))

    def swap(self) -> None:
        """Show what was drawn."""
        self._glfw.swap_buffers(self._handle)

    def destroy(self) -> None:
        """With its context; nothing else may be called then."""
        self._glfw.destroy_window(self._handle)

    # --- what its user wants -----------------------------------------------------------------------------------------

    def wish(self) -> str:
        """What was asked for since the last call: "leave" full screen, "close" it, "quit" the program, or ""."""
        wish, self._wish = self._wish, ""
        return wish

    def _show(self) -> None:
        self._glfw.show_window(self._handle)
        self.shown = True

    def _pressed(self, _: object, key: int, scancode: int, action: int, mods: int) -> None:
        glfw = self._glfw
        if action != glfw.PRESS:
            return
        letter = _text(glfw.get_key_name(key, scancode)) or (key == glfw.KEY_Q and "q")  # by layout, not by place
        if letter == "q" and mods & (glfw.MOD_CONTROL | glfw.MOD_SUPER):
            self._wish = "quit"
        elif key == glfw.KEY_ESCAPE and not self._wish:
            self._wish = "leave"

    def _closed(self, _: object) -> None:
        """By its button or by the system; on macOS Cmd-Q comes as this, to every window at once."""
        glfw = self._glfw
        glfw.set_window_should_close(self._handle, glfw.FALSE)
        keys = (glfw.KEY_LEFT_SUPER, glfw.KEY_RIGHT_SUPER)
        command = any(glfw.get_key(self._handle, key) == glfw.PRESS for key in keys)
        if self._wish != "quit":
            self._wish = "quit" if command else "close"

    def _iconified(self, _: object, iconified: int) -> None:
        self.iconified = bool(iconified)


def _on_end() -> None:
    global _state
    _state = "gone"


def _error(glfw: Any) -> str:
    """What GLFW says about what failed last."""
    return _text(glfw.get_error()[1]) or "for no reason that it tells"


def _text(value: object) -> str:
    """What the package hands out as bytes, text or None, by its version."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
