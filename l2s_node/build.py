"""Build: worlds compiled before the show, and the trial by which "auto" chooses (the verb `l2s build`)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from l2s_node.config import RunConfig, worlds_folders
from l2s_node.cuda.chorus import seats
from l2s_node.cuda.graph import create
from l2s_node.errors import ConfigError, EngineError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.loader import SLOW, batches, canvas_of, check, draw_field, find, prepare
from l2s_node.models import engines, store, trial
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.models.engines.base import INT8, READY, Shape
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.models.worlds import SIZES, SUFFIX, worlds
from l2s_node.params import Params
from l2s_node.pipeline import Player
from l2s_node.train.examples import examples

USUAL = ((Params(), True), (Params(mix=0.5), False), (Params(fade=0.5), False), (Params(), True))
"""(knobs, whether the world fades in, from the second time on over itself), of which each wants other steps round the
network. What others want is compiled when they are turned."""
COMPARED = 96
"""Pictures that tell how near 8 bits are to float32; their inputs are not those that the ranges were found by."""


def build(
    names: Sequence[str], size: str | None, config: RunConfig, say: Callable[[str], None], channels: int = 1
) -> None:
    """Build and keep the engines of worlds, and say a line of each.

    Args:
        names: worlds: a name (all its sizes, or `size`), NAME/SIZE or the path of a file.
        size: one of `SIZES`, or None.
        config: device, engine, precision and canvas as in a show; `output_size` is that of the pictures that come in.
        say: gets the lines.
        channels: what so many of a show play in one launch is built as well, where that can be.

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
        world = _World(path, card, canvas, device, seats(channels), config.output_size)
        for line in world.built(config.engine, config.precision):
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
    """One world on one canvas, for one channel and, where that can be, for several at once."""

    def __init__(
        self,
        path: Path,
        card: ModelCard,
        canvas: tuple[int, int],
        device: torch.device,
        several: int,
        frame: tuple[int, int],
    ) -> None:
        self._generator, self._card = store.load(path)[0], card
        draw_field(self._generator, card, canvas)
        self._shape: Shape = (1, 1, canvas[1], canvas[0])
        self._several = several
        self._frame = frame
        self._device = device
        self._store = Prebuilt(building=True, examples=examples)
        self._called = f"{card.name}/{card.size} {canvas[0]}x{canvas[1]}"

    def built(self, engine: str, precision: str) -> Iterator[str]:
        """The lines of what is built, and of the trial where engine and precision are "auto"."""
        made: dict[str, Engine] = {}
        failures = []
        all_of_them = engine == precision == "auto"
        try:
            for each in engines.contenders(self._device, self._card) if all_of_them else [(engine, precision)]:
                label = " ".join(word for word in each if word != "auto")
                try:
                    made[label], line = self._engine(*each)
                except EngineError as err:
                    failures.append(str(err))
                    line = f"{self._called} {label}: not built: {err}"
                    if not all_of_them:
                        raise
                yield line
            if not made:
                raise EngineError(f"no engine can play {self._called}: {'; '.join(failures)}")
            if len(made) > 1:
                yield self._compared(made)
            yield from self._for_several(list(made.values()))
            if self._device.type == "cuda":
                yield self._steps(next(iter(made.values())))
        finally:
            for ready in made.values():
                ready.close()

    def _for_several(self, made: list[Engine]) -> Iterator[str]:
        """The lines of what channels play together; an engine that builds at once is built when it is wanted."""
        if self._several == 1:
            return
        fit = [each for each in made if batches(each.name, self._device, self._card) and each.name in SLOW]
        if not fit:
            yield f"{self._called}: nothing more for several channels is kept here"
        for each in fit:
            engine, line = self._engine(each.name, each.precision, self._several)
            engine.close()
            yield line

    def _steps(self, engine: Engine) -> str:
        """The line of what a frame meets beside the network, compiled for its size; on an NVIDIA GPU."""
        start, canvas = time.perf_counter(), (self._shape[3], self._shape[2])
        frame = Frame(blank(PixelFormat.UYVY, *self._frame), PixelFormat.UYVY, *self._frame, seconds=0.0, number=0)
        player = Player.of(self._called, engine, canvas)
        with closing(create(self._device)) as pipeline:
            for now, (params, fresh) in enumerate(USUAL):
                if fresh:
                    pipeline.use(player, float(now))
                pipeline.step(frame, params, float(now))
                pipeline.settle()
        took, size = time.perf_counter() - start, "x".join(map(str, self._frame))
        return f"{self._called}: the steps round it for {size}, built in {took:.2f} s, kept by torch"

    def _engine(self, name: str, precision: str, count: int = 1) -> tuple[Engine, str]:
        """(engine, its line) for `count` pictures at once."""
        start, shape = time.perf_counter(), (count, *self._shape[1:])
        engine, _ = engines.build(name, self._generator, self._card, shape, self._device, precision, self._store)
        took = time.perf_counter() - start
        slot = engines.slot(engine.name, self._card, shape, self._device, self._store)
        if READY in engine.reason:
            end = f"is kept already, taken in {took:.2f} s"
        else:
            kept = ", kept" if slot.has(engine.precision) else "; there is nothing to keep"
            end = f"built in {took:.2f} s{kept}"
        called = self._called if count == 1 else f"{self._called}, {count} channels at once,"
        return engine, f"{called} {engine.name} {engine.precision}: {end}"

    def _compared(self, made: dict[str, Engine]) -> str:
        found = trial.measure(made, torch.zeros(self._shape, device=self._device))
        found = dataclasses.replace(found, near={label: self._near(made[label]) for label in made if INT8 in label})
        trial.keep(engines.trial_slot(self._card, self._shape, self._device, self._store), found)
        return f"{self._called}: auto takes {found.best()[0]} ({found.text()})"

    def _near(self, engine: Engine) -> float:
        return trial.decibels(engine, self._generator, examples(self._shape, COMPARED, seed=1))
