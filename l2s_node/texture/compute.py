"""Compute: passes as compute shaders, made of the very text of their fragment shaders, where that is faster.

A GPU of a data centre draws with a few of its units only and computes with all. Which way a driver takes is measured
once, by a pass that weighs sixteen texels, and said in the log. What can't be computed is drawn: shaders that
`discard`, that ask what their neighbours see (derivatives), that have a vertex shader of their own, that the driver
doesn't take. Framebuffers that are no target of ours (a window) are always drawn on.

What was computed is seen by whatever reads it next, another context or CUDA too; nothing is written before everybody
who was asked earlier has read: OpenGL orders stores to images by barriers only, and `Kernel.run` puts them.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack, suppress

import numpy as np

from l2s_node.texture.context import COMPUTE_VERSION, GL, ShaderError, TextureError
from l2s_node.texture.program import VERTEX, Filler, Program, Rect, Value
from l2s_node.texture.target import Image, Target

log = logging.getLogger(__name__)

GROUP = (8, 16)
"""Pixels that a work group fills, narrow: what runs at one time, 32 pixels or 8, reads texels that lie together."""
TRIED = ((320, 180), (1280, 720))
"""Sizes of the trial, one after the other: the second only where the first takes no time at all."""
ENOUGH = 0.001
"""Seconds of a trial that tell something."""
BETTER = 0.7
"""Computing takes at most so much of the time of drawing, or drawing it is, which is what drivers are made for."""
REPEATS = 4
"""Each way's, in turns; the quickest counts."""

_FORMATS = {
    "f1": {1: 0x8229, 2: 0x822B, 4: 0x8058},  # GL_R8, GL_RG8, GL_RGBA8
    "f2": {1: 0x822D, 2: 0x822F, 4: 0x881A},  # GL_R16F …
    "f4": {1: 0x822E, 2: 0x8230, 4: 0x8814},
}
_WRITE_ONLY = 0x88B9
_READ_BEFORE = 0x0020
"""GL_SHADER_IMAGE_ACCESS_BARRIER_BIT: stores wait until what was asked before has been read and written."""
_SEEN_AFTER = 0x0008 | 0x0020 | 0x0100 | 0x0400
"""… and GL_TEXTURE_FETCH_, TEXTURE_UPDATE_ and FRAMEBUFFER_: all in which a target's texture is made use of."""

_ONLY_DRAWN = re.compile(r"\b(discard|dFd[xy]\w*|fwidth\w*|textureQuery\w+|interpolateAt\w+|gl_(?!FragCoord\b)\w+)\b")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_VERSION = re.compile(r"\s*#version\s+(\d+)[^\n]*\n")
_IN = re.compile(r"\bin\s+vec2\s+isf_FragNormCoord\s*;")
_OUT = re.compile(r"\bout\s+vec4\s+(\w+)\s*;")
_EXTENSIONS = """\
#extension GL_ARB_compute_shader : require
#extension GL_ARB_shader_image_load_store : require
"""
_HEAD = f"""\
#define L2S_COMPUTE
layout(local_size_x = {GROUP[0]}, local_size_y = {GROUP[1]}) in;
writeonly uniform image2D l2s_target;
uniform ivec4 l2s_into;
vec2 l2s_at = vec2(gl_GlobalInvocationID.xy) + 0.5;
vec2 isf_FragNormCoord = l2s_at / vec2(l2s_into.zw);
vec4 l2s_FragCoord = vec4(vec2(l2s_into.xy) + l2s_at, 0.5, 1.0);
#define main l2s_main
"""
"""Where it is is known before the author's own globals are, which may be made of it."""
_TAIL = """
#undef main
void main() {
    if (any(greaterThanEqual(ivec2(gl_GlobalInvocationID.xy), l2s_into.zw))) return;
    l2s_main();
    imageStore(l2s_target, l2s_into.xy + ivec2(gl_GlobalInvocationID.xy), mix(%s, vec4(0.0), isnan(%s)));
}
"""
"""What is no number is drawn as nothing; stores turn it into whatever they like."""

_TRIAL = """#version 330
uniform sampler2D picture;
in vec2 isf_FragNormCoord;
out vec4 colour;
void main() {
    vec2 size = vec2(textureSize(picture, 0)), at = isf_FragNormCoord * size - 0.5, low = floor(at);
    vec4 sum = vec4(0.0);
    for (int y = -1; y <= 2; y++) {
        for (int x = -1; x <= 2; x++) {
            vec2 away = clamp(1.0 - abs(at - low - vec2(x, y)) / 2.0, 0.0, 1.0);
            vec2 weights = away * away * (3.0 - 2.0 * away);
            sum += weights.x * weights.y * texture(picture, (low + vec2(x, y) + 0.5) / size);
        }
    }
    colour = sum / 4.0;
}
"""


