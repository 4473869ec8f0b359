"""Errors against time and against groups of rows."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.chart_ids import TIME_PARTS, group_charts
from ratchet.reports.formatting import count, counted, number, share
from ratchet.reports.intervals import TOO_NARROW, summarise
from ratchet.reports.page.chart import Chart
from ratchet.reports.periods import by_period, part_of_time, period_text
from ratchet.reports.target_results import TargetResults

_SHOWN_GROUPS = 12
_FEWEST_ROWS = 20
_FEWEST_IN_PERIOD = 10
_BINS = 5


def over_time(case: TargetResults) -> list[Block]:
    """Errors by period, on validation and test rows."""
    if not case.data.time:
        return []
    rows = pd.concat([case.validation.assign(part="validation"), case.test.assign(part="test")])
    periods, length = by_period(case.facts(rows)[case.data.time], at_most=16)
    frame = pd.concat(
        [
            _summaries(case, rows[rows["part"] == name], periods[rows["part"] == name]).assign(
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
        title=f"{case.name}: {case.loss_name} by {length}",
        frame=frame if shown.empty else shown,
        x="period",
        y="value",
        group="part",
        low="low",
        high="high",
        shares="y" if case.is_classes else "",
        x_title=length,
        y_title=f"{case.loss_name}, with 95% interval",
    )
    table = frame.assign(period=period_text(frame["period"], length))
    title = f"{_capital(case.loss_name)} by {length}"
    text = (
        f"The {case.loss_name} of each {length} shows whether the results hold over time; "
        f"validation rows are shown beside the test rows, "
        f"{counted(frame['period'].nunique(), length)} in all.{_warning(case)}"
    )
    return [
        Text(text, title="Over time"),
        chart,
        Table("by_time", title, _named(case, table), _formats(case)),
    ]


def by_group(case: TargetResults) -> list[Block]:
    """Errors by value of the columns that group the rows."""
    blocks: list[Block] = []
    tables = []
    for name, column in group_charts(case.features, case.data).items():
        frame = group_errors(case, column)
        blocks.append(_chart(case, name, column, frame))
        tables.append(frame.assign(column=column))
    if not tables:
        return []
    table = pd.concat(tables, ignore_index=True)
    title = f"{_capital(case.loss_name)} by group, test rows"
    return [
        Text(_introduction(case), title="Errors by group"),
        *blocks,
        Table("by_group", title, _named(case, table), _formats(case), shown=0),
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def group_errors(case: TargetResults, column: str) -> pd.DataFrame:
    """Errors of the most frequent values of one column on the test rows.

    Returns:
        ``group``, ``rows``, ``value``, ``low``, ``high`` and, for classes, ``largest class``: the
        share of rows right by always naming the group's most frequent class. Numbers in fifths;
        values with few rows only where no value has many.
    """
    if case.is_series and column in TIME_PARTS:
        parts = part_of_time(case.test["time"], column)
        return _summaries(case, case.test, parts.rename("group"))
    values = case.facts(case.test)[column]
    numeric = column in case.features.numeric
    labels = _binned(values) if numeric else values
    return _summaries(case, case.test, labels.rename("group"), ordered=numeric)


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
    if len(set(names.values())) < len(names):  # too close to be told apart when rounded
        names = {bin_: str(bin_) for bin_ in names}
    return bins.cat.rename_categories(names)


def _summaries(
    case: TargetResults, rows: pd.DataFrame, labels: pd.Series, *, ordered: bool = True
) -> pd.DataFrame:
    """Errors by label; lists count for each of their items."""
    name = str(labels.name)
    long = pd.DataFrame(
        {
            name: labels.array,
            "loss": case.losses(rows).to_numpy(),
            "truth": rows["truth"],
        }
    ).explode(name)
    if not ordered:
        long = _frequent(long.fillna({name: "unknown"}), name)
    found = []
    for label, group in long.groupby(name, observed=True):
        summary = {name: label, **summarise(group["loss"], is_share=case.is_classes)}
        if case.is_classes:
            summary["largest class"] = group["truth"].value_counts(normalize=True).iloc[0]
        found.append(summary)
    frame = pd.DataFrame(found)
    return frame if ordered else frame.sort_values("rows", ascending=False, kind="stable")


def _frequent(long: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of the most frequent values; those with few rows only where no value has many."""
    counts = long[name].value_counts()
    enough = counts[counts >= _FEWEST_ROWS]
    kept = (counts if enough.empty else enough).head(_SHOWN_GROUPS).index
    return long[long[name].isin(kept)]


def overall_score(case: TargetResults) -> float:
    """Share right, or mean error, of all test rows."""
    return float(case.losses(case.test).mean())


def _chart(case: TargetResults, name: str, column: str, frame: pd.DataFrame) -> Chart:
    labels = [
        f"{label} ({count(n)})" for label, n in zip(frame["group"], frame["rows"], strict=True)
    ]
    return Chart(
        name=name,
        kind="dots",
        title=f"{case.name}: {case.loss_name} by {column}",
        frame=frame.assign(label=labels),
        x="value",
        y="label",
        low="low",
        high="high",
        shares="x" if case.is_classes else "",
        x_title=f"{case.loss_name} with 95% interval; number of test rows in brackets",
        reference=overall_score(case),
        reference_title="all test rows",
    )


def _named(case: TargetResults, frame: pd.DataFrame) -> pd.DataFrame:
    first = [name for name in ("column", "part", "period", "group") if name in frame.columns]
    return frame[[*first, *frame.columns.difference(first, sort=False)]].rename(
        columns={"value": case.loss_name}
    )


def _formats(case: TargetResults) -> dict[str, str]:
    form = "share" if case.is_classes else "number"
    shares = {"largest class": "share"} if case.is_classes else {}
    return {"rows": "count", case.loss_name: form, "low": form, "high": form, **shares}


def _introduction(case: TargetResults) -> str:
    if case.is_classes:
        return (
            f"Over all test rows {share(overall_score(case))} are right. Groups differ in how hard "
            "they are: where nearly all rows are of one class, it is easy to be right."
        )
    return (
        f"Over all test rows the {case.loss_name} is {number(overall_score(case))}.{_warning(case)}"
    )


def _warning(case: TargetResults) -> str:
    return f" {TOO_NARROW}" if case.is_series else ""
