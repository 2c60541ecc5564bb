"""Geometry: nothing is squashed, nothing lies outside, nothing is left uncovered."""

from __future__ import annotations

import itertools
import random

import pytest

from l2s_node.picture.geometry import Box, Geometry, Rect, canvas_for, solve

FRAMES = [(1280, 720), (1920, 1080), (720, 1280), (640, 480), (854, 480), (641, 361), (2, 2), (3840, 2160), (99, 1000)]
CANVASES = [(256, 256), (448, 256), (256, 448), (320, 256), (512, 256)]
OUTPUTS = [(1280, 720), (1920, 1080), (720, 1280), (640, 360), (642, 482)]


def random_view(rng: random.Random) -> dict[str, object]:
    return {
        "zoom": rng.choice([1.0, 1.0, rng.uniform(1, 8)]),
        "pan": (rng.uniform(-1, 1), rng.uniform(-1, 1)),
        "flip": (rng.random() < 0.5, rng.random() < 0.5),
    }


def every() -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int], str, Geometry]]:
    rng = random.Random(1)
    return [
        (frame, canvas, output, framing, solve(frame, canvas, output, framing, **random_view(rng)))  # type: ignore[arg-type]
        for frame, canvas, output in itertools.product(FRAMES, CANVASES, OUTPUTS)
        for framing in ("crop", "fit", "stretch")
    ]


def inside(box: Box, size: tuple[int, int]) -> bool:
    slack = 1e-6 * max(size)
    return box[0] >= -slack and box[1] >= -slack and box[2] <= size[0] + slack and box[3] <= size[1] + slack


def rect_inside(rect: Rect, size: tuple[int, int]) -> bool:
    left, top, width, height = rect
    return left >= 0 and top >= 0 and width >= 1 and height >= 1 and left + width <= size[0] and top + height <= size[1]


def test_everything_lies_inside_its_bounds() -> None:
    for frame, canvas, output, framing, g in every():
        where = (frame, canvas, output, framing, g)
        assert inside(g.taken, frame) and inside(g.seen, frame), where
        assert rect_inside(g.into, canvas) and rect_inside(g.shown, canvas) and rect_inside(g.place, output), where
        assert g.place[0] % 2 == 0 and g.place[2] % 2 == 0, where  # two pixels share their colour


def squashed(box: Box, rect: Rect, slack: float) -> float:
    """By how many pixels of `rect` more than `slack` the shape of `box` is missed."""
    (left, top, right, bottom), (_, _, width, height) = box, rect
    aspect = (right - left) / (bottom - top)
    return min(abs(width - height * aspect), abs(height - width / aspect)) - slack


def test_crop_and_fit_never_squash_what_the_generator_sees() -> None:
    for frame, canvas, output, framing, g in every():
        if framing != "stretch":
            assert squashed(g.taken, g.into, 1.0) <= 0, (frame, canvas, output, framing, g)


def test_crop_and_fit_never_squash_what_the_audience_sees() -> None:
    """Within a pair of pixels of the output (which share their colour), and one pixel of the canvas."""
    for frame, canvas, output, framing, g in every():
        if framing != "stretch":
            canvas_pixel = g.place[2] / g.shown[2]
            assert squashed(g.seen, g.place, 2.0) <= 0, (frame, canvas, output, framing, g)
            x, y, width, height = g.shown
            box = (float(x), float(y), float(x + width), float(y + height))
            assert squashed(box, g.place, 2.0 + canvas_pixel) <= 0, (frame, canvas, output, framing, g)


def test_the_world_lies_where_its_input_lies() -> None:
    """`shown` is the part of the canvas that shows `seen`, within half a pixel of the canvas on every side."""
    for frame, canvas, output, framing, g in every():
        sx, sy = g.into[2] / (g.taken[2] - g.taken[0]), g.into[3] / (g.taken[3] - g.taken[1])
        left = g.into[0] + (g.seen[0] - g.taken[0]) * sx
        right = g.into[0] + (g.seen[2] - g.taken[0]) * sx
        top = g.into[1] + (g.seen[1] - g.taken[1]) * sy
        bottom = g.into[1] + (g.seen[3] - g.taken[1]) * sy
        x, y, width, height = g.shown
        gaps = (left - x, right - x - width, top - y, bottom - y - height)
        assert max(map(abs, gaps)) <= 1.0, (frame, canvas, output, framing, g)


