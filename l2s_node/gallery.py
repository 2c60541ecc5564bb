"""Gallery: what worlds make of things that no picture of theirs shows, as a sheet and as a moving picture.

Worlds are played as `score` plays them: the network's definition, as the card says, on what `picture.condition` makes.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from l2s_node.config import demo_clip, worlds_folders
from l2s_node.errors import ConfigError, ModelError
from l2s_node.models.worlds import SIZES, worlds
from l2s_node.picture import condition
from l2s_node.score.play import World, exactly, with_disc
from l2s_node.train.data import Album, shapes
from l2s_node.train.pictures import gather_all
from l2s_node.train.settings import choose_device

log = logging.getLogger(__name__)

SIDE = 256
"""Of the squares that the inputs are read as, pixels."""

FRAMES = 400
"""That are taken from each clip; the bundled one is 40 s long, so that is ten a second."""

STILLS, MOVING, PASSING = 3, 30, 18
"""Pictures of each clip on the sheet; frames of each in motion, and of a disc that passes over shapes."""

TICK = 100
"""Milliseconds a frame."""

CELL, CAPTION = 160, 20
"""Side of a picture on the sheet and height of the words over it, pixels."""

MOST = 3_000_000
"""Bytes of the moving picture: what a page shows at once."""

ATTEMPTS = ((160, 70), (160, 45), (128, 40), (96, 35), (64, 30))
"""Cell and quality of the moving picture, the first that is small enough."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `l2s gallery` is asked for.

    Attributes:
        out: folder for gallery.jpg and gallery.webp; made if it lacks, both are overwritten.
        worlds: by name; none given means all that are here.
        foreign: clips and folders of pictures beside the bundled clip: faces, hands, tables.
        device: "auto", "cpu", "cuda" or "mps".
    """

    out: Path
    worlds: tuple[str, ...] = ()
    foreign: tuple[Path, ...] = ()
    device: str = "auto"


@torch.no_grad()
def gallery(asked: Asked) -> list[Path]:
    """Write the sheet and the moving picture; returns their paths.

    Raises:
        L2SError: a world or a clip is not there or can't be read, or the folder can't be written to.
    """
    found = _found(asked.worlds)
    device = choose_device(asked.device)
    films = [_film(path, device) for path in (demo_clip(), *asked.foreign)]
    stills, moving = _stills(films, device), _moving(films, device)
    made: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
    with exactly():
        for name, sizes in found.items():
            for size, path in sizes.items():
                log.info("%s/%s", name, size)
                world = World(path, device)
                made.setdefault(name, {})[size] = (_play(world, stills), _play(world, moving))
    sheet = _sheet(stills, {name: {size: pair[0] for size, pair in of.items()} for name, of in made.items()})
    film = _smallest(moving, {name: {size: pair[1] for size, pair in of.items()} for name, of in made.items()})
    return [_write(asked.out / "gallery.jpg", _jpeg(sheet)), _write(asked.out / "gallery.webp", film)]


def _found(names: Sequence[str]) -> dict[str, dict[str, Path]]:
    """The files of each world by size, smallest first.

    Raises:
        ModelError: a world is not there, or none is.
    """
    table: dict[str, dict[str, Path]] = {}
    for world in worlds(worlds_folders()):
        table.setdefault(world.name, {})[world.size] = world.path
    if not table:
        raise ModelError("there is no world to show: train one with l2s train")
    for name in names:
        if name not in table:
            raise ModelError(f"there is no world {name!r}; there are {', '.join(table)}")
    return {name: table[name] for name in names or table}


# --- inputs ----------------------------------------------------------------------------------------------------------


def _film(path: Path, device: torch.device) -> Album:
    pictures = gather_all([path], SIDE, FRAMES)
    if not pictures:
        raise ConfigError(f"{path} has no picture that can be used")
    return Album(pictures, device)


def _stills(films: Sequence[Album], device: torch.device) -> Tensor:
    """``(n, 3, SIDE, SIDE)`` 0…1: some pictures of each film, shapes, and an empty table."""
    own = [film.middle(_unusual(film), SIDE) for film in films]
    flat = torch.full((1, 3, SIDE, SIDE), 0.55, device=device)
    return torch.cat([*own, _shapes(2, device).expand(-1, 3, -1, -1), flat])


def _moving(films: Sequence[Album], device: torch.device) -> Tensor:
    """Frames ``(n, 3, SIDE, SIDE)`` 0…1: where most moves in each film, and a disc that passes over shapes."""
    parts = [film.middle(_liveliest(film), SIDE) for film in films]
    ground = _shapes(1, device)
    disc = torch.cat([with_disc(ground, 0.1 + 0.8 * i / (PASSING - 1)) for i in range(PASSING)])
    return torch.cat([*parts, disc.expand(-1, 3, -1, -1)])


def _unusual(film: Album) -> Tensor:
    """Numbers of up to `STILLS` frames, in each part of the film the one farthest from what is mostly seen in it."""
    small = _thumbnails(film)
    off = (small - small.median(0).values).abs().mean((1, 2, 3))
    parts = torch.arange(len(film), device=film.device).tensor_split(min(STILLS, len(film)))
    return torch.stack([part[off[part].argmax()] for part in parts])


def _thumbnails(film: Album) -> Tensor:
    every = torch.arange(len(film), device=film.device)
    return torch.cat([film.middle(which, 32) for which in every.split(64)])


def _liveliest(film: Album) -> Tensor:
    """Numbers of the `MOVING` frames in a row between which most changes."""
    small = _thumbnails(film)
    change = (small[1:] - small[:-1]).abs().mean((1, 2, 3))
    length = min(MOVING, len(film))
    sums = change.unfold(0, length - 1, 1).sum(1) if length > 1 else change.new_zeros(1)
    return int(sums.argmax()) + torch.arange(length, device=film.device)


def _shapes(count: int, device: torch.device) -> Tensor:
    """The same each time."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(4)
        return shapes(count, SIDE, device)


