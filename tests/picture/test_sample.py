"""Sample: the torch definition and its twin on the host, both against the exact box integral in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from pictures import noise

from l2s_node.frame import Frame, PixelFormat
from l2s_node.picture import host, sample
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.geometry import Geometry, solve

LSB = 1 / 255
CANVAS = (96, 64)
SIZES = [(320, 200), (200, 320), (322, 201), (64, 48), (2, 2), (98, 66), (1280, 720)]
VIEWS: list[dict[str, object]] = [
    {"framing": "fit"},
    {"framing": "crop"},
    {"framing": "stretch"},
    {"framing": "fit", "zoom": 1.37, "pan": (0.3, -0.9)},
    {"framing": "crop", "zoom": 2.5, "pan": (-1.0, 0.21)},
    {"framing": "stretch", "zoom": 7.9, "pan": (0.5, 0.5)},
    {"framing": "fit", "flip": (True, False)},
    {"framing": "fit", "zoom": 1.7, "flip": (True, True)},
    {"framing": "crop", "flip": (False, True)},
]


def defined(frame: Frame, g: Geometry) -> np.ndarray:
    """The torch definition, for formats whose luma is a plane of its own."""
    plane = frame.planes[0][:, 1::2] if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA) else frame.planes[0]
    small = sample.by_matrix(
        torch.from_numpy(plane.copy()), *sample.matrices(frame.size, g.taken, (g.into[2], g.into[3]))
    )
    picture = sample.into_canvas(sample.flip(sample.unit_luma(small), g.flip), g.into, CANVAS)
    return picture[0, 0].double().numpy()


def wanted(frame: Frame, g: Geometry) -> np.ndarray:
    return reference.sampled(frame, g.taken, g.into, CANVAS, g.flip)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_definition_is_the_exact_box_integral(view: dict[str, object]) -> None:
    for size in SIZES:
        frame = noise(PixelFormat.UYVY, size, seed=size[0])
        g = solve(size, CANVAS, size, **view)  # type: ignore[arg-type]
        np.testing.assert_allclose(defined(frame, g), wanted(frame, g), atol=1e-4, err_msg=str(size))


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_taps_are_all_that_is_in_the_matrices(view: dict[str, object]) -> None:
    """Where a graph on a GPU takes a frame's pixels, from numbers that are there."""
    for size in SIZES:
        luma = torch.from_numpy(noise(PixelFormat.UYVY, size, seed=size[0]).planes[0][:, 1::2].copy())
        g = solve(size, CANVAS, size, **view)  # type: ignore[arg-type]
        left, top, right, bottom = torch.tensor(g.taken)
        width, height = g.into[2:]
        across, down = sample.reach(size, g.taken, (width, height))
        rows = sample.taps(size[1], height, top, bottom, down)
        columns = sample.taps(size[0], width, left, right, across)
        want = sample.by_matrix(luma, *sample.matrices(size, g.taken, (width, height)))
        assert (sample.by_taps(luma, rows, columns) - want).abs().max() < 0.05, size


@pytest.mark.parametrize("framing", ["crop", "fit", "stretch"])
def test_a_sample_reaches_as_far_however_much_is_zoomed(framing: str) -> None:
    for size in SIZES:
        views = [solve(size, CANVAS, size, framing, zoom=1 + n / 7) for n in range(50)]
        assert len({sample.reach(size, view.taken, view.into[2:]) for view in views}) == 1, size


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_the_host_agrees_in_every_format_size_and_view(fmt: PixelFormat) -> None:
    """Measured: 0.6/255 for formats in RGB (luma is a byte on its way), 0.01/255 for the others."""
    worst = 0.0
    for size in SIZES[:-1]:
        odd = size[0] - (fmt not in (PixelFormat.UYVY, PixelFormat.UYVA)), size[1] - 1
        frame = noise(fmt, odd, seed=size[1], padded=size[0] % 3 == 0)
        for view in VIEWS:
            g = solve(odd, CANVAS, size, **view)  # type: ignore[arg-type]
            made = host.sample(frame, g, CANVAS, Buffers())
            assert made.shape == (1, 1, 64, 96) and made.dtype == torch.float32
            worst = max(worst, float(np.abs(made[0, 0].numpy() - wanted(frame, g)).max()))
    assert worst <= 3 * LSB


