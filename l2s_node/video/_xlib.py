"""Xlib ends the process when the X server refuses a request, or ends itself: `survive` lets the show go on."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_kept: list[object] = []
"""What Xlib may call at any time, from now on."""


class _Refusal(ctypes.Structure):
    """XErrorEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("resource", ctypes.c_ulong),
        ("serial", ctypes.c_ulong),
        ("error", ctypes.c_ubyte),
        ("request", ctypes.c_ubyte),
        ("minor", ctypes.c_ubyte),
    )


def survive(display: ctypes.c_void_p, ended: Callable[[], None]) -> None:
    """A refusal, as the focus of a window that was unmapped a moment ago, is a line in the log from now on.

    Args:
        display: Xlib's connection to the server.
        ended: called when the server, or the connection, has ended; nothing that needs it may be called from then on.
            With a libX11 older than 1.7 the process ends instead, as ever.
    """

    def refused(_: object, event: Any) -> int:
        seen = event.contents
        log.warning("the X server refused something (error %d, request %d.%d)", seen.error, seen.request, seen.minor)
        return 0

    def broken(_: object) -> int:
        ended()
        return 0

    x11 = ctypes.CDLL("libX11.so.6")
    on_refusal = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Refusal))(refused)
    x11.XSetErrorHandler(on_refusal)
    _kept.append(on_refusal)
    if hasattr(x11, "XSetIOErrorExitHandler"):
        on_end = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(broken)
        after = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: None)  # Xlib's own would exit
        x11.XSetIOErrorHandler(on_end)
        x11.XSetIOErrorExitHandler(display, after, None)
        _kept.extend((on_end, after))
