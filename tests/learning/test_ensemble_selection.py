"""Ensemble selection: never worse than the best candidate on the rows that it chose by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from ratchet.learning.ensemble_selection import (
    WeightedMeanClassifier,
    WeightedMeanRegressor,
    best_round,
    select_ensemble,
    weighted_mean,
    weighted_mean_of_known,
)
from ratchet.learning.trusted import dump, load

N = 12
TRUTH = np.linspace(-1, 1, N)


def loss(prediction: np.ndarray) -> float:
    return float(np.abs(prediction - TRUTH).mean())


predicted = arrays(np.float64, N, elements=st.floats(-3, 3, width=32))
candidates = st.dictionaries(st.sampled_from("abcdefg"), predicted, min_size=1)


@settings(max_examples=60, deadline=None)
@given(candidates, st.integers(1, 4), st.integers(1, 12), st.randoms(use_true_random=False))
def test_selection(predictions, members, rounds, random):
    history = select_ensemble(predictions, loss, members=members, rounds=rounds)
    best = best_round(history)

    assert len(history) == rounds
    assert best.loss <= min(map(loss, predictions.values()))
    for each in history:
        assert sum(each.weights.values()) == pytest.approx(1)
        assert all(weight > 0 for weight in each.weights.values())
        assert len(each.weights) <= members
        assert loss(weighted_mean(predictions, each.weights)) == pytest.approx(each.loss)
    shuffled = random.sample(list(predictions.items()), len(predictions))
    assert select_ensemble(dict(shuffled), loss, members=members, rounds=rounds) == history


def test_one_candidate_gives_itself():
    only = best_round(select_ensemble({"ridge": TRUTH + 1}, loss, members=5))

    assert only.weights == {"ridge": 1.0}
    assert only.loss == loss(TRUTH + 1)


def test_errors_that_cancel_are_averaged():
    opposite = {"high": TRUTH + 1, "low": TRUTH - 1, "far": TRUTH + 5}

    assert best_round(select_ensemble(opposite, loss, members=5)).weights == {
        "high": 0.5,
        "low": 0.5,
    }
    assert best_round(select_ensemble(opposite, loss, members=1)).weights == {"high": 1.0}


def test_what_is_no_number_gets_no_weight():
    missing = {"diverged": np.full(N, np.nan), "ridge": TRUTH + 1}

    assert best_round(select_ensemble(missing, loss, members=5)).weights == {"ridge": 1.0}
    with pytest.raises(ValueError, match="round 1: the loss is no number"):
        select_ensemble({"diverged": missing["diverged"]}, loss, members=5)


def test_a_candidate_has_no_say_in_rows_that_it_does_not_predict():
    part = TRUTH.copy()
    part[: N // 2] = np.nan
    given = {"part": part, "high": TRUTH + 1, "low": TRUTH - 0.9}

    best = best_round(select_ensemble(given, loss, members=3))
    mean = weighted_mean_of_known(given, best.weights)

    assert best.loss == pytest.approx(loss(mean))
    alone = {name: weight for name, weight in best.weights.items() if name != "part"}
    shares = {name: weight / sum(alone.values()) for name, weight in alone.items()}
    assert_allclose(mean[: N // 2], weighted_mean(given, shares)[: N // 2])
    assert best.weights["part"] > 0  # it is right in the others
    with pytest.raises(ValueError, match="round 1: the loss is no number"):
        select_ensemble({"part": part}, loss, members=1)


@pytest.mark.parametrize("wrong", [{"members": 0}, {"rounds": 0}, {"predictions": {}}])
def test_nothing_to_select(wrong):
    arguments = {"predictions": {"ridge": TRUTH}, "members": 1, "rounds": 1, **wrong}
    with pytest.raises(ValueError, match="at least one candidate, one member and one round"):
        select_ensemble(loss=loss, **arguments)


rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"))


def test_mean_of_regressors_that_know_other_columns(tmp_path):
    y = X["a"] + 2 * X["b"]
    one, two = Ridge().fit(X[["b", "a"]], y), Ridge(alpha=9).fit(X[["c"]], y)
    mean = WeightedMeanRegressor([FrozenEstimator(one), FrozenEstimator(two)], [0.75, 0.25])
    expected = 0.75 * one.predict(X[["b", "a"]]) + 0.25 * two.predict(X[["c"]])

    assert list(mean.feature_names_in_) == ["b", "a", "c"]
    assert_allclose(mean.predict(X), expected)
    assert_allclose(clone(mean).fit(X, y).predict(X), expected)
    dump(mean, tmp_path / "mean.skops")
    assert_allclose(load(tmp_path / "mean.skops").predict(X), expected)


def test_mean_of_classifiers(tmp_path):
    labels = np.where(X["a"] > 0, "up", "down")
    one, two = LogisticRegression().fit(X, labels), DummyClassifier().fit(X, labels)
    mean = WeightedMeanClassifier([FrozenEstimator(one), FrozenEstimator(two)], [0.6, 0.4])
    expected = 0.6 * one.predict_proba(X) + 0.4 * two.predict_proba(X)

    assert_allclose(mean.predict_proba(X), expected)
    assert list(mean.predict(X)) == list(np.array(["down", "up"])[expected.argmax(axis=1)])
    dump(mean, tmp_path / "mean.skops")
    assert_allclose(load(tmp_path / "mean.skops").predict_proba(X), expected)


def test_a_mean_of_models_without_names_has_none():
    model = Ridge().fit(X.to_numpy(), X["a"])
    mean = WeightedMeanRegressor([model], [1.0])

    assert not hasattr(mean, "feature_names_in_")
    assert_allclose(mean.predict(X.to_numpy()), model.predict(X.to_numpy()))
