"""Packages: which versions the installed l2s-node asks for, and which are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

NAME = "l2s-node"


@dataclass(frozen=True, slots=True)
class Package:
    """One package that l2s-node asks for.

    Attributes:
        name: as pip knows it.
        wanted: bounds as in "<2.15,>=2.11"; "" for any.
        version: what is installed; None for nothing.
        depends: it is not asked for on every machine.
        system: the one that it is asked for on, as pip names it ("darwin", "win32", "linux"); "" for any.
    """

    name: str
    wanted: str
    version: str | None
    depends: bool
    system: str = ""


def python_wanted() -> str | None:
    """Bounds for Python's version; None where l2s-node is not installed but only lies there."""
    try:
        bounds: str = metadata.metadata(NAME)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return None
    return bounds


def packages_wanted() -> Iterator[Package]:
    """Every package that is asked for, those of extras left out."""
    for line in metadata.requires(NAME) or []:
        requirement, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)(?:\[[^]]*])?\s*\(?([^)]*)", requirement.strip())
        if match is None or "extra" in marker:
            continue
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            version = None
        system = re.search(r"sys_platform == [\"'](\w+)", marker)
        yield Package(match[1], match[2].strip(), version, bool(marker), system[1] if system else "")


def within(version: str, wanted: str) -> bool:
    """Whether a version's numbers are within bounds as our pyproject.toml states them: ">=2.11,<2.15"."""
    for bound in filter(None, (part.strip() for part in wanted.split(","))):
        number = _numbers(bound.lstrip("<>= "))
        if (bound.startswith(">=") and _numbers(version) < number) or (
            bound.startswith("<") and _numbers(version) >= number
        ):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" as (2, 13): trailing zeros don't count."""
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
