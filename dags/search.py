"""DAG ``search``: a search among networks that somebody has asked the service for."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from ratchet_dags import messages
from ratchet_dags.commands import search, search_macros
from ratchet_dags.manifest import manifest
from ratchet_dags.tasks import command_task, job_options
from ratchet_dags.words import SEARCH


def draw() -> DAG:
    """Draw the DAG."""
    job = manifest()["defaults"]
    with DAG(
        "search",
        dag_display_name="Search among networks",
        description="Which network forecasts best, with which parameters?",
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,  # it runs when the service starts it, and never by itself
        params={
            "folder": Param(
                None, type="string", minLength=1, description="Folder of the job, with its order."
            )
        },
        doc_md=SEARCH,
        # A search that cannot be done cannot be done later either; the service says why.
        default_args={**job_options(job), "retries": 0},
        tags=["ratchet", "search", *job["tags"]],
        user_defined_macros=search_macros(),
        on_failure_callback=messages.failed,
    ) as dag:
        command_task("search", search(), pool=job["pool"], pool_slots=job["pool_slots"])
    return dag


DAGS = {"search": draw()} if manifest()["use_cases"] else {}
