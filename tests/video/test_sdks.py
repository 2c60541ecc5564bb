"""Every call to syphon-python and SpoutGL, held to the packages themselves, which can't be installed here.

Their wheels for macOS and Windows are downloaded by pip and only read: Python by its syntax, Objective-C by its
headers, a compiled module by the names and signatures that pybind11 writes into it.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VIDEO = ROOT / "l2s_node" / "video"
UNREACHED = re.compile(
    r"connection|retrying|timed? ?out|name or service|unreachable|ssl|proxy|No module named pip", re.I
)

Signature = inspect.Signature | None
"""None: there is such a name, and it can't be told how it is called."""


# --- the packages -----------------------------------------------------------------------------------------------------


def wheel(name: str, *platform: str) -> zipfile.ZipFile:
    """The wheel of `name` as constraints.txt pins it; downloaded once, never installed."""
    pin = re.search(rf"^{name}==.+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pin, f"{name} is not pinned"
    folder = Path(tempfile.gettempdir()) / "-".join(["l2s-sdk", pin[0], *(p.partition("=")[2] for p in platform)])
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--retries=1", "--timeout=20", "--disable-pip-version-check", f"--dest={folder}", *platform, pin[0]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode and UNREACHED.search(done.stderr):
            pytest.skip(f"no package index can be reached for {pin[0]}: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@dataclass
class Api:
    """What there is to call: by class or module, and by the mere name where neither is known."""

    members: dict[str, dict[str, Signature]] = field(default_factory=dict)
    text: str = ""
    """All sources, for objects that nobody says the type of: Metal's textures, NSSize."""

    def has(self, owner: str | None, name: str) -> bool:
        if owner is None:
            return re.search(rf"\.{name}\b", self.text) is not None
        return name in self.members[owner]

    def refuses(self, owner: str | None, name: str, call: ast.Call) -> str | None:
        """Why a call can't be made in this way."""
        keywords = [keyword.arg or "**" for keyword in call.keywords]
        signature = self.members[owner][name] if owner else None
        if signature is None:
            unknown = [k for k in keywords if not re.search(rf"\b{name}\([^)]*\b{k}=", self.text)]
            return f"nobody calls it with {unknown[0]}=" if unknown else None
        try:
            signature.bind(*call.args, **dict.fromkeys(keywords))
        except TypeError as err:
            return str(err)
        return None


def of_python(*archives: zipfile.ZipFile) -> Api:
    """Modules by full name, classes by their own, with what they inherit; Objective-C's properties as methods."""
    api, bases = Api(), {}
    for archive, path in [(each, path) for each in archives for path in sorted(each.namelist())]:
        if path.endswith(".py"):
            source = archive.read(path).decode()
            api.text += source
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            api.members[module] = dict(_names(ast.parse(source).body))
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ClassDef):
                    api.members[node.name] = dict(_members(node))
                    bases[node.name] = [ast.unparse(base) for base in node.bases]
                    api.members[module][node.name] = api.members[node.name].get("__init__", inspect.Signature())
        elif path.endswith(".h") and "/Versions/A/" in path:
            header = archive.read(path).decode()
            for name, body in re.findall(r"@interface (\w+)\b[^\n]*\n(.*?)@end", header, re.DOTALL):
                properties = re.findall(r"@property\s*\([^)]*\)[^;]*?(\w+);", body)
                api.members[name] = {**api.members.get(name, {}), **{each: inspect.Signature() for each in properties}}
    for name, parents in bases.items():
        for parent in parents:
            api.members[name] = {**api.members.get(parent, {}), **api.members[name]}
    for module, names in api.members.items():
        for name in names:
            if names[name] is None and name in bases and module == "syphon":
                names[name] = api.members[name].get("__init__")
    return api


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef, bound: bool) -> inspect.Signature:
    kinds, args = inspect.Parameter, function.args
    positional = [*args.posonlyargs, *args.args]
    required = len(positional) - len(args.defaults)
    made = [
        kinds(a.arg, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if i < required else None)
        for i, a in enumerate(positional)
    ][bound:]
    made += [
        kinds(a.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    return inspect.Signature(made)


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, Signature]]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, _signature(node, bound=False)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, None) for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((target.id, None) for target in node.targets if isinstance(target, ast.Name))


def _members(node: ast.ClassDef) -> Iterator[tuple[str, Signature]]:
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            is_property = any(re.search(r"property|\.setter", ast.unparse(d)) for d in each.decorator_list)
            yield each.name, None if is_property else _signature(each, bound=True)
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, None
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr, None


