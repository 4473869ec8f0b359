"""Notes at runs and tasks, which the pages of Airflow show.

A task cannot write them but by Airflow's public API, as a user. Who that is:
``RATCHET_AIRFLOW_USER`` and ``RATCHET_AIRFLOW_PASSWORD``; or anybody, where Airflow asks for no
login; or, with Airflow's simple logins, one of those that it has written down on this machine. A
note that cannot be written is no trouble: the same is in the answers of the tasks (XCom).
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

LOGGER = logging.getLogger(__name__)
USER, PASSWORD = "RATCHET_AIRFLOW_USER", "RATCHET_AIRFLOW_PASSWORD"
_LONGEST = 1000
_SECONDS = 5


def note(ti: Any, text: str, *task_ids: str) -> None:
    """Write a note at the run of a task, and at some tasks of it.

    Args:
        ti: a task of the run.
        text: Markdown.
        task_ids: tasks that get the note, too.
    """
    run = f"/api/v2/dags/{quote(ti.dag_id)}/dagRuns/{quote(ti.run_id)}"
    places = [run, *(f"{run}/taskInstances/{quote(task_id)}" for task_id in task_ids)]
    try:
        token = _token()
        for place in places:
            _call("PATCH", place, {"note": _short(text)}, token)
    except Exception as error:  # whatever the server or the network come up with
        LOGGER.info("no note is written: %s: %s", type(error).__name__, error)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]} …"


def _token() -> str:
    login = _login()
    if login is None:
        return str(_call("GET", "/auth/token")["access_token"])
    user, password = login
    answer = _call("POST", "/auth/token", {"username": user, "password": password})
    return str(answer["access_token"])


def _login() -> tuple[str, str] | None:
    """Name and password; None where no login is asked for."""
    from airflow.sdk.configuration import conf

    if (user := os.environ.get(USER)) and (password := os.environ.get(PASSWORD)):
        return user, password
    if conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False):
        return None
    path = Path(
        conf.get("core", "simple_auth_manager_passwords_file", fallback="")
        or Path(os.environ["AIRFLOW_HOME"], "simple_auth_manager_passwords.json.generated")
    )
    logins: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return next(iter(logins.items()))


def _call(method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(base.rstrip("/") + path, data, headers, method=method)
    with urlopen(request, timeout=_SECONDS) as answer:
        return json.load(answer)
