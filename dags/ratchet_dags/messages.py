"""Tells the project's webhook that a run failed or is late."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ratchet_dags.manifest import PROJECT, manifest

LOGGER = logging.getLogger(__name__)
ADDRESS = "RATCHET_WEBHOOK_URL"
_SECONDS = 60
"""A message that takes longer is given up."""


def failed(context: Mapping[str, Any]) -> None:
    """A DAG run has failed. Airflow calls it, in a process of its own."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    notify("failure", f"{dag_id}: run {run_id} failed; `kedro ratchet ledger` says what serves")


def late(dag_id: str, hours: float, context: Mapping[str, Any] | None = None) -> None:
    """A DAG run is not done when it should be. Airflow calls it."""
    run = (context or {}).get("dag_run") or {}
    run_id = run.get("dag_run_id") or run.get("run_id") if isinstance(run, Mapping) else run.run_id
    notify(
        "alert",
        f"{dag_id}: run {run_id or ''} is not done after {hours:g} hours".replace("  ", " "),
    )


def notify(event: str, text: str) -> None:
    """Send a message; trouble with that is logged and hurts nothing.

    The project's command knows the address from its credentials. Where the project is not
    installed beside Airflow, the environment has to name it.
    """
    python = Path(PROJECT, manifest()["runner"]["python"])
    try:
        if python.is_file():
            words = ["-m", "kedro", "ratchet", "notify", "--event", event, text]
            subprocess.run([str(python), *words], cwd=PROJECT, timeout=_SECONDS, check=True)
        elif url := os.environ.get(ADDRESS):
            body = json.dumps({"event": event, "text": text}).encode()
            with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=5):
                pass
    except Exception as error:  # the address is a secret, and may stand in the error
        LOGGER.warning("no message could be sent: %s", type(error).__name__)
