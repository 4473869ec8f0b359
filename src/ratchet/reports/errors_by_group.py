"""Errors by period and by group of rows, and the groups with clearly larger errors."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.chart_ids import TIME_PARTS, group_charts
from ratchet.reports.formatting import count, counted, listed, number, share
from ratchet.reports.intervals import TOO_NARROW, summarise
from ratchet.reports.periods import by_period, part_of_time, period_text
from ratchet.reports.target_results import TargetResults

_SHOWN_GROUPS = 12
_FEWEST_ROWS = 20
_FEWEST_IN_PERIOD = 10
_BINS = 5
_LARGER = 0.2


def time_blocks(results: TargetResults) -> list[Block]:
    """Errors by period, on validation and test rows."""
    if not results.data.time:
        return []
    rows = pd.concat(
        [results.validation.assign(part="validation"), results.test.assign(part="test")]
    )
    periods, length = by_period(results.raw_columns(rows)[results.data.time], at_most=16)
    frame = pd.concat(
        [
            _summaries(results, rows[rows["part"] == name], periods[rows["part"] == name]).assign(
                part=name
            )
            for name in ("validation", "test")
        ],
        ignore_index=True,
    )
    shown = frame[frame["rows"] >= _FEWEST_IN_PERIOD]
    chart = Chart(
        name="error_over_time",
        kind="line",
        title=f"{results.name}: {results.loss_name} by {length}",
        frame=frame if shown.empty else shown,
        x="period",
        y="value",
        group="part",
        low="low",
        high="high",
        percent_axes="y" if results.is_classes else "",
        x_title=length,
        y_title=f"{results.loss_name}, with 95% interval",
    )
    table = frame.assign(period=period_text(frame["period"], length))
    title = f"{_capital(results.loss_name)} by {length}"
    text = (
        f"The {results.loss_name} of each {length} shows whether the results hold over time; "
        f"validation rows are shown beside the test rows, "
        f"{counted(frame['period'].nunique(), length)} in all.{_warning(results)}"
    )
    return [
        Text(text, title="Over time"),
        chart,
        Table("by_time", title, _named(results, table), _formats(results)),
    ]


def group_blocks(results: TargetResults) -> list[Block]:
    """Errors by value of the columns that group the rows."""
    blocks: list[Block] = []
    tables = []
    for name, column in group_charts(results.features, results.data).items():
        frame = group_errors(results, column)
        blocks.append(_chart(results, name, column, frame))
        tables.append(frame.assign(column=column))
    if not tables:
        return []
    table = pd.concat(tables, ignore_index=True)
    title = f"{_capital(results.loss_name)} by group, test rows"
    return [
        Text(_introduction(results), title="Errors by group"),
        *blocks,
        Table("by_group", title, _named(results, table), _formats(results), shown=0),
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def group_errors(results: TargetResults, column: str) -> pd.DataFrame:
    """Errors of the most frequent values of one column on the test rows.

    Returns:
        ``group``, ``rows``, ``value``, ``low``, ``high`` and, for classes, ``largest class``: the
        share of rows right by always naming the group's most frequent class. Numbers in fifths;
        values with few rows only where no value has many.
    """
    if results.is_series and column in TIME_PARTS:
        parts = part_of_time(results.test["time"], column)
        return _summaries(results, results.test, parts.rename("group"))
    values = results.raw_columns(results.test)[column]
    numeric = column in results.features.numeric
    labels = _binned(values) if numeric else values
    return _summaries(results, results.test, labels.rename("group"), ordered=numeric)


def _binned(values: pd.Series) -> pd.Series:
    if values.nunique() <= _BINS:
        kinds = pd.Categorical(values.astype(float)).rename_categories(
            lambda value: f"{value:.12g}"
        )
        return pd.Series(kinds, index=values.index)
    bins = pd.qcut(values.astype(float), _BINS, duplicates="drop")
    # By the values inside and not by the edges, which belong to two bins.
    ends = values.astype(float).groupby(bins, observed=True).agg(["min", "max"])
    whole = bool((values.dropna() % 1 == 0).all())
    form = (lambda x: f"{x:.0f}") if whole else number
    names = {bin_: f"{form(low)} to {form(high)}" for bin_, low, high in ends.itertuples()}
    if len(set(names.values())) < len(names):  # equal when rounded
        names = {bin_: str(bin_) for bin_ in names}
    return bins.cat.rename_categories(names)


def _summaries(
    results: TargetResults, rows: pd.DataFrame, labels: pd.Series, *, ordered: bool = True
) -> pd.DataFrame:
    """Errors by label; a row with a list of labels counts for each of them."""
    name = str(labels.name)
    long = pd.DataFrame(
        {name: labels.array, "loss": results.losses(rows).to_numpy(), "truth": rows["truth"]}
    ).explode(name)
    if not ordered:
        long = _frequent(long.fillna({name: "unknown"}), name)
    summaries = []
    for label, group in long.groupby(name, observed=True):
        summary = {name: label, **summarise(group["loss"], is_share=results.is_classes)}
        if results.is_classes:
            summary["largest class"] = group["truth"].value_counts(normalize=True).iloc[0]
        summaries.append(summary)
    frame = pd.DataFrame(summaries)
    return frame if ordered else frame.sort_values("rows", ascending=False, kind="stable")


def _frequent(long: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of the most frequent values; those with few rows only where no value has many."""
    counts = long[name].value_counts()
    enough = counts[counts >= _FEWEST_ROWS]
    frequent = (counts if enough.empty else enough).head(_SHOWN_GROUPS).index
    return long[long[name].isin(frequent)]


