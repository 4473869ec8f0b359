"""The chapter on the data: question, columns, preparation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from ratchet.config import About, Data, Features, Target
from ratchet.learning.metrics.table import scorers
from ratchet.reports.blocks import Block, Chapter, Finding, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.data_preparation import preparation_blocks, rows_left_out
from ratchet.reports.formatting import count, counted, label, listed, plain, share
from ratchet.reports.periods import by_period
from ratchet.reports.phase_outputs import ColumnProfile, Profile, Selection

_SHOWN_COLUMNS = 20
_MANY_MISSING = 0.2


def data_chapter(
    profile: Profile,
    selection: Selection,
    primary: pd.DataFrame,
    about: About,
    data: Data,
    features: Features,
    targets: Mapping[str, Target],
) -> Chapter:
    """Describe question, data and preparation."""
    columns = _columns(profile, data, features, targets)
    return Chapter(
        sections={
            "question": _question(about, targets, features),
            "data": _column_blocks(profile, columns, primary, data),
            "preparation": preparation_blocks(selection, data, features),
        },
        findings=[*_gaps(columns), *rows_left_out(selection)],
    )


def _question(about: About, targets: Mapping[str, Target], features: Features) -> list[Block]:
    rows = [
        {
            "target": name,
            "what is predicted": _prediction_text(target, features),
            "judged by": label(_search_metric(target)),
            "objectives": "; ".join(
                f"{label(metric)} {plain(objective.aim)}"
                + (f" (production {plain(objective.production)})" if objective.production else "")
                for metric, objective in target.objectives.items()
            )
            or "none set",
        }
        for name, target in targets.items()
    ]
    texts = [Text(text) for text in (about.question, about.goal) if text]
    return [*texts, Table("targets", "Targets and business objectives", pd.DataFrame(rows))]


def _prediction_text(target: Target, features: Features) -> str:
    if target.task == "classification":
        return f"one of {listed(target.classes or [])}"
    low, high = target.bounds or (-math.inf, math.inf)
    inside = f", {plain(low)} to {plain(high)}" if math.isfinite(high - low) else ""
    inside = inside or (f", {plain(low)} or more" if math.isfinite(low) else "")
    unit = f" ({target.unit})" if target.unit else ""
    if target.is_series:
        learned = "" if target.learn == "value" else f", learned as the {target.learn}"
        ahead = features.windows.ahead if features.windows else "1 step"
        return f"the value {ahead} ahead{inside}{unit}{learned}"
    return f"a number{inside}{unit}"


def _search_metric(target: Target) -> str:
    return scorers(target.task).get(target.scorer, target.scorer)


def _columns(
    profile: Profile, data: Data, features: Features, targets: Mapping[str, Target]
) -> pd.DataFrame:
    rows = [
        {
            "column": name,
            "type": column["type"],
            "use": _use_of_column(name, data, features, targets),
            "missing": column["missing"],
            "missing share": column["missing"] / max(profile["rows"], 1),
            "what it holds": _content_text(column),
        }
        for name, column in profile["columns"].items()
    ]
    return pd.DataFrame(rows)


def _use_of_column(name: str, data: Data, features: Features, targets: Mapping[str, Target]) -> str:
    history = features.history
    derived_from = [str(d.arguments.get("column")) for d in data.derive.values()]
    uses = {
        "row key": data.series is None and name in data.identity,
        "order in time": name == data.time,
        "target": name in [target.column for target in targets.values()],
        "source of a target": name in derived_from,
        "name of the series": data.series is not None and name in data.series.columns,
        "feature": name in features.columns,
        "feature, up to the origin": features.windows is not None and name in features.windows.past,
        "history": history is not None
        and name in [*history.entities, *history.values, history.looked_up, history.available],
    }
    return listed([use for use, applies in uses.items() if applies]) or "not used"


def _content_text(column: ColumnProfile) -> str:
    if "most_frequent" in column:
        frequent = [f"{name} ({count(n)})" for name, n in column["most_frequent"].items()][:3]
        return f"{count(column['distinct'])} different, most often {', '.join(frequent)}"
    if "min" not in column:
        return "nothing in these rows"
    if column["type"] == "date":
        return f"{column['min']} to {column['max']}"
    form = _integer_text if column["type"] == "integer" else plain
    return f"{form(column['min'])} to {form(column['max'])}, median {form(column['median'])}"


def _integer_text(value: float) -> str:
    # Without thousands: an integer may well be a year or a key.
    return f"{value:.0f}" if math.isfinite(value) else "–"


def _column_blocks(
    profile: Profile, columns: pd.DataFrame, primary: pd.DataFrame, data: Data
) -> list[Block]:
    complete = int((columns["missing"] == 0).sum())
    span = profile.get("span")
    text = (
        f"The file holds {counted(profile['rows'], 'row')} and {counted(len(columns), 'column')}"
        f"{f', from {span[0]} to {span[1]}' if span else ''}. "
        f"{'All' if complete == len(columns) else complete} of the columns are complete."
    )
    gaps = columns.sort_values("missing share", ascending=False, kind="stable")
    formats = {"missing": "count", "missing share": "share"}
    blocks: list[Block] = [
        Text(text),
        Table("columns", "Columns of the file", columns, formats),
        Chart(
            name="missing",
            kind="bar",
            title="Share of the rows without a value",
            frame=gaps.head(_SHOWN_COLUMNS),
            x="missing share",
            y="column",
            percent_axes="x",
        ),
    ]
    return [*blocks, *([_rows_over_time(primary, data.time)] if data.time else [])]


def _rows_over_time(primary: pd.DataFrame, time: str) -> Chart:
    primary = primary[primary["split"].notna()]  # steps of a series that are not forecast
    periods, name = by_period(primary[time], at_most=60)
    counts = primary.groupby([periods, primary["split"].astype(str)]).size()
    frame = counts.rename("rows").rename_axis(["period", "part"]).reset_index()
    order = frame["part"].map({"train": 0, "validation": 1, "test": 2})
    return Chart(
        name="rows_over_time",
        kind="line",
        title=f"Rows by {name}, after selection",
        frame=frame.assign(order=order).sort_values(["order", "period"]),
        x="period",
        y="rows",
        group="part",
        x_title=name,
        y_title="rows",
    )


def _gaps(columns: pd.DataFrame) -> list[Finding]:
    """Features with many missing values."""
    used = columns["use"].str.contains("feature|history")
    gaps = columns[used & (columns["missing share"] > _MANY_MISSING)]
    gaps = gaps.sort_values("missing share", ascending=False)
    if gaps.empty:
        return []
    shares = [f"{row['column']} {share(row['missing share'])}" for _, row in gaps.iterrows()]
    return [
        Finding(
            f"{counted(len(gaps), 'column')} that models look at lack{'s' * (len(gaps) == 1)} a "
            f"value in more than {share(_MANY_MISSING)} of the rows: {listed(shares)}."
        )
    ]
