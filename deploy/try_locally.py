"""The stack of ``compose.yaml`` as plain processes on 127.0.0.1, and one retraining through it.

Commands, variables, secrets and health checks are those of ``compose.yaml``; only addresses and
folders are others. Debian's PostgreSQL, Redis and Prometheus and the S3 of moto take the place of
images; Grafana is left out. A first model is trained on older rows and serves; then the DAG
``retrain_power`` trains on a week more, on the Celery worker. The run succeeds if that ends in a
promotion which the service takes over without a failed request and which Prometheus sees.
``docs/how-to/try-the-stack-locally.md`` has the output of a run.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import psutil
import sqlalchemy as sa
from compose_processes import (
    AIRFLOW,
    DEPLOY,
    HOST,
    MLFLOW,
    POSTGRESQL,
    PROMETHEUS,
    REDIS,
    S3,
    SERVE,
    Places,
    Stack,
    compose,
    environment,
    free_ports,
    localise,
    make_tools,
    process_of,
)

from ratchet.database import connect
from ratchet.errors import UserError
from ratchet.registry.ledger import Entry, Ledger
from ratchet.serving.jobs.airflow import PASSWORD, USER, Client, UnavailableError

ROOT = DEPLOY.parent

PROGRAMS = {
    "initdb": "postgresql",
    "postgres": "postgresql",
    "psql": "postgresql-client",
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "openssl": "openssl",
}
"""Program -> its Debian package."""

PACKAGES = {
    "apache-airflow-providers-celery": "setup-cluster",
    "boto3": "setup-cluster",
    "psycopg": "setup-cluster",
    "moto": "setup-dev",
}
"""Python package -> the target of ``make`` that installs it."""

USE_CASE = "power"
DAG = f"retrain_{USE_CASE}"
FIRST = ("2014-02-15", "ridge")
SECOND = ("2014-02-22", "ridge,boosted_ridge")
"""Last day whose rows are seen, and the candidates: the second find a better one on that week."""

QUESTION = {"time": "2014-02-16T00:00:00", "temperature": 20.0, "workday": 0}
PAUSE = 0.2  # seconds between two requests to the service
TAKEN_OVER_WITHIN = 60.0  # seconds from the end of the run: opening a version gives way to others

POSTGRESQL_FOLDERS = "/usr/lib/postgresql"


def find_program(name: str) -> str | None:
    """Path of a program; Debian keeps those of PostgreSQL off the PATH, newest version last."""
    debian = sorted(Path(POSTGRESQL_FOLDERS).glob(f"*/bin/{name}"), key=_version_of)
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def _version_of(program: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in program.parents[1].name.split(".") if part.isdigit())


def is_installed(package: str) -> bool:
    """Whether the environment has a Python package; it is not imported."""
    with suppress(PackageNotFoundError):
        return bool(version(package))
    return False


def missing_parts(
    find: Callable[[str], object] = find_program,
    installed: Callable[[str], bool] = is_installed,
) -> list[str]:
    """What this machine lacks, and how to get it: one line each.

    Args:
        find: whether there is a program.
        installed: whether there is a Python package.
    """
    packages = {PROGRAMS[name] for name in PROGRAMS if find(name) is None}
    targets = {PACKAGES[name] for name in PACKAGES if not installed(name)}
    lines = [f"apt-get install {' '.join(sorted(packages))}"] if packages else []
    return lines + [f"make {target}" for target in sorted(targets)]


def make_project(places: Places) -> None:
    """The project as the containers see it, with the small grids of the tests and one use case.

    Configuration and DAGs are copied; code, environment and samples are those of here.
    """
    folder, without = places.project, shutil.ignore_patterns("local", "__pycache__")
    for name in ("conf", "dags"):
        shutil.copytree(ROOT / name, folder / name, ignore=without)
    for name in ("pyproject.toml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    for path in (folder / "conf").glob("*/parameters/*.yml"):
        if path.stem not in (USE_CASE, "run"):  # to read all takes every command a second
            path.unlink()
    local = folder / "conf/local"
    shutil.copytree(folder / "conf/test/parameters", local / "parameters")
    shutil.copy(folder / "conf/test/globals_candidates.yml", local)
    for path in (DEPLOY / "conf").iterdir():
        (local / path.name).write_text(localise(path.read_text(), places, "serve"))
    settings = json.loads((local / "serving.json").read_text())
    settings |= {"use_cases": [USE_CASE]}
    settings |= {name: places.ports[settings.get(name, SERVE)] for name in ("port", "metrics_port")}
    (local / "serving.json").write_text(json.dumps(settings))
    (folder / ".dvc").mkdir()
    shutil.copy(DEPLOY / "dvc.conf", folder / ".dvc/config")
    for link in (".venv", "src/ratchet", "data/01_raw/samples"):
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(ROOT / link)
    (folder / "samples").symlink_to(ROOT / "data/01_raw/samples")  # where the image has them


def make_secrets(places: Places) -> None:
    """The secrets of ``make-secrets``, with the addresses of this machine."""
    subprocess.run([DEPLOY / "make-secrets", places.secrets], check=True)
    server = f"host={HOST}\nport={places.ports[POSTGRESQL]}"
    for path in places.secrets.iterdir():
        text = path.read_text().replace("host=postgres", server)
        path.write_text(localise(text, places, "secrets"))


def get(url: str) -> bytes | None:
    """What an address of this machine answers; nothing where it does not answer with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            content: bytes = answer.read()
            return content
    except (OSError, http.client.HTTPException):
        return None


