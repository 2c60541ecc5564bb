"""The critics (discriminators): networks that learn to tell made pictures from the world's own. They only train.

Pictures are ``(n, 3, h, w)`` RGB in [-1, 1]; a critic's logits are ``(n, m)``, one for each of m places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2s_node.models.pix2pix import draw_normal


class ClassicPatch(nn.Module):
    """PatchGAN on input and picture together, 30x30 logits at 256² (the original's; batch norm, LeakyReLU 0.3)."""

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs + 3
        for i, outputs in enumerate((64, 128, 256)):
            layers.append(nn.Conv2d(width, outputs, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(outputs, eps=1e-3)] if i else []
            layers.append(nn.LeakyReLU(0.3))
            width = outputs
        layers += [nn.Conv2d(width, 512, 4, 1, 1, bias=False), nn.BatchNorm2d(512, eps=1e-3), nn.LeakyReLU(0.3)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                draw_normal(module.weight, 0.02)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([x, picture], 1))
        return logits


class Limited(nn.Conv2d):
    """A convolution whose largest singular value stays at most 1, which keeps a critic's slope bounded.

    Spectral normalisation (https://arxiv.org/abs/1802.05957) as a projection: after a step of the optimiser `limit`
    scales the kernel back. That costs a tenth of dividing by the singular value in every pass.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, 1)
        self.left: Tensor
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        with torch.no_grad():
            for _ in range(10):
                self.weight.div_(self._largest())

    @torch.no_grad()
    def limit(self) -> None:
        """Scale the kernel back to a largest singular value of 1 if it has grown beyond."""
        self.weight.div_(self._largest().clamp_min(1))

    def _largest(self) -> Tensor:
        """The largest singular value of the kernel as a matrix (outputs, all else), by one power iteration a call."""
        kernel = self.weight.flatten(1)
        right = F.normalize(kernel.mT @ self.left, dim=0)
        left = kernel @ right
        value: Tensor = left.norm()
        self.left.copy_(left / value.clamp_min(1e-12))
        return value


class Patch(nn.Module):
    """A patch critic that starts on the picture unshuffled by 2: its first layer sees every sub-pixel's phase."""

    def __init__(self, widths: Sequence[int] = (96, 192, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise([12, *widths])):
            last = i == len(widths) - 1
            layers += [Limited(a, b, 3) if last else Limited(a, b, 4, 2), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, Limited(widths[-1], 1, 3))

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(unshuffle_channels_last(picture))
        return logits.flatten(1)


def unshuffle_channels_last(x: Tensor) -> Tensor:
    """``F.pixel_unshuffle(x, 2)`` of a channels_last tensor to one."""
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // 2, w // 2, 4 * c).permute(0, 3, 1, 2)


class Projected(nn.Module):
    """A small critic on each of four maps of a trained network's features, mixed at random across channels and scales.

    Projected GANs, https://arxiv.org/abs/2111.01007, with EfficientNet-Lite0 (`features`). The mixing is drawn once and
    never trained; scales are enlarged by repeating, because the gradient of a bilinear enlargement isn't deterministic.
    """

    WIDTHS = (64, 64, 128, 256)

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(channels, self.WIDTHS, strict=True))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in pairwise(self.WIDTHS))
        for mixing in (*self.across, *self.up):
            nn.init.kaiming_normal_(mixing.weight, a=1)
            nn.init.zeros_(mixing.bias)
            mixing.requires_grad_(False)
        last = len(self.WIDTHS) - 1
        self.heads = nn.ModuleList(self._head(a, width, last - i) for i, a in enumerate(self.WIDTHS))

    @staticmethod
    def _head(inputs: int, width: int, halvings: int) -> nn.Sequential:
        """Down to the size of the smallest map, then one logit for each place."""
        layers: list[nn.Module] = []
        for _ in range(halvings):
            outputs = max(width, min(2 * inputs, 256))
            layers += [Limited(inputs, outputs, 4, 2), nn.LeakyReLU(0.2)]
            inputs = outputs
        if not halvings:
            layers += [Limited(inputs, 256, 3), nn.LeakyReLU(0.2)]
            inputs = 256
        return nn.Sequential(*layers, Limited(inputs, 1, 3))

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the features, finest first, to the mixed ones that `forward` judges."""
        mixed = [across(m) for across, m in zip(self.across, maps, strict=True)]
        for i in reversed(range(len(mixed) - 1)):
            mixed[i] = mixed[i] + F.interpolate(self.up[i](mixed[i + 1]), scale_factor=2, mode="nearest")
        return mixed

    def forward(self, mixed: Sequence[Tensor]) -> list[Tensor]:
        return [head(m).flatten(1) for head, m in zip(self.heads, mixed, strict=True)]


GAIN = 3.0
"""Of the patches' logits. With kernels limited to 1 they are so small that what the features say would drown them."""


class Critics(nn.Module):
    """All that judge a dream: patches at full and at quarter resolution, and `Projected` heads.

    Args:
        features: ``(n, 3, h, w)`` to four maps at 1/4, 1/8, 1/16 and 1/32 of the size; frozen, no part of the state.
        channels: of those maps.
        widths: of the patches.
    """

    def __init__(
        self,
        features: Callable[[Tensor], list[Tensor]],
        channels: Sequence[int],
        widths: Sequence[int] = (96, 192, 256),
    ) -> None:
        super().__init__()
        self.fine, self.coarse = Patch(widths), Patch(widths)
        self.projected = Projected(channels)
        self.features = features

    def patches(self, pictures: Tensor) -> list[Tensor]:
        """Logits of the patches: fields of about 40 and 160 pixels."""
        return [GAIN * self.fine(pictures), GAIN * self.coarse(F.avg_pool2d(pictures, 4))]

    def perceive(self, pictures: Tensor) -> list[Tensor]:
        """What the projected heads judge; differentiable."""
        return self.projected.mix(self.features(pictures))

    def limit(self) -> None:
        """After each step of the optimiser."""
        for module in self.modules():
            if isinstance(module, Limited):
                module.limit()

    def forward(self, pictures: Tensor, perceived: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Logits of the patches for `pictures` and of the projected heads for what was perceived (of some of them)."""
        return self.patches(pictures), self.projected(perceived)
