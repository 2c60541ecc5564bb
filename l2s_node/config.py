"""Where things lie, and the frozen settings that a run starts with (command line over one TOML file).

What can change while the show runs is a knob (`params.py`), not a setting. `RunConfig` holds only what is fixed at
start, plus the knobs' start values as they were written, which `params.Board` parses.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from l2s_node.errors import ConfigError

NAME = "l2s"
OF_A_CHANNEL = frozenset(
    {
        "source",
        "sinks",
        "fps",
        "output_size",
        "canvas",
        "device",
        "engine",
        "precision",
        "preset",
        "world",
        "size",
        "on_loss",
        "knobs",
    }
)
"""Settings that each of several channels may have of its own; the others are the whole node's."""
DEVICES = ("auto", "cpu", "cuda", "mps")
ENGINES = ("auto", "eager", "inductor", "openvino", "onnxruntime", "tensorrt")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
ON_LOSS = ("hold", "bypass", "black", "pattern")
FAVOR = ("latency", "throughput")


def assets() -> Path:
    """The folder that holds `shaders` and `presets`: inside an installed package, beside it in a checkout.

    Raises:
        ConfigError: neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "assets", package.parent):
        if (folder / "presets").is_dir():
            return folder
    raise ConfigError(f"the presets of l2s-node are neither in {package} nor beside it: install it again")


def home() -> Path:
    """The user's own folder, `$L2S_HOME` or `~/.l2s`. It need not exist."""
    return Path(os.environ.get("L2S_HOME") or Path.home() / ".l2s")


def preset_folders() -> tuple[Path, ...]:
    """Where presets are looked for, first hit wins; new ones are saved in the first. Folders need not exist.

    The working directory is not among them: where a show is started from must not change what it plays.
    """
    return home() / "presets", assets() / "presets"


