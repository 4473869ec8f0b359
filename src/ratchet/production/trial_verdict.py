"""What the trial of a challenger that was held back says at the next release."""

from __future__ import annotations

from typing import Any

from ratchet.config import UseCase
from ratchet.gate.conditions import Condition
from ratchet.gate.verdict import Decision, Verdict
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.monitoring.trial import Trial, find_trial
from ratchet.primary_metric import primary_metric
from ratchet.registry.actions import hold
from ratchet.registry.ledger_chain import Entry
from ratchet.registry.registry import Registry, RegistryError

_DECISIONS: dict[str, Decision] = {"better": "PROMOTE", "worse": "REJECT"}


def trial_of_held(registry: Registry, name: str, use_case: UseCase) -> Trial | None:
    """The trial of the challenger that was held back, where trials decide.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        use_case: its parameters.

    Returns:
        The trial; ``None`` where ``release.trial`` is off, nothing is held back, or the version
        that is has not answered yet.
    """
    state = registry.ledger.state(name)
    if use_case.release.trial is None or state.champion is None or state.held is None:
        return None
    target, metric = primary_metric(use_case)
    return find_trial(
        PredictionLog(registry.ledger.engine).rows(name, target),
        *(state.champion, use_case.targets[target], metric),
        name=target,
        version=state.held,
        planned=use_case.release.trial.days,
    )


def verdict_of_trial(registry: Registry, name: str, trial: Trial) -> dict[str, Any] | None:
    """A trial that has decided, as ``judge_challengers`` hands on what was judged.

    Returns:
        ``None`` while nothing is decided.
    """
    decision = _DECISIONS.get(trial.verdict)
    if decision is None:
        return None
    champion, number = trial.versions
    version = registry.version(name, number)
    verb = "Takes over" if decision == "PROMOTE" else "Refused"
    text = f"{trial.verdict} in a trial beside version {champion}: {trial.figures()}"
    condition = Condition("trial", decision == "PROMOTE", text, rejects=decision == "REJECT")
    verdict = Verdict(decision, f"{verb}: {text}.", (condition,), {"trial": trial.to_json()})
    return {
        "version": number,
        "bundle": version.bundle,
        "digest": registry.ledger.first_detail(name, number, "digest") or version.tags["digest"],
        "candidates": registry.ledger.first_detail(name, number, "candidates") or {},
        "verdict": verdict.to_json(),
        "by_trial": True,
    }


def continuation(trial: Trial | None) -> dict[str, Any] | None:
    """What the ledger says of a trial that goes on, though newer challengers are held back.

    Returns:
        ``version`` and ``reason``; ``None`` where the trial has decided or is over.
    """
    if trial is None or trial.verdict != "undecided" or trial.is_over:
        return None
    champion, version = trial.versions
    days = f"{trial.loss.days} of {trial.planned} days" if trial.planned else f"{trial.days} days"
    reason = f"its trial beside version {champion} goes on ({days}): {trial.figures()}"
    return {"version": version, "reason": reason, "trial": trial.to_json()}


def hold_again(
    registry: Registry, name: str, continued: dict[str, Any], actor: str
) -> Entry | None:
    """Let the version on trial stay the one that is held back, so that it goes on answering.

    Returns:
        The new row of the ledger; ``None`` where the version is gone meanwhile.
    """
    try:
        return hold(
            *(registry, name, continued["version"]),
            reason=continued["reason"],
            actor=actor,
            details={"trial": continued["trial"]},
        )
    except RegistryError:
        return None
