"""Fire: gas that is traced back from every pixel, down through a turbulent updraft, to the burner that it came from.

The flow is prescribed: an updraft that gains speed as it rises (which draws flames out into tongues), air that streams
in from the sides, and divergence-free turbulence that rises with it (R. Bridson et al., Curl-Noise for Procedural Fluid
Flow, 2007). Along its way the gas burns and cools. Because each pixel is traced by itself, edges are as sharp as the
picture, and nothing smears or rings as it does where a fluid is moved over a grid. Several sheets of gas, one behind
the other, shine through each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from l2s_node.train.scenes._tools import Block, Draw, blurred, develop, exposed, fractal, smooth

POINTS = 64
"""Of the noise along each axis; it repeats every length 1."""

STEPS = 54
"""From a pixel down to the burner."""

FINER = 1.5
"""Traces along a pixel's side."""

START, GAIN = 0.55, 1.7
"""The updraft at height y is ``START + GAIN * sqrt(y)`` a second; a picture is 2 high."""

SCALES = ((1.9, 0.42), (0.83, 0.34), (0.37, 0.15))
"""Lengths over which the turbulence repeats, and its speed at each. Shorter ones would show as a comb."""


@dataclass(frozen=True)
class Fire:
    """What burns, and how one looks at it.

    Attributes:
        seats: of the flames: (across, half width, strength) each; None for a wall of fire.
        inward: how fast air streams towards the middle, 1/s.
        wild: of the turbulence, 1 for an ordinary one.
        cool: heat that is lost a second.
        zoom: half the picture's width.
        foot: height of its lower edge over the burner.
        hue: green over red of the light, as power; less is yellower.
        light: exposure.
        smoke: 0…1.
        gas: how blue the foot burns, 0…1.
    """

    seats: tuple[tuple[float, float, float], ...] | None
    inward: float
    wild: float
    cool: float
    zoom: float
    foot: float
    hue: float
    light: float
    smoke: float
    gas: float


@torch.no_grad()
def draw(generator: torch.Generator, size: int, device: torch.device) -> Tensor:
    """A fire ``(3, size, size)`` RGB 0…1, on black."""
    dice = Draw(generator, device)
    fire = KINDS[dice.choice(tuple(KINDS))](dice)
    side = round(size * FINER)
    light = Flames(dice, fire).render(side)
    light = light + _sparks(dice, fire, side)
    picture = light.permute(2, 0, 1)[None]
    picture = blurred(picture, side / 700 * dice.choice((0.6, 0.6, 1.0, 2.0)))
    for reach, part in ((0.012, 0.10), (0.05, 0.07), (0.16, 0.05)):  # scattered in lens and air
        picture = picture + part * blurred(picture, reach * side)
    light = exposed(picture[0].permute(1, 2, 0), fire.light, 0.96)
    return develop(light, size, dice.uniform(1.0, 1.15), dice.uniform(0.002, 0.007), dice)


# --- kinds -----------------------------------------------------------------------------------------------------------


def _camp(dice: Draw) -> Fire:
    seats = tuple(
        (dice.gauss(0, 0.35), dice.uniform(0.10, 0.30), dice.uniform(0.6, 1.1)) for _ in range(dice.count(4, 8))
    )
    return _common(dice, seats, dice.uniform(0.15, 0.5), dice.uniform(0.8, 1.2), dice.uniform(-0.05, 0.15))


def _torch(dice: Draw) -> Fire:
    seats = ((dice.gauss(0, 0.2), dice.uniform(0.16, 0.36), 1.15),)
    return _common(dice, seats, dice.uniform(0.3, 0.8), dice.uniform(0.7, 1.1), dice.uniform(-0.1, 0.1))


def _wall(dice: Draw) -> Fire:
    return _common(dice, None, 0.0, dice.uniform(0.7, 1.3), dice.uniform(-0.05, 0.35))


def _close(dice: Draw) -> Fire:
    return _common(dice, None, dice.uniform(0, 0.2), dice.uniform(0.3, 0.6), dice.uniform(0.05, 0.5))


