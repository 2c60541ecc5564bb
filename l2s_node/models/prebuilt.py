"""Prebuilt: what engines compiled, kept in the user's folder, so that a show takes it instead of compiling it again.

A file is three lines and the engine's own bytes:

    l2s engine 1
    {"about": "flowers/small", "parts": {…}}        all that it depends on, see `identity`
    <seal>                                          HMAC-SHA256 of the line above and the bytes below, hex

It is taken only if every part is as it is now and if the seal is this user's: libraries read such bytes without much
checking (a damaged blob may take the process along), so they are given nothing that this user's l2s hasn't written, bit
for bit. Nothing is unpickled: an engine whose loader would do that keeps nothing here.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from l2s_node.config import home
from l2s_node.errors import EngineError

log = logging.getLogger(__name__)

MAGIC = b"l2s engine 1"
SUFFIX = ".engine"
LIMIT = 4 << 30
"""Bytes that all together may take; what wasn't used for longest goes first."""
HALF_WRITTEN = 3600.0
"""Seconds after which a file that is still being written is given up."""
HEADER = 1 << 16
"""Bytes that the first three lines have at most."""

Parts = Mapping[str, str]
Examples = Callable[[tuple[int, int, int, int]], Tensor]
"""For a shape (n, 1, h, w): inputs ``(many, 1, h, w)`` float32 in [-1, 1] such as a show has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, by what it says of itself; whether that is true shows when it is taken.

    Attributes:
        path: the file.
        about: the world, as in "flowers/small".
        parts: what it depends on.
        size: in bytes.
        used: when it was written or taken last, seconds since 1970.
    """

    path: Path
    about: str
    parts: Parts
    size: int
    used: float


class NotKeptError(EngineError):
    """Nothing valid is kept, and nothing else was wanted."""


class Prebuilt:
    """The folder of all that is kept.

    Attributes:
        building: keep whatever can be kept, even where that takes time (`l2s build`); a show keeps only what is at
            hand anyway.
        only: take what is kept or nothing; `Slot.take` raises `NotKeptError` then.
        examples: what engines in 8 bits find their ranges by; None in a show, which makes none.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        building: bool = False,
        only: bool = False,
        examples: Examples | None = None,
    ) -> None:
        self.folder = home() / "engines" if folder is None else folder
        self.building = building
        self.only = only
        self.examples = examples

    def take(self, parts: Parts) -> bytes | None:
        """The bytes that were kept for exactly these parts; what is damaged is removed with a sentence in the log."""
        path = self.folder / _name(parts)
        try:
            with path.open("rb") as file:
                _private(os.fstat(file.fileno()))
                header, seal = _header(file.readline(HEADER), file.readline(HEADER), file.readline(HEADER))
                data = file.read()
            if header["parts"] != dict(parts) or not hmac.compare_digest(seal, self._sealed(_line(header), data)):
                raise ValueError("it isn't as it was written")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:
            self.drop(parts, str(err))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # by which the longest unused is found
        return data

    def has(self, parts: Parts) -> bool:
        """Whether something is kept for `parts`, of use or not."""
        return (self.folder / _name(parts)).exists()

    def drop(self, parts: Parts, reason: str) -> None:
        """Remove what is kept for `parts`, because of `reason`, which is said."""
        log.warning("%s is built anew: what was kept is of no use (%s)", _called(parts), reason)
        with contextlib.suppress(OSError):
            (self.folder / _name(parts)).unlink(missing_ok=True)

    def put(self, parts: Parts, about: str, data: bytes) -> bool:
        """Keep `data`, at once or not at all; where that fails, the log says why. Returns whether it is kept."""
        line = _line({"about": about, "parts": dict(parts)})
        try:
            if len(data) > LIMIT or len(line) >= HEADER:
                raise OSError(f"{len(data) / 1e9:.1f} GB are over the limit of {LIMIT / 1e9:.1f}")
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            seal = self._sealed(line, data).encode()
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:
                try:
                    file.write(b"\n".join([MAGIC, line, seal, data]))
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()
                    os.replace(file.name, self.folder / _name(parts))
                except OSError:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as err:
            log.warning("%s can't be kept in %s: %s", _called(parts), self.folder, err.strerror or err)
            return False
        self._shrink()
        return True

    def entries(self) -> list[Entry]:
        """Whatever lies here and looks like an engine, the newest first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
                header, _ = _header(file.readline(HEADER), file.readline(HEADER), file.readline(HEADER))
                about = path.stat()
                found.append(Entry(path, header["about"], header["parts"], about.st_size, about.st_mtime))
        return sorted(found, key=lambda entry: -entry.used)

    def _shrink(self) -> None:
        total = 0
        paths = [(path.stat(), path) for path in self.folder.glob(f"*{SUFFIX}")]
        for about, path in sorted(paths, key=lambda each: -each[0].st_mtime):
            total += about.st_size
            if total > LIMIT:
                log.info("%s is removed: what is kept grew over %.1f GB", path.name, LIMIT / 1e9)
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*"):  # what a power cut left half written
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > HALF_WRITTEN:
                    path.unlink()

    def _sealed(self, line: bytes, data: bytes) -> str:
        """The seal of a file.

        Raises:
            OSError: the user's secret can't be read or made.
        """
        seal = hmac.new(_secret(), line, hashlib.sha256)
        seal.update(data)
        return seal.hexdigest()


