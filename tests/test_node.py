"""The node from outside: frames in, frames out, whatever happens to worlds, sources, sinks and ports meanwhile."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import make_world
from video.clips import luma_of, make_clip, recorded

from l2s_node import channel as channel_module
from l2s_node import config, feed, loader
from l2s_node import node as node_module
from l2s_node.cuda import graph
from l2s_node.errors import ClosedError, EngineError, L2SError, MissingError, ModelError, RoomError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.models import engines, store
from l2s_node.node import Node
from l2s_node.pipeline import Pipeline
from l2s_node.video.base import Options

SIZE = (64, 48)
DARK, LIGHT = 0.25, 0.75


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_world(folder, "night", grey=DARK)
    make_world(folder, "day", grey=LIGHT)
    make_world(folder, "day", "medium", grey=0.5)
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(home))


class Seen:
    """A sink that keeps what matters of every frame: (number, mean luma, size, rate)."""

    format = PixelFormat.UYVY
    live = True
    dropped = 0

    def __init__(self, breaks_after: int = 10**9) -> None:
        self.uri = "seen:"
        self.frames: list[tuple[int, float, tuple[int, int], Fraction | None]] = []
        self.closed = 0
        self._breaks_after = breaks_after

    def write(self, frame: Frame) -> None:
        if len(self.frames) >= self._breaks_after:
            raise RoomError("the disk is full")
        self.frames.append((frame.number, float(frame.planes[0][:, 1::2].mean()), frame.size, frame.rate))

    def close(self) -> None:
        self.closed += 1

    @property
    def luma(self) -> float:
        """Of the newest frame, 0…1."""
        return (self.frames[-1][1] - 16) / 219 if self.frames else -1.0


class Stage:
    """A node that plays in a thread, and everything that a test looks at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sinks = [Seen()]
        self.lines: list[str] = []
        self._opened = iter(self.sinks)
        self._pool = ThreadPoolExecutor(1)
        monkeypatch.setattr(channel_module, "open_sink", self._open_sink)

    def _open_sink(self, uri: str, options: Options) -> Seen:
        return next(self._opened)

    def use(self, *sinks: Seen) -> None:
        self.sinks = list(sinks)
        self._opened = iter(self.sinks)

    def play(self, source: str = "pattern:bars", **settings: Any) -> Future[dict[str, Any]]:
        """Start; the future has the summary or the error."""
        facts = {"world": "night", "output_size": SIZE, "engine": "eager", "device": "cpu", "osc": 0, "panel": 0}
        names = tuple(f"seen:{i}" for i in range(len(self.sinks)))
        self.node = Node(config.RunConfig(source, names, **{**facts, **settings}), self.lines.append)
        self.run = self._pool.submit(self.node.run)
        return self.run

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait for something to happen while the node plays."""
        end = time.monotonic() + seconds
        while not condition():
            if self.run.done():
                pytest.fail(f"the run is over: {self.run.result()}")
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    def close(self) -> None:
        if hasattr(self, "node"):
            self.node.stop()
        self._pool.shutdown()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(monkeypatch)
    yield made
    made.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("l2s-")] == []
    assert all(sink.closed <= 1 for sink in made.sinks)


def shows(sink: Seen, grey: float) -> Callable[[], bool]:
    return lambda: abs(sink.luma - grey) < 0.02


def reported(stage: Stage, world: str, size: str) -> Callable[[], bool]:
    """Whether the state says that this world plays: it is told after the picture."""

    def said() -> bool:
        report = stage.node.reports.get()
        return (report.world, report.size) == (world, size)

    return said


# --- worlds ----------------------------------------------------------------------------------------------------------


def test_world_and_size_change_live_and_no_frame_is_missing(stage: Stage) -> None:
    (sink,) = stage.sinks
    run = stage.play()
    board, reports = (stage.node.board, stage.node.reports)
    stage.until(shows(sink, DARK))
    board.set({"world": "day", "crossfade": 0.2})
    stage.until(shows(sink, LIGHT))
    board.set({"size": "medium", "crossfade": 0})
    stage.until(shows(sink, 0.5))
    stage.until(lambda: (reports.get().world, reports.get().size, reports.get().loading) == ("day", "medium", ""))
    stage.node.stop()
    summary = run.result(20)
    assert [number for number, *_ in sink.frames] == list(range(len(sink.frames)))
    assert len(sink.frames) == summary["frames_out"] + summary["start_frames_out"]
    assert summary["engine"] == "eager float32" and "asked for" in str(summary["engine_reason"])
    assert sink.closed == 1


def test_a_world_that_cant_be_played_is_said_and_the_old_one_plays_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    (sink,) = stage.sinks
    stage.play()
    stage.until(shows(sink, DARK))
    stage.node.board.set({"world": "nowhere"})
    stage.until(lambda: stage.node.board.get("world") == "night")
    count = len(sink.frames)
    stage.until(lambda: len(sink.frames) > count + 5)
    assert abs(sink.luma - DARK) < 0.02 and stage.node.reports.get().loading == ""
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(said) == 1 and "there is no world 'nowhere'" in said[0] and "it stays with night/small" in said[0]


def test_an_unknown_world_at_the_start_is_told_before_anything_opens(stage: Stage) -> None:
    with pytest.raises(ModelError, match=r"there is no world 'nihgt'.*did you mean night"):
        stage.play(world="nihgt")
    with pytest.raises(ModelError, match="no size 'large'; it has small, medium"):
        stage.play(world="day", size="large")
    assert stage.sinks[0].frames == []


def test_a_world_asked_for_before_the_first_one_plays_may_fail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody turns the knob while torch is still imported: that must not end the show."""
    go, prepare = threading.Event(), loader.prepare
    monkeypatch.setattr(loader, "prepare", lambda settings: go.wait(20) and prepare(settings))
    stage.play()
    stage.until(lambda: stage.node.reports.get().loading == "night/small")
    stage.node.board.set({"world": "nowhere"})
    stage.until(lambda: stage.node.reports.get().loading == "nowhere/small")
    go.set()
    stage.until(shows(stage.sinks[0], DARK))
    assert stage.node.board.get("world") == "night"


