"""Measures: cases whose scores are known beforehand."""

import math

import pytest
import torch

from l2s_node.score import measures


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_kid_of_two_constant_sets_is_what_the_kernel_says():
    a, b = torch.tensor([1.0, 0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 0.5, 1.0])

    def kernel(x, y):
        return ((x @ y).item() / 4 + 1) ** 3

    mean, deviation = measures.kid(a.expand(10, -1), b.expand(14, -1))
    assert mean == pytest.approx(1000 * (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)))
    assert deviation == pytest.approx(0, abs=1e-6)


def test_kid_is_unbiased_and_grows_with_the_distance():
    one, same, other, far = (torch.randn(300, 16) * 0.5 + mean for mean in (0.5, 0.5, 0.7, 1.0))
    mean, deviation = measures.kid(one, same)
    assert abs(mean) < deviation  # about 0; a biased estimate would lie some deviations over it
    assert deviation < measures.kid(one, other)[0] < measures.kid(one, far)[0]
    assert measures.kid(one, other) == measures.kid(one, other)


def test_kid_of_few_pictures_has_the_same_mean_and_more_spread():
    one, other = torch.randn(800, 16), torch.randn(800, 16) + 0.5
    (many, narrow), (few, wide) = measures.kid(one, other), measures.kid(one[:80], other[:80])
    assert few == pytest.approx(many, rel=0.35)
    assert wide > 2 * narrow


def test_precision_and_recall_of_the_same_and_of_strangers():
    real = torch.randn(100, 8)
    assert measures.precision_recall(real, real) == (1.0, 1.0)
    assert measures.precision_recall(real + 100, real) == (0.0, 0.0)


def test_who_makes_only_half_of_what_is_real_has_precision_and_half_the_recall():
    real = torch.randn(200, 8)
    real[100:] += 50  # two kinds
    made = torch.randn(200, 8)  # of the first
    precision, recall = measures.precision_recall(made, real)
    assert precision > 0.8
    assert 0.4 < recall <= 0.5
    assert measures.precision_recall(real, made) == (recall, precision)


def wave(period, strength, size=128):
    """A pattern that repeats after so many pixels, down and across."""
    tile = torch.zeros(period, period)
    tile[0, 0] = 1
    repeats = size // period + 1
    pattern = tile.repeat(repeats, repeats)[:size, :size]
    return strength * (pattern - pattern.mean()) / pattern.std()


@pytest.mark.parametrize("period", [2, 4, 8])
def test_what_repeats_as_up_sampling_does_is_a_checkerboard(period):
    plain = 0.2 * torch.randn(6, 3, 128, 128)
    clean = measures.checkerboard(measures.spectrum(plain))
    assert clean == pytest.approx(1, abs=0.2)
    faint, strong = (measures.checkerboard(measures.spectrum(plain + wave(period, s))) for s in (0.02, 0.1))
    assert strong > faint > clean + 0.5


def test_a_pure_checkerboard_scores_its_energy_over_the_floor():
    """One of the 63 frequencies holds all; the Hann window keeps half of a wave's energy density: n / 1.5²."""
    board = wave(2, 0.5, 64).expand(1, 3, -1, -1)
    one = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32).expand(1, 3, -1, -1) * 0.5
    expected = 0.25 * 64 * 64 / 1.5**2 / measures.FLOOR / 63
    assert measures.checkerboard(measures.spectrum(one)) == pytest.approx(expected, rel=0.02)
    assert measures.checkerboard(measures.spectrum(board)) > 1000


def test_other_patterns_and_edges_are_none():
    plain = 0.2 * torch.randn(6, 3, 128, 128)
    for harmless in (wave(3, 0.1), wave(5, 0.1), torch.linspace(-1, 1, 128).expand(128, -1), wave(128, 0.1)):
        assert measures.checkerboard(measures.spectrum(plain + harmless)) == pytest.approx(1, abs=0.2)


def test_a_flat_picture_and_a_pattern_that_no_one_can_see_are_none():
    assert measures.checkerboard(measures.spectrum(torch.full((1, 3, 64, 64), 0.3))) == pytest.approx(1)
    assert measures.checkerboard(measures.spectrum(1e-5 * wave(2, 1, 64).expand(1, 3, -1, -1))) < 1.1


def test_spectra_are_in_units_of_variance_whatever_the_size():
    for size in (64, 256):
        energy = measures.spectrum(0.1 * torch.randn(40, 1, size, size).expand(-1, 3, -1, -1))
        assert energy.mean().item() == pytest.approx(0.01, rel=0.05)


def test_change_and_response():
    before, after = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    after[0, :, :, :4], after[1] = 0.5, 0.25
    assert measures.change(before, after) == pytest.approx(0.25)
    made = (before.expand(-1, 3, -1, -1), 3 * after.expand(-1, 3, -1, -1))
    assert measures.response(made, (before, after)) == pytest.approx(3)
    assert measures.response((made[0], made[0]), (before, after)) == 0


def test_noise_seen_through_nothing_flickers_as_the_docstring_says():
    noise = 2 * 0.01 * torch.randn(8, 1, 64, 64)
    assert measures.change(noise, torch.zeros_like(noise)) == pytest.approx(0.02 * math.sqrt(2 / math.pi), rel=0.02)


def test_texture_is_that_over_places_not_over_pictures():
    flat = torch.tensor([-0.5, 0.5]).view(2, 1, 1, 1).expand(-1, 3, 32, 32)
    assert measures.texture(flat) == 0
    assert measures.texture(flat + 0.1 * torch.randn(2, 3, 32, 32)) == pytest.approx(0.1, rel=0.05)


def test_fidelity_is_a_correlation():
    given = torch.rand(4, 1, 32, 32)
    assert measures.fidelity(measures.moments(given, given)) == pytest.approx(1)
    assert measures.fidelity(measures.moments(given, 0.2 + 0.3 * given)) == pytest.approx(1)
    assert measures.fidelity(measures.moments(given, 1 - given)) == pytest.approx(-1)
    assert measures.fidelity(measures.moments(given, torch.full_like(given, 0.4))) == 0
    assert abs(measures.fidelity(measures.moments(given, torch.rand(4, 1, 32, 32)))) < 0.1
    parts = measures.moments(given[:1], given[:1] ** 2) + measures.moments(given[1:], given[1:] ** 2)
    assert measures.fidelity(parts) == pytest.approx(measures.fidelity(measures.moments(given, given**2)))
