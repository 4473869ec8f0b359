"""What to do about a champion that does worse than it did when it was promoted.

``assess`` looks at the windows of the champion, ``decide`` at the champion and the previous model
on the same rows, which are asked for only where the first says so; ``evaluate_champion`` is both.
The pipelines look rows up in the prediction log, the replay among answers that it has stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from ratchet.config.production import Watch
from ratchet.database import naive_utc
from ratchet.json_values import json_or_null
from ratchet.learning.metrics import greater_is_better
from ratchet.monitoring.comparison import CONFIDENCE, Comparison, exceeds, worsening
from ratchet.monitoring.performance import promoted_scores

_ENDS = 1.96  # of a 95 % interval, in standard errors


@dataclass(frozen=True)
class Assessment:
    """What the windows of a champion say.

    Attributes:
        action: ``none``; ``retrain``; or ``compare``: score the previous model on the rows from
            ``numbers["from"]`` to ``numbers["until"]`` and ask ``decide``.
        reason: one sentence.
        numbers: what it goes by.
    """

    action: Literal["none", "retrain", "compare"]
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return json_or_null(asdict(self))


@dataclass(frozen=True)
class Action:
    """What is to be done.

    Attributes:
        action: ``none``; ``rollback``, with the failed version put into quarantine; or
            ``retrain``.
        reason: one sentence.
        numbers: what it goes by.
    """

    action: Literal["none", "rollback", "retrain"]
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return json_or_null(asdict(self))


Against = Callable[[Assessment], tuple[Comparison | None, str]]
"""Compares champion and previous model on the rows in question; or says why that cannot be done."""


def evaluate_champion(
    windows: pd.DataFrame,
    promoted: Mapping[str, float] | None,
    metric: str,
    watch: Watch,
    against: Against,
    *,
    since: datetime | None,
    last_request: datetime | None,
    inputs: Sequence[str] = (),
) -> Action:
    """Say what is to be done about a champion.

    Args:
        windows: as ``score_windows`` gives them.
        promoted: score at the promotion, ``value``, ``low`` and ``high``; ``None`` if not known.
            Windows of paths bring it in the mix of their steps.
        metric: what is looked at.
        watch: the rules.
        against: called where the assessment asks for the previous model.
        since: when the champion began to serve, by the time of rows.
        last_request: when a retraining was last asked for.
        inputs: findings of the drift report about the inputs, in sentences.
    """
    assessment = assess(
        windows,
        promoted["value"] if promoted else math.nan,
        metric,
        watch,
        since=since,
        last_change=since,
        last_request=last_request,
        promoted_interval=(promoted["low"], promoted["high"]) if promoted else None,
    )
    comparison, why = against(assessment) if assessment.action == "compare" else (None, "")
    return decide(assessment, comparison, min_rows=watch.min_rows, inputs=inputs, no_way_back=why)


def assess(
    windows: pd.DataFrame,
    promoted: float,
    metric: str,
    watch: Watch,
    *,
    since: datetime | None = None,
    last_change: datetime | None = None,
    last_request: datetime | None = None,
    promoted_interval: tuple[float, float] | None = None,
    confidence: float = CONFIDENCE,
) -> Assessment:
    """Say whether a champion is worse than it was, and has been for long enough.

    A window counts when it is complete, begins at ``since`` or later and has a score: one without
    is no evidence, for or against. The rule: worse by more than the threshold in ``failing`` of
    the last ``of`` windows that count, the latest among them. The rows without time of a use case
    are a single window, which cannot persist: it fails alone.

    Args:
        windows: as ``score_windows`` gives them.
        promoted: score at the promotion.
        metric: what is looked at.
        watch: thresholds, persistence and cool-down.
        since: when the champion began to serve; by the time of rows, like that of windows.
        last_change: when models last changed. Nothing is done in the first ``cooldown`` windows
            that began later.
        last_request: when a retraining was last asked for. No other one is in as many windows; a
            rollback need not wait for them.
        promoted_interval: ends of the 95 % interval of ``promoted``.
        confidence: how sure it has to be that these windows together are worse at all, before a
            retraining is asked for; without intervals in ``windows`` it is not asked.
    """
    if not math.isfinite(promoted):
        return Assessment("none", f"there is no {metric} of the promotion to compare with")
    counted = _counted(windows, metric, since)
    if counted.empty:
        return Assessment("none", f"no complete window has enough known truth for {metric} yet")
    numbers = _numbers(counted.tail(watch.of), promoted, metric, promoted_interval)
    errors = numbers["standard_errors"]
    numbers["sure"] = errors is None or errors > NormalDist().inv_cdf(confidence)
    numbers["asked"] = _waiting(windows, watch, last_request, "a retraining was asked for")
    if waiting := _waiting(windows, watch, last_change, "models changed"):
        return Assessment("none", f"{waiting}; {_latest_window(numbers)}", numbers)
    return _by_the_rule(numbers, watch)


def rows_under_review(rows: pd.DataFrame, assessment: Assessment) -> pd.DataFrame:
    """Rows on which an assessment asks to compare: from the first window that failed.

    Args:
        rows: tidy rows of the champion, as ``latest_answers`` gives them.
        assessment: one whose action is ``compare``.
    """
    start, end = assessment.numbers["from"], assessment.numbers["until"]
    if start is None:
        return rows[rows["time"].isna()]
    return rows[(rows["time"] >= pd.Timestamp(start)) & (rows["time"] < pd.Timestamp(end))]


def decide(
    assessment: Assessment,
    comparison: Comparison | None = None,
    *,
    min_rows: int = 1,
    inputs: Sequence[str] = (),
    no_way_back: str = "there is no previous model to go back to",
) -> Action:
    """Say what to do after an assessment.

    The previous model does better on the same rows, by more than chance: roll back. It does not:
    the world has changed, or the inputs have; ask for a retraining. That also where there is no
    previous model to go back to.

    Args:
        assessment: of ``assess``.
        comparison: champion and previous model on the rows that the assessment asked for; None
            where there is no previous model, or none that answers.
        min_rows: rows below which the comparison says nothing.
        inputs: findings of the drift report about the inputs, for the reason of a retraining.
        no_way_back: why there is no comparison, where there is none.
    """
    numbers = {**assessment.numbers}
    if assessment.action == "none":
        return Action("none", assessment.reason, numbers)
    if assessment.action == "retrain":
        return Action("retrain", _with_inputs(assessment.reason, inputs), numbers)
    if comparison is not None:
        numbers["comparison"] = comparison.to_json()
    better = comparison is not None and comparison.rows >= min_rows and comparison.low > 0
    against = no_way_back if comparison is None else _against(comparison, min_rows)
    reason = f"{assessment.reason}; {against}"
    if better:
        return Action("rollback", reason, numbers)
    if held := _held_back(numbers):
        return Action("none", reason + held, numbers)
    return Action("retrain", _with_inputs(reason, inputs), numbers)


def _by_the_rule(numbers: Mapping[str, Any], watch: Watch) -> Assessment:
    summary, looked_at = _latest_window(numbers), len(numbers["windows"])
    rules: list[tuple[Literal["compare", "retrain"], float]] = [
        ("compare", watch.rollback_above),
        ("retrain", watch.retrain_above),
    ]
    for action, threshold in rules:
        failed = _failed(numbers, threshold, watch)
        if failed is None:
            continue
        more = {"threshold": threshold, "failing": len(failed), "from": failed[0]["start"]}
        numbers = {**numbers, **more}
        summary += f"; more than {threshold:.0%} worse in {len(failed)} of {looked_at} windows"
        held = _held_back(numbers) if action == "retrain" else ""
        return Assessment("none" if held else action, summary + held, numbers)
    return Assessment("none", summary, numbers)


def _held_back(numbers: Mapping[str, Any]) -> str:
    """Why no retraining is asked for although the rule says so; empty where it is."""
    if not numbers.get("sure", True):
        return ", but no more than chance makes it worse"
    return f"; {request}" if (request := numbers.get("asked")) else ""


def _counted(windows: pd.DataFrame, metric: str, since: datetime | None) -> pd.DataFrame:
    if metric not in windows or windows.empty:
        return windows.iloc[:0]
    counts = windows["complete"].astype(bool) & np.isfinite(windows[metric].astype(float))
    if since is not None:
        counts &= windows["start"].isna() | (windows["start"] >= naive_utc(since))
    return windows[counts]


def _waiting(windows: pd.DataFrame, watch: Watch, last: datetime | None, what: str) -> str:
    """Why nothing is done yet; empty when nothing speaks against it."""
    if last is None or not watch.cooldown or windows["start"].isna().all():
        return ""
    later = windows["complete"].astype(bool) & (windows["start"] >= naive_utc(last))
    if (passed := int(later.sum())) > watch.cooldown:
        return ""
    return (
        f"{what} {passed} complete windows ago, and nothing is done in the first {watch.cooldown}"
    )


def _numbers(
    looked_at: pd.DataFrame, promoted: float, metric: str, promoted_interval: Any
) -> dict[str, Any]:
    """The windows looked at, in order of time, and how sure it is that they are worse."""
    windows = [
        {
            "start": json_or_null(row["start"]),
            "end": json_or_null(row["end"]),
            "rows": int(row["rows"]),
            "value": float(row[metric]),
            "promoted": before,
            "worse_by": worsening(metric, before, float(row[metric])),
        }
        for (_, row), before in zip(
            looked_at.iterrows(), promoted_scores(looked_at, metric, promoted), strict=True
        )
    ]
    return {
        "metric": metric,
        "promoted": promoted,
        "windows": windows,
        "until": windows[-1]["end"],
        "standard_errors": _standard_errors(looked_at, promoted, metric, promoted_interval),
    }


def _standard_errors(
    looked_at: pd.DataFrame, promoted: float, metric: str, promoted_interval: Any
) -> float | None:
    """How many standard errors the windows together are worse by; None without intervals."""
    if f"{metric}_low" not in looked_at:
        return None
    rows = looked_at["rows"].to_numpy(dtype=float)
    share = rows / rows.sum()
    width = (looked_at[f"{metric}_high"] - looked_at[f"{metric}_low"]).to_numpy(dtype=float)
    variance = float(np.sum((share * width / (2 * _ENDS)) ** 2))
    if promoted_interval is not None:
        variance += ((promoted_interval[1] - promoted_interval[0]) / (2 * _ENDS)) ** 2
    before = promoted_scores(looked_at, metric, promoted)
    lost = float(share @ (looked_at[metric].to_numpy(dtype=float) - before))
    lost = -lost if greater_is_better(metric) else lost
    if not math.isfinite(variance):
        return None
    if not variance:
        return math.copysign(math.inf, lost) if lost else 0.0
    return lost / math.sqrt(variance)


def _failed(
    numbers: Mapping[str, Any], threshold: float, watch: Watch
) -> list[dict[str, Any]] | None:
    """Windows that fail, if there are enough and the latest is among them; else None."""
    windows = numbers["windows"]
    failed = [window for window in windows if exceeds(window["worse_by"], threshold)]
    needed = 1 if windows[-1]["start"] is None else watch.failing
    return failed if len(failed) >= needed and failed[-1] is windows[-1] else None


def _latest_window(numbers: Mapping[str, Any]) -> str:
    """The latest window beside the promotion, in words."""
    latest, metric = numbers["windows"][-1], numbers["metric"]
    promoted = latest["promoted"]
    when = f"from {latest['start'][:10]} on" if latest["start"] else "of all rows"
    by = latest["worse_by"]
    how = f"{abs(by):.1%} {'worse' if by > 0 else 'better'}" if math.isfinite(by) else "no longer 0"
    return (
        f"{metric} was {promoted:.4g} at the promotion and {latest['value']:.4g} in the latest "
        f"window {when} ({latest['rows']} rows): {how}"
    )


def _against(comparison: Comparison, min_rows: int) -> str:
    if comparison.rows < min_rows:
        return f"the previous model answered {comparison.rows} of these rows, {min_rows} are needed"
    scores = f"{comparison.previous:.4g} against {comparison.champion:.4g}"
    ends = f"gain {comparison.gain:.3g}, {comparison.low:.3g} to {comparison.high:.3g}"
    same = f"on the same {comparison.rows} rows the previous model has {scores} ({ends})"
    return same if comparison.low > 0 else f"{same}, which is not surely better"


def _with_inputs(reason: str, inputs: Sequence[str]) -> str:
    return f"{reason}; inputs moved: {'; '.join(inputs)}" if inputs else reason
