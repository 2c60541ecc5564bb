"""Dry: the input at the output's size in UYVY, from every format, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from pictures import noise

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.dry import dry_alpha, dry_uyvy
from l2s_node.picture.geometry import Geometry, solve

RGB = [fmt for fmt in PixelFormat if fmt.is_rgb]
YUV = [fmt for fmt in PixelFormat if not fmt.is_rgb]


def dry(frame: Frame, g: Geometry, output: tuple[int, int]) -> np.ndarray:
    return dry_uyvy(frame, g, standard_for(*output), Buffers())


def at_its_size(frame: Frame) -> Geometry:
    return solve(frame.size, (96, 64), frame.size, "fit")


@pytest.mark.parametrize("fmt", list(PixelFormat))
@pytest.mark.parametrize("size", [(64, 48), (2, 2), (66, 31), (1280, 722)])
def test_every_format_becomes_uyvy(fmt: PixelFormat, size: tuple[int, int]) -> None:
    frame = noise(fmt, size, seed=2, padded=True, smooth=1 if size[0] < 100 else 8)
    luma, chroma = reference.ycbcr_planes(frame, standard_for(*size))
    got_luma, got_chroma = reference.split(dry(frame, at_its_size(frame), size))
    assert np.abs(got_luma - luma).max() <= 1
    assert np.abs(got_chroma - chroma).max() <= 1


def test_uyvy_seen_as_it_is_is_not_copied() -> None:
    for fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        frame = noise(fmt, (64, 48))
        assert dry(frame, at_its_size(frame), frame.size) is frame.planes[0]


@pytest.mark.parametrize("fmt", list(PixelFormat))
@pytest.mark.parametrize("flip", [(True, False), (False, True), (True, True)])
def test_flips(fmt: PixelFormat, flip: tuple[bool, bool]) -> None:
    frame = noise(fmt, (64, 48), seed=4)
    luma, chroma = reference.split(dry(frame, at_its_size(frame), frame.size))
    turned = solve(frame.size, (96, 64), frame.size, "fit", flip=flip)
    got_luma, got_chroma = reference.split(dry(frame, turned, frame.size))
    axes = [axis for axis, on in zip((1, 0), flip, strict=True) if on]
    assert np.abs(got_luma - np.flip(luma, axes)).max() <= 1
    assert np.abs(got_chroma - np.flip(chroma, axes)).max() <= 1


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_a_zoomed_input_lies_where_its_luma_lies(fmt: PixelFormat) -> None:
    """Bilinear on the frame's own planes; OpenCV's weights are multiples of 1/32 of a pixel.

    The reference makes 4:2:2 first and interpolates then; where there was more or less colour, that is not the same.
    """
    frame = noise(fmt, (96, 64), seed=6, smooth=8)
    g = solve(frame.size, (96, 64), frame.size, "fit", 2.3, (0.37, -0.51))
    luma, chroma = reference.ycbcr_planes(frame, "bt601")
    left, top, right, bottom = g.seen
    want = reference.enlarge(luma, (96, 64), "bilinear", g.seen)
    want_chroma = reference.enlarge(chroma, (48, 64), "bilinear", (left / 2, top, right / 2, bottom))
    got, got_chroma = reference.split(dry(frame, g, (96, 64)))
    assert np.abs(got - want).max() <= 9
    assert np.abs(got - want).mean() <= 1
    same = fmt in (PixelFormat.UYVY, PixelFormat.UYVA)
    assert np.abs(got_chroma - want_chroma).mean() <= (1 if same else 3)
    assert np.abs(got_chroma - want_chroma).max() <= (9 if same else 40)


@pytest.mark.parametrize("fmt", [PixelFormat.NV12, PixelFormat.I420])
def test_chroma_of_odd_sizes_stays_in_place(fmt: PixelFormat) -> None:
    """⌈w/2⌉ samples reach beyond the picture's edge by half a sample; they are not squeezed into it."""
    frame = noise(fmt, (255, 191), seed=8)
    _, chroma = reference.ycbcr_planes(frame, "bt601")
    assert chroma.shape == (191, 128, 2)
    g = solve(frame.size, (96, 64), (254, 191), "fit")
    want = reference.enlarge(chroma, (127, 191), "bilinear", (0, 0, 127.5, 191))
    _, got = reference.split(dry(frame, g, (254, 191)))
    assert np.abs(got - want).max() <= 9 and np.abs(got - want).mean() <= 1.5