def _play(world: World, pictures: Tensor) -> Tensor:
    """``(n, 3, SIDE, SIDE)`` 0…1, on the CPU."""
    made = []
    for some in pictures.split(8):
        luma = condition.luma_of(some)
        if world.side != SIDE:
            luma = torch.nn.functional.interpolate(luma, (world.side, world.side), mode="area")
        seen = world(condition.shrink_and_grow(luma, world.cells)).float() * 0.5 + 0.5
        made.append(seen.clamp(0, 1).cpu())
    return torch.cat(made)


# --- pictures --------------------------------------------------------------------------------------------------------

Made = dict[str, dict[str, Tensor]]
"""Pictures ``(n, 3, h, w)`` 0…1 by world and size."""


def _sheet(inputs: Tensor, made: Made) -> Image.Image:
    """A column for each input, a row for each world and size."""
    rows = [("input", inputs)]
    rows += [(f"{name}/{size}", pictures) for name, sizes in made.items() for size, pictures in sizes.items()]
    height = CELL + CAPTION
    whole = Image.new("RGB", (CELL * len(inputs), height * len(rows)))
    for number, (words, pictures) in enumerate(rows):
        _label(whole, 0, number * height, words)
        for column, picture in enumerate(_cells(pictures, CELL)):
            whole.paste(picture, (column * CELL, number * height + CAPTION))
    return whole


def _smallest(inputs: Tensor, made: Made) -> bytes:
    """The moving picture as WebP, in the first of `ATTEMPTS` that `MOST` allows."""
    for cell, quality in ATTEMPTS:
        frames = list(_frames(inputs, made, cell))
        stream = io.BytesIO()
        rest = {"save_all": True, "append_images": frames[1:], "duration": TICK, "loop": 0}
        frames[0].save(stream, "WEBP", quality=quality, method=4, **rest)
        if len(stream.getvalue()) <= MOST:
            return stream.getvalue()
    raise ConfigError(f"{len(made)} worlds don't fit into {MOST // 1_000_000} MB of moving picture: name fewer of them")


def _frames(inputs: Tensor, made: Made, cell: int) -> Iterator[Image.Image]:
    """A row for each world, in it the input and each size, as one picture a frame."""
    sizes = [size for size in SIZES if any(size in of for of in made.values())]
    table = [[("input", _cells(inputs, cell)), *_columns(of, sizes, name, cell)] for name, of in made.items()]
    height = cell + CAPTION
    for frame in range(len(inputs)):
        whole = Image.new("RGB", (cell * (len(sizes) + 1), height * len(table)))
        for row, cells in enumerate(table):
            for column, (words, pictures) in enumerate(cells):
                _label(whole, column * cell, row * height, words)
                if pictures:
                    whole.paste(pictures[frame], (column * cell, row * height + CAPTION))
        yield whole


def _columns(
    of: dict[str, Tensor], sizes: Sequence[str], name: str, cell: int
) -> Iterator[tuple[str, list[Image.Image]]]:
    """Words and pictures of each size; nothing where the world lacks it."""
    for size in sizes:
        yield (f"{name}/{size}", _cells(of[size], cell)) if size in of else ("", [])


def _cells(pictures: Tensor, cell: int) -> list[Image.Image]:
    """``(n, 3, h, w)`` 0…1 as squares of `cell` pixels."""
    small = torch.nn.functional.interpolate(pictures, (cell, cell), mode="bilinear", antialias=True)
    pixels = (small.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(one) for one in pixels]


def _label(whole: Image.Image, x: int, y: int, words: str) -> None:
    ImageDraw.Draw(whole).text((x + 4, y + 3), words, fill=(200, 200, 200), font=ImageFont.load_default(12))


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as err:
        raise ConfigError(f"can't write {path}: {err.strerror or err}; name another folder") from err
    return path
