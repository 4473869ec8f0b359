"""Two models on the same draws: gains against plain loops, and bounds that keep their promise."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ratchet.learning.metrics import (
    METRICS,
    PER_CLASS,
    bootstrap_means,
    bounds,
    find_metric,
    greater_is_better,
    long_block_length,
    paired_gain,
    score_classification,
    score_forecast,
    score_regression,
    score_rows,
)

CLASSES = ["Alto", "Bajo", "Medio"]
RANKING = {
    task: [name for name, metric in table.items() if metric.greater_is_better is not None]
    for task, table in METRICS.items()
}
RANKING["classification"] += [f"{name}_{label}" for name in PER_CLASS for label in CLASSES]
ALL = [(task, name) for task, names in RANKING.items() for name in names]


def tidy(task, seed, n=60, skill=1.0):
    """Tidy rows of one model; models of one task and n share the truth."""
    known, own = np.random.default_rng([n, len(task)]), np.random.default_rng(seed)
    keys = pd.Index([f"row {place}" for place in range(n)])
    if task == "classification":
        truth = known.choice(CLASSES, n, p=[0.5, 0.3, 0.2])
        hits = np.asarray(CLASSES) == truth[:, None]
        values = own.dirichlet([0.7] * 3, n) + skill * own.random((n, 1)) * hits
        values /= values.sum(axis=1, keepdims=True)
        frame = pd.DataFrame(values, columns=[f"probability_{c}" for c in CLASSES], index=keys)
        return frame.assign(truth=truth)
    truth = known.normal(10, 3, n)
    prediction = truth + own.normal(size=n) / skill
    frame = pd.DataFrame({"truth": truth, "prediction": prediction}, index=keys)
    if task == "forecasting":
        frame["scale"] = known.uniform(0.5, 2, n)
        frame["rms"] = frame["scale"] * 1.3
        frame["time"] = pd.date_range("2026-01-01", periods=n // 2, freq="h").repeat(2)
    return frame


def scores(task, frame, **options):
    options = {"seed": 3, "n_bootstrap": 50} | options
    if task == "classification":
        columns = frame[[f"probability_{c}" for c in CLASSES]]
        return score_classification(frame["truth"], columns, CLASSES, **options)
    if task == "regression":
        return score_regression(frame["truth"], frame["prediction"], **options)
    terms = {"scale": frame["scale"], "rms": frame["rms"], "times": frame["time"]}
    return score_forecast(frame["truth"], frame["prediction"], **terms, **options)


def gain(metric, task, baseline, model, **options):
    options = {"seed": 3, "n_bootstrap": 200} | options
    classes = CLASSES if task == "classification" else None
    return paired_gain(metric, task, baseline, model, classes=classes, **options)


# Values.


@pytest.mark.parametrize(("task", "metric"), ALL)
def test_gains_are_the_differences_of_the_scores(task, metric):
    baseline, model = tidy(task, 1), tidy(task, 2, skill=2)
    before, after = (scores(task, frame)[metric]["value"] for frame in (baseline, model))
    found = gain(metric, task, baseline, model)
    better = after - before if greater_is_better(metric) else before - after
    assert better != 0
    assert found.baseline["value"] == pytest.approx(before)
    assert found.model["value"] == pytest.approx(after)
    assert found.difference["value"] == pytest.approx(better)
    if found.share is not None:
        assert found.share["value"] == pytest.approx(better / abs(before))
    assert found.rows == 60


@pytest.mark.parametrize(("task", "metric"), ALL)
def test_turned_round_a_gain_is_a_loss(task, metric):
    baseline, model = tidy(task, 1), tidy(task, 2)
    there, back = gain(metric, task, baseline, model), gain(metric, task, model, baseline)
    assert back.difference == pytest.approx(
        {
            "value": -there.difference["value"],
            "low": -there.difference["high"],
            "high": -there.difference["low"],
        }
    )
    assert there.baseline == pytest.approx(back.model)


@pytest.mark.parametrize("task", ["regression", "forecasting"])
def test_errors_a_fifth_smaller_are_a_fifth_better_in_every_draw(task):
    baseline = tidy(task, 1)
    model = baseline.assign(
        prediction=baseline["truth"] + 0.8 * (baseline["prediction"] - baseline["truth"])
    )
    for metric in ("rmse", "mae"):
        assert gain(metric, task, baseline, model).share == pytest.approx(
            {"value": 0.2, "low": 0.2, "high": 0.2}
        )


def test_a_negative_score_is_bettered_by_its_size():
    baseline, model = tidy("regression", 1, skill=0.1), tidy("regression", 1, skill=0.2)
    found = gain("r2", "regression", baseline, model)
    assert found.baseline["value"] < found.model["value"] < 0
    assert found.share["value"] == pytest.approx(1 - found.model["value"] / found.baseline["value"])
    assert found.share["low"] > 0


def test_there_is_no_share_of_a_score_of_zero():
    model = tidy("regression", 1)
    perfect = model.assign(prediction=model["truth"])
    found = gain("rmse", "regression", perfect, model)
    assert found.share is None
    assert found.difference["high"] < 0
    assert gain("rmse", "regression", perfect, perfect).share == {"value": 0, "low": 0, "high": 0}


# Draws.


def tail(confidence, n, block=1):
    freedom = min(n - 1, n / block)
    return stats.norm.cdf(-stats.t.ppf(confidence, freedom) / math.sqrt(1 - block / n))


@pytest.mark.parametrize("metric", ["log_loss", "f1_macro", "recall_Bajo"])
def test_bounds_of_rows_equal_those_of_a_plain_loop(metric):
    pair = tidy("classification", 1), tidy("classification", 2)
    sign, rng = (1 if greater_is_better(metric) else -1), np.random.default_rng(7)
    draws = []
    for _ in range(100):
        rows = rng.integers(60, size=60)
        before, after = (
            scores("classification", frame.iloc[rows], n_bootstrap=1)[metric]["value"]
            for frame in pair
        )
        draws.append(sign * (after - before))
    found = gain(metric, "classification", *pair, seed=7, n_bootstrap=100, confidence=0.8)
    expected = np.quantile(draws, [tail(0.8, 60), 1 - tail(0.8, 60)])
    assert [found.difference["low"], found.difference["high"]] == pytest.approx(expected)


@pytest.mark.parametrize("horizon", [1, 5])
def test_bounds_of_series_equal_those_of_a_plain_loop(horizon):
    pair = tidy("forecasting", 1, n=100), tidy("forecasting", 2, n=100)
    block, rng = long_block_length(50, horizon), np.random.default_rng(7)
    draws = []
    for _ in range(100):
        starts = rng.integers(50, size=math.ceil(50 / block))
        times = [(start + step) % 50 for start in starts for step in range(block)][:50]
        rows = [2 * time + which for time in times for which in range(2)]
        before, after = (
            scores("forecasting", frame.iloc[rows], n_bootstrap=1)["mase"]["value"]
            for frame in pair
        )
        draws.append((before - after) / before)
    options = {"seed": 7, "n_bootstrap": 100, "confidence": 0.8, "horizon": horizon}
    found = gain("mase", "forecasting", *pair, **options)
    expected = np.quantile(draws, [tail(0.8, 50, block), 1 - tail(0.8, 50, block)])
    assert [found.share["low"], found.share["high"]] == pytest.approx(expected)
    assert (found.times, found.block) == (50, block)


@pytest.mark.parametrize(
    ("n_times", "horizon", "expected"),
    [(1, 1, 1), (2, 1, 1), (9, 1, 3), (50, 1, 10), (200, 1, 19), (1000, 1, 42), (1752, 48, 96)],
)
def test_long_block_lengths(n_times, horizon, expected):
    assert long_block_length(n_times, horizon) == expected


# A thousand draws have no percentile beyond 0.99 that is worth comparing with.
@given(st.integers(2, 400), st.floats(0.6, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_bounds_lie_outside_the_percentiles_and_are_wider_at_a_higher_level(n, confidence, seed):
    draws = np.random.default_rng(seed).normal(size=(1001, 3))
    draws[0] = 0
    low, high = bounds(draws, confidence, n)
    plain = np.quantile(draws[1:], [1 - confidence, confidence], axis=0)
    slack = 0.5  # where the percentiles run out, t standard errors are not exactly as wide
    assert (low <= plain[0] + slack).all()
    assert (high >= plain[1] - slack).all()
    wider = bounds(draws, 1 - (1 - confidence) / 10, n)
    assert (wider[0] <= low + slack).all()
    assert (wider[1] >= high - slack).all()


def test_bounds_of_many_rows_are_the_percentiles():
    draws = np.random.default_rng(0).normal(size=(5001, 2))
    low, high = bounds(draws, 0.9, 10**6)
    expected = np.quantile(draws[1:], [0.1, 0.9], axis=0)
    assert np.stack([low, high]) == pytest.approx(expected, abs=0.005)


def coverage(values, **options):
    """Share of the columns whose lower bound, at 95 %, lies below the true mean of 0."""
    times = options.get("times")
    block = 1 if times is None else long_block_length(len(values))
    drawn = bootstrap_means(values, 1000, 0, block=block, **options)
    low, _ = bounds(np.vstack([values.mean(axis=0), drawn]), 0.95, len(values), block)
    return np.mean(low <= 0)


@pytest.mark.parametrize("n", [5, 10, 40])
def test_a_bound_holds_as_often_as_it_says_for_few_rows(n):
    values = np.random.default_rng(n).normal(size=(n, 3000))
    assert coverage(values) == pytest.approx(0.95, abs=0.02)
    drawn = bootstrap_means(values, 1000, 0)
    if n < 40:
        assert np.mean(np.quantile(drawn, 0.05, axis=0) <= 0) < 0.93


@pytest.mark.parametrize(("n", "memory"), [(20, 0.0), (50, 0.3), (200, 0.6), (200, 0.0)])
def test_a_bound_holds_about_as_often_as_it_says_for_series(n, memory):
    noise = np.random.default_rng(n).normal(size=(n + 50, 2000))
    for step in range(1, len(noise)):
        noise[step] += memory * noise[step - 1]
    assert 0.925 < coverage(noise[50:], times=np.arange(n)) < 0.985


@pytest.mark.parametrize("n", [50, 200])
def test_equally_good_models_are_rarely_called_better(n):
    rng = np.random.default_rng(n)
    own, other = rng.standard_t(5, (2, n, 2000))
    table = np.hstack([own**2, (0.8 * own + 0.6 * other) ** 2])
    means = np.vstack([table.mean(axis=0), bootstrap_means(table, 1000, 0)])
    first, second = np.split(np.sqrt(means), 2, axis=1)
    shares = 1 - second / first
    low, _ = bounds(shares, 0.95, n)
    better = shares[0] > 0.02
    assert np.mean(better) > 0.3
    assert np.mean(better & (low > 0)) < 0.08


# Names, and scores of tidy rows.


@pytest.mark.parametrize(("task", "metric"), ALL)
def test_tidy_rows_have_the_scores_of_their_columns(task, metric):
    frame = tidy(task, 4)
    classes = CLASSES if task == "classification" else None
    found = score_rows(metric, task, frame, classes=classes, n_bootstrap=50, seed=3)
    assert found == pytest.approx(scores(task, frame)[metric])


def test_a_class_may_be_called_like_a_part_of_a_metric():
    assert find_metric("recall_a_b", "classification", ["a_b", "c"]).name == "recall_a_b"
    assert find_metric("f1_macro", "classification", ["macro", "c"]).value(
        np.array([0.5, 0.5] * 3)
    ) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "task", "known"),
    [
        ("recall_Nulo", "classification", "accuracy, .*recall_<class>"),
        ("rmse", "classification", ".*f1_<class>$"),
        ("mase", "regression", "r2, rmse, mae, spread$"),
        ("rmse", "clustering", "$"),
    ],
)
def test_metrics_that_are_not_there(name, task, known):
    with pytest.raises(ValueError, match=f"{task} has no metric '{name}'; known: {known}"):
        find_metric(name, task, CLASSES)


# Refusals.


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.rename({"row 1": "row 0"}), "row keys of the two models differ, such"),
        (lambda rows: rows.iloc[::-1], "row keys of the two models differ in their order"),
        (lambda rows: rows.iloc[1:], "row keys of the two models differ, such as row 0"),
        (lambda rows: rows.assign(truth=rows["truth"] + 1), "another truth for the same row"),
        (lambda rows: rows.assign(scale=2 * rows["scale"]), "another scale for the same row"),
        (lambda rows: rows.assign(time=rows["time"].iloc[::-1].to_numpy()), "another time"),
        (lambda rows: rows.assign(truth=np.nan), "truth has 60 values not finite"),
        (lambda rows: rows.assign(prediction=np.inf), "prediction has 60 values not finite"),
        (lambda rows: rows.assign(prediction="high"), "prediction must be numbers"),
        (lambda rows: rows.drop(columns=["rms", "time"]), r"columns \['rms', 'time'\] are missing"),
        (lambda rows: rows.iloc[:0], "truth has no rows"),
        (lambda rows: rows.assign(prediction=1e200), "too large"),
    ],
)
def test_rows_that_cannot_be_compared(spoil, message):
    good = tidy("forecasting", 1)
    with pytest.raises(ValueError, match=message):
        gain("mase", "forecasting", good, spoil(good))


def test_rows_that_occur_twice():
    twice = tidy("regression", 1).rename({"row 1": "row 0"})
    with pytest.raises(ValueError, match=r"row keys occur twice: \['row 0'\]"):
        gain("rmse", "regression", twice, twice)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "spread"}, "has no better direction"),
        ({"metric": "accuracy"}, "regression has no metric 'accuracy'"),
        ({"task": "clustering"}, "unknown task 'clustering'"),
        ({"confidence": 95}, "confidence"),
        ({"n_bootstrap": 0}, "n_bootstrap"),
    ],
)
def test_comparisons_that_are_none(options, message):
    rows = tidy("regression", 1)
    asked = {"metric": "rmse", "task": "regression", "baseline": rows, "model": rows} | options
    with pytest.raises(ValueError, match=message):
        paired_gain(**asked, seed=0)


def test_a_single_row_says_nothing():
    rows = tidy("regression", 1).iloc[:1]
    with pytest.raises(ValueError, match="1 rows or times, drawn by 1, have no spread"):
        gain("rmse", "regression", rows, rows)
