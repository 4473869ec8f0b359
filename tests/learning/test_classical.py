"""Every candidate of the tables builds, learns and repeats itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import KFold, StratifiedKFold

from ratchet.learning.classical import (
    ESTIMATORS,
    WithoutFlags,
    build_estimator,
    check_candidate,
    check_grid,
    folds,
)

ALL = [(task, name) for task, table in ESTIMATORS.items() for name in table]


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[pd.DataFrame, pd.Series]]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 5)).astype(np.float32), columns=list("abcde"))
    signal = 2 * X["a"] - X["b"] + rng.normal(scale=0.3, size=300)
    classes = pd.cut(signal, [-np.inf, -1, 1, np.inf], labels=["low", "mid", "high"]).astype(str)
    naive = {
        f"naive_{name}": signal + rng.normal(size=300) / 3 for name in ("persistence", "seasonal")
    }
    forms = {"classification": (X, classes), "regression": (X, signal)}
    terms = {"series_level": 3.0, "series_scale": 2.0}
    return {**forms, "forecasting": (X.assign(**naive, **terms), signal)}


def small(task: str, name: str, seed: int = 0):
    """The candidate in a size for tests."""
    model = build_estimator(task, name, seed)
    sizes = {"n_estimators": 15, "estimator__n_estimators": 15, "max_iter": 15}
    sizes |= {f"model__{key}": size for key, size in sizes.items()}
    sizes |= {"kernel__n_components": 60, "estimator__model__max_iter": 15}
    sizes |= {"estimator__model__n_estimators": 15}
    sizes |= {f"estimator__{part}__model__n_estimators": 15 for part in ("forest", "xgboost")}
    sizes |= {"line__estimator__model__max_iter": 15, "forest__model__n_estimators": 15}
    sizes |= {"boosting__model__max_iter": 15}
    known = model.get_params()
    return model.set_params(**{key: value for key, value in sizes.items() if key in known})


@pytest.mark.parametrize(("task", "name"), ALL)
def test_it_learns(rows, task, name):
    X, y = rows[task]
    model = small(task, name).fit(X[:200], y[:200])

    assert is_classifier(model) == (task == "classification")
    assert is_regressor(model) == (task != "classification")
    score = model.score(X[200:], y[200:])
    floor = 0.7 if name != "dummy" else -0.1
    assert score > floor
    if task == "classification":
        probabilities = model.predict_proba(X[200:])
        assert list(model.classes_) == ["high", "low", "mid"]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("task", "name"), ALL)
def test_one_seed_gives_one_model(rows, task, name):
    X, y = rows[task]
    method = "predict_proba" if task == "classification" else "predict"

    first, again = (getattr(small(task, name).fit(X, y), method)(X) for _ in range(2))

    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("task", "name"), ALL)
def test_every_source_of_randomness_takes_the_seed(task, name):
    seeds = {
        key: value
        for key, value in build_estimator(task, name, seed=77).get_params().items()
        if key.endswith("random_state")
    }

    learns_nothing = {"dummy": "regression", "persistence": task, "seasonal": task}
    assert bool(seeds) == (learns_nothing.get(name) != task)
    assert set(seeds.values()) <= {77}


@pytest.mark.parametrize("name", ["extra_trees", "kernel"])
def test_another_seed_gives_another_model(rows, name):
    X, y = rows["regression"]
    fit, ask = slice(0, 200), slice(200, 300)

    first, other = (
        small("regression", name, seed).fit(X[fit], y[fit]).predict(X[ask]) for seed in (0, 1)
    )

    assert (first != other).any()


@pytest.mark.parametrize("task", ESTIMATORS)
def test_kinds(task):
    """Linear, forest, histogram boosting, XGBoost, kernel, and something naive."""
    models = [build_estimator(task, name, 0) for name in ESTIMATORS[task]]

    kinds = {
        str(list(getattr(model, "named_steps", {"model": model}).values())) for model in models
    }

    assert len(kinds) == len(models) >= 6


@pytest.mark.parametrize("environment", ["base", "test"])
@pytest.mark.parametrize("task", ESTIMATORS)
def test_grids_fit_their_estimators(request, task, environment):
    path = request.config.rootpath / "conf" / environment / "globals_candidates.yml"
    candidates = yaml.safe_load(path.read_text())["candidates"][task]

    for name, candidate in candidates.items():
        check_candidate(task, candidate.get("estimator", name), candidate.get("param_grid", {}))


def test_class_weights_are_part_of_every_grid(request):
    path = request.config.rootpath / "conf/base/globals_candidates.yml"
    candidates = yaml.safe_load(path.read_text())["candidates"]["classification"]

    for name, candidate in candidates.items():
        weights = [v for k, v in candidate["param_grid"].items() if k.endswith("class_weight")]
        assert name == "dummy" or weights == [[None, "balanced"]]


@pytest.mark.parametrize(
    ("task", "estimator", "grid", "message"),
    [
        (
            "regression",
            "oracle",
            {},
            "estimator: unknown 'oracle'; regression has ['dummy', 'ridge'",
        ),
        ("regression", "logistic", {}, "estimator: unknown 'logistic'"),
        ("regression", "ridge", {"alpha": [1]}, "param_grid.alpha: no such parameter; allowed are"),
        ("regression", "ridge", {"model__alpha": []}, "param_grid.model__alpha: expected at least"),
        ("classification", "xgboost", {"max_depth": [1]}, "estimator__max_depth"),
    ],
)
def test_what_cannot_be_searched_is_told(task, estimator, grid, message):
    with pytest.raises(ValueError, match=r"^(estimator|param_grid)") as error:
        check_candidate(task, estimator, grid)

    assert message in str(error.value)


def test_a_good_grid_passes():
    check_grid(
        build_estimator("regression", "ridge", 0),
        {"model__alpha": [1, 2], "impute__strategy": ["mean"]},
    )


def test_folds_are_stratified_where_there_are_classes():
    classes, values = folds("classification", 4, 7), folds("regression", 4, 7)

    assert isinstance(classes, StratifiedKFold)
    assert isinstance(values, KFold)
    for splitter in (classes, values):
        assert splitter.get_n_splits() == 4
        assert splitter.shuffle
        assert splitter.random_state == 7


def days(n: int, series: int = 1) -> pd.Series:
    return pd.Series(pd.date_range("2020-01-01", periods=n).repeat(series))


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 90), st.integers(1, 4), st.integers(2, 5), st.integers(1, 8), st.randoms())
def test_folds_of_forecasts_follow_what_they_learn_from(n, series, n_splits, horizon, random):
    """At the first origin of a fold, every target that it learns from is known."""
    times = days(n, series).sample(frac=1, random_state=random.randrange(99), ignore_index=True)
    step = (times - times.min()).dt.days.to_numpy()

    splits = list(folds("forecasting", n_splits, 0, times=times, horizon=horizon).split(times))

    assert len(splits) == n_splits
    for train, test in splits:
        assert step[train].max() == step[test].min() - horizon
        for rows in (train, test):  # no time is cut in two
            assert len(rows) == series * len(set(step[rows]))
    scored = np.concatenate([test for _, test in splits])
    assert len(set(scored)) == len(scored)
    assert step[scored].max() == n - 1
    assert step[scored].min() >= n // 2


def test_folds_of_forecasts_need_their_times():
    with pytest.raises(ValueError, match="times: folds of forecasts follow"):
        folds("forecasting", 3, 0)
    with pytest.raises(ValueError, match="expected the 20 rows with these times, got 19"):
        next(folds("forecasting", 3, 0, times=days(20)).split(range(19)))


@pytest.mark.parametrize(("n", "horizon"), [(5, 1), (12, 8)])
def test_too_few_times_for_folds(n, horizon):
    with pytest.raises(ValueError, match=f"3 folds, {horizon - 1} steps .* the {n} steps that"):
        folds("forecasting", 3, 0, times=days(n), horizon=horizon)


def test_folds_serve_a_search(rows):
    from sklearn.model_selection import GridSearchCV

    X, y = rows["forecasting"]
    cv = folds("forecasting", 3, 0, times=days(100, 3), horizon=2)

    search = GridSearchCV(
        build_estimator("forecasting", "ridge", 0), {"model__alpha": [1, 9]}, cv=cv
    )

    assert search.fit(X, y).n_splits_ == 3


def test_boosting_takes_what_the_line_leaves_over(rows):
    X, y = rows["forecasting"]
    bent = y + np.sign(X["c"])
    line, both = (small("forecasting", name) for name in ("ridge", "boosted_ridge"))
    both.set_params(estimator__model__max_iter=100)

    scores = [model.fit(X[:200], bent[:200]).score(X[200:], bent[200:]) for model in (line, both)]

    assert scores[1] > scores[0] + 0.02


def test_trees_go_without_rare_flags():
    X = pd.DataFrame(
        {
            "slot_1": np.arange(100) == 7,
            "workday": np.arange(100) % 7 < 5,
            "small": np.linspace(0, 0.01, 100),
            "slot": np.arange(100) % 48,
        },
        dtype=np.float32,
    )

    result = WithoutFlags().fit(X)

    assert list(result.transform(X)) == ["workday", "small", "slot"]
    assert list(WithoutFlags(share=0.01).fit_transform(X)) == list(X)
    assert list(result.transform(X.head(3))) == ["workday", "small", "slot"]
    with pytest.raises(ValueError, match="feature names"):
        result.transform(X.drop(columns="slot"))
