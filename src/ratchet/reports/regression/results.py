"""The parts of a chapter that only a target of numbers has."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import counted, listed, number, plain, share, unit
from ratchet.reports.intervals import histogram, mean_interval, share_interval
from ratchet.reports.page.chart import Chart
from ratchet.reports.target_results import TargetResults

_MOST_POINTS = 2000
_TRIM = 0.005


def distribution(case: TargetResults) -> list[Block]:
    """Spread of the target, part by part."""
    parts = {part: case.truth(part) for part in ("train", "validation", "test")}
    frame = pd.DataFrame(
        {part: values.describe(percentiles=[0.05, 0.5, 0.95]) for part, values in parts.items()}
    ).T.rename(columns={"count": "rows", "std": "standard deviation", "50%": "median"})
    known = pd.concat(list(parts.values()))
    near = ((known - known.mean()).abs() <= known.std()).mean()
    text = (
        f"{counted(len(known), 'row')} have a {case.name}: the mean is "
        f"{unit(known.mean(), case.target.unit)}, and {share(near)} of the rows lie within "
        f"{number(known.std())} of it (one standard deviation). The middle 90% run from "
        f"{number(known.quantile(0.05))} to {number(known.quantile(0.95))}."
    )
    unit_name = case.target.unit
    chart = Chart(
        name="distribution",
        kind="histogram",
        title=f"{case.name}: distribution in training and test rows",
        frame=histogram({part: parts[part] for part in ("train", "test")}, trim=_trim(case)),
        x="centre",
        y="share",
        group="group",
        shares="y",
        x_title=f"{case.name}{f' ({unit_name})' if unit_name not in ('', case.name) else ''}",
        y_title="share of the rows",
    )
    table = frame.rename_axis("part").reset_index()
    formats = dict.fromkeys(table.columns[1:], "number") | {"rows": "count"}
    return [Text(text), chart, Table("spread", f"Spread of {case.name}", table, formats)]


def _trim(case: TargetResults) -> float:
    """Share that histograms leave out at either end: series differ in height by far."""
    return _TRIM if case.has_many_series else 0.0


def errors(case: TargetResults) -> list[Block]:
    """Truth against prediction, and the size of the errors."""
    test, size = case.test, case.test["error"].abs()
    text = (
        f"Half of the predictions are off by {unit(size.median(), case.target.unit)} or less, nine "
        f"in ten by {number(size.quantile(0.9))} or less. The predictions differ from each other "
        f"by {number(test['prediction'].std(ddof=0))} (standard deviation), the truth by "
        f"{number(test['truth'].std(ddof=0))}."
    )
    points = test if len(test) <= _MOST_POINTS else test.sample(_MOST_POINTS, random_state=0)
    unit_ = points["scale"] if case.has_many_series else pd.Series(1.0, points.index)
    scaled = ", in mean naive errors of the series" if case.has_many_series else ""
    scatter = Chart(
        name="truth",
        kind="points",
        title=f"{case.name}: prediction and truth, test rows",
        frame=points[["prediction", "truth"]].div(unit_, axis=0).round(4),
        x="prediction",
        y="truth",
        x_title=f"predicted{scaled}",
        y_title=f"true{scaled}",
        diagonal=True,
    )
    bars = Chart(
        name="errors",
        kind="histogram",
        title=f"{case.name}: errors of the test rows",
        frame=histogram({"": residuals(case)}, trim=_trim(case)),
        x="centre",
        y="share",
        shares="y",
        x_title=f"prediction minus truth{scaled}",
        y_title="share of the rows",
    )
    return [Text(text, title="Errors"), scatter, bars]


def residuals(case: TargetResults) -> pd.Series:
    """Prediction minus truth of the test rows; of several series in mean naive errors of each."""
    return case.test["error"] / (case.test["scale"] if case.has_many_series else 1.0)


def fifths(case: TargetResults) -> pd.DataFrame:
    """Rows by the height of their prediction: what was said, and what it was."""
    test = case.test
    rank = test["prediction"].rank(method="first")
    label = pd.qcut(rank, min(5, len(test)), labels=False) + 1
    rows = []
    for part, group in test.groupby(label):
        low, high = mean_interval(group["truth"])
        rows.append(
            {
                "fifth": int(str(part)),
                "rows": len(group),
                "mean prediction": group["prediction"].mean(),
                "mean truth": group["truth"].mean(),
                "low": low,
                "high": high,
                "truth 10%": group["truth"].quantile(0.1),
                "truth 90%": group["truth"].quantile(0.9),
            }
        )
    return pd.DataFrame(rows)


def calibration(case: TargetResults) -> list[Block]:
    """Whether predictions are right on average, at every height, and intervals cover."""
    frame = fifths(case)
    chart = Chart(
        name="calibration",
        kind="line",
        title=f"{case.name}: mean truth of rows with similar predictions",
        frame=frame,
        x="mean prediction",
        y="mean truth",
        low="low",
        high="high",
        x_title="mean prediction of a fifth of the test rows",
        y_title="mean truth, with 95% interval",
        diagonal=True,
    )
    formats = dict.fromkeys(frame.columns[2:], "number") | {"rows": "count"}
    return [
        Text(coverage_sentence(case), title="Are the intervals honest?"),
        chart,
        Table("fifths", "Test rows by the height of their prediction", frame, formats),
    ]


def covered(case: TargetResults) -> pd.Series | None:
    """Whether the interval of each test row holds the truth; ``None`` without intervals."""
    test = case.test
    if not {"low", "high"} <= set(test.columns) or test[["low", "high"]].isna().any(axis=None):
        return None
    return (test["low"] <= test["truth"]) & (test["truth"] <= test["high"])


def coverage_sentence(case: TargetResults) -> str:
    """How often the intervals hold the truth, how wide they are, and how many are cut."""
    inside = covered(case)
    if inside is None:
        return "The predictions carry no intervals."
    low, high = share_interval(inside.sum(), len(inside))
    width = f"are {unit((case.test['high'] - case.test['low']).mean(), case.target.unit)} wide"
    width += " on average"
    if case.target.in_logs:
        rows = case.test[["low", "high"]].div(case.test["prediction"], axis=0)
        below, above = 1 - rows["low"].median(), rows["high"].median() - 1
        width = f"reach from {share(below)} below the prediction to {share(above)} above it"
    text = (
        f"Each prediction carries an interval that is meant to hold the truth in "
        f"{share(case.choice['details']['confidence'])} of the cases; on the test rows it does in "
        f"{share(inside.mean())} ({share(low)} to {share(high)}). The intervals "
        f"{width}."
    )
    cut = clipped(case)
    if case.target.bounds and cut.any():
        ends = listed([plain(end) for end in case.target.bounds if math.isfinite(end)])
        text += (
            f" {counted(int(cut.sum()), 'interval')} ({share(cut.mean())}) "
            f"{'is' if cut.sum() == 1 else 'are'} cut at the ends of the range ({ends})."
        )
    return text


def clipped(case: TargetResults) -> pd.Series:
    """Whether the interval of each test row ends at the bounds of the target."""
    low, high = case.target.bounds or (-np.inf, np.inf)
    return (case.test["low"] <= low) | (case.test["high"] >= high)
