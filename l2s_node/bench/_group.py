"""Group: `l2s bench train` on several GPUs. torchrun starts it, one process a GPU; the first one prints its times.

torchrun --standalone --nproc-per-node 2 -m l2s_node.bench._group SIZE BATCH [STEPS]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

import torch

from l2s_node.bench._row import timed
from l2s_node.bench.train import make_step
from l2s_node.train.group import Group, join
from l2s_node.train.settings import choose_device

STEPS = 100
"""All processes must take as many; three is the least."""


def main(size: str, batch: int, steps: int = STEPS) -> None:
    with join(choose_device("auto")) as group:
        times = timed(stepping(size, batch, group), math.inf, steps)  # its step ends with it: see `Nets.spread`
        if group.first:
            print(json.dumps(times), flush=True)


def stepping(size: str, batch: int, group: Group) -> Callable[[], None]:
    """One step of all processes, done when the last one's is."""
    step = make_step("dream", size, batch, group)

    def whole() -> None:
        step()
        group.wait()

    return whole


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1], *map(int, sys.argv[2:]))
