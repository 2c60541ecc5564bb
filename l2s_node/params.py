"""The one table of knobs. OSC addresses, clamping, presets and the README's table are made from it.

`KNOBS` declares every knob once; `Params` is one frozen snapshot of all values; `Board` is where control threads
and the frame loop meet: control threads `set`, the loop takes one `snapshot` per frame. The inputs of looks, which are
files that come while the show runs, join the table of a board (`Board.declare`).
"""

from __future__ import annotations

import difflib
import enum
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from l2s_node.errors import ConfigError

Value = float | int | bool | str | tuple[float, ...]


class Kind(enum.Enum):
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    CHOICE = "choice"
    TEXT = "text"
    LIST = "names"
    """Any number of `choices` in order, as one text with commas; "" for none."""
    VECTOR = "numbers"
    """As many floats as the default has: a point, a colour."""
    EVENT = "event"
    """A button; its value counts how often it was pressed."""


class Change(enum.Enum):
    """What a change of the knob costs: nothing, the memory of past frames, or a model load in the background."""

    LIVE = "Live"
    RESET = "Reset"
    REBUILD = "Rebuild"


@dataclass(frozen=True, slots=True)
class Knob:
    """One parameter.

    Attributes:
        name: the last part of its OSC address (``/l2s/<name>``) and its key in presets.
        kind: type of its value.
        default: value at start.
        low: smallest number (numbers only).
        high: largest number (numbers only).
        unit: "s", "cells", … or "".
        help: one line for a person.
        change: see `Change`.
        choices: the values of a CHOICE in the order of their indices, or what a LIST may name, from index 1.
    """

    name: str
    kind: Kind
    default: Value
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    help: str = ""
    change: Change = Change.LIVE
    choices: tuple[str, ...] = ()

    def parse(self, raw: object) -> Value:
        """`raw` (int, float, bool, numeric string, a choice's name or index) as this knob's type, clamped.

        A LIST and a VECTOR take several such values as well, in a sequence or in a text with commas.

        Raises:
            ConfigError: it can't be read as this knob's value; the message says what would do.
        """
        if self.kind is Kind.TEXT:
            return str(raw)
        if self.kind is Kind.CHOICE:
            return self._choice(raw)
        if self.kind is Kind.LIST:
            return ", ".join(dict.fromkeys(filter(None, map(self._listed, _several(raw)))))
        if self.kind is Kind.VECTOR:
            return self._vector(_several(raw))
        if self.kind in _SWITCHES and isinstance(raw, str) and raw.strip().lower() in _WORDS:
            return _WORDS[raw.strip().lower()]
        number = _number(raw)
        if number is None:
            raise ConfigError(f"{self.name} takes {self.range_text()}, not {raw!r}")
        if self.kind in _SWITCHES:
            return number >= 0.5
        number = min(max(number, self.low), self.high)
        return round(number) if self.kind is Kind.INT else number

    def _choice(self, raw: object) -> str:
        if isinstance(raw, str) and raw.strip().lower() in self.choices:
            return raw.strip().lower()
        number = _number(raw)
        if number is None:
            close = difflib.get_close_matches(str(raw).lower(), self.choices, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(f"{self.name} takes {self.range_text()}, not {raw!r}{hint}")
        return self.choices[min(max(round(number), 0), len(self.choices) - 1)]

    def _listed(self, raw: object) -> str:
        """One name of a LIST; "" for none."""
        name = str(raw).strip().lower()
        if name in (*self.choices, ""):
            return name
        number = _number(raw)
        if number is None:
            close = difflib.get_close_matches(name, self.choices, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(f"{self.name} takes {self.range_text()}, not {raw!r}{hint}")
        return ("", *self.choices)[min(max(round(number), 0), len(self.choices))]

    def _vector(self, raw: Sequence[object]) -> tuple[float, ...]:
        assert isinstance(self.default, tuple)
        numbers = [number for number in map(_number, raw) if number is not None]
        enough = len(self.default) - (len(self.default) == 4)  # a colour may come without its alpha
        if len(numbers) != len(raw) or not enough <= len(numbers) <= len(self.default):
            raise ConfigError(f"{self.name} takes {self.range_text()}, not {raw!r}")
        return (*(min(max(number, self.low), self.high) for number in numbers), *self.default[len(numbers) :])

    def range_text(self) -> str:
        """The range in words: "0 … 2 s", "on or off", "normal, add, …"."""
        if self.kind is Kind.CHOICE:
            return ", ".join(self.choices)
        if self.kind is Kind.BOOL:
            return "0 or 1"
        if self.kind is Kind.TEXT:
            return "a name"
        if self.kind is Kind.LIST:
            return f"names with commas between them, of {', '.join(self.choices)}".removesuffix(", of ")
        if self.kind is Kind.EVENT:
            return "1 to press it"
        many = f"{len(self.default)} numbers, " if isinstance(self.default, tuple) else ""
        return f"{many}{self.low:g} … {self.high:g}" + (f" {self.unit}" if self.unit else "")


_SWITCHES = (Kind.BOOL, Kind.EVENT)
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def _several(raw: object) -> Sequence[object]:
    if isinstance(raw, str):
        return raw.split(",")
    return raw if isinstance(raw, (list, tuple)) else [raw]


def _number(raw: object) -> float | None:
    if isinstance(raw, (bool, int, float)):
        number = float(raw)
    elif isinstance(raw, str):
        try:
            number = float(raw.strip())
        except ValueError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


BLENDS = ("normal", "add", "screen", "multiply", "overlay", "lighten", "difference", "luma")
SIZES = ("small", "medium", "large")


def _f(name: str, default: float, low: float, high: float, help: str, unit: str = "") -> Knob:
    return Knob(name, Kind.FLOAT, default, low, high, unit, help)


def _b(name: str, default: bool, help: str) -> Knob:
    return Knob(name, Kind.BOOL, default, help=help)


def _c(name: str, default: str, choices: tuple[str, ...], help: str, change: Change = Change.LIVE) -> Knob:
    return Knob(name, Kind.CHOICE, default, help=help, change=change, choices=choices)


KNOBS: tuple[Knob, ...] = (
    # the world
    Knob("world", Kind.TEXT, "flowers", help="which world, or one between two: sea+clouds@0.3", change=Change.REBUILD),
    _c("size", "small", SIZES, "which size of that world", Change.REBUILD),
    _f("crossfade", 0.5, 0, 10, "how long a change of world or size takes", "s"),
    # sample: the frame becomes one luma channel at the generator's size
    _c("framing", "fit", ("crop", "fit", "stretch"),
       "how a frame meets the generator's shape: its middle, all of it, or all of it squeezed"),
    _f("zoom", 1, 1, 8, "how far into the input picture"),
    _f("pan_x", 0, -1, 1, "where a zoomed view lies, left to right"),
    _f("pan_y", 0, -1, 1, "where a zoomed view lies, top to bottom"),
    _b("flip_x", False, "mirror left and right"),
    _b("flip_y", False, "upside down"),
    # condition: what the performer does to the luma before the generator
    _f("brightness", 0, -1, 1, "added to the luma"),
    _f("contrast", 1, 0, 4, "around middle grey"),
    _f("gamma", 1, 0.2, 5, "of the luma; over 1 lifts the dark"),
    _f("auto_levels", 0, 0, 1, "how far the luma is spread to the full range by itself"),
    _b("invert", False, "dark becomes bright"),
    _f("detail", 16, 6, 64, "cells across the short side: few dream, many follow the input", "cells"),
    _f("input_smoothing", 0, 0, 5, "time constant of the input's memory", "s"),
    _b("freeze", False, "hold the input; the knobs stay alive"),
    # the generator's seed field: what it dreams where the camera sees nothing
    _f("texture", 1, 0, 2, "how much the world adds where the input is empty"),
    _f("drift", 0, 0, 2, "how fast that moves by itself: so many dreams a second"),
    # compose: the generator's picture becomes the output frame
    _f("mix", 1, 0, 1, "0 the input, 1 the world"),
    _c("blend", "normal", BLENDS, "how the world lies over the input"),
    _f("output_smoothing", 0, 0, 5, "time constant of the output's memory", "s"),
    _f("feedback", 0, 0, 0.98, "how much of the last output shows through, a little larger"),
    _f("saturation", 1, 0, 3, "0 is grey"),
    _f("fade", 0, 0, 1, "to black"),
    _c("show", "output", ("output", "input", "conditioned", "split"), "what the sinks see"),
    _c("upscale", "bicubic", ("bilinear", "bicubic"), "how the picture is enlarged to the output's size"),
    # looks: shaders over the finished picture
    Knob("look", Kind.LIST, "", help="shaders over the picture, in this order"),
)  # fmt: skip

KNOB: Mapping[str, Knob] = {knob.name: knob for knob in KNOBS}


@dataclass(frozen=True, slots=True)
class Params:
    """One snapshot of every knob, in the order of `KNOBS`, already parsed and clamped.

    `more` has those that were declared to the board, by name; it is never changed.
    """

    world: str = "flowers"
    size: str = "small"
    crossfade: float = 0.5
    framing: str = "fit"
    zoom: float = 1.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    flip_x: bool = False
    flip_y: bool = False
    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    auto_levels: float = 0.0
    invert: bool = False
    detail: float = 16.0
    input_smoothing: float = 0.0
    freeze: bool = False
    texture: float = 1.0
    drift: float = 0.0
    mix: float = 1.0
    blend: str = "normal"
    output_smoothing: float = 0.0
    feedback: float = 0.0
    saturation: float = 1.0
    fade: float = 0.0
    show: str = "output"
    upscale: str = "bicubic"
    look: str = ""
    more: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}), hash=False)


