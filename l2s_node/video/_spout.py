"""Every call to SpoutGL. For the room `spout` only.

Not run by its authors on Windows; a test holds every call to the names and signatures in the package's compiled module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from l2s_node.frame import Texture

if TYPE_CHECKING:
    from SpoutGL import SpoutReceiver, SpoutSender

TEXTURE_2D, RGBA, BGRA = 0x0DE1, 0x1908, 0x80E1
"""As OpenGL numbers them."""
WITHOUT_ALPHA = (22, 88)
"""D3DFMT_X8R8G8B8, DXGI_FORMAT_B8G8R8X8_UNORM."""


class Sdk:
    """Spout, on the thread of the OpenGL context, which is current whenever this is called.

    Direct3D has the top row first: textures are turned round on the way (``invert``), on the GPU.
    """

    def __init__(self) -> None:
        import SpoutGL

        self._receiver: SpoutReceiver = SpoutGL.SpoutReceiver()
        self._sender: SpoutSender = SpoutGL.SpoutSender()
        self._receiver.setAutoShare(True)  # where textures can't be shared, Spout takes the way through memory
        self._sender.setAutoShare(True)

    # --- everybody ---------------------------------------------------------------------------------------------------

    def senders(self) -> list[str]:
        """The names of all senders on this machine."""
        return list(self._receiver.getSenderList())

    def active(self) -> str:
        """The sender that was last started or chosen; "" where there is none."""
        return str(self._receiver.getActiveSender() or "")

    # --- in ----------------------------------------------------------------------------------------------------------

    def join(self, name: str) -> None:
        """Receive from that sender and no other."""
        self._receiver.setReceiverName(name)

    def receive(self, into: Texture) -> bool:
        """Take the newest picture into a texture of the sender's size; whether the sender is there.

        Where `updated` is true afterwards nothing was taken: its size is new. Spout sleeps for 67 ms in here when the
        sender has gone or changed its size.
        """
        return bool(self._receiver.receiveTexture(into.glo, TEXTURE_2D, True, 0))

    def receive_pixels(self, into: np.ndarray) -> bool:
        """The same into host memory, ``(h, w, 4)``, blue first, top row first."""
        return bool(self._receiver.receiveImage(into, BGRA, False, 0))

    def updated(self) -> bool:
        """The last `receive` found a new sender or a new size; false again once it was asked."""
        return bool(self._receiver.isUpdated())

    def size(self) -> tuple[int, int]:
        """(width, height) of the sender; (0, 0) where its texture can't be opened."""
        return int(self._receiver.getSenderWidth()), int(self._receiver.getSenderHeight())

    def fresh(self) -> bool:
        """The last `receive` took a picture; always true of a sender that doesn't count its pictures."""
        return bool(self._receiver.isFrameNew())

    def count(self) -> int:
        """The sender's count of its pictures; 0 where it doesn't count."""
        return int(self._receiver.getSenderFrame())

    def has_alpha(self) -> bool:
        return int(self._receiver.getSenderFormat()) not in WITHOUT_ALPHA

    def receives_textures(self) -> bool:
        """OpenGL and Direct3D share textures here. Known after the first `receive`."""
        return bool(self._receiver.isGLDXReady())

    def wait(self, name: str, seconds: float) -> None:
        """Until the sender says that there is a new picture, or `seconds`; returns at once where it never says so."""
        self._receiver.waitFrameSync(name, round(seconds * 1e3))

    def leave(self) -> None:
        self._receiver.releaseReceiver()

    # --- out ---------------------------------------------------------------------------------------------------------

    def name(self, name: str) -> None:
        """What the sender will be called; it appears with its first picture."""
        self._sender.setSenderName(name)

    def send(self, picture: Texture) -> bool:
        """Copy `picture`, a GL_TEXTURE_2D, to where others see it; whether that was done."""
        width, height = picture.size
        return bool(self._sender.sendTexture(picture.glo, TEXTURE_2D, width, height, not picture.flipped, 0))

    def send_pixels(self, pixels: np.ndarray) -> bool:
        """The same from host memory, ``(h, w, 4)``, red first, row 0 the bottom."""
        return bool(self._sender.sendImage(pixels, pixels.shape[1], pixels.shape[0], RGBA, True, 0))

    def sends_textures(self) -> bool:
        """OpenGL and Direct3D share textures here. Known after the first `send`."""
        return bool(self._sender.isGLDXReady())

    def sync(self, name: str) -> None:
        """Tell who waits that there is a new picture."""
        self._sender.setFrameSync(name)

    def retire(self) -> None:
        self._sender.releaseSender()
