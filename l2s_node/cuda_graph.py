"""GraphPipeline: on an NVIDIA GPU the frame's way is one CUDA graph, from the uploaded frame to the finished bytes.

    host bytes ──upload──> sample ──> condition ──> generator ──> compose ──download──> host bytes
                           └────────────── one graph, replayed ──────────┘

A graph holds for one structure: sizes, worlds, which steps are taken. The numbers that knobs turn lie in a small tensor
that is refreshed before each replay, so that turning a knob never captures anew.

A texture is sampled in OpenGL, and the graph begins with the canvas; a picture that is composed in OpenGL ends as half
floats. Both go from the one to the other within the GPU (`picture.cuda_gl`), or through host memory where they can't.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import weakref
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from l2s_node.frame import Frame, PixelFormat, Texture, blank
from l2s_node.models.pix2pix import SEEDS
from l2s_node.params import KNOB, Params
from l2s_node.picture import compose, condition, dry, sample, way
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.cuda_gl import Bridge
from l2s_node.picture.geometry import Geometry
from l2s_node.picture.gl import rgba_half, unit
from l2s_node.picture.way import KNOB_FIELDS, Knobs, Play, Seeds
from l2s_node.pipeline import Pipeline, Plan, Player, detail_matrices, placed
from l2s_node.texture import TextureError

log = logging.getLogger(__name__)

PROGRAMS = 8
"""Graphs kept; the one unused longest goes first."""
MOST_CELLS = KNOB["detail"].high
LOCKED = 16
"""Frames whose pages are locked at a time; rooms rotate through three."""
SMALLEST = 1 << 18
"""Bytes that are worth locking."""


def create(device: torch.device, output_size: tuple[int, int] | None = None) -> Pipeline:
    """The pipeline for a device: one captured graph on an NVIDIA GPU, step by step elsewhere."""
    return GraphPipeline(device, output_size) if device.type == "cuda" else Pipeline(device, output_size)


class GraphPipeline(Pipeline):
    """See the module's docstring; the same calls as `pipeline.Pipeline`."""

    def __init__(self, device: torch.device, output_size: tuple[int, int] | None = None) -> None:
        super().__init__(device, output_size)
        self._programs: dict[tuple[object, ...], _Program] = {}
        self._locked = _Locked()
        self._bridge: Bridge | None = None
        self._apart = False

    def use(self, player: Player, now: float) -> None:
        super().use(player, now)
        self._programs.clear()  # they hold the former player's buffers

    def _render(
        self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, plane: np.ndarray, params: Params
    ) -> None:
        if self._stepwise(player):
            return super()._render(frame, plan, knobs, player, plane, params)
        program = self._ran(frame, plan, knobs, player, params)
        out = torch.from_numpy(placed(plane, plan.geometry.place))
        out.copy_(program.out, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()

    def _hand_over(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> None:
        if self._stepwise(player):
            return super()._hand_over(frame, plan, knobs, player, params)
        program = self._ran(frame, plan, knobs, player, params)
        picture, bridge = self._opened().painter.picture, self._bridged()
        if bridge is None or not self._tried(lambda: bridge.store(program.out, picture)):
            picture.write(program.out.cpu().numpy())
        torch.cuda.current_stream(self.device).synchronize()

    def _stepwise(self, player: Player) -> bool:
        """Whether an engine takes part that no graph can hold; then the frame goes step by step."""
        return player.step is None or (self._before is not None and self._before.step is None)

    def _ran(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> _Program:
        """The program of this structure, with what it made of `frame` in `out`."""
        players = [self._before, player] if self._before else [player]
        program = self._program(frame, plan, players)
        if (plan.textured or plan.drawn) and self._opened().fit(plan.canvas, plan.geometry.shown[2:]) and self._bridge:
            self._bridge.release()  # textures of another size: not those that CUDA knows
        if frame.texture is None:
            program.send(frame, plan.geometry, self._buffers, self._locked)
        else:
            self._fetch(frame.texture, plan, program)
        program.refresh(frame, plan.geometry, knobs, params.detail, self._seeds)
        program.run()
        return program

    def _fetch(self, texture: Texture, plan: Plan, program: _Program) -> None:
        """The luma of `texture` to where the graph begins."""
        sampler, bridge = self._opened().sampler, self._bridged()
        sampler.draw(texture, plan.geometry, plan.canvas)
        if bridge is None or not self._tried(lambda: bridge.fetch(sampler.target, program.source.there)):
            program.source.send(sampler.take(), self._locked)

    def _bridged(self) -> Bridge | None:
        """CUDA's way to OpenGL; None where there is none, which is said once."""
        if self._bridge is None and not self._apart and self._tried(self._build_bridge):
            log.info("textures go to CUDA and back within the GPU")
        return self._bridge

    def _build_bridge(self) -> None:
        self._bridge = Bridge()

    def _tried(self, call: Callable[[], None]) -> bool:
        """Whether `call` could do it within the GPU; if not, nothing is tried again."""
        try:
            call()
        except TextureError as err:
            log.warning("textures go to CUDA through host memory: %s", err)
            self._apart, self._bridge = True, None
        return not self._apart

    def close(self) -> None:
        if self._bridge is not None:
            self._bridge.release()
            self._bridge = None
        super().close()

    def _program(self, frame: Frame, plan: Plan, players: list[Player]) -> _Program:
        """The program of this structure, of one player or of two that crossfade; captured when it is first met."""
        geometry = plan.geometry
        begin = None if plan.textured else (frame.size, geometry.into, geometry.flip)
        end = None if plan.drawn else (plan.style, geometry.place, dry.as_it_is(frame, geometry))
        key = (plan.canvas, plan.route, geometry.shown, begin, end, *(each.step for each in players))
        program = self._programs.pop(key, None)
        if program is None:
            assert self._memory is not None
            if len(self._programs) >= PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
            program = _Program(frame, plan, players, self._memory, self.device)
        self._programs[key] = program
        return program

    def _new_output(self, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
        planes = blank(PixelFormat.UYVA, *size)
        return tuple(torch.from_numpy(plane).pin_memory().numpy() for plane in planes)


class _Program:
    """Fixed buffers on the GPU and the graph that goes from `source` to `out`."""

    def __init__(
        self,
        frame: Frame,
        plan: Plan,
        players: list[Player],
        memory: way.Memory,
        device: torch.device,
    ) -> None:
        self._plan, self._memory = plan, memory
        a, self._b = players[0].step, players[1].step if len(players) > 1 else None
        assert a is not None
        self._a: Play = a
        self._sown = [each.seeds for each in players if each.seeds is not None]
        geometry = plan.geometry
        width, height = geometry.place[2:]
        self.source = _Upload(_source_shape(frame, plan), device)
        self._own_dry = plan.style.needs_dry and not plan.drawn and not dry.as_it_is(frame, geometry)
        self._dry = _Upload((height, 2 * width), device) if self._own_dry else self.source
        shown = geometry.shown[3], geometry.shown[2]
        self.out = (
            torch.empty(*shown, 4, dtype=torch.float16, device=device)
            if plan.drawn
            else torch.empty(height, 2 * width, dtype=torch.uint8, device=device)
        )
        self._host_knobs = torch.zeros(len(KNOB_FIELDS) + SEEDS, pin_memory=True)
        self._gpu_knobs = torch.zeros(len(KNOB_FIELDS) + SEEDS, device=device)
        self._knobs = Knobs(**{name: self._gpu_knobs[i] for i, name in enumerate(KNOB_FIELDS)})
        into = geometry.into
        # bytes are exact in float16, and the matrices' rounding stays under 0.1 of 255
        self._rows = torch.zeros(into[3], frame.height, device=device, dtype=torch.float16)
        self._columns = torch.zeros(into[2], _even(frame.width), device=device, dtype=torch.float16)
        self._larger = (
            compose.enlarging(shown, (height, width), plan.style.upscale, device),
            compose.enlarging(shown, (height, width // 2), "bilinear", device),
        )
        shapes = detail_matrices(plan.canvas, MOST_CELLS, torch.device("cpu"), self._rank())
        down_y, up_y, down_x, up_x = (torch.zeros_like(matrix, device=device) for matrix in shapes)
        self._detail = down_y, up_y, down_x, up_x
        self._taken: object = None
        self._cells = 0.0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._device = device

    def _rank(self) -> int:
        """Room for the most cells along the longer side, both neighbours of a fraction of one."""
        width, height = self._plan.canvas
        most = max(condition.cells_of(height, width, MOST_CELLS))
        return 2 * int(most) + 2

    def send(self, frame: Frame, geometry: Geometry, buffers: Buffers, locked: _Locked) -> None:
        """Upload a frame in host memory."""
        self.source.send(_packed(frame, buffers), locked)
        if self._own_dry:
            self._dry.send(dry.dry_uyvy(frame, geometry, self._plan.style.standard, buffers), locked)

    def refresh(self, frame: Frame, geometry: Geometry, knobs: Knobs, cells: float, seeds: Seeds) -> None:
        """Upload what has changed of the numbers."""
        if not self._plan.textured and geometry.taken != self._taken:
            self._taken = geometry.taken
            made = sample.matrices((_even(frame.width), frame.height), geometry.taken, geometry.into[2:], self._device)
            _refill((self._rows, self._columns), made)
        if cells != self._cells:
            self._cells = cells
            _refill(self._detail, detail_matrices(self._plan.canvas, cells, torch.device("cpu"), self._rank()))
        numbers = [float(getattr(knobs, name)) for name in KNOB_FIELDS]
        self._host_knobs.copy_(torch.tensor([*numbers, *seeds]))
        self._gpu_knobs.copy_(self._host_knobs, non_blocking=True)

    def run(self) -> None:
        """Fill `out`; the first time the steps are warmed up and captured."""
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()

    def _capture(self) -> torch.cuda.CUDAGraph:
        memory = (self._memory.luma, self._memory.levels, self._memory.picture)
        kept = [tensor.clone() for tensor in memory]
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._steps()
            # the loader may be compiling on the same GPU meanwhile
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._steps()
            _refill(memory, kept)  # warming up was no frame
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return graph

    def _steps(self) -> None:
        plan, geometry, knobs = self._plan, self._plan.geometry, self._knobs
        luma = way.conditioned(self._sampled(), self._memory, knobs, self._detail, plan.route)
        if plan.route.conditioned:
            rgb = luma.expand(-1, 3, -1, -1)
        else:
            for seeds in self._sown:
                seeds.copy_(self._gpu_knobs[-SEEDS:])
            rgb = way.developed(way.imagined(luma, self._a, self._b, knobs), self._memory, knobs, plan.route)
        x, y, width, height = geometry.shown
        rgb = rgb[0, :, y : y + height, x : x + width]
        if plan.drawn:
            self.out.copy_(rgba_half(rgb))
            return
        under: Tensor | None = self._dry.there if plan.style.needs_dry else None
        compose.paint(rgb, under, self.out, plan.style, knobs.mix, knobs.light, self._larger)

    def _sampled(self) -> Tensor:
        """``(1, 1, h, w)`` luma in 0…1."""
        if self._plan.textured:
            return unit(self.source.there)
        luma = sample.unit_luma(sample.by_matrix(self.source.there[:, 1::2], self._rows, self._columns))
        return sample.into_canvas(
            sample.flip(luma, self._plan.geometry.flip), self._plan.geometry.into, self._plan.canvas
        )


def _source_shape(frame: Frame, plan: Plan) -> tuple[int, int]:
    """Of the bytes that the graph begins with: the canvas of a texture, or the frame as UYVY."""
    return (plan.canvas[1], plan.canvas[0]) if plan.textured else (frame.height, 2 * _even(frame.width))


def _refill(buffers: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


class _Locked:
    """Host memory whose pages are locked, so that the GPU fetches it without a copy.

    Only arrays on pages of their own (`frame.page_aligned`) are taken, and they are held until they are unlocked:
    a page that is freed while it is locked, or locked twice, breaks every later call of CUDA.
    """

    def __init__(self) -> None:
        self._held: dict[int, np.ndarray] = {}
        self._works = True
        weakref.finalize(self, _unlock, self._held)

    def take(self, array: np.ndarray) -> bool:
        """Whether `array` is locked now; it is locked when it is met for the first time."""
        address = array.ctypes.data
        held = self._held.get(address)
        if held is not None and held.nbytes == array.nbytes:
            return True
        if not self._works or address % mmap.PAGESIZE or array.nbytes < SMALLEST or not array.flags.c_contiguous:
            return False
        if held is not None or len(self._held) >= LOCKED:
            _unlock(self._held)
        self._works = int(torch.cuda.cudart().cudaHostRegister(address, array.nbytes, 0)) == 0
        if self._works:
            self._held[address] = array
        else:  # a limit on locked memory; the error waits for the next launch, which clears it
            with contextlib.suppress(RuntimeError):
                torch.zeros(1, device="cuda")
        return self._works


def _unlock(held: dict[int, np.ndarray]) -> None:
    for address in list(held):
        torch.cuda.cudart().cudaHostUnregister(address)
        del held[address]


class _Upload:
    """A tensor on the GPU and its page-locked twin on the host, for what isn't locked where it lies."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.there = torch.empty(shape, dtype=torch.uint8, device=device)
        self._here: Tensor | None = None

    def send(self, array: np.ndarray, locked: _Locked) -> None:
        """On the current stream; the former `send` must have arrived (each frame ends with a synchronisation)."""
        source = torch.from_numpy(array)
        if not locked.take(array):
            self._here = torch.empty_like(source, pin_memory=True) if self._here is None else self._here
            source = self._here.copy_(source)
        self.there.copy_(source, non_blocking=True)


def _packed(frame: Frame, buffers: Buffers) -> np.ndarray:
    """The frame (but for an odd last column) as UYVY bytes whose luma is what `sample` takes.

    They are its own where it is packed so, and converted on the host where not.
    """
    rect = (0, 0, _even(frame.width), frame.height)
    whole = (0.0, 0.0, float(rect[2]), float(rect[3]))
    standard = "bt709" if frame.format.is_rgb else standard_for(*frame.size)
    geometry = Geometry(whole, rect, rect, whole, rect, (False, False))
    packed = dry.dry_uyvy(frame, geometry, standard, buffers, "packed")
    if packed.flags.c_contiguous and packed.flags.writeable:
        return packed
    staged = buffers("packed", packed.shape)  # torch takes no array that is read-only
    np.copyto(staged, packed)
    return staged


def _even(width: int) -> int:
    return max(width // 2 * 2, 2)
