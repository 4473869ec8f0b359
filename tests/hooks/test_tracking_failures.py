"""What is left of a run whose tracking fails, or that the user stops."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from ratchet import cli, progress
from ratchet.errors import ConfigError
from ratchet.hooks import tracking
from ratchet.hooks.tracking import TrackingHooks

URI = "postgresql://ada:secret@store/runs"
SETTINGS = {"enabled": True, "tracking_uri": URI, "experiment": "x", "artifact_location": "x"}
RUN = {"pipeline_names": None, "namespaces": None, "run_id": "1", "env": "x", "runtime_params": {}}


class Store:
    """Takes what it is told, until it is full."""

    def __init__(self) -> None:
        self.full = False
        self.statuses: list[str] = []

    def create_run(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id="1"))

    def log_param(self, *_: Any) -> None: ...

    def set_tag(self, *_: Any) -> None:
        if self.full:
            raise OSError("disk full")

    def log_artifact(self, *_: Any) -> None:
        if self.full:
            raise OSError("disk full")

    def set_terminated(self, _: str, status: str) -> None:
        self.statuses.append(status)


class Catalog:
    def get(self, _: str) -> Any:
        return SimpleNamespace(_filepath="x")


REPORT = SimpleNamespace(nodes=[SimpleNamespace(outputs=["films.report"], namespace="films")])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Store()
    monkeypatch.setattr(tracking, "open_store", lambda *_: (made, "0"))
    return made


def hooks_in(folder: Path) -> TrackingHooks:
    hooks = TrackingHooks()
    loader = {"mlflow": SETTINGS}
    context = SimpleNamespace(project_path=folder, config_loader=loader, env="shop")
    hooks.after_context_created(context)
    return hooks


def test_a_store_that_fails_after_a_run_is_a_warning(store, tmp_path, caplog):
    hooks = hooks_in(tmp_path)
    hooks.before_pipeline_run(RUN, REPORT, Catalog())
    store.full = True

    hooks.after_pipeline_run(Catalog())

    assert "postgresql://store/runs: disk full" in caplog.text
    assert "secret" not in caplog.text
    assert store.statuses == ["FAILED"]


def test_a_store_that_fails_does_not_hide_why_the_run_failed(store, tmp_path, caplog):
    hooks = hooks_in(tmp_path)
    hooks.before_pipeline_run(RUN, REPORT, Catalog())
    store.full = True

    hooks.on_pipeline_error(ValueError("no"))

    assert "disk full" in caplog.text
    assert store.statuses == ["FAILED"]


def test_a_store_that_cannot_be_opened_says_how_to_go_on(store, tmp_path, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError("refused")

    monkeypatch.setattr(tracking, "open_store", refuse)

    with pytest.raises(ConfigError) as error:
        hooks_in(tmp_path).before_pipeline_run(RUN, REPORT, Catalog())

    assert str(error.value) == (
        "cannot track this run in postgresql://store/runs: refused\n"
        "(enabled: false in conf/shop/mlflow.yml turns tracking off)"
    )


def test_summary_before_tracking_and_bars_after_the_store_is_open():
    from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks

    from ratchet.settings import HOOKS

    manager = _create_hook_manager()
    _register_hooks(manager, HOOKS)

    def order(name: str) -> list[str]:
        calls = getattr(manager.hook, name).get_hookimpls()
        return [type(call.plugin).__name__ for call in reversed(calls)]

    assert order("before_pipeline_run") == [
        "ProjectHooks",
        "WorkflowHooks",
        "TrackingHooks",
        "NotificationHooks",
        "ProgressHooks",
    ]
    assert order("after_pipeline_run") == [
        "WorkflowHooks",
        "ProgressHooks",
        "SummaryHooks",
        "TrackingHooks",
        "NotificationHooks",
        "DvcStoreHooks",
    ]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_closed(store, tmp_path, monkeypatch, how, code):
    hooks = hooks_in(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def interrupted(**_: Any) -> None:
        hooks.before_pipeline_run(RUN, REPORT, Catalog())
        progress.start()
        signal.raise_signal(how)

    monkeypatch.setattr(cli.kedro_run, "callback", interrupted)
    monkeypatch.setattr(cli, "settings", SimpleNamespace(HOOKS=(hooks,)))

    result = CliRunner().invoke(cli.cli, ["run"])

    assert result.exit_code == code
    assert signal.getsignal(signal.SIGTERM) == before
    assert result.stderr == "Interrupted; run the same command again to continue\n"
    assert store.statuses == ["KILLED"]
    assert progress._shown is None


@pytest.mark.parametrize("env", ["local", "test"])
def test_mlflow_shows_the_store_of_the_environment(project, monkeypatch, env):
    from kedro.framework.startup import bootstrap_project

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (project / f"conf/{env}/mlflow.yml").write_text("tracking_uri: sqlite:///other.db")
    bootstrap_project(project)
    called = []
    monkeypatch.setattr(
        cli.subprocess,
        "run",
        lambda command, **_: called.extend(command) or SimpleNamespace(returncode=3),
    )

    result = CliRunner().invoke(cli.cli, ["mlflow", "--env", env, "--port", "1"])

    assert result.exit_code == 3
    assert called[1:] == [
        *("-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{project / 'other.db'}"),
        *("--port", "1"),
    ]


def test_mlflow_names_the_server_that_tracks(project, monkeypatch):
    from kedro.framework.startup import bootstrap_project

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    bootstrap_project(project)

    result = CliRunner().invoke(cli.cli, ["mlflow"])

    assert result.exit_code == 1
    assert "open http://tracking:5000 in a browser" in result.stderr


def node(name: str, *outputs: str) -> Any:
    return SimpleNamespace(namespace=name, outputs=list(outputs))


def test_what_other_processes_have_written_is_logged_while_they_go_on(store, tmp_path, monkeypatch):
    hooks, logged = hooks_in(tmp_path), []
    monkeypatch.setattr(hooks, "_log_trials", lambda name, _: logged.append(name))
    monkeypatch.setattr(hooks, "_log_outputs", lambda written, _: logged.append(written))
    searched = [f"stock.net.{noun}" for noun in ("top", "search", "curves")]
    stock = [node("stock.units", *searched), node("stock", "stock.report")]
    nodes = [node("films", "films.report"), *stock]
    hooks.before_pipeline_run(RUN, SimpleNamespace(nodes=nodes), Catalog())

    for name in ("stock.net.curves", "films.report", "stock.net.top", "stock.net.search"):
        tracking._saved(name)
    hooks._early.finish()

    # A search is read when all of it is written: its node has not ended with the first output.
    assert logged == [{"films.report"}, "stock.net"]
    hooks.after_pipeline_run(Catalog())
    assert logged[2:] == [{*searched, "stock.report"}]
    assert store.statuses == ["FINISHED"]


def test_what_cannot_be_logged_meanwhile_is_told_in_the_end(store, tmp_path, caplog):
    hooks = hooks_in(tmp_path)
    hooks.before_pipeline_run(RUN, REPORT, Catalog())
    store.full = True

    tracking._saved("films.report")
    hooks.after_pipeline_run(Catalog())

    assert "postgresql://store/runs: disk full" in caplog.text
    assert store.statuses == ["FAILED"]


def test_the_process_of_a_use_case_tells_the_first_one(tmp_path, monkeypatch):
    sent: list[Any] = []
    monkeypatch.setattr(tracking.worker, "to_parent", sent.append)

    hooks_in(tmp_path).after_dataset_saved("films.report")

    assert sent == [(tracking._saved, "films.report")]


def test_a_run_that_another_command_has_started_ends_with_it(monkeypatch):
    followed: list[int] = []
    monkeypatch.setenv("RATCHET_PARENT", "42")
    monkeypatch.setattr(cli, "end_with_parent", followed.append)
    monkeypatch.setattr(cli.kedro_run, "callback", lambda **_: None)

    for _ in range(2):
        assert CliRunner().invoke(cli.cli, ["run"]).exit_code == 0

    assert followed == [42]
