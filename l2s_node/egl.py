"""EGL: OpenGL contexts without a window or a screen, on Linux. Every call lets Python's other threads go on.

That is why the contexts are not made by moderngl: making the first one takes 30 to 100 ms, in which its code holds all
threads of Python, among them the one that plays the picture.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Mapping
from ctypes import POINTER, byref
from typing import Any

from l2s_node import llvm
from l2s_node.errors import L2SError

log = logging.getLogger(__name__)

_I, _P = ctypes.c_int, ctypes.c_void_p
_PLATFORM_DEVICE, _OPENGL_API, _NONE = 0x313F, 0x30A2, 0x3038
_CONFIG = (0x3033, 0x0001, 0x3040, 0x0008, _NONE)
"""Surfaces of the kind pixel buffer, of which none is made; OpenGL, not its lesser sister for telephones."""
_VERSIONS = ((4, 3), (3, 3))
"""Of OpenGL, core profile, the first that there is: with compute shaders, or the least that will do. Mesa gives the
newest that has all of what is asked for, NVIDIA's driver just that."""
_DEVICE_UUID, _UUID_BYTES = 0x335C, 16
_MOST = 32
"""Devices that are looked at."""
_CALLS: dict[str, tuple[Any, ...]] = {
    "eglGetProcAddress": (_P, ctypes.c_char_p),
    "eglGetDisplay": (_P, _P),
    "eglInitialize": (_I, _P, _P, _P),
    "eglBindAPI": (_I, _I),
    "eglChooseConfig": (_I, _P, POINTER(_I), _P, _I, _P),
    "eglCreateContext": (_P, _P, _P, _P, POINTER(_I)),
    "eglDestroyContext": (_I, _P, _P),
    "eglMakeCurrent": (_I, _P, _P, _P, _P),
    "eglGetError": (_I,),
    "eglReleaseThread": (_I,),
}
_EXTENSIONS: dict[str, tuple[Any, ...]] = {
    "eglQueryDevicesEXT": (_I, _I, _P, _P),
    "eglGetPlatformDisplayEXT": (_P, _I, _P, _P),
    "eglQueryDeviceBinaryEXT": (_I, _P, _I, _I, _P, _P),
}


class EGLError(L2SError):
    """There is no OpenGL 3.3 to be had through EGL."""


class EGL:
    """The library, loaded."""

    def __init__(self) -> None:
        """
        Raises:
            EGLError: it isn't there.
        """
        llvm.keep_apart()
        try:
            self._library = ctypes.CDLL("libEGL.so.1")
        except OSError as err:
            raise EGLError(str(err)) from err
        for name, (result, *arguments) in _CALLS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments

    def __call__(self, name: str, *arguments: object) -> Any:
        """One of `_CALLS`, or of `_EXTENSIONS`, which are None where they are missing."""
        if name in _CALLS:
            return getattr(self._library, name)(*arguments)
        address = self._library.eglGetProcAddress(name.encode())
        return ctypes.CFUNCTYPE(*_EXTENSIONS[name])(address)(*arguments) if address else None

    def devices(self) -> list[int]:
        """Handles of the GPUs and of what stands in for one; none where the driver can't tell."""
        found, count = (_P * _MOST)(), _I()
        if not self("eglQueryDevicesEXT", _MOST, found, byref(count)):
            return []
        return [handle for handle in found[: count.value] if handle]

    def uuid(self, device: int) -> bytes | None:
        """What tells a GPU from all others; None of what is none, or where the driver doesn't say."""
        text, size = ctypes.create_string_buffer(_UUID_BYTES), _I()
        found = self("eglQueryDeviceBinaryEXT", device, _DEVICE_UUID, _UUID_BYTES, text, byref(size))
        return text.raw if found and size.value == _UUID_BYTES else None

    def display(self, device: int | None) -> int:
        """That of a device, initialized; None is whatever the driver prefers.

        Raises:
            EGLError: it can't be had.
        """
        if device is None:
            display = self("eglGetDisplay", None)
        else:
            display = self("eglGetPlatformDisplayEXT", _PLATFORM_DEVICE, device, None)
        if not display or not self("eglInitialize", display, None, None):
            raise self.error("no display")
        return int(display)

    def error(self, what: str) -> EGLError:
        return EGLError(f"EGL has {what}, error 0x{self('eglGetError'):04X}")


