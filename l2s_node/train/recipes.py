"""What one step of a training does: the nets with their optimisers, and the two recipes.

**dream** (ours): critics that see the picture only, as patches at two scales and through a trained network's features;
half of every batch foreign; instead of a pixel loss the made picture, seen coarsely, must keep to the input, hold still
under sensor noise, move where the input moves, and differ between seed fields and from itself.
**classic** (the original's): a critic that sees input and picture, BCE + 100 · L1, pairs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from l2s_node.picture.condition import luma_of
from l2s_node.train import features, loss
from l2s_node.train.critics import ClassicPatch, Critics
from l2s_node.train.data import CELL, Batch, to_input
from l2s_node.train.nets import Losses, Nets

CONSISTENCY, COLOUR, STILLNESS, RESPONSE, DIVERSITY, REPETITION, GRID = 6.0, 4.0, 3.0, 0.25, 4.0, 4.0, 100.0
"""Weights of the dream recipe beside its two adversarial losses (1 each); `RECIPE.md` says what was tried."""

WANTED = 0.6
"""How different two dreams of one input must be, in parts of the difference between two pictures of the world."""

UNREPEATED = 0.85
"""How different a foreign input's dream must be from itself an innermost cell further, in parts of the world's own."""

RESPONSIVE, TWICE = 0.85, 2.0
"""How much of what one of the world's pictures changes when it is moved an object's move must change, over the input's
own change; and at most: the sea's texture changes four times as much, and where it is asked to, it boils."""

PIXELS = 100.0
"""λ of pix2pix (https://arxiv.org/abs/1611.07004, section 3.3 and its code)."""


@dataclass(frozen=True)
class Recipe:
    """One way of training.

    Attributes:
        architecture: key of `pix2pix.ARCHITECTURES`.
        step: one step of both nets.
        own: the part of a batch whose inputs come from the world's own pictures.
        rates: learning rates of generator and critic.
        critic: makes the critic, for a device.
        stored: how the weights are stored (`models.store.save`). Ours score the same in 8 bits as in 16.
    """

    architecture: str
    step: Callable[[Nets, Batch], Losses]
    own: float
    rates: tuple[float, float]
    critic: Callable[[torch.device], nn.Module]
    stored: str = "int8"


def dream_step(nets: Nets, batch: Batch) -> Losses:
    """One step of ours, critics first."""
    critics = nets.critic
    assert isinstance(critics, Critics)
    count, again = len(batch.luma), retold(batch)
    cut, perceive = window(batch.pictures), nets.fused(critics.perceive)
    with nets.beside(), nets.autocast():
        real = cut(batch.pictures)
        seen_real = perceive(real[::2])
    made, still, other, *moved = dream(nets, batch, again)
    with nets.autocast():
        fake = cut(made)
        seen_fake = perceive(fake[::2])
        nets.join()
        both = [torch.cat([r, f.detach()]) for r, f in zip(seen_real, seen_fake, strict=True)]
        patches, projected = nets.judge(torch.cat([real, fake.detach()]), both)
    losses = {
        "critic": loss.hinge_critic(*halves(patches, count)),
        "projected": loss.hinge_critic(*halves(projected, len(real[::2]))),
    }
    nets.descend(1, losses["critic"] + losses["projected"])
    nets.fused(critics.limit)()

    with nets.beside():
        losses |= nets.fused(wishes)(batch, again, made.float(), still.float(), other.float(), moved)
    with nets.frozen(), nets.autocast():
        patches, projected = critics(fake, seen_fake)
    losses["adversarial"] = loss.hinge_generator(patches) + loss.hinge_generator(projected)
    nets.join()
    weights = {
        "adversarial": 1.0,
        "consistency": CONSISTENCY,
        "colour": COLOUR,
        "stillness": STILLNESS,
        "response": RESPONSE,
        "diversity": DIVERSITY,
        "repetition": REPETITION,
        "grid": GRID,
    }
    nets.descend(0, torch.stack([weight * losses[name] for name, weight in weights.items()]).sum())
    return {name: value.detach() for name, value in losses.items()}


