"""Rehearse: every look compiled and drawn once before the show, by a process of its own (`l2s build`).

Drivers keep what they compiled, for any process, so that turning such a look on later takes milliseconds: with Mesa's
software 10 to 15 ms in place of 100 to 600 (measured on two cores).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from l2s_node import texture
from l2s_node.errors import LookError
from l2s_node.picture.isf_run import Running
from l2s_node.picture.looks import Library
from l2s_node.texture import GL, Copier, Target, TextureError

SIZE = (1000, 562)
"""Of the pictures that are drawn: no side of a buffer is a power of two, as in shows; some drivers compile for that."""


def rehearse(library: Library, say: Callable[[str], None]) -> None:
    """Compile and draw all looks of `library`, and say a line of each, or one why there is no OpenGL here."""
    if not library.looks:
        return
    try:
        gl = texture.gl()
    except TextureError as err:
        say(f"looks: not compiled: {err}")
        return
    try:
        for name in library.looks:
            say(f"look {name}: {_drawn(gl, library, name)}")
    finally:
        texture.close()


def _drawn(gl: GL, library: Library, name: str) -> str:
    """How long the first picture of a look took, or what is wrong with it."""
    copier, picture, target = Copier(gl), Target(gl, SIZE), Target(gl, SIZE)
    start = time.perf_counter()
    try:
        running = Running(gl, library.looks[name], copier)
        for now in (0.0, 0.1):  # the first time its buffers are black, and of another kind
            running.draw(picture.texture, target, {}, now)
        target.read()  # waits until it is drawn
        running.release()
    except LookError as err:
        return str(err)
    finally:
        for each in (copier, picture, target):
            each.release()
    return f"compiled and drawn in {1e3 * (time.perf_counter() - start):.0f} ms"
