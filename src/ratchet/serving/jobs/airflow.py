"""Searches as runs of a DAG: started, watched and ended through Airflow's REST API (version 2).

The DAG run of a job has an id that follows from the job's. Whoever starts it twice gets the same
one, and a service that comes later finds it without having noted anything.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ratchet.errors import ConfigError, UserError
from ratchet.serving.jobs.specification import Order
from ratchet.serving.jobs.store import JobRow
from ratchet.serving.settings import AirflowApi, is_loopback

LOGGER = logging.getLogger(__name__)

HOST = "airflow:"
"""Host of a job that runs there; no machine is called so."""

USER, PASSWORD, TOKEN = "RATCHET_AIRFLOW_USER", "RATCHET_AIRFLOW_PASSWORD", "RATCHET_AIRFLOW_TOKEN"
"""Environment variables with the credentials: a user and a password, or a token.

With ``_FILE`` added, the name of a file that has the value.
"""

_SECONDS = 10.0  # that a call may take
_ENDED = ("success", "failed")
_GONE = "gone"


class UnavailableError(UserError):
    """Airflow cannot be reached, or cannot answer at present."""


class RefusedError(UserError):
    """Airflow refuses a call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Calls of Airflow's REST API, with a token that is fetched when it is needed.

    Neither credentials nor tokens are in any message.

    Args:
        url: address of the API server.
        environ: has the credentials.

    Raises:
        ConfigError: it has none, or names a file that cannot be read.
    """

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._user, self._password = environ.get(USER), _secret(environ, PASSWORD)
        self._token = _secret(environ, TOKEN)
        if not self._token and not (self._user and self._password):
            raise ConfigError(
                f"jobs.engine: airflow needs the credentials of a user of Airflow in the "
                f"environment: {USER} and {PASSWORD}, or {TOKEN}"
            )
        # No proxy is in front of this machine.
        proxies: dict[str, str] | None = {} if is_loopback(urlsplit(url).hostname) else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call the API; a token that has ended is replaced once.

        Raises:
            UnavailableError: it cannot be reached, or answers with 429 or 5xx.
            RefusedError: it answers with another error.
        """
        if self._token is None:
            self._token = self._log_in()
        try:
            return self._send(method, path, body)
        except RefusedError as error:
            if error.status != HTTPStatus.UNAUTHORIZED or not self._user:
                raise
        self._token = self._log_in()
        return self._send(method, path, body)

    def _log_in(self) -> str:
        body = {"username": self._user, "password": self._password}
        self._token = None
        return str(self._send("POST", "/auth/token", body)["access_token"])

    def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._url}{path}", content, headers, method=method
        )  # the scheme is checked by the settings
        try:
            with self._opener.open(request, timeout=_SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise _refusal(error, method, path) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(f"Airflow does not answer at {self._url}: {reason}") from None
        if not isinstance(answer, dict):
            raise UnavailableError(f"{method} {path}: Airflow's answer is no object of JSON")
        return answer


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    """A variable, or what is in the file that it names with ``_FILE`` added."""
    if value := environ.get(name):
        return value
    if not (path := environ.get(f"{name}_FILE")):
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}_FILE: {path}: {error.strerror}; expected a file") from error


def _refusal(error: urllib.error.HTTPError, method: str, path: str) -> UserError:
    """What an error of the API is called; of a login nothing is said of its body."""
    detail = ""
    if not path.startswith("/auth"):
        try:
            detail = f": {json.load(error)['detail']!s:.300}"
        except (OSError, ValueError, KeyError, TypeError):
            detail = ""
    message = f"Airflow answers {method} {path} with {error.code} {error.reason}{detail}"
    if error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500:
        return UnavailableError(message)
    return RefusedError(error.code, message)


class DagRun:
    """A DAG run as the process of a job; its state is looked at every few seconds.

    Args:
        client: calls the API.
        path: of the run in the API.
        seconds: time between two looks.
        clock: seconds.
        state: its state, as far as Airflow reported it.
    """

    pid: int | None = None
    started: str | None = None
    code: int | None = None

    def __init__(
        self,
        client: Client,
        path: str,
        seconds: float,
        clock: Callable[[], float],
        state: str,
    ) -> None:
        self._client, self._path, self._seconds, self._clock = client, path, seconds, clock
        self._state, self._looked = state, clock()
        self._cancelled: float | None = None

    def is_alive(self) -> bool:
        """Whether it waits or runs; while Airflow does not answer it is taken to."""
        now = self._clock()
        if self._state not in (*_ENDED, _GONE) and now - self._looked >= self._seconds:
            self._looked = now
            try:
                self._state = self._client.call("GET", self._path)["state"]
            except RefusedError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    self._state = _GONE
                else:
                    LOGGER.error("The state of a search is not known: %s", error)
            except UnavailableError as error:
                LOGGER.warning("The state of a search is not known: %s", error)
        return self._state not in (*_ENDED, _GONE)

    def kill(self, number: int) -> None:
        """Let Airflow end its tasks; repeated every few seconds until it has."""
        now = self._clock()
        if not self.is_alive() or (
            self._cancelled is not None and now - self._cancelled < self._seconds
        ):
            return
        self._cancelled = now
        try:
            self._client.call("PATCH", f"{self._path}?update_mask=state", {"state": "failed"})
        except UserError as error:
            LOGGER.warning("%s: a search cannot be ended: %s", signal.Signals(number).name, error)

    @property
    def reason(self) -> str:
        """Why it has ended without a result, as far as Airflow says."""
        run = self._path.rpartition("/")[2]
        if self._state == _GONE:
            return f"its DAG run {run} was deleted in Airflow"
        return f"its DAG run {run} has ended as {self._state} without a result; its log says why"


class AirflowEngine:
    """Starts jobs as runs of a DAG, and finds those of earlier services.

    Args:
        settings: address, DAG and how often its state is looked at.
        project: folder that paths are relative to where commands run.
        environ: has the credentials.
        clock: seconds.

    Raises:
        ConfigError: there are no credentials.
    """

    host = HOST

    def __init__(
        self,
        settings: AirflowApi,
        project: Path,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._project, self._clock = settings, project.resolve(), clock
        self._client = Client(settings.url, environ)
        self._runs = f"/api/v2/dags/{quote(settings.dag, safe='')}/dagRuns"

    def start(self, folder: Path, order: Order) -> DagRun:
        """Start the DAG run of a job, or find it where it was started before.

        Raises:
            UnavailableError: Airflow cannot be reached at present.
            RefusedError: it refuses, such as where it does not know the DAG.
        """
        path = folder.resolve()
        if path.is_relative_to(self._project):  # commands run there, also in a container
            path = path.relative_to(self._project)
        run = _run_id(order.job)
        body = {"dag_run_id": run, "logical_date": None, "conf": {"folder": str(path)}}
        try:
            state = self._client.call("POST", self._runs, body)["state"]
        except RefusedError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            state = "queued"  # a service that has died meanwhile has started it
        return self._run(run, state)

    def find(self, job: JobRow, folder: Path) -> DagRun | None:
        """The DAG run of a job; ``None`` where it was never started.

        Raises:
            UnavailableError: Airflow cannot be reached at present.
            RefusedError: it refuses.
        """
        run = _run_id(job.id)
        try:
            state = self._client.call("GET", f"{self._runs}/{run}")["state"]
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return self._run(run, state)

    def _run(self, run: str, state: str) -> DagRun:
        path, seconds = f"{self._runs}/{run}", self._settings.poll_seconds
        return DagRun(self._client, path, seconds, self._clock, state)


def _run_id(job: str) -> str:
    return f"job_{job}"