def wishes(batch: Batch, again: slice, made: Tensor, still: Tensor, other: Tensor, moved: Sequence[Tensor]) -> Losses:
    """What the generator is asked for besides looking like the world."""
    own, flat = slice(batch.own), slice(batch.own, batch.own + batch.flat)
    pictures, size = batch.pictures, made.shape[2]
    before, after = (each.float() for each in moved)
    lively = loss.liveliness(pictures[own], to_input(batch.luma[own]), size // CELL)
    foreign = [inner(made[flat]), inner(made[batch.own + batch.flat :])]
    repeated = [loss.repetition(each, inner(pictures), UNREPEATED, size // 4) for each in foreign if len(each)]
    return {
        "consistency": loss.consistency(luma_of(made) * 0.5 + 0.5, batch.luma),
        "colour": loss.colour_anchor(made[own], pictures[own]),
        "stillness": loss.stillness(made[again], still),
        "response": loss.response((before, after), batch.moved_inputs(), (RESPONSIVE * lively).clamp_max(TWICE)),
        "diversity": loss.diversity(inner(made[again]), inner(other), WANTED * loss.unlikeness(inner(pictures))),
        "repetition": torch.stack(repeated).sum(),
        "grid": loss.grid(made[::4]),
    }


def inner(pictures: Tensor) -> Tensor:
    """Without the eighths at the borders, which critics see seldom: whoever must differ would do it there, in blue."""
    margin = pictures.shape[2] // 8
    return pictures[:, :, margin:-margin, margin:-margin]


def retold(batch: Batch) -> slice:
    """A quarter of the batch is dreamt again, with other noise and with other seeds: a few own, and the flat ones."""
    count = max(len(batch.luma) // 4, 1)
    start = max(batch.own - count // 4, 0)
    return slice(start, start + count)


def dream(nets: Nets, batch: Batch, again: slice) -> tuple[Tensor, ...]:
    """Pictures of the whole batch; of `again` under other sensor noise; of `again` with other seed fields; and of the
    moved inputs, before and after.

    All in one pass: several would take longer, and their norms would see different batches.
    """
    count, size = len(batch.luma), batch.luma.shape[2]
    before, after = batch.moved_inputs()
    inputs = torch.cat([batch.inputs(), batch.inputs(again), batch.inputs(again), before, after])
    fields = nets.fields(count, size)
    others = nets.fields(len(batch.luma[again]), size)
    repeated, shown = len(batch.luma[again]), slice(len(before))
    fields = [
        torch.cat([field, field[again], other, field[shown], field[shown]])
        for field, other in zip(fields, others, strict=True)
    ]
    with nets.autocast():
        made = nets.play(inputs, fields)
    parts: tuple[Tensor, ...] = made.split([count, repeated, repeated, len(before), len(after)])
    return parts


def window(pictures: Tensor) -> Callable[[Tensor], Tensor]:
    """Cuts the same random window, 7/8 of the size of `pictures`, from whatever it is given.

    Seen whole, every picture lies alike under the critics' strides, and the generator learns to write in their raster.
    A third of the windows lie in a corner: borders and corners must be judged too, or they turn garish.
    """
    size = pictures.shape[2]
    side = max(size * 7 // 8 // 32, 1) * 32
    slack = size - side
    anywhere, corner = (torch.randint(most, (2,), device=pictures.device) for most in (slack + 1, 2))
    start = torch.where(torch.rand((), device=pictures.device) < 1 / 3, corner * slack, anywhere)
    steps = torch.arange(side, device=pictures.device)
    rows, columns = start[0] + steps, start[1] + steps

    def cut(x: Tensor) -> Tensor:
        if x.is_cuda:
            x = x.bfloat16()  # what autocast would make of it later, in less memory
        x = x.permute(0, 2, 3, 1)  # channels_last goes in and out
        return x.index_select(1, rows).index_select(2, columns).permute(0, 3, 1, 2)

    return cut


def halves(logits: list[Tensor], count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Logits of `count` real pictures and of as many made ones, for each critic."""
    return [each[:count] for each in logits], [each[count:] for each in logits]


def classic_step(nets: Nets, batch: Batch) -> Losses:
    """One step of pix2pix as the original trained it (the critic's loss without the paper's ½)."""
    inputs = batch.inputs()
    fields = nets.fields(len(inputs), inputs.shape[2])
    with nets.autocast():
        made = nets.play(inputs, fields)
        real, fake = nets.judge(inputs, batch.pictures), nets.judge(inputs, made.detach())
    losses = {"critic": loss.bce(real, True) + loss.bce(fake, False)}
    nets.descend(1, losses["critic"])
    with nets.frozen(), nets.autocast():
        fake = nets.critic(inputs, made)
    losses["adversarial"] = loss.bce(fake, True)
    losses["pixels"] = loss.pixels(made.float(), batch.pictures)
    nets.descend(0, losses["adversarial"] + PIXELS * losses["pixels"])
    return {name: value.detach() for name, value in losses.items()}


def make_critics(device: torch.device) -> Critics:
    """The critics of the dream recipe, with their features on `device`."""
    net = features.load(device)
    critics = Critics(net.maps, net.CHANNELS)
    if device.type == "cuda":  # frozen weights: cast once instead of in every pass
        for frozen in (net, critics.projected.across, critics.projected.up):
            frozen.to(torch.bfloat16)
    return critics


def make_classic(device: torch.device) -> ClassicPatch:
    return ClassicPatch()


RECIPES = {
    "dream": Recipe("subpixel", dream_step, own=0.5, rates=(4e-4, 6e-4), critic=make_critics),
    "classic": Recipe("classic", classic_step, own=1.0, rates=(2e-4, 2e-4), critic=make_classic, stored="float16"),
}
