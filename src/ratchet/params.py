"""The parameters of a use case, typed: what may stand in ``conf/*/parameters/<use_case>.yml``.

Kedro builds the part that a node asks for before any node runs, and the pipeline registry builds
the whole; an unknown key or a wrong type stops either with the path of the key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

Task = Literal["classification", "regression"]
Share = Annotated[float, Field(gt=0, lt=1)]

TARGET_PREFIX = "target_"
"""How target columns start in the model input; every other column is a feature."""

HISTORY_PREFIX = "history_"
"""How columns computed from earlier rows start in the model input."""


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class About(_Params):
    """What the report says of the use case in words."""

    title: str
    question: str
    source: str
    goal: str = ""
    limits: list[str] = []


class Column(_Params):
    """Contract of one column of the raw file.

    Attributes:
        type: what the values must be; ``list`` splits text at ``separator``.
        nullable: whether a value may be missing.
        low: smallest value allowed (a number, or a date for ``date``).
        high: largest value allowed.
        values: the only values allowed.
    """

    type: Literal["integer", "number", "string", "date", "list"]
    nullable: bool = False
    separator: str = ", "
    low: float | dt.date | None = None
    high: float | dt.date | None = None
    values: list[str] | None = None


class Derived(_Params):
    """A column computed by a function that YAML names.

    The function takes the frame and ``arguments`` as keywords and returns one value per row.
    """

    function: str
    arguments: dict[str, Any] = {}


class Split(_Params):
    """Shares of the rows for validation and test; the rest is for training."""

    validation: Share = 0.1
    test: Share = 0.1

    @model_validator(mode="after")
    def _leave_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test must leave rows for training, got "
                f"{self.validation} + {self.test}"
            )
        return self


class Data(_Params):
    """The raw file and how it becomes rows.

    Attributes:
        key: column that identifies a row.
        time: date column that orders the rows; without it the split is random.
        columns: contract of the raw columns; columns that are not named are dropped.
        required: columns without which a row is left out.
        derive: further columns, e.g. a target.
    """

    key: str
    time: str | None = None
    columns: dict[str, Column]
    required: list[str] = []
    derive: dict[str, Derived] = {}
    split: Split = Split()

    @model_validator(mode="after")
    def _name_known_columns(self) -> Self:
        for place, names in {
            "key": [self.key],
            "time": [self.time] if self.time else [],
            "required": self.required,
        }.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(
                        f"{place}: '{name}' is not among the columns {list(self.columns)}"
                    )
        if self.time and self.columns[self.time].type != "date":
            raise ValueError(f"time: column '{self.time}' must have type 'date'")
        if self.time and self.columns[self.time].nullable and self.time not in self.required:
            raise ValueError(
                f"time: column '{self.time}' must not be nullable, or be among the required ones: "
                f"rows without a date have no place in the split"
            )
        return self


class History(_Params):
    """What earlier rows of the same people (or shops, or machines) did.

    Attributes:
        entities: list columns that name them.
        values: column to average -> None or the transformation applied first.
        looked_up: date at which a row asks; only what was known strictly before counts.
        available: date from which a row's own values are known to later rows.
        shrinkage: weight of the overall mean, in rows.
    """

    entities: list[str]
    values: dict[str, Literal["log1p"] | None]
    looked_up: str
    available: str
    shrinkage: Annotated[float, Field(ge=0)] = 3.0


class Features(_Params):
    """Columns that a model may see, by how they are encoded."""

    numeric: list[str] = []
    cyclic: dict[str, float] = {}
    categorical: list[str] = []
    lists: list[str] = []
    text: list[str] = []
    min_count: Annotated[int, Field(ge=1)] = 20
    text_components: Annotated[int, Field(ge=1)] = 20
    history: History | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.columns or self.history):
            raise ValueError("no feature is named")
        return self

    @property
    def columns(self) -> list[str]:
        """Source columns that are encoded (history apart)."""
        return [*self.numeric, *self.cyclic, *self.categorical, *self.lists, *self.text]


class Candidate(_Params):
    """One entry of the search: an estimator of the table and the grid to try."""

    estimator: str
    param_grid: dict[str, list[Any]] = {}


class Objective(_Params):
    """Business objective for one metric: what is aimed at, what production needs at least."""

    aim: float
    production: float | None = None


class Target(_Params):
    """One column to predict: the search, the choice and the objectives.

    Attributes:
        column: the column, of the raw file or derived.
        classes: allowed classes, for ``classification``.
        bounds: range of the values, for ``regression``: predictions stay inside.
        scoring: scikit-learn scorer that the search maximises and the choice is made by.
        cv: number of folds.
        candidates: name -> candidate.
        stack: how many of the best candidates are stacked; 0 for no stacking.
        baseline: the candidate that every other one has to beat.
        confidence: share of the rows that an interval is to cover.
        objectives: metric -> business objective.
    """

    column: str
    task: Task
    classes: list[str] | None = None
    bounds: tuple[float, float] | None = None
    unit: str = ""
    scoring: str = ""
    cv: Annotated[int, Field(ge=2)] = 5
    candidates: dict[str, Candidate]
    stack: Annotated[int, Field(ge=0)] = 3
    stack_param_grid: dict[str, list[Any]] = {}
    baseline: str = "dummy"
    confidence: Share = 0.9
    objectives: dict[str, Objective] = {}
    n_jobs: int = -1

    @field_validator("candidates")
    @classmethod
    def _reserve_stack(cls, candidates: dict[str, Candidate]) -> dict[str, Candidate]:
        if "stack" in candidates:
            raise ValueError("the name 'stack' is kept for the stacking of the best candidates")
        return candidates

    @model_validator(mode="after")
    def _fit_the_task(self) -> Self:
        if self.task == "classification" and (not self.classes or len(self.classes) < 2):
            raise ValueError("classification needs 'classes': at least two names")
        if self.task == "regression" and self.classes:
            raise ValueError("'classes' goes with classification")
        if self.baseline not in self.candidates:
            raise ValueError(
                f"baseline: '{self.baseline}' is not among the candidates {list(self.candidates)}"
            )
        if len(self.candidates) < 2:
            raise ValueError("candidates: at least one beside the baseline is needed")
        return self

    @property
    def scorer(self) -> str:
        """Scorer of the search; the default is a proper score of the task."""
        defaults = {
            "classification": "neg_log_loss",
            "regression": "neg_root_mean_squared_error",
        }
        return self.scoring or defaults[self.task]

    @property
    def contenders(self) -> list[str]:
        """Names of everything that is scored: the candidates and their stacking."""
        return [*self.candidates, *(["stack"] if self.stack else [])]


class UseCase(_Params):
    """One parameter file."""

    about: About
    data: Data
    features: Features
    targets: Annotated[dict[str, Target], Field(min_length=1)]

    @model_validator(mode="after")
    def _name_known_columns(self) -> Self:
        known = {*self.data.columns, *self.data.derive}
        if "split" in known:
            raise ValueError("data: the column name 'split' is kept for the part of a row")
        history = self.features.history
        named = {
            "targets": [target.column for target in self.targets.values()],
            "features": self.features.columns,
            "features.history": [
                *history.entities,
                *history.values,
                history.looked_up,
                history.available,
            ]
            if history
            else [],
        }
        for place, names in named.items():
            for name in names:
                if name not in known:
                    raise ValueError(f"{place}: '{name}' is not among the columns {sorted(known)}")
                if name == self.data.key:
                    raise ValueError(f"{place}: '{name}' is the key, which only names a row")
        leaking = set(named["targets"]) & set(self.features.columns)
        if leaking:
            raise ValueError(f"features: {sorted(leaking)} is a target")
        for prefix, owner in {TARGET_PREFIX: "targets", HISTORY_PREFIX: "the history"}.items():
            reserved = [name for name in self.features.columns if name.startswith(prefix)]
            if reserved:
                raise ValueError(f"features: {reserved}: the prefix '{prefix}' is for {owner}")
        return self

    @model_validator(mode="after")
    def _tell_targets_apart(self) -> Self:
        for (one, first), (other, second) in combinations(self.targets.items(), 2):
            if first == second:
                raise ValueError(f"targets: '{one}' and '{other}' are the same")
        return self


def read_targets(targets: Mapping[str, Any]) -> dict[str, Target]:
    """Targets by name, from parameters of which Kedro may have built a part."""
    return TypeAdapter(dict[str, Target]).validate_python(dict(targets))
