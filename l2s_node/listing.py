"""Listing: what there is to play from, to and on, and why the rest can't be used here.

Only what asks for worlds, engines or devices imports torch: the list of sources is there at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator

from l2s_node import config, video
from l2s_node.config import worlds_folders
from l2s_node.errors import EngineError, ModelError
from l2s_node.machine import processor
from l2s_node.models.worlds import worlds
from l2s_node.picture.looks import Library

HINTS = {
    "ndi:": "ndi:NAME on the network",
    "file:": "file:PATH of a video (or, as a source, a picture)",
    "camera:": "camera:0",
    "syphon:": "syphon:NAME, or syphon:APP/NAME as a source",
    "spout:": "spout:NAME",
    "window:": "a plain window on this desktop; with a display's number full screen",
}
"""How to go on after the colon, for rooms whose names can't be listed."""


def listing(what: str | None = None) -> Iterator[str]:
    """The lines of `l2s list`: of one kind, or of all but the knobs under headings."""
    kinds: dict[str, Callable[[], Iterable[str]]] = {
        "sources": lambda: map(_row, video.survey()),
        "sinks": lambda: map(_row, video.survey_sinks()),
        "worlds": _world_rows,
        "looks": _look_rows,
        "engines": _engine_rows,
        "built": _built_rows,
        "devices": lambda: map(_row, _devices()),
        "knobs": _knob_rows,
    }
    if what is not None:
        yield from kinds[what]()
        return
    for kind in [kind for kind in kinds if kind != "knobs"]:
        yield f"{kind}:"
        yield from (f"  {line}" for line in kinds[kind]())


def _row(found: tuple[str, str | None]) -> str:
    """A name, and why it can't be used here where that is so; or how a room is addressed that lists nothing now."""
    name, reason = found
    if reason is None:
        return f"{name:<14} {HINTS[name]}" if name in HINTS else name
    return f"{name:<14} not here: {reason}"


def _world_rows() -> Iterator[str]:
    from l2s_node.models import store
    from l2s_node.picture import condition

    found = worlds(worlds_folders())
    for world in found:
        name = f"{world.name}/{world.size}"
        try:
            card = store.read_card(world.path)
            condition.check(card.condition)
        except ModelError as err:
            yield f"{name:<20} can't play: {err}"
            continue
        about = "; ".join(part.strip().splitlines()[0] for part in (card.sources, card.licence) if part.strip())
        about = "; ".join(part for part in (_scores(card.training.get("scores")), about) if part)
        yield f"{name:<20} {card.architecture}, {card.resolution} pixels, {world.path}" + (
            f" ({about})" if about else ""
        )
    if not found:
        yield "none: train one with l2s train, or put one into " + str(config.home() / "worlds")


def _scores(found: object) -> str:
    """What `l2s score --write` left in a card, in short; "" for a card without."""
    if not isinstance(found, dict):
        return ""
    heads = {"kid": "KID own", "kid_foreign": "foreign", "flicker": "flicker", "response": "response", "flat": "flat"}
    plain = {name: value[0] if isinstance(value, list) and value else value for name, value in found.items()}
    told = [f"{head} {plain[name]:g}" for name, head in heads.items() if isinstance(plain.get(name), int | float)]
    return ", ".join(told)


def _look_rows() -> Iterator[str]:
    library = Library(config.looks_folders(), quiet=True)
    for name, look in library.looks.items():
        inputs = ", ".join(knob.name.removeprefix(look.prefix) for knob in look.knobs())
        yield f"{name:<20} {look.shader.description or look.shader.path.name} ({inputs or 'no inputs'})"
    for name, reason in library.broken.items():
        yield f"{name:<20} can't play: {reason}"


def _engine_rows() -> Iterator[str]:
    from l2s_node.models import engines

    yield from map(_row, engines.survey())


def _built_rows() -> Iterator[str]:
    from l2s_node.models.identity import outdated
    from l2s_node.models.prebuilt import LIMIT, Prebuilt

    kept = Prebuilt()
    entries = kept.entries()
    for entry in entries:
        what = f"{entry.parts.get('engine')} {entry.parts.get('precision')}"
        used = datetime.date.fromtimestamp(entry.used).isoformat()
        reason = outdated(entry.parts)
        row = f"{entry.about:<20} {entry.parts.get('canvas'):<10} {what:<20} {entry.size / 1e6:7.1f} MB, used {used}"
        yield row if reason is None else f"{row}, not taken any more: {reason}"
    total = sum(entry.size for entry in entries)
    yield f"{total / 1e6:.1f} MB of at most {LIMIT / 1e6:.0f} in {kept.folder}" if entries else "none: see l2s build"


def _devices() -> Iterator[tuple[str, str | None]]:
    import torch

    from l2s_node.models import engines

    for name in config.DEVICES[1:]:
        try:
            device, _ = engines.pick_device(name)
        except EngineError as err:
            yield name, str(err)
            continue
        called = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
        yield f"{name:<14} {called}", None


def _knob_rows() -> Iterator[str]:
    rows = [("address", "type", "range", "default", "change", "what it does")]
    rows += [
        (f"/{config.NAME}/{k.name}", k.kind.value, k.range_text(), _plain(k.default), k.change.value, k.help)
        for k in Library(config.looks_folders(), quiet=True).knobs().values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True))


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return str(int(value)) if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
