"""Conditions that compare the challenger with the champion, or with a naive forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.gate.conditions import NOISE, Condition, GateCase
from ratchet.gate.slices import Mask
from ratchet.learning.metrics import (
    GAIN_TO_FIND,
    Gain,
    diebold_mariano,
    greater_is_better,
    losses,
    power_of_comparison,
    tidy_rows,
)


def check_gain(case: GateCase) -> Condition:
    """The score is better by more than the minimum gain."""
    result, least = case.gain, case.release.min_gain
    share = _share(result)["value"]
    passed = share - least > NOISE
    reason = f"{_scores(case, case.primary, result)}, more than {percent(least)} better is asked"
    return Condition("gain", passed, reason, {**gain_numbers(result), "min_gain": least})


def check_proof(case: GateCase) -> Condition:
    """The lower bound of the gain is above 0; where the upper one is below, it rejects."""
    result, earlier = case.gain, case.evidence.earlier
    share, confidence = _share(result), f"{percent(case.confidence)} confidence"
    if earlier > 0:
        confidence += f", as {earlier:.3g} challengers were judged on these rows before"
    details = {**gain_numbers(result), "confidence": case.confidence, "earlier": earlier}
    details |= _diebold_mariano(case)
    if share["low"] > NOISE:
        reason = f"at least {percent(share['low'])} better with {confidence}{_drawn(result)}"
        return Condition("proof", True, reason, details)
    if share["high"] < -NOISE:
        reason = (
            f"{_scores(case, case.primary, result)}, at least {percent(-share['high'])} worse "
            f"with {confidence}{_drawn(result)}"
        )
        return Condition("proof", False, reason, details, rejects=True)
    reason = f"{_range(share)}, each end with {confidence}{_drawn(result)}"
    return Condition("proof", False, reason, details)


def check_naive(case: GateCase) -> Condition:
    """The challenger beats the naive forecast, in every target that has one."""
    details: dict[str, object] = {}
    better: list[str] = []
    undecided: list[str] = []
    worse: list[str] = []
    for target, rows in case.evidence.rows.items():
        if rows.naive is None:
            continue
        result = case.compare(target, baseline="naive")
        details[target] = gain_numbers(result, "naive")
        share = _share(result, "naive forecast")
        scores = _scores(case, target, result, "the naive forecast")
        text = f"{scores} ({_range(share)}{_drawn(result)})"
        if share["high"] < -NOISE:
            worse.append(text)
        elif share["low"] > NOISE:
            better.append(text)
        else:
            undecided.append(text)
    if worse or undecided:
        return Condition("naive", False, "; ".join(worse + undecided), details, rejects=bool(worse))
    reason = "; ".join(better) or "there is no naive forecast to beat"
    return Condition("naive", True, reason, details)


def check_slices(case: GateCase) -> Condition:
    """No slice is worse by more than the allowance, and worse with confidence."""
    limits = case.release.slices
    parts = list(_slices(case))
    if limits.columns and not parts:
        raise ValueError(f"there are no slices of {', '.join(limits.columns)}")
    large = [part for part in parts if _large_enough(case, *part)]
    large_names = {(target, name) for target, name, _ in large}
    small = [f"{target}: {name}" for target, name, _ in parts if (target, name) not in large_names]
    confidence = _corrected(case, len(large))
    details: dict[str, object] = {"allowance": limits.allowance, "confidence": confidence}
    worse = []
    for target, name, where in large:
        result = case.compare(target, where=where, confidence=confidence)
        details[f"{target}: {name}"] = gain_numbers(result)
        if _much_worse(result, limits.allowance):
            worse.append(f"{name}: {_scores(case, target, result)}")
    details["too_small"] = small
    not_worse = (
        f"none of {len(large)} slices is surely worse, by more than {percent(limits.allowance)}"
        if large
        else "there are no slices to look at"
    )
    return Condition("slices", not worse, "; ".join(worse) or not_worse, details)


def check_other_targets(case: GateCase) -> Condition:
    """No other target is worse by more than the allowance, and worse with confidence."""
    names = [name for name in case.targets if name != case.primary]
    allowance, confidence = case.release.allowance, _corrected(case, len(names))
    details: dict[str, object] = {"allowance": allowance, "confidence": confidence}
    worse: list[str] = []
    not_worse: list[str] = []
    for name in names:
        result = case.compare(name, confidence=confidence)
        details[name] = gain_numbers(result)
        (worse if _much_worse(result, allowance) else not_worse).append(_scores(case, name, result))
    reason = "; ".join(worse or not_worse) or "there is no other target"
    return Condition("targets", not worse, reason, details)


def smallest_gain(result: Gain, min_gain: float) -> float | None:
    """The smallest gain that these rows could have shown.

    A gain is shown if its lower bound is above 0. The ratio of the two scores, ``1 - gain`` where
    smaller is better and ``1 + gain`` elsewhere, has a bound that is proportional to it: the
    proportion found here holds for any other gain on rows like these. A true gain of this size is
    shown about half of the time, as chance makes it look smaller as often as larger.

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


