"""ISF's GLSL (of the days of GLSL 1.20) as GLSL 3.30 core, which is what macOS, Windows and Linux all compile.

What the author wrote keeps its line numbers (``#line``), and names that newer GLSL lacks are functions and macros in
front of it, so that a compiler's complaint points to the line that the author sees.
"""

from __future__ import annotations

import re

from l2s_node.picture.isf import IMAGES, Shader

VERSION = 330
"""Every driver has it, and a name may be called ``sample`` or ``patch`` in it."""
_UNIFORMS = """\
uniform vec2 RENDERSIZE;
uniform float TIME;
uniform float TIMEDELTA;
uniform vec4 DATE;
uniform int FRAMEINDEX;
"""
_TYPES = {"event": "bool", "bool": "bool", "long": "int", "float": "float", "point2D": "vec2", "color": "vec4"}
_FUNCTIONS = """\
vec2 IMG_SIZE(sampler2D i) { return vec2(textureSize(i, 0)); }
vec4 IMG_NORM_PIXEL(sampler2D i, vec2 p) { return texture(i, p); }
vec4 IMG_PIXEL(sampler2D i, vec2 p) { return texture(i, p / vec2(textureSize(i, 0))); }
vec4 IMG_THIS_NORM_PIXEL(sampler2D i) { return texture(i, isf_FragNormCoord); }
vec4 IMG_THIS_PIXEL(sampler2D i) { return texture(i, isf_FragNormCoord); }
vec4 IMG_NORM_THIS_PIXEL(sampler2D i) { return texture(i, isf_FragNormCoord); }
vec4 texture2D(sampler2D i, vec2 p) { return texture(i, p); }
vec4 texture2DLod(sampler2D i, vec2 p, float l) { return textureLod(i, p, l); }
vec4 texture2DRect(sampler2D i, vec2 p) { return IMG_PIXEL(i, p); }
#define sampler2DRect sampler2D
#define vv_FragNormCoord isf_FragNormCoord
"""
"""Functions, not macros: a file may have a variable called ``texture``."""
_BIASED = """\
#ifndef L2S_COMPUTE
vec4 texture2D(sampler2D i, vec2 p, float b) { return texture(i, p, b); }
#endif
"""
"""Fragment shaders that are drawn only; see `texture.compute`."""
_VERTEX_START = """\
out vec2 isf_FragNormCoord;
void isf_vertShaderInit() {
    isf_FragNormCoord = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    gl_Position = vec4(isf_FragNormCoord * 2.0 - 1.0, 0.0, 1.0);
}
#define vv_vertShaderInit isf_vertShaderInit
#define attribute in
#define varying out
"""
"""Four corners in a strip, not one large triangle: what a file's own vertex shader clamps must be right in each."""
_FRAGMENT_START = """\
in vec2 isf_FragNormCoord;
out vec4 isf_FragColor;
#define varying in
"""
CORNERS = 4
"""Vertices of a triangle strip that a pass is drawn with; there are no attributes."""


def fragment(shader: Shader, version: int = VERSION, only: int | None = None) -> str:
    """The fragment shader of all passes of `shader`, or of that of the index `only`, in GLSL of `version`."""
    parts = (
        f"#version {version} core\n",
        _declarations(shader, only),
        _FRAGMENT_START,
        _FUNCTIONS,
        _BIASED,
        _authors(shader.fragment, shader.line),
    )
    return "".join(parts)


def vertex(shader: Shader, version: int = VERSION, only: int | None = None) -> str:
    """The vertex shader likewise: the file's own, or the corners of the picture."""
    own = "void main() { isf_vertShaderInit(); }\n" if shader.vertex is None else _authors(shader.vertex, 1)
    return "".join((f"#version {version} core\n", _declarations(shader, only), _VERTEX_START, _FUNCTIONS, own))


def _declarations(shader: Shader, only: int | None) -> str:
    index = "uniform int PASSINDEX;\n" if only is None else f"const int PASSINDEX = {only};\n"
    plain = [f"uniform {_TYPES[each.type]} {each.name};" for each in shader.inputs if each.type in _TYPES]
    samplers = [each.name for each in shader.inputs if each.type in IMAGES] + list(shader.targets)
    samplers += list(shader.images)
    wanted = shader.fragment + (shader.vertex or "")
    return (
        index
        + _UNIFORMS
        + "".join(f"{line}\n" for line in plain)
        + "".join(_sampler(name, wanted) for name in samplers)
    )


def _sampler(name: str, wanted: str) -> str:
    """The sampler, and what other hosts declare beside it and some files make use of."""
    parts = {"imgRect": "vec4(0.0, 0.0, 1.0, 1.0)", "imgSize": f"vec2(textureSize({name}, 0))", "flip": "false"}
    beside = [f"#define _{name}_{part} {value}\n" for part, value in parts.items() if f"_{name}_{part}" in wanted]
    return f"uniform sampler2D {name};\n" + "".join(beside)


def _authors(text: str, line: int) -> str:
    """`text` with the number of its first line, without directives that may only stand before all else."""
    text = re.sub(r"^[ \t]*#[ \t]*(version|extension)\b.*", "", text, flags=re.MULTILINE)
    text = re.sub(r"\bgl_FragColor\b|\bgl_FragData\s*\[\s*0\s*\]", "isf_FragColor", text)
    text = text.encode("ascii", "replace").decode("ascii")  # some drivers stop at other letters, even in comments
    return f"#line {line}\n{text}\n"


_COMPLAINTS = (
    re.compile(r"^\s*\d+:(?P<line>\d+)\(\d+\)\s*:\s*(?:error|warning)?\s*:?\s*(?P<text>.+)$", re.MULTILINE),  # Mesa
    re.compile(r"^\s*\d+\((?P<line>\d+)\)\s*:\s*(?:error)\s*(?:[A-Z]\d+)?\s*:\s*(?P<text>.+)$", re.MULTILINE),  # NVIDIA
    re.compile(r"^\s*ERROR:\s*\d+:(?P<line>\d+)\s*:\s*(?P<text>.+)$", re.MULTILINE),  # Apple, AMD, Intel
)
"""How drivers write string:line."""


def complaint(log: str) -> tuple[int | None, str]:
    """(line as the author numbered it, what is wrong there) of a compiler's log; no line where it names none."""
    for pattern in _COMPLAINTS:
        errors = [found for found in pattern.finditer(log) if "warning" not in found.group(0).lower()]
        if errors:
            return int(errors[0]["line"]), errors[0]["text"].strip()
    lines = [line.strip() for line in log.splitlines() if line.strip(" =-\t")]
    return None, lines[-1] if lines else "it doesn't compile"
