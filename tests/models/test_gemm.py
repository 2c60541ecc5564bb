"""Convolutions as products of matrices: what plays is the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture

from l2s_node.models import gemm, store
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import prepared
from l2s_node.models.gemm import Aligned, Gather, Scatter, as_products

CPU = torch.device("cpu")


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
def test_plays_the_same(card: ModelCard, batch: int, few: int) -> None:
    generator = lively(card)
    generator.draw_field(128, 192, 3)
    x = picture(128, 192, batch=batch)
    net = as_products(prepared(generator, CPU), x, few)
    with torch.inference_mode():
        want, got = generator(x), net(x)
    assert want.std() > 0.1 and (got - want).abs().max() < 1e-4


def test_few_pixels_of_many_weights_are_products_and_the_others_stay_convolutions() -> None:
    large = dataclasses.replace(CLASSIC, channels=(8, 16, 32, 128, 512, 512))
    net = as_products(prepared(store.instantiate(large).eval(), CPU), picture(128, 192))
    kinds = [type(module) for module in net.modules()]
    assert kinds.count(Aligned) == 4 and kinds.count(Gather) == 2 and kinds.count(Scatter) == 6
    assert not any(isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for module in net.modules())


def test_a_product_may_gather_what_every_kernel_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "MANY", 0)
    test_plays_the_same(SUBPIXEL, 2, 1 << 30)
    test_plays_the_same(CLASSIC, 1, 1 << 30)
