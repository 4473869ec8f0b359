"""Forecast and truth over time, and what is left between them."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Text
from ratchet.reports.formatting import counted, number, share
from ratchet.reports.page.chart import Chart
from ratchet.reports.regression.results import covered, residuals
from ratchet.reports.target_results import TargetResults

_DAYS = 14  # of steps shorter than a day
_STEPS = 60  # of longer ones
_CLOSER = 7  # times as short is the stretch with the largest errors
_MOST_POINTS = 3000


def forecast_blocks(case: TargetResults) -> list[Block]:
    """A usual stretch of the test time, and the one with the largest errors."""
    usual, worst = usual_stretch(case), worst_stretch(case)
    bad, every = case.losses(worst).mean(), case.losses(case.test).mean()
    text = (
        f"{_which(case, usual)} The second chart shows the stretch with the largest errors, "
        f"{_when(worst)}: there the {case.loss_name} is {number(bad)}, over all test rows "
        f"{number(every)}."
    )
    return [
        Text(text, title="Forecast and truth"),
        _chart(case, "forecast", usual),
        _chart(case, "forecast_worst", worst),
    ]


def stretch_length(case: TargetResults) -> int:
    """Steps that make a readable stretch."""
    times = case.test["time"].drop_duplicates().sort_values()
    hours = (times.diff().dt.total_seconds() / 3600).median()
    return max(2, round(_DAYS * 24 / hours)) if hours < 24 else _STEPS


def usual_stretch(case: TargetResults) -> pd.DataFrame:
    """The last test rows of the series whose mean error is the median one."""
    errors = case.losses(case.test).groupby(case.test["series"]).mean().sort_values()
    name = errors.index[(len(errors) - 1) // 2]
    return _of_series(case, name).tail(stretch_length(case))


def worst_stretch(case: TargetResults) -> pd.DataFrame:
    """The test rows of one series in the stretch with the largest mean error."""
    length = max(2, stretch_length(case) // _CLOSER)
    found, largest = case.test.iloc[:0], -1.0
    for name in case.test["series"].unique():
        rows = _of_series(case, name)
        means = case.losses(rows).rolling(min(length, len(rows))).mean().fillna(-1.0)
        end = int(means.argmax())
        if means.iloc[end] > largest:
            found, largest = rows.iloc[max(0, end + 1 - length) : end + 1], float(means.iloc[end])
    return found


def _of_series(case: TargetResults, name: object) -> pd.DataFrame:
    return case.test[case.test["series"] == name].sort_values("time")


def _which(case: TargetResults, rows: pd.DataFrame) -> str:
    steps = case.horizon
    ahead = f"Each forecast was made {counted(steps, 'step')} before its time."
    if not case.has_many_series:
        return f"The first chart shows the end of the test time, {_when(rows)}. {ahead}"
    return (
        f"The first chart shows series {rows['series'].iloc[0]}, whose error is the median one, "
        f"{_when(rows)}. {ahead}"
    )


def _when(rows: pd.DataFrame) -> str:
    first, last = rows["time"].min(), rows["time"].max()
    return f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _chart(case: TargetResults, name: str, rows: pd.DataFrame) -> Chart:
    has_band = covered(case) is not None
    said = pd.DataFrame({"time": rows["time"], "value": rows["prediction"], "what": "forecast"})
    if has_band:
        said[["low", "high"]] = rows[["low", "high"]]
    true = pd.DataFrame({"time": rows["time"], "value": rows["truth"], "what": "truth"})
    which = f" of {rows['series'].iloc[0]}" if case.has_many_series else ""
    what = "largest errors" if name == "forecast_worst" else "forecast and truth"
    measure = case.target.unit or case.target.column
    return Chart(
        name=name,
        kind="curve",
        title=f"{case.name}{which}: {what}, {_when(rows)}",
        frame=pd.concat([said, true], ignore_index=True),
        x="time",
        y="value",
        group="what",
        low="low" if has_band else None,
        high="high" if has_band else None,
        band_title=f"{share(case.choice['details']['confidence'])} interval" if has_band else "",
        x_title="time of the value",
        y_title=measure,
    )


def residual_chart(case: TargetResults) -> Chart:
    """Errors against time."""
    rows = pd.DataFrame({"time": case.test["time"], "error": residuals(case)})
    few = rows if len(rows) <= _MOST_POINTS else rows.sample(_MOST_POINTS, random_state=0)
    scaled = ", in mean naive errors" if case.has_many_series else _unit(case)
    return Chart(
        name="residuals",
        kind="points",
        title=f"{case.name}: errors over the test time",
        frame=few.sort_values("time"),
        x="time",
        y="error",
        x_title="time of the value",
        y_title=f"forecast minus truth{scaled}",
        reference=0.0,
    )


def _unit(case: TargetResults) -> str:
    return f" ({case.target.unit})" if case.target.unit else ""
