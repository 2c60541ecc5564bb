"""Latest: one slot between two threads, newest wins."""

from __future__ import annotations

import threading
import time

from l2s_node.latest import Latest


def test_the_newest_is_taken_once_and_the_rest_is_counted() -> None:
    box: Latest[int] = Latest()
    assert box.take() is None
    for item in (1, 2, 3):
        box.put(item)
    assert box.take() == 3
    assert box.take() is None
    assert box.dropped == 2


def test_what_was_taken_is_not_dropped() -> None:
    box: Latest[int] = Latest()
    for item in range(5):
        box.put(item)
        assert box.take() == item
    assert box.dropped == 0


def test_taking_waits_for_what_comes_in_time() -> None:
    box: Latest[str] = Latest()
    giver = threading.Timer(0.05, box.put, ["now"])
    giver.start()
    assert box.take(timeout=5) == "now"
    giver.join()


def test_taking_gives_up_when_nothing_comes() -> None:
    start = time.monotonic()
    assert Latest[int]().take(timeout=0.05) is None
    assert time.monotonic() - start >= 0.049


def test_closing_wakes_whoever_waits() -> None:
    box: Latest[int] = Latest()
    closer = threading.Timer(0.05, box.close)
    closer.start()
    start = time.monotonic()
    assert box.take(timeout=30) is None
    assert box.take(timeout=30) is None, "and nobody waits again"
    assert time.monotonic() - start < 20
    closer.join()


def test_nothing_is_lost_or_doubled_between_two_threads() -> None:
    box: Latest[int] = Latest()
    count = 20_000
    taken: list[int] = []

    def give() -> None:
        for item in range(1, count + 1):
            box.put(item)

    giver = threading.Thread(target=give)
    giver.start()
    while not taken or taken[-1] != count:
        item = box.take(timeout=5)
        assert item is not None
        taken.append(item)
    giver.join()
    assert taken == sorted(set(taken))
    assert len(taken) + box.dropped == count
