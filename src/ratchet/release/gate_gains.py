"""Conditions that compare a challenger with the champion, or with a naive forecast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ratchet.learning.metrics import (
    Gain,
    diebold_mariano,
    greater_is_better,
    losses,
    tidy_rows,
)
from ratchet.release.conditions import NOISE, Condition
from ratchet.release.evidence import Mask, Rows
from ratchet.release.gate_case import Case


def gain(case: Case) -> Condition:
    """The score is better by more than the least gain."""
    found, least = case.gain, case.release.min_gain
    share = _share(found)["value"]
    passed = share - least > NOISE
    reason = f"{_scores(case, case.primary, found)}, more than {percent(least)} better is asked"
    return Condition("gain", passed, reason, {**numbers(found), "min_gain": least})


def proof(case: Case) -> Condition:
    """The lower bound of the gain is above 0; a challenger that is worse for sure is refused."""
    found, earlier = case.gain, case.evidence.earlier
    share, sure = _share(found), f"{percent(case.confidence)} confidence"
    if earlier > 0:
        sure += f", as {earlier:.3g} challengers were judged on these rows before"
    told = {**numbers(found), "confidence": case.confidence, "earlier": earlier}
    told |= _diebold_mariano(case)
    if share["low"] > NOISE:
        reason = f"at least {percent(share['low'])} better with {sure}{_drawn(found)}"
        return Condition("proof", True, reason, told)
    if share["high"] < -NOISE:
        reason = (
            f"{_scores(case, case.primary, found)}, at least {percent(-share['high'])} worse "
            f"with {sure}{_drawn(found)}"
        )
        return Condition("proof", False, reason, told, rejects=True)
    reason = f"{_range(share)}, each end with {sure}{_drawn(found)}"
    return Condition("proof", False, reason, told)


def naive(case: Case) -> Condition:
    """The challenger beats the naive forecast, in every target that has one."""
    told: dict[str, Any] = {}
    good: list[str] = []
    undecided: list[str] = []
    worse: list[str] = []
    for target, rows in case.evidence.rows.items():
        if rows.naive is None:
            continue
        found = case.compare(target, baseline="naive")
        told[target] = numbers(found, "naive")
        share = _share(found, "naive forecast")
        said = (
            f"{_scores(case, target, found, 'the naive forecast')} ({_range(share)}{_drawn(found)})"
        )
        beaten, beats = share["high"] < -NOISE, share["low"] > NOISE
        (worse if beaten else good if beats else undecided).append(said)
    if worse or undecided:
        return Condition("naive", False, "; ".join(worse + undecided), told, rejects=bool(worse))
    return Condition("naive", True, "; ".join(good) or "there is no naive forecast to beat", told)


def slices(case: Case) -> Condition:
    """No group of rows is worse by more than is allowed, and surely worse."""
    asked = case.release.slices
    parts = list(_slices(case))
    if asked.columns and not parts:
        raise ValueError(f"there are no slices of {', '.join(asked.columns)}")
    looked = [part for part in parts if _large_enough(case, *part)]
    large = {(target, name) for target, name, _ in looked}
    small = [f"{target}: {name}" for target, name, _ in parts if (target, name) not in large]
    confidence = _corrected(case, len(looked))
    told: dict[str, Any] = {"allowance": asked.allowance, "confidence": confidence}
    worse = []
    for target, name, where in looked:
        found = case.compare(target, where=where, confidence=confidence)
        told[f"{target}: {name}"] = numbers(found)
        if _much_worse(found, asked.allowance):
            worse.append(f"{name}: {_scores(case, target, found)}")
    told["too_small"] = small
    kept = (
        f"none of {len(looked)} slices is surely worse, by more than {percent(asked.allowance)}"
        if looked
        else "there are no slices to look at"
    )
    return Condition("slices", not worse, "; ".join(worse) or kept, told)


def others(case: Case) -> Condition:
    """No other target is worse by more than is allowed, and surely worse."""
    names = [name for name in case.targets if name != case.primary]
    allowance, confidence = case.release.allowance, _corrected(case, len(names))
    told: dict[str, Any] = {"allowance": allowance, "confidence": confidence}
    worse: list[str] = []
    kept: list[str] = []
    for name in names:
        found = case.compare(name, confidence=confidence)
        told[name] = numbers(found)
        (worse if _much_worse(found, allowance) else kept).append(_scores(case, name, found))
    reason = "; ".join(worse or kept) or "there is no other target"
    return Condition("targets", not worse, reason, told)


def smallest_gain(found: Gain, min_gain: float) -> float | None:
    """Say from what gain on these rows would have shown it.

    A gain is shown if its lower bound is above 0. The ratio of the two scores, ``1 - gain`` where
    smaller is better and ``1 + gain`` elsewhere, has a bound that stands at a fixed proportion to
    it: the one that was found holds for any other gain on rows like these. A true gain of this
    size is shown about half of the time, for chance makes it look smaller as often as larger.

    Args:
        found: the gain of the challenger over the champion.
        min_gain: share by which the score has to be bettered in any case.

    Returns:
        Share of the champion's score, at least ``min_gain``: of these rows, a larger gain is
        shown and a smaller one is not. ``None`` where the score has no share.
    """
    if found.share is None:
        return None
    value, low = found.share["value"], found.share["low"]
    ratio = 1 + low if greater_is_better(found.metric) else 1 - low
    return max(min_gain, (value - low) / ratio) if ratio > 0 else None


def numbers(found: Gain, baseline: str = "champion") -> dict[str, Any]:
    """Both scores, the gain and its bounds, and on what rows."""
    told = {
        "metric": found.metric,
        baseline: found.baseline,
        "challenger": found.model,
        "difference": found.difference,
        "gain": found.share,
        "rows": found.rows,
        "drawn": found.drawn.to_json(),
    }
    if found.drawn.by == "time":
        told |= {"times": found.drawn.number, "block": found.drawn.block}
    return told


def percent(share: float) -> str:
    """A share in words: three digits are enough to tell it from its bound."""
    return f"{100 * share:.3g} %"


def _share(found: Gain, baseline: str = "champion") -> dict[str, float]:
    if found.share is None:
        raise ValueError(
            f"{found.metric} of the {baseline} is {found.baseline['value']:.4g}, and 0 in some "
            f"draws: there is no share of it"
        )
    return found.share


def _much_worse(found: Gain, allowance: float) -> bool:
    size = abs(found.baseline["value"])
    if not found.difference["high"] < -NOISE * size:
        return False
    loss = -found.difference["value"]
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


def _scores(case: Case, target: str, found: Gain, baseline: str = "the champion") -> str:
    text = (
        f"{found.metric} of {target} {found.model['value']:.4g} against "
        f"{found.baseline['value']:.4g} of {baseline}"
    )
    if found.share is None:
        return text
    value = found.share["value"]
    return f"{text}, {percent(abs(value))} {'better' if value >= 0 else 'worse'}"


def _drawn(found: Gain) -> str:
    """What was drawn together, in words; nothing where rows were drawn one by one."""
    drawn = found.drawn
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
