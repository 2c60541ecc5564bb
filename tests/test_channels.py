"""Several channels in one process: each with its own source, world, knobs and numbers; none waits for another."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from ndi_loopback import Hosts
from small_worlds import make_world
from test_node import Act, Seen

from l2s_node import channel as channel_module
from l2s_node import config, feed, loader
from l2s_node.control.osc import Desk, OscServer
from l2s_node.control.packet import read_packet, write_message
from l2s_node.control.presets import Presets, preset_commands
from l2s_node.control.report import Report, Reports
from l2s_node.errors import ConfigError, RoomError
from l2s_node.frame import Frame
from l2s_node.models import engines
from l2s_node.models.card import ModelCard
from l2s_node.node import Node
from l2s_node.params import Board
from l2s_node.pipeline import Pipeline

DARK, LIGHT = 0.25, 0.75


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_world(folder, "night", grey=DARK)
    make_world(folder, "day", grey=LIGHT)
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(home))


# --- settings --------------------------------------------------------------------------------------------------------


def test_channels_from_the_command_line() -> None:
    shared = {"world": "day", "knobs": {"mix": "0.5", "2/mix": "0.2", "a/fade": "0.1"}}
    run = config.load(None, {"channel": ["a:ndi:A>ndi:A-out>file:a.mp4", "b:ndi:B"], **shared})
    a, b = run.channels
    assert (a.channel, a.source, a.sinks) == ("a", "ndi:A", ("ndi:A-out", "file:a.mp4"))
    assert (b.channel, b.source, b.sinks) == ("b", "ndi:B", ("ndi:l2s-b",))
    assert dict(a.knobs) == {"mix": "0.5", "fade": "0.1"} and dict(b.knobs) == {"mix": "0.2"}
    assert a.world == b.world == "day"


def test_channels_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "show.toml"
    file.write_text(
        'name = "stage"\nworld = "day"\n[knobs]\nmix = 0.5\n'
        '[[channel]]\nname = "left"\nin = "ndi:L"\nworld = "night"\n[channel.knobs]\ndetail = 9\n'
        '[[channel]]\nin = "camera:0"\nout = "null:"\non-loss = "black"\n'
    )
    left, other = config.load(file, {}).channels
    assert (left.sinks, left.world, dict(left.knobs)) == (("ndi:stage-left",), "night", {"mix": 0.5, "detail": 9})
    assert (other.channel, other.world, other.on_loss) == ("ch2", "day", "black")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channel": ["a:ndi:A"], "source": "ndi:B"}, "not both"),
        ({"channel": ["ndi"]}, "takes NAME:IN>OUT"),
        ({"channel": ["a:ndi:A", "A:ndi:B"]}, "names of their own"),
        ({"channel": ["2:ndi:A"]}, "has its number already"),
        ({"channel": ["a:ndi:A>ndi:x", "b:ndi:B>ndi:x"]}, "two channels go to ndi:x"),
        ({"channel": [{"name": "a", "in": "ndi:A", "osc": 1}]}, "whole node's"),
        ({"channel": [{"name": "a"}]}, "needs a source"),
    ],
)
def test_what_channels_cant_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.load(None, given)


def test_a_channel_isnt_called_like_a_knob() -> None:
    with pytest.raises(ConfigError, match="can't be called mix"):
        Node(config.load(None, {"channel": ["mix:pattern:>null:"], "world": "day"}))


# --- playing ---------------------------------------------------------------------------------------------------------


class Show:
    """A node with two channels, "one" on world night and "two" on day, that plays in a thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sinks = {"seen:1": Seen(), "seen:2": Seen()}
        self._pool = ThreadPoolExecutor(1)
        monkeypatch.setattr(channel_module, "open_sink", lambda uri, options: self.sinks[uri])

    def play(self, one: str = "pattern:bars", two: str = "pattern:bars", **settings: Any) -> Future[dict[str, Any]]:
        facts = {"output_size": "64x48", "engine": "eager", "device": "cpu", "osc": 0, "panel": 0, **settings}
        ways = [
            {"name": "one", "in": one, "out": "seen:1", "world": "night"},
            {"name": "two", "in": two, "out": "seen:2", "world": settings.pop("second", "day")},
        ]
        facts.pop("second", None)
        self.lines: list[str] = []
        self.node = Node(config.load(None, {"channel": ways, **facts}), self.lines.append)
        self.channels = tuple(self.node.channels)
        self.run = self._pool.submit(self.node.run)
        return self.run

    def until(self, condition: Any, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert not self.run.done(), self.run.result()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    def shows(self, uri: str, grey: float) -> bool:
        return abs(self.sinks[uri].luma - grey) < 0.02

    def close(self) -> None:
        if hasattr(self, "node"):
            self.node.stop()
        self._pool.shutdown()


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Iterator[Show]:
    made = Show(monkeypatch)
    yield made
    made.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("l2s-")] == []


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Act:
    made, real = Act(), feed.open_source
    monkeypatch.setattr(feed, "open_source", lambda uri, o: made if uri == "act:" else real(uri, o))
    return made


