"""The doctor: everything is really tried; what is amiss has its line, its remedy and its exit code."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_worlds import make_world

from l2s_node import doctor
from l2s_node.config import RunConfig
from l2s_node.doctor import Check, examine
from l2s_node.packages import packages_wanted, python_wanted, within
from l2s_node.video.base import SYSTEM

LOOPBACK = Path(__file__).parent / "video" / "ndi_config"


@pytest.mark.slow
def test_it_tries_everything_that_a_show_needs(tmp_path: Path) -> None:
    """In a process of its own, where NDI looks for sources on this computer."""
    make_world(tmp_path, "moss")
    env = {**os.environ, "L2S_HOME": str(tmp_path), "NDI_CONFIG_DIR": str(LOOPBACK)}
    command = [sys.executable, "-m", "l2s_node", "doctor"]
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=120)
    assert done.stderr == ""
    rows = [re.match(r"(ok|note|FAIL) +(.+?)  +(.+)", line) for line in done.stdout.splitlines()]
    assert all(rows), done.stdout
    marks = {row[2]: row[1] for row in rows if row}
    for name in ("python", "packages", "processor", "clock", "file:", "ndi:", "ndi by name", "recording", "presets"):
        assert marks[name] == "ok", done.stdout
    assert marks.keys() >= {"memory", "camera:", "disk", "osc", "panel", "gpu", "engine", "world", "show"}
    assert re.search(r"world +moss/small: subpixel, .* hash and conditioning as they should be", done.stdout)
    assert re.search(r"show +\S+ on \w+ \w+: [\d.]+ ms a picture at 1280x720", done.stdout)
    failed = {name for name, mark in marks.items() if mark == "FAIL"}
    assert failed <= {"osc", "panel"}, "only a node that runs here meanwhile may be in the way"
    assert done.returncode == (1 if failed else 0)


def test_what_is_amiss_fails_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "PATIENCE", 0.0)
    torn, strange = make_world(tmp_path, "torn"), make_world(tmp_path, "strange", condition={"version": 0})
    data = bytearray(torn.read_bytes())
    data[-1] ^= 1
    torn.write_bytes(data)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "wild.toml").write_text("detial = 3\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        ports = {"osc": udp.getsockname()[1], "panel": tcp.getsockname()[1]}
        monkeypatch.setattr(doctor, "RunConfig", lambda *args: RunConfig(*args, **ports))
        bad = [check for check in examine() if not check.good]
    said = {f"{check.name}: {check.text}" for check in bad}
    for pattern in (
        r"world: torn/small: .* was changed after it was written \(its hash differs\): copy or train it again",
        r"world: strange/small: this world was trained with version = 0, this node conditions with version = 1",
        r"preset: .*wild.toml.*detial",
        rf"osc: UDP port {ports['osc']}: .* --osc PORT",
        rf"panel: TCP port {ports['panel']}: .* --panel PORT",
        r"ndi by name: a sender here isn't found by its name: .*avahi-daemon",
    ):
        assert any(re.match(pattern, line) for line in said), (pattern, said)
    assert strange.exists()


def test_a_machine_without_torch_gets_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "PATIENCE", 0.0)
    lines = {check.name: check for check in examine()}
    assert not lines["engines"].good and "torch" in lines["engines"].text
    assert lines["python"].good and lines["recording"].good


def test_a_line_has_mark_name_and_what_was_seen() -> None:
    assert Check("disk", True, "3 GB free").line() == "ok    disk           3 GB free"
    assert Check("gpu", True, "none", advice=True).line().startswith("note  gpu ")
    assert Check("osc", False, "in use", advice=True).line().startswith("FAIL  osc ")


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("2.13.0+cpu", ">=2.11,<2.15", True),
        ("2.15.0", "<2.15,>=2.11", False),
        ("2.9.1", ">=2.11,<2.15", False),
        ("3.11.7", ">=3.11,<3.14", True),
        ("3.14.0rc1", ">=3.11,<3.14", False),
        ("5.0.0.93", ">=4.10", True),
        ("1.0", "", True),
    ],
)
def test_bounds_of_versions(version: str, wanted: str, fits: bool) -> None:
    assert within(version, wanted) is fits


def test_the_installed_packages_are_those_that_are_wanted() -> None:
    if python_wanted() is None:
        pytest.skip("l2s-node is not installed here")
    found = {package.name: package for package in packages_wanted() if package.system in ("", SYSTEM)}
    assert found.keys() >= {"torch", "numpy", "cyndilib", "av"} and "pytest" not in found
    assert all(package.version and within(package.version, package.wanted) for package in found.values())


def test_packages_of_other_systems_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["no-such-thing>=1; sys_platform == 'plan9'", "syphon-python[opengl]<0.3,>=0.2; sys_platform == 'darwin'",
              f"nor-this>=2; sys_platform == '{SYSTEM}'", "onnx>=1; extra == 'x'"]  # fmt: skip
    monkeypatch.setattr("l2s_node.packages.metadata.requires", lambda _: wanted)
    monkeypatch.setattr(doctor, "python_wanted", lambda: ">=3.11")
    assert [(p.name, p.wanted, p.system) for p in packages_wanted()][1] == ("syphon-python", "<0.3,>=0.2", "darwin")
    said = [check.text for check in doctor._python() if check.name == "package"]
    assert "nor-this isn't installed: pip install 'nor-this>=2'" in said
    assert not [text for text in said if "no-such-thing" in text]
