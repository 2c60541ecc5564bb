"""Where Syphon and Spout stand on other systems: textures handed from one OpenGL context to another in this process.

The other program has a context of its own (EGL), which shares with the one of `l2s_node.texture`. Its pictures lie in
textures of its own: Syphon's are rectangle textures with the bottom row first, Spout's have the top row first, as
Direct3D has it. `SyphonHere` and `SpoutHere` have every method of the classes that call the real packages, and answer
as their sources do: a server is listed once its program has served its run loop; a new sender or size is told before
its first picture; a sender on another GPU is listed and can't be opened.
"""

from __future__ import annotations

import contextlib
import ctypes as C
import itertools
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l2s_node import texture
from l2s_node.errors import RoomError
from l2s_node.frame import Texture

PLAIN, RECTANGLE = 0x0DE1, 0x84F5
_READ, _DRAW, _COLOUR, _RGBA, _BYTE = 0x8CA8, 0x8CA9, 0x8CE0, 0x1908, 0x1401
_P, _I, _U = C.c_void_p, C.c_int, C.c_uint
_GL: dict[str, tuple[Any, ...]] = {
    "glGenTextures": (None, _I, _P),
    "glDeleteTextures": (None, _I, _P),
    "glBindTexture": (None, _U, _U),
    "glTexImage2D": (None, _U, _I, _I, _I, _I, _I, _U, _U, _P),
    "glGenFramebuffers": (None, _I, _P),
    "glBindFramebuffer": (None, _U, _U),
    "glFramebufferTexture2D": (None, _U, _U, _U, _U, _I),
    "glBlitFramebuffer": (None, _I, _I, _I, _I, _I, _I, _I, _I, _U, _U),
    "glReadPixels": (None, _I, _I, _I, _I, _U, _U, _P),
    "glFinish": (None,),
    "glGetError": (_U,),
}


@dataclass(eq=False)
class Surface:
    """A texture of the other program."""

    glo: int
    kind: int
    width: int
    height: int


class OtherProgram:
    """A second context and what is done in it. Every method leaves the context current that was so before."""

    def __init__(self) -> None:
        texture.gl()
        self._egl = egl = C.CDLL(find_library("EGL"))
        for name in ("eglGetCurrentDisplay", "eglGetCurrentContext", "eglCreateContext", "eglGetProcAddress"):
            getattr(egl, name).restype = _P
        egl.eglGetProcAddress.argtypes = [C.c_char_p]
        self._display, first = _P(egl.eglGetCurrentDisplay()), _P(egl.eglGetCurrentContext())
        number, config, count = _I(), _P(), _I()
        assert egl.eglQueryContext(self._display, first, 0x3028, C.byref(number))
        asked = (_I * 3)(0x3028, number.value, 0x3038)
        assert egl.eglChooseConfig(self._display, asked, C.byref(config), 1, C.byref(count))
        version = (_I * 7)(0x3098, 3, 0x30FB, 3, 0x30FD, 1, 0x3038)
        self._context = _P(egl.eglCreateContext(self._display, config, first, version))
        assert self._context.value, "no second context"
        self._raw = {name: C.CFUNCTYPE(*types)(egl.eglGetProcAddress(name.encode())) for name, types in _GL.items()}
        fbos = (_U * 2)()
        self._within(lambda: self._raw["glGenFramebuffers"](2, fbos))
        self._fbos = tuple(fbos)

    def surface(self, kind: int, width: int, height: int, pixels: np.ndarray | None = None) -> Surface:
        """A texture, filled with ``(h, w, 4)``, red first, its rows as they are given."""
        name, rows = _U(), None if pixels is None else np.ascontiguousarray(pixels)

        def make() -> None:
            self._raw["glGenTextures"](1, C.byref(name))
            self._raw["glBindTexture"](kind, name)
            data = None if rows is None else rows.ctypes.data
            self._raw["glTexImage2D"](kind, 0, 0x8058, width, height, 0, _RGBA, _BYTE, data)

        self._within(make)
        return Surface(name.value, kind, width, height)

    def copy(self, source: tuple[int, int], target: tuple[int, int], size: tuple[int, int], invert: bool) -> None:
        """Texture to texture, each as (name, kind), as a blit does it."""
        w, h = size

        def blit() -> None:
            for which, (glo, kind), fbo in zip((_READ, _DRAW), (source, target), self._fbos, strict=True):
                self._raw["glBindFramebuffer"](which, fbo)
                self._raw["glFramebufferTexture2D"](which, _COLOUR, kind, glo, 0)
            y0, y1 = (h, 0) if invert else (0, h)
            self._raw["glBlitFramebuffer"](0, 0, w, h, 0, y0, w, y1, 0x4000, 0x2600)

        self._within(blit)

    def pixels(self, surface: Surface) -> np.ndarray:
        """``(h, w, 4)``, red first, rows as they lie."""
        out = np.empty((surface.height, surface.width, 4), np.uint8)

        def read() -> None:
            self._raw["glBindFramebuffer"](_READ, self._fbos[0])
            self._raw["glFramebufferTexture2D"](_READ, _COLOUR, surface.kind, surface.glo, 0)
            self._raw["glReadPixels"](0, 0, surface.width, surface.height, _RGBA, _BYTE, out.ctypes.data)

        self._within(read)
        return out

    def delete(self, surface: Surface) -> None:
        self._within(lambda: self._raw["glDeleteTextures"](1, C.byref(_U(surface.glo))))

    def close(self) -> None:
        self._egl.eglDestroyContext(self._display, self._context)

    def _within(self, work: Callable[[], None]) -> None:
        before = _P(self._egl.eglGetCurrentContext())
        self._raw["glFinish"]()
        assert self._egl.eglMakeCurrent(self._display, None, None, self._context)
        work()
        self._raw["glFinish"]()
        assert self._raw["glGetError"]() == 0
        assert self._egl.eglMakeCurrent(self._display, None, None, before)


