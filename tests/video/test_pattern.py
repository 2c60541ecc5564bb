"""The room `pattern:`: pictures made here."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest

from l2s_node import video
from l2s_node.errors import NotFoundError
from l2s_node.frame import Frame
from l2s_node.video.base import Options


def first(uri: str, size: tuple[int, int] = (280, 158)) -> Frame:
    frame = video.open_source(uri, Options(size=size)).read(1.0)
    assert frame is not None
    return frame


HD = [(180, 128, 128), (168, 44, 136), (145, 147, 44), (134, 63, 52), (63, 193, 204), (51, 109, 212), (28, 212, 120)]
SD = [(180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212), (35, 212, 114)]
"""75 % bars in 8 bit, Y Cb Cr: white, yellow, cyan, green, magenta, red, blue (SMPTE RP 219 and EG 1 list the same)."""


@pytest.mark.parametrize(("size", "want"), [((280, 158), SD), ((700, 576), SD), ((1400, 720), HD)])
def test_the_bars_have_the_colours_that_pictures_of_their_size_are_read_with(
    size: tuple[int, int], want: list[tuple[int, int, int]]
) -> None:
    row = first("pattern:bars", size).planes[0][10].reshape(-1, 4)
    bar = size[0] // 14  # groups of two pixels
    middles = row[[bar // 2 + bar * i for i in range(7)]]
    for (u, y0, v, y1), (y, cb, cr) in zip(middles.astype(int), want, strict=True):
        assert y0 == y1 and abs(y0 - y) <= 1 and abs(u - cb) <= 1 and abs(v - cr) <= 1


def test_the_bars_show_that_time_runs() -> None:
    source = video.open_source("pattern:bars", Options(size=(320, 180), rate=Fraction(50)))
    frames: list[np.ndarray] = []
    while len(frames) < 10:
        if frame := source.read(0.5):
            frames.append(frame.planes[0].copy())
    assert np.array_equal(frames[0][:100], frames[-1][:100])
    assert not np.array_equal(frames[0], frames[-1])


@pytest.mark.parametrize("uri", ["pattern:", "pattern:table", "pattern:noise", "pattern:Bars"])
@pytest.mark.parametrize("size", [(2, 1), (2, 300), (320, 180), (357, 91), (640, 2)])
def test_any_size_is_limited_range_and_even(uri: str, size: tuple[int, int]) -> None:
    frame = first(uri, size)
    assert frame.size == (size[0] - size[0] % 2, size[1])
    luma = frame.planes[0][:, 1::2]
    assert 16 <= luma.min() and luma.max() <= 235


def test_the_table_moves_smoothly_and_is_no_flat_picture() -> None:
    source = video.open_source("pattern:table", Options(size=(320, 180), rate=Fraction(60)))
    frames = [(f.number, f.planes[0][:, 1::2].astype(int)) for f in (source.read(0.5) for _ in range(20)) if f]
    steps = [np.abs(a - b).mean() for (m, a), (n, b) in itertools.pairwise(frames) if n == m + 1]
    assert np.std(frames[0][1]) > 10, "things of different brightness lie on it"
    assert 0 < max(steps) < 8, "it moves, and nothing jumps"


def test_the_same_time_is_the_same_picture() -> None:
    one, two = first("pattern:table"), first("pattern:table")
    assert one.number == two.number == 0
    assert np.array_equal(one.planes[0], two.planes[0])


def test_noise_is_new_every_time_and_grey() -> None:
    source = video.open_source("pattern:noise", Options(size=(64, 36), rate=Fraction(60)))
    seen = {frame.planes[0].tobytes() for frame in (source.read(0.5) for _ in range(30)) if frame is not None}
    assert len(seen) >= 29
    assert all(set(picture[0::2]) == {128} for picture in seen)


def test_pictures_come_at_the_rate_and_absolute_times() -> None:
    source = video.open_source("pattern:bars", Options(size=(64, 36), rate=Fraction(100)))
    frames: list[Frame] = []
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        if (frame := source.read(0.1)) is not None:
            frames.append(frame)
    assert frames[-1].number + 1 == len(frames) + source.dropped, "every picture was read or counted"
    elapsed = frames[-1].seconds - frames[0].seconds
    assert frames[-1].number == pytest.approx(100 * elapsed, abs=5), "the number follows the time, not the reader"


def test_an_unknown_pattern_lists_the_others() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean noise.*table, bars, noise"):
        video.open_source("pattern:nois", Options())