def get_json(url: str) -> Any:
    """The same as JSON."""
    content = get(url)
    return None if content is None else json.loads(content)


def listens(port: int) -> bool:
    """Whether something accepts connections."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


STORES = ("mlflow", "s3", "redis", "postgres")
"""What the others use, in the order in which they can be ended."""


def start_postgresql(stack: Stack) -> None:
    """An empty cluster with the databases and roles of ``create-databases.sh``.

    It refuses to run as root, and then runs as another user.
    """
    places = stack.places
    folder, port = places.folder / "postgres", str(places.ports[POSTGRESQL])
    folder.mkdir()
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text((places.secrets / "postgres_admin").read_text())
    prefix: list[str] = []
    if os.geteuid() == 0:
        user = _unprivileged_user()
        for path in (folder, password):
            os.chown(path, user.pw_uid, user.pw_gid)
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        prefix = ["setpriv", *ids, "--"]
    data, initdb, postgres = (str(folder / "data"), *map(find_program, ("initdb", "postgres")))
    access = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}"]
    options = ["--encoding=UTF8", "--no-locale", "--no-sync"]
    stack.run("initdb", [*prefix, str(initdb), "-D", data, *access, *options])
    settings = ["-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="]
    stack.start("postgres", [*prefix, str(postgres), "-D", data, "-p", port, *settings])
    environ = {"PGHOST": HOST, "PGUSER": "postgres", "PGPASSWORD": password.read_text().strip()}
    environ |= {"SECRETS": str(places.secrets)}
    stack.wait_until_healthy("postgres")
    stack.run("databases", ["sh", str(DEPLOY / "postgres/create-databases.sh")], environ)
    with _connection("airflow") as connection:
        found = connection.execute(sa.text("SHOW server_version")).scalar_one()
    stack.say(f"PostgreSQL {found.split()[0]} with the databases airflow, mlflow and ratchet")


def _unprivileged_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def database(name: str) -> str:
    """URL of a database, whose server and password libpq finds in ``PGSERVICEFILE``."""
    return f"postgresql+psycopg:///?service={name}"


@contextmanager
def _connection(name: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database(name))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def start_redis(stack: Stack) -> None:
    """The broker of Celery; Redis takes the options of Valkey."""
    command = process_of("redis", stack.places).command
    (stack.places.folder / "tmp/redis").mkdir(parents=True)
    port = stack.places.ports[REDIS]
    # A process with another title would hide the variable by which it is found at the end.
    ours = ["--bind", HOST, "--port", str(port), "--set-proc-title", "no"]
    stack.start("redis", [str(find_program("redis-server")), *command[1:], *ours])
    stack.wait_for(lambda: listens(port), "Redis")
    stack.say("Redis")


def start_mlflow(stack: Stack) -> None:
    """An S3 server, and MLflow's with its tables in PostgreSQL and its artefacts there."""
    port = stack.places.ports[S3]
    stack.start("s3", [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)])
    stack.wait_for(lambda: listens(port), "the S3 server")
    stack.run_service("s3-init")
    stack.say(f"S3 (moto {version('moto')})")
    stack.start_service("mlflow")
    stack.wait_until_healthy("mlflow")
    stack.say(f"MLflow {version('mlflow')}")


