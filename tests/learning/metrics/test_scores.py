"""Every metric against scikit-learn, every interval against re-sampling row by row."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer

from ratchet.learning.metrics import (
    CLASSIFICATION,
    REGRESSION,
    SCORERS,
    Resampling,
    calibration_table,
    confusion,
    expected_calibration_error,
    from_scorer,
    greater_is_better,
    is_better,
    score_classification,
    score_regression,
    scorer_of,
)

CLASSES = ["Alto", "Bajo", "Medio"]


def labelled(seed, n=60, classes=CLASSES, weights=None):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, size=n, p=weights)
    return truth, rng.dirichlet(np.full(len(classes), 0.7), size=n)


def values(scores):
    return {name: score["value"] for name, score in scores.items()}


def sklearn_classification(truth, probabilities, classes):
    predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
    options = {"labels": classes, "average": None, "zero_division": 0}
    per_class = {
        "precision": sk.precision_score(truth, predicted, **options),
        "recall": sk.recall_score(truth, predicted, **options),
        "f1": sk.f1_score(truth, predicted, **options),
    }
    return {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.recall_score(
            truth, predicted, labels=np.unique(truth), average="macro"
        ),
        "f1_macro": sk.f1_score(truth, predicted, average="macro"),
        "f1_weighted": sk.f1_score(truth, predicted, average="weighted"),
        "log_loss": sk.log_loss(truth, probabilities, labels=classes),
        "brier": sk.brier_score_loss(truth, probabilities, labels=classes),
    } | {
        f"{name}_{label}": column[code]
        for name, column in per_class.items()
        for code, label in enumerate(classes)
    }


@st.composite
def labelled_rows(draw):
    """Few rows, skewed shares, often without some class, two to five classes."""
    classes = list("abcde"[: draw(st.integers(2, 5))])
    seed = draw(st.integers(0, 2**32 - 1))
    n = draw(st.integers(1, 40))
    weights = np.random.default_rng(seed).dirichlet(np.full(len(classes), 0.3))
    return *labelled(seed, n, classes, weights), classes


@given(labelled_rows())
@settings(max_examples=50, deadline=None)
def test_classification_metrics_are_those_of_scikit_learn(rows):
    scores = score_classification(*rows, resampling=Resampling(0, n_bootstrap=1))
    assert values(scores) == pytest.approx(sklearn_classification(*rows), abs=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 50),
    level=st.sampled_from([0.0, 1e-3, 1e7]),
    noise=st.sampled_from([0.0, 0.1, 10.0]),
)
@settings(max_examples=50, deadline=None)
def test_regression_metrics_are_those_of_scikit_learn(seed, n, level, noise):
    rng = np.random.default_rng(seed)
    truth = level + rng.normal(size=n)
    prediction = truth + noise * rng.normal(size=n)
    expected = {
        "r2": sk.r2_score(truth, prediction),
        "rmse": sk.root_mean_squared_error(truth, prediction),
        "mae": sk.mean_absolute_error(truth, prediction),
        "wape": np.abs(truth - prediction).sum() / np.abs(truth).sum(),
        "spread": prediction.std(),
    }
    scores = score_regression(truth, prediction, resampling=Resampling(0, n_bootstrap=1))
    assert values(scores) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.1])
@pytest.mark.parametrize("error", [0.0, 0.25])
def test_r2_of_constant_truth_is_that_of_scikit_learn(level, error):
    scores = score_regression([level] * 3, [level, level, level + error], resampling=Resampling(0))
    # The mean of three times 0.1 is not 0.1, and scikit-learn then divides by rounding noise.
    assert scores["r2"]["value"] == sk.r2_score([0.5] * 3, [0.5, 0.5, 0.5 + error])


def test_two_classes_have_the_halved_brier_score():
    scores = score_classification(
        ["a", "b"], [[0.8, 0.2], [0.6, 0.4]], ["a", "b"], resampling=Resampling(0)
    )
    assert scores["brier"]["value"] == pytest.approx((0.2**2 + 0.6**2) / 2)


def test_labels_may_come_as_a_categorical_series():
    truth, probabilities = labelled(0)
    series = pd.Series(truth, index=range(100, 160), dtype="category")
    expected = score_classification(
        truth, probabilities, CLASSES, resampling=Resampling(0, n_bootstrap=5)
    )
    assert (
        score_classification(
            series, probabilities, CLASSES, resampling=Resampling(0, n_bootstrap=5)
        )
        == expected
    )


# The oracle: the same rows, drawn one sample at a time and scored from scratch.


def resampled(score, arrays, n_bootstrap, seed):
    rng = np.random.default_rng(seed)
    n = len(arrays[0])
    for _ in range(n_bootstrap):
        rows = rng.integers(n, size=n)
        yield score(*(array[rows] for array in arrays))


def assert_intervals(scores, draws, confidence):
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    draws = list(draws)
    assert set(scores) == set(draws[0])
    for name, score in scores.items():
        expected = np.quantile([draw[name] for draw in draws], ends)
        assert [score["low"], score["high"]] == pytest.approx(expected, rel=1e-9, abs=1e-9), name


def test_intervals_of_a_classifier_equal_those_of_a_plain_loop():
    truth, probabilities = labelled(1, n=25, weights=[0.8, 0.05, 0.15])
    scores = score_classification(
        truth, probabilities, CLASSES, resampling=Resampling(7, n_bootstrap=80, confidence=0.8)
    )
    draws = resampled(
        lambda t, p: sklearn_classification(t, p, CLASSES), (truth, probabilities), 80, seed=7
    )
    assert_intervals(scores, draws, 0.8)


def test_intervals_of_a_regressor_equal_those_of_a_plain_loop():
    rng = np.random.default_rng(2)
    truth = rng.normal(50, 1, size=8)
    prediction = truth + rng.normal(size=8)
    scores = score_regression(
        truth, prediction, resampling=Resampling(3, n_bootstrap=300, confidence=0.9)
    )

    def score(t, p):
        return {
            "r2": sk.r2_score(t, p),
            "rmse": sk.root_mean_squared_error(t, p),
            "mae": sk.mean_absolute_error(t, p),
            "wape": np.abs(t - p).sum() / np.abs(t).sum(),
            "spread": p.std(),
        }

    assert_intervals(scores, resampled(score, (truth, prediction), 300, seed=3), 0.9)


def test_draws_of_one_row_over_and_over_have_an_r2():
    # With two rows half of the draws have constant truth.
    scores = score_regression(
        [1e3, 1e3 + 0.1], [1e3, 1e3], resampling=Resampling(0, n_bootstrap=50)
    )
    assert scores["r2"]["high"] == 1.0
    assert all(math.isfinite(part) for score in scores.values() for part in score.values())


def test_intervals_hold_the_value_and_shrink_with_more_rows():
    few = score_classification(*labelled(4, n=100), CLASSES, resampling=Resampling(0))
    many = score_classification(*labelled(4, n=10_000), CLASSES, resampling=Resampling(0))
    for name in few:
        assert few[name]["low"] < few[name]["value"] < few[name]["high"]
        ratio = (many[name]["high"] - many[name]["low"]) / (few[name]["high"] - few[name]["low"])
        assert 0.05 < ratio < 0.2, name  # ten times narrower for a hundred times the rows


def test_intervals_cover_the_true_accuracy_as_often_as_they_say():
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(300):
        hit = rng.random(200) < 0.7
        probabilities = np.column_stack([hit, ~hit]).astype(float)
        scores = score_classification(
            ["a"] * 200,
            probabilities,
            ["a", "b"],
            resampling=Resampling(seed, n_bootstrap=200, confidence=0.9),
        )
        covered += scores["accuracy"]["low"] <= 0.7 <= scores["accuracy"]["high"]
    assert 0.84 < covered / 300 < 0.96


def test_same_seed_same_scores_other_seed_other_intervals():
    rows = (*labelled(6), CLASSES)
    first = score_classification(*rows, resampling=Resampling(1))
    assert first == score_classification(*rows, resampling=Resampling(1))
    other = score_classification(*rows, resampling=Resampling(2))
    assert first != other
    assert values(first) == values(other)


def test_two_models_are_scored_on_the_same_draws():
    rng = np.random.default_rng(8)
    truth, prediction = rng.normal(size=(2, 30))
    near = score_regression(truth, prediction, resampling=Resampling(1))["mae"]
    far = score_regression(truth, truth + 2 * (prediction - truth), resampling=Resampling(1))["mae"]
    assert far == pytest.approx({name: 2 * value for name, value in near.items()})


def test_scores_are_plain_json():
    scores = score_classification(*labelled(9), CLASSES, resampling=Resampling(0, n_bootstrap=10))
    assert set(scores) >= {*CLASSIFICATION, "precision_Alto", "recall_Medio", "f1_Bajo"}
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


GOOD = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        ([], np.empty((0, 3)), "no rows"),
        (["Alto"], GOOD, "1 rows of truth, 2 of prediction"),
        (["Alto", "Bajo"], [[0.5, 0.5], [0.5, 0.5]], "2 columns of probabilities for 3 classes"),
        (["Alto", "Bajo"], [0.5, 0.5], "2 dimension"),
        (["Alto", "Peor"], GOOD, "outside the classes .*Peor"),
        (["Alto", None], GOOD, "outside the classes .*None"),
        (["Alto", np.nan], GOOD, "outside the classes .*nan"),
        (["Alto", "Bajo"], [[0.5, 0.3, 0.2], [np.nan, 0.2, 0.8]], "not finite, first in row 1"),
        (["Alto", "Bajo"], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.2]], "row 1 is no set of prob"),
        (["Alto", "Bajo"], [[1.2, -0.2, 0.0], [0.2, 0.2, 0.6]], "row 0 is no set of prob"),
        (["Alto", "Bajo"], [["x", 0.3, 0.2], [0.2, 0.2, 0.6]], "must be numbers"),
    ],
)
def test_classification_refuses(truth, probabilities, message):
    with pytest.raises(ValueError, match=message):
        score_classification(truth, probabilities, CLASSES, resampling=Resampling(0))
    with pytest.raises(ValueError, match=message):
        calibration_table(truth, probabilities, CLASSES)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([], [], "no rows"),
        ([1.0, 2.0], [1.0], "2 rows of truth, 1 of prediction"),
        ([1.0, np.nan], [1.0, 2.0], "truth has 1 values not finite, first in row 1"),
        ([1.0, 2.0], [np.inf, 2.0], "prediction has 1 values not finite, first in row 0"),
        ([1.0, 2.0], [[1.0], [2.0]], "1 dimension"),
        ([1.0, pd.NA], [1.0, 2.0], "must be numbers"),
        ([1e200, 2.0], [1.0, 2.0], "too large"),
    ],
)
def test_regression_refuses(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        score_regression(truth, prediction, resampling=Resampling(0))


@pytest.mark.parametrize("options", [{"n_bootstrap": 0}, {"confidence": 1.0}, {"confidence": 95}])
def test_draws_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Resampling(0, **options)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["a"], "two or more"), (["a", "a"], "different"), (["a", "macro"], "f1_macro")],
)
def test_classes_that_are_ambiguous_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        score_classification(
            ["a"], np.full((1, len(classes)), 1 / len(classes)), classes, resampling=Resampling(0)
        )


# Confusion, directions and names.


@given(labelled_rows())
@settings(max_examples=50, deadline=None)
def test_confusion_is_that_of_scikit_learn(rows):
    truth, probabilities, classes = rows
    predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
    table = confusion(truth, predicted, classes)
    matrix = [[table[t][p] for p in classes] for t in classes]
    assert matrix == sk.confusion_matrix(truth, predicted, labels=classes).tolist()
    assert json.loads(json.dumps(table)) == table


def test_confusion_refuses_unknown_labels_and_other_lengths():
    with pytest.raises(ValueError, match="prediction has labels outside"):
        confusion(["a"], ["c"], ["a", "b"])
    with pytest.raises(ValueError, match="2 rows of truth, 1 of prediction"):
        confusion(["a", "b"], ["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", True),
        ("f1_macro", True),
        ("f1_Alto", True),
        ("recall_muy_Bajo", True),
        ("r2", True),
        ("log_loss", False),
        ("brier", False),
        ("rmse", False),
        ("mae", False),
        ("wape", False),
    ],
)
def test_directions(name, expected):
    assert greater_is_better(name) is expected
    assert is_better(name, 0.8, 0.7) is expected
    assert is_better(name, 0.7, 0.8) is not expected
    assert not is_better(name, 0.7, 0.7)


@pytest.mark.parametrize(("prediction", "expected"), [([0.0, 0.0], 0.0), ([0.0, 1.0], np.inf)])
def test_share_of_error_of_nothing_at_all(prediction, expected):
    assert (
        score_regression([0.0, 0.0], prediction, resampling=Resampling(0))["wape"]["value"]
        == expected
    )


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize("scoring", ["neg_wape", "neg_root_mean_squared_error", "r2"])
def test_scorers_score_in_units_what_is_learned_in_logs(scoring, logs):
    rng = np.random.default_rng(5)
    truth, prediction = np.exp(rng.normal(size=(2, 40)))
    learned = np.log if logs else np.asarray
    model = LinearRegression().fit(learned(prediction)[:, None], learned(prediction))
    scorer = scorer_of(scoring, logs=logs)
    scorer = get_scorer(scorer) if isinstance(scorer, str) else scorer
    score = scorer(model, learned(prediction)[:, None], learned(truth))
    name, result = from_scorer(scoring, score, "regression")
    assert result == pytest.approx(
        score_regression(truth, prediction, resampling=Resampling(0))[name]["value"]
    )


@pytest.mark.parametrize("name", ["f1", "f1_", "speed", "spread", ""])
def test_names_without_direction_are_refused(name):
    with pytest.raises(ValueError, match=r"unknown metric|no better direction"):
        greater_is_better(name)


@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan), (-math.inf, 1.0)])
def test_what_is_not_finite_is_never_better(values):
    with pytest.raises(ValueError, match="cannot compare"):
        is_better("rmse", *values)


class Classifier(ClassifierMixin, BaseEstimator):
    """Answers with the probabilities it is given."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return self.classes_[X.argmax(axis=1)]