@pytest.mark.parametrize("framing", ["fit", "stretch"])
def test_fit_and_stretch_see_the_whole_input(framing: str) -> None:
    for frame, canvas, output in itertools.product(FRAMES, CANVASES, OUTPUTS):
        g = solve(frame, canvas, output, framing)
        assert g.seen == g.taken == (0, 0, *frame)


def test_crop_and_stretch_cover_the_output() -> None:
    for _, _, output, framing, g in every():
        if framing != "fit":
            assert g.place == (0, 0, *output)


@pytest.mark.parametrize(
    ("frame", "output"),
    [
        ((1280, 720), (1280, 720)),
        ((1280, 720), (1920, 1080)),
        ((720, 576), (720, 576)),
        ((720, 1280), (360, 640)),
        ((641, 361), (640, 361)),  # an odd width loses one column on its way to UYVY
        ((853, 480), (852, 480)),
        ((1919, 1080), (1918, 1080)),
        ((854, 480), (1280, 720)),  # "480p": 16:9 but for a pixel
        ((1366, 768), (1280, 720)),
        ((1, 1), (2, 1)),
    ],
)
def test_no_seam_is_left_where_the_shapes_match_within_two_pixels(
    frame: tuple[int, int], output: tuple[int, int]
) -> None:
    assert solve(frame, (448, 256), output, "fit").place == (0, 0, *output)


def test_fit_leaves_even_bars_where_the_shapes_differ() -> None:
    assert solve((640, 480), (320, 256), (1280, 720), "fit").place == (160, 0, 960, 720)
    assert solve((1280, 720), (448, 256), (640, 480), "fit").place == (0, 60, 640, 360)


def test_zoom_and_pan_reach_every_corner() -> None:
    g = solve((1280, 720), (448, 256), (1280, 720), "fit", 4.0, (-1.0, -1.0))
    assert g.taken == (0, 0, 320, 180)
    g = solve((1280, 720), (448, 256), (1280, 720), "fit", 4.0, (1.0, 1.0))
    assert g.taken == (960, 540, 1280, 720)
    g = solve((1280, 720), (448, 256), (1280, 720), "fit", 4.0)
    assert g.taken == (480, 270, 800, 450)


def test_crop_takes_the_middle_and_pan_moves_it_along_the_long_side() -> None:
    assert solve((1280, 720), (256, 256), (512, 512), "crop").taken == (280, 0, 1000, 720)
    assert solve((1280, 720), (256, 256), (512, 512), "crop", 1.0, (1.0, 1.0)).taken == (560, 0, 1280, 720)


@pytest.mark.parametrize(
    ("frame", "canvas"),
    [
        ((1280, 720), (448, 256)),
        ((720, 1280), (256, 448)),
        ((640, 480), (320, 256)),
        ((512, 512), (256, 256)),
        ((5000, 100), (512, 256)),
        ((2, 2), (256, 256)),
    ],
)
def test_the_canvas_follows_the_frame_in_steps_that_the_network_allows(
    frame: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert canvas_for(frame, 256, 64) == canvas


def test_a_network_that_needs_its_square_keeps_it() -> None:
    assert canvas_for((1920, 1080), 256, 256) == (256, 256)
    assert canvas_for((1920, 1080), 256, 256, thrifty=True) == (256, 256)


@pytest.mark.parametrize(
    ("frame", "canvas"),
    [((1280, 720), (320, 192)), ((640, 480), (256, 192)), ((512, 512), (256, 256)), ((1080, 1920), (192, 320)),
     ((4000, 500), (512, 64)), ((2, 2), (256, 256))],
)  # fmt: skip
def test_a_thrifty_canvas_has_no_more_pixels_than_the_square(frame: tuple[int, int], canvas: tuple[int, int]) -> None:
    assert canvas_for(frame, 256, 64, thrifty=True) == canvas
