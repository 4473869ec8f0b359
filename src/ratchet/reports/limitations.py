"""Rules from numbers to limits and next steps: each looks at one thing and may find something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ratchet.reports.blocks import Finding
from ratchet.reports.chapters.weak_segments import harder_groups
from ratchet.reports.classification import limitations as limits_classes
from ratchet.reports.forecasting import limitations as limits_series
from ratchet.reports.formatting import (
    between,
    count,
    counted,
    label,
    listed,
    number,
    plain,
    share,
)
from ratchet.reports.ranking import ranking_table, tied
from ratchet.reports.regression import limitations as limits_values
from ratchet.reports.target_results import HISTORY, TargetResults

_FEW_ROWS = 100
_FEW_KNOWN = 0.95
_OFTEN_EMPTY = 0.2
_CLEAR = "Look for new information"


def findings(case: TargetResults) -> list[Finding]:
    """Apply every rule to one target."""
    by_task = limits_classes if case.is_classes else limits_values
    by_task = limits_series if case.is_series else by_task
    rules = [
        few_rows,
        *([] if case.is_series else [baseline]),
        objectives,
        *by_task.RULES,
        hard_groups,
        promised,
        empty_sources,
        unknown_target,
        idle_sources,
    ]
    return [finding for rule in rules for finding in rule(case)]


def few_rows(case: TargetResults) -> list[Finding]:
    """So few test rows that any score may be chance."""
    n = len(case.test)
    if n >= _FEW_ROWS:
        return []
    return [
        Finding(
            f"All results of {case.name} rest on {counted(n, 'test row')}: its {label(case.metric)}"
            f" is {between(case.test_scores[case.metric])}.",
            f"Collect rows for {case.name} before relying on it: with {count(4 * n)} test rows "
            "the intervals would be half as wide.",
        )
    ]


def objectives(case: TargetResults) -> list[Finding]:
    """Aims missed, or too close to call."""
    found = []
    for metric, judged in case.choice["objectives"].items():
        gap = abs(judged["value"] - judged["aim"])
        fact = (
            f"{label(metric)} of {case.name} is {between(judged)}, the aim {plain(judged['aim'])}"
        )
        if judged["in_doubt"]:
            state = "met" if judged["met"] else "missed"
            found.append(
                Finding(f"{fact}: {state}, but within chance.", _more_rows(case, judged, gap))
            )
        elif not judged["met"]:
            told = any(finding.step.startswith(_CLEAR) for finding in found)
            step = "" if told else _new_information(case, metric, gap)
            found.append(Finding(f"{fact}: clearly not met.", step))
    return found


def _more_rows(case: TargetResults, judged: dict[str, float], gap: float) -> str:
    half = (judged["high"] - judged["low"]) / 2
    n = len(case.test)
    if gap <= 0 or half / gap > 10:
        return "Judge again on newer rows; no reasonable number of rows would settle this one."
    wanted = int(np.ceil(n * (half / gap) ** 2 / 100) * 100)
    return (
        f"Judge {case.name} again with more rows: about {count(max(wanted, n))} test rows instead "
        f"of {count(n)} would settle whether the aim is reached."
    )


def _new_information(case: TargetResults, metric: str, gap: float) -> str:
    names = [case.best, *tied(ranking_table(case), case.best)]
    reached = [case.scores[name]["test"][metric]["value"] for name in names]
    apart = max(reached) - min(reached)
    if len(names) > 1 and apart < gap / 2:
        return (
            f"{_CLEAR} rather than other models for {case.name}: {len(names)} "
            f"candidates ({listed(names)}) differ by only {number(apart)} in {label(metric)}, and "
            f"the aim is {number(gap)} away."
        )
    return (
        f"Extend the search for {case.name} around {case.best}, the candidate that leads: the aim "
        f"is {number(gap)} of {label(metric)} away."
    )


def baseline(case: TargetResults) -> list[Finding]:
    """The winner is no better than the baseline."""
    base = case.choice["baseline"]
    if base["beaten"]:
        return []
    plain = base["test"][case.metric]["value"]
    return [
        Finding(
            f"{case.best} does not beat the baseline {base['candidate']} in {label(case.metric)}: "
            f"{number(case.test_scores[case.metric]['value'])} against {number(plain)}.",
            f"Do not use the predictions of {case.name}: the baseline's {number(plain)} is free.",
        )
    ]


def promised(case: TargetResults) -> list[Finding]:
    """Cross-validation said better than the test rows."""
    from ratchet.learning.metrics import is_better

    if "cv" not in case.scores[case.best]:
        return []
    cv = case.scores[case.best]["cv"][case.metric]["value"]
    test = case.test_scores[case.metric]
    inside = test["low"] <= cv <= test["high"]
    if inside or not np.isfinite(cv) or not is_better(case.metric, cv, test["value"]):
        return []
    why = (
        "these rows are later and were harder to predict"
        if case.data.time
        else "the search promised too much"
    )
    return [
        Finding(
            f"{label(case.metric)} of {case.name} was {number(cv)} in cross-validation and is "
            f"{between(test)} on the test rows: {why}.",
            f"Plan with the {label(case.metric)} of the test rows, {number(test['value'])}, and "
            f"retrain as new rows come in.",
        )
    ]


def hard_groups(case: TargetResults) -> list[Finding]:
    """Groups with clearly larger errors."""
    harder = harder_groups(case)
    if harder.empty:
        return []
    form: Callable[[float], str] = share if case.is_classes else number
    named = [
        f"{row['column']} {row['group']} {form(row['error'])} ({counted(row['rows'], 'row')})"
        for _, row in harder.head(3).iterrows()
    ]
    what = "share wrong" if case.is_classes else case.loss_name
    worst = harder.iloc[0]
    return [
        Finding(
            f"The {what} of {case.name} is clearly larger in "
            f"{counted(len(harder), 'group')}, first of all {listed(named)}.",
            f"Check predictions of {case.name} by hand where {worst['column']} is "
            f"{worst['group']}: the {what} there is {number(worst['times'])} times the usual.",
        )
    ]


def idle_sources(case: TargetResults) -> list[Finding]:
    """Sources that the winner could do without."""
    table = case.importance
    idle = list(table.loc[table["importance"] <= table["spread"].clip(lower=0), "source"])
    if not idle or len(idle) == len(table):
        return []
    return [
        Finding(
            "",
            f"Try {case.name} without {listed(idle)}: shuffling {len(idle)} of "
            f"{counted(len(table), 'source')} changes the score by no more than chance.",
        )
    ]


def unknown_target(case: TargetResults) -> list[Finding]:
    """Many rows lack the target."""
    known = case.primary[case.target.column].notna()
    if known.mean() >= _FEW_KNOWN:
        return []
    return [
        Finding(
            f"{case.name} is known for {share(known.mean())} of the rows "
            f"({counted(int(known.sum()), 'row')}); the others taught nothing.",
            f"Complete {case.name} for the {counted(int((~known).sum()), 'row')} that lack it.",
        )
    ]


def empty_sources(case: TargetResults) -> list[Finding]:
    """A source that counts, and is often empty."""
    counts = case.importance[case.importance["importance"] > case.importance["spread"]]
    for rank, source in enumerate(counts["source"], start=1):
        column = str(source).removeprefix(HISTORY)
        if column not in case.primary.columns:
            continue
        empty = _is_empty(case.primary[column])
        if empty.mean() > _OFTEN_EMPTY:
            return [
                Finding(
                    f"{column} is empty in {share(empty.mean())} of the rows, although it is "
                    f"number {rank} of {len(case.importance)} among the sources that {case.name} "
                    "is predicted from.",
                    f"Find out whether the gap itself goes with {case.name}: leave {column} out "
                    f"once, and complete some of the {counted(int(empty.sum()), 'empty row')}.",
                )
            ]
    return []


def _is_empty(values: pd.Series) -> pd.Series:
    """Missing, or a list without items."""
    return values.isna() | values.map(lambda value: hasattr(value, "__len__") and len(value) == 0)
