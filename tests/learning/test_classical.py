"""Every candidate of the tables builds, learns and repeats itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import KFold, StratifiedKFold

from ratchet.learning.classical import ESTIMATORS, build, check_candidate, check_grid, folds

ALL = [(task, name) for task, table in ESTIMATORS.items() for name in table]


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 5)).astype(np.float32), columns=list("abcde"))
    signal = 2 * X["a"] - X["b"] + rng.normal(scale=0.3, size=300)
    classes = pd.cut(signal, [-np.inf, -1, 1, np.inf], labels=["low", "mid", "high"]).astype(str)
    return X, {"classification": classes, "regression": signal}


def small(task: str, name: str, seed: int = 0):
    """The candidate in a size for tests."""
    model = build(task, name, seed)
    sizes = {"n_estimators": 15, "estimator__n_estimators": 15, "max_iter": 15}
    sizes["kernel__n_components"] = 60
    known = model.get_params()
    return model.set_params(**{key: value for key, value in sizes.items() if key in known})


@pytest.mark.parametrize(("task", "name"), ALL)
def test_it_learns(rows, task, name):
    X, y = rows[0], rows[1][task]
    model = small(task, name).fit(X[:200], y[:200])

    assert is_classifier(model) == (task == "classification")
    assert is_regressor(model) == (task == "regression")
    score = model.score(X[200:], y[200:])
    floor = 0.7 if name != "dummy" else -0.1
    assert score > floor
    if task == "classification":
        probabilities = model.predict_proba(X[200:])
        assert list(model.classes_) == ["high", "low", "mid"]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("task", "name"), ALL)
def test_one_seed_gives_one_model(rows, task, name):
    X, y = rows[0], rows[1][task]
    method = "predict_proba" if task == "classification" else "predict"

    first, again = (getattr(small(task, name).fit(X, y), method)(X) for _ in range(2))

    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("task", "name"), ALL)
def test_every_source_of_randomness_takes_the_seed(task, name):
    seeds = {
        key: value
        for key, value in build(task, name, seed=77).get_params().items()
        if key.endswith("random_state")
    }

    assert bool(seeds) == (name != "dummy" or task == "classification")
    assert set(seeds.values()) <= {77}


@pytest.mark.parametrize("name", ["extra_trees", "kernel"])
def test_another_seed_gives_another_model(rows, name):
    X, y = rows[0], rows[1]["regression"]
    fit, ask = slice(0, 200), slice(200, 300)

    first, other = (
        small("regression", name, seed).fit(X[fit], y[fit]).predict(X[ask]) for seed in (0, 1)
    )

    assert (first != other).any()


@pytest.mark.parametrize("task", ESTIMATORS)
def test_kinds(task):
    """Linear, forest, histogram boosting, XGBoost, kernel, and a dummy."""
    kinds = {type(build(task, name, 0)).__name__ for name in ESTIMATORS[task]}

    assert len(ESTIMATORS[task]) == 6
    assert len(kinds) == 5  # linear and kernel are both pipelines


@pytest.mark.parametrize("environment", ["base", "test"])
@pytest.mark.parametrize("task", ESTIMATORS)
def test_grids_fit_their_estimators(request, task, environment):
    path = request.config.rootpath / "conf" / environment / "globals_candidates.yml"
    candidates = yaml.safe_load(path.read_text())["candidates"][task]

    for name, candidate in candidates.items():
        check_candidate(task, candidate.get("estimator", name), candidate["param_grid"])


def test_class_weights_are_part_of_every_grid(request):
    path = request.config.rootpath / "conf/base/globals_candidates.yml"
    candidates = yaml.safe_load(path.read_text())["candidates"]["classification"]

    for name, candidate in candidates.items():
        weights = [v for k, v in candidate["param_grid"].items() if k.endswith("class_weight")]
        assert name == "dummy" or weights == [[None, "balanced"]]


@pytest.mark.parametrize(
    ("task", "estimator", "grid", "told"),
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
def test_what_cannot_be_searched_is_told(task, estimator, grid, told):
    with pytest.raises(ValueError, match=r"^(estimator|param_grid)") as error:
        check_candidate(task, estimator, grid)

    assert told in str(error.value)


def test_a_good_grid_passes():
    check_grid(
        build("regression", "ridge", 0), {"model__alpha": [1, 2], "impute__strategy": ["mean"]}
    )


def test_folds_are_stratified_where_there_are_classes():
    classes, values = folds("classification", 4, 7), folds("regression", 4, 7)

    assert isinstance(classes, StratifiedKFold)
    assert isinstance(values, KFold)
    for splitter in (classes, values):
        assert splitter.get_n_splits() == 4
        assert splitter.shuffle
        assert splitter.random_state == 7
