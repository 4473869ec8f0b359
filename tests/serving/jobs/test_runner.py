"""One job runs at a time, its end is noted whoever watches, and a cancelled one ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ratchet.serving.jobs.processes import (
    LOG,
    SystemProcess,
    began,
    is_running,
    start_process,
)
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.specification import (
    FAILURE,
    ORDER,
    RESULT,
    SEARCHED,
    Order,
    TrainRequest,
)
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.settings import Jobs, Settings

FAST = TrainRequest(mode="fast", model_ids=[1]).model_dump(mode="json")


class FakeProcess:
    def __init__(self, pid: int, started: str | None = "1") -> None:
        self.pid, self.started, self.alive = pid, started, True
        self.code: int | None = None
        self.signals: list[int] = []

    def is_alive(self) -> bool:
        return self.alive

    def kill(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.alive = False


class Bench:
    """A runner whose processes are made up."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.settings = Settings(jobs=Jobs(folder=folder / "jobs", **options))
        self.store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
        self.processes: list[FakeProcess] = []
        self.orders: list[Order] = []
        self.now = 0.0
        self.runner = self.another()

    def another(self) -> Runner:
        """Like one of a service that was started again."""
        return Runner(
            self.settings, self.store, start=self._start, find=self._find, clock=lambda: self.now
        )

    def _start(self, folder: Path, order: Order) -> FakeProcess:
        assert (folder / ORDER).is_file()
        self.orders.append(order)
        self.processes.append(FakeProcess(1000 + len(self.processes)))
        return self.processes[-1]

    def _find(self, pid: int, started: str | None) -> FakeProcess:
        return next(each for each in self.processes if (each.pid, each.started) == (pid, started))

    def add(self) -> str:
        return self.store.add(FAST, "ann")[0].id

    def state(self, *jobs: str) -> list[str]:
        return [self.store.get(job).status for job in jobs]

    def leave(self, job: str, name: str, content: object) -> None:
        (self.runner.folder(job) / name).write_text(json.dumps(content))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_one_runs_and_the_next_when_it_has_ended(bench):
    first, second = bench.add(), bench.add()

    bench.runner.once()
    assert bench.state(first, second) == ["running", "queued"]
    bench.runner.once()
    assert len(bench.processes) == 1
    bench.leave(first, RESULT, {"result": {"winner": {}}})
    bench.processes[0].alive = False
    bench.runner.once()

    assert bench.state(first, second) == ["completed", "running"]
    assert bench.store.get(first).result == {"result": {"winner": {}}}
    assert [order.actor for order in bench.orders] == ["ann", "ann"]


def test_several_run_where_that_is_set(tmp_path):
    bench = Bench(tmp_path, at_a_time=2)
    jobs = [bench.add() for _ in range(3)]

    bench.runner.once()

    assert bench.state(*jobs) == ["running", "running", "queued"]


def test_a_service_that_was_started_again_goes_on_watching(bench):
    job, waiting = bench.add(), bench.add()
    bench.runner.once()

    later = bench.another()
    later.once()
    assert bench.state(job, waiting) == ["running", "queued"]
    bench.leave(job, RESULT, {"result": {}})
    bench.processes[0].alive = False
    later.once()

    assert bench.state(job, waiting) == ["completed", "running"]


def test_a_job_whose_process_was_never_started_waits_again(bench):
    job = bench.add()
    bench.store.start(job, bench.runner._local.host)  # and the service ends here

    bench.runner.once()

    assert bench.state(job) == ["running"]
    assert len(bench.processes) == 1


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ({FAILURE: {"error": "no use case 'x'"}}, "no use case 'x'"),
        ({}, "was killed"),
        ({RESULT: "half"}, "was killed"),
    ],
)
def test_why_a_process_has_failed_is_told(bench, left, told):
    job = bench.add()
    bench.runner.once()
    for name, content in left.items():
        bench.leave(job, name, content)
        if content == "half":
            (bench.runner.folder(job) / name).write_text('{"resul')
    (bench.runner.folder(job) / LOG).write_text("it was\n\nat work\n")
    bench.processes[0].alive = False

    bench.runner.once()

    assert bench.state(job) == ["failed"]
    error = bench.store.get(job).error
    assert told in error
    assert left.keys() == {FAILURE} or "it was / at work" in error


