"""``/monitoring``: what serves, its requests, scores, drift and trials."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from ratchet.serving.answering import Service, service_of
from ratchet.serving.charts import line_chart, top_of
from ratchet.serving.overview import DAYS_OF_ANSWERS, DAYS_OF_TRUTH, Overview, OverviewData
from ratchet.serving.pages import page
from ratchet.serving.request_context import call_of
from ratchet.serving.request_statistics import Point, Traffic
from ratchet.serving.routes.health import state_of
from ratchet.serving.routes.home import use_case_json
from ratchet.serving.security import require_scope
from ratchet.serving.trials import TrialVerdicts

router = APIRouter(
    prefix="/monitoring", include_in_schema=False, dependencies=[Depends(require_scope("operate"))]
)

_TABLE_ROWS = 12


@router.get("")
async def show(request: Request) -> Response:
    """The page."""
    return page(request, "monitoring.html.j2", **await _content(request))


@router.get("/live")
async def live(request: Request) -> Response:
    """The part of the page that changes, for the script that asks for it again and again."""
    return page(request, "_monitoring.html.j2", **await _content(request))


async def _content(request: Request) -> dict[str, Any]:
    service, overview = service_of(request), overview_of(request)
    call, names = call_of(request), list(service.models.use_cases())
    data = await asyncio.to_thread(overview.read, names) if overview else OverviewData()
    traffic: Traffic = request.app.state.traffic
    points = traffic.points()
    rates, failed = [one.rate for one in points], [one.failed for one in points]
    medians, slow = [one.median for one in points], [one.slow for one in points]
    tops = {"rate": top_of(rates), "latency": top_of(medians, slow)}
    return {
        "overview": data,
        "health": state_of(service, call),
        "use_cases": [use_case_json(service, name, call) for name in names],
        "challengers": _challengers(service, names, request.app.state.verdicts),
        "whole": traffic.whole(),
        "errors": sum(failed),
        "minutes": len(points) and round((points[-1].at - points[0].at) / 60) + 1,
        "rate_chart": line_chart(rates, top=tops["rate"], label="Requests per second"),
        "latency_chart": line_chart(
            medians, slow, top=tops["latency"], label="Milliseconds of a prediction"
        ),
        "tops": tops,
        "table": [_row(one) for one in points[::-1][:_TABLE_ROWS]],
        "days": {"answers": DAYS_OF_ANSWERS, "truth": DAYS_OF_TRUTH},
        "workers": service.settings.workers,
        "begin": datetime.fromtimestamp(points[0].at, UTC),
        "now": datetime.now(UTC),
    }


def overview_of(request: Request) -> Overview | None:
    """What reads the database; ``None`` in a service that was started without."""
    overview: Overview | None = request.app.state.overview
    return overview


def _challengers(
    service: Service, names: list[str], verdicts: TrialVerdicts
) -> list[dict[str, Any]]:
    """Versions that answer beside a champion, and the results of their trials."""
    challengers = []
    for name in names:
        champion, beside = service.models.champion(name), service.models.challenger(name)
        if champion is not None and beside is not None:
            share = service.settings.split.get(name)
            how = "shadow, not sent to clients" if share is None else f"{share:.0%} of the requests"
            challengers.append(
                {
                    "use_case": name,
                    "champion": champion.version,
                    "challenger": beside.version,
                    "how": how,
                    "trial": verdicts.look(name, champion.version, beside.version),
                }
            )
    return challengers


def _row(one: Point) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(one.at, UTC),
        "rate": one.rate,
        "refused": one.refused,
        "failed": one.failed,
        "median": one.median,
        "slow": one.slow,
    }
