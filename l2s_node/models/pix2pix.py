"""The networks, without any I/O: the classic U-Net as the original deployed it, and ours.

Shapes: a generator takes ``(n, 1, h, w)`` float in [-1, 1] and gives ``(n, 3, h, w)`` RGB in [-1, 1]; both sides of the
picture must be multiples of ``2 ** len(channels)``.

Two settings that `eval()` would tie together are apart here, because models in the wild were made for either:
`Norm.mode` ("running": statistics from training; "frame": of the picture at hand) and `Dropout.live`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS: dict[str, dict[str, tuple[int, ...]]] = {
    # https://github.com/joshmurr/cci-pix2pix-demo, read from the shipped graphs' weight shapes
    "classic": {
        "small": (4, 8, 16, 32, 64, 128, 256, 512),
        "medium": (8, 16, 32, 64, 128, 256, 512, 512),
        "large": (64, 128, 256, 512, 512, 512, 512, 512),
    },
    # channels grow where the picture is made, not in 1x1 layers; small fits 4 ms in bf16 on two CPU cores
    "subpixel": {
        "small": (24, 32, 64, 128, 128, 128),
        "medium": (32, 64, 112, 176, 176, 176),
        "large": (64, 128, 192, 224, 224, 224),
    },
}


DEEP = 3
"""From this level of `Subpixel` on (1/16 of the size) each has a residual block."""


class Norm(nn.BatchNorm2d):
    """Batch normalisation whose statistics when playing are chosen by `mode`, apart from `eval()`.

    "running" uses the statistics of the training; "frame" those of the picture at hand (what pix2pix's own test
    script does). A single value per channel has no spread: its normalised value is 0, so the bias alone remains.
    """

    mode = "running"

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.mode == "running":
            return super().forward(x)
        if x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return self.bias.view(1, -1, 1, 1).expand_as(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


class Dropout(nn.Module):
    """Dropout that plays only where a model needs it (`live`), whatever `eval()` says."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.live = False

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training or self.live)


class Generator(nn.Module):
    """What all architectures share: ``forward(x, fields, seeds)``.

    Attributes:
        channels: widths of the levels.
        seeded: it has a seed field (see `Dreaming`).
    """

    channels: tuple[int, ...]
    seeded = False

    def draw_field(self, height: int, width: int, seed: int) -> None:
        """Fix the seed field for a canvas of this size (a network without one ignores it)."""

    def fold_norms(self) -> None:
        """Fold running-statistics norms into the convolutions before them, in place: same result, fewer steps."""


class Dreaming(Generator):
    """A generator with a seed field: noise that says what should be there where the luma doesn't.

    A field is one white-noise map for each of `scales`. `draw_field` draws `SEEDS` of them from one seed, as buffers,
    so that what goes in stays one channel. What plays is their sum under the weights `seeds`: those of length 1 make
    white noise again, so that turning them slowly turns one dream into another, and their length is how much is
    dreamt. Without weights the first field plays as it is. In training, fresh ones are passed for every picture.
    """

    seeded = True

    @property
    def scales(self) -> Sequence[int]:
        """How often the canvas is halved to the size of each map."""
        raise NotImplementedError

    def draw_field(self, height: int, width: int, seed: int) -> None:
        drawn = [self.random_field(1, height, width, seed=seed, which=which) for which in range(SEEDS)]
        weight = next(self.parameters())
        for level, maps in enumerate(zip(*drawn, strict=True)):
            self.register_buffer(f"field{level}", torch.cat(maps).to(weight), persistent=False)

    def random_field(
        self,
        batch: int,
        height: int,
        width: int,
        *,
        seed: int | None = None,
        which: int = 0,
        device: torch.device | None = None,
    ) -> list[Tensor]:
        """White-noise maps ``(batch, 1, h / 2**i, w / 2**i)`` for each i of `scales`.

        With a `seed` they are drawn on the CPU, the same on every machine, `which` of its `SEEDS`; without one on
        `device`.
        """
        fields = []
        for index, level in enumerate(self.scales):
            shape = (batch, 1, height >> level, width >> level)
            rng = None if seed is None else torch.Generator().manual_seed(seed * 64 + 16 * which + index)
            fields.append(torch.randn(shape, generator=rng, device=None if rng else device))
        return fields

    def field(self, batch: int, seeds: Tensor | None) -> list[Tensor]:
        """The drawn field's maps ``(batch, 1, h, w)`` under the weights ``seeds`` (`SEEDS`)."""
        maps = []
        for level in range(len(self.scales)):
            drawn: Tensor = getattr(self, f"field{level}")
            shape = (1, 1, *drawn.shape[2:])
            one = drawn[:1] if seeds is None else _weighted(drawn, seeds.to(drawn.dtype)).view(shape)
            maps.append(one.expand(batch, *shape[1:]) if batch > 1 else one)
        return maps


