"""Settings of the service: where it listens, what it reads, and how much it takes at once.

``kedro ratchet serve`` makes them of ``conf/*/serving.yml`` and of what Kedro's configuration says
of the registry; the serving process gets them as JSON and so needs no Kedro. Each is also read from
an environment variable, as containers are configured.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ratchet.config.base import explain_errors
from ratchet.errors import ConfigError
from ratchet.registry import EXPORTED_BUNDLES, EXPORTED_LEDGER

METRICS_PORT = 9464
"""Where the metrics of several workers are, if nothing else is set: one port per worker."""

PREFIX = "RATCHET_"
"""What environment variables with settings begin with: ``RATCHET_PORT``."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")
"""How a browser on the same machine may call us."""

_LIST = re.compile(r"\[\s*(?![0-9a-fA-F:.]+])")
"""Begin of a list in JSON; ``[::1]`` is an address."""

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Group(BaseModel):
    """Unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Group):
    """How much a request, and a client, may ask for.

    Attributes:
        row_bytes: size of the body of a request about one row.
        batch_bytes: size of a body with many rows.
        batch_rows: rows of one request.
        chunk_rows: rows of a batch that are answered before other requests get their turn; those of
            a path look at each other, and are answered at once.
        rate: requests per second of one key, or of one address without a key; 0 for any number.
            This machine itself is not counted as long as no keys are needed.
        burst: requests that may come at once.
        slow_answers: requests that may wait for a version that is not compiled.
        body_seconds: time a client has to send its headers, and its body.
        idle_seconds: time after which a connection is closed on which nothing is asked, or whose
            answer is not read.
    """

    row_bytes: Count = 64 * 1024
    batch_bytes: Count = 8 * 1024 * 1024
    batch_rows: Count = 10_000
    chunk_rows: Count = 128
    rate: Annotated[float, Field(ge=0)] = 100.0
    burst: Count = 200
    slow_answers: Count = 20
    body_seconds: Positive = 10.0
    idle_seconds: Positive = 30.0


class AirflowApi(_Group):
    """Airflow, where searches run as runs of a DAG; credentials are in the environment.

    Attributes:
        url: address of its API server, without credentials, which are in the environment.
        dag: id of the DAG, see ``dags/search.py``.
        poll_seconds: how often the state of a run is looked at.
    """

    url: str = "http://127.0.0.1:8080"
    dag: Annotated[str, Field(min_length=1)] = "search"
    poll_seconds: Positive = 5.0

    @field_validator("url")
    @classmethod
    def _without_credentials(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as http://127.0.0.1:8080")
        if parts.username is not None or parts.query:
            raise ValueError(
                "expected an address without user and password: these are in the environment, "
                "RATCHET_AIRFLOW_USER and RATCHET_AIRFLOW_PASSWORD"
            )
        return url


class Jobs(_Group):
    """How searches are run that are asked for over HTTP.

    Attributes:
        folder: where each has a folder of its own.
        at_a_time: how many run at the same time; others wait.
        budget: trials of all networks together that one may have.
        processes: how many processes of one train side by side; by default a core is left free.
        promote: let a winner serve at once that the gate promotes; a person decides otherwise.
        wait_seconds: how long ``?wait=1`` waits at most.
        keep: jobs that have ended whose files stay in ``folder``, the newest; what became of the
            others is in the database.
        engine: what runs them: processes of this machine, or Airflow.
        airflow: which Airflow.
    """

    folder: Path = Path("data/jobs")
    at_a_time: Count = 1
    budget: Count = 600
    processes: Annotated[int, Field(ge=1)] | None = None
    promote: bool = False
    wait_seconds: Positive = 3600.0
    keep: Count = 50
    engine: Literal["local", "airflow"] = "local"
    airflow: AirflowApi = AirflowApi()

    @property
    def training_processes(self) -> int:
        """How many processes of a job train side by side."""
        return self.processes or max(1, (os.cpu_count() or 2) - 1)


class Settings(_Group):
    """Settings of a serving process.

    Attributes:
        host: address to listen on; any that other machines can reach needs keys.
        port: port to listen on.
        workers: processes behind that port, each with one thread.
        metrics_port: a port of its own for the metrics, of several workers the first of as many
            ports. By default they are at ``/metrics`` of the service, of several workers at 9464
            and the ports after it.
        metrics_host: address of the metrics' port; metrics need no key there.
        database_url: database of decisions and predictions; follows from ``tracking_uri`` of the
            project.
        tracking_uri: where MLflow tracks; by default that database.
        bundles: folder of the versions; follows from ``paths`` of the project.
        models: folder that ``kedro ratchet export`` has written; its versions and decisions are
            served instead of those of ``bundles`` and of the database. Nothing is written there.
        state: folder of the service's own files: the journal of answers, and the like.
        keys_file: hashes of the keys: who may do what, see ``kedro ratchet keys``.
        public_predictions: allow predictions without a key, where there are keys.
        allowed_hosts: names by which clients may call the service, beside 127.0.0.1 and localhost;
            they need keys.
        trusted_proxies: addresses or networks of proxies, beside this machine, that may say who
            their client is and that it uses HTTPS (``X-Forwarded-For``, ``X-Forwarded-Proto``).
        use_cases: names of all use cases, whether or not something serves; follows from the
            parameter files.
        films: use case behind ``/predict/classification`` and ``/predict/regression``.
        power: use case behind ``/predict``.
        poll_seconds: how often the ledger is looked at.
        shadow: let a challenger answer the same rows in shadow, beside the champion.
        split: use case -> share of the requests that a challenger answers in the champion's place,
            for questions whose answer changes what happens; its requests have no shadow.
        compiled: answer by compiled models where that is possible.
        queue_rows: answers that may wait for the prediction log; beyond that requests get a 503.
        stop_seconds: time that requests have to end after SIGTERM.
        limits: how much may be asked for.
        project: folder of the project, whose code and configuration searches run with; set by
            ``kedro ratchet serve``.
        env: environment of that configuration, Kedro's default otherwise; set likewise.
        model_output: folder with what the monitoring has found.
        jobs: how searches are run.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    metrics_port: Port | None = None
    metrics_host: str = "127.0.0.1"
    database_url: str = "sqlite:///mlflow.db"
    tracking_uri: str | None = None
    bundles: Path = Path("data/06_models/bundles")
    models: Path | None = None
    state: Path = Path("data/serving")
    keys_file: Path = Path("conf/local/api_keys.json")
    public_predictions: bool = False
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    films: str = "films"
    power: str = "power"
    poll_seconds: Positive = 1.0
    shadow: bool = True
    split: Mapping[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    compiled: bool = True
    queue_rows: Count = 20_000
    stop_seconds: Annotated[float, Field(gt=0, le=60)] = 4.0
    limits: Limits = Limits()
    project: Path = Path()
    env: str | None = None
    model_output: Path = Path("data/07_model_output")
    jobs: Jobs = Jobs()

    @field_validator("host", "metrics_host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @field_validator("allowed_hosts")
    @classmethod
    def _as_clients_write_them(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_in_brackets(name) for name in names)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"{proxy!r}: expected an address or a network such as 172.18.0.0/16; a "
                    f"trusted proxy can pass for any client"
                ) from None
        return proxies

    @model_validator(mode="after")
    def _keep_ports_apart(self) -> Self:
        if self.port in self.metrics_ports:
            raise ValueError(f"metrics_port: {self.port} is the port of the service itself")
        if self.metrics_ports and self.metrics_ports[-1] > 65535:
            raise ValueError(f"metrics_port: {self.workers} workers need as many ports from there")
        return self

    @property
    def metrics_ports(self) -> list[int]:
        """Ports of the metrics, one per worker; none where they are at ``/metrics``.

        A counter of one of several processes behind a port would seem to jump with every scrape.
        """
        first = self.metrics_port
        if first is None and self.workers == 1:
            return []
        first = METRICS_PORT if first is None else first
        return [first + number for number in range(self.workers)]

    @property
    def ledger_url(self) -> str:
        """Database of the decisions."""
        if self.models is None:
            return self.database_url
        return f"sqlite:///{(self.models / EXPORTED_LEDGER).absolute()}"

    @property
    def versions(self) -> Path:
        """Folder of the versions that may serve."""
        return self.bundles if self.models is None else self.models / EXPORTED_BUNDLES

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        """Where a person on this machine finds the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{self.port}"


def _in_brackets(name: str) -> str:
    """Name of a host as requests have it: addresses of IPv6 in brackets, in their short form."""
    try:
        return f"[{ipaddress.IPv6Address(name.removeprefix('[').removesuffix(']'))}]"
    except ValueError:
        return name


def is_loopback(host: str | None) -> bool:
    """Whether an address is one of this machine that others cannot reach."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def read_settings(
    content: Mapping[str, Any], place: str, places: Mapping[str, str] | None = None
) -> Settings:
    """Settings from what was configured.

    Args:
        content: their values.
        place: where they were read from, for messages.
        places: setting -> where it was read from, if elsewhere.

    Raises:
        ConfigError: a key is unknown or a value cannot be used; one line for each.
    """
    try:
        return Settings.model_validate(dict(content))
    except ValidationError as error:
        lines = [
            f"{(places or {}).get(re.split('[.:]', line)[0], place)}: {line}"
            for line in explain_errors(error, Settings)
        ]
        raise ConfigError("\n".join(lines)) from error


