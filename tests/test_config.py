"""Start-up settings: one TOML, the command line over it, every value parsed once or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from l2s_node import config
from l2s_node.config import RunConfig, load
from l2s_node.errors import ConfigError


def test_the_least_that_a_run_needs_is_a_source() -> None:
    assert load(None, {"in": "ndi:cam"}) == RunConfig("ndi:cam", ("ndi:l2s",))
    assert load(None, {"in": "ndi:cam", "name": "stage"}).sinks == ("ndi:stage",)
    with pytest.raises(ConfigError, match="--in"):
        load(None, {})


def test_command_line_over_toml(tmp_path: Path) -> None:
    show = tmp_path / "show.toml"
    show.write_text(
        'in = "ndi:cam"\nout = ["ndi:l2s", "null:"]\noutput-size = "1280x720"\nfps = 25\nlan = true\nosc = 0\n'
        'world = "sea"\non-loss = "black"\n[knobs]\nmix = 0.5\ndetail = 20\n',
        encoding="utf-8",
    )
    run = load(show, {"fps": "30000/1001", "on_loss": None, "world": "flowers", "knobs": {"mix": "1"}})
    assert run == RunConfig(
        source="ndi:cam", sinks=("ndi:l2s", "null:"), output_size=(1280, 720), fps=30000 / 1001, lan=True, osc=0,
        world="flowers", on_loss="black", knobs={"mix": "1", "detail": 20},
    )  # fmt: skip
    assert run.start_knobs() == {"mix": "1", "detail": 20, "world": "flowers"}


def test_every_value_is_parsed() -> None:
    run = load(
        None,
        {"source": "pattern:", "fps": "auto", "output-size": "same", "osc-feedback": "[::1]:9000", "frames": "100",
         "seconds": "0.5", "summary": "out.json", "panel": "0", "out": "null:", "device": "cpu", "engine": "eager",
         "favor": "throughput"},
    )  # fmt: skip
    assert (run.fps, run.output_size, run.osc_feedback, run.frames) == (None, None, ("::1", 9000), 100)
    assert (run.seconds, run.summary, run.panel, run.sinks) == (0.5, Path("out.json"), 0, ("null:",))
    assert (run.favor, load(None, {"source": "pattern:"}).favor) == ("throughput", "latency")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("in", "cam", "URI"),
        ("out", [], "each once"),
        ("out", ["ndi:a", "ndi:a"], "each once"),
        ("name", "my show", "letters"),
        ("fps", "0", "frames a second"),
        ("fps", "1/0", "frames a second"),
        ("fps", True, "frames a second"),
        ("output-size", "641x361", "even width"),
        ("output-size", "720p", "even width"),
        ("device", "gpu", "auto, cpu, cuda, mps"),
        ("engine", "onnx", "openvino"),
        ("favor", "speed", "latency, throughput"),
        ("precision", "int4", "auto, float32, bfloat16, float16, int8"),
        ("osc", "70000", "65535"),
        ("osc", 7400.5, "65535"),
        ("osc-feedback", "9000", "HOST:PORT"),
        ("osc-feedback", ":9000", "HOST:PORT"),
        ("lan", "yes", "true or false"),
        ("on-loss", "freeze", "hold, bypass, black, pattern"),
        ("seconds", "-1", "seconds"),
        ("seconds", "nan", "seconds"),
        ("frames", "1.5", "frames"),
        ("world", " ", "name"),
        ("knobs", 3, "table"),
    ],
)
def test_a_value_that_will_not_do_is_named_with_what_will(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load(None, {"in": "pattern:", key: value})
    assert key in str(refused.value) and repr(value) in str(refused.value)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'output-siz'; did you mean 'output-size'\?"):
        load(None, {"in": "pattern:", "output-siz": "same"})
    with pytest.raises(ConfigError, match=r"\[knobs\]"):
        load(None, {"in": "pattern:", "mix": 1})


def test_a_file_that_is_no_toml_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("fps = = 3")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"')
    for name, said in (("bad.toml", "not TOML"), ("latin.toml", "not TOML"), ("none.toml", "can't read")):
        with pytest.raises(ConfigError, match=said):
            load(tmp_path / name, {})


def test_assets_are_found() -> None:
    assert config.demo_clip().is_file()
    assert (config.demo_clip().parent / "CREDITS.md").is_file()
    assert (config.assets() / "presets").is_dir()


def test_the_users_folder_goes_before_the_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    assert config.preset_folders() == (tmp_path / "presets", config.assets() / "presets")
    extra = tmp_path / "mine"
    assert config.worlds_folders([extra]) == (extra, tmp_path / "worlds", config.assets() / "presets" / "worlds")
