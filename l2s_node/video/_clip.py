"""Clip: every picture of a video file in order, with its time, over and over."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from l2s_node.errors import RoomError
from l2s_node.frame import PixelFormat
from l2s_node.video._av import Native, Planes, reason, stated_rate, video_stream

log = logging.getLogger(__name__)

_LONGEST_STEP = 60.0  # seconds from one picture to the next; more than that is a broken time stamp


class Picture(NamedTuple):
    """One decoded picture; `seconds` counts from the first picture of the clip, over all loops."""

    seconds: float
    format: PixelFormat
    width: int
    height: int
    planes: Planes


class Clip:
    """The pictures of the file at `path`, decoded as they are asked for. A still is a clip that repeats it.

    Attributes:
        pictures: all of them; ends after the last one if `once`, else begins again without a gap.
        rate: pictures a second as the file states, else (and for stills) `default_rate`.

    Raises:
        RoomError: the file can't be read, or holds no picture.
    """

    def __init__(self, path: Path, once: bool, default_rate: Fraction) -> None:
        self._path = path
        self._once = once
        self._native = Native()
        self._damage_said = False
        self._winds_back = True
        self._connect()
        self.rate = self._find_rate(default_rate)
        self.pictures = self._play()

    def close(self) -> None:
        """Close the file."""
        self.pictures.close()
        self._container.close()

    def _connect(self) -> None:
        try:
            self._container: InputContainer = av.open(str(self._path), "r")
        except (av.FFmpegError, OSError) as err:
            raise RoomError(f"{self._path} can't be played: {reason(err)}") from err
        self._stream: VideoStream = video_stream(self._container, str(self._path))
        self._stream.thread_type = "AUTO"  # 2160p needs more than one core

    def _find_rate(self, default: Fraction) -> Fraction:
        # FFmpeg gives every picture file 25 a second
        is_still = self._container.format.name.endswith(("_pipe", "image2"))
        return default if is_still else stated_rate(self._stream) or default

    def _play(self) -> Generator[Picture]:
        """Every picture, over and over unless it plays once."""
        start = end = 0.0
        while True:
            count = 0
            for since_start, duration, decoded in self._one_pass():
                end = start + since_start + duration
                if picture := self._convert(start + since_start, decoded):
                    count, still = count + 1, picture
                    yield picture
            if self._once or not (count or self._winds_back):
                return
            if count == 1:
                yield from self._repeat(still)
            start = end
            try:
                self._rewind(bool(count))
            except RoomError as err:  # taken away while it played
                log.warning("%s; it ends here", err)
                return

    def _repeat(self, still: Picture) -> Iterator[Picture]:
        """A picture file, or a video of one picture: again and again at its rate."""
        n = 0
        while True:
            n += 1
            yield still._replace(seconds=still.seconds + float(n / self.rate))

    def _one_pass(self) -> Iterator[tuple[float, float, VideoFrame]]:
        """(seconds since the first picture, seconds that it lasts, picture) to the end of the file."""
        period = float(1 / self.rate)
        since_start, offset = -period, None
        for decoded in self._decode():
            stamp = decoded.time
            step = None if stamp is None or offset is None else stamp - offset - since_start
            if step is None or not 0 < step <= _LONGEST_STEP:  # no usable time stamp: the stated rate it is
                step = period
            since_start += step
            offset = None if stamp is None else stamp - since_start
            length = decoded.duration * decoded.time_base if decoded.duration and decoded.time_base else 0
            yield since_start, float(length) or period, decoded

    def _decode(self) -> Iterator[VideoFrame]:
        """The pictures up to the end; what can't be decoded is passed over and said once."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError as err:
                    self._damaged(err)
        except (av.FFmpegError, OSError) as err:
            self._damaged(err)

    def _convert(self, seconds: float, decoded: VideoFrame) -> Picture | None:
        try:
            return Picture(seconds, *self._native.planes(decoded))
        except av.FFmpegError as err:
            self._damaged(err)
            return None

    def _damaged(self, err: Exception) -> None:
        if not self._damage_said:
            self._damage_said = True
            log.warning("%s is damaged (%s); what can't be decoded is passed over", self._path, reason(err))

    def _rewind(self, seek: bool) -> None:
        """Back to the first picture; a kind of file that can't (MPEG-TS) is opened again, from then on always."""
        try:
            self._winds_back = self._winds_back and seek
            if self._winds_back:
                self._container.seek(self._container.start_time or 0)
                return
        except (av.FFmpegError, OSError):
            self._winds_back = False
        self._container.close()
        self._connect()
