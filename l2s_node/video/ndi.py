"""The room `ndi:`: pictures from and to the network, in the formats that NDI itself travels in.

``ndi:cam`` finds "HOST (cam)" on any host, ``ndi:HOST (cam)`` that one, ``ndi:@host:port`` needs no discovery. What
arrives is UYVY, or UYVA where the source has alpha, and so is what is sent. Nothing is converted here.
"""

from __future__ import annotations

import ctypes as C
import math
import time
from fractions import Fraction

import numpy as np

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat, page_aligned, plane_shapes
from l2s_node.video import _libndi
from l2s_node.video._libndi import Video
from l2s_node.video._ndi_lan import about
from l2s_node.video._ndi_link import LOOK, Finder, Link, advise, log, product
from l2s_node.video.base import Options

_FOURCC = {fmt: int.from_bytes(fmt.value.encode(), "little") for fmt in PixelFormat}
_FORMAT = {code: fmt for fmt, code in _FOURCC.items()}
_FIELDS = {_libndi.FIELD_0: 0, _libndi.FIELD_1: 1}  # the row that each field begins with


def missing() -> str | None:
    """Why NDI can't be used here and the remedy; None when it can, be it only with ``ndi:@host:port``."""
    try:
        _libndi.load()
    except RoomError as err:
        return str(err)
    return None


def names() -> list[str]:
    """The URI of every source on the network; waits up to 1.5 s for the first one to answer."""
    advise()
    finder = Finder()
    found: dict[str, str] = {}
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        time.sleep(0.05)
        if len(now := finder.sources()) > len(found):
            found, end = now, time.monotonic() + 0.3  # the others answer soon after the first
    finder.close()
    return [f"ndi:{name}" for name in sorted(found)]


