"""What one step of a training does: the nets with their optimisers, and the two recipes.

**dream** (ours): critics at two scales that see the picture only; half of every batch foreign; instead of a pixel loss
the made picture, seen coarsely, must keep to the input, hold still under sensor noise and differ between seed fields.
**classic** (the original's): a critic that sees input and picture, BCE + 100 · L1, pairs only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from l2s_node.models.pix2pix import ClassicPatch, TwoScales
from l2s_node.picture.condition import luma_of
from l2s_node.train import loss
from l2s_node.train.data import Batch
from l2s_node.train.nets import Losses, Nets

CONSISTENCY, COLOUR, STILLNESS, DIVERSITY, GRID = 6.0, 4.0, 4.0, 2.0, 50.0
"""Weights of the dream recipe beside its adversarial loss, found in trials."""

PIXELS = 100.0
"""λ of pix2pix (https://arxiv.org/abs/1611.07004, section 3.3 and its code)."""


@dataclass(frozen=True)
class Recipe:
    """One way of training.

    Attributes:
        architecture: key of `pix2pix.ARCHITECTURES`.
        step: one step of both nets; its last argument is 0 and 1 in turns.
        own: the part of a batch whose inputs come from the world's own pictures.
        rates: learning rates of generator and critic.
        critic: makes the critic.
    """

    architecture: str
    step: Callable[[Nets, Batch, int], Losses]
    own: float
    rates: tuple[float, float]
    critic: Callable[[], nn.Module]


def dream_step(nets: Nets, batch: Batch, turn: int) -> Losses:
    """One step of ours, critic first. Stillness and diversity cost a second picture each, so they take turns (0, 1)."""
    fields = nets.fields(*batch.inputs.shape[:3:2])
    with nets.autocast():
        made = nets.play(batch.inputs, fields)
        logits = nets.judge(torch.cat([batch.pictures.to(made.dtype), made.detach()]))
    real, fake = zip(*(scale.chunk(2) for scale in logits), strict=True)
    losses = {"critic": loss.hinge_critic(real, fake)}
    nets.descend(1, losses["critic"])

    nets.critic.requires_grad_(False)
    with nets.autocast():
        logits = nets.judge(made)
        if turn:
            other = nets.play(batch.inputs, nets.fields(*batch.inputs.shape[:3:2]))
        else:
            other = nets.play(batch.again, fields)
    nets.critic.requires_grad_(True)
    made, other = made.float(), other.float()
    losses["adversarial"] = loss.hinge_generator(logits)
    losses["consistency"] = loss.consistency(luma_of(made) * 0.5 + 0.5, batch.luma)
    losses["colour"] = loss.colour_anchor(made[: batch.own], batch.pictures[: batch.own])
    losses["grid"] = loss.grid(made)
    total = losses["adversarial"] + CONSISTENCY * losses["consistency"] + COLOUR * losses["colour"]
    total = total + GRID * losses["grid"]
    if turn:
        losses["diversity"] = loss.diversity(made, other)
        total = total + DIVERSITY * losses["diversity"]
    else:
        losses["stillness"] = loss.stillness(made, other)
        total = total + STILLNESS * losses["stillness"]
    nets.descend(0, total)
    return {name: value.detach() for name, value in losses.items()}


def classic_step(nets: Nets, batch: Batch, turn: int) -> Losses:
    """One step of pix2pix as the original trained it, all turns alike (the critic's loss without the paper's ½)."""
    fields = nets.fields(*batch.inputs.shape[:3:2])
    with nets.autocast():
        made = nets.play(batch.inputs, fields)
        real, fake = nets.judge(batch.inputs, batch.pictures), nets.judge(batch.inputs, made.detach())
    losses = {"critic": loss.bce(real, True) + loss.bce(fake, False)}
    nets.descend(1, losses["critic"])
    nets.critic.requires_grad_(False)
    with nets.autocast():
        fake = nets.judge(batch.inputs, made)
    nets.critic.requires_grad_(True)
    losses["adversarial"] = loss.bce(fake, True)
    losses["pixels"] = loss.pixels(made.float(), batch.pictures)
    nets.descend(0, losses["adversarial"] + PIXELS * losses["pixels"])
    return {name: value.detach() for name, value in losses.items()}


RECIPES = {
    "dream": Recipe("shuffle", dream_step, own=0.5, rates=(2e-4, 4e-4), critic=TwoScales),
    "classic": Recipe("classic", classic_step, own=1.0, rates=(2e-4, 2e-4), critic=ClassicPatch),
}
