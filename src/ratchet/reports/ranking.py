"""All candidates of one target on the same rows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.reports.blocks import Block, Points, Table, Text
from ratchet.reports.formatting import label, listed, meaning
from ratchet.reports.intervals import differences
from ratchet.reports.naive_forecasts import kind_of
from ratchet.reports.page.chart import Chart
from ratchet.reports.target_results import TargetResults

_MAIN = {
    "classification": ["accuracy", "balanced_accuracy", "f1_macro", "log_loss", "brier"],
    "regression": ["r2", "rmse", "mae", "wape", "spread"],
    "forecasting": ["mase", "rmsse", "r2", "rmse", "mae", "wape"],
}


def ranking(case: TargetResults) -> list[Block]:
    """All candidates on the same test rows, and how far each is from the winner."""
    frame = ranking_table(case)
    base = case.choice["baseline"]
    table = Table(
        "ranking",
        f"Ranking by {label(case.metric)}: {_chosen_by(case)}; test with interval; behind: "
        "difference to the best on the same test rows, with its interval",
        frame,
        dict.fromkeys(frame.columns[1:], "number") | {"kind": "text"},
    )
    chart = Chart(
        name="ranking",
        kind="dots",
        title=f"{case.name}: {label(case.metric)} of all candidates on the same test rows",
        frame=frame,
        x="test",
        y="candidate",
        low="low",
        high="high",
        x_title=f"{label(case.metric)}, with 95% interval",
        group="kind" if case.is_series else None,
    )
    met = "beats" if base["beaten"] else "does not beat"
    beats = (
        "It is the baseline."
        if case.best == base["candidate"]
        else f"On the test rows it {met} the baseline."
    )
    text = f"{why_sentence(case)} {beats} {ties_sentence(case, frame)}"
    return [Text(text, title="Ranking"), chart, table, *_all_scores(case)]


def _chosen_by(case: TargetResults) -> str:
    if case.is_series:
        return "validation"
    return "cross-validation (cv), validation and mean"


def why_sentence(case: TargetResults) -> str:
    """Say why the winner was chosen."""
    places = [(name, row["mean"]) for name, row in case.choice["ranking"].items()]
    (best, first), (second, next_) = places[:2]
    decides = (
        "The validation rows decide, the same for every candidate"
        if case.is_series
        else "The mean of cross-validation and validation decides"
    )
    return (
        f"{decides}, before any test row is predicted. "
        f"{best} has the best {label(case.metric)}, {first:.4g}; next is {second} with {next_:.4g}."
    )


def ranking_table(case: TargetResults) -> pd.DataFrame:
    """Candidates in order of choice, with scores and the difference to the winner on test."""
    blocks: dict[str, Any] = {}
    if case.is_series or case.target.follows_time:
        blocks = {"times": case.test["time"], "horizon": case.horizon}
    gaps = differences(
        case.metric,
        _metric_rows(case),
        case.best,
        task=case.target.task,
        seed=case.seed,
        **blocks,
    )
    rows = []
    for name, chosen_by in case.choice["ranking"].items():
        test = case.scores[name]["test"][case.metric]
        gap = gaps[name]
        rows.append(
            {
                "candidate": name,
                **({"kind": kind_of(case, name)} if case.is_series else {}),
                **{part: chosen_by[part] for part in _parts(case)},
                "test": test["value"],
                "low": test["low"],
                "high": test["high"],
                "behind": gap[0],
                "from": gap[1],
                "to": gap[2],
            }
        )
    return pd.DataFrame(rows)


def _parts(case: TargetResults) -> list[str]:
    return ["validation"] if case.is_series else ["cv", "validation", "mean"]


def tied(frame: pd.DataFrame, best: str) -> list[str]:
    """Candidates whose difference to the best one may be chance."""
    others = frame[frame["candidate"] != best]
    return list(others.loc[(others["from"] <= 0) & (others["to"] >= 0), "candidate"])


def ties_sentence(case: TargetResults, frame: pd.DataFrame) -> str:
    """Say which candidates the test rows cannot tell from the winner."""
    names = tied(frame, case.best)
    if not names:
        return f"The test rows tell all {len(frame) - 1} other candidates from it."
    return (
        f"The test rows cannot tell {len(names)} of the {len(frame) - 1} others from it "
        f"({listed(names)}): the interval of the difference includes 0."
    )


def _metric_rows(case: TargetResults) -> dict[str, Any]:
    """Candidate -> truth and prediction of the same test rows, as the metrics take them."""
    from ratchet.learning.metrics import forecast_rows

    test = case.predictions[case.predictions["split"] == "test"]
    rows = {}
    for name in case.choice["ranking"]:
        part = test[test["candidate"] == name].reindex(case.test.index)
        if case.is_classes:
            hits = pd.get_dummies(part["truth"]).reindex(columns=case.classes, fill_value=False)
            rows[name] = hits.to_numpy(dtype=float), case.probabilities(part).to_numpy()
        elif case.is_series:
            rows[name] = forecast_rows(*(part[c] for c in ("truth", "prediction", "scale", "rms")))
        else:
            rows[name] = part["truth"].to_numpy(), part["prediction"].to_numpy()
    return rows


def _all_scores(case: TargetResults) -> list[Block]:
    metrics = [m for m in _MAIN[case.target.task] if m in case.test_scores]
    frame = pd.DataFrame(
        {
            "candidate": list(case.choice["ranking"]),
            **{
                label(m): [case.scores[c]["test"][m]["value"] for c in case.choice["ranking"]]
                for m in metrics
            },
        }
    )
    long = pd.DataFrame(
        [
            {"candidate": name, "part": part, "metric": metric, **score}
            for name, parts in case.scores.items()
            for part, scores in parts.items()
            for metric, score in scores.items()
        ]
    )
    numbers = dict.fromkeys([label(m) for m in metrics], "number")
    return [
        Table("scores", "Other scores on the test rows", frame, numbers),
        Table("all_scores", "All scores", long, shown=0),
    ]


def explain(case: TargetResults) -> Points:
    """What each score measures."""
    named = [case.metric, *_MAIN[case.target.task], *case.choice["objectives"]]
    shown = [meaning(m) for m in dict.fromkeys(named) if m in case.test_scores]
    return Points([text for text in shown if text], title="How to read the scores")
