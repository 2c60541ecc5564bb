"""Pipeline: frame + params -> frame, the diagram as code. No threads, no I/O, no lifecycle of its own.

    Frame ──> sample ──> condition ──> generator A (× generator B) ──> compose ──> Frame

Each frame is begun and finished: where a GPU makes the picture, other work is done between the two. It happens on fixed
buffers: after warm-up nothing is allocated that grows. The caller may hand in the same frame again (nothing new came);
the knobs and everything that moves with time stay alive.

A frame that is a texture is sampled in OpenGL, and only the generator's canvas leaves it. The output is composed there
where it is wanted as a texture, or where the input shows through that is one; its memory of time is here in any case.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node import texture
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.models.engines.base import Engine, Step
from l2s_node.params import Params
from l2s_node.picture import condition, dry, host, sample, way
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.colour import standard_for
from l2s_node.picture.compose import Style
from l2s_node.picture.geometry import Geometry, Rect, solve
from l2s_node.picture.gl import Drawing, unit
from l2s_node.picture.way import Detail, Drift, Knobs, Memory, Play, Route, Seeds

Batched = Callable[[int], Engine]

OUTPUTS = 3
"""Output frames in rotation: a sink may still be sending the last one, and the panel may be looking at another."""


@dataclass(frozen=True, slots=True)
class Player:
    """A generator that is ready to play on one canvas.

    Attributes:
        name: "flowers/small", for people.
        play: see `way.Play`.
        canvas: (width, height) it was built for.
        step: `play` as a function that a CUDA graph can capture, see `engines.base.Step`; None where there is none.
        seeds: weights of its seed fields, read at each call of `play`; None where it has none, and `step` takes none.
        fence: see `engines.base.Engine`.
        batched: builds it for so many pictures at once (seconds; raises EngineError); None where that can't be.
        passing: another engine takes over soon, so nothing is compiled for this one.
    """

    name: str
    play: Play
    canvas: tuple[int, int]
    step: Step | None = None
    seeds: Tensor | None = None
    fence: torch.cuda.Event | None = None
    batched: Batched | None = None
    passing: bool = False

    @classmethod
    def of(cls, name: str, engine: Engine, canvas: tuple[int, int], batched: Batched | None = None) -> Player:
        """What `engine`, which was built for `canvas`, plays."""
        return cls(name, engine, canvas, engine.step, engine.seeds, engine.fence, batched)


@dataclass(slots=True)
class Output:
    """One output frame's planes (UYVY and alpha), and the part of them that is not black."""

    planes: tuple[np.ndarray, ...]
    place: Rect


