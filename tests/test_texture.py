"""The one context, its thread, programs, copies of every kind of texture, and pixels that come a frame late at most."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from l2s_node import texture
from l2s_node.frame import Texture
from l2s_node.picture.geometry import solve
from l2s_node.texture import GL, Copier, Image, Program, ReadBack, ShaderError, Target, TextureError

REASON = texture.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")
RECTANGLE, RGBA, BYTE = 0x84F5, 0x1908, 0x1401


@pytest.fixture
def gl() -> Iterator[GL]:
    assert not texture.exists()
    yield texture.gl()
    texture.close()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)


def rectangle(gl: GL, pixels: np.ndarray) -> Texture:
    """`pixels` as a rectangle texture, row 0 the first row, as Syphon's OpenGL server hands out."""

    def function(name: str, *types: type) -> object:
        return ctypes.CFUNCTYPE(None, *types)(gl.ctx.mglo._context.load_opengl_function(name))

    number = ctypes.c_uint()
    function("glGenTextures", ctypes.c_int, ctypes.c_void_p)(1, ctypes.addressof(number))  # type: ignore[operator]
    gl.call("glBindTexture", RECTANGLE, number.value)
    height, width = pixels.shape[:2]
    whole = (*[ctypes.c_uint] * 3, *[ctypes.c_int] * 3, *[ctypes.c_uint] * 2, ctypes.c_void_p)
    image = function("glTexImage2D", *whole)
    image(RECTANGLE, 0, 0x8058, width, height, 0, RGBA, BYTE, pixels.ctypes.data)  # type: ignore[operator]
    return Texture(number.value, width, height, rectangle=True)


def test_there_is_one_context_and_it_is_made_when_it_is_asked_for() -> None:
    assert not texture.exists() and texture.missing() is None and not texture.exists()
    first = texture.gl()
    assert texture.exists() and texture.gl() is first and first.renderer
    with pytest.raises(TextureError, match="there is an OpenGL context already"):
        texture.adopt(lambda: None)
    texture.close()
    texture.close()
    assert not texture.exists()


def test_another_thread_is_refused(gl: GL) -> None:
    said: list[str] = []

    def other() -> None:
        try:
            texture.gl()
        except TextureError as err:
            said.append(str(err))

    thread = threading.Thread(target=other, name="l2s-other")
    thread.start()
    thread.join()
    assert said and "thread" in said[0]


def test_copies_of_every_kind_are_upright(gl: GL, pixels: np.ndarray) -> None:
    image, target, copier = Image(gl, (1, 1)), Target(gl, (30, 20)), Copier(gl)
    copier.copy(image.write(pixels), target)
    assert bool((target.read() == pixels[::-1]).all())
    copier.copy(dataclasses.replace(image.texture, flipped=False), target)
    assert bool((target.read() == pixels).all())
    copier.copy(rectangle(gl, pixels), target)
    assert bool((target.read() == pixels).all())
    target.resize((60, 40))
    copier.copy(image.texture, target)
    assert abs(float(target.read().mean()) - float(pixels.mean())) < 2


@pytest.mark.parametrize("flipped", [False, True])
def test_a_rectangle_texture_is_sampled_and_composed_like_any_other(gl: GL, pixels: np.ndarray, flipped: bool) -> None:
    import torch

    from l2s_node.picture.compose import Style
    from l2s_node.picture.gl import Painter, Sampler

    image, sampler, painter = Image(gl, (1, 1)), Sampler(gl), Painter(gl)
    painter.write(torch.rand(3, 8, 12))
    both = (image.write(pixels), rectangle(gl, pixels))
    geometry = solve((30, 20), (12, 8), (36, 24), "fit", 1.4, (0.2, -0.3), (True, False))
    made = []
    for each in both:
        sampler.draw(dataclasses.replace(each, flipped=flipped), geometry, (12, 8))
        luma = sampler.take().copy()
        painter.paint(dataclasses.replace(each, flipped=flipped), geometry, (36, 24), Style("screen", True), mix=0.7)
        made.append((luma, painter.target.read()))
    for a, b in zip(*made, strict=True):
        assert a.std() > 5 and np.abs(a.astype(int) - b).max() <= 1


