"""Bars are for people at a terminal, and gone when something else is to be read."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from ratchet import progress
from ratchet.hooks.progress import ProgressHooks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to draw on, with no sign of automation."""
    for name in ("CI", "AIRFLOW_CTX_DAG_ID"):
        monkeypatch.delenv(name, raising=False)
    screen = Terminal()
    streams = SimpleNamespace(stdout=screen, stderr=Terminal())
    monkeypatch.setattr(progress, "sys", streams)  # pytest keeps the real ones for itself
    monkeypatch.setattr(
        "rich.get_console", lambda: Console(file=screen, force_terminal=True, width=99)
    )
    yield screen
    progress.stop()


def test_wanted_at_a_terminal(terminal):
    assert progress.is_interactive()


@pytest.mark.parametrize("name", ["CI", "AIRFLOW_CTX_DAG_ID"])
def test_not_wanted_by_machines(terminal, monkeypatch, name):
    monkeypatch.setenv(name, "1")

    assert not progress.is_interactive()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_not_wanted_in_a_pipe(terminal, monkeypatch, stream):
    monkeypatch.setattr(progress.sys, stream, io.StringIO())

    assert not progress.is_interactive()


class Pipeline:
    nodes = (1, 2, 3)


def test_nodes_are_counted(terminal):
    hooks = ProgressHooks()
    hooks.before_pipeline_run(Pipeline())
    hooks.after_node_run()
    hooks.after_node_run()

    assert progress._shown.tasks[0].completed == 2
    assert progress._shown.tasks[0].total == 3
    hooks.after_pipeline_run()
    assert progress._shown is None
    assert "nodes" in terminal.getvalue()


def test_an_error_takes_the_bars_away(terminal):
    hooks = ProgressHooks()
    hooks.before_pipeline_run(Pipeline())

    hooks.on_pipeline_error()

    assert progress._shown is None


def test_without_a_terminal_nothing_is_drawn(terminal, monkeypatch):
    monkeypatch.setenv("CI", "true")
    hooks = ProgressHooks()
    hooks.before_pipeline_run(Pipeline())
    hooks.after_node_run()
    with progress.search_progress("forest", "r2") as on_progress:
        assert on_progress is None
    hooks.after_pipeline_run()

    assert terminal.getvalue() == ""


def test_a_quiet_run_after_a_shown_one(terminal, monkeypatch):
    hooks = ProgressHooks()
    hooks.before_pipeline_run(Pipeline())
    hooks.after_pipeline_run()
    monkeypatch.setenv("CI", "true")
    drawn = terminal.getvalue()

    hooks.before_pipeline_run(Pipeline())
    hooks.after_node_run()

    assert terminal.getvalue() == drawn


def test_a_search_shows_fits_and_the_best_so_far(terminal):
    bars = progress.start()

    with progress.search_progress("forest", "neg_log_loss") as on_progress:
        on_progress(0, 20, math.nan)
        (task,) = bars.tasks
        assert (task.completed, task.total) == (0, 20)
        assert "best" not in task.description
        on_progress(5, 20, -0.51234)
        assert (task.completed, task.total) == (5, 20)
        assert "forest" in task.description
        assert "neg_log_loss -0.5123" in task.description

    assert not bars.tasks


def test_a_search_that_fails_takes_its_bar_away(terminal):
    bars = progress.start()

    with pytest.raises(ValueError, match="no fit"), progress.search_progress("forest", "r2"):
        raise ValueError("no fit")

    assert not bars.tasks
