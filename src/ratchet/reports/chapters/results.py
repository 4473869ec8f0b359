"""What came out for one target, whatever its task: headline, objectives, importance."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.reports import naive_forecasts as series
from ratchet.reports.blocks import Block, Card, Points, Table, Text
from ratchet.reports.classification import advice as classes_use
from ratchet.reports.formatting import (
    between,
    counted,
    label,
    listed,
    number,
    plain,
    share,
    unit,
)
from ratchet.reports.page.chart import Chart
from ratchet.reports.regression import results as values
from ratchet.reports.target_results import TargetResults


def card(case: TargetResults) -> Card:
    """The result of the target in a few words."""
    key, key_meaning = _key(case)
    by_task = classes_use.confident_sentence if case.is_classes else values.coverage_sentence
    statements = [
        (
            f"{label(metric)} {number(judged['value'])}, aim {plain(judged['aim'])}: "
            f"{'met' if judged['met'] else 'not met'}",
            "doubt" if judged["in_doubt"] else "yes" if judged["met"] else "no",
        )
        for metric, judged in case.choice["objectives"].items()
    ]
    return Card(
        headline=headline(case),
        key_value=number(case.test_scores[key]["value"]),
        key_label=f"{label(key)} on {counted(len(case.test), 'test row')}: {key_meaning}",
        use=by_task(case),
        objectives=statements,
    )


def _key(case: TargetResults) -> tuple[str, str]:
    """The metric that stands out, and what it is in a few words."""
    if case.is_series:
        return "mase", f"the mean error, divided by the {case.naive_error}"
    if case.is_classes:
        return "accuracy", "the share put right"
    if case.target.in_logs:
        return "wape", "all errors as a share of all that was true"
    return "r2", "the share explained"


def headline(case: TargetResults) -> str:
    """The result in two sentences, beside the baseline."""
    scores, base = case.test_scores, case.choice["baseline"]
    rows = counted(len(case.test), "test row")
    if case.is_classes:
        score, usual = scores["accuracy"], base["test"]["accuracy"]
        return (
            f"The best candidate, {case.best}, puts {share(score['value'])} of {rows} into the "
            f"right class (95% interval {share(score['low'])} to {share(score['high'])}). "
            f"The baseline, {base['candidate']}, reaches {share(usual['value'])}."
        )
    if case.is_series:
        return series.headline(case)
    mae, r2, usual = scores["mae"], scores["r2"], base["test"]["mae"]
    return (
        f"On {rows} the best candidate, {case.best}, is off by "
        f"{unit(mae['value'], case.target.unit)} on average (95% interval "
        f"{number(mae['low'])} to {number(mae['high'])}) and explains "
        f"{share(r2['value'])} of the differences between rows. The baseline, "
        f"{base['candidate']}, is off by {number(usual['value'])}."
    )


def objectives(case: TargetResults) -> list[Block]:
    """Objectives, met or not, with the evidence."""
    judged = case.choice["objectives"]
    if not judged:
        return []
    frame = pd.DataFrame(
        [
            {
                "objective": label(metric),
                "reached": row["value"],
                "low": row["low"],
                "high": row["high"],
                "aim": row["aim"],
                "met": "met" if row["met"] else "not met",
                "production": row.get("production", float("nan")),
                "fit for production": {True: "yes", False: "no"}.get(
                    row.get("fit_for_production"), "–"
                ),
            }
            for metric, row in judged.items()
        ]
    )
    reached = sum(row["met"] for row in judged.values())
    goals = (
        f"{reached} of {counted(len(judged), 'objective')} {'is' if reached == 1 else 'are'} met."
    )
    numbers = dict.fromkeys(["reached", "low", "high", "aim", "production"], "number")
    table = Table("objectives", "Business objectives on the test rows", frame, numbers)
    return [
        Text(goals, title="Objectives"),
        table,
        Points([evidence(metric, row) for metric, row in judged.items()]),
    ]


def evidence(metric: str, judged: dict[str, Any]) -> str:
    """Whether one objective is met, and how sure that is."""
    word = "met" if judged["met"] else "not met"
    if judged["in_doubt"]:
        sure = "the interval reaches across the aim, so that other test rows could turn this"
    else:
        side = "better" if judged["met"] else "worse"
        sure = f"the whole interval is {side} than the aim"
    text = f"{label(metric)}: {between(judged)} against an aim of {plain(judged['aim'])}. "
    text += f"{word.capitalize()}; {sure}."
    if "production" in judged:
        fit = "is" if judged["fit_for_production"] else "is not"
        text += f" The bar for production, {plain(judged['production'])}, {fit} reached."
    return text


def importance(case: TargetResults) -> list[Block]:
    """What the predictions live on."""
    frame = case.importance.assign(
        low=lambda rows: rows["importance"] - rows["spread"],
        high=lambda rows: rows["importance"] + rows["spread"],
    )
    loss = case.importance_loss
    chart = Chart(
        name="importance",
        kind="dots",
        title=f"{case.name}: {loss} added when a source is shuffled",
        frame=frame.head(20),
        x="importance",
        y="source",
        low="low",
        high="high",
        x_title=f"added {loss} on the test rows, with standard deviation",
    )
    numbers = dict.fromkeys(["importance", "spread"], "number")
    table = Table("importance", f"Added {loss} by source", case.importance, numbers)
    return [Text(importance_sentence(case), title="What drives the predictions"), chart, table]


def importance_sentence(case: TargetResults) -> str:
    """Say which source counts most, and how much of all it is."""
    top, loss = case.importance.head(3), case.importance_loss
    top = top[(top["importance"] > 0) | (top.index == top.index[:1].max())]
    if top.empty:
        return "No source of features was measured."
    first = top.iloc[0]
    total = float(case.importance["importance"].clip(lower=0).sum())
    part = (
        f"{share(first['importance'] / total)} of what all sources add one by one"
        if total
        else "nothing"
    )
    return (
        "Each source of information was shuffled among the test rows to see how much worse the "
        f"predictions become. Without {first['source']} the {loss} rises by "
        f"{number(first['importance'])}, {part}; the first "
        f"{'is' if len(top) == 1 else f'{len(top)} are'} {listed(list(top['source']))}. Sources "
        "that tell the same can stand in for each other and then look less important than they are."
    )
