"""Every call to syphon-python. For the room `syphon` only.

Not run by its authors on a Mac; a test holds every call to the package's own source, by name and by arguments.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from l2s_node.errors import RoomError
from l2s_node.frame import Texture

if TYPE_CHECKING:
    from syphon import (
        SyphonMetalClient,
        SyphonMetalServer,
        SyphonOpenGLClient,
        SyphonOpenGLImage,
        SyphonOpenGLServer,
        SyphonServerDescription,
        SyphonServerDirectory,
    )

OPENGL = "/System/Library/Frameworks/OpenGL.framework/OpenGL"
SETTLE = 0.5
"""Seconds in which every server answers that it is there."""


class Sdk:
    """Syphon, on the main thread, which it needs: servers are listed and found by turns of its run loop.

    Where there is a choice, `metal` takes Metal in place of OpenGL. Row 0 of every picture is the bottom.
    """

    def __init__(self) -> None:
        """Raises `RoomError` on any thread but the main one."""
        if threading.current_thread() is not threading.main_thread():
            raise RoomError("Syphon is served by the main thread alone, which does something else now: take ndi:NAME")
        import objc
        import syphon

        self._objc = objc
        self._syphon = syphon
        self._directory: SyphonServerDirectory = syphon.SyphonServerDirectory()
        self._directory.run_loop_interval = 0.0  # a turn never waits

    def pool(self) -> AbstractContextManager[object]:
        """Lets go, at its end, of what Objective-C has made within; without one all of that would stay for good."""
        pool: AbstractContextManager[object] = self._objc.autorelease_pool()
        return pool

    def servers(self) -> list[SyphonServerDescription]:
        """All that are known to be there, after a turn of the run loop."""
        return list(self._directory.servers)

    def pump(self) -> None:
        """A turn of the run loop."""
        self._directory.update_run_loop()

    def label(self, server: SyphonServerDescription) -> tuple[str, str, str]:
        """(identity, program, name); the last may be empty."""
        return server.uuid, server.app_name, server.name

    def open(self, server: SyphonServerDescription, metal: bool, ring: Callable[[object], None]) -> object:
        """A client of `server`; `ring` is called in a thread of Syphon's for every picture.

        Raises:
            RoomError: there is none, because that way can't be taken here or the server is gone.
        """
        try:
            if metal:
                return self._syphon.SyphonMetalClient(server, new_frame_handler=ring)
            return self._syphon.SyphonOpenGLClient(server, self._context(), new_frame_handler=ring)
        except (ImportError, RuntimeError) as err:
            raise RoomError(str(err)) from err

    def valid(self, client: SyphonOpenGLClient) -> bool:
        """Its server is there."""
        return bool(client.is_valid)

    def fresh(self, client: SyphonOpenGLClient) -> bool:
        """There is a picture that was not taken yet."""
        return bool(client.has_new_frame)

    def take(self, client: SyphonOpenGLClient) -> tuple[Texture, object] | None:
        """The newest picture, which goes on changing, and what it lives by."""
        image: SyphonOpenGLImage = client.new_frame_image
        if image is None:
            return None
        size = image.textureSize()
        return Texture(int(image.textureName()), int(size.width), int(size.height), rectangle=True), image

    def take_pixels(self, client: SyphonMetalClient) -> np.ndarray | None:
        """The newest picture in host memory, ``(h, w, 4)``, blue first."""
        from syphon.utils import raw

        image = client.new_frame_image
        if image is None:
            return None
        pixels = np.frombuffer(raw.copy_mtl_texture_to_bytes(image), np.uint8)
        return pixels.reshape(int(image.height()), int(image.width()), 4)

    def serve(self, name: str, metal: bool) -> object:
        """A server.

        Raises:
            RoomError: there is none, because that way can't be taken here.
        """
        try:
            if metal:
                return self._syphon.SyphonMetalServer(name)
            return self._syphon.SyphonOpenGLServer(name, self._context())
        except (ImportError, RuntimeError) as err:
            raise RoomError(str(err)) from err

    def description(self, server: SyphonOpenGLServer) -> SyphonServerDescription:
        """What others see of it."""
        return server.server_description

    def publish(self, server: SyphonOpenGLServer, picture: Texture) -> None:
        """Syphon has copied `picture`, a GL_TEXTURE_2D, when this returns."""
        server.publish_frame_texture(picture.glo, (0, 0, *picture.size), picture.size, is_flipped=picture.flipped)

    def publish_pixels(self, server: SyphonMetalServer, pixels: np.ndarray) -> None:
        """``(h, w, 4)``, red first; in a texture of its own each time, because Metal reads it later."""
        from syphon.utils import raw

        image = raw.create_mtl_texture(server.device, pixels.shape[1], pixels.shape[0])
        raw.copy_bytes_to_mtl_texture(pixels.tobytes(), image)
        server.publish_frame_texture(image)

    def stop(self, client: SyphonOpenGLClient) -> None:
        """End a client, or a server."""
        client.stop()

    def close(self) -> None:
        self._directory.close()

    def _context(self) -> object:
        """The OpenGL context that is current, as PyObjC hands it on."""
        from syphon import _native

        current = ctypes.CDLL(OPENGL).CGLGetCurrentContext
        current.restype = ctypes.c_void_p
        return _native._CGLContextObj(c_void_p=current())


def full_name(program: str, name: str) -> str:
    """ "App/Name", or "App" where the server has no name."""
    return f"{program}/{name}" if name else program


def settled(sdk: Sdk) -> list[tuple[str, str, str]]:
    """The labels of all servers on this Mac, once they have had the time to answer."""
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        with sdk.pool():
            sdk.pump()
        time.sleep(0.01)
    with sdk.pool():
        return [sdk.label(server) for server in sdk.servers()]
