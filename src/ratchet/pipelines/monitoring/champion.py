"""The model that serves, since when, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ratchet.release.actions import ask_for_retraining, roll_back
from ratchet.release.bundle import Bundle, open_bundle
from ratchet.release.delivered import decided_until
from ratchet.release.rehearsal import rehearse

UNTIL = "until"
"""Number of an assessment: end of the last window that it rests on, which is no part of it."""


def open_champion(registry: Any, name: str) -> tuple[Bundle | None, str | None]:
    """The bundle that serves, and its version; None before the first promotion."""
    version = registry.champion(name)
    if version is None:
        return None, None
    return open_bundle(registry.folder(name, version)), str(version)


def serving_since(registry: Any, name: str, bundle: Bundle) -> str | None:
    """Time after which rows count as production of the model that serves now.

    That is the last row by which it was chosen; after a rollback the last row that the rollback
    rests on, since what came before was answered by another model.
    """
    moments = [decided_until(bundle.manifest), last_of(registry, name, "rollback")]
    return max((moment for moment in moments if moment), key=pd.Timestamp, default=None)


def last_of(registry: Any, name: str, event: str) -> str | None:
    """Last moment, by the time of rows, that the newest such decision of the watch rests on.

    Only decisions since the last promotion count.
    """
    for entry in reversed(registry.ledger.entries(name)):
        if entry.event in ("promote", "override"):
            break
        if entry.event == event and entry.details.get(UNTIL):
            return (pd.Timestamp(entry.details[UNTIL]) - pd.Timedelta("1us")).isoformat()
    return None


def carry_out(registry: Any, name: str, assessment: Mapping[str, Any], *, actor: str) -> Any:
    """Roll back, or ask for a retraining, or leave everything as it is.

    Returns:
        The ledger's entry, or None.
    """
    reason, numbers = assessment["reason"], assessment["numbers"]
    if assessment["action"] == "rollback":
        return roll_back(
            registry,
            name,
            reason=reason,
            actor=actor,
            check=rehearse,
            details=numbers,
            expect=assessment["expect"],
        )
    if assessment["action"] == "retrain":
        return ask_for_retraining(registry, name, reason=reason, actor=actor, details=numbers)
    return None