class Regressor(RegressorMixin, BaseEstimator):
    """Answers with the first column."""

    def predict(self, X):
        return X[:, 0]


def test_scorers_name_what_scikit_learn_computes():
    labels, X = labelled(10)
    numbers = np.random.default_rng(10).normal(size=60)
    model = Classifier().fit(X, labels)
    ours = values(score_classification(labels, X, CLASSES, resampling=Resampling(0, n_bootstrap=1)))
    ours |= values(score_regression(numbers, X[:, 0], resampling=Resampling(0, n_bootstrap=1)))
    for scoring, name in SCORERS.items():
        arguments = (model, X, labels) if name in CLASSIFICATION else (Regressor(), X, numbers)
        scorer = scorer_of(scoring)
        score = (get_scorer(scorer) if isinstance(scorer, str) else scorer)(*arguments)
        assert from_scorer(scoring, score) == (name, pytest.approx(ours[name])), scoring


def test_from_scorer_turns_the_sign_of_losses_only():
    assert from_scorer("neg_log_loss", -0.4) == ("log_loss", 0.4)
    assert from_scorer("r2", -0.4) == ("r2", -0.4)
    assert math.copysign(1, from_scorer("neg_mean_absolute_error", 0.0)[1]) == 1
    assert math.isnan(from_scorer("accuracy", math.nan)[1])
    with pytest.raises(ValueError, match="unknown scoring 'roc_auc'; known: accuracy"):
        from_scorer("roc_auc", 0.5)