def overall_score(results: TargetResults) -> float:
    """Share right, or mean error, of all test rows."""
    return float(results.losses(results.test).mean())


def _chart(results: TargetResults, name: str, column: str, frame: pd.DataFrame) -> Chart:
    labels = [
        f"{label} ({count(n)})" for label, n in zip(frame["group"], frame["rows"], strict=True)
    ]
    return Chart(
        name=name,
        kind="dots",
        title=f"{results.name}: {results.loss_name} by {column}",
        frame=frame.assign(label=labels),
        x="value",
        y="label",
        low="low",
        high="high",
        percent_axes="x" if results.is_classes else "",
        x_title=f"{results.loss_name} with 95% interval; number of test rows in brackets",
        reference=overall_score(results),
        reference_title="all test rows",
    )


def _named(results: TargetResults, frame: pd.DataFrame) -> pd.DataFrame:
    first = [name for name in ("column", "part", "period", "group") if name in frame.columns]
    return frame[[*first, *frame.columns.difference(first, sort=False)]].rename(
        columns={"value": results.loss_name}
    )


def _formats(results: TargetResults) -> dict[str, str]:
    form = "share" if results.is_classes else "number"
    shares = {"largest class": "share"} if results.is_classes else {}
    return {"rows": "count", results.loss_name: form, "low": form, "high": form, **shares}


def _introduction(results: TargetResults) -> str:
    if results.is_classes:
        return (
            f"Over all test rows {share(overall_score(results))} are right. Groups differ in how "
            "hard they are: where nearly all rows are of one class, it is easy to be right."
        )
    score = number(overall_score(results))
    return f"Over all test rows the {results.loss_name} is {score}.{_warning(results)}"


def _warning(results: TargetResults) -> str:
    return f" {TOO_NARROW}" if results.is_series else ""


def weak_groups(results: TargetResults) -> pd.DataFrame:
    """Groups whose whole interval is worse than the overall value, by at least a fifth.

    Returns:
        ``column``, ``group``, ``rows``, ``error`` (share wrong or mean error), ``low``, ``high``
        and ``times`` the overall error; worst first.
    """
    overall = 1 - overall_score(results) if results.is_classes else overall_score(results)
    frames = []
    for column in group_charts(results.features, results.data).values():
        frame = group_errors(results, column).assign(column=column)
        if results.is_classes:
            ends = {"low": 1 - frame["high"], "high": 1 - frame["low"]}
            frame = frame.assign(value=1 - frame["value"], **ends)
        frames.append(frame)
    if not frames or overall <= 0:
        return pd.DataFrame(columns=["column", "group", "rows", "error", "times"])
    table = pd.concat(frames, ignore_index=True).rename(columns={"value": "error"})
    table["times"] = table["error"] / overall
    clear = (table["low"] > overall) & (table["times"] >= 1 + _LARGER)
    harder = table[clear & (table["rows"] >= _FEWEST_ROWS)]
    return harder.sort_values("times", ascending=False, ignore_index=True)


def weak_group_blocks(results: TargetResults) -> list[Block]:
    """The groups with clearly larger errors, or a sentence that there is none."""
    columns = group_charts(results.features, results.data).values()
    if not columns:
        return []
    harder = weak_groups(results)
    if harder.empty:
        return [Text(f"No group by {listed(list(columns))} is clearly harder than the rest.")]
    shown = harder.drop(columns=["largest class"], errors="ignore")
    shown_columns = ["column", "group", "rows", "error", "low", "high", "times"]
    form = "share" if results.is_classes else "number"
    error = "share wrong" if results.is_classes else results.loss_name
    formats = {"rows": "count", **dict.fromkeys(["error", "low", "high"], form), "times": "number"}
    title = f"Groups that are clearly harder ({error}; times: compared with all test rows)"
    return [Table("harder_groups", title, shown[shown_columns], formats)]
