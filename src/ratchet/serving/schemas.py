"""What OpenAPI shows of a use case: real fields, units, examples and class names.

All of it is read off the contract that comes with the version that serves, so it changes with it.
These schemas describe; what checks a row is the version itself, see ``ratchet.compiled.contract``.
"""

from __future__ import annotations

import datetime as dt
import html
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ratchet.config import Column, Target
from ratchet.serving.errors import MEDIA_TYPE
from ratchet.serving.protocols import Serving

Schema = dict[str, Any]
_STATUSES = {
    "400": "the body is no JSON",
    "401": "a key is needed",
    "403": "the key is not for this",
    "409": "something is missing that may come, such as measurements",
    "413": "too many rows, or too large a body",
    "415": "the body is something else than JSON",
    "422": "a row cannot be answered; names the field",
    "429": "too many requests",
    "503": "nothing serves yet, or too much waits",
}


def _as_text(value: Any) -> Any:
    """A name that is a number as text, as the tables have it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _iso_date(text: str) -> str:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date as ISO 8601 writes it, such as 2026-11-30") from None
    return text


Name = Annotated[str, BeforeValidator(_as_text), Field(max_length=200)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_iso_date)]
Amount = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]

_CLOCKS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "D": "days",
    "W": "weeks",
}


def _escaped(words: str) -> str:
    """A configured text, for a description: OpenAPI reads those as Markdown with HTML in it."""
    return html.escape(words, quote=False)


def column_schema(column: Column, *, optional: bool) -> Schema:
    """Schema of one raw field.

    Args:
        column: its contract.
        optional: whether it may be left out, or be null.
    """
    schema = {
        "integer": _number("integer", column),
        "number": _number("number", column),
        "string": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
        "date": _date(column),
    }[column.type]
    if column.values is not None:
        inner = schema["items"] if column.type == "list" else schema
        inner["enum"] = list(column.values)
    if not optional:
        return schema
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


def _number(kind: str, column: Column) -> Schema:
    bounds = {"minimum": column.low, "maximum": column.high}
    numbers = {name: _plain(value) for name, value in bounds.items() if isinstance(value, float)}
    return {"type": kind, **numbers}


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _date(column: Column) -> Schema:
    within = [
        f"{word} {bound.isoformat()}"
        for word, bound in (("from", column.low), ("to", column.high))
        if isinstance(bound, dt.date)
    ]
    notes = ["a date or time as ISO 8601 writes it", *([" ".join(within)] if within else [])]
    if column.timezone:
        notes.append(f"by the clock of {column.timezone} where it has no zone")
    if column.unit in _CLOCKS:
        notes.append(f"or {_CLOCKS[column.unit]} since 1970")
        return {"type": ["string", "number"], "description": "; ".join(notes)}
    return {"type": "string", "description": "; ".join(notes)}


def row_schema(serving: Serving) -> Schema:
    """Schema of a row that is to be answered."""
    columns = serving.use_case.data.columns
    schema = {
        "title": f"{serving.name}: a row",
        "type": "object",
        "properties": {
            name: column_schema(columns[name], optional=optional)
            for name, optional in serving.inputs.items()
        },
        "required": [name for name, optional in serving.inputs.items() if not optional],
        "additionalProperties": False,
    }
    return schema | ({"examples": [dict(serving.examples[0])]} if serving.examples else {})


def measurement_schema(serving: Serving) -> Schema:
    """Schema of a measurement: a row of the raw file."""
    data = serving.use_case.data
    needed = [data.time, *(data.series.columns if data.series else [])]
    return {
        "title": f"{serving.name}: a measurement",
        "type": "object",
        "properties": {
            name: column_schema(column, optional=column.nullable and name not in needed)
            for name, column in data.columns.items()
        },
        "required": needed,
        "minProperties": len(needed) + 1,
        "additionalProperties": False,
    }


def truth_schema(serving: Serving) -> Schema:
    """Schema of what came true of a row that was answered."""
    properties: Schema = {
        "key": {"type": "string", "description": "the key that the answer had"},
    }
    for name, target in serving.use_case.targets.items():
        properties[name] = {"description": f"what came true of {_escaped(name)}", **_value(target)}
    return {
        "title": f"{serving.name}: what came true",
        "type": "object",
        "properties": properties,
        "required": ["key"],
        "minProperties": 2,
        "additionalProperties": False,
    }


def one_or_many(row: Schema, rows: int) -> Schema:
    """Schema of a body: a row, or an object or list of rows."""
    many = {"type": "array", "items": row, "minItems": 1, "maxItems": rows}
    batch = {
        "type": "object",
        "properties": {"rows": many},
        "required": ["rows"],
        "additionalProperties": False,
    }
    return {"anyOf": [row, batch, many]}


def _value(target: Target) -> Schema:
    if target.is_classes:
        return {"type": "string", "enum": list(target.classes or [])}
    low, high = target.bounds or (-math.inf, math.inf)
    bounds = {"minimum": low, "maximum": high}
    limits = {name: _plain(value) for name, value in bounds.items() if math.isfinite(value)}
    return {"type": "number", **limits}


def prediction_schema(target: Target) -> Schema:
    """Schema of what is said of one target."""
    if target.is_classes:
        share = {"type": "number", "minimum": 0, "maximum": 1}
        properties: Schema = {
            "value": {**_value(target), "description": "the most probable class"},
            "probability": {**share, "description": "its calibrated probability"},
            "probabilities": {
                "type": "object",
                "properties": dict.fromkeys(target.classes or [], share),
                "description": "calibrated probability of every class",
            },
        }
    else:
        unit = f", in {_escaped(target.unit)}" if target.unit else ""
        end = {**_value(target), "type": ["number", "null"]}
        properties = {
            "value": {**_value(target), "description": f"the prediction{unit}"},
            "low": {**end, "description": "lower end of its conformal interval"},
            "high": {**end, "description": "upper end"},
            "confidence": {
                "type": ["number", "null"],
                "description": "share of rows whose truth is in such an interval",
            },
            "unit": {"type": ["string", "null"]},
        }
    return {"type": "object", "properties": properties, "required": [*properties]}


def answer_schema(serving: Serving) -> Schema:
    """Schema of the answer to one row."""
    targets, path = serving.use_case.targets, serving.use_case.features.path
    text: Schema = {"type": ["string", "null"]}
    step = {
        "type": "integer",
        "minimum": path.first if path else 1,
        "maximum": path.last if path else 1,
        "description": "how many steps it lies after the last one whose target is known",
    }
    return {
        "title": f"{serving.name}: an answer",
        "type": "object",
        "properties": {
            "key": {"type": "string", "description": "names the row; the truth is joined by it"},
            "time": {**text, "description": "time of the row (UTC)"},
            "series": {**text, "description": "name of its series"},
            "predictions": {
                "type": "object",
                "properties": {name: prediction_schema(each) for name, each in targets.items()},
            },
            "not_given": {
                "type": "array",
                "items": {"type": "string"},
                "description": "fields that were left out, and that a model would look at",
            },
            "basis": {
                **text,
                "description": "what a forecast is based on, where that is not the usual past",
            },
            **({"step": step} if path else {}),
        },
        "required": ["key", "predictions"],
    }


class PriceRequest(BaseModel):
    """A segment whose price is asked for, and what is to be taken for true of it."""

    model_config = ConfigDict(extra="forbid")

    merchant: Annotated[
        Name | None, Field(description="may be left out where there is one only")
    ] = None
    product: Annotated[
        Name | None, Field(description="may be left out where there is one only")
    ] = None
    unit_cost: Annotated[
        Amount | None, Field(description="what a unit costs, instead of the known cost")
    ] = None
    price: Annotated[
        Amount | None, Field(description="current price, instead of the median of the latest ones")
    ] = None
    capacity: Annotated[
        Amount | None, Field(description="units of a step that there are at most")
    ] = None
    date: Annotated[
        Moment | None, Field(description="step that the price is for; goes into the log")
    ] = None


def price_request_schema(serving: Serving) -> Schema:
    """Schema of the body that asks for a price, with a segment that there is."""
    assert serving.prices is not None
    first = serving.prices.segments()[0]
    example = {"merchant": first.merchant, "product": first.product, "unit_cost": 1.0}
    return {**PriceRequest.model_json_schema(), "examples": [example]}


def price_schema(serving: Serving) -> Schema:
    """Schema of a recommended price."""
    # They load SciPy, which only services with prices need.
    from ratchet.learning.demand.book import SegmentPrice
    from ratchet.learning.demand.pricing import Outcome

    number: Schema = {"type": ["number", "null"]}
    texts = {name: {"type": "string"} for name in ("merchant", "product", "reason", "reasons")}
    outcomes = [outcome.value for outcome in Outcome]
    numbers = [f.name for f in fields(SegmentPrice) if f.name not in {*texts, "outcome"}]
    properties = {
        **_ABOUT,
        **texts,
        "outcome": {"enum": outcomes, "description": "abstain: no price is recommended"},
        **dict.fromkeys([*numbers, "capacity", "confidence"], number),
        "trained_until": {"type": ["string", "null"]},
        "date": {"type": ["string", "null"]},
    }
    return {
        "title": f"{serving.name}: a recommended price",
        "type": "object",
        "properties": properties,
        "required": [*properties],
    }


_ABOUT: Schema = {
    "use_case": {"type": "string"},
    "model_version": {"type": "string"},
    "predicted_at": {"type": "string", "format": "date-time"},
    "request_id": {"type": "string"},
}


def response_schema(answer: Schema, reference: Schema) -> Schema:
    """Schema of the response to one row, or to many.

    Args:
        answer: schema of an answer.
        reference: the same by its name.
    """
    needed = [*_ABOUT]
    one = {
        **answer,
        "properties": {**_ABOUT, **answer["properties"]},
        "required": [*needed, *answer["required"]],
    }
    many = {
        "title": "answers",
        "type": "object",
        "properties": {**_ABOUT, "answers": {"type": "array", "items": reference}},
        "required": [*needed, "answers"],
    }
    return {"anyOf": [one, many]}


def operation(
    base: Mapping[str, Any], serving: Serving, body: Schema, answer: Schema | None, summary: str
) -> Schema:
    """Operation of a route for one use case, made of that for all.

    Args:
        base: the operation with the use case as a parameter.
        serving: the version.
        body: schema of the request.
        answer: schema of the response; that of the base by default.
        summary: one line.
    """
    about = serving.use_case.about
    notes = [about.question, *([f"Source: {about.source}"] if about.source else [])]
    result = {
        **base,
        "summary": summary,
        "description": "\n\n".join(_escaped(" ".join(each.split())) for each in notes),
        "operationId": f"{base['operationId']}_{serving.name}",
        "parameters": [each for each in base.get("parameters", []) if each["in"] != "path"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
    }
    if answer is not None:
        success = {
            "description": f"answers of version {_escaped(serving.version)}",
            "content": {"application/json": {"schema": answer}},
        }
        result["responses"] = {**base["responses"], "200": success}
    return result


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """How OpenAPI describes the problems of a route."""
    shape = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "description": _STATUSES.get(str(status), "see detail"),
            "content": {MEDIA_TYPE: {"schema": shape}},
        }
        for status in statuses
    }
