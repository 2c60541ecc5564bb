"""Bench: every number that the README claims, measured on this machine beside what it is compared with, in one run.

    generator   each engine, each size of ours and of the classic           against eager torch, float32
    step        sample to compose, host memory to host memory               against eager torch
    show        NDI in one process, the node in a second, NDI in a third    against NDI without the node
    memory      the resident set over a long run                            against itself after 1,000 frames

Weights are random here: a convolution takes as long whatever it multiplies (numbers far from 0 and from the smallest
ones, so that no denormals slow it down).
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from l2s_node import __version__
from l2s_node.config import RunConfig
from l2s_node.cuda_graph import create
from l2s_node.frame import Frame, PixelFormat, page_aligned
from l2s_node.loader import canvas_of, draw_field, prepare
from l2s_node.machine import processor
from l2s_node.models import engines, store
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import Engine
from l2s_node.models.pix2pix import CHANNELS, Generator
from l2s_node.params import SIZES, Params
from l2s_node.pipeline import Pipeline, Player

WARM_UP = 10
LONG_RUN = 20_000
SETTLED = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One number and what it is compared with.

    Attributes:
        what: what was measured.
        ours: the number.
        unit: of both.
        baseline: the number that it is compared with; None where there is none.
        against: what that one is.
        spread: 10th and 90th percentile of ours.
        note: what else was seen.
    """

    what: str
    ours: float
    unit: str
    baseline: float | None = None
    against: str = ""
    spread: tuple[float, float] | None = None
    note: str = ""

    def text(self) -> str:
        """One line."""
        spread = f"({self.spread[0]:.2f} … {self.spread[1]:.2f})" if self.spread else ""
        against = "" if self.baseline is None else f"{self.against}: {self.baseline:.2f} {self.unit}"
        return f"{self.what:<46} {self.ours:8.2f} {self.unit:<3} {spread:<20} {against}  {self.note}".rstrip()


def bench(what: str, seconds: float, say: Callable[[str], None]) -> dict[str, object]:
    """Measure `what` ("all" or one of the module docstring's); live runs take `seconds` each.

    Each row is handed to `say` as soon as it is there; returns {"machine", "rows"}.

    Raises:
        L2SError: an engine or a room that the measurement needs fails.
    """
    device, _ = prepare(RunConfig(source="null:", sinks=("null:",)))
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "generator": lambda: _generators(device),
        "step": lambda: _steps(device),
        "show": lambda: _show(seconds),
        "memory": lambda: _memory(device),
    }
    where = machine(device)
    say(f"l2s bench {what}: {where}")
    rows = []
    for part in parts.values() if what == "all" else [parts[what]]:
        for row in part():
            rows.append(asdict(row))
            say(row.text())
    return {"machine": where, "rows": rows}


def machine(device: torch.device) -> str:
    """Processor, cores, GPU, versions, and what else ran (load over the last minute), in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {os.cpu_count()} cores{load}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"l2s {__version__}, {time.strftime('%Y-%m-%d')}"
    )


# --- generator -------------------------------------------------------------------------------------------------------


def _generators(device: torch.device) -> Iterator[Row]:
    for architecture in ("shuffle", "classic"):
        for size in SIZES:
            generator, card = random_world(architecture, size)
            draw_field(generator, card, (256, 256))
            yield from _engines_of(generator, card, f"{architecture} {size} 256x256", device)


def _engines_of(generator: Generator, card: ModelCard, what: str, device: torch.device) -> Iterator[Row]:
    shape = (1, card.input_channels, 256, 256)
    x = torch.rand(shape, device=device) * 2 - 1
    eager = _timed_engine("eager", "float32", generator, card, device, x)
    yield Row(f"{what}, eager float32", statistics.median(eager), "ms", spread=_spread(eager))
    for name, reason in engines.survey():
        module = engines.room(name)
        if reason or name == "eager" or device.type not in module.DEVICES:
            continue
        for precision in ("float32", "bfloat16", "float16"):
            times = _timed_engine(name, precision, generator, card, device, x)
            if times:
                yield Row(f"{what}, {name} {precision}", statistics.median(times), "ms",
                          statistics.median(eager), "eager float32", _spread(times))  # fmt: skip


def _timed_engine(
    name: str, precision: str, generator: Generator, card: ModelCard, device: torch.device, x: torch.Tensor
) -> list[float]:
    """Milliseconds of single pictures; none where the engine has no such precision here."""
    shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
    try:
        engine, _ = engines.build(name, generator, card, shape, device, precision)
    except engines.EngineError:
        return []
    with closing(engine):
        return timed(lambda: _finished(engine, x))


def _finished(engine: Engine, x: torch.Tensor) -> None:
    engine(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


def timed(call: Callable[[], object], budget: float = 3.0, most: int = 400) -> list[float]:
    """Milliseconds of single calls, warm, for `budget` seconds or `most` calls, at least three."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 3 or (len(times) < most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _spread(times: list[float]) -> tuple[float, float]:
    low, high = np.percentile(times, (10, 90))
    return float(low), float(high)


