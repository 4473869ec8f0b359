"""MLflow tracking: one run per Kedro run, or per DAG run, with a nested run per candidate.

A hook of our own instead of kedro-mlflow: that imports MLflow in every command, and lets the
metrics and artifacts of datasets made by one pattern overwrite each other.

What the processes of use cases have written is logged while they go on: hundreds of trials take
MLflow half a minute, and the first process waits for the others anyway.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from ratchet.config import rewritten
from ratchet.database import explain_sqlite_error, tracking_uri
from ratchet.errors import ConfigError, DatabaseError, hide_secrets
from ratchet.hooks import RunParams, mlflow_runs
from ratchet.hooks.mlflow_runs import log_model, log_trials, open_store, tracking_to
from ratchet.kedro_private import file_of
from ratchet.provenance import MLFLOW_RUN, code_commit, orchestrator_run
from ratchet.runner import worker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOGGER = logging.getLogger(__name__)
COMMIT = "mlflow.source.git.commit"
KEPT = ("report", "tables", "metrics", "evaluation", "verdicts", "decision", "watch")
"""Outputs of a use case that become artifacts of its run."""

SEARCHED = ("search", "top", "curves")
"""Outputs of a search among networks, which are logged together."""

_LONGEST_TAG = 5_000
"""Characters of a tag's value that every store of MLflow takes."""


