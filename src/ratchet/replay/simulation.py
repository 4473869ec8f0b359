"""All policies walk through the same past; what they lack is trained on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ratchet import progress
from ratchet.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.replay import Backtest, History, Incident, Policy
    from ratchet.replay.request import ReplayRequest
    from ratchet.replay.stage_store import StageStore


def simulate(
    request: ReplayRequest,
    stages: StageStore,
    policies: Sequence[Policy],
    incidents: tuple[Incident, ...],
) -> tuple[History, list[Backtest]]:
    """Let every policy walk; what one asks for between Sundays is trained, and it begins anew.

    Raises:
        UserError: nothing could be trained on any Sunday.
    """
    from ratchet.replay import History, MissingStageError, backtest

    days = set(request.sundays)
    while True:
        _bring(stages, sorted(days))
        history = History(
            use_case=stages.use_case,
            stages={day: _befallen(stages, day, incidents) for day in sorted(days)},
            sundays=request.sundays,
            until=request.until,
            seed=stages.seed,
            incidents=incidents,
        )
        troubles = [stage.trouble for stage in history.stages.values()]
        if all(troubles):
            raise UserError(f"no model could be trained on any day: {troubles[-1]}")
        backtests, missing = [], set()
        for policy in policies:
            try:
                backtests.append(backtest(history, policy))
            except MissingStageError as error:
                missing.add(error.day)
        if not missing:
            return history, backtests
        days |= missing


def _befallen(stages: StageStore, day: pd.Timestamp, incidents: Sequence[Incident]) -> Any:
    from dataclasses import replace

    from ratchet.replay.incidents import apply_incidents

    stage, targets = stages.load(day), dict(stages.use_case.targets)
    models = tuple(apply_incidents(model, incidents, targets) for model in stage.challengers)
    return replace(stage, challengers=models)


def _bring(stages: StageStore, days: Sequence[pd.Timestamp]) -> None:
    """Train what is missing, and say how far it is."""
    bars = progress.start() if progress.wanted() else None
    task = bars.add_task("trainings", total=len(days)) if bars else None
    try:
        for done, total, day in stages.bring(days):
            if bars and task is not None:
                bars.update(task, completed=done)
            elif day:
                click.echo(f"trained as of {day} ({done} of {total})")
    finally:
        progress.stop()
