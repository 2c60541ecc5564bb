"""GL: `sample` and `compose` for textures: nothing leaves the GPU but one byte per pixel of the generator's canvas.

Twins of the definitions in `sample` and `compose`; a parity test binds them: at most 2/255 apart. The shaders lie in
`shaders/` as ISF files and are compiled when they are first needed. What is kept over time (smoothing, feedback) is
in `way`, in torch at the canvas's size, for every kind of frame.

Everything here runs on the thread of the one context (see `texture`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from l2s_node.frame import Frame, Texture
from l2s_node.params import BLENDS
from l2s_node.picture import dry
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.compose import Style
from l2s_node.picture.geometry import Box, Geometry
from l2s_node.picture.packing import Shaders, Unpacker
from l2s_node.texture import GL, Copier, Image, ReadBack, Target, Value


class Sampler:
    """`sample` of a texture: `draw`, then `take` what has arrived in host memory.

    Attributes:
        target: the canvas, one channel, row 0 its top (for who fetches it without the CPU).
        back: what is read back, and how often it came late.
    """

    def __init__(self, gl: GL) -> None:
        self._gl, self._shaders = gl, Shaders(gl)
        self.target = Target(gl, (1, 1), 1)
        self.back = ReadBack(gl)

    def draw(self, texture: Texture, geometry: Geometry, canvas: tuple[int, int]) -> None:
        """The luma of what `geometry` takes of `texture`, on a canvas of (width, height)."""
        self.target.resize(canvas)
        left, top, width, height = geometry.into
        values: dict[str, Value] = {
            "inputImage": texture,
            **_box(geometry.taken, texture, geometry.flip),
            "corner": (left, top),
            "extent": (width, height),
            "RENDERSIZE": canvas,
        }
        self._shaders("sample", texture.rectangle).run(self.target, values, smooth=False)

    def take(self) -> np.ndarray:
        """``(h, w)`` bytes of luma of what was drawn last, or (counted) of what was drawn before it."""
        self.back.start(self.target)
        return self.back.take()[..., 0]

    def release(self) -> None:
        for each in (self.target, self.back, self._shaders):
            each.release()


class Painter:
    """`compose.paint_rgb` on a texture.

    Attributes:
        target: what was painted last, OpenGL's way up.
        picture: the generator's picture, half floats, row 0 its top; `write` fills it from host memory.
    """

    def __init__(self, gl: GL) -> None:
        self._gl, self._shaders = gl, Shaders(gl)
        self.target = Target(gl, (1, 1))
        self.picture = Image(gl, (1, 1), dtype="f2")

    def write(self, rgb: Tensor) -> None:
        """The picture to paint with: ``(3, h, w)`` float on any device; beyond 0…1 it is cut, after saturation."""
        self.picture.write(rgba_half(rgb).cpu().numpy())

    def paint(
        self,
        below: Texture | None,
        geometry: Geometry,
        output: tuple[int, int],
        style: Style,
        *,
        mix: float = 1.0,
        light: float = 1.0,
        saturation: float = 1.0,
        bypass: bool = False,
        opaque: bool = True,
    ) -> Texture:
        """The output of (width, height), black around ``geometry.place``.

        Args:
            below: the whole input frame, needed where ``style.needs_dry``, `bypass` or its alpha is wanted.
            geometry: which part of `below` is seen, how flipped, and where all goes.
            output: (width, height).
            style: what is done.
            mix: 0 the input … 1 the picture, where ``style.mixed``.
            light: 0 … 1, where ``style.faded``.
            saturation: of the picture; 0 is grey.
            bypass: show the input alone.
            opaque: the input's alpha is left away.
        """
        self.target.resize(output)
        if geometry.place != (0, 0, *output):
            self.target.clear((0.0, 0.0, 0.0, 1.0))
        left, top, width, height = geometry.place
        values: dict[str, Value] = {
            **({"inputImage": below, **_box(geometry.seen, below, geometry.flip)} if below else {}),
            "picture": self.picture.texture,
            "bicubic": style.upscale == "bicubic",
            "sd": style.standard == "bt601",
            "saturation": saturation,
            "mixed": style.mixed and below is not None,
            "blend": BLENDS.index(style.blend),
            "amount": mix,
            "split": style.split and below is not None,
            "bypass": bypass,
            "light": light if style.faded else 1.0,
            "opaque": opaque or below is None,
            "RENDERSIZE": (width, height),
        }
        program = self._shaders("compose", below is not None and below.rectangle)
        program.run(self.target, values, (left, output[1] - top - height, width, height), smooth=False)
        return self.target.texture

    def release(self) -> None:
        for each in (self.target, self.picture, self._shaders):
            each.release()


class Drawing:
    """All that a pipeline draws with."""

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self.sampler, self.painter = Sampler(gl), Painter(gl)
        self._unpacker: Unpacker | None = None
        self._copier, self._kept = Copier(gl), Target(gl, (1, 1))

    def dry(self, frame: Frame, geometry: Geometry, standard: str, buffers: Buffers) -> tuple[Texture, Geometry]:
        """(the input as a texture, `geometry` as it is seen on that): its own, or what `dry` makes of its planes."""
        if frame.texture is not None:
            return frame.texture, geometry
        self._unpacker = self._unpacker or Unpacker(self._gl)
        planes = [dry.dry_uyvy(frame, geometry, standard, buffers)]
        alpha = dry.dry_alpha(frame, geometry, buffers)
        planes += [] if alpha is None else [alpha]
        width, height = geometry.place[2:]
        seen = (0.0, 0.0, float(width), float(height))
        return self._unpacker(planes, standard), dataclasses.replace(geometry, seen=seen, flip=(False, False))

    def fit(self, canvas: tuple[int, int], shown: tuple[int, int]) -> bool:
        """Let the canvas and the part of it that is shown have these sizes (width, height); whether they had others."""
        former = self.sampler.target.size, self.painter.picture.texture.size
        self.sampler.target.resize(canvas)
        self.painter.picture.resize(shown)
        return former != (canvas, shown)

    def keep(self, texture: Texture) -> Texture:
        """A copy that stays as it is until the next one is made."""
        self._kept.resize(texture.size)
        self._copier.copy(texture, self._kept)
        return self._kept.texture

    def release(self) -> None:
        for each in (self.sampler, self.painter, self._copier, self._kept):
            each.release()
        if self._unpacker is not None:
            self._unpacker.release()


def rgba_half(rgb: Tensor) -> Tensor:
    """``(h, w, 4)`` float16, contiguous, of ``(3, h, w)``; the fourth channel is 1."""
    made = torch.ones(*rgb.shape[1:], 4, dtype=torch.float16, device=rgb.device)
    made[..., :3] = rgb.permute(1, 2, 0)
    return made


def unit(luma: Tensor) -> Tensor:
    """``(1, 1, h, w)`` float32 in 0…1 of ``(h, w)`` bytes of `Sampler`."""
    return luma[None, None].float() * (1 / 255)


def _box(box: Box, texture: Texture, flip: tuple[bool, bool]) -> dict[str, Value]:
    return {"from": box[:2], "to": box[2:], "flipX": flip[0], "flipY": flip[1], "flipped": texture.flipped}
