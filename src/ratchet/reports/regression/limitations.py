"""Rules that look at a target of numbers."""

from __future__ import annotations

import numpy as np

from ratchet.reports.blocks import Finding
from ratchet.reports.formatting import number, share, unit
from ratchet.reports.intervals import mean_interval, share_interval
from ratchet.reports.regression import results as values
from ratchet.reports.target_results import TargetResults

_SHIFT = 0.2  # standard deviations of the target
_NARROW = 0.75  # spread of the predictions, in spreads of the truth


def value_shift(case: TargetResults) -> list[Finding]:
    """The target is higher or lower in the test rows than in the training rows."""
    train, test = case.truth("train"), case.truth("test")
    moved = (test.mean() - train.mean()) / train.std() if train.std() > 0 else 0.0
    if abs(moved) < _SHIFT:
        return []
    bias = case.test["error"].mean()
    low, high = mean_interval(case.test["error"])
    return [
        Finding(
            f"The mean of {case.name} moved from {number(train.mean())} in the training rows to "
            f"{number(test.mean())} in the test rows, {number(abs(moved))} standard deviations.",
            f"Retrain {case.name} with recent rows: on the test rows the predictions are "
            f"{unit(abs(bias), case.target.unit)} too {'high' if bias > 0 else 'low'} on average."
            if not low <= 0 <= high
            else "",
        )
    ]


def coverage(case: TargetResults) -> list[Finding]:
    """Intervals hold the truth less often than they promise."""
    inside = values.covered(case)
    if inside is None:
        return []
    low, high = share_interval(inside.sum(), len(inside))
    promised = case.choice["details"]["confidence"]
    if high >= promised:
        return []
    needed = case.losses(case.test).quantile(promised)
    measure = "mean naive errors of the series" if case.has_many_series else case.target.unit
    wider = f"±{unit(needed, measure)}"
    if case.target.in_logs:
        rows = case.test[case.test["truth"] > 0]
        shares = np.abs(np.log((rows["truth"] / rows["prediction"]).to_numpy(dtype=float)))
        factor = float(np.exp(np.quantile(shares, promised)))
        wider = f"{share(1 - 1 / factor)} below to {share(factor - 1)} above the prediction"
    return [
        Finding(
            f"The intervals of {case.name} hold the truth in {share(inside.mean())} of the test "
            f"rows ({share(low)} to {share(high)}), less than the promised "
            f"{share(promised)}.",
            f"Calibrate the intervals of {case.name} on more rows: {wider} "
            f"would have held {share(promised)} of the test rows.",
        )
    ]


def narrow(case: TargetResults) -> list[Finding]:
    """Predictions keep to the middle."""
    said, true = (case.test[name].std(ddof=0) for name in ("prediction", "truth"))
    if not true or said >= _NARROW * true:
        return []
    groups = values.fifths(case)
    first, last = groups.iloc[0], groups.iloc[-1]
    return [
        Finding(
            f"Predictions of {case.name} keep to the middle: they spread by {number(said)}, the "
            f"truth by {number(true)}. Extremes are not foreseen.",
            f"Use {case.name} to put rows in order rather than as a value: the highest fifth of "
            f"the predictions has a mean truth of {number(last['mean truth'])}, the lowest "
            f"{number(first['mean truth'])}."
            if last["mean truth"] > first["mean truth"]
            else "",
        )
    ]


RULES = [narrow, coverage, value_shift]
