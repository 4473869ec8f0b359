"""Results of every policy: errors week by week, regret, switches and false promotions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ratchet.errors import DataError
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import greater_is_better
from ratchet.monitoring.comparison import RESAMPLING, compare, worsening
from ratchet.replay.backtest import Backtest
from ratchet.replay.history import History, Span, is_number

CONFIDENCE = 0.95
_FEW = 3
"""Weeks below which nothing is said of chance."""


def build_report(history: History, backtests: Sequence[Backtest]) -> Mapping[str, Any]:
    """Compare what policies have done.

    Args:
        history: the past.
        backtests: one of each policy; the first is the one that the others are compared with, the
            last is the best in hindsight.

    Returns:
        ``metric``, ``target``, ``greater_is_better``; ``weeks``, each with ``start`` and ``end``
        (days) and whether it is ``compared``; ``policies``, see ``_policy_summary``; ``best``, the
        name of the best that could be used; ``stages`` and ``incidents``. Plain values, for JSON.
    """
    weekly = {result.policy.name: _weekly(history, result) for result in backtests}
    answered = np.isfinite(np.array(list(weekly.values())))
    # A policy that never answers does not count.
    compared = answered[answered.any(axis=1)].all(axis=0)
    totals = {result.policy.name: _total(history, result, compared) for result in backtests}
    least = totals[backtests[-1].policy.name]["value"]
    first = weekly[backtests[0].policy.name]
    counts = [
        sum(len(_rows(history, result.spans, *week)) for week in history.weeks)
        for result in backtests
    ]
    summaries = []
    for result, count in zip(backtests, counts, strict=True):
        name = result.policy.name
        total = totals[name]
        summaries.append(
            {
                **_policy_summary(history, result),
                "total": total,
                "unanswered": max(counts) - count,
                "weekly": weekly[name],
                "regret": history.loss(total["value"]) - history.loss(least),
                "regret_share": worsening(history.metric, least, total["value"]),
                "against_first": difference(history, weekly[name], first, compared),
            }
        )
    losses = {
        result.policy.name: history.loss(totals[result.policy.name]["value"])
        for result in backtests
        if result.policy.is_rule
    }
    usable = {name: loss for name, loss in losses.items() if is_number(loss)}
    return json_or_null(
        {
            "target": history.target,
            "metric": history.metric,
            "greater_is_better": greater_is_better(history.metric),
            "weeks": [
                {"start": _day(start + pd.Timedelta("1us")), "end": _day(end), "compared": bool(ok)}
                for (start, end), ok in zip(history.weeks, compared, strict=True)
            ],
            "policies": summaries,
            "best": min(usable, key=lambda name: usable[name], default=None),
            "stages": [_stage(history, day) for day in sorted(history.stages)],
            "incidents": [one.model_dump(mode="json", by_alias=True) for one in history.incidents],
        }
    )


def difference(
    history: History, mine: Sequence[float], other: Sequence[float], compared: Any
) -> dict[str, float]:
    """By how much a policy is worse than another, paired by week.

    Args:
        history: says which way the metric goes.
        mine: score of every week.
        other: the same of the other policy.
        compared: which weeks count.

    Returns:
        ``value``, the mean difference of a week, above 0 where it is worse; ``low`` and ``high``,
        the ends of its 95 % interval by Student's t; ``weeks``, and in how many of them the two
        differ. The ends are missing where there are too few weeks, and take weeks for
        independent: models that serve for several of them make them alike, and the interval too
        narrow.
    """
    pairs = [(history.loss(a), history.loss(b)) for a, b in zip(mine, other, strict=True)]
    by_week = np.array([a - b for (a, b), ok in zip(pairs, compared, strict=True) if ok])
    counts = {"weeks": len(by_week), "differ": int(np.sum(by_week != 0))}
    if not len(by_week):
        return {**counts, "value": math.nan, "low": math.nan, "high": math.nan}
    value = float(by_week.mean())
    return {**counts, "value": value, **_ends(by_week, value)}


def _ends(by_week: Any, value: float) -> dict[str, float]:
    if len(by_week) < _FEW:
        return {"low": math.nan, "high": math.nan}
    error = float(by_week.std(ddof=1)) / math.sqrt(len(by_week))
    width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(by_week) - 1)) * error
    return {"low": value - width, "high": value + width}


def _policy_summary(history: History, result: Backtest) -> dict[str, object]:
    """What a policy has done: counts, switches with their reasons, and what served when."""
    happened = [event.event for event in result.events]
    changes = list(_changes(result.spans))
    return {
        "name": result.policy.name,
        "meaning": result.policy.meaning,
        "is_rule": result.policy.is_rule,
        "trainings": len(result.trained),
        "promotions": happened.count("promote"),
        "rollbacks": happened.count("rollback"),
        "requests": happened.count("retrain"),
        "switches": len(changes),
        "false_promotions": _false_promotions(history, result, changes),
        "events": [
            {
                "day": _day(event.day),
                "event": event.event,
                "version": event.version,
                "champion": event.champion,
                "reason": event.reason,
                "numbers": dict(event.numbers),
            }
            for event in result.events
        ],
        "served": [
            {
                "version": span.model.version,
                "candidates": dict(span.model.candidates),
                "after": span.after,
                "until": span.until,
            }
            for span in result.spans
        ],
    }


def _changes(spans: Sequence[Span]) -> list[tuple[Span, Span]]:
    return [(old, new) for old, new in pairwise(spans) if old.model is not new.model]


def _false_promotions(
    history: History, result: Backtest, changes: Sequence[tuple[Span, Span]]
) -> list[Mapping[str, object]]:
    """New models that did worse than the one they replaced, on the rows that they then answered.

    ``sure`` says whether that is more than chance (one-sided, 95 %, paired by row).
    """
    served = {result.spans[0].model.version} if result.spans else set()
    worse_models: list[Mapping[str, object]] = []
    for old, new in changes:
        is_new = new.model.version not in served
        served.add(new.model.version)
        worse = _worse_than(history, new, old) if is_new else None
        if worse is not None:
            worse_models.append(
                {"version": new.model.version, "instead": old.model.version, **worse}
            )
    return worse_models


def _worse_than(history: History, new: Span, old: Span) -> Mapping[str, object] | None:
    ours, theirs = (history.rows(span.model, new.after, new.until) for span in (new, old))
    try:
        comparison = compare(
            ours,
            theirs,
            history.use_case.targets[history.target],
            history.metric,
            groups=history.groups,
            resampling=replace(
                RESAMPLING,
                seed=history.seed,
                confidence=CONFIDENCE,
                horizon=history.use_case.features.horizon,
            ),
        )
    except DataError:  # too few rows to say anything
        return None
    if not comparison.gain > 0:
        return None
    return {
        "rows": comparison.rows,
        "value": comparison.champion,
        "instead_value": comparison.previous,
        "sure": comparison.low > 0,
    }


def _weekly(history: History, result: Backtest) -> list[float]:
    return [history.score(_rows(history, result.spans, *week)) for week in history.weeks]


def _total(history: History, result: Backtest, compared: Any) -> dict[str, float]:
    """Score over all rows of the weeks in which every policy has answered."""
    weeks = [week for week, ok in zip(history.weeks, compared, strict=True) if ok]
    parts = [_rows(history, result.spans, *week) for week in weeks]
    rows = pd.concat(parts) if parts else pd.DataFrame()
    return {"value": history.score(rows), "rows": len(rows)}


def _rows(history: History, spans: Sequence[Span], after: Any, until: Any) -> pd.DataFrame:
    """What was answered in a week, by whichever model served."""
    parts = [
        history.rows(span.model, max(after, span.after), min(until, span.until))
        for span in spans
        if span.after < until and span.until > after
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def _stage(history: History, day: pd.Timestamp) -> dict[str, object]:
    stage = history.stages[day]
    candidates = stage.challengers[0].candidates if stage.challengers else {}
    return {"as_of": _day(day), "trouble": stage.failure, "candidates": dict(candidates)}


def _day(moment: Any) -> str:
    return str(pd.Timestamp(moment).date())
