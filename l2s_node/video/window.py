"""The room `window:`: the picture in a window, or all over a display, straight from where it was drawn.

``window:`` is a plain window on the first display, ``window:1`` covers display 1 (they are counted from 0, as `l2s list
sinks` shows them), ``window:1?bare`` is a plain window there. The picture is as large as fits, with black around it;
the cursor hides over it. Escape leaves full screen. Ctrl-Q (or Cmd-Q) ends the run as Ctrl-C does. A window that is
closed is over, and the run goes on with the other sinks, or ends with the last one.

A display that isn't there, or is unplugged, is waited for, and covered when it comes (back).

**Vsync.** Showing a picture waits until the display is between two of its own, at most one of its periods; so the node
hands the window its picture when all other sinks have theirs (`waits`), and of a source that is faster than the display
only as many pictures are shown as it has periods; the others are counted as dropped. Of several windows only the first
waits, since their waits would add up. ``?unsynced`` never waits, and may tear.

**OpenGL.** The first window's context becomes the one context (see `l2s_node.texture`), so that nothing is copied or
read back; a further window has one that shares with it. What a user has closed is therefore hidden, and destroyed when
the last window is closed by the node. On Windows everything waits while a plain window is being dragged by its frame.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import signal
import time

from l2s_node import texture
from l2s_node.errors import ClosedError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.texture import GL, Copier, TextureError
from l2s_node.video import _glfw
from l2s_node.video._glfw import Display, Pane
from l2s_node.video.base import Options

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between two looks at which displays there are
_AS_FAST = 0.95  # of the source's rate: a display that is called 59 Hz is still one for 60 pictures a second
_FLAGS = {"bare", "unsynced"}

_open: list[Sink] = []
"""Every window that has not been destroyed; the first one's context is the one."""


def missing() -> str | None:
    """Why no window can be opened here and the remedy; None when one can."""
    if importlib.util.find_spec("moderngl") is None:
        return "a window needs the Python package 'moderngl': pip install moderngl"
    try:
        _glfw.load()
    except RoomError as err:
        return str(err)
    return None


def names() -> list[str]:
    """A plain window, and every display that can be covered now: "window:1 (HDMI-1 1920x1080)"."""
    return ["window:", *(f"window:{display}" for display in _glfw.displays())]


class Source:
    """This room only shows pictures."""

    blocks = False
    refuses = "a window only shows pictures; they come from ndi:NAME, camera:0, file:PATH or pattern:"

    def __init__(self, address: str, options: Options) -> None:
        raise RoomError(self.refuses)

    def read(self, timeout: float) -> Frame | None:
        """Never called: there is no such source."""

    def close(self) -> None:
        """Never called: there is no such source."""


