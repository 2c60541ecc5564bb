"""Waves: patches of a periodic sea, and the pattern of foam.

The JONSWAP spectrum in patches of falling size; the synthesis with choppy displacement and foam where its Jacobian
folds is that of J. Tessendorf, Simulating Ocean Water, 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from l2s_node.train.scenes._tools import Draw, Tile, fractal, smooth

GRAVITY = 9.81
GRID = 512
"""Points along a patch of waves."""


@dataclass(frozen=True)
class Sea:
    """State of the sea.

    Attributes:
        wind: m/s.
        fetch: how far it blows over water, metres.
        heading: where it blows to, radians.
        chop: how peaked the waves are, 1 for Gerstner's.
        fine: ripples shorter than a metre, as variance over that of the spectrum.
        white: the part of the surface that breaks, 0…1.
    """

    wind: float
    fetch: float
    heading: float
    chop: float
    fine: float
    white: float

    @property
    def peak(self) -> float:
        """Wave number of the longest waves, 1/m."""
        return float((22 * (GRAVITY**2 / (self.wind * self.fetch)) ** (1 / 3)) ** 2 / GRAVITY)

    def spectrum(self, k: Tensor, angle: Tensor) -> Tensor:
        """Variance density over the wave-number plane, m⁴: JONSWAP (Hasselmann et al., 1973) for deep water.

        Spread as ``cos(θ / 2) ** 2s`` with s falling towards short waves (Mitsuyasu et al., 1975, simplified).
        """
        omega, top = (GRAVITY * k).sqrt(), math.sqrt(GRAVITY * self.peak)
        alpha = 0.076 * (self.wind**2 / (self.fetch * GRAVITY)) ** 0.22
        sigma = torch.where(omega <= top, 0.07, 0.09)
        rise = torch.exp(-((omega - top) ** 2) / (2 * sigma**2 * top**2))
        energy = alpha * GRAVITY**2 * omega**-5 * torch.exp(-1.25 * (top / omega) ** 4) * 3.3**rise
        energy = energy * (0.5 * (GRAVITY / k).sqrt())  # over k instead of ω
        s = 12 * (omega / top).clamp_min(1) ** -1.6 + 0.8
        off = torch.remainder(angle - self.heading + math.pi, 2 * math.pi) - math.pi
        shape = (off / 2).cos().abs() ** (2 * s)
        whole = 2 * math.sqrt(math.pi) * torch.exp(torch.lgamma(s + 0.5) - torch.lgamma(s + 1))
        result: Tensor = energy / k * shape / whole * (1 + (self.fine - 1) * (1 - torch.exp(-((k / 6) ** 2))))
        return result


class Patch:
    """One patch of waves: a periodic height field with its slopes, Jacobian and slope variance."""

    def __init__(self, draw: Draw, length: float, band: tuple[float, float], sea: Sea) -> None:
        self.length, self.step = length, length / GRID
        k = 2 * math.pi * torch.fft.fftfreq(GRID, self.step, device=draw.device)
        ky, kx = torch.meshgrid(k, k, indexing="ij")
        kk = torch.hypot(kx, ky).clamp_min(1e-6)
        density = sea.spectrum(kk, torch.atan2(ky, kx))
        density = density * (1 - torch.exp(-((kk / band[0]) ** 4))) * torch.exp(-((kk / band[1]) ** 4))
        density[0, 0] = 0
        amplitude = (density / 2).sqrt() * (2 * math.pi / length)
        waves = torch.complex(draw.normal(GRID, GRID), draw.normal(GRID, GRID)) * amplitude * GRID**2
        height, *moved = (torch.fft.ifft2(factor * waves).real for factor in (1, -1j * kx / kk, -1j * ky / kk))
        maps = self._folded(height, moved[0] * sea.chop, moved[1] * sea.chop)
        self.height = Tile(maps[:1], length)
        self.rest = Tile(torch.cat([maps[1:3], self._foam(maps[3], sea)[None]]), length)
        self.spread = float(maps[0].std())
        self.variance = float(maps[1].var() + maps[2].var())

    def _folded(self, height: Tensor, across: Tensor, along: Tensor) -> Tensor:
        """The choppy surface as a height field again: ``(4, n, n)``: height, two slopes, Jacobian."""
        jacobian = (1 + self._slope(across, 1)) * (1 + self._slope(along, 0))
        jacobian = jacobian - self._slope(across, 0) * self._slope(along, 1)
        moved = Tile(torch.stack([height, jacobian, across, along]), self.length)
        line = torch.arange(GRID, device=height.device) * self.step
        y, x = torch.meshgrid(line, line, indexing="ij")
        target = torch.stack([x, y], -1).view(-1, 2)
        source = target
        for _ in range(6):  # the point that is moved here, by iteration
            source = target - moved(source)[2:].T
        height, jacobian = moved(source)[:2].view(2, GRID, GRID)
        slopes = [self._slope(height, axis).clamp(-1.6, 1.6) for axis in (1, 0)]
        return torch.stack([height, *slopes, jacobian])

    def _foam(self, jacobian: Tensor, sea: Sea) -> Tensor:
        """Where there is foam, 0…1 ``(n, n)``: where the surface folds now, and behind it where it did before."""
        limit = jacobian.flatten()[::7].quantile(sea.white)  # the share that folds is what the wind makes it
        fresh = ((limit + 0.10 - jacobian) / 0.30).clamp(0, 1)
        trail = fresh.clone()
        drift = (-math.sin(sea.heading), -math.cos(sea.heading))  # down, across; the crest has moved on
        for step in range(1, 30):
            moved = (round(step * drift[0] * 0.8), round(step * drift[1] * 0.8))
            trail = torch.maximum(trail, 0.75 * 0.93**step * fresh.roll(moved, (0, 1)))
        return trail

    def _slope(self, field: Tensor, axis: int) -> Tensor:
        return (field.roll(-1, axis) - field.roll(1, axis)) / (2 * self.step)


def lace(draw: Draw) -> Tensor:
    """Foam's own pattern ``(3, n, n)``, 0…1: the walls of large and of small bubbles, and soft patches.

    A wall is where the nearest two of many scattered points are equally far.
    """
    warp = torch.stack([fractal(draw, (GRID, GRID), 1.6), fractal(draw, (GRID, GRID), 1.6)])
    walls = [1 - smooth(0.0, width, _gap(draw, cells, warp)) for cells, width in ((30, 0.34), (84, 0.45))]
    return torch.stack([*walls, (0.5 + 0.25 * fractal(draw, (GRID, GRID), 1.3)).clamp(0, 1)])


def _gap(draw: Draw, cells: int, warp: Tensor) -> Tensor:
    """How much farther the second nearest of ``cells * cells`` scattered points is than the nearest, in cells."""
    offsets = draw.even(cells, cells, 2)
    line = (torch.arange(GRID, device=draw.device) + 0.5) / GRID * cells
    y, x = torch.meshgrid(line, line, indexing="ij")
    y, x = y + 0.7 * warp[0], x + 0.7 * warp[1]
    row, column = y.floor().long(), x.floor().long()
    distances = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            at = offsets[(row + down) % cells, (column + right) % cells]
            distances.append(torch.hypot(row + down + at[..., 0] - y, column + right + at[..., 1] - x))
    nearest = torch.stack(distances).topk(2, 0, largest=False).values
    return nearest[1] - nearest[0]
