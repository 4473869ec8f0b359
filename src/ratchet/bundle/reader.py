"""A bundle that is read: answers of one version of the models of a use case."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, TypeAdapter, ValidationError

from ratchet.bundle.context_rows import features_in_context
from ratchet.bundle.golden_rows import compare_answers, row_answers
from ratchet.bundle.manifest import MANIFEST, BundleError, BundleFiles, bundle_digest, first_problem
from ratchet.compiled.answers import Answerer
from ratchet.config import SERIES_PREFIX, Target, UseCase
from ratchet.errors import UserError
from ratchet.frames import with_columns
from ratchet.learning.demand.book import DemandBook
from ratchet.primary_metric import primary_metric

LOGGER = logging.getLogger(__name__)


class Score(BaseModel):
    """A score, and the ends of its interval where it is known."""

    value: float
    low: float = math.nan
    high: float = math.nan


ROW_HASH = "row_hash"
"""Column of the known rows that says which row a key names; of series there is none."""

IN_FILE = "given"
"""Of series, column of the known rows: whether the file had the row, or its step was empty."""

_TERMS = {"id": "series", "time": "time", "scale": "scale", "rms": "rms"}

FALLBACK_SUFFIX = "without_past"
"""What the file of a second model of a target is called beside that of the first."""

DEMAND_BOOK = "demand_book.npz"
"""File of what it takes to price the segments of a market."""

_METRICS = TypeAdapter(dict[str, dict[str, dict[str, Score]]])
"""Target -> part -> metric -> score. A metric that some rows do not have is NaN."""
_IMPORTANCE = TypeAdapter(dict[str, dict[str, float]])
_GOLDEN = TypeAdapter(list[dict[str, Any]])


class Bundle:
    """One version of the models of a use case, with all that answering takes.

    Every file is compared with its hash in the manifest when it is read, which is when it is first
    needed.

    Args:
        folder: the bundle.
        manifest: its manifest.
        digest: SHA-256 of the file that the manifest was read from.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], digest: str | None = None) -> None:
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
    def without_past(self) -> dict[str, Any]:
        """Models that need nothing of the past of their series, of the targets that have one."""
        files = {name: f"models/{name}.{FALLBACK_SUFFIX}.skops" for name in self.use_case.targets}
        return {name: self._files.model(f) for name, f in files.items() if f in self._files}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Scores of every target's model, with their intervals.

        The score by which the gate decides is a finite number, or is not there.
        """
        found: dict[str, Any] = self._read("metrics.json", _METRICS)
        target, metric = primary_metric(self.use_case)
        score = found.get(target, {}).get("test", {}).get(metric)
        if score is not None and not np.isfinite(score["value"]):
            place = self.folder / "metrics.json"
            raise BundleError(f"{place}: {target}.test.{metric} cannot be {score['value']}")
        return found

    @cached_property
    def importance(self) -> dict[str, dict[str, float]]:
        """How much each source of features matters to every target's model."""
        found: dict[str, dict[str, float]] = self._read("importance.json", _IMPORTANCE)
        return found

    @cached_property
    def golden(self) -> list[dict[str, Any]]:
        """Rows with the answers they must get: ``key``, ``fields`` and ``answers``."""
        found: list[dict[str, Any]] = self._read("golden.json", _GOLDEN)
        return found

    def _read(self, name: str, schema: TypeAdapter[Any]) -> Any:
        """Content of a JSON file, of the types that it must have."""
        content = self._files.json(name)
        try:
            schema.validate_python(content)
        except ValidationError as error:
            raise BundleError(f"{self.folder / name}: {first_problem(error)}") from error
        return content

    def check_contents(self) -> None:
        """Make sure that all but the models is what the parameters of the bundle lead to expect.

        Raises:
            BundleError: a file has another content than it must have, or belongs elsewhere.
        """
        data, features = self.use_case.data, self.use_case.features
        if {*self.manifest["signature"]["outputs"]} != {*self.use_case.targets}:
            raise BundleError(f"{self.folder}: the manifest has other targets than use_case.json")
        if data.time and self.manifest["decided_until"] is None:
            raise BundleError(f"{self.folder / MANIFEST}: 'decided_until' cannot be null")
        sources = [name for name in features.columns if name in data.columns]
        for name, table, columns in (
            (
                "reference.parquet",
                self.reference,
                [*sources, *([data.row_time] if data.time else [])],
            ),
            ("rows.parquet", self.rows, ["part", *(["time"] if data.time else [])]),
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
        return table.assign(**{data.row_time: table["time"]})  # once called so whatever came

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Which rows the models know: ``part``, and ``time`` where there is one, by row key."""
        return self._files.table("rows.parquet")

    @cached_property
    def statistics(self) -> pd.DataFrame | None:
        """Units of the series, where there are series."""
        return (
            self._files.table("statistics.parquet") if "statistics.parquet" in self._files else None
        )

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
            BundleError: the file is damaged, or no book.
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
        """A score of a target's model on its test rows, which it was released with.

        Args:
            target: name of the target.
            metric: name of the metric.

        Returns:
            ``value``, with ``low`` and ``high`` where the interval is known; ``None`` where the
            bundle does not say.
        """
        found: dict[str, float] | None = self.metrics.get(target, {}).get("test", {}).get(metric)
        return found

    def features(self, raw: pd.DataFrame, as_of: Any = None) -> pd.DataFrame:
        """Make features of raw fields, with the rows of ``context`` before them.

        Args:
            raw: rows with the columns of ``manifest["signature"]["inputs"]``. Of series they follow
                upon each other and upon the context; steps that lie before the origin of a
                forecast also need what was measured at them.
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
            ``scale`` and ``rms``.

        Raises:
            BundleError: columns are missing, a model cannot take the values in them, or fails.
        """
        expected = self.manifest["signature"]["features"]
        if missing := [name for name in expected if name not in features]:
            raise BundleError(f"{self.folder}: features lack the columns {missing}")
        if features.empty:
            return {name: empty_answers(target) for name, target in self.use_case.targets.items()}
        rows = align_features(features, expected)
        try:
            encoded = self.encoder.transform(rows)
        except Exception as error:  # whatever the encoder raises
            raise BundleError(
                f"{self.folder}: features cannot be encoded: {_said(error)}"
            ) from error
        terms = rows.loc[:, rows.columns.str.startswith(SERIES_PREFIX)]
        seen = encoded if terms.empty else encoded.join(terms)
        return {name: self._predict(name, seen) for name in self.use_case.targets}

    def check_golden(self) -> None:
        """Rehearse: answer the golden rows from their raw fields.

        Raises:
            BundleError: an answer is missing or another one than it must be.
        """
        place = f"{self.folder / 'golden.json'}"
        if not self.golden:
            raise BundleError(f"{place} has no rows: nothing can be rehearsed")
        for case in self.golden:
            try:
                answers = self.answer(pd.DataFrame([case["fields"]]))
            except Exception as error:  # no answer is no answer, whatever the reason
                raise BundleError(f"{place}: row {case.get('key')!r}: {_said(error)}") from error
            if any(case["key"] not in rows.index for rows in answers.values()):
                raise BundleError(f"{place}: row {case['key']!r} gets no answer")
            compare_answers(case["key"], row_answers(answers, case["key"]), case["answers"], place)

    def check_trees(self) -> None:
        """Make sure that compiled code can follow the numbers in the models.

        Raises:
            BundleError: a tree leads out of its arrays, or in circles.
        """
        from ratchet.learning.trusted import check_trees

        others = {f"{name}, {FALLBACK_SUFFIX}": model for name, model in self.without_past.items()}
        for name, model in {"the encoder": self.encoder, **self.models, **others}.items():
            try:
                check_trees(model)
            except ValueError as error:
                raise BundleError(f"{self.folder}: the model of '{name}': {error}") from error

    @cached_property
    def compiled(self) -> Answerer | None:
        """The same version as arrays, as it is served; ``None`` where it has no such form."""
        from ratchet.compiled.bundle import NotCompilable, compile_verified

        try:
            return compile_verified(self, self.golden)
        except NotCompilable as error:
            LOGGER.info("%s answers without being compiled: %s", self.folder, error)
            return None

    def latency_ms(self, n: int = 24) -> float:
        """Measure how long the answer to one row takes: the 99th percentile, in ms.

        It is that from raw fields, and asked as it will be served: compiled, or else through
        pandas. What is loaded or compiled at the first answer is not counted. What else the machine
        does is no matter of the model: of each answer the lesser of wall and CPU time counts (CPU
        time is more where it uses several threads), and of three rounds the quickest.

        Args:
            n: answers in all.
        """
        answer = self._answering(self.golden[0]["fields"])
        for _ in range(3):
            answer()
        taken = np.empty((3, -(-n // 3)))
        for place in np.ndindex(taken.shape):
            wall, cpu = time.perf_counter(), time.process_time()
            answer()
            taken[place] = min(time.perf_counter() - wall, time.process_time() - cpu)
        return float(np.percentile(taken, 99, axis=1).min() * 1e3)

    def _answering(self, fields: dict[str, Any]) -> Callable[[], Any]:
        """What answers a row when it is called."""
        compiled = self.compiled
        if compiled is not None:
            return lambda: compiled.answer([fields])
        return lambda: self.answer(pd.DataFrame([fields]))

    def _predict(self, name: str, seen: pd.DataFrame) -> pd.DataFrame:
        model, target = self.models[name], self.use_case.targets[name]
        known = getattr(model, "feature_names_in_", None)
        if known is not None:
            if missing := [column for column in known if column not in seen]:
                raise BundleError(f"{self.folder}: the model of '{name}' lacks {missing}")
            inputs = seen[list(known)]
        else:
            inputs = seen
        try:
            rows = tidy_answers(model, inputs, target)
        except Exception as error:  # whatever a model raises, also after an upgrade
            raise BundleError(
                f"{self.folder}: the model of '{name}' fails: {_said(error)}"
            ) from error
        return rows.join(series_terms(seen)) if target.is_series else rows


def _as_lists(cells: pd.Series) -> pd.Series:
    """Lists as lists: Parquet gives arrays, over which every answer would go more slowly."""
    given = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    return pd.Series(given, index=cells.index, dtype=object)


def _with_spans(content: Any) -> Any:
    """Parameters of a bundle from before series began and ended: there all went on throughout."""
    try:
        data, series = content["data"], content["data"]["series"]
        spans = {} if "begins" in series else {"begins": "first_step", "ends_after": 10**9}
        return {**content, "data": {**data, "series": {**series, **spans}}}
    except (KeyError, TypeError):  # no series, or no parameters at all
        return content


def check_functions(use_case: UseCase, place: Path) -> None:
    """Make sure that a bundle has no function called but those of the use cases.

    Raises:
        BundleError: it names another one.
    """
    for name, derived in use_case.data.functions.items():
        if not derived.is_ours:
            raise BundleError(
                f"{place}: data.{name}: '{derived.function}' is none of ours; a bundle may only "
                f"have functions of ratchet.use_cases called: put it into a module there"
            )


def _said(error: Exception) -> str:
    """What an error says; of one that is not for users also what it is."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def align_features(features: pd.DataFrame, expected: Mapping[str, str]) -> pd.DataFrame:
    """Put features as they were in training: its columns in its order, numbers in its types.

    Whether whole numbers were read as such depends on gaps in other rows, and categories are told
    by how they are written: 1 is not 1.0.

    Args:
        features: frame with all expected columns, maybe among others.
        expected: column -> type, as the training rows had them.
    """
    rows = features[list(expected)]
    kinds = [dtype.kind for dtype in rows.dtypes]  # there are hundreds of columns to a series
    mended = {
        name: rows[name].astype(dtype)  # type: ignore[call-overload]
        for (name, dtype), kind in zip(expected.items(), kinds, strict=True)
        if _is_other_number(rows, name, kind, dtype)
    }
    return with_columns(rows, mended) if mended else rows


def _is_other_number(rows: pd.DataFrame, name: str, kind: str, dtype: str) -> bool:
    """Whether values can be told as another kind of number without loss."""
    if kind == "i":
        return dtype.startswith("float")
    if kind != "f" or not dtype.startswith("int"):
        return False
    values = rows[name]
    return bool((np.isfinite(values) & (values % 1 == 0)).all())


def tidy_answers(model: Any, inputs: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Predict rows.

    Args:
        model: the fitted model of the target.
        inputs: the columns it knows.
        target: what is predicted.

    Returns:
        ``prediction``, and ``low`` and ``high`` of a number or ``probability_<class>`` of classes.
    """
    if not target.is_classes:
        told = model.predict_with_interval(inputs)
        return pd.DataFrame(told, columns=["prediction", "low", "high"], index=inputs.index)
    classes, probabilities = list(model.classes_), model.predict_proba(inputs)
    names = [f"probability_{name}" for name in classes]
    rows = pd.DataFrame(probabilities, columns=names, index=inputs.index)
    rows.insert(0, "prediction", [classes[place] for place in probabilities.argmax(axis=1)])
    return rows


def empty_answers(target: Target) -> pd.DataFrame:
    """Give an answer without rows."""
    ends = [f"probability_{name}" for name in sorted(target.classes or [])] or ["low", "high"]
    terms = list(_TERMS.values()) if target.is_series else []
    return pd.DataFrame(columns=["prediction", *ends, *terms])


def series_terms(features: pd.DataFrame) -> pd.DataFrame:
    """Give what scores of a series need of every row: ``series``, ``time``, ``scale``, ``rms``."""
    terms = features[[f"{SERIES_PREFIX}{name}" for name in _TERMS]]
    return terms.set_axis(list(_TERMS.values()), axis=1)
