"""Does the same come out twice? A use case is run twice in sandboxes, and compared bit by bit."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from kedro.config import AbstractConfigLoader
from kedro.framework.project import settings

from ratchet import sandbox
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.database import connect
from ratchet.datasets import MeasurementsDataset
from ratchet.errors import DataError, UserError
from ratchet.json_values import json_value
from ratchet.learning.atomic_files import write_text
from ratchet.monitoring.measurements import Measurement, Measurements
from ratchet.project_context import find_use_case
from ratchet.provenance import code_commit, package_versions
from ratchet.sandbox import raw_file

CODE = Path(__file__).parent
"""Folder of our code."""

HASH_SEEDS = (1, 2)

_PACKAGES = (
    *("keras", "numpy", "pandas", "scikit-learn", "scipy", "tensorflow", "tensorflow-cpu"),
    *("xgboost", "xgboost-cpu"),
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")
_LISTED = 200  # differences in the report
_GROUPS = ["target", "candidate"]
_FILES = ("metrics.json", "evaluation.json", "predictions.parquet")


@dataclass(frozen=True)
class Results:
    """What a run leaves of one use case.

    Attributes:
        metrics: target -> candidate -> part -> metric -> value, low, high.
        chosen: target -> candidate.
        predictions: one row per target, candidate and row.
    """

    metrics: Mapping[str, Any]
    chosen: Mapping[str, str]
    predictions: pd.DataFrame

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the metrics and of the predictions, as values."""
        text = json.dumps(self.metrics, sort_keys=True).encode()
        return {
            "metrics": hashlib.sha256(text).hexdigest(),
            "predictions": frame_hash(self.predictions),
        }


@dataclass(frozen=True)
class Difference:
    """One place in which two runs differ.

    Attributes:
        where: ``chosen.<target>``, ``metrics.<path>``, or
            ``predictions.<target>.<candidate>.<column>``.
        first: what the first run has there; of predictions the row that differs most.
        second: what the second run has.
        size: distance of the two numbers; ``None`` where they are no numbers.
        rows: rows of predictions that differ.
        row: key of the row that differs most.
    """

    where: str
    first: Any
    second: Any
    size: float | None = None
    rows: int | None = None
    row: str | None = None

    def to_json(self) -> dict[str, object]:
        """The difference as JSON, for the report."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_results(folder: Path) -> Results:
    """Read what a run has written for one use case.

    Args:
        folder: ``07_model_output/<use_case>``.

    Raises:
        DataError: a file is not there; names it.
    """
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise DataError(
            f"the run wrote no {', '.join(missing)}: its pipelines must end in evaluation"
        )
    metrics, evaluation = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in _FILES[:2]
    )
    predictions = pd.read_parquet(folder / _FILES[2])
    plain = isinstance(predictions.index, pd.RangeIndex)
    return Results(metrics, evaluation["best"], predictions.reset_index(drop=plain))


def compare(first: Results, second: Results) -> list[Difference]:
    """Every place in which two runs differ; the largest differences of each kind first."""
    differences = [
        *_value_differences("chosen", first.chosen, second.chosen),
        *_value_differences("metrics", first.metrics, second.metrics),
        *_prediction_differences(first.predictions, second.predictions),
    ]
    kinds = {"chosen": 0, "metrics": 1, "predictions": 2}
    return sorted(
        differences, key=lambda each: (kinds[each.where.partition(".")[0]], -(each.size or 0))
    )


def frame_hash(frame: pd.DataFrame) -> str:
    """SHA-256 of the names and values of a frame, row by row in their order.

    The bits of every number count; of missing values only that they are missing, and nothing of
    how a file stores them.
    """
    digest = hashlib.sha256()
    for name in frame.columns:
        values = _canonical(frame[name])
        digest.update(f"{name}|{values.dtype.kind}|{len(values)}\n".encode())
        if values.dtype.kind == "i":
            digest.update(values.astype("<i8").tobytes())
            continue
        for text in values:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.hexdigest()


def _canonical(column: pd.Series) -> np.ndarray:
    """Numbers by their 64 bits, dates by their microseconds, everything else as text."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu":
        return column.to_numpy().astype(np.int64)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        values = column.to_numpy(dtype=np.float64, copy=True)
        values[np.isnan(values)] = np.nan  # NaN has many patterns of bits
        return values.view(np.int64)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "M":
        return column.to_numpy().astype("datetime64[us]").view(np.int64)
    pairs = zip(column, column.isna(), strict=True)
    return np.array(["" if missing else f"={value}" for value, missing in pairs], dtype=object)


