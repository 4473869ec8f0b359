"""What a change of the inputs does to the scores, and what a model itself expects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Target
from ratchet.errors import DataError
from ratchet.learning.metrics import Resampling
from ratchet.monitoring.drift.effect import (
    error_from_effect,
    error_from_scores,
    error_without_truth,
    scenario_effect,
)

N = 300
RNG = np.random.default_rng(0)
ROWS = pd.DataFrame({"x": RNG.standard_normal(N)}, index=[f"r{i}" for i in range(N)])
TRUTH = 2 * ROWS["x"] + 0.1 * RNG.standard_normal(N)
CANDIDATES = {name: {"estimator": name} for name in ("dummy", "ridge")}
RATING = Target(column="y", task="regression", candidates=CANDIDATES)
CLASS = Target(column="k", task="classification", classes=["lo", "hi"], candidates=CANDIDATES)
NAIVE = {"persistence": {"estimator": "persistence"}}
LOAD = Target(column="z", task="forecasting", candidates=CANDIDATES | NAIVE)


def answer(rows):
    """A model that knows the truth, and answers rows whose ``x`` is there."""
    known = rows.dropna(subset="x")
    truth = TRUTH[known.index]
    probability = 1 / (1 + np.exp(-3 * known["x"]))
    return {
        "rating": pd.DataFrame({"truth": truth, "prediction": 2 * known["x"]}),
        "class": pd.DataFrame(
            {
                "truth": np.where(truth > 0, "hi", "lo"),
                "prediction": np.where(known["x"] > 0, "hi", "lo"),
                "probability_hi": probability,
                "probability_lo": 1 - probability,
            },
            index=known.index,
        ),
        "load": pd.DataFrame(
            {
                "truth": truth,
                "prediction": 2 * known["x"],
                "time": pd.Series(pd.date_range("2020", periods=N), ROWS.index)[known.index],
                "scale": 1 + known["x"].abs(),  # depends on what is changed
                "rms": 1.0,
            }
        ),
    }


TARGETS = {"rating": RATING, "class": CLASS, "load": LOAD}


def test_nothing_changed_changes_no_score():
    effect = scenario_effect(ROWS, ROWS, answer, TARGETS, resampling=Resampling(0))

    for target in effect.values():
        assert target["rows"] == N
        assert target["unanswered"] == 0
        for scores in target["metrics"].values():
            assert scores["before"] == scores["after"]
            assert scores["change"] == 0


def test_a_shift_makes_scores_worse():
    effect = scenario_effect(ROWS, ROWS + 1, answer, TARGETS, resampling=Resampling(0))

    rating = effect["rating"]["metrics"]
    assert rating["rmse"]["before"]["value"] == pytest.approx(0.1, rel=0.2)
    assert rating["rmse"]["after"]["value"] == pytest.approx(2, rel=0.05)
    assert rating["rmse"]["change"] == pytest.approx(
        rating["rmse"]["after"]["value"] - rating["rmse"]["before"]["value"]
    )
    assert rating["r2"]["change"] < 0
    assert effect["class"]["metrics"]["accuracy"]["change"] < -0.1
    assert effect["class"]["metrics"]["log_loss"]["change"] > 0
    assert "f1_hi" in effect["class"]["metrics"]


def test_errors_of_series_keep_their_unit():
    effect = scenario_effect(ROWS, ROWS + 1, answer, {"load": LOAD}, resampling=Resampling(0))[
        "load"
    ]

    expected = ((2 * (ROWS["x"] + 1) - TRUTH).abs() / (1 + ROWS["x"].abs())).mean()
    assert effect["metrics"]["mase"]["after"]["value"] == pytest.approx(expected)


def test_rows_that_cannot_be_answered_are_counted():
    changed = ROWS.mask(np.arange(N)[:, None] < 50)

    effect = scenario_effect(ROWS, changed, answer, TARGETS, resampling=Resampling(0))

    for target in effect.values():
        assert (target["rows"], target["unanswered"]) == (N - 50, 50)
        assert target["metrics"]
        assert all(scores["change"] == 0 for scores in target["metrics"].values())


def test_rows_without_truth_do_not_count():
    def partly(rows):
        return {"rating": answer(rows)["rating"].assign(truth=TRUTH.where(ROWS["x"] > 0))}

    effect = scenario_effect(ROWS, ROWS, partly, {"rating": RATING}, resampling=Resampling(0))

    assert effect["rating"]["rows"] == (ROWS["x"] > 0).sum()


def test_no_row_left():
    effect = scenario_effect(
        ROWS, ROWS * np.nan, answer, {"rating": RATING}, resampling=Resampling(0)
    )["rating"]

    assert effect == {"rows": 0, "unanswered": N, "metrics": {}}
    evidence = error_from_effect(effect, "rmse", 0.05)
    assert evidence.worse
    assert "100.0% of the rows get no answer" in evidence.text


def test_no_row_from_the_beginning():
    with pytest.raises(DataError, match="'rating': no row with a known truth"):
        scenario_effect(ROWS * np.nan, ROWS, answer, {"rating": RATING}, resampling=Resampling(0))


@pytest.mark.parametrize(
    ("metric", "before", "after", "worse"),
    [
        ("rmse", 1.0, 1.06, True),
        ("rmse", 1.0, 1.04, False),
        ("rmse", 1.0, 0.5, False),
        ("r2", 0.5, 0.47, True),
        ("r2", 0.5, 0.49, False),
        ("r2", -1.0, -1.1, True),
        ("f1_hi", 0.8, 0.7, True),
        ("rmse", 1.0, float("nan"), True),
    ],
)
def test_worse_as_measured(metric, before, after, worse):
    scores = {"before": {"value": before}, "after": {"value": after}}
    effect = {"rows": 9, "unanswered": 0, "metrics": {metric: scores}}

    evidence = error_from_effect(effect, metric, 0.05)

    assert evidence.worse is worse
    assert evidence.kind == "measured"
    assert "measured" in evidence.text


@pytest.mark.parametrize(
    ("now", "half", "worse"),
    [
        (1.2, 0.0, True),
        (1.2, 0.1, True),
        (1.2, 0.2, False),
        (1.04, 0.0, False),
        (0.5, 0.0, False),
        (float("inf"), float("nan"), True),
    ],
)
def test_other_rows_have_to_be_worse_by_more_than_chance(now, half, worse):
    before = {"value": 1.0, "low": 0.95, "high": 1.05}
    after = {"value": now, "low": now - half, "high": now + half}

    evidence = error_from_scores("rmse", before, after, 0.05, 70)

    assert evidence.worse is worse
    assert evidence.numbers["chance"] == pytest.approx(
        2.326 / 1.96 * np.hypot(0.05, np.nan_to_num(half)), rel=1e-3
    )


@pytest.mark.parametrize(("unanswered", "worse"), [(0, False), (5, False), (6, True)])
def test_rows_without_an_answer_do_harm(unanswered, worse):
    scores = {"before": {"value": 1.0}, "after": {"value": 1.0}}
    effect = {"rows": 100 - unanswered, "unanswered": unanswered, "metrics": {"rmse": scores}}

    evidence = error_from_effect(effect, "rmse", 0.05)

    assert evidence.worse is worse
    assert ("no answer" in evidence.text) == bool(unanswered)


def widths(width, n=400):
    noise = np.random.default_rng(0).uniform(0.9, 1.1, n)
    return pd.DataFrame({"prediction": 0.0, "low": 0.0, "high": width * noise})


def test_wider_intervals_are_an_estimate_of_a_larger_error():
    worse = error_without_truth(widths(1.0), widths(1.2), RATING, 0.05)

    assert worse.worse
    assert worse.kind == "estimated"
    assert "estimated, no truth" in worse.text
    assert not error_without_truth(widths(1.0), widths(1.02), RATING, 0.05).worse
    assert not error_without_truth(widths(1.0), widths(0.5), RATING, 0.05).worse


def test_a_few_wide_intervals_may_be_chance():
    few = widths(1.0).head(3).assign(high=[1.0, 1.0, 1.4])

    assert few["high"].mean() > 1.1
    assert not error_without_truth(widths(1.0), few, RATING, 0.05).worse


def test_less_sure_of_the_class_is_an_estimate_of_a_larger_error():
    def sure(p):
        spread = np.random.default_rng(0).uniform(-0.05, 0.05, 400)
        return pd.DataFrame({"probability_hi": p + spread, "probability_lo": 1 - p - spread})

    assert error_without_truth(sure(0.9), sure(0.7), CLASS, 0.05).worse
    assert error_without_truth(sure(0.1), sure(0.3), CLASS, 0.05).worse
    assert not error_without_truth(sure(0.9), sure(0.9), CLASS, 0.05).worse


def test_without_intervals_nothing_can_be_estimated():
    bare = widths(1.0)[["prediction"]]

    assert error_without_truth(bare, widths(1.0), RATING, 0.05) is None
    assert error_without_truth(widths(1.0), widths(1.0).head(0), RATING, 0.05) is None
