"""What the start of a show waits for: nothing heavy is imported before the sinks are open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "numpy", "cv2", "av", "openvino", "onnxruntime", "onnx", "aiohttp", "PIL", "pythonosc", "cyndilib"}


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"]
    said = subprocess.run(command, text=True, capture_output=True, timeout=60, check=True).stdout
    return set(said.splitlines()[-1].split())


def test_the_package_and_its_settings_are_light() -> None:
    assert not HEAVY & loaded_by("import l2s_node, l2s_node.__main__, l2s_node.config, l2s_node.params")


def test_the_command_line_is_light() -> None:
    assert not HEAVY & loaded_by("import l2s_node.cli")


def test_waiting_threads_sleep_and_pickles_are_the_users_own_unless_he_says_otherwise(tmp_path: Path) -> None:
    """`main` sets torch's variables before any verb can import it, and leaves those that are set."""
    code = (
        "import os, sys, types\n"
        "NAMES = 'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'TORCHINDUCTOR_CACHE_DIR'\n"
        "def main(argv): print(*map(os.environ.get, NAMES), *argv); return 5\n"
        "import l2s_node; l2s_node.cli = sys.modules['l2s_node.cli'] = types.SimpleNamespace(main=main)\n"
        "from l2s_node.__main__ import main; sys.exit(main(['list']))"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "TORCHINDUCTOR_CACHE_DIR")}
    env |= {"GOMP_SPINCOUNT": "7", "L2S_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (5, f"passive 7 {tmp_path / 'inductor'} list\n", "")
