"""Sea: a spectral ocean seen from its surface, from a cliff and from the air, and a beach that it breaks on.

What a pixel can't resolve widens the sun's glitter and softens Fresnel's reflection (E. Bruneton et al., Real-time
Realistic Ocean Lighting, 2010). Waves and foam are made in `_waves`, breakers in
`_shore`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.train.scenes._shore import Shore
from l2s_node.train.scenes._tools import Camera, Draw, Tile, develop, direction, exposed, fractal, smooth
from l2s_node.train.scenes._waves import GRID, Patch, Sea, lace

STEPS, HALVINGS = 40, 6
FAR = 6000.0
FINER = 6.3
"""How many times as large each patch is as the next."""

SHARPER = 2
"""Rays along a pixel's side."""


@dataclass(frozen=True)
class Weather:
    """Light and water of a picture; colours are linear RGB.

    Attributes:
        zenith, horizon: of the sky.
        sun: its light; the sky's is around 0.5.
        elevation: of the sun, degrees, least and most.
        deep, scattered: of the water: what comes from below, and what a lit crest sends through.
        cloud: 0…1 of the sky.
        rough: wind, least and most, 0…1.
        key: what the picture's bright parts are exposed to.
    """

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    sun: tuple[float, float, float]
    elevation: tuple[float, float]
    deep: tuple[float, float, float]
    scattered: tuple[float, float, float]
    cloud: float
    rough: tuple[float, float] = (0.0, 1.0)
    key: float = 0.9


WEATHER = {
    "clear": Weather(
        (0.06, 0.17, 0.48), (0.50, 0.66, 0.86), (22, 20, 18), (18, 60),
        (0.003, 0.020, 0.050), (0.01, 0.15, 0.19), 0.3,
    ),
    "tropic": Weather(
        (0.08, 0.24, 0.58), (0.55, 0.74, 0.90), (22, 21, 19), (35, 75),
        (0.004, 0.085, 0.125), (0.02, 0.36, 0.36), 0.25, (0.05, 0.6),
    ),
    "green": Weather(
        (0.15, 0.25, 0.42), (0.62, 0.70, 0.76), (15, 14, 12.5), (18, 60),
        (0.006, 0.036, 0.036), (0.03, 0.20, 0.16), 0.5,
    ),
    "grey": Weather(
        (0.26, 0.30, 0.35), (0.60, 0.64, 0.68), (0.9, 0.9, 0.9), (35, 70),
        (0.006, 0.018, 0.024), (0.02, 0.08, 0.085), 0.9, key=0.7,
    ),
    "storm": Weather(
        (0.10, 0.13, 0.16), (0.42, 0.46, 0.49), (1.0, 1.0, 1.0), (20, 50),
        (0.004, 0.014, 0.018), (0.02, 0.10, 0.10), 1.0, (0.6, 1), 0.6,
    ),
    "dusk": Weather(
        (0.07, 0.10, 0.24), (0.95, 0.44, 0.19), (14, 5.6, 1.7), (1.5, 8),
        (0.005, 0.008, 0.018), (0.03, 0.03, 0.04), 0.5, (0.1, 0.9),
    ),
    "gold": Weather(
        (0.16, 0.22, 0.36), (0.98, 0.68, 0.35), (18, 11, 4.8), (6, 20),
        (0.007, 0.016, 0.022), (0.06, 0.07, 0.05), 0.4, (0.1, 0.9),
    ),
    "rose": Weather(
        (0.15, 0.20, 0.33), (0.86, 0.52, 0.42), (11, 5, 3.6), (2, 8),
        (0.006, 0.011, 0.026), (0.04, 0.04, 0.06), 0.5, (0.0, 0.6),
    ),
    "blue hour": Weather(
        (0.03, 0.06, 0.17), (0.28, 0.30, 0.42), (0.2, 0.2, 0.3), (2, 10),
        (0.002, 0.006, 0.016), (0.01, 0.03, 0.05), 0.7, (0.0, 0.7), 0.4,
    ),
    "moon": Weather(
        (0.010, 0.018, 0.045), (0.035, 0.055, 0.09), (2.4, 2.7, 3.2), (18, 50),
        (0.0008, 0.002, 0.005), (0.002, 0.008, 0.012), 0.4, key=0.4,
    ),
}  # fmt: skip
LIKELY = (*WEATHER, "clear", "clear", "tropic", "green", "green", "storm", "gold", "dusk")