def test_a_world_that_is_let_go_before_it_is_ready_is_never_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, loaded, load = threading.Event(), [], loader.load

    def slowly(request: loader.Request, *args: Any) -> Iterator[loader.Loaded]:
        if request.world == "day":
            assert go.wait(20)
        for each in load(request, *args):
            loaded.append(request.name)
            yield each

    monkeypatch.setattr(loader, "load", slowly)
    stage.play()
    stage.until(shows(stage.sinks[0], DARK))
    stage.node.board.set({"world": "day", "crossfade": 0})
    stage.until(lambda: stage.node.reports.get().loading == "day/small")
    stage.node.board.set({"world": "night"})
    stage.until(lambda: stage.node.reports.get().loading == "")
    go.set()
    stage.until(lambda: "day/small" in loaded)
    count = len(stage.sinks[0].frames)
    stage.until(lambda: len(stage.sinks[0].frames) > count + 5)
    assert all(abs((luma - 16) / 219 - DARK) < 0.02 for _, luma, *_ in stage.sinks[0].frames[count:])
    assert loaded == ["night/small", "day/small"], "what still plays isn't loaded again"


class Workshop:
    """An engine that takes as long to be built as a test likes, as inductor takes on a GPU.

    Attributes:
        going: let it be finished.
        begun: for how many worlds it was begun.
        open: how many were finished and are not closed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.going = threading.Event()
        self.begun = self.open = 0
        room = engines.room("openvino")
        if (reason := room.missing()) is not None:
            pytest.skip(reason)
        self._build = room.build
        monkeypatch.setattr(room, "build", self.build)
        monkeypatch.setattr(loader, "SLOW", ("openvino",))

    def build(self, *args: Any) -> Any:
        engine = self._build(*args)  # where only what is kept is wanted, this fails
        self.begun += 1
        assert self.going.wait(20)
        self.open += 1
        close = engine.close

        def closed() -> None:
            self.open -= 1
            close()

        engine.close = closed
        return engine


def test_a_change_never_waits_for_what_is_being_built(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two loads, and the second world was to wait until the first was compiled: up to a minute on a GPU."""
    (sink,) = stage.sinks
    shop = Workshop(monkeypatch)
    stage.play(engine="openvino")
    board, reports = stage.node.board, stage.node.reports
    stage.until(lambda: shop.begun == 1)
    stage.until(shows(sink, DARK))
    for world, grey in (("day", LIGHT), ("night", DARK), ("day", LIGHT)):
        board.set({"world": world, "crossfade": 0})
        stage.until(shows(sink, grey))
        stage.until(reported(stage, world, "small"))
        assert reports.get().engine == "eager float32" and shop.begun == 1
    shop.going.set()
    stage.until(lambda: reports.get().engine.startswith("openvino"))
    assert reports.get().world == "day" and shows(sink, LIGHT)()
    stage.close()
    assert shop.open == 0


