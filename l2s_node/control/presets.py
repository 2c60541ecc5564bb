"""Presets: a TOML file of knobs each (``detail = 9``), recalled whole or not at all.

A preset names only the knobs that it means to turn; the others stay as they are. Names come over the network, so a
name is never a path: see `check_name`.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import threading
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import tomli_w

from l2s_node.errors import ConfigError, ModelError
from l2s_node.models.worlds import between
from l2s_node.params import KNOB, Board, Change, Kind, Knob, Value, parse_all

log = logging.getLogger(__name__)

MAX_PRESETS = 1000
"""Files that `save` lets a folder grow to: whoever can send a packet must not be able to fill the disk."""

OF_LOOKS = "look/"
"""What the names of looks' knobs begin with; their files come and go."""

Worlds = Callable[[], Iterable[str]]
Command = Callable[[Sequence[object]], Mapping[str, object] | Sequence[str] | str | None]
"""What an OSC command does: takes the message's arguments; returns knobs to turn, or an answer, or nothing.

Raises nothing but `L2SError`.
"""


def check_name(name: str) -> str:
    """`name` without spaces around it, when a preset can be called so.

    Raises:
        ConfigError: it has other than letters, digits, spaces, "-" and "_", or is longer than 64.
    """
    name = name.strip()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9 _-]{0,63}", name) or name.lower() in _DEVICES:
        raise ConfigError(f"a preset's name has up to 64 letters, digits, spaces, - and _, not {name[:80]!r}")
    return name


