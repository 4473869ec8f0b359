"""Parses the DAGs of a folder in a process of its own and says what is there, as JSON.

``STAND_INS`` puts modules in the place of Airflow's providers for Docker and Kubernetes.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

FORBIDDEN = ("kedro", "ratchet", "tensorflow", "keras", "mlflow", "sklearn", "xgboost")
WEDNESDAY = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


def main(folder: Path) -> None:
    """Print what is there."""
    sys.path.insert(0, str(folder))
    if os.environ.get("STAND_INS"):
        stand_in()
    dags = {}
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"drawn_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for dag_id, dag in module.DAGS.items():
            assert dag_id not in dags
            dags[dag_id] = describe(dag)
    loaded = [name for name in FORBIDDEN if name in sys.modules]
    print(json.dumps({"dags": dags, "loaded": loaded}, default=str))


def describe(dag: Any) -> dict[str, Any]:
    """All that the tests ask for."""
    dag.validate()
    return {
        "tasks": {task.task_id: describe_task(task) for task in dag.tasks},
        "params": {name: param.schema for name, param in dag.params.items()},
        "doc": dag.doc_md,
        "tags": sorted(dag.tags),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "deadline": bool(dag.deadline),
        "cron": getattr(dag.timetable, "expression", None),
        "timezone": str(getattr(dag.timetable, "timezone", "")),
        "first": first_run(dag),
    }


def describe_task(task: Any) -> dict[str, Any]:
    return {
        "kind": type(task).__name__,
        "downstream": sorted(task.downstream_task_ids),
        "owner": task.owner,
        "retries": task.retries,
        "backoff": bool(task.retry_exponential_backoff),
        "pool": task.pool,
        "outlets": [outlet.name for outlet in task.outlets],
        "teardown": task.is_teardown,
        "given": getattr(task, "given", None),
        "cwd": getattr(task, "cwd", None),
    }


def first_run(dag: Any) -> str | None:
    """When the scheduler would start a DAG that it first sees on a Wednesday."""
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    trigger.utcnow = lambda: WEDNESDAY
    restriction = TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup)
    info = coerce_to_core_timetable(dag.timetable).next_dagrun_info(
        last_automated_data_interval=None, restriction=restriction
    )
    return info and info.run_after.isoformat()


def stand_in() -> None:
    """Operators that keep what they are given, and the rest that is imported with them."""
    from airflow.sdk import BaseOperator

    own = {"task_id", "owner", "retries", "pool", "pool_slots", "outlets", "trigger_rule", "doc_md"}

    class DockerOperator(BaseOperator):
        def __init__(self, **given: Any) -> None:
            super().__init__(**{key: value for key, value in given.items() if key in own})
            self.given = {key: value for key, value in given.items() if key not in own}

    class KubernetesPodOperator(DockerOperator):
        pass

    put("airflow.providers.docker.operators.docker", DockerOperator=DockerOperator)
    put(
        "airflow.providers.cncf.kubernetes.operators.pod",
        KubernetesPodOperator=KubernetesPodOperator,
    )
    put("docker.types", Mount=lambda **given: given)


def put(name: str, **content: Any) -> None:
    """Make a module, and those it lies in where there are none."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        inside = ".".join(parts[:n])
        if inside not in sys.modules and (
            n == len(parts) or importlib.util.find_spec(inside) is None
        ):
            sys.modules[inside] = types.ModuleType(inside)
            sys.modules[inside].__path__ = []
    vars(sys.modules[name]).update(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
