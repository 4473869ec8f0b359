"""A bundle that is written: whole, or not at all."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.learning import trusted
from ratchet.params import SERIES_PREFIX, TARGET_PREFIX, UseCase
from ratchet.preparation import Needs
from ratchet.release.context import contexts, differing, features_in_context
from ratchet.release.golden import as_json, fields_of, golden_keys, told
from ratchet.release.manifest import FORMAT, BundleError, hash_files, hash_of, write_manifest
from ratchet.release.reading import Bundle, check_functions

REFERENCE_ROWS = 20_000

_PACKAGES = (
    *("ratchet", "numpy", "pandas", "scikit-learn", "scipy", "skops", "pyarrow"),
    *("xgboost", "xgboost-cpu", "keras", "tensorflow", "tensorflow-cpu"),
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a version consists of.

    Attributes:
        use_case: the parameters.
        encoder: the fitted encoder of the features.
        models: the chosen model of every target, fitted and calibrated.
        typed: the typed rows of the run.
        primary: the prepared rows, with ``split``.
        features: their features before encoding, with ``split``.
        statistics: units of the series, where there are series.
        metrics: scores of every target's model, with intervals.
        importance: of every target ``source`` and ``importance``, as ``explain_best`` gives them.
    """

    use_case: UseCase
    encoder: Any
    models: Mapping[str, Any]
    typed: pd.DataFrame
    primary: pd.DataFrame
    features: pd.DataFrame
    statistics: pd.DataFrame | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    importance: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def write_bundle(folder: Path, contents: Contents, about: Mapping[str, Any]) -> Bundle:
    """Write a bundle under another name beside its place, and move it there when it is on disk.

    Killed at any moment, there is a whole bundle or none; what is left then is a folder whose name
    starts with a dot. The golden rows are answered by what was written, from raw fields, after
    their features were found to be those of the training.

    Args:
        folder: where to; it must not be there yet.
        contents: models and rows.
        about: ``use_case`` (its name), ``candidates`` (target -> name); where known ``as_of``,
            ``code_commit``, ``mlflow_run``, ``orchestrator_run``, ``refit``, and whatever else of
            the manifest is not as it follows from the contents.

    Raises:
        BundleError: the folder is there already; features made from raw fields are not those of the
            training; or a derived column calls a function that is none of ours.
    """
    if folder.exists():
        raise BundleError(f"{folder} is there already; a bundle is written once")
    check_functions(contents.use_case, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}")
    partial.mkdir()
    try:
        _fill(partial, contents, about)
        _flush(partial)
        _move(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Bundle(folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def _move(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        raise BundleError(f"{folder} cannot be put into its place: {error.strerror}") from error
    _sync(folder.parent)


def _fill(folder: Path, contents: Contents, about: Mapping[str, Any]) -> None:
    parameters = contents.use_case.model_dump(mode="python")
    _write_json(folder / "use_case.json", parameters)
    _write_json(folder / "metrics.json", contents.metrics)
    _write_json(folder / "importance.json", _importance(contents))
    trusted.dump(contents.encoder, folder / "encoder.skops")
    for name in contents.use_case.targets:
        trusted.dump(contents.models[name], folder / "models" / f"{name}.skops")
    for name, frame in _tables(contents).items():
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet")
    manifest = {**_manifest(contents), **about, "files": hash_files(folder)}
    _write_json(folder / "golden.json", _golden(Bundle(folder, manifest), contents))
    write_manifest(folder, {**manifest, "files": hash_files(folder)})


def _tables(contents: Contents) -> dict[str, pd.DataFrame | None]:
    return {
        "statistics": contents.statistics,
        "context": choose_context(contents),
        "reference": _reference(contents),
        "rows": _rows(contents),
    }


def choose_context(contents: Contents) -> pd.DataFrame | None:
    """Choose the rows that have to be kept, so that raw fields give the features of the training.

    They are tried on the golden rows; of series on all that are forecast at the same steps.

    Raises:
        BundleError: not even with all rows at hand do raw fields give these features.
    """
    use_case, features = contents.use_case, contents.features
    keys = golden_keys(features, contents.typed, use_case)
    steps = [keys]
    since = None
    if use_case.data.series:
        at = features[f"{SERIES_PREFIX}time"]
        since = at[keys].min()
        steps = [_there(features.index[at == step], contents) for step in at[keys].unique()]
    apart: list[str] = []
    for context in contexts(contents.typed, contents.primary, use_case, since):
        apart = [name for step in steps for name in _apart(step, contents, context)]
        if not apart:
            return context
    raise BundleError(
        f"raw fields of rows {keys} do not give the features that the models were trained on: "
        f"{sorted(set(apart))} differ; a derived column may look at its own row and, in series, at "
        f"steps of its own series"
    )


def _there(keys: pd.Index, contents: Contents) -> list[Any]:
    """Rows of one step that have a row of their own in the file."""
    series = contents.use_case.data.series
    if series is None or series.id is None:
        return list(keys)
    at = contents.features.loc[keys]
    rows = contents.typed[contents.typed[contents.use_case.data.time] == at["series_time"].iloc[0]]
    return list(keys[at["series_id"].isin(rows[series.id])])


def _apart(keys: list[Any], contents: Contents, context: pd.DataFrame | None) -> list[str]:
    """Columns in which features made from raw fields differ from those of the training."""
    fields = fields_of(keys, contents.features, contents.typed, contents.use_case)
    found = features_in_context(fields, contents.use_case, contents.statistics, context)
    return differing(found, contents.features.loc[keys])


def _golden(bundle: Bundle, contents: Contents) -> list[dict[str, Any]]:
    keys = golden_keys(contents.features, contents.typed, contents.use_case)
    fields = fields_of(keys, contents.features, contents.typed, contents.use_case)
    cases = []
    for key, row in zip(as_json(pd.DataFrame({"key": keys})), as_json(fields), strict=True):
        answers = told(bundle.answer(pd.DataFrame([row])), key["key"])
        cases.append({"key": key["key"], "fields": row, "answers": answers})
    return cases


def _reference(contents: Contents) -> pd.DataFrame:
    """Source columns of the latest training rows."""
    use_case = contents.use_case
    features, drift = use_case.features, use_case.monitoring.drift
    named = [
        *features.columns,
        *(features.windows.past if features.windows else []),
        *(drift.columns or []),
        *(name for scenario in drift.scenarios.values() for name in scenario.columns),
        *(target.column for target in use_case.targets.values()),
    ]
    rows = contents.primary[contents.primary["split"] == "train"].tail(REFERENCE_ROWS)
    rows = rows.set_index(use_case.data.key)
    reference = rows[[name for name in dict.fromkeys(named) if name in rows]]
    time = use_case.data.time
    return reference.assign(time=rows[time]) if time else reference


def _rows(contents: Contents) -> pd.DataFrame:
    data = contents.use_case.data
    rows = contents.primary[contents.primary["split"].notna()].set_index(data.key)
    known = pd.DataFrame({"part": rows["split"].astype(str)})
    return known.assign(time=rows[data.time]) if data.time else known


def _importance(contents: Contents) -> dict[str, dict[str, float]]:
    return {
        target: dict(zip(frame["source"], frame["importance"], strict=True))
        for target, frame in contents.importance.items()
    }


def _manifest(contents: Contents) -> dict[str, Any]:
    """What follows from the contents; nothing is known of the run."""
    return {
        "format": FORMAT,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "as_of": None,
        "signature": _signature(contents),
        "last_row": _last(contents, ["train", "validation"]),
        "decided_until": _last(contents, ["test"]),
        "data_hash": hash_rows(contents.typed),
        "code_commit": None,
        "mlflow_run": None,
        "orchestrator_run": None,
        "packages": dict(_versions()),
        "refit": "none",
    }


def _signature(contents: Contents) -> dict[str, Any]:
    use_case, features = contents.use_case, contents.features
    columns, needed = use_case.data.columns, Needs(use_case)
    told_apart = (TARGET_PREFIX, "split")
    return {
        "inputs": {
            name: {
                "type": columns[name].type,
                "nullable": columns[name].nullable and name not in needed.required,
            }
            for name in needed.columns
        },
        "features": {
            str(name): str(dtype)
            for name, dtype in features.dtypes.items()
            if not str(name).startswith(told_apart)
        },
        "outputs": {
            name: [f"probability_{c}" for c in sorted(target.classes or [])]
            or ["prediction", "low", "high"]
            for name, target in use_case.targets.items()
        },
    }


def _last(contents: Contents, parts: list[str]) -> str | None:
    time = contents.use_case.data.time
    if time is None:
        return None
    rows = contents.primary[contents.primary["split"].isin(parts)]
    return str(rows[time].max().isoformat())


def hash_rows(typed: pd.DataFrame) -> str:
    """SHA-256 of rows by what they hold, whatever the file they came from."""
    lines = typed.to_json(orient="split", index=False, date_format="iso", double_precision=15)
    return hash_of(str(lines).encode())


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # some go by two names
            continue


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_as_text)
    path.write_text(text, encoding="utf-8")


def _as_text(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _flush(folder: Path) -> None:
    """Have everything in a folder on disk before its name says that it is there."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
