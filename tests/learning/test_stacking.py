"""Stacking: combined on predictions that no model had seen the truth of."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier

from ratchet.learning.search import FoldFits
from ratchet.learning.stacking import (
    Predictions,
    final_estimator,
    fit_final_estimator,
    out_of_fold_predictions,
    prediction_columns,
    prediction_method,
    stack,
)

CV = StratifiedKFold(4, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def labelled() -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(240, n_informative=4, n_classes=3, random_state=0)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray]:
    return make_regression(200, 6, noise=20, random_state=0)


def test_columns_of_probabilities_are_logarithms_without_infinity():
    columns = prediction_columns([[0.25, 0.75], [0.0, 1.0]], classes=True)

    assert_allclose(columns, [[np.log(0.25), np.log(0.75)], [np.log(1e-6), 0]])


def test_columns_of_values_are_the_values():
    assert_array_equal(prediction_columns([1, 2], classes=False), [[1.0], [2.0]])


def test_method_follows_the_task():
    assert prediction_method(GaussianNB()) == "predict_proba"
    assert prediction_method(Ridge()) == "predict"


def test_combination_is_learned_from_out_of_fold_predictions(labelled):
    X, y = labelled
    models = [GaussianNB().fit(X, y), DecisionTreeClassifier(random_state=0).fit(X, y)]

    combine, table = fit_final_estimator(
        models, {"C": [0.1]}, X, y, scoring="accuracy", cv=CV, n_jobs=1
    )

    out_of_fold = np.hstack(
        [
            prediction_columns(
                cross_val_predict(m, X, y, cv=CV, method="predict_proba"), classes=True
            )
            for m in models
        ]
    )
    by_hand = LogisticRegression(C=0.1, max_iter=300).fit(out_of_fold, y)
    assert_allclose(combine.coef_, by_hand.coef_)
    assert len(table) == 1


class Memory(ClassifierMixin, BaseEstimator):
    """Knows the class of every row it has seen, and nothing else."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        return self

    def predict_proba(self, X):
        known = [self.seen_.get(row.tobytes()) for row in X]
        return np.array([(self.classes_ == k) if k else np.full(3, 1 / 3) for k in known], float)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_a_model_that_only_remembers_gets_no_weight(labelled):
    X, y = labelled
    models = [Memory().fit(X, y), GaussianNB().fit(X, y)]

    combine, _ = fit_final_estimator(models, {}, X, y, scoring="neg_log_loss", cv=CV, n_jobs=1)

    assert_allclose(combine.coef_[:, :3], 0, atol=1e-3)
    assert np.abs(combine.coef_[:, 3:]).max() > 0.1


def test_a_stack_predicts_rows_out_of_fold(labelled):
    X, y = labelled
    models = [GaussianNB().fit(X, y), DecisionTreeClassifier(random_state=0).fit(X, y)]
    combine, _ = fit_final_estimator(models, {}, X, y, scoring="accuracy", cv=CV, n_jobs=1)
    folds = list(CV.split(X, y))

    with FoldFits(X, y, folds, get_scorer("accuracy")) as fold_fits:
        predicted = out_of_fold_predictions(stack(models, combine), y, folds, fold_fits)

    method = {"cv": CV, "method": "predict_proba"}
    columns = [
        prediction_columns(cross_val_predict(m, X, y, **method), classes=True) for m in models
    ]
    by_hand = cross_val_predict(clone(combine), np.hstack(columns), y, **method)
    assert_allclose(predicted, by_hand)


def test_stack_predicts_by_the_fitted_models(labelled):
    X, y = labelled
    models = [GaussianNB().fit(X, y), LogisticRegression().fit(X, y)]
    combine, _ = fit_final_estimator(models, {}, X, y, scoring="accuracy", cv=CV, n_jobs=1)

    stacked = stack(models, combine)

    columns = np.hstack([np.log(np.clip(m.predict_proba(X), 1e-6, 1)) for m in models])
    assert_array_equal(stacked.predict_proba(X), combine.predict_proba(columns))
    assert list(stacked.classes_) == ["a", "b", "c"]


def test_stacking_of_regressors_has_no_negative_weights(measured):
    X, y = measured
    models = [LinearRegression().fit(X, y), KNeighborsRegressor().fit(X, y), Ridge(500).fit(X, y)]
    cv = KFold(4, shuffle=True, random_state=0)

    combine, table = fit_final_estimator(
        models, {"alpha": [0.1, 1]}, X, y, scoring="r2", cv=cv, n_jobs=1
    )

    assert combine.coef_.shape == (3,)
    assert (combine.coef_ >= 0).all()
    assert len(table) == 2
    assert stack(models, combine).score(X, y) > 0.9


def test_stacking_is_about_as_good_as_the_best(labelled):
    X, y = labelled
    train, test = slice(0, 160), slice(160, None)
    models = [
        m.fit(X[train], y[train]) for m in (LogisticRegression(), GaussianNB(), DummyClassifier())
    ]

    combine, _ = fit_final_estimator(
        models, {"C": [0.1, 1]}, X[train], y[train], scoring="accuracy", cv=CV, n_jobs=1
    )

    best = max(model.score(X[test], y[test]) for model in models)
    assert stack(models, combine).score(X[test], y[test]) > best - 0.05


def test_fitting_a_stack_again_leaves_its_models(labelled):
    """They are frozen: calibration on other rows must not fit them anew."""
    X, y = labelled
    model = GaussianNB().fit(X, y)
    stacked = stack([model], LogisticRegression())

    refitted = clone(stacked).fit(X[:50], y[:50])

    inner = refitted["predictions"].models[0].estimator
    assert_array_equal(inner.theta_, model.theta_)


def test_progress_is_told(measured):
    reports = []
    fit_final_estimator(
        [LinearRegression().fit(*measured), Ridge().fit(*measured)],
        {"alpha": [1, 2, 3]},
        *measured,
        scoring="r2",
        cv=KFold(3),
        n_jobs=1,
        on_progress=lambda *state: reports.append(state),
    )

    done, total, best = zip(*reports, strict=True)
    assert list(done) == [0, 3, 6, 6, 9, 12, 15]  # models, then points
    assert set(total) == {15}
    assert np.isnan(best[:4]).all()
    assert np.isfinite(best[4:]).all()


def test_combiner_follows_the_task():
    assert isinstance(final_estimator(classes=True), LogisticRegression)
    assert final_estimator(classes=False).positive


def test_predictions_need_no_fit(labelled):
    X, y = labelled

    assert Predictions([GaussianNB().fit(X, y)]).transform(X).shape == (240, 3)
