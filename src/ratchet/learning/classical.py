"""Classical candidates: one table per task, a search with progress, and the stacking of the best.

Adding a candidate is one function that builds the unfitted estimator and one line in its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import BaseCrossValidator, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ratchet.learning.weighting import WeightedClassifier


def _scaled(*steps: tuple[str, BaseEstimator]) -> Pipeline:
    """Distances and penalties need columns without gaps and of one scale."""
    return Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler()), *steps])


def logistic() -> Pipeline:
    """Linear: multinomial logistic regression."""
    return _scaled(("model", LogisticRegression(max_iter=300)))


def kernel_classifier() -> Pipeline:
    """Kernel: logistic regression on the Nystroem approximation of an RBF kernel."""
    return _scaled(
        ("kernel", Nystroem(n_components=300)), ("model", LogisticRegression(max_iter=300))
    )


def ridge() -> Pipeline:
    """Linear: least squares with a quadratic penalty."""
    return _scaled(("model", Ridge()))


def kernel_regressor() -> Pipeline:
    """Kernel: ridge regression on the Nystroem approximation of an RBF kernel."""
    return _scaled(("kernel", Nystroem(n_components=300)), ("model", Ridge()))


def xgboost_classifier() -> BaseEstimator:
    """XGBoost's trees on histograms."""
    from xgboost import XGBClassifier

    # One thread: the folds of the search already keep every core busy.
    return WeightedClassifier(XGBClassifier(tree_method="hist", n_jobs=1))


def xgboost_regressor() -> BaseEstimator:
    """XGBoost's trees on histograms."""
    from xgboost import XGBRegressor

    return XGBRegressor(tree_method="hist", n_jobs=1)


ESTIMATORS: dict[str, dict[str, Callable[[], BaseEstimator]]] = {
    "classification": {
        "dummy": DummyClassifier,
        "logistic": logistic,
        "extra_trees": ExtraTreesClassifier,
        "hist_gradient_boosting": HistGradientBoostingClassifier,
        "xgboost": xgboost_classifier,
        "kernel": kernel_classifier,
    },
    "regression": {
        "dummy": DummyRegressor,
        "ridge": ridge,
        "extra_trees": ExtraTreesRegressor,
        "hist_gradient_boosting": HistGradientBoostingRegressor,
        "xgboost": xgboost_regressor,
        "kernel": kernel_regressor,
    },
}


def check_candidate(task: str, estimator: str, param_grid: Mapping[str, Sequence[Any]]) -> None:
    """Make sure that a candidate can be built and its grid be set.

    Raises:
        ValueError: the estimator is not in the table of the task, or a key of the grid is not one
            of its parameters, or a list of the grid is empty; names what is allowed.
    """
    table = ESTIMATORS[task]
    if estimator not in table:
        raise ValueError(f"estimator: unknown '{estimator}'; {task} has {list(table)}")
    try:
        check_grid(table[estimator](), param_grid)
    except ValueError as error:
        raise ValueError(f"param_grid.{error}") from None


def check_grid(model: BaseEstimator, param_grid: Mapping[str, Sequence[Any]]) -> None:
    """Make sure that a grid names parameters of the model, with values to try.

    Raises:
        ValueError: names the key, and the parameters that there are.
    """
    allowed = model.get_params()
    for name, values in param_grid.items():
        if name not in allowed:
            raise ValueError(f"{name}: no such parameter; allowed are {sorted(allowed)}")
        if not values:
            raise ValueError(f"{name}: expected at least one value")


def build(task: str, estimator: str, seed: int) -> BaseEstimator:
    """Build an unfitted candidate with every source of randomness fixed.

    Args:
        task: ``classification`` or ``regression``.
        estimator: name in the table of the task.
        seed: seed for every parameter called ``random_state``.
    """
    model = ESTIMATORS[task][estimator]()
    seeds = {name: seed for name in model.get_params() if name.split("__")[-1] == "random_state"}
    return model.set_params(**seeds)


def folds(task: str, n_splits: int, seed: int) -> BaseCrossValidator:
    """Folds in random order, stratified by class where there are classes."""
    splitter = StratifiedKFold if task == "classification" else KFold
    return splitter(n_splits, shuffle=True, random_state=seed)
