"""Nodes of release."""

from __future__ import annotations

from typing import Any

from ratchet.frames import DataFrame
from ratchet.params import UseCase
from ratchet.pipelines.release.contenders import contenders, folder_name


def register_challengers(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    parameters: dict[str, Any],
    as_of: Any,
    typed: DataFrame,
    primary: DataFrame,
    features: DataFrame,
    encoder: Any,
    statistics: DataFrame | None = None,
    **artefacts: Any,
) -> list[dict[str, Any]]:
    """Bundle the chosen models and register them; where nothing serves yet, the naive ones, too.

    Args:
        registry: versions and decisions.
        run: who and what runs.
        name: name of the use case.
        parameters: the use case.
        as_of: last day whose rows are seen.
        typed: the typed rows.
        primary: the prepared rows.
        features: their features.
        encoder: the fitted encoder.
        statistics: units of the series, where there are series.
        artefacts: what evaluation left of every target, and its naive models, see ``contenders``.

    Returns:
        Versions in the order in which they are to be judged: ``version``, ``bundle``, ``digest``,
        ``candidates``, and the number ``expect`` of the newest decision so far.
    """
    from ratchet.release.bundle import Contents, write_bundle

    use_case = UseCase.model_validate(parameters)
    contents = Contents(
        use_case=use_case,
        encoder=encoder,
        models={},
        typed=typed,
        primary=primary,
        features=features,
        statistics=statistics,
    )
    state = registry.ledger.state(name)
    registered = []
    for contender in contenders(use_case, contents, artefacts, first=state.champion is None):
        about = {
            "use_case": name,
            "candidates": dict(contender.candidates),
            "as_of": None if as_of is None else str(as_of),
            "refit": use_case.release.refit,
            **{key: run[key] for key in ("code_commit", "mlflow_run", "orchestrator_run")},
        }
        folder = registry.bundles / name / folder_name()
        bundle = write_bundle(folder, contender.contents, about)
        version = registry.register(name, folder, _tags(bundle), run_id=run["mlflow_run"])
        registered.append(
            {
                "version": version,
                "bundle": folder.name,
                "digest": bundle.digest,
                "candidates": about["candidates"],
                "expect": state.seq,
            }
        )
    return registered


def _tags(bundle: Any) -> dict[str, str]:
    """What the registry says of a version beside its bundle."""
    named = ("data_hash", "code_commit", "mlflow_run", "orchestrator_run", "as_of", "created_at")
    candidates = bundle.manifest["candidates"].items()
    noted = {name: bundle.manifest[name] for name in named} | {
        "digest": bundle.digest,
        "candidates": ", ".join(f"{target}: {candidate}" for target, candidate in candidates),
    }
    return {key: str(value) for key, value in noted.items() if value is not None}


def judge_challengers(
    registry: Any,
    name: str,
    parameters: dict[str, Any],
    seed: int,
    raw: DataFrame,
    as_of: Any,
    primary: DataFrame,
    challengers: list[dict[str, Any]],
    **predictions_and_choices: Any,
) -> list[dict[str, Any]]:
    """Put the challengers before the gate, one after the other until one is promoted.

    Champion and challenger answer the same rows, each from raw fields with its own preprocessing:
    test rows that are newer than every row by which the champion was made or chosen.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        parameters: the use case.
        seed: seed of the bootstrap.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        primary: the prepared rows, for the slices.
        challengers: as ``register_challengers`` gives them.
        predictions_and_choices: ``<target>_predictions`` and ``<target>_choice``.

    Returns:
        The challengers that were judged, each with its ``verdict`` as ``Verdict.to_json`` gives it.
    """
    from ratchet.pipelines.release.evidence import Judging
    from ratchet.release.gate import judge

    use_case = UseCase.model_validate(parameters)
    judging = Judging(
        registry=registry,
        name=name,
        use_case=use_case,
        raw=raw,
        as_of=as_of,
        primary=primary.set_index(use_case.data.key),
        predictions={t: predictions_and_choices[f"{t}_predictions"] for t in use_case.targets},
        choices={t: predictions_and_choices[f"{t}_choice"] for t in use_case.targets},
    )
    judged = []
    for challenger in challengers:
        evidence = judging.evidence(challenger)
        verdict = judge(evidence, use_case.release, dict(use_case.targets), seed)
        judged.append({**challenger, "verdict": verdict.to_json()})
        if verdict.decision == "PROMOTE":
            break
    return judged


def release_challengers(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    parameters: dict[str, Any],
    verdicts: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write every verdict into the ledger, let what was promoted serve, and tidy up.

    Args:
        registry: versions and decisions.
        run: who and what runs.
        name: name of the use case.
        parameters: the use case.
        verdicts: as ``judge_challengers`` gives them.

    Returns:
        ``champion`` and ``previous`` as they are now, and ``decisions``: the ledger rows of this
        run, each ``seq``, ``event``, ``version``, ``reason``.
    """
    from ratchet.release.actions import record
    from ratchet.release.rehearsal import rehearse

    entries = [
        record(
            registry,
            name,
            judged["version"],
            {**judged["verdict"], "digest": judged["digest"], "candidates": judged["candidates"]},
            actor=str(run["mlflow_run"] or run["actor"]),
            expect=judged["expect"] + number,
            check=rehearse,
        )
        for number, judged in enumerate(verdicts)
    ]
    registry.prune(name, UseCase.model_validate(parameters).release.keep)
    state = registry.ledger.state(name)
    return {
        "champion": state.champion,
        "previous": state.previous,
        "decisions": [
            {"seq": one.seq, "event": one.event, "version": one.version, "reason": one.reason}
            for one in entries
        ],
    }