@pytest.mark.parametrize("fmt", [PixelFormat.UYVY, PixelFormat.NV12, PixelFormat.BGRA])
def test_colours_stay_the_same_where_the_standard_changes_with_the_size(fmt: PixelFormat) -> None:
    """A 640x480 input (BT.601) on a larger output (BT.709): the same RGB, in other bytes."""
    frame = noise(fmt, (640, 480), seed=9, smooth=64)
    luma, chroma = (plane[::8, ::8] for plane in reference.ycbcr_planes(frame, "bt601"))
    before = reference.to_rgb(np.dstack([luma, chroma.repeat(2, 1)]), "bt601")
    g = solve(frame.size, (320, 256), (1280, 960), "fit")
    luma, chroma = (plane[8::16, 8::16] for plane in reference.split(dry(frame, g, (1280, 960))))
    after = reference.to_rgb(np.dstack([luma, chroma.repeat(2, 1)]), "bt709")
    inside = ((before > 0.02) & (before < 0.98)).all(-1)  # what neither standard clips
    assert inside.sum() > 50
    assert np.median(np.abs(after - before)[inside]) <= 1 / 255
    assert np.percentile(np.abs(after - before)[inside], 95) <= 4 / 255


def test_rgb_takes_the_matrix_of_the_output_not_of_its_place_in_it() -> None:
    frame = noise(PixelFormat.RGBX, (640, 480), seed=1, smooth=16)
    output = (720, 600)  # BT.709; the picture's place in it is 720x540
    g = solve(frame.size, (320, 256), output, "fit")
    assert g.place[2:] == (720, 540)
    shown = reference.rgb_of(dry(frame, g, output), "bt709")
    want = frame.planes[0][8::16, 8::16, :3] / 255
    assert np.abs(shown[9::18, 9::18] - want).max() <= 4 / 255


@pytest.mark.parametrize("fmt", list(PixelFormat))
@pytest.mark.parametrize("zoom", [1.0, 1.1])
def test_a_large_input_is_filtered_on_its_way_to_a_small_output(fmt: PixelFormat, zoom: float) -> None:
    """Stripes finer than the output's pixels are grey, they don't make new patterns."""
    frame = noise(fmt, (1280, 720))
    for plane in frame.planes:
        plane[:] = 128
    if fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        frame.planes[0][:, 1::4], frame.planes[0][:, 3::4] = 40, 200
    else:
        frame.planes[0][:, 0::2], frame.planes[0][:, 1::2] = 40, 200
    g = solve(frame.size, (448, 256), (320, 180), "fit", zoom)
    luma, _ = reference.split(dry(frame, g, (320, 180)))
    assert luma.std() < 8


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_alpha(fmt: PixelFormat) -> None:
    frame = noise(fmt, (64, 48), seed=3, padded=True)
    alpha = dry_alpha(frame, at_its_size(frame), Buffers())
    if fmt is PixelFormat.UYVA:
        assert alpha is not None and np.array_equal(alpha, frame.planes[1])
    elif fmt in (PixelFormat.BGRA, PixelFormat.RGBA):
        assert alpha is not None and np.array_equal(alpha, frame.planes[0][..., 3])
    else:
        assert alpha is None
    flipped = dry_alpha(frame, solve(frame.size, (96, 64), frame.size, "fit", flip=(True, False)), Buffers())
    assert alpha is None or (flipped is not None and np.array_equal(flipped, alpha[:, ::-1]))


def test_planes_may_be_read_only() -> None:
    for fmt in PixelFormat:
        frame = noise(fmt, (64, 48))
        for plane in frame.planes:
            plane.flags.writeable = False
        for zoom in (1.0, 1.3):
            g = solve(frame.size, (96, 64), frame.size, "fit", zoom)
            dry(frame, g, frame.size)
            dry_alpha(frame, g, Buffers())
