"""Effect of changed inputs on the scores, and evidence of a worse error without truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ratchet.config import Target
from ratchet.errors import DataError
from ratchet.learning.metrics import Resampling
from ratchet.monitoring.comparison import CONFIDENCE, exceeds, worsening
from ratchet.monitoring.drift.report import ErrorEvidence
from ratchet.monitoring.performance import score

_ENDS = 1.96  # of a 95 % interval, in standard errors

Rows = TypeVar("Rows")

Answers = Mapping[str, pd.DataFrame]
"""Target -> tidy rows: ``truth``, ``prediction`` and what else the task has."""


def scenario_effect(
    rows: Rows,
    changed: Rows,
    predict: Callable[[Rows], Answers],
    targets: Mapping[str, Target],
    *,
    resampling: Resampling,
) -> dict[str, dict[str, Any]]:
    """Score a model on rows as they are and as a scenario leaves them.

    The truth, and the unit of the errors of series, are those of the rows as they are: a scenario
    spoils what the model sees. Both scores are over the rows that are answered in both cases, and
    meet the same bootstrap draws.

    Args:
        rows: as they are, in whatever form ``predict`` takes them.
        changed: the same rows after the scenario.
        predict: gives the tidy rows of every target, indexed by the row key; rows that cannot be
            answered are not among them.
        targets: what is predicted.
        resampling: how rows are drawn.

    Returns:
        Target -> ``rows`` (answered in both cases), ``unanswered`` (only in the first), and
        ``metrics``: metric -> ``before`` and ``after`` with ``value``, ``low``, ``high``, and
        ``change``. Where no row is left, ``metrics`` is empty.

    Raises:
        DataError: no row with a known truth is answered as the rows are.
    """
    before, after = predict(rows), predict(changed)
    effects = {}
    for name, target in targets.items():
        with_truth = before[name].dropna(subset=["truth", "prediction"])
        if with_truth.empty:
            raise DataError(f"target '{name}': no row with a known truth can be answered")
        answered = after[name].dropna(subset=["prediction"])
        keys = with_truth.index.intersection(answered.index)
        fixed = ["truth", *({"scale", "rms", "time"} & set(with_truth))]
        spoilt = answered.loc[keys].assign(**with_truth.loc[keys, fixed])
        pair = (with_truth.loc[keys], spoilt)
        metrics = _compare(*pair, target, resampling) if len(keys) else {}
        effects[name] = {
            "rows": len(keys),
            "unanswered": len(with_truth) - len(keys),
            "metrics": metrics,
        }
    return effects


def _compare(
    before: pd.DataFrame, after: pd.DataFrame, target: Target, resampling: Resampling
) -> dict[str, Any]:
    first, second = (score(rows, target, resampling) for rows in (before, after))
    return {
        name: {
            "before": first[name],
            "after": second[name],
            "change": second[name]["value"] - first[name]["value"],
        }
        for name in first
    }


def error_from_effect(effect: Mapping[str, Any], metric: str, allowed: float) -> ErrorEvidence:
    """Whether a scenario does harm: a worse score, or rows that get no answer any more.

    Args:
        effect: of one target, as ``scenario_effect`` gives it.
        metric: the score that counts.
        allowed: share of the score before, and of the rows, such as 0.05.
    """
    lost = effect["unanswered"] / (effect["rows"] + effect["unanswered"])
    unanswered_text = f"{lost:.1%} of the rows get no answer any more." if lost else ""
    if not effect["metrics"]:
        return ErrorEvidence(
            worse=True, kind="measured", text=unanswered_text, numbers={"unanswered": lost}
        )
    scores = effect["metrics"][metric]
    # Of the same rows, so that chance makes no difference.
    before, after = ({"value": scores[when]["value"]} for when in ("before", "after"))
    error = error_from_scores(metric, before, after, allowed, effect["rows"])
    worse = error.worse or exceeds(lost, allowed)
    text = " ".join([error.text, *([unanswered_text] if unanswered_text else [])])
    return replace(error, worse=worse, text=text, numbers=error.numbers | {"unanswered": lost})


def error_from_scores(
    metric: str,
    before: Mapping[str, float],
    now: Mapping[str, float],
    allowed: float,
    rows: int,
) -> ErrorEvidence:
    """Whether a score is worse by more than is allowed, as measured from the truth.

    Where intervals are given the scores are of different rows, and the difference has to be more
    than chance, too: a week that is a little harder than the test rows is no change of the world.

    Args:
        metric: name of the score.
        before: ``value`` of what it was, such as at the promotion; ``low`` and ``high`` where it
            was not the same rows that it was measured on.
        now: the same of what it is; a value that is not finite counts as worse.
        allowed: share of the score before, such as 0.05.
        rows: rows that it was measured on.
    """
    first, second = before["value"], now["value"]
    by, chance = worsening(metric, first, second), _chance(before, now)
    worse = bool(np.isnan(by)) or (exceeds(by, allowed) and abs(second - first) > chance)
    text = f"{metric} is {second:.4g} on {rows} rows where it was {first:.4g}, measured."
    numbers = {
        "before": first,
        "now": second,
        "allowed": allowed,
        "chance": chance,
        "rows": float(rows),
    }
    return ErrorEvidence(worse=worse, kind="measured", text=text, numbers=numbers)


def _chance(*scores: Mapping[str, float]) -> float:
    """Difference of scores that chance alone seldom makes, from their 95 % intervals."""
    widths = [score["high"] - score["low"] for score in scores if {"low", "high"} <= set(score)]
    errors = [width / (2 * _ENDS) for width in widths if np.isfinite(width)]
    return float(NormalDist().inv_cdf(CONFIDENCE) * np.hypot.reduce([0.0, *errors]))


def error_without_truth(
    reference: pd.DataFrame, current: pd.DataFrame, target: Target, allowed: float
) -> ErrorEvidence | None:
    """Whether a model itself expects to be worse, where no truth is known yet.

    The expected error of a classifier is the mean of 1 minus its largest probability; that of
    numbers is the mean width of the intervals. Both only see what the model knows of its own
    weakness: a model that is wrong and sure of it is not found. The difference has to exceed
    what is allowed, and two standard errors (errors near in time are alike, so that those of
    series are somewhat too small).

    Args:
        reference: tidy rows of an earlier time, such as the test rows.
        current: tidy rows of the window.
        target: what is predicted.
        allowed: share of the expected error before, such as 0.05.

    Returns:
        The evidence, or None where the predictions carry no intervals or one side has no rows.
    """
    before, now = (_expected(rows, target) for rows in (reference, current))
    if len(before) == 0 or len(now) == 0:
        return None
    first, second = float(before.mean()), float(now.mean())
    noise = float(np.hypot(before.std() / len(before) ** 0.5, now.std() / len(now) ** 0.5))
    worse = second - first > max(allowed * first, 2 * noise)
    what = "chance to be wrong" if target.is_classes else "width of its intervals"
    text = f"The model's own {what} is {second:.3g} where it was {first:.3g}: estimated, no truth."
    numbers = {"before": first, "now": second, "allowed": allowed, "rows": float(len(now))}
    return ErrorEvidence(worse=worse, kind="estimated", text=text, numbers=numbers)


def _expected(rows: pd.DataFrame, target: Target) -> pd.Series:
    """Error that the model expects, one value a row."""
    if target.is_classes:
        columns = [f"probability_{name}" for name in target.classes or []]
        return (1 - rows[columns].max(axis=1)).dropna()
    if not {"low", "high"} <= set(rows):
        return pd.Series(dtype=float)
    return (rows["high"] - rows["low"]).replace([np.inf, -np.inf], np.nan).dropna()
