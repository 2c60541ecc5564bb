"""Reading the pictures of a training: folders of picture files and videos, as uint8 RGB arrays in memory.

Near-duplicates are dropped, and what is held back has no relatives among what is learned from.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from l2s_node.errors import TrainError
from l2s_node.train.likeness import Likeness

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"}
FOREIGN = {".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".psd", ".gif"}
"""Pictures that Pillow can't read, or not as one picture: worth a sentence, because their owner expects them."""

FEWEST = 20
"""Below this a discriminator knows every picture by heart within seconds and nothing is learned."""

SEEK = 300
"""Frames from one wanted frame of a video to the next from which jumping is faster than decoding what lies between."""

READERS = 8
"""Threads that read pictures, at most."""

Pixels = NDArray[np.uint8]

log = logging.getLogger(__name__)


@dataclass
class Gathered:
    """Pictures by use. Each is ``(h, w, 3)`` uint8 RGB, its short side at most what was asked for.

    Attributes:
        train: to learn from.
        held: held back, to look at and to score with, never learned from.
        skipped: one sentence for each file that could not be used.
        alike: pictures left out: near-duplicates, and relatives of what is held back.
    """

    train: list[Pixels] = field(default_factory=list)
    held: list[Pixels] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    alike: int = 0


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
    _share_out(_read(paths, side, frames, seed, result), hold, result)
    if result.alike:
        log.info("left out %d pictures that are nearly the same as others", result.alike)
    return result


def gather_all(paths: Sequence[Path], side: int, frames: int, seed: int = 0) -> list[Pixels]:
    """Everything in `paths`: nothing is held back, and near-duplicates stay. Otherwise as `gather`.

    To score on, and as foreign inputs: a venue's camera sees the same table all evening.
    """
    groups = _read(paths, side, frames, seed, Gathered())
    return [picture for group in groups for picture in group.pictures]


def _read(paths: Sequence[Path], side: int, frames: int, seed: int, result: Gathered) -> list[_Group]:
    """All groups; what could not be used is noted in `result` and logged."""
    groups: list[_Group] = []
    for path in paths:
        stills, videos = _files(path, result.skipped)
        found = list(_read_pictures(stills, side, result.skipped))
        random.Random(seed).shuffle(found)
        groups.append(_Group(found, film=False))
        groups += [_Group(_read_video(video, side, frames, result.skipped), film=True) for video in videos]
    for reason in result.skipped:
        log.warning("skipped %s", reason)
    return groups


@dataclass(frozen=True)
class _Group:
    """The pictures of a folder, in random order, or of one film, in its order."""

    pictures: list[Pixels]
    film: bool


