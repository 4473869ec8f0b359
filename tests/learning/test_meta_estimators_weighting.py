"""Class weights are row weights, and classes may have names."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks
from xgboost import XGBClassifier

from ratchet.learning.meta_estimators import WeightedClassifier

NAMES = np.array(["Medio", "Bajo", "Alto"])


@parametrize_with_checks([WeightedClassifier(LogisticRegression())])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(
        240, n_informative=5, n_classes=3, weights=[0.7, 0.2], flip_y=0.2, random_state=0
    )
    return X, NAMES[y]


def boosting() -> XGBClassifier:
    return XGBClassifier(n_estimators=8, max_depth=2, n_jobs=1, tree_method="hist")


@pytest.mark.parametrize("estimator", [boosting(), RandomForestClassifier(9, random_state=0)])
@pytest.mark.parametrize("class_weight", ["balanced", {"Alto": 5.0, "Bajo": 1.0, "Medio": 0.5}])
def test_class_weights_are_row_weights(rows, estimator, class_weight):
    X, y = rows
    codes = np.unique(y, return_inverse=True)[1]
    weights = compute_sample_weight(class_weight, y)

    weighted = WeightedClassifier(estimator, class_weight=class_weight).fit(X, y)
    by_hand = clone(estimator).fit(X, codes, sample_weight=weights)

    np.testing.assert_allclose(weighted.predict_proba(X), by_hand.predict_proba(X), rtol=1e-6)
    without = WeightedClassifier(estimator).fit(X, y)
    assert (without.predict_proba(X) != weighted.predict_proba(X)).any()


def test_without_weights_it_is_the_classifier_itself(rows):
    X, y = rows
    codes = np.unique(y, return_inverse=True)[1]

    np.testing.assert_array_equal(
        WeightedClassifier(boosting()).fit(X, y).predict_proba(X),
        boosting().fit(X, codes).predict_proba(X),
    )


def test_xgboost_with_named_classes(rows):
    X, y = rows
    model = WeightedClassifier(boosting()).fit(X, y)

    assert list(model.classes_) == ["Alto", "Bajo", "Medio"]
    assert set(model.predict(X)) <= set(NAMES)
    assert model.score(X, y) > 0.7
    probabilities = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])


def test_columns_of_probabilities_follow_the_classes(rows):
    X, y = rows
    ours = WeightedClassifier(LogisticRegression(max_iter=500)).fit(X, y)
    theirs = LogisticRegression(max_iter=500).fit(X, y)

    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_the_inner_estimator_is_left_as_it_is(rows):
    inner = LogisticRegression()

    WeightedClassifier(inner).fit(*rows)

    assert not hasattr(inner, "coef_")


def test_numbers_to_predict_are_refused():
    with pytest.raises(ValueError, match="Unknown label type"):
        WeightedClassifier(LogisticRegression()).fit([[0.0], [1.0]], [0.1, 0.2])