@pytest.mark.parametrize(("is_cancelled", "status"), [(True, "cancelled"), (False, "failed")])
def test_what_was_found_before_a_job_was_ended_is_not_lost(bench, is_cancelled, status):
    job = bench.add()
    bench.runner.once()
    bench.leave(job, SEARCHED, {"result": {"winner": {"model_id": 6}}})
    if is_cancelled:
        bench.store.cancel(job)
    bench.processes[0].alive = False

    bench.runner.once()

    ended = bench.store.get(job)
    assert (ended.status, ended.result["result"]["winner"]) == (status, {"model_id": 6})


def test_a_cancelled_job_is_told_to_end_and_then_killed(bench):
    job = bench.add()
    bench.runner.once()
    bench.store.cancel(job)

    bench.runner.once()
    bench.now = 1.0
    bench.runner.once()
    assert bench.processes[0].signals == [signal.SIGTERM]
    bench.now = 20.0
    bench.runner.once()
    bench.runner.once()

    assert signal.SIGKILL in bench.processes[0].signals
    assert bench.state(job) == ["cancelled"]


def test_one_that_was_done_before_it_could_be_cancelled_is_done(bench):
    job = bench.add()
    bench.runner.once()
    bench.store.cancel(job)
    bench.leave(job, RESULT, {"result": {}})
    bench.processes[0].alive = False

    bench.runner.once()

    assert bench.state(job) == ["completed"]


@pytest.fixture
def sleeper(tmp_path):
    """Start a process that holds the lock of a job, as one of a service that has died does."""
    started = []

    def start(folder: Path, *, is_noted: bool = True) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        child = subprocess.Popen(sleep, pass_fds=[lock], start_new_session=True)
        os.close(lock)
        if is_noted:
            content = {"pid": child.pid, "started": began(child.pid)}
            (folder / "process.json").write_text(json.dumps(content))
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_a_process_that_the_dead_service_did_not_come_to_note_is_found_and_not_started_twice(
    tmp_path, sleeper
):
    bench = Bench(tmp_path)
    job, runner = bench.add(), Runner(bench.settings, bench.store, start=bench._start)
    bench.store.start(job, runner._local.host)
    child = sleeper(runner.folder(job))

    runner.once()

    assert (bench.state(job), bench.processes) == (["running"], [])
    assert bench.store.get(job).pid == child.pid
    bench.store.cancel(job)
    runner.once()
    assert child.wait(timeout=10) == -signal.SIGTERM
    runner.once()
    assert bench.state(job) == ["cancelled"]


def test_one_that_has_not_yet_written_which_it_is_is_left_to_work(tmp_path, sleeper):
    bench = Bench(tmp_path)
    job, runner = bench.add(), Runner(bench.settings, bench.store, start=bench._start)
    bench.store.start(job, runner._local.host)
    child = sleeper(runner.folder(job), is_noted=False)

    runner.once()
    assert (bench.state(job), bench.processes) == (["running"], [])
    child.kill()
    child.wait()
    runner.once()

    assert bench.state(job) == ["running"]  # started anew
    assert len(bench.processes) == 1


@pytest.mark.parametrize(
    ("left", "status"), [({RESULT: {"result": {}}}, "completed"), ({FAILURE: {}}, "failed")]
)
def test_one_that_has_ended_unnoted_while_no_service_ran_is_not_started_again(bench, left, status):
    job = bench.add()
    bench.store.start(job, bench.runner._local.host)
    bench.runner.folder(job).mkdir(parents=True)
    for name, content in left.items():
        bench.leave(job, name, content)

    bench.runner.once()

    assert (bench.state(job), bench.processes) == ([status], [])