class Compiled(Api):
    """SpoutGL: its classes' names and signatures, without which belongs to which."""

    def __init__(self, binary: bytes) -> None:
        self.strings = {found.decode() for found in re.findall(rb"(?<![ -~])[ -~]{3,}(?=\0)", binary)}
        self.signatures = [s[1 : s.index(") -> ")].split(", ") for s in self.strings if re.match(r"\(\{%\}.*\) -> ", s)]
        self.members = {"SpoutGL": {}, "SpoutReceiver": {}, "SpoutSender": {}}

    def has(self, owner: str | None, name: str) -> bool:
        return name in self.strings

    def refuses(self, owner: str | None, name: str, call: ast.Call) -> str | None:
        if name in self.members:
            return "it takes nothing" if call.args or call.keywords else None
        if call.keywords:
            return "takes no keywords"
        kinds = [_kind(argument) for argument in call.args]
        fits = [s for s in self.signatures if len(s) == len(kinds) + 1]
        if any(all(k is None or k in s for k, s in zip(kinds, sig[1:], strict=True)) for sig in fits):
            return None
        return f"no signature takes {kinds}"


def _kind(argument: ast.expr) -> str | None:
    """pybind11's name for the type of an argument, where it can be told."""
    if isinstance(argument, ast.UnaryOp) and isinstance(argument.op, ast.Not):
        return "{bool}"
    if isinstance(argument, ast.Constant):
        return f"{{{type(argument.value).__name__}}}"
    return "{int}" if isinstance(argument, ast.Call) and ast.unparse(argument.func) == "round" else None


# --- our calls --------------------------------------------------------------------------------------------------------


class Calls(ast.NodeVisitor):
    """Reads one method: every attribute of something that comes from an SDK, and every call of one."""

    def __init__(self, api: Api, attributes: dict[str, str]) -> None:
        self.api, self.attributes = api, attributes
        self.types: dict[str, str | None] = {}
        self.seen: list[str] = []
        self.wrong: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for argument in node.args.args:
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            if kind in self.api.members:
                self.types[argument.arg] = kind
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.types.update((a.name, a.name) for a in node.names if a.name in self.api.members)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if f"{node.module}.{alias.name}" in self.api.members:
                self.types[alias.name] = f"{node.module}.{alias.name}"
            elif (node.module or "").split(".")[0] in self.api.members:
                self.wrong.append(f"there is no {node.module}.{alias.name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Name) and self._owner(node.value) != "":
            self.types[node.targets[0].id] = None  # something of theirs
        elif isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call | ast.Attribute):
            function = node.value.func if isinstance(node.value, ast.Call) else node.value
            if isinstance(function, ast.Attribute) and self._owner(function.value) != "":
                self.types[node.targets[0].id] = None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and ast.unparse(node.annotation) in self.api.members:
            self.types[node.target.id] = ast.unparse(node.annotation)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._owner(node.value)
        if owner != "":
            self.seen.append(node.attr)
            if not self.api.has(owner, node.attr):
                self.wrong.append(f"{owner} has no {node.attr}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute):
            owner, name = self._owner(node.func.value), node.func.attr
            if owner != "" and self.api.has(owner, name):
                why = self.api.refuses(owner, name, node)
                if why:
                    self.wrong.append(f"{owner}.{name}: {why}")

    def _owner(self, node: ast.expr) -> str | None:
        """The class or module of an SDK that `node` is; None for something of theirs without a name, "" for ours."""
        text = ast.unparse(node)
        return self.attributes.get(text, self.types.get(text, ""))


def checked(source: str, api: Api) -> tuple[list[str], list[str]]:
    """(names used, what is wrong) of the class Sdk in `source`."""
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "Sdk")
    attributes = {}
    for node in ast.walk(body):
        target, kind = "", ""
        if isinstance(node, ast.AnnAssign):
            target, kind = ast.unparse(node.target), ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign):
            target, kind = ast.unparse(node.targets[0]), ast.unparse(node.value)
        if target.startswith("self.") and kind in api.members:
            attributes[target] = kind
    seen, wrong = [], []
    for method in body.body:
        if isinstance(method, ast.FunctionDef):
            calls = Calls(api, attributes)
            calls.visit(method)
            seen += calls.seen
            wrong += [f"{method.name}: {each}" for each in calls.wrong]
    return seen, wrong


@pytest.fixture(scope="module")
def syphon() -> Api:
    core = ("--platform=macosx_10_13_universal2", "--python-version=3.12")
    return of_python(wheel("syphon-python", "--platform=macosx_12_0_universal2"), wheel("pyobjc-core", *core))


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def spout(request: pytest.FixtureRequest) -> Compiled:
    archive = wheel("spoutgl", "--platform=win_amd64", f"--python-version={request.param}")
    return Compiled(archive.read(next(n for n in archive.namelist() if n.endswith(".pyd"))))


