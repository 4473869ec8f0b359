"""Use cases side by side leave what they leave one after the other."""

from __future__ import annotations

import copyreg
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from joblib import Parallel, delayed
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro_datasets.json import JSONDataset
from kedro_viz.api.rest.responses.run_events import transform_events_to_structured_format
from kedro_viz.api.rest.responses.utils import RunEventStatus
from tblib.pickling_support import pickle_exception

from ratchet import progress
from ratchet.config import Target
from ratchet.errors import ConfigError, DataError, UserError
from ratchet.kedro_private import PartRunner
from ratchet.learning import processes
from ratchet.runner import UseCaseRunner, use_cases, worker


def one(value: Any) -> Any:
    return value


def one_node(name: str, inputs: str = "raw", outputs: str = "typed") -> Any:
    """A use case of one node."""
    return pipeline([node(one, f"{name}.{inputs}", f"{name}.{outputs}", namespace=name)])


APART = one_node("films") + one_node("power")
STATUS = pipeline([node(lambda *_: 1, ["films.typed", "power.typed"], "status", name="status")])


def test_a_use_case_is_its_namespace_with_all_below():
    deeper = pipeline([node(one, "films.typed", "films.success.best", namespace="films.success")])

    parts = use_cases.use_cases_of(APART + deeper + STATUS)

    assert {name: len(one.nodes) for name, one in parts.items()} == {"films": 2, "power": 1}


@pytest.mark.parametrize(
    ("at_a_time", "first", "expected"),
    [(2, None, "bdca"), (3, "a", "adcb"), (3, "missing", "bdca"), (4, "a", "dcab")],
)
def test_the_longest_use_cases_begin_beside_the_first_report(
    at_a_time, first, expected, monkeypatch
):
    grids = {"a": 3, "b": 2, "c": 4}
    known = {name: SimpleNamespace(targets={"y": target(n)}) for name, n in grids.items()}
    known["d"] = SimpleNamespace(targets={"y": target(1), "z": target(9)})
    monkeypatch.setattr(use_cases.loader, "project_parameters", lambda: {"first_report": first})
    monkeypatch.setattr(use_cases.loader, "read_use_cases", lambda _: known)
    parts = {name: one_node(name) for name in "abcd"}

    assert [*use_cases._longest_first(parts, at_a_time)] == [*expected]


def target(points: int, **network: Any) -> Target:
    """Two candidates, one with a grid of so many points, and maybe a network of two shapes."""
    candidates = {
        "seasonal": {"estimator": "seasonal"},
        "ridge": {"estimator": "ridge", "param_grid": {"alpha": [1.0] * points}},
    }
    networks = {"net": {"architectures": ["gru", "lstm"], **network}} if network else {}
    common = {"column": "y", "task": "forecasting", "baseline": "seasonal", "cv": 3}
    return Target(**common, candidates=candidates, networks=networks)


@pytest.mark.parametrize(
    ("network", "size"),
    [
        ({}, 3 * (1 + 5)),
        ({"param_grid": {"units": [1, 2]}, "epochs": 10}, 18 + 2 * 2 * 10),
        ({"strategy": "random", "n_trials": 4, "epochs": 10}, 18 + 2 * 4 * 10),
        ({"strategy": "halving", "param_grid": {"units": [1, 2]}, "epochs": 10}, 18 + 2 * 2 * 2),
        ({"mode": "fast", "param_grid": {"units": [1, 2]}}, 18 + 2),
    ],
)
def test_the_size_of_a_search_is_its_fits_and_epochs(network, size):
    assert use_cases._search_size(target(5, **network)) == size


@pytest.mark.parametrize(
    ("more", "stored", "expected"),
    [
        (pipeline([]), False, False),
        (STATUS, True, False),
        (STATUS, False, True),  # its inputs stay in the memory of other processes
        (pipeline([node(one, "films.typed", "power.more", namespace="power")]), True, True),
        (pipeline([node(one, "x", "power.raw", name="shared")]), True, True),
    ],
)
def test_use_cases_that_need_each_other_run_one_after_the_other(more, stored, expected, tmp_path):
    whole = APART + more
    catalog = DataCatalog({name: MemoryDataset() for name in whole.datasets()})
    if stored:
        for name in ("films.typed", "power.typed"):
            catalog[name] = JSONDataset(filepath=str(tmp_path / name))

    assert use_cases._entangled(whole, use_cases.use_cases_of(whole), catalog) is expected


@pytest.mark.parametrize("with_distributed", [False, True])
def test_an_error_is_sent_with_its_notes_and_causes(monkeypatch, with_distributed):
    if with_distributed:  # which makes pickle take causes along, for all classes it finds loaded
        monkeypatch.setitem(copyreg.dispatch_table, DataError, pickle_exception)
    else:
        monkeypatch.delitem(copyreg.dispatch_table, DataError, raising=False)

    class PickyError(Exception):
        """An error that cannot be pickled: nobody else knows its class."""

    try:
        try:
            raise PickyError("row 3: no number")
        except PickyError as picky:
            picky.add_note("node: films.type_columns")
            raise DataError("films.csv is bad") from picky
    except DataError as raised:
        raised.add_note("file: films.csv")
        error = use_cases._chained([*worker.causes_of(raised)])

    assert isinstance(error, DataError)
    assert error.__notes__ == ["file: films.csv"]
    assert str(error.__cause__) == "PickyError: row 3: no number"
    assert error.__cause__.__notes__ == ["node: films.type_columns"]


