"""`l2s bench`: what is said of rows, of noise, of a machine; the slow part, the measuring itself, is run by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F

from l2s_node import bench, chart
from l2s_node.bench import Row, Task, _raw, conclusions, peers, plot, train
from l2s_node.bench._noise import FOREIGN, WIDEST, Listener, Noise
from l2s_node.bench._row import in_turns, timed, timing
from l2s_node.bench._worlds import random_world
from l2s_node.cli import main
from l2s_node.errors import EngineError
from l2s_node.loader import draw_field
from l2s_node.models.pix2pix import Classic
from l2s_node.options import BENCHES

CPU = torch.device("cpu")
QUIET = Noise(probes=40, median_ms=2.0, spread=1.05, got=0.99, foreign=0.01)


def test_every_verb_is_a_module_of_the_same_shape() -> None:
    assert {"frame", "engines", "latency", "swap", "memory", "peers"} <= set(BENCHES)
    for verb in BENCHES:
        text = (Path(bench.__file__).parent / f"{verb}.py").read_text(encoding="utf-8")
        assert "\ndef rows(task: Task) -> Iterator[Row]:" in text and "\nMETHOD" in text, verb


def test_a_row_says_what_it_is_compared_with() -> None:
    row = timing("step", [4.0, 5.0, 6.0], "eager", [20.0, 21.0, 22.0], goal=6.0, factor_goal=5.0)
    assert (row.ours, row.baseline, row.count) == (5.0, 21.0, 3)
    assert row.spread == pytest.approx((4.2, 5.8))
    assert row.factor == pytest.approx(4.2)
    said = row.conclusion()
    assert "4.20 times better than eager" in said
    assert "goal at least 5×: missed" in said and "goal at most 6 ms: met" in said
    more = Row("rate", 30.0, "FPS", baseline=10.0, against="theirs", more=True, goal=31.0)
    assert more.factor == 3.0 and "goal at least 31 FPS: missed" in more.conclusion()
    assert conclusions([Row("alone", 1.0, "ms")]) == []


@pytest.mark.parametrize(
    "loud", [{"foreign": FOREIGN + 0.01}, {"spread": WIDEST + 0.01}, {"gpu_spread": WIDEST + 0.01}]
)
def test_a_noisy_machine_concludes_nothing(loud: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert QUIET.quiet and QUIET.text().startswith("quiet")
    noise = dataclasses.replace(QUIET, **loud)
    assert not noise.quiet and "nothing is concluded" in noise.text()
    monkeypatch.setattr(Listener, "heard", lambda *_: noise)
    said, kept = measured(monkeypatch, [timing("step", [4.0], "eager", [20.0], goal=6.0)])
    assert "nothing is concluded" in said and "met" not in said
    assert kept["runs"][0]["conclusive"] is False
    assert "too noisy" in plot(kept)


def measured(monkeypatch: pytest.MonkeyPatch, rows: list[Row]) -> tuple[str, dict[str, Any]]:
    """(what `bench memory` says, what it keeps) if that measures `rows`."""
    from l2s_node.bench import memory

    monkeypatch.setattr(memory, "rows", lambda task: iter(rows))
    lines: list[str] = []
    kept = bench.bench(["memory"], 1.0, lines.append)
    return "\n".join(lines), json.loads(json.dumps(kept))


def test_what_is_kept_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listener, "heard", lambda *_: QUIET)
    said, kept = measured(monkeypatch, [timing("step <&>", [4.0, 5.0], "eager", [20.0, 21.0], goal=6.0)])
    assert "times better than eager; goal at most 6 ms: met" in said
    assert {"processor", "cores", "torch", "python", "l2s", "date"} <= kept["machine"].keys()
    (run,) = kept["runs"]
    assert run["method"] in said and run["conclusive"] and run["rows"][0]["count"] == 2
    drawn = ET.fromstring(plot(kept))
    texts = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "step <&>" in texts and any(torch.__version__ in text for text in texts)


def test_of_several_verbs_one_that_cannot_be_measured_is_skipped_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listener, "heard", lambda *_: QUIET)
    monkeypatch.setattr(peers, "BROWSERS", ())
    lines: list[str] = []
    kept = bench.bench(["peers", "peers"], 1.0, lines.append)
    assert ["install chromium" in run["skipped"] for run in kept["runs"]] == [True, True]
    with pytest.raises(EngineError, match="install chromium"):
        bench.bench(["peers"], 1.0, lines.append)


def test_other_programs_are_heard() -> None:
    """What another process takes, as the system counts it; it isn't ours while nobody waited for its end."""
    listener, start, spent = Listener(CPU), time.monotonic(), 0.0
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        with listener:
            while spent < 0.3:
                listener.listen()
                spent = psutil.Process(busy.pid).cpu_times().user
        noise = listener.heard()
        busy.kill()
    most = spent / ((time.monotonic() - start) * (os.cpu_count() or 1))
    assert noise.foreign > most / 3
    assert noise.probes >= 40 and noise.median_ms > 0 and noise.spread >= 1


