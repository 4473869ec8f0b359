"""Runs DAGs of a project with ``dag.test()``, in a process of its own, for the tests.

Reads scenarios as JSON from the standard input and writes what became of each, as JSON, into the
file it is given. A scenario: ``file`` and ``dag_id``, ``conf`` of the run, ``environment`` of the
commands, ``approval`` (the option that is chosen, or null for no answer in time), ``date`` and
``run_type``.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def main(dags: Path, output: Path) -> None:
    """Run all scenarios."""
    sys.path.insert(0, str(dags))
    scenarios = json.load(sys.stdin)
    output.write_text(json.dumps([run(dags, scenario) for scenario in scenarios]))


def run(dags: Path, scenario: dict[str, Any]) -> dict[str, Any]:
    """Run one scenario: states of the tasks, what they answered, and the state of the run."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    os.environ.update(scenario.get("environment", {}))
    answer = scenario.get("approval")
    HITLOperator.execute = lambda self, context: self.execute_complete(context, _event(answer))
    dag = load(dags / scenario["file"]).DAGS[scenario["dag_id"]]
    date = scenario.get("date")
    run = dag.test(
        logical_date=date and dt.datetime.fromisoformat(date), run_conf=scenario.get("conf")
    )
    keep_the_folder()
    tasks = run.get_task_instances()
    return {
        "state": str(run.state),
        "run_id": run.run_id,
        "tasks": {task.task_id: str(task.state) for task in tasks},
        "answers": {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks},
    }


def keep_the_folder() -> None:
    """Let no further ``dag.test()`` read the whole folder and write its DAGs into the database.

    They stay as the first one has written them, and all that takes as long as to run a DAG.
    """
    from airflow.dag_processing import dagbag

    dagbag.BundleDagBag = dagbag.sync_bag_to_db = lambda *_, **__: None


@cache
def load(path: Path) -> ModuleType:
    """A file with DAGs, read once: none may depend on the environment of a scenario meanwhile."""
    spec = importlib.util.spec_from_file_location(f"drawn_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _event(option: str | None) -> dict[str, Any]:
    user = None if option is None else {"id": "ann", "name": "Ann"}
    return {
        "chosen_options": [option or "Reject"],
        "params_input": {},
        "responded_at": dt.datetime.now(dt.UTC),
        "responded_by_user": user,
        "timedout": option is None,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
