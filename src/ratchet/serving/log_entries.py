"""What is written down of an answer: an entry of the journal, and rows of the prediction log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from ratchet.compiled.answers import Answer, Prediction
from ratchet.database import naive_utc
from ratchet.monitoring.log_table import NO_ANSWER, Record, Truth
from ratchet.serving.request_context import Assignment

SOURCE = "service"


@dataclass(frozen=True, slots=True)
class PriceRecord:
    """A price that was recommended, or why none was; ``None`` for what is not known.

    Attributes: columns of ``monitoring.log_table.PRICES``, see there.
    """

    merchant: str
    product: str
    date: str | None
    outcome: str
    reasons: str
    price: float | None
    current_price: float | None
    unit_cost: float | None
    capacity: float | None
    demand: float | None
    demand_low: float | None
    demand_high: float | None
    profit: float | None
    profit_low: float | None
    profit_high: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    elasticity: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a version said to one request, or why it said nothing.

    Attributes:
        use_case: name of the use case.
        version: number of the version that answered.
        arm: for what it answered: ``champion``, ``shadow`` or ``challenger``.
        request: tells requests for the same row apart.
        at: when, with time zone.
        latency_ms: how long it took, in milliseconds; NaN of what has failed.
        answers: of all rows of the request.
        error: why there are no answers.
        row_key: the row that got none, where it is known.
        subject: of a split, hash of whom the answers are for, where the request said so.
        split_share: share of the challenger in that split.
        price: a recommended price, in place of answers.
    """

    use_case: str
    version: str
    arm: str
    request: str
    at: datetime
    latency_ms: float
    answers: Sequence[Answer] = field(default=())
    error: str | None = None
    row_key: str = ""
    subject: str | None = None
    split_share: float | None = None
    price: PriceRecord | None = None

    @property
    def rows(self) -> int:
        """How many rows it is about."""
        return max(len(self.answers), 1)


_ENTRY = TypeAdapter(Entry)


def of_split(assignment: Assignment | None) -> dict[str, Any]:
    """What an entry says of the split that a request was assigned in, where there is one."""
    if assignment is None:
        return {}
    return {"subject": assignment.subject, "split_share": assignment.share}


def as_line(entry: Entry) -> bytes:
    """An entry as JSON in one line."""
    return to_json(entry, fallback=_plain)


def of_line(line: bytes) -> Entry:
    """The entry of a line.

    Raises:
        ValueError: it is none.
    """
    return _ENTRY.validate_python(json.loads(line))


def records_of(entry: Entry) -> list[Record]:
    """An entry as rows of the prediction log, one for each row and target."""
    if entry.price is not None:
        return []
    common: Record = {
        **{"use_case": entry.use_case, "version": entry.version, "arm": entry.arm},
        **{"source": SOURCE, "predicted_at": naive_utc(entry.at)},
        "latency_ms": _finite(entry.latency_ms),
        **{"subject": entry.subject, "split_share": entry.split_share},
    }
    if entry.error is not None:
        nothing = _nothing() | {"request": entry.request, "target": "", "row_key": entry.row_key}
        return [_clean(common | nothing | {"failed": True, "error": entry.error})]
    return [
        _clean(common | {"request": entry.request} | record)
        for answer in entry.answers
        for record in _records(answer)
    ]


def price_record_of(entry: Entry) -> Record | None:
    """An entry as a row of the table of prices; ``None`` for one that is about answers."""
    if entry.price is None:
        return None
    return _clean(
        {
            **{"use_case": entry.use_case, "version": entry.version, "arm": entry.arm},
            **{"request": entry.request, "recommended_at": naive_utc(entry.at)},
            "latency_ms": _finite(entry.latency_ms),
            **{"subject": entry.subject, "split_share": entry.split_share},
            **asdict(entry.price),
        }
    )


def _records(answer: Answer) -> Iterator[Record]:
    row: Record = {
        **{"row_key": answer.key, "series": answer.series, "row_hash": answer.row_hash},
        "row_time": None if answer.time is None else naive_utc(answer.time),
        **{"scale": _number(answer.scale), "rms": _number(answer.rms), "step": answer.step},
    }
    for target, prediction in answer.predictions.items():
        yield _nothing() | row | _of_target(prediction) | {"target": target}


def _of_target(prediction: Prediction) -> Record:
    value, odds = prediction.value, prediction.probabilities
    is_label = isinstance(value, str)
    number = None if isinstance(value, str) else _finite(value)
    are_finite = odds is None or all(map(math.isfinite, odds.values()))
    failed = not are_finite or (number is None and not is_label)
    return {
        "prediction_value": number,
        "prediction_label": value if is_label else None,
        **{"low": _number(prediction.low), "high": _number(prediction.high)},
        "probabilities": json.dumps(dict(odds)) if odds and are_finite else None,
        **{"failed": failed, "error": NO_ANSWER if failed else None},
    }


def _nothing() -> Record:
    names = ("row_time", "prediction_value", "prediction_label", "low", "high", "probabilities")
    return dict.fromkeys((*names, "series", "scale", "rms", "row_hash", "step", "error"))


def truths_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Truth]]:
    """Truth by target.

    Args:
        rows: ``key``, and ``values``: target -> a number, or the name of a class.
    """
    by_target: dict[str, list[Truth]] = {}
    for row in rows:
        for target, value in row["values"].items():
            is_label = isinstance(value, str)
            number = None if is_label else float(value)
            truth = Truth(clean(row["key"]), number, clean(value) if is_label else None)
            by_target.setdefault(target, []).append(truth)
    return by_target


def clean(text: str) -> str:
    """Text that every database takes: valid UTF-8, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _clean(record: Record) -> Record:
    return {
        name: clean(value) if isinstance(value, str) else value for name, value in record.items()
    }


def _plain(value: Any) -> Any:
    """Encode values of NumPy; any other as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float | None:
    """A number that may be infinite, as an interval may be open."""
    return None if value is None or math.isnan(value) else float(value)
