"""Which series are forecast well and badly, and which one the scores in units hang on."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import counted, label, number, share
from ratchet.reports.intervals import TOO_NARROW, summarise
from ratchet.reports.page.chart import Chart
from ratchet.reports.target_results import TargetResults

_WORST, _BEST = 10, 5
_DOMINATES = 0.5  # of the variance of the test rows
_ALL, _WITHOUT = "all", "without it"
_METRICS = ["r2", "rmse", "mae", "mase", "rmsse"]


def series_blocks(case: TargetResults) -> list[Block]:
    """Errors by series, where series have names."""
    if not (case.data.series and case.data.series.id):
        return []
    frame = errors_by_series(case)
    shown = frame if len(frame) <= _WORST + _BEST else _ends(frame)
    chart = Chart(
        name="error_by_series",
        kind="dots",
        title=f"{case.name}: mean scaled error by {case.data.series.id}, worst and best",
        frame=shown,
        x="MASE",
        y="series",
        low="low",
        high="high",
        x_title="MASE, with 95% interval",
        reference=float(case.test_scores["mase"]["value"]),
        reference_title="all test rows",
    )
    formats = dict.fromkeys(frame.columns[1:], "number") | {"rows": "count"}
    title = f"Worst and best {case.data.series.id}; all are in the workbook"
    few = shown if len(shown) < len(frame) else frame
    return [
        Text(f"{_sentence(case, frame)} {TOO_NARROW}", title=f"Errors by {case.data.series.id}"),
        chart,
        Table("worst_and_best", title, few, formats),
        Table("by_series", "Errors by series", frame, formats, shown=0),
        *_without_the_dominating(case),
    ]


def errors_by_series(case: TargetResults) -> pd.DataFrame:
    """Errors of the winner in each series, largest MASE first.

    Returns:
        ``series``, ``rows``, ``MASE`` with ``low`` and ``high``, ``mean error``, ``bias``
        (forecast minus truth) and ``mean truth``.
    """
    scaled = case.test["error"].abs() / case.test["scale"]
    rows = []
    for name, part in case.test.groupby("series", observed=True):
        found = summarise(scaled.loc[part.index], is_share=False)
        rows.append(
            {
                "series": str(name),
                "rows": found["rows"],
                "MASE": found["value"],
                "low": found["low"],
                "high": found["high"],
                "mean error": part["error"].abs().mean(),
                "bias": part["error"].mean(),
                "mean truth": part["truth"].mean(),
            }
        )
    return pd.DataFrame(rows).sort_values("MASE", ascending=False, ignore_index=True)


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame.head(_WORST), frame.tail(_BEST)], ignore_index=True)


def _sentence(case: TargetResults, frame: pd.DataFrame) -> str:
    below = (frame["MASE"] < 1).mean()
    first, last = frame.iloc[0], frame.iloc[-1]
    if len(frame) == 1:
        return f"There is one series, {first['series']}, with a MASE of {number(first['MASE'])}."
    return (
        f"In {share(below)} of {counted(len(frame), 'series', 'series')} the mean error is smaller "
        f"than the {case.naive_error} (MASE below 1). The worst is "
        f"{first['series']} with {number(first['MASE'])}, the best {last['series']} with "
        f"{number(last['MASE'])}."
    )


def dominating(case: TargetResults) -> tuple[str, float] | None:
    """The series that holds most of the variance of the test rows, if it is more than half.

    Returns:
        Name of the series and its share; ``None`` where there is none or only one series.
    """
    if not case.has_many_series:
        return None
    squares = (case.test["truth"] - case.test["truth"].mean()) ** 2
    sums = squares.groupby(case.test["series"].astype(str)).sum()
    if not sums.sum() or sums.max() <= _DOMINATES * sums.sum():
        return None
    return str(sums.idxmax()), float(sums.max() / sums.sum())


def _without_the_dominating(case: TargetResults) -> list[Block]:
    found = dominating(case)
    if found is None:
        return []
    name, part = found
    frame = with_and_without(case, name)
    own = frame[frame["candidate"] == case.best].set_index("rows used")

    def change(metric: str) -> str:
        values = own[label(metric)].to_dict()
        return f"{number(values[_WITHOUT])} instead of {number(values[_ALL])}"

    text = (
        f"{name} alone holds {share(part)} of the variance of the test rows, so that R², RMSE and "
        f"MAE over all rows speak mostly of it. Without it {case.best} has an R² of "
        f"{change('r2')} and an RMSE of {change('rmse')}; its MASE, in which every series counts "
        f"alike, is {change('mase')}."
    )
    formats = dict.fromkeys(map(label, _METRICS), "number")
    title = f"Scores on the test rows with and without {name}"
    return [
        Text(text, title="One series dominates"),
        Table("without_dominating", title, frame, formats),
    ]


def with_and_without(case: TargetResults, name: str) -> pd.DataFrame:
    """Scores of every candidate on all test rows and on those of the other series."""
    from ratchet.learning.metrics import score_forecast

    test = case.predictions[case.predictions["split"] == "test"]
    rows = []
    for candidate in case.choice["ranking"]:
        own = test[test["candidate"] == candidate]
        for used, part in ((_ALL, own), (_WITHOUT, own[own["series"].astype(str) != name])):
            scores = score_forecast(
                part["truth"],
                part["prediction"],
                scale=part["scale"],
                rms=part["rms"],
                times=part["time"],
                n_bootstrap=1,  # no interval is shown
                seed=case.seed,
            )
            values = {label(metric): scores[metric]["value"] for metric in _METRICS}
            rows.append({"candidate": candidate, "rows used": used, **values})
    return pd.DataFrame(rows)
