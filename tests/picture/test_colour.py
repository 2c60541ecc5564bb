"""Colour: the matrices of BT.601 and BT.709 in limited range, against the formulas and well-known values."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch

from l2s_node.picture.colour import rgb_to_yuv, standard_for, yuv_to_rgb


@pytest.mark.parametrize("standard", ["bt601", "bt709"])
def test_rgb_to_ycbcr_follows_the_book(standard: str) -> None:
    rgb = np.random.default_rng(0).random((3, 20, 30))
    ours = rgb_to_yuv(torch.from_numpy(rgb).float(), standard).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(ours, reference.to_ycbcr(rgb.transpose(1, 2, 0), standard), atol=1e-3)


@pytest.mark.parametrize("standard", ["bt601", "bt709"])
def test_ycbcr_to_rgb_follows_the_book_and_is_clipped(standard: str) -> None:
    ycbcr = np.random.default_rng(1).uniform(0, 255, (3, 20, 30))
    ours = yuv_to_rgb(torch.from_numpy(ycbcr).float(), standard).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(ours, reference.to_rgb(ycbcr.transpose(1, 2, 0), standard), atol=1e-5)


@pytest.mark.parametrize(
    ("rgb", "standard", "ycbcr"),
    [
        ((0, 0, 0), "bt709", (16, 128, 128)),
        ((1, 1, 1), "bt709", (235, 128, 128)),
        ((1, 0, 0), "bt601", (81, 90, 240)),  # the 100 % colour bars
        ((0, 1, 0), "bt601", (145, 54, 34)),
        ((0, 0, 1), "bt601", (41, 240, 110)),
        ((1, 0, 0), "bt709", (63, 102, 240)),
        ((0, 1, 0), "bt709", (173, 42, 26)),
        ((0, 0, 1), "bt709", (32, 240, 118)),
    ],
)
def test_known_values(rgb: tuple[int, int, int], standard: str, ycbcr: tuple[int, int, int]) -> None:
    ours = rgb_to_yuv(torch.tensor(rgb, dtype=torch.float32).view(3, 1, 1), standard)
    assert tuple(ours.round().int().flatten().tolist()) == ycbcr


@pytest.mark.parametrize(
    ("size", "standard"),
    [
        ((640, 480), "bt601"),
        ((720, 576), "bt601"),
        ((722, 576), "bt709"),
        ((720, 578), "bt709"),
        ((1280, 720), "bt709"),
        ((3840, 2160), "bt709"),
    ],
)
def test_the_size_decides_the_standard(size: tuple[int, int], standard: str) -> None:
    assert standard_for(*size) == standard
