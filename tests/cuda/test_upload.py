"""Memory that is locked for the GPU is unlocked in time, or stays."""

from __future__ import annotations

import gc
import weakref
from contextlib import closing, suppress

import numpy as np
import pytest
import torch
from pictures import knobs, tint

from l2s_node.cuda.graph import GraphPipeline
from l2s_node.cuda.upload import STUCK, Locked
from l2s_node.frame import Frame, PixelFormat, page_aligned
from l2s_node.models.capture import captured
from l2s_node.pipeline import Player

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU: torch.cuda.is_available() says no"),
]

CUDA = torch.device("cuda")
SIZE = (1280, 720)


def room() -> np.ndarray:
    return page_aligned((SIZE[1], 2 * SIZE[0]))


def test_a_pipeline_that_is_closed_has_unlocked_what_it_was_given() -> None:
    """Whatever still holds it: seen on an H100, its memory came back to CUDA in the middle of another one's capture."""
    pages = room()
    pipeline = GraphPipeline(CUDA, fuse=False)
    with closing(pipeline):
        pipeline.use(Player("tried", tint, (448, 256), tint), 0.0)
        for i in range(3):
            pipeline.step(Frame((pages,), PixelFormat.UYVY, *SIZE, seconds=0.0, number=i), knobs(), i / 30)
            pipeline.settle()
    again = Locked()
    assert again.take(pages) is not None
    again.close()


def test_what_cannot_be_unlocked_is_not_freed() -> None:
    pages, locked, stream = room(), Locked(), torch.cuda.Stream()
    assert locked.take(pages) is not None
    seen, address = weakref.ref(pages), pages.ctypes.data
    with suppress(RuntimeError), torch.cuda.stream(stream), captured(torch.cuda.CUDAGraph()):
        locked.close()
    with suppress(RuntimeError):  # the error waits for the next launch
        torch.zeros(1, device=CUDA)
    del pages, locked
    gc.collect()
    held = [torch.empty(SIZE, dtype=torch.uint8, pin_memory=True) for _ in range(8)]
    assert (seen() is not None) == bool(STUCK)
    assert all(torch.equal(each.to(CUDA).cpu(), each) for each in held)
    if STUCK:
        assert int(torch.cuda.cudart().cudaHostUnregister(address)) == 0
        STUCK.clear()
