"""Fits of estimators on folds, each made once: on the cores of this machine or on a Dask cluster.

What a model predicts for rows that it has not seen is all that a score, a mean of models and a
stack need. With a cache these predictions are kept: a stack of candidates fits nothing again that
their searches have fitted, and the search of a mean of models nothing that those of its parts have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator

from ratchet.learning.processes import joblib_ends_with_parent
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.groups import Fold, Scorer

MOST_ROWS = 1_000_000
"""Rows of a fold whose predictions are kept; those of more would fill the cache."""


class FoldFit(NamedTuple):
    """What came of fitting an estimator on a fold.

    Attributes:
        score: of the m rows held out.
        fit_time: seconds.
        score_time: seconds to predict and to score.
        predicted: values of shape (m,), or probabilities of shape (m, classes); ``None`` of more
            than ``MOST_ROWS`` rows, and of estimators that give neither.
        classes: labels of the columns.
    """

    score: float
    fit_time: float
    score_time: float
    predicted: NDArray[Any] | None = None
    classes: NDArray[Any] | None = None


class _Work(NamedTuple):
    """Content of a task: an unfitted estimator, and the number of a fold."""

    estimator: BaseEstimator
    fold: int


@dataclass(frozen=True)
class _FitFold:
    """Fits an estimator on a fold; holds the rows, and is sent to each worker once.

    Attributes:
        X: rows of shape (n, features).
        y: targets of shape (n,), if there are any.
        folds: places of the rows to fit, and of those held out.
        scorer: greater is better.
    """

    X: ArrayLike
    y: ArrayLike | None
    folds: Sequence[Fold]
    scorer: Scorer

    def __call__(self, work: _Work) -> FoldFit:
        learn, held_out = self.folds[work.fold]
        start = time.perf_counter()
        fitted = _PredictsOnce(clone(work.estimator).fit(*self.rows(learn)))
        middle = time.perf_counter()
        X, y = self.rows(held_out)
        score = float(self.scorer(fitted, X, y))
        result = FoldFit(score, middle - start, time.perf_counter() - middle)
        if len(held_out) > MOST_ROWS:
            return result
        if is_classifier(fitted) and hasattr(fitted.estimator, "predict_proba"):
            return result._replace(predicted=fitted.predict_proba(X), classes=fitted.classes_)
        return result._replace(predicted=fitted.predict(X)) if is_regressor(fitted) else result

    def rows(self, places: NDArray[np.int64]) -> tuple[Any, Any]:
        """Some of the rows, and their targets."""
        return _taken(self.X, places), None if self.y is None else _taken(self.y, places)


def _taken(values: Any, places: NDArray[np.int64]) -> Any:
    return values.iloc[places] if hasattr(values, "iloc") else np.asarray(values)[places]


class _PredictsOnce(FrozenEstimator):
    """A fitted model that predicts the rows of a fold once, for the score and to be kept."""

    def predict(self, X: Any) -> Any:
        return self._once("predict", X)

    def predict_proba(self, X: Any) -> Any:
        return self._once("predict_proba", X)

    def _once(self, method: str, X: Any) -> Any:
        predicted = self.__dict__.setdefault("_predicted", {})
        if method not in predicted:
            predicted[method] = getattr(self.estimator, method)(X)
        return predicted[method]


class _Predicted(RegressorMixin, BaseEstimator):
    """A regressor that gives known predictions, for a score of them."""

    def __init__(self, predicted: NDArray[Any]) -> None:
        self.predicted = predicted

    def predict(self, X: Any) -> NDArray[Any]:
        return self.predicted

    def __sklearn_is_fitted__(self) -> bool:
        return True


class FoldFits:
    """Fits estimators on the folds of some rows; a context manager.

    Results are found again by the class and the parameters of an estimator, the rows, the folds and
    the score. A mean of regressors is not fitted itself: its parts are, one by one.

    Args:
        X: rows of shape (n, features).
        y: targets of shape (n,), if there are any.
        folds: places of the rows to fit, and of those held out.
        scorer: greater is better.
        cache: a ``joblib.Memory`` that keeps results; ``None`` for none.
        engine: ``local`` or ``dask``.
        n_jobs: local processes; -1 for one per core.

    Attributes:
        keeps_predictions: whether results have predictions: no fold has more than ``MOST_ROWS``.
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        folds: Sequence[Fold],
        scorer: Scorer,
        *,
        cache: joblib.Memory | None = None,
        engine: str = "local",
        n_jobs: int | None = None,
    ) -> None:
        self._job = _FitFold(X, y, folds, scorer)
        self._engine, self._n_jobs = engine, n_jobs
        self._cached: Any = None
        if cache is not None and cache.store_backend is not None:
            self._cached = cache.cache(_fold_fit, ignore=["result"])
            self._rows = joblib.hash([X, y, folds, scorer])
        self.keeps_predictions = all(len(held_out) <= MOST_ROWS for _, held_out in folds)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._opened: _Workers | None = None
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def n_workers(self) -> int:
        """Fits that are made at the same time."""
        return effective_n_jobs(self._n_jobs) if self._engine == "local" else self._workers().n

    def _workers(self) -> _Workers:
        """Start the workers, where that was not done."""
        if self._opened is None:
            opened = _open_workers(self._job, self._engine, self._n_jobs)
            self._opened = self._stack.enter_context(opened)
        return self._opened

    def fit(self, estimators: Sequence[BaseEstimator]) -> list[list[FoldFit]]:
        """Fit unfitted estimators on all folds; gives the results of each, by fold."""
        by_part = [[(_recipe(part), part) for part in self._parts(one)] for one in estimators]
        folds = range(len(self._job.folds))
        wanted = {
            (recipe, fold): _Work(part, fold)
            for parts in by_part
            for recipe, part in parts
            for fold in folds
        }
        results = self._results(wanted)
        return [
            [self._mean([results[recipe, fold] for recipe, _ in parts], fold) for fold in folds]
            for parts in by_part
        ]

    def _parts(self, estimator: BaseEstimator) -> list[BaseEstimator]:
        """What has to be fitted for an estimator: itself, or the parts of a mean."""
        if (
            type(estimator) is VotingRegressor
            and estimator.weights is None
            and self.keeps_predictions
        ):
            parts = [part for _, part in estimator.estimators]
            if "drop" not in parts:
                return parts
        return [estimator]

    def _results(self, wanted: dict[tuple[str, int], _Work]) -> dict[tuple[str, int], FoldFit]:
        results, missing = {}, {}
        for key, work in wanted.items():
            if (result := self._from_cache(key)) is None:
                missing[key] = work
            else:
                results[key] = result
        # Where nothing is missing, no process has to start.
        fitted = self._workers().run([*missing.values()]) if missing else []
        for key, result in zip(missing, fitted, strict=True):
            results[key] = result
            if self._cached is not None and result.predicted is not None:
                self._cached(self._rows, *key, result)
        return results

    def _from_cache(self, key: tuple[str, int]) -> FoldFit | None:
        if self._cached is not None:
            with suppress(_NotKeptError):
                result: FoldFit = self._cached(self._rows, *key)
                return result
        return None

    def _mean(self, parts: list[FoldFit], fold: int) -> FoldFit:
        """Result of the mean of regressors, as ``VotingRegressor`` gives it."""
        if len(parts) == 1:
            return parts[0]
        start = time.perf_counter()
        predicted = np.average(np.asarray([part.predicted for part in parts]).T, axis=1)
        _, held_out = self._job.folds[fold]
        score = float(self._job.scorer(_Predicted(predicted), *self._job.rows(held_out)))
        seconds = time.perf_counter() - start + sum(part.score_time for part in parts)
        return FoldFit(score, sum(part.fit_time for part in parts), seconds, predicted)


