"""Trace: where the time of a run goes, by stage and thread, as a file that https://ui.perfetto.dev opens.

What is traced stands in two tables here and nowhere else: the functions are wrapped while a trace is being made, and
are what they always were when none is (so it costs nothing then); to torch's compiler, which could make nothing of a
clock, they are that in a trace as well. The format is Chrome's Trace Event Format, complete events ("ph": "X",
microseconds on the monotonic clock) with the threads' names as metadata:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l2s_node.errors import ConfigError

log = logging.getLogger(__name__)

KEPT = 300_000
"""Newest events that are kept (some five minutes at 60 frames a second, 50 MB); older ones go."""

Name = str | Callable[..., str]
"""A stage's name, or what makes it of the call's arguments."""

STAGES: Sequence[tuple[str, str, Name]] = (
    ("feed", "Feed.ready", "wait for a picture"),
    ("stage", "Stage.follow", "follow the knobs"),
    ("stage", "Stage._play", lambda stage, loaded: f"from here on {loaded.request.name} on {loaded.engine}"),
    ("channel", "Channel.begin", "begin"),
    ("channel", "Channel.finish", "finish"),
    ("channel", "Channel._send", "send"),
    ("channel", "Channel._account", "account"),
    ("outlet", "Outlet.taken", "as the sink takes it"),
    ("loader", "Loader._load", lambda loader, request, *_: f"load {request.name}"),
    ("control.osc", "OscServer._handle", "OSC in"),
    ("control.osc", "OscServer._publish", "OSC out"),
)
"""(module, function in it, name) of what is there before torch is."""

TORCH_STAGES: Sequence[tuple[str, str, Name]] = (
    ("pipeline", "Pipeline.begin", "step"),
    ("picture.host", "sample", "sample"),
    ("picture.way", "conditioned", "condition"),
    ("picture.way", "imagined", "generator"),
    ("picture.way", "developed", "memory"),
    ("picture.host", "paint", "compose"),
    ("picture.dry", "dry_uyvy", "input for the mix"),
    ("picture.gl", "Sampler.draw", "sample in OpenGL"),
    ("picture.gl", "Sampler.take", "wait for OpenGL's sample"),
    ("cuda.program", "Program.send", "upload"),
    ("cuda.program", "Program.run", "graph: sample to compose"),
    ("cuda.chorus", "Chorus.sing", "graphs of several channels"),
    ("cuda.graph", "GraphPipeline.finish", "wait for the GPU"),
    ("models.engines", "build", lambda name, *_: f"build {name}"),
)
"""The same for what imports torch: wrapped in ``l2s-load`` once that is done, before the pipeline is made."""


@contextmanager
def tracing(path: Path | None) -> Iterator[None]:
    """Trace what runs meanwhile into `path`; None for no trace.

    Raises:
        ConfigError: `path` can't be written; said before anything runs if its folder isn't there.
    """
    if path is None:
        yield
        return
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"can't write {path}: there is no folder {path.absolute().parent}")
    trace = Trace()
    trace.wrap(STAGES)
    _wrap_rooms(trace)
    _wrap_late(trace)
    try:
        yield
    finally:
        trace.unwrap()
        trace.write(path)


def _never() -> bool:
    return False


class Trace:
    """Events of functions that it wraps, from any thread; the newest `KEPT` of them."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[tuple[str, int, int, int]] = deque(maxlen=kept)
        self._threads: dict[int, str] = {}
        self._before: list[tuple[Any, str, Any]] = []

    def wrap(self, stages: Sequence[tuple[str, str, Name]], compiling: Callable[[], bool] = _never) -> None:
        """Time every call of these functions of l2s_node until `unwrap`; see `timed`."""
        for module, function, name in stages:
            owner: Any = importlib.import_module(f"l2s_node.{module}")
            *classes, last = function.split(".")
            for each in classes:
                owner = getattr(owner, each)
            self.replace(owner, last, self.timed(getattr(owner, last), name, compiling))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """``owner.name = value`` until `unwrap`."""
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def unwrap(self) -> None:
        """Everything as it was."""
        while self._before:
            setattr(*self._before.pop())

    def timed(self, call: Callable[..., Any], name: Name, compiling: Callable[[], bool] = _never) -> Callable[..., Any]:
        """`call`, its calls timed, but those of which `compiling` says that a compiler follows them."""

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if compiling():
                return call(*args, **kwargs)
            start = time.monotonic_ns()
            try:
                return call(*args, **kwargs)
            finally:
                end, thread = time.monotonic_ns(), threading.get_native_id()
                if thread not in self._threads:
                    here = threading.current_thread()
                    self._threads[thread] = "main" if here is threading.main_thread() else here.name
                self._events.append((name if isinstance(name, str) else name(*args, **kwargs), thread, start, end))

        return timed

    def write(self, path: Path) -> None:
        """The file; one event a line."""
        process = os.getpid()
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": process, "args": {"name": "l2s"}},
            *(
                {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": name}}
                for thread, name in self._threads.items()
            ),
            *(
                {"ph": "X", "cat": "l2s", "name": name, "pid": process, "tid": thread, "ts": start / 1e3,
                 "dur": (end - start) / 1e3}
                for name, thread, start, end in self._events
            ),
        ]  # fmt: skip
        lines = ",\n".join(json.dumps(event) for event in events)
        try:
            path.write_text(f'{{"displayTimeUnit": "ms", "traceEvents": [\n{lines}\n]}}\n', encoding="utf-8")
        except OSError as err:
            raise ConfigError(f"can't write {path}: {err.strerror or err}") from err
        last = " (the last of them: older ones went)" if len(self._events) == self._events.maxlen else ""
        log.info("trace: %d events in %s%s, for https://ui.perfetto.dev", len(self._events), path, last)


def _wrap_rooms(trace: Trace) -> None:
    """Reading and writing by the rooms' URIs, whichever they are."""
    feed: Any = importlib.import_module("l2s_node.feed")
    channel: Any = importlib.import_module("l2s_node.channel")
    open_source, open_sink = feed.open_source, channel.open_sink

    def source(uri: str, options: Any) -> Any:
        opened = open_source(uri, options)
        opened.read = trace.timed(opened.read, f"read {uri}")
        return opened

    def sink(uri: str, options: Any) -> Any:
        opened = open_sink(uri, options)
        opened.write = trace.timed(opened.write, f"write {uri}")
        return opened

    trace.replace(feed, "open_source", source)
    trace.replace(channel, "open_sink", sink)


def _wrap_late(trace: Trace) -> None:
    """Wrap `TORCH_STAGES` as soon as the loader has imported torch."""
    loader: Any = importlib.import_module("l2s_node.loader")
    prepare = loader.prepare

    once = threading.Lock()  # every channel has a loader

    def prepared(*args: Any) -> Any:
        device = prepare(*args)
        if once.acquire(blocking=False):
            import torch

            trace.wrap(TORCH_STAGES, torch.compiler.is_compiling)
        return device

    trace.replace(loader, "prepare", trace.timed(prepared, "import torch"))
