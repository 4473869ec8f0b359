"""``POST /predict/{use_case}``: answers from raw fields."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ratchet.serving.answering import (
    about,
    as_json,
    json_response,
    list_response,
    service_of,
)
from ratchet.serving.json_bodies import read_rows
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(tags=["predictions"])
Past = Annotated[
    Literal["preferred", "required"],
    Query(description="`required`: refuse rows whose past was not measured, with 409"),
]


@router.post(
    "/predict/{use_case}",
    dependencies=[Depends(require_scope("predict"))],
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": ["object", "array"]}}},
        }
    },
)
async def predict(use_case: str, request: Request, past: Past = "preferred") -> Response:
    """Answer one row or many of a use case by the version that serves.

    A body is a row, a list of rows, or an object with a list in `rows`. Either all rows are
    answered by the same version, or none. A row of a series whose past was not measured is
    answered from what it says itself where the version can do so: `basis` says so, and the interval
    is wider.
    """
    service = service_of(request)
    serving = service.chosen(use_case, request)
    columns = serving.use_case.data.columns
    body = await read_rows(request, service.settings.limits, list(columns))
    answers = await service.answer(request, serving, body.rows, past_required=past == "required")
    head, targets = about(serving, call_of(request)), serving.use_case.targets
    if not body.many:
        return json_response({**head, **as_json(answers[0], targets)})
    return await list_response(head, answers, targets, service.settings.limits.chunk_rows)
