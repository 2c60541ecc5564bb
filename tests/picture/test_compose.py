"""Compose: the torch definition against NumPy, and its twin on the host (at most 3/255 apart)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import torch
from pictures import noise

from l2s_node.frame import PixelFormat
from l2s_node.params import BLENDS
from l2s_node.picture import compose, host
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.compose import Style

SIZE = (64, 36)


def picture(width: int = 28, height: int = 16, seed: int = 0) -> torch.Tensor:
    """Random RGB, ``(3, h, w)``, a little beyond 0…1 as saturation may make it."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-0.1, 1.1, (3, height, width))).float()


def input_bytes(size: tuple[int, int] = SIZE, seed: int = 7) -> np.ndarray:
    return noise(PixelFormat.UYVY, size, seed).planes[0]


def wanted(rgb: torch.Tensor, dry: np.ndarray | None, size: tuple[int, int], style: Style, mix: float, light: float):
    return reference.paint(
        rgb.permute(1, 2, 0).double().numpy(),
        dry if style.needs_dry else None,
        size,
        blend=style.blend if style.mixed else "normal",
        upscale=style.upscale,
        standard=style.standard,
        split_at=size[0] // 4 * 2 if style.split else 0,
        mix=mix if style.mixed else 1.0,
        light=light if style.faded else 1.0,
    )


def defined(rgb: torch.Tensor, dry: np.ndarray | None, size: tuple[int, int], style: Style, mix: float, light: float):
    out = torch.zeros(size[1], 2 * size[0], dtype=torch.uint8)
    compose.paint(rgb, None if dry is None else torch.from_numpy(dry), out.view(torch.int32), style, mix, light)
    return out.numpy()


def on_host(rgb: torch.Tensor, dry: np.ndarray | None, size: tuple[int, int], style: Style, mix: float, light: float):
    out = np.zeros((size[1], 2 * size[0]), np.uint8)
    host.paint(rgb, dry, out, style, mix, light, Buffers())
    return out


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


STYLES = [
    Style(blend=blend, mixed=mixed, upscale=upscale, standard=standard, split=split, faded=faded)
    for (blend, mixed), upscale, standard, split, faded in itertools.product(
        [("normal", False), *((blend, True) for blend in BLENDS)],
        ("bilinear", "bicubic"),
        ("bt601", "bt709"),
        (False, True),
        (False, True),
    )
]


@pytest.mark.parametrize("blend", ["plain", *BLENDS])
def test_the_definition_follows_the_book(blend: str) -> None:
    for style in STYLES:
        if (style.blend if style.mixed else "plain") == blend:
            rgb, dry = picture(), input_bytes()
            for mix, light in ((1.0, 1.0), (0.35, 0.6)):
                args = rgb, dry, SIZE, style, mix, light
                assert apart(defined(*args), wanted(*args)) <= 1, (style, mix, light)


@pytest.mark.parametrize("blend", ["plain", *BLENDS])
def test_the_host_is_at_most_3_of_255_away(blend: str) -> None:
    """Measured on noise: 1 for normal and luma, 2 for the blends in RGB."""
    for style in STYLES:
        if (style.blend if style.mixed else "plain") == blend:
            rgb, dry = picture(seed=1), input_bytes(seed=8)
            for mix, light in ((1.0, 1.0), (0.35, 0.6)):
                args = rgb, dry, SIZE, style, mix, light
                assert apart(on_host(*args), defined(*args)) <= 3, (style, mix, light)


@pytest.mark.parametrize(
    ("canvas", "size"),
    [((448, 252), (1280, 720)), ((28, 16), (2, 2)), ((16, 28), (90, 160)), ((64, 64), (62, 33)), ((3, 2), (640, 361))],
)
def test_both_agree_at_every_size(canvas: tuple[int, int], size: tuple[int, int]) -> None:
    rgb, dry = picture(*canvas), input_bytes(size)
    for style in (Style(), Style(upscale="bilinear", mixed=True), Style("overlay", True, faded=True, split=True)):
        args = rgb, dry, size, style, 0.7, 0.9
        assert apart(on_host(*args), defined(*args)) <= 3, style
        assert apart(defined(*args), wanted(*args)) <= 1, style


def test_the_host_paints_into_a_part_of_a_larger_plane() -> None:
    rgb, dry = picture(), input_bytes()
    for style in STYLES[::3]:
        whole = np.full((50, 200), 99, np.uint8)
        part = whole[5 : 5 + SIZE[1], 12 : 12 + 2 * SIZE[0]]
        host.paint(rgb, dry, part, style, 0.5, 0.5, Buffers())
        assert apart(part, on_host(rgb, dry, SIZE, style, 0.5, 0.5)) == 0
        part[:] = 99
        assert bool((whole == 99).all())


