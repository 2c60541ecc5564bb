"""CUDA and OpenGL on one GPU: textures to tensors and back without the CPU, through `cuda.bindings`.

Registered textures are mapped for the time of one copy. Mapping waits, on the GPU, until OpenGL has drawn what was
asked of it, and whatever OpenGL is asked after unmapping waits for CUDA (CUDA runtime API, "OpenGL Interoperability").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from l2s_node.texture import Image, Target, TextureError

_TEXTURE_2D = 0x0DE1


class Bridge:
    """Copies between textures and tensors of the current CUDA device, on torch's current stream.

    One texture is fetched and one is stored to, over and over; another one, or another size, may come at any time.
    """

    def __init__(self) -> None:
        """
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
        self._fetched = _Link(runtime, int(flags.cudaGraphicsRegisterFlagsReadOnly))
        self._stored = _Link(runtime, int(flags.cudaGraphicsRegisterFlagsWriteDiscard))

    def fetch(self, target: Target, into: Tensor) -> None:
        """All of `target` into a contiguous ``(h, w)`` or ``(h, w, c)`` tensor of its channels' type.

        Raises:
            TextureError: OpenGL and CUDA are not on one GPU, or CUDA fails.
        """
        pitch = _pitch(into, target.size, target.components * target.kind.itemsize)
        stream = torch.cuda.current_stream(into.device).cuda_stream
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        with self._fetched.mapped(target.mgl, stream) as array:
            _check(
                self._cuda.cudaMemcpy2DFromArrayAsync(
                    into.data_ptr(), pitch, array, 0, 0, pitch, target.size[1], kind, stream
                )
            )

    def store(self, tensor: Tensor, image: Image) -> None:
        """A contiguous ``(h, w, c)`` tensor into all of `image`, which has its size and its channels' type.

        Raises:
            TextureError: OpenGL and CUDA are not on one GPU, or CUDA fails.
        """
        pitch = _pitch(tensor, image.texture.size, image.components * tensor.element_size())
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        with self._stored.mapped(image.mgl, stream) as array:
            _check(
                self._cuda.cudaMemcpy2DToArrayAsync(
                    array, 0, 0, tensor.data_ptr(), pitch, pitch, image.texture.height, kind, stream
                )
            )

    def release(self) -> None:
        """Let go of the textures; call it before they are released."""
        self._fetched.release()
        self._stored.release()


class _Link:
    """The texture that was registered last."""

    def __init__(self, runtime: Any, flags: int) -> None:
        self._cuda, self._flags = runtime, flags
        self._texture: Any = None  # moderngl's object, held: OpenGL gives a name again, Python an identity not
        self._resource: Any = None

    @contextmanager
    def mapped(self, texture: Any, stream: int) -> Iterator[int]:
        """The address of the CUDA array of `texture`, as long as it is mapped."""
        if texture is not self._texture:
            self.release()
            register = self._cuda.cudaGraphicsGLRegisterImage
            self._resource = _check(register(texture.glo, _TEXTURE_2D, self._flags))
            self._texture = texture
        _check(self._cuda.cudaGraphicsMapResources(1, self._resource, stream))
        try:
            yield int(_check(self._cuda.cudaGraphicsSubResourceGetMappedArray(self._resource, 0, 0)))
        finally:
            _check(self._cuda.cudaGraphicsUnmapResources(1, self._resource, stream))

    def release(self) -> None:
        if self._resource is not None:
            _check(self._cuda.cudaGraphicsUnregisterResource(self._resource))
        self._texture = self._resource = None


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
