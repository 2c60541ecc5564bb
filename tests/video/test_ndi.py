"""The room `ndi:` from outside: real senders and receivers in other processes, on two hosts (see ndi_loopback)."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ndi_loopback import Hosts, Process

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.video import _ndi_link, ndi
from l2s_node.video.base import Options

RAMP = pytest.approx([0, 32, 64, 96, 128, 159, 191, 223], abs=2)  # alpha at each eighth of the width
ROOM = str(Path(__file__).parent.parent / "ndi_room.py")


def room(hosts: Hosts, *arguments: str, **env: str) -> Process:
    """The room in a process on host b."""
    return hosts.b.start(sys.executable, ROOM, *arguments, **env)


def logs(process: Process, word: str) -> list[str]:
    return [e["log"] for e in process.collect() if word in e.get("log", "")]


def counters(process: Process) -> list[int]:
    return [event["counter"] for event in process.pictures()]


def assert_increasing(values: list[int]) -> None:
    assert values and all(a < b for a, b in itertools.pairwise(values)), values


def test_pictures_arrive_in_their_native_format(ndi_hosts: Hosts) -> None:
    cam = ndi_hosts.a.sender("cam", size="854x480", fps="30000/1001")  # 854: libndi pads the rows
    node = room(ndi_hosts, "source", "cam")
    first = node.wait_counter(0)
    node.wait_counter(first["counter"] + 15)
    for picture in node.pictures():
        assert (picture["size"], picture["format"], picture["rate"]) == ([854, 480], "UYVY", [30000, 1001])
        assert picture["counter"] - picture["number"] == first["counter"]  # numbers count every picture, no other
        assert 0 <= picture["t"] - picture["seconds"] < 1
    assert_increasing(counters(node))
    assert [e["uri"] for e in node.collect() if e.get("state") == "connected"] == ["ndi:ALPHA (cam)"]
    cam.wait(lambda e: e.get("tally"))
    product = next(e["metadata"] for e in cam.collect() if "metadata" in e)
    assert 'session_name="l2s"' in product and 'version="1.2.3"' in product


def test_whatever_changes_is_just_another_frame(ndi_hosts: Hosts) -> None:
    cam = ndi_hosts.a.sender("cam")
    node = room(ndi_hosts, "source", "ALPHA (cam)")

    def after(comes: list[int], fmt: str, **order: Any) -> dict[str, Any]:
        cam.tell(**order)
        return node.wait(lambda e: e.get("size") == comes and e["format"] == fmt)

    assert after([640, 360], "UYVA", size="640x360", fourcc="UYVA")["alpha"] == RAMP
    assert after([320, 180], "UYVA", size="320x180", fourcc="BGRA")["alpha"] == RAMP
    after([854, 480], "UYVY", size="854x480", fourcc="NV12")
    after([640, 360], "UYVY", size="641x361", fourcc="BGRX")  # libndi floors odd sizes
    even, odd = after([400, 300], "UYVY", size="400x300", fourcc="UYVY", interlaced=True)["rows"][:2]
    assert even > 150 > 90 > odd  # both fields, each in its rows
    after([3840, 2160], "UYVY", size="3840x2160", interlaced=False)
    cam.tell(size="320x240", fps="50")
    node.wait(lambda e: e.get("rate") == [50, 1])
    assert_increasing(counters(node))
    assert not logs(node, "gone")


def test_the_newest_picture_wins_and_the_others_are_counted(ndi_hosts: Hosts) -> None:
    ndi_hosts.a.sender("cam", fps="60")
    node = room(ndi_hosts, "source", "cam", "--pause=0.25")  # 15 pictures: libndi's queue keeps ten
    first = node.wait_counter(0)
    last = node.wait_counter(first["counter"] + 60)
    pictures = node.pictures()
    assert len(pictures) < 12
    assert last["dropped"] == last["number"] + 1 - len(pictures) > 40
    assert {p["counter"] - p["number"] for p in pictures} == {first["counter"] - first["number"]}
    for picture in pictures[2:]:
        assert 0 <= picture["t"] - picture["seconds"] < 0.25  # what lay in the queue doesn't pass for fresh


def test_killed_and_back(ndi_hosts: Hosts) -> None:
    cam = ndi_hosts.a.sender("cam")
    node = room(ndi_hosts, "source", "cam")
    node.wait_counter(0)
    cam.kill()
    node.wait(lambda e: e.get("state") == "waiting")
    ndi_hosts.a.sender("cam", start=5000, size="400x300")
    assert node.wait_counter(5000)["size"] == [400, 300]
    assert len(logs(node, "is gone")) == 1
    assert len(logs(node, "sends UYVY")) == 2


@pytest.mark.slow
def test_whoever_takes_a_dead_senders_port_is_not_shown(ndi_hosts: Hosts) -> None:
    cam = ndi_hosts.a.sender("cam")
    address = ndi_hosts.b.receiver("cam").wait(lambda e: "address" in e)["address"]
    node = room(ndi_hosts, "source", "cam")
    node.wait_counter(0)
    cam.kill()
    dog = ndi_hosts.a.sender("dog", start=5000)
    witness = ndi_hosts.b.receiver("dog")
    assert witness.wait(lambda e: "address" in e)["address"] == address
    witness.wait_counter(5030)
    dog.kill()
    ndi_hosts.a.sender("dog", "cam", start=5000)  # cam is back on another port, and counts from 1,005,000
    node.wait_counter(1_005_000)
    assert not [c for c in counters(node) if 5000 <= c < 1_000_000]


def test_connected_but_silent(ndi_hosts: Hosts) -> None:
    cam = ndi_hosts.a.sender("cam")
    node = room(ndi_hosts, "source", "cam")
    node.wait_counter(0)
    os.kill(cam.popen.pid, signal.SIGSTOP)
    node.wait(lambda e: e.get("state") == "silent")
    os.kill(cam.popen.pid, signal.SIGCONT)
    stopped = max(counters(node))
    node.wait_counter(stopped + 1)
    assert len(logs(node, "sends no pictures")) == 1
    assert [e["state"] for e in node.collect() if "state" in e] == ["waiting", "connected", "silent", "connected"]


@pytest.mark.slow
def test_a_power_cut_breaks_no_connection_but_is_noticed(ndi_hosts: Hosts) -> None:
    ndi_hosts.a.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_orphan_retries")
    cam = ndi_hosts.a.sender("cam")
    node = room(ndi_hosts, "source", "cam")
    node.wait_counter(0)
    ndi_hosts.a.run("ip", "link", "set", "cable", "down")
    cam.kill()  # its last words don't get through
    node.wait(lambda e: e.get("state") == "silent")
    ndi_hosts.a.run("ip", "link", "set", "cable", "up")
    ndi_hosts.a.sender("cam", start=5000)
    node.wait_counter(5000)


def test_absent_at_start(ndi_hosts: Hosts) -> None:
    ndi_hosts.a.sender("dog", "cat")
    node = room(ndi_hosts, "source", "cam")
    said = node.wait(lambda e: "isn't on the network yet" in e.get("log", ""))["log"]
    assert "ndi:ALPHA (cat), ndi:ALPHA (dog)" in said
    assert node.pictures() == []
    ndi_hosts.a.end_all()
    ndi_hosts.a.sender("cam")
    node.wait_counter(0)
    assert len(logs(node, "isn't on the network")) == 1


def test_two_senders_are_not_confused(ndi_hosts: Hosts) -> None:
    ndi_hosts.a.sender("cam", "dog")  # the second counts from a million
    cam, dog = room(ndi_hosts, "source", "cam"), room(ndi_hosts, "source", "ALPHA (dog)")
    cam.wait_counter(20)
    dog.wait_counter(1_000_020)
    assert max(counters(cam)) < 1_000_000 <= min(counters(dog))
    listed = ndi_hosts.b.start(sys.executable, ROOM, "names").wait(lambda e: True)
    assert listed == {"names": ["ndi:ALPHA (cam)", "ndi:ALPHA (dog)"]}


def test_by_address_without_discovery(ndi_hosts: Hosts, tmp_path: Path) -> None:
    cam = ndi_hosts.a.sender("cam")
    address = ndi_hosts.b.receiver("cam").wait(lambda e: "address" in e)["address"]
    node = room(ndi_hosts, "source", f"@{address}", NDI_CONFIG_DIR=str(tmp_path))
    node.wait_counter(0)
    cam.kill()
    node.wait(lambda e: e.get("state") == "waiting")
    ndi_hosts.a.sender("cam", start=5000)
    node.wait_counter(5000)
    assert {e["uri"] for e in node.collect() if "uri" in e} == {f"ndi:@{address}"}


@pytest.mark.parametrize("address", ["@nowhere", "@:5961", "@10.0.0.1:port", "@no-such-host.invalid:5961"])
def test_no_address(address: str) -> None:
    with pytest.raises(RoomError, match=r"^ndi:@"):
        ndi.Source(address, Options())


def test_no_name() -> None:
    with pytest.raises(NotFoundError, match="which source"):
        ndi.Source("", Options())


def test_sink_is_seen_as_it_is(ndi_hosts: Hosts) -> None:
    node = room(ndi_hosts, "sink", "l2s", "--fps=30000/1001", "--size=854x480")
    viewer = ndi_hosts.a.receiver("l2s")
    first = viewer.wait_counter(0)
    viewer.wait_counter(first["counter"] + 20)
    node.tell(size="640x360", fps="50")
    changed = viewer.wait(lambda e: e.get("size") == [640, 360])
    viewer.wait_counter(changed["counter"] + 20)
    pictures = viewer.pictures()
    assert counters(viewer) == list(range(first["counter"], pictures[-1]["counter"] + 1))  # the change cost no picture
    assert {(*p["size"], p["fourcc"], *p["rate"]) for p in pictures} == {
        (854, 480, "UYVY", 30000, 1001),
        (640, 360, "UYVY", 50, 1),
    }
    product = next(e["metadata"] for e in viewer.collect() if "ndi_product" in e.get("metadata", ""))
    assert 'session_name="l2s"' in product and 'version="1.2.3"' in product
    assert node.wait(lambda e: "sent" in e) and {"uri": "ndi:BETA (l2s)"} in node.collect()


def test_sink_keeps_alpha(ndi_hosts: Hosts) -> None:
    room(ndi_hosts, "sink", "l2s", "--alpha=1")
    picture = ndi_hosts.a.receiver("l2s", color="BGRX_BGRA").wait_counter(5)
    assert picture["fourcc"] == "BGRA"
    assert picture["alpha"] == RAMP


def test_a_taken_name_becomes_another(ndi_hosts: Hosts) -> None:
    ndi_hosts.b.sender("l2s").wait(lambda e: "name" in e)
    node = room(ndi_hosts, "sink", "l2s")
    assert node.wait(lambda e: "uri" in e)["uri"] == "ndi:BETA (l2s 2)"
    assert logs(node, "already sends") == ["another program here already sends as 'l2s': this node sends as 'l2s 2'"]


def test_through_the_node_and_back(ndi_hosts: Hosts) -> None:
    ndi_hosts.a.sender("cam", fps="50")
    room(ndi_hosts, "through", "cam", "--name=l2s")
    viewer = ndi_hosts.a.receiver("l2s")
    first = viewer.wait_counter(0)
    viewer.wait_counter(first["counter"] + 50)
    assert_increasing(counters(viewer))
    assert {(*p["size"], *p["rate"]) for p in viewer.pictures()} == {(320, 240, 50, 1)}


def test_without_cyndilib() -> None:
    code = "import sys; sys.modules['cyndilib'] = None; from l2s_node.video import ndi; print(ndi.missing())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(ndi.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install cyndilib" in said.stdout


def test_it_is_there() -> None:
    assert ndi.missing() is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere libndi needs nobody's help")
def test_no_discovery_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/run/avahi-daemon/pid").exists():
        pytest.skip("Avahi runs here")
    monkeypatch.setenv("NDI_CONFIG_DIR", str(tmp_path))
    advice = _ndi_link.no_discovery()
    assert advice is not None and "apt install avahi-daemon" in advice and str(tmp_path) in advice
    (tmp_path / "ndi-config.v1.json").write_text('{"ndi": {"networks": {"ips": "10.0.0.1"}}}')
    assert _ndi_link.no_discovery() is None
