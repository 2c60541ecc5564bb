"""Convolutions as an H100 likes them: what plays is the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture

from l2s_node.models import gemm
from l2s_node.models.card import ModelCard
from l2s_node.models.engines.base import prepared
from l2s_node.models.engines.inductor import QUICK
from l2s_node.models.gemm import Aligned, Gather, Scatter, Shuffled, Taps, as_products
from l2s_node.models.pix2pix import ToPixels

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


@pytest.mark.parametrize("height", [6, 2])
@pytest.mark.parametrize(("kernel", "stride", "border"), [(3, 1, "replicate"), (4, 2, "replicate"), (4, 2, "zeros")])
@pytest.mark.parametrize("bias", [True, False])
def test_by_all_taps_at_once_it_is_the_same(kernel: int, stride: int, border: str, bias: bool, height: int) -> None:
    conv = torch.nn.Conv2d(8, 24, kernel, stride, 1, padding_mode=border, bias=bias)
    x = torch.randn(2, 8, height, 10)
    torch.testing.assert_close(Taps(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("few", [1, 2**20], ids=["convolved", "by taps"])
@pytest.mark.parametrize("bias", [True, False])
def test_shuffled_by_sub_pixels_it_is_the_same(bias: bool, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "FEW", few)
    conv, x = ToPixels(8, 16, bias).eval(), torch.randn(2, 8, 6, 10)
    with torch.no_grad():
        conv.weight.normal_()
        if conv.bias is not None:
            conv.bias.normal_()
        before = conv.weight.clone()
        torch.testing.assert_close(Shuffled(conv, x)(x), conv(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(conv.weight, before)


def test_every_convolution_is_replaced_by_how_much_there_is_to_do() -> None:
    net = as_products(prepared(lively(CLASSIC), CPU), picture(256, 256))
    kinds = Counter(type(module) for module in net.modules())
    assert (kinds[Aligned], kinds[Gather], kinds[Taps], kinds[Scatter]) == (2, 1, 3, 6)
    assert not any(isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for module in net.modules())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within torch
def test_the_compiler_takes_a_border_round_what_was_shuffled() -> None:
    """Torch 2.13 failed on it, so that every step between two convolutions was written to memory."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shuffled = Shuffled(ToPixels(8, 16).eval(), x)
            self.then = Aligned(torch.nn.Conv2d(16, 8, 3, 1, 1, padding_mode="replicate"))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.then(torch.relu(self.shuffled(x)))
            return made

    x = torch.randn(1, 8, 6, 10)
    net = Net()
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(net, options=QUICK)(x), net(x))
