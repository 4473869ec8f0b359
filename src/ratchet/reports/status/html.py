"""The status of all use cases as one HTML file that needs nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ratchet.reports.chart import Chart
from ratchet.reports.formatting import column as column_texts
from ratchet.reports.formatting import label
from ratchet.reports.html import template_environment
from ratchet.reports.status import text
from ratchet.reports.status.collect import UseCaseStatus
from ratchet.reports.vega_lite import vega_script

PRODUCTION, PROMOTION = "in production", "at the promotion"


def render(statuses: Sequence[UseCaseStatus], written: dt.datetime) -> str:
    """Write the page.

    Args:
        statuses: what is known of every use case.
        written: now.

    Returns:
        HTML with styles, scripts and charts inside.
    """
    environment = template_environment()
    chapters = [_chapter(status) for status in statuses]
    return environment.get_template("status.html.j2").render(
        text=text,
        chapters=chapters,
        written=text.time_text(written),
        vega=vega_script() if any(chapter["chart"] for chapter in chapters) else "",
    )


def _chapter(status: UseCaseStatus) -> dict[str, Any]:
    """A status with what is drawn of it."""
    chart = production_chart(status)
    return {
        "status": status,
        "state": text.state(status),
        "overview": text.overview(status),
        "chart": chart,
        "windows": _windows(status),
    }


def _windows(status: UseCaseStatus) -> dict[str, Any]:
    """The windows as a table of text, latest first: ``columns`` and ``rows``."""
    windows = (status.watch or {"windows": []})["windows"][::-1]
    metric = status.metric
    texts = {
        "from": [text.day_text(window.get("start") or "–") for window in windows],
        "to": [text.day_text(window.get("end") or "–") for window in windows],
        "rows": column_texts([window["rows"] for window in windows], "count"),
        label(metric): column_texts([window.get(metric) for window in windows], "number"),
        "low": column_texts([window.get(f"{metric}_low") for window in windows], "number"),
        "high": column_texts([window.get(f"{metric}_high") for window in windows], "number"),
        "note": [window.get("note") or "" for window in windows],
    }
    shown = {name: column for name, column in texts.items() if {*column} - {"", "–"}}
    return {"columns": list(shown), "rows": list(zip(*shown.values(), strict=True))}


def production_chart(status: UseCaseStatus) -> Chart | None:
    """The metric of every window, beside what it was at the promotion with its interval.

    Returns:
        ``None`` where no window of time can be drawn.
    """
    dated = [window for window in status.windows if window.get("start")]
    if not dated or status.promoted is None:
        return None
    ends = {name: status.promoted[name] for name in ("value", "low", "high")}
    rows = [
        {"group": PROMOTION, "time": moment, **ends}
        for moment in (dated[0]["start"], dated[-1]["end"])
    ]
    names = {status.metric: "value", f"{status.metric}_low": "low", f"{status.metric}_high": "high"}
    rows += [
        {"group": PRODUCTION, "time": window["end"]}
        | {end: window.get(name) for name, end in names.items()}
        for window in dated
    ]
    frame = pd.DataFrame(rows)
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
        dotted=PRODUCTION,
        low="low",
        high="high",
        band_title="95% interval at the promotion",
        reference=status.fails_beyond,
        reference_title="beyond this a window fails",
    )