@torch.no_grad()
def draw(generator: torch.Generator, size: int, device: torch.device) -> Tensor:
    """A sea ``(3, size, size)`` RGB 0…1."""
    dice = Draw(generator, device)
    weather = WEATHER[dice.choice(LIKELY)]
    light = Scene(dice, weather).render(SHARPER * size)
    light = exposed(light, weather.key * dice.uniform(0.8, 1.3), 0.93, 8.0)
    return develop(light, size, dice.uniform(0.92, 1.12), dice.uniform(0.003, 0.009), dice)


class Scene:
    """One draw of sea and camera."""

    def __init__(self, dice: Draw, weather: Weather) -> None:
        self.dice, self.weather = dice, weather
        self.rough = rough = dice.uniform(*weather.rough)
        fetch = dice.uniform(8e3, 40e3) * (0.5 + 4 * rough)
        white = 0.09 * max(rough - 0.15, 0.0) ** 1.5
        chop, fine = 0.9 + 0.55 * rough, dice.uniform(1.2, 3.0)
        self.sea = Sea(4 + 13 * rough, fetch, dice.uniform(-math.pi, math.pi), chop, fine, white)
        self.camera, self.above = self._look()
        towards = self.camera.yaw + (dice.gauss(0, 0.4) if dice.chance(0.6) else dice.uniform(-math.pi, math.pi))
        self.sun = direction(towards, math.radians(dice.uniform(*weather.elevation)), dice.device)
        self.sunlight = dice.colour(weather.sun) * (1 - 0.95 * weather.cloud**3)
        self.patches = self._patches()
        self.lace = Tile(lace(dice), 9.0)
        self.clouds = Tile(fractal(dice, (GRID, GRID), 1.75)[None], 1.0)
        self.eye, self.shore = self._stand()
        self.haze = dice.uniform(2000, 9000) * (0.5 if weather.cloud > 0.8 else 1.0)

    def _look(self) -> tuple[Camera, float]:
        """The camera, and how high above the crests it is, in metres."""
        dice = self.dice
        kind, spread = dice.choice(("low", "low", "cliff", "cliff", "air")), dice.uniform(0.2, 0.7)
        if kind == "low":
            pitch, above = dice.uniform(2, 16), dice.uniform(0.6, 6)
        elif kind == "cliff":
            pitch, above = dice.uniform(14, 50), dice.uniform(4, 30)
        else:
            pitch, above = dice.uniform(50, 90), dice.uniform(10, 80)
        roll = dice.gauss(0, 0.02) if pitch < 50 else dice.uniform(-math.pi, math.pi)
        return Camera(-math.radians(pitch), dice.uniform(-math.pi, math.pi), roll, spread), above

    def _stand(self) -> tuple[Tensor, Shore | None]:
        """Where the camera is ``(3,)``, and at times a shore in front of it."""
        dice, camera = self.dice, self.camera
        top = 3.0 * math.sqrt(sum(p.spread**2 for p in self.patches))
        eye = dice.colour((dice.uniform(0, 900), dice.uniform(0, 900), top + self.above))
        if self.rough > 0.75 or not dice.chance(0.4):
            return eye, None
        away = min((top + self.above) / math.tan(-camera.pitch), 70.0)
        middle = eye[:2] + away * direction(camera.yaw, 0.0, dice.device)[:2]
        return eye, Shore(dice, middle, camera.yaw, math.pi if camera.pitch < -0.9 else 1.3)

    def _patches(self) -> list[Patch]:
        length = min(2 * math.pi / self.sea.peak * 5, 500.0)
        made = []
        for index in range(3):
            # each takes over where the one before it runs out of points
            low = 1e-6 if index == 0 else 2 * math.pi / length * 6
            high = 2 * math.pi / length * (6 * FINER if index < 2 else GRID / 4)
            made.append(Patch(self.dice, length, (low, high), self.sea))
            length /= FINER
        return made

    def render(self, side: int) -> Tensor:
        """Linear light ``(side, side, 3)``."""
        rays = self.camera.rays(side, self.dice.device)
        light = self._sky(rays, disc=True)
        under = torch.nonzero(rays[:, 2] < -1e-3)[:, 0]
        if len(under):
            light[under] = self._water(rays[under], side)
        return light.view(side, side, 3)

    # --- sky ---------------------------------------------------------------------------------------------------------

    def _sky(self, rays: Tensor, disc: bool = False) -> Tensor:
        """Light ``(m, 3)`` from where `rays` point to; the sun's `disc` as well."""
        weather, colour = self.weather, self.dice.colour
        zenith, horizon, sun = colour(weather.zenith), colour(weather.horizon), self.sunlight
        up = rays[:, 2:3].clamp(0, 1)
        near = (rays @ self.sun)[:, None].clamp(0, 1)
        clear = zenith + (horizon - zenith) * (1 - up) ** 5
        glow = sun * (0.012 * near**6 + 0.03 * near**48 + 0.06 * near**600)
        at = rays[:, :2] / (up + 0.09) * 0.035
        thick = self.clouds(at)[0] + 0.4 * self.clouds(at * 3.1 + 0.3)[0]
        cover = smooth(1.3 - 2.2 * weather.cloud, 3.4 - 2.0 * weather.cloud, thick)[:, None] * smooth(0.0, 0.10, up)
        lit = 0.62 * horizon + 0.25 * zenith + 0.012 * sun * (0.4 + 1.5 * near**12) * (1 - 0.7 * cover)
        light = (clear + glow) * (1 - 0.85 * cover) + 0.85 * cover * lit
        if disc and weather.cloud < 0.85:
            light = light + sun * 2 * smooth(0.99985, 0.99996, near) * (1 - cover)
        return light

    # --- water -------------------------------------------------------------------------------------------------------

    def _height(self, points: Tensor) -> Tensor:
        breakers = self.shore.height(points[:, :2]) if self.shore else torch.zeros_like(points[:, 0])
        return sum((p.height(points[:, :2])[0] for p in self.patches[:2]), breakers)

    def _hit(self, rays: Tensor, origin: Tensor, top: float) -> Tensor:
        """How far along `rays` the surface is: the first crossing by steps, then by halving."""
        down = -rays[:, 2]
        near = ((origin[2] - top) / down).clamp(max=FAR)
        step = ((2 * top) / down).clamp(max=FAR) / STEPS
        distance, under = near.clone(), torch.zeros_like(near, dtype=torch.bool)
        for _ in range(STEPS):
            points = origin + rays * (distance + step)[:, None]
            under = under | (points[:, 2] < self._height(points))
            distance = torch.where(under, distance, distance + step)
        low, high = distance, distance + step
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            points = origin + rays * middle[:, None]
            inside = points[:, 2] < self._height(points)
            low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        return ((low + high) / 2).clamp(max=FAR)

    def _water(self, rays: Tensor, side: int) -> Tensor:
        """Light ``(m, 3)`` that comes along `rays`, which point downwards."""
        top = float(self.eye[2]) - self.above
        distance = self._hit(rays, self.eye, top)
        points = (self.eye + rays * distance[:, None])[:, :2]
        # metres of sea under a ray: the mean of its width and its length along the view
        foot = distance * self.camera.spread * 2 / side / (-rays[:, 2]).clamp_min(0.02).sqrt()
        slope, blurred, foam = torch.zeros_like(points), torch.full_like(distance, 3e-4), torch.zeros_like(distance)
        for patch, share in zip(self.patches, (1.0, 0.6, 0.0), strict=True):
            found = patch.rest(points)
            keep = 1 / (1 + (foot / (9 * patch.step)) ** 2)
            slope = slope + keep[:, None] * found[:2].T
            blurred = blurred + patch.variance * (1 - keep**2) / 2
            foam = torch.maximum(foam, found[2] * share)
        height = self._height(points) / top
        if self.shore:
            slope, foam = slope + self.shore.slope(points), torch.maximum(foam, self.shore.foam(points))
        normal = F.normalize(torch.cat([-slope, torch.ones_like(slope[:, :1])], 1), dim=1)
        facing = -(rays * normal).sum(1, keepdim=True)
        # a facet that turns away is hidden by the wave before it
        normal = F.normalize(normal - rays * (0.03 - facing).clamp_min(0), dim=1)
        facing = facing.clamp_min(0.03)
        sigma = blurred.sqrt()[:, None]
        fresnel = 0.02 + 0.98 * (1 - facing) ** (5 * torch.exp(-2.69 * sigma)) / (1 + 22.7 * sigma**1.5)
        mirrored = rays + 2 * facing * normal
        mirrored = torch.cat([mirrored[:, :2], mirrored[:, 2:].abs() + 0.6 * sigma], 1)
        light = self._sky(F.normalize(mirrored, dim=1)) * fresnel
        light = light + self._glitter(rays, slope, blurred, facing)
        light = light + (1 - fresnel) * self._depth(rays, points, slope, height, facing)
        light = self._whitened(light, points, foam, normal, foot)
        veil = (1 - torch.exp(-distance / self.haze))[:, None]
        flat = F.normalize(torch.cat([rays[:, :2], rays[:, 2:].square() + 0.01], 1), dim=1)
        return light + (self._sky(flat) * 0.95 - light) * veil

    def _glitter(self, rays: Tensor, slope: Tensor, blurred: Tensor, facing: Tensor) -> Tensor:
        """The sun in all facets of a pixel: Gaussian slopes round the mean one (Bruneton et al., section 5)."""
        half = F.normalize(self.sun - rays, dim=1)
        off = (-half[:, :2] / half[:, 2:].clamp_min(0.05) - slope).square().sum(1)
        share = torch.exp(-off / (2 * blurred)) / (2 * math.pi * blurred)
        reflects = 0.02 + 0.98 * (1 - (self.sun * half).sum(1).clamp(0, 1)) ** 5
        amount = share * reflects / (4 * half[:, 2].clamp_min(0.2) ** 4 * facing[:, 0].clamp_min(0.1))
        return (amount[:, None] * self.sunlight * 0.02).clamp(max=30)

    def _depth(self, rays: Tensor, points: Tensor, slope: Tensor, height: Tensor, facing: Tensor) -> Tensor:
        """Light out of the water: its own colour, brighter where a crest is thin and the sun stands behind it."""
        weather, colour = self.weather, self.dice.colour
        ambient = colour(weather.zenith).mean() + 0.035 * self.sunlight.mean() * float(self.sun[2])
        crest = (0.5 + 0.6 * height).clamp(0, 1)[:, None]
        away = (slope * rays[:, :2]).sum(1, keepdim=True).clamp(0, 1)
        through = (0.4 + 0.6 * (rays @ self.sun)[:, None].clamp(0, 1)) * away * crest**2 * 2.5
        own = colour(weather.deep) * (0.4 + 1.6 * ambient)
        own = own + colour(weather.scattered) * ambient * (0.06 + 0.40 * crest**2 * facing + through)
        if self.shore:
            bottom, seen = self.shore.bottom(points)
            own = own + (bottom * (0.9 * ambient + 0.1) - own) * seen
        # a slope that faces the sun lets more of it in: what shapes the waves when seen from above
        lit = 1 - 1.8 * (slope @ F.normalize(self.sun[:2], dim=0))[:, None]
        return own * lit.clamp(0.35, 2.2)

    def _whitened(self, light: Tensor, points: Tensor, foam: Tensor, normal: Tensor, foot: Tensor) -> Tensor:
        """White water where the surface broke: dense where it is fresh, a net of bubbles where it is old."""
        weather, colour = self.weather, self.dice.colour
        fine, coarse = self.lace(points), self.lace(points * 0.31 + 5)
        keep = 1 / (1 + (foot / 0.10) ** 2)
        net = 0.35 * fine[0] * keep + 0.2 * fine[1] * keep + 0.45 * coarse[0] + 0.275 * (1 - keep) * 0.5
        foam = foam + 0.35 * (coarse[2] - 0.5) * (foam > 0.02) + 0.25 * (fine[2] - 0.5) * keep * (foam > 0.02)
        amount = smooth(0.45, 0.95, foam) + smooth(0.10, 0.6, foam) * smooth(0.35, 0.75, net + 0.9 * (coarse[2] - 0.5))
        amount = amount.clamp(0, 1) * (1.0 if self.shore else min(1.0, max(0.0, (self.rough - 0.12) / 0.2)))
        sky = 0.5 * colour(weather.zenith) + 0.5 * colour(weather.horizon)
        white = 0.75 * (sky + 0.045 * self.sunlight * (normal @ self.sun).clamp(0, 1)[:, None])
        shade = 0.72 + 0.28 * (fine[2] * keep + 0.5 * (1 - keep)) + 0.12 * (coarse[2] - 0.5)
        light = light + (white * shade[:, None] - light) * 0.94 * amount[:, None]
        if self.shore:
            sand, dry = self.shore.beach(points)
            light = light + (sand * (sky + 0.045 * self.sunlight * self.sun[2]) - light) * dry
        return light
