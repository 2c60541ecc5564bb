"""Apply: the same way of a frame for pictures, videos and folders of them, one after the other, none left out.

Nothing is ever overwritten: where ``table.png`` exists, ``table-2.png`` is written. A video keeps its times and loses
its sound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from l2s_node import texture
from l2s_node.config import RunConfig, looks_folders, preset_folders
from l2s_node.control.presets import Presets
from l2s_node.cuda.graph import create
from l2s_node.errors import ConfigError, L2SError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.loader import Loaded, Request, draw_field, known, load, opened, prepare
from l2s_node.models import engines
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import Generator
from l2s_node.params import Board, Params
from l2s_node.picture import host
from l2s_node.picture.looks import Library, Overlay
from l2s_node.pipeline import Pipeline
from l2s_node.stage import world_names
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options, Source

log = logging.getLogger(__name__)

MEDIA = frozenset(
    (".avi .bmp .gif .jpeg .jpg .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .png .tif .tiff .ts .webm .webp").split()
)
"""What is taken out of a folder; a file that is named itself is tried whatever its name."""
LONG = 60.0
"""Seconds that a look may take for a picture; here nothing is in a hurry."""
CANVASES = 4
"""Canvases that a world is kept ready for: a folder holds pictures of several shapes."""

# --- pictures and videos ---------------------------------------------------------------------------------------------


def apply(config: RunConfig, inputs: Iterable[Path], out: Path) -> Iterator[Path]:
    """Play every input through ``config.world``; yields the files as they are written, .png or .mp4.

    What can't be read is said and passed over.

    Raises:
        L2SError: the world or a knob can't be used, the folder can't be made, or nothing could be read at all.
    """
    library = Library(looks_folders(config.looks))
    params = _params(config, library)
    known(params.world, params.size)
    _make_folder(out)
    device, _ = prepare(config)
    with closing(_Players(config, params, library, device)) as players:
        yield from _each(_files(inputs, MEDIA), lambda path: _apply_one(path, out, players))


def _each(paths: Iterable[Path], do: Callable[[Path], Path]) -> Iterator[Path]:
    """What `do` makes of each path; a failure is said and passed over, unless nothing else is left.

    Raises:
        L2SError: none could be done.
    """
    written, failures = 0, list[L2SError]()
    for path in paths:
        try:
            yield do(path)
            written += 1
        except (RoomError, ConfigError) as err:
            failures.append(err)
            log.error("%s; passed over", err)
    if not written:
        raise failures[0] if len(failures) == 1 else RoomError("there was nothing that could be read")


def _apply_one(path: Path, out: Path, players: _Players) -> Path:
    with closing(open_source(f"file:{path}?once&unpaced", Options())) as source:
        frames = _frames(source)
        begun = [frame for frame in (next(frames, None), next(frames, None)) if frame is not None]
        if not begun:
            raise RoomError(f"{path} holds no picture")
        with closing(players.pipeline_for(begun[0].size)) as pipeline:
            if len(begun) == 1:
                return _still(begun[0], pipeline, players, free(out / f"{path.stem}.png"))
            return _video(begun, frames, pipeline, players, out / f"{path.stem}.mp4")


class _Players:
    """The world made ready for each canvas that the inputs want, and the looks over all of them."""

    def __init__(self, config: RunConfig, params: Params, library: Library, device: torch.device) -> None:
        self.params = params
        self._looks = Overlay(library, patience=LONG)
        self._config = config
        self._device = device
        self._ready: list[Loaded] = []

    def pipeline_for(self, frame: tuple[int, int]) -> Pipeline:
        """A pipeline that remembers nothing, its world on the canvas for an input of (width, height)."""
        self._looks.rest()  # they remember as little
        pipeline = create(self._device, self._config.output_size)
        pipeline.use(self._loaded_for(frame).player, 0.0)
        return pipeline

    def step(self, pipeline: Pipeline, frame: Frame, now: float) -> Frame:
        """See `Pipeline.step`; with the looks."""
        return self._looks(lambda params: pipeline.step(frame, params, now), self.params, now)

    def close(self) -> None:
        for loaded in self._ready:
            loaded.close()
        self._looks.close()
        texture.close()

    def _loaded_for(self, frame: tuple[int, int]) -> Loaded:
        for loaded in self._ready:
            if loaded.canvas_for(frame) == loaded.player.canvas:
                return loaded
        if len(self._ready) == CANVASES:
            self._ready.pop(0).close()
        *interim, loaded = load(Request(self.params.world, self.params.size, frame), self._config, self._device)
        for slower in interim:
            slower.close()
        self._ready.append(loaded)
        return loaded


def _frames(source: Source) -> Iterator[Frame]:
    while source.state != "ended":
        frame = source.read(0.0)
        if frame is not None:
            yield frame


def _still(frame: Frame, pipeline: Pipeline, players: _Players, target: Path) -> Path:
    picture = players.step(pipeline, frame, 0.0)
    _, png = cv2.imencode(".png", host.rgb_of(picture.planes[0])[..., ::-1])
    try:
        target.write_bytes(png.tobytes())
    except OSError as err:
        raise _unwritable(target, err) from err
    return target


def _video(begun: list[Frame], rest: Iterator[Frame], pipeline: Pipeline, players: _Players, target: Path) -> Path:
    with closing(open_sink(f"file:{target}?wait", Options(rate=begun[0].rate or Options().rate))) as sink:
        for frame in chain(begun, rest):
            # the clip's own time, so that what moves with time moves as it would on stage
            picture = players.step(pipeline, frame, frame.seconds)
            sink.write(Frame(picture.planes[:1], PixelFormat.UYVY, *picture.size, frame.seconds, frame.number))
    return target.with_name(Path(sink.uri).name)  # the sink took another name where this one was there


def _params(config: RunConfig, library: Library) -> Params:
    board = Board()
    library.join(board)
    if config.preset:
        Presets(preset_folders(), world_names, lambda: board.knobs).load(config.preset, board)
    board.set(config.start_knobs())
    return board.snapshot()


# --- arrays ----------------------------------------------------------------------------------------------------------


def apply_raw(config: RunConfig, inputs: Iterable[Path], out: Path) -> Iterator[Path]:
    """Float32 ``.npy`` files of shape (n, h, w, c) in [-1, 1] straight through the generator, to (n, h, w, 3).

    Each of the n pictures goes through alone. With the engine "auto" that is the bare network in float32, nothing
    folded or compiled, for comparison with other implementations; an engine that is named plays instead.

    Raises:
        L2SError: the world can't be used, or no array can be read and has a shape that the world takes.
    """
    params = _params(config, Library(looks_folders(config.looks)))
    card, weights = opened(params.world, params.size)
    generator = weights()
    _make_folder(out)
    device, _ = prepare(config)
    torch.backends.cudnn.allow_tf32 = False  # torch lets convolutions round to 10 bits otherwise
    generator.to(device)

    def one(path: Path) -> Path:
        x = _array(path, card)
        draw_field(generator, card, (x.shape[2], x.shape[1]))
        return _save(free(out / path.name), _through(config.engine, generator, card, x, device))

    yield from _each(_files(inputs, {".npy"}), one)


def _through(engine: str, generator: Generator, card: ModelCard, x: np.ndarray, device: torch.device) -> np.ndarray:
    """``(n, h, w, c)`` to ``(n, h, w, 3)``."""
    pictures = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous().to(device)
    if engine == "auto":
        with torch.inference_mode():
            return _stacked(generator(item[None]) for item in pictures)
    built, _ = engines.build(engine, generator.cpu(), card, (1, *pictures.shape[1:]), device)
    with closing(built):
        return _stacked(built(item[None]) for item in pictures)


def _stacked(results: Iterable[Tensor]) -> np.ndarray:
    """Tensors of ``(1, 3, h, w)``, each void when the next one comes, as one ``(n, h, w, 3)``."""
    return np.concatenate([y.permute(0, 2, 3, 1).float().cpu().numpy().copy(order="C") for y in results])


def _array(path: Path, card: ModelCard) -> np.ndarray:
    try:
        with path.open("rb") as file:  # an archive would keep its own file open
            x = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise ConfigError(f"can't read {path} as a .npy array: {err}") from err
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 4 or not x.size:
        shape = f"{x.dtype} of {x.shape}" if isinstance(x, np.ndarray) else "an archive"
        raise ConfigError(f"{path} must be float32 of shape (n, h, w, c), it is {shape}")
    if x.shape[3] != card.input_channels or x.shape[1] % card.multiple or x.shape[2] % card.multiple:
        raise ConfigError(
            f"{path} has the shape {x.shape}; this world takes (n, h, w, {card.input_channels}) "
            f"with h and w multiples of {card.multiple}"
        )
    return np.ascontiguousarray(x)


def _save(target: Path, y: np.ndarray) -> Path:
    try:
        np.save(target, y)
    except OSError as err:
        raise _unwritable(target, err) from err
    return target


# --- files -----------------------------------------------------------------------------------------------------------


def _files(inputs: Iterable[Path], suffixes: Iterable[str]) -> Iterator[Path]:
    """The inputs, folders replaced by the files in them that end in one of `suffixes`, by name."""
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            fitting = [p for p in inside if p.suffix.lower() in suffixes]
            log.info("%s: %d of %d files are of a kind that is taken", path, len(fitting), len(inside))
            yield from fitting
        else:
            yield path


def free(path: Path) -> Path:
    """`path`, or the first of ``name-2``, ``name-3``, … that isn't there yet."""
    number, target = 1, path
    while target.exists():
        number += 1
        target = path.with_stem(f"{path.stem}-{number}")
    return target


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"can't make the folder {out}: {err.strerror or err}") from err


def _unwritable(path: Path, err: OSError) -> RoomError:
    return RoomError(f"can't write {path}: {err.strerror or err}")