class Source:
    """One NDI source, found again by itself whatever happens to it; see `base.Source`.

    `read` copies the newest picture out of libndi's queue of ten into one of three sets of planes (0.2 ms at 720p;
    libndi's row padding is left behind), frees the rest and counts them. Interlaced pictures are woven. libndi
    itself floors odd sizes.

    Raises:
        NotFoundError: no name was given; the message lists what is there.
        RoomError: libndi is missing, or ``@…`` is no address. A source that isn't there is no error: see `state`.
    """

    blocks = False

    def __init__(self, address: str, options: Options) -> None:
        address = address.strip()
        if not address:
            raise NotFoundError(f"ndi: which source? There is {', '.join(names()) or 'none on the network now'}")
        if not address.startswith("@"):
            advise()
        self._lib = _libndi.load()
        self._link = Link(address, options)
        self.uri = f"ndi:{address}"
        self.state = self._link.state
        self.dropped = 0
        self._canvas = _Canvas()
        self._delivered = 0
        self._skipped = 0  # freed here, beside those for which libndi's queue had no room
        self._transit = math.inf  # our clock at arrival less the sender's time stamp, at least, in seconds
        self._drained = 0.0  # when the queue was last seen empty

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`."""
        deadline = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            self._link.look(now)
            wait = min(max(deadline - now, 0.0), LOOK)
            frame = self._receive(wait)
            self.uri, self.state = f"ndi:{self._link.name}", self._link.state
            if frame is not None or now + wait >= deadline:
                return frame

    def close(self) -> None:
        """See `base.Source`."""
        self._link.close()

    def _receive(self, wait: float) -> Frame | None:
        """The newest whole picture in libndi's queue, waiting at most `wait` seconds for a first one."""
        pictures, whole, newest, arrived = 0, False, None, 0.0
        asked = time.monotonic()
        while (video := self._capture(wait)) is not None:
            wait = 0.0
            arrived = self._arrival(video, asked)
            if newest is not None:
                self._free(newest)
            if video.frame_format in _FIELDS:  # copied at once: a picture needs two
                whole, newest = self._canvas.copy(video), None
                self._free(video)
            else:
                whole, newest = True, video
            pictures += whole
        self._drained = time.monotonic()
        if newest is not None:
            self._canvas.copy(newest)
            self._free(newest)
        self._skipped += pictures - whole
        return self._frame(arrived) if whole else None

    def _frame(self, arrived: float) -> Frame:
        """What is on the canvas, numbered."""
        self.dropped = self._skipped + self._link.lost()
        number = self._delivered + self.dropped
        self._delivered += 1
        canvas = self._canvas
        self._link.heard(self._drained, str(canvas), float(1 / canvas.rate) if canvas.rate else 0.0)
        return Frame(canvas.hand_out(), canvas.format, *canvas.size, arrived, number, canvas.rate)

    def _capture(self, wait: float) -> Video | None:
        """The next picture or field from libndi's queue; it is to be freed. Waits without the GIL."""
        video, receiver = Video(), self._link.receiver
        kind = self._lib.NDIlib_recv_capture_v3(receiver, C.byref(video), None, None, math.ceil(wait * 1e3))
        if kind == _libndi.VIDEO and video.fourcc in _FORMAT:
            return video
        if kind == _libndi.VIDEO:
            self._free(video)
            self._link.heard(time.monotonic(), f"fourcc {video.fourcc:#x}, which this node can't read", 0.0)
        elif kind != _libndi.NONE:
            time.sleep(1e-3)  # news about the connection come without waiting; never spin on them
        return None

    def _free(self, video: Video) -> None:
        self._lib.NDIlib_recv_free_video_v2(self._link.receiver, C.byref(video))

    def _arrival(self, video: Video, asked: float) -> float:
        """When this picture came: now if we had to wait for it, else as its sender's time stamp tells.

        A picture that lay in the queue while the node was busy must not pass for a fresh one. The sender's clock is
        not ours, but the least time from stamp to arrival, let creep up by 0.1 ms a picture, maps one to the other.
        """
        now = time.monotonic()
        if video.timestamp == _libndi.UNDEFINED:
            return now
        stamp = video.timestamp * 1e-7
        self._transit = min(now - stamp, self._transit + 1e-4)
        return now if now - asked > 1e-3 else min(now, max(self._drained, stamp + self._transit))


class _Canvas:
    """Where pictures are copied to: three sets of planes in turn, made anew only when format or size change.

    Attributes:
        format, size, rate: of the newest picture; the rate is None where its source states none.
    """

    def __init__(self) -> None:
        self.format = PixelFormat.UYVY
        self.size = (0, 0)
        self.rate: Fraction | None = None
        self._sets: list[tuple[np.ndarray, ...]] = []
        self._turn = 0
        self._half = False  # the first field is in, the second isn't

    def __str__(self) -> str:
        rate = f"at {float(self.rate):.5g} frames a second" if self.rate else "at no stated rate"
        return f"{self.format.value} {self.size[0]}x{self.size[1]} {rate}"

    def copy(self, video: Video) -> bool:
        """Take over a picture, or a field as every second row; True when that makes a whole picture."""
        field = _FIELDS.get(video.frame_format)
        step = 1 if field is None else 2
        fmt, size = _FORMAT[video.fourcc], (video.width & ~1, video.height * step)
        if (fmt, size) != (self.format, self.size):
            self.format, self.size, self._half = fmt, size, False
            self._sets = [tuple(map(page_aligned, plane_shapes(fmt, *size))) for _ in range(3)]
        self.rate = Fraction(video.rate_n, video.rate_d) if video.rate_n > 0 and video.rate_d > 0 else None
        for ours, theirs in zip(self._sets[self._turn], _views(video, fmt), strict=True):
            np.copyto(ours[field or 0 :: step], theirs)
        whole = field is None or (field == 1 and self._half)
        self._half = field == 0
        return whole

    def hand_out(self) -> tuple[np.ndarray, ...]:
        """The planes of the newest picture; they aren't written to before the next-but-one picture is handed out."""
        planes = self._sets[self._turn]
        self._turn = (self._turn + 1) % 3
        return planes


def _views(video: Video, fmt: PixelFormat) -> list[np.ndarray]:
    """The planes of `video` where libndi holds them, without its row padding."""
    pitch, at, views = video.stride, video.data, []
    for shape in plane_shapes(fmt, video.width & ~1, video.height):
        memory = (C.c_uint8 * (pitch * shape[0])).from_address(at)
        views.append(np.ndarray(shape, np.uint8, memory, 0, (pitch, *shape[2:], 1)))
        at += pitch * shape[0]
        pitch = video.stride // 2 if fmt in (PixelFormat.UYVA, PixelFormat.I420) else video.stride
    return views


class Sink:
    """A sender on the network; see `base.Sink`. Takes UYVY and, with alpha, UYVA.

    A name that another program on this machine sends under is left to it: "l2s" becomes "l2s 2", and the log says so.
    libndi reads a picture until it is given the next one, so pictures are sent from two buffers in turn.

    Raises:
        RoomError: libndi is missing or makes no sender.
    """

    live = True

    def __init__(self, address: str, options: Options) -> None:
        advise()
        self._lib = _libndi.load()
        self._sender = self._create(address.strip() or options.name)
        self._lib.NDIlib_send_add_connection_metadata(self._sender, C.byref(product(options)))
        self._lib.NDIlib_send_add_connection_metadata(self._sender, C.byref(about(options)))
        self.uri = "ndi:" + self._lib.NDIlib_send_get_source_name(self._sender)[0].name.decode()
        self.format = PixelFormat.UYVA
        self.dropped = 0
        self._rate = options.rate
        self._buffers = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
        self._turn = 0

    def write(self, frame: Frame) -> None:
        """See `base.Sink`. Size, rate and alpha may change from picture to picture: receivers see no gap.

        Raises:
            RoomError: the frame is neither UYVY nor UYVA.
        """
        if frame.format not in (PixelFormat.UYVY, PixelFormat.UYVA):
            raise RoomError(f"{self.uri}: sends UYVY and UYVA, not {frame.format.value}")
        rate = frame.rate or self._rate
        video = Video(
            width=frame.width,
            height=frame.height,
            fourcc=_FOURCC[frame.format],
            rate_n=rate.numerator,
            rate_d=rate.denominator,
            frame_format=_libndi.PROGRESSIVE,
            timecode=_libndi.SYNTHESIZE,
            data=self._copy(frame.planes).ctypes.data,
            stride=2 * frame.width,
        )
        self._lib.NDIlib_send_send_video_async_v2(self._sender, C.byref(video))

    def close(self) -> None:
        """See `base.Sink`."""
        self._lib.NDIlib_send_send_video_async_v2(self._sender, None)  # until libndi is done with the last picture
        self._lib.NDIlib_send_destroy(self._sender)

    def _copy(self, planes: tuple[np.ndarray, ...]) -> np.ndarray:
        """`planes` one after the other in the buffer that libndi isn't reading."""
        self._turn = 1 - self._turn
        total = sum(plane.size for plane in planes)
        if self._buffers[self._turn].size != total:
            self._buffers[self._turn] = np.empty(total, np.uint8)
        buffer, start = self._buffers[self._turn], 0
        for plane in planes:
            np.copyto(buffer[start : start + plane.size].reshape(plane.shape), plane)
            start += plane.size
        return buffer

    def _create(self, name: str) -> int:
        """A sender called `name`; where that is taken, the first that is free of "name 2" … "name 9"."""
        for own in [name, *(f"{name} {n}" for n in range(2, 10))]:
            sender: int | None = self._lib.NDIlib_send_create(C.byref(_libndi.Send(name=own.encode())))
            if sender:
                if own != name:
                    log.warning("another program here already sends as %r: this node sends as %r", name, own)
                return sender
        raise RoomError(f"ndi:{name}: libndi makes no sender of that name; choose another")
