"""The way of one picture round the generator: the same tensor steps on every device, on memory that never grows.

    luma ──> condition ──> generator A (× generator B) ──> develop ──> rgb, ready for `compose.paint`

Every number that a knob turns is a `Knobs` field: plain floats on the CPU, 0-dim tensors where the steps are captured
as a graph and read their numbers anew each frame. What decides *which* steps are taken is in `Route`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from l2s_node.clock import decay
from l2s_node.params import Params
from l2s_node.picture import compose, condition
from l2s_node.picture.condition import Scalar

LEVELS_MEMORY = 0.5
"""Time constant of auto-levels, seconds: slow enough not to pump with every hand."""
FEEDBACK_RATE = 30.0
"""`feedback` is the weight kept per 1/30 s, so that trails are as long at every frame rate."""
LONGEST_ZOOM = 10.0
"""Seconds for which a picture that feeds back goes on growing while nobody sees it."""

Play = Callable[[Tensor], Tensor]
"""A generator that is ready to play: ``(1, 1, h, w)`` in [-1, 1] to ``(1, 3, h, w)`` in [-1, 1]."""


@dataclass(slots=True)
class Knobs:
    """The numbers of one frame. `*_keep` are weights of what is remembered, 0…1, already made of seconds."""

    brightness: Scalar = 0.0
    contrast: Scalar = 1.0
    gamma: Scalar = 1.0
    invert: Scalar = 0.0
    auto_levels: Scalar = 0.0
    levels_keep: Scalar = 0.0
    input_keep: Scalar = 0.0
    crossfade: Scalar = 0.0
    saturation: Scalar = 1.0
    feedback_keep: Scalar = 0.0
    feedback_zoom: Scalar = 1.0
    output_keep: Scalar = 0.0
    light: Scalar = 1.0
    mix: Scalar = 1.0


KNOB_FIELDS = tuple(f.name for f in fields(Knobs))

Seeds = tuple[float, float, float, float]
"""Weights of a generator's seed fields (`models.engines.base.Engine.seeds`)."""


class Drift:
    """Where the seed fields are between which a dream drifts: a point on a sphere, on a way that never closes."""

    def __init__(self) -> None:
        self._angle = 0.0
        self._then = math.inf

    def __call__(self, params: Params, now: float) -> Seeds:
        """The weights of the fields for a frame at `now`, in seconds.

        With ``a`` the angle gone so far, a quarter turn for each dream, ``b = (√2 - 1) a`` and ``c = (√5 - 1) a / 2``:
        ``texture · (cos a cos b, sin a cos b, cos c sin b, sin c sin b)``. Its length is `texture`, so the field stays
        white noise; it begins with the first field, comes back to none, and stays where it is when `drift` is 0.
        """
        self._angle += params.drift * max(now - self._then, 0.0) * math.pi / 2
        self._then = now
        a, b, c = self._angle, (math.sqrt(2) - 1) * self._angle, (math.sqrt(5) - 1) / 2 * self._angle
        one, other = params.texture * math.cos(b), params.texture * math.sin(b)
        return one * math.cos(a), one * math.sin(a), other * math.cos(c), other * math.sin(c)


@dataclass(frozen=True, slots=True)
class Since:
    """Seconds since each part of a `Memory` was refreshed; infinite for one that never was."""

    luma: float = math.inf
    levels: float = math.inf
    picture: float = math.inf


def knobs_for(params: Params, since: Since, crossfade: float) -> Knobs:
    """The numbers for a frame that comes `since` the memory was refreshed.

    `crossfade` runs from 0 (generator A) to 1 (generator B).
    """
    trail = since.picture * FEEDBACK_RATE
    grown = min(since.picture, LONGEST_ZOOM) * FEEDBACK_RATE
    return Knobs(
        brightness=params.brightness,
        contrast=params.contrast,
        gamma=params.gamma,
        invert=float(params.invert),
        auto_levels=params.auto_levels,
        levels_keep=decay(since.levels, LEVELS_MEMORY),
        input_keep=decay(since.luma, params.input_smoothing),
        crossfade=crossfade,
        saturation=params.saturation,
        feedback_keep=params.feedback**trail if params.feedback else 0.0,
        feedback_zoom=compose.FEEDBACK_ZOOM**grown,
        output_keep=decay(since.picture, params.output_smoothing),
        light=1.0 - params.fade,
        mix=params.mix,
    )


