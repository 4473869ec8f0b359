"""Two models on the same rows: how much worse one is, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ratchet.errors import DataError
from ratchet.learning.metrics import METRICS, forecast_rows, greater_is_better
from ratchet.learning.metrics.bootstrap import evaluate, interval
from ratchet.learning.metrics.rows import classification_rows, finite
from ratchet.params import Target


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
        low: lower end of the paired interval of the gain.
        high: its upper end.
        lost: rows that only one of the two answered.
    """

    metric: str
    rows: int
    champion: float
    previous: float
    gain: float
    low: float
    high: float
    lost: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return jsonable(asdict(self))


def compare(
    champion: pd.DataFrame,
    previous: pd.DataFrame,
    target: Target,
    metric: str,
    *,
    horizon: int = 1,
    seed: int = 0,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
) -> Comparison:
    """Score both models on the rows that both answered.

    Both meet the same draws, those of ``score_classification`` and its like: what makes a row
    hard for both falls out of the difference.

    Args:
        champion: tidy rows with known truth, as ``answered`` gives them.
        previous: tidy rows of the previous model; its ``truth``, if any, is not looked at.
        target: what is predicted.
        metric: a metric of the task.
        horizon: steps of time between the origin of a forecast and its row.
        seed: seed of the draws.
        confidence: share of the draws inside the interval.
        n_bootstrap: number of draws.

    Raises:
        DataError: no row that both answered, or rows that cannot be scored.
    """
    both = champion.index.intersection(previous.index)
    if both.empty:
        raise DataError(f"{target.column}: there is no row that both models answered")
    terms = [name for name in ("truth", "time", "scale", "rms") if name in champion]
    other = previous.loc[both].drop(columns=terms, errors="ignore")
    other = other.join(champion.loc[both, terms])
    try:
        first, second = (
            _draws(rows, target, metric, horizon, seed, n_bootstrap)
            for rows in (champion.loc[both], other)
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"logged predictions of '{target.column}': {error}") from error
    sign = 1 if greater_is_better(metric) else -1
    gain = interval(sign * (second - first), confidence)
    return Comparison(
        metric=metric,
        rows=len(both),
        champion=float(first[0]),
        previous=float(second[0]),
        **{"gain": gain["value"], "low": gain["low"], "high": gain["high"]},
        lost=len(champion.index.symmetric_difference(previous.index)),
    )


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
    """Whether a value lies above a threshold, by more than the rounding of 0.80 - 0.75."""
    return value > threshold and not math.isclose(value, threshold, rel_tol=1e-9, abs_tol=1e-12)


def jsonable(value: Any) -> Any:
    """Lists, texts and numbers that JSON knows; None for what is not finite or missing."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value


def _draws(
    rows: pd.DataFrame, target: Target, metric: str, horizon: int, seed: int, n_bootstrap: int
) -> Any:
    """The metric over all rows (index 0) and over each draw."""
    chosen = METRICS[target.task][metric]
    if target.is_classes:
        classes = target.classes or []
        odds = rows[[f"probability_{name}" for name in classes]]
        pair = classification_rows(rows["truth"], odds, classes)
        return evaluate([chosen], *pair, n_bootstrap, seed)[metric]
    if target.is_series:
        pair = forecast_rows(rows["truth"], rows["prediction"], rows["scale"], rows["rms"])
        times = {"times": rows["time"], "horizon": horizon}
        return evaluate([chosen], *pair, n_bootstrap, seed, **times)[metric]
    pair = finite(rows["truth"], "truth", 1), finite(rows["prediction"], "prediction", 1)
    return evaluate([chosen], *pair, n_bootstrap, seed)[metric]