def test_a_world_that_took_long_is_there_at_once_when_it_is_wanted_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sink,) = stage.sinks
    shop = Workshop(monkeypatch)
    monkeypatch.setattr(node_module, "REST", 1)
    shop.going.set()
    stage.play(engine="openvino")
    board, reports = stage.node.board, stage.node.reports
    seen: list[str] = []
    for world, size, grey in (("night", "small", DARK), ("day", "small", LIGHT), ("night", "small", DARK),
                              ("day", "medium", 0.5), ("night", "small", DARK), ("day", "small", LIGHT)):  # fmt: skip
        board.set({"world": world, "size": size, "crossfade": 0})
        stage.until(shows(sink, grey))
        stage.until(reported(stage, world, size))
        seen.append(reports.get().engine.split()[0])
        stage.until(lambda: reports.get().engine.startswith("openvino"))
        stage.until(lambda: shop.open <= 2)
    assert [seen[i] for i in (2, 4)] == ["openvino"] * 2 and seen[5] == "eager" and shop.begun == 4
    stage.close()
    assert shop.open == 0


def test_a_change_that_is_taken_back_leaves_no_stand_in_playing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (sink,) = stage.sinks
    shop = Workshop(monkeypatch)
    stage.play(engine="openvino")
    stage.until(lambda: shop.begun == 1)
    board = stage.node.board
    board.set({"world": "day"})
    stage.until(shows(sink, LIGHT))
    stage.until(lambda: stage.node.reports.get().loading == "")
    opened = store.read_card

    def slow(path: Path) -> Any:
        if path.parent.name == "night":
            time.sleep(0.5)
        return opened(path)

    monkeypatch.setattr(store, "read_card", slow)
    board.set({"world": "night"})
    stage.until(lambda: stage.node.reports.get().loading == "night/small")
    board.set({"world": "day"})  # while night is being read
    shop.going.set()
    stage.until(lambda: stage.node.reports.get().engine.startswith("openvino"))
    assert stage.node.reports.get().world == "day"
    stage.close()
    assert shop.open == 0


def test_what_is_loaded_while_the_show_ends_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    room, counts, reading, going = engines.room("eager"), [0, 0], threading.Event(), threading.Event()
    build, read_card = room.build, store.read_card

    def built(*args: Any) -> Any:
        engine = build(*args)
        counts[0] += 1
        close = engine.close

        def closed() -> None:
            counts[1] += 1
            close()

        engine.close = closed
        return engine

    def read(path: Path) -> Any:
        reading.set()
        assert going.wait(20)
        return read_card(path)

    monkeypatch.setattr(room, "build", built)
    monkeypatch.setattr(store, "read_card", read)
    made = loader.Loader(config.RunConfig("null:", ("null:",), engine="eager", device="cpu"))
    made.ask(loader.Request("night", "small", SIZE))
    assert reading.wait(20)
    threading.Timer(0.3, going.set).start()
    made.close()
    assert counts[0] == counts[1] <= 1


def test_the_first_world_broken_ends_the_run_with_one_sentence(stage: Stage, home: Path) -> None:
    broken = make_world(home, "broken")
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(L2SError, match="is not a safetensors file or is cut short"):
        stage.play(world="broken").result(20)
    assert stage.sinks[0].closed == 1


