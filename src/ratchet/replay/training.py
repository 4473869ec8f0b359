"""What is trained as of a day: bundles, and what the gate needs beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.config import UseCase

ROLES = ("chosen", "naive")
"""What a stage has bundles of; the second only where it is another model than the first."""

_ANSWERS = 9
"""Answers that are timed; more of them would take longer than the training."""


@dataclass(frozen=True)
class TrainingSpec:
    """Whose models are trained, and how.

    Attributes:
        project: the project folder.
        env: environment of its configuration.
        name: name of the use case.
        params: parameters that differ from the configuration, as JSON.
    """

    project: str
    env: str
    name: str
    params: str = "{}"


def train(spec: TrainingSpec, day: str, typed: pd.DataFrame, folder: Path) -> None:
    """Write bundles of the chosen and of the naive models, and what the gate needs beside them.

    A training that ends in an error of the user's is a stage, too: its Sunday has brought nothing.
    """
    told: dict[str, Any] = {"as_of": day, "trouble": None, "latency_ms": {}}
    try:
        use_case, data = _run(spec, day, typed)
        told["latency_ms"] = _bundle(spec, use_case, data, day, folder)
        _keep_test_rows(spec, use_case, data, folder)
    except UserError as error:
        told["trouble"] = str(error)
    (folder / "stage.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def _run(spec: TrainingSpec, day: str, typed: pd.DataFrame) -> tuple[UseCase, dict[str, Any]]:
    """Run the phases from the typed rows to the choice, with everything in memory.

    Returns:
        The use case, and dataset -> content.
    """
    import joblib

    from ratchet.dates import local
    from ratchet.preparation.contract import read_day

    context, use_case, pipeline = _prepared(spec)
    name, catalog = spec.name, context.catalog
    seen = local(typed[use_case.data.time]).dt.normalize() <= read_day(day)
    data: dict[str, Any] = {
        f"{name}.typed": typed[seen].reset_index(drop=True),
        "search_cache": joblib.Memory(None, verbose=0),
        "trials": _trials(context, name),
    }
    for node in pipeline.nodes:
        given = {one: data[one] if one in data else catalog.load(one) for one in node.inputs}
        data |= node.run(given)
    return use_case, data


@cache
def _prepared(spec: TrainingSpec) -> tuple[Any, UseCase, Any]:
    """Context, use case and pipeline: read once in each process."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.pipeline import Pipeline

    from ratchet.config import UseCase
    from ratchet.pipelines import classical, evaluation, preprocessing, recurrent

    bootstrap_project(Path(spec.project))
    session: Any = KedroSession.create(
        Path(spec.project), env=spec.env, runtime_params=json.loads(spec.params)
    )
    context = session.load_context()
    logging.getLogger("kedro").setLevel(logging.WARNING)  # a line for each node of each Sunday
    use_case = UseCase.model_validate(context.config_loader["parameters"][spec.name])
    phases = (preprocessing, classical, recurrent, evaluation)
    whole = sum((phase.create_pipeline(spec.name, use_case) for phase in phases), Pipeline([]))
    return context, use_case, whole.to_outputs(*_wanted(spec.name, use_case))


def _wanted(name: str, use_case: UseCase) -> list[str]:
    """Datasets that bundles are made of, and that the gate looks at."""
    nouns = ["primary", "features", "encoder"]
    nouns += ["statistics"] if use_case.features.windows else []
    nouns += [f"{target}.predictions" for target in use_case.targets]
    return [*(f"{name}.{noun}" for noun in nouns), *_artefacts(name, use_case).values()]


def _artefacts(name: str, use_case: UseCase) -> dict[str, str]:
    """What evaluation leaves, and where; not what models live on.

    That is looked at nowhere in a replay, and costs as much as to train them.
    """
    from ratchet.pipelines.dataset_names import artefact_datasets

    found = artefact_datasets(name, use_case)
    return {one: dataset for one, dataset in found.items() if not dataset.endswith(".importance")}


def _trials(context: Any, name: str) -> Path:
    """Where searches among networks keep their trials, so that they go on in their middle."""
    paths = context.config_loader["globals"]["paths"]
    folder = Path(context.project_path) / paths["replay"] / name / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _bundle(
    spec: TrainingSpec, use_case: UseCase, data: Mapping[str, Any], day: str, folder: Path
) -> dict[str, float]:
    """Write the bundles; say how long one answer of each takes."""
    import pandas as pd

    from ratchet.bundle import BundleContents, write_bundle
    from ratchet.production.release_candidates import release_candidates

    def of(noun: str) -> Any:
        return data.get(f"{spec.name}.{noun}")

    contents = BundleContents(
        use_case=use_case,
        encoder=of("encoder"),
        models={},
        typed=of("typed"),
        primary=of("primary"),
        features=of("features"),
        statistics=of("statistics"),
    )
    unknown = pd.DataFrame({"source": [], "importance": []})
    artefacts = {f"{target}/importance": unknown for target in use_case.targets}
    artefacts |= {one: data[dataset] for one, dataset in _artefacts(spec.name, use_case).items()}
    latency = {}
    found = release_candidates(use_case, contents, artefacts, first=True)
    for role, candidate in zip(ROLES, found, strict=False):
        about = {"use_case": spec.name, "candidates": dict(candidate.candidates), "as_of": day}
        latency[role] = write_bundle(folder / role, candidate.contents, about).latency_ms(_ANSWERS)
    return latency


def _keep_test_rows(
    spec: TrainingSpec, use_case: UseCase, data: Mapping[str, Any], folder: Path
) -> None:
    """Write what the gate compares a challenger with, and the rows that slices are cut from."""
    from ratchet.production.release_candidates import naive_rows

    for target, parameters in use_case.targets.items():
        choice, predictions = (
            data[f"{spec.name}.{target}.{noun}"] for noun in ("choice", "predictions")
        )
        naive_rows(parameters, choice, predictions).to_parquet(folder / f"naive_{target}.parquet")
    primary = data[f"{spec.name}.primary"].set_index(use_case.data.key)
    primary[primary["split"] == "test"].to_parquet(folder / "primary.parquet")
