"""Latency: NDI into a node and NDI back out of it, seen from outside, beside a relay; and a run without a codec."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from l2s_node.bench import _live
from l2s_node.bench._row import Row, Task, timing
from l2s_node.clock import exact_rate
from l2s_node.config import demo_clip
from l2s_node.latency import Trip, measure
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options, Sink

METHOD = (
    "pictures that are numbers (see `l2s latency`) at 720p through NDI, a node that plays its small world, and NDI "
    "again, all on this machine; beside the same with a process between that only hands on what comes in"
)
SIZE = (1280, 720)


def rows(task: Task) -> Iterator[Row]:
    """See `Row`."""
    for fps in (30, 60):
        yield from _through_ndi(fps, task.seconds)
    options = ("--in", f"file:{demo_clip()}", "--out", "null:", "--fps", "60", "--output-size", "1280x720")
    with _live.live(*options, "--seconds", str(task.seconds)) as node:
        node.process.wait(task.seconds + _live.PATIENCE)
    reached = float(node.summary["fps"])
    yield Row("file → small → null:, 720p60", reached, "FPS", baseline=60.0, against="asked for", more=True, goal=59.4)


def _through_ndi(fps: int, seconds: float) -> Iterator[Row]:
    alone, (whole, summary) = _alone(fps, seconds), _with_node(fps, seconds)
    what = f"NDI 720p{fps} → small → NDI"
    # what the node's slowest adds is compared with what is usual without it
    added = whole.percentile(50) - alone.percentile(50)
    p99 = whole.percentile(99) - alone.percentile(50)
    goals = (12.0, 25.0, 99.0) if fps == 60 else (None, None, None)
    count = len(whole.milliseconds)
    yield timing(f"{what}: round trip", whole.milliseconds, "handed on", alone.milliseconds,
                 note=f"p95 {whole.percentile(95):.1f}, p99 {whole.percentile(99):.1f} ms")  # fmt: skip
    yield Row(f"{what}: added by the node, p50", added, "ms", count=count, goal=goals[0])
    yield Row(f"{what}: added by the node, p99", p99, "ms", count=count, goal=goals[1])
    yield Row(f"{what}: the node's own count, p50", summary["latency_ms_p50"], "ms",
              note=f"p99 {summary['latency_ms_p99']:.1f} ms, step {summary['step_ms_p50']:.1f} ms")  # fmt: skip
    yield Row(f"{what}: came through", whole.arrived, "%", baseline=alone.arrived, against="handed on", more=True,
              goal=goals[2],
              note=f"{whole.unreadable} unreadable, {summary['dropped_input']} passed over by the node")  # fmt: skip


def _alone(fps: int, seconds: float) -> Trip:
    """Through a process that hands on what comes in: NDI twice, as with a node, and nothing in between."""
    with _sending(fps) as (sink, port, options):
        context = multiprocessing.get_context("spawn")
        relay = context.Process(target=_hand_on, args=(port, fps), name="bench-relay")
        relay.start()
        try:
            with closing(open_source(f"ndi:@127.0.0.1:{_live.sender_port(relay.pid or 0)}", options)) as source:
                return measure(sink, source, seconds, options, _quiet)
        finally:
            relay.terminate()
            relay.join()


def _hand_on(port: int, fps: int) -> None:
    """Receive and send until terminated."""
    logging.getLogger("l2s_node").setLevel(logging.ERROR)
    options = Options("l2s-bench", rate=exact_rate(fps), size=SIZE)
    sink = open_sink("ndi:l2s-bench-out", options)
    source = open_source(f"ndi:@127.0.0.1:{port}", options)
    while True:
        frame = source.read(1.0)
        if frame is not None:
            sink.write(frame)


def _with_node(fps: int, seconds: float) -> tuple[Trip, dict[str, float]]:
    with _sending(fps) as (sink, port, options):
        with _live.live("--in", f"ndi:@127.0.0.1:{port}", "--out", "ndi:l2s-bench-out") as node:
            node.wait("small on ")
            with closing(open_source(f"ndi:@127.0.0.1:{node.port()}", options)) as source:
                trip = measure(sink, source, seconds, options, _quiet)
        return trip, node.summary


@contextmanager
def _sending(fps: int) -> Iterator[tuple[Sink, int, Options]]:
    """(a sender of this process, its port, what it announces)."""
    options = Options("l2s-bench", rate=exact_rate(fps), size=SIZE)
    known = frozenset(_live.sender_ports(os.getpid()))
    with closing(open_sink("ndi:l2s-bench-in", options)) as sink:
        yield sink, _live.sender_port(os.getpid(), known=known), options


def _quiet(_: str) -> None:
    """Where people needn't be told."""
