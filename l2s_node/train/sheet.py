"""Contact sheets: what goes in and, under it, what comes out, to be looked at while a training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from l2s_node.models.pix2pix import Generator
from l2s_node.picture import condition
from l2s_node.train.data import Album, shapes, to_input

CELLS = 16.0
"""Detail on the sheet, cells across a picture."""

GREYS = (0.25, 0.5, 0.75)

Show = Callable[[NDArray[np.uint8]], None]
"""Takes a picture ``(h, w, 3)`` RGB to be looked at, and returns at once."""


class Sheet:
    """Fixed inputs in two halves, each over its outputs: held-back and foreign pictures; shapes and flat greys."""

    def __init__(self, held: Album, foreign: Album, size: int, cell: int = 256) -> None:
        device = held.device
        self.size, self.cell = size, min(cell, size)
        luma = [condition.luma_of(some(album, 4, size)) for album in (held, foreign) if len(album)]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(1)
            luma.append(shapes(3, size, device))
        luma += [torch.full((1, 1, size, size), grey, device=device) for grey in GREYS]
        self.luma = condition.shrink_and_grow(torch.cat(luma), CELLS)

    @torch.no_grad()
    def picture(self, generator: Generator, seed: int) -> NDArray[np.uint8]:
        """``(h, w, 3)`` RGB, about as wide as a screen. `generator` is in eval mode."""
        generator.draw_field(self.size, self.size, seed)
        made = torch.cat([generator(to_input(one[None])).float() for one in self.luma])
        cells = torch.stack([self.luma.expand(-1, 3, -1, -1), made * 0.5 + 0.5])  # (2, n, 3, s, s)
        columns = (cells.shape[1] + 1) // 2
        rows = [self._row(part) for half in cells.split(columns, 1) for part in half]
        width = max(row.shape[2] for row in rows)
        whole = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in rows], 1)
        return (whole.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()

    def _row(self, cells: Tensor) -> Tensor:
        """``(n, 3, s, s)`` side by side, each `cell` wide."""
        small = torch.nn.functional.interpolate(cells, (self.cell, self.cell), mode="area")
        return torch.cat(list(small), 2)

    def write(self, path: Path, generator: Generator, seed: int) -> None:
        """A JPEG of `picture`."""
        Image.fromarray(self.picture(generator, seed)).save(path, quality=88)


def some(album: Album, count: int, size: int) -> Tensor:
    """Up to `count` pictures spread over `album`: ``(n, 3, size, size)`` 0…1."""
    which = torch.linspace(0, len(album) - 1, min(count, len(album)), device=album.device).long()
    return album.middle(which, size)
