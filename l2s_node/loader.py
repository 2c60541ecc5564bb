"""Loader: the threads `l2s-load` and `l2s-build`. They import torch, make the pipeline, load, compile and warm worlds.

Nothing of this happens on the frame loop: the loop asks (`ask`), goes on playing, and takes what is ready between two
frames (`pipeline`, `ready`, `failed`). Newest request wins; one that is overtaken while it waits is never begun.

What takes seconds or minutes is built in `l2s-build`, while the world plays already on an engine that is there at once;
so a change of the world never waits until the one before is built.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l2s_node.aside import Aside
from l2s_node.config import RunConfig, worlds_folders
from l2s_node.cuda.prepare import Preparer
from l2s_node.errors import EngineError, L2SError, ModelError
from l2s_node.latest import Latest
from l2s_node.models import worlds
from l2s_node.shelf import Shelf

if TYPE_CHECKING:
    import torch

    from l2s_node.models.card import ModelCard
    from l2s_node.models.engines import Engine
    from l2s_node.models.engines.base import Shape
    from l2s_node.models.pix2pix import Generator
    from l2s_node.models.prebuilt import Prebuilt
    from l2s_node.pipeline import Pipeline, Player

log = logging.getLogger(__name__)

SLOW = ("inductor", "tensorrt")
"""Engines that build for seconds or minutes; eager plays meanwhile."""
CACHED = ("inductor",)
"""Those of them that take seconds even where all is compiled, and that another process can compile for this one."""
BATCHED = ("inductor", "eager")
"""Engines that play several channels at once on an NVIDIA GPU, each picture as if it were alone."""
PATIENCE = 1.0
"""Seconds that a stop waits for the loader before it says so."""
ENDING = "the end waits until what is being loaded is built"

Job = Callable[["Pipeline"], None]
"""What `l2s-load` does, with the pipeline."""


@dataclass(frozen=True, slots=True)
class Request:
    """A world to get ready.

    Attributes:
        world: its name, that of a world between two ("sea+clouds@0.3"), or the path of a weights file (from the
            command line only).
        size: "small", "medium" or "large".
        frame: (width, height) of the input that it will play on.
    """

    world: str
    size: str
    frame: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.world}/{self.size}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A world that is ready.

    Attributes:
        request: what was asked for.
        player: for `Pipeline.use`.
        canvas_for: the canvas that it wants for an input of (width, height).
        engine: what runs it and how ("openvino bfloat16").
        reason: why this engine.
        close: releases it; call it when nothing plays it any more.
    """

    request: Request
    player: Player
    canvas_for: Callable[[tuple[int, int]], tuple[int, int]]
    engine: str
    reason: str
    close: Callable[[], None]

    @property
    def for_now(self) -> bool:
        """A faster engine is built next."""
        return self.player.passing


