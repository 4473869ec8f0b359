"""The report of a replay as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from ratchet.replay import text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import column, label
from ratchet.reports.html import template_environment
from ratchet.reports.vega_lite import vega_script

_SWITCHES = ("promote", "rollback")
_QUIET = {"hold", "reject"}
"""Events that leave everything as it is: there is one a week, and few look at them."""


def render(found: text.Report) -> str:
    """Write the page.

    Args:
        found: the report, as ``report.json`` has it.

    Returns:
        HTML with styles, scripts and charts inside.
    """
    environment = template_environment("ratchet.replay")
    return environment.get_template("replay.html.j2").render(
        words=text,
        found=found,
        columns=text.columns(found),
        overview=[text.overview(found, policy) for policy in found["policies"]],
        charts=[chart for chart in (error_chart(found), regret_chart(found)) if chart is not None],
        weekly=_weekly(found),
        chapters=[_chapter(policy) for policy in found["policies"]],
        files={name: yaml.safe_dump(file) for name, file in found["files"].items()},
        vega=vega_script(),
    )


def error_chart(found: text.Report) -> Chart | None:
    """The score of every policy, week by week."""
    rows = [
        {"policy": policy["name"], "week": week["end"], "value": value}
        for policy in found["policies"]
        for week, value in zip(found["weeks"], policy["weekly"], strict=True)
        if value is not None
    ]
    name = label(found["metric"])
    return _lines("errors", f"{name} of {found['target']} in production, by week", rows, name)


def regret_chart(found: text.Report) -> Chart | None:
    """By how much every policy has been worse than the best in hindsight, up to each week."""
    sign = -1 if found["greater_is_better"] else 1
    best = text.hindsight(found)["weekly"]
    rows = []
    for policy in found["policies"][:-1]:
        summed = 0.0
        for week, value, least in zip(found["weeks"], policy["weekly"], best, strict=True):
            if week["compared"] and value is not None:  # it may never have answered
                summed += sign * (value - least)
                rows.append({"policy": policy["name"], "week": week["end"], "value": summed})
    name = label(found["metric"])
    return _lines(
        "regrets", "How much worse than the best in hindsight, summed over the weeks", rows, name
    )


def _lines(name: str, title: str, rows: Sequence[Mapping[str, Any]], unit: str) -> Chart | None:
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    return Chart(
        name=name,
        kind="line",
        title=title,
        frame=frame.assign(week=pd.to_datetime(frame["week"], format="ISO8601")),
        x="week",
        y="value",
        x_title="end of the week",
        y_title=unit,
        group="policy",
    )


def _weekly(found: text.Report) -> dict[str, Any]:
    """All weeks as a table of text."""
    texts = {
        "from": [week["start"] for week in found["weeks"]],
        "to": [week["end"] for week in found["weeks"]],
        **{policy["name"]: column(policy["weekly"], "number") for policy in found["policies"]},
    }
    return {"columns": list(texts), "rows": list(zip(*texts.values(), strict=True))}


def _chapter(policy: text.Report) -> dict[str, Any]:
    """What a policy has done, with what changed something apart from what did not."""
    events = policy["events"]
    return {
        "policy": policy,
        "switches": [one for one in events if one["event"] in _SWITCHES],
        "others": [one for one in events if one["event"] not in {*_SWITCHES, *_QUIET}],
        "quiet": [one for one in events if one["event"] in _QUIET],
    }
