"""Passes as compute shaders: the same pictures as drawn, seen by whoever reads them, and drawn where they must be."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from l2s_node import texture
from l2s_node.texture import GL, Copier, Filler, Image, Program, ReadBack, Target, TextureError, compute, filler
from l2s_node.texture.compute import Kernel, kernel

REASON = texture.missing()
if REASON is None:
    REASON = None if texture.gl().can_compute else "this OpenGL has no compute shaders"
    texture.close()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no compute shaders: {REASON}")

HEAD = "#version 330\nin vec2 isf_FragNormCoord;\nout vec4 colour;\n"
PLACE = HEAD + "void main() { colour = vec4(isf_FragNormCoord, gl_FragCoord.xy / 64.0); }"


@pytest.fixture
def gl() -> Iterator[GL]:
    yield texture.gl()
    texture.close()


def made(gl: GL, fragment: str, computed: bool) -> Filler:
    """`fragment` in one of the two ways."""
    gl.computes = computed
    program = filler(gl, fragment)
    assert isinstance(program, Kernel) == computed
    return program


def both(gl: GL, fragment: str, target: Target, sure: bool = True, **run: object) -> list[np.ndarray]:
    """What is in `target` when it is drawn, and when it is computed; not `sure`: if the driver can compute it."""
    seen = []
    for computed in (False, True):
        target.clear((1.0, 0.0, 1.0, 1.0))
        gl.computes = computed
        program = made(gl, fragment, computed) if sure else filler(gl, fragment)
        program.run(target, {}, **run)  # type: ignore[arg-type]
        seen.append(target.read().astype(float))
        program.release()
    return seen


@pytest.mark.parametrize("dtype", ["f1", "f2", "f4"])
@pytest.mark.parametrize("components", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 36), (33, 129)])
def test_every_kind_of_target_is_filled_to_its_edges(
    gl: GL, size: tuple[int, int], components: int, dtype: str
) -> None:
    target = Target(gl, size, components, dtype)
    drawn, computed = both(gl, PLACE, target)
    assert np.abs(drawn - computed).max() <= {"f1": 1, "f2": 4e-3, "f4": 1e-4}[dtype]
    assert drawn.shape[2] == components and (size == (1, 1) or drawn.std() > 0)
    target.release()


def test_a_target_of_three_channels_says_that_it_can_only_be_drawn_on(gl: GL) -> None:
    target = Target(gl, (4, 4), 3)
    made(gl, PLACE, False).run(target, {})
    with pytest.raises(TextureError, match="of 3 channels can only be drawn on"):
        made(gl, PLACE, True).run(target, {})


@pytest.mark.parametrize("into", [(0, 0, 1, 1), (3, 5, 20, 9), (10, 0, 30, 20), (9, 11, 21, 9)])
def test_what_is_outside_the_rectangle_stays(gl: GL, into: tuple[int, int, int, int]) -> None:
    target = Target(gl, (30, 20))
    drawn, computed = both(gl, PLACE, target, into=into)
    assert np.abs(drawn - computed).max() <= 1
    left, bottom, width, height = into
    computed[bottom : bottom + height, left : left + width] = (255, 0, 255, 255)
    assert bool((computed == (255, 0, 255, 255)).all())


@pytest.mark.parametrize(
    "body",
    [
        "vec2 at = gl_FragCoord.xy; vec4 twice = vec4(isf_FragNormCoord, at / 99.0); void main() { colour = twice; }",
        "void main() { colour = vec4(1.0); if (gl_FragCoord.x < 9.0) return; colour = vec4(0.2, 0.4, 0.6, 0.8); }",
        "vec4 f(vec4 c) { return c.bgra; }\nvoid main(void) {\ncolour = f(vec4(isf_FragNormCoord, 0.0, 1.0));\n}\n",
        "void main() { colour = vec4(exp2(99.0 * isf_FragNormCoord.x), -2.0, 3.0, 1.0); }",
        "float main_light = 0.3; /* discard; */ void main() { colour = vec4(main_light); } // dFdx(discard)",
    ],
    ids=["globals", "early return", "functions", "out of range", "comments"],
)
def test_authors_write_as_they_always_did(gl: GL, body: str) -> None:
    target = Target(gl, (30, 20))
    drawn, computed = both(gl, HEAD + body, target)
    assert np.abs(drawn - computed).max() <= 1


@pytest.mark.parametrize(
    "body",
    [
        "void main() { int image = 1; float sample = 0.5, patch = 0.25; colour = vec4(sample, patch, image, 1.0); }",
        "uniform sampler2D t; void main() { colour = texture(t, vec2(0.5), 1.0) + 0.5; }",
        "out vec4 other; void main() { colour = other = vec4(0.5); }",
        "int shared = 3; void main() { colour = vec4(shared) / 4.0; }",
    ],
    ids=["names of newer things", "bias", "two outputs", "a word of compute shaders"],
)
def test_what_only_some_drivers_compute_looks_the_same(gl: GL, body: str) -> None:
    drawn, computed = both(gl, HEAD + body, Target(gl, (30, 20)), sure=False)
    assert np.abs(drawn - computed).max() <= 1 and drawn.max() > 0


def test_what_is_no_number_is_nothing(gl: GL) -> None:
    text = HEAD + "void main() { float x = isf_FragNormCoord.x - 0.5; colour = vec4(sqrt(x), sqrt(-x), 1.0, 1.0); }"
    drawn, computed = both(gl, text, Target(gl, (30, 20)))
    assert not computed[:, :15, 0].any() and not computed[:, 15:, 1].any()
    assert np.abs(drawn - computed)[:, 15:, 0].max() <= 1 and np.abs(drawn - computed)[:, :15, 1].max() <= 1


@pytest.mark.parametrize(
    "body",
    [
        "void main() { if (gl_FragCoord.x < 9.0) discard; colour = vec4(1.0); }",
        "void main() { colour = vec4(abs(dFdx(isf_FragNormCoord.x)) * 9.0); }",
        "void main() { colour = vec4(fwidth(isf_FragNormCoord) * 9.0, 0.0, 1.0); }",
        "void main() { colour = vec4(gl_FrontFacing ? 1.0 : 0.0); }",
    ],
    ids=["discard", "derivative", "width", "side"],
)
def test_what_cant_be_computed_is_drawn(gl: GL, body: str) -> None:
    gl.computes = True
    program, target = filler(gl, HEAD + body), Target(gl, (30, 20))
    assert isinstance(program, Program)
    program.run(target, {})
    assert target.read().std() + target.read().mean() > 0


def test_a_vertex_shader_of_its_own_is_drawn_with(gl: GL) -> None:
    gl.computes = True
    vertex = "#version 330\nout vec2 isf_FragNormCoord;\nvoid main() {\n"
    vertex += "isf_FragNormCoord = vec2(0.25);\ngl_Position = vec4(gl_VertexID & 1, gl_VertexID >> 1, 0.0, 1.0);\n}\n"
    program, target = filler(gl, PLACE, vertex, drawn=True), Target(gl, (4, 4))
    program.run(target, {})
    read = target.read()
    assert isinstance(program, Program) and tuple(read[3, 3][:2]) == (64, 64) and not read[0].any()


def test_a_text_without_an_output_or_a_version_has_no_compute_shader() -> None:
    assert kernel("void main() {}") is None and kernel("#version 330\nvoid main() {}") is None
    text = kernel(PLACE)
    assert text is not None and text.startswith("#version 330 core\n#extension GL_ARB_compute_shader")
    assert "extension" not in (kernel(PLACE, 430) or "extension")


def test_what_was_computed_is_seen_by_all_that_come_after(gl: GL) -> None:
    """Copies drawn and computed, in turns over and over; clearing, uploads and reading back between them."""
    image, a, b = Image(gl, (300, 200)), Target(gl, (300, 200)), Target(gl, (300, 200))
    back, copiers = ReadBack(gl, 1.0), list[Copier]()
    for computed in (False, True):
        gl.computes = computed
        copiers.append(Copier(gl))
        copiers[-1].copy(image.texture, a)
    rng = np.random.default_rng(0)
    for n in range(40):
        pixels = rng.integers(0, 256, (200, 300, 4), np.uint8)
        first, second = (copiers[n >> bit & 1] for bit in (0, 1))
        a.clear((0.5, 0.5, 0.5, 0.5))
        first.copy(image.write(pixels), a)
        second.copy(a.texture, b)
        first.copy(b.texture, a)
        back.start(a)
        assert bool((back.take() == pixels[::-1]).all()) and bool((b.read() == pixels[::-1]).all()), n


def test_numbers_are_what_was_said_last_and_textures_what_was_given(gl: GL) -> None:
    text = HEAD + "uniform sampler2D t; uniform vec2 a; uniform bool on; void main() {"
    program = made(gl, text + " colour = vec4(a, on ? 1.0 : 0.0, texture(t, isf_FragNormCoord).r); }", True)
    image, target = Image(gl, (2, 1)), Target(gl, (2, 1))
    image.write(np.array([[[0, 0, 0, 0], [255, 0, 0, 0]]], np.uint8))
    assert program.uniforms == {"t", "a", "on"}
    program.run(target, {"t": image.texture, "a": (1.0, 0.0), "on": True, "other": 1.0}, smooth=False)
    assert target.read().tolist() == [[[255, 0, 255, 0], [255, 0, 255, 255]]]
    program.run(target, {"on": False}, into=(1, 0, 1, 1), smooth=False)
    assert target.read().tolist() == [[[255, 0, 255, 0], [255, 0, 0, 255]]]


def test_what_is_released_is_gone(gl: GL) -> None:
    gl.computes = True
    counts = []
    for size in [(8, 8), (64, 8), (8, 8)] * 4:
        target, copier = Target(gl, size), Copier(gl)
        copier.copy(target.texture, Target(gl, size))
        copier.copy_to(target.texture, target.fbo, (0, 0, 2, 2))
        for each in (target, copier):
            each.release()
        counts.append(gl.objects()["Program"])
    assert max(counts) <= 1, "but for the one that is in use"


# --- which way --------------------------------------------------------------------------------------------------------


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was found out about this driver yet."""
    monkeypatch.setattr(compute, "_known", {})


