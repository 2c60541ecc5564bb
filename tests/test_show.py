"""The whole show: an independent NDI sender, the node as `l2s run` starts it, an independent NDI receiver, OSC."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ndi_loopback import Hosts, Process
from pythonosc.osc_message_builder import OscMessageBuilder
from small_worlds import make_world

SPLIT = ("--set", "show=split")  # the left half shows the input: the sender's counter comes through


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two worlds of one grey each, dark and light."""
    make_world(tmp_path, "dark", grey=0.2)
    make_world(tmp_path, "light", grey=0.8)
    return tmp_path


@pytest.fixture
def show(ndi_hosts: Hosts, home: Path) -> Iterator[tuple[Process, Process, Process]]:
    """(sender "cam" on ALPHA, node on BETA, receiver of "l2s" on ALPHA), with the world "dark" playing."""
    cam = ndi_hosts.a.sender("cam", size="640x360", fps=25)
    command = [sys.executable, "-m", "l2s_node", "run", "--in", "ndi:cam", "--out", "ndi:l2s", "--world", "dark"]
    summary = ("--summary", str(home / "summary.json"), "--panel", "0")
    node = ndi_hosts.b.start(*command, *SPLIT, *summary, L2S_HOME=str(home))
    out = ndi_hosts.a.receiver("l2s")
    node.wait(lambda e: "dark/small is ready" in e.get("text", ""), 40)
    yield cam, node, out


def osc(hosts: Hosts, address: str, value: float | str) -> None:
    """One OSC message from a process on the node's host: liblo's where it is installed."""
    if shutil.which("oscsend"):
        kind = "s" if isinstance(value, str) else "f"
        hosts.b.run("oscsend", "127.0.0.1", "7400", address, kind, str(value))
        return
    builder = OscMessageBuilder(address)
    builder.add_arg(value)
    code = "import socket,sys; socket.socket(2, 2).sendto(bytes.fromhex(sys.argv[1]), ('127.0.0.1', 7400))"
    hosts.b.run(sys.executable, "-c", code, builder.build().dgram.hex())


def test_ndi_in_a_world_out_steered_by_osc(
    ndi_hosts: Hosts, home: Path, show: tuple[Process, Process, Process]
) -> None:
    _, node, out = show
    first = out.wait_counter(1)
    assert first["size"] == [640, 360] and first["fourcc"] == "UYVY"
    seen = out.wait(lambda e: e.get("counter", -1) > first["counter"] + 25)
    assert seen["rate"] == [25, 1]
    osc(ndi_hosts, "/l2s/world", "light")
    node.wait(lambda e: "light/small is ready" in e.get("text", ""), 20)
    before = len(out.pictures())
    osc(ndi_hosts, "/l2s/show", "input")
    out.wait_counter(seen["counter"] + 50)
    assert len(out.pictures()) > before
    node.popen.terminate()
    node.popen.wait(20)
    summary = json.loads((home / "summary.json").read_text())
    assert summary["frames_in"] > 50 and summary["frames_out"] >= summary["frames_in"] - 1  # the end may cut one off


def test_the_output_goes_on_without_its_source_and_finds_it_again(
    ndi_hosts: Hosts, show: tuple[Process, Process, Process]
) -> None:
    cam, node, out = show
    last = out.wait_counter(10)["counter"]
    cam.kill()
    node.wait(lambda e: "is gone" in e.get("text", ""), 10)
    held = len(out.pictures())
    out.wait(lambda e: "counter" in e, 5)
    assert len(out.pictures()) > held, "the picture is held, and goes out"
    ndi_hosts.a.sender("cam", size="640x360", fps=25, start=100_000)
    out.wait_counter(100_000, 15)
    assert max(e["counter"] for e in out.pictures() if e["counter"] < 100_000) >= last


def test_the_sender_is_there_before_its_source(ndi_hosts: Hosts, home: Path) -> None:
    command = [sys.executable, "-m", "l2s_node", "run", "--in", "ndi:nobody", "--out", "ndi:early", "--world", "dark"]
    node = ndi_hosts.b.start(*command, "--osc", "0", "--panel", "0", L2S_HOME=str(home))
    out = ndi_hosts.a.receiver("early")
    first = out.wait(lambda e: "counter" in e, 20)
    assert first["size"] == [1280, 720]
    node.wait(lambda e: "ndi:nobody isn't on the network yet" in e.get("text", ""), 20)


def test_alpha_goes_through(ndi_hosts: Hosts, home: Path) -> None:
    ndi_hosts.a.sender("cam", size="320x240", fourcc="UYVA")
    command = [sys.executable, "-m", "l2s_node", "run", "--in", "ndi:cam", "--out", "ndi:clear", "--world", "dark"]
    ndi_hosts.b.start(*command, "--osc", "0", "--panel", "0", L2S_HOME=str(home))
    seen = ndi_hosts.a.receiver("clear").wait(lambda e: e.get("fourcc") == "BGRA", 40)
    assert seen["size"] == [320, 240]
    assert seen["alpha"][0] < 20 and seen["alpha"][-1] > 200, "0 at the left to 255 at the right, as it was sent"
