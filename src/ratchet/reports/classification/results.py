"""The parts of a chapter that only a target of classes has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import count, counted, listed, number, share
from ratchet.reports.intervals import share_interval
from ratchet.reports.page.chart import Chart
from ratchet.reports.target_results import TargetResults


def distribution(case: TargetResults) -> list[Block]:
    """Class balance, part by part."""
    shares = pd.DataFrame(
        {
            part: case.truth(part).value_counts(normalize=True)
            for part in ("train", "validation", "test")
        }
    ).reindex(case.classes, fill_value=0)
    shares = shares.fillna(0).rename_axis("class")
    counts = case.primary[case.target.column].astype(object).value_counts()
    largest, smallest = counts.index[0], counts.index[-1]
    text = (
        f"Of {counted(int(counts.sum()), 'row')} with a known {case.name}, "
        f"{share(counts.iloc[0] / counts.sum())} are {largest} and "
        f"{share(counts.iloc[-1] / counts.sum())} are {smallest}: whoever always says {largest} is "
        f"right in {share(shares['test'][str(largest)])} of the test rows."
    )
    long = shares.reset_index().melt("class", var_name="part", value_name="share")
    chart = Chart(
        name="distribution",
        kind="bar",
        title=f"{case.name}: share of the classes",
        frame=long,
        x="share",
        y="class",
        group="part",
        shares="x",
    )
    formats = dict.fromkeys(shares.columns, "share")
    table = Table("class_shares", "Share of the classes", shares.reset_index(), formats)
    return [Text(text), chart, table]


def per_class(case: TargetResults) -> list[Block]:
    """Scores of every class, and which one is mistaken for which."""
    scores = case.test_scores
    frame = pd.DataFrame(
        [
            {
                "class": name,
                "rows": int((case.test["truth"] == name).sum()),
                "predicted": int((case.test["prediction"] == name).sum()),
                **{
                    f"{metric}{suffix}": scores[f"{metric}_{name}"][end]
                    for metric in ("precision", "recall", "f1")
                    for suffix, end in (("", "value"), (" low", "low"), (" high", "high"))
                },
            }
            for name in case.classes
        ]
    )
    shown = frame[["class", "rows", "predicted", "precision", "recall", "f1"]]
    formats = {"rows": "count", "predicted": "count"} | dict.fromkeys(frame.columns[3:], "share")
    words = (
        "Recall: of the rows that truly belong to a class, the share that was found. Precision: of "
        "the rows called so, the share that truly is. F1 is the balance of both."
    )
    return [
        Text(words, title="Class by class"),
        Table("per_class", "Scores of each class on the test rows", shown, formats),
        Table("per_class_intervals", "Scores of each class", frame, formats, shown=0),
        _confusion(case),
        Text(confusion_sentence(case)),
    ]


def _confusion(case: TargetResults) -> Chart:
    counts = case.choice["details"]["confusion"]
    rows = []
    for truth, predicted in counts.items():
        total = max(sum(predicted.values()), 1)
        rows += [
            {
                "truth": truth,
                "prediction": name,
                "share": n / total,
                "text": f"{count(n)}<br>{share(n / total)}",
            }
            for name, n in predicted.items()
        ]
    return Chart(
        name="confusion",
        kind="heatmap",
        title=f"{case.name}: true class against predicted class, test rows",
        frame=pd.DataFrame(rows),
        x="prediction",
        y="truth",
        value="share",
        text="text",
        x_title="predicted",
        y_title="true class",
    )


def confusion_sentence(case: TargetResults) -> str:
    """The most frequent mistake, and classes that are never named."""
    counts = case.choice["details"]["confusion"]
    mistakes = {
        (truth, name): n
        for truth, row in counts.items()
        for name, n in row.items()
        if name != truth and n
    }
    if not mistakes:
        return "No row was put into a wrong class."
    (truth, name), n = max(mistakes.items(), key=lambda item: item[1])
    text = (
        f"The most frequent mistake is to call {truth} {name}: {count(n)} of "
        f"{counted(sum(mistakes.values()), 'mistake')}."
    )
    if never := never_predicted(case):
        text += f" {listed(never)} {'is' if len(never) == 1 else 'are'} never predicted."
    return text


def never_predicted(case: TargetResults) -> list[str]:
    """Classes that no test row is put into."""
    return [name for name in case.classes if not (case.test["prediction"] == name).any()]


def calibration(case: TargetResults) -> list[Block]:
    """Whether probabilities mean what they say."""
    from ratchet.learning.metrics import calibration_table

    table = calibration_table(case.test["truth"], case.probabilities(case.test), case.classes)
    ends = [
        share_interval(row["observed_share"] * row["count"], row["count"])
        for _, row in table.iterrows()
    ]
    table[["low", "high"]] = np.array(ends)
    error = case.choice["details"]["calibration_error"]
    text = (
        f"Calibration asks whether classes given 70% happen in 70% of the cases. On average the "
        f"stated probability and what happened are {number(100 * error)} percentage points apart."
    )
    chart = Chart(
        name="calibration",
        kind="line",
        title=f"{case.name}: stated probability against what happened",
        frame=table,
        x="mean_probability",
        y="observed_share",
        group="class",
        low="low",
        high="high",
        shares="xy",
        x_title="stated probability",
        y_title="observed share, with 95% interval",
        diagonal=True,
    )
    formats = dict.fromkeys(["mean_probability", "observed_share", "low", "high"], "share")
    formats["count"] = "count"
    return [
        Text(text, title="Are the probabilities honest?"),
        chart,
        Table("calibration", "Calibration", table, formats, shown=0),
    ]
