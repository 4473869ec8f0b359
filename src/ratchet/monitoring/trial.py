"""A challenger beside the champion: which of the two answers better, by what came true since.

In a *shadow* trial both answer the same rows, and what is compared are the differences of their
losses row by row. In a *split* trial each row is answered by one of them. Either way a unit is a
day, and the bounds may be looked at every day, see ``learning.metrics.sequential``.

``kedro ratchet trial`` and the release read a trial by the same function, ``find_trial``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Target
from ratchet.errors import DataError
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import losses
from ratchet.learning.metrics.sequential import (
    LEAST_UNITS,
    ConfidenceSequence,
    confidence_sequence,
    sample_ratio_p_values,
)
from ratchet.monitoring.log_table import CHALLENGER, CHAMPION, SHADOW
from ratchet.monitoring.performance import has_steps, latest_answers

Array = npt.NDArray[np.float64]
Kind = Literal["shadow", "split"]
Verdict = Literal["better", "worse", "undecided"]

LEAST_DAYS = LEAST_UNITS

BROKEN = 0.01
"""A p value of the sample ratio below which the assignment to the arms is broken."""

SLOWER = 0.25
"""Share by which a challenger may be slower before its latency speaks against it."""

EVEN = 0.5
"""Share of a split whose answers do not say how they were assigned."""

_MEANING = {
    "better": "the challenger is better",
    "worse": "the challenger is worse",
    "undecided": "nothing is decided yet",
}
_OF_ROWS = ("mae", "wape", "mase", "rmse", "rmsse", "r2")
_SMALLEST = 1e-6  # a probability of 0 would make one row outweigh all others


@dataclass(frozen=True)
class ComparedQuantity:
    """One quantity of both models, day by day.

    Attributes:
        name: what is compared: the loss, ``latency_ms`` or ``failed``.
        champion: mean of the champion's days.
        challenger: mean of the challenger's days.
        gain: mean difference of the days, above 0 where the challenger is lower, which is better,
            or at least not higher by more than it may be.
        low: lower bound of the gain, of all days at once; ``None`` while there are too few days.
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

    def summary(self) -> str:
        """Both means, and the gain with its bounds, in a line."""
        if not self.days:
            return "no day yet on which both have such answers"
        means = f"{self.champion:.4g} of the champion, {self.challenger:.4g} of the challenger"
        if self.low is None or self.high is None:
            return f"{means}; {self.days} days, too few to say more"
        bounds = f"{self.low:.3g} to {self.high:.3g}"
        return f"{means}; gain {self.gain:.3g} ({bounds}) over {self.days} days"


@dataclass(frozen=True)
class SampleRatio:
    """Whether the subjects of a split came into its arms as they should.

    A subject counts once, on the day on which it is first seen: those that ask often would else
    make a fair split look broken. A request that names no subject was assigned by itself, and is
    a subject of its own.

    Attributes:
        share: share of the subjects that the challenger should have.
        subjects: number of subjects of the champion, and of the challenger.
        p_value: p value of these numbers that may be looked at on any day.
    """

    share: float
    subjects: tuple[int, int]
    p_value: float

    @property
    def is_broken(self) -> bool:
        """Whether the numbers cannot be those of the intended assignment."""
        return self.p_value < BROKEN

    def summary(self) -> str:
        """The numbers, and what they say, in a line."""
        first, second = self.subjects
        verdict = "the assignment is broken, so nothing is decided" if self.is_broken else "fair"
        return (
            f"{first} subjects of the champion, {second} of the challenger, which should have "
            f"{self.share:.0%}: {verdict} (p = {self.p_value:.3g})"
        )


