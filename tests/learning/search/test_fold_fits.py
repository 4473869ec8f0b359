"""Fits on folds are those of scikit-learn, and none is made twice."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_predict
from sklearn.svm import LinearSVC

from ratchet.learning.search import FoldFits, Search, fold_fits, out_of_fold
from ratchet.learning.stacking import fit_final_estimator

CV = KFold(3)


class CountedRidge(RegressorMixin, BaseEstimator):
    """A ridge that says how often it was fitted."""

    fits: ClassVar[list[float]] = []

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> CountedRidge:
        self.fits.append(self.alpha)
        self.model_ = Ridge(alpha=self.alpha).fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model_.predict(X)


@pytest.fixture
def cache(tmp_path) -> joblib.Memory:
    CountedRidge.fits.clear()
    return joblib.Memory(tmp_path, verbose=0)


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray]:
    return make_regression(90, 4, noise=20, random_state=0)


def search(estimator: Any, grid: dict[str, list[Any]], rows: Any, **settings: Any) -> Search:
    scoring = "neg_mean_squared_error"
    return Search(estimator, grid, scoring=scoring, cv=CV, refit=False, **settings).fit(*rows)


def test_a_mean_of_models_takes_what_the_searches_of_its_parts_have_fitted(measured, cache):
    for alpha in (1.0, 5.0):
        search(CountedRidge(), {"alpha": [alpha]}, measured, cache=cache)
    CountedRidge.fits.clear()
    mean = VotingRegressor([("a", CountedRidge(1.0)), ("b", CountedRidge(2.0))])
    grid = {"a__alpha": [1.0, 5.0], "b__alpha": [2.0]}

    ours = search(mean, grid, measured, cache=cache)

    assert CountedRidge.fits == [2.0] * 3
    theirs = GridSearchCV(mean, grid, scoring="neg_mean_squared_error", cv=CV).fit(*measured)
    for fold in range(3):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])


def test_without_a_cache_parts_that_points_share_are_fitted_once(measured, cache):
    mean = VotingRegressor([("a", CountedRidge()), ("b", CountedRidge())])

    search(mean, {"a__alpha": [1.0], "b__alpha": [1.0, 3.0]}, measured, n_jobs=1)

    assert sorted(CountedRidge.fits) == [1.0] * 6 + [3.0] * 3  # one point at a time, one worker


def test_a_stack_fits_nothing_that_was_searched(measured, cache):
    options = {"scoring": "neg_mean_squared_error", "cv": CV, "n_jobs": 1}
    found = search(CountedRidge(), {"alpha": [1.0, 9.0]}, measured, cache=cache)
    models = [CountedRidge(**found.best_params_), Ridge()]
    before = len(CountedRidge.fits)

    kept, _ = fit_final_estimator(models, {"alpha": [1.0]}, *measured, cache=cache, **options)

    assert len(CountedRidge.fits) == before
    fresh, _ = fit_final_estimator(models, {"alpha": [1.0]}, *measured, **options)
    np.testing.assert_array_equal(kept.coef_, fresh.coef_)


def test_a_damaged_result_is_fitted_again_and_kept(measured, cache):
    first = search(CountedRidge(), {"alpha": [1.0]}, measured, cache=cache)
    for path in Path(cache.location).rglob("output.pkl"):
        path.write_bytes(b"half")
    CountedRidge.fits.clear()

    with warnings.catch_warnings():  # joblib's, that it cannot read the result
        warnings.simplefilter("ignore", UserWarning)
        again = search(CountedRidge(), {"alpha": [1.0]}, measured, cache=cache)

    assert CountedRidge.fits == [1.0] * 3
    assert again.best_score_ == first.best_score_
    search(CountedRidge(), {"alpha": [1.0]}, measured, cache=cache)
    assert CountedRidge.fits == [1.0] * 3


@pytest.mark.parametrize("changed", ["rows", "score", "parameters"])
def test_other_rows_scores_or_parameters_are_fitted(measured, cache, changed):
    X, y = measured
    folds = list(CV.split(X))
    scorer = get_scorer("neg_mean_squared_error")
    with FoldFits(X, y, folds, scorer, cache=cache) as fits:
        fits.fit([CountedRidge()])
    CountedRidge.fits.clear()
    if changed == "rows":
        X = X + 1
    elif changed == "score":
        scorer = get_scorer("neg_mean_absolute_error")
    model = CountedRidge(2.0 if changed == "parameters" else 1.0)

    with FoldFits(X, y, folds, scorer, cache=cache) as fits:
        fits.fit([model])
        fits.fit([clone(model)])

    assert CountedRidge.fits == [model.alpha] * 3


def test_predictions_of_classes_are_those_of_scikit_learn_also_where_a_fold_lacks_one():
    X, y = make_classification(120, n_informative=4, n_classes=3, random_state=0)
    order = np.argsort(y, kind="stable")  # without shuffling the first fold has no 0 to learn from
    X, labels = X[order], np.array(["a", "b", "c"])[y[order]]
    folds = list(CV.split(X))
    with FoldFits(X, labels, folds, get_scorer("accuracy")) as fits:
        [results] = fits.fit([LogisticRegression()])

    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        theirs = cross_val_predict(LogisticRegression(), X, labels, cv=CV, method="predict_proba")
    np.testing.assert_allclose(out_of_fold(results, folds), theirs, atol=1e-12)


def test_rows_that_no_fold_holds_out_have_no_prediction():
    X, y = make_regression(40, random_state=0)
    folds = list(TimeSeriesSplit(3).split(X))
    with FoldFits(X, y, folds, get_scorer("r2")) as fits:
        [results] = fits.fit([Ridge()])

    predicted = out_of_fold(results, folds)

    assert np.isnan(predicted[:10]).all()
    assert predicted[30:] == pytest.approx(Ridge().fit(X[:30], y[:30]).predict(X[30:]))


def test_a_classifier_without_probabilities_has_a_score_alone():
    X, y = make_classification(60, random_state=0)
    with FoldFits(X, y, list(CV.split(X)), get_scorer("roc_auc")) as fits:
        [results] = fits.fit([LinearSVC()])

    assert all(result.score > 0.5 and result.predicted is None for result in results)


def test_predictions_of_very_many_rows_are_not_kept(measured, cache, monkeypatch):
    monkeypatch.setattr(fold_fits, "MOST_ROWS", 10)
    mean = VotingRegressor([("a", CountedRidge()), ("b", Ridge())])

    ours = search(mean, {}, measured, cache=cache)
    search(mean, {}, measured, cache=cache)

    assert CountedRidge.fits == [1.0] * 6
    theirs = GridSearchCV(mean, {}, scoring="neg_mean_squared_error", cv=CV).fit(*measured)
    assert ours.best_score_ == theirs.best_score_
