"""The live part of `l2s bench`: NDI in one process, the node in a second, NDI in a third, all on this machine.

The node shows its input in the left half (`show split`, the generator plays all the same), so that a number written
into each picture comes through and the whole way can be timed from outside. The same sender and receiver without the
node between them are the baseline: what NDI alone costs.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from l2s_node.bench import Row
from l2s_node.config import demo_clip
from l2s_node.errors import RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options

SIZE = (1280, 720)
BITS, SIDE = 20, 16
SETTLE = 6.0
"""Seconds before anything is counted: torch is imported, the world is loaded."""
DISCOVERY_PORT = 5960


def show(seconds: float) -> Iterator[Row]:
    """The rows of `bench show`; each live run takes `seconds` and some more to settle."""
    for fps in (30, 60):
        yield from _through_ndi(fps, seconds)
    summary = _run_node(
        "file:" + str(demo_clip()), "null:", seconds + SETTLE, "--fps", "60", "--output-size", "1280x720"
    )
    yield Row("file → 720p → null at 60 FPS", summary["fps"], "FPS", 60.0, "asked for")


def _through_ndi(fps: int, seconds: float) -> Iterator[Row]:
    alone, with_node = _measure(fps, seconds, node=False), _measure(fps, seconds, node=True)
    what = f"NDI 720p{fps} → small → NDI"
    yield Row(f"{what}: came through", with_node.arrived, "%", alone.arrived, "NDI alone")
    yield Row(f"{what}: whole way, p50", with_node.p50, "ms", alone.p50, "NDI alone", (with_node.p10, with_node.p99),
              note="(10th … 99th percentile)")  # fmt: skip
    node = with_node.summary
    yield Row(f"{what}: in the node, p50", node["latency_ms_p50"], "ms", node["step_ms_p50"], "its step",
              note=f"p99 {node['latency_ms_p99']:.2f} ms, dropped {node['dropped_input']}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    arrived: float
    p10: float
    p50: float
    p99: float
    summary: dict[str, Any]


def _measure(fps: int, seconds: float, node: bool) -> _Seen:
    """One run; counted is what was sent after everything had settled."""
    context = multiprocessing.get_context("spawn")
    sent = context.Array("d", 1 << BITS, lock=False)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        sender = context.Process(target=_send, args=(fps, sent), name="bench-send")
        sender.start()
        stack.callback(_end, sender)
        port = _port_of(sender.pid)
        summary = Path(folder) / "summary.json"
        if node:
            total = str(seconds + 2 * SETTLE)
            command = _command(f"ndi:@127.0.0.1:{port}", "ndi:l2s-bench-out", total, summary, "--set", "show=split")
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(running.wait)
            port = _port_of(running.pid)
        here, there = context.Pipe(duplex=False)
        receiver = context.Process(target=_receive, args=(port, SETTLE, seconds, there), name="bench-receive")
        receiver.start()
        stack.callback(_end, receiver)
        begin, end, arrivals = here.recv()
        stack.close()
        numbers = {n for n in range(len(sent)) if begin <= sent[n] < end - 0.5}
        latencies = [(at - sent[n]) * 1e3 for n, at in arrivals.items() if n in numbers]
        if not latencies:
            raise RoomError("no picture came through NDI; is another program on its ports?")
        p10, p50, p99 = (float(np.percentile(latencies, q)) for q in (10, 50, 99))
        found = json.loads(summary.read_text()) if node else {}
        return _Seen(100 * len(latencies) / len(numbers), p10, p50, p99, found)


def _end(process: Any) -> None:
    process.terminate()
    process.join()


def _send(fps: int, sent: Any) -> None:
    """Send numbered pictures until terminated; `sent[n]` is when number n went off."""
    rate = Fraction(fps)
    sink = open_sink("ndi:l2s-bench-in", Options("l2s-bench", rate=rate, size=SIZE))
    source = open_source("pattern:table", Options(rate=rate, size=SIZE))
    count = 0
    while True:
        frame = source.read(1.0)
        if frame is None:
            continue
        count += 1
        plane = frame.planes[0].copy()
        _stamp(plane, count)
        sent[count] = time.monotonic()
        sink.write(Frame((plane,), PixelFormat.UYVY, *SIZE, seconds=sent[count], number=count, rate=rate))


def _receive(port: int, settle: float, seconds: float, back: Connection) -> None:
    """Send back (begin, end, {number: first seen}) of what comes from `port`."""
    source = open_source(f"ndi:@127.0.0.1:{port}", Options("l2s-bench"))
    begin = time.monotonic() + settle
    end = begin + seconds
    arrivals: dict[int, float] = {}
    while time.monotonic() < end:
        frame = source.read(0.1)
        if frame is not None:
            arrivals.setdefault(_number(frame.planes[0]), time.monotonic())
    back.send((begin, end, arrivals))
    source.close()


def _stamp(plane: np.ndarray, number: int) -> None:
    for bit in range(BITS):
        plane[:SIDE, 2 * SIDE * bit + 1 : 2 * SIDE * (bit + 1) : 2] = 210 if number >> bit & 1 else 40


def _number(plane: np.ndarray) -> int:
    middle = plane[SIDE // 2 - 2 : SIDE // 2 + 2, 1::2].astype(np.float32).mean(0)
    squares = middle[: BITS * SIDE].reshape(BITS, SIDE)[:, 4:-4].mean(1)
    return sum(1 << bit for bit in range(BITS) if squares[bit] > 125)


def _port_of(pid: int | None, patience: float = 20.0) -> int:
    """The port that a sending process serves its pictures on."""
    end = time.monotonic() + patience
    while time.monotonic() < end and pid is not None and psutil.pid_exists(pid):
        ports = [c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        served = [port for port in ports if DISCOVERY_PORT < port < DISCOVERY_PORT + 1000]
        if served:
            return int(min(served))
        time.sleep(0.05)
    raise RoomError("an NDI sender for the measurement didn't come up")


def _command(source: str, sink: str, seconds: str, summary: Path, *more: str) -> list[str]:
    quiet = ("--osc", "0", "--panel", "0", "--name", "l2s-bench")
    return [sys.executable, "-m", "l2s_node", "run", "--in", source, "--out", sink, "--seconds", seconds,
            "--summary", str(summary), *quiet, *more]  # fmt: skip


def _run_node(source: str, sink: str, seconds: float, *more: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        subprocess.run(_command(source, sink, str(seconds), summary, *more), check=True, capture_output=True)
        found: dict[str, Any] = json.loads(summary.read_text())
        return found
