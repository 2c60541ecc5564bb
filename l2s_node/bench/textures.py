"""Textures: what is saved where a picture never leaves the GPU, what a look costs, and that nothing grows."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import psutil
import torch

from l2s_node import texture
from l2s_node.bench._row import Row, Task, in_turns, timed, timing
from l2s_node.bench._ways import REPEATS, both, by, clocked, software
from l2s_node.bench._worlds import random_world
from l2s_node.config import RunConfig, assets
from l2s_node.cuda.graph import create
from l2s_node.errors import LookError
from l2s_node.frame import Frame, PixelFormat, Texture
from l2s_node.loader import canvas_of, draw_field
from l2s_node.models import engines
from l2s_node.params import Board, Params
from l2s_node.picture import host
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.compose import Style
from l2s_node.picture.cuda_gl import Bridge
from l2s_node.picture.geometry import solve
from l2s_node.picture.gl import Painter, Sampler
from l2s_node.picture.isf_run import Running
from l2s_node.picture.looks import Library, Look
from l2s_node.picture.packing import Packer, Unpacker
from l2s_node.pipeline import Pipeline, Player
from l2s_node.texture import GL, Copier, Image, ReadBack, Target, TextureError

log = logging.getLogger(__name__)

FULL, CANVAS, WIDE = (1920, 1080), (256, 256), (448, 256)
FRAMES, EVERY = 10_000, 100
"""Frames of the run that must not grow, and after how many the source changes its size."""
SMALL = [(160, 90), (200, 112), (128, 128)]
"""Sizes of that run: a hundred of its frames must not take minutes where there is no GPU."""
WARM = 1_000
"""Frames of it before anything is counted: every size was met, every look drawn."""

METHOD = (
    "a 1080p BGRA texture; one channel of 256x256 in host memory by the shader, beside the whole texture read back and "
    "sampled there; each time ends when the bytes have arrived, and what OpenGL or CUDA was asked has been done. A "
    "look's row is what it adds to a frame: frames of textures with it and without it in turns, each until a fence "
    "says that it is drawn, and the difference of each two; below it, whole frames of bytes, with upload and reading. "
    "Passes run in the way in which this driver was found to be faster, but in rows that set both beside each other: "
    "one pass, or all of a look's, again and again in turns, each until a fence is passed"
)


def rows(task: Task) -> Iterator[Row]:
    """See `Row`; OpenGL is needed for all of them, an NVIDIA GPU for some."""
    gl = texture.gl()
    try:
        yield from _sampling(gl)
        yield from _passes(gl)
        yield from _through_cuda(gl, task)
        yield from _looks(gl)
        yield from _growth(gl, task)
    finally:
        texture.close()


# --- one channel, not four at full size -------------------------------------------------------------------------------


def _sampling(gl: GL) -> Iterator[Row]:
    image, sampler, back, buffers = Image(gl, FULL), Sampler(gl), ReadBack(gl, patience=1.0), Buffers()
    picture = image.write(_pixels(FULL))
    geometry = solve(FULL, CANVAS, FULL, "stretch")
    copy, copier = Target(gl, FULL), Copier(gl)
    copier.copy(picture, copy)

    def by_shader() -> None:
        sampler.draw(picture, geometry, CANVAS)
        sampler.take()

    def by_host() -> None:
        back.start(copy)
        frame = Frame((back.take(),), PixelFormat.RGBX, *FULL, seconds=0.0, number=0)
        host.sample(frame, geometry, CANVAS, buffers)

    sampler.back = ReadBack(gl, patience=1.0)
    shader, whole = timed(by_shader), timed(by_host)
    note = gl.renderer
    yield timing("1080p texture to 256x256 luma", shader, "read back and sampled", whole, factor_goal=1.0, note=note)
    bytes_ = sampler.back.bytes / sampler.back.taken / 1e3, back.bytes / back.taken / 1e3
    yield Row("the same, read back a frame", bytes_[0], "kB", baseline=bytes_[1], against="whole", factor_goal=10.0)
    for each in (image, sampler, back, copy, copier):
        each.release()


# --- drawn, and computed ----------------------------------------------------------------------------------------------


def _passes(gl: GL) -> Iterator[Row]:
    """The single passes of a frame that never leaves the GPU, in both ways."""
    image = Image(gl, FULL)
    picture = image.write(_pixels(FULL))

    def copied(stack: ExitStack) -> Callable[[], object]:
        copier, target = Copier(gl), Target(gl, FULL)
        stack.callback(copier.release)
        stack.callback(target.release)
        return lambda: copier.copy(picture, target)

    def sampled(stack: ExitStack) -> Callable[[], object]:
        sampler, geometry = Sampler(gl), solve(FULL, WIDE, FULL, "fit")
        stack.callback(sampler.release)
        return lambda: sampler.draw(picture, geometry, WIDE)

    def composed(style: Style) -> Callable[[ExitStack], Callable[[], object]]:
        def made(stack: ExitStack) -> Callable[[], object]:
            painter, geometry = Painter(gl), solve(FULL, WIDE, FULL, "fit")
            stack.callback(painter.release)
            painter.write(torch.rand(3, WIDE[1], WIDE[0]))
            return lambda: painter.paint(picture if style.mixed else None, geometry, FULL, style, mix=0.6)

        return made

    yield from both(gl, "a 1080p texture copied", copied)
    yield from both(gl, f"1080p sampled to {WIDE[0]}x{WIDE[1]}", sampled)
    yield from both(gl, "composed at 1080p, bicubic", composed(Style()))
    yield from both(gl, "composed at 1080p, bilinear", composed(Style(upscale="bilinear")))
    yield from both(gl, "composed at 1080p over the input", composed(Style("screen", True)))
    image.release()


# --- a texture, through CUDA, to a texture ----------------------------------------------------------------------------


def _through_cuda(gl: GL, task: Task) -> Iterator[Row]:
    if task.device.type != "cuda":
        return
    yield from _mapping(gl, task.device)
    image = Image(gl, FULL)
    frame = _frame(image.write(_pixels(FULL)))
    generator, card = random_world("classic", "large")
    canvas = canvas_of(card, RunConfig(source="null:", sinks=("null:",)), FULL, task.device)
    draw_field(generator, card, canvas)
    engine, _ = engines.build("auto", generator, card, (1, 1, canvas[1], canvas[0]), task.device)
    with closing(engine):
        player = Player.of("large", engine, canvas)
        within, through = (_steps(gl, task, frame, player, apart) for apart in (False, True))
        what, note = "1080p texture → CUDA → large → 1080p texture", f"{engine.name} {engine.precision}, {within[1]}"
        yield timing(what, within[0], "through host memory", through[0], goal=0.6, note=note)
        if gl.can_compute:
            times = list[list[float]]()
            for way in (True, False):
                with by(gl, way):
                    times.append(_steps(gl, task, frame, player, False)[0])
            yield timing("the same, passes computed", times[0], "drawn", times[1])
    image.release()


def _steps(gl: GL, task: Task, frame: Frame, player: Player, apart: bool) -> tuple[list[float], str]:
    """(milliseconds of single steps, way) of a world; `apart` keeps CUDA away from OpenGL."""
    pipeline, params = create(task.device), Board(crossfade=0).snapshot()
    pipeline.textures = True
    pipeline._apart = apart  # type: ignore[attr-defined]
    with closing(pipeline):
        pipeline.use(player, 0.0)
        now = iter(n / 60 for n in range(1_000_000))

        def step() -> None:
            pipeline.step(frame, params, next(now))
            gl.wait()

        step()  # what it meets is prepared now
        pipeline.settle()
        times = timed(step)
        return times, "host memory" if pipeline._apart else "within the GPU"  # type: ignore[attr-defined]


def _mapping(gl: GL, device: torch.device) -> Iterator[Row]:
    """What OpenGL's textures cost CUDA: one of the canvas's size fetched, one of the picture's stored to."""
    target, image = Target(gl, WIDE, 1), Image(gl, WIDE, dtype="f2")
    luma = torch.empty(WIDE[1], WIDE[0], dtype=torch.uint8, device=device)
    rgba = torch.zeros(WIDE[1], WIDE[0], 4, dtype=torch.float16, device=device)

    def frame(bridge: Bridge, then: Image | None) -> Callable[[], None]:
        def whole() -> None:
            target.clear()
            bridge.fetch(target, luma, then)
            bridge.store(rgba, image)
            torch.cuda.synchronize(device)
            gl.wait()

        return whole

    try:
        for hints in (True, False):
            bridge = Bridge(hints)
            together, apart = in_turns(frame(bridge, image), frame(bridge, None))
            what = f"two textures mapped by one call{'' if hints else ', without hints'}"
            yield timing(what, together, "by a call each", apart)
            bridge.release()
    except TextureError as err:
        log.warning("%s", err)
    for each in (target, image):
        each.release()


