"""Policies: the production code with its YAML, and what it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ratchet.bundle.scoring_frame import new_rows
from ratchet.config import UseCase
from ratchet.gate.evidence import Evidence, Holdout
from ratchet.gate.verdict import Decision, judge
from ratchet.learning.metrics import greater_is_better
from ratchet.monitoring.comparison import RESAMPLING, Comparison, compare, exceeds, worsening
from ratchet.monitoring.evaluate_champion import (
    Action,
    Assessment,
    evaluate_champion,
    rows_under_review,
)
from ratchet.monitoring.performance import latest_answers
from ratchet.primary_metric import primary_metric
from ratchet.replay.history import Event, History, State, is_number
from ratchet.replay.stages import Model, Stage


@dataclass(frozen=True, eq=False)
class Judgement:
    """What becomes of a challenger."""

    model: Model
    decision: Decision
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


Choose = Callable[["Policy", History, State, Stage], Iterator[Judgement]]
Watcher = Callable[["Policy", History, State], "Action | None"]


@dataclass(frozen=True, eq=False)
class Policy:
    """What is done with new models, and with the one that serves.

    Attributes:
        name: how it is called.
        meaning: what it does, in a sentence.
        use_case: the parameters, with the policy's own ``release`` and ``monitoring``.
        choose: judges what a training has brought.
        watch: evaluates the champion every day; ``None`` for no monitoring.
        quarantines: whether what was rolled back may not come back.
        trains: whether models are trained after there is one.
        is_rule: whether it could be used: only hindsight knows what is to come.
    """

    name: str
    meaning: str
    use_case: UseCase
    choose: Choose
    watch: Watcher | None = None
    quarantines: bool = True
    trains: bool = True
    is_rule: bool = True


def policies(use_case: UseCase, others: Mapping[str, UseCase]) -> list[Policy]:
    """The configured policy, others to be tried, and what all of them have to beat.

    Args:
        use_case: the parameters as they are configured.
        others: name -> the parameters of another policy.
    """
    release, watch = use_case.release, use_case.monitoring.watch
    numbers = [release.min_gain, watch.retrain_above, watch.rollback_above]
    bare = " / ".join(f"{100 * number:g}" for number in numbers)
    return [
        Policy("configured", "as the parameters say", use_case, judge_by_gate, act_by_monitoring),
        *(
            Policy(name, "as its file says", other, judge_by_gate, act_by_monitoring)
            for name, other in others.items()
        ),
        Policy(
            "never retrain",
            "the first model serves for ever",
            use_case,
            promote_every_model,
            trains=False,
        ),
        Policy(
            "always promote",
            "every new model serves, whatever it does",
            use_case,
            promote_every_model,
        ),
        Policy(
            f"bare {bare} %",
            f"a new model serves if its score on the fresh rows is more than "
            f"{100 * release.min_gain:g} % better; a window more than "
            f"{100 * watch.retrain_above:g} % worse asks for a training, one more than "
            f"{100 * watch.rollback_above:g} % worse brings the previous model back; no more is "
            f"asked",
            use_case,
            judge_by_bare_gain,
            act_by_bare_window,
            quarantines=False,
        ),
        Policy(
            "best in hindsight",
            "in every week the model that turned out best among those trained by then",
            use_case,
            judge_with_hindsight,
            is_rule=False,
        ),
    ]


def judge_by_gate(
    policy: Policy, history: History, state: State, stage: Stage
) -> Iterator[Judgement]:
    """The gate of production: the chosen model; where nothing serves yet, then the naive one."""
    champion, release = state.champion, policy.use_case.release
    for model in stage.challengers[: None if champion is None else 1]:
        shown = gate_evidence(policy.use_case, champion, stage, model, state.events)
        verdict = judge(shown, release, dict(policy.use_case.targets), history.seed)
        yield Judgement(model, verdict.decision, verdict.reason, verdict.numbers)
        if verdict.decision == "PROMOTE":
            return


def gate_evidence(
    use_case: UseCase,
    champion: Model | None,
    stage: Stage,
    challenger: Model,
    events: Iterable[Event] = (),
) -> Evidence:
    """What the gate would have been shown on the day of a stage, after what was decided before."""
    time = use_case.data.time
    times: pd.Series = stage.primary[time]
    if use_case.features.path:  # several rows of the model input are about one row
        (rows,) = stage.naive.values()
        times = times.loc[use_case.features.row_keys(rows.index)].set_axis(rows.index)
    keys, last_rows = times.index, [challenger.last_row]
    soundness: dict[str, str | None] = {"challenger": None, "answers": None}
    if champion is not None:
        # Whole days are seen, and so every row of the champion's last moment was.
        keys = keys[new_rows(times, champion.decided_until, None)]
        last_rows += [champion.decided_until] if len(keys) else []
        failure = champion.failure
        soundness["rollback target"] = failure and f"version {champion.version}: {failure}"
    return Holdout(use_case, keys, stage.naive, stage.primary).evidence(
        challenger.candidates,
        challenger.of(keys),
        None if champion is None or champion.failure else champion.of(keys),
        soundness=soundness,
        latency_ms=challenger.latency_ms,
        size_mb=challenger.size_mb,
        last_seen=max((moment for moment in last_rows if moment), default=None),
        verdicts=[
            event.numbers
            for event in events
            if event.event in ("hold", "reject")
            and champion is not None
            and event.champion == champion.version
            and event.version != challenger.version
        ],
    )


def act_by_monitoring(policy: Policy, history: History, state: State) -> Action | None:
    """The watch of production; nothing where no further window is over."""
    assert state.champion is not None
    if state.champion.failure:
        return _without_answers(state, state.champion)
    watch = policy.use_case.monitoring.watch
    if not _is_news(history, state, watch):
        return None
    target, metric = primary_metric(policy.use_case)
    requested = state.requested_until
    return evaluate_champion(
        history.windows(state.champion, target, watch, state.since, state.answered),
        state.champion.scores[target].get(metric),
        metric,
        watch,
        lambda assessment: _against_previous(policy, history, state, assessment),
        since=None if state.since is None else state.since.to_pydatetime(),
        last_request=requested and requested.to_pydatetime(),
    )


def _is_news(history: History, state: State, watch: Any) -> bool:
    """Whether a window is over that the watch has not looked at: else it would say the same."""
    if state.answered is None or state.since is None or not state.answered > state.since:
        return False
    assert state.champion is not None
    complete = history.complete_windows(state.champion, watch, state.since, state.answered)
    news, state.seen = complete > state.seen, complete
    return news


def _without_answers(state: State, champion: Model) -> Action | None:
    """A champion that cannot answer is replaced at once, if the previous model can."""
    previous = state.previous
    if previous is None or previous.failure:
        return None
    reason = f"version {champion.version} did not answer: {champion.failure}"
    return Action("rollback", f"{reason}; version {previous.version} can")


def _against_previous(
    policy: Policy, history: History, state: State, assessment: Assessment
) -> tuple[Comparison | None, str]:
    """Champion and previous model on the rows that the assessment asks for."""
    previous, champion = state.previous, state.champion
    assert champion is not None
    if previous is None:
        return None, "there is no previous model to go back to"
    if previous.failure:
        return None, f"the previous model, version {previous.version}: {previous.failure}"
    target, metric = primary_metric(policy.use_case)
    rows = rows_under_review(
        latest_answers(champion.logged(target, state.since, state.answered)), assessment
    )
    theirs = previous.logged(target, previous.decided_until, state.answered)
    return compare(
        rows,
        theirs[~theirs["failed"] & theirs.index.isin(rows.index)],
        policy.use_case.targets[target],
        metric,
        groups=history.groups,
        resampling=replace(RESAMPLING, seed=history.seed, horizon=policy.use_case.features.horizon),
    ), ""


def promote_every_model(
    policy: Policy, history: History, state: State, stage: Stage
) -> Iterator[Judgement]:
    """Every new model."""
    first = state.champion is None
    yield Judgement(stage.challengers[0], "PROMOTE", f"The {'first' if first else 'newest'} model.")


def judge_by_bare_gain(
    policy: Policy, history: History, state: State, stage: Stage
) -> Iterator[Judgement]:
    """A model whose score on the fresh rows is better by more than the least gain."""
    model, champion, least = stage.challengers[0], state.champion, policy.use_case.release.min_gain
    if champion is None:
        yield Judgement(model, "PROMOTE", "The first model.")
        return
    after, until = champion.decided_until, model.decided_until
    was, now = (history.error(one, after, until) for one in (champion, model))
    gain = -worsening(history.metric, was, now)
    reason = f"{history.metric} {now:.4g} against {was:.4g}: {100 * gain:.3g} % better."
    better = is_number(gain) and exceeds(gain, least)
    yield Judgement(model, "PROMOTE" if better else "HOLD", reason, {"gain": {"value": gain}})


def act_by_bare_window(policy: Policy, history: History, state: State) -> Action | None:
    """The latest window alone, against thresholds alone."""
    watch, champion = policy.use_case.monitoring.watch, state.champion
    assert champion is not None
    if not _is_news(history, state, watch):
        return None
    target, metric = primary_metric(policy.use_case)
    windows = history.windows(champion, target, watch, state.since, state.answered)
    latest = windows[windows["complete"].astype(bool)].iloc[-1]
    promoted = champion.scores[target].get(metric)
    worse = worsening(metric, promoted["value"], float(latest[metric])) if promoted else 0.0
    reason = f"{metric} {latest[metric]:.4g} is {100 * worse:.3g} % worse than at the promotion."
    if not is_number(worse):
        return None
    if exceeds(worse, watch.rollback_above) and state.previous is not None:
        return Action("rollback", reason, {"worse_by": worse})
    if exceeds(worse, watch.retrain_above):
        return Action("retrain", reason, {"worse_by": worse})
    return None


def judge_with_hindsight(
    policy: Policy, history: History, state: State, stage: Stage
) -> Iterator[Judgement]:
    """What turns out best until the next Sunday, among all models trained by then."""
    after, until = next(week for week in history.weeks if week[0].date() == stage.as_of.date())
    models = [
        model
        for day, earlier in history.stages.items()
        if day <= stage.as_of and day in history.sundays
        for model in (one.refitted or one for one in earlier.challengers)
    ]
    scored = [(history.error(model, after, until), model) for model in models]
    scored = [(score, model) for score, model in scored if is_number(score)]
    if not scored:
        return
    sign = -1 if greater_is_better(history.metric) else 1
    score, best = min(scored, key=lambda pair: sign * pair[0])
    if best is not state.champion:
        reason = f"{history.metric} will be {score:.4g}, the least of {len(scored)} models."
        yield Judgement(best, "PROMOTE", reason.replace("least", "most" if sign < 0 else "least"))
