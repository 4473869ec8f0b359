"""The chapter on one target: search, results, advice and limits."""

from __future__ import annotations

import json
import math
from typing import Any, Protocol

import pandas as pd

from ratchet.config import WEIGHTED_ENSEMBLE
from ratchet.modelling.weighted_ensemble import ensemble_weights
from ratchet.reports import classification, errors_by_group, forecasting, ranking, regression
from ratchet.reports.blocks import Block, Card, Chapter, Finding, Points, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import between, counted, label, listed, number, plain, share
from ratchet.reports.limitations import target_findings
from ratchet.reports.naive_forecasts import naive_blocks, window_blocks
from ratchet.reports.phase_outputs import JudgedObjective
from ratchet.reports.search.analysis import search_blocks
from ratchet.reports.target_results import TargetResults

_YES_NO = {True: "yes", False: "no", None: "–"}


class Task(Protocol):
    """Functions that the module of each task provides."""

    def headline(self, results: TargetResults, /) -> str:
        """Return the result and that of the baseline in two sentences."""

    def key_metric(self, results: TargetResults, /) -> tuple[str, str]:
        """Return the metric of the card, and a short explanation."""

    def reliability_sentence(self, results: TargetResults, /) -> str:
        """Return a sentence on how far single predictions can be trusted."""

    def distribution_blocks(self, results: TargetResults, /) -> list[Block]:
        """Describe the values of the target."""

    def detail_blocks(self, results: TargetResults, /) -> list[Block]:
        """Describe where the winner is right and wrong."""

    def calibration_blocks(self, results: TargetResults, /) -> list[Block]:
        """Describe whether probabilities or intervals hold what they say."""

    def advice_blocks(self, results: TargetResults, /) -> list[Block]:
        """Describe what the predictions can be used for."""

    def limitations(self, results: TargetResults, /) -> list[Finding]:
        """Apply the rules that only such a target has."""


TASKS: dict[str, Task] = {
    "classification": classification,
    "regression": regression,
    "forecasting": forecasting,
}


def target_chapter(results: TargetResults) -> Chapter:
    """Describe search, result and use of one target."""
    task = TASKS[results.target.task]
    return Chapter(
        sections={
            "data": task.distribution_blocks(results),
            "search": [*candidate_blocks(results), *search_blocks(results)],
            "results": [
                Text(task.headline(results)),
                ranking.metric_explanations(results),
                *objective_blocks(results),
                *([*naive_blocks(results), *window_blocks(results)] if results.is_series else []),
                *ranking.ranking_blocks(results),
                *ranking.network_comparison_blocks(results),
                *task.detail_blocks(results),
                *task.calibration_blocks(results),
                *errors_by_group.time_blocks(results),
                *errors_by_group.group_blocks(results),
                *errors_by_group.weak_group_blocks(results),
                *(forecasting.series_blocks(results) if results.is_series else []),
                *importance_blocks(results),
            ],
            "advice": task.advice_blocks(results),
        },
        findings=target_findings(results, task.limitations),
        card=card(results),
    )


def card(results: TargetResults) -> Card:
    """Summary of the target."""
    task = TASKS[results.target.task]
    key, key_meaning = task.key_metric(results)
    statements = [
        (
            f"{label(metric)} {number(judged['value'])}, aim {plain(judged['aim'])}: "
            f"{'met' if judged['met'] else 'not met'}",
            "doubt" if judged["in_doubt"] else "yes" if judged["met"] else "no",
        )
        for metric, judged in results.choice["objectives"].items()
    ]
    return Card(
        headline=task.headline(results),
        key_value=number(results.test_scores[key]["value"]),
        key_label=f"{label(key)} on {counted(len(results.test), 'test row')}: {key_meaning}",
        use=task.reliability_sentence(results),
        objectives=statements,
    )


def objective_blocks(results: TargetResults) -> list[Block]:
    """Objectives, met or not, with the evidence."""
    judged = results.choice["objectives"]
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
                "fit for production": _YES_NO[row.get("fit_for_production")],
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
        Points([objective_sentence(metric, row) for metric, row in judged.items()]),
    ]


def objective_sentence(metric: str, judged: JudgedObjective) -> str:
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


