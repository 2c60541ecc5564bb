"""Convolutions of few pixels as products of matrices, for large GPUs.

A GPU's convolution splits the work by pixels of what it makes. A U-Net has layers that make 1 to 256 of them, with
megabytes of weights: a handful of multiprocessors then read all of these, while the others wait. As a product of
matrices the same sums are split by weights as well. What is gathered before and scattered after the product is a fused
kernel of the compiler's.

The sums are the same; in half precision the four parts of a transposed convolution's pixel are rounded before they are
added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2s_node.models.pix2pix import ToPixels

FEW = 256
"""Pixels up to which an ordinary convolution is a product of matrices: its gathered input is k² times as large."""
ALIGNED = 8
"""Channels in steps of which a GPU's convolution reads half floats; what lies between is padded, once instead of in
every call."""


def as_products(net: nn.Module, x: Tensor, few: int = FEW) -> nn.Module:
    """`net`, for inputs like `x` from now on, with its convolutions replaced in place; the same but for rounding.

    Transposed ones (4/s2, padding 1) become `Scatter`, those that make up to `few` pixels `Gather`, others `Aligned`.
    """
    made: dict[nn.Module, int] = {}
    hooks = [conv.register_forward_hook(_note(made)) for conv in net.modules() if isinstance(conv, nn.Conv2d)]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    _replace(net, made, few)
    return net


def _note(made: dict[nn.Module, int]) -> Callable[[nn.Module, Any, Tensor], None]:
    """A hook that notes how many pixels a convolution makes."""

    def hook(conv: nn.Module, _: Any, y: Tensor) -> None:
        made[conv] = y.numel() // y.shape[1] // (4 if isinstance(conv, ToPixels) else 1)

    return hook


def _replace(net: nn.Module, made: dict[nn.Module, int], few: int) -> None:
    for name, child in net.named_children():
        if isinstance(child, nn.ConvTranspose2d):
            if scatters(child):
                setattr(net, name, Scatter(child))
        elif isinstance(child, nn.Conv2d):
            conv = Gather(child) if made[child] <= few else Aligned(child)
            setattr(net, name, nn.Sequential(conv, nn.PixelShuffle(2)) if isinstance(child, ToPixels) else conv)
        else:
            _replace(child, made, few)


def scatters(conv: nn.ConvTranspose2d) -> bool:
    """Whether `Scatter` can do what `conv` does."""
    return (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((4, 4), (2, 2), (1, 1), 1)


class Aligned(nn.Module):
    """`conv` (padding 1, ungrouped) with its channels padded to steps of `ALIGNED`."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.outputs, self.border = conv.stride, conv.out_channels, _border(conv)
        self.inputs, outputs = (-count % ALIGNED for count in (conv.in_channels, conv.out_channels))
        weight = F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, self.inputs, 0, outputs))
        self.weight = _fixed(weight.contiguous(memory_format=torch.channels_last))
        self.bias = None if conv.bias is None else _fixed(F.pad(conv.bias.detach(), (0, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode=self.border)
        x = F.pad(x, (0, 0, 0, 0, 0, self.inputs)) if self.inputs else x
        return F.conv2d(x, self.weight, self.bias, self.stride)[:, : self.outputs]


class Gather(nn.Module):
    """`conv` (padding 1, ungrouped) as one product: each pixel's k·k·inputs with all kernels."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.border = conv.kernel_size[0], conv.stride[0], _border(conv)
        self.weight = _fixed(conv.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous())
        self.bias = None if conv.bias is None else _fixed(conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode=self.border).permute(0, 2, 3, 1)
        n, h, w = x.shape[0], *((side - self.kernel) // self.stride + 1 for side in x.shape[1:3])
        down, across = (self.stride * (side - 1) + 1 for side in (h, w))
        taps = [
            x[:, i : i + down : self.stride, j : j + across : self.stride]
            for i in range(self.kernel)
            for j in range(self.kernel)
        ]
        y = F.linear(torch.cat(taps, 3).flatten(0, 2), self.weight, self.bias)
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)


class Scatter(nn.Module):
    """A transposed convolution 4/s2 with padding 1: each input pixel's 4x4 outputs by one product, then added up."""

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.outputs = conv.out_channels
        weight = conv.weight.detach().permute(0, 2, 3, 1).flatten(1)
        self.rows = _fixed(weight.contiguous())  # (inputs, 4 · 4 · outputs)
        self.bias = None if conv.bias is None else _fixed(conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = (x.permute(0, 2, 3, 1).reshape(n * h * w, c) @ self.rows).view(n, h, w, 4, 4, self.outputs)
        y = _doubled(parts, 1).flatten(1, 2)  # (n, 2 h, w, 4, outputs)
        y = _doubled(y, 2).flatten(2, 3)
        y = y if self.bias is None else y + self.bias
        return y.permute(0, 3, 1, 2)


def _doubled(parts: Tensor, axis: int) -> Tensor:
    """Adds up four taps of each place: ``(n, a, b, 4, …)`` to ``(n, a, 2, b, …)``, or ``(n, a, b, 2, …)`` for `axis` 2.

    Tap 1 and the former place's tap 3 make the even pixel, tap 2 and the next place's tap 0 the odd one.
    """
    taps = parts.unbind(3)
    even = taps[1] + _moved(taps[3], axis, 1)
    odd = taps[2] + _moved(taps[0], axis, -1)
    return torch.stack([even, odd], axis + 1)


def _moved(x: Tensor, axis: int, by: int) -> Tensor:
    """`x` moved along `axis` by one place, forwards (1) or backwards (-1), zeros coming in."""
    side = x.shape[axis]
    kept = x.narrow(axis, max(-by, 0), side - 1)
    padding = [0, 0] * (x.dim() - 1 - axis) + ([1, 0] if by > 0 else [0, 1])
    return F.pad(kept, padding)


def _border(conv: nn.Conv2d) -> str:
    """How `F.pad` pads as `conv` does."""
    assert conv.padding == (1, 1) and conv.groups == 1 and conv.dilation == (1, 1)
    return "replicate" if conv.padding_mode == "replicate" else "constant"


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