_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Names that Windows keeps for devices, with any extension."""


def known_world(raw: object, worlds: Worlds | None) -> str:
    """The world that `raw` means: its name in any case, or its index in the sorted names (from 0, clamped).

    Of a world between two ("sea+clouds@0.3", see `models.worlds.between`) both are looked up so.

    Raises:
        ConfigError: there is no such world; the message lists those that there are.
    """
    text = str(raw).strip()
    try:
        two = between(text)
    except ModelError as err:
        raise ConfigError(str(err)) from err
    if two is not None:
        first, second, part = two
        return f"{known_world(first, worlds)}+{known_world(second, worlds)}@{part:g}"
    if worlds is None and re.fullmatch(r"[\w -]{1,64}", text):
        return text
    known = sorted(worlds()) if worlds else []
    for name in known:
        if name.lower() == text.lower():
            return name
    if known and re.fullmatch(r"-?\d{1,9}(\.\d*)?", text):
        return known[min(max(round(float(text)), 0), len(known) - 1)]
    raise ConfigError(f"there is no world {text[:80]!r}; there is {', '.join(known) or 'none at all'}")


class Presets:
    """The presets in `folders`; the first folder wins, and is the one that `save` writes to. Any thread may call.

    Attributes:
        current: name of the preset recalled or saved last, None before the first.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        worlds: Worlds | None = None,
        knobs: Callable[[], Mapping[str, Knob]] = lambda: KNOB,
    ) -> None:
        self._folders = tuple(folders)
        self._worlds = worlds
        self._knobs = knobs
        self._lock = threading.Lock()
        self.current: str | None = None

    def names(self) -> list[str]:
        """All names, sorted, upper and lower case alike; a file that `check_name` would refuse is passed over."""
        return [path.stem for path in self._files()]

    def _files(self) -> list[Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            for path in sorted(folder.glob("*.toml")):
                if _is_name(path.stem):
                    found.setdefault(path.stem.lower(), path)
        return [found[key] for key in sorted(found)]

    def read(self, name: str) -> dict[str, Value]:
        """The knobs of the preset `name` (in any case), parsed and clamped; it becomes the `current` one.

        Raises:
            ConfigError: it isn't there, can't be read, or has a key or a value that can't be used; names both.
        """
        files = {path.stem.lower(): path for path in self._files()}
        path = files.get(check_name(name).lower())
        if path is None:
            close = difflib.get_close_matches(name.lower(), files, 1, 0.5)
            hint = (
                f"did you mean {files[close[0]].stem!r}?" if close else f"there is {', '.join(self.names()) or 'none'}"
            )
            raise ConfigError(f"there is no preset {name!r}; {hint}")
        self.current = path.stem
        return self._parse(path)

    def _parse(self, path: Path) -> dict[str, Value]:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as err:
            raise ConfigError(f"the preset {path} can't be read: {err.strerror or err}") from err
        except ValueError as err:  # bad TOML, or not UTF-8
            raise ConfigError(f"the preset {path} is not TOML: {err}") from err
        try:
            if "world" in raw:
                raw["world"] = known_world(raw["world"], self._worlds)
            return parse_all(self._without_gone_looks(raw, path), self._knobs())
        except ConfigError as err:
            raise ConfigError(f"the preset {path} can't be used: {err}") from err

    def _without_gone_looks(self, raw: dict[str, object], path: Path) -> dict[str, object]:
        """A look whose file is gone must not take the rest of the preset with it."""
        gone = sorted(raw.keys() - self._knobs().keys())
        looks = sorted({name.split("/")[1] for name in gone if name.startswith(OF_LOOKS)})
        if looks:
            log.warning("the preset %s turns knobs of looks that are not here as they were: %s", path, ", ".join(looks))
        return {name: value for name, value in raw.items() if name not in gone or not name.startswith(OF_LOOKS)}

    def load(self, name: str, board: Board) -> None:
        """Turn `board`'s knobs to the preset `name`, whole or not at all.

        Raises:
            ConfigError: see `read`.
        """
        board.set(self.read(name))

    def step(self, by: int) -> dict[str, Value]:
        """The knobs of the preset `by` further (-1 is the one before), round the end.

        A preset that can't be read becomes `current` as well, so that the next step gets past it.

        Raises:
            ConfigError: there is none, or see `read`.
        """
        names = self.names()
        if not names:
            raise ConfigError("there are no presets yet: save one with preset/save NAME")
        if self.current in names:
            return self.read(names[(names.index(self.current) + by) % len(names)])
        return self.read(names[0 if by > 0 else -1])

    def save(self, name: str, values: Mapping[str, Value]) -> Path:
        """Write `values` as the preset `name` into the first folder; one of that name there is replaced.

        Raises:
            ConfigError: the name can't be used, there are too many, or the folder can't be written.
        """
        name = check_name(name)
        folder = self._folders[0]
        with self._lock:
            mine = {path.stem.lower(): path for path in folder.glob("*.toml")}
            path = mine.get(name.lower(), folder / f"{name}.toml")
            if len(mine) >= MAX_PRESETS and path not in mine.values():
                raise ConfigError(f"{folder} holds {len(mine)} presets already: delete some first")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _replace(path, tomli_w.dumps(dict(values)).encode("utf-8"))
            except OSError as err:
                raise ConfigError(f"the preset {path} can't be written: {err.strerror or err}") from err
        self.current = path.stem
        return path


def _is_name(name: str) -> bool:
    try:
        return check_name(name) == name
    except ConfigError:
        return False


def _replace(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a power cut, finds the old content or the new, never a half."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.saving")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def preset_commands(presets: Presets, board: Board) -> dict[str, Command]:
    """The commands of `control.osc.OscServer` that have to do with presets.

    ==================  ===============================================================================
    preset NAME         recall it; a number n from 1 means the n-th name; no argument or ? asks for the current one
    preset/next         recall the next in sorted order, after the last the first; ``preset/previous`` likewise
    preset/save NAME    save all knobs as they are now
    presets             answers all names
    reset               all knobs to their defaults, but for the world and its size, which cost a load
    ==================  ===============================================================================
    """

    def recall(args: Sequence[object]) -> Mapping[str, object] | str:
        if not args or args[0] == "?":
            return presets.current or ""
        if isinstance(args[0], (int, float)):
            names = presets.names()
            if not 1 <= args[0] < len(names) + 1:
                raise ConfigError(f"there is no preset number {args[0]:g}: there are {len(names)}")
            return presets.read(names[int(args[0]) - 1])
        return presets.read(str(args[0]))

    def step(by: int) -> Command:
        return lambda args: (presets.current or "") if list(args) == ["?"] else presets.step(by)

    def save(args: Sequence[object]) -> str | None:
        if not args or args[0] == "?":
            return presets.current or ""
        if not isinstance(args[0], str):
            raise ConfigError("preset/save takes a name")
        presets.save(args[0], board.values())
        return None

    def reset(args: Sequence[object]) -> Mapping[str, object] | None:
        return None if list(args) == ["?"] else defaults(board.knobs)

    return {
        "preset": recall,
        "preset/next": step(1),
        "preset/previous": step(-1),
        "preset/save": save,
        "presets": lambda args: presets.names(),
        "reset": reset,
    }


def defaults(knobs: Mapping[str, Knob] = KNOB) -> dict[str, Value]:
    """The default of every knob that can be turned without loading a model."""
    lasting = (knob for knob in knobs.values() if knob.change is not Change.REBUILD and knob.kind is not Kind.EVENT)
    return {knob.name: knob.default for knob in lasting}
