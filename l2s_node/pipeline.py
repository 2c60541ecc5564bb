"""Pipeline: frame + params -> frame, the diagram as code. No threads, no I/O, no lifecycle of its own.

    Frame ──> sample ──> condition ──> generator A (× generator B) ──> compose ──> Frame

One frame at a time, on one fixed set of buffers: after warm-up nothing is allocated that grows. The caller may hand in
the same frame again (nothing new came); the knobs and everything that moves with time stay alive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.params import Params
from l2s_node.picture import condition, dry, host, way
from l2s_node.picture.colour import standard_for
from l2s_node.picture.compose import Style
from l2s_node.picture.geometry import Geometry, Rect, solve
from l2s_node.picture.way import Detail, Knobs, Memory, Play, Route

OUTPUTS = 3
"""Output frames in rotation: a sink may still be sending the last one, and the panel may be looking at another."""


@dataclass(frozen=True, slots=True)
class Player:
    """A generator that is ready to play on one canvas.

    Attributes:
        name: "flowers/small", for people.
        play: see `way.Play`.
        canvas: (width, height) it was built for.
        step: `play` as plain tensor operations that a CUDA graph can capture; None where it is none.
    """

    name: str
    play: Play
    canvas: tuple[int, int]
    step: Play | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a frame that only changes when a size or a structural knob changes."""

    canvas: tuple[int, int]
    output: tuple[int, int]
    geometry: Geometry
    style: Style
    route: Route
    shows: str


