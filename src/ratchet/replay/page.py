"""The report of a replay in words: a table for the terminal, and one HTML file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from ratchet.reports.chart import Chart
from ratchet.reports.formatting import (
    column,
    count,
    counted,
    label,
    listed,
    minus,
    number,
    share,
)
from ratchet.reports.html import template_environment
from ratchet.reports.vega_lite import vega_script

Report = Mapping[str, Any]
"""The report, as ``report.json`` has it."""

EVENTS = {
    "promote": "promoted the",
    "hold": "held back the",
    "reject": "rejected the",
    "rollback": "rolled back to the",
    "retrain": "asked for a training, instead of the",
    "failed": "no new model",
}
"""Event -> what is said of its version."""


def title(report: Report) -> str:
    """Of what and over which time."""
    weeks = counted(len(report["weeks"]), "Sunday")
    return f"{report['title']}: {weeks} from {report['from']} to {report['to']}"


def columns(report: Report) -> tuple[str, ...]:
    """Head of the overview."""
    return (
        *("policy", label(report["metric"]), "against configured", "regret", "switches"),
        *("false", "rollbacks", "requests", "trained"),
        *(("unanswered",) if _left_rows(report) else ()),
    )


def overview(report: Report, policy: Report) -> list[str]:
    """One row of the overview, in the order of ``columns``."""
    return [
        policy["name"],
        score(policy["total"]["value"]),
        difference_to_first(report, policy),
        percent(policy["regret_share"]),
        count(policy["switches"]),
        count(len(policy["false_promotions"])) if policy["is_rule"] else "–",
        count(policy["rollbacks"]),
        count(policy["requests"]),
        count(policy["trainings"]),
        *([count(policy["unanswered"])] if _left_rows(report) else []),
    ]


def _left_rows(report: Report) -> bool:
    """Whether a policy had no answer where another had one."""
    return any(policy["unanswered"] for policy in report["policies"])


def difference_to_first(report: Report, policy: Report) -> str:
    """Mean difference of a week with its interval, in percent: above 0 the policy is worse."""
    first, compared = report["policies"][0], policy["against_first"]
    size = abs(first["total"]["value"] or 0)
    if policy is first or compared["value"] is None or not size:
        return "–"
    if not compared["differ"]:
        return "the same"
    value, low, high = (
        None if compared[end] is None else compared[end] / size for end in ("value", "low", "high")
    )
    if low is None or high is None:
        return signed(value)
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def signed(value: float | None) -> str:
    """A share with its sign."""
    page = percent(value)
    return f"+{page}" if value is not None and value > 0 and page != percent(0.0) else page


def score(value: float | None) -> str:
    """Four digits: policies often differ by a percent."""
    return "–" if value is None else minus(f"{value:,.4g}")


def percent(value: float | None) -> str:
    """A share that may be large."""
    if value is None:
        return "–"
    text = f"{100 * value:.1f} %"
    return text.lstrip("-") if not text.strip("-0. %") else minus(text)


def verdict(report: Report) -> str:
    """Which policy would have been best, by how much, and whether that may be chance."""
    if report["best"] is None:
        return "No policy let a model serve, so there is nothing to compare."
    policies = {policy["name"]: policy for policy in report["policies"]}
    first, best = report["policies"][0], policies[report["best"]]
    name, (least, ours) = label(report["metric"]), (one["total"]["value"] for one in (best, first))
    tied = [
        f"“{one['name']}”"
        for one in report["policies"]
        if one["is_rule"] and one["total"]["value"] == least
    ]
    if ours == least:
        return f"No other policy would have been better than the configured one. {_rest(report)}"
    if ours is None:
        return f"{listed(tied)} would have been best; the configured policy let no model serve."
    by = share(abs(least - ours) / abs(ours)) if ours else number(abs(least))
    return (
        f"{listed(tied)} would have been best: {name} {score(least)} against {score(ours)} of the "
        f"configured policy, {by} better. {_chance(best['against_first'])}"
    )


def _chance(compared: Report) -> str:
    """Whether two policies differ significantly over the weeks."""
    weeks = f"{counted(compared['differ'], 'week')} of {compared['weeks']}"
    if compared["low"] is None:
        return f"They differ in {weeks}: too few weeks to tell that from chance."
    if compared["low"] <= 0 <= compared["high"]:
        return f"They differ in {weeks}, by no more than chance."
    return f"They differ in {weeks}, by more than chance alone would."


def _rest(report: Report) -> str:
    """How far the configured policy is from the others."""
    others = [one for one in report["policies"][1:] if one["is_rule"]]
    sure = [one for one in others if (one["against_first"]["low"] or 0) > 0]
    named = ", ".join(f"“{one['name']}”" for one in sure)
    more = f"{named}: worse by more than chance. " if named else ""
    return f"{more}{regret(report, report['policies'][0])}"


def regret(report: Report, policy: Report) -> str:
    """How far a policy is from what could be known only later."""
    if policy["regret_share"] is None:
        return ""
    return (
        f"The best in hindsight would have had {score(hindsight(report)['total']['value'])}, and "
        f"“{policy['name']}” had {score(policy['total']['value'])}: "
        f"{percent(policy['regret_share'])} worse."
    )


def hindsight(report: Report) -> Report:
    """The policy that knows the future."""
    last: Report = report["policies"][-1]
    return last


def happened(event: Report) -> str:
    """``promoted the model of 2014-07-06``."""
    version = f" {model(event['version'])}" if event["version"] else ""
    return f"{EVENTS[event['event']]}{version}"


def model(version: str) -> str:
    """``model of 2014-07-06``, ``naive model of 2014-07-06``."""
    day, _, role = version.partition(" ")
    return f"{role} model of {day}".strip()


def wrong_promotion(report: Report, one: Report) -> str:
    """A promotion that turned out wrong, in a sentence."""
    new, old = model(one["version"]), model(one["instead"])
    scores = f"{label(report['metric'])} {score(one['value'])}", score(one["instead_value"])
    sure = "more than chance" if one["sure"] else "which may be chance"
    return (
        f"The {new} had {scores[0]} on the {count(one['rows'])} rows that it answered, and the "
        f"{old} would have had {scores[1]}: {sure}"
    )


def incident(one: Report) -> str:
    """An incident in a line."""
    when = f"{one['from']} to {one['to']}"
    what = {
        "drift": lambda: (
            f"{', '.join(one['change']['columns'])}: {one['change']['kind']} by "
            f"{one['change']['amount']:g}"
        ),
        "bad_data": lambda: "the delivered file breaks its contract",
        "latency": lambda: f"models trained then take {one['ms']:g} ms for an answer",
        "broken_model": lambda: (
            "models trained then do not answer"
            if one["factor"] is None
            else f"models trained then answer {one['factor']:g} times what they should"
        ),
    }[one["kind"]]()
    return f"{when}: {what}" + (f" ({one['note']})" if one["note"] else "")


_SWITCHES = ("promote", "rollback")
_QUIET = {"hold", "reject"}
"""Events that leave everything as it is: there is one a week, and few look at them."""


def render(report: Report) -> str:
    """Write the page.

    Args:
        report: the report, as ``report.json`` has it.

    Returns:
        HTML with styles, scripts and charts inside.
    """
    environment = template_environment("ratchet.replay")
    return environment.get_template("replay.html.j2").render(
        words=sys.modules[__name__],
        found=report,
        columns=columns(report),
        overview=[overview(report, policy) for policy in report["policies"]],
        charts=[chart for chart in (error_chart(report), regret_chart(report)) if chart],
        weekly=_weekly(report),
        chapters=[_chapter(policy) for policy in report["policies"]],
        files={name: yaml.safe_dump(file) for name, file in report["files"].items()},
        vega=vega_script(),
    )


def error_chart(report: Report) -> Chart | None:
    """The score of every policy, week by week."""
    rows = [
        {"policy": policy["name"], "week": week["end"], "value": value}
        for policy in report["policies"]
        for week, value in zip(report["weeks"], policy["weekly"], strict=True)
        if value is not None
    ]
    name = label(report["metric"])
    return _lines("errors", f"{name} of {report['target']} in production, by week", rows, name)


def regret_chart(report: Report) -> Chart | None:
    """By how much every policy has been worse than the best in hindsight, up to each week."""
    sign = -1 if report["greater_is_better"] else 1
    best = hindsight(report)["weekly"]
    rows = []
    for policy in report["policies"][:-1]:
        summed = 0.0
        for week, value, least in zip(report["weeks"], policy["weekly"], best, strict=True):
            if week["compared"] and value is not None:  # it may never have answered
                summed += sign * (value - least)
                rows.append({"policy": policy["name"], "week": week["end"], "value": summed})
    name = label(report["metric"])
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


def _weekly(report: Report) -> Mapping[str, object]:
    """All weeks as a table of text."""
    texts = {
        "from": [week["start"] for week in report["weeks"]],
        "to": [week["end"] for week in report["weeks"]],
        **{policy["name"]: column(policy["weekly"], "number") for policy in report["policies"]},
    }
    return {"columns": list(texts), "rows": list(zip(*texts.values(), strict=True))}


def _chapter(policy: Report) -> Mapping[str, object]:
    """What a policy has done, with what changed something apart from what did not."""
    events = policy["events"]
    return {
        "policy": policy,
        "switches": [one for one in events if one["event"] in _SWITCHES],
        "others": [one for one in events if one["event"] not in {*_SWITCHES, *_QUIET}],
        "quiet": [one for one in events if one["event"] in _QUIET],
    }
