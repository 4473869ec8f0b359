"""``POST /train-advanced`` and ``/jobs``: searches among recurrent networks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ValidationError
from starlette.responses import Response

from ratchet.serving.answering import json_response
from ratchet.serving.errors import Problem, of_validation
from ratchet.serving.idempotency import idempotency_key as idempotency_key_of
from ratchet.serving.jobs.operations import (
    add_job,
    cancel_job,
    find_job,
    follow,
    job_json,
    runner_of,
    state_of,
    until_ended,
)
from ratchet.serving.jobs.specification import TrainRequest
from ratchet.serving.jobs.store import ENDED, JobRow
from ratchet.serving.json_bodies import read_json
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(tags=["training"], dependencies=[Depends(require_scope("train"))])

_REFUSED = problems(400, 401, 403, 404, 413, 415, 422, 429, 503)
_JOB: dict[int | str, dict[str, object]] = {
    200: {"description": "the job; with `wait=1` what it has found"},
    202: {"description": "the job, which runs or waits; `Location` says where to look"},
    **_REFUSED,
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": TrainRequest.model_json_schema()}},
    }
}
_OF_ONE = problems(401, 403, 404, 429, 503)

Wait = Annotated[bool, Query(description="1: answer when it is done")]
Key = Annotated[
    str | None, Header(description="the same key again gets the same job, also after a restart")
]


@router.post(
    "/train-advanced", response_model=None, responses=_JOB, openapi_extra=_BODY, status_code=202
)
@router.post("/api/train-advanced", response_model=None, include_in_schema=False)
async def train_advanced(
    request: Request, wait: Wait = False, idempotency_key: Key = None
) -> Response:
    """Start a search among recurrent networks, in a process of its own.

    `fast` trains each network for one epoch, `optimized` searches in each. One search runs at a
    time; others wait. The winner is saved and meets the gate as a challenger of the use case.
    """
    content, _ = await read_json(request)
    try:
        training = TrainRequest.model_validate(content)
    except ValidationError as error:
        raise of_validation(error) from None
    job, _ = await add_job(request, training, idempotency_key_of(request))
    if wait:
        job = await until_ended(request, job)
    response = json_response(job_json(job), 200 if job.status in ENDED else 202)
    response.headers["location"] = f"/jobs/{job.id}"
    return response


@router.get("/jobs", response_model=None, responses=problems(401, 403, 422, 429, 503))
async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> Response:
    """List the jobs, the newest first."""
    newest = await asyncio.to_thread(runner_of(request).store.newest, limit)
    return json_response({"jobs": [job_json(each) for each in newest]})


@router.get("/jobs/{job_id}", response_model=None, responses=_OF_ONE)
async def job(job_id: str, request: Request) -> Response:
    """Return the status of a job, and its results when it is done."""
    existing = await find_job(request, job_id)
    state = await asyncio.to_thread(state_of, runner_of(request), existing)
    return json_response({**job_json(existing), "progress": state})


@router.delete("/jobs/{job_id}", response_model=None, responses={**_JOB, **_OF_ONE})
async def cancel(job_id: str, request: Request) -> Response:
    """End a job with all its processes; one that has ended stays as it is."""
    existing = await cancel_job(request, job_id)
    return json_response(job_json(existing), 200 if existing.status in ENDED else 202)


async def _job(job_id: str, request: Request) -> JobRow:
    return await find_job(request, job_id)


def _after(request: Request) -> int:
    # A browser names the event only when it asks again; a page names what it was drawn with.
    first = request.query_params.get("after", "0")
    text = request.headers.get("last-event-id", first).strip() or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise Problem(422, "invalid-rows", "Last-Event-ID: expected the id of an event")
    return int(text)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=problems(401, 403, 404, 422, 429, 503),
)
async def events(
    request: Request,
    existing: Annotated[JobRow, Depends(_job)],
    after: Annotated[int, Depends(_after)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: stages, finished trials and its log, as server-sent events.

    `Last-Event-ID` goes on after that event. The stream ends with the event `end`.
    """
    async for event in follow(request, existing, after):
        yield event
