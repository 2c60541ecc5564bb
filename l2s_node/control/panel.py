"""The panel: a page with input and output side by side and the line of state, for whoever has no NDI viewer.

``/`` is the page, ``/stream/input`` and ``/stream/output`` are MJPEG (``multipart/x-mixed-replace``, which players
open as well), ``/status.json`` is the newest `Report` with its line; ``?channel=2`` after each of them is the second
channel's. Nothing but GET is served and nothing is changed.

The frame loop calls `Panel.show`, which returns at once while nobody watches, and otherwise copies a few rows about
twelve times a second. The thread ``l2s-jpeg`` encodes the newest copy, the thread ``l2s-http`` sends the newest
picture to each client when that client has taken the one before: nothing is queued anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import web

from l2s_node.control.jpeg import Thinned, encode, thin
from l2s_node.control.report import Reports, format_line
from l2s_node.errors import ControlError
from l2s_node.frame import Frame
from l2s_node.latest import Latest

RATE = 12.0
"""Pictures a second that are encoded while somebody watches."""

MAX_STREAMS = 16
"""Streams at a time; the next one is told to come back later."""

PATIENCE = 10.0
"""Seconds that a client may take for one picture before it is let go."""

SEND_BUFFER = 1 << 17
"""Bytes that the system holds for a client: two pictures, so that a slow line lags by no more."""

PAGE = {
    "/": ("index.html", "text/html"),
    "/panel.css": ("panel.css", "text/css"),
    "/panel.js": ("panel.js", "text/javascript"),
}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site shows the camera by naming a stream as its image
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "l2s",  # no version numbers for strangers
}

Stream = tuple[int, str]
"""A channel's number, and "input" or "output"."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Panel:
    """Serves the panel over HTTP from construction until `close`.

    Attributes:
        address: (host, port) that it listens on.
    """

    def __init__(
        self,
        reports: Reports,
        *,
        name: str = "l2s",
        host: str = "127.0.0.1",
        port: int = 7480,
        channel: str = "",
        others: Mapping[str, Reports] | None = None,
    ) -> None:
        """Listen on TCP `host`:`port` (port 0 takes a free one; "0.0.0.0" listens beyond this machine).

        `reports` are the first channel's, whose name is `channel`; `others` are those of the channels after it, by
        name.

        Raises:
            ControlError: the port is in use or can't be listened on.
        """
        self._channels = {channel: reports, **(others or {})}
        self._name = name
        self._app = self._application()
        self._socket = _listen(host, port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._born = time.time_ns() // 1_000_000  # tells the page that a new node answers
        self._watchers: Counter[Stream] = Counter()
        self._pictures: dict[Stream, bytes] = {}
        self._next: dict[int, float] = {}
        self._slot: Latest[dict[Stream, Thinned]] = Latest()
        self._loop = asyncio.new_event_loop()
        self._fresh = asyncio.Event()
        self._closing = asyncio.Event()
        self._http = threading.Thread(target=self._run_http, name="l2s-http")
        self._jpeg = threading.Thread(target=self._run_jpeg, name="l2s-jpeg")
        self._stop = threading.Event()
        self._http.start()
        self._jpeg.start()

    @property
    def watching(self) -> int:
        """Streams that are open now."""
        return sum(self._watchers.values())

    def watched(self, channel: int) -> bool:
        """Whether somebody looks at the channel of that number, 1 being the first."""
        return any(self._watchers[channel, which] for which in ("input", "output"))

    def show(self, input_frame: Frame | None, output_frame: Frame | None, channel: int = 1) -> None:
        """Offer the newest pictures; the frame loop calls it for every frame, and may reuse them at once."""
        now = time.monotonic()
        if not self.watched(channel) or now < self._next.get(channel, 0.0):
            return
        self._next[channel] = now + 1 / RATE
        frames = {(channel, "input"): input_frame, (channel, "output"): output_frame}
        pictures = {key: thin(frame) for key, frame in frames.items() if frame is not None and self._watchers[key]}
        self._slot.put({**(self._slot.take() or {}), **pictures})  # other channels' that are not encoded yet stay

    def close(self) -> None:
        """End the streams, stop and join both threads, give the port back."""
        self._stop.set()
        self._slot.close()
        self._jpeg.join()
        self._loop.call_soon_threadsafe(self._end)
        self._http.join()

    def _run_jpeg(self) -> None:
        while not self._stop.is_set():
            pictures = self._slot.take(timeout=0.5)
            if pictures:
                jpegs = {stream: encode(picture) for stream, picture in pictures.items()}
                self._loop.call_soon_threadsafe(self._publish, jpegs)

    # from here on everything runs in l2s-http

    def _run_http(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        await self._closing.wait()
        await runner.cleanup()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_add_headers)
        for path, (file, kind) in PAGE.items():
            app.router.add_get(path, _static((resources.files(__package__) / "page" / file).read_text("utf-8"), kind))
        app.router.add_get("/status.json", self._status)
        app.router.add_get("/stream/{which:input|output}", self._stream, allow_head=False)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a page of another site that had its own name point here (DNS rebinding)."""
        if not is_own_name(request.headers.get("Host", ""), lan=not _is_loopback(self.address[0])):
            raise web.HTTPForbidden(text="Open the panel by this machine's address, not by another name.")
        return await handler(request)

    async def _status(self, request: web.Request) -> web.Response:
        number = self._number(request)
        report = list(self._channels.values())[number - 1].get()
        names = [name for name in self._channels if len(self._channels) > 1]
        about = {"name": self._name, "born": self._born, "channels": names, "line": format_line(report)}
        return web.json_response({**about, **report.items()})

    def _number(self, request: web.Request) -> int:
        """Of the channel that is asked for: ``?channel=2``; 1 where none is."""
        text = request.query.get("channel", "1")
        if not text.isdecimal() or not 1 <= int(text[:4]) <= len(self._channels):
            raise web.HTTPNotFound(text=f"There are {len(self._channels)} channels here, from 1.")
        return int(text[:4])

    def _end(self) -> None:
        self._closing.set()
        self._fresh.set()

    def _publish(self, pictures: dict[Stream, bytes]) -> None:
        self._pictures.update(pictures)
        self._fresh.set()  # wakes those who wait on this one; later ones wait on the next
        self._fresh = asyncio.Event()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.watching >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_STREAMS} streams are open already.")
        which = self._number(request), request.match_info["which"]
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        self._watchers[which] += 1
        try:
            await response.prepare(request)
            await self._send_pictures(which, response)
        except (ConnectionError, TimeoutError):  # gone, or hanging: what is left in the buffers is nobody's any more
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watchers[which] -= 1
            if not self._watchers[which]:
                self._pictures.pop(which, None)  # whoever comes next is not shown an old one
        return response

    async def _send_pictures(self, which: Stream, response: web.StreamResponse) -> None:
        await response.write(b"--frame\r\n")
        seen: bytes | None = None
        while not self._closing.is_set():
            fresh, picture = self._fresh, self._pictures.get(which)
            if picture is not None and picture is not seen:
                seen = picture
                async with asyncio.timeout(PATIENCE):
                    await response.write(_part(picture))
            else:
                await fresh.wait()


def _part(picture: bytes) -> bytes:
    """One picture with the boundary after it, since a browser shows a part when it sees its end."""
    return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n--frame\r\n" % (len(picture), picture)


def _static(text: str, kind: str) -> Handler:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind, charset="utf-8")

    return serve


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _listen(host: str, port: int) -> socket.socket:
    try:
        sock = socket.create_server((host, port), backlog=64)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            why = f"TCP port {port} is in use by another program; choose another one with --panel PORT"
        else:
            why = f"TCP {host}:{port} can't be listened on: {err.strerror or err}"
        raise ControlError(f"no panel: {why}") from err
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
    return sock


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


@functools.lru_cache(maxsize=64)
def is_own_name(host: str, lan: bool) -> bool:
    """Whether a request's Host header may name this machine.

    Addresses and localhost do; in a `lan` also names without a dot and those in ``.local``, which nobody outside can
    point here.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    try:
        return _is_loopback(name) or lan
    except ValueError:  # not an address
        return name in ("", "localhost") or (lan and ("." not in name or name.endswith(".local")))
