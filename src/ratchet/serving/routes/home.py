"""``GET /``: what serves, for programs and for people; ``GET /models-info``: the networks."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

import ratchet
from ratchet.serving.answering import Service, json_response, moment, service_of
from ratchet.serving.jobs.specification import ARCHITECTURES, architectures, by_family
from ratchet.serving.pages import page, wants_html
from ratchet.serving.protocols import Serving
from ratchet.serving.request_context import Call, call_of

router = APIRouter(tags=["what serves"])

LINKS = {
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "health": "/health",
    "metrics": "/metrics",
    "models": "/models-info",
    "monitoring": "/monitoring",
    "advanced_training": "/advanced-training",
    "jobs": "/jobs",
}


@router.get("/", response_model=None)
async def what_serves(request: Request) -> Response:
    """Say what serves: use cases, versions, targets and where to ask."""
    service, call = service_of(request), call_of(request)
    content = {
        "service": "ratchet",
        "version": ratchet.__version__,
        "use_cases": [use_case_json(service, name, call) for name in service.models.use_cases()],
        "links": LINKS,
    }
    return (
        page(request, "home.html.j2", networks=len(architectures()), **content)
        if wants_html(request)
        else json_response(content)
    )


def use_case_json(service: Service, name: str, call: Call) -> dict[str, object]:
    """A use case, and the version that answers for it."""
    serving = service.models.champion(name)
    if serving is None:
        why = service.problems(call).get(name, "nothing serves yet")
        return {"name": name, "serves": None, "why": why}
    about = serving.use_case.about
    return {
        "name": name,
        "title": about.title,
        "question": " ".join(about.question.split()),
        "serves": version_json(serving, in_full=service.shows_all(call)),
        "targets": [
            {
                "name": target,
                "task": each.task,
                "classes": each.classes,
                "unit": each.unit or None,
            }
            for target, each in serving.use_case.targets.items()
        ],
        "predict": f"/predict/{name}",
        **(
            {"recommend_price": f"/recommend-price/{name}"}
            if serving.use_case.market is not None
            else {}
        ),
    }


def version_json(serving: Serving, *, in_full: bool) -> dict[str, object]:
    """A version that answers, and why it is slow where that may be seen."""
    until, degraded = serving.trained_until, serving.degraded
    return {
        "model_version": serving.version,
        "digest": serving.digest,
        "since": moment(serving.since),
        "trained_until": None if until is None else moment(until),
        "degraded": degraded if in_full or degraded is None else "it is not compiled",
    }


@router.get("/models-info", response_model=None)
async def models_info(request: Request) -> Response:
    """List the thirty recurrent architectures by family, with what can be searched."""
    if wants_html(request):
        return page(request, "networks.html.j2", families=by_family())
    return Response(_architectures(), media_type="application/json")


@cache
def _architectures() -> bytes:
    content = files("ratchet").joinpath(ARCHITECTURES).read_bytes()
    return json.dumps(json.loads(content)).encode()
