"""Copies of textures of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2s_node.frame import Texture
from l2s_node.texture.compute import filler
from l2s_node.texture.context import GL
from l2s_node.texture.program import Filler, Program, Rect, reading
from l2s_node.texture.target import Target

if TYPE_CHECKING:
    import moderngl


class Copier:
    """Copies textures of any kind and size to targets, linear between texels, the right way up."""

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self._drawn: dict[bool, Program] = {}
        self._filled: dict[bool, Filler] = {}

    def copy(self, texture: Texture, target: Target) -> None:
        """All of `texture` to all of `target`."""
        program = self._filled.get(texture.rectangle)
        if program is None:
            program = self._filled[texture.rectangle] = filler(self._gl, _copy(texture.rectangle), name="copy")
        program.run(target, {"source": texture, "flipped": texture.flipped})

    def copy_to(self, texture: Texture, fbo: moderngl.Framebuffer, into: Rect) -> None:
        """All of `texture` to a rectangle of a framebuffer of any origin, as the screen."""
        program = self._drawn.get(texture.rectangle)
        if program is None:
            program = self._drawn[texture.rectangle] = Program(self._gl, _copy(texture.rectangle), name="copy")
        program.run_on(fbo, {"source": texture, "flipped": texture.flipped}, into)

    def release(self) -> None:
        for programs in (self._drawn, self._filled):
            for program in programs.values():
                program.release()
        self._drawn.clear()
        self._filled.clear()


def _copy(rectangle: bool) -> str:
    return (
        "#version 330\n" + reading("source", rectangle) + "uniform bool flipped; in vec2 isf_FragNormCoord;\n"
        "out vec4 colour; void main() { vec2 uv = isf_FragNormCoord;\n"
        "colour = source_at(vec2(uv.x, flipped ? 1.0 - uv.y : uv.y)); }\n"
    )
