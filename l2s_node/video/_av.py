"""What the rooms that decode (`file`, `camera`) share: a picture of PyAV's as planes of ours.

Numbers of colour matrices and ranges are those of ITU-T H.273, as libavutil's `pixfmt.h` has them.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from l2s_node.errors import RoomError
from l2s_node.frame import PixelFormat, is_sd, plane_shapes

Planes = tuple[NDArray[np.uint8], ...]

_NATIVE = {"yuv420p": PixelFormat.I420, "nv12": PixelFormat.NV12, "uyvy422": PixelFormat.UYVY}

_UNSPECIFIED = 2
_TAGS_601, _TAGS_709 = (5, 6), (1,)


def video_stream(container: InputContainer, what: str) -> VideoStream:
    """The first video stream of `container`; `what` names it in the error.

    Raises:
        RoomError: it has none.
    """
    if not container.streams.video:
        raise RoomError(f"{what} has no picture in it (sound only?)")
    return container.streams.video[0]


def reason(err: Exception) -> str:
    """What PyAV said, without its numbers and paths."""
    return str(getattr(err, "strerror", None) or err)


def stated_rate(stream: VideoStream) -> Fraction | None:
    """The frame rate that `stream` states, or None where it states none or nonsense."""
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not 1 <= rate <= 1000:
        return None
    return rate.limit_denominator(1001)


class Native:
    """Turns decoded pictures into planes of a `PixelFormat`, converting only what has none or lies on its side."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def planes(self, picture: VideoFrame) -> tuple[PixelFormat, int, int, Planes]:
        """(format, width, height, planes) of `picture`; the planes keep its memory alive.

        Formats of `_NATIVE` in limited range, in the colour matrix of their size and upright are handed out as they
        are; anything else (RGB, 10 bit, 4:2:2, full range, …) becomes I420.

        Raises:
            av.FFmpegError: swscale can't convert it.
        """
        turns = round(picture.rotation / 90) % 4  # counterclockwise, as `np.rot90` counts
        fmt = _NATIVE.get(picture.format.name)
        if fmt is None or turns or not _usual(picture) or (fmt is PixelFormat.UYVY and picture.width % 2):
            picture, fmt = self._to_i420(picture), PixelFormat.I420
        shapes = plane_shapes(fmt, picture.width, picture.height)
        planes = tuple(_rows(picture, i, shape[1]) for i, shape in enumerate(shapes))
        if turns:
            planes = tuple(np.ascontiguousarray(np.rot90(plane, turns)) for plane in planes)
        height, width = planes[0].shape
        return fmt, width // 2 if fmt is PixelFormat.UYVY else width, height, planes

    def _to_i420(self, picture: VideoFrame) -> VideoFrame:
        if picture.format.bits_per_pixel == 1:  # swscale makes 0 and 255 of black and white: no limited range
            picture = self._reformatter.reformat(picture, format="gray")
        matrix = Colorspace.ITU601 if is_sd(picture.width, picture.height) else Colorspace.ITU709
        tagged = picture.format.is_rgb or picture.format.has_palette or picture.colorspace != _UNSPECIFIED
        return self._reformatter.reformat(
            picture,
            format="yuv420p",
            src_colorspace=None if tagged else matrix,
            dst_colorspace=matrix,
            dst_color_range=ColorRange.MPEG,
            threads=1,  # swscale's own threads cost more than they save up to 1080p
        )


def _usual(picture: VideoFrame) -> bool:
    """Limited range, and the colour matrix that everyone assumes at this size."""
    fits = _TAGS_601 if is_sd(picture.width, picture.height) else _TAGS_709
    return picture.color_range != ColorRange.JPEG and picture.colorspace in (_UNSPECIFIED, *fits)


def _rows(picture: VideoFrame, index: int, width: int) -> NDArray[np.uint8]:
    """Plane `index` as ``(rows, width)`` bytes: a view, padded rows and all, unless it is stored upside down."""
    plane = picture.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))[:, :width]
    return rows if plane.line_size > 0 else np.ascontiguousarray(rows[::-1])
