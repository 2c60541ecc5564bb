"""What the scenes share: random draws, periodic noise and its look-up, camera rays, and film.

Pictures are linear RGB ``(h, w, 3)`` until `develop`. All random numbers are drawn on the CPU, so that a seed gives the
same scene on every device.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

T = TypeVar("T")

LUMA = (0.2126, 0.7152, 0.0722)
"""ITU-R BT.709-6, item 3.2."""


class Draw:
    """Everything random in one picture: numbers, and noise as tensors on `device`."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        """`generator` is the CPU's; the picture follows from its state alone."""
        self.generator, self.device = generator, device
        self._numbers = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
        self.uniform, self.gauss = self._numbers.uniform, self._numbers.gauss

    def chance(self, part: float) -> bool:
        """True so often: `part` in 0…1."""
        return self._numbers.random() < part

    def choice(self, among: Sequence[T]) -> T:
        return self._numbers.choice(among)

    def count(self, least: int, most: int) -> int:
        """A whole number, both ends included."""
        return self._numbers.randint(least, most)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)

    def even(self, *shape: int) -> Tensor:
        """Uniform in 0…1."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def colour(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def smooth(low: float, high: float, x: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, ``3t² - 2t³`` between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


# --- noise -----------------------------------------------------------------------------------------------------------


def fractal(draw: Draw, shape: Sequence[int], slope: float, stretch: Sequence[float] | None = None) -> Tensor:
    """Periodic Gaussian noise of `shape`, whose amplitude falls as ``k**-slope``; mean 0, variance 1.

    `stretch` along each axis makes its features so many times as long there.
    """
    axes = [torch.fft.fftfreq(n, 1 / n, device=draw.device) for n in shape[:-1]]
    axes.append(torch.fft.rfftfreq(shape[-1], 1 / shape[-1], device=draw.device))
    stretch = stretch or [1.0] * len(shape)
    grid = torch.meshgrid([a * s for a, s in zip(axes, stretch, strict=True)], indexing="ij")
    k = torch.stack([g.square() for g in grid]).sum(0).sqrt()
    k.view(-1)[0] = 1
    gain = k**-slope
    gain.view(-1)[0] = 0
    field = torch.fft.irfftn(torch.fft.rfftn(draw.normal(*shape)) * gain, s=tuple(shape))
    result: Tensor = field / field.std()
    return result


class Tile:
    """Periodic maps ``(c, n, n)`` that repeat every `length` metres, looked up bilinearly."""

    def __init__(self, maps: Tensor, length: float) -> None:
        self.length, self.side = length, maps.shape[-1]
        self._padded = F.pad(maps[None], (1, 1, 1, 1), mode="circular")

    def __call__(self, points: Tensor) -> Tensor:
        """Points ``(m, 2)`` in metres to values ``(c, m)``."""
        at = torch.remainder(points, self.length) * (self.side / self.length) + 1.5
        return _look_up(self._padded, at * (2 / (self.side + 2)) - 1)


class Block:
    """Periodic maps ``(c, n, n, n)`` that repeat every `length`, looked up trilinearly.

    The slices lie side by side in one flat picture: that is several times as fast on a CPU as looking up in a volume,
    and Apple's GPUs can do it as well.
    """

    def __init__(self, maps: Tensor, length: float) -> None:
        count, side = maps.shape[0], maps.shape[-1]
        self.length, self.side, self._columns = length, side, math.isqrt(side - 1) + 1
        self._rows = -(-side // self._columns)
        slices = F.pad(maps.transpose(0, 1), (1, 1, 1, 1), mode="circular")  # (n, c, n + 2, n + 2)
        slices = F.pad(slices, (0, 0, 0, 0, 0, 0, 0, self._rows * self._columns - side))
        slices = slices.view(self._rows, self._columns, count, side + 2, side + 2)
        self._atlas = slices.permute(2, 0, 3, 1, 4).reshape(1, count, self._rows * (side + 2), -1)

    def __call__(self, points: Tensor) -> Tensor:
        """Points ``(m, 3)``, the last axis being the maps' first one, to values ``(c, m)``."""
        at = torch.remainder(points, self.length) * (self.side / self.length)
        below = at[:, 2].floor()
        part = at[:, 2] - below
        below = torch.remainder(below, self.side)  # rounding may reach the end
        above = torch.remainder(below + 1, self.side)
        return torch.lerp(self._slice(at, below), self._slice(at, above), part)

    def _slice(self, at: Tensor, which: Tensor) -> Tensor:
        row = (which / self._columns).floor()
        corner = torch.stack([which - row * self._columns, row], 1) * (self.side + 2)
        scale = at.new_tensor([2 / self._columns, 2 / self._rows]) / (self.side + 2)
        return _look_up(self._atlas, (corner + at[:, :2] + 1.5) * scale - 1)


