"""``/advanced-training``: a page to start a search, watch it, and read its ranking."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from ratchet.serving.errors import Problem, of_validation
from ratchet.serving.jobs.operations import (
    add_job,
    cancel_job,
    find_job,
    job_json,
    runner_of,
    seconds_of,
    state_of,
)
from ratchet.serving.jobs.specification import TrainRequest, architectures, by_family
from ratchet.serving.jobs.store import ENDED, JobRow
from ratchet.serving.pages import first, page, read_form
from ratchet.serving.security import require_scope

router = APIRouter(
    prefix="/advanced-training",
    include_in_schema=False,
    dependencies=[Depends(require_scope("train"))],
)

_NUMBERS = ("n_trials", "lookback", "horizon")
_WORDS = ("mode", "optimization_strategy", "use_case")
_SHOWN = 20
_DIGITS = 18
_LABELS = {
    "model_ids": "Networks",
    "n_trials": "Trials of each network",
    "lookback": "Lookback",
    "horizon": "Horizon",
    "use_case": "Use case",
    "optimization_strategy": "Strategy",
    "mode": "How thoroughly",
}
"""Field of a request -> what the page calls it."""

_STAGES = {
    "prepare": "preparing the data",
    "search": "training the networks",
    "compare": "comparing the networks",
    "fit": "fitting the winner",
    "evaluate": "evaluating the winner",
    "gate": "judging the winner at the gate",
    "done": "done",
}
MEDALS = {1: ("gold", "1st"), 2: ("silver", "2nd"), 3: ("bronze", "3rd")}
"""Place -> its medal, and the same in letters."""


@router.get("")
async def show(request: Request, job: str | None = None) -> Response:
    """The page: the form, one job, and those before it."""
    return await _page(request, job, TrainRequest().model_dump())


@router.post("")
async def start(request: Request) -> Response:
    """Start what the form asks for; the page shows what is wrong with it."""
    form = await read_form(request)
    values = _values(form)
    try:
        training = TrainRequest.model_validate(values)
        job, _ = await add_job(request, training, _key(form, training))
    except (ValidationError, Problem) as error:
        problem = of_validation(error) if isinstance(error, ValidationError) else error
        response = await _page(request, None, TrainRequest().model_dump() | values, problem)
        response.status_code = problem.status_code
        return response
    return RedirectResponse(f"/advanced-training?job={job.id}#job", 303)


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, request: Request) -> Response:
    """End a job."""
    job = await cancel_job(request, job_id)
    return RedirectResponse(f"/advanced-training?job={job.id}#job", 303)


def _key(form: Mapping[str, list[str]], training: TrainRequest) -> str | None:
    """Tells a form that was sent twice, by a double click, from two forms."""
    if not (page_id := first(form, "form")):
        return None
    return sha256(f"{page_id}\n{training.model_dump_json()}".encode()).hexdigest()[:32]


def _values(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """Fields of the form as a request has them."""
    values: dict[str, Any] = {name: first(form, name) for name in _WORDS if name in form}
    for name in _NUMBERS:
        text = first(form, name)
        values[name] = int(text) if _is_number(text) else text
    values["horizon"] = None if values["horizon"] == "" else values["horizon"]
    chosen = [int(each) for each in form.get("model_ids", []) if _is_number(each)]
    values["model_ids"] = None if len(chosen) == len(architectures()) else chosen
    return values


def _is_number(text: str) -> bool:
    """Whether a text is a whole number, and none that takes long to read."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


async def _page(
    request: Request, job: str | None, values: Mapping[str, Any], problem: Problem | None = None
) -> Response:
    runner = runner_of(request)
    service = request.app.state.service
    jobs = await asyncio.to_thread(runner.store.newest, _SHOWN)
    shown_job = next((each for each in jobs if each.status not in ENDED), None)
    if job is not None:
        shown_job = await find_job(request, job)
    state = await asyncio.to_thread(state_of, runner, shown_job) if shown_job else None
    series = [name for name in service.models.use_cases() if _has_series(service, name)]
    chosen = values["model_ids"]
    return page(
        request,
        "training.html.j2",
        families=by_family(),
        chosen=set(architectures()) if chosen is None else set(chosen),
        values=values,
        use_cases=series,
        budget=service.settings.jobs.budget,
        problem=problem,
        job=_shown(shown_job, _unit(service, shown_job)) if shown_job else None,
        stages=_STAGES,
        labels=_LABELS,
        promotes=service.settings.jobs.promote,
        form_id=secrets.token_hex(8),
        state=state,
        history=[_shown(each) for each in jobs],
    )


def _has_series(service: Any, name: str) -> bool:
    """Whether networks can forecast it; of what does not serve yet it is not known."""
    serving = service.models.champion(name)
    return serving is None or any(t.is_series for t in serving.use_case.targets.values())


def _unit(service: Any, job: JobRow) -> str | None:
    """Unit of what a job forecasts, as far as it is known."""
    serving = service.models.champion(job.request["use_case"])
    targets = serving.use_case.targets.values() if serving else ()
    return next((str(each.unit) for each in targets if each.is_series and each.unit), None)


def _shown(job: JobRow, unit: str | None = None) -> dict[str, Any]:
    """A job as the page has it: with its ranking, best first."""
    content, networks = job_json(job), architectures()
    rows = content.get("results") or content.get("all_results") or []
    name = "rmse" if content["mode"] == "fast" else "best_rmse"
    worst = max((row[name] for row in rows if row[name] is not None), default=0.0)
    ranking = [
        {
            **row,
            "place": rank,
            "medal": MEDALS.get(rank),
            "value": row[name],
            "share": 100 * row[name] / worst if worst and row[name] is not None else None,
            "family": networks[row["model_id"]].family,
        }
        for rank, row in enumerate(rows, 1)
    ]
    return {
        **content,
        "seconds": seconds_of(job),
        "ended": job.status in ENDED,
        "ranking": ranking,
        "unit": unit,
    }
