"""Scenes: pictures of the sea, of clouds and of fire that are computed, where licensed photographs are few.

A scene is a module beside this one that exports exactly one public function:

    draw(generator: torch.Generator, size: int, device: torch.device) -> Tensor

It makes one picture ``(3, size, size)`` RGB 0…1 on `device`. Everything random in it comes from `generator`, which is
the CPU's: the same state gives the same picture on the same device. Modules with an underscore are what they share.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from l2s_node.errors import TrainError
from l2s_node.train.settings import choose_device

SCENES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))

SIDES = (32, 2048)
"""Least and greatest size, pixels."""

TRIES = 12
"""How often a picture that shows nothing (an empty sky) is drawn anew."""

FLAT = 0.045
"""Standard deviation of the luma, 0…1, under which a picture shows nothing."""

QUALITY = 94
"""Of the JPEGs, with colour at full resolution."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `l2s scenes` is asked for.

    Attributes:
        scene: one of `SCENES`.
        out: the folder for the pictures; made if it lacks.
        count: how many pictures there are in the end, those of an earlier run included.
        size: pixels of a side.
        seed: another one gives other pictures.
        device: "auto", "cpu", "cuda" or "mps".
    """

    scene: str
    out: Path
    count: int
    size: int = 512
    seed: int = 1
    device: str = "auto"

    def command(self, count: int | str) -> str:
        """What makes so many of these pictures again."""
        return f"l2s scenes {self.scene} OUT {count} --size {self.size} --seed {self.seed}"

    def path(self, number: int) -> Path:
        return self.out / f"{self.scene}-{self.seed}-{number:05d}.jpg"


def make(asked: Asked) -> list[Path]:
    """Make the pictures that are not there yet, each written whole or not at all; returns all their paths.

    Picture `number` depends on scene, seed, size and device, never on how many there are: more of them can be asked
    for later, and a run that was stopped goes on where it was.

    Raises:
        TrainError: there is no such scene or device, the numbers make no sense, or the folder can't be written to.
    """
    draw = _check(asked)
    device = choose_device(asked.device)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TrainError(f"can't make the folder {asked.out}: {err.strerror or err}; name another one") from err
    paths = [asked.path(number) for number in range(asked.count)]
    left = [number for number, path in enumerate(paths) if not _is_there(path, asked.size)]
    _credit(asked)
    for number in tqdm(left, asked.scene, unit=" pictures", initial=asked.count - len(left), total=asked.count):
        try:
            made = _picture(draw, asked, number, device)
        except torch.OutOfMemoryError as err:
            raise TrainError(f"{asked.size} pixels don't fit into the GPU's memory: take a smaller --size") from err
        _write(paths[number], made, f"picture {number} of {asked.command('N')}")
    return paths


def picture(scene: str, seed: int, number: int, size: int, device: torch.device) -> Tensor:
    """Picture `number` of a scene, ``(3, size, size)`` RGB 0…1 on `device`.

    Raises:
        TrainError: there is no such scene.
    """
    asked = Asked(scene, Path(), number + 1, size, seed)
    return _picture(_check(asked), asked, number, device)


Scene = Callable[[torch.Generator, int, torch.device], Tensor]


def _check(asked: Asked) -> Scene:
    if asked.scene not in SCENES:
        raise TrainError(f"there is no scene {asked.scene!r}; there are {', '.join(SCENES)}")
    if asked.count < 1:
        raise TrainError(f"ask for at least one picture, not {asked.count}")
    if not SIDES[0] <= asked.size <= SIDES[1]:
        raise TrainError(f"a scene's size is {SIDES[0]} to {SIDES[1]} pixels, not {asked.size}")
    scene: Scene = importlib.import_module(f"{__name__}.{asked.scene}").draw
    return scene


@torch.no_grad()
def _picture(draw: Scene, asked: Asked, number: int, device: torch.device) -> Tensor:
    """The first of some tries that shows something."""
    for attempt in range(TRIES):
        name = f"{asked.scene} {asked.seed} {number} {attempt}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        made = draw(torch.Generator().manual_seed(seed), asked.size, device)
        if made.mean(0).std() > FLAT:  # NaN is not
            return made
    raise TrainError(f"no picture {number} of {asked.scene} with seed {asked.seed} shows anything: take another --seed")


def _is_there(path: Path, size: int) -> bool:
    """Whether the picture was made already, of this size.

    Raises:
        TrainError: of another size, or no picture.
    """
    try:
        with Image.open(path) as there:
            found = there.size
    except FileNotFoundError:
        return False
    except OSError as err:
        raise TrainError(f"{path} can't be read ({err}): remove it, or name another folder") from err
    if found != (size, size):
        raise TrainError(
            f"{path} is {found[0]}x{found[1]}, not {size}x{size}: ask for that size or name another folder"
        )
    return True


def _write(path: Path, made: Tensor, origin: str) -> None:
    """One JPEG that says its `origin`, under its name only when it is whole."""
    pixels = (made.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    comment = f"simulated by l2s-node, CC0 1.0: {origin}"
    part = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(part, "JPEG", quality=QUALITY, subsampling=0, comment=comment)
        os.replace(part, path)
    except OSError as err:
        reason = err.strerror or str(err)
        raise TrainError(f"can't write {path}: {reason}; those before it are whole, the same command goes on") from err
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _credit(asked: Asked) -> None:
    """Say in the folder's SOURCES.md where the pictures come from, once for each scene, seed and size."""
    path = asked.out / "SOURCES.md"
    count = max(asked.count, sum(1 for _ in asked.out.glob(f"{asked.scene}-{asked.seed}-*.jpg")))
    files = f"`{asked.scene}-{asked.seed}-*.jpg`"
    line = (
        f"- {files}, {asked.size} px: simulated, not photographed, by l2s-node (the l2s-node founders, MIT); "
        f"the pictures are CC0 1.0 (public domain). Made again by `{asked.command(count)}`.\n"
    )
    try:
        said = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else ["# Sources\n", "\n"]
        others = [old for old in said if files not in old]
        path.write_text("".join(others) + line, encoding="utf-8")
    except OSError as err:
        raise TrainError(f"can't write {path}: {err.strerror or err}") from err
