"""Engines: ways to run a generator, which one is taken and why. Their common shape is in `base.py`.

An engine's own package (OpenVINO, ONNX Runtime, TensorRT, triton) is imported when it builds, not before.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from types import ModuleType
from typing import NamedTuple

import torch

from l2s_node.config import DEVICES, ENGINES
from l2s_node.errors import EngineError
from l2s_node.models import quantise, trial
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import INT8, Engine, Shape
from l2s_node.models.identity import identity
from l2s_node.models.pix2pix import Generator
from l2s_node.models.prebuilt import NOWHERE, Prebuilt, Slot
from l2s_node.models.trial import Trial

__all__ = [
    "NAMES", "Choice", "Engine", "EngineError", "build", "choose", "contenders", "measured", "pick_device", "room",
    "slot", "survey", "trial_slot",
]  # fmt: skip

NAMES = tuple(name for name in ENGINES if name != "auto")

PREFERRED = {
    "cuda": (("inductor", "compiled for this GPU, replayed as one CUDA graph"),),
    "cpu": (
        ("openvino", "the fastest on a CPU, and it yields to other processes"),
        ("onnxruntime", "the fastest on a CPU without OpenVINO"),
    ),
    "mps": (),
}
"""What "auto" tries before eager, by type of device, where nothing was measured yet. TensorRT builds for minutes."""

CONTENDERS = {"cuda": ("inductor", "tensorrt", "eager"), "cpu": ("openvino", "onnxruntime", "eager"), "mps": ("eager",)}
"""What `l2s build` tries, by type of device; then "auto" goes by what it measured."""

ANY_WEIGHTS = ("inductor",)
"""Engines that compile the same code for all weights of a network, and for all seed fields."""
EIGHT = "openvino"
"""The engine that plays in 8 bits, on a CPU."""


class Choice(NamedTuple):
    """An engine to try.

    Attributes:
        name: the engine's.
        precision: what it is asked to calculate in.
        why: the reason.
    """

    name: str
    precision: str
    why: str


log = logging.getLogger(__name__)


def room(name: str) -> ModuleType:
    """The module of the engine called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def survey() -> list[tuple[str, str | None]]:
    """(name, why it can't be used here and the remedy, or None) of every engine."""
    return [(name, room(name).missing()) for name in NAMES]


def pick_device(requested: str = "auto") -> tuple[torch.device, str]:
    """(device, why) for "auto", "cpu", "cuda" or "mps".

    Raises:
        EngineError: what was asked for is not there.
    """
    if requested not in DEVICES:
        raise EngineError(f"there is no device {requested!r}; there are {', '.join(DEVICES)}")
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        name = next(name for name, there in have.items() if there)
        return torch.device(name), "the only one here" if name == "cpu" else "faster than the CPU"
    if not have[requested]:
        what = {"cuda": "NVIDIA GPU that this torch can use", "mps": "Metal GPU"}[requested]
        raise EngineError(f"there is no {what}: take --device auto, or install the torch that fits it")
    return torch.device(requested), "asked for"


def slot(name: str, card: ModelCard, shape: Shape, device: torch.device, store: Prebuilt | None) -> Slot:
    """Where the engine called `name` keeps what it compiles of the world of `card`; nowhere without a `store`."""
    if store is None or not card.hash:
        return NOWHERE
    if name in ANY_WEIGHTS:
        card = dataclasses.replace(card, hash="any", seed=None if card.seed is None else 0)
    return Slot(store, identity(name, room(name).PACKAGES, card, shape, device), f"{card.name}/{card.size}")


def contenders(device: torch.device, card: ModelCard) -> list[tuple[str, str]]:
    """(engine, precision) of each that a trial is between; one alone needs none."""
    if card.dropout:
        return [("eager", "auto")]
    present = [name for name in CONTENDERS[device.type] if room(name).missing() is None]
    eight = EIGHT if quantise.missing() is None else None
    return [(name, each) for name in present for each in ("auto", INT8) if each == "auto" or name == eight]


def trial_slot(card: ModelCard, shape: Shape, device: torch.device, store: Prebuilt | None) -> Slot:
    """Where the trial of the world of `card` is kept."""
    if store is None or not card.hash:
        return NOWHERE
    packages = [package for name in CONTENDERS[device.type] for package in room(name).PACKAGES]
    return Slot(store, identity("trial", packages, card, shape, device), f"{card.name}/{card.size}")


