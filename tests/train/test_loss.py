"""The losses on pictures whose answer is known."""

import math

import pytest
import torch

from l2s_node.train import loss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def gradient(size=64):
    return torch.linspace(0, 1, size).expand(1, 1, size, size).clone()


def test_hinge_is_two_for_a_critic_that_knows_nothing_and_zero_for_one_that_is_sure():
    unsure, sure = [torch.zeros(4, 9), torch.zeros(4, 2)], [torch.full((4, 9), 1.5), torch.full((4, 2), 1.0)]
    assert loss.hinge_critic(unsure, unsure).item() == 2
    assert loss.hinge_critic(sure, [-s for s in sure]).item() == 0
    assert (
        loss.hinge_generator([torch.full((4, 9), 3.0), torch.full((4, 2), 1.0)]).item() == -2
    )  # scales weigh the same


def test_bce_is_ln_two_at_the_fence_and_falls_on_the_right_side():
    assert loss.bce(torch.zeros(5), True).item() == pytest.approx(math.log(2))
    assert loss.bce(torch.full((5,), 4.0), True) < 0.02 < 4 < loss.bce(torch.full((5,), 4.0), False)


def test_consistency_is_zero_for_the_input_itself_and_for_fine_texture_on_it():
    given = gradient() * 0.6 + 0.2
    texture = 0.2 * torch.randn_like(given)
    assert loss.consistency(given, given).item() == 0
    assert loss.consistency((given + texture).clamp(0, 1), given) < 0.01


def test_consistency_rises_for_the_negative_and_for_a_lost_object():
    given = torch.full((1, 1, 64, 64), 0.4)
    given[..., 20:44, 20:44] = 0.9
    lost = torch.full_like(given, 0.5)
    assert loss.consistency(1 - given, given) > loss.consistency(lost, given) > 0.1


def test_a_flat_input_leaves_more_freedom_than_a_busy_one():
    made = 0.5 + 0.05 * torch.randn(1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    flat = torch.full((1, 1, 64, 64), 0.5)
    kept = loss.keeping(made, flat, cells=8, relative=0.2, flat=0.35, absolute=0.5)
    assert kept < loss.keeping(made, flat, cells=8, relative=0.2, flat=0.0, absolute=0.5)


def test_gradients_are_numbers_where_a_picture_is_flat():
    made = torch.full((2, 1, 64, 64), 0.5, requires_grad=True)
    (loss.consistency(made, torch.full((2, 1, 64, 64), 0.9)) + loss.grid(made)).backward()
    assert made.grad is not None and made.grad.isfinite().all()


def test_colour_anchor_sees_colour_and_no_fine_detail():
    target = torch.zeros(1, 3, 64, 64)
    checker = torch.ones(2, 2).fill_diagonal_(-1).repeat(32, 32).expand(1, 3, 64, 64)
    assert loss.colour_anchor(target + checker, target).item() == pytest.approx(0, abs=1e-6)
    assert loss.colour_anchor(target + 0.5, target).item() == pytest.approx(0.5)


def test_diversity_wants_a_difference_and_no_more():
    one, wanted = torch.zeros(2, 3, 8, 8), torch.tensor(0.25)
    assert loss.diversity(one, one, wanted).item() == 0.25
    assert loss.diversity(one, one + 0.1, wanted).item() == pytest.approx(0.15)
    assert loss.diversity(one, one + 0.5, wanted).item() == 0
    assert loss.stillness(one, one).item() == 0 and loss.stillness(one, one + 0.5).item() == 0.5


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_grid_finds_a_raster_of_each_period_in_noise_and_nothing_in_noise_or_a_gradient(period):
    noise = 0.2 * torch.randn(2, 3, 128, 128)
    raster = torch.zeros(period, period)
    raster[: period // 2] = 1
    raster = raster.repeat(128 // period, 128 // period)
    clean, dirty = loss.grid(noise, (period,)), loss.grid(noise + 0.3 * raster, (period,))
    assert dirty > 5 * clean
    assert loss.grid(gradient(128).expand(1, 3, 128, 128) * 2 - 1, (period,)) < 2e-3


def test_response_wants_the_picture_to_move_as_much_as_it_is_asked_to():
    before = torch.zeros(3, 1, 64, 64)
    after = before.clone()
    after[:, :, 20:30, 20:40] = 1
    pictures = tuple(each.expand(-1, 3, -1, -1) for each in (before, after))
    wanted = torch.tensor(1.5)
    assert loss.response(pictures, (before, after), wanted).item() == pytest.approx(0.5)
    assert loss.response(tuple(2 * each for each in pictures), (before, after), wanted).item() == 0
    assert loss.response((pictures[0], pictures[0]), (before, after), wanted).item() == pytest.approx(1.5)


def test_a_world_is_as_lively_as_its_pictures_change_more_than_their_input():
    torch.manual_seed(1)
    coarse = torch.rand(4, 1, 64, 64)
    assert loss.liveliness(coarse.expand(-1, 3, -1, -1), coarse, 4).item() == pytest.approx(1)
    textured = (coarse + torch.randn(4, 3, 64, 64)).contiguous()
    assert loss.liveliness(textured, coarse, 4) > 2