def _share_out(groups: Sequence[_Group], hold: float, result: Gathered) -> None:
    """Put pictures to `result.train` and `result.held`, the last of each group held back, without near-duplicates.

    What is too near to a held-back picture is left out of both, because learned from it would flatter the score: a
    still that shows the same motif; of a film (a fixed camera shows one motif all the time) what comes just before.
    """
    everything = [picture for group in groups for picture in group.pictures]
    likeness = Likeness(everything)
    unique = set(likeness.unique())
    stills: list[int] = []
    films: list[int] = []
    held: list[int] = []
    start = 0
    for group in groups:
        own = [index for index in range(start, start + len(group.pictures)) if index in unique]
        start += len(group.pictures)
        keep = round(len(own) * (1 - hold))
        held += own[keep:]
        if group.film:
            films += own[: keep - (len(own) - keep) // 2]
        else:
            stills += own[:keep]
    train = [index for index in stills if not likeness.kin(index, held)] + films
    result.train += [everything[index] for index in train]
    result.held += [everything[index] for index in held]
    result.alike += len(everything) - len(train) - len(held)


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
        reasons += f"; {result.alike} nearly the same as others" if result.alike else ""
        raise TrainError(f"{where} has {usable} usable pictures, a training needs at least {FEWEST}{reasons}")
    return result


def sources_text(paths: Sequence[Path], count: int) -> str:
    """Where the pictures came from, for the card: the text of each folder's SOURCES or CREDITS file, or its name."""
    texts = [f"{count} pictures"]
    for path in paths:
        notes = [p for name in ("SOURCES.md", "CREDITS.md", "SOURCES.txt", "LICENSE") if (p := path / name).is_file()]
        texts.append(notes[0].read_text(encoding="utf-8", errors="replace").strip() if notes else path.name)
    return "\n\n".join(texts)


def _files(path: Path, skipped: list[str]) -> tuple[list[Path], list[Path]]:
    """(pictures, videos) under `path`, sorted."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    elif path.is_file() and path.suffix.lower() in PICTURES | VIDEOS:
        files = [path]
    elif path.exists():
        raise TrainError(f"{path} is neither a folder nor a picture nor a video that this version reads")
    else:
        raise TrainError(f"there is no folder or file {path}")
    skipped += [f"{p}: save it as JPEG or PNG first" for p in files if p.suffix.lower() in FOREIGN]
    return [p for p in files if p.suffix.lower() in PICTURES], [p for p in files if p.suffix.lower() in VIDEOS]


# --- pictures --------------------------------------------------------------------------------------------------------


def _read_pictures(files: Iterable[Path], side: int, skipped: list[str]) -> Iterator[Pixels]:
    # Pillow decodes without the GIL, but what is around it needs it: with more threads it goes slower
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), thread_name_prefix="l2s-train-read") as pool:
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
            pixels = _fit(_as_rgb(ImageOps.exif_transpose(picture)), side)
            return _small(path, picture.width, picture.height, side) if pixels is None else pixels
    # Pillow raises these for broken files, SyntaxError among them (PNG chunks)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        return f"{path}: {err}"


def _as_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB: 16-bit greys scaled (Pillow would clip them), transparent parts laid on black."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return picture.convert("RGB")


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
    """About `frames` evenly spaced frames, turned upright as the file says, without black bars."""
    try:
        import av  # a folder of pictures needs no PyAV
    except ImportError as err:
        skipped.append(f"{path}: videos need PyAV (pip install av): {err}")
        return []
    taken: list[Image.Image] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for frame in _evenly(container, stream, frames):
                if min(frame.width, frame.height) < 0.4 * side:
                    skipped.append(_small(path, frame.width, frame.height, side))
                    return []
                taken.append(_upright(frame, float(stream.sample_aspect_ratio or 1), side * 5 // 4))
    except (av.error.FFmpegError, IndexError, OSError) as err:  # IndexError: it has no video stream
        skipped.append(f"{path}: {err}" + (f" (after {len(taken)} frames, which are used)" if taken else ""))
    fitted = [_fit(picture, side) for picture in _without_bars(taken)]
    return [pixels for pixels in fitted if pixels is not None]


def _evenly(container: InputContainer, stream: VideoStream, count: int) -> Iterator[VideoFrame]:
    """`count` frames evenly over the whole stream (all, where it has fewer): by decoding it, or by jumping."""
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 25)
    seconds = container.duration / 1_000_000 if container.duration else stream.frames / rate
    step = max((stream.frames or seconds * rate) / count, 1.0)
    if step < SEEK:
        for number, frame in enumerate(container.decode(stream)):
            if number >= count * step:
                return
            if int(number / step) != int((number - 1) / step) or not number:
                yield frame
        return
    first = container.start_time or 0
    for index in range(count):
        container.seek(first + int((index + 0.5) * seconds / count * 1_000_000))  # to the key frame before it
        found = next(container.decode(stream), None)
        if found is not None:
            yield found


def _upright(frame: VideoFrame, aspect: float, side: int) -> Image.Image:
    """The frame turned as the file says, its pixels (`aspect` times as wide as high) square, short side <= `side`."""
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    width = round(frame.width * aspect)
    scale = min(1.0, side / min(width, frame.height))
    size = (round(width * scale), round(frame.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _without_bars(pictures: list[Image.Image]) -> list[Image.Image]:
    """The frames of a video without black bars at two opposite sides, which a world would learn to paint."""
    if len({p.size for p in pictures}) != 1:
        return pictures
    brightest = np.max([np.asarray(p.convert("L")) for p in pictures], axis=0)
    top, bottom = _bars(brightest.max(1))
    left, right = _bars(brightest.max(0))
    width, height = pictures[0].size
    return [p.crop((left, top, width - right, height - bottom)) for p in pictures]


def _bars(line: NDArray[np.uint8]) -> tuple[int, int]:
    """Lengths of the black runs at both ends of `line`, 0 where they aren't alike or all is black."""
    lit = np.flatnonzero(line > 24)  # black is 0 in RGB; compression leaves some noise
    if not lit.size:
        return 0, 0
    start, end = int(lit[0]), int(len(line) - 1 - lit[-1])
    alike = abs(start - end) <= 0.03 * len(line) and 0.02 * len(line) < min(start, end) < 0.4 * len(line)
    return (start + 1, end + 1) if alike else (0, 0)