def _weighted(drawn: Tensor, seeds: Tensor) -> Tensor:
    """The sum of ``(SEEDS, …)`` maps under the weights `seeds`."""
    if drawn.is_cuda:  # fused by the compiler; cuBLAS takes as long for each field as for a convolution
        return (drawn * seeds.view(-1, 1, 1, 1)).sum(0)
    return torch.matmul(seeds, drawn.flatten(1))


SEEDS = 4
"""Seed fields between which a dream drifts (`Dreaming`)."""


# --- the classic -----------------------------------------------------------------------------------------------------


class ClassicDown(nn.Module):
    """conv 4/s2 → norm (not in the outermost) → LeakyReLU 0.3."""

    def __init__(self, inputs: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
        self.norm = Norm(outputs, eps=1e-3) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.3)


class ClassicUp(nn.Module):
    """transposed conv 4/s2 → norm → dropout (innermost three) → ReLU."""

    def __init__(self, inputs: int, outputs: int, dropout: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.norm = Norm(outputs, eps=1e-3)
        self.dropout = Dropout() if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.dropout(self.norm(self.conv(x))))


class Classic(Generator):
    """The U-Net of the TensorFlow pix2pix tutorial in the Keras layout, as the web demo deployed it.

    Skips are taken after the activation, joined as [up, skip]; the innermost block has a norm; Keras defaults
    (BatchNorm eps 1e-3, LeakyReLU 0.3). 'same' padding of a 4x4 stride-2 kernel on even sizes is padding 1.
    Source: https://www.tensorflow.org/tutorials/generative/pix2pix and the demo's graphs.
    """

    def __init__(self, channels: Sequence[int], inputs: int = 1) -> None:
        super().__init__()
        self.channels = tuple(channels)
        widths = [inputs, *channels]
        self.downs = nn.ModuleList(ClassicDown(a, b, norm=i > 0) for i, (a, b) in enumerate(pairwise(widths)))
        outputs = self.channels[-2::-1]
        sources = [self.channels[-1], *(2 * c for c in outputs)]
        self.ups = nn.ModuleList(
            ClassicUp(a, b, dropout=i < 3) for i, (a, b) in enumerate(zip(sources[:-1], outputs, strict=True))
        )
        self.head = nn.ConvTranspose2d(sources[-1], 3, 4, 2, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                draw_normal(module.weight, 0.02)

    def forward(self, x: Tensor, fields: None = None, seeds: None = None) -> Tensor:
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], 1)
        return torch.tanh(self.head(x))

    def fold_norms(self) -> None:
        for blocks in (self.downs, self.ups):
            fold_blocks(blocks)


# --- ours ------------------------------------------------------------------------------------------------------------


class Replicated(torch.autograd.Function):
    """``(n, c, h, w)`` with its border repeated once around it, channels_last.

    replication_pad2d has neither a deterministic gradient nor channels_last; written with torch.cat, the gradient of
    the copies took longer than that of the convolution.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = torch.empty((n, c, h + 2, w + 2), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        y[:, :, 1:-1, 1:-1] = x
        y[:, :, 0, 1:-1], y[:, :, -1, 1:-1] = x[:, :, 0], x[:, :, -1]
        y[..., 0], y[..., -1] = y[..., 1], y[..., -2]
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        grad: Tensor = grads[0]
        x = grad[:, :, 1:-1, 1:-1].clone(memory_format=torch.channels_last)
        for edge in (0, -1):
            row = grad[:, :, edge, 1:-1].clone()
            row[..., 0] += grad[:, :, edge, 0]
            row[..., -1] += grad[:, :, edge, -1]
            x[:, :, edge] += row
            x[..., edge] += grad[:, :, 1:-1, edge]
        return x


class Conv(nn.Conv2d):
    """A convolution with replicated borders: padded with zeros they showed as lines in the picture."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, stride, 1, bias=bias, padding_mode="replicate")
        draw_normal(self.weight, 0.03)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        padded: Tensor = Replicated.apply(x)  # type: ignore[no-untyped-call]
        return F.conv2d(padded, self.weight, self.bias, self.stride)


class ToPixels(Conv):
    """conv 3 → pixel shuffle: each output channel comes from four of the convolution's.

    The kernel starts equal for the four sub-pixels (ICNR, https://arxiv.org/abs/1707.02937), so that no checkerboard
    is there to unlearn.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, 4 * outputs, bias=bias)
        kernel = self.weight.new_empty(outputs, inputs, 3, 3)
        draw_normal(kernel, 0.03)
        with torch.no_grad():
            self.weight.copy_(kernel.repeat_interleave(4, 0))
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return shuffle_channels_last(x) if self.training else F.pixel_shuffle(x, 2)


def shuffle_channels_last(x: Tensor) -> Tensor:
    """``F.pixel_shuffle(x, 2)`` of a channels_last tensor to one: torch's own leaves it, which makes training slow."""
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, h, w, c // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, 2 * h, 2 * w, c // 4).permute(0, 3, 1, 2)


