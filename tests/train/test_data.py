"""Batches: crops are of the pictures, and inputs are made as they are on stage."""

import numpy as np
import pytest
import torch

from l2s_node.picture import condition
from l2s_node.train.data import CELL, DETAIL, Album, Batches, Conditioner, Knobs, flats, moved, shapes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_middle_of_a_picture_at_its_own_size_is_exactly_its_pixels():
    wide, tall = picture(64, 100), picture(90, 64, 1)
    middles = Album([wide, tall], CPU).middle(torch.tensor([1, 0]), 64)
    assert np.array_equal((middles[0] * 255).round().byte().permute(1, 2, 0).numpy(), tall[13:77])
    assert np.array_equal((middles[1] * 255).round().byte().permute(1, 2, 0).numpy(), wide[:, 18:82])


def test_crops_stay_inside_their_picture_and_their_range():
    dark, light = np.full((40, 70, 3), 10, np.uint8), np.full((80, 50, 3), 200, np.uint8)
    crops = Album([dark, light], CPU).crops(32, 48, (0.3, 1.0), turn=True)
    assert crops.shape == (32, 3, 48, 48)
    values = {round(float(v)) for v in (crops * 255).unique()}
    assert values == {10, 200}  # one picture never runs over into the next


def test_a_crop_is_enlarged_bilinearly():
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    row = Album([ramp], CPU).cut(torch.tensor([0]), 128, torch.tensor([0.5]), torch.tensor([[0.0], [0.5]]))[0, 0, 5]
    assert row[0] == pytest.approx(16 / 64, abs=0.02) and row[-1] == pytest.approx(48 / 64, abs=0.02)
    assert (row.diff() >= 0).all() and row.diff().max() < 0.02


def test_every_picture_of_a_batch_is_conditioned_as_on_stage():
    luma = torch.rand(6, 1, 64, 64)
    knobs = Knobs.draw(3, 3, CPU)
    ours = Conditioner(64, CPU)(luma, knobs)
    for i in range(6):
        values = (float(v[i]) for v in (knobs.brightness, knobs.contrast, knobs.gamma, knobs.invert))
        stage = condition.shrink_and_grow(condition.levels(luma[i : i + 1], *values), float(knobs.cells[i]))
        torch.testing.assert_close(ours[i : i + 1], stage, atol=2e-6, rtol=0)


def test_knobs_cover_the_details_and_invert_foreign_inputs_only():
    knobs = Knobs.draw(400, 400, CPU)
    assert knobs.cells.unique().tolist() == list(range(DETAIL[0], DETAIL[1] + 1))
    assert not knobs.invert[:400].any() and 0.15 < knobs.invert[400:].mean() < 0.45


def test_shapes_and_flats_are_luma_and_flats_are_almost_even():
    for make in (shapes, flats):
        luma = make(60, 32, CPU)
        assert luma.shape == (60, 1, 32, 32) and luma.min() >= 0 and luma.max() <= 1
    spread = [make(60, 32, CPU).std((1, 2, 3)).median() for make in (flats, shapes)]
    assert spread[0] < 0.05 < spread[1]
    means = flats(60, 32, CPU).mean((1, 2, 3))
    assert means.min() < 0.2 and means.max() > 0.8, "from dark tables to bright ones"


@pytest.mark.parametrize("foreign", [0, 3])
def test_a_batch_fits_together(foreign):
    world = Album([picture(80, 90, i) for i in range(4)], CPU)
    strange = Album([picture(64, 64, i) for i in range(foreign)], CPU)
    batch = Batches(world, strange, 64, batch=8, own=4).draw()
    one, again = batch.inputs(), batch.inputs()
    assert one.shape == again.shape == batch.luma.shape == (8, 1, 64, 64)
    assert batch.pictures.shape == (8, 3, 64, 64) and -1 <= batch.pictures.min() and batch.pictures.max() <= 1
    noise = one - (batch.luma * 2 - 1)
    assert 0.015 < noise.std() < 0.025 and not torch.equal(one, again)
    flat = batch.inputs(slice(batch.own, batch.own + batch.flat))
    assert flat.shape[0] == batch.flat > 0


def test_own_inputs_are_made_of_their_own_pictures():
    world = Album([picture(70, 70, i) // 8 + 40 * i for i in range(5)], CPU)  # of five quite different brightnesses
    batch = Batches(world, Album([], CPU), 64, batch=10, own=10).draw()
    means = torch.stack([batch.luma.mean((1, 2, 3)), condition.luma_of(batch.pictures).mean((1, 2, 3))])
    assert torch.corrcoef(means)[0, 1] > 0.7


def test_an_object_moves_by_a_cell_and_the_ground_stays():
    ground = torch.full((40, 1, 64, 64), 0.3)
    before, after = moved(ground)

    def middles(luma):
        there = luma != ground
        line = torch.arange(64.0)
        weight = there.sum((1, 2, 3))
        return torch.stack([(there * line.view(1, 1, -1, 1)).sum((1, 2, 3)), (there * line).sum((1, 2, 3))]) / weight

    whole = [(each != ground).flatten(1).sum(1) for each in (before, after)]
    inside = (whole[0] - whole[1]).abs() < 0.1 * whole[0]  # the others stand out of the picture
    steps = (middles(after) - middles(before)).square().sum(0).sqrt()
    assert inside.sum() > 15
    assert (steps[inside] - 64 / CELL).abs().max() < 1
    assert before.max() > 0.7 and (before >= ground).all(), "bright on a dark ground"


def test_moved_inputs_differ_by_the_move_alone():
    world = Album([picture(80, 90, i) for i in range(4)], CPU)
    before, after = Batches(world, Album([], CPU), 64, batch=8, own=4).draw().moved_inputs()
    assert before.shape == after.shape and before.shape[1:] == (1, 64, 64)
    assert -1 <= before.min() and after.max() <= 1
    assert ((before - after).abs() < 1e-6).float().mean() > 0.3 and not torch.equal(before, after)
