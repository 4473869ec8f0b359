"""Writing a bundle: what it consists of, its tables, its golden rows and its manifest."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.bundle.context_rows import candidate_contexts, differing_columns, features_in_context
from ratchet.bundle.golden_rows import golden_keys, json_records, raw_fields, row_answers
from ratchet.bundle.manifest import (
    FORMAT,
    BundleError,
    hash_files,
    read_manifest,
    sha256_hex,
    write_manifest,
)
from ratchet.bundle.reader import (
    DEMAND_BOOK,
    FALLBACK_SUFFIX,
    IN_FILE,
    ROW_HASH,
    Bundle,
    check_functions,
)
from ratchet.config import SERIES_ID, SERIES_PREFIX, TARGET_PREFIX, UseCase, in_table
from ratchet.dates import utc
from ratchet.learning import trusted
from ratchet.learning.demand.book import DemandBook
from ratchet.learning.files import atomic_write
from ratchet.preparation.fingerprints import row_hashes
from ratchet.preparation.required_columns import RequiredColumns

WRITTEN_DIGESTS: set[str] = set()
"""Digests of bundles that this process has written, of models that it had at hand."""

REFERENCE_ROWS = 20_000
"""Training rows that drift is measured against; more of them say nothing more."""

_PACKAGES = (
    *("ratchet", "numpy", "pandas", "scikit-learn", "scipy", "skops", "pyarrow"),
    *("xgboost", "xgboost-cpu", "keras", "tensorflow", "tensorflow-cpu"),
)


@dataclass(frozen=True, kw_only=True)
class BundleContents:
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
        without_past: of targets of series, a second model that needs nothing of their past.
        importance: of every target ``source`` and ``importance``, as ``explain_best`` gives them.
        demand_book: what it takes to price the segments of a market, where there is one.
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
    without_past: Mapping[str, Any] = field(default_factory=dict)
    demand_book: DemandBook | None = None


def write_bundle(folder: Path, contents: BundleContents, about: Mapping[str, Any]) -> Bundle:
    """Write a bundle beside its place, and move it there when it is on disk.

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
    try:
        with atomic_write(folder, durable=True, replace=False) as partial:
            partial.mkdir()
            _fill(partial, contents, about)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror or error}") from error
    bundle = Bundle(folder, read_manifest(folder))
    WRITTEN_DIGESTS.add(bundle.digest)
    return bundle


def _fill(folder: Path, contents: BundleContents, about: Mapping[str, Any]) -> None:
    parameters = contents.use_case.model_dump(mode="python")
    _write_json(folder / "use_case.json", parameters)
    _write_json(folder / "metrics.json", contents.metrics)
    _write_json(folder / "importance.json", importance_of(contents))
    trusted.dump(contents.encoder, folder / "encoder.skops")
    for name in contents.use_case.targets:
        trusted.dump(contents.models[name], folder / "models" / f"{name}.skops")
    for name, model in contents.without_past.items():
        trusted.dump(model, folder / "models" / f"{name}.{FALLBACK_SUFFIX}.skops")
    if contents.demand_book is not None:
        (folder / DEMAND_BOOK).write_bytes(contents.demand_book.to_bytes())
    for name, frame in tables(contents).items():
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet")
    manifest = {**describe(contents), **about, "files": hash_files(folder)}
    _write_json(folder / "golden.json", _golden(Bundle(folder, manifest), contents))
    write_manifest(folder, {**manifest, "files": hash_files(folder)})


def _golden(bundle: Bundle, contents: BundleContents) -> list[dict[str, Any]]:
    keys = golden_keys(contents.features, contents.typed, contents.use_case)
    fields = raw_fields(keys, contents.features, contents.typed, contents.use_case)
    cases = []
    for key, row in zip(
        json_records(pd.DataFrame({"key": keys})), json_records(fields), strict=True
    ):
        answers = row_answers(bundle.answer(pd.DataFrame([row])), key["key"])
        cases.append({"key": key["key"], "fields": row, "answers": answers})
    return cases


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_as_text)
    path.write_text(text, encoding="utf-8")


def _as_text(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def describe(contents: BundleContents) -> dict[str, Any]:
    """Tell what follows from the contents alone; of the run nothing is known."""
    return {
        "format": FORMAT,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "as_of": None,
        "signature": _signature(contents),
        "last_row": last_row_time(contents, ["train", "validation"]),
        "decided_until": last_row_time(contents, ["test"]),
        "data_hash": hash_rows(contents.typed),
        "code_commit": None,
        "mlflow_run": None,
        "orchestrator_run": None,
        "packages": dict(_versions()),
        "refit": "none",
    }


def _signature(contents: BundleContents) -> dict[str, Any]:
    use_case, features = contents.use_case, contents.features
    columns, needed = use_case.data.columns, RequiredColumns(use_case)
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
            if name != "split" and not str(name).startswith(TARGET_PREFIX)
        },
        "outputs": {
            name: [f"probability_{c}" for c in sorted(target.classes or [])]
            or ["prediction", "low", "high"]
            for name, target in use_case.targets.items()
        },
    }


