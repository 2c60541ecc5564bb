"""Identity: all that a compiled engine depends on, as words. If one of them changes, what was kept is not taken.

Weights alone don't make a network (the same kernels play otherwise with another seed or norm), and a version of
l2s-node doesn't make its code (a checkout changes without one): both are part of it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from l2s_node import __version__
from l2s_node.machine import instructions, processor, threads
from l2s_node.models.card import ModelCard

PLAYED = ("architecture", "channels", "input_channels", "multiple", "norm", "dropout", "seed")
"""Fields of a card that change what its network computes."""


def identity(
    engine: str, packages: Iterable[str], card: ModelCard, shape: tuple[int, ...], device: torch.device
) -> dict[str, str]:
    """What an engine of this world depends on, but for its precision.

    Args:
        engine: its name, that of a module of `engines/`.
        packages: the distributions that it is made with, beside torch.
        card: of the world; its hash stands for the weights.
        shape: (n, 1, h, w) of every input.
        device: where it runs.
    """
    played = {name: getattr(card, name) for name in PLAYED}
    return {
        "engine": engine,
        "weights": card.hash,
        "network": json.dumps(played, sort_keys=True),
        "canvas": f"{shape[3]}x{shape[2]}" + (f" by {shape[0]}" if shape[0] > 1 else ""),
        "device": device_name(device.type),
        "versions": versions(tuple(packages)),
        "code": _code(),
    }


def outdated(parts: Mapping[str, str]) -> str | None:
    """What has changed since an engine with these parts was kept, but for its world; None if nothing has."""
    if parts.get("code") != _code():
        return "made by another l2s-node"
    names = [each.rpartition(" ")[0] for each in parts.get("versions", "").split(", ")]
    now = versions(tuple(names[2:]))
    if parts.get("versions") != now:
        return f"made with {parts.get('versions')}"
    kind = parts.get("device", "").partition(",")[0]
    if parts.get("device") != device_name(kind if kind in ("cpu", "mps") else "cuda"):
        return f"made for {parts.get('device')}"
    return None


@functools.cache
def device_name(kind: str) -> str:
    """The processor with its instructions and our threads, or the GPU with what it is driven by."""
    if kind == "cuda":
        if not torch.cuda.is_available():
            return "no GPU"
        major, minor = torch.cuda.get_device_capability()
        gpu = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
        return f"{gpu}, beside {_processor()}"  # which some engines' code on the host is compiled for
    return f"{kind}, {_processor()}, {threads()} threads"


def _processor() -> str:
    flags = instructions() or torch.backends.cpu.get_cpu_capability()
    return f"{processor()}, instructions {hashlib.sha256(flags.encode()).hexdigest()[:12]}"


@functools.cache
def versions(packages: tuple[str, ...]) -> str:
    """As in "l2s-node 0.1.0, torch 2.13.0+cpu, openvino 2026.4.1"; what isn't installed is left out."""
    found = [f"l2s-node {__version__}", f"torch {torch.__version__}"]
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@functools.cache
def _code() -> str:
    """A digest of the code that makes networks and engines of weights."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("engines/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
