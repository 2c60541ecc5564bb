"""Fixtures for all tests. This file also puts `tests/` on the import path, for the helpers that lie here."""

import logging
from collections.abc import Iterator

import pytest
from ndi_loopback import _ndi_machines as _ndi_machines
from ndi_loopback import ndi_hosts as ndi_hosts


@pytest.fixture(autouse=True)
def levels_of_logs() -> Iterator[None]:
    """A verb that was run in this process quiets the log; the next test must hear it again."""
    before = {name: logging.getLogger(name).level for name in (None, *logging.root.manager.loggerDict)}
    yield
    for name in (None, *logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))
