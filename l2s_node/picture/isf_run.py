"""One look, compiled: draws all passes of an ISF file with its buffers. Lives on the thread of the OpenGL context."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from l2s_node.errors import LookError
from l2s_node.frame import Texture
from l2s_node.params import Value
from l2s_node.picture import isf_glsl
from l2s_node.picture.arithmetic import Expression
from l2s_node.picture.isf import IMAGES, VERTEX_SUFFIX, Pass
from l2s_node.picture.looks import Look, Numbers
from l2s_node.texture import GL, Copier, Filler, Image, ShaderError, Target, filler

MAX_SIDE = 8192
"""Pixels on a side of a buffer, whatever its expression says."""

Size = tuple[int, int]
Uniform = Numbers | Texture


class Running:
    """A look that plays.

    Attributes:
        look: the version that was compiled.
    """

    def __init__(self, gl: GL, look: Look, copier: Copier) -> None:
        """Compile `look`.

        Raises:
            LookError: the driver refuses it; the message names the file and the line.
        """
        self.look = look
        self._gl, self._copier = gl, copier
        self._programs = _compiled(gl, look)
        self._read = frozenset[str]().union(*(program.uniforms for program in self._programs))
        self._black = Image(gl, (1, 1))
        self._black.write(np.zeros((1, 1, 4), np.uint8))
        self._images = {name: _image(gl, pixels) for name, pixels in look.images.items()}
        self._targets = look.shader.targets
        self._buffers: dict[str, _Buffer] = {}
        self._sizes: tuple[dict[str, float], list[Size]] = {}, []
        self._frame = 0
        self._start = self._last = 0.0
        self._events: dict[str, Value] = {}

    def draw(self, picture: Texture, target: Target, more: Mapping[str, Value], now: float) -> None:
        """One frame: `picture` (OpenGL's way up) through all passes onto all of `target`.

        Args:
            picture: what the look lies over.
            target: another texture.
            more: the values of the knobs, `Params.more`.
            now: ``time.monotonic()`` or the time in a clip, seconds.
        """
        if self._frame == 0:
            self._start = self._last = now
        values = self.look.values(more)
        uniforms: dict[str, Uniform] = {
            **values,
            **self._events_of(more),
            **self._clock(now),
            **self._pictures(picture),
        }
        sizes = self._sizes_of(target.size, values)
        for index, part in enumerate(self.look.shader.passes):
            uniforms["PASSINDEX"] = index
            if part.target:
                self._draw_buffer(index, sizes[index], uniforms)
            else:
                self._run(index, target, uniforms)
        if last := self.look.shader.passes[-1].target:
            self._copier.copy(self._buffers[last].front.texture, target)
        self._frame += 1

    def rest(self) -> None:
        """Forget everything that was played and give its buffers back."""
        for buffer in self._buffers.values():
            buffer.release()
        self._buffers = {}
        self._frame = 0

    def follow(self, former: Running) -> None:
        """Go on where another version of the look was: its clock, and its lasting buffers as far as they fit."""
        self._frame, self._start, self._last = former._frame, former._start, former._last
        self._events = former._events
        for part in self.look.shader.passes:
            buffer = former._buffers.get(part.target)
            if part.persistent and buffer is not None and buffer.fits(part, part.target in self._read):
                self._buffers[part.target] = former._buffers.pop(part.target)

    def release(self) -> None:
        self.rest()
        for program in self._programs:
            program.release()
        for image in (self._black, *self._images.values()):
            image.release()

    def _sizes_of(self, output: Size, values: Mapping[str, Numbers]) -> list[Size]:
        """Of the passes; they change with the output and with the knobs that their expressions name."""
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
        numbers.update(WIDTH=output[0], HEIGHT=output[1])
        if numbers != self._sizes[0]:
            self._sizes = numbers, [_size(part, output, numbers) for part in self.look.shader.passes]
        return self._sizes[1]

    def _draw_buffer(self, index: int, size: Size, uniforms: Mapping[str, Uniform]) -> None:
        part = self.look.shader.passes[index]
        buffer = self._buffers.get(part.target)
        if buffer is None:
            buffer = _Buffer(self._gl, part, size, part.target in self._read)
            self._buffers[part.target] = buffer
        buffer.resize(size, self._copier)
        self._run(index, buffer.back, uniforms)
        buffer.swap()

    def _run(self, index: int, target: Target, uniforms: Mapping[str, Uniform]) -> None:
        buffers: dict[str, Uniform] = {name: self._black.texture for name in self._targets}
        buffers.update({name: buffer.front.texture for name, buffer in self._buffers.items()})
        width, height = target.size
        self._programs[index].run(target, {**uniforms, **buffers, "RENDERSIZE": (float(width), float(height))})

    def _pictures(self, picture: Texture) -> dict[str, Texture]:
        """Every image input shows the picture; those of sound hear nothing."""
        inputs = [each for each in self.look.shader.inputs if each.type in IMAGES]
        shown = {each.name: picture if each.type == "image" else self._black.texture for each in inputs}
        return {**shown, **{name: image.texture for name, image in self._images.items()}}

    def _events_of(self, more: Mapping[str, Value]) -> dict[str, bool]:
        """True for the frame in which a button was pressed."""
        pressed = self.look.events(more)
        former, self._events = self._events or pressed, pressed
        return {name: count != former.get(name, count) for name, count in pressed.items()}

    def _clock(self, now: float) -> dict[str, Numbers]:
        day = time.localtime()
        seconds = day.tm_hour * 3600 + day.tm_min * 60 + day.tm_sec + time.time() % 1
        passed, self._last = max(now - self._last, 0.0), now
        return {
            "TIME": now - self._start,
            "TIMEDELTA": passed,
            "FRAMEINDEX": self._frame,
            "DATE": (float(day.tm_year), float(day.tm_mon), float(day.tm_mday), seconds),
        }


class _Buffer:
    """What a pass draws into. Where the shader reads it too, there are two, since OpenGL can't do both on one."""

    def __init__(self, gl: GL, part: Pass, size: Size, read: bool) -> None:
        self.persistent, self.float32 = part.persistent, part.float32
        kind = "f4" if part.float32 else "f1"
        self.back = Target(gl, size, dtype=kind)
        self.front = Target(gl, size, dtype=kind) if read else self.back
        self._gl = gl

    def fits(self, part: Pass, read: bool) -> bool:
        return self.float32 == part.float32 and (self.front is not self.back) == read

    def swap(self) -> None:
        self.front, self.back = self.back, self.front

    def resize(self, size: Size, copier: Copier) -> None:
        """Another size; what is to last is stretched."""
        if size == self.front.size:
            return
        if self.persistent and self.front is not self.back:
            self.back.resize(size)
            copier.copy(self.front.texture, self.back)
            self.swap()
            self.back.resize(size)
        else:
            self.front.resize(size)
            self.back.resize(size)

    def release(self) -> None:
        self.front.release()
        if self.back is not self.front:
            self.back.release()


def _compiled(gl: GL, look: Look) -> list[Filler]:
    """The program of every pass, in GLSL that leaves names free; where that is refused, in the newest that there is.

    Some files need what came later (an int returned as a float), none needs both.
    """
    newest = min(gl.ctx.version_code, 450)
    try:
        return _programs(gl, look, isf_glsl.VERSION)
    except ShaderError as err:
        if newest > isf_glsl.VERSION:
            try:
                return _programs(gl, look, newest)
            except ShaderError:
                pass  # it is the first complaint that the author understands
        path = look.shader.path
        if look.shader.vertex is not None and "vertex_shader" in err.log:
            path = path.with_suffix(VERTEX_SUFFIX)
        line, text = isf_glsl.complaint(err.log)
        raise LookError(f"{path}{f', line {line}' if line else ''}: {text}") from err


def _programs(gl: GL, look: Look, version: int) -> list[Filler]:
    """One for each pass, in which there is nothing of the others: fewer registers, fewer inputs to set."""
    return [_program(gl, look, version, only) for only in range(len(look.shader.passes))]


def _program(gl: GL, look: Look, version: int, only: int) -> Filler:
    shader = look.shader
    fragment, vertex = isf_glsl.fragment(shader, version, only), isf_glsl.vertex(shader, version, only)
    return filler(gl, fragment, vertex, shader.path.name, drawn=shader.vertex is not None)


def _image(gl: GL, pixels: np.ndarray) -> Image:
    image = Image(gl, (pixels.shape[1], pixels.shape[0]))
    image.write(np.ascontiguousarray(pixels[::-1]))  # as everything else in a look: row 0 is the bottom
    return image


def _size(part: Pass, output: Size, numbers: Mapping[str, float]) -> Size:
    return _side(part.width, output[0], numbers), _side(part.height, output[1], numbers)


def _side(expression: Expression | None, output: int, numbers: Mapping[str, float]) -> int:
    """Pixels; that of what goes out where nothing is said, or what is said has no value now."""
    if expression is None:
        return output
    try:
        return min(max(int(expression(numbers)), 1), MAX_SIDE)
    except ValueError:
        return output
