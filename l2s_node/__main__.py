"""``l2s`` and ``python -m l2s_node``: sets what must be set before torch is imported, then calls the command line."""

from __future__ import annotations

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run `argv` (the process's arguments by default); returns the exit code.

    OpenMP threads that spin while they wait take a core from capture and encoding: with one foreign busy process
    a generator step went from 12 ms to 29–450 ms (measured with torch 2.13).

    torch.compile keeps pickles, by default in a folder of /tmp whose name anybody on the machine can guess and make
    first; in the user's own folder nobody else leaves any.

    CUDA hands what is queued on all streams to the GPU by 8 queues, unless it is told otherwise: channels that share
    one wait for each other. 32 is the most, and as many streams as torch has (not measured yet).

    Libraries read these variables once, when they are loaded; who sets them outside keeps his values.
    """
    from l2s_node.config import home

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "inductor"))
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    from l2s_node import cli

    return cli.main(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