def measured(card: ModelCard, shape: Shape, device: torch.device, store: Prebuilt | None) -> Trial | None:
    """What `l2s build` measured of this world here, if it did and nothing has changed since."""
    return trial.find(trial_slot(card, shape, device, store))


def choose(
    requested: str, device: torch.device, card: ModelCard, measured: Trial | None = None, precision: str = "auto"
) -> list[Choice]:
    """The engines to try for `card` on `device`, best first: as they were `measured`, or as they tend.

    Raises:
        EngineError: the engine asked for is unknown, not for this device or can't be used here; with the remedy.
    """
    requested = _named(requested, precision)
    if requested != "auto":
        return [Choice(_usable(requested, device), precision, "asked for")]
    if card.dropout:
        return [Choice("eager", precision, "this world plays with dropout, which compilers leave out")]
    if measured is not None:
        return _as_measured(measured, precision)
    return [Choice(name, precision, why) for name, why in _as_they_tend(device)]


def _named(requested: str, precision: str) -> str:
    """The engine that is meant: 8 bits mean the only one that has them."""
    return EIGHT if requested == "auto" and precision == INT8 else requested


def _as_measured(measured: Trial, precision: str) -> list[Choice]:
    """What a trial found; where a precision is asked for, without what had one of its own there."""
    found = [name.partition(" ") for name in measured.best()]
    present = [
        (name, own) for name, _, own in found if room(name).missing() is None and (not own or precision == "auto")
    ]
    chosen = dict.fromkeys([*present, ("eager", "")])
    return [Choice(name, own or precision, measured.text()) for name, own in chosen]


def _as_they_tend(device: torch.device) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    absent: list[str] = []
    for name, why in PREFERRED[device.type]:
        reason = room(name).missing()
        if reason is None:
            found.append((name, "; ".join([why, *absent])))
        else:
            absent.append(f"not {name}: {reason}")
    return [*found, ("eager", "; ".join(["runs anywhere", *absent]))]


def _usable(name: str, device: torch.device) -> str:
    if name not in NAMES:
        raise EngineError(f"there is no engine {name!r}; there are {', '.join(NAMES)}")
    module = room(name)
    if device.type not in module.DEVICES:
        raise EngineError(f"{name} doesn't run on {device.type}, but on {', '.join(module.DEVICES)}: see --device")
    reason = module.missing()
    if reason is not None:
        raise EngineError(f"{name} can't be used here: {reason}")
    return name


def _unmeasured(
    requested: str, device: torch.device, card: ModelCard, store: Prebuilt | None, known: Trial | None
) -> bool:
    """Whether "auto" goes on without a trial where one could be."""
    return requested == "auto" and store is not None and known is None and len(contenders(device, card)) > 1


def build(
    requested: str,
    generator: Generator,
    card: ModelCard,
    shape: Shape,
    device: torch.device,
    precision: str = "auto",
    store: Prebuilt | None = None,
) -> tuple[Engine, str]:
    """(engine, why) for `generator`, whose seed field is drawn for the canvas of `shape` (n, 1, h, w).

    With "auto" the next best engine is taken where one can't build this generator, and the log says why. What was
    compiled before is taken from `store`, where there is one; then `generator` must be what `card.hash` stands for.

    Raises:
        EngineError: none can; or not the one that was asked for.
    """
    if shape[2] % card.multiple or shape[3] % card.multiple:
        raise EngineError(
            f"{shape[3]}x{shape[2]} is no canvas for this world: its sides are multiples of {card.multiple}"
        )
    requested = _named(requested, precision)
    known = measured(card, shape, device, store) if requested == "auto" else None
    failures = ["not measured here yet, l2s build does"] if _unmeasured(requested, device, card, store, known) else []
    for name, wanted, why in choose(requested, device, card, known, precision):
        try:
            engine: Engine = room(name).build(generator, shape, device, wanted, slot(name, card, shape, device, store))
        except EngineError as err:
            if requested != "auto":
                raise
            failures.append(str(err))
            log.warning("engine %s: %s", name, err)
            continue
        reason = "; ".join([why, *failures, f"{engine.precision}: {engine.reason}"])
        log.info("engine %s on %s: %s", name, device, reason)
        return engine, reason
    raise EngineError(f"no engine can play this world: {'; '.join(failures)}")