# --- looks ------------------------------------------------------------------------------------------------------------


def _looks(gl: GL) -> Iterator[Row]:
    """What a look adds to a frame: where textures come and go, and where bytes do. See `METHOD`."""
    with closing(_Frames(gl)) as frames:
        yield frames.waiting()
        for look in _library().looks.values():
            running = _compiled(gl, look, frames.copier)
            if running is not None:
                yield from _look_rows(look.name, running, frames)
                running.release()


def _look_rows(name: str, running: Running, frames: _Frames) -> Iterator[Row]:
    gl = frames.gl
    without, whole = in_turns(lambda: frames.texture(None), lambda: frames.texture(running))
    added = [one - other for one, other in zip(whole, without, strict=True)]
    parts = f"told to the driver in {frames.told(running):.2f} ms"
    if not software(gl):
        parts += f", done by the GPU in {clocked(gl, lambda: frames.look(running)):.2f} ms"
    yield timing(f"look {name} at 1080p", added, goal=None if software(gl) else 0.3, note=parts)

    def made(stack: ExitStack) -> Callable[[], object]:
        again = Running(gl, running.look, frames.copier)
        stack.callback(again.release)
        return lambda: frames.look(again)

    yield from both(gl, f"look {name} alone", made)
    without, whole = in_turns(lambda: frames.bytes(None), lambda: frames.bytes(running))
    yield timing(f"UYVY → texture → {name} → UYVY", whole, "without the look", without)


