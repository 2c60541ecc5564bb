"""`l2s build`: engines before the show, the trial that auto goes by, and the show that takes both."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from l2s_node import build, loader, texture
from l2s_node.cli import main
from l2s_node.config import RunConfig
from l2s_node.cuda.chorus import seats
from l2s_node.errors import EngineError
from l2s_node.models import engines, quantise, store, trial
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import READY
from l2s_node.models.prebuilt import Prebuilt
from l2s_node.models.trial import Trial
from l2s_node.picture import condition

CPU = torch.device("cpu")
CONFIG = RunConfig(source="null:", sinks=("null:",), device="cpu")
FRAME = (1280, 720)
TRIAL = Trial({"eager": 2.0, "openvino": 6.125}, "2026-11-25")

HERE = quantise.missing
needs_nncf = pytest.mark.skipif(HERE() is not None, reason=str(HERE()))
pytestmark = pytest.mark.skipif(engines.room("openvino").missing() is not None, reason="openvino isn't here")


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCard]:
    """The world "tiny", small, in a folder of the user's own."""
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "TURN", 0.005)
    missing = engines.room("onnxruntime")
    monkeypatch.setattr(missing, "missing", lambda: "onnxruntime isn't installed: pip install onnxruntime")
    monkeypatch.setattr(quantise, "missing", lambda: "nncf isn't installed: pip install nncf")
    card = ModelCard("tiny", "small", "subpixel", (4, 8), multiple=64, seed=1, condition=dict(condition.SETTINGS))
    yield store.save(tmp_path / "worlds" / "tiny" / "small.safetensors", store.instantiate(card).eval(), card)
    logging.getLogger("l2s_node.models.engines").setLevel(logging.NOTSET)  # the verb quietens it


def lines(capsys: pytest.CaptureFixture[str], *args: str, looks: bool = False) -> list[str]:
    """What `l2s build` says of worlds, or of looks."""
    assert main(["build", "--device", "cpu", *args]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("look") == looks]


def loaded() -> list[loader.Loaded]:
    found = list(loader.load(loader.Request("tiny", "small", FRAME), CONFIG, CPU))
    for each in found:
        each.close()
    return found


def test_it_builds_compares_and_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    (before,) = loaded()
    assert READY not in before.reason and "not measured here yet" in before.reason
    first = lines(capsys, "tiny")
    assert "tiny/small 320x192 openvino" in first[1] and first[1].endswith(", kept")
    assert "nothing to keep" in first[2] and "auto takes" in first[3] and "measured on this machine on" in first[3]
    fastest = first[3].split("auto takes ")[1].split()[0]
    again = lines(capsys, "tiny/small")
    assert "is kept already" in again[1]
    fastest = again[3].split("auto takes ")[1].split()[0]
    (after,) = loaded()
    assert after.engine.split()[0] == fastest and "measured on this machine" in after.reason
    assert fastest == "eager" or READY in after.reason


def test_it_says_what_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(capsys) == ["none: see l2s build"]
    lines(capsys, "tiny", "--engine", "openvino")
    for said in (lines(capsys), main(["list", "built"]) or capsys.readouterr().out.splitlines()):
        assert len(said) == 2 and "tiny/small" in said[0] and "openvino" in said[0] and "of at most" in said[1]
    monkeypatch.setattr("l2s_node.models.identity._code", lambda: "another")
    assert "not taken any more: made by another l2s-node" in lines(capsys)[0]