@pytest.mark.parametrize("fmt", list(PixelFormat))
@pytest.mark.parametrize("cell", [(1, 1), (2, 2), (3, 5), (4, 4), (6, 2), (8, 8), (12, 12)], ids=str)
def test_cells_of_whole_pixels(fmt: PixelFormat, cell: tuple[int, int]) -> None:
    """These go by halves, rounded to bytes each time. Measured: 1.5/255, of 8x8 pixels."""
    size = CANVAS[0] * cell[0], CANVAS[1] * cell[1]
    frame = noise(fmt, size, seed=cell[0])
    for view in ({}, {"zoom": 2.0, "pan": (1.0, 1.0)}, {"flip": (True, True)}):
        g = solve(size, CANVAS, size, "stretch", **view)  # type: ignore[arg-type]
        assert np.abs(host.sample(frame, g, CANVAS, Buffers())[0, 0].numpy() - wanted(frame, g)).max() <= 3 * LSB


def test_a_2160p_frame() -> None:
    white = noise(PixelFormat.UYVY, (3840, 2160), seed=5, smooth=16)
    white.planes[0][:, 1::2] |= 128  # bright, where sums over the frame are largest
    for view in VIEWS[:4]:
        g = solve(white.size, CANVAS, (1280, 720), **view)  # type: ignore[arg-type]
        made = host.sample(white, g, CANVAS, Buffers())[0, 0].numpy()
        assert np.abs(made - wanted(white, g)).max() <= 3 * LSB


def test_the_planes_may_be_read_only() -> None:
    for fmt in PixelFormat:
        frame = noise(fmt, (64, 48))
        for plane in frame.planes:
            plane.flags.writeable = False
        for zoom in (1.0, 1.3, 6.0):
            host.sample(frame, solve(frame.size, CANVAS, frame.size, "fit", zoom), CANVAS, Buffers())


@pytest.mark.parametrize("flip", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("size", [(99, 64), (63, 95), (97, 61)])
def test_flipping_is_the_sample_of_the_mirrored_picture(flip: tuple[bool, bool], size: tuple[int, int]) -> None:
    """Also where the picture can't lie in the very middle of the canvas."""
    frame = noise(PixelFormat.NV12, size, seed=3)
    turned = frame.planes[0][:, ::-1] if flip[0] else frame.planes[0]
    turned = np.ascontiguousarray(turned[::-1] if flip[1] else turned)
    other = Frame((turned, frame.planes[1]), PixelFormat.NV12, *size, seconds=0.0, number=0)
    canvas = (64, 64)
    flipped = host.sample(frame, solve(size, canvas, size, "fit", flip=flip), canvas, Buffers())
    plain = host.sample(other, solve(size, canvas, size, "fit"), canvas, Buffers())
    torch.testing.assert_close(flipped, plain, atol=1e-5, rtol=0)


def test_the_border_goes_on_where_the_canvas_is_wider() -> None:
    frame = noise(PixelFormat.UYVY, (64, 64))
    made = host.sample(frame, solve((64, 64), (96, 64), (64, 64), "fit"), (96, 64), Buffers())[0, 0]
    assert bool((made[:, :16] == made[:, 16:17]).all()) and bool((made[:, 80:] == made[:, 79:80]).all())


def test_black_is_0_and_white_is_1_and_beyond_is_clipped() -> None:
    for fmt, levels in ((PixelFormat.NV12, {0: 0.0, 16: 0.0, 235: 1.0, 255: 1.0}), (PixelFormat.RGBA, {0: 0, 255: 1})):
        for byte, value in levels.items():
            frame = noise(fmt, (64, 48))
            frame.planes[0][:] = byte
            made = host.sample(frame, solve((64, 48), CANVAS, (64, 48), "fit"), CANVAS, Buffers())
            torch.testing.assert_close(made, torch.full_like(made, value), atol=1e-5, rtol=0)
