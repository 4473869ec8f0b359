"""Who can trust which prediction of a class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.modelling.predictions import CONFIDENT
from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import count, counted, listed, share
from ratchet.reports.intervals import share_interval
from ratchet.reports.page.chart import Chart
from ratchet.reports.target_results import BORDERLINE, TargetResults

_SHOWN_ROWS = 15
_WANTED_RECALL = 0.8


def confidence_table(case: TargetResults) -> pd.DataFrame:
    """How many rows reach a confidence, and how often those are right."""
    lowest = 1 / len(case.classes)
    rows = []
    for threshold in [t for t in (0.4, 0.5, 0.6, 0.7, CONFIDENT, 0.9, 0.95) if t > lowest]:
        kept = case.test[case.test["confidence"] >= threshold]
        low, high = share_interval(kept["right"].sum(), len(kept))
        rows.append(
            {
                "confidence from": threshold,
                "rows": len(kept),
                "share of rows": len(kept) / len(case.test),
                "share right": kept["right"].mean() if len(kept) else np.nan,
                "low": low if len(kept) else np.nan,
                "high": high if len(kept) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def use(case: TargetResults) -> list[Block]:
    """Who can trust which prediction."""
    frame = confidence_table(case)
    long = frame.melt("confidence from", ["share of rows", "share right"], "what", "value").dropna()
    chart = Chart(
        name="confidence",
        kind="line",
        title=f"{case.name}: trusting only predictions above a confidence",
        frame=long,
        x="confidence from",
        y="value",
        group="what",
        shares="xy",
        x_title="probability of the predicted class, at least",
    )
    formats = dict.fromkeys(frame.columns, "share") | {"rows": "count"}
    return [
        Text(confident_sentence(case), title="Confident predictions"),
        chart,
        Table("confidence", "Rows and hits above a confidence", frame, formats),
        *_threshold(case),
        *_borderline(case),
    ]


def confident_sentence(case: TargetResults) -> str:
    """Share of rows with high confidence, and how right they are."""
    confident = case.choice["details"]["confident"]
    bar = share(confident["threshold"])
    if confident["right"] is None:
        return f"No test row is predicted with a confidence of {bar} or more; check every row."
    n = int((case.test["confidence"] >= confident["threshold"]).sum())
    text = (
        f"{share(confident['share'])} of the test rows ({count(n)}) are predicted with a confidence"
        f" of {bar} or more, and {share(confident['right'])} of those are right."
    )
    if confident["right_otherwise"] is not None:
        text += f" Of all other rows {share(confident['right_otherwise'])} are right."
    classes = case.test.loc[case.test["confidence"] >= confident["threshold"], "prediction"]
    parts = [f"{count(n)} {name}" for name, n in classes.value_counts().items()]
    return f"{text} The confident predictions are {listed(parts)}."


def threshold_for(case: TargetResults) -> dict[str, float | str] | None:
    """Probability from which to call the class that is found least, to find 80 % of it.

    The threshold is taken from the validation rows and judged on the test rows.

    Returns:
        ``class``, ``threshold``, ``recall``, ``precision``, ``called`` (share of the rows) and
        ``recall_now``; ``None`` where every class is found well enough or cannot be judged.
    """
    recalls = {name: case.test_scores[f"recall_{name}"]["value"] for name in case.classes}
    name = min(recalls, key=lambda key: recalls[key])
    seen = case.validation[case.validation["truth"] == name]
    truth = case.test["truth"] == name
    if recalls[name] >= _WANTED_RECALL or seen.empty or not truth.any():
        return None
    threshold = float(seen[f"probability_{name}"].quantile(1 - _WANTED_RECALL))
    called = case.test[f"probability_{name}"] >= threshold
    return {
        "class": name,
        "threshold": threshold,
        "recall": float(called[truth].mean()),
        "precision": float(truth[called].mean()) if called.any() else np.nan,
        "called": float(called.mean()),
        "recall_now": recalls[name],
    }


def _threshold(case: TargetResults) -> list[Block]:
    found = threshold_for(case)
    if found is None:
        return []
    return [
        Text(
            f"Not to miss {found['class']}, look at every row whose probability of "
            f"{found['class']} is {share(float(found['threshold']))} or more: that finds "
            f"{share(float(found['recall']))} of them instead of "
            f"{share(float(found['recall_now']))}, calls {share(float(found['called']))} of all "
            f"rows, and {share(float(found['precision']))} of those called truly are "
            f"{found['class']}.",
            title=f"Finding {found['class']}",
        )
    ]


def borderline(case: TargetResults) -> pd.DataFrame:
    """Test rows whose two most probable classes are nearly level, closest first."""
    return case.test[case.test["margin"] < BORDERLINE].sort_values("margin", kind="stable")


def _borderline(case: TargetResults) -> list[Block]:
    rows = borderline(case)
    if rows.empty:
        return [Text(f"No row is borderline: every margin is at least {share(BORDERLINE)}.")]
    text = (
        f"{counted(len(rows), 'test row')} ({share(len(rows) / len(case.test))}) "
        f"{'is' if len(rows) == 1 else 'are'} borderline: the two most probable classes are less "
        f"than {share(BORDERLINE)} apart. {share(rows['right'].mean())} of them are right. Review "
        "such rows by hand; the closest are listed, all are in the workbook."
    )
    chances = case.probabilities(rows)
    order = np.argsort(-chances.to_numpy(), axis=1)
    chosen = [case.classes[i] for i in order[:, 1]]
    named = case.describe(rows).assign(predicted=rows["prediction"].to_numpy(), second=chosen)
    for name in case.classes:
        named[f"P({name})"] = chances[name].to_numpy()
    named["truth"] = rows["truth"].to_numpy()
    formats = {f"P({name})": "share" for name in case.classes}
    title = "Borderline rows to review by hand"
    return [
        Text(text, title="Borderline rows"),
        Table("borderline", title, named, formats, shown=_SHOWN_ROWS),
    ]
