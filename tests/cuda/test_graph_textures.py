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
from l2s_node.cuda.graph import GraphPipeline
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


@pytest.mark.parametrize("together", [False, True], ids=["mapped apart", "mapped together"])
@pytest.mark.parametrize("computed", [False, True], ids=["drawn", "computed"])
def test_cuda_waits_for_passes_and_passes_for_cuda(gl: GL, computed: bool, together: bool) -> None:
    """Over and over, with nobody waiting in between: every picture is that of its own frame."""
    from l2s_node.picture.cuda_gl import Bridge

    if computed and not gl.can_compute:
        pytest.skip("this OpenGL has no compute shaders")
    gl.computes = computed
    rng, bridge, copier, size = np.random.default_rng(0), Bridge(), texture.Copier(gl), (640, 360)
    upload, image = Image(gl, size), Image(gl, size)
    first, last = Target(gl, size), Target(gl, size)
    there = torch.empty(size[1], size[0], 4, dtype=torch.uint8, device="cuda")
    for n in range(30):
        pixels = rng.integers(0, 256, (size[1], size[0], 4), np.uint8)
        copier.copy(upload.write(pixels), first)
        bridge.fetch(first, there, image if together else None)
        bridge.store(255 - there, image)
        copier.copy(image.texture, last)
        assert bool((last.read() == 255 - pixels).all()), n
    bridge.release()
    for each in (upload, image, first, last, copier):
        each.release()


def test_what_was_mapped_for_a_picture_that_never_came_is_let_go(gl: GL) -> None:
    from l2s_node.picture.cuda_gl import Bridge

    bridge, targets = Bridge(hints=False), [Target(gl, (64, 36), 1) for _ in range(2)]
    there = torch.empty(36, 64, dtype=torch.uint8, device="cuda")
    images = [Image(gl, (64, 36), 1) for _ in range(2)]
    for n in range(6):
        targets[n % 2].clear((n / 255, 0.0, 0.0, 1.0))  # CUDA may still have the other one
        bridge.fetch(targets[n % 2], there, images[n % 2])
        assert bool((there == n).all())
        if n > 3:
            bridge.store(there, images[0])  # mapped or not
    bridge.fetch(targets[0], there, images[1])
    bridge.let_go()
    targets[0].clear()
    bridge.release()
    copier, seen = texture.Copier(gl), Target(gl, (64, 36), 1)
    copier.copy(images[0].texture, seen)
    assert bool((seen.read() == 5).all())
    for each in (seen, copier, *targets, *images):
        each.release()


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
