"""The stack as plain processes: how compose.yaml is carried over, and a run where asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import try_locally
from compose_processes import PORTS, Places, Stack, compose, environment, localise, process_of

from ratchet.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ASKED_FOR = "RATCHET_TEST_STACK"

CARRIED_OVER = [
    *("init", "s3-init", "airflow-init", "mlflow", "train", "serve"),
    *("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"),
    *("airflow-worker", "redis", "prometheus"),
]
OF_A_CONTAINER = re.compile(
    r"\$\{|/run/secrets|/etc/prometheus|(?<![\w.])/(?:app|tmp)\b|0\.0\.0\.0"
    r"|\b(?:mlflow|airflow-api-server|s3|serve|redis):\d"
    r"|\b(?:8080|5000|8000|9464|9090|8333|6379)\b"
)
"""Variables, folders, hosts and ports that are not here."""


@pytest.fixture
def places() -> Places:
    return Places(Path("/stack"), {port: 30000 + port for port in PORTS})


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("http://mlflow:5000", "http://127.0.0.1:35000"),
        ("redis://:secret@redis:6379/0", "redis://:secret@127.0.0.1:36379/0"),
        ("http://127.0.0.1:8080/api", "http://127.0.0.1:38080/api"),
        ("--port=5000", "--port=35000"),
        ("0.0.0.0", "127.0.0.1"),
        ("cat /run/secrets/redis_url", "cat /stack/secrets/redis_url"),
        ("/tmp/airflow", "/stack/tmp/worker/airflow"),
        ("/app/data", "/stack/project/data"),
        ("--f=/etc/prometheus/rules.yml", "--f=/stack/prometheus/rules.yml"),
        ("/prometheus", "/stack/prometheus/data"),
        ("${AIRFLOW_TASKS:-2} ${WEBHOOK:-} $$HOSTNAME", "2  $HOSTNAME"),
        ("celery --app airflow.app", "celery --app airflow.app"),
        ("localhost:*,127.0.0.1:*", "localhost:*,127.0.0.1:*"),
        ("s3://mlflow", "s3://mlflow"),
        ("postgresql+psycopg:///?service=mlflow", "postgresql+psycopg:///?service=mlflow"),
    ],
)
def test_hosts_ports_and_folders_become_those_of_this_machine(places, text, here):
    assert localise(text, places, "worker") == here


@pytest.mark.parametrize("name", CARRIED_OVER)
def test_nothing_of_a_container_is_left_in_a_process(places, name):
    process = process_of(name, places)

    texts = [*process.command, *process.environ.values(), *(process.health or [])]
    assert process.command
    assert not [text for text in texts if OF_A_CONTAINER.search(text)]


def test_every_service_but_grafana_is_part_of_the_stack():
    ours = {*CARRIED_OVER, "postgres", "s3"}

    assert set(compose()) - ours == {"grafana"}


def test_another_command_takes_the_place_of_the_one_in_the_file(places):
    process = process_of("train", places, ["kedro", "run", "--pipelines", "release"])

    assert process.command == ["dumb-init", "--", "kedro", "run", "--pipelines", "release"]
    assert process.health is None
    assert process.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:35000"


def test_a_service_without_an_entry_point_has_that_of_its_image(places):
    worker = process_of("airflow-worker", places)

    assert worker.command[:4] == ["dumb-init", "--", "airflow", "celery"]
    assert worker.health[:2] == ["sh", "-c"]
    assert worker.environ["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"


def test_settings_of_this_process_do_not_reach_the_stack(places):
    environ = {"PATH": "/bin", "LANG": "C", "AIRFLOW_HOME": "/mine", "PGHOST": "db"}
    environ |= {"MLFLOW_TRACKING_URI": "http://mine", "AWS_PROFILE": "mine"}

    found = environment(places, environ)

    assert found["LANG"] == "C"
    assert found["PATH"] == "/stack/bin:/bin"
    assert not {"AIRFLOW_HOME", "MLFLOW_TRACKING_URI", "AWS_PROFILE", "PGHOST"} & set(found)


def test_what_is_missing_is_named_with_its_package():
    def find(name: str) -> str | None:
        return None if name in ("initdb", "postgres", "prometheus") else f"/bin/{name}"

    lines = try_locally.missing_parts(find, lambda module: module != "moto")

    assert lines == ["apt-get install postgresql prometheus", "make setup-dev"]
    assert try_locally.missing_parts(lambda name: "/bin", lambda module: True) == []


def test_the_newest_postgresql_of_debian_is_taken(tmp_path, monkeypatch):
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin/initdb").touch()
    monkeypatch.setattr(try_locally, "POSTGRESQL_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    assert try_locally.find_program("initdb") == str(tmp_path / "17/bin/initdb")
    assert try_locally.find_program("no-such-program") is None


def test_the_project_has_the_configuration_of_compose_and_small_grids(tmp_path):
    places = Places(tmp_path, {port: 30000 + port for port in PORTS})

    try_locally.make_project(places)

    local = tmp_path / "project/conf/local"
    settings = json.loads((local / "serving.json").read_text())
    ours = json.loads((ROOT / "deploy/conf/serving.json").read_text())
    assert settings.keys() - {"port"} == ours.keys()
    assert (settings["host"], settings["port"], settings["metrics_port"]) == (
        *("127.0.0.1", 38000, 39464),
    )
    assert settings["use_cases"] == ["power"]
    assert (local / "parameters/power.yml").read_text() == (
        ROOT / "conf/test/parameters/power.yml"
    ).read_text()
    assert not list(tmp_path.glob("project/conf/*/parameters/films.yml"))
    assert (tmp_path / "project/samples").exists()


def task(name: str, state: str, end: str | None = None) -> dict[str, Any]:
    return {"task_id": name, "state": state, "end_date": end, "duration": 1.25 if end else None}


def test_a_task_that_has_ended_is_reported_once_and_in_order():
    reported: set[str] = set()
    tasks = [task("gate", "success", "2"), task("land", "success", "1"), task("status", "running")]

    assert try_locally.ended_tasks(tasks, reported) == ["land: 1.2 s", "gate: 1.2 s"]
    assert try_locally.ended_tasks(tasks, reported) == []


@pytest.mark.parametrize("state", ["failed", "up_for_retry", "upstream_failed"])
def test_a_task_that_fails_ends_the_run(state):
    with pytest.raises(UserError, match="gate has failed"):
        try_locally.ended_tasks([task("gate", state, "2")], set())


def test_a_folder_with_content_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()

    with (
        pytest.raises(UserError, match="expected an empty folder"),
        try_locally.folder_of_run(tmp_path),
    ):
        pass


def test_a_temporary_folder_stays_only_where_something_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with try_locally.folder_of_run(None) as folder:
        (folder / "log").touch()
    assert not folder.exists()

    with pytest.raises(UserError), try_locally.folder_of_run(None) as folder:
        raise UserError("no promotion")
    assert folder.exists()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Without a process yet; whatever a test starts is ended."""
    stack = Stack(Places(tmp_path, {}), dict(os.environ))
    yield stack
    stack.stop()


