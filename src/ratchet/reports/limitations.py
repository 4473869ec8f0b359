"""Rules that turn results into limits and next steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ratchet.learning.metrics import is_better
from ratchet.reports.blocks import Finding
from ratchet.reports.errors_by_group import weak_groups
from ratchet.reports.formatting import between, count, counted, label, listed, number, plain, share
from ratchet.reports.phase_outputs import JudgedObjective
from ratchet.reports.ranking import indistinguishable, ranking_table
from ratchet.reports.target_results import HISTORY, TargetResults

_FEW_ROWS = 100
_FEW_KNOWN = 0.95
_OFTEN_EMPTY = 0.2
_CLEAR = "Look for new information"


Rule = Callable[[TargetResults], list[Finding]]
"""Checks one condition; returns an empty list where it does not hold."""


def target_findings(results: TargetResults, of_task: Rule) -> list[Finding]:
    """Apply every rule to one target."""
    rules = [
        few_rows,
        *([] if results.is_series else [baseline]),
        objectives,
        of_task,
        worst_groups,
        overfitted_search,
        empty_sources,
        unknown_target,
        idle_sources,
    ]
    return [finding for rule in rules for finding in rule(results)]


def few_rows(results: TargetResults) -> list[Finding]:
    """There are few test rows."""
    n = len(results.test)
    if n >= _FEW_ROWS:
        return []
    return [
        Finding(
            f"All results of {results.name} rest on {counted(n, 'test row')}: its "
            f"{label(results.metric)} is {between(results.test_scores[results.metric])}.",
            f"Collect rows for {results.name} before relying on it: with {count(4 * n)} test rows "
            "the intervals would be half as wide.",
        )
    ]


def objectives(results: TargetResults) -> list[Finding]:
    """An objective is missed, or its interval includes the aim."""
    findings = []
    for metric, judged in results.choice["objectives"].items():
        gap = abs(judged["value"] - judged["aim"])
        aim = plain(judged["aim"])
        fact = f"{label(metric)} of {results.name} is {between(judged)}, the aim {aim}"
        if judged["in_doubt"]:
            state = "met" if judged["met"] else "missed"
            findings.append(
                Finding(f"{fact}: {state}, but within chance.", _more_rows(results, judged, gap))
            )
        elif not judged["met"]:
            has_step = any(finding.step.startswith(_CLEAR) for finding in findings)
            step = "" if has_step else _new_information(results, metric, gap)
            findings.append(Finding(f"{fact}: clearly not met.", step))
    return findings


def _more_rows(results: TargetResults, judged: JudgedObjective, gap: float) -> str:
    half = (judged["high"] - judged["low"]) / 2
    n = len(results.test)
    if gap <= 0 or half / gap > 10:
        return "Judge again on newer rows; no reasonable number of rows would settle this one."
    n_rows = int(np.ceil(n * (half / gap) ** 2 / 100) * 100)
    return (
        f"Judge {results.name} again with more rows: about {count(max(n_rows, n))} test rows "
        f"instead of {count(n)} would settle whether the aim is reached."
    )


def _new_information(results: TargetResults, metric: str, gap: float) -> str:
    names = [results.best, *indistinguishable(ranking_table(results), results.best)]
    reached = [results.scores[name]["test"][metric]["value"] for name in names]
    apart = max(reached) - min(reached)
    if len(names) > 1 and apart < gap / 2:
        return (
            f"{_CLEAR} rather than other models for {results.name}: {len(names)} "
            f"candidates ({listed(names)}) differ by only {number(apart)} in {label(metric)}, and "
            f"the aim is {number(gap)} away."
        )
    return (
        f"Extend the search for {results.name} around {results.best}, the candidate that leads: "
        f"the aim is {number(gap)} of {label(metric)} away."
    )


def baseline(results: TargetResults) -> list[Finding]:
    """The winner is no better than the baseline."""
    base = results.choice["baseline"]
    if base["beaten"]:
        return []
    plain = base["test"][results.metric]["value"]
    return [
        Finding(
            f"{results.best} does not beat the baseline {base['candidate']} in "
            f"{label(results.metric)}: {number(results.test_scores[results.metric]['value'])} "
            f"against {number(plain)}.",
            f"Do not use the predictions of {results.name}: the baseline's {number(plain)} is "
            "free.",
        )
    ]


def overfitted_search(results: TargetResults) -> list[Finding]:
    """The cross-validated score is better than the interval of the test score."""
    if "cv" not in results.scores[results.best]:
        return []
    cv = results.scores[results.best]["cv"][results.metric]["value"]
    test = results.test_scores[results.metric]
    inside = test["low"] <= cv <= test["high"]
    if inside or not np.isfinite(cv) or not is_better(results.metric, cv, test["value"]):
        return []
    why = (
        "these rows are later and were harder to predict"
        if results.data.time
        else "the search promised too much"
    )
    return [
        Finding(
            f"{label(results.metric)} of {results.name} was {number(cv)} in cross-validation and "
            f"is {between(test)} on the test rows: {why}.",
            f"Plan with the {label(results.metric)} of the test rows, {number(test['value'])}, and "
            f"retrain as new rows come in.",
        )
    ]


def worst_groups(results: TargetResults) -> list[Finding]:
    """Some groups have clearly larger errors."""
    harder = weak_groups(results)
    if harder.empty:
        return []
    form: Callable[[float], str] = share if results.is_classes else number
    named = [
        f"{row['column']} {row['group']} {form(row['error'])} ({counted(row['rows'], 'row')})"
        for _, row in harder.head(3).iterrows()
    ]
    what = "share wrong" if results.is_classes else results.loss_name
    worst = harder.iloc[0]
    return [
        Finding(
            f"The {what} of {results.name} is clearly larger in "
            f"{counted(len(harder), 'group')}, first of all {listed(named)}.",
            f"Check predictions of {results.name} by hand where {worst['column']} is "
            f"{worst['group']}: the {what} there is {number(worst['times'])} times the usual.",
        )
    ]


def idle_sources(results: TargetResults) -> list[Finding]:
    """Sources of features whose permutation importance is no more than chance."""
    table = results.importance
    idle = list(table.loc[table["importance"] <= table["spread"].clip(lower=0), "source"])
    if not idle or len(idle) == len(table):
        return []
    return [
        Finding(
            "",
            f"Try {results.name} without {listed(idle)}: shuffling {len(idle)} of "
            f"{counted(len(table), 'source')} changes the score by no more than chance.",
        )
    ]


def unknown_target(results: TargetResults) -> list[Finding]:
    """Many rows lack the target."""
    has_target = results.primary[results.target.column].notna()
    if has_target.mean() >= _FEW_KNOWN:
        return []
    return [
        Finding(
            f"{results.name} is known for {share(has_target.mean())} of the rows "
            f"({counted(int(has_target.sum()), 'row')}); the others taught nothing.",
            f"Complete {results.name} for the {counted(int((~has_target).sum()), 'row')} that "
            "lack it.",
        )
    ]


def empty_sources(results: TargetResults) -> list[Finding]:
    """An important source of features has many missing values."""
    counts = results.importance[results.importance["importance"] > results.importance["spread"]]
    for rank, source in enumerate(counts["source"], start=1):
        column = str(source).removeprefix(HISTORY)
        if column not in results.primary.columns:
            continue
        empty = _is_empty(results.primary[column])
        if empty.mean() > _OFTEN_EMPTY:
            return [
                Finding(
                    f"{column} is empty in {share(empty.mean())} of the rows, although it is "
                    f"number {rank} of {len(results.importance)} among the sources that "
                    f"{results.name} is predicted from.",
                    f"Find out whether the gap itself goes with {results.name}: leave {column} out "
                    f"once, and complete some of the {counted(int(empty.sum()), 'empty row')}.",
                )
            ]
    return []


def _is_empty(values: pd.Series) -> pd.Series:
    """Missing, or a list without items."""
    if pd.api.types.is_numeric_dtype(values):
        return values.isna()
    return values.isna() | values.map(lambda value: hasattr(value, "__len__") and len(value) == 0)