def last_row_time(contents: BundleContents, parts: list[str]) -> str | None:
    """Time of the last row of some parts, in UTC; None without time."""
    time = contents.use_case.data.time
    if time is None:
        return None
    rows = contents.primary[contents.primary["split"].isin(parts)]
    return str(utc(rows[time]).max().isoformat())


def hash_rows(typed: pd.DataFrame) -> str:
    """SHA-256 of rows by what they hold, whatever the file they came from."""
    moments = typed.select_dtypes(["datetime", "datetimetz"])
    fine = any((times.dt.microsecond % 1000).any() for _, times in moments.items())
    lines = typed.to_json(
        orient="split",
        index=False,
        date_format="iso",
        date_unit="us" if fine else "ms",  # as most rows were always hashed
        double_precision=15,
    )
    return sha256_hex(str(lines).encode())


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # some go by two names
            continue


def tables(contents: BundleContents) -> dict[str, pd.DataFrame | None]:
    """Give the tables of a bundle by name; nothing for those that it can do without."""
    return {
        "statistics": contents.statistics,
        "context": choose_context(contents),
        "reference": _reference(contents),
        "rows": _rows(contents),
    }


def choose_context(contents: BundleContents) -> pd.DataFrame | None:
    """Choose the rows that have to be kept, so that raw fields give the features of the training.

    They are tried on the golden rows, each by itself: nothing is known of it then, and others may
    have it in their history. Of series they are tried on all that are forecast at the same steps.

    Raises:
        BundleError: not even with all rows at hand do raw fields give these features.
    """
    use_case, features = contents.use_case, contents.features
    keys = golden_keys(features, contents.typed, use_case)
    steps: list[list[Any]] = [[key] for key in keys]
    since = None
    if use_case.data.series:
        at = features[f"{SERIES_PREFIX}time"]
        since = at[keys].min()
        steps = [_there(features.index[at == step], contents) for step in at[keys].unique()]
    apart: list[str] = []
    for context in candidate_contexts(contents.typed, contents.primary, use_case, since):
        apart = [name for step in steps for name in _apart(step, contents, context)]
        if not apart:
            return context
    raise BundleError(
        f"raw fields of rows {keys} do not give the features that the models were trained on: "
        f"{sorted(set(apart))} differ; a derived column may look at its own row and, in series, at "
        f"steps of its own series"
    )


def _there(keys: pd.Index, contents: BundleContents) -> list[Any]:
    """Rows of one step that have a row of their own in the file."""
    series = contents.use_case.data.series
    if series is None or series.id is None:
        return list(keys)
    at = contents.features.loc[keys]
    rows = contents.typed[
        utc(contents.typed[contents.use_case.data.time]) == at[f"{SERIES_PREFIX}time"].iloc[0]
    ]
    return list(keys[at[SERIES_ID].isin(rows[series.id])])


def _apart(keys: list[Any], contents: BundleContents, context: pd.DataFrame | None) -> list[str]:
    """Columns in which features made from raw fields differ from those of the training."""
    fields = raw_fields(keys, contents.features, contents.typed, contents.use_case)
    found = features_in_context(fields, contents.use_case, contents.statistics, context)
    return differing_columns(found, contents.features.loc[keys])


def _reference(contents: BundleContents) -> pd.DataFrame:
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
    rows = rows.set_index(use_case.data.key).rename_axis(in_table(use_case.data.key))
    reference = rows[[name for name in dict.fromkeys(named) if name in rows]]
    data = use_case.data
    return reference.assign(**{data.row_time: utc(rows[data.time])}) if data.time else reference


def _rows(contents: BundleContents) -> pd.DataFrame:
    data = contents.use_case.data
    rows = contents.primary[contents.primary["split"].notna()].set_index(data.key)
    rows = rows.rename_axis(in_table(data.key))
    known = pd.DataFrame({"part": rows["split"].astype(str)})
    hashes = row_hashes(contents.typed, contents.use_case)
    if len(hashes):
        known[ROW_HASH] = hashes.reindex(rows.index.astype(str)).to_numpy()
    if data.series and data.time:
        names = [data.time, *([data.series.id] if data.series.id else [])]
        there = pd.MultiIndex.from_frame(contents.typed[names])
        known[IN_FILE] = pd.MultiIndex.from_frame(rows[names]).isin(there)
    return known.assign(time=utc(rows[data.time])) if data.time else known


def importance_of(contents: BundleContents) -> dict[str, dict[str, float]]:
    """Importance of every source of features, by target."""
    return {
        target: dict(zip(frame["source"], frame["importance"], strict=True))
        for target, frame in contents.importance.items()
    }
