"""Scores of forecasts against their formulas, and blocks of time against plain loops."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ratchet.learning.metrics import (
    FORECASTING,
    METRICS,
    REGRESSION,
    Resampling,
    block_length,
    bootstrap_means,
    forecast_rows,
    from_scorer,
    greater_is_better,
    is_better,
    paired_difference,
    score_forecast,
    score_regression,
    scorers,
)

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2017-01-01T00:00")


def series(seed, n_series=3, n_times=40):
    """Rows of several series in no order: truth, prediction, and what else the scores need."""
    rng = np.random.default_rng(seed)
    name = np.tile(np.arange(n_series), n_times)
    scale = rng.uniform(0.5, 20, n_series)[name]
    truth = rng.normal(100, 30, len(name))
    terms = {
        "scale": scale,
        "rms": scale * rng.uniform(1, 2, n_series)[name],
        "times": np.repeat(START + HOUR * np.arange(n_times), n_series),
    }
    order = rng.permutation(len(name))
    prediction = truth + scale * rng.normal(size=len(name))
    terms = {key: term[order] for key, term in terms.items()}
    return truth[order], prediction[order], terms, name[order]


def formulas(truth, prediction, scale, rms):
    return {
        "r2": sk.r2_score(truth, prediction),
        "rmse": sk.root_mean_squared_error(truth, prediction),
        "mae": sk.mean_absolute_error(truth, prediction),
        "wape": np.abs(truth - prediction).sum() / np.abs(truth).sum(),
        "spread": prediction.std(),
        "mase": np.mean(np.abs(truth - prediction) / scale),
        "rmsse": math.sqrt(np.mean(((truth - prediction) / rms) ** 2)),
    }


def values(scores):
    return {name: score["value"] for name, score in scores.items()}


def loop_of_blocks(n_times, block, n_bootstrap, seed):
    """The draws, one time stamp after the other: runs that start anywhere and go round the end."""
    rng = np.random.default_rng(seed)
    for _ in range(n_bootstrap):
        starts = rng.integers(n_times, size=math.ceil(n_times / block))
        drawn = [(start + step) % n_times for start in starts for step in range(block)]
        yield drawn[:n_times]


# Values.


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 20))
@settings(max_examples=50, deadline=None)
def test_metrics_are_their_formulas(seed, n_series, n_times):
    truth, prediction, terms, _ = series(seed, n_series, n_times)
    scores = score_forecast(truth, prediction, **terms, resampling=Resampling(0, n_bootstrap=1))
    expected = formulas(truth, prediction, terms["scale"], terms["rms"])
    assert values(scores) == pytest.approx(expected, rel=1e-9)
    assert list(scores) == list(FORECASTING)


def test_mase_by_hand():
    scores = score_forecast(
        [10, 20, 5],
        [12, 20, 4],
        scale=[4, 4, 1],
        rms=[4, 4, 2],
        times=["2017-01-01", "2017-01-02", "2017-01-02"],
        resampling=Resampling(0),
    )
    assert scores["mase"]["value"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert scores["rmsse"]["value"] == pytest.approx(math.sqrt((0.25 + 0 + 0.25) / 3))
    assert scores["mae"]["value"] == pytest.approx(1)


def test_mase_of_equally_long_series_is_the_mean_of_theirs():
    truth, prediction, terms, name = series(1)
    of_each = []
    for one in np.unique(name):
        its = {key: term[name == one] for key, term in terms.items()}
        scores = score_forecast(
            truth[name == one], prediction[name == one], **its, resampling=Resampling(0)
        )
        of_each.append(scores["mase"]["value"])
    pooled = score_forecast(truth, prediction, **terms, resampling=Resampling(0))["mase"]["value"]
    assert np.std(of_each) > 0.01
    assert pooled == pytest.approx(np.mean(of_each))


def test_scaled_metrics_do_not_depend_on_the_unit():
    truth, prediction, terms, _ = series(2)
    cents = {key: 100 * term if key != "times" else term for key, term in terms.items()}
    euros = score_forecast(truth, prediction, **terms, resampling=Resampling(0, n_bootstrap=50))
    scores = score_forecast(
        100 * truth, 100 * prediction, **cents, resampling=Resampling(0, n_bootstrap=50)
    )
    for name in ("mase", "rmsse", "r2"):
        assert scores[name] == pytest.approx(euros[name]), name
    assert scores["mae"] == pytest.approx({k: 100 * v for k, v in euros["mae"].items()})


# Intervals.


@pytest.mark.parametrize("horizon", [1, 4])
def test_intervals_equal_those_of_a_plain_loop(horizon):
    truth, prediction, terms, _ = series(3)
    keep = np.random.default_rng(3).random(len(truth)) < 0.7  # a moment has one to three rows
    truth, prediction = truth[keep], prediction[keep]
    terms = {key: term[keep] for key, term in terms.items()}
    times = np.unique(terms["times"])
    rows_of = [np.flatnonzero(terms["times"] == time) for time in times]
    assert len({len(rows) for rows in rows_of}) > 1
    draws = []
    for drawn in loop_of_blocks(len(times), block_length(len(times), horizon), 80, seed=7):
        rows = np.concatenate([rows_of[place] for place in drawn])
        draws.append(
            formulas(truth[rows], prediction[rows], *(terms[k][rows] for k in ("scale", "rms")))
        )
    scores = score_forecast(
        truth,
        prediction,
        **terms,
        resampling=Resampling(7, n_bootstrap=80, confidence=0.8, horizon=horizon),
    )
    for name, score in scores.items():
        expected = np.quantile([draw[name] for draw in draws], [0.1, 0.9])
        assert [score["low"], score["high"]] == pytest.approx(expected, rel=1e-9), name


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_one_row_per_time_and_blocks_of_one_are_independent_rows(seed, n):
    assert block_length(n) == 1
    table = np.random.default_rng(seed).normal(size=(n, 2))
    blocks = bootstrap_means(table, Resampling(seed, n_bootstrap=30), times=np.arange(n))
    assert np.array_equal(blocks, bootstrap_means(table, Resampling(seed, n_bootstrap=30)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_draws_are_runs_of_whole_time_stamps(seed, n_times, horizon):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(n_times), rng.integers(1, 4, n_times)))
    per_time = np.eye(n_times)[rows]  # the means tell how often each time stamp was drawn
    block = block_length(n_times, horizon)
    means = bootstrap_means(per_time, Resampling(seed, n_bootstrap=20, horizon=horizon), times=rows)
    for mean, drawn in zip(means, loop_of_blocks(n_times, block, 20, seed), strict=True):
        expected = np.bincount(drawn, minlength=n_times) * np.bincount(rows)
        assert mean == pytest.approx(expected / expected.sum())


def test_every_time_stamp_is_drawn_equally_often():
    drawn = bootstrap_means(
        np.eye(30), Resampling(0, n_bootstrap=20_000, horizon=4), times=np.arange(30)
    ).mean(axis=0)
    assert drawn * 30 == pytest.approx(np.ones(30), abs=0.05)


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2017-01-01", periods=40, freq="h"),
        pd.Series(pd.date_range("2017-01-01", periods=40, freq="h", tz="UTC"), index=range(9, 49)),
        [f"2017-01-01T00:{minute:02}" for minute in range(40)],
        np.arange(40),
    ],
    ids=["dates", "series", "text", "numbers"],
)
def test_times_may_come_in_any_form_and_order(times):
    truth, prediction, terms, _ = series(4, n_series=1)
    units = {key: np.sort(terms[key]) for key in ("scale", "rms")}
    expected = score_forecast(
        truth, prediction, **units, times=START + HOUR * np.arange(40), resampling=Resampling(0)
    )
    assert (
        score_forecast(truth, prediction, **units, times=times, resampling=Resampling(0))
        == expected
    )
    backwards = {key: term[::-1] for key, term in units.items()}
    turned = pd.Series(times)[::-1]
    scores = score_forecast(
        truth[::-1], prediction[::-1], **backwards, times=turned, resampling=Resampling(0)
    )
    for name, score in scores.items():
        assert score == pytest.approx(expected[name]), name


def test_two_models_are_scored_on_the_same_draws():
    truth, prediction, terms, _ = series(5)
    near = score_forecast(truth, prediction, **terms, resampling=Resampling(1))
    far = score_forecast(truth, truth + 2 * (prediction - truth), **terms, resampling=Resampling(1))
    for name in ("mase", "rmsse", "mae"):
        assert far[name] == pytest.approx({key: 2 * value for key, value in near[name].items()})


def test_same_seed_same_scores_other_seed_other_intervals():
    truth, prediction, terms, _ = series(6)
    first = score_forecast(truth, prediction, **terms, resampling=Resampling(1))
    assert first == score_forecast(truth, prediction, **terms, resampling=Resampling(1))
    other = score_forecast(truth, prediction, **terms, resampling=Resampling(2))
    assert first != other
    assert values(first) == values(other)
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_series_that_err_together_count_once():
    error = np.random.default_rng(7).normal(size=60)
    rows = {"scale": np.ones(60), "rms": np.ones(60), "times": np.arange(60)}
    one = score_forecast(np.zeros(60), error, **rows, resampling=Resampling(0))
    ten = {key: np.tile(term, 10) for key, term in rows.items()}
    many = score_forecast(np.zeros(600), np.tile(error, 10), **ten, resampling=Resampling(0))
    assert many["mase"] == pytest.approx(one["mase"])
    alone = score_regression(np.zeros(600), np.tile(error, 10), resampling=Resampling(0))["mae"]
    assert alone["high"] - alone["low"] < 0.5 * (many["mase"]["high"] - many["mase"]["low"])


def coverage(errors, horizon=1, **options):
    """Share of the columns whose 95 % interval holds the true mean, 0."""
    means = bootstrap_means(errors, Resampling(0, n_bootstrap=200, horizon=horizon), **options)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return np.mean((low <= 0) & (high >= 0))


def test_blocks_cover_the_mean_of_an_autoregression_where_rows_do_not():
    noise = np.random.default_rng(8).normal(size=(400, 1000))
    errors = np.zeros_like(noise)
    for step in range(1, len(noise)):
        errors[step] = 0.7 * errors[step - 1] + noise[step]
    errors = errors[100:]
    assert coverage(errors, times=np.arange(300)) > 0.8
    assert coverage(errors) < 0.65


def test_blocks_cover_the_mean_of_overlapping_forecasts_once_they_know_the_horizon():
    noise = np.random.default_rng(9).normal(size=(629, 1000))
    # The error of a perfect forecast 30 steps ahead is the sum of 30 surprises.
    errors = np.lib.stride_tricks.sliding_window_view(noise, 30, axis=0).sum(axis=-1)
    times = np.arange(600)
    assert coverage(errors, times=times, horizon=30) > 0.8
    assert coverage(errors, times=times) < 0.7
    assert coverage(errors) < 0.4


@pytest.mark.parametrize(
    ("n_times", "horizon", "expected"),
    [
        (1, 1, 1),
        (3, 1, 1),
        (8, 1, 2),
        (12, 1, 3),
        (12, 7, 4),  # a third of the time stamps
        (1000, 1, 10),
        (1001, 1, 11),
        (1000, 48, 95),  # three times the root
        (5242, 1, 18),
        (5242, 48, 96),
    ],
)
def test_block_lengths(n_times, horizon, expected):
    assert block_length(n_times, horizon) == expected


# Two forecasts.


def test_difference_is_that_of_the_two_scores_on_the_same_draws():
    truth, model, terms, _ = series(10)
    baseline = truth + 1.5 * (model - truth)
    units = {key: terms[key] for key in ("scale", "times")}
    gap = paired_difference(truth, baseline, model, **units, resampling=Resampling(4, horizon=3))
    mase = score_forecast(truth, model, **terms, resampling=Resampling(4, horizon=3))["mase"]
    # Errors half as large again: the difference is half the score in every single draw.
    assert gap == pytest.approx({key: value / 2 for key, value in mase.items()})
    turned = paired_difference(truth, model, baseline, **units, resampling=Resampling(4, horizon=3))
    assert turned == pytest.approx(
        {"value": -gap["value"], "low": -gap["high"], "high": -gap["low"]}
    )


def test_difference_tells_a_better_model_from_an_equal_one():
    rng = np.random.default_rng(11)
    hard = rng.gamma(1.0, 3.0, size=500)  # hours that are hard for every forecast
    sign = rng.choice([-1, 1], size=500)
    truth = rng.normal(100, 20, size=500)
    terms = {"scale": np.full(500, 2.0), "times": np.arange(500)}
    persistence = truth + sign * (hard + 1)
    better = truth + sign * (hard + 0.8 + rng.normal(0, 0.1, 500))
    equal = truth + sign * (hard + 1 + rng.normal(0, 0.1, 500))
    gap = paired_difference(truth, persistence, better, **terms, resampling=Resampling(0))
    assert gap["value"] == pytest.approx(0.1, abs=0.02)
    assert gap["low"] > 0
    scores = [
        score_forecast(truth, p, **terms, rms=terms["scale"], resampling=Resampling(0))["mase"]
        for p in (persistence, better)
    ]
    assert scores[0]["low"] < scores[1]["high"]  # what the scores alone would not show
    none = paired_difference(truth, persistence, equal, **terms, resampling=Resampling(0))
    assert none["low"] < 0 < none["high"]


# Refusals.

GOOD = {
    "truth": [1.0, 2.0],
    "prediction": [1.0, 3.0],
    "scale": [1.0, 1.0],
    "rms": [1.0, 1.0],
    "times": ["2017-01-01", "2017-01-02"],
    "resampling": Resampling(0),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"truth": [], "prediction": []}, "truth has no rows"),
        ({"prediction": [1.0]}, "2 rows of truth, 1 of prediction"),
        ({"prediction": [1.0, np.nan]}, "prediction has 1 values not finite, first in row 1"),
        ({"scale": [1.0]}, "2 rows of truth, 1 of scale"),
        ({"scale": [1.0, 0.0]}, "scale has 1 values not above 0, first in row 1"),
        ({"rms": [-1.0, -1.0]}, "rms has 2 values not above 0, first in row 0"),
        ({"rms": [np.nan, 1.0]}, "rms has 1 values not finite, first in row 0"),
        ({"scale": 1.0}, "scale must have 1 dimension"),
        ({"times": ["2017-01-01"]}, "2 rows of truth, 1 of times"),
        ({"times": ["2017-01-01", None]}, "times has 1 values missing, first in row 1"),
        ({"times": pd.to_datetime([None, "2017-01-01"])}, "times has 1 values missing, .*row 0"),
        ({"times": [["2017-01-01"], ["2017-01-02"]]}, "times must be one time stamp a row"),
        ({"times": np.ones((2, 1))}, "times must be one time stamp a row"),
        ({"truth": [1e200, 2.0]}, "too large"),
        ({"resampling": Resampling(0, horizon=0)}, "horizon must be at least 1"),
    ],
)
def test_forecasts_refuse(wrong, message):
    with pytest.raises(ValueError, match=message):
        score_forecast(**(GOOD | wrong))
    pair = GOOD | wrong
    pair |= {"model": pair.pop("prediction"), "baseline": pair["truth"]}
    if "rms" not in wrong:
        del pair["rms"]
        with pytest.raises(ValueError, match=message):
            paired_difference(**pair)


def test_block_length_needs_a_time_stamp():
    with pytest.raises(ValueError, match="n_times and horizon must be at least 1, not 0 and 1"):
        block_length(0)


# Names.


def test_directions_of_scaled_errors():
    for name in ("mase", "rmsse"):
        assert greater_is_better(name) is False
        assert is_better(name, 0.7, 0.8)
        assert not is_better(name, 0.8, 0.8)


def test_a_search_of_series_scores_what_is_already_scaled():
    assert scorers("forecasting") == {"neg_mean_absolute_error": "mase"}
    assert from_scorer("neg_mean_absolute_error", -0.7, "forecasting") == ("mase", 0.7)
    assert from_scorer("neg_mean_absolute_error", -0.7, "regression") == ("mae", 0.7)
    assert from_scorer("neg_mean_absolute_error", -0.7) == ("mae", 0.7)
    with pytest.raises(ValueError, match="'r2'; known: neg_mean_absolute_error"):
        from_scorer("r2", 0.7, "forecasting")


def test_mase_is_the_mean_absolute_error_of_what_a_search_learns():
    truth, prediction, terms, _ = series(12)
    level = truth - 3 * terms["scale"]
    learned = [(values - level) / terms["scale"] for values in (truth, prediction)]
    score = -sk.mean_absolute_error(*learned)
    name, value = from_scorer("neg_mean_absolute_error", score, "forecasting")
    scores = score_forecast(truth, prediction, **terms, resampling=Resampling(0, n_bootstrap=1))
    assert value == pytest.approx(scores[name]["value"])


def test_metrics_of_a_task_rank_rows_by_themselves():
    truth, prediction, terms, _ = series(13)
    rows = forecast_rows(truth, prediction, terms["scale"], terms["rms"])
    scores = score_forecast(truth, prediction, **terms, resampling=Resampling(0, n_bootstrap=1))
    assert METRICS["forecasting"].keys() == {*REGRESSION, "mase", "rmsse"}
    for name, metric in METRICS["forecasting"].items():
        value = metric.value(metric.statistics(*rows).mean(axis=0))
        assert value == pytest.approx(scores[name]["value"]), name
