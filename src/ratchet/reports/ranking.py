"""All candidates of one target on the same test rows; networks against the baseline."""

from __future__ import annotations

import math

import pandas as pd

from ratchet.config import ensemble_of
from ratchet.learning.metrics import forecast_rows
from ratchet.reports.blocks import Block, Points, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import label, listed, meaning, minus, number
from ratchet.reports.intervals import Array, differences
from ratchet.reports.naive_forecasts import candidate_family
from ratchet.reports.target_results import TargetResults

_MAIN = {
    "classification": ["accuracy", "balanced_accuracy", "f1_macro", "log_loss", "brier"],
    "regression": ["r2", "rmse", "mae", "wape", "spread"],
    "forecasting": ["mase", "rmsse", "r2", "rmse", "mae", "wape"],
}
_METRICS = ["mase", "rmsse", "mae", "rmse", "r2"]


def ranking_blocks(results: TargetResults) -> list[Block]:
    """All candidates on the same test rows, and how far each is from the winner."""
    frame = ranking_table(results)
    base = results.choice["baseline"]
    table = Table(
        "ranking",
        f"Ranking by {label(results.metric)}: {_chosen_by(results)}; test with interval; behind: "
        "difference to the best on the same test rows, with its interval",
        frame,
        dict.fromkeys(frame.columns[1:], "number") | {"kind": "text"},
    )
    chart = Chart(
        name="ranking",
        kind="dots",
        title=f"{results.name}: {label(results.metric)} of all candidates on the same test rows",
        frame=frame,
        x="test",
        y="candidate",
        low="low",
        high="high",
        x_title=f"{label(results.metric)}, with 95% interval",
        group="kind" if results.is_series else None,
    )
    met = "beats" if base["beaten"] else "does not beat"
    beats = (
        "It is the baseline."
        if results.best == base["candidate"]
        else f"On the test rows it {met} the baseline."
    )
    text = f"{why_sentence(results)} {beats} {ties_sentence(results, frame)}"
    return [Text(text, title="Ranking"), chart, table, *_all_scores(results)]


def _chosen_by(results: TargetResults) -> str:
    if results.is_series:
        return "validation"
    return "cross-validation (cv), validation and mean"


def why_sentence(results: TargetResults) -> str:
    """Say why the winner was chosen."""
    ranking = [(name, row["mean"]) for name, row in results.choice["ranking"].items()]
    (best, first), (second, next_) = ranking[:2]
    decides = (
        "The validation rows decide, the same for every candidate"
        if results.is_series
        else "The mean of cross-validation and validation decides"
    )
    return (
        f"{decides}, before any test row is predicted. "
        f"{best} has the best {label(results.metric)}, {first:.4g}; next is {second} with "
        f"{next_:.4g}."
    )


def ranking_table(results: TargetResults) -> pd.DataFrame:
    """Candidates in order of choice, with scores and the difference to the winner on test."""
    in_time = results.is_series or results.target.follows_time
    gaps = differences(
        results.metric,
        _metric_rows(results),
        results.best,
        task=results.target.task,
        resampling=results.resampling,
        times=results.test["time"] if in_time else None,
    )
    rows = []
    for name, chosen_by in results.choice["ranking"].items():
        test = results.scores[name]["test"][results.metric]
        gap = gaps[name]
        rows.append(
            {
                "candidate": name,
                **({"kind": candidate_family(results, name)} if results.is_series else {}),
                **{part: chosen_by[part] for part in _parts(results)},
                "test": test["value"],
                "low": test["low"],
                "high": test["high"],
                "behind": gap[0],
                "from": gap[1],
                "to": gap[2],
            }
        )
    return pd.DataFrame(rows)


def _parts(results: TargetResults) -> list[str]:
    return ["validation"] if results.is_series else ["cv", "validation", "mean"]


def indistinguishable(frame: pd.DataFrame, best: str) -> list[str]:
    """Candidates whose interval of the difference to the best one includes 0."""
    others = frame[frame["candidate"] != best]
    return list(others.loc[(others["from"] <= 0) & (others["to"] >= 0), "candidate"])


def ties_sentence(results: TargetResults, frame: pd.DataFrame) -> str:
    """Say which candidates the test rows cannot tell from the winner."""
    names = indistinguishable(frame, results.best)
    if not names:
        return f"The test rows tell all {len(frame) - 1} other candidates from it."
    return (
        f"The test rows cannot tell {len(names)} of the {len(frame) - 1} others from it "
        f"({listed(names)}): the interval of the difference includes 0."
    )


