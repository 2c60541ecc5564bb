"""Pacing, rates and percentiles: functions of `now`, so no test sleeps."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from l2s_node.clock import Durations, RateMeter, Ticker, decay, exact_rate


@pytest.mark.parametrize(
    "fps, rate",
    [
        (29.97, Fraction(30000, 1001)),
        (29.970029, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (30, Fraction(30)),
        (30.001, Fraction(30)),
        (25, Fraction(25)),
        (12.5, Fraction(25, 2)),
        (29.5, Fraction(59, 2)),
        (240, Fraction(240)),
    ],
)
def test_rates_have_the_numerator_and_denominator_of_the_broadcast(fps: float, rate: Fraction) -> None:
    assert exact_rate(fps) == rate


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf])
def test_what_is_no_rate_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        exact_rate(fps)


def test_ticks_do_not_drift() -> None:
    ticker, now, worst = Ticker(30, 0.0), 0.0, 0.0
    for tick in range(9000):  # five minutes, each tick taken up to 9 ms late
        now += ticker.due(now)
        worst = max(worst, abs(now - tick / 30))
        now += 0.009 * ((tick * 7919) % 100) / 100
        ticker.advance(now)
    assert worst < 1e-6


def test_after_a_stall_there_is_no_burst() -> None:
    ticker = Ticker(10, 0.0)
    ticker.advance(0.0)
    now = 5.0  # fifty ticks were missed
    assert ticker.due(now) == 0
    ticker.advance(now)
    assert ticker.due(now) == pytest.approx(0.1)


def test_a_frame_that_came_by_itself_takes_the_tick() -> None:
    ticker = Ticker(10, 0.0)
    ticker.restart(0.07)
    assert ticker.due(0.07) == pytest.approx(0.1)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter(window=2.0)
    assert meter.rate(0.0) == 0
    meter.add(0.0)
    assert meter.rate(0.0) == 0, "one event has no rate"
    for n in range(1, 301):
        meter.add(n / 30)
    assert meter.rate(10.0) == pytest.approx(30)
    for n in range(1, 101):
        meter.add(10 + n / 50)
    assert meter.rate(12.0) == pytest.approx(50, rel=0.02)
    assert meter.rate(20.0) == 0, "and nothing once it stopped"


def test_durations_are_those_of_numpy_in_milliseconds() -> None:
    rng = np.random.default_rng(1)
    values = rng.gamma(2, 0.005, 500)
    durations = Durations()
    for value in values:
        durations.add(float(value))
    assert durations.last_ms() == pytest.approx(values[-1] * 1e3)
    assert durations.mean_ms() == pytest.approx(values.mean() * 1e3)
    assert durations.mean_ms(30) == pytest.approx(values[-30:].mean() * 1e3)
    for q in (0, 50, 95, 99, 100):
        assert durations.percentile_ms(q) == pytest.approx(np.percentile(values, q) * 1e3)


def test_durations_keep_the_newest() -> None:
    durations = Durations(capacity=10)
    assert (durations.last_ms(), durations.mean_ms(), durations.percentile_ms(50)) == (0, 0, 0)
    for n in range(25):
        durations.add(n / 1000)
    assert durations.mean_ms() == pytest.approx(np.mean(range(15, 25)))
    assert durations.mean_ms(3) == pytest.approx(23)
    assert durations.mean_ms(99) == pytest.approx(np.mean(range(15, 25)))
    assert durations.percentile_ms(100) == pytest.approx(24)


def test_smoothing_looks_the_same_at_every_rate() -> None:
    after_a_second = [decay(1 / fps, 0.4) ** fps for fps in (24, 30, 60, 144)]
    assert after_a_second == pytest.approx([math.exp(-1 / 0.4)] * 4)
    assert decay(1 / 30, 0) == 0, "no time constant, no memory"
    assert decay(0, 1) == 1