@pytest.mark.parametrize("times, computed", [((0.004, 0.001), True), ((0.004, 0.0039), False), ((0.001, 0.004), False)])
def test_the_faster_way_is_taken_and_said_once_with_both_times(
    gl: GL, unknown: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    times: tuple[float, float], computed: bool,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compute, "trial", lambda gl: times)
    assert isinstance(filler(gl, PLACE), Kernel) == computed == isinstance(filler(gl, PLACE), Kernel)
    texture.close()
    assert isinstance(filler(texture.gl(), PLACE), Kernel) == computed
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"passes are {'computed' if computed else 'drawn'}" in said and gl.renderer in said
    assert f"{1e3 * times[0]:.2f} ms drawn, {1e3 * times[1]:.2f} ms computed" in said


def test_the_trial_times_both_and_leaves_nothing_behind(gl: GL, unknown: None) -> None:
    before = gl.objects()
    times = compute.trial(gl)
    assert times is not None and all(0 < seconds < 5 for seconds in times)
    after = gl.objects()
    assert {**after, "Program": 0} == {**before, "Program": 0} and after["Program"] <= 1


def test_where_there_are_no_compute_shaders_all_is_drawn(
    gl: GL, unknown: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gl.can_compute = False
    assert isinstance(filler(gl, PLACE), Program) and gl.computes is False
    assert "passes are drawn: there are no compute shaders" in caplog.text


def test_a_driver_that_takes_none_of_ours_draws(
    gl: GL, unknown: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compute, "_HEAD", compute._HEAD + "nonsense;\n")
    assert isinstance(filler(gl, PLACE), Program)
    assert "takes no compute shader of ours" in caplog.text
