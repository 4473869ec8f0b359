"""A search as one call, with its results as a frame."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from joblib import Memory, parallel_config
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator

from ratchet.learning.metrics import scorer_of
from ratchet.learning.search.groups import at_point
from ratchet.learning.search.search import OnProgress, Search

if TYPE_CHECKING:
    import pandas as pd


def run_search(
    estimator: BaseEstimator,
    param_grid: Mapping[str, Sequence[Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    scoring: str,
    logs: bool = False,
    cv: BaseCrossValidator,
    n_jobs: int = -1,
    engine: str = "local",
    cache: Memory | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[BaseEstimator, pd.DataFrame]:
    """Search a grid and fit the best point on all rows.

    Args:
        estimator: unfitted estimator.
        param_grid: parameter -> values to try.
        X: rows of shape (n, features).
        y: targets of shape (n,).
        scoring: name of a scorer, greater is better, see ``metrics.scorer_of``.
        logs: whether ``y`` are logarithms; they are scored in units of the target.
        cv: the folds.
        n_jobs: processes; -1 for one per core.
        engine: see ``Search``.
        cache: keeps the fits on folds, see ``fold_fits``.
        on_progress: see ``OnProgress``.

    Returns:
        The fitted best estimator, and ``cv_results_`` with one row per point: ``params`` as JSON,
        rank, mean, spread and folds of the score, seconds for fit and score, and ``scoring``.

    Raises:
        ValueError: a point of the grid cannot be fitted.
    """
    search = Search(
        estimator,
        param_grid,
        scoring=scorer_of(scoring, logs=logs),
        n_jobs=n_jobs,
        cv=cv,
        refit=False,
        engine=engine,
        cache=cache,
        on_progress=on_progress,
    ).fit(X, y)
    best = fit_in_threads(at_point(estimator, search.best_params_), X, y, n_jobs=n_jobs)
    return best, table(search).assign(scoring=scoring)


def fit_in_threads(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, *, n_jobs: int
) -> BaseEstimator:
    """Fit one estimator with as many threads as it has parts: trees, models of a mixture.

    The processes of a search idle meanwhile. Predictions are left to one thread: several add up
    the trees of a forest in any order, and so their last digits differ from run to run.

    Args:
        estimator: unfitted estimator.
        X: rows of shape (n, features).
        y: targets of shape (n,).
        n_jobs: threads; -1 for one per core.
    """
    with parallel_config(backend="threading", n_jobs=n_jobs):
        return estimator.fit(X, y)


def remember(search_cache: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function look up its earlier results, which do not depend on how it is run.

    Nor on a ``fitted`` model and its ``target``, which follow from the other arguments: a forest
    that was stored and read again does not look the same to the cache.

    Args:
        search_cache: a ``joblib.Memory``.
        function: called with the same arguments.
    """
    import pandas as pd

    parameters = inspect.signature(function).parameters
    names = ("n_jobs", "engine", "cache", "on_progress", "fitted", "target")
    ignored = [name for name in names if name in parameters]
    remembered = search_cache.cache(function, ignore=ignored)

    def call(*args: Any, **kwargs: Any) -> Any:
        # joblib writes down the repr of every argument, and that of a wide frame in full is slow.
        with pd.option_context("display.max_rows", 4, "display.max_columns", 4):
            return remembered(*args, **kwargs)

    return call


def table(search: Search) -> pd.DataFrame:
    """Give ``cv_results_`` as a frame to be stored: a row per point, the best first.

    The point is in ``params``, as JSON: values of one parameter can be of several types, which a
    column of a file cannot. ``trial`` is its place in ``cv_results_``.
    """
    import pandas as pd

    rows = pd.DataFrame(search.cv_results_)
    rows["params"] = [json.dumps(point) for point in rows["params"]]
    rows = rows.loc[:, ~rows.columns.str.startswith("param_")].rename_axis("trial").reset_index()
    return rows.sort_values("rank_test_score", kind="stable", ignore_index=True)
