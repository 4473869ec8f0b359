"""The status of all use cases as one HTML file that needs nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ratchet.monitoring.performance import PROMOTED
from ratchet.reports.blocks import Table
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import label
from ratchet.reports.html import template_environment
from ratchet.reports.status import text
from ratchet.reports.status.collect import UseCaseStatus
from ratchet.reports.vega_lite import vega_script

PRODUCTION, PROMOTION = "in production", "at the promotion"
FAILS = "beyond this a window fails"
_AT_PROMOTION = "same steps at the promotion"


def render(statuses: Sequence[UseCaseStatus], written: dt.datetime) -> str:
    """Write the page, with styles, scripts and charts inside."""
    charts = {status.name: production_chart(status) for status in statuses}
    return (
        template_environment()
        .get_template("status.html.j2")
        .render(
            text=text,
            statuses=statuses,
            charts=charts,
            windows_table=windows_table,
            written=text.time_text(written),
            vega=vega_script() if any(charts.values()) else "",
        )
    )


def windows_table(status: UseCaseStatus) -> Table:
    """All windows, latest first, without columns that have nothing in them."""
    windows = status.watch["windows"][::-1] if status.watch else []
    metric = status.metric
    frame = pd.DataFrame(
        {
            "from": [window.get("start") and text.day_text(window["start"]) for window in windows],
            "to": [window.get("end") and text.day_text(window["end"]) for window in windows],
            "rows": [window["rows"] for window in windows],
            label(metric): [window.get(metric) for window in windows],
            "low": [window.get(f"{metric}_low") for window in windows],
            "high": [window.get(f"{metric}_high") for window in windows],
            _AT_PROMOTION: [window.get(f"{metric}{PROMOTED}") for window in windows],
            "note": [window.get("note") or "" for window in windows],
        }
    )
    shown = frame.replace("", None).dropna(axis="columns", how="all").columns
    formats = {
        "rows": "count",
        **dict.fromkeys([label(metric), "low", "high", _AT_PROMOTION], "number"),
    }
    return Table("windows", "All windows as a table", frame[shown], formats)


def production_chart(status: UseCaseStatus) -> Chart | None:
    """The metric of every window, beside what it was at the promotion with its interval.

    Of paths each window stands beside what the same steps scored at the promotion.

    Returns:
        ``None`` where no window of time can be drawn.
    """
    dated = [window for window in status.windows if window.get("start")]
    if not dated or status.promoted is None:
        return None
    names = {status.metric: "value", f"{status.metric}_low": "low", f"{status.metric}_high": "high"}
    rows = _steps_at_promotion(status, dated) if status.has_steps else _at_promotion(status, dated)
    rows += [
        {"group": PRODUCTION, "time": window["end"]}
        | {end: window.get(name) for name, end in names.items()}
        for window in dated
    ]
    frame = pd.DataFrame(rows, columns=["group", "time", "value", "low", "high"])
    return Chart(
        name=f"{status.name}_production",
        kind="curve",
        title=f"{label(status.metric)} of {status.target}, by window",
        frame=frame.assign(time=pd.to_datetime(frame["time"], format="ISO8601")),
        x="time",
        y="value",
        x_title="end of the window",
        y_title=label(status.metric),
        group="group",
        with_points=PRODUCTION,
        low="low",
        high="high",
        band_title="" if status.has_steps else "95% interval at the promotion",
        reference=None if status.has_steps else status.fails_beyond(status.promoted["value"]),
        reference_title=FAILS,
    )


def _at_promotion(
    status: UseCaseStatus, windows: Sequence[Mapping[str, Any]]
) -> list[dict[str, object]]:
    """The score at the promotion from the first window to the last."""
    assert status.promoted is not None
    ends = {name: status.promoted[name] for name in ("value", "low", "high")}
    return [
        {"group": PROMOTION, "time": moment, **ends}
        for moment in (windows[0]["start"], windows[-1]["end"])
    ]


def _steps_at_promotion(
    status: UseCaseStatus, windows: Sequence[Mapping[str, Any]]
) -> list[dict[str, object]]:
    """What each window is compared with, and beyond what it fails, from its start to its end."""
    scores = [status.promoted_in(window) for window in windows]
    lines = {PROMOTION: scores, FAILS: [status.fails_beyond(score) for score in scores]}
    return [
        {"group": group, "time": window[end], "value": value}
        for group, values in lines.items()
        for window, value in zip(windows, values, strict=True)
        for end in ("start", "end")
    ]
