"""Outlet: a finished picture as each sink takes it, as a texture or as bytes in host memory; made once for all of them.

OpenGL is touched only where a picture lies in the one and a sink takes the other.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from l2s_node import texture
from l2s_node.frame import Frame, PixelFormat, is_sd
from l2s_node.picture.packing import Packer, Unpacker
from l2s_node.texture import Copier, Target
from l2s_node.video.base import Sink

log = logging.getLogger(__name__)

PREVIEW = (640, 360)
"""Pixels that a preview of a texture has at most."""


def takes_textures(sink: Sink) -> bool:
    """Whether `sink` is given textures and nothing else (see `texture`)."""
    return bool(getattr(sink, "textures", False))


class Outlet:
    """Lives on the frame loop's thread; what it hands out is valid until the next call but one of `put`."""

    def __init__(self) -> None:
        self._picture: Frame | None = None
        self._bytes: Frame | None = None
        self._texture: Frame | None = None
        self._packer: Packer | None = None
        self._unpacker: Unpacker | None = None
        self._previews: tuple[Copier, Target] | None = None

    @property
    def late(self) -> int:
        """How often the picture before went out as bytes, because this one was not there in time."""
        return self._packer.back.late if self._packer else 0

    def put(self, picture: Frame) -> None:
        """The picture that goes out now: UYVY, UYVA or with a texture."""
        self._picture = picture
        self._bytes, self._texture = (picture, None) if picture.texture is None else (None, picture)

    def taken(self, sink: Sink) -> Frame:
        """The picture for `sink`; alpha is left away where it takes none (UYVY is UYVA's first plane)."""
        if takes_textures(sink):
            self._texture = self._texture or self._uploaded()
            return self._texture
        self._bytes = self._bytes or self._read_back()
        if self._bytes.format is PixelFormat.UYVA and sink.format is PixelFormat.UYVY:
            return dataclasses.replace(self._bytes, planes=self._bytes.planes[:1], format=PixelFormat.UYVY)
        return self._bytes

    def preview(self, frame: Frame) -> Frame:
        """`frame` in host memory to be looked at: itself, or a texture at a small size."""
        if frame.texture is None:
            return frame
        if self._previews is None:
            gl = texture.gl()
            self._previews = Copier(gl), Target(gl, (1, 1))
        copier, target = self._previews
        scale = min(1.0, PREVIEW[0] / frame.width, PREVIEW[1] / frame.height)
        target.resize((max(round(frame.width * scale), 1), max(round(frame.height * scale), 1)))
        copier.copy(frame.texture, target)
        pixels = np.ascontiguousarray(target.read()[::-1])
        return dataclasses.replace(
            frame, planes=(pixels,), format=PixelFormat.RGBX, width=target.size[0], height=target.size[1], texture=None
        )

    def close(self) -> None:
        """Release what was made in OpenGL."""
        if self.late:
            log.info("%d pictures were not read back in time and went out one frame later", self.late)
        made = (self._packer, self._unpacker, *(self._previews or ()))
        for each in made:
            if each is not None:
                each.release()
        self._packer = self._unpacker = self._previews = None

    def _uploaded(self) -> Frame:
        """The picture as a texture."""
        assert self._picture is not None
        if self._unpacker is None:
            self._unpacker = Unpacker(texture.gl())
        picture, standard = self._picture, "bt601" if is_sd(*self._picture.size) else "bt709"
        made = self._unpacker(picture.planes, standard)
        fmt = PixelFormat.RGBA if picture.format.has_alpha else PixelFormat.RGBX
        return dataclasses.replace(picture, planes=(), format=fmt, texture=made)

    def _read_back(self) -> Frame:
        """The picture as UYVY or UYVA."""
        assert self._picture is not None and self._picture.texture is not None
        if self._packer is None:
            self._packer = Packer(texture.gl())
        picture, alpha = self._picture, self._picture.format.has_alpha
        planes = self._packer(self._picture.texture, alpha)
        return dataclasses.replace(
            picture, planes=planes, format=PixelFormat.UYVA if alpha else PixelFormat.UYVY, texture=None
        )
