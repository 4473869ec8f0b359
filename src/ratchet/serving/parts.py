"""What stands behind the routes of a service that runs: the parts, made from its settings."""

from __future__ import annotations

import os
from collections.abc import Callable

from fastapi import FastAPI

from ratchet.compiled.store import loads
from ratchet.database import SERVICE_LOCK_SECONDS, connect
from ratchet.monitoring.measurements import Measurements
from ratchet.registry.ledger import Ledger
from ratchet.serving.app import create_app
from ratchet.serving.handover import Source
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.log import JournaledLog, TruthJoiner
from ratchet.serving.measurements import StoredMeasurements
from ratchet.serving.opening import VersionOpener
from ratchet.serving.overview import Overview
from ratchet.serving.settings import Settings
from ratchet.serving.watcher import Notice, Watcher, log_notice
from ratchet.webhook import ADDRESS, Webhook

JOURNAL = "journal"
"""Folder of the journals, in that of the service's own files."""


def application(settings: Settings, worker: int = 0) -> FastAPI:
    """The application with all that stands behind it.

    Args:
        settings: the settings.
        worker: number of this process, of several behind the same port.
    """
    folder, url = settings.state / JOURNAL, settings.database_url
    engine = connect(url, SERVICE_LOCK_SECONDS)
    ledger = Ledger(connect(url))  # nobody waits for it, so that it waits for others
    opener = opener_of(settings, ledger)
    models = watcher_of(settings, ledger, opener)
    measurements = StoredMeasurements(Measurements(engine), models, models.ready)
    opener.on_prepare(measurements.prepare)
    models.on_poll(lambda: catch_up(models, measurements))
    log = JournaledLog(folder, url, queue_rows=settings.queue_rows)
    return create_app(
        settings,
        models,
        log=log,
        measurements=measurements,
        truths=TruthJoiner(log, models),
        runner=Runner(settings, JobStore(url)),
        overview=Overview(url, settings.model_output),
        worker=worker,
    )


def catch_up(models: Watcher, measurements: StoredMeasurements) -> None:
    """Let forecasts see what other processes were handed."""
    for name in models.use_cases():
        serving = models.champion(name)
        if serving is not None and serving.use_case.data.series is not None:
            measurements.catch_up(name)


def opener_of(settings: Settings, ledger: Ledger) -> VersionOpener:
    """What opens the versions of a project."""
    url = settings.database_url
    # MLflow is asked for versions only that the ledger has no digest of.
    tracking = settings.tracking_uri or url
    source = Source(tracking, str(settings.bundles), url, settings.compiled)
    return VersionOpener(ledger, source, loads)


def watcher_of(settings: Settings, ledger: Ledger, opener: VersionOpener) -> Watcher:
    """What follows the ledger of a project."""
    return Watcher(
        ledger,
        opener,
        use_cases=settings.use_cases,
        shadows=lambda name: settings.shadow or name in settings.split,
        poll_seconds=settings.poll_seconds,
        notify=notify_by(Webhook(os.environ.get(ADDRESS))),
    )


def notify_by(webhook: Webhook) -> Callable[[Notice], None]:
    """Write notices to the log, and send them where there is an address for messages."""

    def notify(notice: Notice) -> None:
        log_notice(notice)
        about = {"use_case": notice.use_case, "version": notice.version, "advice": notice.advice}
        webhook.send("alert", f"{notice.text}: {notice.advice}", **about)

    return notify
