"""Monitoring: the champion's answers, what came true, drift, and what is done about it."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase
from ratchet.errors import UserError
from ratchet.frames import DataFrame
from ratchet.production.monitoring_records import (
    NOTHING_SERVED,
    AssessmentRecord,
    DriftOutcome,
    ScoredPeriod,
)

LOGGER = logging.getLogger(__name__)


def score_period(
    registry: Any,
    prediction_log: Any,
    name: str,
    raw: DataFrame,
    as_of: Any,
    measured: Sequence[Any] = (),
) -> ScoredPeriod:
    """Let the champion answer every row that came since it began to serve, and log the answers.

    So are rows from the time of its test part that wait for their truth and so are in no part.
    Outcomes of the rows are not used. A row that is logged is not answered again. A champion
    that cannot answer is no error here: what follows has to know.

    Args:
        registry: versions and decisions.
        prediction_log: the log.
        name: name of the use case.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        measured: what the service was handed in since.

    Returns:
        ``version`` (None if nothing serves yet), ``since`` (time after which rows count as
        production), ``rows`` that were answered now; and ``trouble``, None or what is ``wrong``
        and with what: the ``bundle`` or the ``data``.
    """
    import pandas as pd

    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.monitoring.log_table import CHAMPION
    from ratchet.preparation.contract import read_day
    from ratchet.production.champion import failing_part, open_champion, summarize
    from ratchet.values import is_among

    if as_of is not None:
        read_day(as_of)  # a day that is none is no fault of the champion
    nothing: ScoredPeriod = {"version": None, "since": None, "rows": 0, "trouble": None}
    try:
        nothing["version"] = registry.champion(name)
        champion = open_champion(registry, prediction_log, name)
        if champion is None:
            return nothing
        now = scoring_frame(champion.bundle, raw, as_of, measured)
        due = now.new_keys(champion.since).union(now.awaiting_truth(), sort=False)
        logged = prediction_log.rows(name, version=champion.version, arm=CHAMPION)
        done = pd.concat(
            [logged.loc[~logged["failed"].astype(bool), "row_hash"], champion.answered]
        )
        hashes = now.row_hashes(due)
        due = due[~is_among(hashes.reindex(due.astype(str)), done)]
        start = time.perf_counter()
        answers = now.predict(due)
        row_ms = (time.perf_counter() - start) * 1e3 / max(len(due), 1)
    except Exception as error:  # whatever rows and models raise: other use cases go on
        return {**nothing, "trouble": {"with": failing_part(error), "wrong": summarize(error)}}
    prediction_log.write(
        name,
        champion.version,
        answers,
        arm=CHAMPION,
        source="batch",
        latency_ms=row_ms,
        at=dt.datetime.now(dt.UTC),
        times=None if now.times is None else now.times_of(due),
        hashes=hashes,
    )
    return {**nothing, "since": champion.since, "rows": len(due)}


def join_truth(
    registry: Any,
    prediction_log: Any,
    name: str,
    raw: DataFrame,
    as_of: Any,
    scored: ScoredPeriod,
    measured: Sequence[Any] = (),
) -> Mapping[str, int]:
    """Write what came true beside the logged answers.

    Args:
        registry: versions and decisions.
        prediction_log: the log.
        name: name of the use case.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        scored: as ``score_period`` gives it.
        measured: what the service was handed in since.

    Returns:
        Target -> how many answers got a truth, or another one.
    """
    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.production.champion import summarize

    if _unscored(scored):
        return {}
    try:
        bundle = registry.open_bundle(name, scored["version"])
        now, at = scoring_frame(bundle, raw, as_of, measured), dt.datetime.now(dt.UTC)
        logged = prediction_log.rows(name).index
        hashes = now.row_hashes(now.keys_in_file[now.keys_in_file.astype(str).isin(logged)])
        return {
            target: prediction_log.join_truth(
                name, target, now.truth(parameters, logged.unique()), at, hashes
            )
            for target, parameters in bundle.use_case.targets.items()
        }
    except Exception as error:  # other use cases go on
        LOGGER.warning("%s: what came true was not joined: %s", name, summarize(error))
        return {}


def check_drift(
    registry: Any,
    name: str,
    parameters: Mapping[str, object],
    raw: DataFrame,
    as_of: Any,
    seed: int,
    scored: ScoredPeriod,
    measured: Sequence[Any] = (),
) -> DriftOutcome:
    """Compare the inputs of the latest complete window with those the champion learned from.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        parameters: the use case.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        seed: seed of the draws.
        scored: as ``score_period`` gives it.
        measured: what the service was handed in since.

    Returns:
        ``report``: ``DriftReport.to_json``, or None where no window is complete; ``why`` not; and
        ``failed``, whether the comparison did.
    """
    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.production.champion import summarize
    from ratchet.production.drift_check import latest_drift

    if why := _unscored(scored):
        return {"report": None, "why": why, "failed": False}
    try:
        bundle = registry.open_bundle(name, scored["version"])
        use_case = UseCase.model_validate(parameters)
        now = scoring_frame(bundle, raw, as_of, measured)
        report = latest_drift(now, use_case, scored["since"], seed)
    except Exception as error:  # other use cases go on
        why = f"inputs could not be compared: {summarize(error)}"
        return {"report": None, "why": why, "failed": True}
    none = "no window is complete since the champion began to serve"
    why = "" if report else none
    return {"report": report.to_json() if report else None, "why": why, "failed": False}


def assess_champion(
    registry: Any,
    prediction_log: Any,
    name: str,
    parameters: Mapping[str, object],
    raw: DataFrame,
    as_of: Any,
    seed: int,
    scored: ScoredPeriod,
    joined: Mapping[str, int],
    drift: DriftOutcome,
    measured: Sequence[Any] = (),
) -> AssessmentRecord:
    """Say how the champion does in production, and what is to be done.

    Args:
        registry: versions and decisions.
        prediction_log: the log.
        name: name of the use case.
        parameters: the use case.
        raw: rows as delivered, for the previous model where it has to be compared.
        as_of: last day whose rows are seen.
        seed: seed of the bootstrap.
        scored: as ``score_period`` gives it.
        joined: as ``join_truth`` gives it.
        drift: as ``check_drift`` gives it.
        measured: what the service was handed in since.

    Returns:
        ``action`` (``none``, ``rollback`` or ``retrain``), ``reason``, ``numbers``, and ``expect``,
        the number of the newest decision; ``windows`` and ``distributions`` by target, ``alerts``.
    """
    from ratchet.bundle.scoring_frame import scoring_frame
    from ratchet.production.assessment import ProductionAssessment, assess_without_answers
    from ratchet.production.champion import open_champion, summarize

    expect = registry.ledger.state(name).seq
    if _unscored(scored):
        return {**assess_without_answers(registry, name, scored), "expect": expect}
    try:
        champion = open_champion(registry, prediction_log, name)
        if champion is None or champion.version != scored["version"]:
            raise UserError("another model serves by now")
        production = ProductionAssessment(
            registry=registry,
            log=prediction_log,
            name=name,
            use_case=UseCase.model_validate(parameters),
            champion=champion,
            now=scoring_frame(champion.bundle, raw, as_of, measured),
            raw=raw,
            measured=measured,
            as_of=as_of,
            seed=seed,
        )
        return {**production.assessment(_moved(drift["report"])), "expect": expect}
    except Exception as error:  # other use cases go on
        why: ScoredPeriod = {**scored, "trouble": {"with": "data", "wrong": summarize(error)}}
        return {**assess_without_answers(registry, name, why), "expect": expect}


def _moved(report: Mapping[str, Any] | None) -> list[str]:
    """Findings of the drift report about the inputs, in sentences."""
    statistics = [*report["columns"].values(), report["joint"]] if report else []
    return [one["text"] for one in statistics if one["moved"]]


def _unscored(scored: ScoredPeriod) -> str:
    """Why nothing was answered; empty where that could be."""
    if trouble := scored["trouble"]:
        return str(trouble["wrong"])
    return NOTHING_SERVED if scored["version"] is None else ""


def act_on_assessment(
    registry: Any,
    prediction_log: Any,
    run: dict[str, str | None],
    name: str,
    parameters: Mapping[str, object],
    scored: ScoredPeriod,
    joined: Mapping[str, int],
    drift: DriftOutcome,
    assessment: AssessmentRecord,
) -> dict[str, Any]:
    """Roll back or ask for a retraining where that is the decision, and report it.

    Args:
        registry: versions and decisions.
        prediction_log: the log, of which old answers are forgotten.
        run: who and what runs.
        name: name of the use case.
        parameters: the use case.
        scored: as ``score_period`` gives it.
        joined: as ``join_truth`` gives it.
        drift: as ``check_drift`` gives it.
        assessment: as ``assess_champion`` gives it.

    Returns:
        ``action``, ``reason``, ``numbers``, ``windows`` of the target that decides,
        ``distributions``, ``alerts``, ``drift``, ``scored``, ``joined``, and ``decision``: the
        number of the ledger row that was written, if any.
    """
    from ratchet.primary_metric import primary_metric
    from ratchet.production.assessment import alerts_of_decision, failure_alert
    from ratchet.production.champion import carry_out

    use_case = UseCase.model_validate(parameters)
    actor = str(run["orchestrator_run"] or run["mlflow_run"] or run["actor"])
    entry, alerts = None, list(assessment["alerts"])
    try:
        entry = carry_out(registry, name, assessment, actor=actor)
    except UserError as error:  # such as a model to go back to that cannot serve
        alerts.insert(0, failure_alert(name, f"{assessment['reason']}; nothing was done: {error}"))
    alerts = [*alerts_of_decision(name, assessment, entry), *alerts]
    if drift.get("failed"):
        alerts.append(failure_alert(name, drift["why"]))
    for alert in alerts:
        LOGGER.warning("%s: %s", alert["text"], alert["advice"])
    prediction_log.prune(
        name,
        use_case.monitoring.keep_days,
        dt.datetime.now(dt.UTC),
        but_version=registry.champion(name),
    )
    return {
        **{key: assessment[key] for key in ("action", "reason", "numbers")},
        "alerts": alerts,
        "windows": assessment["windows"].get(primary_metric(use_case)[0], []),
        "distributions": assessment["distributions"],
        "drift": drift["report"],
        "scored": scored,
        "joined": joined,
        "decision": None if entry is None else entry.seq,
    }


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    del use_case  # every use case is watched alike
    rows = ["registry", "name", "raw", "measured", "params:as_of"]
    return Pipeline(
        [
            node(
                score_period,
                inputs=_named(*rows, "prediction_log"),
                outputs="scored",
                name="score_period",
            ),
            node(
                join_truth,
                inputs=_named(*rows, "prediction_log", "scored"),
                outputs="joined",
                name="join_truth",
            ),
            node(
                check_drift,
                inputs=_named(*rows, "params:parameters", "params:seed", "scored"),
                outputs="drift",
                name="check_drift",
            ),
            node(
                assess_champion,
                inputs=_named(
                    *(*rows, "prediction_log", "params:parameters", "params:seed"),
                    *("scored", "joined", "drift"),
                ),
                outputs="assessment",
                name="assess_champion",
            ),
            node(
                act_on_assessment,
                inputs=_named(
                    *("registry", "prediction_log", "run", "name", "params:parameters"),
                    *("scored", "joined", "drift", "assessment"),
                ),
                outputs="watch",
                name="act_on_assessment",
            ),
        ],
        namespace=name,
        inputs={
            **{shared: shared for shared in ("registry", "prediction_log", "run")},
            **{part: f"{name}.{part}" for part in ("raw", "measured", "name")},
        },
        parameters={
            "params:parameters": f"params:{name}",
            "params:seed": "params:seed",
            "params:as_of": "params:as_of",
        },
        tags="monitoring",
    )


def _named(*datasets: str) -> dict[str, str]:
    """Argument of a node -> its dataset."""
    return {dataset.removeprefix("params:"): dataset for dataset in datasets}
