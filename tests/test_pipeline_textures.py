"""Pipeline with textures: the same pictures and knobs as in host memory show the same, and nothing else is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from pictures import knobs, noise
from pictures import one_thread as one_thread
from torch import Tensor

from l2s_node import texture
from l2s_node.frame import Frame, PixelFormat
from l2s_node.params import BLENDS
from l2s_node.picture import compose
from l2s_node.pipeline import Pipeline, Player
from l2s_node.texture import GL, Image

REASON = texture.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")
SIZE = (192, 128)


@pytest.fixture
def gl() -> Iterator[GL]:
    yield texture.gl()
    texture.close()


def muted(x: Tensor) -> Tensor:
    """A generator whose colours stay within RGB when they are enlarged: nothing is cut, in bytes of no format."""
    return torch.cat([x * 0.4, x * 0.3 + 0.1, -x * 0.3], 1)


def muted_frame(seed: int, size: tuple[int, int] = SIZE) -> Frame:
    """RGBA in host memory; neighbours have one colour, as in UYVY."""
    frame = noise(PixelFormat.RGBA, size, seed=seed, smooth=8)
    frame.planes[0][..., :3] = frame.planes[0][..., :3] // 3 + 85
    return frame


class Texturing:
    """Host frames as textures, OpenGL's way up."""

    def __init__(self, gl: GL) -> None:
        self._gl = gl
        self._images: list[Image] = []

    def __call__(self, frame: Frame) -> Frame:
        image = Image(self._gl, frame.size)
        self._images.append(image)
        if len(self._images) > 3:
            self._images.pop(0).release()
        made = dataclasses.replace(image.write(np.ascontiguousarray(frame.planes[0][::-1])), flipped=False)
        return dataclasses.replace(frame, planes=(), texture=made)


def shown(pipeline: Pipeline, frame: Frame) -> np.ndarray:
    """``(h, w, 4)`` RGBA bytes, top row first, of a frame with a texture that was drawn last."""
    assert pipeline._drawing is not None and frame.texture == pipeline._drawing.painter.target.texture
    return pipeline._drawing.painter.target.read()[::-1]


def packed(rgba: np.ndarray) -> np.ndarray:
    """UYVY bytes of it."""
    out = torch.empty(rgba.shape[0], 2 * rgba.shape[1], dtype=torch.uint8)
    rgb = torch.from_numpy(rgba[..., :3].copy()).permute(2, 0, 1).float() / 255
    compose.pack_rgb(rgb, out, "bt601" if rgba.shape[1] <= 720 else "bt709")
    return out.numpy()


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


CASES: list[dict[str, object]] = [
    {},
    *({"blend": blend, "mix": 0.6} for blend in BLENDS),
    *({"show": show, "fade": 0.3} for show in ("output", "input", "conditioned", "split")),
    *({"framing": framing, "zoom": 1.7, "pan_x": 0.4, "mix": 0.5} for framing in ("crop", "fit", "stretch")),
    {"flip_x": True, "flip_y": True, "mix": 0.5},
    {"upscale": "bilinear", "saturation": 0.4},
    {"saturation": 1.4},
    {"brightness": 0.1, "contrast": 1.8, "gamma": 0.6, "invert": True, "auto_levels": 0.8},
    {"input_smoothing": 0.3, "output_smoothing": 0.4},
    {"feedback": 0.9},
    {"feedback": 0.6, "output_smoothing": 0.2, "auto_levels": 1, "saturation": 1.2, "mix": 0.7, "blend": "screen"},
]


@pytest.mark.parametrize("values", CASES, ids=str)
def test_every_knob_over_time(gl: GL, values: dict[str, object]) -> None:
    """Five frames: smoothing and feedback remember; frames in host memory and textures, in and out."""
    as_texture = Texturing(gl)
    host, both, out = Pipeline(), Pipeline(), Pipeline()
    both.textures = out.textures = True
    for pipeline in (host, both, out):
        pipeline.use(Player("muted", muted, (96, 64), muted), 0.0)
    params = knobs(**values)
    for i in range(5):
        frame, now = muted_frame(i), (i + 1) / 30
        a, b, c = host.step(frame, params, now), both.step(as_texture(frame), params, now), out.step(frame, params, now)
        assert b.format is PixelFormat.RGBA and c.format is PixelFormat.RGBA and b.number == i
        for made, pipeline in ((b, both), (c, out)):
            seen = shown(pipeline, made)
            assert apart(packed(seen), a.planes[0]) <= 4, i
            assert apart(seen[..., 3], a.planes[1]) <= 2, i
    for pipeline in (both, out):
        pipeline.close()


