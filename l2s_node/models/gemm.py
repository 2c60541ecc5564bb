"""Convolutions as products of matrices, for large GPUs.

A GPU's convolution splits the work by pixels of what it makes. A U-Net has layers that make a handful of them from
megabytes of weights: a few multiprocessors then read all of these, while the others wait. As a product of matrices the
same sums are split by weights as well, and what is added up afterwards is one fused kernel of the compiler's. On an
H100 that took the classic large at 256² from 0.29 to 0.20 ms. Ordinary convolutions with as few pixels are products by
taps. (All of them that way took it back to 0.23.)

The sums are the same; in half precision the parts of a pixel (4 of a transposed convolution, otherwise one a tap or a
row of taps) are rounded before they are added.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2s_node.models.pix2pix import ToPixels

FEW = 2**20
"""Numbers that `Gather` may have between its two steps, above which the convolution is faster; and weights."""
ALIGNED = 8
"""Channels in steps of which a GPU's convolution reads half floats; what lies between is padded, once instead of in
every call."""


def as_products(net: nn.Module, x: Tensor) -> nn.Module:
    """`net`, for inputs like `x` from now on, with its convolutions replaced in place; the same but for rounding.

    Transposed ones (4/s2, padding 1) become `Scatter`, others `Gather` or `Aligned`.
    """
    seen: dict[nn.Module, Tensor] = {}

    def note(conv: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[conv] = inputs[0]

    convs = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks = [conv.register_forward_pre_hook(note) for conv in convs]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    _replace(net, seen)
    return net


def _replace(net: nn.Module, seen: dict[nn.Module, Tensor]) -> None:
    for name, child in net.named_children():
        if isinstance(child, nn.ConvTranspose2d):
            if scatters(child):
                setattr(net, name, Scatter(child, *seen[child].shape[2:]))
        elif isinstance(child, ToPixels):
            setattr(net, name, nn.Sequential(_product(child, seen[child]), nn.PixelShuffle(2)))
        elif isinstance(child, nn.Conv2d):
            setattr(net, name, _product(child, seen[child]))
        else:
            _replace(child, seen)


def _product(conv: nn.Conv2d, x: Tensor) -> nn.Module:
    """`Gather` where that is the faster one, else `Aligned`."""
    taps, pixels = conv.weight[0, 0].numel(), x.shape[0] * x.shape[2] * x.shape[3] // conv.stride[0] ** 2
    small = taps * pixels * max(conv.in_channels, conv.out_channels) < FEW
    return Gather(conv) if small and conv.in_channels % ALIGNED == 0 else Aligned(conv)


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
    """`conv` (padding 1, ungrouped): the inputs of each tap are gathered, multiplied by its weights, and added up.

    Whoever has few weights does that a row of taps at a time: what is added up is then made by whoever reads it.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.side, self.stride, self.border = conv.kernel_size[0], conv.stride[0], _border(conv)
        few = conv.weight.numel() < FEW
        self.parts = self.side if few else self.side**2
        self.order = (4, 0, 2, 3, 5, 1) if few else (4, 5, 0, 2, 3, 1)
        weight = conv.weight.detach().permute(2, 3, 1, 0).reshape(self.parts, -1, conv.out_channels)
        self.weight = _fixed(weight.contiguous())  # (parts, taps of each · in, out)
        self.bias = None if conv.bias is None else _fixed(conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode=self.border)
        seen = x.unfold(2, self.side, self.stride).unfold(3, self.side, self.stride)  # (n, c, h, w, side, side)
        n, _, h, w = seen.shape[:4]
        y = torch.bmm(seen.permute(self.order).reshape(self.parts, n * h * w, -1), self.weight).sum(0)
        y = y if self.bias is None else y + self.bias
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)


class Scatter(nn.Module):
    """A transposed convolution 4/s2 with padding 1: each input pixel's 4x4 outputs by one product, then added up.

    ``y[2i + p] = x[i] · k[1 + p] + x[i - 1 + 2p] · k[3 - 3p]`` for p = 0 and 1, down and across: four parts a pixel.
    """

    down: Tensor
    across: Tensor

    def __init__(self, conv: nn.ConvTranspose2d, height: int, width: int) -> None:
        super().__init__()
        self.outputs = conv.out_channels
        weight = conv.weight.detach().permute(0, 2, 3, 1).flatten(1)
        self.rows = _fixed(weight.contiguous())  # (inputs, 4 · 4 · outputs)
        self.bias = None if conv.bias is None else _fixed(conv.bias.detach())
        self.register_buffer("down", _parts(height, conv.weight.device))
        self.register_buffer("across", _parts(width, conv.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = (x.permute(0, 2, 3, 1).reshape(n * h * w, c) @ self.rows).view(n, h, w, 4, 4, self.outputs)
        y = torch.zeros((), dtype=x.dtype, device=x.device)
        for i, k, inside in self.down[..., None].unbind():
            for j, m, within in self.across.unbind():
                y = y + torch.where((inside & within)[..., None] == 1, parts[:, i, j, k, m], 0)
        y = y if self.bias is None else y + self.bias
        return y.permute(0, 3, 1, 2)


def _parts(side: int, device: torch.device) -> Tensor:
    """The two parts of each of `2 side` pixels, ``(2, 3, 2 side)``: whose they are, which tap, and 1 if they exist."""
    pixel = torch.arange(2 * side, device=device)
    odd, place = pixel % 2, pixel // 2
    whose = torch.stack([place, place - 1 + 2 * odd])
    taps = torch.stack([1 + odd, 3 - 3 * odd])
    kept = whose.clamp(0, side - 1)
    return torch.stack([kept, taps, (kept == whose).long()], 1)


def _border(conv: nn.Conv2d) -> str:
    """How `F.pad` pads as `conv` does."""
    assert conv.padding == (1, 1) and conv.groups == 1 and conv.dilation == (1, 1)
    return "replicate" if conv.padding_mode == "replicate" else "constant"


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
