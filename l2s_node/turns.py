"""Turns: how soon a thread has Python again while another one works in it, of which only one at a time can.

Each call that lets go of Python for microseconds (a copy, a launch, a sum of NumPy's) may find it taken when it comes
back, and a frame is dozens of them. By default whoever has it may keep it for 5 ms, and Linux ends each wait for that
up to 50 µs late.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TURN = 1e-5
"""Seconds that another thread may keep Python. A 720p pattern that is painted on two cores while a world is compiled
took 8.5 ms at 1e-4, 4.9 at 1e-5, with `SLACK` 3.7, and 2 alone; at the usual 5e-3 every tenth took more than 360."""
SLACK = 1
"""Nanoseconds that a wait may end late, on Linux."""
_SET, _GET = 29, 30
"""PR_SET_TIMERSLACK and PR_GET_TIMERSLACK of linux/prctl.h."""


@contextmanager
def short_turns() -> Iterator[None]:
    """Short turns for all threads; waits that end on time for this one and those that are started within."""
    turn, slack = sys.getswitchinterval(), _timer_slack(_GET)
    sys.setswitchinterval(TURN)
    _timer_slack(_SET, SLACK)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        _timer_slack(_SET, slack)


def _timer_slack(what: int, value: int = 0) -> int:
    """What prctl answers; 0, which is the system's own choice, where there is none."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, TypeError):  # on macOS; on Windows
        return 0
    return max(int(prctl(what, ctypes.c_ulong(value))), 0)
