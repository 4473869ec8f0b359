"""The runner: which use cases run side by side, and their processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from typing import Any

from kedro.io import MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from ratchet import progress
from ratchet.config import Network, Target, loader
from ratchet.errors import ConfigError, UserError
from ratchet.learning import processes
from ratchet.runner.worker import answer_calls, open_session, run_part

_HALVING_SHARE = 0.2
"""Of the epochs of all trials, those that halving takes."""


class UseCaseRunner(SequentialRunner):
    """Runs use cases side by side, and afterwards the nodes that belong to none of them.

    Where there is one use case or one core, where use cases need something of each other, or where
    nodes cannot be pickled, nodes run one after the other, as in Kedro's `SequentialRunner`. The
    first error ends all use cases.

    It is for `KedroSession.run`: each process creates the catalog of that session again.

    Args:
        is_async: load and save with threads.
        at_a_time: use cases that run at the same time.

    Raises:
        ConfigError: `at_a_time` is no number of use cases.
    """

    def __init__(self, is_async: bool = False, at_a_time: int = 2) -> None:
        super().__init__(is_async=is_async)
        if type(at_a_time) is not int or at_a_time < 1:
            raise ConfigError(
                f"--runner-params at_a_time: expected how many use cases, 1 or more, "
                f"found {at_a_time!r}"
            )
        self._at_a_time = at_a_time

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        from joblib import cpu_count

        parts = _longest_first(use_cases_of(pipeline), self._at_a_time)
        alone = min(len(parts), self._at_a_time, cpu_count()) < 2
        if alone or _entangled(pipeline, parts, catalog) or not _can_be_sent(parts):
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        self._run_side_by_side(parts, run_id)
        rest = pipeline - sum(parts.values(), Pipeline([]))
        if rest.nodes:
            super()._run(rest, catalog, hook_manager, run_id)

    def _run_side_by_side(self, parts: dict[str, Pipeline], run_id: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        with answer_calls(context) as line:
            session = loader.like_this_session()
            start = (*line, progress.shown(), session, run_id, os.getpid())
            pool = ProcessPoolExecutor(
                self._at_a_time, context, initializer=open_session, initargs=start
            )
            try:
                with _without_interrupts():
                    runs = [
                        pool.submit(run_part, name, part, self._is_async, run_id)
                        for name, part in parts.items()
                    ]
                for run in as_completed(runs):
                    if errors := run.result():
                        raise _chained(errors)
            except BrokenProcessPool as error:
                raise UserError(
                    "the process of a use case has ended in the middle; where nothing above says "
                    "why, it was killed, as happens when memory runs out\n"
                    "(kedro run --runner SequentialRunner takes one use case at a time)"
                ) from error
            finally:
                # Whether done or not wanted any more: each would wait minutes for processes of
                # joblib that have nothing to do.
                for process in set(multiprocessing.active_children()) - others:
                    processes.kill_tree(process.pid)
                pool.shutdown()


def use_cases_of(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Use case -> its part of a pipeline: the nodes whose namespace begins with its name."""
    names = dict.fromkeys(n.namespace.split(".")[0] for n in pipeline.nodes if n.namespace)
    return {name: pipeline.filter(node_namespaces=[name]) for name in names}


def _longest_first(parts: dict[str, Pipeline], at_a_time: int) -> dict[str, Pipeline]:
    """Put use cases into the order in which they start.

    The longest begin, or the last one would run on alone. But ``first_report`` goes before them: by
    default the use case with the least to search, so that the first report is there soon.
    """
    parameters = loader.project_parameters()
    use_cases = loader.read_use_cases(parameters)
    size = {name: sum(map(_search_size, use_cases[name].targets.values())) for name in use_cases}
    names = sorted(parts, key=lambda name: -size.get(name, 0))
    if len(names) > at_a_time:
        first = parameters.get("first_report")
        first = first if first in parts else names[-1]
        names = [first, *(name for name in names if name != first)]
    return {name: parts[name] for name in names}


def _search_size(target: Target) -> float:
    """Fits of the candidates and epochs of the networks: about how long a search takes.

    Both take about a second, on one core, of the shipped use cases; only the order counts.
    """
    fits = sum(map(_points, (one.param_grid for one in target.candidates.values()))) * target.cv
    return fits + sum(map(_epochs, target.networks.values()))


def _points(grid: dict[str, list[Any]]) -> int:
    return math.prod(map(len, grid.values()))


def _epochs(network: Network) -> float:
    from ratchet.learning.recurrent.architectures import ARCHITECTURES

    graphs = len(ARCHITECTURES if network.architectures == "all" else network.architectures)
    if network.mode == "fast":
        return graphs
    drawn = network.strategy in ("random", "bayesian")
    trials = network.n_trials if drawn else _points(network.param_grid)
    share = _HALVING_SHARE if network.strategy == "halving" else 1.0
    return graphs * trials * network.epochs * share


def _entangled(pipeline: Pipeline, parts: dict[str, Pipeline], catalog: Any) -> bool:
    """Whether a part needs what another makes, or leaves in memory what others need."""
    outputs = pipeline.all_outputs()
    for part in parts.values():
        others = pipeline - part
        if part.inputs() & (outputs - part.all_outputs()):
            return True
        inputs = part.all_outputs() & others.inputs()
        if any(isinstance(catalog.get(name), MemoryDataset) for name in inputs):
            return True
    return False


def _can_be_sent(parts: dict[str, Pipeline]) -> bool:
    """Whether another process can have the nodes; not those made of a lambda."""
    try:
        ForkingPickler.dumps(parts)
    except (AttributeError, TypeError, PicklingError):
        return False
    return True


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait here, and pass by processes that start here and cannot ignore it yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _chained(errors: list[BaseException]) -> BaseException:
    """An error with its causes."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]
