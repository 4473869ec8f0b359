"""Conditions that compare a challenger with the champion, or with a naive forecast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ratchet.gate.case import Case
from ratchet.gate.conditions import NOISE, Condition
from ratchet.gate.evidence import Mask, Rows
from ratchet.learning.metrics import (
    Gain,
    diebold_mariano,
    greater_is_better,
    losses,
    tidy_rows,
)


def gain(case: Case) -> Condition:
    """The score is better by more than the least gain."""
    result, least = case.gain, case.release.min_gain
    share = _share(result)["value"]
    passed = share - least > NOISE
    reason = f"{_scores(case, case.primary, result)}, more than {percent(least)} better is asked"
    return Condition("gain", passed, reason, {**numbers(result), "min_gain": least})


def proof(case: Case) -> Condition:
    """The lower bound of the gain is above 0; a challenger that is worse for sure is refused."""
    result, earlier = case.gain, case.evidence.earlier
    share, sure = _share(result), f"{percent(case.confidence)} confidence"
    if earlier > 0:
        sure += f", as {earlier:.3g} challengers were judged on these rows before"
    details = {**numbers(result), "confidence": case.confidence, "earlier": earlier}
    details |= _diebold_mariano(case)
    if share["low"] > NOISE:
        reason = f"at least {percent(share['low'])} better with {sure}{_drawn(result)}"
        return Condition("proof", True, reason, details)
    if share["high"] < -NOISE:
        reason = (
            f"{_scores(case, case.primary, result)}, at least {percent(-share['high'])} worse "
            f"with {sure}{_drawn(result)}"
        )
        return Condition("proof", False, reason, details, rejects=True)
    reason = f"{_range(share)}, each end with {sure}{_drawn(result)}"
    return Condition("proof", False, reason, details)


def naive(case: Case) -> Condition:
    """The challenger beats the naive forecast, in every target that has one."""
    details: dict[str, Any] = {}
    good: list[str] = []
    undecided: list[str] = []
    worse: list[str] = []
    for target, rows in case.evidence.rows.items():
        if rows.naive is None:
            continue
        result = case.compare(target, baseline="naive")
        details[target] = numbers(result, "naive")
        share = _share(result, "naive forecast")
        scores = _scores(case, target, result, "the naive forecast")
        text = f"{scores} ({_range(share)}{_drawn(result)})"
        beaten, beats = share["high"] < -NOISE, share["low"] > NOISE
        (worse if beaten else good if beats else undecided).append(text)
    if worse or undecided:
        return Condition("naive", False, "; ".join(worse + undecided), details, rejects=bool(worse))
    return Condition(
        "naive", True, "; ".join(good) or "there is no naive forecast to beat", details
    )


def slices(case: Case) -> Condition:
    """No group of rows is worse by more than is allowed, and surely worse."""
    limits = case.release.slices
    parts = list(_slices(case))
    if limits.columns and not parts:
        raise ValueError(f"there are no slices of {', '.join(limits.columns)}")
    looked = [part for part in parts if _large_enough(case, *part)]
    large = {(target, name) for target, name, _ in looked}
    small = [f"{target}: {name}" for target, name, _ in parts if (target, name) not in large]
    confidence = _corrected(case, len(looked))
    details: dict[str, Any] = {"allowance": limits.allowance, "confidence": confidence}
    worse = []
    for target, name, where in looked:
        result = case.compare(target, where=where, confidence=confidence)
        details[f"{target}: {name}"] = numbers(result)
        if _much_worse(result, limits.allowance):
            worse.append(f"{name}: {_scores(case, target, result)}")
    details["too_small"] = small
    not_worse = (
        f"none of {len(looked)} slices is surely worse, by more than {percent(limits.allowance)}"
        if looked
        else "there are no slices to look at"
    )
    return Condition("slices", not worse, "; ".join(worse) or not_worse, details)


def others(case: Case) -> Condition:
    """No other target is worse by more than is allowed, and surely worse."""
    names = [name for name in case.targets if name != case.primary]
    allowance, confidence = case.release.allowance, _corrected(case, len(names))
    details: dict[str, Any] = {"allowance": allowance, "confidence": confidence}
    worse: list[str] = []
    not_worse: list[str] = []
    for name in names:
        result = case.compare(name, confidence=confidence)
        details[name] = numbers(result)
        (worse if _much_worse(result, allowance) else not_worse).append(_scores(case, name, result))
    reason = "; ".join(worse or not_worse) or "there is no other target"
    return Condition("targets", not worse, reason, details)


def smallest_gain(result: Gain, min_gain: float) -> float | None:
    """Say from what gain on these rows would have shown it.

    A gain is shown if its lower bound is above 0. The ratio of the two scores, ``1 - gain`` where
    smaller is better and ``1 + gain`` elsewhere, has a bound that stands at a fixed proportion to
    it: the one that was found holds for any other gain on rows like these. A true gain of this
    size is shown about half of the time, for chance makes it look smaller as often as larger.

    Args:
        result: the gain of the challenger over the champion.
        min_gain: share by which the score has to be bettered in any case.

    Returns:
        Share of the champion's score, at least ``min_gain``: of these rows, a larger gain is
        shown and a smaller one is not. ``None`` where the score has no share.
    """
    if result.share is None:
        return None
    value, low = result.share["value"], result.share["low"]
    ratio = 1 + low if greater_is_better(result.metric) else 1 - low
    return max(min_gain, (value - low) / ratio) if ratio > 0 else None


def numbers(result: Gain, baseline: str = "champion") -> dict[str, Any]:
    """Both scores, the gain and its bounds, and on what rows."""
    details = {
        "metric": result.metric,
        baseline: result.baseline,
        "challenger": result.model,
        "difference": result.difference,
        "gain": result.share,
        "rows": result.rows,
        "drawn": result.drawn.to_json(),
    }
    if result.drawn.by == "time":
        details |= {"times": result.drawn.number, "block": result.drawn.block}
    return details


def percent(share: float) -> str:
    """A share in words: three digits are enough to tell it from its bound."""
    return f"{100 * share:.3g} %"


def _share(result: Gain, baseline: str = "champion") -> dict[str, float]:
    if result.share is None:
        raise ValueError(
            f"{result.metric} of the {baseline} is {result.baseline['value']:.4g}, and 0 in some "
            f"draws: there is no share of it"
        )
    return result.share


def _much_worse(result: Gain, allowance: float) -> bool:
    size = abs(result.baseline["value"])
    if not result.difference["high"] < -NOISE * size:
        return False
    loss = -result.difference["value"]
    return size == 0 or loss / size - allowance > NOISE


def _corrected(case: Case, n: int) -> float:
    """Level of each of n bounds at which all hold together (Bonferroni)."""
    return 1 - (1 - case.release.confidence) / max(n, 1)


def _slices(case: Case) -> Iterator[tuple[str, str, Mask]]:
    for target, rows in case.evidence.rows.items():
        for name, where in rows.slices.items():
            mask = np.asarray(where)
            if mask.dtype != np.bool_ or mask.shape != (len(rows.challenger),):
                raise ValueError(
                    f"slice {name} of {target}: {mask.dtype} of shape {mask.shape}, expected "
                    f"true or false for each of the {len(rows.challenger)} rows"
                )
            yield target, str(name), mask


def _large_enough(case: Case, target: str, _name: str, where: Mask) -> bool:
    if where.sum() < max(case.release.slices.min_rows, 2):
        return False
    rows = case.evidence.rows[target]
    units = [values for values in (rows.moments(), rows.groups) if values is not None]
    # Rows of a single moment have no spread over time, those of one customer none over customers.
    return all(len(pd.unique(values[where])) > 1 for values in units)


def _scores(case: Case, target: str, result: Gain, baseline: str = "the champion") -> str:
    text = (
        f"{result.metric} of {target} {result.model['value']:.4g} against "
        f"{result.baseline['value']:.4g} of {baseline}"
    )
    if result.share is None:
        return text
    value = result.share["value"]
    return f"{text}, {percent(abs(value))} {'better' if value >= 0 else 'worse'}"


def _drawn(result: Gain) -> str:
    """What was drawn together, in words; nothing where rows were drawn one by one."""
    drawn = result.drawn
    if drawn.by == "group":
        return f" (by {drawn.number} groups)"
    if drawn.by == "time":
        return (
            f" (in blocks of {drawn.block} of {drawn.number} times, worth "
            f"{drawn.freedom + 1:.3g} independent ones)"
        )
    return ""


def _range(share: dict[str, float]) -> str:
    low, high = share["low"], share["high"]
    ends = [f"{percent(abs(end))} {'better' if end >= 0 else 'worse'}" for end in (low, high)]
    return f"between {ends[0]} and {ends[1]}"


def _diebold_mariano(case: Case) -> dict[str, Any]:
    rows: Rows = case.evidence.rows[case.primary]
    if rows.task != "forecasting" or rows.champion is None:
        return {}
    metric = case.metric(case.primary)
    try:
        first, second = (
            losses(metric, *tidy_rows(frame, rows.task))
            for frame in (rows.champion, rows.challenger)
        )
        test: Any = diebold_mariano(
            first, second, times=rows.challenger["time"], horizon=rows.horizon
        )
    except ValueError as error:  # reported beside the bounds, and not decisive
        test = {"not_computed": str(error)}
    return {"diebold_mariano": test}