class Loader:
    """Owns both threads; see the module's docstring.

    Attributes:
        pipeline: filled once, when torch is there.
        ready: the newest world that can play.
        failed: what can't be loaded and why, in one sentence; None in place of the request where nothing can.
    """

    def __init__(self, config: RunConfig, shelf: Shelf | None = None) -> None:
        self._shelf = shelf or Shelf()
        self.pipeline: Latest[Pipeline] = Latest()
        self.ready: Latest[Loaded] = Latest()
        self.failed: Latest[tuple[Request | None, str]] = Latest()
        self._config = config
        self._newest: Request | None = None
        self._shown = False
        self._building: set[Request] = set()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._builder = Preparer("build")
        self._aside = Aside(config)
        self._thread = threading.Thread(target=self._run, name="l2s-load")
        self._thread.start()

    @property
    def broken(self) -> bool:
        """The thread has ended unasked: after a `failed` without a request, or by an error that is our own mistake."""
        return not self._thread.is_alive()

    def ask(self, request: Request) -> None:
        """Get a world ready; returns at once."""
        self._newest = request
        self._jobs.put(functools.partial(self._load, request))

    def stay(self, loaded: Loaded) -> None:
        """What plays is wanted on, and nothing that was asked for since."""
        self._newest = loaded.request
        if loaded.for_now and loaded.request not in self._building:  # what was to follow it was let go
            self._jobs.put(functools.partial(self._load, loaded.request))

    def close(self) -> None:
        """Stop after what is being built, join, and release what nobody took."""
        self._stop.set()
        self._aside.close()
        if self._builder.busy:
            log.info(ENDING)
        self._builder.close()
        self._jobs.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            log.info(ENDING)
        self._thread.join()
        left = self.ready.take()
        if left is not None:
            left.close()

    # --- in l2s-load -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            device, reason = prepare(self._config)
            from l2s_node.cuda.graph import create, favored
        except L2SError as err:
            self.failed.put((None, str(err)))
            return
        except (ImportError, OSError) as err:  # OSError: a library that torch is linked to
            self.failed.put((None, f"no world can play here: {err}; install l2s-node again"))
            return
        log.info("device: %s (%s)", device, reason)
        self._shelf.say_once(favored(self._config.favor, device))
        pipeline = create(device, self._config.output_size, self._config.favor, self._shelf.choir(device))
        self.pipeline.put(pipeline)
        ending = False
        while not (ending and self._jobs.empty()):  # what was ready too late is closed by its turn
            job = self._jobs.get()
            if job is None:
                ending = True
            else:
                job(pipeline)

    def _load(self, request: Request, pipeline: Pipeline) -> None:
        if not self._stop.is_set() and not self._overtaken(request):
            steps = load(request, self._config, pipeline.device, self._shelf, self._aside)
            self._go_on(request, steps, time.monotonic())

    def _offer(
        self, request: Request, loaded: Loaded, rest: Iterator[Loaded], since: float, pipeline: Pipeline
    ) -> None:
        """Hand over what is ready, unless it isn't wanted any more; then a faster engine's turn may come."""
        if self._stop.is_set() or (self._shown and self._overtaken(request)):
            loaded.close()
            return
        pipeline.prepare(loaded.player)
        canvas = "{}x{}".format(*loaded.player.canvas)
        log.info(
            "%s is ready on %s, canvas %s, after %.1f s", request.name, loaded.engine, canvas, time.monotonic() - since
        )
        self._shown = True
        overtaken = self.ready.take()
        if overtaken is not None:
            overtaken.close()
        self.ready.put(loaded)
        if loaded.for_now and request not in self._building:
            self._building.add(request)
            self._builder.ask(functools.partial(self._build, request, rest, since), urgent=False)

    # --- in l2s-build ------------------------------------------------------------------------------------------------

    def _build(self, request: Request, rest: Iterator[Loaded], since: float) -> None:
        try:
            if not self._overtaken(request):
                self._go_on(request, rest, since)
        finally:
            self._building.discard(request)

    # --- in either ---------------------------------------------------------------------------------------------------

    def _go_on(self, request: Request, steps: Iterator[Loaded], since: float) -> None:
        """Get the next engine of `request`."""
        try:
            loaded = next(steps)
        except L2SError as err:
            self.failed.put((request, str(err)))
        else:
            self._jobs.put(functools.partial(self._offer, request, loaded, steps, since))

    def _overtaken(self, request: Request) -> bool:
        """Something else is wanted by now."""
        return self._newest != request


def prepare(config: RunConfig) -> tuple[torch.device, str]:
    """Import torch and choose the device: (device, why).

    Raises:
        EngineError: the device asked for is not here.
    """
    import torch

    from l2s_node.models import engines

    device, reason = engines.pick_device(config.device)
    if device.type == "cpu":
        # the engines bring threads of their own; torch's would only fight them for the small steps between
        torch.set_num_threads(1)
    return device, reason


def find(world: str, size: str) -> Path:
    """The weights file of a world by name; a name that ends in .safetensors is a path.

    Raises:
        ModelError: it is not there; the message lists what is.
    """
    if not world.endswith(worlds.SUFFIX):
        return worlds.find(worlds_folders(), world, size).path
    if not (path := Path(world).expanduser()).is_file():
        raise ModelError(f"there is no file {path}")
    return path


def known(world: str, size: str) -> None:
    """Refuse the name of a world that isn't here, or of one between two that aren't.

    Raises:
        ModelError: see `find` and `worlds.between`.
    """
    two = worlds.between(world)
    for name in two[:2] if two else (world,):
        find(name, size)


