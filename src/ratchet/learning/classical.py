"""Classical candidates: one table per task, a search with progress, and the stacking of the best.

Adding a candidate is one function that builds the unfitted estimator and one line in its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    BaseCrossValidator,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from ratchet.learning.baselines import (
    LastValue,
    Persistence,
    SeasonalNaive,
    SeasonalValue,
    SegmentColumns,
    SegmentMean,
)
from ratchet.learning.demand.regressor import DemandRegressor
from ratchet.learning.meta_estimators import (
    PathRegressor,
    ResidualRegressor,
    UnscaledRegressor,
    WeightedClassifier,
)

Rows = NDArray[np.intp]


def _scaled(*steps: tuple[str, BaseEstimator]) -> Pipeline:
    """Imputes and standardises columns, as distances and penalties need."""
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


class WithoutFlags(TransformerMixin, BaseEstimator):
    """Leaves out columns of 0 and 1 that are set in few rows.

    One-hot columns, of half-hours or products, help linear models; trees split on the number
    instead, and hundreds of such columns only cost them time.

    Args:
        share: share of the rows from which on a column stays.

    Attributes:
        kept_: names of the columns that stay.
    """

    def __init__(self, *, share: float = 0.05) -> None:
        self.share = share

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Find the columns of ``X`` that stay."""
        validate_data(self, X, skip_check_array=True)
        rare = ((X == 0) | (X == 1)).all() & (X.mean() < self.share)
        self.kept_ = [str(name) for name in X.columns[~rare]]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that stay."""
        check_is_fitted(self)
        validate_data(self, X, skip_check_array=True, reset=False)
        return X[self.kept_]


def forecasting_ridge() -> BaseEstimator:
    """Linear: least squares with a quadratic penalty; near the origin of paths by other weights."""
    return PathRegressor(model=Ridge())


def _trees(model: BaseEstimator) -> Pipeline:
    return Pipeline([("columns", WithoutFlags()), ("model", model)])


def forecasting_extra_trees() -> Pipeline:
    """Forest of trees with random cuts."""
    return _trees(ExtraTreesRegressor())


def forecasting_boosting() -> Pipeline:
    """Histogram boosting."""
    return _trees(HistGradientBoostingRegressor())


def forecasting_xgboost() -> Pipeline:
    """XGBoost's trees on histograms."""
    return _trees(xgboost_regressor())


def unscaled_boosting() -> BaseEstimator:
    """Histogram boosting of the target in its units, from inputs in units."""
    return UnscaledRegressor(estimator=forecasting_boosting())


def unscaled_xgboost() -> BaseEstimator:
    """XGBoost's trees of the target in its units, from inputs in units."""
    return UnscaledRegressor(estimator=forecasting_xgboost())


def boosted_ridge() -> BaseEstimator:
    """Linear, and histogram boosting on its residuals, which sees what change the line predicts."""
    line, trees = forecasting_ridge(), forecasting_boosting()
    return ResidualRegressor(base=line, estimator=trees, change_from="naive_persistence")


def mixture() -> BaseEstimator:
    """Mean of boosted ridge, extra trees and boosting, whose errors differ.

    Bates and Granger (1969), "The combination of forecasts": what is independent in the errors of
    several forecasts cancels in their mean.
    """
    parts = [
        ("line", boosted_ridge()),
        ("forest", forecasting_extra_trees()),
        ("boosting", forecasting_boosting()),
    ]
    return VotingRegressor(parts)


def unscaled_mixture() -> BaseEstimator:
    """Mean of extra trees, boosting and XGBoost's trees of the target in its units."""
    parts = [
        ("forest", forecasting_extra_trees()),
        ("boosting", forecasting_boosting()),
        ("xgboost", forecasting_xgboost()),
    ]
    return UnscaledRegressor(estimator=VotingRegressor(parts))


def demand() -> BaseEstimator:
    """Demand of many segments by price and season, estimated by partial pooling."""
    return DemandRegressor()


def segment_boosting() -> BaseEstimator:
    """Histogram boosting on the residuals of the mean of each segment."""
    trees = [("columns", SegmentColumns()), ("model", HistGradientBoostingRegressor())]
    return ResidualRegressor(base=SegmentMean(), estimator=Pipeline(trees))


def demand_boosting() -> BaseEstimator:
    """Mean of the demand of segments and of boosting, whose errors differ."""
    return VotingRegressor([("demand", demand()), ("boosting", segment_boosting())])


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
    "forecasting": {
        "persistence": Persistence,
        "seasonal": SeasonalNaive,
        "ridge": forecasting_ridge,
        "extra_trees": forecasting_extra_trees,
        "hist_gradient_boosting": forecasting_boosting,
        "xgboost": forecasting_xgboost,
        "unscaled_boosting": unscaled_boosting,
        "unscaled_xgboost": unscaled_xgboost,
        "kernel": kernel_regressor,
        "boosted_ridge": boosted_ridge,
        "mixture": mixture,
        "unscaled_mixture": unscaled_mixture,
    },
}


