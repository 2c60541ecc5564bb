"""LLVM: Mesa's and Triton's, which on Linux end the process with a segmentation fault if they meet in the wrong order.

Mesa makes the symbols of its LLVM global. Triton's library, which holds another one and comes with every CUDA build of
torch, binds to them if it is loaded afterwards, as torch does at its first export or compilation.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from ctypes import CDLL
from pathlib import Path


@functools.cache
def keep_apart() -> None:
    """Have Triton's library, where there is one, bound to its own symbols before Mesa's are there.

    To be called before OpenGL is; it acts once, for 20 ms in which Python's other threads go on, and imports nothing.
    """
    triton = importlib.util.find_spec("triton")
    for folder in (triton and triton.submodule_search_locations) or ():
        library = Path(folder) / "_C" / "libtriton.so"  # Linux's
        if library.exists():
            # the C library's own word for it: Python's lets no other thread go on meanwhile
            CDLL(None).dlopen(os.fsencode(library), os.RTLD_NOW)
