"""A challenger beside the champion: which of the two answers better, by what came true since.

In a *shadow* trial both answer the same rows, and what is compared are the differences of their
losses row by row. In a *split* trial each row is answered by one of them. Either way a unit is a
day, and the bounds may be looked at every day, see ``learning.metrics.sequential``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.errors import DataError
from ratchet.learning.metrics import losses
from ratchet.learning.metrics.sequential import (
    LEAST_UNITS,
    ConfidenceSequence,
    confidence_sequence,
    sample_ratio_p_values,
)
from ratchet.monitoring.performance import answered
from ratchet.params import Target

Array = npt.NDArray[np.float64]
Kind = Literal["shadow", "split"]
Verdict = Literal["better", "worse", "undecided"]

LEAST_DAYS = LEAST_UNITS

BROKEN = 0.01
"""A p value of the sample ratio below which the assignment to the arms is broken."""

SLOWER = 0.25
"""Share by which a challenger may be slower before its latency speaks against it."""

_OF_ROWS = ("mae", "wape", "mase", "rmse", "rmsse", "r2")
_SMALLEST = 1e-6  # a probability of 0 would make one row outweigh all others


@dataclass(frozen=True)
class Compared:
    """One quantity of both models, day by day.

    Attributes:
        name: what is compared: the loss, ``latency_ms`` or ``failed``.
        champion: mean of the champion's days.
        challenger: mean of the challenger's days.
        gain: mean difference of the days, above 0 where the challenger is lower, which is better,
            or at least not higher by more than it may be.
        low: lower bound of the gain, of all days at once; ``None`` before it can be told.
        high: its upper bound.
        days: days on which both have answers.
        decided_after: days after which 0 lay outside of the bounds for the first time.
    """

    name: str
    champion: float
    challenger: float
    gain: float
    low: float | None
    high: float | None
    days: int
    decided_after: int | None

    @property
    def verdict(self) -> Verdict:
        """What the bounds say of the challenger at the end of all days."""
        if self.low is not None and self.low > 0:
            return "better"
        if self.high is not None and self.high < 0:
            return "worse"
        return "undecided"


@dataclass(frozen=True)
class Trial:
    """How a challenger does beside the champion.

    Attributes:
        kind: whether both answered the same rows.
        target: the target that decides.
        metric: its metric, whose losses are compared.
        versions: numbers of the champion's version, and of the challenger's.
        rows: rows with truth that were compared of each.
        loss: the comparison that decides.
        guards: comparisons of latency and errors.
        sample_ratio: p value of the assignment to the arms, of a split.
    """

    kind: Kind
    target: str
    metric: str
    versions: tuple[str, str]
    rows: tuple[int, int]
    loss: Compared
    guards: list[Compared]
    sample_ratio: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the challenger is better; a broken assignment and worse guards say no yes."""
        if self.sample_ratio is not None and self.sample_ratio < BROKEN:
            return "undecided"
        if self.loss.verdict == "better" and any(one.verdict == "worse" for one in self.guards):
            return "undecided"
        return self.loss.verdict

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, with the verdict; ``None`` for NaN, which JSON has not."""
        known: dict[str, Any] = _without_nan({**asdict(self), "verdict": self.verdict})
        return known


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def compare_arms(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    target: Target,
    metric: str,
    *,
    kind: Kind,
    name: str,
    versions: tuple[str, str],
    share: float = 0.5,
    alpha: float = 0.05,
    planned: int | None = None,
) -> Trial:
    """Compare what two versions answered.

    Args:
        champion: rows of the target, as ``PredictionLog.rows`` gives them, of the champion.
        challenger: the same of the challenger, since the trial began.
        target: what is predicted.
        metric: whose losses decide; where it is no mean over rows, the log loss of classes or the
            absolute errors of numbers do.
        kind: whether both answered the same rows.
        name: name of the target.
        versions: numbers of both versions.
        share: share of a split that the challenger should answer.
        alpha: how often a challenger that is as good may ever be told from the champion.
        planned: days after which the trial ends; without it, it may go on for as long as it takes.

    Raises:
        DataError: a truth is none of the classes.
    """
    began = challenger["predicted_at"].min()
    champion = champion[champion["predicted_at"] >= began] if len(challenger) else champion[:0]
    bounds = partial(confidence_sequence, alpha=alpha, planned=planned)
    scored = [_losses(answered(rows), target, metric) for rows in (champion, challenger)]
    if kind == "shadow":
        common = scored[0].index.intersection(scored[1].index)
        scored = [each.loc[common] for each in scored]
    first, second = (one.groupby("day")["loss"].mean() for one in scored)
    guards = [
        _compare(what, _by_day(champion, what), _by_day(challenger, what), bounds, slack)
        for what, slack in (("latency_ms", SLOWER), ("failed", 0.0))
    ]
    return Trial(
        kind=kind,
        target=name,
        metric=metric,
        versions=versions,
        rows=(len(scored[0]), len(scored[1])),
        loss=_compare("loss", first, second, bounds),
        guards=guards,
        sample_ratio=_sample_ratio(champion, challenger, share) if kind == "split" else None,
    )


def _losses(rows: pd.DataFrame, target: Target, metric: str) -> pd.DataFrame:
    """``loss`` and ``day`` of each row, by row key."""
    table = pd.DataFrame({"loss": _loss(rows, target, metric)}, index=rows.index)
    times = rows["time"].fillna(rows["predicted_at"]) if target.is_series else rows["predicted_at"]
    table["day"] = times.dt.normalize()
    return table[~table.index.duplicated(keep="last")]


def _loss(rows: pd.DataFrame, target: Target, metric: str) -> Array:
    if rows.empty:
        return np.empty(0)
    if not target.is_classes:
        truth, scale = rows["truth"].to_numpy(dtype=float), np.ones(len(rows))
        of_row = [rows[one].to_numpy(dtype=float) if target.is_series else scale for one in _UNITS]
        table = np.column_stack([truth, *of_row])
        of_rows = metric if metric in _OF_ROWS else "mae"
        return losses(of_rows, table, rows["prediction"].to_numpy(dtype=float))
    if metric == "accuracy":
        wrong = rows["prediction"].astype(str) != rows["truth"].astype(str)
        return np.asarray(wrong, dtype=np.float64)
    odds = rows[[f"probability_{label}" for label in target.classes or []]].to_numpy(dtype=float)
    column = pd.Index(target.classes or []).get_indexer(pd.Index(rows["truth"].astype(str)))
    if (column < 0).any():
        other = rows["truth"][column < 0].iloc[0]
        raise DataError(f"logged truth of '{target.column}': {other!r} is none of {target.classes}")
    found: Array = -np.log(np.maximum(odds[np.arange(len(rows)), column], _SMALLEST))
    return found


_UNITS = ("scale", "rms")


def _by_day(rows: pd.DataFrame, name: str) -> pd.Series:
    """Mean of a column on each day on which answers were given."""
    values = rows[name].astype(float)
    known = values.notna()
    return values[known].groupby(rows["predicted_at"][known].dt.normalize()).mean()


def _compare(
    name: str,
    champion: pd.Series,
    challenger: pd.Series,
    bound: Callable[[Array], ConfidenceSequence],
    slack: float = 0.0,
) -> Compared:
    """Compare days; the challenger may be higher by ``slack``, as a share of the champion's."""
    days = champion.index.intersection(challenger.index).sort_values()
    first, second = (each.loc[days].to_numpy(dtype=float) for each in (champion, challenger))
    gains = first * (1 + slack) - second
    bounds = bound(gains)
    return Compared(
        name=name,
        champion=_mean(first),
        challenger=_mean(second),
        gain=_mean(gains),
        low=_end(bounds.low),
        high=_end(bounds.high),
        days=len(days),
        decided_after=bounds.decided_at,
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _end(bound: Array) -> float | None:
    return float(bound[-1]) if len(bound) and np.isfinite(bound[-1]) else None


def _sample_ratio(champion: pd.DataFrame, challenger: pd.DataFrame, share: float) -> float | None:
    counts = [
        rows.groupby(rows["predicted_at"].dt.normalize()).size() for rows in (champion, challenger)
    ]
    table = pd.concat(counts, axis=1).fillna(0).sort_index().to_numpy()
    return float(sample_ratio_p_values(table, [1 - share, share])[-1]) if len(table) else None
