"""Group: `l2s bench train` on several GPUs. torchrun starts it, one process a GPU; the first one prints its times.

torchrun --standalone --nproc-per-node 2 -m l2s_node.bench._group SIZE BATCH [STEPS]
"""

from __future__ import annotations

import json
import sys
import time

import torch

from l2s_node.bench._row import WARM_UP
from l2s_node.bench.train import make_step
from l2s_node.train.group import Group, join
from l2s_node.train.settings import choose_device

STEPS = 100
"""All processes must take as many."""


def main(size: str, batch: int, steps: int = STEPS) -> None:
    with join(choose_device("auto")) as group:
        times = timed(size, batch, steps, group)
        if group.first:
            print(json.dumps(times), flush=True)


def timed(size: str, batch: int, steps: int, group: Group) -> list[float]:
    """Milliseconds of single steps. The step, a CUDA graph, ends with this: see `Nets.spread`."""
    step = make_step("dream", size, batch, group)
    times = []
    for _ in range(steps + WARM_UP):
        start = time.perf_counter()
        step()
        group.wait()
        times.append((time.perf_counter() - start) * 1e3)
    return times[WARM_UP:]


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1], *map(int, sys.argv[2:]))