@dataclass(frozen=True)
class Trial:
    """How a challenger does beside the champion.

    Attributes:
        kind: whether both answered the same rows.
        target: the target that decides.
        metric: its metric, whose losses are compared.
        versions: numbers of the champion's version, and of the challenger's.
        days: days since it began, up to the last answer.
        rows: rows with truth that were compared of each.
        loss: the comparison that decides.
        guards: comparisons of latency and errors.
        sample_ratio: of a split, whether the arms are as large as they should be.
        planned: days after which the trial ends; ``None`` where it has no end.
    """

    kind: Kind
    target: str
    metric: str
    versions: tuple[str, str]
    days: int
    rows: tuple[int, int]
    loss: ComparedQuantity
    guards: list[ComparedQuantity]
    sample_ratio: SampleRatio | None = None
    planned: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether it will not say more than it does now.

        It ends after its planned days, or where truth is missing on many of them after twice as
        many; and where the assignment is broken.
        """
        if self.sample_ratio is not None and self.sample_ratio.is_broken:
            return True
        if self.planned is None:
            return False
        return self.loss.days >= self.planned or self.days >= 2 * self.planned

    @property
    def verdict(self) -> Verdict:
        """Whether the challenger is better; a broken assignment and worse guards say no yes."""
        if self.sample_ratio is not None and self.sample_ratio.is_broken:
            return "undecided"
        if self.loss.verdict == "better" and any(one.verdict == "worse" for one in self.guards):
            return "undecided"
        return self.loss.verdict

    def headline(self) -> str:
        """Which versions were compared on what, and the verdict."""
        champion, challenger = self.versions
        what = "the same rows" if self.kind == "shadow" else "rows of its own"
        meaning = _MEANING[self.verdict]
        return f"version {challenger} beside version {champion}, on {what}: {meaning}"

    def figures(self) -> str:
        """The losses that decide."""
        first, second = self.rows
        return (
            f"{self.target}, by the losses of {self.metric}: {self.loss.summary()}; "
            f"{first} and {second} rows with truth"
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, with the verdict; ``None`` for NaN, which JSON has not."""
        return json_or_null({**asdict(self), "verdict": self.verdict})


def find_trial(
    rows: pd.DataFrame,
    champion: str,
    target: Target,
    metric: str,
    *,
    name: str,
    version: str | None = None,
    share: float | None = None,
    planned: int | None = None,
) -> Trial | None:
    """Compare the champion with the challenger that answers beside it.

    Of a split whose share was changed, answers since the last change count.

    Args:
        rows: rows of the target, as ``PredictionLog.rows`` gives them.
        champion: number of the version that serves.
        target: what is predicted.
        metric: see ``compare_arms``.
        name: name of the target.
        version: the challenger; by default the version that answered last in a trial.
        share: share of a split that the challenger should answer; by default that by which the
            answers were assigned.
        planned: see ``compare_arms``.

    Returns:
        The trial; ``None`` where no challenger has answered.
    """
    beside = rows[rows["arm"].isin([SHADOW, CHALLENGER]) & (rows["version"] != champion)]
    if version is not None:
        beside = beside[beside["version"] == version]
    if beside.empty:
        return None
    latest = beside.sort_values("predicted_at").iloc[-1]
    second = beside[(beside["version"] == latest["version"]) & (beside["arm"] == latest["arm"])]
    first = rows[(rows["version"] == champion) & (rows["arm"] == CHAMPION)]
    is_split, assigned = latest["arm"] == CHALLENGER, latest["split_share"]
    if is_split and pd.notna(assigned):
        first, second = _assigned_alike(first, second, float(assigned))
    return compare_arms(
        *(first, second, target, metric),
        kind="split" if is_split else "shadow",
        name=name,
        versions=(champion, str(latest["version"])),
        share=share or (float(assigned) if pd.notna(assigned) else EVEN),
        planned=planned,
    )