def _look_up(maps: Tensor, at: Tensor) -> Tensor:
    """Maps ``(1, c, h, w)`` at ``(m, 2)`` in -1…1, far from the edges: ``(c, m)``. A CPU's cores take a part each."""
    parts = 8 if maps.device.type == "cpu" else 1
    count = at.shape[0]
    grid = F.pad(at, (0, 0, 0, -count % parts)).view(parts, 1, -1, 2)
    found = F.grid_sample(maps.expand(parts, -1, -1, -1), grid, padding_mode="zeros", align_corners=False)
    return found[:, :, 0].transpose(0, 1).reshape(maps.shape[1], -1)[:, :count]


# --- camera ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Camera:
    """Where one looks; x is east, y north, z up.

    Attributes:
        pitch: radians up from the horizon.
        yaw: radians from north to west.
        roll: radians.
        spread: tangent of half the field of view.
    """

    pitch: float
    yaw: float
    roll: float
    spread: float

    def rays(self, size: int, device: torch.device) -> Tensor:
        """Directions ``(size * size, 3)`` of length 1, row by row from the top left."""
        line = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
        up, right = torch.meshgrid(-line, line, indexing="ij")
        right, up = turned(right, up, self.roll)
        x, y, z = right * self.spread, torch.ones_like(up), up * self.spread
        y, z = turned(y, z, self.pitch)
        x, y = turned(x, y, self.yaw)
        return F.normalize(torch.stack([x, y, z], -1).view(-1, 3), dim=1)


def turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Counterclockwise, in radians."""
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def direction(azimuth: float, elevation: float, device: torch.device) -> Tensor:
    """``(3,)`` of length 1; `azimuth` from north to west as `Camera.yaw`, radians."""
    flat = math.cos(elevation)
    return torch.tensor([-math.sin(azimuth) * flat, math.cos(azimuth) * flat, math.sin(elevation)], device=device)


# --- film ------------------------------------------------------------------------------------------------------------


def luma(picture: Tensor) -> Tensor:
    return picture @ torch.tensor(LUMA, device=picture.device)


def exposed(picture: Tensor, target: float, quantile: float = 0.9, most: float = 20.0) -> Tensor:
    """Scaled so that `quantile` of all pixels are darker than `target`, by at most `most`."""
    bright = torch.quantile(luma(picture).reshape(-1)[:: max(1, picture.numel() // 3 // 65536)], quantile)
    return picture * (target / bright.clamp_min(1e-4)).clamp(1 / most, most)


def develop(picture: Tensor, size: int, saturation: float, grain: float, draw: Draw) -> Tensor:
    """Linear light ``(h, h, 3)`` to a picture ``(3, size, size)`` 0…1.

    Averaged over pixels; bloom of what is brighter than white; tone curve of film (the fit of ACES by K. Narkowicz,
    2015); sRGB's transfer (IEC 61966-2-1); `grain` is the noise of a camera's sensor, standard deviation of full range.
    """
    light = F.interpolate(picture.permute(2, 0, 1)[None].clamp(0, 60), (size, size), mode="area")
    light = (
        light + 0.06 * blurred((light - 1).clamp(0, 8), size / 60) + 0.03 * blurred((light - 1).clamp(0, 8), size / 16)
    )
    grey = (light * light.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    light = (grey + (light - grey) * saturation).clamp_min(0)[0]
    x = light * 0.6  # Narkowicz' curve is that much too bright
    toned = (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0, 1)
    seen = torch.where(toned <= 0.0031308, 12.92 * toned, 1.055 * toned.clamp_min(1e-6) ** (1 / 2.4) - 0.055)
    return (seen + grain * (draw.normal(1, size, size) + 0.4 * draw.normal(3, size, size))).clamp(0, 1)


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """``(1, c, h, w)`` under a Gaussian of `sigma` pixels; the edges are repeated."""
    reach = max(1, int(2.5 * sigma))
    line = torch.arange(-reach, reach + 1, device=picture.device)
    weights = torch.exp(-0.5 * (line / sigma) ** 2)
    weights = (weights / weights.sum()).expand(picture.shape[1], 1, -1)
    across = F.conv2d(F.pad(picture, (reach, reach, 0, 0), "replicate"), weights[:, :, None], groups=picture.shape[1])
    return F.conv2d(F.pad(across, (0, 0, reach, reach), "replicate"), weights[..., None], groups=picture.shape[1])
