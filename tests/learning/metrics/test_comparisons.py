"""Two models on the same draws: gains against plain loops, and bounds that keep their promise."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from ratchet.learning.metrics import (
    METRICS,
    PER_CLASS,
    Autocorrelation,
    Resampling,
    autocorrelation_bounds,
    bootstrap_means,
    bounds,
    captured_variance,
    entities_from_keys,
    find_metric,
    greater_is_better,
    influence_values,
    long_block_length,
    paired_gain,
    paired_gain_of_arrays,
    power_of_comparison,
    resampling_units,
    score_classification,
    score_forecast,
    score_regression,
    score_rows,
    tidy_rows,
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


def scores(task, frame, n_bootstrap=50):
    options = {"resampling": Resampling(3, n_bootstrap)}
    if task == "classification":
        columns = frame[[f"probability_{c}" for c in CLASSES]]
        return score_classification(frame["truth"], columns, CLASSES, **options)
    if task == "regression":
        return score_regression(frame["truth"], frame["prediction"], **options)
    terms = {"scale": frame["scale"], "rms": frame["rms"], "times": frame["time"]}
    return score_forecast(frame["truth"], frame["prediction"], **terms, **options)


def gain(metric, task, baseline, model, *, seed=3, n_bootstrap=200, **options):
    drawn = {name: options.pop(name) for name in ("confidence", "horizon") if name in options}
    options["resampling"] = Resampling(seed, n_bootstrap, **drawn)
    classes = CLASSES if task == "classification" else None
    return paired_gain(metric, task, baseline, model, classes=classes, **options)


# Values.


@pytest.mark.parametrize(("task", "metric"), ALL)
def test_gains_are_the_differences_of_the_scores(task, metric):
    baseline, model = tidy(task, 1), tidy(task, 2, skill=2)
    before, after = (scores(task, frame)[metric]["value"] for frame in (baseline, model))
    result = gain(metric, task, baseline, model)
    better = after - before if greater_is_better(metric) else before - after
    assert better != 0
    assert result.baseline["value"] == pytest.approx(before)
    assert result.model["value"] == pytest.approx(after)
    assert result.difference["value"] == pytest.approx(better)
    if result.share is not None:
        assert result.share["value"] == pytest.approx(better / abs(before))
    assert result.rows == 60


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
    for metric in ("rmse", "mae", "wape"):
        assert gain(metric, task, baseline, model).share == pytest.approx(
            {"value": 0.2, "low": 0.2, "high": 0.2}
        )


def test_a_negative_score_is_bettered_by_its_size():
    baseline, model = tidy("regression", 1, skill=0.1), tidy("regression", 1, skill=0.2)
    result = gain("r2", "regression", baseline, model)
    assert result.baseline["value"] < result.model["value"] < 0
    assert result.share["value"] == pytest.approx(
        1 - result.model["value"] / result.baseline["value"]
    )
    assert result.share["low"] > 0


def test_there_is_no_share_of_a_score_of_zero():
    model = tidy("regression", 1)
    perfect = model.assign(prediction=model["truth"])
    result = gain("rmse", "regression", perfect, model)
    assert result.share is None
    assert result.difference["high"] < 0
    assert gain("rmse", "regression", perfect, perfect).share == {"value": 0, "low": 0, "high": 0}


# Draws.


def tail(result, confidence):
    return stats.norm.cdf(-result.drawn.width(confidence))


def test_rows_by_themselves_have_the_width_of_t():
    result = gain("rmse", "regression", tidy("regression", 1), tidy("regression", 2))
    expected = stats.t.ppf(0.9, 59) / math.sqrt(1 - 1 / 60)
    assert result.drawn.width(0.9) == pytest.approx(expected)
    assert result.drawn.by == "row"


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
    result = gain(metric, "classification", *pair, seed=7, n_bootstrap=100, confidence=0.8)
    expected = np.quantile(draws, [tail(result, 0.8), 1 - tail(result, 0.8)])
    assert [result.difference["low"], result.difference["high"]] == pytest.approx(expected)


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
    result = gain("mase", "forecasting", *pair, **options)
    expected = np.quantile(draws, [tail(result, 0.8), 1 - tail(result, 0.8)])
    assert [result.share["low"], result.share["high"]] == pytest.approx(expected)
    assert (result.drawn.by, result.drawn.number, result.drawn.block) == ("time", 50, block)


def test_bounds_of_groups_equal_those_of_a_plain_loop():
    pair, groups = (tidy("regression", 1), tidy("regression", 2)), np.arange(60) // 4
    draws, rng = [], np.random.default_rng(7)
    for _ in range(100):
        drawn = rng.integers(15, size=(15, 1)).ravel()
        rows = [4 * group + which for group in drawn for which in range(4)]
        before, after = (
            scores("regression", frame.iloc[rows], n_bootstrap=1)["rmse"]["value"] for frame in pair
        )
        draws.append(before - after)
    options = {"seed": 7, "n_bootstrap": 100, "confidence": 0.8, "groups": groups}
    result = gain("rmse", "regression", *pair, **options)
    expected = np.quantile(draws, [tail(result, 0.8), 1 - tail(result, 0.8)])
    assert [result.difference["low"], result.difference["high"]] == pytest.approx(expected)
    expected = {"by": "group", "number": 15, "block": 1, "freedom": 14}
    assert result.drawn.to_json() == {
        **expected,
        "captured": pytest.approx(14 / 15),
        "memory": 0,
        "seasonal_memory": 0,
    }


@pytest.mark.parametrize(
    ("n_times", "horizon", "expected"),
    [(1, 1, 1), (2, 1, 1), (9, 1, 3), (50, 1, 10), (200, 1, 19), (1000, 1, 42), (1752, 48, 96)],
)
def test_long_block_lengths(n_times, horizon, expected):
    assert long_block_length(n_times, horizon) == expected


@given(st.floats(0.1, 20), st.integers(1, 400), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_bounds_are_further_apart_the_wider_they_are_asked_for(width, n, seed):
    draws = np.random.default_rng(seed).normal(size=(n + 1, 3))
    draws[0] = 0
    low, high = bounds(draws, width)
    further = bounds(draws, 1.1 * width)
    assert (further[0] <= low).all()
    assert (further[1] >= high).all()
    turned = bounds(-draws, width)
    assert np.stack(turned) == pytest.approx(np.stack([-high, -low]))


@pytest.mark.parametrize("width", [1.3, 2.5, 6.0])
def test_bounds_of_normal_draws_are_so_many_deviations_away(width):
    draws = np.random.default_rng(0).normal(3, 2, size=(20001, 2))
    draws[0] = 3
    low, high = bounds(draws, width)
    expected = np.array([[3 - 2 * width] * 2, [3 + 2 * width] * 2])
    assert np.stack([low, high]) == pytest.approx(expected, rel=0.15)


def coverage(values, **options):
    """Share of the columns whose lower bound, at 95 %, lies below the true mean of 0."""
    units = [resampling_units(column - column.mean(), **options) for column in values.T]
    drawn = bootstrap_means(
        values, Resampling(0, n_bootstrap=400), times=units[0].codes, block=units[0].block
    )
    draws = np.vstack([values.mean(axis=0), drawn])
    if "times" not in options:  # as wide for all of them
        return np.mean(bounds(draws, units[0].width(0.95))[0] <= 0)
    pairs = zip(draws.T, units, strict=True)
    return np.mean([bounds(one, unit.width(0.95))[0] <= 0 for one, unit in pairs])


@pytest.mark.parametrize("n", [5, 10, 40])
def test_a_bound_holds_as_often_as_it_says_for_few_rows(n):
    values = np.random.default_rng(n).normal(size=(n, 1000))
    assert coverage(values) == pytest.approx(0.95, abs=0.02)


def autoregression(memory, n, repetitions, seed=0):
    noise = np.random.default_rng([seed, n]).normal(size=(repetitions, n + 200))
    return lfilter([1.0], [1.0, -memory], noise)[:, 200:].T


@pytest.mark.parametrize(
    ("n", "memory"), [(20, 0.0), (50, 0.3), (200, 0.6), (200, 0.0), (50, 0.9), (200, 0.95)]
)
def test_a_bound_holds_about_as_often_as_it_says_for_series(n, memory):
    values = autoregression(memory, n, 400)
    assert 0.91 < coverage(values, times=np.arange(n)) < 0.995


@pytest.mark.parametrize("sizes", [[10] * 20, [30] * 4 + [5] * 16])
def test_a_bound_holds_about_as_often_as_it_says_for_groups(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(sizes), 500))[groups] + rng.normal(size=(len(groups), 500))
    assert 0.92 < coverage(values, groups=groups) < 0.99
    assert coverage(values) < 0.8


def errors(kind, n, repetitions):
    """Errors of two equally good models of one kind, (repetitions, n, 2)."""
    rng = np.random.default_rng([n, len(kind)])
    shocks = rng.standard_t(5, (2, repetitions, n + 200))
    if kind == "time":
        made = lfilter([1.0], [1.0, -0.8], shocks)[..., 200:]
    elif kind == "ahead":
        made = lfilter(np.ones(48), [1.0], shocks)[..., 200:]
    else:
        made = shocks[..., : n // 10].repeat(10, axis=2) + 0.5 * shocks[..., n : 2 * n][..., :n]
    return np.stack([made[0], 0.8 * made[0] + 0.6 * made[1]], axis=2)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("time", {"times": np.arange(100)}),
        pytest.param("groups", {"groups": np.arange(100) // 10}, marks=pytest.mark.slow),
        pytest.param("ahead", {"times": np.arange(100)}, marks=pytest.mark.slow),
    ],
)
def test_equally_good_models_are_rarely_called_better(kind, options):
    metric, nothing, called = find_metric("rmse", "regression"), np.zeros(100), {}
    horizon = 48 if kind == "ahead" else 1
    for arguments in ({}, options):
        result = [
            paired_gain_of_arrays(
                metric,
                nothing,
                *pair.T,
                **arguments,
                resampling=Resampling(0, n_bootstrap=200, horizon=horizon),
            )
            for pair in errors(kind, 100, 200)
        ]
        called[bool(arguments)] = np.mean(
            [min(g.share["value"] - 0.02, g.share["low"]) > 0 for g in result]
        )
    assert called[bool(options)] < 0.1
    assert called[False] > 0.15  # as rows by themselves


@pytest.mark.parametrize("n", [50, 200])
def test_equally_good_models_are_rarely_called_better_by_rows_either(n):
    own, other = np.random.default_rng(n).standard_t(5, (2, n, 2000))
    table = np.hstack([own**2, (0.8 * own + 0.6 * other) ** 2])
    means = np.vstack([table.mean(axis=0), bootstrap_means(table, Resampling(0, n_bootstrap=1000))])
    first, second = np.split(np.sqrt(means), 2, axis=1)
    shares = 1 - second / first
    low, _ = bounds(shares, resampling_units(own[:, 0]).width(0.95))
    better = shares[0] > 0.02
    assert np.mean(better) > 0.3
    assert np.mean(better & (low > 0)) < 0.08


# What is drawn together.


@given(
    st.lists(st.integers(-100, 100), min_size=1, max_size=60).map(lambda v: np.array(v) / 8),
    st.integers(1, 70),
)
@settings(deadline=None)
def test_memory_is_a_correlation(values, season):
    result, n = autocorrelation_bounds(values, season), len(values)
    assert 0 <= result.step <= max(1 - 1 / n, 0)
    assert 0 <= result.season <= max(1 - season / n, 0)
    assert result.step == autocorrelation_bounds(values).step
    again = autocorrelation_bounds(3 - 2 * values, season)
    assert [again.step, again.season] == pytest.approx([result.step, result.season], abs=1e-6)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_memory_is_the_upper_end_of_what_values_show(memory):
    values = autoregression(memory, 200, 400).T
    result = np.array([autocorrelation_bounds(one).step for one in values])
    assert np.mean(result >= memory) > 0.8
    assert np.mean(result) < memory + 0.15


@pytest.mark.parametrize(("memory", "within"), [(0.5, 0.3), (0.8, 0.15)])
def test_so_is_that_of_seasons(memory, within):
    result = np.array([autocorrelation_bounds(one, 7).season for one in seasonal(memory, 210, 400)])
    assert np.mean(result >= memory) > 0.7
    assert np.mean(result) < memory + within
    nothing = [autocorrelation_bounds(one, 7).season for one in seasonal(0.0, 210, 400)]
    assert np.mean(np.array(nothing) > 0) < 0.12


def seasonal(memory, n, count, step=0.0, season=7):
    """Series of which each value keeps a share of the one a season before: shape (count, n)."""
    weights = np.zeros(season + 1)
    weights[[0, -1]] = 1, -memory
    shocks = np.random.default_rng(0).normal(size=(count, 50 * season + n))
    return lfilter([1], [1, -step], lfilter([1], weights, shocks))[:, 50 * season :]


def test_autocorrelation_of_seasons_is_what_long_series_show():
    alike, values = Autocorrelation(0.5, 0.7, 6), seasonal(0.7, 40_000, 5, step=0.5, season=6)
    lags = np.arange(30)
    shown = np.mean(
        [[one[k:] @ one[: len(one) - k] / (one @ one) for k in lags] for one in values], axis=0
    )
    assert alike.at(lags) == pytest.approx(shown, abs=0.03)
    assert alike.at(lags)[0] == 1


def test_seasons_that_are_alike_do_not_count_as_a_memory_from_step_to_step():
    """A model that is better on Mondays, by the same every week, is surely better."""
    week = np.array([0.8, 0.1, 0.0, 0.1, 0.2, 0.2, 0.0])
    rng = np.random.default_rng(0)
    gains = np.tile(week, 4) + rng.normal(scale=0.1, size=28)
    units = resampling_units(gains - gains.mean(), times=np.arange(28), season=7)
    assert units.memory < 0.3
    assert units.seasonal_memory > 0.6
    drawn = bootstrap_means(
        gains[:, None], Resampling(0, n_bootstrap=500), times=np.arange(28), block=units.block
    )
    low, high = bounds(np.vstack([[gains.mean()], drawn])[:, 0], units.width(0.95))
    assert 0 < low < gains.mean() < high < 2 * gains.mean()


@given(st.integers(2, 300), st.data())
@settings(deadline=None)
def test_blocks_capture_a_part_of_the_variance(n, data):
    block = data.draw(st.integers(1, n - 1))
    memory, of_season = (data.draw(st.floats(0, 1 - 1 / n)) for _ in range(2))
    alike = Autocorrelation(memory, of_season, data.draw(st.integers(2, 60)))
    assert captured_variance(n, block, Autocorrelation()) == pytest.approx(1 - block / n)
    assert 0 < captured_variance(n, block, alike) <= 1 - block / n + 1e-9


@pytest.mark.parametrize(("memory", "block"), [(0.0, 5), (0.7, 5), (0.9, 16)])
def test_what_blocks_capture_is_what_draws_of_them_show(memory, block):
    values = autoregression(memory, 50, 2000)
    drawn = bootstrap_means(
        values, Resampling(0, n_bootstrap=400), times=np.arange(50), block=block
    )
    shown = drawn.var(axis=0).mean() / values.mean(axis=0).var()
    captured = captured_variance(50, block, Autocorrelation(memory))
    assert captured == pytest.approx(shown, rel=0.12)


codes = st.lists(st.integers(0, 5), min_size=6, max_size=40).map(
    lambda c: np.unique(c, return_inverse=True)[1]
)


@given(codes, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_groups_are_told_by_who_shares_them_and_not_by_their_names(groups, seed):
    influence = np.random.default_rng(seed).normal(size=len(groups))
    order = np.random.default_rng(seed).permutation(len(groups))
    result = resampling_units(influence, groups=groups)
    again = resampling_units(influence[order], groups=groups.max() - groups[order])
    assert again.to_json() == pytest.approx(result.to_json())
    alone = resampling_units(influence, groups=np.arange(len(groups)))
    rows = resampling_units(influence)
    assert alone.width(0.95) == pytest.approx(rows.width(0.95))


def test_where_nothing_is_estimated_blocks_have_to_do():
    values = autoregression(0.9, 200, 1).ravel()
    result = resampling_units(values, times=np.arange(200), season=None)
    assert (result.memory, result.block) == (0, 19)
    assert result.width(0.95) < resampling_units(values, times=np.arange(200)).width(0.95)


def test_of_time_and_groups_the_one_counts_that_gives_the_wider_bound():
    rng, customer, day = np.random.default_rng(0), np.arange(200) % 20, np.arange(200)
    alike = rng.normal(size=20)[customer]
    assert resampling_units(alike, times=day, groups=customer).by == "group"
    slow = autoregression(0.95, 200, 1).ravel()
    assert resampling_units(slow, times=day, groups=customer).by == "time"


def test_a_single_large_group_leaves_little_to_go_by():
    influence = np.random.default_rng(0).normal(size=100)
    equal = resampling_units(influence, groups=np.arange(100) // 10)
    large = resampling_units(influence, groups=np.maximum(np.arange(100) - 80, 0) // 2)
    assert equal.freedom == 9
    assert large.number == 10
    assert large.freedom < 1


@given(st.sampled_from(ALL), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_influence_of_rows_adds_up_to_how_the_gain_moves(which, place):
    task, name = which
    metric = find_metric(name, task, CLASSES if task == "classification" else [])
    frames = [tidy(task, seed, skill=1 + seed) for seed in (1, 2)]
    truth, first = tidy_rows(frames[0], task, CLASSES if task == "classification" else None)
    _, second = tidy_rows(frames[1], task, CLASSES if task == "classification" else None)
    table = np.hstack([metric.statistics(truth, part) for part in (first, second)])
    weight = np.full(60, 1 / 60)
    weight[place % 60] += 1e-4
    scores_of = [metric.value(half) for half in np.split(weight / weight.sum() @ table, 2)]
    before = [metric.value(half) for half in np.split(table.mean(axis=0), 2)]
    moved = (scores_of[1] - scores_of[0]) / abs(scores_of[0])
    moved -= (before[1] - before[0]) / abs(before[0])
    expected = influence_values(metric, table)[place % 60] * 1e-4
    assert moved == pytest.approx(expected, rel=0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("keys", "entities"),
    [
        ([f"C{i // 3}-{i % 3}" for i in range(60)], [f"C{i // 3}" for i in range(60)]),
        (
            [f"2024-01-{1 + i % 3:02d}|C{i // 3}" for i in range(60)],
            [f"C{i // 3}" for i in range(60)],
        ),
        ([f"row {i}" for i in range(60)], None),  # a single kind
        ([f"shop-{i % 2}-{i}" for i in range(60)], None),  # two kinds of rows
        ([f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(300)], None),
        ([f"tt{i:07d}" for i in range(60)], None),
        ([f"{i:04x}-{i:04x}" for i in range(60)], None),  # all different
        (list(range(60)), None),
        ([*(f"C{i // 3}-{i % 3}" for i in range(60)), "other"], None),
    ],
)
def test_entities_in_keys(keys, entities):
    result = entities_from_keys(pd.Index(keys))
    assert result is None if entities is None else list(result) == entities


# Names, and scores of tidy rows.


@pytest.mark.parametrize(("task", "metric"), ALL)
def test_tidy_rows_have_the_scores_of_their_columns(task, metric):
    frame = tidy(task, 4)
    classes = CLASSES if task == "classification" else None
    result = score_rows(
        metric, task, frame, classes=classes, resampling=Resampling(3, n_bootstrap=50)
    )
    assert result == pytest.approx(scores(task, frame)[metric])


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
        ("mase", "regression", "r2, rmse, mae, wape, spread$"),
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
    ],
)
def test_comparisons_that_are_none(options, message):
    rows = tidy("regression", 1)
    asked = {"metric": "rmse", "task": "regression", "baseline": rows, "model": rows} | options
    with pytest.raises(ValueError, match=message):
        paired_gain(**asked, resampling=Resampling(0))


def test_a_single_row_says_nothing():
    rows = tidy("regression", 1).iloc[:1]
    with pytest.raises(ValueError, match="1 rows, drawn by 1, have no spread"):
        gain("rmse", "regression", rows, rows)


@pytest.mark.parametrize(("n_times", "share"), [(12, 0.2), (28, 0.1), (60, 0.04), (60, -0.05)])
def test_the_power_is_the_share_of_simulated_tests_that_show_the_gain(n_times, share):
    rng, metric, n_series = np.random.default_rng(n_times), find_metric("mae", "regression"), 4
    resampling, times = Resampling(0, 400), np.repeat(np.arange(n_times), n_series)
    shown, told = [], []
    for _ in range(150):
        moods = rng.normal(0, 0.1, (n_times, 1))  # what is alike in all series of a time
        baseline = 1 + rng.normal(0, 0.1, (n_times, n_series))
        model = baseline * (1 - share) + moods
        result = paired_gain_of_arrays(
            *(metric, np.zeros((times.size, 1)), baseline.reshape(-1, 1), model.reshape(-1, 1)),
            times=times,
            resampling=resampling,
        )
        shown.append(result.share["low"] > 0)
        told.append(power_of_comparison(result, 0.95, share))

    assert np.mean(told) == pytest.approx(np.mean(shown), abs=0.12)


@pytest.mark.parametrize("by", ["row", "time"])
def test_the_power_of_four_times_as_many_rows_is_extrapolated(by):
    rng, metric = np.random.default_rng(5), find_metric("mae", "regression")
    told, of_many = [], []
    for _ in range(40):
        errors = 1 + rng.normal(0, 0.2, (2, 160, 1))
        pairs = [
            paired_gain_of_arrays(
                *(metric, np.zeros((n, 1)), errors[0, :n], errors[1, :n]),
                times=np.arange(n) if by == "time" else None,
                resampling=Resampling(0, 200),
            )
            for n in (40, 160)
        ]
        told.append(power_of_comparison(pairs[0], 0.95, 0.05, times_as_many=4))
        of_many.append(power_of_comparison(pairs[1], 0.95, 0.05))
    assert np.mean(told) == pytest.approx(np.mean(of_many), abs=0.1)


def test_the_power_grows_with_the_gain_and_is_the_level_without_one():
    first, second = tidy("regression", 1), tidy("regression", 2)
    result = paired_gain("rmse", "regression", first, second, resampling=Resampling(0, 400))

    power = [power_of_comparison(result, 0.95, share) for share in (0.0, 0.05, 0.1, 0.3)]

    assert power[0] == pytest.approx(0.05, abs=1e-6)
    assert power == sorted(power)
    same = paired_gain("rmse", "regression", first, first, resampling=Resampling(0, 400))
    assert power_of_comparison(same, 0.95, 0.1) is None