def random_world(architecture: str, size: str) -> tuple[Generator, ModelCard]:
    """A world of that network whose weights are as they start: (generator, card)."""
    channels = CHANNELS[architecture][size]
    card = ModelCard(
        name="random",
        size=size,
        architecture=architecture,
        channels=channels,
        multiple=2 ** len(channels),
        seed=0 if architecture == "shuffle" else None,
    )
    torch.manual_seed(0)
    return store.instantiate(card).eval(), card


# --- step ------------------------------------------------------------------------------------------------------------


def _steps(device: torch.device) -> Iterator[Row]:
    cases = [("shuffle", "small", (1280, 720)), ("shuffle", "small", (1920, 1080))]
    if device.type == "cuda":
        cases += [("classic", "large", (1920, 1080))]
    for architecture, size, frame in cases:
        fast = _step_times(architecture, size, frame, device, "auto")
        slow = _step_times(architecture, size, frame, device, "eager")
        what = f"step {frame[1]}p UYVY, {architecture} {size}"
        yield Row(
            what, statistics.median(fast[0]), "ms", statistics.median(slow[0]), slow[1], _spread(fast[0]), fast[1]
        )


def _step_times(
    architecture: str, size: str, frame: tuple[int, int], device: torch.device, engine: str
) -> tuple[list[float], str]:
    """(milliseconds of whole steps, what ran)."""
    generator, card = random_world(architecture, size)
    canvas = canvas_of(card, RunConfig(source="null:", sinks=("null:",)), frame, device)
    draw_field(generator, card, canvas)
    shape = (1, card.input_channels, canvas[1], canvas[0])
    player, _ = engines.build(engine, generator, card, shape, device)
    plain = engine == "eager" and device.type == "cuda"
    pipeline = Pipeline(device) if plain else create(device)
    pipeline.use(Player("random", player, canvas, player.step), 0.0)
    frames = [_noise(frame, seed) for seed in range(3)]
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        pipeline.step(frames[count % 3], Params(), count / 30)

    with closing(player):
        return timed(step), f"{player.name} {player.precision}, canvas {canvas[0]}x{canvas[1]}"


def _noise(size: tuple[int, int], seed: int) -> Frame:
    """A frame with content everywhere: a smooth picture with a little noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (size[1] // 40 + 1, size[0] // 20 + 1), dtype=np.uint8)
    blocks = np.kron(small, np.ones((40, 40), np.uint8))
    plane = page_aligned((size[1], 2 * size[0]))  # as the rooms' are
    plane[:] = blocks[: size[1], : 2 * size[0]] + rng.integers(0, 8, plane.shape, dtype=np.uint8)
    return Frame((plane,), PixelFormat.UYVY, *size, seconds=0.0, number=seed, rate=Fraction(30))


# --- memory ----------------------------------------------------------------------------------------------------------


def _memory(device: torch.device) -> Iterator[Row]:
    import psutil

    generator, card = random_world("shuffle", "small")
    draw_field(generator, card, (256, 256))
    engine, _ = engines.build("auto", generator, card, (1, 1, 256, 256), device)
    pipeline = create(device)
    pipeline.use(Player("random", engine, (256, 256), engine.step), 0.0)
    frame, process = _noise((640, 360), 0), psutil.Process()
    looks = [Params(), Params(mix=0.5), Params(feedback=0.8, output_smoothing=0.3), Params(detail=40.0, zoom=2.0)]
    settled = 0.0
    with closing(engine):
        for n in range(LONG_RUN + SETTLED):
            pipeline.step(frame, replace(looks[n // 50 % len(looks)]), n / 60)
            if n == SETTLED:
                settled = process.memory_info().rss / 1e6
    end = process.memory_info().rss / 1e6
    yield Row(f"resident set after {LONG_RUN:,} more frames", end, "MB", settled, f"after {SETTLED:,}",
              note=f"growth {end - settled:+.1f} MB")  # fmt: skip


# --- show ------------------------------------------------------------------------------------------------------------


def _show(seconds: float) -> Iterator[Row]:
    from l2s_node.bench_show import show

    yield from show(seconds)