class TrackingHooks:
    """Logs parameters, metrics, reports and the chosen models of a run."""

    def __init__(self) -> None:
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._early: BackgroundLogger | None = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read where to track; from now on nothing that is logged has secrets of addresses."""
        _hide_secrets_in_logs()
        self._project = Path(context.project_path)
        self._settings = context.config_loader["mlflow"]
        self._env = context.env or "local"

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Any, catalog: Any) -> None:
        """Open the run, so that it can be seen while it lasts."""
        global _current  # noqa: PLW0603 - processes of use cases report to the run
        _current = self
        self._client = None  # a notebook has several runs in one process
        self._nested: dict[str, Run] = {}
        self._searches: set[str] = set()
        self._left = outputs_by_use_case(pipeline)
        self._saved: set[str] = set()
        self._early = BackgroundLogger(lambda name: self._log_soon(name, catalog))
        if not self._settings["enabled"]:
            return
        try:
            self._open_run(run_params)
        except Exception as error:  # whatever the store and its driver raise
            self._client = None
            store = hide_secrets(tracking_uri(self._settings["tracking_uri"], self._project))
            if isinstance(error, DatabaseError):
                raise
            if reason := explain_sqlite_error(error, store):
                raise DatabaseError(reason) from error
            raise ConfigError(
                f"cannot track this run in {store}: {error}\n"
                f"(enabled: false in conf/{self._env}/mlflow.yml turns tracking off)"
            ) from error

    def _open_run(self, run_params: RunParams) -> None:
        self._client, experiment_id = open_store(self._settings, self._project)
        run = mlflow_runs.find_run(self._client, experiment_id)
        if run is None:
            run = self._client.create_run(
                experiment_id, run_name=_run_name(run_params), tags=self._tags(run_params)
            )
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
        self._run_id = run.info.run_id
        os.environ[MLFLOW_RUN] = self._run_id
        names = ("env", "pipeline_names", "namespaces", "runtime_params")
        params = {name: value for name, value in run_params.items() if name in names}
        mlflow_runs.log_params(self._client, run, params)

    def _tags(self, run_params: RunParams) -> dict[str, str]:
        commit = (code_commit(self._project) or "").removesuffix("-dirty")  # MLflow links to it
        tags = {
            "kedro.run_id": run_params["run_id"],
            COMMIT: commit,
            mlflow_runs.DAG_RUN: orchestrator_run() or "",
        }
        return {name: value for name, value in tags.items() if value}

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """In the process of a use case: report to the first process, which is otherwise idle."""
        if worker.to_parent is not None:
            worker.to_parent((_saved, dataset_name))

    def dataset_saved(self, name: str) -> None:
        """Log what another process has written, as far as it can be, while that goes on."""
        if self._client is not None and self._early is not None:
            self._early.put(name)

    @hook_impl
    def after_pipeline_run(self, catalog: Any) -> None:
        """Log what the nodes of this run have written, unless it is logged already."""
        with self._last_words():
            if self._client is not None:
                assert self._early is not None
                self._early.finish()
                for part in self._left.values():
                    self._log_outputs(part.written, catalog)
            self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the run as failed, saying why."""
        with self._last_words():
            if self._client is not None:
                self._client.set_tag(self._run_id, "error", hide_secrets(str(error)))
            self._end("FAILED")

    def interrupt(self) -> None:
        """Close a run that the user has stopped."""
        with self._last_words():
            self._end("KILLED")

    def _end(self, status: str) -> None:
        os.environ.pop(MLFLOW_RUN, None)
        if self._client is None:
            return
        if orchestrator_run():  # other tasks may follow, or this one be tried again
            self._client.set_tag(self._run_id, f"task.{mlflow_runs.task_id()}", status)
        else:
            self._client.set_terminated(self._run_id, status)
        self._client = None

    @contextmanager
    def _last_words(self) -> Iterator[None]:
        """Let no trouble with the store hide how the run itself ended."""
        try:
            yield
        except Exception as error:
            store = hide_secrets(tracking_uri(self._settings["tracking_uri"], self._project))
            reason = hide_secrets(str(error))
            LOGGER.warning("This run is not tracked whole in %s: %s", store, reason)
            with suppress(Exception):
                self._end("FAILED")
        finally:
            self._client = None

    def _log_soon(self, name: str, catalog: Any) -> None:
        """Log the trials of a search that is done, and a use case when all of it is written."""
        self._saved.add(name)
        search = name.rpartition(".")[0]
        if {f"{search}.{noun}" for noun in SEARCHED} <= self._saved:
            self._log_trials(search, catalog)
        for use_case, part in [*self._left.items()]:
            part.missing.discard(name)
            if not part.missing:
                del self._left[use_case]
                self._log_outputs(part.written, catalog)

    def _log_outputs(self, written: set[str], catalog: Any) -> None:
        assert self._client is not None
        for candidate in sorted(_candidates(written, catalog)):
            self._log_candidate(candidate, written, catalog)
        for name in sorted(written):
            folder, _, noun = name.rpartition(".")
            if noun in KEPT:
                self._client.log_artifact(self._run_id, file_of(catalog.get(name)), folder)
            if noun == "watch" and (alerts := catalog.load(name)["alerts"]):
                text = "\n".join(f"{alert['text']}: {alert['advice']}" for alert in alerts)
                self._client.set_tag(self._run_id, f"alerts.{folder}", text[:_LONGEST_TAG])
            if noun == "decision":
                self._tag_decision(folder, catalog.load(name)["decisions"])

    def _tag_decision(self, use_case: str, decisions: Sequence[Mapping[str, str]]) -> None:
        assert self._client is not None
        text = "\n".join(f"{one['event'].upper()}: {one['reason']}" for one in decisions)
        self._client.set_tag(self._run_id, f"decision.{use_case}", text[:_LONGEST_TAG])

    def _log_candidate(self, name: str, written: set[str], catalog: Any) -> None:
        """Log one candidate, ``<use_case>.<target>.<candidate>``, as a nested run."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        assert self._client is not None
        target, candidate = name.rsplit(".", 1)
        run = self._nested_run(name)
        params = json.loads(catalog.load(f"{name}.search")["params"].iloc[0])
        mlflow_runs.log_params(self._client, run, params)
        metrics = {}
        if f"{target}.scores" in written:
            metrics = tracked_metrics(catalog.load(f"{target}.scores")[candidate])
        now = get_current_time_millis()
        self._client.log_batch(
            run.info.run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()]
        )
        if f"{target}.choice" in written and catalog.load(f"{target}.choice")["best"] == candidate:
            self._client.set_tag(run.info.run_id, "best", "true")
            with tracking_to(self._client.tracking_uri):
                log_model(run.info.run_id, catalog.load(f"{target}.best_model"))
        if f"{name}.curves" in written:
            self._log_trials(name, catalog)
        self._client.set_terminated(run.info.run_id, "FINISHED")

    def _nested_run(self, name: str) -> Run:
        """The run of a candidate: of this run, or of an earlier try or task of a DAG run."""
        assert self._client is not None
        if name not in self._nested:
            parent = self._client.get_run(self._run_id)
            existing = mlflow_runs.find_nested_run(self._client, parent, name)
            self._nested[name] = existing or self._client.create_run(
                parent.info.experiment_id,
                run_name=name,
                tags={"mlflow.parentRunId": self._run_id, "candidate": name.rpartition(".")[2]},
            )
        return self._nested[name]

    def _log_trials(self, name: str, catalog: Any) -> None:
        """Log the trials of a search among networks once, with the models of the best."""
        assert self._client is not None
        if name in self._searches:
            return
        self._searches.add(name)
        run_id = self._nested_run(name).info.run_id
        if orchestrator_run():  # an earlier try may have left some
            mlflow_runs.delete_nested_runs(self._client, self._nested[name])
        top = catalog.load(f"{name}.top")
        with tracking_to(self._client.tracking_uri):
            log_trials(
                self._client,
                run_id,
                name,
                catalog.load(f"{name}.search"),
                catalog.load(f"{name}.curves"),
                log_best=lambda trial_id, place: log_model(trial_id, top[place]),
                n_best=len(top),
            )


def _hide_secrets_in_logs() -> None:
    """Also in what libraries log: of an address that does not answer they print all."""
    make_record = logging.getLogRecordFactory()
    if getattr(make_record, "hides_secrets", False):
        return

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if isinstance(record.exc_info, tuple):
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            if (hidden := hide_secrets(trace)) != trace:  # exc_text is printed as it is
                record.exc_info, record.exc_text = None, hidden
        with suppress(Exception):  # handlers report arguments that do not fit
            if "://" in (text := record.getMessage()):
                record.msg, record.args = hide_secrets(text), None
        return record

    make.hides_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make)


_current: TrackingHooks | None = None


def _saved(name: str) -> None:
    if _current is not None:
        _current.dataset_saved(name)


def _run_name(run_params: RunParams) -> str:
    names = run_params["pipeline_names"] or ["__default__"]
    scope = ",".join(run_params["namespaces"] or [])
    return orchestrator_run() or " ".join(filter(None, [",".join(names), scope]))


def _candidates(written: set[str], catalog: Any) -> set[str]:
    """``<use_case>.<target>.<candidate>`` of everything that was searched or scored."""
    searched = {name.removesuffix(".search") for name in written if name.endswith(".search")}
    scored = {
        name.removesuffix("scores") + candidate
        for name in written
        if name.endswith(".scores")
        for candidate in catalog.load(name)
    }
    return searched | scored


def tracked_metrics(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Scores under names that MLflow takes, whatever the classes are called.

    ``{"test": {"r2": {"value": 0.4}}}`` -> ``{"test/r2": 0.4}``; ends as ``test/r2_low``.
    """
    written = {split: rewritten(metrics, r"[^\w.\- ]") for split, metrics in scores.items()}
    return {
        f"{split}/{written[split][metric]}{'' if end == 'value' else f'_{end}'}": value
        for split, metrics in scores.items()
        for metric, ends in metrics.items()
        for end, value in ends.items()
    }


@dataclass
class UseCaseOutputs:
    """What the nodes of a use case write, and what of it they have not written yet."""

    written: set[str]
    missing: set[str]


def outputs_by_use_case(pipeline: Any) -> dict[str, UseCaseOutputs]:
    """The outputs of a pipeline by use case, which is the first part of a namespace."""
    outputs: dict[str, set[str]] = {}
    for node in pipeline.nodes:
        use_case = (node.namespace or "").split(".")[0]
        outputs.setdefault(use_case, set()).update(node.outputs)
    return {use_case: UseCaseOutputs(names, set(names)) for use_case, names in outputs.items()}


class BackgroundLogger:
    """Logs in a thread, one thing after the other; it ends with this process, done or not.

    Args:
        log: is given the name of each dataset that is written.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def put(self, name: str) -> None:
        """Have a dataset logged; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._queue.put(name)

    def finish(self) -> None:
        """Wait until everything is logged; raises the error of the first that could not be."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (name := self._queue.get()) is not None:
            try:
                if self._error is None:
                    self._log(name)
            except Exception as error:  # whatever the store and its driver raise
                self._error = error
