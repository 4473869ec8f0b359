"""Data, predictions and scores of one target, with views that several parts of a chapter share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet.config import SERIES_ID, Data, Features, Inventory, Release, Target, in_table
from ratchet.learning.metrics import Resampling
from ratchet.reports.phase_outputs import JudgedChoice, Score, Scores

HISTORY = "history of "
"""How the history of an entity is called, e.g. ``history of director``."""

BORDERLINE = 0.1
"""Margin between the two most probable classes below which a row is called borderline."""


@dataclass(frozen=True)
class TargetResults:
    """Data and results of one target.

    Raw columns and predictions stay in frames of their own, as their names may be the same.

    Attributes:
        name: the target in a sentence.
        target: parameters of the target.
        data: parameters of the data.
        features: parameters of the features.
        seed: seed of the intervals.
        primary: all rows, indexed by the row key.
        predictions: rows of every candidate on validation and test, indexed by the row key.
        scores: candidate -> part -> metric -> value, low, high.
        choice: the winner, why, ranking, baseline, objectives, details.
        importance: source, importance, spread.
        searches: candidate -> table of its search.
        curves: search among recurrent networks -> losses of its trials, epoch by epoch.
        inventory: how goods are ordered, where a forecast is used for that.
        release: what the gate asks of a new model.
    """

    name: str
    target: Target
    data: Data
    features: Features
    seed: int
    primary: pd.DataFrame
    predictions: pd.DataFrame
    scores: Scores
    choice: JudgedChoice
    importance: pd.DataFrame
    searches: dict[str, pd.DataFrame]
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)
    inventory: Inventory | None = None
    release: Release = field(default_factory=Release)

    @property
    def best(self) -> str:
        """The winner."""
        return self.choice["best"]

    @property
    def metric(self) -> str:
        """Metric the choice was made by."""
        return self.choice["metric"]

    @property
    def is_classes(self) -> bool:
        """Whether classes are predicted."""
        return self.target.is_classes

    @property
    def is_series(self) -> bool:
        """Whether the next values of series are predicted."""
        return self.target.is_series

    @property
    def horizon(self) -> int:
        """Steps from the origin of a forecast to its row; 1 where nothing is forecast."""
        return self.features.horizon

    @property
    def resampling(self) -> Resampling:
        """How test rows are drawn for intervals."""
        return Resampling(self.seed, horizon=self.horizon)

    @cached_property
    def has_many_series(self) -> bool:
        """Whether several series are forecast, so that units differ in what they mean."""
        return self.is_series and len(self.predictions["series"].unique()) > 1

    @property
    def classes(self) -> list[str]:
        """The classes in the user's order."""
        return list(self.target.classes or [])

    @property
    def test_scores(self) -> dict[str, Score]:
        """Metric -> value, low, high of the winner on the test rows."""
        return self.scores[self.best]["test"]

    @cached_property
    def test(self) -> pd.DataFrame:
        """The winner's predictions on the test rows, see ``part``."""
        return self.part("test")

    @cached_property
    def validation(self) -> pd.DataFrame:
        """The winner's predictions on the validation rows, see ``part``."""
        return self.part("validation")

    def part(self, name: str) -> pd.DataFrame:
        """The winner's predictions on one part, with their errors.

        Returns:
            Indexed by the row key: ``truth``, ``prediction``, probabilities or interval, and
            ``right`` and ``confidence`` (classes) or ``error``, prediction minus truth (numbers).
        """
        of_part = self.predictions["split"] == name
        rows = self.predictions[of_part & (self.predictions["candidate"] == self.best)].copy()
        if not self.is_classes:
            return rows.assign(error=rows["prediction"] - rows["truth"])
        ordered = np.sort(self.probabilities(rows).to_numpy(), axis=1)
        return rows.assign(
            right=rows["truth"] == rows["prediction"],
            confidence=ordered[:, -1],
            margin=ordered[:, -1] - ordered[:, -2],
        )

    def probabilities(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of the classes in their order, shape (n, classes)."""
        columns = [f"probability_{name}" for name in self.classes]
        return rows[columns].set_axis(self.classes, axis=1)

    def raw_columns(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Raw and derived columns of some rows, in the same order."""
        columns = self.primary.loc[self.features.row_keys(rows.index)]
        return columns.set_axis(rows.index, axis=0)

    def origins(self, rows: pd.DataFrame) -> pd.Series:
        """Keys of the steps at which the forecasts of some rows were made, in their order.

        Missing where the step is not among the rows that there are.
        """
        # In order of time every series has a row for every step, forecast or not.
        several = self.data.series is not None and self.data.series.id is not None
        keys = self.primary.index.to_series()
        series = self.primary[SERIES_ID].astype(str) if several else pd.Series("", keys.index)
        number = keys.groupby(series, observed=True).cumcount()
        table = pd.Series(keys.to_numpy(), pd.MultiIndex.from_arrays([series, number]))
        own = self.features.row_keys(rows.index)
        ahead = rows["step"].to_numpy() if "step" in rows else self.horizon
        at = pd.MultiIndex.from_arrays([series.loc[own], number.loc[own] - ahead])
        return pd.Series(table.reindex(at).to_numpy(), rows.index)

    def losses(self, rows: pd.DataFrame) -> pd.Series:
        """Score of each row: 1 right or 0 wrong (classes), or absolute error (numbers).

        Errors of several series are scaled by what the naive forecast errs in each, as in MASE.
        """
        if self.is_classes:
            return rows["right"].astype(float)
        return rows["error"].abs() / (rows["scale"] if self.has_many_series else 1.0)

    @property
    def loss_name(self) -> str:
        """Name of the mean of ``losses``."""
        if self.is_classes:
            return "share right"
        return "mean scaled error (MASE)" if self.has_many_series else "mean error"

    @property
    def naive_error(self) -> str:
        """What a scaled error of a series is divided by."""
        if self.target.learn == "return":
            return "mean relative change over a season in the training rows"
        return "mean error of the naive forecast in the training rows"

    @property
    def importance_loss(self) -> str:
        """Loss that rises when a source of features is shuffled."""
        return "log loss" if self.is_classes else "MASE" if self.is_series else "RMSE"

    def truth(self, part: str) -> pd.Series:
        """Values of the target in a part of all rows, where there is one."""
        values = self.primary.loc[self.primary["split"] == part, self.target.column].dropna()
        return values.astype(str) if self.is_classes else values.astype(float)

    @cached_property
    def text_column(self) -> str | None:
        """Column that names a row for readers: a text feature, or text that is mostly unique."""
        plain = [
            name
            for name, column in self.data.columns.items()
            if column.type == "string" and name in self.primary.columns
        ]
        unique = [name for name in plain if self.primary[name].nunique() > len(self.primary) / 2]
        return next(iter([*self.features.text, *unique]), None)

    def row_labels(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Labels of rows: the key, a text and the time, as far as there are."""
        facts = self.raw_columns(rows)
        text = self.text_column
        named = pd.DataFrame({self.data.key: rows.index.to_numpy()})
        if text:
            named[text] = facts[text].astype(str).to_numpy()
        if self.data.time:
            named[self.data.time] = facts[self.data.time].dt.strftime("%Y-%m-%d").to_numpy()
        return named.rename(columns=in_table)
