"""Measures: the scores themselves, as pure functions.

Features are ``(n, d)``, one row a picture (`train.features.Lite0`). Pictures are ``(n, 3, h, w)`` RGB in [-1, 1], luma
is ``(n, 1, h, w)`` in 0…1. *Made* is what a world makes, *real* are pictures of what it was trained to make, and which
it never saw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from l2s_node.picture.condition import luma_of

SUBSETS, LARGEST = 100, 1000
"""How many subsets KID is averaged over, and their size where there are enough pictures (as its authors')."""

NEIGHBOURS = 3
"""k of precision and recall, as their authors chose it."""

PERIODS = (2, 4, 8)
"""Pixels after which up-sampling by 2 repeats itself, once, twice and three times."""

REACH = 4
"""Bins of the spectrum around such a frequency that count as its neighbours."""

FLOOR = (2 / 255) ** 2 / 12
"""Variance of what rounding to 8 bits adds to a picture in [-1, 1]: a pattern fainter than that can't be seen."""


# --- how near the pictures come to the world's -----------------------------------------------------------------------


def kid(made: Tensor, real: Tensor, seed: int = 0) -> tuple[float, float]:
    """Kernel inception distance × 1000: (mean, standard deviation) over `SUBSETS` random subsets. Lower is better.

    For m features each of made x and real y, with the kernel ``k(a, b) = (a·b / d + 1)³``, the unbiased estimate of
    the squared maximum mean discrepancy: ``Σ[i≠j] (k(xᵢ, xⱼ) + k(yᵢ, yⱼ)) / (m (m - 1)) - 2 Σ k(xᵢ, yⱼ) / m²``. About
    0 (a little below, too) for two sets of the same kind, without an upper end. A subset has half of the smaller set,
    at most `LARGEST`; its size changes the spread and not the mean.

    Bińkowski et al., Demystifying MMD GANs, https://arxiv.org/abs/1801.01401, section 4 and appendix; theirs uses
    Inception's features, so numbers of others can't be compared with these.
    """
    made, real = made.double().cpu(), real.double().cpu()
    size = max(min(len(made), len(real), 2 * LARGEST) // 2, 2)
    kernels = [(a @ b.mT / a.shape[1] + 1) ** 3 for a, b in ((made, made), (real, real), (made, real))]
    rng = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(SUBSETS):
        mine, theirs = (torch.randperm(len(x), generator=rng)[:size] for x in (made, real))
        xx, yy = kernels[0][mine][:, mine], kernels[1][theirs][:, theirs]
        within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (size * (size - 1))
        found.append(within - 2 * kernels[2][mine][:, theirs].mean())
    values = 1000 * torch.stack(found)
    return float(values.mean()), float(values.std())


def precision_recall(made: Tensor, real: Tensor) -> tuple[float, float]:
    """(precision, recall), each 0…1, higher is better: how much of what is made is real, and how much real is made.

    Around every feature of a set lies a ball that reaches to its k-th neighbour in that set; the balls together are
    the set's manifold. Precision is the part of `made` that lies in that of `real`, recall the part of `real` in that
    of `made`. k is `NEIGHBOURS`; of the larger set as many are taken as the smaller one has, spread over it.

    Kynkäänniemi et al., Improved Precision and Recall Metric, https://arxiv.org/abs/1904.06991, equations 1 and 2;
    theirs uses VGG-16's features.
    """
    count = min(len(made), len(real))
    made, real = (x[torch.linspace(0, len(x) - 1, count).long()].double() for x in (made.cpu(), real.cpu()))
    return _inside(made, real), _inside(real, made)


def _inside(some: Tensor, manifold: Tensor) -> float:
    """The part of `some` that lies in a ball of `manifold`."""
    radii = torch.cdist(manifold, manifold).kthvalue(min(NEIGHBOURS + 1, len(manifold)), 1).values  # itself is nearest
    return float((torch.cdist(some, manifold) <= radii).any(1).double().mean())


# --- what gives the network away -------------------------------------------------------------------------------------


def spectrum(pictures: Tensor) -> Tensor:
    """``(h, w)``: the mean energy of the luma of `pictures` by frequency, 0 first, in units of their variance.

    Without its mean and under a Hann window, so that the borders don't spread over the axes. Spectra of several
    batches can be averaged.
    """
    luma = luma_of(pictures)
    luma = luma - luma.mean((2, 3), keepdim=True)
    down, across = (torch.hann_window(side, device=luma.device, dtype=luma.dtype) for side in luma.shape[-2:])
    window = down[:, None] * across[None]
    energy: Tensor = torch.fft.fft2(luma * window).abs().square().mean((0, 1)) / window.square().sum()
    return energy


def checkerboard(energy: Tensor) -> float:
    """Energy at the frequencies of up-sampling over that of their neighbours, the mean of the ratios. Lower is better.

    At each frequency (a/p, b/p) cycles a pixel, p in `PERIODS`: ``(E + FLOOR) / (mean(E of neighbours) + FLOOR)``,
    where neighbours are 2 to `REACH` bins away; on an axis they are those on the axis. 0…∞; about 1 without any
    pattern. What counts is how much more than the targets' it is.

    Why these frequencies: https://distill.pub/2016/deconv-checkerboard. `energy` comes from `spectrum`.
    """
    energy = energy.double().cpu()
    ratios = []
    for row, column, neighbours in _neighbourhoods(*energy.shape):
        around = torch.stack([energy[y, x] for y, x in neighbours]).mean()
        ratios.append((energy[row, column] + FLOOR) / (around + FLOOR))
    return float(torch.stack(ratios).mean())


def _neighbourhoods(height: int, width: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(row, column, neighbours) of each frequency of up-sampling."""
    for period in PERIODS:
        for a in range(period):
            for b in range(period):
                if math.gcd(a, b, period) != 1:
                    continue  # (0, 0), or a frequency of a shorter period
                row, column = round(a * height / period), round(b * width / period)
                downs = range(-REACH, REACH + 1) if a else (0,)
                acrosses = range(-REACH, REACH + 1) if b else (0,)
                away = [(y, x) for y in downs for x in acrosses if max(abs(y), abs(x)) > 1]
                yield row, column, [((row + y) % height, (column + x) % width) for y, x in away]


def change(one: Tensor, other: Tensor) -> float:
    """``mean(|one - other|)``; 0…2 for pictures in [-1, 1].

    **Flicker** is this of what is made from one input with and without sensor noise of 1 % (standard deviation, of full
    range); lower is better. Noise itself, seen through nothing, would be 0.016.
    """
    return float((one - other).abs().mean())


def response(made: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor]) -> float:
    """``mean(|after - before|)`` of what is made over that of what is given, the mean over pictures of the ratio.

    For inputs with an object on them, before and after it moved, all in [-1, 1]. 0…∞, higher is better: 0 means that
    the world doesn't see it, 1 that it changes as much as the input does.
    """
    output, entered = ((one - other).abs().mean((1, 2, 3)) for one, other in (made, given))
    return float((output / entered.clamp_min(1e-9)).mean())


def texture(made: Tensor) -> float:
    """Standard deviation over the places of a picture, the mean over pictures and channels; 0…1.

    **Flat-field texture** is this of what is made from flat inputs over that of real pictures: 0 is a flat colour, 1
    as much as the world itself has. Higher is better, up to 1.
    """
    return float(made.std((2, 3)).mean())


def moments(given: Tensor, kept: Tensor) -> Tensor:
    """``(3,)``: sums of ``g²``, ``g·k`` and ``k²`` over places and pictures, of luma less each picture's mean.

    `given` is the conditioned input, `kept` the made picture made grey and conditioned in the same way.
    """
    g, k = (x.double() if x.device.type != "mps" else x for x in (given, kept))
    g, k = (x - x.mean((2, 3), keepdim=True) for x in (g, k))
    return torch.stack([(g * g).sum(), (g * k).sum(), (k * k).sum()])


def fidelity(summed: Tensor) -> float:
    """Correlation of what was given with what can still be seen of it: ``Σgk / √(Σg² Σk²)`` of `moments`.

    -1…1, higher is better: 1 all light and dark lies where the input has it (whatever the contrast), 0 the input can't
    be told from the picture, -1 it is inverted. Large differences of the inputs weigh most. 0 if either is flat.
    """
    gg, gk, kk = summed.tolist()
    return gk / math.sqrt(gg * kk) if gg * kk > 1e-12 else 0.0
