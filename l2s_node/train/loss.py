"""The losses, as pure functions. Pictures are ``(n, 3, h, w)`` RGB in [-1, 1], luma is ``(n, 1, h, w)`` in 0…1.

Each returns a 0-dim tensor; all are 0 at best unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# --- adversarial -----------------------------------------------------------------------------------------------------


def hinge_critic(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """``mean(relu(1 - real)) + mean(relu(1 + fake))``, the mean over scales; 0…∞, 2 for a critic that knows nothing.

    Lim and Ye, Geometric GAN, https://arxiv.org/abs/1705.02894, eq. 14.
    """
    parts = [F.relu(1 - r.float()).mean() + F.relu(1 + f.float()).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(parts).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """``-mean(fake)``, the mean over scales; any sign, lower is better. The same paper, eq. 15."""
    return -torch.stack([f.float().mean() for f in fake]).mean()


def bce(logits: Tensor, real: bool) -> Tensor:
    """``-log(sigmoid(±logits))``, the mean; 0…∞, ln 2 for logits of 0.

    Isola et al., https://arxiv.org/abs/1611.07004, eq. 1, in the non-saturating form of its code.
    """
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


# --- what goes in must be seen in what comes out ---------------------------------------------------------------------


def consistency(made: Tensor, given: Tensor) -> Tensor:
    """How far the made picture's luma strays from the input's, at two scales; 0…∞, and 0 within wide dead zones.

    The dead zones leave the world's own scales free: asked for at the input's own cells and to the letter, no wave and
    no flower could form. At 8x8 cells light and dark must lie where the input has them, at 16x16 a hand must be seen.

    Args:
        made: luma of the made picture.
        given: luma of the input.
    """
    made, given = (F.adaptive_avg_pool2d(x, 16) for x in (made, given))  # once for both scales
    coarse = keeping(made, given, cells=8, relative=0.2, flat=0.35, absolute=0.12)
    return coarse + keeping(made, given, cells=16, relative=0.5, flat=0.0, absolute=0.3)


def keeping(made: Tensor, given: Tensor, cells: int, relative: float, flat: float, absolute: float) -> Tensor:
    """One scale of `consistency`, both lumas shrunk by area to `cells`²; 0…∞.

    ``mean(relu(|n(made) - n(given)| - (relative + flat · f))) + ½ mean(relu(|made - given| - absolute))`` with
    ``n(x) = (x - mean) / (std + c)``, ``c = 0.08`` and ``f = c / (std(given) + c)``, per picture. `flat` widens the
    first dead zone where the input says little, so that structures larger than a cell may grow there.
    """
    made, given = F.adaptive_avg_pool2d(made, cells), F.adaptive_avg_pool2d(given, cells)
    freedom = relative + flat * 0.08 / (_spread(given) + 0.08)
    shape = F.relu((_normal(made) - _normal(given)).abs() - freedom).mean()
    return shape + 0.5 * F.relu((made - given).abs() - absolute).mean()


def _spread(x: Tensor) -> Tensor:
    # not std(): its gradient is infinite where a picture is flat
    return (x.var((2, 3), keepdim=True) + 1e-6).sqrt()


def _normal(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / (_spread(x) + 0.08)


def colour_anchor(made: Tensor, target: Tensor, cells: int = 32) -> Tensor:
    """``mean(|made - target|)`` of both pictures shrunk by area to `cells`²; 0…2. Finer detail is the critic's."""
    return (F.adaptive_avg_pool2d(made, cells) - F.adaptive_avg_pool2d(target, cells)).abs().mean()


def stillness(one: Tensor, other: Tensor) -> Tensor:
    """``mean(|one - other|)`` of what is made from one input under two draws of sensor noise; 0…2."""
    return (one - other).abs().mean()


