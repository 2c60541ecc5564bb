"""What the numbers were measured on: processor, GPU, versions, date."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from typing import Any

import psutil
import torch

from l2s_node import __version__
from l2s_node.machine import processor

PACKAGES = ("openvino", "nncf", "onnxruntime", "torch-tensorrt", "numpy", "opencv-python-headless")
"""Whose versions matter for speed, beside torch's."""


def facts(device: torch.device) -> dict[str, Any]:
    """Facts by name, fit for JSON."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "held_to": os.environ.get("ONEDNN_MAX_CPU_ISA"),  # what oneDNN, and with it OpenVINO, may use of them
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "system": f"{platform.uname().system} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": _versions(),
        "l2s": __version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def line(found: dict[str, Any]) -> str:
    """The same in one line."""
    gpu = f"{found['gpu']}, " if found["gpu"] else ""
    held = f" held to {found['held_to']}" if found.get("held_to") else ""
    load = "" if found["load"] is None else f", load {found['load']:.1f}"
    packages = "".join(f", {name} {version}" for name, version in found["packages"].items() if name != "numpy")
    return (
        f"{gpu}{found['processor']}{held}, {found['cores']} cores{load}, {found['system']}, Python {found['python']}, "
        f"torch {found['torch']}{packages}, l2s {found['l2s']}, {found['date']}"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
