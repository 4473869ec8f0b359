"""``GET /health``: whether the service lives, whether it can answer, and how well."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from ratchet.serving.answering import Service, json_response, no_prices, service_of
from ratchet.serving.metrics import age_of
from ratchet.serving.request_context import Call, call_of
from ratchet.serving.routes.home import version_json

router = APIRouter(prefix="/health", tags=["health"])
_LOG_IS_BEHIND = "answers do not reach the database"
"""Public text of a problem whose full text names files."""

_NOT_READY: dict[int | str, dict[str, object]] = {503: {"description": "it cannot answer yet"}}


@router.head("", include_in_schema=False)
@router.get("", response_model=None, responses=_NOT_READY)
async def health(request: Request) -> Response:
    """Say how the service is: 200 where it answers for every use case with a champion, 503 else."""
    content = state_of(service_of(request), call_of(request))
    return json_response(content, 200 if content["ready"] else 503)


@router.head("/live", include_in_schema=False)
@router.get("/live", response_model=None)
async def live() -> Response:
    """Say that the process works, for supervisors that would restart it otherwise."""
    return json_response({"live": True})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", response_model=None, responses=_NOT_READY)
async def ready(request: Request) -> Response:
    """Say whether requests may be sent here: for load balancers."""
    state = state_of(service_of(request), call_of(request))
    content = {"ready": state["ready"], "problems": state["problems"]}
    return json_response(content, 200 if state["ready"] else 503)


def state_of(service: Service, call: Call) -> dict[str, object]:
    """How the service is, as far as a client may know."""
    models = service.models
    served = {
        name: serving
        for name in models.use_cases()
        if (serving := models.champion(name)) is not None
    }
    problems = service.problems(call)
    unserved = [name for name in problems if name not in served]
    is_ready = bool(served) and not unserved
    if not served and not problems:
        problems["service"] = "nothing serves yet: `kedro run` trains models and lets them serve"
    if service.log is not None and (problem := service.log.problem):
        problems["log"] = problem if service.shows_all(call) else _LOG_IS_BEHIND
    for name, serving in served.items():
        if serving.use_case.market is not None and serving.prices is None:
            problems[f"{name}.prices"] = no_prices(serving)
    slow = [name for name, serving in served.items() if serving.degraded is not None]
    status = "degraded" if slow or problems else "ok"
    return {
        "status": status if is_ready else "not ready",
        "live": True,
        "ready": is_ready,
        "degraded": slow,
        "problems": problems,
        "use_cases": {
            name: {
                **version_json(serving, in_full=service.shows_all(call)),
                "age_seconds": round(age_of(serving.since)),
            }
            for name, serving in served.items()
        },
        "waiting_for_log": None if service.log is None else service.log.waiting,
    }