def train_first(stack: Stack) -> None:
    """The model that the retraining has to beat."""
    as_of, candidates = FIRST
    phases = "understanding,preprocessing,classical,evaluation,release"
    words = ["--pipelines", phases, "--namespaces", USE_CASE, "--params", f"as_of={as_of}"]
    stack.run_service("train", ["kedro", "run", *words, "--candidates", candidates])
    stack.say(f"first model of {USE_CASE}: {candidates}, rows up to {as_of}")


def start_serve(stack: Stack) -> None:
    """The service, with the model."""
    stack.start_service("serve")
    stack.wait_until_healthy("serve")
    stack.wait_for(lambda: get(f"{stack.places.url(SERVE)}/health/ready"), "the service: ready")
    stack.say("service: ready")


def start_prometheus(stack: Stack) -> None:
    """Prometheus with configuration and rules of ``compose.yaml``."""
    places = stack.places
    folder = places.folder / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    config = folder / "prometheus.yml"
    config.write_text(localise(config.read_text(), places, "prometheus"))
    command = process_of("prometheus", places).command
    address = f"--web.listen-address={HOST}:{places.ports[PROMETHEUS]}"
    stack.start("prometheus", [str(find_program("prometheus")), *command, address])
    url = places.url(PROMETHEUS)
    stack.wait_for(lambda: get(f"{url}/-/ready"), "Prometheus")
    build = get_json(f"{url}/api/v1/status/buildinfo")["data"]["version"]
    groups = get_json(f"{url}/api/v1/rules")["data"]["groups"]
    count = sum(len(group["rules"]) for group in groups)
    stack.say(f"Prometheus {build} with {count} alert rules")


def start_airflow(stack: Stack) -> Client:
    """Airflow with a Celery worker."""
    stack.run_service("airflow-init")
    parts = [name for name in compose() if name.startswith("airflow-") and name != "airflow-init"]
    for name in parts:
        stack.start_service(name)
    for name in parts:
        stack.wait_until_healthy(name)
    stack.say(f"Airflow {version('apache-airflow')} with a worker of Celery {version('celery')}")
    password = (stack.places.secrets / "airflow_password").read_text().strip()
    return Client(stack.places.url(AIRFLOW), {USER: "admin", PASSWORD: password})


class Requests:
    """Asks the service for a prediction every `PAUSE` seconds, in a thread of its own.

    Args:
        port: of the service.
        key: of a user of it.

    Attributes:
        answered: how many were answered.
        failures: what went wrong with the others.
        first_answers: version -> when it has answered first, in seconds since 1970.
    """

    def __init__(self, port: int, key: str) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.first_answers: dict[str, float] = {}
        self._port = port
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Requests:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            try:
                self._ask()
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        try:
            connection.request("POST", f"/predict/{USE_CASE}", json.dumps(QUESTION), self._headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"{answer.status} {content.decode(errors='replace')[:300]}")
        self.first_answers.setdefault(json.loads(content)["model_version"], time.time())
        self.answered += 1


def retrain(stack: Stack, client: Client) -> str:
    """Trigger the DAG and wait for its end; id of the run.

    Raises:
        UserError: a task has failed.
    """
    stack.wait_for(lambda: DAG in _dags(client), f"the DAG {DAG}")
    client.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False})
    as_of, candidates = SECOND
    conf = {"as_of": as_of, "candidates": candidates.split(",")}
    body = {"logical_date": None, "conf": conf}
    run: str = client.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"]
    stack.say(f"{DAG} is triggered: {candidates}, rows up to {as_of}")
    path = f"/api/v2/dags/{DAG}/dagRuns/{run}"
    reported: set[str] = set()

    def ended() -> bool:
        try:
            state = client.call("GET", path)["state"]
            tasks = client.call("GET", f"{path}/taskInstances")["task_instances"]
        except UnavailableError:  # a training keeps all cores busy
            return False
        for line in ended_tasks(tasks, reported):
            stack.say(f"  {line}")
        return bool(state == "success")

    stack.wait_for(ended, f"the run {run}", within=3600.0)
    return run


def ended_tasks(tasks: Sequence[Mapping[str, Any]], reported: set[str]) -> list[str]:
    """A line for each task that has ended since, in their order.

    Args:
        tasks: as Airflow's API has them.
        reported: names of those that have a line already; the new ones are added.

    Raises:
        UserError: one has failed.
    """
    lines = []
    for task in sorted(tasks, key=lambda one: one["end_date"] or ""):
        name, state = task["task_id"], task["state"]
        if state in ("failed", "up_for_retry", "upstream_failed"):
            raise UserError(f"the task {name} has failed; its log is in project/data/airflow/logs")
        if state == "success" and name not in reported:
            reported.add(name)
            lines.append(f"{name}: {task['duration'] or 0.0:.1f} s")
    return lines


