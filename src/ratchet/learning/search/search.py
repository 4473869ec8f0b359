"""Search over a grid, with scikit-learn's semantics and a report after every few points."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pandas as pd
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, ParameterGrid, check_cv

OnProgress = Callable[[int, int, float], None]
"""Called with fits done, fits in all, best mean score so far (NaN as long as there is none)."""


class GridSearch(GridSearchCV):
    """``GridSearchCV`` that says how far it is.

    Args:
        on_progress: called while the search runs; ``None`` for silence. The other parameters are
            those of ``GridSearchCV``, and so are the results.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        param_grid: Mapping[str, Sequence[Any]],
        *,
        scoring: str | None = None,
        n_jobs: int | None = None,
        cv: BaseCrossValidator | int | None = None,
        error_score: float | str = "raise",
        on_progress: OnProgress | None = None,
    ) -> None:
        super().__init__(
            estimator, param_grid, scoring=scoring, n_jobs=n_jobs, cv=cv, error_score=error_score
        )
        self.on_progress = on_progress

    def _run_search(self, evaluate_candidates: Callable[[list[Any]], dict[str, Any]]) -> None:
        # As many points at a time as there are workers: each batch is points x folds fits, so
        # that the workers idle at most a moment at its end. One point at a time would tell more
        # often, but take two workers three rounds for five folds instead of two and a half.
        grid = ParameterGrid(self.param_grid)
        n_folds = check_cv(self.cv).get_n_splits()
        if self.on_progress:
            self.on_progress(0, len(grid) * n_folds, math.nan)
        for batch in _batches(iter(grid), max(1, effective_n_jobs(self.n_jobs))):
            scores = evaluate_candidates(batch)["mean_test_score"]
            if self.on_progress:
                self.on_progress(len(scores) * n_folds, len(grid) * n_folds, float(max(scores)))


def _batches(points: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(points, size)):
        yield batch


def run_search(
    estimator: BaseEstimator,
    param_grid: Mapping[str, Sequence[Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    scoring: str,
    cv: BaseCrossValidator,
    n_jobs: int = -1,
    on_progress: OnProgress | None = None,
) -> tuple[BaseEstimator, pd.DataFrame]:
    """Search a grid and fit the best point on all rows.

    Args:
        estimator: unfitted estimator.
        param_grid: parameter -> values to try.
        X: rows of shape (n, features).
        y: targets of shape (n,).
        scoring: scikit-learn scorer, greater is better.
        cv: the folds.
        n_jobs: processes; -1 for one per core.
        on_progress: see ``OnProgress``.

    Returns:
        The fitted best estimator, and ``cv_results_`` with one row per point: ``params`` as JSON,
        rank, mean, spread and folds of the score, seconds for fit and score, and ``scoring``.

    Raises:
        ValueError: a point of the grid cannot be fitted.
    """
    search = GridSearch(
        estimator, param_grid, scoring=scoring, n_jobs=n_jobs, cv=cv, on_progress=on_progress
    ).fit(X, y)
    results = pd.DataFrame(search.cv_results_)
    # Values of one parameter can be of several types, which a column of a file cannot.
    results["params"] = [json.dumps(point) for point in results["params"]]
    results = results.loc[:, ~results.columns.str.startswith("param_")].assign(scoring=scoring)
    return search.best_estimator_, results.sort_values("rank_test_score", ignore_index=True)
