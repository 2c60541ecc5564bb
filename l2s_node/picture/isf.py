"""ISF: what a file in the Interactive Shader Format declares: its inputs, passes, images and GLSL. Nothing is run here.

An ISF file is a GLSL fragment shader after a comment that holds JSON. Source of every rule: "The ISF Specification vsn
2.0", https://github.com/mrRay/ISF_Spec; of version 1, which files without ``ISFVSN`` are written in, its section
"Differences from the first version of the ISF spec".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2s_node.errors import LookError
from l2s_node.picture.arithmetic import Expression

SUFFIX = ".fs"
VERTEX_SUFFIX = ".vs"
MAX_BYTES = 1_000_000
"""No one writes a longer shader; what is longer is no shader."""
IMAGES = ("image", "audio", "audioFFT")
"""Types whose value is a picture. Nothing is heard here: the two of sound are black."""
TYPES = ("event", "bool", "long", "float", "point2D", "color", *IMAGES)
ANYWHERE = 16384.0
"""Range of a point that states none: ISF 1 gave points in pixels."""


@dataclass(frozen=True, slots=True)
class Input:
    """One entry of ``INPUTS``.

    Attributes:
        name: as the shader calls it.
        type: one of `TYPES`.
        label: for people.
        default: float, bool, int, or a tuple of 2 (point2D) or 4 floats (color); None for images and events.
        low: smallest number, of a tuple the smallest of any part.
        high: largest number.
        choices: (label, value) of a ``long`` that is a menu, in order.
    """

    name: str
    type: str
    label: str = ""
    default: float | bool | int | tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    choices: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """One entry of ``PASSES``.

    Attributes:
        target: name of the buffer that is drawn into; "" for what goes out.
        persistent: the buffer keeps what is in it from frame to frame.
        float32: the buffer holds 32-bit floats instead of bytes.
        width: in pixels; None for that of what goes out.
        height: likewise.
    """

    target: str = ""
    persistent: bool = False
    float32: bool = False
    width: Expression | None = None
    height: Expression | None = None


@dataclass(frozen=True, slots=True)
class Shader:
    """One ISF file.

    Attributes:
        path: where it was read.
        description: what it says about itself.
        inputs: in the file's order.
        passes: at least one.
        images: the files to import, by the names that the shader calls them.
        fragment: the GLSL after the head, as its author wrote it.
        line: number of the line in the file that `fragment` begins in.
        vertex: the GLSL of the ``.vs`` file of the same name; None where there is none.
    """

    path: Path
    description: str
    inputs: tuple[Input, ...]
    passes: tuple[Pass, ...]
    images: Mapping[str, Path]
    fragment: str
    line: int
    vertex: str | None

    @property
    def picture(self) -> str:
        """Name of the image input that gets the picture: ``inputImage``, or else the first; "" where there is none."""
        names = [each.name for each in self.inputs if each.type == "image"]
        return "inputImage" if "inputImage" in names else "".join(names[:1])

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the buffers."""
        return tuple(dict.fromkeys(each.target for each in self.passes if each.target))


def read(path: Path) -> Shader:
    """The ISF file at `path`, with the ``.vs`` beside it.

    Raises:
        LookError: it can't be read, has no head, or the head declares what can't be; says where, in one sentence.
    """
    text = _text(path)
    head, fragment, first = _split(text, path)
    beside = path.with_suffix(VERTEX_SUFFIX)
    try:
        return _distinct(
            Shader(
                path=path,
                description=str(head.get("DESCRIPTION", "")).strip(),
                inputs=tuple(_input(raw) for raw in _dicts(head, "INPUTS")),
                passes=tuple(_passes(head)) or (Pass(),),
                images=dict(_images(head, path.parent)),
                fragment=fragment,
                line=first,
                vertex=_text(beside) if beside.is_file() else None,
            )
        )
    except ValueError as err:
        raise LookError(f"{path}: {err}") from err


