"""A wheel carries all that the node needs, and works from a folder that isn't the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def call(*args: object, **options: object) -> str:
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    call("-m", "pip", "wheel", *flags, "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("l2s_node-*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A folder and variables in which the wheel's package is found and the checkout isn't."""
    site, home = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("home")
    call("-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", site, wheel)
    return {"cwd": home, "env": {**os.environ, "PYTHONPATH": str(site), "L2S_HOME": str(home)}}


def test_assets_and_the_panels_page_are_inside(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"l2s_node/assets/{path.relative_to(ROOT).as_posix()}"
        for folder in ("presets", "shaders")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "l2s_node" / "control" / "page").iterdir()}
    assert "l2s_node/assets/presets/demo/bottles.mp4" in wanted and "l2s_node/control/page/index.html" in page
    assert wanted | page <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not any(name.startswith(("tests/", "presets/", "shaders/")) for name in inside)


def test_the_installed_package_finds_its_own_assets(elsewhere: dict[str, object]) -> None:
    code = "import l2s_node, l2s_node.config as c; print(l2s_node.__file__, c.demo_clip(), c.demo_clip().is_file())"
    package, clip, there = call("-P", "-c", code, **elsewhere).split()
    assert ROOT not in Path(package).parents
    assert Path(clip).is_relative_to(Path(package).parent) and there == "True"


def test_the_installed_node_lists_its_worlds_and_plays_one(elsewhere: dict[str, object]) -> None:
    assert "flowers" in call("-P", "-m", "l2s_node", "list", "worlds", **elsewhere)
    run = ("run", "--in", "pattern:", "--out", "null:", "--osc", "0", "--panel", "0", "--frames", "5")
    call("-P", "-m", "l2s_node", *run, "--summary", "run.json", **elsewhere)
    summary = json.loads((Path(str(elsewhere["cwd"])) / "run.json").read_text())
    assert summary["frames_out"] == 5
