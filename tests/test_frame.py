"""Frame and its pixel formats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from l2s_node.frame import Frame, PixelFormat, blank, plane_shapes

SHAPES = {  # of a picture of 6 x 5
    PixelFormat.UYVY: ((5, 12),),
    PixelFormat.UYVA: ((5, 12), (5, 6)),
    PixelFormat.NV12: ((5, 6), (3, 6)),
    PixelFormat.I420: ((5, 6), (3, 3), (3, 3)),
    PixelFormat.BGRA: ((5, 6, 4),),
    PixelFormat.BGRX: ((5, 6, 4),),
    PixelFormat.RGBA: ((5, 6, 4),),
    PixelFormat.RGBX: ((5, 6, 4),),
}


@pytest.mark.parametrize("fmt", PixelFormat)
def test_every_format_has_its_planes(fmt: PixelFormat) -> None:
    assert plane_shapes(fmt, 6, 5) == SHAPES[fmt]
    planes = blank(fmt, 6, 5)
    frame = Frame(planes, fmt, 6, 5, 1.5, 0)
    assert frame.size == (6, 5) and frame.rate is None
    assert all(plane.dtype == np.uint8 for plane in planes)


def test_chroma_of_odd_sizes_is_rounded_up() -> None:
    assert plane_shapes(PixelFormat.NV12, 5, 3) == ((3, 5), (2, 6))
    assert plane_shapes(PixelFormat.I420, 5, 3) == ((3, 5), (2, 3), (2, 3))


@pytest.mark.parametrize("fmt", [PixelFormat.UYVY, PixelFormat.UYVA])
def test_packed_formats_have_no_odd_width(fmt: PixelFormat) -> None:
    with pytest.raises(ValueError, match="even width, not 5"):
        plane_shapes(fmt, 5, 4)


def test_planes_that_do_not_fit_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"UYVY 6x5 needs planes \(\(5, 12\),\), got \(\(5, 10\),\)"):
        Frame((np.zeros((5, 10), np.uint8),), PixelFormat.UYVY, 6, 5, 0.0, 0)


def test_padded_rows_are_fine() -> None:
    padded = np.zeros((5, 32), np.uint8)
    frame = Frame((padded[:, :12],), PixelFormat.UYVY, 6, 5, 0.0, 0, Fraction(30))
    assert frame.planes[0].base is padded


def test_black_is_black_and_opaque_in_every_format() -> None:
    assert blank(PixelFormat.UYVY, 2, 1)[0].tolist() == [[128, 16, 128, 16]]
    assert blank(PixelFormat.UYVA, 2, 1)[1].tolist() == [[255, 255]]
    assert [p.flat[0] for p in blank(PixelFormat.NV12, 2, 2)] == [16, 128]
    assert [p.flat[0] for p in blank(PixelFormat.I420, 2, 2)] == [16, 128, 128]
    for fmt in (f for f in PixelFormat if f.is_rgb):
        assert blank(fmt, 1, 1)[0].tolist() == [[[0, 0, 0, 255]]]


def test_which_formats_are_rgb_and_which_have_alpha() -> None:
    assert {f.value for f in PixelFormat if f.is_rgb} == {"BGRA", "BGRX", "RGBA", "RGBX"}
    assert {f.value for f in PixelFormat if f.has_alpha} == {"UYVA", "BGRA", "RGBA"}


def test_its_text_names_what_matters_and_not_the_pixels() -> None:
    frame = Frame(blank(PixelFormat.UYVY, 1280, 720), PixelFormat.UYVY, 1280, 720, 12.3456, 7)
    assert repr(frame) == "Frame(UYVY 1280x720 #7 @12.346s)"
