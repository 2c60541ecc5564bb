"""A desktop of our own: an X server without a screen (Xvfb), and what one sees and does there."""

from __future__ import annotations

import contextlib
import ctypes as C
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
from PIL import ImageGrab, features

SIZE = (640, 480)
WHITE = (255, 255, 255)
"""Of the desktop where nothing covers it: the bars of a letterbox are black."""


def reason() -> str | None:
    """Why there can be none here."""
    if lacking := [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]:
        return f"no {' and no '.join(lacking)}: apt install xvfb xdotool"
    if lacking := [name for name in ("glfw", "moderngl") if importlib.util.find_spec(name) is None]:
        return f"no Python package {lacking[0]}: pip install glfw"
    return None if features.check("xcb") else "this Pillow takes no screenshots: it was built without XCB"


class Desktop:
    """The X server of `name` (":99")."""

    def __init__(self, name: str) -> None:
        self.name = name

    def seen(self) -> np.ndarray:
        """What is on it now: ``(480, 640, 3)``."""
        return np.asarray(ImageGrab.grab(xdisplay=self.name).convert("RGB"))

    def do(self, *words: object) -> str:
        """`xdotool`, with the keyboard and the mouse of a person."""
        env = os.environ | {"DISPLAY": self.name}
        done = subprocess.run(["xdotool", *map(str, words)], env=env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def window(self, title: str) -> str:
        """The number of the visible window of that title; "" for none."""
        env = os.environ | {"DISPLAY": self.name}
        command = ["xdotool", "search", "--onlyvisible", "--name", f"^{title}$"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20).stdout.strip()

    def cursor(self) -> int:
        """How many pixels of the cursor can be seen."""
        with self._server() as (x11, server):
            fixes = C.CDLL("libXfixes.so.3")
            version = C.c_int(), C.c_int()
            fixes.XFixesQueryExtension(server, *map(C.byref, version))
            fixes.XFixesGetCursorImage.restype = C.POINTER(_Cursor)
            image = fixes.XFixesGetCursorImage(server).contents
            count = sum(pixel >> 24 & 0xFF > 0 for pixel in image.pixels[: image.width * image.height])
            x11.XFree(C.byref(image))
        return count

    def close(self, window: str) -> None:
        """What the button of a window's frame does; there is no window manager here that would draw one."""
        with self._server() as (x11, server):
            protocols, delete = (
                x11.XInternAtom(server, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
            )
            event = _Message(33, 0, True, server, int(window), protocols, 32, (C.c_long * 5)(delete))
            assert x11.XSendEvent(server, C.c_ulong(int(window)), False, C.c_long(0), C.byref(event))

    @contextlib.contextmanager
    def _server(self) -> Iterator[tuple[C.CDLL, C.c_void_p]]:
        x11 = C.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = C.c_void_p
        x11.XInternAtom.restype = C.c_ulong
        server = C.c_void_p(x11.XOpenDisplay(self.name.encode()))
        yield x11, server
        x11.XCloseDisplay(server)


class _Cursor(C.Structure):
    """XFixesCursorImage."""

    _fields_ = (
        ("x", C.c_short),
        ("y", C.c_short),
        ("width", C.c_ushort),
        ("height", C.c_ushort),
        ("xhot", C.c_ushort),
        ("yhot", C.c_ushort),
        ("serial", C.c_ulong),
        ("pixels", C.POINTER(C.c_ulong)),
        ("atom", C.c_ulong),
        ("name", C.c_char_p),
    )


class _Message(C.Structure):
    """XClientMessageEvent, as long as an XEvent is."""

    _fields_ = (
        ("type", C.c_int),
        ("serial", C.c_ulong),
        ("sent", C.c_int),
        ("display", C.c_void_p),
        ("window", C.c_ulong),
        ("kind", C.c_ulong),
        ("format", C.c_int),
        ("data", C.c_long * 5),
        ("rest", C.c_long * 16),
    )


@contextlib.contextmanager
def running() -> Iterator[Desktop]:
    """A white desktop, with the X server's ordinary cursor."""
    read, write = os.pipe()
    screen = f"{SIZE[0]}x{SIZE[1]}x24"
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-wr", "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as told:
            number = told.readline().strip()
        assert number, "Xvfb didn't start"
        yield Desktop(f":{number}")
    finally:
        server.terminate()
        server.wait()
