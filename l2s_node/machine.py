"""Machine: what this computer is called by its processor, and how its ports are reached, in words."""

from __future__ import annotations

import os
import platform
import socket

import psutil

MOST_THREADS = 8
"""More don't make nets of this size faster, and capture, encoding and the page want cores as well."""


def processor() -> str:
    """The processor's name, as in "Intel(R) Xeon(R) Platinum 8481C"."""
    return _told("model name") or platform.processor() or platform.machine()


def instructions() -> str:
    """The processor's instruction sets, as in "… avx2 avx512f …"; "" where the system doesn't list them."""
    return _told("flags", "Features")


def threads() -> int:
    """Threads for an engine on the processor: this process's cores (not hyper-threads), at most `MOST_THREADS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed, MOST_THREADS))


def _told(*fields: str) -> str:
    """What Linux says of the first processor (where `platform.processor` knows nothing); "" elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = (line.partition(":") for line in file)
            return next((value.strip() for name, _, value in found if name.strip() in fields), "")
    except OSError:
        return ""


def reach(form: str, address: tuple[str, int]) -> str:
    """Where what listens on `address` is reached, from here and from elsewhere.

    Args:
        form: how an address is written, as in "http://{}:{}/".
        address: (host, port); "0.0.0.0" stands for every address of this machine.
    """
    host, port = address
    if host != "0.0.0.0":
        return f"{form.format(host, port)} (from this machine only; --lan opens it to others)"
    return " or ".join(form.format(each, port) for each in ["127.0.0.1", *own_addresses()])


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses on its networks, loopback left out; interfaces that are down don't count."""
    up = {name for name, facts in psutil.net_if_stats().items() if facts.isup}
    cards = [entries for name, entries in psutil.net_if_addrs().items() if name in up]
    found = {entry.address for entries in cards for entry in entries if entry.family == socket.AF_INET}
    return sorted(address for address in found if not address.startswith("127."))
