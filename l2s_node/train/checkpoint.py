"""Checkpoints: the whole state of a training in one file, written at once or not at all.

They are read as tensors and plain values only; no code in them is ever run.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from l2s_node.errors import TrainError
from l2s_node.train.nets import Nets


@dataclass
class Progress:
    """How far a training is, over all its sittings.

    Attributes:
        images: pictures that the nets have seen.
        seconds: time spent in all, reading and compiling included.
        losses: the latest, by name.
    """

    images: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


def save(path: Path, nets: Nets, progress: Progress, identity: dict[str, Any]) -> None:
    """Write the state of `nets` to `path`; a kill meanwhile leaves the former checkpoint.

    Raises:
        TrainError: the file can't be written.
    """
    state = {
        "tensors": nets.tensors(),
        "steps": nets.steps,
        "progress": asdict(progress),
        "identity": identity,
        "random": _random(nets.device),
    }
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as err:  # torch's archive writer raises the latter when the disk is full
        raise TrainError(f"can't write the checkpoint {path}: {err}") from err


def load(path: Path, nets: Nets, identity: dict[str, Any]) -> Progress:
    """Put the state in `path` into `nets` and the random generators.

    Raises:
        TrainError: it can't be read, is broken, or it is of another training (both values are named).
    """
    try:
        state = torch.load(path, map_location=nets.device, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as err:
        raise TrainError(f"the checkpoint {path} is broken, remove it and start anew: {err}") from err
    for key, ours in identity.items():
        theirs = state["identity"].get(key)
        if theirs != ours:
            raise TrainError(f"{path} is of a training with {key} = {theirs!r}, this one has {ours!r}")
    nets.load(state["tensors"], state["steps"])
    torch.set_rng_state(state["random"]["cpu"].cpu())
    if "cuda" in state["random"] and nets.device.type == "cuda":
        torch.cuda.set_rng_state(state["random"]["cuda"].cpu(), nets.device)
    return Progress(**state["progress"])


def _random(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states
