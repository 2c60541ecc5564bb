"""The rooms that pictures come from and go to, found by file name: ``ndi:cam`` is opened by ``ndi.py``.

A room is a module in this folder of the shape that `base` describes. There is no list of rooms to keep: a file put
beside this one is a scheme. Modules whose name starts with ``_`` are the rooms' own helpers. A room is imported
when it is asked for and not before, so that one heavy or broken SDK costs nobody else anything.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from typing import Literal, Protocol, cast

from l2s_node.errors import MissingError, NotFoundError, RoomError
from l2s_node.video.base import Options, Sink, Source


class _Opens(Protocol):
    """`Source` and `Sink` of a room as they are called."""

    def __call__(self, address: str, options: Options) -> object: ...


class _Room(Protocol):
    """A room's module."""

    Source: _Opens
    Sink: _Opens

    def missing(self) -> str | None: ...

    def names(self) -> list[str]: ...


def schemes() -> list[str]:
    """The name of every room, sorted, whether or not it can be used here."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def open_source(uri: str, options: Options) -> Source:
    """The source that `uri` ("ndi:cam", "file:clip.mp4", …) names.

    Raises:
        NotFoundError: no such room, or a room that lists what it has and has no such name.
        MissingError: the room can't be used here (with the remedy).
        RoomError: the room only takes pictures, or can't open this address.
    """
    scheme, address = _split(uri)
    if refuses := _refuses(scheme, "Source"):
        raise RoomError(f"{uri} can't be a source: {refuses}")
    if reason := _missing(scheme):
        raise MissingError(f"{uri} can't be a source: {reason}")
    return cast(Source, _room(scheme).Source(address, options))


def open_sink(uri: str, options: Options) -> Sink:
    """The sink that `uri` ("ndi:l2s", "file:out.mp4", "null:", …) names.

    Raises:
        NotFoundError: no such room.
        MissingError: the room can't be used here (with the remedy).
        RoomError: the room only makes pictures, or can't open this address.
    """
    scheme, address = _split(uri)
    if refuses := _refuses(scheme, "Sink"):
        raise RoomError(f"{uri} can't be a sink: {refuses}")
    if reason := _missing(scheme):
        raise MissingError(f"{uri} can't be a sink: {reason}")
    return cast(Sink, _room(scheme).Sink(address, options))


def survey() -> list[tuple[str, str | None]]:
    """What can be opened as a source right now: (uri, None) for each, by room.

    A room that has nothing to list yet appears as ("scheme:", None), one that can't be used here, or takes pictures
    only, as ("scheme:", reason and remedy).
    """
    return [row for scheme in schemes() for row in _rows(scheme, _refuses(scheme, "Source") or _missing(scheme))]


def survey_sinks() -> list[tuple[str, str | None]]:
    """Where pictures can go: ("scheme:", None), or with the reason why this room takes none here.

    A room that only takes pictures lists what there is to take them.
    """
    rows: list[tuple[str, str | None]] = []
    for scheme in schemes():
        reason = _refuses(scheme, "Sink") or _missing(scheme)
        rows += _rows(scheme, reason) if _refuses(scheme, "Source") else [(f"{scheme}:", reason)]
    return rows


def _split(uri: str) -> tuple[str, str]:
    """(scheme, address) of `uri`; a scheme in any case."""
    scheme, colon, address = uri.strip().partition(":")
    known = schemes()
    if colon and scheme.lower() in known:
        return scheme.lower(), address
    if Path(uri).expanduser().exists():
        raise RoomError(f"{uri!r} names no room; to use this file, say file:{uri}")
    if not colon:
        raise RoomError(f"{uri!r} names no room: say which, as in ndi:{uri} (there are {_colons(known)})")
    close = difflib.get_close_matches(scheme.lower(), known, 1, 0.5)
    hint = f" (did you mean {close[0]}:{address}?)" if close else ""
    raise NotFoundError(f"there is no room {scheme!r}{hint}; there are {_colons(known)}")


def _colons(names: list[str]) -> str:
    return ", ".join(f"{name}:" for name in names)


def _room(scheme: str) -> _Room:
    return cast(_Room, importlib.import_module(f".{scheme}", __name__))


def _rows(scheme: str, reason: str | None) -> list[tuple[str, str | None]]:
    """What the room lists, or itself with the reason."""
    uris = [] if reason else _room(scheme).names()
    return [(uri, None) for uri in uris] or [(f"{scheme}:", reason)]


def _refuses(scheme: str, kind: Literal["Source", "Sink"]) -> str | None:
    """A room that only makes or only takes pictures says so in `refuses`, and that holds wherever it runs."""
    try:
        refuses: str | None = getattr(getattr(_room(scheme), kind), "refuses", None)
    except ImportError:
        refuses = None
    return refuses


def _missing(scheme: str) -> str | None:
    """The room's own `missing`; a room whose module can't be imported is missing, too."""
    try:
        return _room(scheme).missing()
    except ModuleNotFoundError as err:
        return f"the Python package {err.name!r} is not installed: pip install {err.name}"
    except ImportError as err:
        return f"what it needs can't be loaded ({err}): install l2s-node again"
