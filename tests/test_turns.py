"""Whoever wants Python has it soon, though another thread works in it; afterwards all is as it was."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from l2s_node.turns import TURN, short_turns


def test_turns_are_short_and_then_as_they_were() -> None:
    before = sys.getswitchinterval()
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(TURN)
    assert sys.getswitchinterval() == before


@pytest.mark.skipif(sys.platform != "linux", reason="that timers are slack is Linux's own")
def test_threads_that_are_started_within_wake_on_time_as_well() -> None:
    def slack() -> int:
        return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())

    before, within = slack(), list[int]()
    with short_turns():
        thread = threading.Thread(target=lambda: within.append(slack()))
        thread.start()
        thread.join()
        assert [slack(), *within] == [1, 1]
    assert slack() == before
