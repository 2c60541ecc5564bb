"""Clouds: a layer of air with fractal density, its light marched from the eye and from there towards the sun.

Extinction after Beer and Lambert, Henyey and Greenstein's phase function with a bright forward lobe (silver linings),
and scattering of higher orders as a sum of ever more transparent copies of the first (M. Wrenninge et al., Oz: The
Great and Volumetric, 2013). Edges are worn by finer noise that is taken away (A. Schneider, Horizon Zero Dawn, 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from l2s_node.train.scenes._tools import Block, Camera, Draw, develop, direction, exposed, fractal, smooth

TILE, POINTS = 128.0, 128
"""The noise repeats after so many units of length, and has so many points along them."""

STEPS = 88
"""Along a ray through the clouds."""

FINER = 1.5
"""Rays along a pixel's side."""

REACH, DEEPEST = 260.0, 4000.0
"""How far a ray is followed through the layer, and how far away it may enter it."""


@dataclass(frozen=True)
class Light:
    """Colours are linear RGB; `low` is the sun's elevation in degrees, least and most; `power` that of its light."""

    sun: tuple[float, float, float]
    ambient: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    low: tuple[float, float]
    power: float = 1.0


LIGHTS = {
    "noon": Light((1.0, 0.96, 0.90), (0.34, 0.45, 0.62), (0.07, 0.19, 0.50), (0.52, 0.68, 0.86), (20, 75), 3.4),
    "deep": Light((1.0, 0.95, 0.88), (0.26, 0.36, 0.55), (0.03, 0.10, 0.32), (0.38, 0.56, 0.80), (25, 75), 3.6),
    "pale": Light((1.0, 0.96, 0.91), (0.42, 0.50, 0.60), (0.22, 0.36, 0.58), (0.66, 0.74, 0.82), (15, 60), 2.6),
    "grey": Light((1.0, 0.98, 0.96), (0.36, 0.41, 0.48), (0.18, 0.23, 0.30), (0.50, 0.55, 0.60), (25, 70), 1.5),
    "gold": Light((1.0, 0.66, 0.33), (0.26, 0.27, 0.36), (0.10, 0.18, 0.38), (0.95, 0.66, 0.36), (3, 12), 3.4),
    "rose": Light((1.0, 0.52, 0.36), (0.22, 0.23, 0.32), (0.09, 0.15, 0.30), (0.88, 0.50, 0.36), (1, 6), 3.0),
    "ember": Light((1.0, 0.36, 0.14), (0.12, 0.13, 0.22), (0.04, 0.07, 0.20), (0.85, 0.33, 0.13), (0.5, 4), 3.2),
    "moon": Light((0.75, 0.85, 1.0), (0.10, 0.13, 0.20), (0.012, 0.022, 0.055), (0.05, 0.075, 0.12), (15, 60), 1.1),
}


@dataclass(frozen=True)
class Layer:
    """Where the clouds are and how they are made.

    Attributes:
        base, top: heights, in units of length (some 50 metres).
        cover: noise above this is cloud.
        across, along: how often the noise is repeated horizontally; unequal ones make streets and fibres.
        worn: how much finer noise takes from the edges.
        thick: extinction a unit.
        flat: how strongly base and top cut.
        lights: those that suit, by name.
    """

    base: float
    top: float
    cover: float
    across: float = 0.55
    along: float = 0.55
    worn: float = 1.0
    thick: float = 2.2
    flat: float = 1.0
    lights: tuple[str, ...] = ("noon", "deep", "noon", "pale", "gold", "rose")


def draw(generator: torch.Generator, size: int, device: torch.device) -> Tensor:
    """A sky ``(3, size, size)`` RGB 0…1."""
    dice = Draw(generator, device)
    kind = dice.choice(tuple(KINDS))
    layer = KINDS[kind](dice)
    name = dice.choice(layer.lights)
    sky = Sky(dice, layer, LIGHTS[name], above=kind == "below us")
    light = sky.render(round(size * FINER))
    grey = name in ("grey", "moon")
    target = dice.uniform(0.35, 0.65) if grey else dice.uniform(0.75, 1.25)
    return develop(exposed(light, target, 0.95), size, dice.uniform(0.95, 1.12), dice.uniform(0.002, 0.008), dice)


# --- weather ---------------------------------------------------------------------------------------------------------


def _fair(dice: Draw) -> Layer:
    size = dice.uniform(0.42, 0.75)
    return Layer(18, dice.uniform(38, 60), dice.uniform(0.1, 0.6), size, size * dice.uniform(0.9, 1.2))


def _towers(dice: Draw) -> Layer:
    size = dice.uniform(0.30, 0.45)
    return Layer(16, dice.uniform(70, 105), dice.uniform(0.05, 0.5), size, size, thick=2.8, flat=0.8)


def _storm(dice: Draw) -> Layer:
    size = dice.uniform(0.30, 0.45)
    cover = dice.uniform(-0.7, -0.1)
    lights = ("grey", "grey", "pale", "ember", "moon")
    return Layer(14, dice.uniform(48, 74), cover, size, size * 1.3, thick=2.4, lights=lights)


