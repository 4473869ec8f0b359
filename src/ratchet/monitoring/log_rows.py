"""How frames become rows of the table of predictions, and its rows frames."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ratchet.monitoring.log_table import NO_ANSWER, Record

_MOMENTS = ("row_time", "predicted_at", "truth_at")
_NUMBERS = ("low", "high", "scale", "rms", "latency_ms")
_MERGED = ("prediction", "truth", "first_truth")
_PROBABILITY = "probability_"


def naive_utc(moment: datetime | pd.Timestamp) -> datetime:
    """A moment without time zone, in UTC; one without is taken to be in UTC."""
    stamp = pd.Timestamp(moment)
    stamp = stamp if stamp.tzinfo is None else stamp.tz_convert(UTC).tz_localize(None)
    return stamp.to_pydatetime(warn=False)


def records_of(rows: pd.DataFrame, latency_ms: float | pd.Series | None) -> list[Record]:
    """Answers of one target as rows of the table.

    An answer that is no finite number, or whose probabilities are not, becomes a failed one.

    Args:
        rows: tidy rows of the target; the column ``time``, where there is one, is that of the row,
            and ``row_hash`` and ``request`` are what the log has of these names. The truth, if it
            should be there, is left out: it is joined later.
        latency_ms: time of one answer, or of each by row key.
    """
    size = len(rows)
    columns: dict[str, list[Any]] = {
        "row_key": [str(key) for key in rows.index],
        "row_time": times_of(rows["time"]) if "time" in rows else [None] * size,
        "latency_ms": _latencies(rows, latency_ms),
        "probabilities": _probabilities(rows),
        "series": [str(name) for name in rows["series"]] if "series" in rows else [None] * size,
        **{name: _column(rows, name) for name in ("low", "high", "scale", "rms")},
        "row_hash": _texts(rows, "row_hash"),
    }
    if "request" in rows:
        columns["request"] = rows["request"].tolist()
    values, labels = split_values(rows["prediction"])
    records = []
    for value, label, *others in zip(values, labels, *columns.values(), strict=True):
        record = dict(zip(columns, others, strict=True))
        odds = record["probabilities"]
        failed = (value is None and label is None) or odds == ""
        record |= {"prediction_value": value, "prediction_label": label, "failed": failed}
        record |= {"error": NO_ANSWER if failed else None, "probabilities": odds or None}
        records.append(record)
    return records


def split_values(values: pd.Series) -> tuple[list[float | None], list[str | None]]:
    """Numbers and class names apart; None for what is missing or not finite."""
    nothing: list[None] = [None] * len(values)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return [_finite(value) for value in values.astype(float).tolist()], [*nothing]
    known = values.notna().tolist()
    return [*nothing], [
        str(value) if there else None for value, there in zip(values.tolist(), known, strict=True)
    ]


def times_of(times: pd.Series) -> list[datetime | None]:
    """Times of rows in UTC and without zone; None for what is missing."""
    stamps = pd.to_datetime(times)
    if stamps.dt.tz is not None:
        stamps = stamps.dt.tz_convert(UTC).dt.tz_localize(None)
    moments = stamps.dt.floor("us").dt.to_pydatetime()
    return [None if pd.isna(moment) else moment for moment in moments]


def frame_of(records: Sequence[Record], names: list[str]) -> pd.DataFrame:
    """Rows of the table as a frame, indexed by row key.

    ``prediction``, ``truth`` and ``first_truth`` are numbers where no class names are among them;
    ``probability_<class>`` stands for the probabilities.
    """
    frame = pd.DataFrame(records, columns=names)
    for name in _MOMENTS:
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    for name in _NUMBERS:
        frame[name] = frame[name].astype(float)
    for name in _MERGED:
        values, labels = frame.pop(f"{name}_value"), frame.pop(f"{name}_label")
        frame[name] = labels.astype(object).where(labels.notna(), values)
        if labels.isna().all():
            frame[name] = values.astype(float)
    odds = [json.loads(row["probabilities"] or "{}") for row in records]
    if any(odds):
        table = pd.DataFrame(odds, index=frame.index).add_prefix(_PROBABILITY)
        frame = pd.concat([frame, table.astype(float)], axis=1)
    return frame.drop(columns=["id", "probabilities"]).set_index("row_key")


def _probabilities(rows: pd.DataFrame) -> list[str | None]:
    """JSON of each row's probabilities; empty for a row whose are not all finite."""
    columns = [name for name in rows.columns if str(name).startswith(_PROBABILITY)]
    if not columns:
        return [None] * len(rows)
    classes = [str(name).removeprefix(_PROBABILITY) for name in columns]
    return [
        json.dumps(dict(zip(classes, odds, strict=True))) if all(map(math.isfinite, odds)) else ""
        for odds in rows[columns].to_numpy(dtype=float).tolist()
    ]


def _texts(rows: pd.DataFrame, name: str) -> list[str | None]:
    """Text of a column that may be absent."""
    if name not in rows:
        return [None] * len(rows)
    return [None if pd.isna(value) else str(value) for value in rows[name]]


def _column(rows: pd.DataFrame, name: str) -> list[float | None]:
    """Numbers of a column that may be absent; an interval may be open, so infinity stays."""
    if name not in rows:
        return [None] * len(rows)
    return [None if math.isnan(value) else value for value in rows[name].astype(float).tolist()]


def _latencies(rows: pd.DataFrame, latency_ms: float | pd.Series | None) -> list[float | None]:
    if isinstance(latency_ms, pd.Series):
        return [_finite(value) for value in latency_ms.reindex(rows.index).astype(float).tolist()]
    return [None if latency_ms is None else _finite(float(latency_ms))] * len(rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
