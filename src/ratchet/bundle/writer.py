"""Writing a bundle: what it consists of, its tables, its golden rows and its manifest."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.bundle.context_rows import candidate_contexts, differing_columns, features_in_context
from ratchet.bundle.golden_rows import (
    golden_keys,
    json_cell,
    json_records,
    later_steps,
    raw_fields,
    row_answers,
)
from ratchet.bundle.manifest import (
    FORMAT,
    MANIFEST,
    BundleError,
    Signature,
    check_manifest,
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
    TEST_ROWS,
    UNREFITTED,
    Bundle,
    GoldenRow,
    check_functions,
    test_rows_file,
)
from ratchet.config import (
    SERIES_ID,
    SERIES_PREFIX,
    SERIES_STEP,
    TARGET_PREFIX,
    UseCase,
    in_table,
)
from ratchet.dates import utc
from ratchet.json_values import json_value
from ratchet.learning import trusted
from ratchet.learning.atomic_files import atomic_write
from ratchet.learning.demand.book import DemandBook
from ratchet.learning.metrics import Resampling, score_all
from ratchet.preparation.fingerprints import row_hashes
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.provenance import package_versions

WRITTEN_DIGESTS: set[str] = set()
"""Digests of bundles that this process has written, from models in its memory."""

REFERENCE_ROWS = 20_000
"""Number of training rows that drift is measured against; more would not change the tests."""

_PACKAGES = (
    *("ratchet", "numpy", "pandas", "scikit-learn", "scipy", "skops", "pyarrow"),
    *("xgboost", "xgboost-cpu", "keras", "tensorflow", "tensorflow-cpu"),
)


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """What a bundle is written from.

    Attributes:
        use_case: the parameters.
        encoder: the fitted encoder of the features.
        models: the chosen model of every target, fitted and calibrated.
        typed: the typed rows of the run.
        primary: the prepared rows, with ``split``.
        features: their features before encoding, with ``split``.
        statistics: units of the series, where there are series.
        metrics: scores of every target's model, with intervals.
        fallback_models: of targets of series, a second model that needs nothing of their past.
        importance: of every target ``source`` and ``importance``, as ``explain_best`` gives them.
        demand_book: what it takes to price the segments of a market, where there is one.
        test_rows: predictions of the test rows, as ``Bundle.test_rows`` has them; by default the
            models are asked. Models that have learned from the test rows keep the earlier ones.
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
    fallback_models: Mapping[str, Any] = field(default_factory=dict)
    demand_book: DemandBook | None = None
    test_rows: Mapping[str, pd.DataFrame] | None = None


def write_bundle(folder: Path, contents: BundleContents, about: Mapping[str, object]) -> Bundle:
    """Write a bundle beside its final path, and move it there when it is on disk.

    Killed at any moment, there is a whole bundle or none; what is left then is a folder whose name
    starts with a dot. The golden rows are answered by what was written, from raw fields, after
    their features were found to be those of the training.

    Args:
        folder: path of the bundle; it must not exist.
        contents: models and rows.
        about: fields of the manifest: ``use_case`` (its name), ``candidates`` (target -> name);
            where known ``as_of``, ``code_commit``, ``mlflow_run``, ``orchestrator_run``, ``refit``,
            and others that are not as they follow from the contents.

    Raises:
        BundleError: the folder exists; features made from raw fields are not those of the training;
            or a derived column calls a function outside of ``ratchet.use_cases``.
    """
    if folder.exists():
        raise BundleError(f"{folder} exists already; a bundle is written once")
    check_functions(contents.use_case, folder)
    try:
        with atomic_write(folder, durable=True, replace=False) as partial:
            partial.mkdir()
            _write_files(partial, contents, about)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror or error}") from error
    bundle = Bundle(folder, read_manifest(folder))
    WRITTEN_DIGESTS.add(bundle.digest)
    return bundle


