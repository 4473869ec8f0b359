"""What stands behind the routes of a service that runs: the parts, made from its settings."""

from __future__ import annotations

import os

from fastapi import FastAPI

from ratchet.compiled.store import loads
from ratchet.database import connect
from ratchet.release.ledger import Ledger
from ratchet.serving.app import create_app
from ratchet.serving.handover import Source
from ratchet.serving.log import JoinedTruths, JournaledLog
from ratchet.serving.settings import Settings
from ratchet.serving.watcher import Watcher

JOURNAL = "journal"
"""Folder of the journals, in that of the service's own files."""


def application(settings: Settings, worker: int = 0) -> FastAPI:
    """The application with all that stands behind it.

    Args:
        settings: the settings.
        worker: number of this process, of several behind the same port.
    """
    models = watcher_of(settings)
    folder, url = settings.state / JOURNAL, settings.database_url
    log = JournaledLog(folder, url, queue_rows=settings.queue_rows)
    return create_app(settings, models, log=log, truths=JoinedTruths(log, models), worker=worker)


def watcher_of(settings: Settings) -> Watcher:
    """What follows the ledger of a project."""
    url = settings.database_url
    # MLflow is asked for versions only that the ledger has no digest of.
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or url
    return Watcher(
        Ledger(connect(url)),
        Source(tracking, str(settings.bundles), url),
        loads,
        use_cases=settings.use_cases,
        shadows=lambda _: settings.shadow,
        poll_seconds=settings.poll_seconds,
    )