class UnknownError(Exception):
    """An error of which pickle makes another one, without a word."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown: {name}")


def test_an_error_says_the_same_after_it_was_sent():
    (error,) = worker.causes_of(UnknownError("films"))

    # distributed, once it is loaded, lets pickle make the same one.
    assert str(error) in ("UnknownError: unknown: films", "unknown: films")


@pytest.mark.parametrize("at_a_time", [0, "x", 1.5])
def test_how_many_at_a_time_is_a_number(at_a_time):
    with pytest.raises(ConfigError, match="at_a_time: expected how many"):
        UseCaseRunner(at_a_time=at_a_time)


def test_nodes_that_cannot_be_sent():
    assert use_cases._can_be_sent(use_cases.use_cases_of(APART))
    made = pipeline([node(lambda rows: rows, "films.raw", "films.x", namespace="films")])
    assert not use_cases._can_be_sent(use_cases.use_cases_of(made))


def test_an_error_does_not_advise_to_go_on_with_its_use_case_alone(caplog):
    def fail(_: Any) -> None:
        raise DataError("no")

    pipes = pipeline(
        [
            node(one, "films.raw", "films.typed", name="first"),
            node(fail, "films.typed", "films.primary", name="second"),
        ]
    )
    catalog = DataCatalog({"films.raw": MemoryDataset(1)})

    with pytest.raises(DataError):
        PartRunner().run(pipes, catalog)

    assert "Completed node: first" in caplog.text
    assert "resume" not in caplog.text


told: list[Any] = []
"""What calls have left here."""


def test_calls_are_made_to_the_last_whatever_comes_between(caplog):
    def send_and_stop() -> None:
        with worker.answer_calls(get_context("spawn")) as (writer, lock):
            send = worker.make_sender(writer, lock)
            send((int, "no number"))
            writer.send_bytes(b"nothing that pickle knows")
            send((tell, "the last"))
            raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        send_and_stop()

    assert told == ["the last"]
    assert caplog.text.count("is lost") == 2


def tell(what: str) -> None:
    told.append(what)


def test_half_a_call_of_a_process_that_was_killed_holds_nobody_up():
    told.clear()
    with worker.answer_calls(get_context("spawn")) as (writer, lock):
        worker.make_sender(writer, lock)((tell, "whole"))
        lock.acquire()  # for ever
        os.write(writer.fileno(), b"\0\0\0\x63half")

    assert told == ["whole"]


@pytest.fixture
def other_log() -> Iterator[logging.Logger]:
    """A logger with a handler of its own; all of logging is afterwards as before."""
    logger, root = logging.getLogger("ratchet.other"), logging.getLogger()
    everything = [
        one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)
    ]
    before = [(one, one.handlers, one.propagate) for one in [root, *everything]]
    logger.addHandler(logging.StreamHandler())
    logger.propagate = False
    yield logger
    for one_of_all, handlers, propagate in before:
        one_of_all.handlers, one_of_all.propagate = handlers, propagate
    logger.handlers = []


def test_handlers_of_single_loggers_are_left_to_the_parent(other_log, capsys):
    sent: list[Any] = []
    worker.send_logs(sent.append)
    other_log.error("by %s", "name")

    assert capsys.readouterr().err == ""
    assert [record.getMessage() for _, record in sent] == ["by name"]


def test_bars_of_another_process_are_shown_here(monkeypatch):
    sent: list[Any] = []
    monkeypatch.setattr(progress, "_send", sent.append)
    with progress.search_progress("forest", "r2") as on_progress:
        on_progress(5, 20, 0.5)
    progress.advance("nodes")

    bars_told = [call for call in sent if call[0] is not progress.report_trials]
    monkeypatch.setattr(progress, "_send", None)
    bars = progress.start()
    try:
        progress.show("nodes", "nodes", 0, 9)
        for function, *arguments in (*bars_told[:2], bars_told[-1]):
            function(*arguments)
        nodes, search = bars.tasks
        assert (nodes.completed, nodes.total) == (1, 9)
        assert (search.completed, search.total) == (5, 20)
        assert "r2 0.5" in search.description
        bars_told[2][0](*bars_told[2][1:])
        assert bars.tasks == [nodes]
    finally:
        progress.stop()


def test_an_interrupt_passes_by_a_process_that_is_starting():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    command = [sys.executable, "-S", "-c", code]
    with use_cases._without_interrupts():
        inside = subprocess.run(command, check=True, capture_output=True, text=True)
    outside = subprocess.run(command, check=True, capture_output=True, text=True)

    assert (inside.stdout, outside.stdout) == ("True\n", "False\n")


def test_a_process_that_is_killed_starts_no_other_in_place_of_those_it_loses(tmp_path):
    restarts = f"while :; do echo >> {tmp_path}/started; sleep 98765; done"
    with subprocess.Popen(["/bin/sh", "-c", restarts]) as shell:
        while not (children := psutil.Process(shell.pid).children()):
            pass
        processes.kill_tree(shell.pid)

    psutil.wait_procs(children, timeout=10)
    assert (tmp_path / "started").read_text() == "\n"
    assert not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE


def run(project: Any, **how: Any) -> Any:
    """Run the understanding of two use cases; the catalog."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        session.run(pipeline_names=["understanding"], namespaces=["films", "prices"], **how)
    with KedroSession.create(project, env="test") as session:
        return session.load_context().catalog