def opened(world: str, size: str) -> tuple[ModelCard, Callable[[], Generator]]:
    """(card, what gives the network) of a world by name, or of one between two.

    Raises:
        ModelError: see `find` and `store.read_card`; of two that their networks differ. The function: see `store.load`.
    """
    from l2s_node.models import blend, store

    two = worlds.between(world)
    if two is None:
        path = find(world, size)
        return store.read_card(path), functools.cache(lambda: store.load(path)[0])
    first, second, part = find(two[0], size), find(two[1], size), two[2]
    card = blend.card(store.read_card(first), store.read_card(second), part)
    return card, functools.cache(lambda: blend.generator(first, second, part))


def load(
    request: Request,
    config: RunConfig,
    device: torch.device,
    shelf: Shelf | None = None,
    aside: Aside | None = None,
) -> Iterator[Loaded]:
    """Yields the world as soon as it can play, then again on a faster engine if that one takes long to build.

    What `l2s build` built is taken at once. An engine that lies on `shelf` already is not built again. What can be
    compiled `aside` is, where that was never done before.

    Raises:
        ModelError: the weights can't be found, read, or were trained on another conditioning.
        EngineError: no engine can play it here, or there is too little memory.
    """
    import torch

    from l2s_node.models import engines
    from l2s_node.models.prebuilt import Prebuilt

    kept, wanted = Prebuilt(), (config.engine, config.precision)
    card, weights = opened(request.world, request.size)
    check(card)
    canvas = canvas_of(card, config, request.frame, device)
    world = _World(request, config, device, shelf or Shelf(), aside, card, weights, canvas)
    measured = engines.measured(card, world.shape, device, kept)
    best, _, why = engines.choose(config.engine, device, card, measured, config.precision)[0]
    try:
        if best in SLOW and not world.shelf.holds(world.key(*wanted)):
            ready = None if best in CACHED else world.built_before(best)
            if ready is not None:
                log.info("%s is taken: %s", best, why)
                yield ready
                return
            yield world.shelved("eager", "auto", functools.partial(world.build, "eager", "auto", kept), passing=True)
        last = functools.partial(world.build_last, best, *wanted, kept)
        yield world.shelved(*wanted, last, long=best in SLOW)
    except torch.OutOfMemoryError as err:
        world.shelf.tidy()
        raise EngineError(f"{request.name} needs more memory than {device} has left") from err


@dataclass(frozen=True, slots=True)
class _World:
    """What `load` gets ready: the world of `card` and `weights`, on one canvas."""

    request: Request
    config: RunConfig
    device: torch.device
    shelf: Shelf
    aside: Aside | None
    card: ModelCard
    weights: Callable[[], Generator]
    canvas: tuple[int, int]

    @property
    def shape(self) -> Shape:
        return 1, 1, self.canvas[1], self.canvas[0]

    def key(self, name: str, precision: str) -> tuple[object, ...]:
        """What its engine lies under on the shelf."""
        return self.card.hash, self.canvas, name, precision, str(self.device)

    def build(self, name: str, precision: str, kept: Prebuilt) -> tuple[Engine, str]:
        """(engine, reason), see `engines.build`."""
        import torch

        from l2s_node.models import engines

        draw_field(self.weights(), self.card, self.canvas)
        engine, reason = engines.build(name, self.weights(), self.card, self.shape, self.device, precision, kept)
        engine(torch.zeros(self.shape, device=self.device))  # the first call captures or warms up
        return engine, reason

    def build_last(self, best: str, name: str, precision: str, kept: Prebuilt) -> tuple[Engine, str]:
        """The same, compiled aside before where `best` is the engine that it will be."""
        _compile_aside(
            self.aside, self.request, best, precision, self.card, self.shape, self.device, self.shelf.channels
        )
        return self.build(name, precision, kept)

    def built_before(self, best: str) -> Loaded | None:
        """It on an engine that `l2s build` built; None where there is none, or none of use."""
        from l2s_node.models.prebuilt import Prebuilt

        precision = self.config.precision
        try:
            return self.shelved(best, precision, functools.partial(self.build, best, precision, Prebuilt(only=True)))
        except EngineError:
            return None  # what else is wrong shows when it is built

    def shelved(
        self,
        name: str,
        precision: str,
        build: Callable[[], tuple[Engine, str]],
        *,
        long: bool = False,
        passing: bool = False,
    ) -> Loaded:
        """It on an engine from the shelf, where `build` puts it if there is none; see `Shelf.take`, `Player`."""
        from l2s_node.pipeline import Player

        key = self.key(name, precision)
        engine, reason = self.shelf.take(key, build, long=long)
        shares = not passing and batches(engine.name, self.device, self.card)
        several = functools.partial(batched, self.request, self.canvas, engine, self.aside) if shares else None
        player = Player.of(self.request.name, engine, self.canvas, several)
        return Loaded(
            request=self.request,
            player=dataclasses.replace(player, passing=passing),
            canvas_for=lambda frame: canvas_of(self.card, self.config, frame, engine.device),
            engine=f"{engine.name} {engine.precision}",
            reason=reason,
            close=functools.partial(self.shelf.give_back, key),
        )


