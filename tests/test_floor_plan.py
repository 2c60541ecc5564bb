"""Every import goes down the stairs, SDKs stay in their rooms, nothing heavy comes with `import l2s_node`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "l2s_node"
FLOORS = [  # ground floor first; a module may import its own room and any lower floor
    {"collector", "errors", "llvm", "turns"},
    {"egl", "frame", "params", "clock", "latest", "config", "machine"},
    {"texture"},
    {"video", "picture", "models", "meter", "options", "packages", "chart"},
    {"control", "train", "reader"},
    {"pipeline", "feed", "outlet", "latency"},
    {"cuda"},
    {"shelf", "aside"},
    {"loader"},
    {"stage"},
    {"channel"},
    {"node"},
    {"apply", "bench", "build", "doctor", "listing", "preview", "trace"},
    {"lan", "rooms", "score"},
    {"gallery"},
    {"cli"},
    {"__main__", "__init__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CUDA_FLOORS = [{"__init__"}, {"upload", "prepare"}, {"program"}, {"chorus"}, {"graph"}]
"""Those within that room."""

ONLY_IN = {
    "pythonosc": ("control/packet.py",),
    "cyndilib": ("video/",),
    "NDIlib": ("video/",),
    "objc": ("video/_syphon.py",),
    "syphon": ("video/_syphon.py",),
    "SpoutGL": ("video/_spout.py",),
    "av": ("video/", "train/"),
    "aiohttp": ("control/",),
    "openvino": ("models/engines/openvino.py", "bench/_raw.py"),
    "nncf": ("models/quantise.py",),
    "onnxruntime": ("models/engines/onnxruntime.py", "bench/_raw.py"),
    "torch_tensorrt": ("models/engines/tensorrt.py",),
    "moderngl": ("texture/",),
    "glfw": ("video/_glfw.py",),
    "cuda": ("picture/cuda_gl.py",),
}
"""Where a package may be imported, at any depth of nesting: files, or folders with a slash."""

NO_TORCH = (
    "video/",
    "control/",
    "texture/",
    "collector.py",
    "errors.py",
    "llvm.py",
    "frame.py",
    "params.py",
    "clock.py",
    "latest.py",
    "config.py",
    "reader.py",
    "egl.py",
    "outlet.py",
    "picture/packing.py",
)


def modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "assets" not in p.parts)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Full names that the file at `path` imports, wherever in it."""
    package = ["l2s_node", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*up, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def lies_in(path: Path, places: tuple[str, ...]) -> bool:
    name = name_of(path)
    return any(name.startswith(place) if place.endswith("/") else name == place for place in places)


every_module = pytest.mark.parametrize("path", modules(), ids=name_of)


@every_module
def test_imports_go_down(path: Path) -> None:
    here = room_of(path)
    assert here in FLOOR_OF, f"give {here} a floor"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "l2s_node" and len(parts) > 1:
            there = parts[1]
            if there in FLOOR_OF:
                assert there == here or FLOOR_OF[there] < FLOOR_OF[here], f"{here} may not import {there}"


@pytest.mark.parametrize("path", sorted((ROOT / "cuda").glob("*.py")), ids=name_of)
def test_imports_go_down_in_the_room_of_cuda(path: Path) -> None:
    floor_of = {module: floor for floor, inside in enumerate(CUDA_FLOORS) for module in inside}
    for name in imported(path):
        there = name.removeprefix("l2s_node.cuda.").split(".")[0]
        if name.startswith("l2s_node.cuda."):
            assert floor_of[there] < floor_of[path.stem], f"{path.stem} may not import {there}"


@every_module
def test_packages_stay_in_their_rooms(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path)}
    for package in packages & ONLY_IN.keys():
        assert lies_in(path, ONLY_IN[package]), f"{package} belongs into {', '.join(ONLY_IN[package])}"
    assert "torch" not in packages or not lies_in(path, NO_TORCH)


@every_module
def test_nothing_untrusted_is_executed(path: Path) -> None:
    """Weights are safetensors, settings TOML and JSON: nothing is unpickled, nothing evaluated."""
    packages = {name.split(".")[0] for name in imported(path)}
    assert not packages & {"marshal", "shelve", "dill", "cloudpickle"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "pickle.load", "pickle.loads"}, f"line {node.lineno}"
            if called == "torch.load":
                safe = [k for k in node.keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
                assert safe, f"line {node.lineno}: torch.load unpickles"


MAY_DIE = ("_ndi_link",)  # l2s-ndi-close only waits for libndi to forget a dead peer, up to 16 s


@every_module
def test_threads_have_names_and_owners(path: Path) -> None:
    """`l2s-…`, so that a stack dump can be read; never daemons, which die in the middle of what they do."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("threading.Thread", "ThreadPoolExecutor")):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            name = given.get("name", given.get("thread_name_prefix", ""))
            assert name.lstrip("f")[1:].startswith("l2s-"), f"line {node.lineno}: a thread without an l2s- name"
            assert "daemon" not in given, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr == "daemon":
            assert path.stem in MAY_DIE, f"line {node.lineno}: a daemon"


def test_import_is_light() -> None:
    code = "import sys, l2s_node; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT.parent, text=True).split()
    assert not {"torch", "numpy", "cv2", "av"} & set(loaded)


def test_sources_and_sinks_open_without_torch() -> None:
    """The show sees a sender before torch is imported."""
    code = (
        "import sys; from l2s_node.video import open_sink, open_source; from l2s_node.video.base import Options\n"
        "open_source('pattern:', Options(size=(64, 36))).close(); open_sink('null:', Options()).close()\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT.parent, text=True).split()
    assert not {"torch", "openvino", "cv2"} & set(loaded)