def _assigned_alike(
    champion: pd.DataFrame, challenger: pd.DataFrame, share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers of the split since its share is what it is now; batch answers belong to no split."""
    both = pd.concat([champion, challenger])
    other = both["split_share"].notna() & (both["split_share"] != share)
    since = both.loc[other, "predicted_at"].max()
    first, second = (each[each["split_share"] == share] for each in (champion, challenger))
    if pd.isna(since):
        return first, second
    return first[first["predicted_at"] > since], second[second["predicted_at"] > since]


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
        alpha: how often a challenger that is as good may ever be called better or worse.
        planned: days after which the trial ends; without it, it may go on for as long as it takes.

    Raises:
        DataError: a truth is none of the classes.
    """
    champion, challenger = _since_both(champion, challenger)
    bounds = partial(confidence_sequence, alpha=alpha, planned=planned)
    arms = champion, challenger
    if has_steps(champion) != has_steps(challenger):  # a row is what a path and one step share
        one, other = (rows.drop(columns="step", errors="ignore") for rows in arms)
        arms = one, other
    scored = [_losses(latest_answers(rows), target, metric) for rows in arms]
    if kind == "shadow":
        common = scored[0].index.intersection(scored[1].index)
        scored = [each.loc[common] for each in scored]
    first, second = (one.groupby("day")["loss"].mean() for one in scored)
    guards = [
        _compare(
            *(what, _by_day(champion, what), _by_day(challenger, what), bounds, planned),
            slack=slack,
        )
        for what, slack in (("latency_ms", SLOWER), ("failed", 0.0))
    ]
    return Trial(
        kind=kind,
        target=name,
        metric=metric,
        versions=versions,
        days=_span(challenger),
        rows=(len(scored[0]), len(scored[1])),
        loss=_compare("loss", first, second, bounds, planned),
        guards=guards,
        sample_ratio=_sample_ratio(champion, challenger, share) if kind == "split" else None,
        planned=planned,
    )


def _since_both(
    champion: pd.DataFrame, challenger: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers since both have begun: a challenger may have run beside an earlier champion."""
    if champion.empty or challenger.empty:
        return champion[:0], challenger[:0]
    first, second = (each["predicted_at"].min() for each in (champion, challenger))
    since = max(first, second)
    return champion[champion["predicted_at"] >= since], challenger[
        challenger["predicted_at"] >= since
    ]


def _span(rows: pd.DataFrame) -> int:
    if rows.empty:
        return 0
    days = rows["predicted_at"].dt.normalize()
    return int((days.max() - days.min()).days) + 1


def _losses(rows: pd.DataFrame, target: Target, metric: str) -> pd.DataFrame:
    """``loss`` and ``day`` of each row, by row key; without rows whose loss is no finite number."""
    table = pd.DataFrame({"loss": _loss(rows, target, metric)}, index=rows.index)
    times = rows["time"].fillna(rows["predicted_at"]) if target.is_series else rows["predicted_at"]
    table["day"] = times.dt.normalize()
    # One such row would say all there is to say of its day, and end every release with an error.
    table = table[np.isfinite(table["loss"].to_numpy(dtype=float))]
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
    loss: Array = -np.log(np.maximum(odds[np.arange(len(rows)), column], _SMALLEST))
    return loss


_UNITS = ("scale", "rms")


def _by_day(rows: pd.DataFrame, name: str) -> pd.Series:
    """Mean of a column on each day on which answers were given."""
    values = rows[name].astype(float)
    present = values.notna()
    return values[present].groupby(rows["predicted_at"][present].dt.normalize()).mean()


def _compare(
    name: str,
    champion: pd.Series,
    challenger: pd.Series,
    bound: Callable[[Array], ConfidenceSequence],
    planned: int | None,
    slack: float = 0.0,
) -> ComparedQuantity:
    """Compare days up to the planned end, after which the bounds would say nothing.

    The challenger may be higher by ``slack``, as a share of the champion's.
    """
    days = champion.index.intersection(challenger.index).sort_values()[:planned]
    first, second = (each.loc[days].to_numpy(dtype=float) for each in (champion, challenger))
    gains = first * (1 + slack) - second
    bounds = bound(gains)
    return ComparedQuantity(
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


def _sample_ratio(
    champion: pd.DataFrame, challenger: pd.DataFrame, share: float
) -> SampleRatio | None:
    counts = [_new_subjects(rows) for rows in (champion, challenger)]
    table = pd.concat(counts, axis=1, sort=True).fillna(0).to_numpy()
    if not len(table):
        return None
    first, second = table.sum(axis=0)
    p_value = float(sample_ratio_p_values(table, [1 - share, share])[-1])
    return SampleRatio(share, (int(first), int(second)), p_value)


def _new_subjects(rows: pd.DataFrame) -> pd.Series:
    """Day -> subjects that are first seen on it."""
    subjects = rows["subject"].fillna(rows["request"])
    first_seen = rows["predicted_at"].groupby(subjects).min()
    return first_seen.dt.normalize().value_counts()