def _dags(client: Client) -> list[str]:
    try:
        return [one["dag_id"] for one in client.call("GET", "/api/v2/dags")["dags"]]
    except UnavailableError:
        return []


TASKS_OF_CELERY = sa.text("""
SELECT task.task_id, celery.status
FROM task_instance AS task LEFT JOIN celery_taskmeta AS celery
ON celery.task_id = task.external_executor_id
WHERE task.run_id = :run AND task.state = 'success' AND task.operator <> 'EmptyOperator'
""")
"""Airflow keeps the id that Celery knows a task by; under it the worker writes how it has ended."""


def check_celery(stack: Stack, run: str) -> None:
    """Every task was done by the Celery worker, which writes that down after Airflow knows it.

    Raises:
        UserError: one was not.
    """

    def done() -> int:
        with _connection("airflow") as connection:
            states = [state for _, state in connection.execute(TASKS_OF_CELERY, {"run": run})]
        return len(states) if set(states) == {"SUCCESS"} else 0

    count = stack.wait_for(done, "Celery: all tasks done by the worker", within=60)
    stack.say(f"all {count} tasks were done by the Celery worker")


def promotion(stack: Stack, run: str) -> Entry:
    """The newest decision, which has to be the promotion of this run.

    Raises:
        UserError: it is another one, or the ledger is not whole.
    """
    engine = connect(database("ratchet"))
    try:
        ledger = Ledger(engine)
        faults, entries = ledger.verify(), ledger.entries(USE_CASE)
    finally:
        engine.dispose()
    last = entries[-1]
    if faults or last.event != "promote" or last.actor != f"{DAG}/{run}":
        raise UserError(f"no promotion by {run}: {last.event} {last.reason}; {faults}")
    stack.say(f"ledger in PostgreSQL: version {last.version} replaces {entries[-2].champion}:")
    stack.say(f"  {last.reason}")
    return last


def check_takeover(stack: Stack, requests: Requests, entry: Entry) -> None:
    """The new version answers soon after the decision, and no request has failed.

    Raises:
        UserError: it does not, or one has.
    """
    new = str(entry.version)
    stack.wait_for(lambda: new in requests.first_answers, f"version {new}", TAKEN_OVER_WITHIN)
    after = requests.first_answers[new] - entry.at.timestamp()
    if requests.failures:
        raise UserError(f"{len(requests.failures)} requests have failed: {requests.failures[:3]}")
    stack.say(f"service: version {new} answers {after:.1f} s after the decision")
    stack.say(f"  {requests.answered} requests so far, none has failed")


def query(stack: Stack, expression: str) -> float | None:
    """The first value that Prometheus finds at this moment."""
    words = urllib.parse.urlencode({"query": expression})
    answer = get_json(f"{stack.places.url(PROMETHEUS)}/api/v1/query?{words}")
    result = answer["data"]["result"] if answer else []
    return float(result[0]["value"][1]) if result else None


SEEN = {
    "requests": 'sum(ratchet_requests_total{route="/predict/{use_case}"})',
    "failed requests": 'sum(ratchet_requests_total{status=~"5..",route!~"/health.*"}) or vector(0)',
    "failures of a model": "sum(ratchet_failures_total) or vector(0)",
    "critical alerts": 'count(ALERTS{alertstate="firing",severity="critical"}) or vector(0)',
}
"""What is asked of Prometheus at the end; all but the first have to be none."""


def check_prometheus(stack: Stack, entry: Entry) -> None:
    """Prometheus sees the new version, and counts no error.

    Raises:
        UserError: it does not, or it does.
    """
    info = f'ratchet_model_info{{use_case="{USE_CASE}",version="{entry.version}"}}'
    stack.wait_for(lambda: query(stack, info), f"Prometheus: {info}", 120)
    stack.say(f"Prometheus: {info} 1")
    found = {what: query(stack, expression) for what, expression in SEEN.items()}
    asked, *errors = found.values()
    if not asked or any(errors) or None in errors:
        raise UserError(f"Prometheus: expected requests and no errors, found {found}")
    stack.say("  " + ", ".join(f"{count:.0f} {what}" for what, count in found.items()))


