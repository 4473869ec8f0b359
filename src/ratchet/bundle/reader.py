"""Reading a bundle: answers of one version of the models of a use case."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ratchet.bundle.context_rows import features_in_context
from ratchet.bundle.golden_rows import compare_answers, row_answers
from ratchet.bundle.manifest import (
    MANIFEST,
    BundleError,
    BundleFiles,
    Manifest,
    bundle_digest,
    check_files,
    first_problem,
    read_manifest_with_digest,
)
from ratchet.compiled.answers import Answerer
from ratchet.compiled.bundle_compiler import NotCompilable, compile_verified
from ratchet.config import SERIES_COLUMNS, SERIES_PREFIX, Target, UseCase, series_columns
from ratchet.errors import UserError
from ratchet.frames import with_columns
from ratchet.learning.demand.book import DemandBook
from ratchet.learning.metrics import class_rows
from ratchet.learning.trusted import check_trees
from ratchet.primary_metric import primary_metric

LOGGER = logging.getLogger(__name__)

ROW_HASH = "row_hash"
"""Column of ``rows.parquet``: hash of the row that a key names; of series there is none."""

IN_FILE = "given"
"""Column of ``rows.parquet``, of series: whether the file had the row, or its step was empty."""

FALLBACK_SUFFIX = "without_past"
"""Part of the name of the file of a fallback model."""

TEST_ROWS = "test_rows"
"""Folder of what the models predicted for the test rows, where scores of the run say less."""

UNREFITTED = "unrefitted"
"""Part of the scores, beside ``test``: of the models as they serve, fitted once."""

DEMAND_BOOK = "demand_book.npz"
"""File of what it takes to price the segments of a market."""


class _Score(TypedDict):
    value: float
    low: NotRequired[float]
    high: NotRequired[float]


class GoldenRow(TypedDict):
    """A row with the answers that it must get: target -> column -> value.

    Of a later step of a path, ``before`` has the rows of the steps from its origin to it.
    """

    key: Any
    fields: dict[str, object]
    answers: dict[str, dict[str, object]]
    before: NotRequired[list[dict[str, object]]]


_METRICS = TypeAdapter(dict[str, dict[str, dict[str, _Score]]])
"""Target -> part -> metric -> score. A metric that some rows do not have is NaN."""
_IMPORTANCE = TypeAdapter(dict[str, dict[str, float]])
_GOLDEN = TypeAdapter(list[GoldenRow])


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle after making sure that it is whole and unchanged.

    Every file is compared with its hash in the manifest before anything in it is interpreted.
    Models are loaded when they are first needed, if all types in them are trusted.

    Raises:
        BundleError: the folder or a file is missing, extra, changed or cut off, or the manifest is
            not that of a bundle.
    """
    folder = Path(folder)
    manifest, digest = read_manifest_with_digest(folder)
    check_files(folder, manifest)
    return Bundle(folder, manifest, digest)


