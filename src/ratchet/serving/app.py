"""The application: routes, and what is done around them.

Further pages and routes are a module with a router each, and a line in ``ROUTERS``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

import ratchet
from ratchet.serving import pages
from ratchet.serving.answering import Service
from ratchet.serving.errors import add_handlers
from ratchet.serving.idempotency import Replays
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.keys import CONTENT, Keys
from ratchet.serving.metrics import Metrics
from ratchet.serving.middleware import Bodies, Requests
from ratchet.serving.openapi import OpenApi
from ratchet.serving.overview import Overview
from ratchet.serving.protocols import AnswerLog, Measurements, Models, Truths
from ratchet.serving.request_statistics import SharedCounters, Traffic
from ratchet.serving.routes import (
    electric_load,
    films,
    health,
    home,
    jobs,
    metrics,
    monitoring,
    observations,
    predict,
    prices,
    sign_in,
    training_page,
    try_page,
)
from ratchet.serving.security import Guard, check_exposure
from ratchet.serving.sessions import Sessions
from ratchet.serving.settings import Settings
from ratchet.serving.trials import Shadow, TrialVerdicts

ROUTERS = (
    home.router,
    health.router,
    metrics.router,
    films.router,  # before those with any use case in the path
    electric_load.router,
    predict.router,
    prices.router,
    observations.router,
    jobs.router,
    training_page.router,
    monitoring.router,
    try_page.router,
    sign_in.router,
)

DESCRIPTION = """\
Answers of the models that serve, from raw fields. Each has a calibrated probability or a conformal
interval, the version of the model, and the id of the request.

Errors of a request are returned as problem details (RFC 9457) that name the row and the field.
"""


def create_app(
    settings: Settings,
    models: Models,
    *,
    log: AnswerLog | None = None,
    measurements: Measurements | None = None,
    truths: Truths | None = None,
    runner: Runner | None = None,
    overview: Overview | None = None,
    worker: int = 0,
) -> FastAPI:
    """Make the application.

    Args:
        settings: the settings.
        models: what serves.
        log: where answers are written down.
        measurements: where measurements go.
        truths: where it goes what came true.
        runner: lets searches run.
        overview: gives what the page of the monitoring shows of the models.
        worker: number of this process, of several behind the same port.

    Raises:
        ConfigError: others than this machine could reach it without a key.
    """
    keys = Keys(settings.keys_file, os.environ.get(CONTENT))
    check_exposure(settings, keys)
    service = Service(
        settings,
        models,
        Metrics(models, log, None if overview is None else overview.report),
        keys,
        log,
        measurements=measurements,
        truths=truths,
        jobs=runner,
    )
    if log is not None:
        service.shadow = _shadow_of(service, log)
    shared = SharedCounters(settings.state / "traffic", worker) if settings.workers > 1 else None
    traffic = Traffic(service.metrics, shared=shared)
    background = _Background(service, traffic, TrialVerdicts(settings), runner, worker)
    app = FastAPI(
        title="Ratchet",
        version=ratchet.__version__,
        description=DESCRIPTION,
        lifespan=background.lifespan,
        docs_url=None,  # made of our own assets, see ``pages``
        redoc_url=None,
        redirect_slashes=False,
    )
    sessions = Sessions(settings.state, keys)
    _set_state(app, background, sessions, overview)
    for router in ROUTERS:
        app.include_router(router)
    pages.mount(app)
    add_handlers(app)
    pages.show_problems(app)
    app.openapi = OpenApi(app, service)  # type: ignore[method-assign]
    # The last one is the outermost.
    app.add_middleware(Bodies, limits=settings.limits)
    app.add_middleware(Guard, settings=settings, keys=keys, sessions=sessions)
    app.add_middleware(Requests, metrics=service.metrics)
    return app


def _shadow_of(service: Service, log: AnswerLog) -> Shadow:
    """What lets challengers answer while no request is being answered."""
    return Shadow(
        log,
        lambda: service.answering == 0,
        lambda name, rows: service.metrics.not_shadowed.labels(name).inc(rows),
    )


def _set_state(
    app: FastAPI, background: _Background, sessions: Sessions, overview: Overview | None
) -> None:
    """Put what routes and pages read where they find it."""
    app.state.service = background.service
    app.state.replays = Replays()
    app.state.sessions = sessions
    app.state.verdicts = background.verdicts
    app.state.overview = overview
    app.state.traffic = background.traffic
    app.state.stopping = asyncio.Event()  # set when streams have to end


@dataclass(frozen=True)
class _Background:
    """What runs beside the requests, from the start of the application to its end."""

    service: Service
    traffic: Traffic
    verdicts: TrialVerdicts
    runner: Runner | None
    worker: int

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Start all of it, and stop it in the opposite order."""
        async with AsyncExitStack() as stack:
            await self._start_answers(stack)
            if self.runner is not None:
                stack.push_async_callback(self.runner.stop)
                await self.runner.begin()
            stack.push_async_callback(self.verdicts.stop)
            watching = asyncio.create_task(self.traffic.watch())
            stack.callback(watching.cancel)
            self._serve_metrics(stack)
            yield

    async def _start_answers(self, stack: AsyncExitStack) -> None:
        """What answers need: the log first, which is the last to stop."""
        log, models, shadow = self.service.log, self.service.models, self.service.shadow
        if log is not None:
            stack.push_async_callback(log.stop)
            await log.start()
        stack.push_async_callback(models.stop)
        await models.start()
        if shadow is not None:
            stack.push_async_callback(shadow.stop)
            await shadow.start()

    def _serve_metrics(self, stack: AsyncExitStack) -> None:
        """Serve metrics at a port of their own, where that is set."""
        settings, metrics = self.service.settings, self.service.metrics
        if ports := settings.metrics_ports:
            server = metrics.serve(settings.metrics_host, ports[self.worker])
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