def test_one_engine_by_name_makes_no_trial(capsys: pytest.CaptureFixture[str], world: ModelCard) -> None:
    assert len(lines(capsys, "tiny", "--engine", "openvino", "--size", "small")) == 2
    assert engines.measured(world, (1, 1, 192, 320), CPU, Prebuilt()) is None


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nowhere"], "there is no world 'nowhere'"),
        (["tiny", "--size", "large"], "has no size 'large'"),
        (["tiny", "--engine", "inductor"], "inductor doesn't run on cpu"),
        (["tiny", "--engine", "onnxruntime"], "pip install onnxruntime"),
        (["tiny", "--precision", "int8"], "pip install nncf"),
        (["tiny", "--precision", "int8", "--engine", "eager"], "can't calculate in int8"),
        (["tiny", "--precision", "float16"], "float16"),
        (["tiny", "--frame", "wide"], "wide"),
        (["tiny", "--frame", "same"], "--frame 1280x720"),
        (["/nowhere/world.safetensors"], "there is no file"),
    ],
)
def test_a_failure_is_one_sentence(args: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--device", "cpu", *args]) == 2
    said = capsys.readouterr().err
    assert text in said and said.count("\n") == 1


def test_an_engine_that_fails_leaves_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise engines.EngineError("no such kernel")

    monkeypatch.setattr(engines.room("openvino"), "build", broken)
    said = lines(capsys, "tiny")
    assert "openvino: not built: no such kernel" in said[1] and "eager float32: built" in said[2] and len(said) == 3


# --- auto -------------------------------------------------------------------------------------------------------------


def test_auto_goes_by_the_trial(world: ModelCard) -> None:
    shape = (1, 1, 192, 320)
    trial.keep(engines.trial_slot(world, shape, CPU, Prebuilt()), TRIAL)
    assert engines.measured(world, shape, CPU, Prebuilt()) == TRIAL
    chosen = engines.choose("auto", CPU, world, TRIAL)
    assert [choice.name for choice in chosen] == ["eager", "openvino"]
    assert chosen[0].why == "eager 2 ms, openvino 6.1 ms, measured on this machine on 2026-11-25"
    (got,) = loaded()
    assert got.engine == "eager float32" and chosen[0].why in got.reason
    assert engines.choose("openvino", CPU, world, TRIAL) == [("openvino", "auto", "asked for")]
    live = dataclasses.replace(world, dropout=True)
    assert [choice.name for choice in engines.choose("auto", CPU, live)] == ["eager"]


def test_a_trial_of_other_versions_isnt_taken(world: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (1, 1, 192, 320)
    trial.keep(engines.trial_slot(world, shape, CPU, Prebuilt()), TRIAL)
    monkeypatch.setattr("l2s_node.models.identity.versions", lambda packages: "others")
    assert engines.measured(world, shape, CPU, Prebuilt()) is None


def test_what_was_measured_and_is_gone_is_passed_over(world: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.room("openvino"), "missing", lambda: "it was removed")
    quick = Trial({"openvino": 1.0, "eager": 2.0}, "2026-11-25")
    assert [choice.name for choice in engines.choose("auto", CPU, world, quick)] == ["eager"]


def test_measuring_puts_the_fastest_first() -> None:
    calls: dict[str, int] = {"slow": 0, "quick": 0}

    def work(name: str, seconds: float) -> object:
        def call(_: torch.Tensor) -> None:
            calls[name] += 1
            time.sleep(seconds)

        return call

    found = trial.measure({"slow": work("slow", 0.02), "quick": work("quick", 0.001)}, torch.zeros(1))  # type: ignore[dict-item]
    assert list(found.milliseconds) == ["quick", "slow"] and found.milliseconds["slow"] >= 20
    assert min(calls.values()) >= 3 * (trial.ROUNDS + 1)


# --- 8 bits -----------------------------------------------------------------------------------------------------------

EIGHT = "openvino int8"


@pytest.mark.parametrize(
    ("milliseconds", "near", "best", "said"),
    [
        (3.0, 42.0, [EIGHT, "openvino", "eager"], "openvino int8 3 ms (PSNR 42 dB to float32), openvino 6 ms"),
        (3.0, 30.0, ["openvino", "eager"], "passed over: its PSNR to float32 is 30 dB, and 35 are wanted"),
        (5.5, 42.0, ["openvino", "eager"], "passed over: it takes 0.92 of the fastest other's time, and at most 0.85"),
    ],
    ids=["worth it", "another picture", "hardly faster"],
)
def test_8_bits_are_taken_where_they_are_faster_and_the_picture_survives(
    milliseconds: float, near: float, best: list[str], said: str, world: ModelCard
) -> None:
    times = {EIGHT: milliseconds, "openvino": 6.0, "eager": 20.0}
    found = Trial(times, "2026-11-25", {EIGHT: near})
    assert found.best() == best and said in found.text()
    chosen = engines.choose("auto", CPU, world, found)
    assert [(each.name, each.precision) for each in chosen] == [
        (name.partition(" ")[0], name.partition(" ")[2] or "auto") for name in best
    ]
    assert all(said in each.why for each in chosen)
    asked = engines.choose("auto", CPU, world, found, "float32")
    assert [(each.name, each.precision) for each in asked] == [("openvino", "float32"), ("eager", "float32")]


def test_how_near_pictures_are_is_told_in_decibels() -> None:
    inputs = torch.linspace(-1, 1, 12).view(3, 1, 2, 2)
    plain = lambda x: x.clone()  # noqa: E731
    assert trial.decibels(plain, plain, inputs) == 100
    assert trial.decibels(lambda x: x + 0.02, plain, inputs) == pytest.approx(40, abs=1e-3)


def test_what_channels_play_together_is_built_too_and_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an NVIDIA GPU's engine; here OpenVINO stands for one, which takes batches as well."""
    alone = lines(capsys, "tiny", "--channels", "6", "--engine", "openvino")
    assert len(alone) == 3 and "tiny/small 320x192: nothing more for several channels" in alone[2]
    monkeypatch.setattr(build, "SLOW", ("openvino",))
    monkeypatch.setattr(build, "batches", lambda name, *_: name == "openvino")
    said = lines(capsys, "tiny", "--channels", "6", "--engine", "openvino")
    assert "is kept already" in said[1]
    assert said[2].startswith("tiny/small 320x192, 4 channels at once, openvino") and said[2].endswith(", kept")
    (one,) = loaded()
    request = loader.Request("tiny", "small", FRAME)
    several = loader.batched(request, (320, 192), one.player.play, None, 4)
    assert READY in several.reason and several(torch.zeros(4, 1, 192, 320)).shape == (4, 3, 192, 320)
    several.close()


@pytest.mark.parametrize(("channels", "together"), [(0, 1), (1, 1), (2, 2), (3, 2), (8, 8), (15, 8), (64, 16)])
def test_channels_fill_a_power_of_two(channels: int, together: int) -> None:
    assert seats(channels) == together


def test_8_bits_that_are_gone_leave_the_next_best(world: ModelCard, caplog: pytest.LogCaptureFixture) -> None:
    """Measured the fastest, and what was kept has been removed since: a show makes no new one."""
    shape = (1, 1, 192, 320)
    quick = Trial({EIGHT: 1.0, "openvino": 6.0}, "2026-11-25", {EIGHT: 44.0})
    trial.keep(engines.trial_slot(world, shape, CPU, Prebuilt()), quick)
    assert engines.measured(world, shape, CPU, Prebuilt()) == quick
    (got,) = loaded()
    assert got.engine.split()[0] == "openvino" and "int8" not in got.engine
    assert "int8 isn't made in a show" in got.reason and "l2s build tiny/small --precision int8" in got.reason


def test_a_show_never_makes_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dataclasses.replace(CONFIG, precision="int8")
    with pytest.raises(EngineError, match="int8 isn't made in a show, and none is kept for 320x192") as refused:
        list(loader.load(loader.Request("tiny", "small", FRAME), asked, CPU))
    assert str(refused.value).count("int8 isn't") == 1, "said once, and of no engine that has none"


def test_a_show_calculates_as_it_is_asked_to() -> None:
    asked = dataclasses.replace(CONFIG, precision="float32")
    (got,) = loader.load(loader.Request("tiny", "small", FRAME), asked, CPU)
    got.close()
    assert got.engine == "openvino float32" and "asked for" in got.reason


@needs_nncf
def test_8_bits_are_built_compared_and_played(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "missing", HERE)
    said = lines(capsys, "tiny")
    assert "openvino int8: built in" in said[2] and said[2].endswith(", kept")
    assert "openvino int8 " in said[4] and " dB to float32)" in said[4]
    monkeypatch.setattr(quantise, "missing", lambda: "nncf isn't installed")
    asked = dataclasses.replace(CONFIG, precision="int8")
    (got,) = loader.load(loader.Request("tiny", "small", FRAME), asked, CPU)
    got.close()
    assert got.engine == "openvino int8" and READY in got.reason
    assert any("openvino int8" in line for line in lines(capsys))


# --- engines that build for long --------------------------------------------------------------------------------------


def test_a_slow_engine_that_is_built_needs_no_stand_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "SLOW", ("openvino",))
    assert [each.engine.split()[0] for each in loaded()] == ["eager", "openvino"]
    lines(capsys, "tiny", "--engine", "openvino")
    (only,) = loaded()
    assert only.engine.startswith("openvino") and READY in only.reason
    (path,) = Prebuilt().folder.glob("openvino-*")
    path.write_bytes(path.read_bytes()[:-5])
    assert [each.engine.split()[0] for each in loaded()] == ["eager", "openvino"]
    assert "is built anew" in caplog.text


@pytest.mark.skipif(texture.missing() is not None, reason=f"no OpenGL: {texture.missing()}")
def test_looks_are_compiled_too_and_one_that_cant_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    head = '/*{"ISFVSN": "2", "INPUTS": [{"NAME": "inputImage", "TYPE": "image"}]}*/\n'
    (folder / "good.fs").write_text(head + "void main() { gl_FragColor = IMG_THIS_PIXEL(inputImage); }\n")
    (folder / "bad.fs").write_text(head + "void main() {\n  gl_FragColor = nonsense;\n}\n")
    said = {line.split(": ")[0]: line for line in lines(capsys, "tiny", "--looks", str(folder), looks=True)}
    assert {"look grain", "look slit_scan"} <= said.keys() and not texture.exists()
    assert "compiled and drawn in" in said["look good"]
    assert "bad.fs" in said["look bad"] and "3" in said["look bad"] and "nonsense" in said["look bad"]


def test_without_opengl_looks_are_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise texture.TextureError("there is no OpenGL 3.3 here: install the graphics card's driver")

    monkeypatch.setattr(texture, "gl", none)
    (said,) = lines(capsys, "tiny", looks=True)
    assert said.startswith("looks: not compiled: there is no OpenGL 3.3 here")