class Context:
    """One context. It is current on the thread that made it, and may go to another one by `leave` and `use`."""

    def __init__(self) -> None:
        """
        Raises:
            EGLError: there is none to be had.
        """
        self._egl = egl = EGL()
        self._display = self._first_display()
        config, count = _P(), _I()
        egl("eglBindAPI", _OPENGL_API)
        wanted = (_I * len(_CONFIG))(*_CONFIG)
        if not egl("eglChooseConfig", self._display, wanted, byref(config), 1, byref(count)) or not count.value:
            raise egl.error("no configuration for OpenGL")
        for version in _VERSIONS:
            self._context = self._created(config, *version)
            if self._context:
                break
        else:
            raise egl.error("no context of OpenGL 3.3")
        self.use()

    def _created(self, config: ctypes.c_void_p, major: int, minor: int) -> int | None:
        wanted = (0x3098, major, 0x30FB, minor, 0x30FD, 1, _NONE)
        handle: int | None = self._egl("eglCreateContext", self._display, config, None, (_I * len(wanted))(*wanted))
        return handle

    def use(self) -> None:
        """Make it current on this thread.

        Raises:
            EGLError: it is current on another one.
        """
        self._egl("eglBindAPI", _OPENGL_API)  # each thread has its own
        if not self._egl("eglMakeCurrent", self._display, None, None, self._context):
            raise self._egl.error(f"not made a context current on {threading.current_thread().name}")

    def load_opengl_function(self, name: str) -> int:
        """The address of one of OpenGL's functions; moderngl calls this, and `release`."""
        return int(self._egl("eglGetProcAddress", name.encode()) or 0)

    def leave(self) -> None:
        """Let go of it on this thread. GLX refuses a window's context where one of EGL's is current."""
        self._egl("eglMakeCurrent", self._display, None, None, None)
        self._egl("eglReleaseThread")

    def release(self) -> None:
        """Release it, on the thread where it is current, with all that was made in it."""
        self.leave()
        self._egl("eglDestroyContext", self._display, self._context)

    def _first_display(self) -> int:
        """Of the first device that has one; CUDA's GPU goes before all others."""
        failure: EGLError | None = None
        devices: list[int | None] = [*_cudas_first(self._egl)]
        for device in devices or [None]:
            try:
                return self._egl.display(device)
            except EGLError as err:
                failure = failure or err
        assert failure is not None
        raise failure


def _cudas_first(egl: EGL) -> list[int]:
    """The devices, first the GPU that CUDA calls its first: only on one and the same do textures go without the CPU.

    Matched by UUID, since ``CUDA_VISIBLE_DEVICES`` gives CUDA's GPUs other numbers. Where there is one device, nobody
    is asked; where none matches, it is the driver's order and one sentence. Not run on a machine with several GPUs yet.
    """
    devices = egl.devices()
    wanted = cuda_uuid() if len(devices) > 1 else None
    if wanted is None:
        return devices
    uuids = {device: egl.uuid(device) for device in devices}
    if wanted not in uuids.values():
        log.warning("EGL doesn't say which GPU is CUDA's; if it is another one, textures go through host memory")
    return in_order(uuids, wanted)


def in_order(uuids: Mapping[int, bytes | None], wanted: bytes) -> list[int]:
    """The devices as they are given, but for the wanted one, which goes first."""
    return sorted(uuids, key=lambda device: uuids[device] != wanted)


def cuda_uuid() -> bytes | None:
    """Of CUDA's first GPU; None where there is no CUDA. Asks NVIDIA's driver, makes no context, and needs no torch."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        uuid_of = cuda.cuDeviceGetUuid
    except (OSError, AttributeError):
        return None
    device, uuid = _I(), ctypes.create_string_buffer(_UUID_BYTES)
    if cuda.cuInit(0) or cuda.cuDeviceGet(byref(device), 0) or uuid_of(uuid, device):
        return None
    return uuid.raw