SYPHON = (VIDEO / "_syphon.py").read_text(encoding="utf-8")
SPOUT = (VIDEO / "_spout.py").read_text(encoding="utf-8")


def test_every_call_to_syphon_python_can_be_made(syphon: Api) -> None:
    seen, wrong = checked(SYPHON, syphon)
    assert not wrong
    assert set(seen) >= {
        "SyphonMetalClient", "SyphonMetalServer", "SyphonOpenGLClient", "SyphonOpenGLServer", "SyphonServerDirectory",
        "_CGLContextObj", "app_name", "autorelease_pool", "close", "copy_bytes_to_mtl_texture", "create_mtl_texture",
        "copy_mtl_texture_to_bytes", "device", "has_new_frame", "height", "is_valid", "name", "new_frame_image",
        "publish_frame_texture", "run_loop_interval", "server_description", "servers", "stop", "textureName",
        "textureSize", "update_run_loop", "uuid", "width",
    }  # fmt: skip


def test_every_call_to_spoutgl_can_be_made(spout: Compiled) -> None:
    seen, wrong = checked(SPOUT, spout)
    assert not wrong
    assert set(seen) >= {
        "SpoutReceiver", "SpoutSender", "getActiveSender", "getSenderFormat", "getSenderFrame", "getSenderHeight",
        "getSenderList", "getSenderWidth", "isFrameNew", "isGLDXReady", "isUpdated", "receiveImage", "receiveTexture",
        "releaseReceiver", "releaseSender", "sendImage", "sendTexture", "setAutoShare", "setFrameSync",
        "setReceiverName", "setSenderName", "waitFrameSync",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "made_up"),
    [
        ("client.has_new_frame", "client.has_newest_frame"),
        ("new_frame_handler=ring", "frame_handler=ring"),
        ("SyphonMetalServer(name)", "SyphonMetalServer()"),
        ("SyphonMetalServer(name)", "SyphonMetalServer(name, 1, 2, True)"),
        ("SyphonServerDirectory()", "SyphonServerDirectory(0.0)"),
        ("update_run_loop()", "update_run_loop(0.0)"),
        ("is_flipped=", "flipped="),
        ("self._syphon.SyphonOpenGLServer", "self._syphon.SyphonVulkanServer"),
        ("image.textureName()", "image.textureID()"),
        ("image.textureSize()", "image.textureSize(1)"),
        ("image.height()", "image.tallness()"),
        ("pixels.shape[1], pixels.shape[0])", ")"),
        ("raw.copy_mtl_texture_to_bytes", "raw.copy_texture"),
        ("import raw", "import cooked"),
        ("c_void_p=", "pointer="),
        ("server.device", "server.gpu"),
        ("server.uuid", "server.guid"),
        ("autorelease_pool()", "autorelease_pond()"),
        ("autorelease_pool()", "autorelease_pool(1)"),
        ("run_loop_interval", "loop_seconds"),
    ],
)
def test_a_made_up_call_to_syphon_python_is_noticed(syphon: Api, ours: str, made_up: str) -> None:
    assert ours in SYPHON
    assert checked(SYPHON.replace(ours, made_up), syphon)[1]


@pytest.mark.parametrize(
    ("ours", "made_up"),
    [
        ("getSenderList()", "getSenders()"),
        ("getSenderList()", "getSenderList(1, 2)"),
        ("TEXTURE_2D, True, 0))", "TEXTURE_2D, 0, 0))"),
        ("TEXTURE_2D, True, 0))", "TEXTURE_2D, True))"),
        ("waitFrameSync(name, ", "waitFrameSync(name, timeout="),
        ("RGBA, True, 0)", "RGBA, True)"),
        ("SpoutGL.SpoutReceiver()", "SpoutGL.SpoutReceiver('cam')"),
        ("SpoutGL.SpoutSender()", "SpoutGL.Sender()"),
        ("releaseSender", "releaseTheSender"),
    ],
)
def test_a_made_up_call_to_spoutgl_is_noticed(spout: Compiled, ours: str, made_up: str) -> None:
    assert ours in SPOUT
    assert checked(SPOUT.replace(ours, made_up), spout)[1]


@pytest.mark.parametrize("source", [SYPHON, SPOUT], ids=["syphon", "spout"])
def test_the_sdk_is_imported_by_that_class_alone(source: str) -> None:
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Sdk":
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        for each in ast.walk(node):
            names = [a.name for a in each.names] if isinstance(each, ast.Import) else []
            names += [each.module or ""] if isinstance(each, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"objc", "syphon", "SpoutGL"}