def _row(dice: Draw) -> Fire:
    places = [(i - 3.5) * 0.30 + dice.gauss(0, 0.05) for i in range(8)]
    seats = tuple((place, dice.uniform(0.06, 0.13), dice.uniform(0.5, 1.1)) for place in places)
    return _common(dice, seats, 0.05, dice.uniform(0.7, 1.1), dice.uniform(0.0, 0.12))


KINDS = {
    "camp": _camp,
    "camp again": _camp,
    "torch": _torch,
    "wall": _wall,
    "wall again": _wall,
    "close": _close,
    "row": _row,
}


def _common(
    dice: Draw, seats: tuple[tuple[float, float, float], ...] | None, inward: float, zoom: float, foot: float
) -> Fire:
    """A fire of these seats with all else drawn."""
    return Fire(
        seats,
        inward,
        wild=dice.uniform(0.65, 1.15),
        cool=dice.uniform(0.55, 1.25) if seats is None else dice.uniform(0.8, 1.6),
        zoom=zoom,
        foot=foot,
        hue=dice.uniform(0.85, 1.35),
        light=dice.choice((dice.uniform(0.30, 0.55), dice.uniform(0.5, 0.9), dice.uniform(0.8, 1.6))),
        smoke=dice.uniform(0, 1) if dice.chance(0.5) else 0.0,
        gas=dice.uniform(0.2, 0.8) if dice.chance(0.12) else 0.0,
    )


# --- flames ----------------------------------------------------------------------------------------------------------


