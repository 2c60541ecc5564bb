"""The networks: the classic against a NumPy reference in the Keras layout, norms, dropout, folding, the seed field."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture
from torch import nn

from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import CHANNELS, Classic, Dropout, Norm, Replicated, Subpixel, calmed

# --- the original's layers, as Keras defines them: (h, w, c) pictures, kernels (kh, kw, in, out) ----------------------


def same(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """(output size, padding before, padding after) of 'same' padding."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 2) -> np.ndarray:
    rows, top, bottom = same(x.shape[0], kernel.shape[0], stride)
    columns, left, right = same(x.shape[1], kernel.shape[1], stride)
    x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    y = np.zeros((rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            patch = x[i * stride :, j * stride :][: kernel.shape[0], : kernel.shape[1]]
            y[i, j] = np.tensordot(patch, kernel, 3)
    return y


def conv_transpose(x: np.ndarray, kernel: np.ndarray, stride: int = 2) -> np.ndarray:
    """`kernel` is (kh, kw, out, in): the gradient of `conv` with respect to its input."""
    height, width = x.shape[0] * stride, x.shape[1] * stride
    _, top, _ = same(height, kernel.shape[0], stride)
    _, left, _ = same(width, kernel.shape[1], stride)
    y = np.zeros((height + kernel.shape[0], width + kernel.shape[1], kernel.shape[2]))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i * stride :, j * stride :][: kernel.shape[0], : kernel.shape[1]] += kernel @ x[i, j]
    return y[top : top + height, left : left + width]


def norm(x: np.ndarray, module: object) -> np.ndarray:
    if not isinstance(module, Norm):
        return x
    assert module.running_mean is not None and module.running_var is not None
    mean, var, gamma, beta = (
        t.detach().double().numpy() for t in (module.running_mean, module.running_var, module.weight, module.bias)
    )
    return (x - mean) / np.sqrt(var + 1e-3) * gamma + beta


def hwio(module: nn.Conv2d | nn.ConvTranspose2d) -> np.ndarray:
    """Torch's (out, in, kh, kw), or (in, out, kh, kw) of a transposed one, to Keras's order."""
    return module.weight.detach().double().permute(2, 3, 1, 0).numpy()


def keras_forward(net: Classic, x: np.ndarray) -> np.ndarray:
    skips = []
    for down in net.downs:
        x = norm(conv(x, hwio(down.conv)), down.norm)
        x = np.where(x > 0, x, 0.3 * x)
        skips.append(x)
    skips.pop()
    for up in net.ups:
        x = np.maximum(norm(conv_transpose(x, hwio(up.conv)), up.norm), 0)
        x = np.concatenate([x, skips.pop()], axis=2)
    assert net.head.bias is not None
    return np.tanh(conv_transpose(x, hwio(net.head)) + net.head.bias.detach().double().numpy())


@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
def test_classic_is_the_keras_network(size: tuple[int, int]) -> None:
    net = lively(ModelCard("t", "small", "classic", (3, 5, 4), multiple=8))
    assert isinstance(net, Classic)
    x = picture(*size)
    want = keras_forward(net, x[0, 0, :, :, None].double().numpy())
    got = net(x)[0].permute(1, 2, 0).numpy()
    assert got.std() > 0.1
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "count"),
    [("small", 6_297_491), ("medium", 16_786_211), ("large", 54_423_811)],
)
def test_classic_has_the_originals_parameters(size: str, count: int) -> None:
    """Keras counts the running statistics as well. Small and medium as the author published them."""
    with torch.device("meta"):
        state = Classic(CHANNELS["classic"][size]).state_dict()
    assert sum(t.numel() for name, t in state.items() if "num_batches" not in name) == count


def test_classic_goes_down_to_one_pixel() -> None:
    net = lively(ModelCard("t", "small", "classic", (2, 2, 2, 2, 2, 2, 2, 2), multiple=256))
    assert net(picture(256, 256)).shape == (1, 3, 256, 256)


# --- settings that eval() would tie together --------------------------------------------------------------------------


def test_frame_norms_use_the_picture_at_hand() -> None:
    layer = Norm(4).eval()
    nn.init.uniform_(layer.weight)
    assert layer.running_mean is not None
    layer.running_mean.fill_(3.0)
    x = torch.randn(1, 4, 6, 6) * 5 + 2
    running = layer(x)
    layer.mode = "frame"
    frame = layer(x)
    assert torch.allclose(frame, copy.deepcopy(layer).train()(x), atol=1e-5)
    assert not torch.allclose(frame, running, atol=0.1)
    assert torch.equal(layer.running_mean, torch.full((4,), 3.0))  # playing learns nothing


def test_a_single_value_has_no_spread() -> None:
    """The innermost norm of the classic sees 1x1: what the original's test script gives there is the bias."""
    layer = Norm(4).eval()
    nn.init.uniform_(layer.bias)
    layer.mode = "frame"
    assert torch.equal(layer(torch.randn(1, 4, 1, 1)).flatten(), layer.bias)


