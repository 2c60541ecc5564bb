"""The room `spout:`: textures from and to other programs on this Windows machine.

``spout:Name`` is one sender, ``spout:`` the one that was last started or chosen. Pictures go from texture to texture;
where OpenGL and Direct3D can't share them, as between two GPUs, they go through host memory, which the log says. An
address that ends with ``?image`` takes that way at once.
"""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec

import numpy as np

from l2s_node import texture
from l2s_node.frame import Frame, PixelFormat, Texture, page_aligned
from l2s_node.video._gpu import Kept, Presence, Shown, free_name, now_left
from l2s_node.video._spout import Sdk
from l2s_node.video.base import SYSTEM, Options

log = logging.getLogger(__name__)

IMAGE = "?image"
FASTEST = 1 / 120
"""Seconds between two pictures at least: a sender that doesn't count its pictures seems to have a new one always."""
ABSENT = 0.02  # seconds to sleep in one go while there is no sender
UNSHARED = "%s: Spout can't share textures with OpenGL on %s, pictures go through host memory; %s"
GPUS = "Windows' Settings > System > Display > Graphics gives this Python the GPU of the other program"


def missing() -> str | None:
    """Why Spout can't be used here and the remedy; None when it can."""
    if SYSTEM != "win32":
        return "Spout is how programs on Windows share textures; on a Mac there is syphon:, everywhere ndi:"
    if find_spec("SpoutGL") is None:
        return "the Python package 'SpoutGL' is not installed: pip install 'l2s-node[spout]'"
    return texture.missing()


def names() -> list[str]:
    """The URI of every sender on this machine."""
    return sorted(f"spout:{name}" for name in Sdk().senders())


class Source:
    """One sender, found again by itself whenever it returns; see `base.Source`.

    Every picture is copied, on the GPU, to a texture of ours, which follows the sender's size.
    """

    blocks = False

    def __init__(self, address: str, options: Options) -> None:
        self._gl, self._sdk = texture.gl(), Sdk()
        self._image, self._wanted = address.endswith(IMAGE), address.removesuffix(IMAGE).strip()
        self._presence = Presence(f"spout:{self._wanted}", log)
        self._kept = Kept(self._gl)
        self._buffers: list[np.ndarray] = []
        self._name = ""  # of the sender that we receive from
        self._size = (1, 1)
        self._count = 0
        self._next = 0.0
        self._told = False
        self.uri, self.state, self.dropped = self._presence.uri, self._presence.state, 0

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`."""
        deadline, began = time.monotonic() + timeout, 0.0
        while True:
            now, left = now_left(deadline)
            frame = self._receive(now)
            self.uri, self.state = self._presence.uri, self._presence.state
            if frame is not None or left <= 0:
                return frame
            if not self._name:
                time.sleep(min(left, ABSENT))
            elif now - began < 5e-4:  # the sender never says when it has a picture
                time.sleep(min(left, 1e-3))
                began = 0.0
            else:
                began = time.monotonic()
                self._sdk.wait(self._name, min(left, 5e-3))

    def close(self) -> None:
        """See `base.Source`."""
        self._gl.use()
        self._sdk.leave()
        self._kept.release()

    def _receive(self, now: float) -> Frame | None:
        """The newest picture, if there is a new one."""
        if now < self._next or not (self._name or self._join(now)):
            return None
        self._gl.use()
        made = self._take()
        if made is None:
            return None
        self._next = now + FASTEST
        count, self._count = self._count, self._sdk.count()
        if 0 < count < self._count:
            self.dropped += self._count - count - 1
        alpha = self._sdk.has_alpha()
        if isinstance(made, Texture):
            fmt = PixelFormat.RGBA if alpha else PixelFormat.RGBX
        else:
            fmt = PixelFormat.BGRA if alpha else PixelFormat.BGRX
        return self._presence.heard(fmt, made, now, self.dropped)

    def _join(self, now: float) -> bool:
        """Look for the sender, every so often; whether it is there."""
        if not self._presence.due(now):
            return False
        name = self._wanted or self._sdk.active()
        if not name or name not in self._sdk.senders():
            return False
        self._sdk.join(name)
        self._name, self._count = name, 0
        self._presence.found(f"spout:{name}", now)
        return True

    def _take(self) -> Texture | np.ndarray | None:
        """Take what is new, and once more where that was a new size."""
        for _ in range(2):
            into = self._into()
            there = self._sdk.receive(into) if isinstance(into, Texture) else self._sdk.receive_pixels(into)
            if not there:
                self._name = ""
                self._presence.lost()
                return None
            if not self._sdk.updated():
                break
            self._size = self._sdk.size()
            if not self._image and not self._sdk.receives_textures():
                self._image = True
                log.warning(UNSHARED, self.uri, self._gl.renderer, GPUS)
        if 0 in self._sdk.size():
            if not self._told:
                log.error("%s is on another GPU than OpenGL here (%s): %s", self.uri, self._gl.renderer, GPUS)
            self._told = True
            return None
        if not self._sdk.fresh():
            self._presence.quiet(time.monotonic())
            return None
        self._buffers = self._buffers[1:] + self._buffers[:1]
        return into

    def _into(self) -> Texture | np.ndarray:
        """Where the next picture goes: our texture, or one of three arrays in turn."""
        if not self._image or self._size[0] % 4:  # other widths Spout itself takes through host memory
            return self._kept.sized(self._size)
        shape = (self._size[1], self._size[0], 4)
        if not self._buffers or self._buffers[0].shape != shape:
            self._buffers = [page_aligned(shape) for _ in range(3)]
        return self._buffers[0]


class Sink:
    """A sender; see `base.Sink`. Takes textures only. A name that another program here has is left to it.

    Raises:
        RoomError: that name, and eight that are made of it, are taken.
    """

    live = True
    textures = True
    format = PixelFormat.RGBA

    def __init__(self, address: str, options: Options) -> None:
        self._gl, self._sdk, self.dropped = texture.gl(), Sdk(), 0
        wanted = address.removesuffix(IMAGE).strip() or options.name
        self._name = free_name(wanted, self._sdk.senders(), log)
        self._sdk.name(self._name)
        self._image = address.endswith(IMAGE)
        self._shown, self._kept = Shown(self._gl), Kept(self._gl)
        self.uri = f"spout:{self._name}"

    def write(self, frame: Frame) -> None:
        """See `base.Sink`. Size and alpha may change from picture to picture."""
        self._gl.use()
        shown = self._shown(frame)
        sent = not self._image and self._sdk.send(shown)
        if not self._image and not (sent and self._sdk.sends_textures()):
            self._image = True
            log.warning(UNSHARED, self.uri, self._gl.renderer, GPUS)
        if not sent:
            sent = self._sdk.send_pixels(self._kept.pixels(shown))
        if sent:
            self._sdk.sync(self._name)
        elif self.dropped == 0:
            log.error("%s: Spout takes no picture; %s", self.uri, GPUS)
        self.dropped += not sent

    def close(self) -> None:
        """See `base.Sink`."""
        self._gl.use()
        self._sdk.retire()
        self._shown.release()
        self._kept.release()
