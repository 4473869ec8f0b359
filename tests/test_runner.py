"""Use cases side by side leave what they leave one after the other."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from joblib import Parallel, delayed
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro_datasets.json import JSONDataset

from ratchet import progress, runner
from ratchet.errors import DataError


def one(value: Any) -> Any:
    return value


def part(name: str, inputs: str = "raw", outputs: str = "typed") -> Any:
    """A use case of one node."""
    return pipeline([node(one, f"{name}.{inputs}", f"{name}.{outputs}", namespace=name)])


APART = part("films") + part("power")
STATUS = pipeline([node(lambda *_: 1, ["films.typed", "power.typed"], "status", name="status")])


def test_a_use_case_is_its_namespace_with_all_below():
    deeper = pipeline([node(one, "films.typed", "films.success.best", namespace="films.success")])

    parts = runner.use_cases_of(APART + deeper + STATUS)

    assert {name: len(one.nodes) for name, one in parts.items()} == {"films": 2, "power": 1}


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

    assert runner._entangled(whole, runner.use_cases_of(whole), catalog) is expected


class PickyError(Exception):
    """An error that pickle cannot make again."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")


def test_an_error_is_sent_with_its_notes_and_causes():
    try:
        try:
            raise PickyError("row 3", "no number")
        except PickyError as picky:
            raise DataError("films.csv is bad") from picky
    except DataError as raised:
        raised.add_note("file: films.csv")
        error = runner._chained([*runner._causes(raised)])

    assert isinstance(error, DataError)
    assert error.__notes__ == ["file: films.csv"]
    assert str(error.__cause__) == "PickyError: row 3: no number"


def test_bars_of_another_process_are_shown_here(monkeypatch):
    sent: list[Any] = []
    monkeypatch.setattr(progress, "_send", sent.append)
    with progress.search_progress("forest", "r2") as on_progress:
        on_progress(5, 20, 0.5)
    progress.advance("nodes")

    monkeypatch.setattr(progress, "_send", None)
    bars = progress.start()
    try:
        progress.show("nodes", "nodes", 0, 9)
        for function, *arguments in sent[:2] + sent[-1:]:
            function(*arguments)
        nodes, search = bars.tasks
        assert (nodes.completed, nodes.total) == (1, 9)
        assert (search.completed, search.total) == (5, 20)
        assert "r2 0.5" in search.description
        sent[2][0](*sent[2][1:])
        assert bars.tasks == [nodes]
    finally:
        progress.stop()


def run(project: Any, **how: Any) -> Any:
    """Run the understanding of two use cases; the catalog."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        session.run(pipeline_names=["understanding"], namespaces=["films", "prices"], **how)
    with KedroSession.create(project, env="test") as session:
        return session.load_context().catalog


def start_processes() -> int:
    """What searches do: those of networks start processes of Python, all others of joblib."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pids = {pool.submit(os.getpid).result()}
    pids.update(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(2)))
    assert os.getpid() not in pids
    return len(pids)


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
        parts = runner.use_cases_of(pipeline(nodes))
        runner.UseCaseRunner()._run_side_by_side(parts, "a run")


@pytest.mark.slow
def test_it_leaves_the_same_and_logs_here(make_project, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    for name in ("beside", "after"):
        (tmp_path / name).mkdir()
    with caplog.at_level(logging.INFO):
        beside = run(make_project(tmp_path / "beside"), runner=runner.UseCaseRunner())
    logged = [(record.process, record.getMessage()) for record in caplog.records]
    after = run(make_project(tmp_path / "after"))

    for name in ("films", "prices"):
        assert beside.load(f"{name}.profile") == after.load(f"{name}.profile")
    done = {text: process for process, text in logged if text.startswith("Completed node")}
    assert len({done[f"Completed node: {name}.profile_rows"] for name in ("films", "prices")}) == 2


@pytest.mark.slow
def test_an_error_in_one_use_case_names_its_file_and_ends_the_run(
    make_project, tmp_path, monkeypatch
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
        run(project, runner=runner.UseCaseRunner())

    assert caught.value.__notes__ == [f"file: {bad}", "first in line 2"]
