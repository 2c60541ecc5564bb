"""Table: scores in aligned columns, with units and the direction that is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """All scores of one world; each one's formula, range and direction stand in `measures`.

    Attributes:
        kid: × 1000, (mean, standard deviation over subsets), of what is made from own inputs.
        kid_foreign: of what is made from foreign inputs; None without any.
        precision: 0…1.
        recall: 0…1.
        checkerboard: how much more than the targets' own, which is about 1; 0 is best, a little below is as good.
        checkerboard_targets: the targets' own.
        flicker: 0…2, for sensor noise of 1 %.
        response: 0…∞, for an object that moves by a sixteenth of the side.
        flat: flat-field texture, over that of the targets.
        luma: fidelity, -1…1, over own and foreign inputs.
        ms: milliseconds a picture takes on the engine that a show would take here; None if it wasn't measured.
        mb: megabytes (10⁶ bytes) of the file; None for what is no file.
    """

    kid: tuple[float, float]
    kid_foreign: tuple[float, float] | None
    precision: float
    recall: float
    checkerboard: float
    checkerboard_targets: float
    flicker: float
    response: float
    flat: float
    luma: float
    ms: float | None = None
    mb: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """By name, rounded to what means something; those that weren't measured are left out."""
        return {name: _rounded(value) for name, value in dataclasses.asdict(self).items() if value is not None}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [round(part, 1) for part in value]
    return float(f"{value:.4g}")


Value = float | tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One score's place: its name, what it is in and whether ↑ more or ↓ less of it is better, its digits."""

    name: str
    head: str
    unit: str
    digits: int

    @property
    def width(self) -> int:
        return max(len(self.head), len(self.unit), 10 if self.name.startswith("kid") else 6)

    def cell(self, value: Value, sign: str = "") -> str:
        if value is None:
            return ""
        if isinstance(value, tuple):
            return f"{value[0]:{sign}.{self.digits}f} ± {value[1]:.{self.digits}f}"
        return f"{value:{sign}.{self.digits}f}"


COLUMNS = (
    Column("kid", "KID own", "×1000 ↓", 0),
    Column("kid_foreign", "KID foreign", "×1000 ↓", 0),
    Column("precision", "precision", "0…1 ↑", 2),
    Column("recall", "recall", "0…1 ↑", 2),
    Column("checkerboard", "checker", "excess ↓", 2),
    Column("flicker", "flicker", "0…2 ↓", 4),
    Column("response", "response", "× ↑", 2),
    Column("flat", "flat", "× ↑1", 2),
    Column("luma", "luma", "-1…1 ↑", 2),
    Column("ms", "time", "ms ↓", 2),
    Column("mb", "size", "MB ↓", 1),
)


class Table:
    """Lines of text for worlds by name, all as wide as the longest of `names` asks for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._width = max(map(len, names))

    def header(self) -> Iterator[str]:
        """Two lines: names, then units and directions."""
        yield self._line("", [column.head for column in COLUMNS])
        yield self._line("", [column.unit for column in COLUMNS])

    def row(self, name: str, score: Score) -> str:
        return self._line(name, [column.cell(getattr(score, column.name)) for column in COLUMNS])

    def comparison(self, one: tuple[str, Score], other: tuple[str, Score]) -> Iterator[str]:
        """Two lines under each other: `one` less `other`, and `one` over `other`."""
        pairs = [(c, _number(getattr(one[1], c.name)), _number(getattr(other[1], c.name))) for c in COLUMNS]
        yield f"{one[0]} against {other[0]}:"
        yield self._line("  difference", [_cell(c, a, b, _less, "+") for c, a, b in pairs])
        yield self._line("  times", [_cell(dataclasses.replace(c, digits=2), a, b, _over) for c, a, b in pairs])

    def _line(self, name: str, cells: Iterable[str]) -> str:
        columns = zip(cells, COLUMNS, strict=True)
        return f"{name:<{self._width}}  {'  '.join(f'{cell:>{column.width}}' for cell, column in columns)}".rstrip()


def _number(value: Value) -> float | None:
    return value[0] if isinstance(value, tuple) else value


def _cell(
    column: Column, a: float | None, b: float | None, join: Callable[[float, float], float | None], sign: str = ""
) -> str:
    return "" if a is None or b is None else column.cell(join(a, b), sign)


def _less(a: float, b: float) -> float:
    return a - b


def _over(a: float, b: float) -> float | None:
    """Only of numbers over 0: a ratio of others says nothing."""
    return a / b if a > 0 and b > 0 else None
