"""Looks: the ISF files that are here, their inputs as knobs, and a watch over the files. No OpenGL and no torch.

A look is called by its file's name in lower case, with "_" for what an OSC address can't carry: ``Edge Glow.fs`` is
``edge_glow``, and its input ``amount`` is the knob ``look/edge_glow/amount``. Of two files of one name the first
folder's wins. The knob ``look`` says which ones lie over the picture, in which order: one over the other is how VJs use
effects, and a list of names does for one as well.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from l2s_node.errors import LookError
from l2s_node.frame import Frame
from l2s_node.params import KNOB, Board, Kind, Knob, Params, Value
from l2s_node.picture import isf

if TYPE_CHECKING:
    import numpy as np

    from l2s_node.picture.post import Post

log = logging.getLogger(__name__)

WATCH_EVERY = 0.5
"""Seconds between two looks at the files."""
MAX_SIDE = 8192
"""Pixels on the longer side of an imported image."""

Signature = tuple[tuple[str, int, int], ...]
Numbers = float | int | bool | tuple[float, ...]
"""What a shader can be given."""


@dataclass(frozen=True, eq=False)
class Look:
    """One version of a look, read but not compiled.

    Attributes:
        name: what it is called.
        shader: what its file says.
        images: its imported pictures, ``(h, w, 4)`` RGBA bytes, top row first, by the names that the shader calls them.
    """

    name: str
    shader: isf.Shader
    images: Mapping[str, np.ndarray]

    @property
    def prefix(self) -> str:
        """What the names of its knobs begin with."""
        return f"look/{self.name}/"

    def knobs(self) -> Iterator[Knob]:
        """Its inputs as knobs; what is a picture is none."""
        for each in self.shader.inputs:
            if each.type not in isf.IMAGES:
                yield _knob(self.prefix + each.name.lower(), each)

    def values(self, more: Mapping[str, Value]) -> dict[str, Numbers]:
        """The values of its inputs, but for events, by the names and in the types that the shader wants.

        `more` is `Params.more`.
        """
        found: dict[str, Numbers] = {}
        for each in self.shader.inputs:
            if each.default is not None:
                value = more.get(self.prefix + each.name.lower(), each.default)
                found[each.name] = dict(each.choices).get(value, each.default) if isinstance(value, str) else value
        return found

    def events(self, more: Mapping[str, Value]) -> dict[str, Value]:
        """How often each event was pressed."""
        names = [each.name for each in self.shader.inputs if each.type == "event"]
        return {name: more.get(self.prefix + name.lower(), 0) for name in names}


def _default(each: isf.Input) -> Value:
    if each.choices:
        return next(label for label, value in each.choices if value == each.default)
    return False if each.default is None else each.default


def _knob(name: str, each: isf.Input) -> Knob:
    help = each.label or each.name
    if each.type == "event":
        return Knob(name, Kind.EVENT, False, help=help)
    if each.type == "bool":
        return Knob(name, Kind.BOOL, _default(each), help=help)
    if each.choices:
        return Knob(name, Kind.CHOICE, _default(each), help=help, choices=tuple(label for label, _ in each.choices))
    kind = {"float": Kind.FLOAT, "long": Kind.INT}.get(each.type, Kind.VECTOR)
    return Knob(name, kind, _default(each), each.low, each.high, help=help)


class Overlay:
    """A frame's way, and the looks over it. OpenGL is first touched by a call with a look on, on that call's thread."""

    def __init__(self, library: Library, patience: float | None = None) -> None:
        """`patience`: seconds that a picture is waited for; None is what suits a show. See `post.Post`."""
        self._library = library
        self._patience = patience
        self._post: Post | None = None

    def __call__(self, step: Callable[[Params], Frame], params: Params, now: float) -> Frame:
        """What `step` makes of `params`, through the looks; the fade to black comes after them."""
        turned = self.before(params)
        return self.after(step(turned), params, turned, now)

    def before(self, params: Params) -> Params:
        """What the frame's way is to play: `params` themselves, or others where looks will lie over the picture."""
        if params.look and self._post is None:
            from l2s_node.picture.post import PATIENCE, Post

            show = self._patience is None
            self._post = Post(self._library, PATIENCE if self._patience is None else self._patience, beside=show)
        if self._post is None or not self._post.on(params):
            return params
        return dataclasses.replace(params, fade=0.0)

    def after(self, picture: Frame, params: Params, turned: Params, now: float) -> Frame:
        """`picture`, which was made of what `before` had `turned` from `params`, with its looks over it."""
        if turned is params:
            return picture
        assert self._post is not None
        return self._post.through(picture, params, now)

    def rest(self) -> None:
        """Forget what was played."""
        if self._post is not None:
            self._post.rest()

    def close(self) -> None:
        """Release what was made in the OpenGL context."""
        if self._post is not None:
            if self._post.late:
                log.info("looks: %d pictures were not drawn in time and went out one frame later", self._post.late)
            self._post.close()
            self._post = None