@dataclass(frozen=True, slots=True)
class Route:
    """Which steps a frame takes.

    Attributes:
        auto_levels: the luma is spread.
        feedback: the last picture shows through.
        crossfade: two generators play.
        conditioned: what is shown is the conditioned luma; no generator plays.
    """

    auto_levels: bool = False
    feedback: bool = False
    crossfade: bool = False
    conditioned: bool = False


class Memory:
    """What a canvas of (width, height) remembers from frame to frame; fixed buffers, and when each was refreshed."""

    def __init__(self, canvas: tuple[int, int], device: torch.device) -> None:
        width, height = canvas
        self.luma = torch.zeros(1, 1, height, width, device=device)
        self.levels = torch.zeros(2, device=device)
        self.picture = torch.zeros(1, 3, height, width, device=device)
        self._refreshed = {"luma": -math.inf, "levels": -math.inf, "picture": -math.inf}

    def since(self, now: float) -> Since:
        return Since(**{name: max(now - then, 0.0) for name, then in self._refreshed.items()})

    def refreshed(self, route: Route, now: float) -> None:
        """A frame took `route`: what it passed is as new as `now`; the rest goes on ageing."""
        self._refreshed["luma"] = now
        if route.auto_levels:
            self._refreshed["levels"] = now
        if not route.conditioned:
            self._refreshed["picture"] = now


Detail = tuple[Tensor, Tensor, Tensor, Tensor]
"""The four matrices of `condition.apply_detail`."""


def conditioned(luma: Tensor, memory: Memory, knobs: Knobs, detail: Detail, route: Route) -> Tensor:
    """``(1, 1, h, w)`` luma in 0…1, as the generator will see it, from a sampled one."""
    return condition.apply_detail(levelled(luma, memory, knobs, route), *detail)


def levelled(luma: Tensor, memory: Memory, knobs: Knobs, route: Route) -> Tensor:
    """`conditioned`, but for the detail."""
    memory.luma.lerp_(luma, _rest(knobs.input_keep))
    x = memory.luma
    if route.auto_levels:
        memory.levels.lerp_(condition.statistics(x), _rest(knobs.levels_keep))
        x = condition.spread(x, memory.levels[0], memory.levels[1], knobs.auto_levels)
    if not _at_rest((knobs.brightness, 0.0), (knobs.contrast, 1.0), (knobs.gamma, 1.0), (knobs.invert, 0.0)):
        x = condition.levels(x, knobs.brightness, knobs.contrast, knobs.gamma, knobs.invert)
    return x


def imagined(luma: Tensor, a: Play, b: Play | None, knobs: Knobs) -> Tensor:
    """``(1, 3, h, w)`` RGB in 0…1 from the conditioned luma; with `b`, `a` fades over to it."""
    x = asked(luma)
    return answered(a(x), b(x) if b is not None else None, knobs)


def asked(luma: Tensor) -> Tensor:
    """What a generator is given, in -1…1."""
    return torch.mul(luma, 2).sub_(1)


def answered(picture: Tensor, other: Tensor | None, knobs: Knobs) -> Tensor:
    """``(1, 3, h, w)`` RGB in 0…1 of what one generator gave, or two between which it fades."""
    if other is not None:
        picture = torch.lerp(picture, other, knobs.crossfade)
    rgb = torch.mul(picture, 0.5).add_(0.5)  # of its own: what a generator returns may be its buffer
    return rgb.nan_to_num_(0.5, 1.0, 0.0)  # one broken picture must not stay in the memory for good


def developed(rgb: Tensor, memory: Memory, knobs: Knobs, route: Route) -> Tensor:
    """``(1, 3, h, w)``: feedback and smoothing over time, which are remembered, then saturation, which acts at once."""
    if route.feedback:
        rgb = compose.feed_back(rgb, memory.picture, knobs.feedback_keep, knobs.feedback_zoom)
    memory.picture.lerp_(rgb, _rest(knobs.output_keep))
    return memory.picture if _at_rest((knobs.saturation, 1.0)) else compose.saturate(memory.picture, knobs.saturation)


def _at_rest(*knobs: tuple[Scalar, float]) -> bool:
    """Every value is the one that changes nothing; unknown, so False, of a tensor (a captured step always runs)."""
    return all(isinstance(value, float) and value == neutral for value, neutral in knobs)


def _rest(keep: Scalar) -> Scalar:
    return 1 - keep