_NUMBERS = itertools.count()

# --- Syphon -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Server:
    """One of Syphon's; `rings` are its clients' handlers."""

    program: str
    name: str
    listed: bool = False
    surface: Surface | None = None
    count: int = 0
    alive: bool = True
    identity: str = field(default_factory=lambda: f"uuid-{next(_NUMBERS)}")
    rings: list[Callable[[object], None]] = field(default_factory=list)


@dataclass(eq=False)
class Client:
    server: Server
    metal: bool
    ring: Callable[[object], None]
    seen: int = 0


class SyphonWorld:
    """All servers of this machine. Without `opengl` only Metal works."""

    program = "Python"

    def __init__(self) -> None:
        self.other = OtherProgram()
        self.servers: list[Server] = []
        self.opengl = True
        self.pooled = False
        self.at_turn: Callable[[], None] = lambda: None

    def show(self, server: Server, bottom_first: np.ndarray) -> None:
        """A new picture; Syphon writes over the one before unless the size is new."""
        height, width = bottom_first.shape[:2]
        fresh = self.other.surface(RECTANGLE, width, height, bottom_first)
        if server.surface is not None and (server.surface.width, server.surface.height) == (width, height):
            ends = ((fresh.glo, RECTANGLE), (server.surface.glo, RECTANGLE))
            self.other.copy(*ends, (width, height), invert=False)
            self.other.delete(fresh)
        else:
            self.drop(server)
            server.surface = fresh
        server.count += 1
        for ring in server.rings:
            ring(server)

    def drop(self, server: Server) -> None:
        if server.surface is not None:
            self.other.delete(server.surface)
        server.surface = None


class SyphonHere:
    """Stands where `_syphon.Sdk` stands."""

    def __init__(self, world: SyphonWorld) -> None:
        self._world = world

    @contextlib.contextmanager
    def pool(self) -> Iterator[object]:
        self._world.pooled = True
        yield None
        self._world.pooled = False

    def servers(self) -> list[Any]:
        self.pump()
        return [server for server in self._world.servers if server.alive and server.listed]

    def pump(self) -> None:
        assert self._world.pooled, "Objective-C's temporary objects would stay for good"
        self._world.at_turn()
        for server in self._world.servers:
            server.listed = True

    def label(self, server: Any) -> tuple[str, str, str]:
        return server.identity, server.program, server.name

    def open(self, server: Any, metal: bool, ring: Callable[[object], None]) -> object:
        self._can(metal)
        if not server.alive:
            raise RoomError("Syphon could not create the client")
        server.rings.append(ring)
        return Client(server, metal, ring)

    def valid(self, client: Any) -> bool:
        return bool(client.server.alive)

    def fresh(self, client: Any) -> bool:
        return bool(client.server.alive and client.seen < client.server.count)

    def take(self, client: Any) -> tuple[Texture, object] | None:
        assert not client.metal
        client.seen = client.server.count
        made = client.server.surface
        return made and (Texture(made.glo, made.width, made.height, rectangle=True), made)

    def take_pixels(self, client: Any) -> np.ndarray | None:
        assert client.metal
        client.seen = client.server.count
        made = client.server.surface
        return None if made is None else self._world.other.pixels(made)[..., [2, 1, 0, 3]]

    def serve(self, name: str, metal: bool) -> object:
        self._can(metal)
        self._world.servers.append(Server(self._world.program, name))
        return self._world.servers[-1]

    def description(self, server: Any) -> Any:
        return server

    def publish(self, server: Any, picture: Texture) -> None:
        assert not picture.rectangle
        copy = self._world.other.surface(PLAIN, *picture.size)
        ends = ((picture.glo, PLAIN), (copy.glo, PLAIN))
        self._world.other.copy(*ends, picture.size, invert=picture.flipped)
        self._world.show(server, self._world.other.pixels(copy))
        self._world.other.delete(copy)

    def publish_pixels(self, server: Any, pixels: np.ndarray) -> None:
        self._world.show(server, pixels)

    def stop(self, client: Any) -> None:
        if isinstance(client, Client):
            client.server.rings.remove(client.ring)
            return
        client.alive = False
        self._world.servers.remove(client)
        self._world.drop(client)

    def close(self) -> None:
        pass

    def _can(self, metal: bool) -> None:
        if not metal and not self._world.opengl:
            raise RoomError("no OpenGL context")


