"""`l2s doctor --lan` on a network with two real nodes, one of two channels, and a source that is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ndi_loopback import Hosts
from small_worlds import make_world

from l2s_node.video._ndi_lan import _read

RUN = (sys.executable, "-m", "l2s_node", "run", "--panel", "0", "--output-size", "320x240", "--engine", "eager")
DOCTOR = (sys.executable, "-m", "l2s_node", "doctor", "--lan")


@pytest.mark.slow
def test_every_channel_of_every_node_is_a_line(ndi_hosts: Hosts, tmp_path: Path) -> None:
    make_world(tmp_path, "dark", grey=0.2)
    config = tmp_path / "both"
    config.mkdir()
    ips = {"ndi": {"networks": {"ips": "10.77.0.1,10.77.0.2"}}}
    (config / "ndi-config.v1.json").write_text(json.dumps(ips))
    common = ("--world", "dark", "--osc", "7410")
    channels = ("--channel", "left:pattern:bars", "--channel", "right:pattern:table")
    a = ndi_hosts.a.start(*RUN, *common, *channels, "--name", "wall", "--lan", L2S_HOME=str(tmp_path))
    b = ndi_hosts.b.start(*RUN, *common, "--in", "pattern:bars", L2S_HOME=str(tmp_path))
    for node, line in ((a, "right: "), (b, "Step")):
        node.wait(lambda e, line=line: e.get("text", "").startswith(line) and "dark/small on" in e["text"], 40)
    for here, process in (
        (True, ndi_hosts.b.start(*DOCTOR, NDI_CONFIG_DIR=str(config))),
        (False, ndi_hosts.a.start(*DOCTOR, NDI_CONFIG_DIR=str(config))),
    ):
        process.popen.wait(30)
        lines = [e["text"] for e in process.collect() if "text" in e]
        assert process.popen.returncode == 0, lines
        nodes = [line for line in lines if " node " in line]
        assert len(nodes) == 3, lines
        for name in ("ALPHA (wall-left) at 10.77.0.1", "ALPHA (wall-right) at 10.77.0.1"):
            (line,) = (line for line in nodes if name in line)
            assert line.startswith("ok") and "dark/small on eager" in line and " FPS" in line
        (own,) = (line for line in nodes if "BETA (l2s) at 10.77.0.2" in line)
        assert ("dark/small on eager" in own) == here and ("own machine only" in own) != here, own


def test_what_a_stranger_sends_is_not_taken_for_a_node() -> None:
    good = b'<l2s_node name="l2s" version="1" channel="" osc="7400" open="1"/>'
    peer = _read(good, "A (l2s)", "10.0.0.1:5961")
    assert peer is not None and (peer.address, peer.osc, peer.open) == ("10.0.0.1", 7400, True)
    for data in (b"<ndi_product/>", b"<l2s_node name=", good + b"x" * 3000, b'<l2s_node a="&x;"/>'):
        assert _read(data, "A (l2s)", "10.0.0.1:5961") is None
    broken = _read(b'<l2s_node osc="999999"/>', "A (l2s)", "10.0.0.1:5961")
    assert broken is not None and broken.osc == 0