def workflow(project: Path) -> Any:
    """What Kedro-Viz shows of the last run."""
    events = json.loads((project / ".viz/kedro_pipeline_events.json").read_text())
    return transform_events_to_structured_format(events)


def start_processes() -> int:
    """What searches do: those of networks start processes of Python, all others of joblib."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pids = {pool.submit(os.getpid).result()}
    pids.update(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(2)))
    assert os.getpid() not in pids
    return len(pids)


def end_at_once() -> None:
    """What the system does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_use_case_starts_processes_of_its_own(make_project, tmp_path):
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    names = ("films", "power")
    nodes = [node(start_processes, None, f"{name}.found", namespace=name) for name in names]
    project = make_project(tmp_path)
    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        session.load_context()
        parts = use_cases.use_cases_of(pipeline(nodes))
        UseCaseRunner()._run_side_by_side(parts, "a run")
        dying = pipeline([node(end_at_once, None, "power.found", namespace="power")])
        with pytest.raises(UserError, match="killed, as happens when memory runs out"):
            UseCaseRunner()._run_side_by_side({"power": dying}, "a run")


@pytest.mark.slow
def test_it_leaves_the_same_and_logs_here(make_project, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    for name in ("beside", "after"):
        (tmp_path / name).mkdir()
        make_project(tmp_path / name)
    profiles = tmp_path / "beside/profiles"
    (tmp_path / "beside/conf/test/catalog.yml").write_text(
        "'{use_case}.profile':\n  type: json.JSONDataset\n"
        f"  filepath: {profiles}/{{use_case}}.json\n  versioned: true\n"
    )
    with caplog.at_level(logging.INFO):
        beside = run(tmp_path / "beside", runner=UseCaseRunner())
    logged = [(record.process, record.getMessage()) for record in caplog.records]
    monkeypatch.chdir(tmp_path / "after")  # Kedro-Viz itself records where we stand
    after = run(tmp_path / "after")

    shown, usual = workflow(tmp_path / "beside"), workflow(tmp_path / "after")
    assert {name: node.status for name, node in shown.nodes.items()} == {
        name: node.status for name, node in usual.nodes.items()
    }
    assert all(node.duration > 0 for node in shown.nodes.values())
    sizes = [
        {one.name: one.size for one in each.datasets.values() if "profile" not in one.name}
        for each in (shown, usual)
    ]
    assert sizes[0] == sizes[1]
    assert (shown.pipeline.status, len(shown.nodes)) == (RunEventStatus.SUCCESS, 4)
    for name in ("films", "prices"):
        assert beside.load(f"{name}.profile") == after.load(f"{name}.profile")
    kept = [path.parent.name for path in profiles.glob("*/*/*.json")]
    assert (len(kept), len(set(kept))) == (2, 1)  # versions of datasets are those of the run
    done = {text: process for process, text in logged if text.startswith("Completed node")}
    assert len({done[f"Completed node: {name}.profile_rows"] for name in ("films", "prices")}) == 2


@pytest.mark.slow
def test_an_error_in_one_use_case_names_its_file_and_ends_the_run(
    make_project, tmp_path, monkeypatch, caplog
):
    from kedro.io import DatasetError

    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    project = make_project(tmp_path)
    bad = project / "bad.csv"
    bad.write_bytes(b"symbol,date\nNVDA,\xff\n")
    (project / "conf/test/catalog.yml").write_text(
        f"prices.raw: {{type: pandas.CSVDataset, filepath: {bad}}}"
    )

    with pytest.raises(DatasetError) as caught:
        run(project, runner=UseCaseRunner())

    assert caught.value.__notes__ == [f"file: {bad}", "first in line 2"]
    (told,) = [one for one in caplog.records if one.getMessage().startswith("prices failed")]
    assert (told.name, told.levelname) == ("ratchet.runner.worker", "ERROR")  # `kedro run` mutes it
    assert "Traceback" in told.getMessage()
    shown = workflow(project)
    assert shown.pipeline.status == RunEventStatus.FAILED
    (failed,) = [one for one in shown.datasets.values() if one.error]
    assert (failed.name, failed.error.error_operation) == ("prices.raw", "loading")
    assert failed.error.error_node.startswith("prices.")
