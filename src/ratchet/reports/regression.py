"""A target of numbers: what the report says of it, what it can be used for, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ratchet.reports.blocks import Block, Finding, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import counted, listed, number, plain, share, unit
from ratchet.reports.intervals import histogram, mean_interval, share_interval
from ratchet.reports.target_results import TargetResults

_MOST_POINTS = 2000
_TRIM = 0.005
_SHOWN_ROWS = 15
_TENTH = 0.1
_WORSE = 1.1  # times the error elsewhere
_SHIFT = 0.2  # standard deviations of the target
_NARROW = 0.75  # spread of the predictions, in spreads of the truth


def headline(results: TargetResults) -> str:
    """Error of the winner and of the baseline, in two sentences."""
    mae, r2, base = (
        results.test_scores["mae"],
        results.test_scores["r2"],
        results.choice["baseline"],
    )
    return (
        f"On {counted(len(results.test), 'test row')} the best candidate, {results.best}, is off "
        f"by {unit(mae['value'], results.target.unit)} on average (95% interval "
        f"{number(mae['low'])} to {number(mae['high'])}) and explains "
        f"{share(r2['value'])} of the differences between rows. The baseline, "
        f"{base['candidate']}, is off by {number(base['test']['mae']['value'])}."
    )


def key_metric(results: TargetResults) -> tuple[str, str]:
    """Metric of the card, and a short explanation."""
    if results.target.in_logs:
        return "wape", "all errors as a share of all that was true"
    return "r2", "the share explained"


def distribution_blocks(results: TargetResults) -> list[Block]:
    """Spread of the target, part by part."""
    parts = {part: results.truth(part) for part in ("train", "validation", "test")}
    frame = pd.DataFrame(
        {part: values.describe(percentiles=[0.05, 0.5, 0.95]) for part, values in parts.items()}
    ).T.rename(columns={"count": "rows", "std": "standard deviation", "50%": "median"})
    values = pd.concat(list(parts.values()))
    near = ((values - values.mean()).abs() <= values.std()).mean()
    text = (
        f"{counted(len(values), 'row')} have a {results.name}: the mean is "
        f"{unit(values.mean(), results.target.unit)}, and {share(near)} of the rows lie within "
        f"{number(values.std())} of it (one standard deviation). The middle 90% run from "
        f"{number(values.quantile(0.05))} to {number(values.quantile(0.95))}."
    )
    unit_name = results.target.unit
    chart = Chart(
        name="distribution",
        kind="histogram",
        title=f"{results.name}: distribution in training and test rows",
        frame=histogram({part: parts[part] for part in ("train", "test")}, trim=_trim(results)),
        x="centre",
        y="share",
        group="group",
        percent_axes="y",
        x_title=f"{results.name}{f' ({unit_name})' if unit_name not in ('', results.name) else ''}",
        y_title="share of the rows",
    )
    table = frame.rename_axis("part").reset_index()
    formats = dict.fromkeys(table.columns[1:], "number") | {"rows": "count"}
    return [Text(text), chart, Table("spread", f"Spread of {results.name}", table, formats)]


def _trim(results: TargetResults) -> float:
    """Share that histograms leave out at either end: series differ in height by far."""
    return _TRIM if results.has_many_series else 0.0


def detail_blocks(results: TargetResults) -> list[Block]:
    """Truth against prediction, and the size of the errors."""
    test, size = results.test, results.test["error"].abs()
    text = (
        f"Half of the predictions are off by {unit(size.median(), results.target.unit)} or less, "
        f"nine in ten by {number(size.quantile(0.9))} or less. The predictions differ from each "
        f"other by {number(test['prediction'].std(ddof=0))} (standard deviation), the truth by "
        f"{number(test['truth'].std(ddof=0))}."
    )
    points = test if len(test) <= _MOST_POINTS else test.sample(_MOST_POINTS, random_state=0)
    unit_ = points["scale"] if results.has_many_series else pd.Series(1.0, points.index)
    scaled = ", in mean naive errors of the series" if results.has_many_series else ""
    scatter = Chart(
        name="truth",
        kind="points",
        title=f"{results.name}: prediction and truth, test rows",
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
        title=f"{results.name}: errors of the test rows",
        frame=histogram({"": residuals(results)}, trim=_trim(results)),
        x="centre",
        y="share",
        percent_axes="y",
        x_title=f"prediction minus truth{scaled}",
        y_title="share of the rows",
    )
    return [Text(text, title="Errors"), scatter, bars]


def residuals(results: TargetResults) -> pd.Series:
    """Prediction minus truth of the test rows; of several series in mean naive errors of each."""
    return results.test["error"] / (results.test["scale"] if results.has_many_series else 1.0)


def fifths(results: TargetResults) -> pd.DataFrame:
    """Mean prediction and mean truth of the test rows, by fifths of the prediction."""
    test = results.test
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


def calibration_blocks(results: TargetResults) -> list[Block]:
    """Whether predictions are unbiased at every level, and the coverage of the intervals."""
    frame = fifths(results)
    chart = Chart(
        name="calibration",
        kind="line",
        title=f"{results.name}: mean truth of rows with similar predictions",
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
        Text(reliability_sentence(results), title="Are the intervals honest?"),
        chart,
        Table("fifths", "Test rows by the height of their prediction", frame, formats),
    ]


def covered(results: TargetResults) -> pd.Series | None:
    """Whether the interval of each test row holds the truth; ``None`` without intervals."""
    test = results.test
    if not {"low", "high"} <= set(test.columns) or test[["low", "high"]].isna().any(axis=None):
        return None
    return (test["low"] <= test["truth"]) & (test["truth"] <= test["high"])


def reliability_sentence(results: TargetResults) -> str:
    """Coverage and width of the intervals, and how many are clipped at the bounds."""
    inside = covered(results)
    if inside is None:
        return "The predictions carry no intervals."
    low, high = share_interval(inside.sum(), len(inside))
    width = (
        f"are {unit((results.test['high'] - results.test['low']).mean(), results.target.unit)} wide"
    )
    width += " on average"
    if results.target.in_logs:
        rows = results.test[["low", "high"]].div(results.test["prediction"], axis=0)
        below, above = 1 - rows["low"].median(), rows["high"].median() - 1
        width = f"reach from {share(below)} below the prediction to {share(above)} above it"
    text = (
        f"Each prediction carries an interval that is meant to hold the truth in "
        f"{share(results.choice['details']['confidence'])} of the cases; on the test rows it does "
        f"in {share(inside.mean())} ({share(low)} to {share(high)}). The intervals "
        f"{width}."
    )
    cut = clipped(results)
    if results.target.bounds and cut.any():
        ends = listed([plain(end) for end in results.target.bounds if math.isfinite(end)])
        text += (
            f" {counted(int(cut.sum()), 'interval')} ({share(cut.mean())}) "
            f"{'is' if cut.sum() == 1 else 'are'} cut at the ends of the range ({ends})."
        )
    return text


def clipped(results: TargetResults) -> pd.Series:
    """Whether the interval of each test row ends at the bounds of the target."""
    low, high = results.target.bounds or (-np.inf, np.inf)
    return (results.test["low"] <= low) | (results.test["high"] >= high)


def advice_blocks(results: TargetResults) -> list[Block]:
    """What selecting by prediction gains, and which rows to review."""
    return [
        Text(selection_sentence(results), title="Putting rows in order"),
        _highest(results),
        *_disputed(results),
    ]


def selection_sentence(results: TargetResults) -> str:
    """Mean truth of the tenth with the highest predictions, against all test rows."""
    n = _size_of_tenth(results)
    top = results.test.nlargest(n, "prediction")["truth"]
    everyone = results.test["truth"]
    upper = everyone.quantile(0.75)
    return (
        f"Choosing by prediction pays: the {counted(n, 'test row')} with the highest predictions "
        f"have a mean {results.name} of {number(top.mean())}, all test rows "
        f"{number(everyone.mean())}; {share((top >= upper).mean())} of them are in the best "
        f"quarter (from {number(upper)})."
        if top.mean() > everyone.mean()
        else f"Choosing by prediction does not pay: the {counted(n, 'test row')} with the highest "
        f"predictions have a mean {results.name} of {number(top.mean())}, all test rows "
        f"{number(everyone.mean())}."
    )


def _highest(results: TargetResults) -> Table:
    rows = results.test.nlargest(_size_of_tenth(results), "prediction")
    return Table("highest", "Highest predictions", *_listed_rows(results, rows), shown=10)


def _listed_rows(results: TargetResults, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows with what names them, their prediction, interval and truth; and the formats."""
    shown = ["prediction", *(["low", "high"] if covered(results) is not None else []), "truth"]
    named = results.row_labels(rows).assign(**{name: rows[name].to_numpy() for name in shown})
    return named, dict.fromkeys(shown, "number")


