"""The test of Diebold and Mariano against its formula, and against what it promises."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ratchet.learning.metrics import (
    Resampling,
    diebold_mariano,
    forecast_rows,
    losses,
    score_forecast,
)


def formula(gap, horizon):
    """Harvey, Leybourne & Newbold (1997), equations 1 to 9, term by term."""
    n, mean = len(gap), sum(gap) / len(gap)
    variance = 0.0
    for lag in range(-(horizon - 1), horizon):
        pairs = zip(gap[abs(lag) :], gap, strict=False)
        variance += sum((a - mean) * (b - mean) for a, b in pairs) / n
    plain = mean / math.sqrt(variance / n)
    return plain * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)


@given(st.integers(0, 2**32 - 1), st.integers(10, 60), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_statistic_is_the_formula(seed, n, horizon):
    rng = np.random.default_rng(seed)
    shocks = np.cumsum(rng.normal(size=n + horizon)) * 0.3 + rng.normal(size=n + horizon)
    gap = shocks[:n] + 0.2
    model = rng.random(n)
    try:
        expected = formula(gap, horizon)
    except ValueError:  # the root of a variance below 0
        return
    result = diebold_mariano(model + gap, model, horizon=horizon)
    assert result["statistic"] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert result["p_value"] == pytest.approx(stats.t.sf(expected, n - 1), rel=1e-6)
    assert (result["times"], result["horizon"]) == (n, horizon)


def test_one_step_ahead_it_is_the_t_test():
    baseline, model = np.random.default_rng(0).gamma(2, size=(2, 30))
    result = diebold_mariano(baseline, model)
    expected = stats.ttest_rel(baseline, model, alternative="greater")
    assert result["statistic"] == pytest.approx(expected.statistic)
    assert result["p_value"] == pytest.approx(expected.pvalue)


def test_a_variance_below_zero_is_weighted():
    gap = np.tile([1.0, -1.0], 10) + 0.1
    result = diebold_mariano(gap, np.zeros(20), horizon=2)
    variance = (1 - 19 / 20) / 20  # 1 - 2 x 19/20, the full sum, is below 0
    small = (20 + 1 - 4 + 2 / 20) / 20
    assert result["statistic"] == pytest.approx(0.1 * math.sqrt(small / variance))


def test_losses_of_one_time_count_once():
    baseline, model = np.random.default_rng(1).gamma(2, size=(2, 40))
    times = pd.date_range("2026-01-01", periods=40, freq="h")
    alone = diebold_mariano(baseline, model, times=times, horizon=3)
    order = np.random.default_rng(2).permutation(120)
    pair = (np.tile(values, 3)[order] for values in (baseline, model))
    many = diebold_mariano(*pair, times=times.append([times, times])[order], horizon=3)
    assert many == pytest.approx(alone)


def test_equally_good_forecasts_are_rarely_told_apart():
    rng = np.random.default_rng(3)
    rejected = {1: 0, 6: 0}
    for _ in range(400):
        shocks = rng.normal(size=(2, 105))
        # Errors of efficient forecasts six steps ahead: sums of six surprises.
        errors = np.lib.stride_tricks.sliding_window_view(shocks, 6, axis=1).sum(axis=-1)
        for horizon in rejected:
            p_value = diebold_mariano(*np.abs(errors), horizon=horizon)["p_value"]
            rejected[horizon] += p_value < 0.05
    assert rejected[6] / 400 < 0.10
    assert rejected[1] / 400 > 0.15


@pytest.mark.parametrize("metric", ["mae", "mase", "rmse", "rmsse"])
def test_losses_average_to_their_metric(metric):
    rng = np.random.default_rng(4)
    truth, prediction = rng.normal(size=(2, 25))
    terms = {"scale": rng.uniform(1, 2, 25), "rms": rng.uniform(1, 2, 25)}
    mean = losses(metric, *forecast_rows(truth, prediction, **terms)).mean()
    scores = score_forecast(
        truth, prediction, **terms, times=np.arange(25), resampling=Resampling(0)
    )
    expected = scores[metric]["value"]
    assert mean == pytest.approx(expected**2 if metric.startswith("rm") else expected)


@pytest.mark.parametrize(
    ("baseline", "model", "options", "message"),
    [
        ([1, 2, 3], [1, 2], {}, "3 rows of truth, 2 of model"),
        ([1, 2, math.nan], [1, 2, 3], {}, "baseline has 1 values not finite"),
        ([1, 2, 3], [1, 2, math.inf], {}, "model has 1 values not finite"),
        ([], [], {}, "baseline has no rows"),
        ([1, 2, 3], [0, 1, 2], {}, "differ by the same at all times"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {}, "differ by the same at all times"),
        ([0.3, 0.6, 0.7], [0.2, 0.5, 0.6], {}, "differ by the same at all times"),
        ([1, 2, 4], [0, 1, 2], {"horizon": 0}, "horizon must lie between 1 and the 3 times"),
        ([1, 2, 4], [0, 1, 2], {"horizon": 3}, "horizon must lie between 1 and the 3 times"),
        ([1, 2, 4], [0, 1, 2], {"times": [1, 1, 1]}, "between 1 and the 1 times less one"),
        ([1, 2, 4], [0, 1, 2], {"times": [1, 2]}, "3 rows of truth, 2 of times"),
        ([1, 2, 4], [0, 1, 2], {"times": [1, 2, None]}, "times has 1 values missing"),
    ],
)
def test_refusals(baseline, model, options, message):
    with pytest.raises(ValueError, match=message):
        diebold_mariano(baseline, model, **options)


def test_r2_is_compared_by_squares_and_spread_by_nothing():
    rows = forecast_rows([1.0, 2.0], [1.5, 1.0], [1, 1], [1, 1])
    assert losses("r2", *rows).tolist() == [0.25, 1.0]
    with pytest.raises(ValueError, match="'spread' is no mean of losses"):
        losses("spread", *rows)
