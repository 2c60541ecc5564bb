"""Condition: levels, auto-levels and detail against plain NumPy; what a card records is refused where it differs."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch

from l2s_node.errors import ModelError
from l2s_node.picture import condition


def luma(height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    """Random, ``(1, 1, h, w)``, 0…1."""
    return torch.from_numpy(np.random.default_rng(seed).random((1, 1, height, width))).float()


def plain(x: torch.Tensor) -> np.ndarray:
    return x[0, 0].double().numpy()


@pytest.mark.parametrize(
    ("brightness", "contrast", "gamma", "invert"),
    [(0, 1, 1, 0), (0.3, 1, 1, 0), (0, 4, 1, 0), (0, 1, 2.2, 0), (0, 1, 1, 1), (-0.2, 1.7, 0.5, 1), (1, 0, 5, 0)],
)
def test_levels(brightness: float, contrast: float, gamma: float, invert: float) -> None:
    x = luma()
    want = 1 - plain(x) if invert else plain(x)
    want = np.clip((want - 0.5) * contrast + 0.5 + brightness, 0, 1) ** (1 / gamma)
    got = condition.levels(x, brightness, contrast, gamma, invert)
    np.testing.assert_allclose(plain(got), want, atol=1e-5)


def test_levels_take_a_value_for_each_picture_of_a_batch() -> None:
    x = torch.cat([luma(seed=1), luma(seed=2)])
    brightness = torch.tensor([0.1, -0.3]).view(2, 1, 1, 1)
    got = condition.levels(x, brightness, 1.0, 1.0, 0.0)
    for i, value in enumerate((0.1, -0.3)):
        np.testing.assert_allclose(plain(got[i : i + 1]), np.clip(plain(x[i : i + 1]) + value, 0, 1), atol=1e-6)


def test_auto_levels_spread_two_deviations_to_the_full_range() -> None:
    x = luma() * 0.3 + 0.4
    mean, deviation = plain(x).mean(), plain(x).std()
    measured = condition.statistics(x)
    np.testing.assert_allclose(measured.numpy(), [mean, deviation], rtol=1e-4)
    got = condition.spread(x, measured[0], measured[1], 1.0)
    want = np.clip((plain(x) - (mean - 2 * deviation)) / (4 * deviation), 0, 1)
    np.testing.assert_allclose(plain(got), want, atol=1e-4)
    half = condition.spread(x, measured[0], measured[1], 0.5)
    unclipped = (plain(x) - (mean - 2 * deviation)) / (4 * deviation)
    np.testing.assert_allclose(plain(half), np.clip((plain(x) + unclipped) / 2, 0, 1), atol=1e-4)


def test_auto_levels_leave_the_noise_of_an_empty_table_alone() -> None:
    x = 0.5 + (luma() - 0.5) * 0.01
    measured = condition.statistics(x)
    got = condition.spread(x, measured[0], measured[1], 1.0)
    assert float(got.max() - got.min()) < 0.06


@pytest.mark.parametrize(
    ("height", "width", "cells"),
    [(256, 256, 10), (256, 256, 32), (64, 96, 6), (64, 96, 13.5), (96, 64, 21.3125), (256, 448, 10), (64, 64, 64)],
)
def test_detail_is_area_down_and_bicubic_up(height: int, width: int, cells: float) -> None:
    x = luma(height, width)
    np.testing.assert_allclose(plain(condition.shrink_and_grow(x, cells)), reference.detail(plain(x), cells), atol=2e-5)


def test_detail_is_torchs_own_area_and_bicubic() -> None:
    """The seed's trick as the original does it: 10x10 at 256 (an area filter needs whole pixels to agree: 8 cells)."""
    x = luma(256, 256)
    small = torch.nn.functional.interpolate(x, size=(8, 8), mode="area")
    want = torch.nn.functional.interpolate(small, size=(256, 256), mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(condition.shrink_and_grow(x, 8), want, atol=1e-5, rtol=0)


def test_cells_stay_square_on_a_wide_canvas() -> None:
    assert condition.cells_of(256, 512, 16) == (16, 32)
    assert condition.cells_of(512, 256, 16) == (32, 16)


def test_turning_detail_slowly_never_jumps() -> None:
    x = luma(128, 128)
    last = condition.shrink_and_grow(x, 9.0)
    for sixteenth in range(1, 33):
        now = condition.shrink_and_grow(x, 9 + sixteenth / 16)
        assert float((now - last).abs().max()) < 0.05
        last = now


@pytest.mark.parametrize("cells", [-3.0, 0.0, 0.4, 63.97, 64.0, 500.0])
def test_any_number_of_cells_gives_a_picture(cells: float) -> None:
    made = condition.shrink_and_grow(luma(), cells)
    assert made.shape == (1, 1, 64, 96) and bool(torch.isfinite(made).all())


def test_padding_to_a_rank_changes_nothing() -> None:
    down, up = condition.operator(96, 13.5)
    wide_down, wide_up = condition.operator(96, 13.5, 200)
    assert wide_down.shape == (200, 96) and wide_up.shape == (96, 200)
    torch.testing.assert_close(wide_up @ wide_down, up @ down)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float16, 0.2 / 255)], ids=str)
def test_multiplied_before_detail_is_the_same(dtype: torch.dtype, error: float) -> None:
    (down_y, up_y), (down_x, up_x) = condition.operator(64, 13.5), condition.operator(96, 20.25)
    made = condition.apply_products(luma(), (up_y @ down_y).to(dtype), (up_x @ down_x).to(dtype))
    want = condition.apply_detail(luma(), down_y, up_y, down_x, up_x)
    assert made.dtype == want.dtype and (made - want).abs().max() < error


def test_luma_is_bt709() -> None:
    rgb = torch.rand(2, 3, 4, 5)
    want = 0.2126 * rgb[:, 0] + 0.7152 * rgb[:, 1] + 0.0722 * rgb[:, 2]
    torch.testing.assert_close(condition.luma_of(rgb)[:, 0], want)


def test_a_card_of_our_own_is_taken() -> None:
    condition.check({**condition.SETTINGS, "detail": [6, 64]})


@pytest.mark.parametrize(("key", "value"), [("version", 99), ("luma", "bt601"), ("grow", "bilinear"), ("shrink", None)])
def test_a_mismatch_is_refused_with_both_values(key: str, value: object) -> None:
    with pytest.raises(ModelError) as refused:
        condition.check({**condition.SETTINGS, key: value})
    assert key in str(refused.value) and repr(value) in str(refused.value)
    assert repr(condition.SETTINGS[key]) in str(refused.value)
