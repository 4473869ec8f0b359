"""Assignment of tasks to workers that keeps the total time and repeated compilation low."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from ratchet.learning.recurrent.types import most_recent

ADDRESS = "RATCHET_DASK_ADDRESS"
"""Environment variable with the address of Dask's scheduler, such as ``tcp://10.0.0.5:8786``."""

WORKERS = "RATCHET_DASK_WORKERS"
"""Environment variable with the workers that a cluster which grows with its tasks may have."""

Job = Callable[[Any], Any]
"""What workers do with the content of a task; it can be pickled and holds the data."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Settings that the libraries read when they are loaded: processes x threads = cores."""

_ATTEMPTS = 3


def unreachable(value: str, why: str) -> str:
    """Message about a scheduler that does not answer: where that is set, and what to do."""
    return (
        f"engine: 'dask': no Dask scheduler answers at '{value}', the value of the environment "
        f"variable {ADDRESS}: {why}\n"
        "(start one there, as docs/how-to/scale-out.md says, or set engine: local)"
    )


class Task(NamedTuple):
    """A task for a worker.

    Attributes:
        name: what the caller knows it by.
        program: what has to be compiled for it; equal for tasks that share a program.
        cost: how long it takes without compiling, in any unit.
        content: what the worker is given.
    """

    name: str
    program: Hashable
    cost: float
    content: Any


@dataclass(eq=False)
class Worker:
    """A worker that does one task at a time.

    Attributes:
        executor: where it works.
        work: turns the content of a task into its result.
        restart: gives a new executor when the worker has died; ``None`` when that mends itself.
        programs: what it has compiled and still keeps, the last used last.
    """

    executor: Executor
    work: Job
    restart: Callable[[], Executor] | None = None
    programs: list[Hashable] = field(default_factory=list)


class CostModel:
    """Estimates durations of tasks, with and without compiling, from those done so far."""

    def __init__(self) -> None:
        self._first: dict[Hashable, tuple[float, float]] = {}
        self._rate: dict[Hashable, float] = {}

    def note(self, task: Task, seconds: float, *, compiled: bool) -> None:
        """Record the duration of a finished task."""
        if compiled:
            self._first[task.program] = (seconds, task.cost)
        else:
            rate = seconds / task.cost
            self._rate[task.program] = min(rate, self._rate.get(task.program, rate))

    def pays(self, tasks: Sequence[Task]) -> bool:
        """Whether another worker should compile the program to help with tasks that wait.

        It has to be through with the longest before the worker that knows the program is through
        with all. As long as nothing is known, it should.
        """
        longest = max(task.cost for task in tasks)
        rest = sum(task.cost for task in tasks) - longest
        program = tasks[0].program
        if program not in self._rate or program not in self._first:
            return rest > 0
        rate = self._rate[program]
        seconds, cost = self._first[program]
        return seconds - rate * cost < rate * rest


def choose_task(
    waiting: Sequence[Task], worker: Worker, workers: Sequence[Worker], costs: CostModel
) -> Task | None:
    """Pick the next task of a worker.

    A task of a program that it has compiled, else of one that no worker has compiled, else one
    where compiling again pays. Longest first, since a long task at the end would keep one worker
    busy while the others idle.
    """
    by_program = defaultdict(list)
    for task in waiting:
        by_program[task.program].append(task)
    compiled_by: Counter[Hashable] = Counter(p for other in workers for p in other.programs)
    groups = sorted(by_program.values(), key=lambda tasks: -sum(task.cost for task in tasks))
    choices = (
        [tasks for tasks in groups if tasks[0].program in worker.programs]
        or [tasks for tasks in groups if not compiled_by[tasks[0].program]]
        or [tasks for tasks in groups if costs.pays(tasks)]
    )
    return max(choices[0], key=lambda task: task.cost) if choices else None


class WorkerPool:
    """Workers that keep their compiled programs from one list of tasks to the next."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)
        self._costs = CostModel()
        self._running: dict[Future[Any], tuple[Worker, Task, bool, float]] = {}
        self._deaths: Counter[str] = Counter()

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Give tasks and their results as they are done.

        A worker gets its next task when the caller comes back for more: what the caller does with a
        result, such as writing it to disk, comes first.

        Raises:
            RuntimeError: a worker died several times at the same task.
        """
        waiting = list(tasks)
        while waiting or self._running:
            self._hand_out(waiting)
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in done:
                worker, task, compiled, start = self._running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor as error:
                    self._replace(worker, task, error)
                    waiting.append(task)
                    continue
                self._costs.note(task, perf_counter() - start, compiled=compiled)
                yield task, result

    def map(self, contents: Sequence[Any]) -> list[Any]:
        """Give the results of contents that share no program and cost the same, in their order."""
        tasks = [Task(f"{n}", n, 1.0, content) for n, content in enumerate(contents)]
        results = {task.name: result for task, result in self.run(tasks)}
        return [results[task.name] for task in tasks]

    def _hand_out(self, waiting: list[Task]) -> None:
        busy = {worker for worker, *_ in self._running.values()}
        for worker in self.workers:
            if worker in busy:
                continue
            if task := choose_task(waiting, worker, self.workers, self._costs):
                waiting.remove(task)
                self._begin(worker, task)

    def _begin(self, worker: Worker, task: Task) -> None:
        """Submit a task to a worker; a worker that died while idle is replaced first."""
        start = perf_counter()
        try:
            future = worker.executor.submit(worker.work, task.content)
        except BrokenExecutor as error:
            self._replace(worker, task, error)
            self._begin(worker, task)
            return
        compiled = task.program not in worker.programs
        worker.programs = most_recent(worker.programs, task.program)
        self._running[future] = (worker, task, compiled, start)

    def _replace(self, worker: Worker, task: Task, error: BrokenExecutor) -> None:
        self._deaths[task.name] += 1
        if worker.restart is None or self._deaths[task.name] == _ATTEMPTS:
            raise RuntimeError(
                f"a worker process died {self._deaths[task.name]} times at {task.content}; it may "
                "need more memory than there is"
            ) from error
        worker.executor, worker.programs = worker.restart(), []
