"""Contact sheets: what goes in and, under it, what comes out, to be looked at while a training runs."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from l2s_node.models.pix2pix import Generator
from l2s_node.picture import condition
from l2s_node.train.data import Album, shapes, to_input

CELLS = 16.0
"""Detail on the sheet, cells across a picture."""

GREYS = (0.25, 0.5, 0.75)


class Sheet:
    """Fixed inputs: held-back pictures, foreign pictures, shapes and flat greys."""

    def __init__(self, held: Album, foreign: Album, size: int, cell: int = 192) -> None:
        device = held.device
        self.size, self.cell = size, cell
        luma = [condition.luma_of(some(album, 4, size)) for album in (held, foreign) if len(album)]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(1)
            luma.append(shapes(3, size, device))
        luma += [torch.full((1, 1, size, size), grey, device=device) for grey in GREYS]
        self.luma = condition.shrink_and_grow(torch.cat(luma), CELLS)

    @torch.no_grad()
    def write(self, path: Path, generator: Generator, seed: int) -> None:
        """A JPEG: the inputs' row over the outputs' row. `generator` is in eval mode."""
        generator.draw_field(self.size, self.size, seed)
        made = torch.cat([generator(to_input(one[None])).float() for one in self.luma])
        rows = [self.luma.expand(-1, 3, -1, -1), made * 0.5 + 0.5]
        save(path, torch.cat([torch.cat(list(row), 2) for row in rows], 1), len(self.luma) * self.cell)


def some(album: Album, count: int, size: int) -> Tensor:
    """Up to `count` pictures spread over `album`: ``(n, 3, size, size)`` 0…1."""
    which = torch.linspace(0, len(album) - 1, min(count, len(album)), device=album.device).long()
    return album.middle(which, size)


def save(path: Path, picture: Tensor, width: int) -> None:
    """Write ``(3, h, w)`` RGB 0…1 to `path`, scaled to `width` pixels."""
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels)
    size = (width, round(image.height * width / image.width))
    image.resize(size, Image.Resampling.LANCZOS).save(path, quality=88)
