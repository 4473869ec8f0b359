"""Parameters of one column to predict: the search, the choice and the objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator

from ratchet.config.base import Params, Share

Task = Literal["classification", "regression", "forecasting"]

_NAIVE = ("dummy", "persistence", "seasonal", "last_value")
"""Estimators that learn next to nothing: what everything else has to beat."""

_STACKED = 3

WEIGHTED_ENSEMBLE = "weighted_ensemble"
"""Name of the candidate that is a weighted mean of the others."""

_FOLDS = {True: "time", False: "random"}  # by whether logarithms are learned
_LEARNED = {
    "classification": ("value",),
    "regression": ("value", "log"),
    "forecasting": ("value", "change", "return"),
}
_DEFAULT_SCORER = {
    "classification": "neg_log_loss",
    "regression": "neg_root_mean_squared_error",
    "forecasting": "neg_mean_absolute_error",
}


class Candidate(Params):
    """One entry of the search.

    Attributes:
        estimator: name of the table of estimators.
        param_grid: parameter, as scikit-learn calls it -> values to try.
    """

    estimator: str
    param_grid: dict[str, list[Any]] = {}


class Network(Params):
    """One search among recurrent networks.

    Attributes:
        architectures: names of the table of architectures, or ``all``.
        mode: ``optimized`` searches; ``fast`` trains every architecture for one epoch with the
            first value of each list, to see which shapes are promising.
        strategy: how trials are chosen.
        n_trials: trials of each architecture, for ``random`` and ``bayesian``.
        param_grid: parameter of ``RecurrentRegressor`` (``units``, ``dropout``, ``activation``,
            ``learning_rate``, ``batch_size``, ``epochs``, ``patience``) -> values to try.
        epochs: epochs at most.
        patience: epochs without improvement after which a trial stops.
        base: classical estimator of the task whose errors the networks learn to correct; without
            it they learn the target itself.
        base_params: parameters of the base.
        holdout: last share of the training rows, which stops and ranks the trials.
        top_k: trials whose weights are kept, or ``all``.
        ensemble: how many of the best are averaged as one more candidate; 0 for none.
        group_size: candidates of one graph that are trained and written down together; more pay
            on a GPU only.
    """

    architectures: list[str] | Literal["all"] = ["gru"]
    mode: Literal["optimized", "fast"] = "optimized"
    strategy: Literal["grid", "random", "bayesian", "halving"] = "grid"
    n_trials: Annotated[int, Field(ge=1)] = 10
    param_grid: dict[str, list[Any]] = {}
    epochs: Annotated[int, Field(ge=1)] = 50
    patience: Annotated[int, Field(ge=1)] = 10
    base: str | None = None
    base_params: dict[str, Any] = {}
    holdout: Share = 0.1
    top_k: Annotated[int, Field(ge=1)] | Literal["all"] = 5
    ensemble: Annotated[int, Field(ge=0)] = 5
    group_size: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _keep_the_ensemble(self) -> Self:
        if self.top_k != "all" and self.ensemble > self.top_k:
            raise ValueError(
                f"ensemble: the weights of the best {self.top_k} are kept (top_k), "
                f"{self.ensemble} cannot be averaged"
            )
        return self


class Objective(Params):
    """Business objective for one metric.

    Attributes:
        aim: what is aimed at.
        production: what production needs at least: the gate promotes nothing that is worse.
    """

    aim: float
    production: float | None = None


class Target(Params):
    """One column to predict: the search, the choice and the objectives.

    Attributes:
        column: the column, of the raw file or derived.
        task: what is predicted: classes, numbers, or the next values of series.
        classes: for ``classification``: the classes.
        bounds: for numbers: range of the values; predictions stay inside. ``.inf`` for an open end.
        unit: for numbers: unit in the report.
        learn: in what terms the target is learned: its ``value``; for ``forecasting`` also the
            ``change`` since the origin, or the relative change, the ``return``; for ``regression``
            also its logarithm, ``log``: rows of 0 or less are left out of the learning then,
            counted and scored, answers and scores are in units of the target, and intervals are
            shares of the prediction.
        folds: for ``regression``: ``random``, or ``time`` for folds that are scored on later rows
            than those they learn from, as where rows are those of several shops in time; no moment
            is cut in two, neither by a fold nor by a part. By default ``time`` for logarithms, else
            ``random``.
        scoring: scorer that the search maximises and the choice is made by. By default
            ``neg_log_loss`` for ``classification``, ``neg_root_mean_squared_error`` for
            ``regression`` (also ``r2``, ``neg_mean_absolute_error`` and ``neg_wape``),
            ``neg_mean_absolute_error`` for ``forecasting``.
        cv: number of folds.
        candidates: name -> candidate; one that is null is left out. One has to be naive: ``dummy``,
            of series ``persistence`` or ``seasonal``.
        networks: for ``forecasting``: name -> search among recurrent networks; one that is null is
            left out.
        stack: how many of the best candidates are stacked; 0 for none. By default 3; for
            ``forecasting``, and where folds follow the time, 0, and no other is possible.
        stack_param_grid: grid of the linear model that combines them.
        weighted_ensemble: how many candidates may have a weight in the ``weighted_ensemble``, the
            weighted mean that predicts the rows of folds and validation best; 0 for none. All may
            but the naive ones; where these are fewer than two, there is none. Networks, which
            predict no rows of folds, have weights only beside another candidate.
        baseline: the candidate that every other one has to beat.
        confidence: share of the rows that an interval is to cover.
        objectives: metric -> business objective.
        n_jobs: processes of a search; -1 for one per core.
        engine: where searches and stacks are fitted: here, or on the Dask cluster whose scheduler
            is at ``RATCHET_DASK_ADDRESS``.
    """

    column: str
    task: Task
    classes: list[str] | None = None
    bounds: tuple[float, float] | None = None
    unit: str = ""
    learn: Literal["value", "change", "return", "log"] = "value"
    folds: Literal["random", "time"] | None = None
    scoring: str = ""
    cv: Annotated[int, Field(ge=2)] = 5
    candidates: dict[str, Candidate]
    networks: dict[str, Network] = {}
    stack: Annotated[int, Field(ge=0)] | None = None
    stack_param_grid: dict[str, list[Any]] = {}
    weighted_ensemble: Annotated[int, Field(ge=0)] = 5
    baseline: str = "dummy"
    confidence: Share = 0.9
    objectives: dict[str, Objective] = {}
    n_jobs: int = -1
    engine: Literal["local", "dask"] = "local"

    @field_validator("candidates", "networks", mode="before")
    @classmethod
    def _leave_out(cls, named: Any) -> Any:
        """An environment cannot take a key away, but it can make it null."""
        if not isinstance(named, Mapping):
            return named
        return {name: one for name, one in named.items() if one is not None}

    @field_validator("candidates")
    @classmethod
    def _reserve_stack(cls, candidates: dict[str, Candidate]) -> dict[str, Candidate]:
        if "stack" in candidates:
            raise ValueError("the name 'stack' is kept for the stacking of the best candidates")
        return candidates

    @field_validator("candidates", "networks")
    @classmethod
    def _reserve_weighted_ensemble(
        cls, named: dict[str, Candidate] | dict[str, Network]
    ) -> dict[str, Candidate] | dict[str, Network]:
        if WEIGHTED_ENSEMBLE in named:
            raise ValueError(
                f"the name '{WEIGHTED_ENSEMBLE}' is kept for the weighted mean of all candidates"
            )
        return named

    @model_validator(mode="after")
    def _fit_the_task(self) -> Self:
        if self.is_classes and (not self.classes or len(self.classes) < 2):
            raise ValueError("classification needs 'classes': at least two names")
        if not self.is_classes and self.classes:
            raise ValueError("'classes' goes with classification")
        if self.task != "forecasting" and self.networks:
            raise ValueError("'networks' goes with forecasting")
        if self.learn not in _LEARNED[self.task]:
            raise ValueError(
                f"learn: '{self.learn}' does not go with {self.task}, which has "
                f"{list(_LEARNED[self.task])}"
            )
        if self.task != "regression" and self.folds:
            raise ValueError("'folds' goes with regression")
        if self.follows_time and self.stack:
            raise ValueError(
                "stack: folds that follow the time leave rows without out-of-fold predictions to "
                "stack; leave it out, or set folds: random"
            )
        if self.task == "forecasting" and self.stack:
            raise ValueError("stack: rows of a series have no out-of-fold predictions to stack")
        return self

    @model_validator(mode="after")
    def _name_candidates(self) -> Self:
        if self.baseline not in self.candidates:
            raise ValueError(
                f"baseline: '{self.baseline}' is not among the candidates {list(self.candidates)}"
            )
        if len(self.candidates) < 2:
            raise ValueError("candidates: at least one beside the baseline is needed")
        if clash := {*self.candidates} & {*self.network_candidates}:
            raise ValueError(f"networks: {sorted(clash)} is the name of another candidate")
        if not self.naive_candidates:
            naive = "'persistence' or 'seasonal'" if self.is_series else "'dummy'"
            raise ValueError(
                f"candidates: one has to be naive, for a model that is no better does not serve; "
                f"add one with the estimator {naive}"
            )
        return self

    @property
    def is_classes(self) -> bool:
        """Whether classes are predicted, and not numbers."""
        return self.task == "classification"

    @property
    def is_series(self) -> bool:
        """Whether the next values of series are predicted."""
        return self.task == "forecasting"

    @property
    def in_logs(self) -> bool:
        """Whether models learn the logarithm of the target."""
        return self.learn == "log"

    @property
    def follows_time(self) -> bool:
        """Whether rows that are no steps of a series are learned from and scored in time order."""
        return self.task == "regression" and (self.folds or _FOLDS[self.in_logs]) == "time"

    @property
    def stacked(self) -> int:
        """How many of the best candidates are stacked."""
        default = 0 if self.is_series or self.follows_time else _STACKED
        return default if self.stack is None else self.stack

    @property
    def scorer(self) -> str:
        """Scorer of the search; the default is a proper score of the task."""
        return self.scoring or _DEFAULT_SCORER[self.task]

    @property
    def naive_candidates(self) -> list[str]:
        """Names of the candidates that learn next to nothing."""
        return [name for name, one in self.candidates.items() if one.estimator in _NAIVE]

    @property
    def trained_candidates(self) -> list[str]:
        """Names of the other candidates but the baseline: those that can be left out."""
        always = {*self.naive_candidates, self.baseline}
        return [name for name in self.candidates if name not in always]

    @property
    def network_candidates(self) -> list[str]:
        """Names of the recurrent candidates: the best of every search, and the ensembles."""
        ensembles = [
            ensemble_of(name) for name, network in self.networks.items() if network.ensemble
        ]
        return [*self.networks, *ensembles]

    @property
    def ensemble_members(self) -> list[str]:
        """Names of the candidates that may have a weight in the weighted ensemble, if there is one.

        Not the naive ones. On few validation rows, which share a season and a level, a naive
        forecast can seem to mend the errors of a model and make them worse afterwards; and what
        everything has to beat should be no part of it.
        """
        stack = ["stack"] if self.stacked else []
        learning = [name for name in self.candidates if name not in self.naive_candidates]
        members = [*learning, *self.network_candidates, *stack]
        return members if self.weighted_ensemble and len(members) > 1 else []

    @property
    def cross_validated_candidates(self) -> list[str]:
        """Names of those whose search has scores by folds, in the metric of the choice.

        Those of networks have losses of their own; and the weighted ensemble of a series may hold
        networks.
        """
        without = [*self.network_candidates, *([WEIGHTED_ENSEMBLE] if self.is_series else [])]
        return [name for name in self.all_candidates if name not in without]

    @property
    def all_candidates(self) -> list[str]:
        """Names of everything that is scored."""
        stack = ["stack"] if self.stacked else []
        ensemble = [WEIGHTED_ENSEMBLE] if self.ensemble_members else []
        return [*self.candidates, *self.network_candidates, *stack, *ensemble]


def ensemble_of(network: str) -> str:
    """Name of the mean of the best networks of a search."""
    return f"{network}_ensemble"


def read_targets(targets: Mapping[str, Any]) -> dict[str, Target]:
    """Targets by name, from parameters of which Kedro may have built a part."""
    return TypeAdapter(dict[str, Target]).validate_python(dict(targets))
