"""Policies go through the past day by day; what they lack is trained on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
import pandas as pd

from ratchet import progress
from ratchet.errors import UserError
from ratchet.replay.history import Event, History, Span, State, end_of_day, latest_moment
from ratchet.replay.incidents import Incident, apply_incidents, file_is_bad
from ratchet.replay.policies import Policy
from ratchet.replay.setup import ReplayRequest
from ratchet.replay.stages import Stage, StageStore


class MissingStageError(Exception):
    """A training is needed that was not made yet."""

    def __init__(self, day: pd.Timestamp) -> None:
        super().__init__(f"nothing was trained on {day.date()}")
        self.day = day


@dataclass(frozen=True, eq=False)
class Backtest:
    """What a policy has done.

    Attributes:
        policy: which one.
        events: what was decided, in order.
        spans: what answered which rows, in order.
        trained: days on which a training was looked at.
    """

    policy: Policy
    events: tuple[Event, ...]
    spans: tuple[Span, ...]
    trained: tuple[pd.Timestamp, ...]


def backtest(history: History, policy: Policy) -> Backtest:
    """Take a policy through the past, day by day.

    Every day the champion answers the new rows and is watched; on Sundays, and when the watch asks
    for it, a model is trained and judged. The order is that of a run of all pipelines.

    Args:
        history: the past.
        policy: what is done about it.

    Raises:
        MissingStageError: the watch asks for a training on a day on which none was made.
    """
    state = State(policy.use_case.release.keep)
    for day in pd.date_range(history.sundays[0], history.until, freq="D"):
        due = day in history.sundays and (policy.trains or state.champion is None)
        if file_is_bad(history.incidents, day):
            if due:
                state.note(day, "failed", None, "the delivered file breaks its contract")
            continue
        _answer(state, policy, day)
        is_requested = _watch(history, state, policy, day)
        if due or (is_requested and day < history.until):
            _train(history, state, policy, day)
    return Backtest(policy, tuple(state.events), tuple(state.spans), tuple(state.trained))


def _answer(state: State, policy: Policy, day: pd.Timestamp) -> None:
    """Let the champion answer the rows that came since the last ones were answered."""
    if state.champion is None:
        return
    after = latest_moment(state.since, state.answered)
    target = next(iter(policy.use_case.targets))
    times = state.champion.logged(target, after, end_of_day(day))["row_time"]
    if times.empty:
        return
    state.answered = times.max()
    last = state.spans[-1] if state.spans else None
    if last and last.model is state.champion and last.until == after:
        state.spans[-1] = Span(last.model, last.after, state.answered)
    else:
        state.spans.append(Span(state.champion, after, state.answered))


def _watch(history: History, state: State, policy: Policy, day: pd.Timestamp) -> bool:
    """Look at the champion; say whether a training is requested."""
    champion = state.champion
    if champion is None or not policy.watch:
        return False
    action = policy.watch(policy, history, state)
    if action is None or action.action == "none":
        return False
    if action.action == "rollback":
        back = state.roll_back(quarantine=policy.quarantines)
        state.note(day, "rollback", back.version, action.reason, action.numbers)
        return False
    state.note(day, "retrain", champion.version, action.reason, action.numbers)
    until = action.numbers.get("until")
    # The end of a window is no part of it.
    state.requested_until = pd.Timestamp(until) - pd.Timedelta("1us") if until else state.answered
    return True


def _train(history: History, state: State, policy: Policy, day: pd.Timestamp) -> None:
    """Judge what the training of a day has brought."""
    if day not in history.stages:
        raise MissingStageError(day)
    stage = history.stages[day]
    state.trained.append(day)
    if stage.failure is not None:
        state.note(day, "failed", None, stage.failure)
        return
    for model in reversed(stage.challengers[: None if state.champion is None else 1]):
        state.register(model)
    for judged in policy.choose(policy, history, state, stage):
        model = judged.model
        if judged.decision == "PROMOTE":
            if model.refitted is not None:
                model = model.refitted
                state.register(model)
            state.serve(model)
        event = judged.decision.lower()
        state.note(day, event, model.version, judged.reason, judged.numbers)
    state.prune()


def simulate(
    request: ReplayRequest,
    stages: StageStore,
    policies: Sequence[Policy],
    incidents: tuple[Incident, ...],
) -> tuple[History, list[Backtest]]:
    """Backtest every policy; what one asks for between Sundays is trained, and all start over.

    Raises:
        UserError: nothing could be trained on any Sunday.
    """
    days = set(request.sundays)
    while True:
        _train_missing(stages, sorted(days))
        history = History(
            use_case=stages.use_case,
            stages={day: _with_incidents(stages, day, incidents) for day in sorted(days)},
            sundays=request.sundays,
            until=request.until,
            seed=stages.seed,
            incidents=incidents,
        )
        troubles = [stage.failure for stage in history.stages.values()]
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


def _with_incidents(stages: StageStore, day: pd.Timestamp, incidents: Sequence[Incident]) -> Stage:
    stage, targets = stages.load(day), dict(stages.use_case.targets)
    models = tuple(apply_incidents(model, incidents, targets) for model in stage.challengers)
    return replace(stage, challengers=models)


def _train_missing(stages: StageStore, days: Sequence[pd.Timestamp]) -> None:
    """Train what is missing, and say how far it is."""
    bars = progress.start() if progress.is_interactive() else None
    task = bars.add_task("trainings", total=len(days)) if bars else None
    try:
        for done, total, day in stages.train(days):
            if bars and task is not None:
                bars.update(task, completed=done)
            elif day:
                click.echo(f"trained as of {day} ({done} of {total})")
    finally:
        progress.stop()