def test_each_has_its_world_its_knobs_and_its_numbers(show: Show) -> None:
    run = show.play()
    one, two = show.channels
    show.until(lambda: show.shows("seen:1", DARK) and show.shows("seen:2", LIGHT))
    two.board.set({"fade": 1})
    show.until(lambda: show.shows("seen:2", 0.0))
    one.board.set({"world": "day", "crossfade": 0})
    show.until(lambda: show.shows("seen:1", LIGHT) and one.reports.get().world == "day")
    assert show.shows("seen:2", 0.0) and one.board.get("fade") == 0
    show.node.stop()
    summary = run.result(20)["channels"]
    assert list(summary) == ["one", "two"]
    for name, sink in (("one", show.sinks["seen:1"]), ("two", show.sinks["seen:2"])):
        assert [number for number, *_ in sink.frames] == list(range(len(sink.frames)))
        assert summary[name]["frames_out"] + summary[name]["start_frames_out"] == len(sink.frames)
    assert show.lines[:4] == ["out: one: seen:", "out: two: seen:", *show.lines[2:4]] and "in:  two: " in show.lines[3]


def test_channels_of_one_world_share_its_weights(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    built, build = [], engines.build

    def noted(*args: Any) -> Any:
        built.append(build(*args))
        return built[-1]

    monkeypatch.setattr(engines, "build", noted)
    show.play(second="night")
    show.until(lambda: show.shows("seen:1", DARK) and show.shows("seen:2", DARK))
    assert len(built) == 1
    show.channels[0].board.set({"world": "day", "crossfade": 0})
    show.until(lambda: show.shows("seen:1", LIGHT))
    count = len(show.sinks["seen:2"].frames)
    show.until(lambda: len(show.sinks["seen:2"].frames) > count + 5)
    assert show.shows("seen:2", DARK), "the other one still plays what the first has left"
    show.channels[1].board.set({"world": "day", "crossfade": 0})
    show.until(lambda: show.shows("seen:2", LIGHT))
    assert len(built) == 2


@pytest.mark.parametrize(("name", "card"), [("running", {}), ("frame", {"norm": "frame"})])
def test_a_batch_of_channels_shows_what_each_shows_alone(home: Path, name: str, card: dict[str, Any]) -> None:
    """But for worlds whose statistics are those of the picture: a batch has only one."""
    make_world(home, name, **card)
    request = loader.Request(name, "small", (96, 64))
    settings = config.RunConfig("null:", ("null:",), engine="eager", canvas=(96, 64))
    (one,) = loader.load(request, settings, torch.device("cpu"))
    assert one.player.batched is None, "only for an NVIDIA GPU"
    several = loader.batched(request, one.player.canvas, one.player.play, None, 4)
    x, seeds = torch.rand(4, 1, 64, 96) * 2 - 1, torch.tensor([0.5, -0.9, 0.3, 1.0])
    assert several.step is not None and one.player.step is not None
    together, alone = several.step(x, seeds), torch.cat([one.player.step(each[None], seeds) for each in x])
    assert torch.allclose(together, alone, atol=1e-4) is (name == "running")
    known = ModelCard(name, "small", "subpixel", (8, 8, 8), **card)
    asked = [("inductor", "cuda"), ("eager", "cuda"), ("tensorrt", "cuda"), ("openvino", "cpu"), ("eager", "cpu")]
    found = [loader.batches(engine, torch.device(device), known) for engine, device in asked]
    assert found == ([True, True, False, False, False] if name == "running" else [False] * 5)
    several.close()
    one.close()


def test_all_that_are_due_are_begun_before_the_first_is_finished(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, Pipeline]] = []
    begin, finish = Pipeline.begin, Pipeline.finish

    def begun(pipeline: Pipeline, *args: Any) -> None:
        said.append(("begin", pipeline))
        begin(pipeline, *args)
        time.sleep(0.05)  # longer than a picture of either: by the end of a round both are due again

    def finished(pipeline: Pipeline) -> Frame:
        said.append(("finish", pipeline))
        return finish(pipeline)

    monkeypatch.setattr(Pipeline, "begin", begun)
    monkeypatch.setattr(Pipeline, "finish", finished)
    show.play()
    show.until(lambda: len({pipeline for _, pipeline in said}) == 2 and len(said) > 60)
    show.node.stop()
    rounds = ["".join(what[0] for what, _ in part) for part in _rounds(said)]
    assert set(rounds) <= {"bf", "bbff"} and rounds.count("bbff") > 5
    for part in _rounds(said)[:-1]:
        half = len(part) // 2
        assert [pipeline for _, pipeline in part[:half]] == [pipeline for _, pipeline in part[half:]]


