"""Fixtures for all tests. This file also puts `tests/` on the import path, for the helpers that lie here."""

from ndi_loopback import _ndi_machines as _ndi_machines
from ndi_loopback import ndi_hosts as ndi_hosts