def diversity(one: Tensor, other: Tensor, wanted: Tensor) -> Tensor:
    """``mean(relu(wanted - |one - other|))`` of one input under two seed fields; 0…wanted. |·| is a picture's mean.

    Keeps the seed field in use: without it a flat input becomes one repeated stamp. `wanted` comes from `unlikeness`.
    """
    return F.relu(wanted - _difference(one, other)).mean()


def repetition(made: Tensor, pictures: Tensor, wanted: float, shift: int = 64) -> Tensor:
    """How much a foreign input's picture repeats itself `shift` pixels further; 0…2, and 0 for the world's own variety.

    ``mean(relu(wanted · |p - shifted p| - |m - shifted m|))``, down and across; p are `pictures` of the world, their
    difference the mean over all of them. `shift` is the innermost cell of a U-Net with six halvings: that far apart
    its convolutions see the same.
    """
    parts = []
    for axis in (2, 3):
        usual = wanted * _difference(pictures, pictures.roll(shift, axis)).mean()
        parts.append(F.relu(usual - _difference(made, made.roll(shift, axis))).mean())
    return torch.stack(parts).mean()


def response(made: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor], wanted: Tensor) -> Tensor:
    """``mean(relu(wanted - |after - before| of made / |after - before| of given))``; 0…wanted. |·| is a picture's mean.

    For inputs with an object on them, before and after it moved, as `score.measures.response`. `wanted` comes from
    `liveliness`.
    """
    changed = _difference(*given).clamp_min(1e-3)
    return F.relu(wanted - _difference(*made) / changed).mean()


def liveliness(pictures: Tensor, given: Tensor, shift: int) -> Tensor:
    """How much more a picture of the world changes than its input, both moved by `shift` pixels across; 0…∞."""
    return _difference(pictures, pictures.roll(shift, 3)).mean() / _difference(given, given.roll(shift, 3)).mean()


def unlikeness(pictures: Tensor) -> Tensor:
    """The mean |difference| of two pictures of the world, each with the next in the batch; 0…2."""
    return _difference(pictures, pictures.roll(1, 0)).mean()


def _difference(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean((1, 2, 3))


def grid(made: Tensor, periods: Sequence[int] = (2, 4, 8, 16, 32)) -> Tensor:
    """What repeats in step with the picture's own raster: the checkerboard of up-sampling, and larger stamps; 0…1.

    The picture, less its running mean over the longest period, is folded to one p x p tile for each period p (each a
    divisor of the next longer one); of what chance would leave there (twice its standard deviation over the square root
    of the number of tiles) nothing counts.
    """
    h, w = made.shape[2:]
    fine = made - _running_mean(made, max(periods))
    spread = _spread(fine).detach()
    total = made.new_zeros(())
    tile = fine
    for period in sorted(periods, reverse=True):
        tile = _folded(tile, period)
        chance = spread * period / (h * w) ** 0.5
        total = total + F.relu((tile - tile.mean((2, 3), keepdim=True)).abs() - 2 * chance).mean()
    return total


def _folded(x: Tensor, period: int) -> Tensor:
    """``(n, c, h, w)`` cut to tiles: their mean ``(n, c, period, period)``."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // period, period, w // period, period).mean((2, 4))


def _running_mean(x: Tensor, size: int) -> Tensor:
    """Over ``size + 1`` pixels, fewer at the borders; as products of matrices, whose gradient is as quick."""
    down, across = (_window(side, size // 2, x) for side in x.shape[2:])
    return down @ x @ across.mT


def _window(side: int, half: int, like: Tensor) -> Tensor:
    """``(side, side)``: each row is the mean over `half` pixels to either side of its own."""
    place = torch.arange(side, device=like.device)
    near = ((place[:, None] - place[None]).abs() <= half).to(like.dtype)
    return near / near.sum(1, keepdim=True)


def pixels(made: Tensor, target: Tensor) -> Tensor:
    """``mean(|made - target|)``; 0…2. The L1 of pix2pix, eq. 3 of its paper."""
    return (made - target).abs().mean()
