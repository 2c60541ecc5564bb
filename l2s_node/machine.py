"""Machine: what this computer is called by its processor, and how its ports are reached, in words."""

from __future__ import annotations

import platform
import socket

import psutil


def processor() -> str:
    """The processor's name, as in "Intel(R) Xeon(R) Platinum 8481C"."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # where platform.processor() knows nothing
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


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
