"""Reading the pictures of a training: folders of picture files and videos, as uint8 RGB arrays in memory."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from l2s_node.errors import TrainError

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"}
FEWEST = 20
"""Below this a discriminator knows every picture by heart within seconds and nothing is learned."""

Pixels = NDArray[np.uint8]

log = logging.getLogger(__name__)


@dataclass
class Gathered:
    """Pictures by use. Each is ``(h, w, 3)`` uint8 RGB, its short side at most what was asked for.

    Attributes:
        train: to learn from.
        held: held back, to look at and to score with, never learned from.
        skipped: one sentence for each file that could not be used.
    """

    train: list[Pixels] = field(default_factory=list)
    held: list[Pixels] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def gather(paths: Sequence[Path], side: int, frames: int, hold: float = 0.05, seed: int = 0) -> Gathered:
    """Everything in `paths`: folders (searched through), picture files and videos.

    Args:
        paths: what to read.
        side: longer short sides are scaled down to this many pixels; those under 2/5 of it are skipped.
        frames: how many frames to take from each video, evenly spaced.
        hold: the part that is held back: random pictures of a folder, the end of a video (its frames are alike).
        seed: of the choice of held-back pictures.

    Raises:
        TrainError: a path is not there, or is neither folder, picture nor video.
    """
    result = Gathered()
    for path in paths:
        stills, videos = _files(path)
        found = list(_read_pictures(stills, side, result.skipped))
        random.Random(seed).shuffle(found)
        groups = [found, *(_read_video(v, side, frames, result.skipped) for v in videos)]
        for group in groups:
            keep = round(len(group) * (1 - hold))
            result.train += group[:keep]
            result.held += group[keep:]
    for reason in result.skipped:
        log.warning("skipped %s", reason)
    return result


def gather_world(paths: Sequence[Path], side: int, frames: int, seed: int = 0) -> Gathered:
    """`gather` for the pictures of the world itself.

    Raises:
        TrainError: as `gather`, or fewer than `FEWEST` usable pictures.
    """
    result = gather(paths, side, frames, seed=seed)
    usable = len(result.train) + len(result.held)
    if usable < FEWEST:
        where = ", ".join(str(p) for p in paths)
        reasons = f"; {len(result.skipped)} skipped, the first: {result.skipped[0]}" if result.skipped else ""
        raise TrainError(f"{where} has {usable} usable pictures, a training needs at least {FEWEST}{reasons}")
    return result


def sources_text(paths: Sequence[Path], count: int) -> str:
    """Where the pictures came from, for the card: the text of each folder's SOURCES or CREDITS file, or its name."""
    texts = [f"{count} pictures"]
    for path in paths:
        notes = [p for name in ("SOURCES.md", "CREDITS.md", "SOURCES.txt", "LICENSE") if (p := path / name).is_file()]
        texts.append(notes[0].read_text(encoding="utf-8", errors="replace").strip() if notes else path.name)
    return "\n\n".join(texts)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """(pictures, videos) under `path`, sorted."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    elif path.is_file() and path.suffix.lower() in PICTURES | VIDEOS:
        files = [path]
    elif path.exists():
        raise TrainError(f"{path} is neither a folder nor a picture nor a video that this version reads")
    else:
        raise TrainError(f"there is no folder or file {path}")
    return [p for p in files if p.suffix.lower() in PICTURES], [p for p in files if p.suffix.lower() in VIDEOS]


# --- pictures --------------------------------------------------------------------------------------------------------


def _read_pictures(files: Iterable[Path], side: int, skipped: list[str]) -> Iterator[Pixels]:
    with ThreadPoolExecutor(thread_name_prefix="l2s-train-read") as pool:  # Pillow decodes without the GIL
        for outcome in pool.map(lambda p: _read_picture(p, side), files):
            if isinstance(outcome, str):
                skipped.append(outcome)
            else:
                yield outcome


def _read_picture(path: Path, side: int) -> Pixels | str:
    """The picture, upright as its EXIF data says, or why it can't be used."""
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (side, side))  # a JPEG decodes faster at 1/2, 1/4 or 1/8, never under this size
            pixels = _fit(ImageOps.exif_transpose(picture).convert("RGB"), side)
            return _small(path, picture.width, picture.height, side) if pixels is None else pixels
    # Pillow raises these for broken files, SyntaxError among them (PNG chunks)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        return f"{path}: {err}"


def _fit(picture: Image.Image, side: int) -> Pixels | None:
    """The picture with its short side at most `side`; None if it is too small."""
    short = min(picture.size)
    if short < 0.4 * side:
        return None
    if short > side:
        size = (round(picture.width * side / short), round(picture.height * side / short))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.array(picture, np.uint8)


def _small(path: Path, width: int, height: int, side: int) -> str:
    return f"{path}: {width}x{height} is too small, the short side must have {round(0.4 * side)} pixels"


# --- videos ----------------------------------------------------------------------------------------------------------


def _read_video(path: Path, side: int, frames: int, skipped: list[str]) -> list[Pixels]:
    """About `frames` evenly spaced frames, turned upright as the file says."""
    try:
        import av  # a folder of pictures needs no PyAV
    except ImportError as err:
        skipped.append(f"{path}: videos need PyAV (pip install av): {err}")
        return []
    taken: list[Pixels] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            total = stream.frames or (container.duration or 0) / av.time_base * rate
            step = max(total / frames, 1.0)
            for number, frame in enumerate(container.decode(stream)):
                if len(taken) * step <= number:
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                    fitted = _fit(Image.fromarray(np.ascontiguousarray(upright)), side)
                    if fitted is None:
                        skipped.append(_small(path, frame.width, frame.height, side))
                        return []
                    taken.append(fitted)
    except (av.error.FFmpegError, IndexError, OSError) as err:  # IndexError: it has no video stream
        skipped.append(f"{path}: {err}" + (f" (after {len(taken)} frames, which are used)" if taken else ""))
    return taken
