"""The command line from outside: what it understands, what it says, its exit codes."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import make_world

from l2s_node.cli import VERBS, knobs, main
from l2s_node.config import looks_folders
from l2s_node.errors import ConfigError
from l2s_node.params import KNOBS
from l2s_node.picture.looks import Library

SUMMARY = {
    "seconds", "frames_in", "frames_out", "repeated", "dropped_input", "dropped_output", "fps", "step_ms_mean",
    "step_ms_p50", "step_ms_p95", "step_ms_p99", "latency_ms_p50", "latency_ms_p99", "rss_mb_10pct", "rss_mb_end",
    "engine", "engine_reason",
}  # fmt: skip
"""What `run --summary` promises; it may say more."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_world(folder, "moss")
    (folder / "presets").mkdir()
    (folder / "presets" / "wild.toml").write_text("detial = 3\n")
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's folder and the working directory are the test's."""
    monkeypatch.setenv("L2S_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def call(*args: str) -> int:
    """The exit code of ``l2s ARGS…``."""
    try:
        return main(args)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS)], ids=lambda v: v[0] if v else "l2s")
def test_help(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*verb, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: l2s {' '.join(verb)}".strip())
    assert verb or all(f"    {each} " in said for each in VERBS)


RUN = ("run", "--in", "pattern:", "--out", "null:", "--osc", "0", "--panel", "0")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "VERB"),
        (("play",), "invalid choice: 'play'"),
        (("run",), "a run needs a source: --in ndi:NAME"),
        (("run", "--in", "cam"), "in takes a URI such as ndi:NAME"),
        (("run", "--in", "ndj:cam", "--out", "null:"), "there is no room 'ndj' (did you mean ndi:cam?)"),
        (("run", "--in", "pattern:tabel", "--out", "null:"), "there is no pattern 'tabel' (did you mean table?)"),
        (("run", "--in", "null:", "--out", "pattern:"), "a pattern only makes pictures"),
        (("run", "--in", "null:", "--out", "file:absent/show.mp4"), "absent doesn't exist"),
        (("run", "--in", "null:", "--out", "file:show.avi"), "its name must end in .mp4, .mov, .mkv"),
        ((*RUN, "--out", "null:"), "out takes URIs"),
        ((*RUN, "--world", "mos"), "there is no world 'mos' (did you mean moss?); there are "),
        ((*RUN, "--world", "moss", "--size", "large"), "the world moss has no size 'large'; it has small"),
        ((*RUN, "--world", "moss.safetensors"), "there is no file moss.safetensors"),
        ((*RUN, "--size", "huge"), "argument --size: invalid choice: 'huge'"),
        ((*RUN, "--sise", "small"), "unrecognized arguments: --sise small"),
        ((*RUN, "--fps", "0"), "fps takes auto or a number"),
        ((*RUN, "--frames", "1.5"), "frames takes a number of frames"),
        ((*RUN, "--output-size", "641x361"), "output-size takes same or WIDTHxHEIGHT"),
        ((*RUN, "--osc", "70000"), "osc takes a port"),
        ((*RUN, "--set", "detial=3"), "there is no knob 'detial'; did you mean 'detail'?"),
        ((*RUN, "--set", "mix"), "--set takes KNOB=VALUE, as in detail=10, not 'mix'"),
        ((*RUN, "--set", "mix=loud"), "mix takes 0 … 1, not 'loud'"),
        ((*RUN, "--set", "blend=sreen"), "did you mean screen?"),
        ((*RUN, "--preset", "crips"), "there is no preset 'crips'; did you mean 'crisp'?"),
        ((*RUN, "--preset", "wild"), "wild.toml"),
        ((*RUN, "--config", "absent.toml"), "can't read the settings in absent.toml"),
        ((*RUN, "--config", "bad.toml"), "bad.toml is not TOML"),
        ((*RUN, "--config", "odd.toml"), "there is no setting 'wolrd'; did you mean 'world'?"),
        ((*RUN, "--summary", "absent/run.json"), "can't write absent/run.json: there is no folder"),
        ((*RUN, "--world", "moss", "--device", "cuda"), "there is no NVIDIA GPU"),
        ((*RUN, "--world", "moss", "--engine", "inductor"), "inductor"),
        (("list", "cameras"), "invalid choice: 'cameras'"),
        (("apply", "moss", "absent.png", "--out", "."), "there is no file absent.png"),
        (("apply", "mos", "absent.png", "--out", "."), "there is no world 'mos'"),
        (("apply", "moss", "--out", "."), "the following arguments are required: PICTURE|VIDEO|FOLDER"),
        (("train", "absent", "--name", "sea"), "absent"),
        (("train", ".", "--name", "my sea"), "a world's name takes letters"),
        (("train", ".", "--name", "sea", "--channels", "8,x"), "whole numbers with commas"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    args: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in args and pytest.importorskip("torch").cuda.is_available():
        pytest.skip("there is one")
    (tmp_path / "bad.toml").write_text("fps = = 3")
    (tmp_path / "odd.toml").write_text('wolrd = "sea"')
    assert call(*args) == 2
    told = capsys.readouterr().err
    assert said in told and re.match(r"l2s[ a-z]*: ", told), told
    assert told.count("\n") == 1 and "Traceback" not in told


def test_a_headless_run_writes_its_numbers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("show.toml").write_text('in = "pattern:table"\nout = "null:"\nworld = "sea"\noutput-size = "64x48"\nosc = 0\n')
    before = signal.getsignal(signal.SIGINT)
    args = ("--config", "show.toml", "--world", "moss", "--set", "mix=0.5", "--panel", "0", "--engine", "eager")
    assert call("run", *args, "--frames", "30", "--summary", "run.json") == 0
    numbers = json.loads(Path("run.json").read_text())
    assert numbers.keys() >= SUMMARY and all(isinstance(v, (int, float, str)) for v in numbers.values())
    assert numbers["frames_out"] == 30 and numbers["engine"] == "eager float32"
    assert 0 < numbers["step_ms_p50"] <= numbers["step_ms_p95"] <= numbers["step_ms_p99"]
    assert 0 < numbers["latency_ms_p50"] <= numbers["latency_ms_p99"] and numbers["rss_mb_end"] > 0
    assert capsys.readouterr().out.startswith("out: null:\nin:  pattern:table")
    assert signal.getsignal(signal.SIGINT) is before


def test_list_says_what_is_here_and_why_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert headings == ["sources:", "sinks:", "worlds:", "looks:", "engines:", "built:", "devices:"]
    for row in ("  pattern:table", "  null:", "  eager"):
        assert row in lines
    assert any(re.match(r"  pattern: +not here: a pattern only makes pictures", line) for line in lines)
    assert any(re.match(r"  moss/small +subpixel, 64 pixels, ", line) for line in lines)
    assert any(re.match(r"  cpu +\S", line) for line in lines)
    assert any(re.match(r"  grain +Film grain .*\(amount, ", line) for line in lines)


def test_list_looks_tells_of_those_that_cant_be_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "looks").mkdir()
    (home / "looks" / "Mine.fs").write_text('/*{"INPUTS": [{"NAME": "x"}]}*/')
    assert call("list", "looks") == 0
    assert re.search(r"mine +can't play: .*Mine.fs: the input x is of the unknown TYPE", capsys.readouterr().out)
    (home / "looks" / "Mine.fs").unlink()


def test_list_of_worlds_tells_of_those_that_cant_play(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = make_world(home, "torn")
    torn.write_bytes(torn.read_bytes()[:50])
    strange = make_world(home, "strange", condition={"version": 0})
    assert call("list", "worlds") == 0
    said = capsys.readouterr().out
    assert re.search(r"torn/small +can't play: .*cut short", said)
    assert re.search(r"strange/small +can't play: this world was trained with version = 0", said)
    torn.unlink(), strange.unlink()


def test_list_knobs_is_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "knobs") == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["address", "type", "range", "default", "change", "what", "it", "does"]
    table = Library(looks_folders()).knobs()
    assert len(rows) == len(table) > len(KNOBS)
    for row, knob in zip(rows, table.values(), strict=True):
        assert row.startswith(f"/l2s/{knob.name} ") and row.endswith(knob.help) and knob.range_text() in row


def test_apply_says_each_file(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 16, 16, 1), np.float32))
    assert call("apply", "moss", "x.npy", "--raw", "--out", "out") == 0
    assert capsys.readouterr().out == f"{Path('out/x.npy')}\n"
    assert np.load(tmp_path / "out" / "x.npy").shape == (1, 16, 16, 3)


def test_train_has_an_option_for_every_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from l2s_node.train import loop
    from l2s_node.train.settings import TrainSettings

    given: list[TrainSettings] = []
    shows: list[Any] = []
    monkeypatch.setattr(loop, "run", lambda settings, show: (given.append(settings), shows.append(show), "sea")[2])
    assert call("train", "sea.mp4", "photos", "--name", "sea") == 0
    assert call(
        "train", "sea.mp4", "--name", "sea", "--size", "large", "--out", "here", "--minutes", "2.5", "--images", "9",
        "--resume", "--recipe", "classic", "--seed", "4", "--device", "cpu", "--foreign", "hands", "tables",
        "--batch", "8", "--resolution", "128", "--channels", "8,16", "--frames", "20", "--licence", "CC0",
        "--save-seconds", "5", "--sheet-seconds", "6", "--from", "moss", "--preview", "null:",
    ) == 0  # fmt: skip
    plain, full = given
    assert shows[0] is None and callable(shows[1])
    assert plain == TrainSettings((Path("sea.mp4"), Path("photos")), "sea", out=home / "worlds")
    untouched = [f.name for f in dataclasses.fields(full) if getattr(full, f.name) == f.default]
    assert untouched == [] and full.foreign == (Path("hands"), Path("tables")) and full.channels == (8, 16)


def test_an_interrupt_outside_a_run_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "list", interrupted)
    assert call("list") == 130 and capsys.readouterr().err == ""


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(args: Any) -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(VERBS, "bench", broken)
    assert call("bench") == 2
    assert capsys.readouterr().err == "l2s: the Python package 'torch' is missing: install l2s-node again\n"


def test_knobs_of_the_command_line() -> None:
    assert knobs(["detail=10", " mix = 0.5 ", "world=a=b"]) == {"detail": "10", "mix": "0.5", "world": "a=b"}
    with pytest.raises(ConfigError, match="as in detail=10"):
        knobs(["detail"])