def worlds_folders(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Where worlds (`<name>/<size>.safetensors`) are looked for, first hit wins: `extra`, the user's, the bundled."""
    return *extra, home() / "worlds", assets() / "presets" / "worlds"


def looks_folders(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Where looks (ISF files, ``<name>.fs``) are looked for, first hit wins: `extra`, the user's, the bundled."""
    return *extra, home() / "looks", assets() / "shaders" / "looks"


def demo_clip() -> Path:
    """The bundled clip: a hand puts bottles on a table."""
    return assets() / "presets" / "demo" / "bottles.mp4"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Every start-up setting of `l2s run`, already parsed.

    Attributes:
        source: URI that pictures come from.
        sinks: URIs that they go to; none given means the NDI sender of the node's name.
        name: the node's name: its NDI sender and the first part of its OSC addresses.
        fps: frames a second of the output; None follows the source.
        output_size: (width, height) in pixels, width even; None follows the source.
        canvas: (width, height) that the generator works on; None fits the source's shape.
        device: one of `DEVICES`.
        engine: one of `ENGINES`.
        favor: one of `FAVOR`: each frame straight through, or overlapped with its neighbours and one frame later.
        precision: what worlds are calculated in, one of `PRECISIONS`.
        osc: UDP port for OSC; 0 for none.
        osc_feedback: (host, port) that state is sent to; None for this machine's port after `osc`.
        lan: listen beyond loopback.
        panel: TCP port of the panel; 0 for none.
        preset: name of the preset to start with.
        world: world to start with, over the preset's; None leaves it to the preset or the default.
        size: size of that world, over the preset's.
        on_loss: what is shown without a source, one of `ON_LOSS`.
        seconds: stop after so long; None for never.
        frames: stop after so many output frames; None for never.
        looks: folders of further looks, before the user's and the bundled.
        summary: where to write the flat JSON at exit.
        channel: its name as one of several channels; "" for the only one.
        channels: the settings of each of several channels; then `source`, `sinks` and the knobs here mean nothing.
        knobs: start values of further knobs as they were written, over the preset's; `params.parse_all` reads them.
    """

    source: str
    sinks: tuple[str, ...]
    name: str = NAME
    fps: float | None = None
    output_size: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None
    device: str = "auto"
    engine: str = "auto"
    favor: str = "latency"
    precision: str = "auto"
    osc: int = 7400
    osc_feedback: tuple[str, int] | None = None
    lan: bool = False
    panel: int = 7480
    preset: str | None = None
    world: str | None = None
    size: str | None = None
    on_loss: str = "hold"
    seconds: float | None = None
    frames: int | None = None
    looks: tuple[Path, ...] = ()
    summary: Path | None = None
    channel: str = ""
    channels: tuple[RunConfig, ...] = ()
    knobs: Mapping[str, object] = field(default_factory=dict)

    def start_knobs(self) -> dict[str, object]:
        """`knobs` with `world` and `size` where they were given: what to set on the board after the preset."""
        given = {"world": self.world, "size": self.size}
        return {**self.knobs, **{name: value for name, value in given.items() if value is not None}}


def load(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """The settings in the TOML file at `path` (None for no file) with `overrides` on top.

    Keys are the options' names without dashes in front ("in", "output-size"; "output_size" and a field's name do
    as well); in `overrides` a None is an option that was not given. Knobs stand in a table `[knobs]`.

    Raises:
        ConfigError: the file can't be read, a key is unknown, a value can't be used or there is no source.
    """
    raw: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for layer in (_read(path) if path else {}, {key: v for key, v in overrides.items() if v is not None}):
        given = {"channel": layer["channel"]} if "channel" in layer else given
        named = {_field(key): value for key, value in layer.items() if key != "channel"}
        named["knobs"] = {**raw.get("knobs", {}), **_table(named.get("knobs", {}))}
        raw.update(named)
    if "channel" in given:
        return _several(raw, given["channel"])
    values: dict[str, Any] = {name: _parse(name, value) for name, value in raw.items()}
    if "source" not in values:
        raise ConfigError("a run needs a source: --in ndi:NAME, camera:0, file:PATH or pattern: (l2s list shows them)")
    values.setdefault("sinks", (f"ndi:{values.get('name', NAME)}",))
    return RunConfig(**values)


def _several(raw: dict[str, Any], channels: object) -> RunConfig:
    """The settings of several channels: each its own, on top of those that they share."""
    if "source" in raw or "sinks" in raw:
        raise ConfigError("a run has --in and --out, or channels that have their own, not both")
    if not isinstance(channels, (list, tuple)) or not channels:
        raise ConfigError("channels are tables [[channel]], or --channel NAME:IN>OUT")
    tables = [_way(each) if isinstance(each, str) else _table(each) for each in channels]
    names = [_channel_name(table.pop("name", f"ch{number}")) for number, table in enumerate(tables, 1)]
    if len({name.lower() for name in names}) < len(names):
        raise ConfigError(f"channels need names of their own, not {', '.join(names)}")
    base: dict[str, Any] = {name: _parse(name, value) for name, value in raw.items()}
    knobs = base.pop("knobs", {})
    shared, own = _split(knobs, names)
    ways = []
    for name, table in zip(names, tables, strict=True):
        values = {_field(key): value for key, value in table.items()}
        refused = sorted(values.keys() - OF_A_CHANNEL)
        if refused:
            raise ConfigError(f"{_option(refused[0])} is the whole node's, not the channel {name}'s")
        mine: dict[str, Any] = {key: _parse(key, value) for key, value in values.items()}
        if "source" not in mine:
            raise ConfigError(f'the channel {name} needs a source: in = "ndi:NAME", or --channel {name}:ndi:NAME')
        mine.setdefault("sinks", (f"ndi:{base.get('name', NAME)}-{name}",))
        turned = {**shared, **_table(values.get("knobs", {})), **own[name]}
        ways.append(RunConfig(**{**base, **mine, "knobs": turned, "channel": name}))
    sinks = [sink for way in ways for sink in way.sinks if sink != "null:"]
    if twice := next((sink for sink in sinks if sinks.count(sink) > 1), None):
        raise ConfigError(f"two channels go to {twice}: give each a sink of its own")
    return dataclasses.replace(ways[0], channel="", channels=tuple(ways))


def _split(knobs: Mapping[str, object], names: list[str]) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """Start values for all channels, and those that were said for one: "cam1/mix" or "1/mix"."""
    numbers = {str(number): name for number, name in enumerate(names, 1)}
    shared: dict[str, object] = {}
    own: dict[str, dict[str, object]] = {name: {} for name in names}
    for key, value in knobs.items():
        first, _, rest = key.partition("/")
        name = numbers.get(first, first)
        if rest and name in own:
            own[name][rest] = value
        else:
            shared[key] = value
    return shared, own


def _way(text: str) -> dict[str, object]:
    """``NAME:IN>OUT>OUT`` as a table."""
    name, _, rest = text.partition(":")
    source, *sinks = (part.strip() for part in rest.split(">"))
    if not name.strip() or not source:
        raise ConfigError(f"--channel takes NAME:IN>OUT, as in cam1:ndi:A>ndi:A-out, not {text!r}")
    return {"name": name.strip(), "in": source, **({"out": sinks} if sinks else {})}


def _channel_name(raw: object) -> str:
    """A name that is a part of an OSC address of its own."""
    try:
        name = _name(raw)
    except ValueError as err:
        raise ConfigError(f"a channel's name takes letters, digits, dots, dashes and underscores, not {raw!r}") from err
    if name.isdecimal():
        raise ConfigError(f"a channel has its number already: call it other than {name}")
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"can't read the settings in {path}: {err.strerror or err}") from err
    except ValueError as err:  # bad TOML, or not UTF-8
        raise ConfigError(f"{path} is not TOML: {err}") from err


_FIELDS = {"in": "source", "out": "sinks"}
_OPTIONS = {name: option for option, name in _FIELDS.items()}


def _option(name: str) -> str:
    return _OPTIONS.get(name, name.replace("_", "-"))


def _field(key: str) -> str:
    name = _FIELDS.get(key, key.replace("-", "_"))
    known = [f.name for f in dataclasses.fields(RunConfig) if f.name not in ("channel", "channels")]
    if name not in known:
        close = difflib.get_close_matches(key, [_option(k) for k in known], 1, 0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"there is no setting {key!r}{hint} (knobs stand in a table [knobs])")
    return name


def _table(raw: object) -> dict[str, object]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"knobs are a table of names and values, not {raw!r}")
    return dict(raw)


def _parse(name: str, raw: object) -> object:
    if name == "knobs":
        return raw
    wanted, parse = _PARSERS[name]
    try:
        return parse(raw)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError) as err:
        raise ConfigError(f"{_option(name)} takes {wanted}, not {raw!r}") from err


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError
    return raw.strip()


def _name(raw: object) -> str:
    """A name that an OSC address can carry: see "OSC Address Spaces" in the OSC 1.0 specification."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", _text(raw)):
        raise ValueError
    return _text(raw)