def check_artefacts(stack: Stack) -> None:
    """Artefacts of MLflow and versions of DVC are in S3.

    Raises:
        UserError: one of the buckets is empty.
    """
    import boto3

    os.environ["AWS_CONFIG_FILE"] = str(stack.places.secrets / "s3")
    for bucket in ("mlflow", "dvc"):
        pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        sizes = [one["Size"] for page in pages for one in page.get("Contents", [])]
        if not sizes:
            raise UserError(f"nothing is in the bucket {bucket}")
        stack.say(f"S3: {len(sizes)} objects with {sum(sizes) / 1e6:.1f} MB in the bucket {bucket}")


def try_stack(stack: Stack) -> None:
    """Start everything, retrain once, and look at what came of it.

    Raises:
        UserError: something is not as it has to be.
    """
    start_postgresql(stack)
    start_redis(stack)
    start_mlflow(stack)
    stack.run_service("init")
    train_first(stack)
    start_serve(stack)
    start_prometheus(stack)
    key = (stack.places.secrets / "operator_key").read_text().strip()
    with Requests(stack.places.ports[SERVE], key) as requests:
        client = start_airflow(stack)
        run = retrain(stack, client)
        check_celery(stack, run)
        entry = promotion(stack, run)
        check_takeover(stack, requests, entry)
        check_prometheus(stack, entry)
    check_artefacts(stack)


def addresses(places: Places) -> str:
    """Where a person finds everything."""
    login = (places.secrets / "airflow_password").read_text().strip()
    lines = {
        "Airflow": f"{places.url(AIRFLOW)}  user admin, password {login}",
        "MLflow": places.url(MLFLOW),
        "Prometheus": places.url(PROMETHEUS),
        "service": f"{places.url(SERVE)}  key in {places.secrets / 'operator_key'}",
        "logs": str(places.folder / "logs"),
    }
    return "\n".join(f"  {name:<10} {where}" for name, where in lines.items())


@contextmanager
def folder_of_run(given: Path | None) -> Iterator[Path]:
    """An empty folder that PostgreSQL's user may enter; a temporary one goes after success.

    Raises:
        UserError: the folder that was named has something in it.
    """
    if given is None:
        folder = Path(tempfile.mkdtemp(prefix="ratchet-stack-"))
        folder.chmod(0o711)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
        return
    if given.exists() and any(given.iterdir()):
        raise UserError(f"{given}: expected an empty folder; name another by --folder")
    given.mkdir(parents=True, exist_ok=True)
    yield given.resolve()


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Empty folder for all files and logs, which stay. By default a temporary one, which is "
    "removed unless something fails.",
)
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
def main(folder: Path | None, keep: bool) -> None:
    """Run the stack of compose.yaml as plain processes, and one weekly retraining through it.

    Exit code 0 if the retraining ends in a promotion that the service takes over and Prometheus
    sees, 1 otherwise.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if missing := missing_parts():
            raise UserError("something is missing; install it:\n  " + "\n  ".join(missing))
        with folder_of_run(folder) as where:
            run(where, keep)
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None


def run(folder: Path, keep: bool) -> None:
    """Try the stack in a folder, and end all processes.

    Args:
        folder: an empty one.
        keep: leave them running until Ctrl-C.

    Raises:
        UserError: something is not as it has to be.
    """
    places = Places(folder, free_ports())
    make_project(places)
    make_secrets(places)
    make_tools(folder / "bin")
    os.chdir(places.project)
    os.environ["PGSERVICEFILE"] = str(places.secrets / "postgres_worker")
    stack = Stack(places, environment(places, os.environ))
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{platform.system()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    stack.say(f"{machine}, Python {platform.python_version()}; logs: {stack.logs}")
    try:
        try_stack(stack)
        if keep:
            click.echo(f"Running until Ctrl-C:\n{addresses(places)}")
            with suppress(KeyboardInterrupt):
                stack.wait_for(lambda: False, "Ctrl-C", within=float("inf"))
    except UserError as error:
        raise UserError(f"{error}\nLogs: {stack.logs}") from error
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # another Ctrl-C would leave some running
            signal.signal(number, signal.SIG_IGN)
        stack.say("ending all processes")
        stack.stop(STORES)
    stack.say("done")


if __name__ == "__main__":
    main(prog_name="deploy/try-locally")