@pytest.mark.parametrize("error", [EngineError("there is no Metal GPU"), ImportError("No module named 'torch'")])
def test_without_torch_or_device_the_run_ends_with_one_sentence(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(settings: config.RunConfig) -> None:
        raise error

    monkeypatch.setattr(loader, "prepare", fails)
    with pytest.raises(L2SError, match=str(error)):
        stage.play().result(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_our_own_mistake_in_the_loader_ends_a_start_but_not_a_show(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = loader.load

    def fails(request: loader.Request, *args: Any) -> Iterator[loader.Loaded]:
        if request.world == "day":
            raise ZeroDivisionError
        return load(request, *args)

    monkeypatch.setattr(loader, "load", fails)
    with pytest.raises(L2SError, match="worlds can't be loaded any more"):
        stage.play(world="day").result(20)
    stage.use(Seen())
    stage.play()
    stage.until(shows(stage.sinks[0], DARK))
    for _ in range(2):
        stage.node.board.set({"world": "day"})
        stage.until(lambda: stage.node.board.get("world") == "night")
    count = len(stage.sinks[0].frames)
    stage.until(lambda: len(stage.sinks[0].frames) > count + 5)
    assert "it stays with night/small" in caplog.text


# --- one frame ahead -------------------------------------------------------------------------------------------------


def test_a_picture_that_goes_out_one_frame_later_is_counted_so(
    stage: Stage, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where throughput is favored on a GPU: the pipeline is a CPU's, the frame it is ahead is real."""
    create = graph.create

    def created(*args: Any) -> Pipeline:
        made = create(*args)
        made.ahead = 1
        return made

    monkeypatch.setattr(graph, "create", created)
    (sink,) = stage.sinks
    stage.play("act:", knobs={"show": "input"}, on_loss="black")
    act.on = True
    stage.until(lambda: stage.node.reports.get().latency_ms > 0 and len(sink.frames) > 20)
    for luma in (60, 200, 100):  # whatever goes out is what came in before: grey by grey, each one frame later
        act.luma = luma
        stage.until(shows(sink, (luma - 16) / 219))
    report = stage.node.reports.get()
    assert report.latency_ms > 10 and report.step_ms > 10, "one frame of a source that gives one every 10 ms"
    act.on = False
    stage.until(shows(sink, 0.0))
    count = len(sink.frames)
    act.luma, act.on = 220, True
    stage.until(shows(sink, (220 - 16) / 219))
    seen = {round((luma - 16) / 219, 2) for _, luma, *_ in sink.frames[count:]}
    assert seen == {0.0, round((220 - 16) / 219, 2)}, "nothing of before the loss comes back"
    assert [number for number, *_ in sink.frames] == list(range(len(sink.frames)))


# --- sources ---------------------------------------------------------------------------------------------------------


class Act:
    """A source that the test directs: grey pictures of one luma while it is `on`."""

    blocks = False
    dropped = 0

    def __init__(self, luma: int = 180, size: tuple[int, int] = SIZE) -> None:
        self.uri, self.state = "act:", "waiting"
        self.on, self.luma, self.size = False, luma, size
        self._number = 0

    def read(self, timeout: float) -> Frame | None:
        time.sleep(min(timeout, 0.01))
        self.state = "connected" if self.on else "waiting"
        if not self.on:
            return None
        planes = blank(PixelFormat.UYVY, *self.size)
        planes[0][:, 1::2] = self.luma
        self._number += 1
        return Frame(planes, PixelFormat.UYVY, *self.size, time.monotonic(), self._number, Fraction(50))

    def close(self) -> None:
        self.on = False


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Act:
    """What ``act:`` opens; every other URI opens what it always does."""
    made, real = Act(), feed.open_source
    monkeypatch.setattr(feed, "open_source", lambda uri, o: made if uri == "act:" else real(uri, o))
    return made


@pytest.mark.parametrize(
    ("on_loss", "luma"),
    [("hold", DARK), ("bypass", (180 - 16) / 219), ("black", 0.0), ("pattern", None)],
)
def test_on_loss(stage: Stage, act: Act, on_loss: str, luma: float | None) -> None:
    """The output goes on before the source is there, while it is lost and when it is back."""
    (sink,) = stage.sinks
    stage.play("act:", on_loss=on_loss, output_size=None, knobs={"show": "input"} if luma is None else {})
    stage.until(lambda: len(sink.frames) > 3)
    assert {size for *_, size, _ in sink.frames} == {(1280, 720)}
    act.on = True
    wanted = shows(sink, (180 - 16) / 219 if luma is None else DARK)
    stage.until(wanted)
    assert sink.frames[-1][2:] == (SIZE, Fraction(50))
    act.on = False
    lost = shows(sink, luma) if luma is not None else lambda: not wanted()
    stage.until(lambda: stage.node.reports.get().state == "waiting" and lost())
    assert sink.frames[-1][2:] == (SIZE, Fraction(50)), "a loss changes neither size nor rate"
    count = len(sink.frames)
    stage.until(lambda: len(sink.frames) > count + 5)
    act.on = True
    stage.until(wanted)
    assert [number for number, *_ in sink.frames] == list(range(len(sink.frames)))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The canvas of every world that gets ready, in order."""
    canvases: list[tuple[int, int]] = []
    load = loader.load

    def noted(*args: Any) -> Iterator[loader.Loaded]:
        for each in load(*args):
            canvases.append(each.player.canvas)
            yield each

    monkeypatch.setattr(loader, "load", noted)
    return canvases


def test_a_new_shape_of_the_input_brings_a_new_canvas(stage: Stage, act: Act, loaded: list[tuple[int, int]]) -> None:
    act.on = True
    stage.play("act:", output_size=None)
    stage.until(lambda: loaded[-1:] == [(72, 56)])
    act.size = (48, 64)
    stage.until(lambda: loaded[-1:] == [(56, 72)])
    stage.until(lambda: stage.sinks[0].frames[-1][2] == (48, 64) and shows(stage.sinks[0], DARK)())


def test_a_world_that_vanished_isnt_asked_for_with_every_frame(
    stage: Stage, act: Act, loaded: list[tuple[int, int]], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sink,) = stage.sinks
    file = make_world(home, "brief", grey=DARK)
    act.on = True
    stage.play("act:", world="brief")
    stage.until(lambda: loaded[-1:] == [(72, 56)] and shows(sink, DARK)())
    file.unlink()
    act.size = (48, 64)
    stage.until(lambda: "there is no world 'brief'" in caplog.text)
    count = len(sink.frames)
    stage.until(lambda: len(sink.frames) > count + 10)
    assert caplog.text.count("there is no world 'brief'") == 1 and sink.luma > DARK / 2  # with bars at its sides


def test_a_clip_that_plays_once_ends_the_run_after_its_last_picture(stage: Stage, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 20)
    summary = stage.play(f"file:{clip}?once", knobs={"show": "input"}).result(20)
    shown = {round(luma) for _, luma, *_ in stage.sinks[0].frames}
    assert any(abs(luma - luma_of(19)) < 3 for luma in shown)
    assert summary["frames_in"] + summary["dropped_input"] <= 20


def test_a_source_that_cant_be_opened_closes_the_sinks(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(RoomError, match="there is no file absent"):
        stage.play(f"file:{tmp_path / 'absent.mp4'}").result(20)
    assert stage.sinks[0].closed == 1 and len(stage.sinks[0].frames) == 1


# --- limits, sinks, ports --------------------------------------------------------------------------------------------


def test_frames_and_seconds_limit_the_time_that_the_world_plays(stage: Stage) -> None:
    summary = stage.play(frames=12).result(20)
    assert summary["frames_out"] == 12 and summary["frames_in"] + summary["repeated"] == 12
    assert summary["step_ms_p50"] > 0 and summary["latency_ms_p50"] > 0
    stage.use(Seen())
    summary = stage.play(seconds=0.4, fps=50.0).result(20)
    assert 0.4 <= float(str(summary["seconds"])) < 5 and stage.sinks[0].frames[-1][3] == 50
    assert summary["start_seconds"] > 0 and summary["frames_out"] > 1


def test_at_a_fixed_rate_the_newest_picture_goes_out_and_the_others_are_counted(stage: Stage, act: Act) -> None:
    act.on = True
    summary = stage.play("act:", fps=10.0, frames=5).result(20)
    assert summary["dropped_input"] >= summary["frames_in"] > 0


def test_a_line_of_state_every_second(stage: Stage) -> None:
    stage.play(seconds=1.3).result(20)
    assert stage.lines[:2] == ["out: seen:", "in:  pattern:bars (connected)"]
    assert "night/small on eager float32" in stage.lines[-1] and "FPS" in stage.lines[-1]


def test_a_sink_that_breaks_is_left_away_and_the_last_one_ends_the_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.use(Seen(breaks_after=5), Seen(breaks_after=12))
    with pytest.raises(RoomError, match="the disk is full"):
        stage.play().result(20)
    assert "the show goes on without it" in caplog.text
    assert [len(sink.frames) for sink in stage.sinks] == [5, 12] and [sink.closed for sink in stage.sinks] == [1, 1]


def test_a_sink_that_its_user_closes_is_no_failure_and_the_last_one_ends_the_run_as_it_should(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    class Closed(Seen):
        def write(self, frame: Frame) -> None:
            if len(self.frames) >= self._breaks_after:
                raise ClosedError("closed by its user")
            super().write(frame)

    caplog.set_level(logging.INFO)
    stage.use(Closed(breaks_after=5), Closed(breaks_after=12))
    summary = stage.play("pattern:bars", fps=100.0).result(20)
    assert [len(sink.frames) for sink in stage.sinks] == [5, 12] and [sink.closed for sink in stage.sinks] == [1, 1]
    assert summary["frames_in"] + summary["start_frames_out"] > 0
    said = [(record.levelname, record.getMessage()) for record in caplog.records if "closed by" in record.getMessage()]
    assert said == [
        ("INFO", "seen:: closed by its user; the show goes on without it"),
        ("INFO", "seen:: closed by its user; and so the run ends"),
    ]


def test_a_sink_that_waits_for_a_display_gets_its_picture_last(stage: Stage) -> None:
    order: list[str] = []

    class Told(Seen):
        def __init__(self, name: str, waits: bool) -> None:
            super().__init__()
            self.name, self.waits = name, waits

        def write(self, frame: Frame) -> None:
            order.append(self.name)
            super().write(frame)

    stage.use(Told("window", True), Told("ndi", False), Told("file", False))
    stage.play("pattern:bars", fps=100.0, frames=3).result(20)
    assert len(order) % 3 == 0 and order == ["ndi", "file", "window"] * (len(order) // 3)


def test_what_the_machine_lacks_is_one_sentence_and_the_other_sinks_play(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink, uris = Seen(), iter(["seen:0", "lacking", "lacking", "seen:0"])

    def opened(uri: str, options: Options) -> Seen:
        if next(uris) == "lacking":
            raise MissingError(f"{uri} can't be a sink: no desktop")
        return sink

    monkeypatch.setattr(channel_module, "open_sink", opened)
    stage.use(sink, Seen())
    stage.play("pattern:bars", fps=100.0, frames=3).result(20)
    assert caplog.messages == ["seen:1 can't be a sink: no desktop; the show runs without it"]
    stage.use(Seen())
    with pytest.raises(MissingError, match="no desktop"):
        stage.play("pattern:bars", fps=100.0, frames=3).result(20)
    assert sink.closed == 1


def test_ports_in_use_are_one_sentence_each_and_the_show_runs(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        stage.play(osc=udp.getsockname()[1], panel=tcp.getsockname()[1], frames=3).result(20)
    for port, what in ((udp, "OSC"), (tcp, "the panel")):
        assert f"the show runs without {what}" in caplog.text, port


def test_a_limitless_run_stops_at_once_while_torch_is_still_imported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, prepare = threading.Event(), threading.Event(), loader.prepare

    def slowly(settings: config.RunConfig) -> Any:
        begun.set()
        assert go.wait(20)
        return prepare(settings)

    monkeypatch.setattr(loader, "prepare", slowly)
    run = stage.play()
    assert begun.wait(20)
    stage.node.stop()
    go.set()
    assert run.result(20)["engine"] == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows can't send Ctrl-C to one process")
def test_ctrl_c_finishes_the_recording_and_writes_the_summary(home: Path, tmp_path: Path) -> None:
    video, numbers = tmp_path / "show.mp4", tmp_path / "run.json"
    command = [sys.executable, "-m", "l2s_node", "run", "--in", "pattern:bars", "--out", f"file:{video}",
               "--out", "null:", "--output-size", "64x48", "--world", "day", "--engine", "eager",
               "--osc", "0", "--panel", "0", "--summary", str(numbers)]  # fmt: skip
    env = {**os.environ, "L2S_HOME": str(home)}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        assert run.stdout is not None
        lines = []
        for line in run.stdout:
            lines.append(line)
            if "day/small on eager" in line and " FPS" in line:
                break
        run.send_signal(signal.SIGINT)
        lines += run.stdout
    assert run.returncode == 0, lines
    assert not any("Traceback" in line for line in lines), lines
    times, lumas = recorded(video)
    assert len(times) > 10 and abs((float(np.mean(lumas[-1])) - 16) / 219 - LIGHT) < 0.02
    assert json.loads(numbers.read_text())["frames_out"] > 0
