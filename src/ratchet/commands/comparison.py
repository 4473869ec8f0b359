"""What two runs came out with, compared bit by bit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.errors import DataError

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

    def to_json(self) -> dict[str, Any]:
        """What is known of the difference, for a report."""
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
    found = [
        *_of_values("chosen", first.chosen, second.chosen),
        *_of_values("metrics", first.metrics, second.metrics),
        *_of_predictions(first.predictions, second.predictions),
    ]
    kinds = {"chosen": 0, "metrics": 1, "predictions": 2}
    return sorted(found, key=lambda each: (kinds[each.where.partition(".")[0]], -(each.size or 0)))


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


def _of_values(where: str, first: Any, second: Any) -> Iterator[Difference]:
    """Leaves of two trees that differ, or that only one of them has."""
    ours, theirs = dict(_leaves(where, first)), dict(_leaves(where, second))
    for path in {**ours, **theirs}:
        a, b = ours.get(path, "absent"), theirs.get(path, "absent")
        if repr(a) != repr(b):  # tells -0.0 from 0.0, and finds NaN equal to itself
            yield Difference(path, _plain(a), _plain(b), _distance(a, b))


def _leaves(path: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, branch in tree.items():
        yield from _leaves(f"{path}.{name}", branch)


def _of_predictions(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Difference]:
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
    a, b = (_plain(value) for value in pairs[worst])
    key = str(first[first.columns[0]].iloc[rows[worst]])
    return Difference(where, a, b, sizes[worst], len(rows), key)


def _plain(value: Any) -> Any:
    """A value for JSON."""
    value = value.item() if isinstance(value, np.generic) else value
    finite = isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
    return value if finite else str(value)


def _distance(a: Any, b: Any) -> float | None:
    numbers = int | float | np.number
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool):
        distance = abs(float(a) - float(b))
        return distance if math.isfinite(distance) else None
    return None