def test_dropout_is_apart_from_eval() -> None:
    x = picture()
    off = lively(CLASSIC)
    assert torch.equal(off(x), off(x))
    on = lively(dataclasses.replace(CLASSIC, dropout=True))
    assert not torch.equal(on(x), on(x))
    assert sum(isinstance(m, Dropout) and m.live for m in on.modules()) == 3


# --- folding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [CLASSIC, SUBPIXEL], ids=lambda c: c.architecture)
def test_folded_norms_change_nothing(card: ModelCard) -> None:
    net = lively(card)
    net.draw_field(64, 128, 3)
    x = picture(64, 128)
    want = net(x)
    net.fold_norms()
    assert not any(isinstance(m, Norm) for m in net.modules())
    assert torch.allclose(net(x), want, atol=1e-4)


def test_frame_norms_stay() -> None:
    """They depend on the picture, so they can't be folded."""
    net = lively(dataclasses.replace(SUBPIXEL, norm="frame"))
    net.draw_field(64, 64, 3)
    want = net(picture())
    net.fold_norms()
    assert any(isinstance(m, Norm) for m in net.modules())
    assert torch.equal(net(picture()), want)


# --- ours -------------------------------------------------------------------------------------------------------------


def test_the_seed_field_is_drawn_from_its_seed() -> None:
    net = lively(SUBPIXEL)
    x = picture(64, 128)
    net.draw_field(64, 128, 7)
    first = net(x)
    net.draw_field(64, 128, 8)
    other = net(x)
    torch.manual_seed(99)  # the process's own random numbers have no say
    net.draw_field(64, 128, 7)
    assert torch.equal(net(x), first)
    assert (other - first).abs().mean() > 0.01
    assert not any("field" in name for name in net.state_dict())  # drawn, not stored


def test_the_seed_field_is_the_same_on_every_machine() -> None:
    """torch's CPU generator is Mersenne Twister 19937: the first numbers of a seed are fixed by it."""
    field = Subpixel((2, 2)).random_field(1, 32, 32, seed=1)
    again = torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(64))
    assert torch.equal(field[0], again)
    assert [tuple(f.shape) for f in field] == [(1, 1, 8, 8), (1, 1, 16, 16)]


def test_fields_are_added_under_the_weights_of_the_seeds() -> None:
    """Weights of length 1 make white noise again; those of one field alone make what it makes."""
    net = Subpixel((4, 6, 8)).eval()
    net.draw_field(128, 128, 7)
    weights = torch.tensor([0.5, -0.5, 0.5, -0.5])
    for first, mixed in zip(net.field(2, None), net.field(2, weights), strict=True):
        assert first.shape == mixed.shape and torch.equal(mixed[0], mixed[1])
        assert mixed.std() == pytest.approx(1, abs=0.1)
        assert torch.corrcoef(torch.stack([first[0].flatten(), mixed[0].flatten()]))[0, 1] < 0.7
    x = picture(128, 128)
    assert torch.equal(net(x, seeds=torch.tensor([1.0, 0, 0, 0])), net(x))
    assert not torch.equal(net(x, seeds=weights), net(x))


def test_a_batch_shares_the_field() -> None:
    net = lively(SUBPIXEL)
    net.draw_field(64, 64, 7)
    one, two = picture(seed=1), picture(seed=2)
    both = net(torch.cat([one, two]))
    assert torch.allclose(both, torch.cat([net(one), net(two)]), atol=1e-5)


def test_an_untrained_up_level_has_no_checkerboard() -> None:
    """ICNR: the four sub-pixels of a shuffle start equal."""
    up = Subpixel((4, 6)).ups[0]
    y = up.conv.eval()(torch.randn(1, 6, 5, 5))
    assert y.shape == (1, 4, 10, 10)
    assert torch.equal(y[..., 0::2, 0::2], y[..., 1::2, 1::2])


def test_a_quarter_of_the_size_keeps_cells_and_loses_noise() -> None:
    """What a training's finest cells say stays; of independent noise in every pixel a tenth is left."""
    rng = torch.Generator().manual_seed(0)
    cells = torch.nn.functional.interpolate(torch.rand((1, 1, 16, 16), generator=rng), (256, 256), mode="bicubic")
    noise = torch.randn((1, 1, 256, 256), generator=rng)
    small = calmed(cells)
    assert small.shape == (1, 1, 64, 64)
    assert torch.corrcoef(torch.stack([small.flatten(), cells[..., 2::4, 2::4].flatten()]))[0, 1] > 0.98
    assert calmed(noise).std() == pytest.approx(0.094, abs=0.01)
    assert torch.allclose(calmed(torch.full((1, 1, 64, 128), 0.3)), torch.full((1, 1, 16, 32), 0.3))


def test_replicated_borders_are_torchs_with_their_gradient() -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    grads = []
    for padded in (torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), Replicated.apply(x)):
        grads.append(torch.autograd.grad((padded * weights).sum(), x)[0])
    assert torch.equal(Replicated.apply(x), torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"))
    assert torch.allclose(*grads)