def _compile_aside(
    aside: Aside | None,
    request: Request,
    engine: str,
    precision: str,
    card: ModelCard,
    shape: Shape,
    device: torch.device,
    channels: int,
) -> None:
    """Have compiled by another process what takes long, if that can be and was never done before.

    Raises:
        EngineError: the show is over.
    """
    from l2s_node.models import engines
    from l2s_node.models.engines.base import PRECISIONS
    from l2s_node.models.prebuilt import Prebuilt

    if aside is None or engine not in CACHED:
        return
    slot = engines.slot(engine, card, shape, device, Prebuilt())
    if not any(map(slot.has, PRECISIONS if precision == "auto" else (precision,))):
        aside.build(_one_of(request), engine, request.frame, channels)


def _one_of(request: Request) -> str:
    """What `l2s build` is to compile for it; between two worlds, which are alike, one of them."""
    if request.world.endswith(worlds.SUFFIX):
        return request.world
    two = worlds.between(request.world)
    return f"{two[0] if two else request.world}/{request.size}"


def batches(engine: str, device: torch.device, card: ModelCard) -> bool:
    """Whether an engine of that name plays a batch in one launch, and each picture of it as if it were alone."""
    alone = card.norm == "frame" or card.dropout  # a batch has one statistic, and one random number after the other
    return device.type == "cuda" and engine in BATCHED and not alone


def batched(request: Request, canvas: tuple[int, int], like: Engine, aside: Aside | None, count: int) -> Engine:
    """The world of `request` on an engine `like` one that plays it, for `count` pictures at once.

    It is compiled `aside` where that can be and was never done before.

    Raises:
        ModelError: its weights are gone.
        EngineError: there is too little memory for it, or it can't be compiled.
    """
    import torch

    from l2s_node.models import engines
    from l2s_node.models.prebuilt import Prebuilt

    card, weights = opened(request.world, request.size)
    shape = (count, 1, canvas[1], canvas[0])
    _compile_aside(aside, request, like.name, like.precision, card, shape, like.device, count)
    draw_field(weights(), card, canvas)
    try:
        return engines.build(like.name, weights(), card, shape, like.device, like.precision, Prebuilt())[0]
    except torch.OutOfMemoryError as err:
        raise EngineError(f"{request.name} for {count} needs more memory than {like.device} has left") from err


def check(card: ModelCard) -> None:
    """Refuse a world that a show can't play.

    Raises:
        ModelError: it was trained on another conditioning, or wants more than luma.
    """
    from l2s_node.picture import condition

    condition.check(card.condition)
    if card.input_channels != 1:
        raise ModelError(f"{card.name}/{card.size} takes {card.input_channels} channels, a show gives one: luma")


def draw_field(generator: Generator, card: ModelCard, canvas: tuple[int, int]) -> None:
    """The seed field of `card` for a canvas of (width, height)."""
    if card.seed is not None:
        generator.draw_field(canvas[1], canvas[0], card.seed)


def canvas_of(card: ModelCard, config: RunConfig, frame: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """The canvas (width, height) that a world plays `frame` on: the configured one, or one of the frame's shape.

    On a CPU it has no more pixels than the square that the world was trained on, elsewhere its short side is as long.
    """
    from l2s_node.picture.geometry import canvas_for

    if config.canvas is None:
        return canvas_for(frame, card.resolution, card.multiple, thrifty=device.type == "cpu")
    width, height = (max(round(side / card.multiple), 1) * card.multiple for side in config.canvas)
    return width, height
