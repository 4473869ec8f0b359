"""Train as of a day: bundles, what they answer later, and what the gate needs beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.bundle.scoring_frame import ScoringFrame
from ratchet.bundle.writer import BundleContents, last_row_time, write_bundle
from ratchet.config import UseCase
from ratchet.dates import local
from ratchet.errors import UserError
from ratchet.learning.atomic_files import atomic_write
from ratchet.pipelines import classical, evaluation, preprocessing, recurrent
from ratchet.pipelines.dataset_names import artefact_datasets
from ratchet.preparation.contract import read_day
from ratchet.production.release_candidates import naive_rows, refit_on_all, release_candidates

ROLES = ("chosen", "naive")
"""What a stage has bundles of; the second only where it is another model than the first."""

REFITTED = "refitted"
"""What the bundle of a role is called that was fitted once more, see ``release.refit``."""

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
    latency: dict[str, float] = {}
    failure = None
    try:
        with TemporaryDirectory() as fits:
            use_case, data = _run(spec, day, typed, joblib.Memory(fits, verbose=0))
        latency = _bundle(spec, use_case, data, day, folder)
        _keep_test_rows(spec, use_case, data, folder)
    except UserError as error:
        failure = str(error)
    summary = {"as_of": day, "trouble": failure, "latency_ms": latency}
    (folder / "stage.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")


def _run(
    spec: TrainingSpec, day: str, typed: pd.DataFrame, search_cache: joblib.Memory
) -> tuple[UseCase, dict[str, Any]]:
    """Run the phases from the typed rows to the choice, with all datasets in memory.

    Returns:
        The use case, and dataset -> content.
    """
    context, use_case, pipeline = _prepared(spec)
    name, catalog = spec.name, context.catalog
    is_seen = local(typed[use_case.data.time]).dt.normalize() <= read_day(day)
    data: dict[str, Any] = {
        f"{name}.typed": typed[is_seen].reset_index(drop=True),
        "search_cache": search_cache,  # the ensemble needs the fits of the searches on the folds
        "trials": _trials(context, name),
    }
    for node in pipeline.nodes:
        inputs = {one: data[one] if one in data else catalog.load(one) for one in node.inputs}
        data |= node.run(inputs)
    return use_case, data


@cache
def _prepared(spec: TrainingSpec) -> tuple[Any, UseCase, Any]:
    """Context, use case and pipeline: read once in each process."""
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
    datasets = artefact_datasets(name, use_case)
    return {name: one for name, one in datasets.items() if not one.endswith(".importance")}


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
    candidates = release_candidates(use_case, contents, artefacts, first=True)
    for role, candidate in zip(ROLES, candidates, strict=False):
        about: dict[str, object] = {"use_case": spec.name, "as_of": day}
        about["candidates"] = dict(candidate.candidates)
        bundle = write_bundle(folder / role, candidate.contents, about)
        latency[role] = bundle.latency_ms(_ANSWERS)
        if use_case.release.refit == "all":
            rows = pd.concat([of("train"), of("validation"), of("test")])
            again = refit_on_all(candidate, rows, bundle).contents
            about |= {"refit": "all", "last_row": last_row_time(again, ["test"])}
            write_bundle(folder / f"{role}_{REFITTED}", again, about)
    return latency


def _keep_test_rows(
    spec: TrainingSpec, use_case: UseCase, data: Mapping[str, Any], folder: Path
) -> None:
    """Write what the gate compares a challenger with, and the rows that slices are cut from."""
    for target, parameters in use_case.targets.items():
        choice, predictions = (
            data[f"{spec.name}.{target}.{noun}"] for noun in ("choice", "predictions")
        )
        naive_rows(parameters, choice, predictions).to_parquet(folder / f"naive_{target}.parquet")
    primary = data[f"{spec.name}.primary"].set_index(use_case.data.key)
    primary[primary["split"] == "test"].to_parquet(folder / "primary.parquet")


@dataclass(frozen=True)
class StageJob:
    """One stage.

    Attributes:
        day: last day whose rows are seen.
        stage: folder of what is trained.
        answers: folder of what that answers.
    """

    day: str
    stage: Path
    answers: Path

    @property
    def is_done(self) -> bool:
        """Whether both are there; each is whole if it is there."""
        return self.stage.is_dir() and self.answers.is_dir()


def run_stage_job(spec: TrainingSpec, job: StageJob, typed: pd.DataFrame) -> str:
    """Do what is still missing of a stage.

    Args:
        spec: whose models.
        job: what is wanted.
        typed: all typed rows.

    Returns:
        The day, once it is done.
    """
    if not job.stage.is_dir():
        _write(job.stage, lambda folder: train(spec, job.day, typed, folder))
    if not job.answers.is_dir():
        _write(job.answers, lambda folder: _answer(job.stage, typed, folder))
    return job.day


def _write(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under another name; it gets its own when it is whole."""
    try:
        with atomic_write(folder, replace=False) as partial:
            partial.mkdir()
            fill(partial)
    except OSError:
        if not folder.is_dir():  # another process was faster
            raise


def _answer(stage: Path, typed: pd.DataFrame, folder: Path) -> None:
    """Let the bundles of a stage answer their test rows and all later ones, from raw fields."""
    frame = None
    for role in (*ROLES, *(f"{role}_{REFITTED}" for role in ROLES)):
        if not (stage / role).is_dir():
            continue
        bundle = open_bundle(stage / role)
        # Both have the same encoder and units, and so their features are the same.
        frame = frame or ScoringFrame(bundle, typed)
        for target, rows in _answers(bundle, frame).items():
            rows.to_parquet(folder / f"{role}_{target}.parquet")


def _answers(bundle: Bundle, frame: ScoringFrame) -> dict[str, pd.DataFrame]:
    # Test rows may share their day with the last one that was learned from.
    tested = bundle.rows.index[bundle.rows["part"] == "test"]
    keys, later = frame.features.index, frame.new_keys(bundle.manifest["last_row"])
    wanted = frame.rows_of(keys).isin(tested) | keys.isin(later)
    predictions = bundle.predict(frame.features.loc[wanted])
    return {
        target: rows.assign(
            time=frame.times_of(rows.index),
            truth=frame.truth(bundle.use_case.targets[target]).reindex(rows.index),
        )
        for target, rows in predictions.items()
    }