def _rounds(said: list[tuple[str, Pipeline]]) -> list[list[tuple[str, Pipeline]]]:
    """Each ends where something is begun after something was finished; the last one may be cut off."""
    rounds: list[list[tuple[str, Pipeline]]] = []
    for each in said:
        if not rounds or (each[0] == "begin" and rounds[-1][-1][0] == "finish"):
            rounds.append([])
        rounds[-1].append(each)
    return [part for part in rounds if part[-1][0] == "finish"]


def test_what_is_favored_is_said_once_and_changes_nothing_on_a_cpu(
    show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    show.play(favor="throughput")
    show.until(lambda: show.shows("seen:1", DARK) and show.shows("seen:2", LIGHT))
    assert [m for m in caplog.messages if "favor" in m] == [
        "favoring throughput changes nothing on cpu: nothing there can overlap"
    ]


def test_what_is_favored_is_the_nodes() -> None:
    with pytest.raises(ConfigError, match="favor is the whole node's"):
        config.load(None, {"channel": [{"name": "a", "in": "ndi:A", "favor": "throughput"}]})


def test_a_shelf_closes_what_nobody_uses_any_more() -> None:
    class Closing:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    shelf, made = loader.Shelf(), [Closing(), Closing()]
    left = iter(made)
    take = lambda: shelf.take(("a",), lambda: (next(left), "why"))  # type: ignore[return-value]  # noqa: E731
    assert take()[0] is take()[0] is made[0]
    shelf.give_back(("a",))
    assert made[0].closed == 0
    shelf.give_back(("a",))
    assert made[0].closed == 1
    assert take()[0] is made[1]


def test_a_lost_source_leaves_the_other_channel_alone(show: Show, act: Act) -> None:
    act.on = True
    show.play("act:", on_loss="black")
    show.until(lambda: show.shows("seen:1", DARK) and show.shows("seen:2", LIGHT))
    act.on = False
    show.until(lambda: show.shows("seen:1", 0.0))
    count = len(show.sinks["seen:2"].frames)
    show.until(lambda: len(show.sinks["seen:2"].frames) > count + 20)
    act.on = True
    show.until(lambda: show.shows("seen:1", DARK))
    states = [channel.reports.get().state for channel in show.channels]
    assert states == ["connected", "connected"]


def test_a_sink_that_breaks_ends_its_channel_only(show: Show, caplog: pytest.LogCaptureFixture) -> None:
    show.sinks["seen:1"] = Seen(breaks_after=4)
    show.sinks["seen:2"] = Seen(breaks_after=60)
    run = show.play()
    with pytest.raises(RoomError, match="the disk is full"):
        run.result(30)
    assert "one: the disk is full; the other channels go on" in caplog.text
    assert [len(sink.frames) for sink in show.sinks.values()] == [4, 60]


def test_a_world_that_cant_be_loaded_ends_its_channel_only(
    show: Show, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = make_world(home, "broken")
    broken.write_bytes(broken.read_bytes()[:-100])
    show.play(second="broken")
    show.until(lambda: show.shows("seen:1", DARK) and len(show.node.channels) == 1)
    assert "two: " in caplog.text and "the other channels go on" in caplog.text


def test_limits_are_each_channels_own(show: Show) -> None:
    summary = show.play(frames=10).result(20)["channels"]
    assert [each["frames_out"] for each in summary.values()] == [10, 10]


# --- OSC -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk() -> Iterator[tuple[Any, list[Board]]]:
    """(say, boards): `say` sends one message to a server of two channels, and returns its answer if there is one."""
    import socket

    boards = [Board(), Board()]
    reports = [Reports(Report(fps=10)), Reports(Report(fps=20))]
    commands = [preset_commands(Presets([config.assets() / "presets"], lambda: ["flowers"]), b) for b in boards]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine, socket.socket(2, socket.SOCK_DGRAM) as back:
        mine.bind(("127.0.0.1", 0))
        back.bind(("127.0.0.1", 0))
        mine.settimeout(5)
        back.settimeout(5)
        server = OscServer(
            boards[0], reports[0], port=0, commands=commands[0], channel="left", feedback=back.getsockname(),
            others=[Desk(boards[1], reports[1], commands[1], "right")],
        )  # fmt: skip

        def say(address: str, *args: Any, answers: int = 0) -> list[tuple[str, Any]]:
            mine.sendto(write_message(address, *args), server.address)
            if not answers:  # what was said before is done when this is answered
                mine.sendto(write_message("/l2s/mix"), server.address)
                mine.recv(4096)
            heard = [read_packet(mine.recv(4096))[0] for _ in range(answers)]
            return [(where, values[0]) for where, values in heard]

        say.back = back  # type: ignore[attr-defined]
        yield say, boards
        server.close()


def test_a_number_or_a_name_means_one_channel_and_none_means_all(desk: Any) -> None:
    say, boards = desk
    say("/l2s/2/mix", 0.5)
    say("/l2s/left/mix", 0.25)
    assert [board.get("mix") for board in boards] == [0.25, 0.5]
    say("/l2s/fade", 0.75)
    assert [board.get("fade") for board in boards] == [0.75, 0.75]
    say("/l2s/*/invert", 1)
    assert [board.get("invert") for board in boards] == [True, True]
    say("/l2s/right/preset", "dream")
    assert boards[0].get("mix") == 0.25 and boards[0].get("detail") != boards[1].get("detail")
    say("/l2s/reset")
    assert [board.get("mix") for board in boards] == [1, 1]


def test_what_is_asked_is_answered_with_the_address_that_was_asked(desk: Any) -> None:
    say, boards = desk
    boards[1].set({"mix": 0.5})
    assert say("/l2s/mix", answers=1) == [("/l2s/mix", 1.0)]
    assert say("/l2s/right/mix", "?", answers=1) == [("/l2s/right/mix", 0.5)]
    assert say("/l2s/2/status/fps", answers=1) == [("/l2s/2/status/fps", 20.0)]
    assert sorted(say("/l2s/*/mix", "?", answers=2)) == [("/l2s/1/mix", 1.0), ("/l2s/2/mix", 0.5)]


def test_a_message_that_one_channel_cant_take_turns_none(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    from l2s_node.params import Kind, Knob

    say, boards = desk
    boards[0].declare([Knob("own", Kind.FLOAT, 0.0)])
    boards[1].declare([Knob("own", Kind.CHOICE, "a", choices=("a", "b"))])
    say("/l2s/own", "0.5")
    assert boards[0].get("own") == 0.5
    say("/l2s/own", "b")
    assert boards[0].get("own") == 0.5 and "own takes" in caplog.text
    say("/l2s/3/mix", 0.1)
    assert "unknown address '/l2s/3/mix'" in caplog.text and boards[0].get("mix") == 1


def test_state_goes_out_for_each_channel_and_for_the_first_without_a_number(desk: Any) -> None:
    say, _ = desk
    heard: dict[str, Any] = {}
    while not {"/l2s/status/fps", "/l2s/1/status/fps", "/l2s/2/status/fps"} <= heard.keys():
        where, values = read_packet(say.back.recv(4096))[0]
        heard[where] = values[0]
    assert [heard[f"/l2s/{n}status/fps"] for n in ("", "1/", "2/")] == [10, 10, 20]


# --- the panel -------------------------------------------------------------------------------------------------------


def test_the_panel_knows_every_channel(show: Show) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    show.play(panel=port)
    show.until(lambda: show.shows("seen:1", DARK) and show.shows("seen:2", LIGHT))

    def status(query: str = "") -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json{query}", timeout=5) as answer:
            return json.load(answer)

    assert status()["channels"] == ["one", "two"]
    assert (status()["world"], status("?channel=2")["world"]) == ("night", "day")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        status("?channel=3")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stream/output?channel=2", timeout=5) as stream:
        head = stream.read(400)
        assert b"image/jpeg" in head


# --- the whole show --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_ndi_source_holds_its_channel_and_leaves_the_other_at_its_pace(ndi_hosts: Hosts, home: Path) -> None:
    """A sender on ALPHA dies as by a power cut, while the node on BETA plays another channel."""
    cam = ndi_hosts.a.sender("cam", size="320x240", fps=25)
    options = ("--world", "night", "--set", "1/show=split", "--engine", "eager", "--panel", "0")
    channels = ("--channel", "a:ndi:cam>ndi:out-a", "--channel", "b:pattern:bars>ndi:out-b")
    command = [sys.executable, "-m", "l2s_node", "run", *options, *channels]
    node = ndi_hosts.b.start(*command, L2S_HOME=str(home))
    lost, other = (ndi_hosts.a.receiver(name) for name in ("out-a", "out-b"))
    lost.wait_counter(30, 40)
    other.wait(lambda e: "counter" in e, 20)
    cam.kill()
    node.wait(lambda e: "is gone" in e.get("text", ""), 10)
    before = len(lost.pictures()), len(other.pictures())
    for _ in range(60):
        other.wait(lambda e: "counter" in e, 10)
    after = len(lost.pictures()), len(other.pictures())
    assert after[0] - before[0] > 20, "the lost one's picture is held, and goes out"
    assert after[1] - before[1] >= 60
    ndi_hosts.a.sender("cam", size="320x240", fps=25, start=100_000)
    lost.wait_counter(100_000, 15)
