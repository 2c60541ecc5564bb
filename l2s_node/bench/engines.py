"""Engines: the generator alone, each engine that is here in each of its precisions, beside eager float32."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import torch

from l2s_node.bench import _raw
from l2s_node.bench._row import Row, Task, in_turns, timed, timing
from l2s_node.bench._worlds import OURS, random_world
from l2s_node.errors import EngineError
from l2s_node.loader import draw_field
from l2s_node.models import engines
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.models.engines.base import INT8
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.params import SIZES
from l2s_node.train.examples import examples

METHOD = (
    "single calls of the generator, batch 1, from a tensor on the device to a finished tensor there; random weights; "
    "against eager torch in float32, the network as it was trained; on a CPU also in turns with the fastest runtime "
    "that plays it alone, converted and called as its documentation does; by the GPU's clock: calls in a row, without "
    "the launch and the wait that a single call has, and that it shares with a frame's other steps"
)
GOALS = {
    ("cuda", "classic", "large", 256): 0.20,
    ("cuda", OURS, "small", 256): 0.10,
    ("cuda", OURS, "large", 1024): 1.3,
}
"""Milliseconds that the fastest engine should take at most, on one H100, by its clock."""
RAW = 1.1
"""Times what the fastest raw call of a runtime takes on a CPU, at most: ours also takes its input, a tensor."""
ROW = 50
"""Calls in a row."""
ALL = tuple((architecture, size, 256) for architecture in (OURS, "classic") for size in SIZES)
CASES = {
    "cuda": (*ALL, (OURS, "large", 512), (OURS, "large", 1024), ("classic", "large", 512)),
    "cpu": ALL,
    "mps": ALL,
}
"""(architecture, size, side of the square canvas) by device."""
PRECISIONS = {"cuda": ("float16",), "cpu": ("float32", "bfloat16", INT8), "mps": ("float32", "float16")}
"""On a GPU each takes the compiler a while, and nobody plays in another. 8 bits need the extra `int8`."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    for architecture, size, side in CASES[task.device.type]:
        yield from _of(architecture, size, side, task.device)


def _of(architecture: str, size: str, side: int, device: torch.device) -> Iterator[Row]:
    x = torch.rand((1, 1, side, side), device=device) * 2 - 1
    eager = _times("eager", "float32", architecture, size, x)
    who = f"{'our' if architecture == OURS else architecture} {size} {side}x{side}"
    goal = GOALS.get((device.type, architecture, size, side))
    yield timing(f"{who}, eager float32", eager)
    for name, reason in engines.survey():
        if reason or name == "eager" or device.type not in engines.room(name).DEVICES:
            continue
        for precision in PRECISIONS[device.type]:
            by_gpu: list[float] = []
            times = _times(name, precision, architecture, size, x, by_gpu)
            if times:
                yield timing(f"{who}, {name} {precision}", times, "eager float32", eager)
            if by_gpu:
                yield timing("the same, by the GPU's clock", by_gpu, goal=goal)
    if device.type == "cpu":
        yield from _beside_raw(who, architecture, size, x)


def _beside_raw(who: str, architecture: str, size: str, x: torch.Tensor) -> Iterator[Row]:
    """What "auto" takes beside the fastest runtime that plays the network alone; both are gone before it is said."""
    generator, card = _drawn(architecture, size, x)
    engine, _ = engines.build("auto", generator, card, (1, 1, *x.shape[2:]), x.device)
    what = f"{who}, {engine.name} {engine.precision}, in turns with it"
    with closing(engine):
        fastest, ours, raw = _in_turns(engine, _raw.calls(generator, (1, 1, *x.shape[2:]), engine.precision), x)
    if raw:
        yield timing(what, ours, fastest, raw, factor_goal=round(1 / RAW, 2))


def _in_turns(engine: Engine, ways: dict[str, _raw.Call], x: torch.Tensor) -> tuple[str, list[float], list[float]]:
    """(which of `ways` is the fastest, milliseconds of `engine`, of that one); none where there is no way."""
    given = x.numpy()
    alone = {name: statistics.median(timed(partial(call, given), budget=1.0)) for name, call in ways.items()}
    if not alone:
        return "", [], []
    fastest = min(alone, key=lambda name: alone[name])
    return fastest, *in_turns(partial(engine, x), partial(ways[fastest], given))


def _times(
    name: str, precision: str, architecture: str, size: str, x: torch.Tensor, by_gpu: list[float] | None = None
) -> list[float]:
    """Milliseconds of single pictures, by a GPU's clock `by_gpu`; none where the engine has no such precision here."""
    generator, card = _drawn(architecture, size, x)
    height, width = x.shape[2:]
    store = Prebuilt(examples=examples) if precision == INT8 else None
    try:
        engine, _ = engines.build(name, generator, card, (1, 1, height, width), x.device, precision, store)
    except EngineError:
        return []
    with closing(engine):
        times = timed(lambda: _finished(engine, x))
        if by_gpu is not None and x.device.type == "cuda":
            by_gpu += [_in_a_row(engine, x) for _ in range(21)]
        return times


def _drawn(architecture: str, size: str, x: torch.Tensor) -> tuple[Generator, ModelCard]:
    """A world of random weights for inputs like `x`, of which nothing is kept."""
    generator, card = random_world(architecture, size)
    draw_field(generator, card, (x.shape[3], x.shape[2]))
    return generator, dataclasses.replace(card, hash="random")


def _in_a_row(engine: Engine, x: torch.Tensor) -> float:
    """Milliseconds of one call among `ROW`, by the GPU's clock."""
    begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begun.record()
    for _ in range(ROW):
        engine(x)
    ended.record()
    ended.synchronize()
    return float(begun.elapsed_time(ended)) / ROW


def _finished(engine: Engine, x: torch.Tensor) -> None:
    engine(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
