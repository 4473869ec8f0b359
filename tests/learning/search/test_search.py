"""The search gives what scikit-learn's gives, and says how far it is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from ratchet.learning.search import Search, run_search, table

GRID = {"max_depth": [1, 2, 3], "class_weight": [None, "balanced"]}
CV = StratifiedKFold(4, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(150, n_informative=4, n_classes=3, random_state=0)
    return X, np.array(["a", "b", "c"])[y]


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_are_those_of_scikit_learn(rows, n_jobs):
    ours = Search(tree(), GRID, scoring="neg_log_loss", cv=CV, n_jobs=n_jobs).fit(*rows)
    theirs = GridSearchCV(tree(), GRID, scoring="neg_log_loss", cv=CV).fit(*rows)

    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == theirs.best_score_
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(ours.cv_results_[name], values, err_msg=name)
    np.testing.assert_array_equal(
        ours.best_estimator_.predict_proba(rows[0]), theirs.predict_proba(rows[0])
    )


@pytest.mark.parametrize(("n_jobs", "steps"), [(1, 6), (2, 3), (3, 2)])
def test_progress_is_told_before_the_first_fit_and_after_every_batch(rows, n_jobs, steps):
    reports = []
    search = Search(
        tree(),
        GRID,
        scoring="accuracy",
        cv=CV,
        n_jobs=n_jobs,
        on_progress=lambda *x: reports.append(x),
    )

    search.fit(*rows)

    done, total, best = zip(*reports, strict=True)
    assert set(total) == {6 * 4}
    assert list(done) == [24 * i // steps for i in range(steps + 1)]
    assert np.isnan(best[0])
    assert list(best[1:]) == sorted(best[1:])
    assert best[-1] == search.best_score_


def test_table_has_a_row_per_point_best_first(rows, tmp_path):
    model, table = run_search(tree(), GRID, *rows, scoring="neg_log_loss", cv=CV, n_jobs=1)

    assert list(table["rank_test_score"]) == sorted(table["rank_test_score"])
    assert len(table) == 6
    assert set(table["scoring"]) == {"neg_log_loss"}
    best = json.loads(table["params"][0])
    assert {name: model.get_params()[name] for name in best} == best
    np.testing.assert_allclose(
        table[[f"split{i}_test_score" for i in range(4)]].mean(axis=1), table["mean_test_score"]
    )
    table.to_parquet(tmp_path / "table.parquet")  # None beside "balanced" could not be a column
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_equals_stay_in_the_order_in_which_they_were_tried():
    points = [{"max_depth": i} for i in range(60)]
    results = {"params": points, "rank_test_score": np.array([31, 1] * 30)}

    rows = table(SimpleNamespace(cv_results_=results))

    assert list(rows["trial"]) == [*range(1, 60, 2), *range(0, 60, 2)]


def test_best_point_is_fitted_on_all_rows(rows):
    model, table = run_search(tree(), GRID, *rows, scoring="accuracy", cv=CV, n_jobs=1)

    again = tree().set_params(**json.loads(table["params"][0])).fit(*rows)
    np.testing.assert_array_equal(model.predict_proba(rows[0]), again.predict_proba(rows[0]))


def test_an_empty_grid_is_one_point(rows):
    _, table = run_search(tree(), {}, *rows, scoring="accuracy", cv=CV, n_jobs=1)

    assert list(table["params"]) == ["{}"]


def test_a_point_that_cannot_be_fitted_stops_the_search(rows):
    with pytest.raises(ValueError, match="'C' parameter"):
        run_search(LogisticRegression(), {"C": [1, -1]}, *rows, scoring="accuracy", cv=CV, n_jobs=1)


def test_rows_are_left_as_they_are(rows):
    X, y = rows[0].copy(), rows[1].copy()

    run_search(tree(), {"max_depth": [1]}, X, y, scoring="accuracy", cv=CV, n_jobs=1)

    np.testing.assert_array_equal(X, rows[0])
    np.testing.assert_array_equal(y, rows[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "halving"}, "'halving' takes estimators that train in epochs"),
        ({"param_grid": {"max_depth": []}}, "param_grid.max_depth: expected at least one value"),
        ({"param_grid": {"deep": [1]}}, "param_grid.deep: no such parameter; .*'max_depth'"),
        ({"param_grid": {"max_depth": [1, -1]}}, "param_grid.max_depth: -1: .* range"),
    ],
)
def test_bad_parameters_are_named(rows, settings, message):
    search = Search(**({"estimator": tree(), "param_grid": GRID} | settings))

    with pytest.raises(ValueError, match=message):
        search.fit(*rows)


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_other_strategies_try_points_of_the_grid(rows, strategy):
    reports = []
    search = Search(
        tree(),
        GRID,
        strategy=strategy,
        n_trials=4,
        strategy_options={"batch_size": 3} if strategy == "bayesian" else None,
        scoring="neg_log_loss",
        cv=CV,
        on_progress=lambda *x: reports.append(x),
    ).fit(*rows)

    tried = search.cv_results_["params"]
    assert len(tried) == 4 == len({str(point) for point in tried})
    assert reports[-1][:2] == (16, 16)
    full = Search(tree(), GRID, scoring="neg_log_loss", cv=CV).fit(*rows).cv_results_
    known = dict(zip(map(str, full["params"]), full["mean_test_score"], strict=True))
    scores = dict(
        zip(map(str, map(in_order, tried)), search.cv_results_["mean_test_score"], strict=True)
    )
    assert scores.items() <= known.items()
    assert search.best_score_ == max(scores.values())


def in_order(point):
    return {name: point[name] for name in sorted(point)}
