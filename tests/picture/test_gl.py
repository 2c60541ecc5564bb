"""GL: the shaders against their definitions in torch (2/255 apart at most); Mesa runs them where there is no GPU."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pictures import noise
from torch import Tensor

from l2s_node import texture
from l2s_node.frame import PixelFormat, Texture
from l2s_node.params import BLENDS
from l2s_node.picture import compose, condition, sample
from l2s_node.picture.compose import Style
from l2s_node.picture.geometry import Box, Geometry, solve
from l2s_node.texture import GL, Image

REASON = texture.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")
LIMIT = 2.0
"""Of 255."""
FRAMINGS = ("crop", "fit", "stretch")


@pytest.fixture(scope="module", params=[False, True], ids=["drawn", "computed"])
def gl(request: pytest.FixtureRequest) -> Iterator[GL]:
    """Both ways in which a shader is run."""
    made = texture.gl()
    made.computes = request.param
    if request.param and not made.can_compute:
        texture.close()
        pytest.skip("this OpenGL has no compute shaders")
    yield made
    texture.close()


def random_pixels(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """``(h, w, 4)`` bytes, of blocks or of single pixels."""
    block = int(rng.integers(1, 5))
    coarse = rng.integers(0, 256, (-(-size[1] // block), -(-size[0] // block), 4), np.uint8)
    return np.ascontiguousarray(coarse.repeat(block, 0).repeat(block, 1)[: size[1], : size[0]])


def uploaded(gl: GL, pixels: np.ndarray, upright: bool, held: list[Image]) -> Texture:
    """`pixels` (top row first) as a texture of either orientation."""
    held.append(Image(gl, (1, 1)))
    made = held[-1].write(np.ascontiguousarray(pixels[::-1]) if upright else pixels)
    return dataclasses.replace(made, flipped=not upright)


def some(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def view(
    rng: np.random.Generator, frame: tuple[int, int], canvas: tuple[int, int], output: tuple[int, int]
) -> Geometry:
    zoom = 1.0 if rng.random() < 0.4 else float(rng.uniform(1, 8))
    pan = (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1)))
    flip = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
    return solve(frame, canvas, output, str(rng.choice(FRAMINGS)), zoom, pan, flip)


def channels(pixels: np.ndarray) -> Tensor:
    """``(c, h, w)`` float in 0…1."""
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def resampled(planes: Tensor, box: Box, size: tuple[int, int], flip: tuple[bool, bool]) -> Tensor:
    """The definition of what is seen of `planes` ``(c, H, W)`` at (width, height)."""
    frame = planes.shape[2], planes.shape[1]
    return sample.flip(sample.by_matrix(planes, *sample.matrices(frame, box, size)), flip)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).max())


@pytest.mark.parametrize("seed", range(12))
def test_sample_is_the_definition(gl: GL, seed: int) -> None:
    from l2s_node.picture.gl import Sampler

    rng, held = np.random.default_rng(seed), list[Image]()
    sampler = Sampler(gl)
    for _ in range(6):
        frame, canvas = some(rng, 2, 400), some(rng, 16, 128)
        pixels, g = random_pixels(rng, frame), view(rng, frame, canvas, frame)
        luma = condition.luma_of(channels(pixels)[None, :3])[0]
        want = sample.into_canvas(resampled(luma, g.taken, g.into[2:], g.flip)[0], g.into, canvas).clamp(0, 1)
        sampler.draw(uploaded(gl, pixels, bool(rng.random() < 0.5), held), g, canvas)
        assert apart(sampler.take(), want.numpy() * 255) <= LIMIT, (frame, canvas, g)
    for each in (sampler, *held):
        each.release()


@pytest.mark.parametrize("blend", ["plain", *BLENDS])
def test_paint_is_the_definition(gl: GL, blend: str) -> None:
    from l2s_node.picture.gl import Painter

    rng, held = np.random.default_rng(sum(map(ord, blend))), list[Image]()
    painter = Painter(gl)
    styles = [
        Style("normal" if blend == "plain" else blend, blend != "plain", upscale, standard, split, faded)
        for upscale, standard, split, faded in itertools.product(
            ("bilinear", "bicubic"), ("bt601", "bt709"), (False, True), (False, True)
        )
    ]
    for style in styles:
        frame, canvas, output = (
            some(rng, 2, 200),
            some(rng, 8, 64),
            (int(rng.integers(2, 90)) * 2, int(rng.integers(4, 120))),
        )
        pixels, g = random_pixels(rng, frame), view(rng, frame, canvas, output)
        mix, light, saturation = (float(x) for x in rng.uniform((0, 0, 0), (1, 1, 3)))
        rgb = torch.from_numpy(rng.uniform(0, 1, (3, g.shown[3], g.shown[2]))).float()
        dry = resampled(channels(pixels), g.seen, g.place[2:], g.flip)
        want = torch.empty(3, g.place[3], g.place[2], dtype=torch.uint8)
        saturated = compose.saturate(rgb[None], saturation)[0]
        compose.paint_rgb(saturated, dry[:3], want, style, mix, light)

        painter.write(rgb)
        below = uploaded(gl, pixels, bool(rng.random() < 0.5), held)
        numbers = {"mix": mix, "light": light, "saturation": saturation}
        painter.paint(below if style.needs_dry else None, g, output, style, **numbers)
        made = painter.target.read()[::-1]
        left, top, width, height = g.place
        part = made[top : top + height, left : left + width]
        assert apart(part[..., :3], want.permute(1, 2, 0).numpy()) <= LIMIT, (style, frame, canvas, output, numbers)
        outside = made.copy()
        outside[top : top + height, left : left + width] = (0, 0, 0, 255)
        assert bool((outside == (0, 0, 0, 255)).all()), "bars are black"

        painter.paint(below, g, output, style, bypass=True, opaque=False, **numbers)
        shown = (
            dry * torch.tensor([light, light, light, 1.0] if style.faded else [1.0] * 4).view(4, 1, 1)
        ).numpy() * 255
        part = painter.target.read()[::-1][top : top + height, left : left + width]
        assert apart(part, shown.transpose(1, 2, 0)) <= LIMIT, "the input alone, with its alpha"
    for each in (painter, *held):
        each.release()


def test_rgb_is_what_uyvy_is_with_all_of_its_colour() -> None:
    """The definition for textures beside the one for bytes: the same where two neighbours have one colour.

    Muted colours, since only RGB is cut where bicubic overshoots.
    """
    rng = np.random.default_rng(3)
    for style in (Style(), *(Style(blend, True, faded=True, split=True) for blend in BLENDS)):
        rgb = torch.from_numpy(rng.uniform(0.3, 0.7, (3, 4, 3))).float()
        dry = torch.from_numpy(rng.uniform(0.3, 0.7, (3, 36, 32))).float().repeat_interleave(2, -1)
        packed = torch.empty(36, 128, dtype=torch.uint8)
        compose.pack_rgb(dry, packed, style.standard)
        made, bytes_ = torch.empty(3, 36, 64, dtype=torch.uint8), torch.empty_like(packed)
        compose.paint_rgb(rgb, dry, made, style, 0.6, 0.8)
        compose.paint(rgb, packed, bytes_.view(torch.int32), style, 0.6, 0.8)
        compose.pack_rgb(made.float() / 255, packed, style.standard)
        assert apart(packed.numpy(), bytes_.numpy()) <= 4, style


@pytest.mark.parametrize("standard", ["bt601", "bt709"])
@pytest.mark.parametrize("size", [(64, 36), (2, 2), (98, 33), (1280, 720)])
def test_bytes_to_a_texture_and_back(gl: GL, size: tuple[int, int], standard: str) -> None:
    from l2s_node.picture.packing import Packer, Unpacker

    frame = noise(PixelFormat.UYVA, size, smooth=2)
    unpacker, packer = Unpacker(gl), Packer(gl)
    made = unpacker(frame.planes, standard)
    want = compose.unpack_rgb(torch.from_numpy(frame.planes[0]), standard).permute(1, 2, 0).numpy() * 255
    got = unpacker.target.read()[::-1]
    assert apart(got[..., :3], want) <= 1 and apart(got[..., 3], frame.planes[1]) == 0
    back = packer(made, alpha=True)
    rgb, packed = (
        torch.from_numpy(got[..., :3].copy()).permute(2, 0, 1).float() / 255,
        torch.empty(size[1], 2 * size[0], dtype=torch.uint8),
    )
    compose.pack_rgb(rgb, packed, "bt601" if size[0] <= 720 else "bt709")
    assert apart(back[0], packed.numpy()) <= LIMIT and apart(back[1], frame.planes[1]) == 0
    assert apart(packer(made, alpha=False)[0], back[0]) == 0
    unpacker(frame.planes[:1], standard)
    assert bool((unpacker.target.read()[..., 3] == 255).all())
    for each in (unpacker, packer):
        each.release()
