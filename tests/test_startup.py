"""The order of a start is a contract: the show sees a source at once, heavy libraries come while frames go out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from small_worlds import make_world

HEAVY = {"torch", "openvino", "cv2", "onnxruntime", "safetensors", "aiohttp"}

DRIVER = """
import json, sys, threading, time
from l2s_node import video

start, real = time.monotonic(), video.open_sink

def note(what, **more):
    modules = sorted({name.split(".")[0] for name in list(sys.modules)})
    print(json.dumps({"what": what, "after": time.monotonic() - start, "modules": modules, **more}))

def open_sink(uri, options):
    note("opens")
    sink = real(uri, options)
    write, seen = sink.write, set()
    def noted(frame):
        what = "black" if frame.planes[0][:, 1::2].max() <= 16 else "picture"
        if what not in seen:
            seen.add(what)
            note(what, thread=threading.current_thread().name)
        write(frame)
    sink.write = noted
    return sink

video.open_sink = open_sink
from l2s_node.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""Runs `l2s ARGS…` and tells what is loaded when a sink is opened and gets its first frames."""


def test_sinks_are_open_and_show_black_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    """Even with a preset that names a world, whose name is checked against the worlds there are."""
    make_world(tmp_path, "moss", grey=0.6)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "opening.toml").write_text('world = "moss"\nmix = 1.0\n')
    args = ("run", "--in", "pattern:table", "--out", "null:", "--output-size", "64x48", "--frames", "3",
            "--preset", "opening", "--engine", "eager", "--osc", "0", "--panel", "0")  # fmt: skip
    env = {**os.environ, "L2S_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", DRIVER, *args], env=env, text=True, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr
    opens, black, picture = (json.loads(line) for line in run.stdout.splitlines() if line.startswith("{"))
    assert [event["what"] for event in (opens, black, picture)] == ["opens", "black", "picture"]
    for event in (opens, black):
        assert not HEAVY & set(event["modules"]), event
    assert "torch" in picture["modules"] and picture["thread"] == "MainThread"


def test_what_is_wrong_with_the_settings_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    """A typo in a world's name is told at once, not after seconds of loading, and no sender flashes up."""
    env = {**os.environ, "L2S_HOME": str(tmp_path)}
    args = ("run", "--in", "pattern:", "--out", "null:", "--world", "flwers")
    code = "import sys; from l2s_node.__main__ import main; rc = main(sys.argv[1:]); print(rc, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, *args], env=env, text=True, capture_output=True, timeout=60)
    assert run.stdout == "2 False\n"
    assert run.stderr.startswith("l2s: there is no world 'flwers'") and run.stderr.count("\n") == 1