def _metric_rows(results: TargetResults) -> dict[str, tuple[Array, Array]]:
    """Candidate -> truth and prediction of the same test rows, as the metrics take them."""
    test = results.predictions[results.predictions["split"] == "test"]
    rows: dict[str, tuple[Array, Array]] = {}
    for name in results.choice["ranking"]:
        part = test[test["candidate"] == name].reindex(results.test.index)
        if results.is_classes:
            hits = pd.get_dummies(part["truth"]).reindex(columns=results.classes, fill_value=False)
            rows[name] = hits.to_numpy(dtype=float), results.probabilities(part).to_numpy()
        elif results.is_series:
            rows[name] = forecast_rows(*(part[c] for c in ("truth", "prediction", "scale", "rms")))
        else:
            rows[name] = part["truth"].to_numpy(), part["prediction"].to_numpy()
    return rows


def _all_scores(results: TargetResults) -> list[Block]:
    metrics = [m for m in _MAIN[results.target.task] if m in results.test_scores]
    frame = pd.DataFrame(
        {
            "candidate": list(results.choice["ranking"]),
            **{
                label(m): [results.scores[c]["test"][m]["value"] for c in results.choice["ranking"]]
                for m in metrics
            },
        }
    )
    long = pd.DataFrame(
        [
            {"candidate": name, "part": part, "metric": metric, **score}
            for name, parts in results.scores.items()
            for part, scores in parts.items()
            for metric, score in scores.items()
        ]
    )
    numbers = dict.fromkeys([label(m) for m in metrics], "number")
    return [
        Table("scores", "Other scores on the test rows", frame, numbers),
        Table("all_scores", "All scores", long, shown=0),
    ]


def metric_explanations(results: TargetResults) -> Points:
    """What each score measures."""
    named = [results.metric, *_MAIN[results.target.task], *results.choice["objectives"]]
    shown = [meaning(m) for m in dict.fromkeys(named) if m in results.test_scores]
    return Points([text for text in shown if text], title="How to read the scores")


def network_comparison_blocks(results: TargetResults) -> list[Block]:
    """Baseline against the best networks, with the change in percent."""
    names = results.target.network_candidates
    if not names:
        return []
    frame = network_comparison(results, names)
    scores = [label(metric) for metric in _METRICS if label(metric) in frame]
    shown = frame[["candidate"]].assign(
        **{
            score: [
                number(value) + ("" if math.isnan(change) else f" ({percent(change)})")
                for value, change in zip(frame[score], frame[f"change of {score}"], strict=True)
            ]
            for score in scores
        }
    )
    title = f"Baseline ({results.target.baseline}) and the best networks, test rows"
    sentences = [_sentence(results, name) for name in results.target.networks]
    return [
        Text(" ".join(sentences), title="What the networks brought"),
        Table("baseline_against_best", f"{title}, with the change against the baseline", shown),
        Table("network_changes", title, frame, shown=0),
    ]


def network_comparison(results: TargetResults, names: list[str]) -> pd.DataFrame:
    """Scores of the baseline and of some candidates on the test rows.

    Returns:
        ``candidate``, the baseline first; then every score, followed by its change as part of the
        baseline's value: NaN for the baseline itself and where that value is 0.
    """
    base = results.scores[results.target.baseline]["test"]
    rows = []
    for name in [results.target.baseline, *names]:
        row: dict[str, object] = {"candidate": name}
        for metric in [m for m in _METRICS if m in base]:
            before, after = base[metric]["value"], results.scores[name]["test"][metric]["value"]
            comparable = before and name != results.target.baseline
            row[label(metric)] = after
            change = (after - before) / abs(before) if comparable else math.nan
            row[f"change of {label(metric)}"] = change
        rows.append(row)
    return pd.DataFrame(rows)


def percent(change: float) -> str:
    """A change with its sign: +12.3%, −4.0%."""
    return "–" if math.isnan(change) else minus(f"{change:+.1%}")


def _sentence(results: TargetResults, name: str) -> str:
    base = results.scores[results.target.baseline]["test"]
    metric = results.metric if results.metric in base else "mae"
    before = base[metric]["value"]
    after = results.scores[name]["test"][metric]["value"]
    text = (
        f"The best network of {name} has a {label(metric)} of {number(after)} on the test rows, "
        f"{results.target.baseline} {number(before)}"
    )
    text += f" ({percent((after - before) / abs(before))})." if before else "."
    ensemble = ensemble_of(name)
    if ensemble in results.target.network_candidates:
        together = results.scores[ensemble]["test"][metric]["value"]
        text += f" The mean of the best networks, {ensemble}, has {number(together)}."
    return text
