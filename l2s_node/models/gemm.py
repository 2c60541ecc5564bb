"""Convolutions as products of matrices, for large GPUs.

A GPU's convolution splits the work by pixels of what it makes. A U-Net has layers that make a handful of them from
megabytes of weights: a few multiprocessors then read all of these, while the others wait. As a product of matrices the
same sums are split by weights as well, and what is added up afterwards is one fused kernel of the compiler's. On an
H100 that took the classic large at 256² from 0.29 to 0.20 ms. Ordinary convolutions with as few pixels are products by
taps. (All of them that way took it back to 0.23.)

What is left are many short kernels, so that every one less counts: a layer should be a product and one kernel that adds
its parts up, shuffles, activates and pads for the next (`engines.inductor.QUICK` lets the compiler do that).

The sums are the same; in half precision the parts of a pixel (4 of a transposed convolution, otherwise one a tap or a
row of taps) are rounded before they are added.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2s_node.models.pix2pix import Stem, ToPixels

FEW = 2**20
"""Numbers that `Taps` or `Gather` may have between its steps, above which the convolution is faster; and weights."""
ALIGNED = 8
"""Channels in steps of which a GPU's convolution reads half floats; what lies between is padded, once instead of in
every call."""


def as_products(net: nn.Module, x: Tensor) -> nn.Module:
    """`net`, for inputs like `x` from now on, with its convolutions replaced in place; the same but for rounding.

    Transposed ones (4/s2, padding 1) become `Scatter`, others `Taps`, `Gather` or `Aligned`.
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
        elif isinstance(child, Stem):
            setattr(net, name, Summed(child))
        elif isinstance(child, ToPixels):
            setattr(net, name, Shuffled(child, seen[child]))
        elif isinstance(child, nn.Conv2d):
            setattr(net, name, _product(child, seen[child]))
        else:
            _replace(child, seen)


def _product(conv: nn.Conv2d, x: Tensor) -> nn.Module:
    """`Taps`, `Gather` or `Aligned`, whichever is fastest for inputs like `x`."""
    taps, pixels = conv.weight[0, 0].numel(), x.shape[0] * x.shape[2] * x.shape[3]
    if conv.in_channels % ALIGNED or conv.out_channels % ALIGNED:
        return Aligned(conv)
    if taps * pixels * conv.out_channels < FEW:
        return Taps(conv)
    made = pixels // conv.stride[0] ** 2
    return Gather(conv) if taps * made * max(conv.in_channels, conv.out_channels) < FEW else Aligned(conv)


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
        x = self.border(x)
        x = F.pad(x, (0, 0, 0, 0, 0, self.inputs)) if self.inputs else x
        return F.conv2d(x, self.weight, self.bias, self.stride)[:, : self.outputs]


class Taps(nn.Module):
    """`conv` (padding 1, ungrouped): each pixel times all taps by one product, then a pixel's share is added up.

    Without `Gather`'s copy of the inputs, but with parts of pixels that a stride passes over.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.side, self.stride, self.border = conv.kernel_size[0], conv.stride[0], _border(conv)
        weight = conv.weight.detach().permute(1, 2, 3, 0)
        self.weight = _fixed(weight.flatten(1).contiguous())  # (in, taps · out)
        self.bias = None if conv.bias is None else _fixed(conv.bias.detach().view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = (x.permute(0, 2, 3, 1).reshape(n * h * w, c) @ self.weight).view(n, h, w, -1).permute(0, 3, 1, 2)
        parts = self.border(parts).unflatten(1, (self.side, self.side, -1))
        down, across = (self._reach(each) for each in (h, w))
        y = torch.zeros((), dtype=x.dtype, device=x.device) if self.bias is None else self.bias
        for i in range(self.side):
            for j in range(self.side):
                y = y + parts[:, i, j, :, i : i + down : self.stride, j : j + across : self.stride]
        return y

    def _reach(self, size: int) -> int:
        """From the first to the last pixel, both included, on which one tap lies."""
        return (size + 2 - self.side) // self.stride * self.stride + 1


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
        x = self.border(x)
        seen = x.unfold(2, self.side, self.stride).unfold(3, self.side, self.stride)  # (n, c, h, w, side, side)
        n, _, h, w = seen.shape[:4]
        y = torch.bmm(seen.permute(self.order).reshape(self.parts, n * h * w, -1), self.weight).sum(0)
        y = y if self.bias is None else y + self.bias
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)


class Shuffled(nn.Module):
    """A `ToPixels` for inputs like `x`, whose product has the channels of each sub-pixel side by side, as they stay."""

    def __init__(self, conv: ToPixels, x: Tensor) -> None:
        super().__init__()
        apart = copy.copy(conv)
        apart._parameters = {name: _apart(value) for name, value in conv._parameters.items()}
        self.conv = _product(apart, x)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).permute(0, 2, 3, 1)
        y = y.unflatten(3, (2, 2, -1)).transpose(2, 3)  # (n, h, 2, w, 2, c)
        return y.flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)


class Summed(nn.Module):
    """A `Stem`, with sums for its second and third pool and for the joining: one kernel, where those are three."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv = Aligned(stem)

    def forward(self, x: Tensor, field: Tensor) -> Tensor:
        x = _replicated(F.avg_pool2d(x, 4))
        x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
        x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
        y: Tensor = self.conv(F.pad(x, (0, 0, 0, 0, 0, 1)) + F.pad(field, (0, 0, 0, 0, 1, 0)))
        return y


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


def _apart(value: nn.Parameter | None) -> nn.Parameter | None:
    """The four sub-pixels of each channel, which lie next to each other, as the channels of each sub-pixel."""
    return None if value is None else _fixed(value.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1))


def _border(conv: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """How `conv` pads."""
    assert conv.padding == (1, 1) and conv.groups == 1 and conv.dilation == (1, 1)
    return _replicated if conv.padding_mode == "replicate" else _zeroed


def _zeroed(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1))


def _replicated(x: Tensor) -> Tensor:
    """``(n, c, h, w)`` with its border repeated once.

    `F.pad` clamps at 0, on which torch 2.13's compiler fails as soon as a pixel shuffle is in the index ("vr must not
    be None": its `ShapeEnv.simplify` asks for ranges that it wasn't given, wherever something is clamped at 0 or 1).
    """
    rows, columns = ((torch.arange(size + 2, device=x.device) + 1).clamp(2, size + 1) - 2 for size in x.shape[2:])
    return x[:, :, rows[:, None], columns]


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