class Bundle:
    """One version of the models of a use case, with everything needed for answers.

    Files are read when they are first needed, and compared with their hashes in the manifest.

    Args:
        folder: the bundle.
        manifest: its manifest.
        digest: SHA-256 of the file that the manifest was read from.
    """

    def __init__(self, folder: Path, manifest: Manifest, digest: str | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self._digest = digest
        self._files = BundleFiles(folder, manifest["files"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, and so of everything in the bundle."""
        return self._digest or bundle_digest(self.folder)

    @cached_property
    def use_case(self) -> UseCase:
        """The parameters that the models were made with."""
        content = self._files.json("use_case.json")
        try:
            use_case = UseCase.model_validate(_with_spans(content))
        except ValueError as error:
            raise BundleError(f"{self.folder / 'use_case.json'} cannot be used: {error}") from error
        check_functions(use_case, self.folder / "use_case.json")
        return use_case

    @cached_property
    def encoder(self) -> Any:
        """The fitted encoder of the features."""
        return self._files.model("encoder.skops")

    @cached_property
    def models(self) -> dict[str, Any]:
        """The fitted model of every target."""
        return {name: self._files.model(f"models/{name}.skops") for name in self.use_case.targets}

    @cached_property
    def fallback_models(self) -> dict[str, Any]:
        """Models that need nothing of the past of their series, of the targets that have one."""
        files = {name: f"models/{name}.{FALLBACK_SUFFIX}.skops" for name in self.use_case.targets}
        return {name: self._files.model(f) for name, f in files.items() if f in self._files}

    @cached_property
    def metrics(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Scores of every target's model: target -> part -> metric -> ``value``, ``low``, ``high``.

        The primary metric of the test part is a finite number, or is missing.
        """
        scores: dict[str, dict[str, dict[str, dict[str, float]]]]
        scores = self._read("metrics.json", _METRICS)
        target, metric = primary_metric(self.use_case)
        score = scores.get(target, {}).get("test", {}).get(metric)
        if score is not None and not math.isfinite(score["value"]):
            path = self.folder / "metrics.json"
            raise BundleError(f"{path}: {target}.test.{metric} cannot be {score['value']}")
        return scores

    @cached_property
    def importance(self) -> dict[str, dict[str, float]]:
        """Importance of the sources of features: target -> source -> importance."""
        importance: dict[str, dict[str, float]] = self._read("importance.json", _IMPORTANCE)
        return importance

    @cached_property
    def golden(self) -> list[GoldenRow]:
        """Rows with the answers that they must get."""
        rows: list[GoldenRow] = self._read("golden.json", _GOLDEN)
        return rows

    def _read(self, name: str, schema: TypeAdapter[Any]) -> Any:
        """Content of a JSON file, of the types that it must have."""
        content = self._files.json(name)
        try:
            schema.validate_python(content)
        except ValidationError as error:
            raise BundleError(f"{self.folder / name}: {first_problem(error)}") from error
        return content

    def check_contents(self) -> None:
        """Make sure that all files but the models are what the parameters of the bundle imply.

        Raises:
            BundleError: the content of a file is not what it must be, or is of another use case.
        """
        data, features = self.use_case.data, self.use_case.features
        if {*self.manifest["signature"]["outputs"]} != {*self.use_case.targets}:
            raise BundleError(f"{self.folder}: the manifest has other targets than use_case.json")
        if data.time and self.manifest["decided_until"] is None:
            raise BundleError(f"{self.folder / MANIFEST}: 'decided_until' cannot be null")
        sources = [name for name in features.columns if name in data.columns]
        times = ([data.row_time], ["time"]) if data.time else ([], [])
        for name, table, columns in (
            ("reference.parquet", self.reference, [*sources, *times[0]]),
            ("rows.parquet", self.rows, ["part", *times[1]]),
        ):
            if missing := [column for column in columns if column not in table]:
                raise BundleError(f"{self.folder / name}: the columns {missing} are missing")
        if data.series and self.statistics is None:
            raise BundleError(f"{self.folder}: statistics.parquet is missing")
        _ = self.metrics, self.importance, self.golden, self.context, self.demand_book

    @cached_property
    def reference(self) -> pd.DataFrame:
        """Source columns of the latest training rows; their time is in ``Data.row_time``."""
        table, data = self._files.table("reference.parquet"), self.use_case.data
        if data.time is None or data.row_time in table or "time" not in table:
            return table
        return table.assign(**{data.row_time: table["time"]})  # its name in earlier releases

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Which rows the models know: ``part``, and ``time`` where there is one, by row key."""
        return self._files.table("rows.parquet")

    @cached_property
    def statistics(self) -> pd.DataFrame | None:
        """Units of the series, where there are series."""
        name = "statistics.parquet"
        return self._files.table(name) if name in self._files else None

    @cached_property
    def context(self) -> pd.DataFrame | None:
        """Typed rows that later rows look back at, where they do."""
        if "context.parquet" not in self._files:
            return None
        rows = self._files.table("context.parquet")
        lists = [n for n, c in self.use_case.data.columns.items() if c.type == "list"]
        return with_columns(rows, {n: _as_lists(rows[n]) for n in lists if n in rows})

    @cached_property
    def demand_book(self) -> DemandBook | None:
        """What it takes to price the segments of a market; ``None`` where there is no market.

        Raises:
            BundleError: the file is damaged, or is not a demand book.
        """
        if DEMAND_BOOK not in self._files:
            return None
        content = self._files.content(DEMAND_BOOK)
        try:
            return DemandBook.from_bytes(content, str(self.folder / DEMAND_BOOK))
        except ValueError as error:
            raise BundleError(str(error)) from error

    @cached_property
    def size_mb(self) -> float:
        """Size of all files, in millions of bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6

    def score(self, target: str, metric: str) -> dict[str, float] | None:
        """A score of a target's model on its test rows; ``None`` where the bundle has none.

        Of the model that serves: where candidates were fitted again before each window of the test
        part (``evaluation.refit``), not of these, as no one fits it again while it serves.
        """
        parts = self.metrics.get(target, {})
        return parts.get(UNREFITTED, parts.get("test", {})).get(metric)

    @cached_property
    def test_rows(self) -> dict[str, pd.DataFrame]:
        """What the models predict for the test rows, as tidy rows by target, with the truth.

        Of targets of paths, and of those whose candidates were fitted again for the test.
        """
        files = {name: test_rows_file(name) for name in self.use_case.targets}
        return {name: self._files.table(f) for name, f in files.items() if f in self._files}

    def features(self, raw: pd.DataFrame, as_of: Any = None) -> pd.DataFrame:
        """Make features of raw fields, with the rows of ``context`` before them.

        Args:
            raw: rows with the columns of ``manifest["signature"]["inputs"]``. Of series they follow
                each other and the context; steps before the origin of a forecast also need the
                measured columns.
            as_of: last day whose rows of the context are seen; all by default.

        Returns:
            Features of the rows that can be answered, indexed by row key.

        Raises:
            DataError: a column is missing, or values break the contract.
        """
        return features_in_context(raw, self.use_case, self.statistics, self.context, as_of)

    def answer(self, raw: pd.DataFrame, as_of: Any = None) -> dict[str, pd.DataFrame]:
        """Predict every target from raw fields: ``predict`` of ``features``."""
        return self.predict(self.features(raw, as_of))

    def predict(self, features: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Predict every target.

        Args:
            features: as ``features`` and ``preparation.features_of`` give them, columns in any
                order.

        Returns:
            For every target a frame indexed by row key: ``prediction``, and ``low`` and ``high`` of
            a number or ``probability_<class>`` of classes; of series also ``series``, ``time``,
            ``scale`` and ``rms``, and of paths ``step``.

        Raises:
            BundleError: columns are missing, a model cannot take the values in them, or fails.
        """
        expected = self.manifest["signature"]["features"]
        if missing := [name for name in expected if name not in features]:
            raise BundleError(f"{self.folder}: features lack the columns {missing}")
        if features.empty:
            is_path = self.use_case.features.path is not None
            return {
                name: empty_answers(target, is_path=is_path)
                for name, target in self.use_case.targets.items()
            }
        rows = align_features(features, expected)
        try:
            encoded = self.encoder.transform(rows)
        except Exception as error:  # whatever the encoder raises
            reason = f"features cannot be encoded: {_error_text(error)}"
            raise BundleError(f"{self.folder}: {reason}") from error
        series = rows.loc[:, rows.columns.str.startswith(SERIES_PREFIX)]
        inputs = encoded if series.empty else encoded.join(series)
        return {name: self._predict(name, inputs) for name in self.use_case.targets}

    def check_golden(self) -> None:
        """Answer the golden rows from their raw fields.

        Raises:
            BundleError: an answer is missing, or is not what it must be.
        """
        path = f"{self.folder / 'golden.json'}"
        if not self.golden:
            raise BundleError(f"{path} has no rows: the bundle cannot be tested")
        for row in self.golden:
            key = row["key"]
            try:
                answers = self.answer(pd.DataFrame([*row.get("before", []), row["fields"]]))
            except Exception as error:  # whatever the models raise
                raise BundleError(f"{path}: row {key!r}: {_error_text(error)}") from error
            if any(key not in rows.index for rows in answers.values()):
                raise BundleError(f"{path}: row {key!r} gets no answer")
            compare_answers(key, row_answers(answers, key), row["answers"], path)

    def check_trees(self) -> None:
        """Make sure that compiled code can follow the trees in the models.

        Raises:
            BundleError: a node points outside of its tree, or in a circle.
        """
        fallbacks = {f"{name}, {FALLBACK_SUFFIX}": m for name, m in self.fallback_models.items()}
        for name, model in {"the encoder": self.encoder, **self.models, **fallbacks}.items():
            try:
                check_trees(model)
            except ValueError as error:
                raise BundleError(f"{self.folder}: the model of '{name}': {error}") from error

    @cached_property
    def compiled(self) -> Answerer | None:
        """The version as arrays, as it is served; ``None`` where it cannot be compiled."""
        try:
            return compile_verified(self, self.golden)
        except NotCompilable as error:
            LOGGER.info("%s answers without being compiled: %s", self.folder, error)
            return None

    def latency_ms(self, n: int = 24) -> float:
        """Measure how long the answer to one row takes: the 99th percentile, in ms.

        The row is answered from raw fields, as it will be served: compiled, or else through pandas.
        Loading and compiling at the first answer do not count. To leave out other work of the
        machine, each answer counts with the lesser of wall and CPU time (CPU time is more with
        several threads), and of three rounds the quickest counts.

        Args:
            n: number of answers.
        """
        fields, compiled = self.golden[0]["fields"], self.compiled

        def answer() -> object:
            return compiled.answer([fields]) if compiled else self.answer(pd.DataFrame([fields]))

        for _ in range(3):
            answer()
        seconds = np.empty((3, -(-n // 3)))
        for i in np.ndindex(seconds.shape):
            wall, cpu = time.perf_counter(), time.process_time()
            answer()
            seconds[i] = min(time.perf_counter() - wall, time.process_time() - cpu)
        return float(np.percentile(seconds, 99, axis=1).min() * 1e3)

    def _predict(self, name: str, encoded: pd.DataFrame) -> pd.DataFrame:
        model, target = self.models[name], self.use_case.targets[name]
        columns = getattr(model, "feature_names_in_", encoded.columns)
        if missing := [column for column in columns if column not in encoded]:
            raise BundleError(f"{self.folder}: the model of '{name}' lacks {missing}")
        try:
            rows = tidy_answers(model, encoded[list(columns)], target)
        except Exception as error:  # whatever a model raises, also after an upgrade
            reason = f"the model of '{name}' fails: {_error_text(error)}"
            raise BundleError(f"{self.folder}: {reason}") from error
        if not target.is_series:
            return rows
        return rows.join(series_columns(encoded))


def test_rows_file(target: str) -> str:
    """Path of the file with the test rows of a target."""
    return f"{TEST_ROWS}/{target}.parquet"


def _as_lists(cells: pd.Series) -> pd.Series:
    """Lists instead of the arrays that Parquet gives, which are slower to answer from."""
    lists = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    return pd.Series(lists, index=cells.index, dtype=object)


def _with_spans(content: Any) -> Any:
    """Parameters of a bundle from before series had a begin and an end: all went on throughout."""
    try:
        data, series = content["data"], content["data"]["series"]
        spans = {} if "begins" in series else {"begins": "first_step", "ends_after": 10**9}
        return {**content, "data": {**data, "series": {**series, **spans}}}
    except (KeyError, TypeError):  # no series, or no parameters at all
        return content


def check_functions(use_case: UseCase, path: Path) -> None:
    """Make sure that the parameters name no function outside of ``ratchet.use_cases``.

    Raises:
        BundleError: they do.
    """
    for name, derived in use_case.data.functions.items():
        if not derived.is_ours:
            raise BundleError(
                f"{path}: data.{name}: '{derived.function}' is not in ratchet.use_cases; a "
                f"bundle may only call functions from there: put it into a module there"
            )


def _error_text(error: Exception) -> str:
    """The message of an error, with its class where it is not meant for users."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def align_features(features: pd.DataFrame, expected: Mapping[str, str]) -> pd.DataFrame:
    """Columns in the order of the training rows, numbers in their types.

    Whether whole numbers are read as integers depends on gaps in other rows, and categories depend
    on how they are written: 1 is not 1.0.

    Args:
        features: frame with all expected columns, maybe among others.
        expected: column -> type, as the training rows had them.
    """
    rows = features[list(expected)]
    kinds = [dtype.kind for dtype in rows.dtypes]  # series have hundreds of columns
    converted = {
        name: rows[name].astype(dtype)  # type: ignore[call-overload]
        for (name, dtype), kind in zip(expected.items(), kinds, strict=True)
        if _is_other_number(rows, name, kind, dtype)
    }
    return with_columns(rows, converted) if converted else rows


def _is_other_number(rows: pd.DataFrame, name: str, kind: str, dtype: str) -> bool:
    """Whether values can be converted to another kind of number without loss."""
    if kind == "i":
        return dtype.startswith("float")
    if kind != "f" or not dtype.startswith("int"):
        return False
    values = rows[name]
    return bool((np.isfinite(values) & (values % 1 == 0)).all())


def tidy_answers(model: Any, inputs: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Predict rows with the fitted model of a target.

    Returns:
        ``prediction``, and ``low`` and ``high`` of a number or ``probability_<class>`` of classes.
    """
    if not target.is_classes:
        values = model.predict_with_interval(inputs)
        return pd.DataFrame(values, columns=["prediction", "low", "high"], index=inputs.index)
    classes, probabilities = list(model.classes_), model.predict_proba(inputs)
    return class_rows(probabilities, classes, inputs.index)


def empty_answers(target: Target, *, is_path: bool) -> pd.DataFrame:
    """Answers of no rows, with the columns that answers have, see ``Bundle.predict``."""
    ends = [f"probability_{name}" for name in sorted(target.classes or [])] or ["low", "high"]
    series = [*SERIES_COLUMNS, *(["step"] if is_path else [])] if target.is_series else []
    return pd.DataFrame(columns=["prediction", *ends, *series])
