"""Small video files for tests, made with PyAV: each picture carries its number in its brightness."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

STEP = 8
"""Luma from one picture to the next: more than any codec here errs."""


def luma_of(number: int) -> int:
    """The luma of every pixel of picture `number` (up to 24)."""
    return 24 + STEP * number


def number_of(luma: float) -> int:
    """The picture that has this mean luma."""
    return round((luma - 24) / STEP)


def make_clip(
    path: Path,
    count: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[float] | None = None,
    start: float = 0.0,
) -> Path:
    """A clip of `count` grey pictures at `path`; `times` are their seconds, by default even at `rate`."""
    ticks = 1000 if times else rate
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, ticks)
        for number in range(count):
            picture = grey(luma_of(number), size).reformat(format=pix_fmt)
            seconds = times[number] if times else number / rate
            picture.pts, picture.time_base = round((seconds + start) * ticks), Fraction(1, ticks)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def grey(luma: int, size: tuple[int, int]) -> av.VideoFrame:
    """A picture of one luma (limited range)."""
    picture = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(picture.planes, (luma, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return picture


def recorded(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """(times, luma planes) of every picture in the file at `path`, read by PyAV alone."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    lumas = []
    for picture in pictures:
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        lumas.append(rows[:, : picture.width])
    return [float(p.time) for p in pictures], lumas
