"""The room `syphon:`: textures from and to other programs on this Mac.

``syphon:App/Name`` is one server, ``syphon:Name`` or ``syphon:App`` the first of that name. Pictures go by OpenGL from
texture to texture; where that can't be had they go by Metal and through host memory, which the log says. An address
that ends with ``?metal`` takes that way at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec

import numpy as np

from l2s_node import texture
from l2s_node.errors import L2SError, NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat, Texture
from l2s_node.latest import Latest
from l2s_node.video._gpu import Kept, Presence, Shown, free_name, now_left
from l2s_node.video._syphon import Sdk, full_name, settled
from l2s_node.video.base import SYSTEM, Options

log = logging.getLogger(__name__)

TURN = 0.02
"""Seconds between two turns of the run loop while a picture is waited for."""
METAL = "?metal"


def missing() -> str | None:
    """Why Syphon can't be used here and the remedy; None when it can."""
    if SYSTEM != "darwin":
        return "Syphon is how programs on a Mac share textures; on Windows there is spout:, everywhere ndi:"
    if find_spec("syphon") is None:
        return "the Python package 'syphon-python' is not installed: pip install 'l2s-node[syphon]'"
    return texture.missing()


def names() -> list[str]:
    """The URI of every server on this Mac; takes half a second."""
    with closing(Sdk()) as sdk:
        return sorted(f"syphon:{full_name(program, name)}" for _, program, name in settled(sdk))


class Source:
    """One server, found again by itself whenever it returns; see `base.Source`.

    What Syphon hands out goes on changing, so every picture is copied, on the GPU, to a texture of ours.

    Raises:
        NotFoundError: no name was given; the message lists what is there.
    """

    blocks = False

    def __init__(self, address: str, options: Options) -> None:
        self._metal, self._wanted = address.endswith(METAL), address.removesuffix(METAL).strip()
        if not self._wanted:
            raise NotFoundError(f"syphon: which server? There is {', '.join(names()) or 'none on this Mac now'}")
        self._sdk = Sdk()
        self._presence = Presence(f"syphon:{self._wanted}", log)
        self._rang: Latest[float] = Latest()  # when the newest picture was announced; counts those it replaced
        self._client: object | None = None
        self._identity = ""
        self._kept: Kept | None = None
        self.uri, self.state, self.dropped = self._presence.uri, self._presence.state, 0

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`."""
        deadline = time.monotonic() + timeout
        while True:
            now, left = now_left(deadline)
            with self._sdk.pool():
                self._look(now)
                frame = self._take(self._rang.take(min(left, TURN)))
            self.uri, self.state, self.dropped = self._presence.uri, self._presence.state, self._rang.dropped
            if frame is not None or left <= TURN:
                return frame

    def close(self) -> None:
        """See `base.Source`."""
        if self._client is not None:
            self._sdk.stop(self._client)
        if self._kept is not None:
            self._kept.release()
        self._sdk.close()

    def _look(self, now: float) -> None:
        """Give the run loop its turn; leave a server that has retired, join one that has appeared."""
        gone = self._client is not None and not self._sdk.valid(self._client)
        if self._presence.due(now):
            there = {self._sdk.label(server): server for server in self._sdk.servers()}
            gone = gone or (self._client is not None and self._identity not in {label[0] for label in there})
            fit = min(there, key=self._rank, default=None)
            if self._client is None and fit is not None and self._rank(fit) < 3:
                self._join(there[fit], fit, now)
        else:
            self._sdk.pump()
        if gone:
            self._sdk.stop(self._client)
            self._client = None
            self._presence.lost()

    def _rank(self, label: tuple[str, str, str]) -> int:
        """How well a server fits the address; 3 is not at all."""
        fits = [full_name(*label[1:]), label[2], label[1]]
        return fits.index(self._wanted) if self._wanted in fits else 3

    def _join(self, server: object, label: tuple[str, str, str], now: float) -> None:
        sdk, rang = self._sdk, self._rang
        try:
            self._client, self._metal = _made(
                lambda metal: sdk.open(server, metal, lambda _: rang.put(time.monotonic())), self._metal
            )
        except RoomError:
            return  # it has gone again
        self._identity = label[0]
        self._presence.found(f"syphon:{full_name(*label[1:])}", now)

    def _take(self, rang: float | None) -> Frame | None:
        """The newest picture, copied."""
        if self._client is None:
            return None
        seconds = rang or time.monotonic()
        if rang is None and not self._sdk.fresh(self._client):
            self._presence.quiet(seconds)
            return None
        if self._metal:
            pixels = self._sdk.take_pixels(self._client)
            upright = None if pixels is None else np.ascontiguousarray(pixels[::-1])
            return None if upright is None else self._heard(PixelFormat.BGRA, upright, seconds)
        gl, taken = texture.gl(), self._sdk.take(self._client)
        if taken is None:
            return None
        self._kept = self._kept or Kept(gl)
        copy = self._kept.copy(taken[0])
        del taken  # in the context that it was made in
        return self._heard(PixelFormat.RGBA, copy, seconds)

    def _heard(self, fmt: PixelFormat, made: Texture | np.ndarray, seconds: float) -> Frame:
        return self._presence.heard(fmt, made, seconds, self._rang.dropped)


class Sink:
    """A server; see `base.Sink`. Takes textures only. A name that another server here has is left to it.

    Raises:
        RoomError: Syphon makes no server.
    """

    live = True
    textures = True
    format = PixelFormat.RGBA

    def __init__(self, address: str, options: Options) -> None:
        gl, sdk, wanted = texture.gl(), Sdk(), address.removesuffix(METAL).strip() or options.name
        name = free_name(wanted, {label[2] for label in settled(sdk)}, log)
        self._server, self._metal = _made(lambda metal: sdk.serve(name, metal), address.endswith(METAL))
        self._sdk, self._shown, self._kept = sdk, Shown(gl), Kept(gl)
        self.uri = f"syphon:{full_name(*sdk.label(sdk.description(self._server))[1:])}"
        self.dropped = 0

    def write(self, frame: Frame) -> None:
        """See `base.Sink`. Size and alpha may change from picture to picture."""
        texture.gl()
        shown = self._shown(frame)
        with self._sdk.pool():
            if self._metal:
                self._sdk.publish_pixels(self._server, self._kept.pixels(shown))
            else:
                self._sdk.publish(self._server, shown)
            self._sdk.pump()

    def close(self) -> None:
        """See `base.Sink`."""
        self._sdk.stop(self._server)
        self._sdk.close()
        self._shown.release()
        self._kept.release()


def _made(make: Callable[[bool], object], metal: bool) -> tuple[object, bool]:
    """What `make` makes by OpenGL or, where that can't be, by Metal (True), and whether that was so.

    Raises:
        RoomError: neither way.
    """
    if metal:
        return make(True), True
    try:
        texture.gl()
        return make(False), False
    except L2SError as err:
        made = make(True)
        log.warning("syphon: not by OpenGL (%s): pictures go by Metal and through host memory", err)
        return made, True