def test_only_the_canvas_is_read_back(gl: GL) -> None:
    """An opaque texture in, bytes out: a byte per pixel of the canvas, and the same picture."""
    as_texture, host, pipeline = Texturing(gl), Pipeline(), Pipeline()
    for each in (host, pipeline):
        each.use(Player("muted", muted, (96, 64), muted), 0.0)
    for i in range(3):
        frame = dataclasses.replace(muted_frame(i), format=PixelFormat.RGBX)
        want, made = (p.step(f, knobs(), i / 30) for p, f in ((host, frame), (pipeline, as_texture(frame))))
        assert made.texture is None and made.format is PixelFormat.UYVY
        assert apart(made.planes[0], want.planes[0]) <= 3
    assert pipeline._drawing is not None and pipeline._drawing.sampler.back.bytes == 3 * 96 * 64
    pipeline.close()


def test_freeze_keeps_what_the_room_draws_over(gl: GL) -> None:
    as_texture, pipeline = Texturing(gl), Pipeline()
    pipeline.textures = True
    pipeline.use(Player("muted", muted, (96, 64), muted), 0.0)
    frame = as_texture(muted_frame(1))
    first = shown(pipeline, pipeline.step(frame, knobs(freeze=True, mix=0.5), 0.0))
    image = as_texture._images[-1]
    image.write(muted_frame(2).planes[0])
    held = shown(pipeline, pipeline.step(frame, knobs(freeze=True, mix=0.5), 0.1))
    assert apart(held, first) <= 1
    assert apart(shown(pipeline, pipeline.step(frame, knobs(mix=0.5), 0.2)), first) > 20
    pipeline.close()


def test_worlds_cross_fade_and_canvases_change(gl: GL) -> None:
    as_texture, host, pipeline = Texturing(gl), Pipeline(), Pipeline()
    pipeline.textures = True
    players = [
        Player("a", muted, (96, 64), muted),
        Player("b", lambda x: muted(-x), (64, 64)),
        Player("c", muted, (96, 64)),
    ]
    for i in range(9):
        if i % 3 == 0:
            for each in (host, pipeline):
                each.use(players[i // 3], i / 30)
        frame = muted_frame(i, (192 + 64 * (i // 5), 128))
        a = host.step(frame, knobs(crossfade=0.2), i / 30)
        b = pipeline.step(as_texture(frame), knobs(crossfade=0.2), i / 30)
        assert apart(packed(shown(pipeline, b)), a.planes[0]) <= 4, i
    pipeline.close()


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_frames_in_host_memory_are_composed_as_textures(gl: GL, fmt: PixelFormat) -> None:
    """Every format, its alpha too, at another output size with bars."""
    host, pipeline = Pipeline(output_size=(320, 128)), Pipeline(output_size=(320, 128))
    pipeline.textures = True
    for each in (host, pipeline):
        each.use(Player("muted", muted, (96, 64), muted), 0.0)
    frame = noise(fmt, SIZE, smooth=16, padded=True)
    for plane in frame.planes if fmt.is_rgb else frame.planes[:1]:
        plane[..., :3] = plane[..., :3] // 3 + 85
    a, b = (each.step(frame, knobs(mix=0.6), 0.1) for each in (host, pipeline))
    seen = shown(pipeline, b)
    if fmt.is_rgb:
        assert apart(packed(seen), a.planes[0]) <= 4
    assert (b.format is PixelFormat.RGBA) == fmt.has_alpha
    assert apart(seen[..., 3], a.planes[1] if fmt.has_alpha else np.full(seen.shape[:2], 255)) <= 2
    pipeline.close()


def test_it_leaves_nothing_behind(gl: GL) -> None:
    before = gl.objects()
    as_texture, pipeline = Texturing(gl), Pipeline()
    pipeline.textures = True
    pipeline.use(Player("muted", muted, (96, 64), muted), 0.0)
    counts = []
    for i in range(60):
        size = 192 + 2 * (i // 10), 128
        pipeline.step(as_texture(muted_frame(0, size)), knobs(mix=0.5, freeze=i % 20 > 15), i / 30)
        counts.append(sum(gl.objects().values()) - len(as_texture._images))
    assert max(counts[30:]) <= max(counts[:30])
    pipeline.close()
    for image in as_texture._images:
        image.release()
    after = gl.objects()
    assert after["Texture"] <= before["Texture"] and after["Framebuffer"] <= before["Framebuffer"]
    assert after["Buffer"] <= before["Buffer"]


def test_no_context_is_made_for_frames_in_host_memory() -> None:
    texture.close()
    pipeline = Pipeline()
    pipeline.use(Player("muted", muted, (96, 64), muted), 0.0)
    for fmt in PixelFormat:
        pipeline.step(noise(fmt, SIZE), knobs(mix=0.5), 0.1)
    assert not texture.exists()


def test_a_frame_says_what_it_can_be() -> None:
    some = texture.Texture(1, 4, 2)
    with pytest.raises(ValueError, match="RGBA or RGBX"):
        Frame((), PixelFormat.UYVY, 4, 2, 0.0, 0, Fraction(30), some)
    with pytest.raises(ValueError, match="4x4 frame"):
        Frame((), PixelFormat.RGBA, 4, 4, 0.0, 0, Fraction(30), some)
