"""Unheard: Intel's packages are imported so that they tell nobody.

OpenVINO and NNCF report every import to Google Analytics, unasked, from a thread of their own, wherever they find the
package openvino-telemetry, which a plain install of either brings. Without it they go on as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

REPORTER = "openvino_telemetry"


@contextmanager
def unheard() -> Iterator[None]:
    """What is imported meanwhile doesn't find its reporter."""
    before = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # importing it fails then
    try:
        yield
    finally:
        del sys.modules[REPORTER]
        if before is not None:
            sys.modules[REPORTER] = before