def _streets(dice: Draw) -> Layer:
    size = dice.uniform(0.25, 0.5)
    top = dice.uniform(27, 34)
    return Layer(20, top, dice.uniform(-0.3, 0.35), size, size * dice.uniform(1.6, 3.0), 0.85, 1.6, 0.75)


def _mackerel(dice: Draw) -> Layer:
    size = dice.uniform(1.1, 1.7)
    return Layer(40, dice.uniform(44, 47), dice.uniform(-0.1, 0.4), size, size * dice.uniform(1.0, 1.6), 0.75, 1.1, 0.6)


def _feathers(dice: Draw) -> Layer:
    lights = ("deep", "noon", "pale", "rose", "gold")
    cover, top = dice.uniform(-0.1, 0.35), dice.uniform(47, 50)
    return Layer(44, top, cover, dice.uniform(0.10, 0.2), dice.uniform(0.6, 1.1), 1.5, 0.35, 0.45, lights)


def _burning(dice: Draw) -> Layer:
    layer = dice.choice((_fair, _streets, _mackerel, _towers))(dice)
    return replace(layer, lights=("ember", "rose", "gold"))


def _below(dice: Draw) -> Layer:
    size = dice.uniform(0.4, 0.65)
    lights = ("noon", "deep", "pale", "gold", "rose")
    return Layer(10, dice.uniform(26, 44), dice.uniform(-0.5, 0.15), size, size, lights=lights)


KINDS = {
    "fair": _fair,
    "fair again": _fair,
    "towers": _towers,
    "storm": _storm,
    "streets": _streets,
    "mackerel": _mackerel,
    "feathers": _feathers,
    "burning": _burning,
    "below us": _below,
}


# --- light -----------------------------------------------------------------------------------------------------------


