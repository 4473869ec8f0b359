"""The search, with scikit-learn's manners, and a report after every few points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import indexable

from ratchet.learning.search import results, strategies
from ratchet.learning.search.checks import check_search
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.fingerprint import fingerprint
from ratchet.learning.search.groups import TrainGroups, at_point, is_groupable
from ratchet.learning.search.store import Store
from ratchet.learning.search.strategies import Batch, ParamGrid, Plan, Point
from ratchet.learning.search.trials import Trials


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
        """Take the state of a search.

        Args:
            done: fits done; of recurrent candidates, trials.
            total: fits, or trials, in all.
            best: best mean score so far, NaN as long as there is none.
            group_size: trials trained together in what was done last.
            finished: of recurrent candidates these trials: the point, and its score.
        """


class Search(BaseSearchCV):
    """Search for the best point of a grid.

    Estimators that can be trained together (see ``groups.Groupable``) are: in groups that share a
    compiled program, on one process per core or on a cluster, and every finished group is on disk
    before the next begins. All others are fitted as by ``GridSearchCV``, with the same results.

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
        engine: ``local``, or ``dask`` for recurrent trials on the cluster whose scheduler's address
            is in the environment variable ``RATCHET_DASK_ADDRESS``.
        error_score: see ``GridSearchCV``; recurrent candidates always raise.
        on_progress: called while the search runs.

    Attributes:
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
        error_score: float | str = "raise",
        on_progress: OnProgress | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            error_score=error_score,
            return_train_score=False,
        )
        self.param_grid = param_grid
        self.strategy = strategy
        self.n_trials = n_trials
        self.strategy_options = strategy_options
        self.group_size = group_size
        self.top_k = top_k
        self.random_state = random_state
        self.folder = folder
        self.engine = engine
        self.on_progress = on_progress

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Search, and fit the best point.

        Args:
            X: rows of shape (n, features).
            y: targets of shape (n,), or (n, horizon).
            **params: as of ``GridSearchCV``; none for recurrent estimators.

        Raises:
            ValueError: a parameter of the search, or a key or value of the grid, is not allowed;
                names what is, before anything is fitted. Or every recurrent trial diverged.
        """
        self._validate_params()
        together = is_groupable(self.estimator)
        check_search(self, np.shape(X)[1] if together else 0)
        self._plan()  # judges the options of the strategy
        if not together:
            super().fit(X, y, **params)
        elif params:
            raise ValueError(f"fit: recurrent candidates take no {sorted(params)}")
        else:
            self._fit_groups(X, y)
        return self

    def _plan(self) -> Plan:
        arguments = dict(self.strategy_options or {})
        if self.strategy in strategies.DRAWN:
            arguments |= {"n_trials": self.n_trials, "seed": self.random_state}
        plan: Plan = strategies.STRATEGIES[self.strategy](self.param_grid, **arguments)
        return plan

    def _run_search(self, evaluate_candidates: Callable[[list[Point]], dict[str, Any]]) -> None:
        # As many points at a time as there are workers: each batch is points x folds fits, so
        # that the workers idle at most a moment at its end. One point at a time would tell more
        # often, but take two workers three rounds for five folds instead of two and a half.
        plan, folds = self._plan(), self.n_splits_
        at_a_time = max(1, effective_n_jobs(self.n_jobs))

        def evaluate(batch: Batch) -> Sequence[float]:
            scores: Sequence[float] = []
            for points in _chunks(iter(batch.points), at_a_time):
                scores = evaluate_candidates(points)["mean_test_score"]
                self._report(len(scores) * folds, plan.total * folds, float(max(scores)))
            return scores[-len(batch.points) :]

        self._report(0, plan.total * folds, math.nan)
        strategies.run(plan, evaluate)

    def _fit_groups(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Train in groups; sets what ``fit`` promises."""
        indexable(X, y)
        names = getattr(X, "columns", None)
        splitter = check_cv(self.cv)
        self.n_splits_ = splitter.get_n_splits(X, y)
        self.scorer_, _ = self._get_scorers()
        self.multimetric_ = False
        job = TrainGroups(
            self.estimator,
            np.asarray(X),
            np.asarray(y),
            list(splitter.split(X, y)),
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
        self._conclude(trials)
        self.top_estimators_ = results.estimators(job, best, names)
        if self.refit:
            self.best_estimator_ = at_point(self.estimator, self.best_params_).fit(X, y)

    def _conclude(self, trials: Trials) -> None:
        tried = trials.all
        points = [trial.point for trial in tried]
        self.cv_results_ = self._format_results(points, self.n_splits_, results.outcomes(tried))
        self.cv_results_ |= results.more(tried, trials.ranked())
        self.curves_ = results.curves(tried)
        self.best_index_ = self._select_best_index(self.refit, "score", self.cv_results_)
        self.best_params_ = points[self.best_index_]
        self.best_score_ = self.cv_results_["mean_test_score"][self.best_index_]

    def _report(self, done: int, total: int, best: float, *group: Any) -> None:
        if self.on_progress:
            self.on_progress(done, total, best, *group)


def _chunks(points: Iterator[Point], size: int) -> Iterator[list[Point]]:
    while chunk := list(islice(points, size)):
        yield chunk
