"""The room `camera:`: ``camera:0`` is the first camera of this computer (PyAV's input devices).

Linux: Video4Linux2, the number is that of ``/dev/video0``. macOS: AVFoundation, Windows: DirectShow, the number
counts the cameras that the system lists. Options are those of FFmpeg's documentation, "Input Devices".
"""

from __future__ import annotations

import logging
import re
import sys
import time

import av
from av.container import InputContainer
from av.device import DeviceInfo, enumerate_input_devices
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.video._av import Native, reason, stated_rate, video_stream
from l2s_node.video.base import Options

log = logging.getLogger(__name__)

_SYSTEMS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_REMEDY = {
    "linux": "plug one in; if one is, your user must be in the group 'video'",
    "darwin": "plug one in, and allow your terminal to use it (System Settings, Privacy & Security, Camera)",
    "win32": "plug one in, and allow desktop apps to use it (Settings, Privacy & security, Camera)",
}
_RETRY = 1.0  # seconds between two tries to find a lost camera


def missing() -> str | None:
    """Why there is no camera here, or None."""
    if sys.platform not in _SYSTEMS:
        return f"cameras are not supported on {sys.platform}; send it as NDI from another computer"
    if not _devices():
        return f"no camera is found: {_REMEDY[sys.platform]}"
    return None


def names() -> list[str]:
    """One URI for each camera that the system lists now."""
    return [f"camera:{number}" for number in _devices()]


def _devices() -> dict[int, str]:
    """What FFmpeg opens as each camera, by number."""
    try:
        found = enumerate_input_devices(_SYSTEMS[sys.platform])
    except (av.FFmpegError, ValueError, OSError):
        return {}
    cameras = [device for device in found if _is_camera(device)]
    if sys.platform == "linux":
        numbers = (re.fullmatch(r"/dev/video(\d+)", device.name) for device in cameras)
        return {int(match[1]): match[0] for match in numbers if match}
    prefix = "video=" if sys.platform == "win32" else ""
    return {number: prefix + device.name for number, device in enumerate(cameras)}


def _is_camera(device: DeviceInfo) -> bool:
    # a device that states no media is a Video4Linux one; AVFoundation lists screens among its video devices
    return "video" in (device.media_types or ["video"]) and not device.description.startswith("Capture screen")


class Source:
    """The camera of that number, asked for `options.size` and `options.rate`; what it really sends may differ.

    Once it was there it may be unplugged and come back: it is looked for once a second.

    Raises:
        NotFoundError: no camera of that number; the message lists those that are there.
        RoomError: it is there and can't be opened.
    """

    blocks = True

    def __init__(self, address: str, options: Options) -> None:
        there = _devices()
        if not address.isdigit() or int(address) not in there:
            raise NotFoundError(f"there is no camera {address!r}; there are {', '.join(names())}")
        self.uri = f"camera:{address}"
        self.state = "waiting"
        self.dropped = 0
        self._number = int(address)
        self._options = options
        self._native = Native()
        self._count = 0
        self._retry_at = 0.0
        self._container: InputContainer | None = None
        self._stream: VideoStream
        self._connect(there[self._number])

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`. Takes as long as the camera needs for a picture, which may be more than `timeout`."""
        deadline = time.monotonic() + timeout
        while True:
            picture = self._decode() if self._container or self._reconnect() else None
            if picture is not None:
                return picture
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, 0.002 if self._container else 0.1))

    def close(self) -> None:
        """Release the camera."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _reconnect(self) -> bool:
        """Look for the lost camera if it is time to; True if it is back."""
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + _RETRY
        device = _devices().get(self._number)
        if device is None:
            return False
        try:
            self._connect(device)
        except RoomError:  # there again, but not ready yet
            return False
        return True

    def _connect(self, device: str) -> None:
        error: Exception | None = None
        for wishes in _wishes(self._options):
            try:
                self._container = av.open(device, "r", _SYSTEMS[sys.platform], container_options=wishes, timeout=5)
                break
            except (av.FFmpegError, OSError) as err:  # it has no such size, rate or format
                error = err
        if self._container is None:
            text = reason(error) if error else "no way to open it"
            raise RoomError(f"{self.uri} can't be opened ({text}): does another program use it?") from error
        self._stream = video_stream(self._container, self.uri)
        self._stream.thread_type = "NONE"  # threads would hold pictures back
        self.state = "connected"
        coder = self._stream.codec_context
        log.info("%s sends %s %dx%d", self.uri, coder.name, coder.width, coder.height)

    def _decode(self) -> Frame | None:
        """The next picture; None if none is there yet or the camera is gone."""
        assert self._container is not None
        try:
            packet = next(self._container.demux(self._stream))
            if not packet.size:  # the end of what a device sends: it was unplugged
                self._lose("it sends no more")
                return None
            decoded = packet.decode()
        except av.BlockingIOError:
            return None
        except av.InvalidDataError:  # a picture that was cut short on the wire
            self.dropped += 1
            return None
        except (av.FFmpegError, OSError) as err:
            self._lose(reason(err))
            return None
        return self._frame(decoded[-1]) if decoded else None

    def _frame(self, picture: VideoFrame) -> Frame:
        fmt, width, height, planes = self._native.planes(picture)
        number, self._count = self._count, self._count + 1
        return Frame(planes, fmt, width, height, time.monotonic(), number, stated_rate(self._stream))

    def _lose(self, why: str) -> None:
        self.close()
        self.state = "waiting"
        self._retry_at = time.monotonic() + _RETRY
        log.warning("%s is lost (%s); looking for it every second", self.uri, why)


def _wishes(options: Options) -> list[dict[str, str]]:
    """Sets of options to try in turn, the best first; every camera opens with the last, in a form of its own choice."""
    size = {"video_size": "{}x{}".format(*options.size)}
    rate = {"framerate": str(options.rate)}
    # USB 2 carries raw pictures of 640x480 at 30 a second, but 1280x720 at 10 only: ask for JPEG where it matters
    jpeg = {"input_format": "mjpeg"} if sys.platform == "linux" else {}
    raw = {"pixel_format": "uyvy422"} if sys.platform == "darwin" else {}
    first, second = (jpeg, raw) if options.size[0] > 640 else (raw, jpeg)
    return [{**size, **rate, **first}, {**size, **rate, **second}, {**size, **rate}, size, {}]


class Sink:
    """This room only takes pictures in."""

    format = PixelFormat.UYVY
    refuses = "a camera only sends pictures; send yours to ndi:NAME, file:out.mp4 or null:"

    def __init__(self, address: str, options: Options) -> None:
        raise RoomError(self.refuses)

    def write(self, frame: Frame) -> None:
        """Never called: there is no such sink."""

    def close(self) -> None:
        """Never called: there is no such sink."""