def kernel(fragment: str, version: int | None = None) -> str | None:
    """The compute shader that does what a fragment shader does; None where there is none.

    Args:
        fragment: GLSL of 3.30 or newer with its ``#version``, one ``out vec4``, and ``in vec2 isf_FragNormCoord``
            or no input. ``L2S_COMPUTE`` is defined in what is made of it.
        version: of GLSL; None for the fragment shader's own, with what it lacks as extensions.
    """
    found, out = _VERSION.match(fragment), _OUT.search(fragment)
    if found is None or out is None or _ONLY_DRAWN.search(_COMMENT.sub(" ", fragment)):
        return None
    number = version or int(found[1])
    text = _OUT.sub(r"vec4 \1 = vec4(0.0);", _IN.sub("", fragment[found.end() :]), count=1)
    text = re.sub(r"\bgl_FragCoord\b", "l2s_FragCoord", text)
    extensions = "" if number >= COMPUTE_VERSION else _EXTENSIONS
    return f"#version {number} core\n{extensions}{_HEAD}{text}{_TAIL % (out[1], out[1])}"


class Kernel(Filler):
    """A compute shader that is run for each pixel of a rectangle of a target."""

    def __init__(self, gl: GL, compute: str, name: str = "a shader") -> None:
        """Compile and link what `kernel` made; see `Filler`."""
        super().__init__(gl, name, {"compute": compute})
        self._into = gl.call("glGetUniformLocation", self._glo, b"l2s_into")
        self._filled: Rect | None = None

    def run(self, target: Target, values: dict[str, Value], into: Rect | None = None, smooth: bool = True) -> None:
        self._use(values, smooth)
        into, call = into or (0, 0, *target.size), self.gl.call
        if into != self._filled:
            call("glUniform4i", self._into, *into)
            self._filled = into
        call("glBindImageTexture", 0, target.texture.glo, 0, 0, 0, _WRITE_ONLY, _format(target))
        call("glMemoryBarrier", _READ_BEFORE)
        call("glDispatchCompute", -(-into[2] // GROUP[0]), -(-into[3] // GROUP[1]), 1)
        call("glMemoryBarrier", _SEEN_AFTER)


def _format(target: Target) -> int:
    found = _FORMATS[target.dtype].get(target.components)
    if found is None:
        raise TextureError(f"a target of {target.components} channels can only be drawn on")
    return found


def filler(gl: GL, fragment: str, vertex: str = VERTEX, name: str = "a shader", *, drawn: bool = False) -> Filler:
    """`fragment` as a program that fills targets in the way that is faster here.

    Args:
        gl: the context, current.
        fragment: see `kernel`.
        vertex: what it is drawn with.
        name: for people.
        drawn: `vertex` is more than the four corners, so it is never computed.

    Raises:
        ShaderError: the driver refuses it; the log is that of the fragment shader.
    """
    if not drawn and computes(gl):
        made = _computed(gl, fragment, name)
        if made is not None:
            return made
    return Program(gl, fragment, vertex, name)


def _computed(gl: GL, fragment: str, name: str) -> Kernel | None:
    """None where no compute shader can be made of it that the driver takes."""
    for version in (None, COMPUTE_VERSION):  # names like `sample` are free in the older one
        text = kernel(fragment, version)
        if text is not None:
            with suppress(ShaderError):
                return Kernel(gl, text, name)
    log.debug("%s can't be computed, it is drawn", name)
    return None


# --- which way --------------------------------------------------------------------------------------------------------

_known: dict[str, bool] = {}
"""What was found for a driver, by its name for the device and itself."""


def computes(gl: GL) -> bool:
    """Whether what can be is computed in this context; chosen, and said, when it is first asked."""
    if gl.computes is None:
        driver = f"{gl.renderer}, OpenGL {gl.ctx.info['GL_VERSION']}"
        if driver not in _known:
            _known[driver], reason = _chosen(gl)
            log.info("passes are %s: %s (%s)", "computed" if _known[driver] else "drawn", reason, driver)
        gl.computes = _known[driver]
    return gl.computes


def _chosen(gl: GL) -> tuple[bool, str]:
    """(whether to compute, why)."""
    if not gl.can_compute:
        return False, "there are no compute shaders"
    times = trial(gl)
    if times is None:
        return False, "the driver takes no compute shader of ours"
    drawn, computed = times
    return computed < BETTER * drawn, f"a trial took {1e3 * drawn:.2f} ms drawn, {1e3 * computed:.2f} ms computed"


def trial(gl: GL) -> tuple[float, float] | None:
    """Seconds of one pass, drawn and computed; None where it can't be computed."""
    with ExitStack() as stack:
        drawn = Program(gl, _TRIAL, name="trial")
        stack.callback(drawn.release)
        computed = _computed(gl, _TRIAL, "trial")
        if computed is None:
            return None
        stack.callback(computed.release)
        picture = Image(gl, (256, 256))
        stack.callback(picture.release)
        picture.write(np.random.default_rng(0).integers(0, 256, (256, 256, 4), np.uint8))
        times = [0.0, 0.0]
        for size in TRIED:
            target = Target(gl, size)
            turns = [[_once(each, picture, target) for each in (drawn, computed)] for _ in range(1 + REPEATS)]
            target.release()
            times = [min(way) for way in zip(*turns[1:], strict=True)]  # in the first turn drivers compile
            if min(times) > ENOUGH:
                break
    return times[0], times[1]


def _once(program: Filler, picture: Image, target: Target) -> float:
    """Seconds until it is there."""
    start = time.perf_counter()
    program.run(target, {"picture": picture.texture})
    program.gl.wait()
    return time.perf_counter() - start