def test_all_processes_are_ended_and_the_stores_last(stack, tmp_path):
    trap = f"trap 'echo $0 >> {tmp_path / 'ended'}; exit' TERM"
    note = f"{trap}; echo ready; while :; do sleep 0.02; done"
    for name in ("store", "client"):
        stack.start(name, ["bash", "-c", note, name])
        stack.wait_for(lambda name=name: "ready" in (stack.logs / f"{name}.log").read_text(), name)

    stack.stop(["store"])

    assert (tmp_path / "ended").read_text().split() == ["client", "store"]
    with pytest.raises(UserError, match="has ended"):
        stack.check()


def test_a_process_ends_its_own_processes_itself(stack, tmp_path):
    """A TERM to all of them at once would end the child first."""
    ended = tmp_path / "ended"
    child = f"trap 'echo child >> {ended}; exit' TERM; echo ready; while :; do sleep 0.02; done"
    end = f"sleep 0.3; echo parent >> {ended}; kill $!; wait $!; exit"
    parent = f"bash -c \"{child}\" & trap '{end}' TERM; wait"
    stack.start("service", ["bash", "-c", parent])
    stack.wait_for(lambda: "ready" in (stack.logs / "service.log").read_text(), "the child")

    stack.stop()

    assert ended.read_text().split() == ["parent", "child"]


def test_waiting_ends_when_a_process_has_ended(stack):
    stack.start("scheduler", ["bash", "-c", "echo out of luck; exit 3"])

    with pytest.raises(UserError, match=r"(?s)scheduler has ended with code 3.*out of luck"):
        stack.wait_for(lambda: False, "a heartbeat", within=30)


def test_waiting_ends_in_time(stack):
    with pytest.raises(UserError, match="a heartbeat: not within 0 s"):
        stack.wait_for(lambda: False, "a heartbeat", within=0.01)


@pytest.mark.slow
@pytest.mark.stack
def test_a_weekly_retraining_ends_in_a_promotion_that_the_service_takes_over():
    """Ten minutes on two cores, and so left out unless asked for."""
    if not os.environ.get(ASKED_FOR):
        pytest.skip(f"takes ten minutes; {ASKED_FOR}=1 runs it")
    if missing := try_locally.missing_parts():
        pytest.skip(f"something is missing: {'; '.join(missing)}")

    done = subprocess.run(
        [ROOT / "deploy/try-locally"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Prometheus: ratchet_model_info" in done.stdout
    assert "none has failed" in done.stdout