# --- Spout ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Sender:
    """One of Spout's: a Direct3D texture with the top row first."""

    surface: Surface
    count: int = 1
    alpha: bool = True
    counts: bool = True
    adapter: int = 0


class SpoutWorld:
    """All senders of this machine. Without `shares` OpenGL and Direct3D can't share textures here."""

    def __init__(self) -> None:
        self.other = OtherProgram()
        self.senders: dict[str, Sender] = {}
        self.syncs: list[str] = []
        self.shares = True
        self.waits = 0

    def show(self, name: str, top_first: np.ndarray, **of_sender: Any) -> None:
        height, width = top_first.shape[:2]
        made = self.other.surface(PLAIN, width, height, top_first)
        sender = self.senders.get(name)
        if sender is None:
            self.senders[name] = Sender(made, **of_sender)
        elif (sender.surface.width, sender.surface.height) == (width, height):
            ends = ((made.glo, PLAIN), (sender.surface.glo, PLAIN))
            self.other.copy(*ends, (width, height), invert=False)
            self.other.delete(made)
            sender.count += 1
        else:
            self.other.delete(sender.surface)
            sender.surface, sender.count = made, sender.count + 1

    def drop(self, name: str) -> None:
        self.other.delete(self.senders.pop(name).surface)


class SpoutHere:
    """Stands where `_spout.Sdk` stands."""

    def __init__(self, world: SpoutWorld) -> None:
        self._world = world
        self._wanted = self._named = ""
        self._opened: Surface | None = None
        self._updated = self._fresh = False
        self._count = 0

    def senders(self) -> list[str]:
        return list(self._world.senders)

    def active(self) -> str:
        return next(reversed(self._world.senders), "")

    def join(self, name: str) -> None:
        self._wanted = name

    def receive(self, into: Texture) -> bool:
        def copy(surface: Surface) -> None:
            assert into.size == (surface.width, surface.height), "the texture is not of the sender's size"
            self._world.other.copy((surface.glo, PLAIN), (into.glo, PLAIN), into.size, invert=True)

        return self._receive(copy)

    def receive_pixels(self, into: np.ndarray) -> bool:
        def copy(surface: Surface) -> None:
            assert surface.width % 4 == 0 and into.flags.c_contiguous
            np.copyto(into, self._world.other.pixels(surface)[..., [2, 1, 0, 3]])

        return self._receive(copy)

    def updated(self) -> bool:
        was, self._updated = self._updated, False
        return was

    def size(self) -> tuple[int, int]:
        return (self._opened.width, self._opened.height) if self._opened else (0, 0)

    def fresh(self) -> bool:
        return self._fresh

    def count(self) -> int:
        sender = self._world.senders.get(self._wanted)
        return sender.count if sender and sender.counts else 0

    def has_alpha(self) -> bool:
        return self._world.senders[self._wanted].alpha

    def receives_textures(self) -> bool:
        return self._world.shares

    def wait(self, name: str, seconds: float) -> None:
        self._world.waits += 1

    def leave(self) -> None:
        self._opened = None

    def name(self, name: str) -> None:
        self._named = name
        for n in itertools.count(1):
            if self._named not in self._world.senders:
                break
            self._named = f"{name}_{n}"

    def send(self, picture: Texture) -> bool:
        if not self._world.shares:
            return False
        made = self._world.other.surface(PLAIN, *picture.size)
        ends = ((picture.glo, PLAIN), (made.glo, PLAIN))
        self._world.other.copy(*ends, picture.size, invert=not picture.flipped)
        self._world.show(self._named, self._world.other.pixels(made))
        self._world.other.delete(made)
        return True

    def send_pixels(self, pixels: np.ndarray) -> bool:
        self._world.show(self._named, pixels[::-1])
        return True

    def sends_textures(self) -> bool:
        return self._world.shares

    def sync(self, name: str) -> None:
        self._world.syncs.append(name)

    def retire(self) -> None:
        if self._named in self._world.senders:
            self._world.drop(self._named)

    def _receive(self, copy: Callable[[Surface], None]) -> bool:
        self._updated = self._fresh = False
        sender = self._world.senders.get(self._wanted)
        if sender is None:
            if self._opened is not None:
                time.sleep(0.067)  # as ReleaseReceiver does
            self._opened = None
            return False
        if sender.adapter:
            self._opened = None
            return True
        if self._opened is not sender.surface:
            self._opened, self._updated, self._count = sender.surface, True, 0
            return True
        self._fresh = not sender.counts or sender.count != self._count
        self._count = sender.count
        if self._fresh:
            copy(sender.surface)
        return True
