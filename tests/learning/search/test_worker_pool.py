"""Long groups first, programs compiled by one worker unless help pays, and no worker missed."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future

import pytest

from ratchet.learning.recurrent.types import MAX_PROGRAMS
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.worker_pool import (
    ONE_THREAD,
    CostModel,
    Task,
    Worker,
    WorkerPool,
    choose_task,
)


def task(program, cost=1.0, name=""):
    return Task(name or f"{program}{cost}", program, cost, (program, cost))


def worker_with(*programs):
    return Worker(Executor(), print, programs=list(programs))


def test_a_worker_stays_with_what_it_has_compiled():
    worker = worker_with("a")
    waiting = [task("b", 9), task("a", 1), task("a", 2)]

    assert choose_task(waiting, worker, [worker, worker_with()], CostModel()) == task("a", 2)


def test_else_it_takes_the_program_with_the_most_work_that_nobody_knows():
    worker, other = worker_with(), worker_with("b")
    waiting = [task("b", 9), task("a", 2), task("c", 4), task("a", 3)]

    assert choose_task(waiting, worker, [worker, other], CostModel()) == task("a", 3)


def clock(compile_seconds):
    """A task of cost 1 takes a second."""
    known = CostModel()
    known.note(task("b", 2), 2 + compile_seconds, compiled=True)
    known.note(task("b", 3), 3, compiled=False)
    return known


@pytest.mark.parametrize(
    ("compile_seconds", "waiting", "helps"),
    [
        (1, [4, 4], True),  # through in 5 s instead of 8
        (5, [4, 4], False),  # in 9 instead of 8
        (5, [4, 4, 4], True),
        (0, [4], False),  # the other one takes it as soon
    ],
)
def test_it_helps_where_that_pays(compile_seconds, waiting, helps):
    worker = worker_with()
    tasks = [task("b", cost, str(i)) for i, cost in enumerate(waiting)]

    taken = choose_task(tasks, worker, [worker, worker_with("b")], clock(compile_seconds))

    assert (taken is not None) == helps


def test_it_helps_when_nothing_is_known_yet_and_more_than_one_waits():
    worker, other = worker_with(), worker_with("b")

    assert (
        choose_task([task("b", 1), task("b", 2)], worker, [worker, other], CostModel()) is not None
    )
    assert choose_task([task("b", 1)], worker, [worker, other], CostModel()) is None


class Simulated:
    """Workers with a clock of their own: what is submitted ends after compiling and its cost."""

    def __init__(self, monkeypatch, n, compile_seconds):
        self.now, self.compile = 0.0, compile_seconds
        self.running, self.log = [], []
        self.workers = [Worker(self._executor(i), self._seconds) for i in range(n)]
        monkeypatch.setattr("ratchet.learning.search.worker_pool.perf_counter", lambda: self.now)
        monkeypatch.setattr("ratchet.learning.search.worker_pool.wait", self._wait)

    def _executor(self, number):
        known = set()

        class Worker(Executor):
            def submit(executor, work, content):  # noqa: N805
                program, cost = content
                seconds = cost + self.compile * (program not in known)
                known.add(program)
                future = Future()
                self.log.append((number, program))
                self.running.append((self.now + seconds, len(self.log), future))
                return future

        return Worker()

    @staticmethod
    def _seconds(content):
        return content

    def _wait(self, futures, return_when):
        self.running.sort()
        self.now, _, future = self.running.pop(0)
        future.set_result(self.now)
        return {future}, set(futures) - {future}


@pytest.mark.parametrize("compile_seconds", [0.0, 1.0, 7.0])
def test_all_is_done_nearly_as_soon_as_can_be(monkeypatch, compile_seconds):
    # The grid of 108 points: 12 programs of 3 groups, costs as units and layers have them.
    tasks = [
        task((layer, units, batch), layer * units / 32, f"{layer}{units}{batch}{i}")
        for layer in (3, 4)
        for units in (32, 64, 128)
        for batch in (32, 64)
        for i in range(3)
    ]
    simulated = Simulated(monkeypatch, 2, compile_seconds)

    done = list(WorkerPool(simulated.workers).run(tasks))

    assert sorted(one.name for one, _ in done) == sorted(one.name for one in tasks)
    compiled = len(set(simulated.log))
    assert compiled <= 13  # at most one is compiled twice, to help in the end
    least = (sum(one.cost for one in tasks) + 12 * compile_seconds) / 2
    assert simulated.now <= 1.1 * least


def test_one_program_keeps_all_workers_busy(monkeypatch):
    simulated = Simulated(monkeypatch, 2, 1.0)

    list(WorkerPool(simulated.workers).run([task("a", 4, str(i)) for i in range(8)]))

    assert simulated.now <= 18


class Here(Executor):
    """Works at once."""

    def submit(self, work, content):
        future = Future()
        future.set_result(work(content))
        return future


class Dead(Executor):
    """Its only process died while it had nothing to do."""

    def submit(self, work, content):
        raise BrokenExecutor("terminated abruptly")


def test_a_worker_keeps_the_programs_it_used_last():
    worker = Worker(Here(), print)
    list(WorkerPool([worker]).run([task(i, MAX_PROGRAMS + 2 - i) for i in range(MAX_PROGRAMS + 1)]))

    assert worker.programs == list(range(1, MAX_PROGRAMS + 1))
    list(WorkerPool([worker]).run([task(1)]))
    assert worker.programs == [*range(2, MAX_PROGRAMS + 1), 1]
    assert choose_task([task(0), task("new")], worker, [worker], CostModel()) == task(
        0
    )  # none knows it


def test_a_worker_that_died_idle_is_replaced():
    worker = Worker(Dead(), str, restart=Here, programs=["a"])

    done = list(WorkerPool([worker]).run([task("b"), task("a")]))

    assert sorted(one.program for one, _ in done) == ["a", "b"]
    assert isinstance(worker.executor, Here)
    assert sorted(worker.programs) == ["a", "b"]


def test_workers_that_always_die_idle_are_no_endless_loop():
    with pytest.raises(RuntimeError, match="died 3 times"):
        list(WorkerPool([Worker(Dead(), str, restart=Dead)]).run([task("a")]))


class Job:
    """Tells where it runs; dies on request, but a number of times only."""

    def __init__(self, folder=None):
        self.folder = folder

    def __call__(self, content):
        if content == "die":
            path = self.folder / f"{time.monotonic_ns()}.died"
            path.touch()
            if len(list(self.folder.glob("*.died"))) <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        if content == "bad":
            raise ValueError("units: 0")
        return os.getpid(), {name: os.environ.get(name) for name in ONE_THREAD}

    deaths = 1


def run(pool, contents):
    return [out for _, out in pool.run([Task(c, c[0], len(c), c) for c in contents])]


def test_one_job_is_done_in_this_process():
    with open_worker_pool("local", Job(), 1) as pool:
        assert {pid for pid, _ in run(pool, ["a", "b"])} == {os.getpid()}


@pytest.mark.slow
def test_processes_have_one_thread_each_and_stay(tmp_path):
    before = dict(os.environ)
    with open_worker_pool("local", Job(tmp_path), 2) as pool:
        first, again = (run(pool, ["a", "b", "aa", "bb"]) for _ in range(2))

    assert dict(os.environ) == before
    pids = {pid for pid, _ in first}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {pid for pid, _ in again} == pids
    assert all(set(seen.items()) == set(ONE_THREAD.items()) for _, seen in first)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_task_done_again(tmp_path):
    with open_worker_pool("local", Job(tmp_path), 2) as pool:
        assert len(run(pool, ["a", "die", "b"])) == 3


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_named(tmp_path):
    job = Job(tmp_path)
    job.deaths = math.inf
    with (
        pytest.raises(RuntimeError, match="died 3 times at die; it may need more memory"),
        open_worker_pool("local", job, 2) as pool,
    ):
        run(pool, ["a", "die", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_task_is_raised(tmp_path, n_jobs):
    with (
        pytest.raises(ValueError, match="units: 0"),
        open_worker_pool("local", Job(), n_jobs) as pool,
    ):
        run(pool, ["a", "bad", "b"])


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background
sys.path[:0] = {path!r}
from ratchet.learning.search.engine import open_worker_pool
from ratchet.learning.search.worker_pool import Task

if __name__ == "__main__":
    with open_worker_pool("local", time.sleep, 2) as pool:
        pids = [one.executor.submit(__import__("os").getpid) for one in pool.workers]
        print(*(pid.result() for pid in pids), flush=True)
        list(pool.run([Task(str(i), i, 1.0, 600) for i in range(4)]))
"""


JOBLIB = """
import os, sys, time
sys.path[:0] = {path!r}
from joblib import Parallel, delayed
from ratchet.learning.processes import joblib_ends_with_parent

def tell_and_sleep():
    os.write(1, f"{{os.getpid()}}\\n".encode())
    time.sleep(600)

if __name__ == "__main__":
    with joblib_ends_with_parent():
        Parallel(n_jobs=2)(delayed(tell_and_sleep)() for _ in range(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "how"), [(SCRIPT, signal.SIGKILL), (SCRIPT, signal.SIGINT), (JOBLIB, signal.SIGKILL)]
)
def test_workers_end_with_their_parent(tmp_path, code, how):
    script = tmp_path / "script.py"
    script.write_text(code.format(path=sys.path))
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pids = list[int]()
    while len(pids) < 2 and (line := parent.stdout.readline()):
        pids += map(int, line.split())
    time.sleep(0.5)

    parent.send_signal(how)
    parent.wait(30)

    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as short as can be
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