class Pipeline:
    """The frame's way on the CPU (and on devices without a captured graph).

    Args:
        device: where the generator plays.
        output_size: (width, height) of what goes out; None for the size of what comes in.
    """

    def __init__(self, device: torch.device | None = None, output_size: tuple[int, int] | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.output_size = _even(output_size) if output_size else None
        self.player: Player | None = None
        self._before: Player | None = None
        self._fade_start = 0.0
        self._memory: Memory | None = None
        self._last: float | None = None
        self._number = 0
        self._outputs: list[tuple[np.ndarray, ...]] = []
        self._place: Rect | None = None

    # --- the world that plays ----------------------------------------------------------------------------------------

    def use(self, player: Player, now: float) -> None:
        """Let `player` play from the next frame on; it fades in over the one that plays, for `params.crossfade`."""
        if self.player is not None and self._memory is not None:
            same = self.player.canvas == player.canvas
            self._before = self.player if same else self._still(player.canvas)
            self._fade_start = now
        if self._memory is None or self.player is None or self.player.canvas != player.canvas:
            self._remember(player.canvas)
        self.player = player

    @property
    def crossfading(self) -> bool:
        """The former player still plays; it must not be closed yet."""
        return self._before is not None

    def _still(self, canvas: tuple[int, int]) -> Player:
        """The last picture as a player: where the canvases differ, it is what fades out."""
        assert self._memory is not None
        still = F.interpolate(self._memory.picture, size=canvas[::-1], mode="bilinear") * 2 - 1

        def play(_: Tensor) -> Tensor:
            return still

        return Player("still", play, canvas, play)

    def _remember(self, canvas: tuple[int, int]) -> None:
        self._memory = Memory(canvas, self.device)
        self._last = None

    def reset(self) -> None:
        """Forget past frames (smoothing, feedback)."""
        self._last = None

    # --- one frame ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self, frame: Frame, params: Params, now: float) -> Frame:
        """One output frame: UYVY, or UYVA where the input has alpha.

        Its planes stay valid for the next `OUTPUTS - 1` steps. `now` is ``time.monotonic()``.
        """
        plan = self._plan(frame, params)
        knobs = way.knobs_for(params, None if self._last is None else now - self._last, self._crossfade(params, now))
        self._last = now
        planes = self._output(plan.output, plan.geometry.place)
        if self.player is None or plan.shows == "input":
            self._show_input(frame, plan, planes[0], 1 - params.fade)
        else:
            self._render(frame, plan, knobs, self.player, planes[0], params)
        return self._framed(frame, plan, planes, now)

    def _render(
        self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, plane: np.ndarray, params: Params
    ) -> None:
        assert self._memory is not None
        detail = detail_matrices(plan.canvas, params.detail, self.device)
        luma = host.sample(frame, plan.geometry, plan.canvas).to(self.device)
        luma = way.conditioned(luma, self._memory, knobs, detail, plan.route)
        if plan.route.conditioned:
            rgb = luma.expand(-1, 3, -1, -1)
        else:
            a, b = (self._before.play, player.play) if self._before else (player.play, None)
            rgb = way.developed(way.imagined(luma, a, b, knobs), self._memory, knobs, plan.route)
        under = dry.dry_uyvy(frame, plan.geometry) if plan.style.needs_dry else None
        x, y, width, height = plan.geometry.shown
        out = placed(plane, plan.geometry.place)
        host.paint(rgb[0, :, y : y + height, x : x + width].cpu(), under, out, plan.style, params.mix, 1 - params.fade)

    def _show_input(self, frame: Frame, plan: Plan, plane: np.ndarray, light: float) -> None:
        out = placed(plane, plan.geometry.place)
        out[...] = dry.dry_uyvy(frame, plan.geometry)
        host.dim(out, light)

    def _crossfade(self, params: Params, now: float) -> float:
        """0…1 from generator A to B; ends the crossfade when it is over."""
        if self._before is None:
            return 1.0
        progress = (now - self._fade_start) / params.crossfade if params.crossfade > 0 else 1.0
        if progress >= 1:
            self._before = None
        return min(progress, 1.0)

    def _plan(self, frame: Frame, params: Params) -> Plan:
        output = self.output_size or _even(frame.size)
        canvas = self.player.canvas if self.player else output
        pan, flip = (params.pan_x, params.pan_y), (params.flip_x, params.flip_y)
        geometry = solve(frame.size, canvas, output, params.framing, params.zoom, pan, flip)
        plain = params.show == "conditioned"
        mixed = not plain and (params.mix < 1 or params.blend != "normal")
        split = params.show == "split"
        style = Style(params.blend, mixed, params.upscale, standard_for(*output), split, params.fade > 0)
        route = Route(
            auto_levels=params.auto_levels > 0,
            feedback=params.feedback > 0,
            crossfade=self._before is not None,
            conditioned=plain,
        )
        return Plan(canvas, output, geometry, style, route, params.show)

    # --- what goes out -----------------------------------------------------------------------------------------------

    def _output(self, size: tuple[int, int], place: Rect) -> tuple[np.ndarray, ...]:
        """The next output buffer of that size, black outside `place`."""
        if not self._outputs or self._outputs[0][0].shape != (size[1], 2 * size[0]):
            self._outputs = [self._new_output(size) for _ in range(OUTPUTS)]
        elif place != self._place:
            for planes in self._outputs:
                black = blank(PixelFormat.UYVA, *size)
                planes[0][:], planes[1][:] = black
        self._place = place
        self._outputs.append(self._outputs.pop(0))
        return self._outputs[-1]

    def _new_output(self, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
        return blank(PixelFormat.UYVA, *size)

    def _framed(self, frame: Frame, plan: Plan, planes: tuple[np.ndarray, ...], now: float) -> Frame:
        alpha = dry.dry_alpha(frame, plan.geometry)
        fmt = PixelFormat.UYVY
        if alpha is not None:
            left, top, width, height = plan.geometry.place
            planes[1][top : top + height, left : left + width] = alpha
            fmt = PixelFormat.UYVA
        number, self._number = self._number, self._number + 1
        kept = planes if fmt is PixelFormat.UYVA else planes[:1]
        return Frame(kept, fmt, *plan.output, seconds=now, number=number, rate=frame.rate)


def detail_matrices(canvas: tuple[int, int], cells: float, device: torch.device, rank: int | None = None) -> Detail:
    """(down rows, up rows, down columns, up columns) for `condition.apply_detail`; cached."""
    width, height = canvas
    rows, columns = condition.cells_of(height, width, cells)
    down_y, up_y = condition.operator(height, rows, rank)
    down_x, up_x = condition.operator(width, columns, rank)
    return down_y.to(device), up_y.to(device), down_x.to(device), up_x.to(device)


def placed(plane: np.ndarray, place: Rect) -> np.ndarray:
    """The part `place` of a UYVY plane, as a view."""
    left, top, width, height = place
    return plane[top : top + height, 2 * left : 2 * (left + width)]


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """The nearest size that UYVY can have: even in width."""
    return max(size[0] // 2 * 2, 2), max(size[1], 1)