def _size_of_tenth(results: TargetResults) -> int:
    return max(1, round(len(results.test) * _TENTH))


def disagreement(results: TargetResults) -> pd.Series:
    """Standard deviation of the candidates' predictions for each test row, baseline apart."""
    rows = results.predictions
    others = rows[(rows["split"] == "test") & (rows["candidate"] != results.target.baseline)]
    wide = others.set_index("candidate", append=True)["prediction"].unstack()
    return wide.std(axis=1, ddof=0).reindex(results.test.index)


def _disputed(results: TargetResults) -> list[Block]:
    apart = disagreement(results)
    n = _size_of_tenth(results)
    picked = apart.nlargest(n).index
    rows = results.test.loc[picked]
    disputed_error = rows["error"].abs().mean()
    other_error = results.test.drop(index=picked)["error"].abs().mean()
    advice = (
        "Review such rows by hand"
        if disputed_error > _WORSE * other_error
        else "So disagreement says little about the error here"
    )
    text = (
        f"The candidates disagree most on {counted(n, 'test row')} ({share(n / len(apart))}); "
        f"there the mean error is {number(disputed_error)}, elsewhere {number(other_error)}. "
        f"{advice}; the most disputed are listed, all are in the workbook."
    )
    named, formats = _listed_rows(results, rows)
    named.insert(len(named.columns) - 1, "disagreement", apart.loc[picked].to_numpy())
    formats["disagreement"] = "number"
    title = "Rows the candidates disagree on"
    table = Table("disputed", title, named, formats, shown=_SHOWN_ROWS)
    return [Text(text, title="Disputed rows"), table]