class Sky:
    """One draw of air, sun and camera."""

    def __init__(self, dice: Draw, layer: Layer, light: Light, above: bool) -> None:
        """`above` the clouds, or below them."""
        self.dice, self.layer, self.light, self.above = dice, layer, light, above
        self.base = Block(fractal(dice, (POINTS,) * 3, 1.95)[None], TILE)
        self.billows = Block(fractal(dice, (POINTS,) * 3, 1.6).abs()[None], TILE)
        self.stretch = dice.colour((layer.across, layer.along, 0.9))
        self.wind = dice.colour((dice.uniform(-0.35, 0.35), dice.uniform(-0.35, 0.35), 0.0))
        self.camera = self._look()
        height = layer.top + dice.uniform(3, 20) if above else 0.0
        self.eye = dice.colour((dice.uniform(0, 999), dice.uniform(0, 999), height))
        low = light.low[1] < 15
        towards = dice.gauss(0, 0.8) if low or dice.chance(0.3) else dice.uniform(-math.pi, math.pi)
        elevation = math.radians(dice.uniform(*light.low))
        self.sun = direction(self.camera.yaw + towards, elevation, dice.device)
        self.haze = dice.uniform(220, 620) * (1.6 if layer.base > 35 else 1.0)

    def _look(self) -> Camera:
        dice = self.dice
        spread = dice.uniform(0.22, 0.72)
        lowest = math.atan(spread)  # the horizon is at the lower edge
        if self.above:
            pitch = math.radians(dice.uniform(-34, -3))
        elif dice.chance(0.5):
            pitch = lowest + math.radians(dice.uniform(-1, 8))
        elif dice.chance(0.35):
            pitch = math.radians(dice.uniform(70, 90))
        else:
            pitch = max(lowest, math.radians(dice.uniform(20, 68)))
        return Camera(pitch, dice.uniform(-math.pi, math.pi), dice.gauss(0, 0.03), spread)

    def render(self, side: int) -> Tensor:
        """Linear light ``(side, side, 3)``."""
        rays = self.camera.rays(side, self.dice.device)
        sky, veil = self._air(rays)
        down = rays[:, 2:].clamp(max=0).neg()
        sea = self.dice.colour(self.light.zenith) * 0.35 + self.dice.colour(self.light.ambient) * 0.06
        ground = veil + (sea - veil) * (1 - torch.exp(-down * (9 if self.above else 40)))
        back = torch.where(rays[:, 2:] < 0, ground, sky)
        light, clear = self._march(rays, veil)
        return (light + clear[:, None] * back).view(side, side, 3)

    def _air(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """The clear sky along `rays` with the sun in it, and the light of haze between here and the horizon."""
        light, colour = self.light, self.dice.colour
        up = rays[:, 2:].clamp(0, 1)
        near = (rays @ self.sun)[:, None].clamp(0, 1)
        sun = colour(light.sun) * light.power
        low = light.low[1] < 15
        halo = sun * ((0.10 if low else 0.03) * near**6 + (0.16 if low else 0.07) * near**48)
        disc = sun * (6 * smooth(0.99986, 0.99996, near) + 0.8 * near**1800)
        clear = colour(light.zenith) + (colour(light.horizon) - colour(light.zenith)) * (1 - up) ** 4.5
        return clear + halo + disc, colour(light.horizon) * 0.93 + 0.8 * halo

    def _march(self, rays: Tensor, veil: Tensor) -> tuple[Tensor, Tensor]:
        """Light of the clouds along `rays` and how much of what is behind them comes through."""
        layer, dice = self.layer, self.dice
        down = rays[:, 2].abs().clamp_min(1e-3).copysign(rays[:, 2])
        ends = torch.stack([(layer.base - self.eye[2]) / down, (layer.top - self.eye[2]) / down]).clamp(0, DEEPEST)
        enter, length = ends.amin(0), (ends.amax(0) - ends.amin(0)).clamp(max=REACH)
        light, clear = torch.zeros_like(rays), torch.ones_like(enter)
        phase, jitter = self._phase(rays @ self.sun), dice.even(len(rays))
        alive = torch.nonzero(length > 1e-3)[:, 0]
        for step in range(STEPS):
            if step % 8 == 0:
                alive = alive[clear[alive] > 0.01]
            # finer where the ray enters than in its depth
            here, there = (0.55 * f + 0.45 * f * f for f in (step / STEPS, (step + 1) / STEPS))
            path = length[alive] * (there - here)
            away = enter[alive] + length[alive] * here + path * jitter[alive]
            points = self.eye + rays[alive] * away[:, None]
            density = self._density(points, away)
            full = density > 1e-4
            index, points, density, away = alive[full], points[full], density[full], away[full]
            if len(index) == 0:
                continue
            glow = self._scattered(points, density, phase[index])
            fog = torch.exp(-away / self.haze)[:, None]
            opaque = 1 - torch.exp(-density * path[full] * layer.thick)
            light[index] += (clear[index] * opaque)[:, None] * (glow * fog + veil[index] * (1 - fog))
            clear[index] *= 1 - opaque
        return light, clear

    def _density(self, points: Tensor, away: Tensor, fine: bool = True) -> Tensor:
        """0…1 at `points` ``(m, 3)``; `away` from the eye with less detail, not `fine` with none."""
        layer = self.layer
        height = (points[:, 2] - layer.base) / (layer.top - layer.base)
        profile = (height / 0.12).clamp(0, 1) * (1 - height).clamp(0, 1) ** 0.7
        at = (points + self.wind * (points[:, 2:] - layer.base)) * self.stretch
        wide = self.base(at)[0]
        density = wide - layer.cover + layer.flat * (profile - 1.05)
        found = torch.nonzero((density > -0.8) & (height > 0) & (height < 1))[:, 0]
        rough = self.base(at[found] * 3.8 + 17)[0]
        warp = torch.stack([rough, wide[found], -rough], 1)
        worn = self._worn(at[found], warp, away[found]) if fine else 0.30
        part = density[found] + 0.28 * rough - layer.worn * worn
        return torch.zeros_like(density).index_copy(0, found, part.clamp(0, 1))

    def _worn(self, at: Tensor, warp: Tensor, away: Tensor) -> Tensor:
        """What finer noise takes from the edges at stretched points ``(m, 3)``."""
        layer = self.layer
        fibres = layer.across < 0.3 or layer.along > 0.62  # detail follows the stretch
        at = at * 7 + warp * 2 if fibres else at / self.stretch * 5.3 + warp * 0.9
        near = torch.exp(-away / 260)
        worn = 0.30 * self.billows(at)[0] + 0.10 * self.billows(at * 2.7 + 5)[0] * near
        return worn + 0.03 * self.billows(at * 6.9 + 31)[0] * near**2

    def _scattered(self, points: Tensor, density: Tensor, phase: Tensor) -> Tensor:
        """Light ``(m, 3)`` that cloud at `points` sends to the eye: the sun's, dimmed on its way, and the sky's."""
        layer, light, colour = self.layer, self.light, self.dice.colour
        depth, last = torch.zeros_like(density), 0.0
        scale = max((layer.top - layer.base) / 34, 0.25)
        for step in (0.9, 2.2, 4.5, 9.0):
            depth = depth + self._density(points + self.sun * step * scale, depth, fine=False) * (step - last) * scale
            last = step
        depth = depth * layer.thick * 0.75
        direct = torch.exp(-depth) * phase + 0.30 * torch.exp(-depth * 0.28) + 0.07 * torch.exp(-depth * 0.08)
        direct = direct * (1 - 0.45 * torch.exp(-density * 9))  # thin edges scatter less towards the eye
        height = ((points[:, 2:] - layer.base) / (layer.top - layer.base)).clamp(0, 1)
        return colour(light.sun) * light.power * 0.62 * direct[:, None] + colour(light.ambient) * (0.20 + 0.48 * height)

    def _phase(self, cosine: Tensor) -> Tensor:
        def lobe(g: float) -> Tensor:
            return (1 - g * g) / (1 + g * g - 2 * g * cosine) ** 1.5

        return 0.34 + 0.20 * lobe(0.62).clamp(max=7) + 0.08 * lobe(-0.25)
