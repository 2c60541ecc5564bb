"""Apply: the same way of a frame for pictures, videos and folders of them, one after the other, none left out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch

from l2s_node.config import RunConfig, preset_folders
from l2s_node.control.presets import Presets
from l2s_node.errors import ConfigError, ModelError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.loader import Loaded, Request, draw_field, find, load, prepare
from l2s_node.models import engines, store
from l2s_node.params import SIZES, Board, Params
from l2s_node.picture import host
from l2s_node.pipeline import Pipeline, create
from l2s_node.stage import world_names
from l2s_node.video import open_sink, open_source
from l2s_node.video.base import Options, Source

log = logging.getLogger(__name__)


def apply(config: RunConfig, inputs: Iterable[Path], out: Path) -> list[Path]:
    """Play every input through ``config.world``; returns the files written: a .png a picture, an .mp4 a video.

    What can't be read is said and passed over.

    Raises:
        L2SError: the world or a knob can't be used, the folder can't be made, or nothing could be read at all.
    """
    params = _params(config)
    device, _ = prepare(config)
    _make_folder(out)
    written = []
    for path in _files(inputs):
        try:
            written.append(_apply_one(path, out, config, params, device))
        except RoomError as err:
            log.error("%s", err)
    if not written:
        raise RoomError("none of the inputs could be read")
    return written


def _apply_one(path: Path, out: Path, config: RunConfig, params: Params, device: torch.device) -> Path:
    source = open_source(f"file:{path}?once&unpaced", Options())
    try:
        frames = _frames(source)
        first, second = next(frames), next(frames, None)
        pipeline, loaded = _pipeline(config, params, device, first.size)
        try:
            if second is None:
                return _still(first, pipeline, params, out / f"{path.stem}.png")
            return _video([first, second], frames, pipeline, params, out / f"{path.stem}.mp4")
        finally:
            loaded.close()
    finally:
        source.close()


def _pipeline(
    config: RunConfig, params: Params, device: torch.device, frame: tuple[int, int]
) -> tuple[Pipeline, Loaded]:
    *interim, loaded = load(Request(params.world, params.size, frame), config, device)
    for engine in interim:
        engine.close()
    pipeline = create(device, config.output_size)
    pipeline.use(loaded.player, 0.0)
    return pipeline, loaded


def _frames(source: Source) -> Iterator[Frame]:
    while source.state != "ended":
        frame = source.read(0.0)
        if frame is not None:
            yield frame


def _still(frame: Frame, pipeline: Pipeline, params: Params, target: Path) -> Path:
    picture = pipeline.step(frame, params, 0.0)
    if not cv2.imwrite(str(target), host.rgb_of(picture.planes[0])[..., ::-1]):
        raise RoomError(f"can't write {target}")
    return target


def _video(begun: list[Frame], rest: Iterator[Frame], pipeline: Pipeline, params: Params, target: Path) -> Path:
    rate = begun[0].rate or Options().rate
    sink = open_sink(f"file:{target}?wait", Options(rate=rate))
    try:
        for number, frame in enumerate(chain(begun, rest)):
            # the clip's own time, so that what moves with time moves as it would on stage
            picture = pipeline.step(frame, params, number / float(rate))
            plain = Frame(picture.planes[:1], PixelFormat.UYVY, *picture.size, picture.seconds, number, rate)
            sink.write(plain)
    finally:
        sink.close()
    return Path(sink.uri.removeprefix("file:"))


def apply_raw(config: RunConfig, inputs: Iterable[Path], out: Path) -> list[Path]:
    """Float32 ``.npy`` files of shape (n, h, w, c) in [-1, 1] straight through the generator, to (n, h, w, 3).

    Raises:
        L2SError: the world can't be used, or an array can't be read or has a shape that the world doesn't take.
    """
    device, _ = prepare(config)
    world = config.world or Params().world
    generator, card = store.load(find(world, config.size or Params().size))
    _make_folder(out)
    written = []
    for path in inputs:
        x = _array(path, card.input_channels, card.multiple)
        draw_field(generator, card, (x.shape[2], x.shape[1]))
        shape = (1, card.input_channels, *x.shape[1:3])
        engine, _ = engines.build(config.engine, generator, card, shape, device)
        with closing(engine):
            y = np.concatenate([_through(engine, item) for item in x])
        np.save(out / path.name, y)
        written.append(out / path.name)
    return written


def _through(engine: engines.Engine, item: np.ndarray) -> np.ndarray:
    """``(h, w, c)`` to ``(1, h, w, 3)``."""
    x = torch.from_numpy(item).permute(2, 0, 1)[None].contiguous().to(engine.device)
    return engine(x).permute(0, 2, 3, 1).cpu().contiguous().numpy().copy()


def _array(path: Path, channels: int, multiple: int) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as err:
        raise ConfigError(f"can't read {path} as a .npy array: {err}") from err
    if x.dtype != np.float32 or x.ndim != 4 or not len(x):
        raise ConfigError(f"{path} must be float32 of shape (n, h, w, c), it is {x.dtype} of {x.shape}")
    if x.shape[3] != channels or x.shape[1] % multiple or x.shape[2] % multiple:
        raise ModelError(
            f"{path} has shape {x.shape}; this world takes {channels} channel(s) "
            f"and sides that are multiples of {multiple}"
        )
    return np.ascontiguousarray(x)


def _params(config: RunConfig) -> Params:
    board = Board(size=SIZES[0])
    if config.preset:
        Presets(preset_folders(), world_names).load(config.preset, board)
    board.set(config.start_knobs())
    return board.snapshot()


def _files(inputs: Iterable[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        else:
            yield path


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"can't make the folder {out}: {err.strerror or err}") from err