class Library:
    """The looks in some folders; kept up to date by a thread of its own, ``l2s-looks``, once it is started.

    Attributes:
        looks: by name, sorted: of each file the newest version that can be read. Replaced, never changed.
        broken: what can't be read, and why, by name.
    """

    def __init__(self, folders: Iterable[Path], quiet: bool = False) -> None:
        """Read what is there; what can't be read is one sentence in the log, unless it is `quiet`."""
        self.looks: Mapping[str, Look] = MappingProxyType({})
        self.broken: Mapping[str, str] = MappingProxyType({})
        self._folders = tuple(folders)
        self._quiet = quiet
        self._seen: dict[str, Signature] = {}
        self._boards: list[Board] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="l2s-looks")
        self.refresh()

    def knobs(self) -> dict[str, Knob]:
        """All knobs: those of the node, among them ``look`` with all names, and those of every look."""
        table = {**KNOB, "look": _list_of(self.looks)}
        table.update({knob.name: knob for look in self.looks.values() for knob in look.knobs()})
        return table

    def join(self, board: Board) -> None:
        """Declare the knobs of all looks to `board`, now and whenever they change."""
        self._boards.append(board)
        board.declare(list(self.knobs().values()))

    def start(self) -> None:
        """Watch the files from now on, until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching, join the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Read what is new or has changed since the last time.

        A file that can't be read any more, or is gone, leaves its last good version: editors write in steps.
        """
        looks, broken = dict(self.looks), dict(self.broken)
        changed = []
        for name, path in self._files().items():
            signature = _signature(path, looks.get(name))
            if self._seen.get(name) == signature:
                continue
            broken.pop(name, None)
            try:
                look = _read(name, path)
                self._seen[name] = _signature(path, look)
            except LookError as err:
                self._seen[name] = signature
                broken[name] = str(err)
                if not self._quiet:
                    log.error("%s%s", err, "; its last good version goes on playing" if name in looks else "")
                continue
            changed.append(look)
            if name in looks:
                log.info("the look %s was read anew", name)
            looks[name] = look
        self.broken = MappingProxyType(broken)
        if changed:
            self.looks = MappingProxyType({name: looks[name] for name in sorted(looks)})
            for board in self._boards:
                self._declare(board, changed)

    def _declare(self, board: Board, changed: Sequence[Look]) -> None:
        board.declare([_list_of(self.looks)])
        for look in changed:
            board.declare(list(look.knobs()), instead_of=look.prefix)

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            for path in sorted(folder.glob(f"*{isf.SUFFIX}")):
                found.setdefault(_name(path), path)
        return found

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_EVERY):
            self.refresh()


def _list_of(looks: Iterable[str]) -> Knob:
    known = KNOB["look"]
    return Knob(known.name, known.kind, known.default, help=known.help, choices=tuple(sorted(looks)))


def _name(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "_"


def _signature(path: Path, look: Look | None) -> Signature:
    """What changes when one of the files of a look does."""
    paths = [path, path.with_suffix(isf.VERTEX_SUFFIX)]
    paths += look.shader.images.values() if look else ()
    return tuple(filter(None, map(_state, paths)))


def _state(path: Path) -> tuple[str, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return str(path), state.st_mtime_ns, state.st_size


def _read(name: str, path: Path) -> Look:
    shader = isf.read(path)
    return Look(name, shader, {key: _picture(file, path) for key, file in shader.images.items()})


def _picture(file: Path, shader: Path) -> np.ndarray:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(file) as image:
            if max(image.size) > MAX_SIDE:
                raise LookError(f"{shader}: the image {file.name} is larger than {MAX_SIDE} pixels")
            return np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, Image.DecompressionBombError) as err:
        raise LookError(f"{shader}: the image {file.name} can't be read: {err}") from err