@dataclass(frozen=True, slots=True)
class Kind:
    """What of a frame decides how it is treated: size (width, height), format, and whether it is a texture."""

    size: tuple[int, int]
    format: PixelFormat
    textured: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a frame that only changes when a size or a structural knob changes."""

    kind: Kind
    canvas: tuple[int, int]
    output: tuple[int, int]
    geometry: Geometry
    style: Style
    route: Route
    drawn: bool = False
    """The output is composed in OpenGL."""

    @property
    def textured(self) -> bool:
        return self.kind.textured


class Pipeline:
    """The frame's way on the CPU (and on devices without a captured graph).

    Args:
        device: where the generator plays.
        output_size: (width, height) of what goes out; None for the size of what comes in.

    Attributes:
        textures: compose in OpenGL: frames come with a texture. May be set between two frames.
        ahead: so many frames are begun before the first is finished.
    """

    ahead = 0

    def __init__(self, device: torch.device | None = None, output_size: tuple[int, int] | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.output_size = _even(output_size) if output_size else None
        self.textures = False
        self.player: Player | None = None
        self._drawing: Drawing | None = None
        self._before: Player | None = None
        self._fade_start = 0.0
        self._memory: Memory | None = None
        self._held: Frame | None = None
        self._shown: tuple[tuple[int, int], Params] | None = None
        self._planned: tuple[tuple[object, ...], Plan] | None = None
        self._number = 0
        self._begun: deque[Frame] = deque()
        self._outputs: list[Output] = []
        self._buffers = Buffers()
        self._drift = Drift()
        self._seeds: Seeds = (1.0, 0.0, 0.0, 0.0)

    # --- the world that plays ----------------------------------------------------------------------------------------

    def use(self, player: Player, now: float) -> None:
        """Let `player` play from the next frame on; it fades in over the one that plays, for `params.crossfade`."""
        self._before = self._fading(player.canvas, now)
        self._fade_start = now
        if self._memory is None or self.player is None or self.player.canvas != player.canvas:
            self._memory = self._memory_for(player.canvas)
        self.player = player
        self._planned = None

    def prepare(self, player: Player) -> None:
        """Get ready what a change to `player` will take. From any thread, before `use`; it may take seconds."""

    def settle(self) -> None:
        """Wait until everything that was asked for is prepared; for measurements and tests."""

    def _memory_for(self, canvas: tuple[int, int]) -> Memory:
        return Memory(canvas, self.device)

    @property
    def crossfading(self) -> bool:
        """The former player still plays; it must not be closed yet."""
        return self._before is not None

    def _fading(self, canvas: tuple[int, int], now: float) -> Player | None:
        """What fades out when a world on `canvas` comes in: the one that plays, or a still of what was seen last.

        It is a still where the one that plays can't go on: on another canvas, or in the middle of a crossfade.
        """
        if self.player is None or self._memory is None or self._shown is None:
            return None
        if math.isinf(self._memory.since(now).picture):  # not seen yet: what was fading out before it goes on doing so
            return self._before if self._before and self._before.canvas == canvas else None
        if self.player.canvas == canvas and self._before is None:
            return self.player
        return self._still(*self._shown, canvas)

    @torch.inference_mode()
    def _still(self, frame: tuple[int, int], params: Params, canvas: tuple[int, int]) -> Player:
        """The last picture as a player for `canvas`, where the audience saw it."""
        assert self.player is not None and self._memory is not None
        x, y, width, height = self._geometry(frame, params, self.player.canvas).shown
        into = self._geometry(frame, params, canvas).shown
        seen = self._memory.picture[:, :, y : y + height, x : x + width]
        still = sample.surround(F.interpolate(seen, size=(into[3], into[2]), mode="bilinear"), into, canvas) * 2 - 1

        def play(_: Tensor, seeds: Tensor | None = None) -> Tensor:
            return still

        return Player("still", play, canvas, play)

    # --- one frame ---------------------------------------------------------------------------------------------------

    def step(self, frame: Frame, params: Params, now: float) -> Frame:
        """`begin`, and the picture as soon as it is there; nothing may be under way before."""
        self.begin(frame, params, now)
        return self.finish()

    def begin(self, frame: Frame, params: Params, now: float) -> None:
        """Begin an output frame; not while one is `due`. `now` is ``time.monotonic()``.

        `frame` belongs to its room again after the next call of `finish`, whichever picture that hands out.
        """
        self._begun.append(self._composed(frame, params, now))

    @property
    def due(self) -> bool:
        """A picture is to be finished before another one is begun."""
        straight = bool(self._begun) and self._begun[-1].texture is not None
        return len(self._begun) > (0 if straight else self.ahead)

    def finish(self) -> Frame:
        """The picture begun first: UYVY, or UYVA where the input has alpha; composed in OpenGL, RGBX or RGBA.

        Its planes stay valid until `OUTPUTS - 1` more are finished, a texture until the next one is begun.
        """
        return self._begun.popleft()

    @torch.inference_mode()
    def _composed(self, frame: Frame, params: Params, now: float) -> Frame:
        """What goes out for `frame`; on a GPU its planes may still be filled."""
        frame = self._frozen(frame, params.freeze)
        crossfade = self._crossfade(params, now)
        self._seeds = self._drift(params, now)
        plan = self._plan(frame, params)
        if plan.drawn:
            return self._draw(frame, plan, params, crossfade, now)
        planes = self._output(plan.output, plan.geometry.place)
        if self.player is None or self._memory is None or params.show == "input":
            self._show_input(frame, plan, planes[0], 1 - params.fade)
        else:
            knobs = way.knobs_for(params, self._memory.since(now), crossfade)
            self._render(frame, plan, knobs, self.player, planes[0], params)
            self._memory.refreshed(plan.route, now)
            if not plan.route.conditioned:
                self._shown = frame.size, params
        return self._framed(frame, plan, planes, now)

    def _draw(self, frame: Frame, plan: Plan, params: Params, crossfade: float, now: float) -> Frame:
        """The output composed in OpenGL; saturation, too, which `way` leaves out then."""
        drawing, style = self._opened(), plan.style
        bypass = self.player is None or self._memory is None or params.show == "input"
        if self.player is not None and self._memory is not None and not bypass:
            knobs = way.knobs_for(params, self._memory.since(now), crossfade)
            knobs = dataclasses.replace(knobs, saturation=1.0)
            self._hand_over(frame, plan, knobs, self.player, params)
            self._memory.refreshed(plan.route, now)
            if not plan.route.conditioned:
                self._shown = frame.size, params
        alpha = frame.format.has_alpha
        below, geometry = None, plan.geometry
        if bypass or alpha or style.needs_dry:
            below, geometry = drawing.dry(frame, geometry, style.standard, self._buffers)
        made = drawing.painter.paint(
            below, geometry, plan.output, style, mix=params.mix, light=1 - params.fade,
            saturation=params.saturation, bypass=bypass, opaque=not alpha,
        )  # fmt: skip
        fmt = PixelFormat.RGBA if alpha else PixelFormat.RGBX
        number, self._number = self._number, self._number + 1
        return Frame((), fmt, *plan.output, seconds=now, number=number, rate=frame.rate, texture=made)

    def _hand_over(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> None:
        """The picture to where OpenGL composes with it."""
        self._opened().painter.write(self._developed(frame, plan, knobs, player, params))

    def _opened(self) -> Drawing:
        """What is drawn with in OpenGL, made when it is first needed."""
        self._drawing = self._drawing or Drawing(texture.gl())
        return self._drawing

    def close(self) -> None:
        """Release what was made in OpenGL, on its thread."""
        if self._drawing is not None:
            self._drawing.release()
            self._drawing = None

    @property
    def late(self) -> int:
        """How often the luma of the frame before came from OpenGL, because that of the frame was not there in time."""
        return self._drawing.sampler.back.late if self._drawing else 0

    def _frozen(self, frame: Frame, freeze: bool) -> Frame:
        """`frame`, or the one that came when `freeze` was turned on: a copy, since its room writes over it."""
        if not freeze:
            self._held = None
            return frame
        if self._held is None:
            planes = tuple(plane.copy() for plane in frame.planes)
            kept = self._opened().keep(frame.texture) if frame.texture else None
            self._held = dataclasses.replace(frame, planes=planes, texture=kept)
        return self._held

    def _render(
        self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, plane: np.ndarray, params: Params
    ) -> None:
        style, geometry, buffers = plan.style, plan.geometry, self._buffers
        shown = self._developed(frame, plan, knobs, player, params).cpu()
        under = dry.dry_uyvy(frame, geometry, style.standard, buffers) if style.needs_dry else None
        host.paint(shown, under, placed(plane, geometry.place), style, params.mix, 1 - params.fade, buffers)

    def _developed(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> Tensor:
        """``(3, h, w)`` RGB of the part of the canvas that is shown, on `device`, to be painted."""
        assert self._memory is not None
        detail = detail_matrices(plan.canvas, params.detail, self.device)
        luma = way.conditioned(self._sampled(frame, plan).to(self.device), self._memory, knobs, detail, plan.route)
        if plan.route.conditioned:
            rgb = luma.expand(-1, 3, -1, -1)
        else:
            a, b = (self._before.play, player.play) if self._before else (player.play, None)
            weights = _weights(self._seeds)
            for each in (self._before, player):
                if each is not None and each.seeds is not None:
                    each.seeds.copy_(weights)
            rgb = way.developed(way.imagined(luma, a, b, knobs), self._memory, knobs, plan.route)
        x, y, width, height = plan.geometry.shown
        return rgb[0, :, y : y + height, x : x + width]

    def _sampled(self, frame: Frame, plan: Plan) -> Tensor:
        """``(1, 1, h, w)`` luma in 0…1 on the CPU."""
        if frame.texture is None:
            return host.sample(frame, plan.geometry, plan.canvas, self._buffers)
        sampler = self._opened().sampler
        sampler.draw(frame.texture, plan.geometry, plan.canvas)
        return unit(torch.from_numpy(sampler.take()))

    def _show_input(self, frame: Frame, plan: Plan, plane: np.ndarray, light: float) -> None:
        out = placed(plane, plan.geometry.place)
        out[...] = dry.dry_uyvy(frame, plan.geometry, plan.style.standard, self._buffers)
        host.dim(out, light)

    def _crossfade(self, params: Params, now: float) -> float:
        """0…1 from generator A to B; ends the crossfade when it is over."""
        if self._before is None:
            return 1.0
        progress = (now - self._fade_start) / params.crossfade if params.crossfade > 0 else 1.0
        if progress >= 1:
            self._before = None
        return min(max(progress, 0.0), 1.0)

    def _geometry(self, frame: tuple[int, int], params: Params, canvas: tuple[int, int]) -> Geometry:
        output = self.output_size or _even(frame)
        pan, flip = (params.pan_x, params.pan_y), (params.flip_x, params.flip_y)
        return solve(frame, canvas, output, params.framing, params.zoom, pan, flip)

    def _plan(self, frame: Frame, params: Params) -> Plan:
        """The plan of the frame before, as long as nothing that decides on it changes."""
        given = (
            frame.size, frame.format, frame.texture is None, self._before is None, self.textures,
            params.show, params.mix < 1, params.blend, params.upscale, params.fade > 0, params.auto_levels > 0,
            params.feedback > 0, params.framing, params.zoom, params.pan_x, params.pan_y, params.flip_x, params.flip_y,
        )  # fmt: skip
        if self._planned is None or self._planned[0] != given:
            kind = Kind(frame.size, frame.format, frame.texture is not None)
            canvas = self.player.canvas if self.player else None
            self._planned = given, self._plan_of(kind, params, canvas, self._before is not None)
        return self._planned[1]

    def _plan_of(self, kind: Kind, params: Params, canvas: tuple[int, int] | None, crossfade: bool) -> Plan:
        """The plan of a frame for a player on `canvas`; None where there is no player."""
        output = self.output_size or _even(kind.size)
        plain = params.show == "conditioned"
        mixed = not plain and (params.mix < 1 or params.blend != "normal")
        split = params.show == "split"
        style = Style(params.blend, mixed, params.upscale, standard_for(*output), split, params.fade > 0)
        route = Route(
            auto_levels=params.auto_levels > 0,
            feedback=params.feedback > 0,
            crossfade=crossfade,
            conditioned=plain,
        )
        through = style.needs_dry or kind.format.has_alpha or canvas is None or params.show == "input"
        canvas = canvas or output
        geometry = self._geometry(kind.size, params, canvas)
        drawn = self.textures or (kind.textured and through)
        return Plan(kind, canvas, output, geometry, style, route, drawn)

    # --- what goes out -----------------------------------------------------------------------------------------------

    def _output(self, size: tuple[int, int], place: Rect) -> tuple[np.ndarray, ...]:
        """The next output buffer of that size, black outside `place`; the others are still being looked at."""
        if not self._outputs or self._outputs[0].planes[0].shape != (size[1], 2 * size[0]):
            self._outputs = [Output(self._new_output(size), place) for _ in range(OUTPUTS + self.ahead)]
        output = self._outputs.pop(0)
        self._outputs.append(output)
        if output.place != place:
            output.place = place
            for plane, black in zip(output.planes, blank(PixelFormat.UYVA, *size), strict=True):
                plane[:] = black
        return output.planes

    def _new_output(self, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
        return blank(PixelFormat.UYVA, *size)

    def _framed(self, frame: Frame, plan: Plan, planes: tuple[np.ndarray, ...], now: float) -> Frame:
        alpha = dry.dry_alpha(frame, plan.geometry, self._buffers)
        fmt = PixelFormat.UYVY
        if alpha is not None:
            left, top, width, height = plan.geometry.place
            planes[1][top : top + height, left : left + width] = alpha
            fmt = PixelFormat.UYVA
        number, self._number = self._number, self._number + 1
        kept = planes if fmt is PixelFormat.UYVA else planes[:1]
        return Frame(kept, fmt, *plan.output, seconds=now, number=number, rate=frame.rate)


def detail_matrices(canvas: tuple[int, int], cells: float, device: torch.device) -> Detail:
    """(down rows, up rows, down columns, up columns) for `condition.apply_detail`; cached."""
    width, height = canvas
    rows, columns = condition.cells_of(height, width, cells)
    down_y, up_y = condition.operator(height, rows)
    down_x, up_x = condition.operator(width, columns)
    return down_y.to(device), up_y.to(device), down_x.to(device), up_x.to(device)


@functools.lru_cache(maxsize=2)  # they rest while nothing drifts
@torch.inference_mode(False)
def _weights(seeds: Seeds) -> Tensor:
    """``(SEEDS,)`` float32 on the CPU."""
    return torch.tensor(seeds)


def placed(plane: np.ndarray, place: Rect) -> np.ndarray:
    """The part `place` of a UYVY plane, as a view."""
    left, top, width, height = place
    return plane[top : top + height, 2 * left : 2 * (left + width)]


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """The nearest size that UYVY can have: even in width."""
    return max(size[0] // 2 * 2, 2), max(size[1], 1)
