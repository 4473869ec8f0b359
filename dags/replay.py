"""DAG ``replay``: walk through past Sundays, to see what the policy would have done."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from ratchet_dags import messages
from ratchet_dags.commands import replay, replay_macros
from ratchet_dags.manifest import manifest
from ratchet_dags.tasks import command_task, job_options
from ratchet_dags.words import REPLAY

_DATE = {"type": "string", "format": "date"}


def parameters() -> dict[str, Param]:
    """What a person chooses when they start a replay."""
    names = list(manifest()["use_cases"])
    texts: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    return {
        "use_case": Param(names[0], type="string", enum=names, description="Which use case."),
        "first": Param(None, **_DATE, description="The first Sunday, in the data."),
        "last": Param(None, **_DATE, description="The last day that is answered."),
        "every": Param(
            "7d", type="string", pattern="^[1-9][0-9]*d$", description="From one to the next."
        ),
        "policies": Param(
            [], **texts, description="Files of further policies, in the project folder."
        ),
        "candidates": Param([], **texts, description="What is trained; a few by default."),
    }


def draw() -> DAG:
    """Draw the DAG."""
    job = manifest()["defaults"]
    with DAG(
        "replay",
        dag_display_name="Replay of the past",
        description="What would the gate, the rollback and the trigger have done?",
        schedule=None,
        catchup=False,
        max_active_runs=1,
        params=parameters(),
        doc_md=REPLAY,
        default_args=job_options(job),
        tags=["ratchet", "replay", *job["tags"]],
        user_defined_macros=replay_macros(),
        on_failure_callback=messages.failed,
    ) as dag:
        command_task("replay", replay(), pool=job["pool"], pool_slots=job["pool_slots"])
    return dag


DAGS = {"replay": draw()} if manifest()["use_cases"] else {}
