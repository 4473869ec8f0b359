"""``POST /observe/{use_case}`` and ``POST /truth/{use_case}``: what was measured, and came true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from ratchet.compiled.answers import RequestError
from ratchet.serving.answering import Service, json_response, service_of
from ratchet.serving.errors import Problem, of_row
from ratchet.serving.idempotency import Replays
from ratchet.serving.json_bodies import read_rows
from ratchet.serving.protocols import Measurements, Truths, UnavailableError
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(
    tags=["measurements and truth"],
    dependencies=[Depends(require_scope("observe"))],
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
IdempotencyKey = Annotated[
    str | None,
    Header(description="the same key again gets the same response, and nothing is done twice"),
]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": ["object", "array"]}}},
    }
}


class TakenRows(BaseModel):
    """Result for the rows that were handed in."""

    use_case: str
    new: int
    """Rows that were not known."""
    changed: int
    """Rows that were known with other values."""
    same: int
    """Rows that were known as they are."""
    unknown: int
    """Rows whose truth was handed in and that no answer is about."""
    request_id: str


@router.post("/observe/{use_case}", response_model=TakenRows, openapi_extra=_BODY)
async def observe(
    use_case: str, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take measurements of steps that are over: rows as they stand in the raw file.

    Forecasts see them from then on, monitoring and training as well. Order does not matter, the
    same measurement again changes nothing, and another value for a known step replaces it.
    """
    service = service_of(request)
    store = service.measurements
    return await _take(service, request, use_case, store, "measurements")


@router.post("/truth/{use_case}", response_model=TakenRows, openapi_extra=_BODY)
async def truth(
    use_case: str, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take what came true of rows that were answered: the `key` of the answer, and its targets."""
    service = service_of(request)
    return await _take(service, request, use_case, service.truths, "truth")


async def _take(
    service: Service,
    request: Request,
    use_case: str,
    store: Measurements | Truths | None,
    what: str,
) -> Response:
    serving = service.champion(use_case)
    if store is None:
        raise Problem(503, "nothing-serves", f"this service was started without a store of {what}")
    columns: Sequence[str] = list(serving.use_case.data.columns)
    body = await read_rows(request, service.settings.limits, columns)
    call = call_of(request)

    async def take() -> Response:
        try:
            result = await store.take(use_case, body.rows, call.actor)
        except RequestError as error:
            service.metrics.refused.labels(use_case).inc()
            raise of_row(error) from None
        except UnavailableError as error:
            raise Problem(503, "busy", str(error), headers={"retry-after": "5"}) from None
        counts = {"new": result.new, "changed": result.changed, "same": result.same}
        counts["unknown"] = result.unknown
        for state, count in counts.items():
            service.metrics.handed_in.labels(use_case, what, state).inc(count)
        return json_response({"use_case": use_case, **counts, "request_id": call.request_id})

    replays: Replays = request.app.state.replays
    return await replays.once(request, take)