def nearest(name: str, table: Mapping[str, Knob] = KNOB) -> str | None:
    """The knob of `table` whose name is most like `name`, if one is."""
    found = difflib.get_close_matches(name, table, 1, 0.5)
    return found[0] if found else None


def parse_all(raw: Mapping[str, object], table: Mapping[str, Knob] = KNOB) -> dict[str, Value]:
    """Every value of `raw` parsed by its knob in `table`: whole or nothing.

    Raises:
        ConfigError: a name is no knob, or a value can't be read.
    """
    values: dict[str, Value] = {}
    for name, value in raw.items():
        knob = table.get(name)
        if knob is None:
            close = nearest(name, table)
            raise ConfigError(f"there is no knob {name!r}" + (f"; did you mean {close!r}?" if close else ""))
        values[name] = knob.parse(value)
    return values


class Board:
    """The board that control threads write and the frame loop reads; safe from any thread.

    `revision` grows with every change. `changes_since` lets feedback tell who turned what without echoing it back.

    Attributes:
        knobs: the table, by name: `KNOBS` and what was declared. It is replaced, never changed.
    """

    def __init__(self, **start: object) -> None:
        self._lock = threading.Lock()
        self.knobs: Mapping[str, Knob] = KNOB
        self._values: dict[str, Value] = {**{knob.name: knob.default for knob in KNOBS}, **parse_all(start)}
        self._changed: dict[str, tuple[int, object]] = {}
        self._revision = 0
        self._snapshot = self._freeze()

    def _freeze(self) -> Params:
        values: dict[str, Any] = {k: float(v) if KNOB[k].kind is Kind.FLOAT else v for k, v in self._own()}
        more = {name: value for name, value in self._values.items() if name not in KNOB}
        return Params(**values, more=MappingProxyType(more))

    def _own(self) -> Iterator[tuple[str, Any]]:
        return ((name, self._values[name]) for name in KNOB)

    def declare(self, knobs: Sequence[Knob], instead_of: str = "") -> None:
        """Put `knobs` into the table: new ones, or others in the place of those with their names.

        Knobs whose names begin with `instead_of`, where it is given, leave the table if `knobs` hasn't them. A value
        stays where the new knob can read it (clamped), and is the default elsewhere.
        """
        with self._lock:
            table = {n: k for n, k in self.knobs.items() if n in KNOB or not instead_of or not n.startswith(instead_of)}
            table.update({knob.name: knob for knob in knobs})
            values = self._values
            self.knobs = MappingProxyType(table)
            self._values = {name: _kept(knob, values.get(name)) for name, knob in table.items()}
            self._changed = {name: when for name, when in self._changed.items() if name in table}
            self._revision += 1
            new = {name: (self._revision, None) for name, value in self._values.items() if values.get(name) != value}
            self._changed.update(new)
            self._snapshot = self._freeze()

    def set(self, raw: Mapping[str, object], origin: object = None) -> dict[str, Value]:
        """Apply all of `raw` at once, between two frames: whole or nothing. Returns the values as they were taken.

        `origin` names who turned the knobs (an address), for `changes_since`.

        Raises:
            ConfigError: see `parse_all`; nothing is changed then.
        """
        with self._lock:
            values = parse_all(raw, self.knobs)
            for name in [name for name in values if self.knobs[name].kind is Kind.EVENT]:
                values[name] = int(self._values[name]) + int(values[name])  # type: ignore[arg-type]
            self._values.update(values)
            self._revision += 1
            self._changed.update({name: (self._revision, origin) for name in values})
            self._snapshot = self._freeze()
        return values

    def get(self, name: str) -> Value:
        with self._lock:
            return self._values[name]

    def snapshot(self) -> Params:
        """All values of this moment; the same object as long as nothing changes."""
        return self._snapshot

    def values(self) -> dict[str, Value]:
        """All but the buttons."""
        with self._lock:
            return {name: value for name, value in self._values.items() if self.knobs[name].kind is not Kind.EVENT}

    @property
    def revision(self) -> int:
        return self._revision

    def changes_since(self, revision: int) -> Iterator[tuple[str, Value, object]]:
        """(name, value, origin) of every knob, but for buttons, that was set after `revision`."""
        with self._lock:
            changed = [
                (name, self._values[name], who)
                for name, (when, who) in self._changed.items()
                if when > revision and self.knobs[name].kind is not Kind.EVENT
            ]
        yield from changed


def _kept(knob: Knob, value: Value | None) -> Value:
    """`value`, that a former knob of that name had, as `knob` reads it; its default where it can't."""
    if knob.kind is Kind.EVENT:
        return value if type(value) is int else 0
    try:
        return knob.default if value is None else knob.parse(value)
    except ConfigError:
        return knob.default
