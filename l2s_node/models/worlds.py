"""Worlds: which weights files lie in the folders of worlds. Only names are looked at, so that no torch is needed.

A world is ``FOLDER/<name>/<size>.safetensors``; what is in the file is `store`'s to read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from l2s_node.errors import ModelError
from l2s_node.params import SIZES

__all__ = ["SIZES", "SUFFIX", "World", "between", "find", "worlds"]

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class World:
    """One weights file.

    Attributes:
        name: "flowers".
        size: one of `SIZES`.
        path: the file.
        folder: the folder of worlds that it was found in.
    """

    name: str
    size: str
    path: Path
    folder: Path


def worlds(folders: Iterable[Path]) -> list[World]:
    """Every ``<name>/<size>.safetensors`` in `folders`, first hit wins, by name and then size. Folders may lack."""
    found: dict[tuple[str, int], World] = {}
    for folder in folders:
        for path in folder.glob(f"*/*{SUFFIX}"):
            if path.stem in SIZES and not path.parent.name.startswith("."):
                world = World(path.parent.name, path.stem, path, folder)
                found.setdefault((world.name, SIZES.index(world.size)), world)
    return [found[key] for key in sorted(found)]


def between(world: str) -> tuple[str, str, float] | None:
    """(first, second, part) of a name such as "sea+clouds@0.3", a world between two; None for the name of one world.

    Without a part it is the middle; parts are 0…1, in hundredths.

    Raises:
        ModelError: it is neither.
    """
    if "+" not in world or world.endswith(SUFFIX):
        return None
    first, _, rest = world.partition("+")
    second, at, number = rest.partition("@")
    try:
        part = float(number) if at else 0.5
    except ValueError:
        part = -1.0
    if not first or not second or "+" in second or not 0 <= part <= 1:
        raise ModelError(f"{world!r} is no world between two: write it as sea+clouds@0.3, with a part of 0 to 1")
    return first, second, round(part, 2)


def find(folders: Iterable[Path], world: str, size: str) -> World:
    """The world of that name and size. A name is a name, never a path (it may come from the network): see `store.at`.

    Raises:
        ModelError: it is not there; the message lists what is.
    """
    if not world or any(part in world for part in ("/", "\\", "..", "\0")):
        raise ModelError(f"{world!r} is not the name of a world: a name has no slashes")
    have = worlds(folders)
    named = [w for w in have if w.name == world]
    for candidate in named:
        if candidate.size == size:
            return candidate
    if named:
        raise ModelError(f"the world {world} has no size {size!r}; it has {', '.join(w.size for w in named)}")
    names = sorted({w.name for w in have})
    if not names:
        raise ModelError(f"there is no world {world!r}, and no other: train one with l2s train")
    close = difflib.get_close_matches(world, names, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ModelError(f"there is no world {world!r}{hint}; there are {', '.join(names)}")
