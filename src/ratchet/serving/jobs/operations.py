"""What routes and pages do with jobs: start one, look at it, follow it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from fastapi import Request
from fastapi.sse import ServerSentEvent

from ratchet.serving.answering import Service, moment
from ratchet.serving.errors import FieldProblem, Problem
from ratchet.serving.jobs import progress
from ratchet.serving.jobs.runner import Runner, log_tail
from ratchet.serving.jobs.specification import TrainRequest
from ratchet.serving.jobs.store import ENDED, JobRow, ReusedKeyError
from ratchet.serving.request_context import call_of

_PAUSE = 0.5
_LOG_LINES = 12


def runner_of(request: Request) -> Runner:
    """What lets jobs run.

    Raises:
        Problem: this service was started without.
    """
    runner: Runner | None = request.app.state.service.jobs
    if runner is None:
        raise Problem(503, "nothing-serves", "this service was started without jobs")
    return runner


async def find_job(request: Request, job: str) -> JobRow:
    """A job.

    Raises:
        Problem: there is no such job.
    """
    existing = await asyncio.to_thread(runner_of(request).store.get, job)
    if existing is None:
        raise Problem(404, "unknown-job", f"there is no job '{job[:60]}'; GET /jobs lists them")
    return existing


async def add_job(request: Request, training: TrainRequest, key: str | None) -> tuple[JobRow, bool]:
    """Take a search; that which came with the same Idempotency-Key before.

    Returns:
        The job, and whether it is new.

    Raises:
        Problem: the use case has nothing to search, the search is too large, or nothing can run it.
    """
    service: Service = request.app.state.service
    runner = runner_of(request)
    if service.settings.jobs.engine == "local" and find_spec("kedro") is None:
        raise Problem(
            503,
            "nothing-serves",
            "searches take Kedro, which the image of the service does not have: let them run in "
            "Airflow (setting jobs.engine)",
        )
    check_request(service, training)
    content, actor = training.model_dump(mode="json"), call_of(request).actor
    try:
        added = await asyncio.to_thread(runner.store.add, content, actor, key)
    except ReusedKeyError as error:
        raise Problem(422, "reused-key", str(error)) from None
    runner.look()
    return added


def check_request(service: Service, training: TrainRequest) -> None:
    """Make sure that a search can be done and is not too large.

    Raises:
        Problem: names the field and the way out.
    """
    name, budget = training.use_case, service.settings.jobs.budget
    names = list(service.models.use_cases())
    if name not in names:
        raise Problem(
            404,
            "unknown-use-case",
            f"there is no use case '{name}'; there are: {', '.join(sorted(names)) or 'none yet'}",
        )
    serving = service.models.champion(name)
    if serving is not None and not any(t.is_series for t in serving.use_case.targets.values()):
        raise _field("use_case", f"{name} has no series, and networks forecast series here")
    if training.trials > budget:
        each = 1 if training.mode == "fast" else training.n_trials
        raise _field(
            "model_ids" if training.mode == "fast" else "n_trials",
            f"{each} trials x {len(training.chosen)} networks are {training.trials} trials; one "
            f"search may have {budget} (setting jobs.budget): take fewer trials or networks",
        )


def _field(name: str, message: str) -> Problem:
    existing = [FieldProblem(field=name, message=message)]
    return Problem(422, "invalid-rows", f"{name}: {message}", errors=existing)


async def cancel_job(request: Request, job: str) -> JobRow:
    """End a job; one that has ended stays as it is."""
    runner = runner_of(request)
    await find_job(request, job)
    await asyncio.to_thread(runner.store.cancel, job)
    runner.look()
    return await find_job(request, job)


async def until_ended(request: Request, job: JobRow) -> JobRow:
    """The job when it has ended, or when the client has disconnected."""
    runner, stopping = runner_of(request), request.app.state.stopping
    loop = asyncio.get_running_loop()
    until = loop.time() + runner.settings.jobs.wait_seconds
    while job.status not in ENDED and not stopping.is_set() and loop.time() < until:
        if await request.is_disconnected():
            break
        await _pause(stopping)
        job = await find_job(request, job.id)
    return job


async def follow(request: Request, job: JobRow, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events of a job from a position on, until it has ended or the service stops."""
    runner, stopping = runner_of(request), request.app.state.stopping
    folder, status = runner.folder(job.id), ""
    while not stopping.is_set():
        job = await find_job(request, job.id)
        for event in await asyncio.to_thread(progress.read_all, folder, after):
            after = event.position
            yield ServerSentEvent(
                raw_data=event.content, event=event.kind, id=str(event.position), retry=2000
            )
        if job.status != status:
            status = job.status
            kind = "end" if status in ENDED else "status"
            yield ServerSentEvent(data={"job_id": job.id, "status": status}, event=kind)
        if status in ENDED:
            return
        await _pause(stopping)


async def _pause(stopping: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), _PAUSE)


def job_json(job: JobRow) -> dict[str, Any]:
    """A job as clients get it: its status and its results."""
    left = job.result or {}
    request = job.request
    return {
        "job_id": job.id,
        "status": job.status,
        "mode": request["mode"],
        "use_case": request["use_case"],
        "request": request,
        "actor": job.actor,
        "created_at": moment(job.created_at),
        "started_at": None if job.started_at is None else moment(job.started_at),
        "ended_at": None if job.ended_at is None else moment(job.ended_at),
        "error": job.error,
        "links": {"self": f"/jobs/{job.id}", "events": f"/jobs/{job.id}/events"},
        **left.get("result", {}),
        **{name: left[name] for name in ("files", "units", "challenger") if name in left},
    }


def state_of(runner: Runner, job: JobRow) -> dict[str, Any]:
    """How far a job is, read from its folder."""
    folder = runner.folder(job.id)
    state = progress.summary(folder)
    state["log"] = state["log"] or log_tail(folder, _LOG_LINES)
    return state


def seconds_of(job: JobRow) -> float | None:
    """How long it has taken, or takes by now."""
    if job.started_at is None:
        return None
    end = job.ended_at or datetime.now(UTC).replace(tzinfo=None)
    return max(0.0, (end - job.started_at).total_seconds())
