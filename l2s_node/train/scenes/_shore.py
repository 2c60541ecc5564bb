"""Shore: waves that break on a beach, in bands that run up to the sand one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from l2s_node.train.scenes._tools import Draw, Tile, direction, fractal, smooth

MEANDER = 140.0
"""The shore's line repeats after so many metres."""

SANDS = ((0.42, 0.33, 0.22), (0.34, 0.27, 0.19), (0.50, 0.43, 0.33), (0.10, 0.09, 0.085), (0.30, 0.20, 0.12))


class Shore:
    """A straight beach with a wavering line. Places are ``(m, 2)`` metres; what is told of them is ``(m,)``."""

    def __init__(self, dice: Draw, middle: Tensor, yaw: float, turn: float) -> None:
        """`middle` ``(2,)`` is what the camera looks at; the sea lies towards `yaw` ± `turn`, radians."""
        self.seaward = direction(yaw + dice.uniform(-turn, turn), 0.0, dice.device)[:2]
        self.start = middle - self.seaward * dice.uniform(3, 45)
        self.spacing, self.zone = dice.uniform(9, 24), dice.uniform(14, 45)
        self.tall = self.spacing * dice.uniform(0.02, 0.06)
        self.fall, self.clear = dice.uniform(0.03, 0.09), dice.uniform(0.25, 1.0)
        self.sand = dice.colour(dice.choice(SANDS))
        self.noise = Tile(fractal(dice, (256, 256), 1.7)[None], MEANDER)

    def out(self, points: Tensor) -> Tensor:
        """Metres from the water's edge, less than 0 on the sand."""
        return (points - self.start) @ self.seaward + 5 * self.noise(points)[0] + 0.7 * self.noise(points * 5.3)[0]

    def _band(self, points: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Which wave a place belongs to, counted from the sand, and where in it: 0 at its front, 1 at the next's."""
        phase = out / self.spacing + 0.35 * self.noise(points * 0.8 + 31)[0] + 0.06 * self.noise(points * 6.1)[0]
        return phase.floor(), phase - phase.floor()

    def height(self, points: Tensor) -> Tensor:
        """Of the breakers, metres: steep towards the sand, long towards the sea."""
        out = self.out(points)
        _, part = self._band(points, out)
        shape = torch.exp(-((part / 0.30) ** 2)) + torch.exp(-(((1 - part) / 0.09) ** 2))
        return self.tall * shape * smooth(0.0, 0.6 * self.zone, out) * smooth(-3 * self.zone, 0.0, -out)

    def slope(self, points: Tensor) -> Tensor:
        """``(m, 2)``, of the breakers."""
        step = 0.25 * self.seaward
        return (self.height(points + step) - self.height(points - step))[:, None] / 0.5 * self.seaward

    def foam(self, points: Tensor) -> Tensor:
        """0…1: dense behind a front, a net farther out, a thin line where the last wave ran out."""
        out = self.out(points)
        number, part = self._band(points, out)
        along = points @ torch.stack([-self.seaward[1], self.seaward[0]])
        where = torch.stack([along * 1.3 + number * 37.7, number * 91.3], 1)
        strength = smooth(-1.0, 1.0, 1.1 * self.noise(where)[0] + 1.0 - 1.6 * out / self.zone)
        ragged = (0.03 + 0.02 * self.noise(points * 9.7)[0]).clamp_min(0.005)
        foam = strength * (part / ragged).clamp(0, 1) * torch.exp(-part / 0.42) * 1.1
        edge = 0.5 * torch.exp(-(((out - 0.4) / 0.5) ** 2))
        return torch.maximum(foam, edge) * smooth(-0.6, 0.4, out)

    def bottom(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The colour of the sand through the water ``(m, 3)``, and how much of it is seen ``(m, 1)``."""
        deep = (self.out(points).clamp_min(0) * self.fall + 0.05)[:, None]
        tint = torch.exp(-deep * self.clear * self.sand.new_tensor([1.3, 0.28, 0.22]))
        return self.sand * tint, torch.exp(-deep * self.clear * 0.9)

    def beach(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The colour of the sand above the water ``(m, 3)``, darker where it is wet, and where it is ``(m, 1)``."""
        out = self.out(points)
        dry = smooth(2.0, 9.0, -out + 1.5 * self.noise(points * 3.1)[0])
        grain = 1 + 0.03 * self.noise(points * 7.3)[0] + 0.05 * self.noise(points * 1.9 + 7)[0]
        return self.sand * ((0.5 + 0.5 * dry) * grain)[:, None], smooth(-0.15, 0.25, -out)[:, None]
