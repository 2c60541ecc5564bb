"""Recorder: encodes pictures into a file in a thread of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from l2s_node.errors import RoomError
from l2s_node.frame import Frame, is_sd
from l2s_node.video._av import reason

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".mkv")

_WAITING = 16  # pictures: half a second at 30 a second, 30 MB at 720p if ever all are needed
_TICKS = 90_000  # a second in the file: fine enough for any rate, and the usual one for video
_ENCODER = {
    "preset": "veryfast",
    "crf": "20",  # hard to tell from the original; 18 would spend half of the time on the grain of cameras
    "bf": "0",  # no B-frames: less work, and less is lost if the process is killed
    # leave cores to the show
    "threads": str(max(1, min(4, (os.cpu_count() or 2) // 2))),
}
# The file is playable even if the process is killed. In .mp4 and .mov each second is a fragment; on close the muxer
# hides them behind one normal index, so that every editor takes it (FFmpeg 7.1, doc/muxers, "hybrid_fragmented").
_MOV = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
_MATROSKA = {"cluster_time_limit": "1000", "flush_packets": "1"}  # milliseconds; five seconds by default


class Recorder:
    """Takes UYVY frames and writes them as H.264 into `path`, which exists and is empty.

    The picture's size is that of the first frame (rounded down to an even height); later ones of other sizes are
    scaled to it. Nothing is written before the first frame; a recording without one leaves no file.

    Args:
        path: ends in one of `SUFFIXES`.
        rate: frames a second, where a frame doesn't say it.
        wait: `put` waits for room instead of dropping.
    """

    def __init__(self, path: Path, rate: Fraction, wait: bool) -> None:
        self._path, self._rate, self._wait = path, rate, wait
        self._change = threading.Condition()
        self._waiting: deque[tuple[VideoFrame, float, Fraction | None]] = deque()
        self._free: list[VideoFrame] = []
        self._closing = False
        self._running = True
        self._error: RoomError | None = None
        self._dropped = 0
        self._writer: _Writer | None = None
        self._thread = threading.Thread(target=self._run, name="l2s-record")
        self._thread.start()

    def put(self, frame: Frame) -> bool:
        """Copy `frame` for the encoder; False if it was dropped because too many wait.

        Raises:
            RoomError: the recording broke off (a full disk, …); what was recorded before stays.
        """
        with self._change:
            if self._wait:
                self._change.wait_for(lambda: len(self._waiting) < _WAITING or not self._running)
            if self._error:
                raise self._error
            if len(self._waiting) >= _WAITING:
                self._count_drop()
                return False
            copy = self._free.pop() if self._free else None
        if copy is None or (copy.width, copy.height) != frame.size:
            copy = VideoFrame(frame.width, frame.height, "uyvy422")
        plane = copy.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        np.copyto(rows[:, : 2 * frame.width], frame.planes[0])
        with self._change:
            self._waiting.append((copy, frame.seconds, frame.rate))
            self._change.notify_all()
        return True

    def close(self) -> None:
        """Encode what waits, finish the file, join the thread."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        if self._writer is None:
            self._path.unlink(missing_ok=True)
            log.info("nothing came to record, so there is no %s", self._path)
        else:
            log.info("recorded %d pictures into %s, dropped %d", self._writer.count, self._path, self._dropped)

    def _count_drop(self) -> None:
        self._dropped += 1
        if self._dropped in (1, 10, 100) or self._dropped % 1000 == 0:
            log.warning("recording %s is too slow: %d pictures dropped so far", self._path, self._dropped)

    def _run(self) -> None:
        if sys.platform == "linux":  # where niceness belongs to a thread: encoding gives way to the show
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
        try:
            while (item := self._take()) is not None:
                self._write(*item)
            if self._writer:
                self._writer.finish()
        except (av.FFmpegError, OSError, ValueError) as err:  # ValueError: this PyAV has no libx264
            self._error = RoomError(f"recording {self._path} broke off: {reason(err)}")
            self._error.__cause__ = err
            log.error("%s", self._error)
        finally:
            with self._change:
                self._running = False
                self._change.notify_all()

    def _take(self) -> tuple[VideoFrame, float, Fraction | None] | None:
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _write(self, picture: VideoFrame, seconds: float, rate: Fraction | None) -> None:
        if self._writer is None:
            self._writer = _Writer(self._path, picture.width, picture.height, rate or self._rate)
        self._writer.write(picture, seconds)
        with self._change:
            self._free.append(picture)
            self._change.notify_all()


class _Writer:
    """The open file, used by one thread only."""

    def __init__(self, path: Path, width: int, height: int, rate: Fraction) -> None:
        self.count = 0
        self._path = path
        self._period = max(1, round(_TICKS / rate))
        self._first = width, height
        self._size = width, max(2, height - height % 2)  # 4:2:0 has whole pairs of rows
        self._reformatter = VideoReformatter()
        self._start = 0.0
        self._last = 0
        self._scales = False
        options = _MATROSKA if path.suffix.lower() == ".mkv" else _MOV
        self._container: OutputContainer = av.open(str(path), "w", container_options=options)
        self._stream = self._add_stream(rate)

    def _add_stream(self, rate: Fraction) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        coder = stream.codec_context
        coder.time_base = Fraction(1, _TICKS)
        coder.gop_size = max(1, round(rate))  # a key frame a second: so much is lost at most if the process is killed
        coder.color_range = 1
        coder.colorspace = 6 if is_sd(*self._size) else 1  # H.273: SMPTE 170M (BT.601), BT.709
        coder.color_primaries = coder.color_trc = coder.colorspace
        return stream

    def write(self, picture: VideoFrame, seconds: float) -> None:
        """Encode one picture that was seen at `seconds`; one that isn't later than the last follows it by the rate."""
        if self.count == 0:
            self._start = seconds
        elif (picture.width, picture.height) != self._first and not self._scales:
            self._scales = True
            log.warning("pictures have another size now; recording %s goes on in %dx%d", self._path, *self._size)
        converted = self._reformatter.reformat(picture, *self._size, "yuv420p", threads=1)
        stamp = round((seconds - self._start) * _TICKS)
        self._last = stamp if self.count == 0 or stamp > self._last else self._last + self._period
        converted.pts, converted.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(converted))
        self.count += 1

    def finish(self) -> None:
        """Flush the encoder and write the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
