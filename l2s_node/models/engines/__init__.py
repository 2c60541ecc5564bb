"""Engines: ways to run a generator, which one is taken and why. Their common shape is in `base.py`.

An engine's own package (OpenVINO, ONNX Runtime, TensorRT, triton) is imported when it builds, not before.
"""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

import torch

from l2s_node.config import DEVICES, ENGINES
from l2s_node.errors import EngineError
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import Engine, Shape
from l2s_node.models.pix2pix import Generator

__all__ = ["NAMES", "Engine", "EngineError", "build", "choose", "pick_device", "room", "survey"]

NAMES = tuple(name for name in ENGINES if name != "auto")

PREFERRED = {
    "cuda": (("inductor", "compiled for this GPU, replayed as one CUDA graph"),),
    "cpu": (
        ("openvino", "the fastest on a CPU, and it yields to other processes"),
        ("onnxruntime", "the fastest on a CPU without OpenVINO"),
    ),
    "mps": (),
}
"""What "auto" tries before eager, by type of device. TensorRT is taken by name only: it builds for minutes."""

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


def choose(requested: str, device: torch.device, card: ModelCard) -> list[tuple[str, str]]:
    """(name, why) of the engines to try for `card` on `device`, best first.

    Raises:
        EngineError: the engine asked for is unknown, not for this device or can't be used here; with the remedy.
    """
    if requested != "auto":
        return [(_usable(requested, device), "asked for")]
    if card.dropout:
        return [("eager", "this world plays with dropout, which compilers leave out")]
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


def build(
    requested: str, generator: Generator, card: ModelCard, shape: Shape, device: torch.device, precision: str = "auto"
) -> tuple[Engine, str]:
    """(engine, why) for `generator`, whose seed field is drawn for the canvas of `shape` (n, 1, h, w).

    With "auto" the next best engine is taken where one can't build this generator, and the log says why.

    Raises:
        EngineError: none can; or not the one that was asked for.
    """
    if shape[2] % card.multiple or shape[3] % card.multiple:
        raise EngineError(
            f"{shape[3]}x{shape[2]} is no canvas for this world: its sides are multiples of {card.multiple}"
        )
    failures: list[str] = []
    for name, why in choose(requested, device, card):
        try:
            engine: Engine = room(name).build(generator, shape, device, precision)
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
