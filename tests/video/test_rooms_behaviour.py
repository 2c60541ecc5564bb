"""One behaviour suite for every room that can be used here: what `video/base.py` promises, seen from outside.

A room that is added later is taken in by its file name; where it has nothing to open, its tests say so and skip.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from clips import make_clip

from l2s_node import video
from l2s_node.errors import RoomError
from l2s_node.frame import Frame, PixelFormat, blank, plane_shapes
from l2s_node.outlet import Outlet, takes_textures
from l2s_node.video.base import Options, Sink, Source

OPTIONS = Options(rate=Fraction(50), size=(128, 72))
SCHEMES = video.schemes()
STATES = {"waiting", "connected", "silent", "ended"}
PATIENCE = 10.0
ON_A_DESKTOP = {"window"}
"""Rooms that are tried on the tests' own desktop, and never on that of whoever runs them."""
FED = {"ndi": f"l2s-behaviour-{os.getpid()}"}
"""Rooms whose source shows what their own sink sends, and the name to send under."""


def room(scheme: str) -> ModuleType:
    return importlib.import_module(f"l2s_node.video.{scheme}")


def uri_to_open(scheme: str, folder: Path) -> str:
    if scheme in FED:
        return f"{scheme}:{FED[scheme]}"
    if scheme == "file":
        return f"file:{make_clip(folder / 'clip.mp4', rate=50)}"
    uris = room(scheme).names()
    if not uris:
        pytest.skip(f"the room {scheme} has nothing to open here")
    assert uris[0].startswith(f"{scheme}:")
    return str(uris[0])


def picture(number: int, size: tuple[int, int] = OPTIONS.size) -> Frame:
    planes = blank(PixelFormat.UYVY, *size)
    planes[0][:, 1::2] = 40 + number % 100
    return Frame(planes, PixelFormat.UYVY, *size, time.monotonic(), number, OPTIONS.rate)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before and t.name.startswith("l2s-")]
    assert not left, f"close() left threads behind: {left}"


@contextlib.contextmanager
def feeding(address: str, scheme: str) -> Iterator[None]:
    stop = threading.Event()

    def feed() -> None:
        with contextlib.closing(video.open_sink(f"{scheme}:{address}", OPTIONS)) as sink:
            number = 0
            while not stop.wait(1 / float(OPTIONS.rate)):
                sink.write(picture(number))
                number += 1

    thread = threading.Thread(target=feed, name="feeder")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(params=SCHEMES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    scheme = request.param
    if reason := getattr(room(scheme).Source, "refuses", None) or room(scheme).missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        if scheme in FED:
            stack.enter_context(feeding(FED[scheme], scheme))
        opened = video.open_source(uri_to_open(scheme, tmp_path), OPTIONS)
        stack.callback(opened.close)
        yield opened


@pytest.fixture(params=SCHEMES)
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    scheme = request.param
    if scheme in ON_A_DESKTOP:
        request.getfixturevalue("desktop")
    reason = dict(video.survey_sinks())[f"{scheme}:"]
    if reason:
        with pytest.raises(RoomError) as error:
            video.open_sink(f"{scheme}:x", OPTIONS)
        assert reason in str(error.value)
        pytest.skip(reason)
    address = {"file": str(tmp_path / "out.mp4"), "window": ""}.get(scheme, f"l2s-behaviour-sink-{os.getpid()}")
    opened = video.open_sink(f"{scheme}:{address}", OPTIONS)
    yield opened
    opened.close()


def next_frame(source: Source) -> Frame:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        frame = source.read(0.2)
        if frame is not None:
            return frame
    raise AssertionError(f"{source.uri} sent nothing in {PATIENCE:g} s")


def test_a_source_says_what_it_is(source: Source) -> None:
    scheme, colon, _ = source.uri.partition(":")
    assert colon and scheme in SCHEMES
    assert source.state in STATES
    assert source.dropped == 0
    assert isinstance(source.blocks, bool)


def test_frames_have_the_shape_of_their_format(source: Source) -> None:
    frame = next_frame(source)
    assert tuple(p.shape for p in frame.planes) == plane_shapes(frame.format, *frame.size)
    for plane in frame.planes:
        assert plane.dtype == np.uint8
        assert plane.strides[-1] == 1, "the last axis is contiguous"
        assert all(stride > 0 for stride in plane.strides), "top row first"
    assert frame.rate is None or 1 <= frame.rate <= 1000
    assert source.state == "connected"


def test_numbers_and_times_run_forward(source: Source) -> None:
    frames = [next_frame(source) for _ in range(5)]
    numbers, seconds = [f.number for f in frames], [f.seconds for f in frames]
    assert numbers == sorted(set(numbers))
    assert seconds == sorted(seconds)
    assert time.monotonic() - PATIENCE < seconds[-1] <= time.monotonic()


def test_planes_hold_until_two_more_pictures_were_read(source: Source) -> None:
    frame = next_frame(source)
    kept = [plane.copy() for plane in frame.planes]
    next_frame(source)
    assert all(np.array_equal(a, b) for a, b in zip(kept, frame.planes, strict=True))
    if source.blocks:  # read ahead by another thread: never written to again
        for _ in range(4):
            next_frame(source)
        assert all(np.array_equal(a, b) for a, b in zip(kept, frame.planes, strict=True))


def test_reading_ends_in_time(source: Source) -> None:
    next_frame(source)
    for timeout in (0.0, 0.05):
        start = time.monotonic()
        for _ in range(3):
            source.read(timeout)
        assert time.monotonic() - start < 3 * timeout + 2


def test_a_late_reader_gets_the_newest_picture(source: Source) -> None:
    first = next_frame(source)
    time.sleep(0.3)  # 15 pictures at 50 a second
    second = next_frame(source)
    assert second.number - first.number > 5
    assert source.dropped > 0


def test_a_sink_takes_pictures_of_any_size_and_their_buffers_may_be_reused(sink: Sink) -> None:
    textures, of_bytes = (PixelFormat.RGBX, PixelFormat.RGBA), (PixelFormat.UYVY, PixelFormat.UYVA)
    assert sink.format in (textures if takes_textures(sink) else of_bytes)
    assert sink.uri.partition(":")[0] in SCHEMES
    number, outlet = 0, Outlet()
    for size in ((128, 72), (96, 54), (322, 181)):
        frame = picture(number, size)
        for _ in range(5):
            frame.planes[0][:, 1::2] += 1
            outlet.put(Frame(frame.planes, frame.format, *size, time.monotonic(), number, Fraction(25)))
            taken = outlet.taken(sink)
            assert (taken.texture is not None) == takes_textures(sink)
            sink.write(taken)
            number += 1
    outlet.close()
    assert 0 <= sink.dropped <= number


def test_a_sink_may_close_without_a_picture(sink: Sink) -> None:
    assert sink.dropped == 0
