"""ISF files: what they declare, what is refused and where, sizes by arithmetic, lines as the author counts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from l2s_node.config import assets
from l2s_node.errors import LookError
from l2s_node.picture import isf, isf_glsl
from l2s_node.picture.arithmetic import Expression
from l2s_node.picture.isf import Input

BODY = "\nvoid main() { gl_FragColor = vec4(1.0); }\n"


def written(folder: Path, name: str = "x.fs", body: str = BODY, **head: Any) -> Path:
    path = folder / name
    path.write_text(f"/*{json.dumps(head)}*/{body}", encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(LookError) as caught:
        isf.read(path)
    return str(caught.value).removeprefix(str(path))


# the head


@pytest.mark.parametrize(
    "raw, meant",
    [
        ({"TYPE": "float"}, Input("a", "float", "", 0.0, 0.0, 1.0)),
        ({"TYPE": "float", "DEFAULT": 3, "MIN": 5, "MAX": 1}, Input("a", "float", "", 3.0, 1.0, 5.0)),
        ({"TYPE": "float", "DEFAULT": 9, "MAX": 5}, Input("a", "float", "", 9.0, 0.0, 9.0)),
        ({"TYPE": "bool", "DEFAULT": "FALSE"}, Input("a", "bool", "", False)),
        ({"TYPE": "bool", "DEFAULT": 1.0, "LABEL": "On"}, Input("a", "bool", "On", True)),
        ({"TYPE": "event"}, Input("a", "event")),
        ({"TYPE": "image"}, Input("a", "image")),
        ({"TYPE": "long", "MIN": 1, "MAX": 9, "DEFAULT": 4}, Input("a", "long", "", 4, 1, 9)),
        ({"TYPE": "long", "VALUES": [0, 5], "LABELS": ["Soft", "Hard"], "DEFAULT": 5},
         Input("a", "long", "", 5, 0, 5, (("soft", 0), ("hard", 5)))),
        ({"TYPE": "long", "VALUES": [1, 2, 3], "LABELS": ["x", "x"]},
         Input("a", "long", "", 1, 1, 3, (("x 0", 1), ("x 1", 2), ("2", 3)))),
        ({"TYPE": "color", "DEFAULT": [1, 0.5, 0]}, Input("a", "color", "", (1.0, 0.5, 0.0, 1.0), 0.0, 1.0)),
        ({"TYPE": "point2D", "DEFAULT": [0.5, 2], "MIN": [0, 0], "MAX": [4, 9]},
         Input("a", "point2D", "", (0.5, 2.0), 0.0, 9.0)),
        ({"TYPE": "point2D"}, Input("a", "point2D", "", (0.0, 0.0), -isf.ANYWHERE, isf.ANYWHERE)),
    ],
)  # fmt: skip
def test_inputs(tmp_path: Path, raw: dict[str, Any], meant: Input) -> None:
    (got,) = isf.read(written(tmp_path, INPUTS=[{"NAME": "a", **raw}])).inputs
    assert got == meant


def test_passes(tmp_path: Path) -> None:
    passes = [
        {"TARGET": "a", "WIDTH": "floor($WIDTH / 2.0)", "HEIGHT": 3, "FLOAT": True},
        {"TARGET": "b", "persistent": "true"},
        {},
    ]
    read = isf.read(written(tmp_path, ISFVSN="2", PASSES=passes))
    first, second, last = read.passes
    assert (first.target, first.float32, first.persistent, second.persistent) == ("a", True, False, True)
    assert first.width and first.height and first.width({"WIDTH": 7}) == 3 and first.height({}) == 3
    assert (last.target, last.width, second.width) == ("", None, None)
    assert read.targets == ("a", "b")
    assert len(isf.read(written(tmp_path)).passes) == 1, "one, where none is named"


@pytest.mark.parametrize("lasting", [["a"], {"a": {"WIDTH": "$WIDTH/4", "FLOAT": True}}])
def test_version_1_names_lasting_buffers_apart(tmp_path: Path, lasting: Any) -> None:
    (each,) = isf.read(written(tmp_path, PERSISTENT_BUFFERS=lasting, PASSES=[{"TARGET": "a"}])).passes
    assert each.persistent and each.float32 == isinstance(lasting, dict) == (each.width is not None)


def test_images_lie_in_the_shaders_folder_or_below(tmp_path: Path) -> None:
    read = isf.read(written(tmp_path, IMPORTED={"leaf": {"PATH": "img/leaf.png"}}))
    assert dict(read.images) == {"leaf": (tmp_path / "img" / "leaf.png").resolve()}
    read = isf.read(written(tmp_path, IMPORTED=[{"NAME": "leaf", "PATH": "leaf.png"}]))
    assert list(read.images) == ["leaf"]
    for outside in ("../leaf.png", "/etc/passwd", "img/../../leaf.png"):
        assert "is not in the shader's folder" in refused(written(tmp_path, IMPORTED={"x": {"PATH": outside}}))
    (tmp_path / "link.png").symlink_to(tmp_path.parent / "elsewhere.png")
    assert "is not in the shader's folder" in refused(written(tmp_path, IMPORTED={"x": {"PATH": "link.png"}}))


def test_a_vertex_shader_beside_it_is_read_with_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert isf.read(path).vertex is None
    (tmp_path / "x.vs").write_text("void main() { isf_vertShaderInit(); }")
    assert "isf_vertShaderInit" in str(isf.read(path).vertex)


@pytest.mark.parametrize(
    "text, said",
    [
        ("void main() {}", "is no ISF file: it doesn't begin with a comment that holds JSON"),
        ("/* only words */", "line 1: the head is not JSON"),
        ('\n/*{\n"INPUTS": [\n{"NAME": "a" "TYPE": "float"}\n]}*/', ", line 4: the head is not JSON"),
        ("/*[1]*/", "the JSON in its head is not a table"),
        ('/*{"INPUTS": 5}*/', "INPUTS must be a list of tables"),
        ('/*{"INPUTS": [{"NAME": "a", "TYPE": "flaot"}]}*/', "input a is of the unknown TYPE 'flaot'; there is event"),
        ('/*{"INPUTS": [{"NAME": "a b", "TYPE": "float"}]}*/', "NAME 'a b', which GLSL can't call anything"),
        ('/*{"INPUTS": [{"NAME": "gl_a", "TYPE": "float"}]}*/', "NAME 'gl_a'"),
        ('/*{"INPUTS": [{"NAME": "a", "TYPE": "float", "MIN": "low"}]}*/', "of the input a can't be read as float"),
        ('/*{"INPUTS": [{"NAME": "a", "TYPE": "float", "MAX": NaN}]}*/', "NaN is no number"),
        ('/*{"INPUTS": [{"NAME": "A", "TYPE": "bool"}, {"NAME": "a", "TYPE": "bool"}]}*/', "are called a"),
        ('/*{"PASSES": [{"TARGET": "b", "WIDTH": "__import__(1)"}]}*/', "'__import__(1)' is no arithmetic"),
        ('/*{"IMPORTED": {"a": {}}}*/', "the imported image a needs a PATH"),
        ("/*" + "[" * 100_000 + "*/", "the head"),
    ],
)
def test_what_cant_be_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.fs"
    path.write_text(text)
    message = refused(path)
    assert said in message and "\n" not in message


def test_what_isnt_there_or_is_no_text(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refused(tmp_path / "gone.fs")
    (tmp_path / "x.fs").write_bytes(bytes(range(256)) * 10)
    assert "is no ISF file" in refused(tmp_path / "x.fs")
    (tmp_path / "x.fs").write_bytes(b" " * (isf.MAX_BYTES + 1))
    assert "is longer than" in refused(tmp_path / "x.fs")


# arithmetic


@pytest.mark.parametrize(
    "text, value",
    [
        ("$WIDTH/4.0", 160),
        ("floor( $HEIGHT / 7 )", 51),
        ("max($WIDTH * 0.25, 1.0)", 160),
        ("-(2 + 3) * 2 % 7", -3),
        ("2 ** 3 + pow(2, $n)", 12),
        ("min(ceil(1.2), round(2.6)) + abs(-1) + sqrt(4)", 5),
        (" 12 ", 12),
    ],
)
def test_arithmetic(text: str, value: float) -> None:
    assert Expression(text)({"WIDTH": 640, "HEIGHT": 360, "n": 2}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "a", "$", "$W IDTH", "__import__('os')", "().__class__", "[1]", "1 if 1 else 2", "lambda: 1", "'a'", "True",
     "floor()", "min(1)", "max(1, 2, key=3)", "eval(1)", "1;2", "(" * 300, "1+" * 2000 + "1", "1j", "$a.b", "f'{1}'"],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no arithmetic"):
        Expression(text)


@pytest.mark.parametrize("text", ["1/0", "$gone", "9**9**9**9", "sqrt(-1)", "log(0)", "1e308 * 10", "(-8) ** 0.5"])
def test_what_has_no_value_says_so(text: str) -> None:
    with pytest.raises(ValueError):
        Expression(text)({})


# GLSL


def test_the_authors_lines_keep_their_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, body="\n#version 120\n#extension GL_foo : enable\nfoo\n", INPUTS=[], DESCRIPTION="a")
    glsl = isf_glsl.fragment(isf.read(path)).splitlines()
    (mark,) = [number for number, line in enumerate(glsl) if line.startswith("#line")]
    numbered = dict(enumerate(glsl[mark + 1 :], int(glsl[mark].split()[1])))
    assert [number for number, line in numbered.items() if line == "foo"] == [
        path.read_text().splitlines().index("foo") + 1
    ]
    assert not any("120" in line or "GL_foo" in line for line in numbered.values())


@pytest.mark.parametrize(
    "log, line, text",
    [
        ("GLSL Compiler failed\n\nfragment_shader\n=====\n0:12(5): error: `foo' undeclared\n0:13(1): error: x\n",
         12, "`foo' undeclared"),
        ("0:3(1): warning: `x' unused\n0:12(5): error: `foo' undeclared", 12, "`foo' undeclared"),
        ("0(12) : warning C7050: unused\n0(14) : error C1503: undefined variable \"foo\"\n", 14,
         'undefined variable "foo"'),
        ("ERROR: 0:7: Use of undeclared identifier 'foo'\nERROR: 1 compilation errors.", 7,
         "Use of undeclared identifier 'foo'"),
        ("ERROR: 0:7: 'foo' : undeclared identifier\n", 7, "'foo' : undeclared identifier"),
        ("Linker failed\n\nvarying missing", None, "varying missing"),
        ("", None, "it doesn't compile"),
    ],
)  # fmt: skip
def test_complaints_of_every_driver_are_understood(log: str, line: int | None, text: str) -> None:
    """As Mesa, NVIDIA, Apple and AMD write them."""
    assert isf_glsl.complaint(log) == (line, text)


@pytest.mark.parametrize("path", sorted((assets() / "shaders" / "looks").glob("*.fs")), ids=lambda path: path.stem)
def test_bundled_looks_say_what_their_inputs_do(path: Path) -> None:
    read = isf.read(path)
    assert read.description and read.picture == "inputImage"
    assert read.inputs[1].name == "amount"
    assert all(each.label for each in read.inputs if each.type not in isf.IMAGES)
