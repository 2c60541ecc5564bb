"""CUDA and OpenGL on one GPU: textures to tensors and back without the CPU, through `cuda.bindings`.

Registered textures are mapped for the time of one copy, or two for all that CUDA does between one copy and the other.
Mapping waits, on the GPU, until OpenGL has drawn what was asked of it, and whatever OpenGL is asked after unmapping
waits for CUDA (CUDA runtime API, "OpenGL Interoperability").
"""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from l2s_node.texture import Image, Target, TextureError

_TEXTURE_2D = 0x0DE1


class Bridge:
    """Copies between textures and tensors of the current CUDA device, on torch's current stream.

    One texture is fetched and one is stored to, over and over; another one, or another size, may come at any time.
    """

    def __init__(self, hints: bool = True) -> None:
        """
        Args:
            hints: CUDA is told that the one is only read, and the other overwritten as a whole.

        Raises:
            TextureError: there is no ``cuda.bindings`` here.
        """
        try:
            from cuda.bindings import runtime
        except ImportError as err:
            raise TextureError(
                "the Python package 'cuda-bindings' is not installed: pip install cuda-bindings"
            ) from err
        self._cuda = runtime
        flags = runtime.cudaGraphicsRegisterFlags
        read, written = flags.cudaGraphicsRegisterFlagsReadOnly, flags.cudaGraphicsRegisterFlagsWriteDiscard
        self._fetched = _Link(runtime, int(read) if hints else 0)
        self._stored = _Link(runtime, int(written) if hints else 0)
        self._mapped: list[_Link] = []

    def fetch(self, target: Target, into: Tensor, then: Image | None = None) -> None:
        """All of `target` into a contiguous ``(h, w)`` or ``(h, w, c)`` tensor of its channels' type.

        Args:
            target: the texture.
            into: the tensor.
            then: what is stored to next: one call maps both, not two. OpenGL must leave both alone
                until `store` or `let_go`.

        Raises:
            TextureError: OpenGL and CUDA are not on one GPU, or CUDA fails.
        """
        pitch = _pitch(into, target.size, target.components * target.kind.itemsize)
        stream = _current(into.device)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._unmap(stream)
        self._fetched.register(target.mgl)
        links = [self._fetched]
        if then is not None:
            self._stored.register(then.mgl)
            links.append(self._stored)
        self._map(links, stream)
        with ExitStack() as stack:
            stack.callback(self._unmap, stream)
            array, rows = self._fetched.array(), target.size[1]
            _check(
                self._cuda.cudaMemcpy2DFromArrayAsync(into.data_ptr(), pitch, array, 0, 0, pitch, rows, kind, stream)
            )
            if then is not None:
                stack.pop_all()  # both stay mapped

    def store(self, tensor: Tensor, image: Image) -> None:
        """A contiguous ``(h, w, c)`` tensor into all of `image`, which has its size and its channels' type.

        Raises:
            TextureError: OpenGL and CUDA are not on one GPU, or CUDA fails.
        """
        pitch = _pitch(tensor, image.texture.size, image.components * tensor.element_size())
        stream = _current(tensor.device)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        if self._stored not in self._mapped or self._stored.texture is not image.mgl:
            self._unmap(stream)
            self._stored.register(image.mgl)
            self._map([self._stored], stream)
        with ExitStack() as stack:
            stack.callback(self._unmap, stream)
            array, rows = self._stored.array(), image.texture.height
            _check(
                self._cuda.cudaMemcpy2DToArrayAsync(array, 0, 0, tensor.data_ptr(), pitch, pitch, rows, kind, stream)
            )

    def let_go(self) -> None:
        """OpenGL may have what is mapped again, though nothing was stored."""
        if self._mapped:
            self._unmap(torch.cuda.current_stream().cuda_stream)

    def release(self) -> None:
        """Forget the textures; call it before they are released."""
        self.let_go()
        self._fetched.release()
        self._stored.release()

    def _map(self, links: list[_Link], stream: int) -> None:
        self._all(self._cuda.cudaGraphicsMapResources, links, stream)
        self._mapped = links

    def _unmap(self, stream: int) -> None:
        links, self._mapped = self._mapped, []
        if links:
            self._all(self._cuda.cudaGraphicsUnmapResources, links, stream)

    def _all(self, function: Any, links: list[_Link], stream: int) -> None:
        handles = (ctypes.c_void_p * len(links))(*(link.handle for link in links))
        _check(function(len(links), ctypes.addressof(handles), stream))


class _Link:
    """The texture that was registered last.

    Attributes:
        texture: moderngl's object, held: OpenGL gives a name again, Python an identity not.
        handle: CUDA's name for it.
    """

    def __init__(self, runtime: Any, flags: int) -> None:
        self._cuda, self._flags = runtime, flags
        self.texture: Any = None
        self.handle = 0

    def register(self, texture: Any) -> None:
        """It is not mapped, if it is another one."""
        if texture is not self.texture:
            self.release()
            register = self._cuda.cudaGraphicsGLRegisterImage
            self.handle = int(_check(register(texture.glo, _TEXTURE_2D, self._flags)))
            self.texture = texture

    def array(self) -> int:
        """The address of its CUDA array, while it is mapped."""
        return int(_check(self._cuda.cudaGraphicsSubResourceGetMappedArray(self.handle, 0, 0)))

    def release(self) -> None:
        if self.handle:
            _check(self._cuda.cudaGraphicsUnregisterResource(self.handle))
        self.texture, self.handle = None, 0


def _current(device: torch.device) -> int:
    """CUDA's name for the current stream; `torch.cuda.current_stream` makes an object of it, 5 to 10 µs."""
    return int(torch._C._cuda_getCurrentRawStream(device.index))


def _pitch(tensor: Tensor, size: tuple[int, int], texel: int) -> int:
    """Bytes of a row, which must be those of the texture's."""
    pitch = size[0] * texel
    if not tensor.is_contiguous() or tensor.nbytes != pitch * size[1]:
        raise ValueError(f"a tensor of {tuple(tensor.shape)} {tensor.dtype} and a texture of {size}")
    return pitch


def _check(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA's returned, without its error."""
    error, *values = answer
    if int(error):
        raise TextureError(f"CUDA and OpenGL don't share this GPU ({getattr(error, 'name', error)})")
    return values[0] if values else None
