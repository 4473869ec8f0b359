"""Real rows for a look at drift: those that the champion did not learn from, as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.errors import DataError
from ratchet.monitoring.drift.inputs import importance_of, watched
from ratchet.params import SERIES_KEY, TARGET_PREFIX, Drift, Scenario, UseCase

if TYPE_CHECKING:
    from ratchet.release.bundle import Bundle

_PERIOD = "7D"
"""What series of a day's step or less repeat after, beside the year."""


@dataclass(frozen=True)
class Rows:
    """The typed rows of a use case beside a bundle.

    Attributes:
        bundle: of the version that is looked at.
        use_case: the parameters of today, which say how drift is looked for.
        typed: all typed rows.
    """

    bundle: Bundle
    use_case: UseCase
    typed: pd.DataFrame

    @cached_property
    def asked(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Rows of the bundle's test part and later ones, which the model did not learn from.

        Raises:
            DataError: there are none.
        """
        data, known = self.use_case.data, self.bundle.rows
        learned = known[known["part"] != "test"]
        if data.series and data.time:
            found = (self.typed[data.time] > learned["time"].max()).to_numpy()
        elif data.time and "time" in known:
            mine = ~self.typed[data.key].isin(learned.index)
            found = (mine & (self.typed[data.time] >= learned["time"].max())).to_numpy()
        else:
            found = (~self.typed[data.key].isin(learned.index)).to_numpy()
        if not found.any():
            raise DataError("the model has learned from every row there is: wait for new ones")
        return found

    @property
    def drift(self) -> Drift:
        """How drift is looked for, with the columns that are looked at."""
        return watched(self.use_case, self.bundle.reference.columns)

    @property
    def time(self) -> str | None:
        """Column of the time in ``reference`` and ``inputs``."""
        return "time" if "time" in self.bundle.reference else None

    @property
    def period(self) -> str | None:
        """What series repeat after."""
        return _PERIOD if self.use_case.data.series else None

    def importance(self, target: str) -> dict[str, float]:
        """Importance of the columns that are looked at, of one target."""
        from ratchet.preparation.needs import closure

        known = set(self.use_case.data.known_columns)
        return importance_of(
            self.bundle.importance.get(target, {}),
            self.drift.columns or [],
            lambda name: closure([name], self.use_case.data) if name in known else {name},
        )

    def inputs(self, typed: pd.DataFrame) -> pd.DataFrame:
        """Source columns of the rows that are asked for, as the reference has them, by time.

        Args:
            typed: the typed rows, as they are or changed.
        """
        from ratchet.preparation import Needs, derive_columns, lay_out_steps, only_target

        data, needs = self.use_case.data, Needs(self.use_case)
        if data.series and data.time:
            target = only_target(dict(self.use_case.targets))
            laid, there = lay_out_steps(typed, data, target, needs.required)
            rows = derive_columns(laid[there.any(axis=1).repeat(there.shape[1])], data)
            rows = rows[rows[data.time].isin(self.typed.loc[self.asked, data.time])]
            rows = rows.set_index(SERIES_KEY)
        else:
            rows = derive_columns(typed, data, needs.derived_for_targets)[self.asked]
            rows = rows.dropna(subset=needs.required).set_index(data.key)
        if self.time and data.time:
            rows = rows.assign(time=rows[data.time]).sort_values("time", kind="stable")
        return rows

    def predict(self, typed: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Tidy rows of every target, with the truth where it is known, of the rows asked for."""
        from ratchet.preparation import features_of

        parameters = self.bundle.use_case
        features = features_of(typed, parameters, self.bundle.statistics, self.asked)
        answers = self.bundle.predict(features)
        return {
            name: rows.assign(truth=features[f"{TARGET_PREFIX}{parameters.targets[name].column}"])
            for name, rows in answers.items()
        }

    def changed(self, scenario: Scenario, seed: int) -> pd.DataFrame:
        """All typed rows, with those that are asked for as a scenario leaves them."""
        from ratchet.monitoring.drift.scenarios import apply

        data = self.use_case.data
        series = data.series.id if data.series else None
        everywhere = apply(self.typed, scenario, seed=seed, time=data.time, series=series)
        return self.typed.assign(
            **{
                name: everywhere[name].where(self.asked, self.typed[name])
                for name in scenario.columns
            }
        )


def read_rows(bundle: Bundle, use_case: UseCase, raw: pd.DataFrame, as_of: Any) -> Rows:
    """Apply the contract to the raw rows."""
    from ratchet.preparation import typed_rows

    return Rows(bundle, use_case, typed_rows(raw, use_case.data, dict(use_case.targets), as_of))


def latest(rows: pd.DataFrame, window: str, count: int) -> list[pd.DataFrame]:
    """The latest windows of rows, oldest first; all rows where they have no time.

    Args:
        rows: with ``time`` where they have one, in its order.
        window: length of a window.
        count: most windows that are wanted; empty ones are left out.
    """
    if "time" not in rows:
        return [rows]
    length, end = pd.Timedelta(window), rows["time"].max()
    back = (end - rows["time"]) // length
    found = [rows[back == place] for place in range(count - 1, -1, -1)]
    return [part for part in found if len(part)]


def deciding(use_case: UseCase) -> tuple[str, str]:
    """The target and the metric that decide which model serves."""
    from ratchet.learning.metrics import from_scorer

    name = use_case.release.target or next(iter(use_case.targets))
    target = use_case.targets[name]
    return name, use_case.release.metric or from_scorer(target.scorer, 0.0, target.task)[0]


def promised(scores: Mapping[str, Any], metric: str) -> float | None:
    """The score of the bundle's model on its test rows, whatever else its metrics hold."""
    found = scores.get("test", scores).get(metric)
    value = found.get("value") if isinstance(found, Mapping) else found
    return None if value is None else float(value)
