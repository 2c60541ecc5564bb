"""Build: worlds compiled before the show, and the trial by which "auto" chooses (the verb `l2s build`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from l2s_node.config import RunConfig, worlds_folders
from l2s_node.errors import ConfigError, EngineError
from l2s_node.loader import canvas_of, check, draw_field, find, prepare
from l2s_node.models import engines, store, trial
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.models.engines.base import NOT_KEPT, READY, Shape
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.models.worlds import SIZES, SUFFIX, worlds
from l2s_node.params import Params


def build(names: Sequence[str], size: str | None, config: RunConfig, say: Callable[[str], None]) -> None:
    """Build and keep the engines of worlds, and say a line of each.

    Args:
        names: worlds: a name (all its sizes, or `size`), NAME/SIZE or the path of a file.
        size: one of `SIZES`, or None.
        config: device, engine and canvas as in a show; `output_size` is that of the pictures that will come in.
        say: gets the lines.

    Raises:
        ModelError: a world isn't there or can't play.
        EngineError: an engine that was asked for, or every one, can't build a world.
        ConfigError: there is no size of pictures.
    """
    if config.output_size is None:
        raise ConfigError("a world is built for pictures of one size: --frame 1280x720")
    device, why = prepare(config)
    paths = list(dict.fromkeys(path for name in names for path in _files(name, size)))
    say(f"device: {device} ({why})")
    for path in paths:
        card = store.read_card(path)
        check(card)
        canvas = canvas_of(card, config, config.output_size, device)
        for line in _World(path, card, canvas, device).built(config.engine):
            say(line)


def _files(name: str, size: str | None) -> list[Path]:
    """The weights files that `name` stands for."""
    world, _, last = name.rpartition("/")
    if name.endswith(SUFFIX):
        return [find(name, "")]
    if last in SIZES or size is not None:
        return [find(world, last) if last in SIZES else find(name, size or "")]
    return [each.path for each in worlds(worlds_folders()) if each.name == name] or [find(name, Params().size)]


class _World:
    """One world on one canvas."""

    def __init__(self, path: Path, card: ModelCard, canvas: tuple[int, int], device: torch.device) -> None:
        self._generator, self._card = store.load(path)[0], card
        draw_field(self._generator, card, canvas)
        self._shape: Shape = (1, 1, canvas[1], canvas[0])
        self._device = device
        self._store = Prebuilt(building=True)
        self._called = f"{card.name}/{card.size} {canvas[0]}x{canvas[1]}"

    def built(self, asked: str) -> Iterator[str]:
        """The lines of what is built, and of the trial where the engine is "auto"."""
        made: dict[str, Engine] = {}
        failures = []
        try:
            for name in [asked] if asked != "auto" else engines.contenders(self._device, self._card):
                try:
                    made[name], line = self._engine(name)
                except EngineError as err:
                    failures.append(str(err))
                    line = f"{self._called} {name}: not built: {err}"
                    if name == asked:
                        raise
                yield line
            if not made:
                raise EngineError(f"no engine can play {self._called}: {'; '.join(failures)}")
            if len(made) > 1:
                yield self._compared(made)
        finally:
            for engine in made.values():
                engine.close()

    def _engine(self, name: str) -> tuple[Engine, str]:
        start = time.perf_counter()
        engine, _ = engines.build(name, self._generator, self._card, self._shape, self._device, "auto", self._store)
        took = time.perf_counter() - start
        slot = engines.slot(name, self._card, self._shape, self._device, self._store)
        if READY in engine.reason:
            end = f"is kept already, taken in {took:.2f} s"
        else:
            why = engine.reason.partition(NOT_KEPT)[2]
            nothing = f"; {NOT_KEPT}{why}" if why else "; there is nothing to keep"
            end = f"built in {took:.2f} s" + (", kept" if slot.has(engine.precision) else nothing)
        return engine, f"{self._called} {name} {engine.precision}: {end}"

    def _compared(self, made: dict[str, Engine]) -> str:
        found = trial.measure(made, torch.zeros(self._shape, device=self._device))
        trial.keep(engines.trial_slot(self._card, self._shape, self._device, self._store), found)
        return f"{self._called}: auto takes {next(iter(found.milliseconds))} ({found.text()})"
