"""A replay in plain words, the same in the table and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.reports.formatting import count, counted, label, listed, minus, number, share

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


def title(found: Report) -> str:
    """Of what and over which time."""
    weeks = counted(len(found["weeks"]), "Sunday")
    return f"{found['title']}: {weeks} from {found['from']} to {found['to']}"


def columns(found: Report) -> tuple[str, ...]:
    """Head of the overview."""
    return (
        *("policy", label(found["metric"]), "against configured", "regret", "switches"),
        *("false", "rollbacks", "requests", "trained"),
        *(("unanswered",) if _left_rows(found) else ()),
    )


def overview(found: Report, policy: Report) -> list[str]:
    """One row of the overview, in the order of ``columns``."""
    return [
        policy["name"],
        score(policy["total"]["value"]),
        against(found, policy),
        percent(policy["regret_share"]),
        count(policy["switches"]),
        count(len(policy["false_promotions"])) if policy["is_rule"] else "–",
        count(policy["rollbacks"]),
        count(policy["requests"]),
        count(policy["trainings"]),
        *([count(policy["unanswered"])] if _left_rows(found) else []),
    ]


def _left_rows(found: Report) -> bool:
    """Whether a policy had no answer where another had one."""
    return any(policy["unanswered"] for policy in found["policies"])


def against(found: Report, policy: Report) -> str:
    """Mean difference of a week with its interval, in percent: above 0 the policy is worse."""
    first, compared = found["policies"][0], policy["against_first"]
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
    text = percent(value)
    return f"+{text}" if value is not None and value > 0 and text != percent(0.0) else text


def score(value: float | None) -> str:
    """Four digits: policies often differ by a percent."""
    return "–" if value is None else minus(f"{value:,.4g}")


def percent(value: float | None) -> str:
    """A share that may be large."""
    if value is None:
        return "–"
    text = f"{100 * value:.1f} %"
    return text.lstrip("-") if not text.strip("-0. %") else minus(text)


def verdict(found: Report) -> str:
    """Which policy would have been best, by how much, and whether that may be chance."""
    if found["best"] is None:
        return "No policy let a model serve, so there is nothing to compare."
    policies = {policy["name"]: policy for policy in found["policies"]}
    first, best = found["policies"][0], policies[found["best"]]
    name, (least, ours) = label(found["metric"]), (one["total"]["value"] for one in (best, first))
    tied = [
        f"“{one['name']}”"
        for one in found["policies"]
        if one["is_rule"] and one["total"]["value"] == least
    ]
    if ours == least:
        return f"No other policy would have been better than the configured one. {_rest(found)}"
    if ours is None:
        return f"{listed(tied)} would have been best; the configured policy let no model serve."
    by = share(abs(least - ours) / abs(ours)) if ours else number(abs(least))
    return (
        f"{listed(tied)} would have been best: {name} {score(least)} against {score(ours)} of the "
        f"configured policy, {by} better. {_chance(best['against_first'])}"
    )


def _chance(compared: Report) -> str:
    """Whether the weeks tell two policies apart."""
    weeks = f"{counted(compared['differ'], 'week')} of {compared['weeks']}"
    if compared["low"] is None:
        return f"They differ in {weeks}: too few weeks to tell that from chance."
    if compared["low"] <= 0 <= compared["high"]:
        return f"They differ in {weeks}, by no more than chance."
    return f"They differ in {weeks}, by more than chance alone would."


def _rest(found: Report) -> str:
    """How far the configured policy is from the others."""
    others = [one for one in found["policies"][1:] if one["is_rule"]]
    sure = [one for one in others if (one["against_first"]["low"] or 0) > 0]
    named = ", ".join(f"“{one['name']}”" for one in sure)
    more = f"{named}: worse by more than chance. " if named else ""
    return f"{more}{regret(found, found['policies'][0])}"


def regret(found: Report, policy: Report) -> str:
    """How far a policy is from what could be known only later."""
    if policy["regret_share"] is None:
        return ""
    return (
        f"The best in hindsight would have had {score(hindsight(found)['total']['value'])}, and "
        f"“{policy['name']}” had {score(policy['total']['value'])}: "
        f"{percent(policy['regret_share'])} worse."
    )


def hindsight(found: Report) -> Report:
    """The policy that nobody can have."""
    last: Report = found["policies"][-1]
    return last


def happened(event: Report) -> str:
    """``promoted the model of 2014-07-06``."""
    version = f" {model(event['version'])}" if event["version"] else ""
    return f"{EVENTS[event['event']]}{version}"


def model(version: str) -> str:
    """``model of 2014-07-06``, ``naive model of 2014-07-06``."""
    day, _, role = version.partition(" ")
    return f"{role} model of {day}".strip()


def wrong_promotion(found: Report, one: Report) -> str:
    """A promotion that turned out wrong, in a sentence."""
    new, old = model(one["version"]), model(one["instead"])
    scores = f"{label(found['metric'])} {score(one['value'])}", score(one["instead_value"])
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
