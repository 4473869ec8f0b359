"""JSON bodies: read once, strictly, with errors for clients."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from ratchet.serving.errors import FieldProblem, Problem
from ratchet.serving.request_context import call_of
from ratchet.serving.settings import Limits

ROWS = "rows"
"""Field of a body that holds many rows."""


@dataclass(frozen=True, slots=True)
class RequestRows:
    """Rows of a request.

    Attributes:
        rows: raw fields.
        many: whether they came as a list, which is answered by a list.
    """

    rows: Sequence[Mapping[str, Any]]
    many: bool


async def read_json(request: Request) -> tuple[Any, int]:
    """Content of the body, and its size in bytes.

    Raises:
        Problem: it is not JSON (NaN and infinite numbers are none), is nested too deeply, or says
            that it is something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem(
            415,
            "media-type",
            f"expected Content-Type: application/json, got {kind[:100] or 'none'}",
            headers={"accept-post": "application/json"},
        )
    call, started = call_of(request), time.perf_counter()
    body = await request.body()
    call.read(body)
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, "malformed", f"expected JSON: {error}") from None
    call.span("read", started)
    return content, len(body)


async def read_rows(request: Request, limits: Limits, columns: Sequence[str]) -> RequestRows:
    """Rows of a body: one object, a list of them, or ``{"rows": [...]}``.

    Args:
        request: the request.
        limits: how much it may hold.
        columns: columns of the contract: one that is called ``rows`` is a field like any other.

    Raises:
        Problem: it is something else, or too much.
    """
    content, size = await read_json(request)
    many = isinstance(content, list)
    rows = content if many else [content]
    if isinstance(content, Mapping) and [*content] == [ROWS] and ROWS not in columns:
        rows, many = content[ROWS], True
        if not isinstance(rows, list):
            raise _shape("rows", None, "expected a list of rows")
    if not many and size > limits.row_bytes:
        raise Problem(413, "too-large", f"a row may have {limits.row_bytes:,} bytes, got {size:,}")
    if len(rows) > limits.batch_rows:
        raise Problem(
            413,
            "too-large",
            f"a request may have {limits.batch_rows:,} rows, got {len(rows):,}; send several",
        )
    if not rows:
        raise _shape("rows", None, "expected at least one row, got none")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _shape(None, number, f"expected an object of fields, got {_kind(row)}")
    return RequestRows(rows, many)


def _shape(field: str | None, row: int | None, message: str) -> Problem:
    position = field or f"row {row}"
    errors = [FieldProblem(field=field, row=row, message=message)]
    return Problem(422, "invalid-rows", f"{position}: {message}", errors=errors)


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
