"""Rooms: a round trip through each room of this machine, from a sender of our own to a source of our own.

For `l2s doctor --rooms`: what the authors have no machine for is found out where there is one.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import numpy as np

from l2s_node import __version__, texture, video
from l2s_node.doctor import UNFOUND, Check
from l2s_node.errors import L2SError
from l2s_node.frame import Frame, PixelFormat, plane_shapes
from l2s_node.machine import processor
from l2s_node.outlet import Outlet
from l2s_node.video.base import SYSTEM, Options, Sink, Source

TRIED = {"file": ("",), "ndi": ("",), "syphon": ("", "?metal"), "spout": ("", "?image")}
"""Rooms, and what an address ends with for each of their ways; those that hardly anybody has tried come last."""
SYSTEMS = {"syphon": "darwin", "spout": "win32"}
PACKAGES = ("cyndilib", "av", "moderngl", "syphon-python", "pyobjc-core", "SpoutGL")
RATE = 30
COUNT = 20
"""Pictures of each size that are to come back."""
SIZES = ((1280, 720), (854, 480))
PATIENCE = 5.0
"""Seconds for them, for a sender to be found and for its end to be noticed."""
REPORT = (
    "please open an issue with these lines, whatever they say, and with what other programs show of ours and send us"
)

COLOURS = {"red": (63, 102, 240), "green": (173, 42, 26), "blue": (32, 240, 118), "grey": (126, 128, 128)}
"""Y, U and V of the quarters of what is sent: upper left, upper right, lower left, lower right."""
ALPHAS = (255, 255, 255, 128)


def examine_rooms() -> Iterator[Check]:
    """A line a room and way, and what to report; takes some seconds each. Closes the OpenGL context at the end."""
    yield Check("machine", True, f"l2s {__version__}, {platform.platform()}, {processor()}")
    found = [f"Python {platform.python_version()}", *(f"{name} {v}" for name in PACKAGES if (v := _version(name)))]
    yield Check("packages", True, ", ".join(found))
    lacking = texture.missing()
    yield Check("opengl", True, lacking or f"OpenGL on {texture.gl().renderer}", advice=bool(lacking))
    rooms = dict(video.survey_sinks())
    try:
        for scheme, ways in TRIED.items():
            reason = rooms[f"{scheme}:"]
            if reason is None:
                yield from (_tried(scheme, way) for way in ways)
            elif SYSTEMS.get(scheme, SYSTEM) != SYSTEM:
                yield Check(f"{scheme}:", True, f"not of this system: {reason}", advice=True)
            else:
                yield Check(f"{scheme}:", False, reason)
    finally:
        texture.close()
    if SYSTEM in SYSTEMS.values():
        yield Check("report", True, REPORT, advice=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tried(scheme: str, way: str) -> Check:
    """There and back through one room, one of its ways."""
    try:
        good, text = _file() if scheme == "file" else _live(scheme, way)
    except L2SError as err:
        good, text = False, str(err)
    return Check(f"{scheme}:{way}", good, text)


def _live(scheme: str, way: str) -> tuple[bool, str]:
    """Two sizes there and back; then the sender retires and returns."""
    name = f"l2s doctor {os.getpid()}"
    options = Options(rate=Fraction(RATE), size=SIZES[0])
    said: list[str] = []
    with ExitStack() as stack:
        outlet = stack.enter_context(closing(Outlet()))
        sending = stack.enter_context(ExitStack())
        sink = sending.enter_context(closing(video.open_sink(f"{scheme}:{name}{way}", options)))
        source = stack.enter_context(closing(video.open_source(f"{sink.uri}{way}", options)))
        for size in SIZES:
            trip = Trip(size).play(sink, source, outlet)
            if trip.last is None:
                return False, "; ".join([*said, f"nothing came back ({UNFOUND if scheme == 'ndi' else source.state})"])
            said.append(str(trip))
            faults = trip.faults(outlet)
            if faults:
                return False, "; ".join([*said, *faults])
        sending.close()
        end = time.monotonic() + PATIENCE
        while source.state != "waiting" and time.monotonic() < end:
            source.read(0.05)
        if source.state != "waiting":
            return False, "; ".join([*said, "the sender's end goes unnoticed"])
        again = stack.enter_context(closing(video.open_sink(f"{scheme}:{name}{way}", options)))
        if Trip(SIZES[0]).play(again, source, outlet).last is None:
            return False, "; ".join([*said, "the sender isn't found again when it returns"])
    return True, "; ".join([*said, "upright, with its colours, lost and found again"])


def _file() -> tuple[bool, str]:
    """One size recorded, then played."""
    with tempfile.TemporaryDirectory() as folder, closing(Outlet()) as outlet:
        path = Path(folder) / "trip.mp4"
        trip = Trip(SIZES[0])
        with closing(video.open_sink(f"file:{path}?wait", Options())) as sink:
            for _ in range(COUNT):
                trip.send(sink, outlet)
        with closing(video.open_source(f"file:{path}?once&unpaced", Options())) as source:
            while source.state != "ended":
                trip.take(source.read(0.0))
        if trip.last is None:
            return False, "nothing can be played of what was recorded"
        faults = trip.faults(outlet)
    return not faults, "; ".join([str(trip), *(faults or ["upright, with its colours"])])


class Trip:
    """Pictures of one size that are sent and come back.

    Attributes:
        last: the one that came last; None while none has.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._planes = _planes(size)
        self._start = time.monotonic()
        self._first = 0.0
        self._sent = self._came = 0
        self.last: Frame | None = None

    def play(self, sink: Sink, source: Source, outlet: Outlet) -> Trip:
        """Send, at their rate, until enough have come or patience ends."""
        while self._came < COUNT and time.monotonic() - self._start < PATIENCE:
            due = time.monotonic() + 1 / RATE
            self.send(sink, outlet)
            left = 1 / RATE
            while left > 0:  # once at least, however long it took to send
                self.take(source.read(max(due - time.monotonic(), 0.0)))
                left = due - time.monotonic()
        return self

    def send(self, sink: Sink, outlet: Outlet) -> None:
        now = time.monotonic()
        outlet.put(Frame(self._planes, PixelFormat.UYVA, *self._size, now, self._sent, Fraction(RATE)))
        sink.write(outlet.taken(sink))
        self._sent += 1

    def take(self, frame: Frame | None) -> None:
        """What a source has read; a picture of another size is one that was sent before."""
        if frame is not None and frame.size == self._size:
            self._first = self._first or time.monotonic() - self._start
            self._came += 1
            self.last = frame

    def faults(self, outlet: Outlet) -> list[str]:
        """What is wrong with the last picture, in words."""
        assert self.last is not None
        shown = outlet.preview(self.last)
        want, got, faults = list(COLOURS), _colours(shown), []
        if got == [*want[2:], *want[:2]]:
            faults.append("it is upside down")
        elif got == ["blue", "green", "red", "grey"]:
            faults.append("red and blue are swapped")
        elif got != want:
            faults.append(f"its quarters are {', '.join(got)}, not {', '.join(want)}")
        if self.last.format.has_alpha and not faults:
            alphas = _at(shown.planes[-1] if shown.format is PixelFormat.UYVA else shown.planes[0][..., 3])
            if np.abs(alphas - np.array(ALPHAS)).max() > 6:
                faults.append(f"its alpha is {alphas.tolist()}, not {list(ALPHAS)}")
        return faults

    def __str__(self) -> str:
        assert self.last is not None
        way = "as textures" if self.last.texture else self.last.format.value
        alpha = " with alpha" if self.last.format.has_alpha else ""
        width, height = self._size
        return (
            f"{self._came} of {self._sent} of {width}x{height} came back {way}{alpha}, the first in {self._first:.2f} s"
        )