def test_a_job_that_was_cancelled_before_it_could_be_started_is_not_started(bench):
    job = bench.add()
    bench.store.start(job, bench.runner._local.host)
    bench.store.cancel(job)
    bench.store.cancel(job)

    bench.runner.once()
    bench.store.cancel(job)

    assert (bench.state(job), bench.processes) == (["cancelled"], [])


def test_a_job_of_a_container_that_is_no_more_has_failed_and_bars_no_other(bench):
    job, waiting = bench.add(), bench.add()
    bench.store.start(job, "container 1")
    bench.store.note_process(job, 17, "1")
    bench.runner.folder(job).mkdir(parents=True)
    (bench.runner.folder(job) / ".lock").touch()

    bench.runner.once()

    assert bench.state(job, waiting) == ["failed", "running"]
    assert "killed" in bench.store.get(job).error


def test_an_order_of_another_release_fails_and_bars_no_other(bench):
    job = bench.store.add({"mode": "slow"}, None)[0].id
    waiting = bench.add()

    bench.runner.once()
    bench.runner.once()

    assert bench.state(job, waiting) == ["failed", "running"]
    assert "mode" in bench.store.get(job).error


def test_with_which_code_a_process_has_ended_is_told(bench):
    job = bench.add()
    bench.runner.once()
    bench.processes[0].code, bench.processes[0].alive = 3, False

    bench.runner.once()

    assert "exit code 3" in bench.store.get(job).error


def test_the_newest_ended_jobs_keep_their_files_and_those_that_run_do(tmp_path):
    bench = Bench(tmp_path, keep=2)
    other = bench.settings.jobs.folder / "something else"
    other.mkdir(parents=True)
    jobs = [bench.add() for _ in range(5)]
    for number in range(4):
        bench.runner.once()
        if number == 1:
            bench.leave(jobs[1], RESULT, {"result": {}})
        bench.processes[number].alive = False  # the others are killed
    bench.runner.once()
    running = bench.add()
    bench.runner.once()

    left = [job for job in jobs if bench.runner.folder(job).exists()]

    assert bench.state(*jobs) == ["failed", "completed", "failed", "failed", "running"]
    assert left == jobs[2:]
    assert other.is_dir()
    assert bench.state(running) == ["queued"]
    assert bench.store.get(jobs[1]).result == {"result": {}}


def test_jobs_of_another_machine_are_left_alone(bench):
    job = bench.add()
    bench.store.start(job, "elsewhere")
    bench.store.note_process(job, 1, "1")

    bench.runner.once()

    assert bench.state(job) == ["running"]


def test_a_process_that_cannot_be_started_fails_its_job(bench):
    def start(*_: object) -> FakeProcess:
        raise OSError("no memory")

    job = bench.add()

    Runner(bench.settings, bench.store, start=start).once()

    assert "no memory" in bench.store.get(job).error


def test_a_process_is_ended_with_its_group(tmp_path):
    code = "import subprocess,sys,time; c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']); print(c.pid, flush=True); time.sleep(60)"  # noqa: E501
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    inner = int(child.stdout.readline())
    found = SystemProcess(child.pid, None)
    assert found.is_alive()

    found.kill(signal.SIGTERM)

    assert child.wait(timeout=10) == -signal.SIGTERM
    assert _ends(inner)
    child.stdout.close()


def test_another_process_with_the_same_id_is_not_ours():
    assert not SystemProcess(os.getpid(), "some other moment").is_alive()


def test_the_process_that_is_started_is_that_of_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_SERVING", "secret settings")
    order = Order(job="j", request=TrainRequest(use_case="nothing", model_ids=[1]))
    (tmp_path / ORDER).write_text(order.model_dump_json())

    process = start_process(tmp_path, order, tmp_path)  # no project is here
    assert is_running(tmp_path)
    with pytest.raises(BlockingIOError):
        start_process(tmp_path, order, tmp_path)

    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not process.is_alive()
    assert not is_running(tmp_path)
    assert "No such command" in (tmp_path / LOG).read_text()


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
