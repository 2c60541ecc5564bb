"""`l2s build` without an engine's name on an NVIDIA GPU: the trial between those that play there, who goes by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from l2s_node import loader
from l2s_node.cli import main
from l2s_node.config import RunConfig
from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import inductor
from l2s_node.picture import condition

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]
FRAME = (640, 360)
CONFIG = RunConfig(source="null:", sinks=("null:",), device="cuda")


def test_the_engines_are_compared_and_a_show_takes_the_fastest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := inductor.missing():
        pytest.skip(reason)
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    card = ModelCard("tiny", "small", "subpixel", (4, 8), multiple=64, seed=1, condition=dict(condition.SETTINGS))
    store.save(tmp_path / "worlds" / "tiny" / "small.safetensors", store.instantiate(card).eval(), card)
    assert main(["build", "tiny", "--device", "cuda", "--frame", "640x360", "--no-looks"]) == 0
    said = capsys.readouterr().out
    fastest = said.split("auto takes ")[1].split()[0]
    assert "measured on this machine on" in said and fastest in ("inductor", "eager", "tensorrt")
    played = list(loader.load(loader.Request("tiny", "small", FRAME), CONFIG, torch.device("cuda")))
    assert played[-1].engine.split()[0] == fastest and "measured on this machine on" in played[-1].reason
    for each in played:
        each.close()
