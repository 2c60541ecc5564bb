"""Every room of `video/` has the same shape, checked without importing it: Linux checks the rooms of other systems."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "l2s_node"
VIDEO = PACKAGE / "video"
ROOMS = sorted(p for p in VIDEO.glob("*.py") if p.stem != "base" and not p.stem.startswith("_"))
HELPERS = sorted(p for p in VIDEO.glob("_*.py") if p.stem != "__init__")
SHAPE = {"missing", "names", "Source", "Sink"}
METHODS = {"Source": {"read": ["timeout"], "close": []}, "Sink": {"write": ["frame"], "close": []}}
SET_ON = {"Source": {"uri", "state", "dropped", "blocks"}, "Sink": {"uri", "format", "dropped"}}

each_room = pytest.mark.parametrize("path", ROOMS, ids=lambda p: p.stem)


def definitions(path: Path) -> dict[str, ast.AST]:
    return {n.name: n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, NAMED)}


NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def test_there_are_rooms() -> None:
    assert {"camera", "file", "ndi", "null", "pattern"} <= {p.stem for p in ROOMS}


@each_room
def test_a_room_exports_four_names_and_no_more(path: Path) -> None:
    public = {name for name in definitions(path) if not name.startswith("_")}
    assert public == SHAPE, f"{path.stem}: {public ^ SHAPE}"


@each_room
def test_its_functions_take_nothing(path: Path) -> None:
    for name in ("missing", "names"):
        function = definitions(path)[name]
        assert isinstance(function, ast.FunctionDef)
        assert not function.args.args, f"{path.stem}.{name}"


@each_room
@pytest.mark.parametrize("kind", METHODS)
def test_its_classes_have_the_methods_of_the_protocol(path: Path, kind: str) -> None:
    body = definitions(path)[kind]
    assert isinstance(body, ast.ClassDef)
    methods = {m.name: [a.arg for a in m.args.args[1:]] for m in body.body if isinstance(m, ast.FunctionDef)}
    assert {n: a for n, a in methods.items() if not n.startswith("_")} == METHODS[kind], f"{path.stem}.{kind}"
    assert methods.get("__init__") == ["address", "options"], f"{path.stem}.{kind}"


@each_room
@pytest.mark.parametrize("kind", SET_ON)
def test_its_classes_set_the_attributes_of_the_protocol(path: Path, kind: str) -> None:
    """Unless the class refuses every address, as the sink of a room does that only makes pictures."""
    body = definitions(path)[kind]
    assert isinstance(body, ast.ClassDef)
    stored = {n.attr for n in ast.walk(body) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    stored |= {t.id for n in body.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    stored |= {n.target.id for n in body.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    assert "refuses" in stored or stored >= SET_ON[kind], f"{path.stem}.{kind} lacks {SET_ON[kind] - stored}"


@pytest.mark.parametrize("path", ROOMS + HELPERS, ids=lambda p: p.stem)
def test_rooms_do_not_know_each_other(path: Path) -> None:
    others = {p.stem for p in ROOMS} - {path.stem}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("l2s_node.video"):
            names = {(node.module or "").removeprefix("l2s_node.video").strip("."), *(a.name for a in node.names)}
            assert not names & others, f"{path.stem} imports {names & others}"


def test_the_platform_is_asked_only_in_rooms() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent != VIDEO:
            text = path.read_text(encoding="utf-8")
            assert "sys.platform" not in text and "platform.system" not in text and "os.name" not in text, path