def test_every_ranking_metric_has_a_scorer():
    ranking = {
        metric.name
        for metric in (*CLASSIFICATION.values(), *REGRESSION.values())
        if metric.greater_is_better is not None
    }
    assert set(SCORERS.values()) == ranking


# Calibration.


def test_calibration_table_by_hand():
    first = np.array([0.9, 0.1, 0.3, 0.7])
    table = calibration_table(
        ["a", "b", "a", "b"], np.column_stack([first, 1 - first]), ["a", "b"], n_bins=2
    )
    assert list(table) == ["class", "mean_probability", "observed_share", "count"]
    assert table["class"].tolist() == ["a", "a", "b", "b"]
    assert table["mean_probability"].tolist() == pytest.approx([0.2, 0.8, 0.2, 0.8])
    assert table["observed_share"].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert table["count"].tolist() == [2, 2, 2, 2]
    error = expected_calibration_error(
        ["a", "b", "a", "b"], np.column_stack([first, 1 - first]), ["a", "b"], n_bins=2
    )
    assert error == pytest.approx(0.3)


@given(st.integers(1, 200), st.integers(1, 20), st.booleans())
@settings(max_examples=50, deadline=None)
def test_bins_hold_every_row_once_and_equally_many(n, n_bins, tied):
    truth, probabilities = labelled(n, n)
    if tied:
        probabilities = np.eye(3)[probabilities.argmax(axis=1)]
    table = calibration_table(truth, probabilities, CLASSES, n_bins)
    assert (table.groupby("class")["count"].sum() == n).all()
    if tied:
        assert (table.groupby("class").size() <= 2).all()  # ties are never torn apart
    else:
        assert (table.groupby("class").size() == min(n, n_bins)).all()
        assert table["count"].max() - table["count"].min() <= 1


def test_calibration_error_tells_honest_from_bold():
    rng = np.random.default_rng(11)
    honest = rng.dirichlet(np.ones(3), size=20_000)
    truth = np.asarray(CLASSES)[(rng.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1)]
    bold = honest**3 / (honest**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(truth, honest, CLASSES) < 0.01
    assert expected_calibration_error(truth, bold, CLASSES) > 0.1


def test_calibration_needs_a_bin():
    with pytest.raises(ValueError, match="n_bins"):
        calibration_table(*labelled(0), CLASSES, n_bins=0)
