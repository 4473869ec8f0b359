"""What stands behind the routes of a service that runs: the parts, made from its settings."""

from __future__ import annotations

from fastapi import FastAPI

from ratchet.serving.app import create_app
from ratchet.serving.models import Fixed
from ratchet.serving.settings import Settings


def application(settings: Settings, worker: int = 0) -> FastAPI:
    """The application with all that stands behind it.

    Args:
        settings: the settings.
        worker: number of this process, of several behind the same port.
    """
    return create_app(settings, Fixed([], settings.use_cases), worker=worker)