class Sink:
    """One window; see the module's docstring. It takes textures.

    Raises:
        RoomError: not an address of ours, no OpenGL here, or a room opened before holds textures in a context that no
            window can share.
    """

    format = PixelFormat.RGBX
    live = True
    textures = True
    waits = True

    def __init__(self, address: str, options: Options) -> None:
        self._number, flags = _parse(address)
        self.uri = f"window:{address.strip()}"
        self.dropped = 0
        self._size = options.size
        self._fills = self._number is not None and "bare" not in flags
        self._display: Display | None = None
        self._name = ""  # of the display that it covers, or covered last
        self._waiting = False  # for that display
        self._others: set[str] = set()  # names of displays that were beside it: they are somebody else's
        self._there: list[Display] | None = None
        self._next_look = 0.0
        self._credit = 0.0
        self._ended = self._quit = False
        self._synced = "unsynced" not in flags and not _open
        self._pane, self._gl = _context(" ".join(filter(None, (options.name, options.channel))))
        self._copier = Copier(self._gl)
        self._pane.sync(self._synced)
        texture.gl()
        _open.append(self)
        self._look(time.monotonic())

    def write(self, frame: Frame) -> None:
        """See `base.Sink`.

        Raises:
            ClosedError: its user has closed it.
        """
        self._attend()
        self._look(time.monotonic())
        if not self._pane.shown or self._pane.iconified:
            return
        if self._due(frame):
            self._show(frame)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Take it off the display; the last one closed takes the one context with it."""
        self._end()
        if all(sink._ended for sink in _open):
            _destroy()

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _due(self, frame: Frame) -> bool:
        """Whether the display can keep up with this picture as well."""
        rate = self._display.rate if self._display else 0
        if not (self._synced and rate and frame.rate) or rate >= _AS_FAST * frame.rate:
            return True
        self._credit += float(rate / frame.rate)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _show(self, frame: Frame) -> None:
        """Draw it, as large as fits, and swap; the one context is current before and after."""
        assert frame.texture is not None
        the_one, (width, height) = texture.gl(), self._pane.size
        if min(width, height) < 1:
            return
        if self._gl is not the_one:
            self._gl.after(the_one)
        screen = self._gl.ctx.screen
        screen.clear(0.0, 0.0, 0.0, 1.0)
        self._copier.copy_to(frame.texture, screen, _letterbox(frame.size, (width, height)))
        self._pane.swap()
        if self._gl is not the_one:
            the_one.after(self._gl)

    # --- where it is shown -------------------------------------------------------------------------------------------

    def _attend(self) -> None:
        """Do what the user asked for."""
        _glfw.attend()
        wish = self._pane.wish()
        if wish == "quit" and not self._quit:
            self._quit = True
            log.info("%s: its user quits", self.uri)
            signal.raise_signal(signal.SIGINT)
        elif wish == "close":
            self._end()
            raise ClosedError("closed by its user")
        elif wish == "leave" and self._fills:
            self._fills = False
            self._pane.place(self._display, self._size)

    def _look(self, now: float) -> None:
        """Follow displays that come, go or change."""
        lost = self._fills and self._pane.shown and not self._pane.full
        if now < self._next_look and not lost:
            return
        self._next_look = now + _LOOK
        there = _glfw.displays()
        changed, self._there = there != self._there or lost, there
        if self._fills and changed:
            self._cover(self._wanted(there), lost)
        elif not self._fills and not self._pane.shown:
            self._display = _numbered(there, self._number or 0) or _numbered(there, 0)
            self._pane.place(self._display, self._size)
        elif not self._fills:
            self._display = next((each for each in there if each.holds(*self._pane.middle())), self._display)

    def _cover(self, display: Display | None, lost: bool) -> None:
        """Cover `display`; None is waited for, out of sight of all others."""
        if display is None and not self._waiting:
            there = ", ".join(map(str, self._there or [])) or "none"
            log.warning("%s: that display isn't there and is waited for; there is %s", self.uri, there)
            self._pane.hide()
        elif display and (lost or display != self._display):
            if self._waiting:
                log.info("%s: display %s is there", self.uri, display)
            self._name = display.name
            self._pane.fill(display)
        if display:
            self._others.update(each.name for each in self._there or [] if each.name != self._name)
        self._display, self._waiting = display, display is None

    def _wanted(self, there: list[Display]) -> Display | None:
        """The display that it covered before, by its name, or else a new one that has its number now."""
        taken = [sink._display.rect for sink in _open if sink is not self and sink._fills and sink._display]
        free = [display for display in there if display.rect not in taken]
        named = [display for display in free if display.name == self._name]
        new = [display for display in free if display.name not in self._others]
        return _numbered(named, self._number) or next(iter(named), None) or _numbered(new, self._number)

    def _end(self) -> None:
        if not self._ended:
            self._ended, self._fills, self._display = True, False, None
            if not _glfw.gone():
                self._pane.hide()


def _parse(address: str) -> tuple[int | None, set[str]]:
    """The display's number and the flags; what stands in brackets after the number is for people."""
    found = re.fullmatch(r"(\d*)\s*(?:\(.*\))?\s*(?:\?([\w&]*))?", address.strip())
    flags = set(filter(None, (found[2] or "").split("&"))) if found else set()
    if found is None or not flags <= _FLAGS:
        raise RoomError(
            f"window: takes the number of a display, as in window:1, with ?bare for a plain window there or ?unsynced, "
            f"not {address!r}"
        )
    return int(found[1]) if found[1] else None, flags


def _context(title: str) -> tuple[Pane, GL]:
    """A new pane, and its context: the one, or one that shares with it."""
    if texture.exists() and not _open:
        raise RoomError("a window's OpenGL comes before all other: name window: before syphon:, spout: and their like")
    pane = Pane(title, _open[0]._pane if _open else None)
    try:
        return pane, texture.share(pane.use) if _open else texture.adopt(pane.use)
    except TextureError as err:
        pane.destroy()
        raise RoomError(f"no window can be drawn on here: {err}") from err


def _destroy() -> None:
    """All windows, the one context last; with the desktop all has gone already."""
    if _glfw.gone():
        _open.clear()
        return
    for sink in reversed(_open):
        sink._gl.use()
        sink._copier.release()
        if sink is not _open[0]:
            sink._gl.close()
    texture.close()
    for sink in reversed(_open):
        sink._pane.destroy()
    _open.clear()
    _glfw.unload()


def _numbered(there: list[Display], number: int | None) -> Display | None:
    return next((display for display in there if display.number == number), None)


def _letterbox(picture: tuple[int, int], window: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, bottom, width, height) of the largest rectangle of the picture's shape in the window's middle."""
    scale = min(window[0] / picture[0], window[1] / picture[1])
    width, height = (max(round(side * scale), 1) for side in picture)
    return (window[0] - width) // 2, (window[1] - height) // 2, width, height
