"""Passes in both ways, computed and drawn, beside each other; and what of a time is the GPU's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from l2s_node.bench._row import Row, in_turns, timing
from l2s_node.texture import GL

SOFTWARE = ("llvmpipe", "softpipe", "SwiftShader", "Apple Software Renderer")
"""Renderers that are no GPU."""
REPEATS = 50
"""How often the parts of a time are measured."""


def software(gl: GL) -> bool:
    """Whether no GPU draws."""
    return gl.renderer.startswith(SOFTWARE)


def clocked(gl: GL, call: Callable[[], object]) -> float:
    """Milliseconds in which the GPU does it, by its own clock. That of software counts what it was told only."""
    query, times = gl.ctx.query(time=True), list[float]()
    for _ in range(REPEATS):
        with query:
            call()
        times.append(query.elapsed / 1e6)
    return statistics.median(times)


@contextmanager
def by(gl: GL, computed: bool) -> Iterator[None]:
    """Programs that are made meanwhile are computed or drawn, whatever this driver was found to be faster in."""
    former, gl.computes = gl.computes, computed
    try:
        yield
    finally:
        gl.computes = former


def both(gl: GL, what: str, made: Callable[[ExitStack], Callable[[], object]]) -> Iterator[Row]:
    """A row of what `made` makes, computed and drawn; what it is to release it leaves to the stack."""
    if not gl.can_compute:
        return
    with ExitStack() as stack:
        computed, drawn = (_made(gl, way, made, stack) for way in (True, False))
        one, other = in_turns(_waited(gl, computed), _waited(gl, drawn), budget=2.0)
        note = ""
        if not software(gl):
            note = f"by the GPU's clock {clocked(gl, computed):.3f} and {clocked(gl, drawn):.3f} ms"
        yield timing(f"{what}, computed", one, "drawn", other, note=note)


def _made(
    gl: GL, way: bool, made: Callable[[ExitStack], Callable[[], object]], stack: ExitStack
) -> Callable[[], object]:
    with by(gl, way):
        call = made(stack)
        call()  # programs are made when they are first needed
    return call


def _waited(gl: GL, call: Callable[[], object]) -> Callable[[], None]:
    def whole() -> None:
        call()
        gl.wait()

    return whole
