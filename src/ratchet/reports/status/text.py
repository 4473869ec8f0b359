"""The status of a use case as text, for the page and the command line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ratchet.registry.ledger_chain import Entry
from ratchet.reports.formatting import between, count, counted, label, listed, number
from ratchet.reports.status.collect import Model, UseCaseStatus

COLUMNS = (
    *("use case", "state", "serves", "since", "at promotion", "in production", "inputs"),
    "last decision",
)

EVENTS = {
    "promote": "promoted",
    "hold": "held back",
    "reject": "rejected",
    "rollback": "rolled back to",
    "override": "promoted by hand:",
    "retrain": "asked for a new training; champion is",
}
"""Event of the ledger -> what is said of its version."""

_MARKS = {"yes": "+", "no": "-", "doubt": "?"}
_SEVERITIES = {
    "NONE": "as usual",
    "LOW": "have moved",
    "MEDIUM": "have moved, for long or where it matters",
    "HIGH": "the error is worse",
}


def state_badge(status: UseCaseStatus) -> tuple[str, str]:
    """The state of a use case: a CSS class for its colour, and a word.

    Returns:
        ``bad``, ``doubt``, ``good`` or ``none``, and what to call it.
    """
    if status.problems:
        return "bad", "needs mending"
    if status.champion is None:
        return "none", "nothing serves"
    watch = status.watch or {"action": "none"}
    if watch["action"] == "rollback" or any(a["level"] == "critical" for a in status.alerts):
        return "bad", "failing"
    moved = severity(status) in ("MEDIUM", "HIGH")
    if watch["action"] != "none" or status.alerts or moved or status.unsettled is not None:
        return "doubt", "look at it"
    return "good", "fine"


def overview(status: UseCaseStatus) -> list[str]:
    """One row of the overview, in the order of ``COLUMNS``."""
    champion = status.champion
    decision = status.decisions[0] if status.decisions else None
    return [
        status.title,
        state_badge(status)[1],
        model_text(champion) if champion else "nothing",
        day_text(status.since) if status.since else "–",
        f"{label(status.metric)} {number(status.promoted['value'])}" if status.promoted else "–",
        production_text(status),
        _SEVERITIES.get(severity(status) or "", "–"),
        f"{decision_text(decision)}, {day_text(decision.at)}" if decision else "none yet",
    ]


def model_text(model: Model) -> str:
    """A version and its candidates: ``version 3: stack for success, ridge for rating``."""
    candidates = model.candidates
    if not candidates:
        return f"version {model.version}"
    if len(candidates) == 1:
        return f"version {model.version}: {next(iter(candidates.values()))}"
    parts = [f"{candidate} for {target}" for target, candidate in candidates.items()]
    return f"version {model.version}: {listed(parts)}"


def production_text(status: UseCaseStatus) -> str:
    """The latest window in a few words."""
    if status.windows:
        latest = number(status.windows[-1][status.metric])
        return f"{latest}{f', {change_text(status)}' if change_text(status) else ''}"
    if status.predicted is None:
        return "–"
    if not status.predicted.answers:
        return "nothing predicted yet"
    return "truth not known yet" if not status.predicted.known else "too few rows yet"


def change_text(status: UseCaseStatus) -> str:
    """How the latest window compares with the promotion: ``4.0% worse``."""
    by = status.worse_by
    if by is None:
        return ""
    return "the same" if abs(by) < 0.0005 else f"{abs(by):.1%} {'worse' if by > 0 else 'better'}"


def severity(status: UseCaseStatus) -> str | None:
    """Severity in the latest drift report, if there is one."""
    return None if status.drift is None else str(status.drift["severity"])


def at_promotion(status: UseCaseStatus) -> str:
    """The metric at the promotion, in a sentence."""
    name = f"{label(status.metric)} of {status.target}"
    if status.promoted is None:
        return f"What {name} was at the promotion is not known: the bundle cannot be read."
    better = "larger" if status.greater_is_better else "smaller"
    return f"At the promotion {name} was {between(status.promoted)}; {better} is better."


def in_production(status: UseCaseStatus) -> str:
    """How the champion has done since, in a sentence or two; says what is absent."""
    predicted = status.predicted
    if predicted is None or predicted.latest is None:
        return "Nothing was predicted since the promotion."
    answered = counted(predicted.answers, "row was", "rows were")
    start = f"Since the promotion {answered} predicted, the last on {time_text(predicted.latest)}"
    if not predicted.known:
        return f"{start}. The truth of none is known yet, so there is nothing to compare."
    return f"{start}; the truth of {count(predicted.known)} is known. {latest_window(status)}"


def latest_window(status: UseCaseStatus) -> str:
    """The latest window beside the promotion, in a sentence; says what is absent."""
    if status.watch is None:
        return not_watched(status)
    if not status.windows:
        notes = [window["note"] for window in status.watch["windows"] if window.get("note")]
        return f"No window can be scored yet{f': {notes[-1]}' if notes else ''}."
    last = status.windows[-1]
    when = (
        f", from {day_text(last['start'])} to {day_text(last['end'])}" if last.get("start") else ""
    )
    value = f"{number(last[status.metric])} on {counted(last['rows'], 'row')}"
    changed = change_text(status)
    than = f": {changed} {'as' if changed == 'the same' else 'than'} "
    if status.has_steps:
        than += f"the {number(status.promoted_in(last))} of the same steps "
    than += "at the promotion"
    return f"In the latest window{when}, it was {value}{than if changed else ''}."


def not_watched(status: UseCaseStatus) -> str:
    """Why nothing is known of the production, in a sentence."""
    if status.watched is None:
        return "The monitoring has not run yet."
    return f"The monitoring has not looked at it yet, only at version {status.watched} before it."


def watch_sentence(status: UseCaseStatus) -> str:
    """What the monitoring does and why, or what is unsettled; empty where there is neither."""
    if status.watch is None or (status.watch["action"] == "none" and status.unsettled):
        return unsettled_sentence(status)
    does = {
        "none": "Nothing is done",
        "rollback": "It goes back to the previous version",
        "retrain": "A new training is asked for",
    }[status.watch["action"]]
    return f"{does}: {status.watch['reason']}."


def unsettled_sentence(status: UseCaseStatus) -> str:
    """What was done or asked for without a new model since, in two sentences."""
    entry = status.unsettled
    if entry is None:
        return ""
    does = {
        "rollback": f"It went back to version {entry.champion}",
        "retrain": "A new training was asked for",
    }[entry.event]
    reason = entry.reason.rstrip(".")
    return f"{does} on {time_text(entry.at)}: {reason}. No model was promoted since."


def inputs_text(status: UseCaseStatus) -> list[str]:
    """Drift of the inputs: a sentence, then the reasons."""
    if status.drift is None:
        return ["The inputs have not been compared with those of the training yet."]
    drift = status.drift
    span = (
        f" from {day_text(drift['span'][0])} to {day_text(drift['span'][1])}"
        if drift.get("span")
        else ""
    )
    on = f"on {count(drift['rows']['current'])} rows{span}"
    moved = drift["moved"]
    if drift["severity"] == "NONE":
        return [f"The inputs are as they were in the training, {on}."]
    names = f"Moved: {listed(moved)}. " if moved else ""
    return [f"Severity {drift['severity']}, {on}. {names}".strip(), *drift["reasons"]]


def decision_text(entry: Entry) -> str:
    """What was decided: ``promoted version 3``."""
    version = entry.champion if entry.event in ("rollback", "retrain") else entry.version
    words = EVENTS.get(entry.event, entry.event)
    return f"{words} version {version}" if version is not None else words


def conditions(entry: Entry) -> list[tuple[str, str, str]]:
    """Conditions of the gate: ``yes``, ``no`` or ``doubt``, name, and reason."""
    details: Mapping[str, Any] = entry.details or {}
    judged = details.get("conditions", [])
    marks = {True: "yes", False: "no", None: "doubt"}
    return [(marks[each["passed"]], each["name"], each["reason"]) for each in judged]


def problem_lines(status: UseCaseStatus) -> list[str]:
    """Problems and alerts, a line each."""
    alerts = [f"{alert['text']} -> {alert['advice']}" for alert in status.alerts]
    return [*(f"{status.name}: {problem}" for problem in status.problems), *alerts]


def full_text(status: UseCaseStatus) -> list[str]:
    """Everything that the page says of a use case, a line each."""
    lines = problem_lines(status)
    for role, filled_by in roles(status).items():
        lines.append(f"{role}: {filled_by}")
    if status.champion is not None:
        lines += [f"{at_promotion(status)} {in_production(status)}", watch_sentence(status)]
        lines += inputs_text(status)
    for entry in status.decisions:
        lines.append(
            f"{time_text(entry.at)} {decision_text(entry)}, by {entry.actor}: {entry.reason}"
        )
        lines += [f"  {_MARKS[mark]} {name}: {why}" for mark, name, why in conditions(entry)]
    return [line for line in lines if line]


def roles(status: UseCaseStatus) -> dict[str, str]:
    """Champion, previous version and challenger as text; says what is absent."""
    champion, previous, challenger = status.champion, status.previous, status.challenger
    since = f", since {time_text(status.since)}" if status.since else ""
    serves = f"{model_text(champion)}{since}" if champion else "none: no model was promoted yet"
    no_target = "none: there is no version to roll back to"
    return {
        "Champion": serves,
        "Previous": model_text(previous) if previous else no_target,
        "Challenger": model_text(challenger) if challenger else "none waits",
    }


def day_text(value: object) -> str:
    """A day: ``2026-11-20``."""
    return str(value)[:10]


def time_text(value: str | dt.datetime) -> str:
    """A time to the minute: ``2026-11-20 04:10 UTC``."""
    text = value if isinstance(value, str) else value.isoformat()
    parsed = dt.datetime.fromisoformat(text)
    utc = parsed.astimezone(dt.UTC) if parsed.tzinfo else parsed
    return f"{utc:%Y-%m-%d %H:%M} UTC"