def _value_differences(where: str, first: Any, second: Any) -> Iterator[Difference]:
    """Leaves of two trees that differ, or that only one of them has."""
    ours, theirs = dict(_leaves(where, first)), dict(_leaves(where, second))
    for path in {**ours, **theirs}:
        a, b = ours.get(path, "absent"), theirs.get(path, "absent")
        if repr(a) != repr(b):  # tells -0.0 from 0.0, and finds NaN equal to itself
            yield Difference(path, json_value(a), json_value(b), _distance(a, b))


def _leaves(path: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, branch in tree.items():
        yield from _leaves(f"{path}.{name}", branch)


def _prediction_differences(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Difference]:
    shapes = {
        "columns": (list(first.columns), list(second.columns)),
        "rows": (len(first), len(second)),
    }
    unlike = [Difference(f"predictions.{k}", a, b) for k, (a, b) in shapes.items() if a != b]
    if unlike:
        yield from unlike
        return
    for column in first.columns:
        differ = np.flatnonzero(_canonical(first[column]) != _canonical(second[column]))
        if not len(differ):
            continue
        labels = first[_GROUPS].iloc[differ].astype(str).agg(".".join, axis=1).to_numpy()
        for label in dict.fromkeys(labels):
            where = f"predictions.{label}.{column}"
            yield _worst(where, first, second, column, differ[labels == label])


def _worst(
    where: str, first: pd.DataFrame, second: pd.DataFrame, column: str, rows: np.ndarray
) -> Difference:
    """The row of a column that differs most, for all rows of it that differ."""
    pairs = [(first[column].iloc[row], second[column].iloc[row]) for row in rows]
    sizes = [_distance(*pair) for pair in pairs]
    worst = int(np.argmax([-1.0 if size is None else size for size in sizes]))
    a, b = (json_value(value) for value in pairs[worst])
    key = str(first[first.columns[0]].iloc[rows[worst]])
    return Difference(where, a, b, sizes[worst], len(rows), key)


def _distance(a: Any, b: Any) -> float | None:
    numbers = int | float | np.number
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool):
        distance = abs(float(a) - float(b))
        return distance if math.isfinite(distance) else None
    return None


def fingerprint(
    loader: AbstractConfigLoader, project: Path, use_case: str
) -> dict[str, str | None]:
    """SHA-256 of code, configuration and raw data; ``None`` for data that are not one file."""
    data = raw_file(loader["catalog"], use_case, project)
    return {
        "code_sha256": _folder_hash(CODE, "*.py"),
        "configuration_sha256": _folder_hash(project / settings.CONF_SOURCE, "*.yml"),
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest() if data else None,
    }


def describe_environment(project: Path) -> dict[str, object]:
    """Commit of the code, machine and packages."""
    return {
        "code_commit": code_commit(project),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": {name: os.environ.get(name) for name in _THREADS},
        },
        "packages": {"python": platform.python_version(), **package_versions(_PACKAGES)},
    }


def seed(loader: AbstractConfigLoader, params: str) -> Any:
    """The seed of a run: that of the parameters, or what ``--params`` says."""
    values = dict(part.strip().partition("=")[::2] for part in params.split(","))
    return int(values["seed"]) if "seed" in values else loader["parameters"].get("seed")