def value_shift(results: TargetResults) -> list[Finding]:
    """The target is higher or lower in the test rows than in the training rows."""
    train, test = results.truth("train"), results.truth("test")
    moved = (test.mean() - train.mean()) / train.std() if train.std() > 0 else 0.0
    if abs(moved) < _SHIFT:
        return []
    bias = results.test["error"].mean()
    low, high = mean_interval(results.test["error"])
    return [
        Finding(
            f"The mean of {results.name} moved from {number(train.mean())} in the training rows to "
            f"{number(test.mean())} in the test rows, {number(abs(moved))} standard deviations.",
            f"Retrain {results.name} with recent rows: on the test rows the predictions are "
            f"{unit(abs(bias), results.target.unit)} too {'high' if bias > 0 else 'low'} on "
            "average."
            if not low <= 0 <= high
            else "",
        )
    ]


def low_coverage(results: TargetResults) -> list[Finding]:
    """Coverage of the intervals is below their confidence."""
    inside = covered(results)
    if inside is None:
        return []
    low, high = share_interval(inside.sum(), len(inside))
    promised = results.choice["details"]["confidence"]
    if high >= promised:
        return []
    needed = float(results.losses(results.test).quantile(promised))
    measure = "mean naive errors of the series" if results.has_many_series else results.target.unit
    wider = f"±{unit(needed, measure)}"
    if results.target.in_logs:
        rows = results.test[results.test["truth"] > 0]
        shares = np.abs(np.log((rows["truth"] / rows["prediction"]).to_numpy(dtype=float)))
        factor = float(np.exp(np.quantile(shares, promised)))
        wider = f"{share(1 - 1 / factor)} below to {share(factor - 1)} above the prediction"
    return [
        Finding(
            f"The intervals of {results.name} hold the truth in {share(inside.mean())} of the test "
            f"rows ({share(low)} to {share(high)}), less than the promised "
            f"{share(promised)}.",
            f"Calibrate the intervals of {results.name} on more rows: {wider} "
            f"would have held {share(promised)} of the test rows.",
        )
    ]


def narrow_predictions(results: TargetResults) -> list[Finding]:
    """Predictions vary much less than the truth."""
    predicted, true = (results.test[name].std(ddof=0) for name in ("prediction", "truth"))
    if not true or predicted >= _NARROW * true:
        return []
    groups = fifths(results)
    first, last = groups.iloc[0], groups.iloc[-1]
    return [
        Finding(
            f"Predictions of {results.name} keep to the middle: they spread by "
            f"{number(predicted)}, the truth by {number(true)}. Extremes are not foreseen.",
            f"Use {results.name} to put rows in order rather than as a value: the highest fifth of "
            f"the predictions has a mean truth of {number(last['mean truth'])}, the lowest "
            f"{number(first['mean truth'])}."
            if last["mean truth"] > first["mean truth"]
            else "",
        )
    ]


def limitations(results: TargetResults) -> list[Finding]:
    """Apply the rules that only such a target has."""
    rules = (narrow_predictions, low_coverage, value_shift)
    return [finding for rule in rules for finding in rule(results)]