class _Frames:
    """Frames of 1080p, with a look or without one, each waited for until it is there."""

    def __init__(self, gl: GL) -> None:
        self.gl, self.copier = gl, Copier(gl)
        self._image, self._picture, self._target = Image(gl, FULL), Target(gl, FULL), Target(gl, FULL)
        self._unpack, self._pack = Unpacker(gl), Packer(gl, patience=1.0)
        self._seen = self._image.write(_pixels(FULL))
        self._uyvy = np.random.default_rng(0).integers(16, 236, (FULL[1], 2 * FULL[0]), dtype=np.uint8)
        self._now = (n / 60 for n in itertools.count())

    def texture(self, running: Running | None) -> None:
        """A texture that is drawn, as a world's picture is, to one that is seen."""
        self.copier.copy(self._seen, self._picture)
        self._over(self._picture.texture, running)
        self.gl.wait()

    def bytes(self, running: Running | None) -> None:
        """UYVY in host memory to UYVY in host memory, as for NDI."""
        picture = self._over(self._unpack((self._uyvy,), "bt709"), running)
        self._pack(picture, alpha=False)

    def told(self, running: Running) -> float:
        """Milliseconds in which the look is asked of the driver, without waiting for anything."""
        times = list[float]()
        for _ in range(REPEATS):
            start = time.perf_counter()
            self._over(self._picture.texture, running)
            times.append(1e3 * (time.perf_counter() - start))
            self.gl.wait()
        return statistics.median(times)

    def look(self, running: Running) -> None:
        """The look over the picture, and nothing else."""
        self._over(self._picture.texture, running)

    def waiting(self) -> Row:
        """What waiting costs: a copy until a fence is passed, beside the same until ``glFinish`` returns."""

        def finished() -> None:
            self.copier.copy(self._seen, self._picture)
            self.gl.ctx.finish()

        fence, finish = in_turns(lambda: self.texture(None), finished)
        note = self.gl.renderer
        return timing("a 1080p texture copied, waited for by a fence", fence, "by glFinish", finish, note=note)

    def close(self) -> None:
        for each in (self._image, self._picture, self._target, self._unpack, self._pack, self.copier):
            each.release()

    def _over(self, picture: Texture, running: Running | None) -> Texture:
        if running is None:
            return picture
        running.draw(picture, self._target, {}, next(self._now))
        return self._target.texture


