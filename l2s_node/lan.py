"""Lan: all l2s nodes on the network and how they do, for `l2s doctor --lan`.

They are found by their NDI senders, which tell whoever connects that they are a node's; how a node does, its OSC tells.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence

from l2s_node.control.packet import read_packet, write_message
from l2s_node.control.report import Report, format_line
from l2s_node.doctor import Check
from l2s_node.errors import ControlError
from l2s_node.machine import own_addresses
from l2s_node.video._ndi_lan import Peer, peers

PATIENCE = 0.5
"""Seconds that a node may take to answer over OSC: its thread for that does nothing else."""
FIELDS = ("step_ms", "average_ms", "fps", "latency_ms", "dropped", "world", "size", "engine", "source", "state")
TEXTS = FIELDS[5:]


def examine_lan() -> Iterator[Check]:
    """A line a channel of each node; takes some four seconds.

    Raises:
        RoomError: libndi can't be used here.
    """
    found, others = peers()
    for peer in found:
        yield _check(peer, ask(peer) if peer.osc else None)
    if not found:
        yield Check("node", True, "none on the network" + UNSEEN, advice=True)
    if others:
        yield Check("other sources", True, ", ".join(others))


UNSEEN = " (a node without an NDI sender isn't seen, nor one that isn't found by name: see l2s doctor)"


def ask(peer: Peer) -> Report | None:
    """The state of a node's channel, over OSC; None where nobody answers."""
    values: dict[str, float | str] = {}
    base = f"/{peer.name}/{peer.channel}".rstrip("/")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.settimeout(0.05)
        for host in _hosts(peer.address):
            try:
                mine.sendto(write_message(f"{base}/status/*", "?"), (host, peer.osc))
                _hear(mine, f"{base}/status/", values)
            except OSError:
                continue
            if values:
                break
    return Report(**{name: values[name] for name in FIELDS if name in values}) if values else None  # type: ignore[arg-type]


def _hosts(address: str) -> Sequence[str]:
    """Where a node at `address` may listen: one of this machine without --lan on loopback only."""
    return ("127.0.0.1", address) if address in own_addresses() or address.startswith("127.") else (address,)


def _hear(mine: socket.socket, base: str, values: dict[str, float | str]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and len(values) < len(FIELDS):
        try:
            messages = read_packet(mine.recv(65536))
        except (TimeoutError, ControlError):
            continue
        for message in messages:
            name, value = message.address.lower().removeprefix(base.lower()), message.args[0] if message.args else None
            if name in FIELDS and isinstance(value, str if name in TEXTS else float):
                values[name] = value


def _check(peer: Peer, report: Report | None) -> Check:
    who = f"{peer.source} at {peer.address}, l2s {peer.version}" + (f", channel {peer.channel}" if peer.channel else "")
    if report is not None:
        return Check("node", True, f"{who}, OSC udp {peer.osc} as /{peer.name}: {format_line(report)}")
    if not peer.osc:
        return Check("node", True, f"{who}: plays without OSC", advice=True)
    why = "it doesn't answer" if peer.open else "it listens on its own machine only; --lan opens it"
    return Check("node", True, f"{who}, OSC udp {peer.osc}: {why}", advice=True)