def test_the_input_is_left_alone() -> None:
    for style in STYLES:
        rgb, dry = picture(), input_bytes()
        host.paint(rgb, dry, np.zeros_like(dry), style, 0.4, 0.4, Buffers())
        assert bool((rgb == picture()).all()) and bool((dry == input_bytes()).all()), style


def test_an_input_with_padded_rows() -> None:
    dry = noise(PixelFormat.UYVY, SIZE, 7, padded=True).planes[0]
    for style in STYLES[::5]:
        assert (
            apart(
                on_host(picture(), dry, SIZE, style, 0.5, 0.5), on_host(picture(), input_bytes(), SIZE, style, 0.5, 0.5)
            )
            == 0
        )


def test_fade_takes_everything_to_black() -> None:
    for style in STYLES:
        if style.faded:
            for painted in (defined, on_host):
                out = painted(picture(), input_bytes(), SIZE, style, 0.5, 0.0)
                assert bool((out[:, 0::2] == 128).all()) and bool((out[:, 1::2] == 16).all()), style


def test_split_shows_the_input_on_the_left_and_the_world_on_the_right() -> None:
    rgb, dry = picture(), input_bytes()
    for painted in (defined, on_host):
        out = painted(rgb, dry, SIZE, Style(split=True), 1.0, 1.0)
        assert apart(out[:, : SIZE[0]], dry[:, : SIZE[0]]) == 0
        assert apart(out[:, SIZE[0] :], painted(rgb, None, SIZE, Style(), 1.0, 1.0)[:, SIZE[0] :]) == 0


def test_a_blend_leaves_no_colour_on_a_grey_edge() -> None:
    """Two pixels share their colour: it is their mean, so that an edge between them has no fringe."""
    grey = np.full((8, 32), 128, np.uint8)
    grey[:, 1::4], grey[:, 3::4] = 16, 235  # black, white, black, white
    rgb = torch.tensor([0.9, 0.2, 0.1]).view(3, 1, 1).expand(3, 4, 8)
    for painted in (defined, on_host):
        out = painted(rgb, grey, (16, 8), Style("multiply", True), 1.0, 1.0)
        red = reference.to_ycbcr(np.array([0.9, 0.2, 0.1]), "bt709")
        want = (128 + red[1:]) / 2  # half of it is black
        assert np.abs(out[:, 0::4] - want[0]).max() <= 2 and np.abs(out[:, 2::4] - want[1]).max() <= 2


@pytest.mark.parametrize("saturation", [0.0, 0.5, 1.0, 3.0])
def test_saturation(saturation: float) -> None:
    rgb = picture()[None]
    grey = (rgb * torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(compose.saturate(rgb, saturation), grey + (rgb - grey) * saturation)
    torch.testing.assert_close(compose.saturate(rgb, torch.tensor(saturation)), grey + (rgb - grey) * saturation)


@pytest.mark.parametrize(("height", "width", "zoom"), [(16, 28, 1.02), (17, 9, 1.5), (8, 8, 1.0), (16, 16, 300.0)])
def test_feedback_is_the_last_picture_a_little_larger(height: int, width: int, zoom: float) -> None:
    new, last = picture(width, height, 1)[None], picture(width, height, 2)[None]
    want = np.zeros((3, height, width))
    at_y = (np.arange(height) - (height - 1) / 2) / zoom + (height - 1) / 2
    at_x = (np.arange(width) - (width - 1) / 2) / zoom + (width - 1) / 2
    for channel in range(3):
        plane = last[0, channel].double().numpy()
        rows = np.stack([np.interp(at_y, np.arange(height), column) for column in plane.T], 1)
        want[channel] = np.stack([np.interp(at_x, np.arange(width), row) for row in rows])
    for keep, size in ((0.3, zoom), (torch.tensor(0.3), torch.tensor(zoom))):
        got = compose.feed_back(new, last, keep, size)
        np.testing.assert_allclose(got[0].numpy(), new[0].numpy() * 0.7 + want * 0.3, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_greys_are_exact_and_in_limited_range(value: float) -> None:
    rgb = torch.full((3, 16, 28), value)
    for painted in (defined, on_host):
        out = painted(rgb, None, SIZE, Style(), 1.0, 1.0)
        assert bool((out[:, 0::2] == 128).all()) and bool((out[:, 1::2] == round(16 + 219 * value)).all())