class Slot:
    """Where one engine keeps what it compiles of one world on one canvas."""

    def __init__(self, store: Prebuilt | None = None, parts: Parts | None = None, about: str = "") -> None:
        self._store = store
        self._parts = dict(parts or {})
        self._about = about

    @property
    def building(self) -> bool:
        """Keep even what takes time to be kept."""
        return self._store is not None and self._store.building

    def examples(self, shape: tuple[int, int, int, int]) -> Tensor:
        """Inputs ``(many, 1, h, w)`` float32 in [-1, 1] such as a show has, to find the ranges of 8 bits by.

        Raises:
            NotKeptError: there are none, since this is a show.
        """
        if self._store is None or self._store.examples is None:
            world, canvas = self._about or "WORLD", self._parts.get("canvas", "this canvas")
            raise NotKeptError(
                f"int8 isn't made in a show, and none is kept for {canvas}: l2s build {world} --precision int8 makes it"
            )
        return self._store.examples(shape)

    def take(self, precision: str) -> bytes | None:
        """What was kept in that precision, or None.

        Raises:
            NotKeptError: None would be returned, and `Prebuilt.only` what is kept is wanted.
        """
        data = self.peek(precision)
        if data is None and self._store is not None and self._store.only:
            raise NotKeptError("it isn't built yet: see l2s build")
        return data

    def peek(self, precision: str) -> bytes | None:
        """The same, and None is just None."""
        return self._store.take(self._of(precision)) if self._store else None

    @property
    def called(self) -> str | None:
        """What it is for, in words that nothing else has; None where nothing is kept."""
        return _line(self._parts).decode("ascii") if self._store is not None else None

    def has(self, precision: str) -> bool:
        """Whether something is kept; if it is of any use shows when it is taken."""
        return self._store is not None and self._store.has(self._of(precision))

    def keep(self, precision: str, data: bytes) -> None:
        """Keep it for the next `take`; where that fails, the log says why."""
        if self._store is not None:
            self._store.put(self._of(precision), self._about, data)

    def refused(self, precision: str, reason: object) -> None:
        """The engine's library didn't take what was kept: it is removed, and the log says why.

        Raises:
            NotKeptError: see `take`.
        """
        if self._store is not None:
            self._store.drop(self._of(precision), (str(reason).strip().splitlines() or ["no reason given"])[0])
            if self._store.only:
                raise NotKeptError("what was kept is of no use")

    def _of(self, precision: str) -> dict[str, str]:
        return {**self._parts, "precision": precision}


NOWHERE = Slot()
"""The slot of an engine that neither takes nor keeps anything."""


def _line(header: Mapping[str, object]) -> bytes:
    return json.dumps(header, sort_keys=True).encode("ascii")


def _name(parts: Parts) -> str:
    digest = hashlib.sha256(_line(dict(parts))).hexdigest()[:32]
    return f"{parts.get('engine', 'engine')}-{digest}{SUFFIX}"


def _called(parts: Parts) -> str:
    return f"{parts.get('engine', 'an engine')} of {parts.get('canvas', 'some size')}"


def _header(magic: bytes, line: bytes, seal: bytes) -> tuple[dict[str, Any], str]:
    """(header, seal) of a file's first three lines.

    Raises:
        ValueError: it isn't one of ours.
    """
    try:
        header: Any = json.loads(line) if magic == MAGIC + b"\n" and seal.endswith(b"\n") else None
        whole = isinstance(header, dict) and header.keys() == {"about", "parts"} and isinstance(header["parts"], dict)
        words = [header["about"], *header["parts"], *header["parts"].values()] if whole else [None]
        if not all(isinstance(word, str) and word.isprintable() for word in words):
            raise ValueError
        return header, seal.decode("ascii").strip()
    except (ValueError, RecursionError) as err:
        raise ValueError("its beginning is damaged") from err


def _private(about: os.stat_result) -> None:
    """Refuse a file of another user's.

    Raises:
        ValueError: it is.
    """
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & stat.S_IWOTH):
        raise ValueError("it belongs to another user")


def _secret() -> bytes:
    """What this user's seals are made with: 32 bytes drawn once, in a file beside the folder of engines, not in it.

    Raises:
        OSError: it can't be read or made.
    """
    path = home() / "seal"
    with contextlib.suppress(FileNotFoundError):
        found = path.read_bytes()
        if len(found) == 32:
            return found
        path.unlink()
    home().mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
