"""Rules that look at the forecast of a series."""

from __future__ import annotations

from ratchet.reports.blocks import Finding
from ratchet.reports.forecasting.by_series import dominating
from ratchet.reports.formatting import between, counted, number, share
from ratchet.reports.naive_forecasts import (
    BEATS,
    best_naive,
    flattery,
    gain_over,
    mase,
    naive_candidates,
    verdict,
)
from ratchet.reports.regression import limitations as limits_values
from ratchet.reports.stock_orders import orders_fall_short
from ratchet.reports.target_results import TargetResults

_FEW_TIMES = 30


def naive_not_beaten(case: TargetResults) -> list[Finding]:
    """No model is surely better than a forecast that costs nothing."""
    naive = best_naive(case)
    if case.best in naive_candidates(case):
        return [
            Finding(
                f"No candidate that learns does better on the validation rows than {case.best}, "
                f"which repeats a known value.",
                f"Use {case.best} for {case.name}: its MASE of {number(mase(case, case.best))} is "
                "free.",
            )
        ]
    gain = gain_over(case, naive, case.best)
    if verdict(gain) == BEATS:
        return []
    return [
        Finding(
            f"The naive forecast {naive} is not beaten for sure: the gain of {case.best} in MASE "
            f"is {between(gain)}.",
            f"Do not act on forecasts of {case.name} as if they knew more than {naive}: its MASE "
            f"of {number(mase(case, naive))} is free.",
        )
    ]


def flattering_r2(case: TargetResults) -> list[Finding]:
    """R2 is high without any skill."""
    text = flattery(case)
    return [Finding(text)] if text else []


def one_dominates(case: TargetResults) -> list[Finding]:
    """Scores in units hang on one series."""
    found = dominating(case)
    if found is None:
        return []
    name, part = found
    return [
        Finding(
            f"Series {name} holds {share(part)} of the variance of the test rows: R², RMSE and MAE "
            f"of {case.name} say little about the others.",
            f"Look at {name} by itself, and judge {case.name} by MASE, in which every series "
            "counts alike.",
        )
    ]


def few_times(case: TargetResults) -> list[Finding]:
    """Many rows, but of few moments."""
    times = len(case.test["time"].unique())
    if times >= _FEW_TIMES or not case.has_many_series:
        return []
    return [
        Finding(
            f"The {counted(len(case.test), 'test row')} of {case.name} are of only "
            f"{counted(times, 'time step')}: what was special about these days is in every score, "
            "and the intervals are rough.",
            f"Judge {case.name} again after {counted(_FEW_TIMES, 'time step')} of new rows.",
        )
    ]


RULES = [
    naive_not_beaten,
    flattering_r2,
    one_dominates,
    few_times,
    orders_fall_short,
    limits_values.coverage,
    limits_values.value_shift,
]