def _write_files(folder: Path, contents: BundleContents, about: Mapping[str, object]) -> None:
    _write_json(folder / "use_case.json", contents.use_case.model_dump(mode="python"))
    importance = {
        target: dict(zip(frame["source"], frame["importance"], strict=True))
        for target, frame in contents.importance.items()
    }
    _write_json(folder / "importance.json", importance)
    trusted.dump(contents.encoder, folder / "encoder.skops")
    for name in contents.use_case.targets:
        trusted.dump(contents.models[name], folder / "models" / f"{name}.skops")
    for name, model in contents.fallback_models.items():
        trusted.dump(model, folder / "models" / f"{name}.{FALLBACK_SUFFIX}.skops")
    if contents.demand_book is not None:
        (folder / DEMAND_BOOK).write_bytes(contents.demand_book.to_bytes())
    tables = {
        "statistics": contents.statistics,
        "context": choose_context(contents),
        "reference": _reference(contents),
        "rows": _known_rows(contents),
    }
    for name, frame in tables.items():
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet")
    fields = {**_manifest_fields(contents), **about}
    manifest = check_manifest({**fields, "files": hash_files(folder)}, folder / MANIFEST)
    bundle = Bundle(folder, manifest)
    _write_json(folder / "golden.json", _golden_rows(bundle, contents))
    test_rows = (
        _predict_test(bundle, contents) if contents.test_rows is None else contents.test_rows
    )
    for name, rows in test_rows.items():
        (folder / TEST_ROWS).mkdir(exist_ok=True)
        rows.to_parquet(folder / test_rows_file(name))
    _write_json(folder / "metrics.json", _with_unrefitted(contents, test_rows))
    write_manifest(folder, {**fields, "files": hash_files(folder)})


def _golden_rows(bundle: Bundle, contents: BundleContents) -> list[GoldenRow]:
    keys = golden_keys(contents.features, contents.typed, contents.use_case)
    fields = raw_fields(keys, contents.features, contents.typed, contents.use_case)
    names = contents.use_case.features.row_keys(pd.Index(keys))
    rows: list[GoldenRow] = []
    for key, row in zip(map(json_cell, names), json_records(fields), strict=True):
        answers = row_answers(bundle.answer(pd.DataFrame([row])), key)
        rows.append({"key": key, "fields": row, "answers": answers})
    for *before, row in later_steps(contents.typed, contents.use_case):
        said = bundle.answer(pd.DataFrame([*before, row]))
        step = max((table["step"].max() for table in said.values()), default=0)
        if step == len(before) + 1:  # else the last steps of the file have gaps
            key = next(iter(said.values()))["step"].idxmax()
            answers = row_answers(said, key)
            rows.append({"key": key, "fields": row, "answers": answers, "before": before})
    return rows


def _predict_test(bundle: Bundle, contents: BundleContents) -> dict[str, pd.DataFrame]:
    """Predictions of the test rows, where the scores of the run do not say how the models serve.

    A path is scored with all of its steps alike, and is not asked for all of them alike; where
    candidates are fitted again between the windows of the test, the scores are of several fits.
    """
    use_case = contents.use_case
    if use_case.features.path is None and not use_case.evaluation.refits:
        return {}
    test = contents.features[contents.features["split"] == "test"]
    answers, rows = bundle.predict(test), {}
    for name, target in use_case.targets.items():
        if target.is_series or target.follows_time:
            truth = test[f"{TARGET_PREFIX}{target.column}"]
            times = test[f"{SERIES_PREFIX}time"]
            rows[name] = answers[name].assign(truth=truth, time=times).dropna(subset=["truth"])
    return {name: table for name, table in rows.items() if len(table)}


def _with_unrefitted(
    contents: BundleContents, test_rows: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """Scores of the run, and those of the models as they serve, where these are others."""
    if not contents.use_case.evaluation.refits:
        return dict(contents.metrics)
    resampling = Resampling(seed=0, horizon=contents.use_case.features.horizon)
    metrics = dict(contents.metrics)
    for name, rows in test_rows.items():
        target = contents.use_case.targets[name]
        scores = score_all(target.task, rows, by_time=target.follows_time, resampling=resampling)
        metrics[name] = {**metrics.get(name, {}), UNREFITTED: scores}
    return metrics


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=json_value)
    path.write_text(text, encoding="utf-8")


def _manifest_fields(contents: BundleContents) -> dict[str, object]:
    """Fields of the manifest that follow from the contents; those of the run are null."""
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
        "packages": package_versions(_PACKAGES),
        "refit": "none",
    }


def _signature(contents: BundleContents) -> Signature:
    use_case = contents.use_case
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
            for name, dtype in contents.features.dtypes.items()
            if name != "split" and not str(name).startswith(TARGET_PREFIX)
        },
        "outputs": {
            name: [f"probability_{c}" for c in sorted(target.classes or [])]
            or ["prediction", "low", "high"]
            for name, target in use_case.targets.items()
        },
    }