def power_numbers(case: GateCase, gain: float = GAIN_TO_FIND) -> dict[str, object]:
    """How likely this gate was to let a challenger pass that is truly better by a given share.

    Of the comparisons of the primary target, as far as there are two models to compare: with the
    champion, where the gain has to exceed ``min_gain``, too, at the level that goes with the
    challengers before; and with the naive forecast, which a challenger so much better than the
    champion would beat by a gain of its own. Both rest on the same rows and on the same challenger,
    so that the less likely one is taken for both. See ``power_of_comparison``.

    Args:
        case: the evidence.
        gain: the true gain over the champion, or the naive forecast where nothing serves yet.

    Returns:
        ``gain``; ``probability``; ``min_gain``, which the gain has to exceed; ``against``, the
        champion, or the naive forecast where there is none; ``blocks``, as many independent pieces
        the rows are made of. Empty where nothing is compared.
    """
    first, release = case.evidence.is_first, case.release
    baselines = dict(case.evidence.rows[case.primary].baselines())
    naive = case.compare(case.primary, baseline="naive") if "naive" in baselines else None
    result = naive if first else case.gain
    if result is None:
        return {}
    min_gain = None if first else release.min_gain
    confidence = release.confidence if first else case.confidence
    powers = [power_of_comparison(result, confidence, gain, min_gain)]
    if naive is not None and not first:
        own_gain = _gain_over_naive(naive, result.baseline["value"], gain)
        if own_gain is not None:
            powers.append(power_of_comparison(naive, release.confidence, own_gain))
    known = [power for power in powers if power is not None]
    if powers[0] is None:
        return {}
    return {
        "gain": gain,
        "probability": min(known),
        "min_gain": min_gain or 0.0,
        "against": "naive" if first else "champion",
        "blocks": round(result.drawn.number / result.drawn.block, 1),
    }


def _gain_over_naive(naive: Gain, champion: float, gain: float) -> float | None:
    """Gain over the naive forecast of a model that is better than the champion by a share."""
    sign, score = 1 if greater_is_better(naive.metric) else -1, naive.baseline["value"]
    model = champion + sign * gain * abs(champion)
    return sign * (model - score) / abs(score) if score else None


def power_sentence(numbers: Mapping[str, Any]) -> str:
    """``power_numbers`` as text; empty where there are none."""
    if not numbers:
        return ""
    gain, least = numbers["gain"], numbers["min_gain"]
    reason = f", as more than {percent(least)} better is asked" if least >= gain else ""
    return (
        f"with these {numbers['blocks']:.3g} blocks of test rows a challenger that is truly "
        f"{percent(gain)} better than the {_AGAINST[numbers['against']]} passes with "
        f"probability {numbers['probability']:.2f}{reason}"
    )


_AGAINST = {"naive": "naive forecast", "champion": "champion"}


def gain_numbers(result: Gain, baseline: str = "champion") -> dict[str, object]:
    """Both scores, the gain and its bounds, and the rows that they are of."""
    details: dict[str, object] = {
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
    """A share as text; three digits are enough to tell it from its bound."""
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


def _corrected(case: GateCase, n: int) -> float:
    """Level of each of n bounds at which all hold together (Bonferroni)."""
    return 1 - (1 - case.release.confidence) / max(n, 1)


def _slices(case: GateCase) -> Iterator[tuple[str, str, Mask]]:
    for target, rows in case.evidence.rows.items():
        for name, where in rows.slices.items():
            mask = np.asarray(where)
            if mask.dtype != np.bool_ or mask.shape != (len(rows.challenger),):
                raise ValueError(
                    f"slice {name} of {target}: {mask.dtype} of shape {mask.shape}, expected "
                    f"true or false for each of the {len(rows.challenger)} rows"
                )
            yield target, str(name), mask


def _large_enough(case: GateCase, target: str, _name: str, where: Mask) -> bool:
    if where.sum() < max(case.release.slices.min_rows, 2):
        return False
    rows = case.evidence.rows[target]
    units = [values for values in (rows.row_times(), rows.groups) if values is not None]
    # Rows of a single moment have no spread over time, those of one customer none over customers.
    return all(len(pd.unique(values[where])) > 1 for values in units)


def _scores(case: GateCase, target: str, result: Gain, baseline: str = "the champion") -> str:
    text = (
        f"{result.metric} of {target} {result.model['value']:.4g} against "
        f"{result.baseline['value']:.4g} of {baseline}"
    )
    if result.share is None:
        return text
    value = result.share["value"]
    return f"{text}, {percent(abs(value))} {'better' if value >= 0 else 'worse'}"


def _drawn(result: Gain) -> str:
    """Units of the bootstrap as text; empty where rows were drawn one by one."""
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


def _diebold_mariano(case: GateCase) -> dict[str, object]:
    rows = case.evidence.rows[case.primary]
    if rows.task != "forecasting" or rows.champion is None:
        return {}
    metric = case.metric(case.primary)
    try:
        first, second = (
            losses(metric, *tidy_rows(frame, rows.task))
            for frame in (rows.champion, rows.challenger)
        )
        times = rows.challenger["time"]
        test = diebold_mariano(first, second, times=times, horizon=rows.horizon)
    except ValueError as error:  # reported beside the bounds, and not decisive
        return {"diebold_mariano": {"not_computed": str(error)}}
    return {"diebold_mariano": test}
