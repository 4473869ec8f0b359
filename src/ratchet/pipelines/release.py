"""Release: bundles of the chosen models, the gate's verdict on them, and the model that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Node, Pipeline, node

from ratchet.config import UseCase
from ratchet.frames import DataFrame
from ratchet.pipelines.dataset_names import artefact_datasets

if TYPE_CHECKING:
    from ratchet.production.release_candidates import ReleaseCandidate

REFIT_OF = "refit_of"
"""Tag of a version that was fitted once more: digest of the bundle that the gate has seen."""

NOTED = ("digest", "candidates", "judged")
"""What the ledger keeps of a challenger beside its verdict."""


def register_challengers(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    parameters: Mapping[str, object],
    as_of: Any,
    **datasets: Any,
) -> list[dict[str, Any]]:
    """Bundle the chosen models and register them; where nothing serves yet, the naive ones, too.

    Args:
        registry: versions and decisions.
        run: who and what runs.
        name: name of the use case.
        parameters: the use case.
        as_of: last day whose rows are seen.
        datasets: what a bundle is made of, see ``_candidates``.

    Returns:
        Versions in the order in which they are to be judged: ``version``, ``bundle``, ``digest``
        and ``candidates``.
    """
    use_case = UseCase.model_validate(parameters)
    if run["orchestrator_run"]:  # which may try this again after it was killed
        registry.withdraw(name, run["orchestrator_run"])
    first = registry.champion(name) is None
    registered: list[dict[str, Any]] = []
    # The first to be judged is registered last: the newest version is the challenger.
    for candidate in reversed(_candidates(use_case, datasets, first=first)):
        version, bundle = _register(registry, run, name, as_of, candidate, refit="none")
        registered.append(
            {
                "version": version,
                "bundle": bundle.folder.name,
                "digest": bundle.digest,
                "candidates": dict(candidate.candidates),
            }
        )
    return registered[::-1]


def _candidates(
    use_case: UseCase, datasets: Mapping[str, Any], *, first: bool
) -> list[ReleaseCandidate]:
    """Candidates with rows, encoder and fallback models, in the order in which they are judged.

    Args:
        use_case: the parameters.
        datasets: those that ``_rows`` names, and artefacts of every target and its
            naive models, see ``release_candidates``.
        first: whether nothing serves yet.
    """
    from ratchet.bundle.fallback_model import fit_fallback_models
    from ratchet.bundle.writer import BundleContents
    from ratchet.production.release_candidates import release_candidates

    rows = {name: datasets[name] for name in _rows(use_case)}
    contents = BundleContents(use_case=use_case, models={}, **rows)
    contents = replace(contents, fallback_models=fit_fallback_models(contents))
    return release_candidates(use_case, contents, datasets, first=first)


def _rows(use_case: UseCase) -> list[str]:
    """Datasets that go into a bundle beside the artefacts, by fields of ``BundleContents``."""
    rows = ["typed", "primary", "features", "encoder"]
    rows += ["statistics"] if use_case.features.windows else []
    return [*rows, "demand_book"] if use_case.market else rows


def _register(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    as_of: Any,
    candidate: ReleaseCandidate,
    *,
    refit: str,
    tags: Mapping[str, str] | None = None,
) -> tuple[str, Any]:
    """Write a bundle and make it known: the version, and the bundle."""
    from ratchet.bundle.writer import last_row_time, write_bundle
    from ratchet.production.release_candidates import folder_name

    about = {
        "use_case": name,
        "candidates": dict(candidate.candidates),
        "as_of": None if as_of is None else str(as_of),
        "refit": refit,
        **{key: run[key] for key in ("code_commit", "mlflow_run", "orchestrator_run")},
    }
    if refit == "all":  # the test rows, too, were learned from
        about["last_row"] = last_row_time(candidate.contents, ["test"])
    bundle = write_bundle(registry.bundles / name / folder_name(), candidate.contents, about)
    noted = _tags(bundle) | dict(tags or {})
    return registry.register(name, bundle.folder, noted, run_id=run["mlflow_run"]), bundle


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
    parameters: Mapping[str, object],
    seed: int,
    raw: DataFrame,
    as_of: Any,
    primary: DataFrame,
    challengers: list[dict[str, Any]],
    measured: Sequence[Any] = (),
    **predictions_and_choices: Any,
) -> list[dict[str, Any]]:
    """Put the challengers before the gate, one after the other until one is promoted.

    Where ``release.trial`` is set, the trial of the challenger that was held back comes first: one
    that it calls better is promoted without looking at the newer ones, one that it calls worse is
    rejected.

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
        measured: what the service was handed in since.
        predictions_and_choices: ``<target>_predictions`` and ``<target>_choice``.

    Returns:
        The challengers that were judged, each with its ``verdict`` as ``Verdict.to_json`` gives it,
        and ``expect``, the number of the newest decision when the judging began.
    """
    from ratchet.gate.verdict import judge
    from ratchet.production.gate_evidence import EvidenceCollector
    from ratchet.production.trial_verdict import continuation, trial_of_held, verdict_of_trial

    use_case = UseCase.model_validate(parameters)
    expect, trial = registry.ledger.state(name).seq, trial_of_held(registry, name, use_case)
    by_trial = trial and verdict_of_trial(registry, name, trial)
    judged = [{**by_trial, "expect": expect}] if by_trial else []
    if by_trial and by_trial["verdict"]["decision"] == "PROMOTE":
        return judged
    judging = EvidenceCollector(
        registry=registry,
        name=name,
        use_case=use_case,
        raw=raw,
        as_of=as_of,
        primary=primary.set_index(use_case.data.key),
        predictions={t: predictions_and_choices[f"{t}/predictions"] for t in use_case.targets},
        choices={t: predictions_and_choices[f"{t}/choice"] for t in use_case.targets},
        measured=measured,
    )
    for challenger in challengers:
        evidence = judging.evidence(challenger)
        verdict = judge(evidence, use_case.release, dict(use_case.targets), seed)
        judged.append({**challenger, "verdict": verdict.to_json(), "expect": expect})
        if verdict.decision == "PROMOTE":
            return judged
    judged[-1]["continued"] = continuation(trial)
    return judged


def release_challengers(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    parameters: Mapping[str, object],
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
    from ratchet.bundle.smoke_test import run_smoke_test
    from ratchet.production.trial_verdict import hold_again
    from ratchet.registry.actions import record_verdict

    actor = str(run["orchestrator_run"] or run["mlflow_run"] or run["actor"])
    entries = [
        record_verdict(
            registry,
            name,
            judged["version"],
            {
                **judged["verdict"],
                **{key: judged[key] for key in NOTED if key in judged},
                **_dvc_tag(registry, name, judged["version"]),
            },
            actor=actor,
            expect=judged["expect"] + number,
            check=run_smoke_test,
        )
        for number, judged in enumerate(verdicts)
    ]
    if (continued := verdicts[-1].get("continued")) and (
        entry := hold_again(registry, name, continued, actor)
    ):
        entries.append(entry)
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


def _dvc_tag(registry: Any, name: str, version: str) -> dict[str, str]:
    """The hash by which DVC has data and model, where it has them."""
    from ratchet.dvc.store import DVC_TAG

    tags = registry.version(name, version).tags
    return {DVC_TAG: tags[DVC_TAG]} if DVC_TAG in tags else {}


def refit_promoted(
    registry: Any,
    run: dict[str, str | None],
    name: str,
    parameters: Mapping[str, object],
    as_of: Any,
    verdicts: list[dict[str, Any]],
    train: DataFrame,
    validation: DataFrame,
    test: DataFrame,
    **datasets: Any,
) -> list[dict[str, Any]]:
    """Fit what is to be promoted once more, on all rows, and let that be promoted in its place.

    It keeps its scores and its calibration: there are no rows left to measure them on.

    Args:
        registry: versions and decisions.
        run: who and what runs.
        name: name of the use case.
        parameters: the use case.
        as_of: last day whose rows are seen.
        verdicts: as ``judge_challengers`` gives them.
        train: rows for training.
        validation: rows for calibration and choice.
        test: the rows that the gate has seen.
        datasets: as ``register_challengers`` takes them.

    Returns:
        The verdicts; one that promotes names the version that was fitted once more, and with
        ``judged`` the one that the gate has seen.
    """
    import pandas as pd

    from ratchet.production.release_candidates import refit_on_all

    judged = verdicts[-1]
    if judged["verdict"]["decision"] != "PROMOTE" or judged.get("by_trial"):
        return verdicts  # what was tried on live requests is what serves
    if earlier := _refitted(registry, name, judged["digest"]):
        return [*verdicts[:-1], {**judged, **earlier, "judged": judged["version"]}]
    use_case = UseCase.model_validate(parameters)
    chosen = next(
        candidate
        for candidate in _candidates(use_case, datasets, first=True)
        if dict(candidate.candidates) == judged["candidates"]
    )
    rows = pd.concat([train, validation, test])
    again = refit_on_all(chosen, rows, registry.open_bundle(name, judged["version"]))
    tags = {REFIT_OF: judged["digest"]}
    version, bundle = _register(registry, run, name, as_of, again, refit="all", tags=tags)
    refitted = {"version": version, "bundle": bundle.folder.name, "digest": bundle.digest}
    return [*verdicts[:-1], {**judged, **refitted, "judged": judged["version"]}]


def _refitted(registry: Any, name: str, digest: str) -> dict[str, str] | None:
    """What an earlier, killed try has fitted once more already."""
    for version in registry.versions(name):
        if version.tags.get(REFIT_OF) == digest and version.folder.is_dir():
            result = {"version": version.number, "bundle": version.bundle}
            return {**result, "digest": version.tags["digest"]}
    return None


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    shared = {"registry": "registry", "name": "name", "parameters": "params:use_case"}
    rows, artefacts = _rows(use_case), artefact_datasets(name, use_case)
    judged = _judged(name, use_case)
    inputs = {**shared, "run": "run", "as_of": "params:as_of", **_same(*rows, *artefacts)}
    parts = ["train", "validation", "test"] if use_case.release.refit == "all" else []
    return Pipeline(
        [
            node(
                register_challengers,
                inputs=inputs,
                outputs="challengers",
                name="register_challengers",
            ),
            node(
                judge_challengers,
                inputs={
                    **shared,
                    "seed": "params:seed",
                    "as_of": "params:as_of",
                    **_same("raw", "measured", "primary", "challengers", *judged),
                },
                outputs="verdicts",
                name="judge_challengers",
            ),
            node(
                release_challengers,
                inputs={**shared, "run": "run", "verdicts": "refitted" if parts else "verdicts"},
                outputs="decision",
                name="release_challengers",
            ),
            *([_refit({**inputs, **_same(*parts, "verdicts")})] if parts else []),
        ],
        namespace=name,
        inputs={
            "registry": "registry",
            "run": "run",
            "raw": f"{name}.raw",
            "measured": f"{name}.measured",
            "name": f"{name}.name",
            **{part: f"{name}.{part}" for part in [*rows, *parts]},
            **artefacts,
            **judged,
        },
        parameters={
            "params:use_case": f"params:{name}",
            "params:seed": "params:seed",
            "params:as_of": "params:as_of",
        },
        tags="release",
    )


def _same(*names: str) -> dict[str, str]:
    """Arguments that are called like their datasets."""
    return {name: name for name in names}


def _refit(inputs: dict[str, str]) -> Node:
    return node(refit_promoted, inputs=inputs, outputs="refitted", name="refit_promoted")


def _judged(name: str, use_case: UseCase) -> dict[str, str]:
    return {
        f"{target}/{noun}": f"{name}.{target}.{noun}"
        for noun in ("predictions", "choice")
        for target in use_case.targets
    }
