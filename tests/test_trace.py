"""`l2s run --trace`: a file that Perfetto opens, with the stages and threads named; nothing is left behind."""

from __future__ import annotations

import importlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from l2s_node.cli import main
from l2s_node.errors import ConfigError
from l2s_node.trace import STAGES, TORCH_STAGES, Trace, tracing


def found(path: Path) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """(complete events, threads' names by id)."""
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    threads = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    return [event for event in events if event["ph"] == "X"], threads


def wrapped(module: str, function: str) -> object:
    owner: Any = importlib.import_module(f"l2s_node.{module}")
    for part in function.split("."):
        owner = getattr(owner, part)
    return owner


def test_a_run_is_traced_stage_by_stage(tmp_path: Path) -> None:
    path, summary = tmp_path / "out.json", tmp_path / "summary.json"
    before = [wrapped(module, function) for module, function, _ in (*STAGES, *TORCH_STAGES)]
    options = ("--in", "pattern:", "--out", "null:", "--frames", "5", "--osc", "0", "--panel", "0")
    assert main(["run", *options, "--trace", str(path), "--summary", str(summary)]) == 0
    events, threads = found(path)
    by_name = {event["name"]: event for event in events}
    main_thread = {"wait for a picture", "begin", "step", "sample", "condition", "generator", "compose", "send"}
    for name in (*main_thread, "finish", "write null:"):
        assert threads[by_name[name]["tid"]] == "main"
    assert threads[by_name["import torch"]["tid"]] == "l2s-load"
    assert any(name.startswith("from here on flowers/") for name in by_name)
    steps = [event for event in events if event["name"] == "step"]
    for inner in (event for event in events if event["name"] == "generator"):
        assert any(s["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= s["ts"] + s["dur"] for s in steps)
    assert [wrapped(module, function) for module, function, _ in (*STAGES, *TORCH_STAGES)] == before


def test_memory_is_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    trace = Trace(kept=10)
    call = trace.timed(lambda n: n, lambda n: f"call {n}")
    other = threading.Thread(target=lambda: [call(n) for n in range(100)], name="l2s-other")
    other.start()
    other.join()
    trace.write(tmp_path / "out.json")
    events, threads = found(tmp_path / "out.json")
    assert [event["name"] for event in events] == [f"call {n}" for n in range(90, 100)]
    assert set(threads.values()) == {"l2s-other"}


def test_what_fails_is_timed_and_fails_on(tmp_path: Path) -> None:
    trace = Trace()
    with pytest.raises(ZeroDivisionError):
        trace.timed(lambda: 1 / 0, "fails")()
    trace.write(tmp_path / "out.json")
    assert [event["name"] for event in found(tmp_path / "out.json")[0]] == ["fails"]


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"), tracing(tmp_path / "absent" / "out.json"):
        raise AssertionError("it ran")
