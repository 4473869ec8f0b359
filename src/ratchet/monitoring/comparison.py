"""Two models on the same rows: how much worse one is, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import Target
from ratchet.config.names import row_keys
from ratchet.errors import DataError
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import (
    NoSpreadError,
    Resampling,
    entities_from_keys,
    greater_is_better,
    paired_gain,
)
from ratchet.monitoring.performance import has_steps

CONFIDENCE = 0.99
"""How sure it has to be that a model is worse: it is asked again with every window."""

RESAMPLING = Resampling(seed=0, n_bootstrap=2000, confidence=CONFIDENCE)
"""How rows are drawn, but for seed and horizon."""

_GIVEN = ("truth", "time", "scale", "rms")  # columns that are no predictions


@dataclass(frozen=True)
class Comparison:
    """The champion and the previous model on the same rows.

    Attributes:
        metric: what both are scored by.
        rows: rows that both answered and whose truth is known.
        champion: score of the champion.
        previous: score of the previous model.
        gain: by how much the previous model is better, in units of the metric; below 0 it is
            worse.
        low: lower bound of the gain, paired and one-sided.
        high: its upper bound.
        lost: rows that only one of the two answered.
        drawn: what was drawn together for the bounds, see ``ResamplingUnits``.
    """

    metric: str
    rows: int
    champion: float
    previous: float
    gain: float
    low: float
    high: float
    lost: int = 0
    drawn: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return json_or_null(asdict(self))


def compare(
    champion: pd.DataFrame,
    previous: pd.DataFrame,
    target: Target,
    metric: str,
    *,
    groups: pd.Series | None = None,
    resampling: Resampling = RESAMPLING,
) -> Comparison:
    """Score both models on the rows that both answered, with the same bootstrap draws.

    What makes a row hard for both falls out of the difference. Steps of series are drawn in blocks
    of time, rows of a group together, other rows one by one: see ``paired_gain``. Unlike the gate,
    which takes blocks of time for these too and estimates for how long errors are alike: a champion
    that breaks in the middle of the rows looks as if they were for ever, and that is when the
    previous model has to come back.

    Args:
        champion: tidy rows with known truth, as ``answered`` gives them.
        previous: tidy rows of the previous model; the truth is taken from the champion's.
        target: what is predicted.
        metric: a metric of the task.
        groups: what a row belongs to, by row key, of paths without the step; by default an entity
            that is found in the keys.
        resampling: how rows are drawn; its confidence is the level of each of the two bounds.

    Raises:
        DataError: rows that cannot be scored.
    """
    both = champion.index.intersection(previous.index)
    lost = len(champion.index.symmetric_difference(previous.index))
    if len(both) < 2:
        return Comparison(metric, len(both), *(math.nan,) * 5, lost)
    shared = champion.loc[both, [name for name in _GIVEN if name in champion]]
    other = previous.loc[both].drop(columns=list(shared), errors="ignore").join(shared)
    ours = champion.loc[both]
    if not (target.is_series or target.follows_time):
        ours, other = (rows.drop(columns="time", errors="ignore") for rows in (ours, other))
    pair = partial(
        paired_gain,
        metric,
        target.task,
        ours,
        other,
        classes=target.classes,
    )
    together = _groups(both, target)
    if groups is not None:  # of rows, and several keys of a path are about one
        rows_of = row_keys(both) if has_steps(champion) else both
        together = groups.reindex(rows_of).set_axis(both)
    try:
        gain = pair(groups=together, season=None, resampling=resampling)
        low, high = gain.difference["low"], gain.difference["high"]
    except NoSpreadError:  # as of rows of a single moment: they say how much, and not how surely
        alone = replace(resampling, horizon=1)
        gain = pair(times=np.arange(len(both)), resampling=alone)
        low, high = -math.inf, math.inf
    except ValueError as error:
        raise DataError(f"logged predictions of '{target.column}': {error}") from error
    scores = gain.baseline["value"], gain.model["value"]
    return Comparison(
        metric, len(both), *scores, gain.difference["value"], low, high, lost, gain.drawn.to_json()
    )


def _groups(keys: pd.Index, target: Target) -> Any:
    """Entities in the keys; rows that follow the time are drawn with all others of theirs."""
    return None if target.is_series or target.follows_time else entities_from_keys(keys)


def worsening(metric: str, before: float, now: float) -> float:
    """Share of the earlier score by which a score is worse; below 0 it is better.

    A loss of 0.5 that becomes 0.6 is 20 % worse, and so is an accuracy of 0.5 that becomes 0.4.
    The share goes by the size of the earlier score, so that an R2 of -0.1 that becomes -0.2 is
    100 % worse. Against 0 whatever is worse is infinitely worse, and whatever is better
    infinitely better.

    Args:
        metric: name of a metric that ranks.
        before: the earlier score.
        now: the score.

    Returns:
        A share; NaN where one of the scores is not finite.
    """
    if not (math.isfinite(before) and math.isfinite(now)):
        return math.nan
    lost = before - now if greater_is_better(metric) else now - before
    if before == 0:
        return math.copysign(math.inf, lost) if lost else 0.0
    return lost / abs(before)


def exceeds(value: float, threshold: float) -> bool:
    """Whether a value is above a threshold, by more than the rounding of 0.80 - 0.75."""
    return value > threshold and not math.isclose(value, threshold, rel_tol=1e-9, abs_tol=1e-12)
