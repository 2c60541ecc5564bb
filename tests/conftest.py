"""Fixtures for all tests. This file also puts `tests/` on the import path, for the helpers that lie here."""

import logging
import os
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
        logger, level = logging.getLogger(name), before.get(name, logging.NOTSET)
        if logger.level != level:  # setting one empties the caches of all, which took longer than most tests
            logger.setLevel(level)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones run on CI and where they are asked for."""
    if os.environ.get("CI") or "slow" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: CI runs it, and so does -m slow"))