def _planes(size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """UYVA with a colour, and an alpha, in each quarter."""
    width, height = size
    packed, alpha = (np.empty(shape, np.uint8) for shape in plane_shapes(PixelFormat.UYVA, *size))
    for n, (y, u, v) in enumerate(COLOURS.values()):
        rows = slice(height // 2, None) if n >= 2 else slice(height // 2)
        pairs = slice(width // 4, None) if n % 2 else slice(width // 4)
        packed.reshape(height, width // 2, 4)[rows, pairs] = u, y, v, y
        alpha.reshape(height, width // 2, 2)[rows, pairs] = ALPHAS[n]
    return packed, alpha


def _at(plane: np.ndarray) -> np.ndarray:
    """What lies in the middle of each quarter of ``(h, w, …)``."""
    (top, bottom), (left, right) = ((n // 4, n * 3 // 4) for n in plane.shape[:2])
    return plane[[top, top, bottom, bottom], [left, right, left, right]].astype(int)


def _colours(frame: Frame) -> list[str]:
    """The colour of each quarter, by its nature: compression and matrices change numbers."""
    if frame.format.is_rgb:
        rgb = _at(frame.planes[0])[:, [2, 1, 0] if frame.format in (PixelFormat.BGRA, PixelFormat.BGRX) else [0, 1, 2]]
        return ["grey" if np.ptp(c) < 40 else ("red", "green", "blue")[int(c.argmax())] for c in rgb]
    if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA):
        pairs = _at(frame.planes[0].reshape(frame.height, -1, 4)[..., [0, 2]])
    elif frame.format is PixelFormat.NV12:
        pairs = _at(frame.planes[1].reshape(len(frame.planes[1]), -1, 2))
    else:
        pairs = np.stack([_at(plane) for plane in frame.planes[1:]], axis=1)
    return [_by_chroma(int(u), int(v)) for u, v in pairs]


def _by_chroma(u: int, v: int) -> str:
    if abs(u - 128) < 16 and abs(v - 128) < 16:
        return "grey"
    return "red" if v > 160 else "blue" if u > 160 else "green"
