"""Small networks for tests, with weights that make every part of them matter."""

from __future__ import annotations

import torch
from torch import nn

from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import CHANNELS, Generator, Norm

SUBPIXEL = ModelCard("test", "small", "subpixel", CHANNELS["subpixel"]["small"], seed=5)
CLASSIC = ModelCard("test", "small", "classic", (8, 16, 24, 32, 32, 32), multiple=64)


def lively(card: ModelCard, seed: int = 0) -> Generator:
    """A generator in eval mode whose output spreads over -1…1, with norms far from the identity."""
    rng = torch.Generator().manual_seed(seed)
    generator = store.instantiate(card).eval().requires_grad_(False)
    for module in generator.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            inputs = module.in_channels * module.kernel_size[0] ** 2 / module.stride[0] ** 2
            module.weight.normal_(0.0, (2 / inputs) ** 0.5, generator=rng)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.1, generator=rng)
        if isinstance(module, Norm):
            module.weight.uniform_(0.7, 1.3, generator=rng)
            module.bias.normal_(0.0, 0.2, generator=rng)
    learn_statistics(generator, 2 * card.multiple, rng)
    return generator


def learn_statistics(generator: Generator, size: int, rng: torch.Generator) -> None:
    """Running statistics near those of noise, as training would leave them."""
    norms = [m for m in generator.modules() if isinstance(m, Norm)]
    generator.draw_field(size, size, 0)
    for module in norms:
        module.train().momentum = 1.0
    generator(picture(size, size))
    for module in norms:
        assert module.running_mean is not None and module.running_var is not None
        module.eval().momentum = 0.1
        module.running_mean += torch.empty_like(module.running_mean).uniform_(-0.1, 0.1, generator=rng)
        module.running_var *= torch.empty_like(module.running_var).uniform_(0.9, 1.1, generator=rng)


def picture(height: int = 64, width: int = 64, seed: int = 0, batch: int = 1) -> torch.Tensor:
    """``(batch, 1, height, width)`` in -1…1."""
    return torch.rand((batch, 1, height, width), generator=torch.Generator().manual_seed(seed)) * 2 - 1