class Stem(Conv):
    """conv 3 over the input at a quarter of its size (`calmed`) and a map of the seed field of that size."""

    def forward(self, x: Tensor, field: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([calmed(x), field.to(x.dtype)], 1))


class SubpixelDown(nn.Module):
    """conv 4/s2 → norm → LeakyReLU 0.2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, 4, 2, bias=False)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class SubpixelBlock(nn.Module):
    """conv 3 → norm → + what came in → ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, bias=False)
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


class SubpixelUp(nn.Module):
    """conv 3 → pixel shuffle → norm → + gain · seed field."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ToPixels(inputs, outputs, bias=False)
        self.norm = Norm(outputs)
        self.gain = nn.Parameter(torch.full((1, outputs, 1, 1), 0.5))

    def forward(self, x: Tensor, field: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) + self.gain * field
        return y


class Subpixel(Dreaming):
    """A U-Net without a full-size layer, and with a seed field.

    It works on the input at a quarter of its size (`calmed`), and the output is shuffled by 2 (sub-pixel convolution,
    https://arxiv.org/abs/1609.05158): the layers at full size were most of the cost.
    Skips are added, which halves the widths of the ups against joining them. From 1/16 of the size down, where a
    layer costs next to nothing, each level has a residual block.

    One map of the seed field lies beside the luma, one is added at each up level with a learned gain per channel.

    `channels` are those at 1/2, 1/4, 1/8, … of the canvas.
    """

    def __init__(self, channels: Sequence[int], inputs: int = 1) -> None:
        super().__init__()
        self.channels = tuple(channels)
        depth = len(self.channels)
        rising = self.channels[::-1]
        self.stem = Stem(inputs + 1, self.channels[1])
        self.downs = nn.ModuleList(SubpixelDown(a, b) for a, b in pairwise(self.channels[1:]))
        self.blocks = nn.ModuleList(
            SubpixelBlock(width) if depth - index > DEEP else nn.Identity() for index, width in enumerate(rising)
        )
        self.ups = nn.ModuleList(SubpixelUp(a, b) for a, b in pairwise(rising))
        self.head = ToPixels(self.channels[0], 3)

    @property
    def scales(self) -> Sequence[int]:
        return [2, *range(len(self.channels) - 1, 0, -1)]

    def forward(self, x: Tensor, fields: Sequence[Tensor] | None = None, seeds: Tensor | None = None) -> Tensor:
        fields = self.field(x.shape[0], seeds) if fields is None else fields
        x = F.leaky_relu(self.stem(x, fields[0]), 0.2)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        x = self.blocks[0](x)
        for up, block, field in zip(self.ups, self.blocks[1:], fields[1:], strict=True):
            x = up(x, field)
            x = block(F.relu(x + skips.pop() if skips else x))
        return torch.tanh(self.head(x))

    def fold_norms(self) -> None:
        fold_blocks(self.downs)
        fold_blocks(block for block in self.blocks if isinstance(block, SubpixelBlock))
        fold_blocks(self.ups, 4)


def calmed(x: Tensor) -> Tensor:
    """``(n, c, h, w)`` at a quarter of its size, smoothed by (1 2 1) / 4 both ways.

    A conditioned luma is smooth: the trainings' has at most 32 cells, of 8 pixels at least. What is finer than that is
    sensor noise, of which this leaves a tenth; the picture stands still, and answers a moved hand as before.
    """
    x = F.pad(F.avg_pool2d(x, 4), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)


ARCHITECTURES: dict[str, type[Generator]] = {"classic": Classic, "subpixel": Subpixel}


def draw_normal(tensor: Tensor, deviation: float) -> None:
    """Fill with N(0, `deviation`²); not on the meta device, where torch would import its compiler for it (1.4 s)."""
    if not tensor.is_meta:
        nn.init.normal_(tensor, 0.0, deviation)


def fold_blocks(blocks: Iterable[Any], repeat: int = 1) -> None:
    """Fold the norm of each block (`.conv`, `.norm`) whose statistics are fixed."""
    for block in blocks:
        if isinstance(block.norm, Norm) and block.norm.mode == "running":
            fold_norm(block.conv, block.norm, repeat)
            block.norm = nn.Identity()


@torch.no_grad()
def fold_norm(conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm, repeat: int = 1) -> None:
    """Put `norm` (running statistics) into `conv`, in place.

    ``y = (conv(x) - mean) · weight / sqrt(var + eps) + bias``; `repeat` is 4 where a pixel shuffle lies between them
    (each of its channels comes from four of the convolution's).
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = (norm.bias - norm.running_mean * scale).repeat_interleave(repeat)
    scale = scale.repeat_interleave(repeat)
    axis = 1 if isinstance(conv, nn.ConvTranspose2d) else 0
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    conv.weight.mul_(scale.view(shape))
    conv.bias = nn.Parameter(shift if conv.bias is None else conv.bias * scale + shift)