def _library() -> Library:
    return Library([assets() / "shaders" / "looks"])


def _compiled(gl: GL, look: Look, copier: Copier) -> Running | None:
    try:
        return Running(gl, look, copier)
    except LookError as err:
        log.warning("%s", err)
        return None


# --- nothing grows ----------------------------------------------------------------------------------------------------


def _growth(gl: GL, task: Task) -> Iterator[Row]:
    """The whole way with textures, a look with persistent buffers, and a source that changes its size."""
    look = next(look for look in _library().looks.values() if any(part.persistent for part in look.shader.passes))
    copier, image, target = Copier(gl), Image(gl, SMALL[0]), Target(gl, SMALL[0])
    running, pipeline, sizes = Running(gl, look, copier), Pipeline(), [size for size in SMALL]
    pipeline.textures = True
    pipeline.use(Player("tint", _tint, (64, 64)), 0.0)
    params = [Board(mix=0.5, output_smoothing=0.2, freeze=freeze).snapshot() for freeze in (False, True)]
    pictures = {size: _pixels(size) for size in sizes}
    process, memory, objects = psutil.Process(), list[float](), list[int]()
    for n in range(FRAMES):
        size = sizes[n // EVERY % len(sizes)]
        made = pipeline.step(_frame(image.write(pictures[size])), _frozen(params, n), n / 60)
        assert made.texture is not None
        target.resize(made.size)
        running.draw(made.texture, target, {}, n / 60)
        if n >= WARM and n % EVERY == EVERY - 1:
            memory.append(process.memory_info().rss / 1e6)
            objects.append(sum(gl.objects().values()))
    third = len(memory) // 3
    first, last = float(np.median(memory[:third])), float(np.median(memory[-third:]))
    what = f"{FRAMES} frames, {look.name}, another size every {EVERY}"
    yield Row(f"{what}: RSS", last, "MB", baseline=first, against="first third", note=f"frames after {WARM}")
    grown = objects[-1] - objects[0]
    yield Row("the same: OpenGL objects more at the end", grown, "", goal=0, note=f"of {objects[0]}")
    pipeline.close()
    for each in (running, copier, image, target):
        each.release()


def _frozen(params: list[Params], n: int) -> Params:
    """Now and then the input is held."""
    return params[n % 250 > 200]


def _tint(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x * 0.5, -x], 1)


def _frame(picture: Texture) -> Frame:
    return Frame((), PixelFormat.RGBX, *picture.size, seconds=0.0, number=0, texture=picture)


def _pixels(size: tuple[int, int]) -> np.ndarray:
    """``(h, w, 4)``: large shapes with a little noise on them, as a camera gives."""
    rng = np.random.default_rng(0)
    small = rng.integers(30, 220, (size[1] // 40 + 1, size[0] // 40 + 1, 4), dtype=np.uint8)
    blocks = small.repeat(40, 0).repeat(40, 1)[: size[1], : size[0]]
    return np.ascontiguousarray(blocks + rng.integers(0, 8, blocks.shape, dtype=np.uint8))
