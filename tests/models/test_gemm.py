"""Convolutions as an H100 likes them: what plays is the same."""

from __future__ import annotations

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture

from l2s_node.models import gemm
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import prepared
from l2s_node.models.gemm import Aligned, Gather, Scatter, as_products

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
def test_plays_the_same(card: ModelCard, batch: int) -> None:
    generator = lively(card)
    generator.draw_field(128, 192, 3)
    x = picture(128, 192, batch=batch)
    net = as_products(prepared(generator, CPU), x)
    with torch.inference_mode():
        want, got = generator(x), net(x)
    assert want.std() > 0.1 and (got - want).abs().max() < 1e-4


@pytest.mark.parametrize("few", [1, 2**20], ids=["by taps", "by rows"])
@pytest.mark.parametrize(("kernel", "stride", "border"), [(3, 1, "replicate"), (4, 2, "zeros")])
def test_gathered_it_is_the_same(
    kernel: int, stride: int, border: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemm, "FEW", few)
    conv = torch.nn.Conv2d(8, 24, kernel, stride, 1, padding_mode=border)
    x = torch.randn(2, 8, 6, 10)
    torch.testing.assert_close(Gather(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


def test_every_convolution_is_replaced() -> None:
    net = as_products(prepared(lively(CLASSIC), CPU), picture(128, 192))
    kinds = [type(module) for module in net.modules()]
    assert kinds.count(Aligned) + kinds.count(Gather) == 6 and kinds.count(Scatter) == 6
    assert kinds.count(Gather) == 5, "by how much there is to do"
    assert not any(isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for module in net.modules())
