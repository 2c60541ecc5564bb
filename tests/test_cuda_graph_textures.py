"""GraphPipeline with textures: within the GPU or through host memory, it shows what the CPU's pipeline shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pictures import knobs
from pictures import one_thread as one_thread
from test_pipeline_textures import SIZE, Texturing, apart, muted, muted_frame, packed, shown

from l2s_node import texture
from l2s_node.cuda_graph import GraphPipeline
from l2s_node.frame import PixelFormat
from l2s_node.params import BLENDS
from l2s_node.pipeline import Pipeline, Player
from l2s_node.texture import GL, Image, Target

REASON = "no NVIDIA GPU: torch.cuda.is_available() says no" if not torch.cuda.is_available() else texture.missing()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

CASES: list[dict[str, object]] = [
    {},
    *({"blend": blend, "mix": 0.6} for blend in BLENDS),
    *({"show": show, "fade": 0.3} for show in ("input", "conditioned", "split")),
    {"framing": "crop", "zoom": 1.7, "pan_x": 0.4, "mix": 0.5, "flip_x": True},
    {"saturation": 1.4, "upscale": "bilinear"},
    {"feedback": 0.6, "output_smoothing": 0.2, "auto_levels": 1, "mix": 0.7, "blend": "screen"},
]


@pytest.fixture
def gl() -> Iterator[GL]:
    yield texture.gl()
    texture.close()


@pytest.fixture(params=[False, True], ids=["within", "through the host"])
def gpu(gl: GL, request: pytest.FixtureRequest) -> Iterator[GraphPipeline]:
    made = GraphPipeline(torch.device("cuda"), fuse=False)
    made._apart = request.param
    yield made
    made.close()


def test_cuda_reads_and_writes_textures(gl: GL) -> None:
    from l2s_node.picture.cuda_gl import Bridge

    rng, bridge = np.random.default_rng(0), Bridge()
    copier = texture.Copier(gl)
    for size in [(64, 36), (100, 7), (1280, 720), (64, 36)]:
        pixels = rng.integers(0, 256, (size[1], size[0], 4), np.uint8)
        image, target = Image(gl, size), Target(gl, size)
        bridge.store(torch.from_numpy(pixels).cuda(), image)
        image_now = dataclasses.replace(image.texture, flipped=False)
        copier.copy(image_now, target)
        back = torch.empty(size[1], size[0], 4, dtype=torch.uint8, device="cuda")
        bridge.fetch(target, back)
        assert bool((back.cpu().numpy() == pixels).all()), size
        bridge.release()
        for each in (image, target):
            each.release()
    copier.release()


@pytest.mark.parametrize("values", CASES, ids=str)
def test_every_kind_of_knob(gl: GL, gpu: GraphPipeline, values: dict[str, object]) -> None:
    as_texture, cpu = Texturing(gl), Pipeline()
    gpu.textures = True
    for each in (cpu, gpu):
        each.use(Player("muted", muted, (96, 64), muted), 0.0)
    for i in range(5):
        frame, now = muted_frame(i), (i + 1) / 30
        a, b = cpu.step(frame, knobs(**values), now), gpu.step(as_texture(frame), knobs(**values), now)
        gpu.settle()
        seen = shown(gpu, b)
        assert apart(packed(seen), a.planes[0]) <= 4 and apart(seen[..., 3], a.planes[1]) <= 2, i
    used = gpu._bridge is not None
    assert values.get("show") == "input" or used != gpu._apart


def test_in_as_a_texture_and_out_as_bytes_and_the_other_way_round(gl: GL, gpu: GraphPipeline) -> None:
    as_texture, cpu = Texturing(gl), Pipeline()
    for each in (cpu, gpu):
        each.use(Player("muted", muted, (96, 64), muted), 0.0)
    for i in range(4):
        frame = dataclasses.replace(muted_frame(i, (192 + 64 * (i // 2), 128)), format=PixelFormat.RGBX)
        a, b = cpu.step(frame, knobs(), i / 30), gpu.step(as_texture(frame), knobs(), i / 30)
        gpu.settle()
        assert b.texture is None and apart(a.planes[0], b.planes[0]) <= 3
    gpu.textures = True
    for i in range(4):
        frame = muted_frame(i, (192 + 64 * (i // 2), 128))
        a, b = cpu.step(frame, knobs(mix=0.5), 1 + i / 30), gpu.step(frame, knobs(mix=0.5), 1 + i / 30)
        gpu.settle()
        assert apart(packed(shown(gpu, b)), a.planes[0]) <= 4


def test_another_size_comes_in_without_a_new_graph(gl: GL, gpu: GraphPipeline) -> None:
    as_texture = Texturing(gl)
    gpu.textures = True
    gpu.use(Player("muted", muted, (96, 64), muted), 0.0)
    for i in range(6):
        gpu.step(as_texture(muted_frame(i, (SIZE[0] + 96 * (i // 2), SIZE[1] + 64 * (i // 2)))), knobs(), i / 30)
        gpu.settle()
    assert len(gpu._programs) == 1