class _Workers(NamedTuple):
    """Workers of a job: how many, and what gives their results in the order of the work."""

    n: int
    run: Callable[[Sequence[_Work]], list[FoldFit]]


@contextmanager
def _open_workers(job: _FitFold, engine: str, n_jobs: int | None) -> Iterator[_Workers]:
    if engine == "local":
        with joblib_ends_with_parent(), Parallel(n_jobs, pre_dispatch="2*n_jobs") as parallel:
            n = effective_n_jobs(n_jobs)
            yield _Workers(n, lambda works: parallel(delayed(job)(work) for work in works))
        return
    with open_worker_pool(engine, job, n_jobs) as pool:
        yield _Workers(len(pool.workers), pool.map)


class _NotKeptError(LookupError):
    """A result is not in the cache, or cannot be read."""


def _fold_fit(rows: str, recipe: str, fold: int, result: FoldFit | None = None) -> FoldFit:
    """Result of a fit, which a cache keeps by the other arguments."""
    if result is None:
        raise _NotKeptError
    return result


def _recipe(estimator: Any) -> str:
    """Hash of class and parameters, however the estimator was made; of other values, of these."""
    if isinstance(estimator, list | tuple):
        content: Any = [_recipe(part) for part in estimator]
    elif isinstance(estimator, BaseEstimator) and not isinstance(estimator, FrozenEstimator):
        kind, params = type(estimator), estimator.get_params(deep=False)
        content = [kind.__module__, kind.__qualname__]
        content += [(name, _recipe(value)) for name, value in sorted(params.items())]
    else:
        content = estimator
    digest: str = joblib.hash(content)
    return digest


def out_of_fold(results: Sequence[FoldFit], folds: Sequence[Fold]) -> NDArray[Any]:
    """Predictions for all rows, of the fits that have not seen them.

    Args:
        results: of one estimator, by fold; with predictions.
        folds: that hold out each row once at most.

    Returns:
        Shape (n,), or (n, classes) with the classes in their order; NaN for rows that no fold holds
        out.
    """
    n = 1 + max(int(places.max()) for fold in folds for places in fold)
    known = [result.classes for result in results if result.classes is not None]
    classes = np.unique(np.concatenate(known)) if known else np.empty(0)
    predicted = np.full((n, len(classes)) if known else n, np.nan)
    for result, (_, held_out) in zip(results, folds, strict=True):
        if result.classes is None:
            predicted[held_out] = result.predicted
        else:  # a fold may lack a class
            predicted[held_out] = 0.0
            predicted[np.ix_(held_out, np.searchsorted(classes, result.classes))] = result.predicted
    return predicted
