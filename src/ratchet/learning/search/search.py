"""Search for the best parameters, with scikit-learn's interface and a report as it goes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import cache
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import numpy as np
from joblib import Memory
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import indexable

from ratchet.learning.private_api import validate_params
from ratchet.learning.search import strategies
from ratchet.learning.search.engine import ENGINES, address, open_worker_pool
from ratchet.learning.search.fold_fits import FoldFits
from ratchet.learning.search.groups import (
    TrainGroups,
    at_point,
    fingerprint,
    is_groupable,
)
from ratchet.learning.search.store import Store
from ratchet.learning.search.strategies import Batch, ParamGrid, Plan, Point
from ratchet.learning.search.trials import Trials, curves, estimators, outcomes, recurrent_columns


class OnProgress(Protocol):
    """Called while a search runs."""

    def __call__(
        self,
        done: int,
        total: int,
        best: float,
        group_size: int = 1,
        finished: Sequence[tuple[Point, float]] = (),
        /,
    ) -> None:
        """Receive the state of a search.

        Args:
            done: fits done; of recurrent candidates, trials.
            total: fits, or trials, in all.
            best: best mean score so far, NaN as long as there is none.
            group_size: trials trained together in what was done last.
            finished: of recurrent candidates these trials: the point, and its score.
        """


class Search(MetaEstimatorMixin, BaseEstimator):
    """Search for the best point of a grid.

    Estimators that can be trained together (see ``groups.Groupable``) are: in groups that share a
    compiled program, on one process per core or on a cluster, and every finished group is on disk
    before the next begins. All others are fitted as by ``GridSearchCV``, with the same results; a
    fit that fails ends the search.

    Args:
        estimator: unfitted estimator.
        param_grid: parameter -> values to try, or several such mappings.
        strategy: ``grid``, ``random``, ``bayesian``, or ``halving``; the last one for recurrent
            estimators only.
        n_trials: points to try at random or with ``bayesian``.
        strategy_options: further arguments of the strategy; see ``strategies``.
        scoring: scikit-learn scorer, greater is better. ``None`` is the estimator's own score; for
            recurrent ones the negative validation loss, which is the mean squared error of targets
            scaled 0-1.
        cv: the splits, such as ``Holdout``, ``PredefinedSplit`` or ``TimeSeriesSplit``. The
            validation rows of recurrent candidates also stop their training.
        refit: whether to fit the best point on all rows in the end.
        n_jobs: processes; -1 for one per core.
        group_size: recurrent trials trained together at most.
        top_k: recurrent trials whose weights are kept, or ``all``.
        random_state: seed of the strategy. Training has the estimator's.
        folder: where finished recurrent trials are kept, for a search that is started again;
            ``None`` for nowhere.
        engine: ``local``, or ``dask`` for the cluster whose scheduler's address is in the
            environment variable ``RATCHET_DASK_ADDRESS``.
        cache: keeps the fits on folds of all but recurrent candidates, see ``fold_fits``.
        on_progress: called while the search runs.

    Attributes:
        best_params_: the best point.
        best_score_: its mean score.
        best_index_: its place in ``cv_results_``.
        best_estimator_: fitted with it on all rows; with ``refit`` only.
        cv_results_: as of ``GridSearchCV``. For recurrent estimators also ``epochs``,
            ``best_epoch``, ``status``, ``n_parameters`` (weights of the network), ``val_mae``,
            ``cpu_time`` and ``rung``; ranks go by the rung of ``halving`` first, since losses after
            few epochs do not compare with those after many.
        curves_: of recurrent estimators: ``trial``, ``split``, ``epoch``, ``loss``, ``val_loss``,
            ``val_mae``, ``learning_rate``.
        top_estimators_: of recurrent estimators: the ``top_k`` best, as they were trained in the
            search (on the training rows of the last split), best first; none that diverged in its
            first epoch.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        param_grid: ParamGrid,
        *,
        strategy: str = "grid",
        n_trials: int | None = None,
        strategy_options: Mapping[str, Any] | None = None,
        scoring: str | Callable[..., float] | None = None,
        cv: BaseCrossValidator | int | None = None,
        refit: bool = True,
        n_jobs: int | None = None,
        group_size: int = 1,
        top_k: int | str = 5,
        random_state: int = 0,
        folder: str | Path | None = None,
        engine: str = "local",
        cache: Memory | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.strategy = strategy
        self.n_trials = n_trials
        self.strategy_options = strategy_options
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.n_jobs = n_jobs
        self.group_size = group_size
        self.top_k = top_k
        self.random_state = random_state
        self.folder = folder
        self.engine = engine
        self.cache = cache
        self.on_progress = on_progress

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Search, and fit the best point.

        Args:
            X: rows of shape (n, features).
            y: targets of shape (n,), or (n, horizon).

        Raises:
            ValueError: a parameter of the search, or a key or value of the grid, is not allowed;
                names it, before anything is fitted. Or every recurrent trial diverged.
        """
        together = is_groupable(self.estimator)
        check_search(self, np.shape(X)[1] if together else 0)
        self._plan()  # checks the options of the strategy
        self.scorer_ = check_scoring(self.estimator, self.scoring)
        if together:
            self._fit_groups(X, y)
        else:
            self._fit_folds(X, y)
        if self.refit:
            self.best_estimator_ = at_point(self.estimator, self.best_params_).fit(X, y)
        return self

    def _plan(self) -> Plan:
        arguments = dict(self.strategy_options or {})
        if self.strategy in strategies.DRAWN:
            arguments |= {"n_trials": self.n_trials, "seed": self.random_state}
        plan: Plan = strategies.STRATEGIES[self.strategy](self.param_grid, **arguments)
        return plan

    def _fit_folds(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit every point on every fold by itself; sets what ``fit`` promises."""
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y))
        plan, points, fits = self._plan(), list[Point](), list[Mapping[str, float]]()
        total = plan.total * len(splits)
        with FoldFits(
            X, y, splits, self.scorer_, cache=self.cache, engine=self.engine, n_jobs=self.n_jobs
        ) as fold_fits:
            # As many points at a time as there are workers: each chunk is points x folds fits, so
            # that they idle at most a moment at its end. One point at a time would report more
            # often, but take two workers three rounds for five folds instead of two and a half.
            size = fold_fits.n_workers

            def evaluate(batch: Batch) -> Sequence[float]:
                mean: NDArray[np.float64] = np.empty(0)
                for start in range(0, len(batch.points), size):
                    chunk = batch.points[start : start + size]
                    results = fold_fits.fit([at_point(self.estimator, point) for point in chunk])
                    fits.extend(
                        {
                            "test_score": fit.score,
                            "fit_time": fit.fit_time,
                            "score_time": fit.score_time,
                        }
                        for by_fold in results
                        for fit in by_fold
                    )
                    points.extend(chunk)
                    mean = _by_fold(fits, "test_score", len(points)).mean(axis=1)
                    self._report(len(fits), total, float(max(mean)))
                return list(mean[-len(batch.points) :])

            self._report(0, total, math.nan)
            strategies.run(plan, evaluate)
        self._conclude(points, fits)

    def _fit_groups(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Train in groups; sets what ``fit`` promises."""
        indexable(X, y)
        names = getattr(X, "columns", None)
        job = TrainGroups(
            self.estimator,
            np.asarray(X),
            np.asarray(y),
            list(check_cv(self.cv).split(X, y)),
            None if self.scoring is None else self.scorer_,
        )
        plan = self._plan()
        with ExitStack() as stack:
            root = stack.enter_context(
                nullcontext(self.folder) if self.folder else TemporaryDirectory()
            )
            store = stack.enter_context(Store(Path(root), fingerprint(job)))
            trials = Trials(
                job,
                store,
                # Opened when something has to be trained, and then for all batches.
                cache(lambda: stack.enter_context(open_worker_pool(self.engine, job, self.n_jobs))),
                group_size=self.group_size,
                top_k=None if self.top_k == "all" else int(self.top_k),
                on_group=lambda done, *rest: self._report(done, plan.total, *rest),
            )
            self._report(0, plan.total, math.nan)
            strategies.run(plan, trials.evaluate)
            best = trials.finish()
        self._conclude(
            [trial.point for trial in trials.all],
            outcomes(trials.all),
            recurrent_columns(trials.all, trials.ranked()),
        )
        self.curves_ = curves(trials.all)
        self.top_estimators_ = estimators(job, best, names)

    def _conclude(
        self,
        points: list[Point],
        fits: Sequence[Mapping[str, float]],
        more: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.n_splits_ = len(fits) // len(points)
        self.cv_results_ = cv_results(points, fits) | dict(more or {})
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        self.best_params_ = points[self.best_index_]
        self.best_score_ = self.cv_results_["mean_test_score"][self.best_index_]

    def _report(self, done: int, total: int, best: float, *group: Any) -> None:
        if self.on_progress:
            self.on_progress(done, total, best, *group)


def _by_fold(fits: Sequence[Mapping[str, float]], name: str, n: int) -> NDArray[np.float64]:
    """A number of each fit, shape (points, folds)."""
    return np.array([fit[name] for fit in fits]).reshape(n, -1)


def cv_results(points: list[Point], fits: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Scores and seconds as ``GridSearchCV.cv_results_`` has them.

    Args:
        points: the points tried.
        fits: ``fit_time``, ``score_time`` and ``test_score`` of each fold of each point.
    """
    results: dict[str, Any] = {}
    for name in ("fit_time", "score_time"):
        seconds = _by_fold(fits, name, len(points))
        results |= {f"mean_{name}": seconds.mean(axis=1), f"std_{name}": seconds.std(axis=1)}
    for name in dict.fromkeys(name for point in points for name in point):
        values = np.ma.MaskedArray(np.empty(len(points), dtype=object), mask=True)
        for place, point in enumerate(points):
            if name in point:
                values[place] = point[name]
        results[f"param_{name}"] = values
    scores = _by_fold(fits, "test_score", len(points))
    mean = scores.mean(axis=1)
    if not np.isfinite(mean).all():
        warnings.warn(f"One or more of the test scores are non-finite: {mean}", stacklevel=2)
    return (
        results
        | {"params": points}
        | {f"split{fold}_test_score": column for fold, column in enumerate(scores.T)}
        | {"mean_test_score": mean, "std_test_score": scores.std(axis=1)}
        | {
            "rank_test_score": rankdata(-np.where(np.isnan(mean), -np.inf, mean), "min").astype(
                np.int32
            )
        }
    )


class Holdout(BaseCrossValidator):
    """One split: the last rows validate, those before them train.

    Args:
        share: of the rows that validate, between 0 and 1.
        gap: rows left out between the two, such as a horizon, so that no target of a training row
            is in a window of a validation row.
    """

    def __init__(self, share: float = 0.1, *, gap: int = 0) -> None:
        self.share = share
        self.gap = gap

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give places of the training and the validation rows, once.

        Raises:
            ValueError: a share or a gap that leaves no rows on a side.
        """
        if not 0 < self.share < 1 or self.gap < 0:
            raise ValueError(
                f"share must lie between 0 and 1 and gap be at least 0, not {self.share!r} and "
                f"{self.gap!r}"
            )
        n = len(X)
        stop = n - round(self.share * n)
        if stop == n or stop <= self.gap:
            raise ValueError(
                f"a holdout of {self.share} with a gap of {self.gap} leaves no rows on one side "
                f"of the {n} that there are"
            )
        yield np.arange(stop - self.gap), np.arange(stop, n)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """One."""
        return 1


def check_search(search: Search, n_features: int) -> None:
    """Make sure that a search can be run.

    Raises:
        ValueError: names the parameter, what it is, and what is allowed.
    """
    if search.strategy not in strategies.STRATEGIES:
        raise ValueError(
            f"strategy: unknown {search.strategy!r}; known are {list(strategies.STRATEGIES)}"
        )
    if search.strategy == "halving" and not is_groupable(search.estimator):
        kind = type(search.estimator).__name__
        raise ValueError(
            f"strategy: 'halving' takes estimators that train in epochs, which {kind} does not; "
            "use grid, random or bayesian"
        )
    if search.strategy in strategies.DRAWN:
        _at_least_1("n_trials", search.n_trials)
    _at_least_1("group_size", search.group_size)
    if search.top_k != "all":
        _at_least_1("top_k", search.top_k)
    if search.engine not in ENGINES:
        raise ValueError(f"engine: unknown {search.engine!r}; known are {list(ENGINES)}")
    if search.engine == "dask":
        address()
    _check_options(search)
    drawn = search.strategy == "random"
    for name, value in _values(search.estimator, search.param_grid, distributions=drawn):
        _check_value(search.estimator, name, value, n_features)


def _check_options(search: Search) -> None:
    taken = signature(strategies.STRATEGIES[search.strategy]).parameters
    allowed = sorted(set(taken) - {"param_grid", "n_trials", "seed"})
    for name in search.strategy_options or {}:
        if name not in allowed:
            raise ValueError(
                f"strategy_options.{name}: no such option; {search.strategy} takes {allowed}"
            )


def _at_least_1(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def _values(estimator: Any, param_grid: Any, *, distributions: bool) -> Iterator[tuple[str, Any]]:
    """Names with each of their values, after checking both."""
    allowed = estimator.get_params()
    for part in [param_grid] if isinstance(param_grid, Mapping) else param_grid:
        for name, values in part.items():
            if name not in allowed:
                raise ValueError(
                    f"param_grid.{name}: no such parameter; allowed are {sorted(allowed)}"
                )
            if distributions and hasattr(values, "rvs"):
                continue
            if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
                raise ValueError(f"param_grid.{name}: expected a list of values, got {values!r}")
            if not len(values):
                raise ValueError(f"param_grid.{name}: expected at least one value, got {values!r}")
            yield from ((name, value) for value in values)


def _check_value(estimator: Any, name: str, value: Any, n_features: int) -> None:
    """Let the estimator, or the nested part that the name leads to, validate a value."""
    model = at_point(estimator, {name: value})
    try:
        if is_groupable(model):
            model.program_spec(n_features)
            model.trial_params()
            return
        path = name.rpartition("__")[0]
        validate_params(model.get_params()[path] if path else model)
    except ValueError as error:
        raise ValueError(f"param_grid.{name}: {value!r}: {error}") from error