class Flames:
    """Sheets of burning gas, seen from the side: x to the right, y up from the burner, z away."""

    def __init__(self, dice: Draw, fire: Fire) -> None:
        self.dice, self.fire = dice, fire
        stream = fractal(dice, (POINTS,) * 3, 2.9)
        whirl = torch.stack([stream.roll(-1, 1) - stream.roll(1, 1), stream.roll(1, 2) - stream.roll(-1, 2)])
        self.whirl = Block(whirl / whirl.std(), 1.0)
        self.fuel = Block(fractal(dice, (POINTS,) * 3, 1.7)[None], 1.0)
        self.depths = [0.14 * i + dice.uniform(0, 0.05) for i in range(dice.count(3, 5))]

    def render(self, side: int) -> Tensor:
        """Light ``(side, side, 3)``."""
        fire = self.fire
        line = (torch.arange(side, device=self.dice.device) + 0.5) / side * 2
        y, x = torch.meshgrid(2 - line, line - 1, indexing="ij")
        start = torch.stack([x.reshape(-1) * fire.zoom, y.reshape(-1) * fire.zoom + fire.foot], 1)
        seen = torch.nonzero(start[:, 1] > 0)[:, 0]
        light = torch.zeros(side * side, 3, device=self.dice.device)
        clear = torch.ones(side * side, 1, device=self.dice.device)
        for depth in self.depths:
            glow, dense = self._sheet(start[seen], depth)
            light[seen] += clear[seen] * glow
            clear[seen] *= 1 - dense
        return light.view(side, side, 3)

    def _sheet(self, start: Tensor, depth: float) -> tuple[Tensor, Tensor]:
        """Light ``(m, 3)`` of the gas at points ``(m, 2)`` of the sheet at `depth`, and how opaque it is ``(m, 1)``."""
        fire = self.fire
        foot, age = self._origin(start, depth)
        heat = self._supply(foot, age, depth) - fire.cool * age
        # the burner's edge is no line
        along = torch.stack([start[:, 0] * 1.7, torch.full_like(age, depth), torch.full_like(age, 0.5)], 1)
        uneven = self.fuel(along)[0]
        flame = smooth(0.0, 0.14, heat / (1 + 0.9 * age)) * smooth(
            0.0, 1.0, start[:, 1] / (0.06 + 0.025 * uneven).clamp_min(0.01)
        )
        heat = heat.clamp(0, 1.15)
        # brightest in the thin sheet where gas meets air, dimmer within
        amount = flame * (0.22 + 1.5 * heat**1.6) * (1 - 0.35 * smooth(0.5, 1.2, heat))
        green, blue = 0.09 + 0.30 * heat**fire.hue, 0.003 + 0.055 * heat ** (2.2 * fire.hue)
        glow = torch.stack([amount, amount * green, amount * blue], 1)
        young = torch.exp(-((age / 0.22) ** 2)) * flame
        gas = self.dice.colour((0.01, 0.13, 0.75)) * (fire.gas * 0.8 * young)[:, None]
        glow = glow * (1 - 0.85 * fire.gas * young)[:, None] + gas
        smoke = smooth(-0.9, -0.1, heat - 0.35 * age) * (1 - flame) * smooth(0.3, 1.0, age) * fire.smoke
        glow = glow + self.dice.colour((0.030, 0.014, 0.007)) * smoke[:, None]
        return glow, (0.50 * flame + 0.25 * smoke)[:, None]

    def _origin(self, points: Tensor, depth: float) -> tuple[Tensor, Tensor]:
        """Where on the burner the gas at `points` ``(m, 2)`` left it, and how many seconds ago."""
        fire = self.fire
        root = points[:, 1].sqrt()
        age = 2 / GAIN * (root - START / GAIN * torch.log1p(root * GAIN / START))
        step = (age / STEPS)[:, None]
        at, passed = points.clone(), torch.zeros_like(step)
        for _ in range(STEPS):
            height = at[:, 1:].clamp_min(0)
            rise = START + GAIN * height.sqrt()
            wild = fire.wild * (0.25 + 0.75 * smooth(0.0, 0.8, height))
            drift = torch.cat([-fire.inward * at[:, :1], rise], 1)
            for scale, speed in SCALES:
                # the eddies rise with the gas, somewhat slower
                cell = torch.cat([at[:, :1], at[:, 1:] + 0.75 * passed], 1) / scale
                place = torch.cat([cell, torch.full_like(step, depth / scale + scale)], 1)
                drift = drift + wild * speed * self.whirl(place).T
            at = at - drift * step
            passed = passed + step
        return at[:, 0], age + (at[:, 1] / START).clamp(-0.3, 0.3)

    def _supply(self, foot: Tensor, age: Tensor, depth: float) -> Tensor:
        """Heat of the gas ``(m,)`` that left the burner at `foot`, so long ago: lumps that flare up and die down."""
        fire, level = self.fire, torch.full_like(foot, depth)

        def flicker(across: float, fast: float) -> Tensor:
            return self.fuel(torch.stack([foot * across, age * fast + across, level * across], 1))[0]

        lumps = 0.34 * flicker(0.45, 0.7) + 0.22 * flicker(1.2, 1.5) + 0.07 * flicker(2.9, 2.4)
        if fire.seats is None:
            return 0.70 + 1.15 * lumps
        bed = torch.zeros_like(foot)
        for index, (place, width, strength) in enumerate(fire.seats):
            off = (foot - place - 0.05 * math.sin(7.0 * index + 9.0 * depth)) / width
            bed = torch.maximum(bed, strength * (1.15 - off.square()))
        return bed.clamp_min(-0.5).clamp(max=1.0) * (0.92 + lumps)


def _sparks(dice: Draw, fire: Fire, side: int) -> Tensor:
    """Glowing bits that fly up, drawn out by the exposure: ``(side, side, 3)``."""
    line = torch.arange(side, device=dice.device) / side
    y, x = torch.meshgrid(line, line, indexing="ij")
    light = torch.zeros(side, side, device=dice.device)
    for _ in range(dice.count(4, 40) if dice.chance(0.45) else 0):
        left, top, length = dice.uniform(0, 1), dice.uniform(0, 0.9), dice.uniform(0.003, 0.05)
        lean = dice.gauss(0, 0.35)
        along = ((y - top) / length).clamp(0, 1)
        bend = left + lean * length * (along - 0.5 * along.square())
        off = (x - bend).square() + (y - top - along * length).square()
        width = dice.uniform(0.0006, 0.0016)
        light = light + dice.uniform(0.3, 2.5) * torch.exp(-off / (2 * width**2))
    return light[..., None] * dice.colour((1.0, 0.42, 0.10)) * 0.4
