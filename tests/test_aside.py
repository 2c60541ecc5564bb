"""Aside: what a show's loader has compiled by another process, with OpenVINO in the place of inductor's."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from small_worlds import make_world

from l2s_node import loader
from l2s_node.aside import Aside
from l2s_node.config import RunConfig
from l2s_node.errors import EngineError
from l2s_node.models import engines
from l2s_node.models.engines.base import READY
from l2s_node.models.prebuilt import Prebuilt

CPU = torch.device("cpu")
CONFIG = RunConfig(source="null:", sinks=("null:",), device="cpu", engine="openvino")
FRAME = (640, 480)

pytestmark = pytest.mark.skipif(engines.room("openvino").missing() is not None, reason="openvino isn't here")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    monkeypatch.setattr(loader, "SLOW", ("openvino",))
    monkeypatch.setattr(loader, "CACHED", ("openvino",))
    make_world(tmp_path, "brook")
    make_world(tmp_path, "heath")
    return tmp_path


def loaded(aside: Aside | None, world: str = "brook", config: RunConfig = CONFIG) -> Iterator[loader.Loaded]:
    for each in loader.load(loader.Request(world, "small", FRAME), config, CPU, aside=aside):
        yield each
        each.close()


@pytest.mark.parametrize(
    "world",
    ["brook+heath@0.5", pytest.param("brook", marks=pytest.mark.slow), pytest.param("file", marks=pytest.mark.slow)],
)
def test_another_process_compiles_and_the_show_takes_it(world: str, home: Path) -> None:
    name = str(home / "worlds" / "brook" / "small.safetensors") if world == "file" else world
    first, second = loaded(Aside(CONFIG), name)
    assert first.for_now and first.player.passing and first.engine.startswith("eager")
    assert not second.for_now and not second.player.passing and second.engine.startswith("openvino")
    # a world between two has weights of its own, which OpenVINO compiles in, and inductor doesn't
    assert (READY in second.reason) is (world != "brook+heath@0.5")
    assert Prebuilt().entries()


def test_what_is_compiled_already_needs_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    list(loaded(Aside(CONFIG)))

    def build(*_: object) -> None:
        raise AssertionError("it was compiled before")

    monkeypatch.setattr(Aside, "build", build)
    assert [each.engine.split()[0] for each in loaded(Aside(CONFIG))] == ["eager", "openvino"]


def test_what_another_process_cant_compile_is_compiled_here(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps = loaded(Aside(CONFIG))
    next(steps)
    monkeypatch.setenv("L2S_HOME", str(home / "elsewhere"))  # there it finds no such world
    assert next(steps).engine.startswith("openvino")
    assert "compiled within the show" in caplog.text and "no world" in caplog.text


def test_the_end_of_a_show_ends_the_other_process(caplog: pytest.LogCaptureFixture) -> None:
    before = set(psutil.Process().children())
    aside, errors = Aside(dataclasses.replace(CONFIG)), list[EngineError]()

    def build() -> None:
        try:
            aside.build("brook/small", "openvino", FRAME)
        except EngineError as err:
            errors.append(err)

    thread = threading.Thread(target=build)
    thread.start()
    end = time.monotonic() + 20
    while not set(psutil.Process().children()) - before:
        assert time.monotonic() < end
        time.sleep(0.01)
    aside.close()
    thread.join(10)
    assert not thread.is_alive() and len(errors) == 1 and not Prebuilt().entries()
    assert not set(psutil.Process().children()) - before and "within the show" not in caplog.text
    with pytest.raises(EngineError):
        aside.build("brook/small", "openvino", FRAME)