def variable(name: str) -> str:
    """Environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def environment_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings that environment variables give; an empty variable gives none.

    Lists are JSON or separated by commas; groups such as ``limits`` are JSON. Addresses of IPv6 may
    be in brackets.

    Raises:
        ConfigError: a variable holds broken JSON.
    """
    found: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        text = environ.get(variable(name), "").strip()
        if text.startswith("{") or _LIST.match(text):
            try:
                found[name] = json.loads(text)
            except ValueError as error:
                raise ConfigError(f"{variable(name)}: expected JSON: {error}") from error
        elif name == "port" and text.startswith("tcp://"):
            continue  # Kubernetes sets RATCHET_PORT where there is a Service called ratchet
        elif text:
            is_list = get_origin(field.annotation) is tuple
            found[name] = [part.strip() for part in text.split(",")] if is_list else text
    return found


def load_settings(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from JSON, or from a file that holds it, and from environment variables.

    Args:
        text: JSON, whose settings go before those of variables; or the path of a file, whose
            settings come after them.
        environ: the environment; none by default.

    Raises:
        ConfigError: there is no such file, it holds no JSON, or a value cannot be used.
    """
    given = environment_settings(environ or {})
    places = {name: variable(name) for name in given}
    if text.lstrip().startswith("{"):
        content = _read_object(text, "--settings")
        return read_settings({**given, **content}, "--settings", places)
    try:
        content = _read_object(Path(text).read_text(encoding="utf-8"), text)
    except OSError as error:
        raise ConfigError(f"{text}: {error.strerror}; expected a file of settings") from error
    return read_settings({**content, **given}, text, places)


def _read_object(text: str, origin: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{origin}: expected JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: expected a JSON object of settings")
    return content