def test_a_shader_that_does_not_compile_says_so(gl: GL) -> None:
    with pytest.raises(ShaderError, match=r"bloom\.fs can't be compiled") as caught:
        Program(gl, "#version 330\nvoid main() {\n  nonsense;\n}\n", name="bloom.fs")
    assert "3" in caught.value.log and "nonsense" in caught.value.log


def test_uniforms_that_are_not_used_are_ignored(gl: GL) -> None:
    head = "#version 330\nuniform vec3 tint; uniform bool on; out vec4 c;"
    shader = f"{head} void main() {{ c = vec4(on ? tint : vec3(0), 1); }}"
    program, target = Program(gl, shader), Target(gl, (4, 4))
    program.run(target, {"tint": (1.0, 0.6, 0.0), "on": True, "other": 3.0}, into=(1, 1, 2, 2))
    read = target.read()
    assert program.uniforms == {"tint", "on"}
    assert tuple(read[1, 1]) == (255, 153, 0, 255) and not read[0].any() and not read[3].any()


def test_a_number_is_what_was_said_last(gl: GL) -> None:
    shader = "#version 330\nuniform vec2 a; uniform float b; out vec4 c; void main() { c = vec4(a, b, 1.0); }"
    program, target = Program(gl, shader), Target(gl, (1, 1))
    for values in [{"a": [1.0, 0.0], "b": 0.0}, {"b": 1}, {"a": (0.0, 1.0), "b": True}, {"a": (0.0, 0.0), "b": 0.0}]:
        program.run(target, values)  # what isn't said stays
        wanted = {"a": (1.0, 0.0), **values}
        assert tuple(target.read()[0, 0][:3] / 255) == (*wanted["a"], float(wanted["b"]))


@pytest.mark.parametrize("patience", [0.0, 1.0])
def test_pixels_come_at_most_one_frame_late_and_that_is_counted(gl: GL, patience: float) -> None:
    back, targets = ReadBack(gl, patience), [Target(gl, (64, 64), 1) for _ in range(2)]
    late = 0
    for n in range(60):
        target = targets[n % 2]
        target.clear((n / 255, 0.0, 0.0, 1.0))
        back.start(target)
        value = int(back.take()[0, 0, 0])
        assert value in (n, n - 1) and (patience == 0 or value == n)
        late += value == n - 1
    assert back.late == late and back.taken == 60 and back.bytes == 60 * 64 * 64


def test_what_was_taken_stays_for_as_many_calls_as_arrays_are_kept(gl: GL) -> None:
    back, target = ReadBack(gl, 1.0, kept=3), Target(gl, (8, 8), 1)
    taken = []
    for n in range(9):
        target.clear((n / 255, 0.0, 0.0, 1.0))
        back.start(target)
        taken.append(back.take())
        assert [int(each[0, 0, 0]) for each in taken[-3:]] == list(range(max(n - 2, 0), n + 1))
    assert len({each.ctypes.data for each in taken}) == 3


def test_another_size_is_never_answered_with_the_former_one(gl: GL) -> None:
    back, target = ReadBack(gl, 0.0), Target(gl, (8, 8), 4)
    for size in [(8, 8), (16, 4), (3, 5), (3, 5), (8, 8)]:
        target.resize(size)
        back.start(target)
        assert back.take().shape == (size[1], size[0], 4)


def test_what_is_released_is_gone(gl: GL, pixels: np.ndarray) -> None:
    before = gl.objects()
    for size in [(8, 8), (64, 8), (8, 8)] * 4:
        image, target, copier, back = Image(gl, (1, 1)), Target(gl, size), Copier(gl), ReadBack(gl)
        copier.copy(image.write(pixels), target)
        target.resize((size[0] + 2, size[1]))
        back.start(target)
        back.take()
        during = gl.objects()
        for each in (image, target, copier, back):
            each.release()
    after = gl.objects()
    assert sum(during.values()) > sum(after.values())
    assert {**after, "Program": 0} == {**before, "Program": 0} and after["Program"] <= before["Program"] + 1