def _distinct(shader: Shader) -> Shader:
    """`shader`, if no two things in it are called the same; an OSC address has no upper and lower case."""
    seen: set[str] = set()
    for name in (*(each.name for each in shader.inputs), *shader.targets, *shader.images):
        if name.lower() in seen:
            raise ValueError(
                f"two inputs, buffers or images are called {name} (upper and lower case are the same here)"
            )
        seen.add(name.lower())
    return shader


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LookError(f"{path} is no shader: it is longer than {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as err:
        raise LookError(f"{path} can't be read: {err.strerror or err}") from err


def _split(text: str, path: Path) -> tuple[dict[str, Any], str, int]:
    """(head, the GLSL after it, number of the line that the GLSL begins in)."""
    found = re.match(r"\s*/\*(.*?)\*/", text, re.DOTALL)
    if found is None:
        raise LookError(f"{path} is no ISF file: it doesn't begin with a comment that holds JSON")
    try:
        # strict would refuse tabs in texts
        head = json.loads(found.group(1), strict=False, parse_constant=_no_number)
    except ValueError as err:
        at = text.count("\n", 0, found.start(1)) + getattr(err, "lineno", 1)
        raise LookError(f"{path}, line {at}: the head is not JSON: {getattr(err, 'msg', err)}") from err
    except RecursionError as err:
        raise LookError(f"{path}: the head is nested too deep") from err
    if not isinstance(head, dict):
        raise LookError(f"{path} is no ISF file: the JSON in its head is not a table")
    return head, text[found.end() :], text.count("\n", 0, found.end()) + 1


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _dicts(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = head.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{key} must be a list of tables")
    return found


# --- inputs ----------------------------------------------------------------------------------------------------------


def _input(raw: dict[str, Any]) -> Input:
    name, kind = _identifier(raw.get("NAME"), "an input"), raw.get("TYPE")
    if kind not in TYPES:
        raise ValueError(f"the input {name} is of the unknown TYPE {kind!r}; there is {', '.join(TYPES)}")
    label = str(raw.get("LABEL") or "")
    try:
        if kind in ("float", "long"):
            return _number_input(raw, name, kind, label)
        if kind == "bool":
            return Input(name, kind, label, _positive(raw.get("DEFAULT")))
        if kind in ("color", "point2D"):
            return _vector_input(raw, name, kind, label)
        return Input(name, kind, label)
    except (TypeError, ValueError, OverflowError) as err:
        raise ValueError(f"DEFAULT, MIN, MAX or VALUES of the input {name} can't be read as {kind}") from err


def _number_input(raw: dict[str, Any], name: str, kind: str, label: str) -> Input:
    values = [int(value) for value in raw.get("VALUES") or ()]
    if kind == "long" and values:
        labels = [str(text) for text in raw.get("LABELS") or ()]
        default = int(raw.get("DEFAULT", values[0]))
        choices = tuple(_labelled(labels, values))
        return Input(name, kind, label, default if default in values else values[0], min(values), max(values), choices)
    low, high = float(raw.get("MIN", 0)), float(raw.get("MAX", 1 if kind == "float" else 100))
    value = float(raw.get("DEFAULT", min(max(0.0, low), high)))
    low, high = min(low, high, value), max(low, high, value)
    if kind == "long":
        return Input(name, kind, label, int(value), int(low), int(high))
    return Input(name, kind, label, value, low, high)


def _labelled(labels: list[str], values: list[int]) -> Iterator[tuple[str, int]]:
    """Every value with its label; where that is missing or there twice, the number tells them apart."""
    for index, value in enumerate(values):
        label = labels[index].strip().lower() if index < len(labels) else ""
        alone = [other.strip().lower() for other in labels].count(label) == 1
        yield label if label and alone else f"{label} {index}".strip(), value


def _vector_input(raw: dict[str, Any], name: str, kind: str, label: str) -> Input:
    rest = (0.0, 0.0, 0.0, 1.0) if kind == "color" else (0.0, 0.0)
    given = tuple(float(part) for part in raw.get("DEFAULT") or ())[: len(rest)]
    default = (*given, *rest[len(given) :])
    bounds = [float(part) for key in ("MIN", "MAX") for part in raw.get(key) or ()]
    if not bounds:
        bounds = [0.0, 1.0] if kind == "color" else [-ANYWHERE, ANYWHERE]
    return Input(name, kind, label, default, min(*bounds, *default), max(*bounds, *default))


def _identifier(raw: object, what: str) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"(?!gl_)[A-Za-z_]\w{0,99}", raw, re.ASCII):
        raise ValueError(f"{what} has the NAME {raw!r}, which GLSL can't call anything")
    return raw


# --- passes and images -----------------------------------------------------------------------------------------------


def _passes(head: Mapping[str, Any]) -> Iterator[Pass]:
    """``PASSES``; in version 1 what is lasting of a buffer stands in ``PERSISTENT_BUFFERS``: a list or a table."""
    lasting = head.get("PERSISTENT_BUFFERS") or {}
    named = lasting if isinstance(lasting, dict) else {str(name): None for name in lasting}
    former = {name: raw if isinstance(raw, dict) else {} for name, raw in named.items()}
    for raw in _dicts(head, "PASSES"):
        raw = {key.upper(): value for key, value in raw.items()}
        target = str(raw.get("TARGET") or "")
        if target:
            _identifier(target, "a pass's TARGET")
        settings = {**former.get(target, {}), **raw}
        yield Pass(
            target=target,
            persistent=target in former or _positive(settings.get("PERSISTENT")),
            float32=_positive(settings.get("FLOAT")),
            width=_expression(settings.get("WIDTH")),
            height=_expression(settings.get("HEIGHT")),
        )


def _positive(raw: object) -> bool:
    return raw.strip().lower() in ("1", "true", "yes") if isinstance(raw, str) else bool(raw)


def _expression(raw: object) -> Expression | None:
    return None if raw is None or raw == "" else Expression(str(raw))


def _images(head: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """``IMPORTED``: a table; in version 1 a list of tables with a ``NAME`` each."""
    found = head.get("IMPORTED") or {}
    if isinstance(found, list):
        found = {each.get("NAME"): each for each in _dicts(head, "IMPORTED")}
    if not isinstance(found, dict):
        raise ValueError("IMPORTED must be a table of names and files")
    for name, raw in found.items():
        path = raw.get("PATH") if isinstance(raw, dict) else raw
        if not isinstance(path, str):
            raise ValueError(f"the imported image {name} needs a PATH, the name of one file")
        yield _identifier(name, "an imported image"), _within(folder, path)


def _within(folder: Path, name: str) -> Path:
    """`name` in `folder`, or below it: a shader that came over the network may not look around this machine."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the image {name!r} is not in the shader's folder, and no other is looked into")
    return path
