"""One parameter file: what may stand in ``conf/*/parameters/<use_case>.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ratchet.config.base import Params, Share
from ratchet.config.data import ONE_WINDOW, Data, Evaluation, Landing
from ratchet.config.features import Features
from ratchet.config.market import MARKET_ESTIMATORS, Market, with_market
from ratchet.config.production import Monitoring, Release
from ratchet.config.target import Target

_NUMBERS, _NAMES = ("integer", "number"), ("string", "integer")
_MARKET_COLUMNS = ("segment", "product", "step", "log_price")
_ENCODED = ("features.numeric", "features.cyclic")
_ELSEWHERE = "; text goes among the categorical, lists or text features"


class About(Params):
    """What the report says of the use case in words.

    Attributes:
        title: its name.
        question: what is asked.
        source: where the data come from.
        goal: what the answer is for.
        limits: what the results cannot say.
    """

    title: str
    question: str
    source: str
    goal: str = ""
    limits: list[str] = []


class UseCase(Params):
    """One parameter file.

    Attributes:
        about: what the report says of the use case in words.
        data: the raw file, and how it becomes rows.
        features: what models may see; a market may leave it out.
        targets: name -> a column to predict: candidates, choice and objectives.
        evaluation: from which points in time candidates are scored.
        inventory: for series of demand: how goods are ordered.
        market: for rows of merchants and products over time: what a price is chosen by.
        landing: where new raw files come from, and what they may do to known rows.
        release: when a new model takes over.
        monitoring: how a model that serves is watched.
    """

    about: About
    data: Data
    features: Features
    targets: Annotated[dict[str, Target], Field(min_length=1)]
    evaluation: Evaluation = ONE_WINDOW
    inventory: Inventory | None = None
    market: Market | None = None
    landing: Landing | None = None
    release: Release = Release()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="before")
    @classmethod
    def _with_market(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        full = with_market(given)
        if full.get("market") is None or "features" in full:
            return full
        # The market cannot be read, and is reported: what would follow from it is not missing.
        return {**full, "features": Features.model_construct()}

    @model_validator(mode="after")
    def _know_the_market(self) -> Self:
        market, data = self.market, self.data
        if market is None:
            return self
        if data.series or data.time is None:
            raise ValueError(
                "market: goes with rows of merchants and products that have a date column in "
                "data.time, and not with data.series"
            )
        for columns, kinds in ((market.numbers, _NUMBERS), (market.texts, _NAMES)):
            for place, name in columns.items():
                if name not in data.known_columns:
                    raise ValueError(
                        f"market.{place}: '{name}' is not among the columns {data.known_columns}"
                    )
                column = data.columns.get(name)
                if column is not None and column.type not in kinds:
                    raise ValueError(
                        f"market.{place}: column '{name}' has type {column.type}, expected one of "
                        f"{list(kinds)}"
                    )
        quantities = [name for name, target in self.targets.items() if target.in_logs]
        if len(quantities) != 1:
            raise ValueError(
                f"market: one target is the quantity sold and has learn: log, found {quantities} "
                f"among the targets {list(self.targets)}"
            )
        others = {*self.features.columns} - {*(self.features.market or market).columns}
        if clashing := sorted(others & {*_MARKET_COLUMNS}):
            raise ValueError(
                f"features: {clashing} would be called like what is made of the market "
                f"{list(_MARKET_COLUMNS)}; call it otherwise in the file or in data.prepare"
            )
        return self

    @model_validator(mode="after")
    def _name_known_columns(self) -> Self:
        existing = set(self.data.known_columns)
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
            "features.windows.past": self.features.windows.past if self.features.windows else [],
        }
        for place, names in named.items():
            for name in names:
                if name not in existing:
                    raise ValueError(
                        f"{place}: '{name}' is not among the columns {sorted(existing)}"
                    )
                if [name] == self.data.identity:
                    raise ValueError(f"{place}: '{name}' is the key, which only names a row")
        dates = [history.looked_up, history.available] if history else []
        columns = self.data.columns
        zones = {name: columns[name].timezone for name in dates if name in columns}
        if None in zones.values() and any(zones.values()):
            raise ValueError(
                f"features.history: {list(zones)} are compared, so all or none of them need a "
                f"timezone in data.columns, got {zones}"
            )
        leaking = set(named["targets"]) & set(self.features.columns)
        if leaking:
            raise ValueError(f"features: {sorted(leaking)} is a target")
        return self

    @model_validator(mode="after")
    def _forecast_series(self) -> Self:
        parts = {
            "data.series": self.data.series is not None,
            "features.windows": self.features.windows is not None,
            "targets with task: forecasting": all(t.is_series for t in self.targets.values()),
        }
        if not any(parts.values()) and not any(t.is_series for t in self.targets.values()):
            return self
        if missing := [part for part, is_set in parts.items() if not is_set]:
            raise ValueError(f"time series need {list(parts)}; missing: {missing}")
        if len(self.targets) > 1:
            raise ValueError(f"targets: a series has one target, found {list(self.targets)}")
        (target,) = self.targets.values()
        windows = self.features.windows
        if windows and target.column not in windows.past:
            raise ValueError(
                f"features.windows.past: the target '{target.column}' is not among "
                f"{list(windows.past)}"
            )
        filled = self.data.series.fill if self.data.series else {}
        if windows and (unseen := [name for name in filled if name not in windows.past]):
            raise ValueError(
                f"data.series.fill: {unseen} is not among features.windows.past, {[*windows.past]}"
            )
        return self

    @model_validator(mode="after")
    def _order_what_is_forecast(self) -> Self:
        if self.inventory and self.data.series is None:
            raise ValueError("inventory: goes with the forecast of a series")
        stock = self.inventory.stock if self.inventory else 0.0
        if isinstance(stock, str) and stock not in self.data.known_columns:
            raise ValueError(
                f"inventory.stock: '{stock}' is not among the columns {self.data.known_columns}"
            )
        return self

    @model_validator(mode="after")
    def _release_by_known_columns(self) -> Self:
        if self.release.target not in (None, *self.targets):
            raise ValueError(
                f"release.target: '{self.release.target}' is not among the targets "
                f"{list(self.targets)}"
            )
        drift = self.monitoring.drift
        columns, in_file = self.data.known_columns, list(self.data.columns)
        named = {
            "release.slices.columns": (self.release.slices.columns, columns),
            "release.groups": (
                [self.release.groups] if self.release.groups else [],
                [*columns, self.data.key] if self.data.key_columns else columns,
            ),
            "monitoring.drift.columns": (drift.columns or [], columns),
            **{  # a change is made before anything is derived
                f"monitoring.drift.scenarios.{name}.columns": (scenario.columns, in_file)
                for name, scenario in drift.scenarios.items()
            },
        }
        for place, (names, allowed) in named.items():
            if unknown := [name for name in names if name not in allowed]:
                raise ValueError(f"{place}: {unknown} is not among the columns {allowed}")
        return self

    @model_validator(mode="after")
    def _follow_a_time(self) -> Self:
        for name, target in self.targets.items():
            if target.follows_time and self.data.time is None:
                raise ValueError(
                    f"targets.{name}: its folds follow the time of the rows, which have none: name "
                    f"a date column in data.time, or set targets.{name}.folds: random"
                )
        return self

    @model_validator(mode="after")
    def _roll_over_times(self) -> Self:
        if self.evaluation == ONE_WINDOW:
            return self
        for name, target in self.targets.items():
            if not (target.is_series or target.follows_time):
                raise ValueError(
                    f"evaluation: windows follow the time, and so go with series and with "
                    f"regressions whose folds do (targets.{name}.folds: time); leave it out, and "
                    f"the test part is data.split.test"
                )
            if target.is_series and self.evaluation.delay:
                raise ValueError(
                    "evaluation.delay: of series the truth is known as many steps late as "
                    "features.windows.horizon says; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _check_distinct_targets(self) -> Self:
        for (one, first), (other, second) in combinations(self.targets.items(), 2):
            if first == second:
                raise ValueError(f"targets: '{one}' and '{other}' are the same")
        return self

    @model_validator(mode="after")
    def _fit_types(self) -> Self:
        """Derived columns have no type yet: they are checked when there are rows."""
        history, windows = self.features.history, self.features.windows
        numbers = ("integer", "number")
        for place, names, allowed in [
            ("features.numeric", self.features.numeric, numbers),
            ("features.cyclic", self.features.cyclic, numbers),
            ("features.windows.past", windows.past if windows else [], numbers),
            ("features.history.values", history.values if history else [], numbers),
            (
                "features.history",
                [history.looked_up, history.available] if history else [],
                ("date",),
            ),
            *(
                (
                    f"targets.{name}.column",
                    [target.column],
                    (*numbers, "string") if target.is_classes else numbers,
                )
                for name, target in self.targets.items()
            ),
        ]:
            for name in names:
                column = self.data.columns.get(name)
                if column is not None and column.type not in allowed:
                    raise ValueError(
                        f"{place}: column '{name}' has type {column.type}, expected one of "
                        f"{list(allowed)}{_ELSEWHERE if place in _ENCODED else ''}"
                    )
        return self

    @model_validator(mode="after")
    def _give_candidates_their_market(self) -> Self:
        for name, target in self.targets.items():
            for candidate, one in target.candidates.items():
                of_market = one.estimator in MARKET_ESTIMATORS and not target.is_series
                if self.market is None and of_market:
                    raise ValueError(
                        f"targets.{name}.candidates.{candidate}: the estimator '{one.estimator}' "
                        f"takes rows of a market: say in market what names merchant and product, "
                        f"and the price"
                    )
        return self


class Inventory(Params):
    """How goods are ordered; lengths of time are counted in steps of the series.

    Attributes:
        stock: units at hand at the last forecast, the same for every series, or the column that
            holds them.
        lead_time: steps from an order to its arrival.
        review: steps from one order to the next.
        service_level: share of the orders after which the stock is to last until the next arrival.
    """

    stock: Annotated[float, Field(ge=0)] | str
    lead_time: Annotated[int, Field(ge=1)]
    review: Annotated[int, Field(ge=1)] = 1
    service_level: Share = 0.95