def _uri(raw: object) -> str:
    if not re.match(r"[a-z]+:", _text(raw)):
        raise ValueError
    return _text(raw)


def _uris(raw: object) -> tuple[str, ...]:
    uris = tuple(_uri(item) for item in (raw if isinstance(raw, (list, tuple)) else [raw]))
    if not uris or len(set(uris)) < len(uris):
        raise ValueError
    return uris


def _number(raw: object) -> float:
    if isinstance(raw, bool):
        raise ValueError
    number = float(Fraction(raw.strip())) if isinstance(raw, str) else float(raw)  # type: ignore[arg-type]
    if not math.isfinite(number) or number <= 0:
        raise ValueError
    return number


def _fps(raw: object) -> float | None:
    if raw == "auto":
        return None
    if not 1 <= (number := _number(raw)) <= 1000:
        raise ValueError
    return number


def _count(raw: object) -> int:
    number = _number(raw)
    if number != int(number):
        raise ValueError
    return int(number)


def _port(raw: object) -> int:
    if isinstance(raw, (bool, float)):
        raise ValueError
    port = int(raw)  # type: ignore[call-overload]
    if not 0 <= port <= 65535:
        raise ValueError
    return int(port)


def _address(raw: object) -> tuple[str, int]:
    host, _, port = _text(raw).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # [::1]:9000
    if not host or _port(port) == 0:
        raise ValueError
    return host, _port(port)


def _size(raw: object) -> tuple[int, int] | None:
    if raw == "same":
        return None
    width, height = (int(part) for part in re.split("[x×]", _text(raw)))
    if width % 2 or not (2 <= width <= 16384 and 2 <= height <= 16384):
        raise ValueError
    return width, height


def _canvas(raw: object) -> tuple[int, int] | None:
    return None if raw == "auto" else _size(raw)


def _switch(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError
    return raw


def _one_of(choices: tuple[str, ...]) -> tuple[str, Callable[[object], str]]:
    def parse(raw: object) -> str:
        if raw not in choices:
            raise ValueError
        return str(raw)

    return ", ".join(choices), parse


def _folders(raw: object) -> tuple[Path, ...]:
    folders = tuple(_path(item) for item in (raw if isinstance(raw, (list, tuple)) else [raw]))
    if not all(folder.is_dir() for folder in folders):
        raise ValueError
    return folders


def _path(raw: object) -> Path:
    return raw if isinstance(raw, Path) else Path(_text(raw)).expanduser()


_PORT = ("a port from 0 (off) to 65535", _port)

_PARSERS: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "source": ("a URI such as ndi:NAME, camera:0, file:PATH or pattern:", _uri),
    "sinks": ("URIs such as ndi:NAME, file:out.mp4 or null:, each once", _uris),
    "name": ("letters, digits, dots, dashes and underscores", _name),
    "fps": ("auto or a number of frames a second from 1 to 1000, such as 25 or 30000/1001", _fps),
    "output_size": ("same or WIDTHxHEIGHT with an even width, such as 1280x720", _size),
    "canvas": ("auto or WIDTHxHEIGHT with an even width, such as 256x256", _canvas),
    "device": _one_of(DEVICES),
    "engine": _one_of(ENGINES),
    "favor": _one_of(FAVOR),
    "precision": _one_of(PRECISIONS),
    "osc": _PORT,
    "osc_feedback": ("HOST:PORT", _address),
    "lan": ("true or false", _switch),
    "panel": _PORT,
    "preset": ("a preset's name", _text),
    "world": ("a world's name", _text),
    "size": ("small, medium or large", _text),
    "on_loss": _one_of(ON_LOSS),
    "seconds": ("a number of seconds over 0", _number),
    "frames": ("a number of frames from 1", _count),
    "looks": ("folders that are there", _folders),
    "summary": ("a path", _path),
}
