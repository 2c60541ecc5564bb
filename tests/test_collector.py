"""What lets Python's search for cycles stop the show no longer than it must."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from l2s_node.collector import YOUNG_ONLY, put_off

CYCLES = 60_000
"""Enough for dozens of searches of the young."""
COMPILED = """
import gc
import torch
from l2s_node.models.engines import inductor
gc.freeze()  # as the first world does that plays
old, done = [], []
gc.callbacks.append(lambda phase, info: phase == "stop" and info["generation"] == 2 and old.append(not done))
def made(options):
    import sympy  # another 0.1 million objects come with what a compiler does
    kept = [[] for _ in range(200_000)]
    return lambda: kept
play = inductor.either(made)
done.append(True)
gc.collect()
print(any(old), len(old) > 0, gc.get_freeze_count() > 150_000, len(play()))
"""


@contextmanager
def searched() -> Iterator[list[int]]:
    """The generations that were searched within."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            found.append(info["generation"])

    gc.callbacks.append(note)
    try:
        yield found
    finally:
        gc.callbacks.remove(note)


def live_on() -> list[list[object]]:
    """Objects that Python has to search, and that stay."""
    return [[] for _ in range(CYCLES)]


def test_nothing_is_searched_for_where_that_is_put_off() -> None:
    with searched() as found:
        with put_off():
            kept = live_on()
            assert not found
        kept += live_on()
    assert found and len(kept) == 2 * CYCLES


def test_only_the_young_are_searched_while_somebody_is_within() -> None:
    usual = gc.get_threshold()
    gc.collect()
    with searched() as found, YOUNG_ONLY, YOUNG_ONLY:
        kept = live_on() + live_on()
    assert len(kept) == 2 * CYCLES
    assert 1 in found and 2 not in found
    assert gc.get_threshold() == usual


def test_the_old_are_searched_again_when_the_last_one_has_left() -> None:
    usual, entered, leave = gc.get_threshold(), threading.Event(), threading.Event()

    def other() -> None:
        with YOUNG_ONLY:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with YOUNG_ONLY:
        thread.start()
        entered.wait()
    inside = gc.get_threshold()
    leave.set()
    thread.join()
    assert inside[2] > 1_000_000
    assert gc.get_threshold() == usual


def test_what_the_first_compiled_world_brought_is_not_searched_any_more_and_nothing_old_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "200000"]