def importance_blocks(results: TargetResults) -> list[Block]:
    """Permutation importance of the sources of features."""
    frame = results.importance.assign(
        low=lambda rows: rows["importance"] - rows["spread"],
        high=lambda rows: rows["importance"] + rows["spread"],
    )
    loss = results.importance_loss
    chart = Chart(
        name="importance",
        kind="dots",
        title=f"{results.name}: {loss} added when a source is shuffled",
        frame=frame.head(20),
        x="importance",
        y="source",
        low="low",
        high="high",
        x_title=f"added {loss} on the test rows, with standard deviation",
    )
    numbers = dict.fromkeys(["importance", "spread"], "number")
    table = Table("importance", f"Added {loss} by source", results.importance, numbers)
    return [Text(importance_sentence(results), title="What drives the predictions"), chart, table]


def importance_sentence(results: TargetResults) -> str:
    """The most important source, and its share of the sum of all."""
    top, loss = results.importance.head(3), results.importance_loss
    top = top[(top["importance"] > 0) | (top.index == top.index[:1].max())]
    if top.empty:
        return "No source of features was measured."
    first = top.iloc[0]
    total = float(results.importance["importance"].clip(lower=0).sum())
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
        "with the same information replace each other and then look less important than they are."
    )


def candidate_blocks(results: TargetResults) -> list[Block]:
    """The candidates, their grids, and the settings that each search chose."""
    target = results.target
    frame = pd.DataFrame([_row(results, name) for name in target.all_candidates])
    without = [*target.network_candidates, WEIGHTED_ENSEMBLE]
    searched = frame[~frame["candidate"].isin(without)]
    points = int(searched["combinations"].sum())
    order = " in the order of time" if results.is_series else ""
    text = (
        f"{counted(len(searched), 'candidate')} with {counted(points, 'combination')} of settings "
        f"were searched by {target.cv}-fold cross-validation{order} on the training rows, "
        f"{counted(points * target.cv, 'fit')} in all. Each search kept the settings with "
        f"the best {label(results.metric)}."
    )
    if target.networks:
        text += (
            f" Beside them {counted(len(target.networks), 'search', 'searches')} among recurrent "
            "networks trained every trial once."
        )
    if WEIGHTED_ENSEMBLE in results.searches:
        text += f" {_ensemble_sentence(results.searches[WEIGHTED_ENSEMBLE])}"
    table = Table("candidates", "Candidates and their grids", frame, {"combinations": "count"})
    return [Text(text), table]


def _ensemble_sentence(search: pd.DataFrame) -> str:
    """How the weighted ensemble came about, and what it is made of."""
    weights = ensemble_weights(search)
    if len(weights) == 1:
        only = next(iter(weights))
        return f"No mean of candidates predicts the validation rows better than {only} alone."
    return (
        f"The weighted ensemble is the mean of {_weights(search)}: the weights with which their "
        "predictions for the validation rows were best."
    )


def _weights(search: pd.DataFrame) -> str:
    ordered = sorted(ensemble_weights(search).items(), key=lambda item: -item[1])
    return listed([f"{name} {share(weight)}" for name, weight in ordered])


def _row(results: TargetResults, name: str) -> dict[str, object]:
    target, search = results.target, results.searches.get(name)
    candidate, network = target.candidates.get(name), target.networks.get(name)
    grid: dict[str, list[Any]] = {}
    points: int | None = None
    if name in target.network_candidates and network is None:
        kind = "mean of the best networks"
    elif name == WEIGHTED_ENSEMBLE:
        kind = "weighted mean of candidates"
    elif network:
        shapes = network.architectures
        kind = f"network: {'all architectures' if shapes == 'all' else ', '.join(shapes)}"
        grid, points = network.param_grid, 0 if search is None else len(search)
    elif candidate:
        kind, grid = candidate.estimator, candidate.param_grid
        points = math.prod(len(values) for values in grid.values())
    else:
        kind, grid = f"stacking of the best {target.stacked}", target.stack_param_grid
        points = math.prod(len(values) for values in grid.values())
    return {
        "candidate": name,
        "estimator": kind,
        "grid": _grid(grid),
        "combinations": points,
        "chosen": _weights(search)
        if name == WEIGHTED_ENSEMBLE and search is not None
        else _chosen(search, grid),
    }


def _grid(grid: dict[str, list[Any]]) -> str:
    return "; ".join(
        f"{name.split('__')[-1]}: {', '.join(map(_setting, values))}"
        for name, values in grid.items()
    )


def _setting(value: Any) -> str:
    return "none" if value is None else str(value)


def _chosen(search: pd.DataFrame | None, grid: dict[str, list[Any]]) -> str:
    if search is None or search.empty:
        return "–"
    settings = {
        name: value
        for name, value in json.loads(search.iloc[0]["params"]).items()
        if len(grid.get(name, [])) > 1
    }
    return ", ".join(f"{name.split('__')[-1]} {_setting(v)}" for name, v in settings.items()) or "–"
