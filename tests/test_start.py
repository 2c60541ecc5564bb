"""start.py from outside: a small project of its own shape is set up, started, broken and mended; no network is used."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

START = Path(__file__).resolve().parent.parent / "start.py"

BACKEND = '''
"""The smallest build backend: an editable wheel that points at this folder."""
import os, time, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    open("building", "w").close()
    time.sleep(float(os.environ.get("SLOW_BUILD", "0")))
    name, info = "l2s_node-1-py3-none-any.whl", "l2s_node-1.dist-info/"
    needs = open("needs").read()
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("l2s_node_here.pth", os.getcwd())
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: l2s-node\\nVersion: 1\\n" + needs)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
'''
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
NETWORKLESS = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}


def make_project(folder: Path) -> Path:
    (folder / "l2s_node").mkdir(parents=True)
    (folder / "l2s_node" / "__init__.py").touch()
    (folder / "l2s_node" / "__main__.py").write_text("import sys\nprint('l2s', *sys.argv[1:])\nsys.exit(3)\n")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "constraints.txt").write_text("")
    (folder / "needs").write_text("")
    shutil.copy(START, folder)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Without whatever set-up of pip's this machine has."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PIP_")}, **NETWORKLESS, **more}


def start(project: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command, env = [sys.executable, str(project / "start.py"), *args], environment(**variables)
    return subprocess.run(command, text=True, capture_output=True, env=env, timeout=120, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first start is behind it."""
    folder = make_project(tmp_path_factory.mktemp("start") / "project")
    first = start(folder, "list")
    assert first.returncode == 3, first.stdout + first.stderr
    assert "setting up" in first.stdout and first.stdout.endswith("l2s list\n")
    return folder


def test_the_second_start_takes_what_is_there(project: Path) -> None:
    before = (project / ".venv" / "l2s-install.log").stat().st_mtime_ns
    again = start(project, "apply", "--out", "a b")
    assert (again.returncode, again.stdout, again.stderr) == (3, "l2s apply --out a b\n", "")
    assert (project / ".venv" / "l2s-install.log").stat().st_mtime_ns == before


def test_without_arguments_it_runs_the_demo(project: Path) -> None:
    clip = project / "presets" / "demo" / "bottles.mp4"
    assert start(project).stdout == f"l2s run --in file:{clip} --out ndi:l2s --world flowers --size small\n"


@pytest.mark.slow
def test_a_changed_pin_or_a_moved_folder_is_installed_anew(project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(project, moved, symlinks=True)
    (moved / "l2s_node" / "__main__.py").write_text("print('moved')\n")
    first = start(moved)
    assert "installing" in first.stdout and first.stdout.endswith("moved\n")
    (moved / "constraints.txt").write_text("numpy<99\n")
    assert "installing" in start(moved).stdout
    assert start(moved).stdout == "moved\n"


@pytest.mark.skipif(os.name == "nt", reason="kills a process group")
@pytest.mark.slow
def test_a_killed_set_up_is_mended_by_the_next_start(project: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(project, broken, symlinks=True)
    (broken / "building").unlink()
    command = [sys.executable, str(broken / "start.py")]
    with subprocess.Popen(command, env=environment(SLOW_BUILD="60"), start_new_session=True) as first:
        deadline = time.monotonic() + 60
        while not (broken / "building").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
    assert not (broken / ".venv" / "l2s-installed").exists()
    (next((broken / ".venv").glob("[Ll]ib")) / "half-copied").touch()
    mended = start(broken, "list")
    assert "setting up" in mended.stdout and mended.stdout.endswith("l2s list\n")
    assert not list((broken / ".venv").rglob("half-copied"))


def test_without_a_network_it_says_so_in_one_sentence(project: Path, tmp_path: Path) -> None:
    offline = tmp_path / "offline"
    shutil.copytree(project, offline, symlinks=True)
    (offline / "needs").write_text("Requires-Dist: safetensors\n")
    said = start(offline)
    assert said.returncode == 1
    assert said.stderr.startswith("l2s: the package index can't be reached") and said.stderr.count("\n") == 1
    assert not (offline / ".venv" / "l2s-installed").exists()


def test_a_package_without_a_build_is_named(project: Path, tmp_path: Path) -> None:
    poor = tmp_path / "poor"
    shutil.copytree(project, poor, symlinks=True)
    (poor / "needs").write_text("Requires-Dist: safetensors\n")
    said = start(poor, PIP_NO_INDEX="1")
    assert said.returncode == 1
    assert said.stderr.startswith("l2s: there is no build of safetensors") and said.stderr.count("\n") == 1


def test_a_python_that_is_too_old_is_told_which_one_to_take(tmp_path: Path) -> None:
    project = make_project(tmp_path / "old")
    pretend = "import runpy, sys; sys.version_info = (3, 9, 0, 'final', 0); sys.argv = sys.argv[1:]; "
    command = [sys.executable, "-c", pretend + "runpy.run_path(sys.argv[0], run_name='__main__')", "start.py"]
    env = environment(PATH=str(tmp_path))
    said = subprocess.run(command, cwd=project, env=env, text=True, capture_output=True, timeout=60, check=False)
    assert said.returncode == 1 and said.stderr.count("\n") == 1
    assert "needs Python 3.11, 3.12 or 3.13, and this is 3.9" in said.stderr
    assert not (project / ".venv").exists()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """start.py as a module that takes this very interpreter for its environment's."""
    spec = importlib.util.spec_from_file_location("start", START)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "tests", "passes"),
    [
        ("x: int = 1\n", "def test_it() -> None:\n    assert True\n", True),
        ("import os\n", "def test_it() -> None:\n    assert True\n", False),
        ('x: int = "1"\n', "def test_it() -> None:\n    assert True\n", False),
        ("x: int = 1\n", "def test_it() -> None:\n    assert False\n", False),
    ],
    ids=["clean", "lint", "types", "test"],
)
def test_lint_types_and_tests_all_count(
    module: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str], code: str, tests: str, passes: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mypy]\nfiles = ["shown.py"]\n[tool.pytest.ini_options]\n')
    (tmp_path / "shown.py").write_text(code)
    (tmp_path / "test_code.py").write_text(tests)
    assert (module.check(tmp_path, ["-q"]) == 0) is passes
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith("1 failed" if "False" in tests else "1 passed")


def test_the_words_of_pip_become_one_sentence(module: ModuleType) -> None:
    full = module.explain("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
    assert "disk is full" in full
    assert "PIP_CERT" in module.explain("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')")
    assert module.explain("ERROR: something else") is None


def test_the_pin_of_pytorch_is_one_that_the_project_takes(module: ModuleType) -> None:
    assert module.torch_pin() in {f"2.{minor}.{patch}" for minor in (11, 12, 13, 14) for patch in range(10)}