def test_timed_returns_single_calls() -> None:
    calls: list[int] = []
    times = timed(lambda: calls.append(1), budget=0.0, most=400)
    assert len(times) == 3 and len(calls) > 3 and min(times) >= 0


def test_two_in_turns_are_called_as_often_one_after_the_other() -> None:
    calls: list[str] = []
    one, other = in_turns(lambda: calls.append("one"), lambda: calls.append("other"), budget=0.0)
    assert len(one) == len(other) == 3 and min(*one, *other) >= 0
    assert calls == ["one", "other"] * (len(calls) // 2)


def test_an_unknown_verb_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed"]) == 2
    assert "there is no l2s bench speed: there are " in capsys.readouterr().err


def test_a_histogram_has_all_values_and_its_marks() -> None:
    drawn = ET.fromstring(chart.histogram([1.0, 2.0, 2.0, 9.0], {"p50": 2.0}, "a < b", "ms"))
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in texts and "p50 2.0 ms" in texts
    assert ET.fromstring(chart.histogram([3.0, 3.0], {"p50": 3.0}, "all the same", "ms")) is not None


def test_the_page_is_given_the_networks_own_layers() -> None:
    """What is exported, computed with plain functions on TensorFlow's layouts, paints what the network paints."""
    generator, _ = random_world("classic", "small")
    assert isinstance(generator, Classic)
    peers.enliven(generator)
    shapes, numbers = peers.exported(generator)
    at = 0

    def take(layer: dict[str, list[int]]) -> dict[str, torch.Tensor]:
        nonlocal at
        found = {}
        for name, shape in layer.items():
            size = int(np.prod(shape))
            tensor = torch.from_numpy(numbers[at : at + size].copy()).view(shape)
            found[name] = tensor.permute(3, 2, 0, 1) if len(shape) == 4 else tensor
            at += size
        return found

    with torch.inference_mode():
        x = first = torch.rand(1, 1, 256, 256) * 2 - 1
        skips = []
        for layer in map(take, shapes["downs"]):
            x = F.leaky_relu(F.conv2d(x, layer["kernel"], layer.get("bias"), 2, 1), 0.3)
            skips.append(x)
        skips.pop()
        for layer in map(take, shapes["ups"]):
            y = F.conv_transpose2d(x, layer["kernel"], None, 2, 1)
            y = F.relu(y * layer["scale"].view(-1, 1, 1) + layer["offset"].view(-1, 1, 1))
            x = torch.cat([y, skips.pop()], 1)
        head = take(shapes["head"])
        made, ours = torch.tanh(F.conv_transpose2d(x, head["kernel"], head["bias"], 2, 1)), generator(first)
    assert at == len(numbers)
    assert float(ours.std()) > 0.1  # a picture that says something
    torch.testing.assert_close(made, ours, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["subpixel", "classic"])
def test_a_runtime_alone_paints_the_same_picture(architecture: str) -> None:
    generator, card = random_world(architecture, "small")
    draw_field(generator, card, (256, 256))
    x = torch.rand((1, 1, 256, 256)) * 2 - 1
    with torch.inference_mode():
        ours = generator(x).numpy()
    ways = _raw.calls(generator, (1, 1, 256, 256), "float32")
    if not ways:
        pytest.skip("neither OpenVINO nor ONNX Runtime is here")
    for name, call in ways.items():
        np.testing.assert_allclose(call(x.numpy()), ours, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_tensorflow_js_paints_the_same_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real TensorFlow.js from npm in real Chromium."""
    if shutil.which("npm") is None or not any(map(shutil.which, peers.BROWSERS)):
        pytest.skip("npm or Chromium is missing")
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    try:
        files = peers._fetched()
    except EngineError as err:
        pytest.skip(str(err))
    generator, _ = random_world("classic", "small")
    assert isinstance(generator, Classic)
    peers.enliven(generator)
    x = torch.rand((1, 1, 256, 256)) * 2 - 1
    pages = peers._pages(files, generator, x)
    answer = peers._asked(peers._browser(), pages, Task(CPU, 1.0), peers.NEWEST, "wasm", "calls", 0.3)
    with torch.inference_mode():
        ours = generator(x)[0].permute(1, 2, 0).ravel()[: peers.COMPARED].numpy()
    assert len(answer["times"]) >= 5
    np.testing.assert_allclose(answer["picture"], ours, atol=1e-3)


@pytest.mark.slow
def test_several_processes_train_together_and_the_first_prints_their_times() -> None:
    """With two of gloo's on the CPU; on GPUs `l2s bench train` starts one for each."""
    ranks = ("--standalone", "--nproc-per-node", "2")
    command = (sys.executable, "-m", "torch.distributed.run", *ranks, "-m", train.GROUP, "small", "4", "3")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    times = json.loads(done.stdout.splitlines()[-1])
    assert len(times) == 3 and min(times) > 0
