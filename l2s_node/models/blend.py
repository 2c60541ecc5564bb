"""Blend: a world between two others, made of their weights. Nothing is mixed in the picture; one network dreams.

It works for worlds that grew from the same first weights, as all do that `l2s train` makes with one --seed, or --from
one another: they lie near enough that the straight line between them passes only through networks that still paint
(as Model soups found, https://arxiv.org/abs/2203.05482). The statistics of norms don't lie on that line; see `_settle`.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.errors import ModelError
from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import Generator, Norm

SAME = ("architecture", "channels", "resolution", "multiple", "input_channels", "norm", "dropout", "condition")
"""What the cards of two worlds must agree on."""

KIN = 0.3
"""Least cosine of two worlds' kernels that grew from the same first weights (ours: 0.72 to 0.76; strangers: 0.0)."""

LOOKED, SIDE = 12, 192
"""How many inputs, and of about what side, norms are settled on."""

log = logging.getLogger(__name__)


def card(first: ModelCard, second: ModelCard, part: float) -> ModelCard:
    """The card of the world that is `part` (0…1) of the way from `first` to `second`, with the seed field of `first`.

    Raises:
        ModelError: their networks differ.
    """
    for name in SAME:
        ours, theirs = getattr(first, name), getattr(second, name)
        if ours != theirs:
            raise ModelError(
                f"{first.name}/{first.size} and {second.name}/{second.size} can't be mixed, their networks differ: "
                f"{name} {ours} and {theirs}"
            )
    return dataclasses.replace(
        first,
        name=f"{first.name}+{second.name}@{part:g}",
        training={},
        sources=f"{first.name}: {first.sources}\n\n{second.name}: {second.sources}",
        licence=first.licence if first.licence == second.licence else f"{first.licence}; {second.licence}",
        hash=hashlib.sha256(f"{first.hash} {second.hash} {part}".encode()).hexdigest(),
    )


@torch.no_grad()
def generator(first: Path, second: Path, part: float) -> Generator:
    """The network of `card`, as `store.load` gives one; takes a second or so.

    Raises:
        ModelError: see `store.load`.
    """
    (one, ours), (other, _) = store.load(first), store.load(second)
    ends = one.state_dict(), other.state_dict()
    if _likeness(*ends) < KIN:
        log.warning(
            "%s and %s grew from different first weights: what lies between them may be mud; train them with the same "
            "--seed, or one --from the other", first, second,
        )  # fmt: skip
    made = copy.deepcopy(one)
    mixed = {name: torch.lerp(a, ends[1][name], part) if a.is_floating_point() else a for name, a in ends[0].items()}
    made.load_state_dict(mixed)
    if ours.norm == "running":
        _settle(made, one, other, part, ours)
    return made


def _likeness(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Cosine between all kernels of two networks, -1…1."""
    kernels = [name for name, tensor in one.items() if name.endswith(".weight") and tensor.dim() == 4]
    a, b = (torch.cat([state[name].flatten() for name in kernels]) for state in (one, other))
    return float(F.cosine_similarity(a, b, 0))


def _settle(made: Generator, one: Generator, other: Generator, part: float, card: ModelCard) -> None:
    """Give the norms of `made` statistics that fit its weights; at either end those of that world.

    Means and variances of what flows are not the means of both worlds': taken so, pictures go pale. All three networks
    look at the same inputs, and what `made` then shows is corrected by how far those inputs are from the trainings'.
    """
    side = max(SIDE // card.multiple, 1) * card.multiple
    x = _lumas(LOOKED, side) * 2 - 1
    seen = [_shown(net, x, card.seed) for net in (made, one, other)]
    norms = [_norms(net) for net in (made, one, other)]
    for mine, a, b, (mean, var), (mean_a, var_a), (mean_b, var_b) in zip(*norms, *seen, strict=True):
        mean_off = torch.lerp(_mean(a) - mean_a, _mean(b) - mean_b, part)
        var_off = torch.lerp((_var(a) / var_a).log(), (_var(b) / var_b).log(), part).exp()
        _mean(mine).copy_(mean + mean_off)
        _var(mine).copy_(var * var_off)


def _norms(net: Generator) -> list[Norm]:
    return [module for module in net.modules() if isinstance(module, Norm)]


def _mean(norm: Norm) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean


def _var(norm: Norm) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var


def _shown(net: Generator, x: Tensor, seed: int | None) -> list[tuple[Tensor, Tensor]]:
    """(mean, variance) of what each norm of `net` sees of `x`, all norms by these very statistics."""
    net = copy.deepcopy(net)
    if seed is not None:
        net.draw_field(x.shape[2], x.shape[3], seed)
    norms = _norms(net)
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the batch's own
    net(x)
    return [(_mean(norm), _var(norm).clamp_min(1e-8)) for norm in norms]


def _lumas(count: int, side: int) -> Tensor:
    """Luma ``(count, 1, side, side)`` 0…1 as a camera may see: slopes of light, cells from coarse to fine on them."""
    rng = torch.Generator().manual_seed(0)

    def grown(cells: int) -> Tensor:
        return F.interpolate(torch.rand((1, 1, cells, cells), generator=rng), (side, side), mode="bicubic")

    strength = torch.linspace(0, 1, count).tolist()
    made = [torch.lerp(grown(2), grown(3 + 2 * index), share) for index, share in enumerate(strength)]
    return torch.cat(made).clamp(0, 1)
