"""Looks drawn and computed beside each other: the same pictures, and drawn where a file needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2s_node import texture
from l2s_node.bench._ways import SOFTWARE
from l2s_node.config import assets
from l2s_node.errors import LookError
from l2s_node.params import Value
from l2s_node.picture.isf_run import Running
from l2s_node.picture.looks import Library, Look
from l2s_node.texture import GL, Copier, Image, Target

REASON = texture.missing()
if REASON is None:
    REASON = None if texture.gl().can_compute else "this OpenGL has no compute shaders"
    texture.close()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no compute shaders: {REASON}")
IMAGE = {"NAME": "inputImage", "TYPE": "image"}


@pytest.fixture
def gl() -> Iterator[GL]:
    yield texture.gl()
    texture.close()


def look(folder: Path, text: str, vertex: str | None = None, **head: Any) -> Look:
    """An ISF file of one name; `text` is all of its GLSL, from line 2 on."""
    (folder / "x.fs").write_text(f"/*{json.dumps({'ISFVSN': '2', 'INPUTS': [IMAGE], **head})}*/\n{text}\n")
    if vertex is not None:
        (folder / "x.vs").write_text(vertex)
    return Library([folder]).looks["x"]


class Stage:
    """A look that is played in one of the two ways, over pictures of large shapes that move."""

    def __init__(self, gl: GL, played: Look, computed: bool) -> None:
        self.gl = gl
        gl.computes = computed
        self._copier, self._image = Copier(gl), Image(gl, (1, 1))
        self._picture, self.target = Target(gl, (1, 1)), Target(gl, (1, 1))
        self._running = Running(gl, played, self._copier)
        self._frame = 0

    def play(self, size: tuple[int, int], more: dict[str, Value] | None = None) -> np.ndarray:
        """The next picture: ``(h, w, 4)``."""
        coarse = np.random.default_rng(self._frame % 3).integers(0, 256, (9, 16, 4), np.uint8)
        tall, wide = -(-size[1] // 9), -(-size[0] // 16)
        pixels = np.ascontiguousarray(coarse.repeat(tall, 0).repeat(wide, 1)[: size[1], : size[0]])
        self._picture.resize(size)
        self.target.resize(size)
        self._copier.copy(self._image.write(pixels), self._picture)
        self._running.draw(self._picture.texture, self.target, more or {}, self._frame / 30)
        self._frame += 1
        return self.target.read().astype(int)

    def release(self) -> None:
        for each in (self._copier, self._image, self._picture, self.target, self._running):
            each.release()


@pytest.mark.parametrize("path", sorted((assets() / "shaders" / "looks").glob("*.fs")), ids=lambda path: path.stem)
def test_ours_look_the_same_over_changes_of_size_and_leave_nothing_behind(gl: GL, path: Path) -> None:
    """But where a mirror's edge falls between two pixels; and a GPU's filters have 8 bits, which an edge multiplies."""
    software = gl.renderer.startswith(SOFTWARE)
    played = Library([path.parent]).looks[path.stem]
    counts = []
    for _ in range(2):
        stages = [Stage(gl, played, computed) for computed in (False, True)]
        for size in ((96, 54), (130, 77), (64, 64), (96, 54)):
            for _ in range(4):
                drawn, computed = (stage.play(size) for stage in stages)
                apart = np.abs(drawn - computed)
                assert (apart > (1 if software else 8)).mean() < 1e-3 and apart.mean() < 0.5 and drawn.std() > 5
        for stage in stages:
            stage.release()
        counts.append(gl.objects())
    assert counts[0] == counts[1]


SPIN = """varying vec2 left;
void main() {
    isf_vertShaderInit();
    left = isf_FragNormCoord - vec2(1.0 / RENDERSIZE.x, 0.0);
}
"""


@pytest.mark.parametrize(
    "text, vertex",
    [
        ("void main() { if (gl_FragCoord.x < 20.0) discard; gl_FragColor = vec4(0.75); }", None),
        ("void main() { gl_FragColor = vec4(vec3(fwidth(IMG_THIS_PIXEL(inputImage).r)), 1.0); }", None),
        ("void main() { gl_FragColor = texture2D(inputImage, isf_FragNormCoord.yx, 0.5); }", None),
        ("varying vec2 left; void main() { gl_FragColor = IMG_NORM_PIXEL(inputImage, left); }", SPIN),
        ("void main() { vec2 shared = isf_FragNormCoord; gl_FragColor = vec4(shared, 0.0, 1.0); }", None),
    ],
    ids=["discard", "derivatives", "bias", "vertex shader", "a word of compute shaders"],
)  # fmt: skip
def test_what_must_be_drawn_looks_as_it_did(gl: GL, tmp_path: Path, text: str, vertex: str | None) -> None:
    drawn, computed = (Stage(gl, look(tmp_path, text, vertex), way) for way in (False, True))
    for size in ((96, 54), (33, 20)):
        seen = drawn.play(size)
        assert bool((seen == computed.play(size)).all()) and seen.max() > 0


def test_passes_of_both_kinds_go_together(gl: GL, tmp_path: Path) -> None:
    """A buffer that lasts, of floats, read by the pass that writes it; globals, and a switch of the picture's place."""
    passes = [{"TARGET": "sum", "PERSISTENT": True, "FLOAT": True, "WIDTH": "$WIDTH / 2"}, {"TARGET": "b"}, {}]
    text = """
        vec2 place = gl_FragCoord.xy / RENDERSIZE;
        void main() {
            if (PASSINDEX == 0) {
                gl_FragColor = vec4(0.25 * IMG_THIS_PIXEL(inputImage) + 0.9 * IMG_THIS_PIXEL(sum) - 0.01);
                return;
            }
            if (PASSINDEX == 1) gl_FragColor = IMG_NORM_PIXEL(sum, 1.0 - place);
            else gl_FragColor = mix(IMG_THIS_NORM_PIXEL(b), IMG_PIXEL(inputImage, gl_FragCoord.yx), 0.5);
        }"""
    drawn, computed = (Stage(gl, look(tmp_path, text, PASSES=passes), way) for way in (False, True))
    for size in ((96, 54), (96, 54), (50, 50), (97, 55)):
        assert np.abs(drawn.play(size) - computed.play(size)).max() <= (1 if gl.renderer.startswith(SOFTWARE) else 3)


@pytest.mark.parametrize("computed", [False, True], ids=["drawn", "computed"])
@pytest.mark.parametrize("version", ["", "#version 120"])
def test_a_complaint_names_the_line_that_the_author_sees(gl: GL, tmp_path: Path, computed: bool, version: str) -> None:
    gl.computes = computed
    played = look(
        tmp_path, f"{version}\n// two comments\n/* of\n lines */\nvoid main() {{\n  gl_FragColor = wrong;\n}}"
    )
    with pytest.raises(LookError, match=r"x\.fs, line 7: .*wrong"):
        Running(gl, played, Copier(gl))
