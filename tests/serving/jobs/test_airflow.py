"""Searches as runs of a DAG, by a small stand-in of Airflow's REST API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import ConfigError
from ratchet.serving.jobs.airflow import HOST, PASSWORD, TOKEN, USER, AirflowEngine, Client
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.specification import FAILURE, ORDER, RESULT, TrainRequest
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.settings import AirflowApi, Jobs, Settings, read_settings

FAST = TrainRequest(mode="fast", model_ids=[1]).model_dump(mode="json")
SECRET = "never to be seen"
RUNS = "/api/v2/dags/search/dagRuns"


class Airflow:
    """What the REST API of Airflow 3 does with DAG runs, as far as the service uses it.

    ``broken`` is the status that every call gets, where it is set.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.tokens: set[str] = set()
        self.broken: int | None = None
        self.dags = {"search"}

    def answer(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        self.calls.append(f"{method} {path}")
        if self.broken is not None:
            return self.broken, {"detail": f"broken, with {SECRET}"}
        if path == "/auth/token":
            if body != {"username": "ann", "password": SECRET}:
                return 401, {"detail": f"Invalid credentials {SECRET}"}
            self.tokens.add(new := f"token {len(self.tokens)} {SECRET}")
            return 201, {"access_token": new}
        if token.removeprefix("Bearer ") not in self.tokens:
            return 401, {"detail": "Invalid JWT token"}
        return self._of_runs(method, path, body)

    def _of_runs(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        found = re.fullmatch(r"/api/v2/dags/([^/]+)/dagRuns(?:/([^/?]+))?(\?.*)?", path)
        assert found is not None
        dag, name, _ = found.groups()
        if dag not in self.dags:
            return 404, {"detail": f"DAG with dag_id: '{dag}' not found"}
        if method == "POST":
            assert set(body) == {"dag_run_id", "logical_date", "conf"}
            if body["dag_run_id"] in self.runs:
                return 409, {"detail": "Unique constraint violation"}
            run = {"dag_run_id": body["dag_run_id"], "state": "queued", "conf": body["conf"]}
            return 200, self.runs.setdefault(body["dag_run_id"], run)
        if name not in self.runs:
            return 404, {"detail": "not found"}
        if method == "PATCH":
            self.runs[name]["state"] = body["state"]
        return 200, self.runs[name]


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    fake = Airflow()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            token = self.headers.get("authorization", "")
            status, answer = fake.answer(self.command, self.path, body, token)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _do  # noqa: N815 - as BaseHTTPRequestHandler wants it

        def log_message(self, *_: Any) -> None:
            """Nothing is written."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()


class Bench:
    """A runner whose searches run in Airflow, with a clock of its own."""

    def __init__(self, airflow: Any, folder: Path) -> None:
        api = AirflowApi(url=airflow.url)
        jobs = Jobs(folder=folder / "data/jobs", engine="airflow", airflow=api)
        self.settings = Settings(project=folder, jobs=jobs)
        self.store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
        self.airflow, self.now = airflow, 0.0
        self.runner = self.another()

    def another(self) -> Runner:
        """Like one of a service that was started again."""
        return Runner(self.settings, self.store, clock=lambda: self.now)

    def add(self) -> str:
        return self.store.add(FAST, "ann")[0].id

    def look(self) -> None:
        """Look at the jobs after some seconds."""
        self.now += 20.0
        self.runner.once()

    def job(self, name: str) -> Any:
        return self.store.get(name)

    def run(self, name: str) -> dict[str, Any]:
        return self.airflow.runs[f"job_{name}"]

    def leave(self, name: str, file: str, content: Any) -> None:
        (self.runner.folder(name) / file).write_text(json.dumps(content))


@pytest.fixture
def bench(airflow, tmp_path, monkeypatch):
    monkeypatch.setenv(USER, "ann")
    monkeypatch.setenv(PASSWORD, SECRET)
    return Bench(airflow, tmp_path)


def test_a_search_is_a_dag_run_until_it_has_ended(bench):
    job, waiting = bench.add(), bench.add()

    bench.look()
    assert (bench.job(job).status, bench.job(job).host) == ("running", HOST)
    assert bench.run(job)["conf"] == {"folder": f"data/jobs/{job}"}  # as commands see it
    assert (bench.runner.folder(job) / ORDER).is_file()
    assert bench.job(waiting).status == "queued"
    bench.run(job)["state"] = "running"
    bench.look()
    assert bench.job(job).status == "running"
    bench.leave(job, RESULT, {"result": {"winner": {}}})
    bench.run(job)["state"] = "success"
    bench.look()

    assert bench.job(job).result == {"result": {"winner": {}}}
    assert [bench.job(each).status for each in (job, waiting)] == ["completed", "running"]


def test_its_state_is_looked_at_now_and_then(bench):
    bench.add()
    bench.look()
    before = len(bench.airflow.calls)

    for _ in range(10):
        bench.now += 0.5
        bench.runner.once()

    assert bench.airflow.calls[before:] == [f"GET {RUNS}/{next(iter(bench.airflow.runs))}"]


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ({"error": "no network has given finite forecasts"}, "no network has given finite"),
        (None, "has ended as failed without a result; its log says why, at the stage 'search'"),
    ],
)
def test_why_a_run_has_failed_is_said(bench, left, reason):
    from ratchet.serving.jobs.progress import Writer

    job = bench.add()
    bench.look()
    Writer(bench.runner.folder(job)).write("stage", name="search")
    if left:
        bench.leave(job, FAILURE, left)
    bench.run(job)["state"] = "failed"

    bench.look()

    assert bench.job(job).status == "failed"
    assert reason in bench.job(job).error


def test_a_run_that_was_deleted_in_airflow_has_failed(bench):
    job = bench.add()
    bench.look()
    bench.airflow.runs.clear()

    bench.look()

    assert (bench.job(job).status, "was deleted" in bench.job(job).error) == ("failed", True)


def test_a_cancelled_search_is_ended_in_airflow(bench):
    job = bench.add()
    bench.look()
    for _ in range(2):  # asked for twice, done once
        bench.store.cancel(job)

    bench.look()
    assert bench.run(job)["state"] == "failed"
    bench.look()

    assert bench.job(job).status == "cancelled"
    assert len([call for call in bench.airflow.calls if call.startswith("PATCH")]) == 1


def test_a_service_that_was_started_again_goes_on_watching(bench):
    job = bench.add()
    bench.look()
    bench.runner = bench.another()
    bench.leave(job, RESULT, {"result": {}})
    bench.run(job)["state"] = "success"

    bench.look()

    assert bench.job(job).status == "completed"


@pytest.mark.parametrize("was_started", [True, False])
def test_a_service_that_died_while_starting_a_run_starts_it_once(bench, was_started):
    job = bench.add()
    bench.store.start(job, HOST)
    if was_started:
        bench.airflow.runs[f"job_{job}"] = {"state": "running"}

    bench.look()
    bench.look()

    assert bench.job(job).status == "running"
    assert list(bench.airflow.runs) == [f"job_{job}"]
    assert sum(call == f"POST {RUNS}" for call in bench.airflow.calls) == (not was_started)


def test_while_airflow_is_away_jobs_wait_and_say_why(bench):
    job = bench.add()
    bench.airflow.broken = 503
    bench.look()

    assert bench.job(job).status == "queued"
    assert "503" in bench.job(job).error
    before = len(bench.airflow.calls)
    bench.runner.once()  # at once again: it is not asked
    assert len(bench.airflow.calls) == before
    bench.airflow.broken = None
    bench.look()
    assert (bench.job(job).status, bench.job(job).error) == ("running", None)
    bench.airflow.broken = 500
    bench.look()
    bench.runner = bench.another()
    bench.look()
    assert bench.job(job).status == "running"  # nobody knows better


def test_without_the_dag_a_search_fails_and_says_so(bench):
    bench.airflow.dags.clear()
    job = bench.add()

    bench.look()

    assert bench.job(job).status == "failed"
    assert "'search' not found" in bench.job(job).error


def test_a_token_that_has_ended_is_replaced(bench):
    first, _ = bench.add(), None
    bench.look()
    bench.airflow.tokens.clear()
    bench.run(first)["state"] = "success"

    bench.look()

    assert bench.job(first).status == "failed"  # without a result
    assert bench.airflow.calls.count("POST /auth/token") == 2


def test_credentials_are_in_no_message(bench, monkeypatch, caplog):
    monkeypatch.setenv(PASSWORD, f"not {SECRET}")
    job = bench.add()
    bench.runner = bench.another()

    bench.look()

    assert bench.job(job).status == "failed"
    assert "401" in bench.job(job).error
    assert SECRET not in bench.job(job).error + caplog.text + repr(bench.settings)


def test_after_another_engine_was_set_runs_of_airflow_are_settled_by_their_files(bench):
    jobs = [bench.add(), bench.add()]
    for job in jobs:
        bench.store.start(job, HOST)
        bench.runner.folder(job).mkdir(parents=True)
    local = bench.settings.model_copy(
        update={"jobs": bench.settings.jobs.model_copy(update={"engine": "local"})}
    )
    later = Runner(local, bench.store)
    bench.leave(jobs[0], RESULT, {"result": {}})
    bench.store.cancel(jobs[1])

    later.once()

    assert [bench.job(job).status for job in jobs] == ["completed", "cancelled"]


def test_a_token_of_the_environment_does(airflow, tmp_path):
    airflow.tokens.add("given")
    engine = AirflowEngine(AirflowApi(url=airflow.url), tmp_path, {TOKEN: "given"})
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")

    assert engine.find(store.add(FAST, None)[0], tmp_path) is None
    assert "POST /auth/token" not in airflow.calls


def test_a_password_may_be_in_a_file(airflow, tmp_path):
    (tmp_path / "password").write_text(f"{SECRET}\n")
    environ = {USER: "ann", f"{PASSWORD}_FILE": str(tmp_path / "password")}
    engine = AirflowEngine(AirflowApi(url=airflow.url), tmp_path, environ)
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")

    assert engine.find(store.add(FAST, None)[0], tmp_path) is None
    assert "POST /auth/token" in airflow.calls


def test_a_file_of_a_password_has_to_be_there(tmp_path):
    environ = {USER: "ann", f"{PASSWORD}_FILE": str(tmp_path / "none")}

    with pytest.raises(ConfigError, match=f"{PASSWORD}_FILE: .*none: No such file"):
        Client("http://127.0.0.1:8080", environ)


def test_without_credentials_the_service_does_not_start():
    with pytest.raises(ConfigError, match=f"{USER} and {PASSWORD}, or {TOKEN}"):
        Client("http://127.0.0.1:8080", {USER: "ann"})


@pytest.mark.parametrize(
    ("airflow_settings", "message"),
    [
        ({"url": "http://ann:secret@x:8080"}, "without user and password"),
        ({"url": "ftp://x"}, "expected an address"),
        ({"dags": "x"}, "unknown key; allowed are url, dag, poll_seconds"),
    ],
)
def test_what_is_wrong_with_its_settings_is_said(airflow_settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings({"jobs": {"airflow": airflow_settings}}, "serving")

    assert "secret" not in str(caught.value)
