"""What the start of a show waits for: nothing heavy is imported before the sinks are open."""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = {"torch", "numpy", "cv2", "av", "openvino", "onnxruntime", "onnx", "aiohttp", "PIL", "pythonosc", "cyndilib"}


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"]
    said = subprocess.run(command, text=True, capture_output=True, timeout=60, check=True).stdout
    return set(said.splitlines()[-1].split())


def test_the_package_and_its_settings_are_light() -> None:
    assert not HEAVY & loaded_by("import l2s_node, l2s_node.__main__, l2s_node.config, l2s_node.params")


def test_the_command_line_is_light() -> None:
    assert not HEAVY & loaded_by("import l2s_node.cli")


def test_waiting_threads_are_told_to_sleep_unless_the_user_says_otherwise() -> None:
    """`main` sets OpenMP's variables before any verb can import torch, and leaves those that are set."""
    code = (
        "import os, sys, types\n"
        "def main(argv): print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'], *argv); return 5\n"
        "import l2s_node; l2s_node.cli = sys.modules['l2s_node.cli'] = types.SimpleNamespace(main=main)\n"
        "from l2s_node.__main__ import main; sys.exit(main(['list']))"
    )
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | {"GOMP_SPINCOUNT": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (5, "passive 7 list\n", "")
