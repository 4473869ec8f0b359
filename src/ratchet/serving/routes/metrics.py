"""``GET /metrics``: what Prometheus reads, unless that has a port of its own."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from ratchet.serving.answering import service_of
from ratchet.serving.errors import Problem
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_model=None,
    dependencies=[Depends(require_scope("operate"))],
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(401, 403, 404),
    },
)
async def metrics(request: Request) -> Response:
    """Show requests, errors, latencies, predictions and versions, as Prometheus reads them."""
    service = service_of(request)
    if ports := service.settings.metrics_ports:
        where = ", ".join(map(str, ports))
        raise Problem(
            404, "Not Found", f"metrics have ports of their own, one for each process: {where}"
        )
    content, media_type = service.metrics.text(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": media_type})
