"""A forecast of series: what the report says of it, what it can be used for, and its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ratchet.config import Windows
from ratchet.learning.metrics import score_forecast
from ratchet.reports import regression
from ratchet.reports.blocks import Block, Finding, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import between, count, counted, label, number, share, unit
from ratchet.reports.intervals import TOO_NARROW, summarise
from ratchet.reports.naive_forecasts import (
    BEATS,
    best_naive,
    gain_over,
    headline,
    high_r2_warning,
    mase,
    verdict,
)
from ratchet.reports.regression import (
    calibration_blocks,
    covered,
    distribution_blocks,
    low_coverage,
    reliability_sentence,
    residuals,
    value_shift,
)
from ratchet.reports.stock_orders import orders_fall_short, stock_blocks
from ratchet.reports.target_results import TargetResults

__all__ = [
    "advice_blocks",
    "calibration_blocks",
    "detail_blocks",
    "distribution_blocks",
    "headline",
    "key_metric",
    "limitations",
    "reliability_sentence",
]
"""What a chapter takes of each task; some parts are as for any number."""

_DAYS = 14  # of steps shorter than a day
_STEPS = 60  # of longer ones
_CLOSER = 7  # times as short is the stretch with the largest errors
_MOST_POINTS = 3000
_WORST, _BEST = 10, 5
_DOMINATES = 0.5  # of the variance of the test rows
_ALL, _WITHOUT = "all", "without it"
_METRICS = ["r2", "rmse", "mae", "mase", "rmsse"]
_SHOWN_ROWS = 15
_TENTH = 0.1
_FEW_TIMES = 30
_MARKED_STEPS = 30


def key_metric(results: TargetResults) -> tuple[str, str]:
    """Metric of the card, and a short explanation."""
    return "mase", f"the mean error, divided by the {results.naive_error}"


def detail_blocks(results: TargetResults) -> list[Block]:
    """Forecasts over time, and the errors."""
    windows = results.features.windows
    return [
        *(path_blocks(results, windows) if windows else []),
        *forecast_blocks(results),
        *regression.detail_blocks(results),
        residual_chart(results),
    ]


def path_blocks(results: TargetResults, windows: Windows) -> list[Block]:
    """Errors by step of a path, and the last path of a typical series."""
    if windows.path is None:
        return []
    frame = errors_by_step(results)
    own = frame[frame["candidate"] == results.best]
    near, far = own.iloc[0], own.iloc[-1]
    scaled = results.loss_name
    text = (
        f"A forecast is a path of {windows.ahead}. Step {count(near['step'])} has a {scaled} of "
        f"{number(near['value'])}, step {count(far['step'])} one of "
        f"{number(far['value'])}; the scores above are over all steps, and times count alike."
    )
    if covered(results) is not None:
        shares = own["inside"]
        text += (
            f" Each step has its own interval: they hold {share(shares.min())} to "
            f"{share(shares.max())} of the truth, by step, and "
            f"{share(results.choice['details']['coverage'])} in all."
        )
    errors = Chart(
        name="error_by_step",
        kind="line" if len(own) <= _MARKED_STEPS else "curve",
        title=f"{results.name}: {scaled} by step, test rows",
        frame=frame,
        x="step",
        y="value",
        group="candidate",
        low="low",
        high="high",
        x_title="steps after the origin",
        y_title=f"{scaled}, with 95% interval",
    )
    formats = dict.fromkeys(("value", "low", "high"), "number") | {"inside": "share"}
    table = Table("by_step", f"{_capital(scaled)} by step", frame, formats, shown=0)
    return [
        Text(f"{text} {TOO_NARROW}", title="Errors by step"),
        errors,
        table,
        _chart(results, "path", last_path(results)),
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def errors_by_step(results: TargetResults) -> pd.DataFrame:
    """Errors of the winner and of the best naive forecast at each step of a path.

    Returns:
        ``candidate``, ``step``, ``rows``, ``value`` (mean loss) with ``low`` and ``high``, and
        ``inside``, the share of the truth in the intervals; missing where there are none.
    """
    test = results.predictions[results.predictions["split"] == "test"]
    names = dict.fromkeys([results.best, best_naive(results)])
    frame = []
    for name in names:
        rows = test[test["candidate"] == name]
        rows = rows.assign(error=rows["prediction"] - rows["truth"])
        losses = results.losses(rows)
        inside = rows["truth"].between(rows["low"], rows["high"])
        has_ends = rows["low"].notna().all()
        for step, part in losses.groupby(rows["step"]):
            held = inside[part.index].mean() if has_ends else float("nan")
            summary = summarise(part, is_share=False)
            frame.append({"candidate": name, "step": step, **summary, "inside": held})
    return pd.DataFrame(frame)


def last_path(results: TargetResults) -> pd.DataFrame:
    """The last of the longest paths among the test rows, of a series with the median error."""
    rows, origins = results.test, results.origins(results.test)
    series = rows["series"].astype(str)
    size = origins.groupby([series, origins]).transform("size")
    longest = rows[size == size.max()]
    errors = results.losses(longest).groupby(series[longest.index]).mean().sort_values()
    name = errors.index[(len(errors) - 1) // 2]
    of_series = longest[series[longest.index] == name].sort_values("time")
    return of_series[origins[of_series.index] == origins[of_series.index[-1]]]


def forecast_blocks(results: TargetResults) -> list[Block]:
    """Forecast and truth in a typical stretch of time, and in the one with the largest errors."""
    usual, worst = median_stretch(results), worst_stretch(results)
    bad, every = results.losses(worst).mean(), results.losses(results.test).mean()
    text = (
        f"{_stretch_sentence(results, usual)} The second chart shows the stretch with the largest "
        f"errors, {_dates(worst)}: there the {results.loss_name} is {number(bad)}, over all test "
        f"rows {number(every)}."
    )
    return [
        Text(text, title="Forecast and truth"),
        _chart(results, "forecast", usual),
        _chart(results, "forecast_worst", worst),
    ]


def stretch_length(results: TargetResults) -> int:
    """Steps that make a readable stretch."""
    times = results.test["time"].drop_duplicates().sort_values()
    hours = (times.diff().dt.total_seconds() / 3600).median()
    return max(2, round(_DAYS * 24 / hours)) if hours < 24 else _STEPS


def median_stretch(results: TargetResults) -> pd.DataFrame:
    """The last test rows of the series whose mean error is the median one."""
    errors = results.losses(results.test).groupby(results.test["series"]).mean().sort_values()
    name = errors.index[(len(errors) - 1) // 2]
    return _of_series(results, name).tail(stretch_length(results))


def worst_stretch(results: TargetResults) -> pd.DataFrame:
    """The test rows of one series in the stretch with the largest mean error."""
    length = max(2, stretch_length(results) // _CLOSER)
    rows = results.test
    series = pd.factorize(rows["series"])[0]
    steps = rows["step"] if results.features.path else np.zeros(len(rows))
    order = np.lexsort([steps, rows["time"], series])
    if results.features.path:
        order = order[~rows[["series", "time"]].iloc[order].duplicated().to_numpy()]
    series = series[order]
    losses = pd.Series(results.losses(rows).to_numpy()[order]).groupby(series)
    # A series that is shorter than a stretch is one.
    last = losses.cumcount().to_numpy() >= np.minimum(length, losses.transform("size")) - 1
    means = losses.rolling(length, min_periods=1).mean().to_numpy()
    end = int(np.where(last & np.isfinite(means), means, -1.0).argmax())
    first = max(int(np.searchsorted(series, series[end])), end + 1 - length)
    return rows.iloc[order[first : end + 1]]


def _of_series(results: TargetResults, name: object) -> pd.DataFrame:
    """Test rows of a series by time; of a path those of the nearest origin of each time."""
    rows = results.test[results.test["series"] == name]
    if results.features.path is None:
        return rows.sort_values("time")
    return rows.sort_values(["time", "step"]).drop_duplicates("time")


def _stretch_sentence(results: TargetResults, rows: pd.DataFrame) -> str:
    ahead = f"Each forecast was made {counted(results.horizon, 'step')} before its time."
    if (path := results.features.path) is not None:
        ahead = (
            f"Each time is shown as it was forecast from the nearest origin that is among the test "
            f"rows, {path.first} to {counted(path.last, 'step')} before."
        )
    if not results.has_many_series:
        return f"The first chart shows the end of the test time, {_dates(rows)}. {ahead}"
    return (
        f"The first chart shows series {rows['series'].iloc[0]}, whose error is the median one, "
        f"{_dates(rows)}. {ahead}"
    )


def _dates(rows: pd.DataFrame) -> str:
    first, last = rows["time"].min(), rows["time"].max()
    return f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _chart(results: TargetResults, name: str, rows: pd.DataFrame) -> Chart:
    has_band = covered(results) is not None
    forecast = pd.DataFrame({"time": rows["time"], "value": rows["prediction"], "what": "forecast"})
    if has_band:
        forecast[["low", "high"]] = rows[["low", "high"]]
    truth = pd.DataFrame({"time": rows["time"], "value": rows["truth"], "what": "truth"})
    which = f" of {rows['series'].iloc[0]}" if results.has_many_series else ""
    names = {"forecast_worst": "largest errors", "path": "a path and the truth"}
    what = names.get(name, "forecast and truth")
    measure = results.target.unit or results.target.column
    return Chart(
        name=name,
        kind="curve",
        title=f"{results.name}{which}: {what}, {_dates(rows)}",
        frame=pd.concat([forecast, truth], ignore_index=True),
        x="time",
        y="value",
        group="what",
        low="low" if has_band else None,
        high="high" if has_band else None,
        band_title=f"{share(results.choice['details']['confidence'])} interval" if has_band else "",
        x_title="time of the value",
        y_title=measure,
    )


def residual_chart(results: TargetResults) -> Chart:
    """Errors against time."""
    rows = pd.DataFrame({"time": results.test["time"], "error": residuals(results)})
    few = rows if len(rows) <= _MOST_POINTS else rows.sample(_MOST_POINTS, random_state=0)
    scaled = ", in mean naive errors" if results.has_many_series else _unit(results)
    return Chart(
        name="residuals",
        kind="points",
        title=f"{results.name}: errors over the test time",
        frame=few.sort_values("time"),
        x="time",
        y="error",
        x_title="time of the value",
        y_title=f"forecast minus truth{scaled}",
        reference=0.0,
    )


def _unit(results: TargetResults) -> str:
    return f" ({results.target.unit})" if results.target.unit else ""


def series_blocks(results: TargetResults) -> list[Block]:
    """Errors by series, where series have names."""
    if not (results.data.series and results.data.series.id):
        return []
    frame = errors_by_series(results)
    shown = frame if len(frame) <= _WORST + _BEST else _worst_and_best(frame)
    chart = Chart(
        name="error_by_series",
        kind="dots",
        title=f"{results.name}: mean scaled error by {results.data.series.label}, worst and best",
        frame=shown,
        x="MASE",
        y="series",
        low="low",
        high="high",
        x_title="MASE, with 95% interval",
        reference=float(results.test_scores["mase"]["value"]),
        reference_title="all test rows",
    )
    formats = dict.fromkeys(frame.columns[1:], "number") | {"rows": "count"}
    title = f"Worst and best {results.data.series.label}; all are in the workbook"
    few = shown if len(shown) < len(frame) else frame
    return [
        Text(
            f"{_sentence(results, frame)} {TOO_NARROW}",
            title=f"Errors by {results.data.series.label}",
        ),
        chart,
        Table("worst_and_best", title, few, formats),
        Table("by_series", "Errors by series", frame, formats, shown=0),
        *_without_the_dominating(results),
    ]


def errors_by_series(results: TargetResults) -> pd.DataFrame:
    """Errors of the winner in each series, largest MASE first.

    Returns:
        ``series``, ``rows``, ``MASE`` with ``low`` and ``high``, ``mean error``, ``bias``
        (forecast minus truth) and ``mean truth``.
    """
    test = results.test
    series, names = pd.factorize(test["series"], sort=True)
    order, ends = np.argsort(series, kind="stable"), np.bincount(series).cumsum()[:-1]
    values = (
        test["error"].abs() / test["scale"],
        test["error"].abs(),
        test["error"],
        test["truth"],
    )
    of_series = (np.split(column.to_numpy(dtype=float)[order], ends) for column in values)
    rows = []
    for name, scaled, size, error, truth in zip(names, *of_series, strict=True):
        scaled_error = summarise(scaled, is_share=False)
        rows.append(
            {
                "series": str(name),
                "rows": scaled_error["rows"],
                "MASE": scaled_error["value"],
                "low": scaled_error["low"],
                "high": scaled_error["high"],
                "mean error": size.mean(),
                "bias": error.mean(),
                "mean truth": truth.mean(),
            }
        )
    return pd.DataFrame(rows).sort_values("MASE", ascending=False, ignore_index=True)


def _worst_and_best(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame.head(_WORST), frame.tail(_BEST)], ignore_index=True)


def _sentence(results: TargetResults, frame: pd.DataFrame) -> str:
    below = (frame["MASE"] < 1).mean()
    first, last = frame.iloc[0], frame.iloc[-1]
    if len(frame) == 1:
        return f"There is one series, {first['series']}, with a MASE of {number(first['MASE'])}."
    return (
        f"In {share(below)} of {counted(len(frame), 'series', 'series')} the mean error is smaller "
        f"than the {results.naive_error} (MASE below 1). The worst is "
        f"{first['series']} with {number(first['MASE'])}, the best {last['series']} with "
        f"{number(last['MASE'])}."
    )


def dominating(results: TargetResults) -> tuple[str, float] | None:
    """The series that holds most of the variance of the test rows, if it is more than half.

    Returns:
        Name of the series and its share; ``None`` where there is none or only one series.
    """
    if not results.has_many_series:
        return None
    squares = (results.test["truth"] - results.test["truth"].mean()) ** 2
    sums = squares.groupby(results.test["series"].astype(str)).sum()
    if not sums.sum() or sums.max() <= _DOMINATES * sums.sum():
        return None
    return str(sums.idxmax()), float(sums.max() / sums.sum())


def _without_the_dominating(results: TargetResults) -> list[Block]:
    dominant = dominating(results)
    if dominant is None:
        return []
    name, part = dominant
    frame = scores_with_and_without(results, name)
    own = frame[frame["candidate"] == results.best].set_index("rows used")

    def change(metric: str) -> str:
        values = own[label(metric)].to_dict()
        return f"{number(values[_WITHOUT])} instead of {number(values[_ALL])}"

    text = (
        f"{name} alone holds {share(part)} of the variance of the test rows, so that R², RMSE and "
        f"MAE over all rows speak mostly of it. Without it {results.best} has an R² of "
        f"{change('r2')} and an RMSE of {change('rmse')}; its MASE, in which every series counts "
        f"alike, is {change('mase')}."
    )
    formats = dict.fromkeys(map(label, _METRICS), "number")
    title = f"Scores on the test rows with and without {name}"
    return [
        Text(text, title="One series dominates"),
        Table("without_dominating", title, frame, formats),
    ]


def scores_with_and_without(results: TargetResults, name: str) -> pd.DataFrame:
    """Scores of every candidate on all test rows and on those of the other series."""
    test = results.predictions[results.predictions["split"] == "test"]
    rows = []
    for candidate in results.choice["ranking"]:
        own = test[test["candidate"] == candidate]
        for used, part in ((_ALL, own), (_WITHOUT, own[own["series"].astype(str) != name])):
            scores = score_forecast(
                part["truth"],
                part["prediction"],
                scale=part["scale"],
                rms=part["rms"],
                times=part["time"],
                resampling=replace(results.resampling, n_bootstrap=1),  # no interval is shown
            )
            values = {label(metric): scores[metric]["value"] for metric in _METRICS}
            rows.append({"candidate": candidate, "rows used": used, **values})
    return pd.DataFrame(rows)


def advice_blocks(results: TargetResults) -> list[Block]:
    """How far to trust a forecast, the largest errors, and what to order."""
    return [
        Text(trust_sentence(results), title="How far to trust a forecast"),
        _largest_misses(results),
        *(stock_blocks(results, results.inventory) if results.inventory else []),
    ]


def trust_sentence(results: TargetResults) -> str:
    """Size of the errors, and width of the intervals in naive errors."""
    test = results.test
    size = test["error"].abs()
    text = (
        f"Half of the forecasts are off by {unit(size.median(), results.target.unit)} or less, "
        f"one in ten by {number(size.quantile(0.9))} or more."
    )
    if covered(results) is None:
        return text
    promised = share(results.choice["details"]["confidence"])
    width = ((test["high"] - test["low"]) / test["scale"]).median()
    return (
        f"{text} The interval says how far: in {promised} of the cases the truth should lie "
        f"inside. Half of the intervals are wider than {number(width)} times the "
        f"{results.naive_error}; plan with their ends where being wrong is dear."
    )


def _largest_misses(results: TargetResults) -> Table:
    losses = results.losses(results.test)
    rows = results.test.loc[losses.nlargest(max(1, round(len(losses) * _TENTH))).index]
    shown = ["prediction", *(["low", "high"] if covered(results) is not None else []), "truth"]
    frame = row_names(results, rows).assign(**{name: rows[name] for name in shown})
    error = "scaled error" if results.has_many_series else "error"
    frame[error] = losses.loc[rows.index]
    formats = dict.fromkeys([*shown, error], "number")
    title = f"The largest misses, {count(len(rows))} of {count(len(losses))} test rows"
    return Table("largest_misses", title, frame, formats, shown=_SHOWN_ROWS)


def row_names(results: TargetResults, rows: pd.DataFrame) -> pd.DataFrame:
    """Labels of rows: the series, where there are several, and the time."""
    whole = (rows["time"].dt.normalize() == rows["time"]).all()
    time = rows["time"].dt.strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M")
    series = {"series": rows["series"].astype(str)} if results.has_many_series else {}
    return pd.DataFrame({**series, "time": time})


def naive_not_beaten(results: TargetResults) -> list[Finding]:
    """The winner is not significantly better than the best naive forecast."""
    naive = best_naive(results)
    if results.best in results.target.naive_candidates:
        return [
            Finding(
                f"No candidate that learns does better on the validation rows than {results.best}, "
                f"which repeats a known value.",
                f"Use {results.best} for {results.name}: its MASE of "
                f"{number(mase(results, results.best))} is free.",
            )
        ]
    gain = gain_over(results, naive, results.best)
    if verdict(gain) == BEATS:
        return []
    return [
        Finding(
            f"The naive forecast {naive} is not beaten for sure: the gain of {results.best} in "
            f"MASE is {between(gain)}.",
            f"Do not act on forecasts of {results.name} as if they knew more than {naive}: its "
            f"MASE of {number(mase(results, naive))} is free.",
        )
    ]


def high_r2_of_naive(results: TargetResults) -> list[Finding]:
    """R2 of a naive forecast is high, so that R2 says little about skill."""
    text = high_r2_warning(results)
    return [Finding(text)] if text else []


def one_dominates(results: TargetResults) -> list[Finding]:
    """One series dominates the scores in units of the target."""
    dominant = dominating(results)
    if dominant is None:
        return []
    name, part = dominant
    return [
        Finding(
            f"Series {name} holds {share(part)} of the variance of the test rows: R², RMSE and MAE "
            f"of {results.name} say little about the others.",
            f"Look at {name} by itself, and judge {results.name} by MASE, in which every series "
            "counts alike.",
        )
    ]


def few_times(results: TargetResults) -> list[Finding]:
    """Many test rows, but of few time steps."""
    times = len(results.test["time"].unique())
    if times >= _FEW_TIMES or not results.has_many_series:
        return []
    return [
        Finding(
            f"The {counted(len(results.test), 'test row')} of {results.name} are of only "
            f"{counted(times, 'time step')}: what was special about these days is in every score, "
            "and the intervals are rough.",
            f"Judge {results.name} again after {counted(_FEW_TIMES, 'time step')} of new rows.",
        )
    ]


def limitations(results: TargetResults) -> list[Finding]:
    """Apply the rules that only such a target has."""
    rules = (
        naive_not_beaten,
        high_r2_of_naive,
        one_dominates,
        few_times,
        orders_fall_short,
        low_coverage,
        value_shift,
    )
    return [finding for rule in rules for finding in rule(results)]
