"""libndi reads where others may be once, when it starts: this computer, whichever test is the first to start it.

Set while tests are collected, so before any of them runs. Tests on hosts of their own (`ndi_loopback`) override it.
"""

import os
from pathlib import Path

from gl_halls import hall as hall

os.environ.setdefault("NDI_CONFIG_DIR", str(Path(__file__).parent / "ndi_config"))
