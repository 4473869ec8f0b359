"""The status of all use cases as one HTML file that needs nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from plotly.offline import get_plotlyjs

from ratchet.reports.formatting import column as column_texts
from ratchet.reports.formatting import label
from ratchet.reports.html import template_environment
from ratchet.reports.status import text
from ratchet.reports.status.chart import figure_json, production_chart
from ratchet.reports.status.collect import UseCaseStatus


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
        words=text,
        chapters=chapters,
        written=text.moment(written),
        plotly=get_plotlyjs() if any(chapter["figure"] for chapter in chapters) else "",
    )


def _chapter(status: UseCaseStatus) -> dict[str, Any]:
    """A status with what is drawn of it."""
    chart = production_chart(status)
    return {
        "status": status,
        "state": text.state(status),
        "overview": text.overview(status),
        "chart": chart,
        "figure": figure_json(chart, status) if chart else "",
        "windows": _windows(status),
    }


def _windows(status: UseCaseStatus) -> dict[str, Any]:
    """The windows as a table of text, latest first: ``columns`` and ``rows``."""
    windows = (status.watch or {"windows": []})["windows"][::-1]
    metric = status.metric
    texts = {
        "from": [text.day(window.get("start") or "–") for window in windows],
        "to": [text.day(window.get("end") or "–") for window in windows],
        "rows": column_texts([window["rows"] for window in windows], "count"),
        label(metric): column_texts([window.get(metric) for window in windows], "number"),
        "low": column_texts([window.get(f"{metric}_low") for window in windows], "number"),
        "high": column_texts([window.get(f"{metric}_high") for window in windows], "number"),
        "note": [window.get("note") or "" for window in windows],
    }
    shown = {name: column for name, column in texts.items() if {*column} - {"", "–"}}
    return {"columns": list(shown), "rows": list(zip(*shown.values(), strict=True))}