def last_row_time(contents: BundleContents, parts: list[str]) -> str | None:
    """Time of the last row of some parts, in UTC; None where rows have no time."""
    time = contents.use_case.data.time
    if time is None:
        return None
    rows = contents.primary[contents.primary["split"].isin(parts)]
    return str(utc(rows[time]).max().isoformat())


def hash_rows(typed: pd.DataFrame) -> str:
    """SHA-256 of the content of rows, whatever file they are from."""
    times = typed.select_dtypes(["datetime", "datetimetz"])
    in_microseconds = any((column.dt.microsecond % 1000).any() for _, column in times.items())
    lines = typed.to_json(
        orient="split",
        index=False,
        date_format="iso",
        date_unit="us" if in_microseconds else "ms",  # as in earlier releases
        double_precision=15,
    )
    return sha256_hex(str(lines).encode())


def choose_context(contents: BundleContents) -> pd.DataFrame | None:
    """Choose the rows to keep, so that raw fields give the features of the training.

    They are tried on the golden rows, each by itself: nothing is known of it then, and others may
    have it in their history. Of series they are tried on all rows that are forecast at once.

    Raises:
        BundleError: not even with all rows at hand do raw fields give these features.
    """
    use_case, features = contents.use_case, contents.features
    keys = golden_keys(features, contents.typed, use_case)
    steps: list[list[Any]] = [[key] for key in keys]
    since = None
    if use_case.data.series:
        times = features[f"{SERIES_PREFIX}time"]
        since = times[keys].min()
        if SERIES_STEP in features:  # asked for alone, a row is answered from the step before it
            times = times[features[SERIES_STEP] == features.loc[keys[0], SERIES_STEP]]
        steps = [
            _rows_in_file(times.index[times == time], contents) for time in times[keys].unique()
        ]
    differing: list[str] = []
    for context in candidate_contexts(contents.typed, contents.primary, use_case, since):
        differing = [name for step in steps for name in _differing(step, contents, context)]
        if not differing:
            return context
    raise BundleError(
        f"raw fields of rows {keys} do not give the features that the models were trained on: "
        f"{sorted(set(differing))} differ; a derived column may look at its own row and, in "
        f"series, at steps of its own series"
    )


def _rows_in_file(keys: pd.Index, contents: BundleContents) -> list[Any]:
    """Keys of one step whose series have a row of their own in the file."""
    series = contents.use_case.data.series
    if series is None or series.id is None:
        return list(keys)
    at = contents.features.loc[keys]
    rows = contents.typed[
        utc(contents.typed[contents.use_case.data.time]) == at[f"{SERIES_PREFIX}time"].iloc[0]
    ]
    return list(keys[at[SERIES_ID].isin(rows[series.id])])


def _differing(
    keys: list[Any], contents: BundleContents, context: pd.DataFrame | None
) -> list[str]:
    """Columns in which features made from raw fields differ from those of the training."""
    fields = raw_fields(keys, contents.features, contents.typed, contents.use_case)
    use_case, expected = contents.use_case, contents.features.loc[keys]
    features = features_in_context(fields, use_case, contents.statistics, context)
    expected = expected.set_axis(use_case.features.row_keys(expected.index), axis=0)
    return differing_columns(features, expected)


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


def _known_rows(contents: BundleContents) -> pd.DataFrame:
    data = contents.use_case.data
    rows = contents.primary[contents.primary["split"].notna()].set_index(data.key)
    rows = rows.rename_axis(in_table(data.key))
    bundle_rows = pd.DataFrame({"part": rows["split"].astype(str)})
    hashes = row_hashes(contents.typed, contents.use_case)
    if len(hashes):
        bundle_rows[ROW_HASH] = hashes.reindex(rows.index.astype(str)).to_numpy()
    if data.series and data.time:
        names = [data.time, *([data.series.id] if data.series.id else [])]
        in_file = pd.MultiIndex.from_frame(contents.typed[names])
        bundle_rows[IN_FILE] = pd.MultiIndex.from_frame(rows[names]).isin(in_file)
    return bundle_rows.assign(time=utc(rows[data.time])) if data.time else bundle_rows
