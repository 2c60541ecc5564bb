"""Nobody hears that Intel's packages are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from l2s_node.models import quantise
from l2s_node.models.engines import openvino


@pytest.mark.skipif(openvino.missing() is not None, reason="openvino isn't here")
def test_openvino_and_nncf_tell_nobody(tmp_path: Path) -> None:
    """By themselves they write an identity into the home folder and report each import; NNCF only where it is here."""
    code = (
        "import sys, torch; from nets import CLASSIC, lively; from l2s_node.models.engines import openvino\n"
        "openvino.build(lively(CLASSIC), (1, 1, 64, 64), torch.device('cpu'), 'auto').close()\n"
        "from l2s_node.models import quantise\n"
        "quantise.missing() or quantise._imported()\n"
        "print(*(name for name, module in sys.modules.items() if module), sep='\\n')"
    )
    folders = [str(Path(__file__).parents[2]), str(Path(__file__).parent), *filter(None, sys.path)]
    env = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": os.pathsep.join(folders)}
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, env=env).split()
    assert "openvino" in loaded and ("nncf" in loaded) is (quantise.missing() is None)
    assert not [name for name in loaded if name.startswith("openvino_telemetry")]
    assert not list(tmp_path.iterdir())