def _folder_hash(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class RunRequest:
    """What is to be run, as ``kedro run`` takes it."""

    use_case: str
    env: str
    pipelines: str
    params: str


@dataclass(frozen=True)
class Run:
    """One of the two runs.

    Attributes:
        results: what it has left.
        hash_seed: Python's seed for the order of sets.
        seconds: how long it took.
    """

    results: Results
    hash_seed: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """What a report says of it."""
        return {
            "hash_seed": self.hash_seed,
            "seconds": self.seconds,
            **{f"{what}_sha256": digest for what, digest in self.results.hashes().items()},
            "rows": len(self.results.predictions),
            "chosen": dict(self.results.chosen),
        }


@dataclass(frozen=True)
class Reproduction:
    """Two runs side by side.

    Attributes:
        runs: the runs.
        differences: where their results differ.
        report: the file that has all of it.
    """

    runs: tuple[Run, ...]
    differences: list[Difference]
    report: Path


def run_twice(request: RunRequest, folder: Path) -> Reproduction:
    """Run twice, compare, and write ``reproducibility.json``.

    Args:
        request: what to run.
        folder: empty folder for the files of the runs.

    Raises:
        UserError: a run failed, or something that both had to share changed between them.
    """
    loader, project = project_loader(request.env)
    find_use_case(read_use_cases(loader["parameters"]), request.use_case)
    measured = read_measurements(loader, project, request.use_case)
    if measured:
        click.echo(f"{request.use_case}: both runs see {len(measured):,} measurements")
    before = fingerprint(loader, project, request.use_case)
    runs = tuple(
        _run(request, loader, project, folder / name, hash_seed, measured)
        for name, hash_seed in zip(("first", "second"), HASH_SEEDS, strict=True)
    )
    if before != fingerprint(loader, project, request.use_case):
        raise UserError("code, configuration or data changed during the runs: start again")
    differences = compare(*(run.results for run in runs))
    content = {
        "equal": not differences,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **asdict(request),
        "seed": seed(loader, request.params),
        **before,
        "measurements": {"rows": len(measured), "sha256": _measurements_hash(measured)},
        **describe_environment(project),
        "runs": [run.to_json() for run in runs],
        "n_differences": len(differences),
        "differences": [difference.to_json() for difference in differences[:_LISTED]],
    }
    reporting = project / loader["globals"]["paths"]["reporting"] / request.use_case
    report = reporting / "reproducibility.json"
    write_text(report, json.dumps(content, indent=2))
    return Reproduction(runs, differences, report)


def read_measurements(
    loader: AbstractConfigLoader, project: Path, use_case: str
) -> list[Measurement]:
    """What the service was handed in of a use case: training reads it as rows, too.

    It is read once, since the service may be handed in more between the two runs.
    """
    catalog = loader["catalog"]
    entry = catalog.get(f"{use_case}.measured") or catalog.get("{use_case}.measured")
    if entry is None:
        return []
    options = {
        name: entry[name] for name in ("tracking_uri", "database_url", "read") if name in entry
    }
    return MeasurementsDataset(use_case=use_case, path=str(project), **options).load()


def _write_measurements(measured: list[Measurement], url: str, use_case: str) -> None:
    """Put measurements into the database of a run, with the first values of corrected ones."""
    engine = connect(url)
    store, now = Measurements(engine), dt.datetime.now(dt.UTC)
    first = [replace(one, fields={**one.fields, **one.first}) for one in measured]
    for rows in (first, measured):
        store.write(use_case, rows, at=now, source="reproduce")
    engine.dispose()


def _measurements_hash(measured: list[Measurement]) -> str | None:
    """SHA-256 of what was measured; ``None`` where nothing was."""
    rows = [
        [one.time.isoformat(), one.series, dict(one.fields), dict(one.first)] for one in measured
    ]
    text = json.dumps(rows, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if rows else None


def _run(
    request: RunRequest,
    loader: AbstractConfigLoader,
    project: Path,
    folder: Path,
    hash_seed: int,
    measured: list[Measurement],
) -> Run:
    click.echo(f"{request.use_case}: {folder.name} run ... ", nl=False)
    own = sandbox.Sandbox(project, folder, request.env)
    copied = sandbox.copy_configuration(own, loader)
    sandbox.check_nothing_escapes(copied["catalog"], own)
    sandbox.use_own_database(own, copied)
    if measured:
        _write_measurements(measured, own.database_url, request.use_case)
    command = own.command(request.use_case, request.pipelines, request.params)
    seconds = sandbox.run(own, command, hash_seed=hash_seed)
    click.echo(f"{seconds:.0f} s")
    results = read_results(own.path("model_output") / request.use_case)
    return Run(results, hash_seed, round(seconds, 1))