MARKET: dict[str, Callable[[], BaseEstimator]] = {
    "last_value": LastValue,
    "seasonal": SeasonalValue,
    "segment_boosting": segment_boosting,
    "demand": demand,
    "demand_boosting": demand_boosting,
}
"""Estimators of a regression that take the columns of a market, see ``features.market``."""


def estimators_for_task(task: str) -> dict[str, Callable[[], BaseEstimator]]:
    """All estimators of a task, by name."""
    return ESTIMATORS[task] | (MARKET if task == "regression" else {})


def check_candidate(task: str, estimator: str, param_grid: Mapping[str, Sequence[Any]]) -> None:
    """Make sure that a candidate can be built and its grid be set.

    Raises:
        ValueError: the estimator is not in the table of the task, or a key of the grid is not one
            of its parameters, or a list of the grid is empty; names what is allowed.
    """
    table = estimators_for_task(task)
    if estimator not in table:
        raise ValueError(f"estimator: unknown '{estimator}'; {task} has {list(table)}")
    try:
        check_grid(table[estimator](), param_grid)
    except ValueError as error:
        raise ValueError(f"param_grid.{error}") from None


def check_base(task: str, estimator: str, param_grid: Mapping[str, Sequence[Any]]) -> None:
    """Make sure that networks can learn the residuals of an estimator.

    Raises:
        ValueError: as of ``check_candidate``; or it learns the target in its units, while networks
            learn it scaled.
    """
    check_candidate(task, estimator, param_grid)
    if isinstance(estimators_for_task(task)[estimator](), UnscaledRegressor):
        raise ValueError(
            f"'{estimator}' learns the target in its units, while networks learn it scaled; take "
            f"one that does so, too, such as 'ridge'"
        )


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


def build_estimator(task: str, estimator: str, seed: int) -> BaseEstimator:
    """Build an unfitted candidate with every source of randomness fixed.

    Args:
        task: ``classification``, ``regression`` or ``forecasting``.
        estimator: name in the table of the task.
        seed: seed for every parameter called ``random_state``.
    """
    model = estimators_for_task(task)[estimator]()
    seeds = {name: seed for name in model.get_params() if name.split("__")[-1] == "random_state"}
    return model.set_params(**seeds)


class TimeFolds(BaseCrossValidator):
    """``TimeSeriesSplit`` over times that several rows may share.

    Every fold learns from all rows up to one time and is scored on those of the times that follow;
    no time is cut in two. The first half of the times is only ever learned from, so that the first
    fold has seen half of what the last one has.

    Args:
        times: time of every row that will be split, in their order.
        n_splits: number of folds.
        gap: times left out before those that are scored: for a direct forecast of several steps,
            the targets that were not known yet at the first origin.

    Raises:
        ValueError: there are too few times.
    """

    def __init__(self, times: ArrayLike, n_splits: int = 5, *, gap: int = 0) -> None:
        self.times = times.to_numpy() if isinstance(times, pd.Series) else np.asarray(times)
        self.n_splits = n_splits
        self.gap = gap
        n_times = len(pd.unique(self.times))
        self._test_size = n_times // (2 * n_splits)
        if n_times - n_splits * self._test_size - gap < 1 or self._test_size < 1:
            raise ValueError(
                f"{n_splits} folds, {gap} steps after what they learn from, need more than the "
                f"{n_times} steps that there are"
            )

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield the rows to learn from and the rows to score, as positions."""
        if len(X) != len(self.times):
            raise ValueError(f"expected the {len(self.times)} rows with these times, got {len(X)}")
        step_of_row, steps = pd.factorize(self.times, sort=True)
        over_steps = TimeSeriesSplit(self.n_splits, gap=self.gap, test_size=self._test_size)
        for train, test in over_steps.split(steps):
            yield (
                np.flatnonzero(step_of_row <= train[-1]),
                np.flatnonzero((step_of_row >= test[0]) & (step_of_row <= test[-1])),
            )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Give the number of folds."""
        return self.n_splits


def folds(
    task: str, n_splits: int, seed: int, *, times: ArrayLike | None = None, horizon: int = 1
) -> BaseCrossValidator:
    """Folds of the task.

    Args:
        task: ``classification`` (in random order, stratified by class), ``regression`` (in random
            order, unless there are times) or ``forecasting`` (each after the rows it learns from,
            see ``TimeFolds``).
        n_splits: number of folds.
        seed: seed of the order.
        times: time of every row, for ``forecasting``, and for folds of a regression that follow
            it.
        horizon: steps from the origin of a forecast to its target.
    """
    if task == "forecasting" and times is None:
        raise ValueError("times: folds of forecasts follow the time of every row")
    if times is not None:
        return TimeFolds(times, n_splits, gap=horizon - 1)
    splitter = StratifiedKFold if task == "classification" else KFold
    return splitter(n_splits, shuffle=True, random_state=seed)
