"""How much worse a score is, and two models on the same rows."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.config import Target
from ratchet.errors import DataError
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import (
    Resampling,
    score_classification,
    score_forecast,
    score_regression,
)
from ratchet.monitoring.comparison import RESAMPLING, compare, exceeds, worsening

TWO = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
RATING = Target(column="rating", task="regression", candidates=TWO)
SUCCESS = Target(column="success", task="classification", classes=["yes", "no"], candidates=TWO)
UNITS = Target(column="units", task="forecasting", candidates=TWO)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize(
    ("metric", "before", "now", "worse"),
    [
        ("rmse", 0.5, 0.6, 0.2),
        ("rmse", 0.5, 0.4, -0.2),
        ("log_loss", 1.0, 1.0, 0.0),
        ("accuracy", 0.5, 0.4, 0.2),
        ("accuracy", 0.5, 0.6, -0.2),
        ("r2", -0.1, -0.2, 1.0),
        ("r2", -0.2, -0.1, -0.5),
        ("rmse", 0.0, 0.0, 0.0),
        ("rmse", 0.0, 0.1, math.inf),
        ("r2", 0.0, -0.1, math.inf),
        ("r2", 0.0, 0.1, -math.inf),
    ],
)
def test_worse_is_a_share_of_the_earlier_score(metric, before, now, worse):
    assert worsening(metric, before, now) == pytest.approx(worse)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_neither_worse_nor_better(bad):
    assert math.isnan(worsening("rmse", 1.0, bad))
    assert math.isnan(worsening("rmse", bad, 1.0))
    assert not exceeds(math.nan, 0.05)


@given(finite, finite, st.sampled_from(["rmse", "r2"]))
def test_worse_has_the_sign_of_the_loss(before, now, metric):
    lost = now - before if metric == "rmse" else before - now

    assert np.sign(worsening(metric, before, now)) == np.sign(lost)


@pytest.mark.parametrize(
    ("value", "threshold", "above"),
    [
        (0.80 - 0.75, 0.05, False),  # 0.05000000000000004
        (1.05 - 1.0, 0.05, False),
        (0.05, 0.05, False),
        (0.0501, 0.05, True),
        (0.0, 0.0, False),
        (1e-17, 0.0, False),
        (1e-6, 0.0, True),
        (math.inf, 0.05, True),
    ],
)
def test_at_the_threshold_is_not_above_it(value, threshold, above):
    assert exceeds(value, threshold) is above


def numbers(seed, size=200, champion=1.0, previous=1.0):
    rng = np.random.default_rng(seed)
    truth, shared, own = rng.normal(size=(3, size))
    index = [f"row {i}" for i in range(size)]
    rows = pd.DataFrame({"truth": truth}, index=index)
    first = rows.assign(prediction=truth + champion * shared)
    second = rows.assign(prediction=truth + previous * (0.8 * shared + 0.6 * own))
    terms = {
        "time": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(size), unit="D"),
        "scale": rng.uniform(0.5, 2, size),
        "rms": 1.0,
    }
    return first.assign(**terms), second


def odds(seed, size=300):
    rng = np.random.default_rng(seed)
    yes = rng.uniform(0.02, 0.98, size)
    truth = np.where(rng.uniform(size=size) < yes, "yes", "no")
    blurred = 0.5 + (yes - 0.5) * 0.3
    return [
        pd.DataFrame({"truth": truth, "probability_yes": p, "probability_no": 1 - p})
        for p in (blurred, yes)
    ]


@pytest.mark.parametrize("path", [True, False])
def test_groups_of_rows_are_those_of_all_steps_of_a_path(path):
    champion, previous = numbers(1)
    names = pd.Index([f"row#{i // 2}" for i in range(200)])
    keys = names + [f"#{i % 2 + 1}" for i in range(200)] if path else pd.Index(range(200))
    champion, previous = (rows.set_axis(keys, axis=0) for rows in (champion, previous))
    groups = pd.Series(names, names if path else keys)
    groups = groups[~groups.index.duplicated()]

    told = compare(
        champion.assign(step=1.0 if path else np.nan), previous, RATING, "rmse", groups=groups
    )

    assert told.drawn["number"] == 100


def test_scores_are_those_of_the_metrics():
    champion, previous = numbers(1, previous=0.5)

    found = compare(champion, previous, RATING, "rmse")

    for score, rows in ((found.champion, champion), (found.previous, previous)):
        expected = score_regression(rows["truth"], rows["prediction"], resampling=Resampling(0))[
            "rmse"
        ]["value"]
        assert score == pytest.approx(expected)
    assert found.gain == pytest.approx(found.champion - found.previous)
    assert 0 < found.low < found.gain < found.high
    assert (found.rows, found.lost) == (200, 0)


def test_scores_of_classes_are_those_of_the_metrics():
    champion, previous = odds(2)

    found = compare(champion, previous, SUCCESS, "log_loss")

    table = previous[["probability_yes", "probability_no"]]
    expected = score_classification(
        previous["truth"], table, ["yes", "no"], resampling=Resampling(0)
    )
    assert found.previous == pytest.approx(expected["log_loss"]["value"])
    assert found.low > 0


def test_scores_of_series_are_those_of_the_metrics():
    champion, previous = numbers(3, previous=0.5)

    found = compare(
        champion, previous, UNITS, "mase", resampling=replace(RESAMPLING, seed=0, horizon=2)
    )

    expected = score_forecast(
        champion["truth"],
        previous["prediction"],
        scale=champion["scale"],
        rms=champion["rms"],
        times=champion["time"],
        resampling=Resampling(0),
    )
    assert found.previous == pytest.approx(expected["mase"]["value"])
    assert found.low > 0


def test_a_gain_is_a_gain_where_more_is_better():
    champion, previous = numbers(1, previous=0.5)

    assert compare(champion, previous, RATING, "r2").low > 0
    assert compare(previous, champion, RATING, "r2").high < 0


@pytest.mark.parametrize("seed", range(5))
def test_a_model_is_no_better_than_itself(seed):
    champion, _ = numbers(seed)

    found = compare(champion, champion, RATING, "rmse")

    assert (found.gain, found.low, found.high) == (0, 0, 0)


def test_only_rows_that_both_answered_are_compared():
    champion, previous = numbers(1)

    found = compare(champion.iloc[:150], previous.iloc[50:], RATING, "rmse")

    assert (found.rows, found.lost) == (100, 100)


@pytest.mark.parametrize("shared", [0, 1])
def test_without_rows_to_compare_nothing_is_known(shared):
    champion, previous = numbers(1)

    found = compare(champion.iloc[: 100 + shared], previous.iloc[100:], RATING, "rmse")

    assert found.rows == shared
    assert math.isnan(found.low)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["low"] is None


def test_the_truth_is_the_champions():
    champion, previous = numbers(1)

    found = compare(champion, previous.assign(truth=99.0), RATING, "rmse")

    assert found == compare(champion, previous, RATING, "rmse")


@pytest.mark.parametrize(("task", "metric"), [(UNITS, "mase"), (SUCCESS, "log_loss")])
def test_rows_that_cannot_be_scored_are_told(task, metric):
    champion, previous = (rows[["truth", "prediction"]] for rows in numbers(1))

    with pytest.raises(DataError, match=f"logged predictions of '{task.column}'"):
        compare(champion, previous, task, metric)


def test_what_json_has_no_word_for_is_none():
    odd = {"a": math.nan, "b": [math.inf, (pd.NaT, 1.5)], "c": pd.Timestamp("2024-01-01")}

    assert json_or_null(odd) == {"a": None, "b": [None, [None, 1.5]], "c": "2024-01-01T00:00:00"}


def test_rows_of_one_customer_are_drawn_together():
    champion, previous = numbers(1, previous=0.5)
    assert compare(champion, previous, RATING, "rmse").drawn["by"] == "row"
    keys = [f"C{i // 5}-{i}" for i in range(200)]
    by_key = compare(champion.set_axis(keys), previous.set_axis(keys), RATING, "rmse")
    assert (by_key.drawn["by"], by_key.drawn["number"]) == ("group", 40)
    named = pd.Series(np.arange(200) // 20, index=champion.index)
    assert compare(champion, previous, RATING, "rmse", groups=named).drawn["number"] == 10


def test_rows_of_a_single_customer_are_scored_and_decide_nothing():
    champion, previous = numbers(1, previous=0.5)
    found = compare(champion, previous, RATING, "rmse", groups=pd.Series("C1", champion.index))
    assert found.gain == pytest.approx(found.champion - found.previous)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.to_json()["low"] is None


def test_rows_that_follow_the_time_are_drawn_by_their_moments():
    rng = np.random.default_rng(0)
    weeks, shops = 20, 30
    keys = [f"{shop}|2020-{week:02d}" for week in range(weeks) for shop in range(shops)]
    times = np.repeat(pd.date_range("2020-01-05", periods=weeks, freq="W"), shops)
    truth = rng.uniform(5, 9, len(keys))
    common = np.repeat(rng.normal(size=weeks), shops)  # what a week does to all shops
    rows = [
        pd.DataFrame({"truth": truth, "time": times, "prediction": truth + share * common}, keys)
        for share in (1.0, 0.9)
    ]
    sold = RATING.model_copy(update={"learn": "log"})

    together = compare(*rows, sold, "wape", resampling=replace(RESAMPLING, seed=0))
    alone = compare(*rows, RATING, "wape", resampling=replace(RESAMPLING, seed=0))

    assert together.drawn["by"] == "time"
    assert together.high - together.low > 2 * (alone.high - alone.low)
