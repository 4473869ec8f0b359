"""DAGs ``monitor_<use_case>``: every day the model that serves is held against what came true."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, TriggerRule

from ratchet_dags.commands import BACKFILL, Commands, read, together
from ratchet_dags.drawing import as_of_param, dag_options, use_cases_to_draw
from ratchet_dags.notes import note
from ratchet_dags.tasks import command_task
from ratchet_dags.waiting import earlier_run
from ratchet_dags.words import monitor_page

_BRANCHES = {"none": "quiet", "rollback": "rolled_back", "retrain": "retrain"}


class Retrain(TriggerDagRunOperator):
    """Starts a retraining, and notes why at its run."""

    template_fields = (*TriggerDagRunOperator.template_fields, "note")


def choose_by_watch(ti: Any, dag_run: Any) -> str:
    """Show what the monitoring has done. A look at the past starts no retraining of today."""
    result = read(ti.xcom_pull(task_ids="monitor"))
    branch = _BRANCHES[result["action"]]
    if branch == "retrain" and dag_run.run_type == BACKFILL:
        branch = "quiet"
    text = "\n".join([result["reason"], *(f"- {alert}" for alert in result["alerts"])])
    note(ti, f"**{result['action']}**: {text}", "monitor")
    return branch


def draw(commands: Commands) -> DAG:
    """Draw the DAG of one use case."""
    name, job = commands.name, commands.job
    with DAG(
        f"monitor_{name}",
        params={"as_of": as_of_param()},
        doc_md=monitor_page(commands),
        **dag_options(commands, job["monitor"], "monitor"),
    ) as dag:
        monitor = command_task(
            "monitor",
            together(commands.run("monitoring"), commands.ratchet("watch", "--json")),
            answers=True,
        )
        act = BranchPythonOperator(task_id="act", python_callable=choose_by_watch)
        why = "{{ read(ti.xcom_pull(task_ids='monitor'))['reason'] }}"
        outcomes = [
            EmptyOperator(task_id="quiet"),
            EmptyOperator(task_id="rolled_back", outlets=[Asset(f"{name}.champion")]),
            Retrain(
                task_id="retrain",
                trigger_dag_id=f"retrain_{name}",
                trigger_run_id="{{ dag.dag_id }}__{{ run_id }}",
                conf={"reason": why, **_as_of(commands)},
                note=why,
                skip_when_already_exists=True,
            ),
        ]
        status = command_task("status", commands.status(), trigger_rule=TriggerRule.NONE_FAILED)
        close = command_task("close_run", commands.close()).as_teardown()
        earlier_run() >> monitor >> act >> outcomes >> status >> close
    return dag


def _as_of(commands: Commands) -> dict[str, str]:
    """The day that is looked at, for rows that have one."""
    return {"as_of": "{{ as_of(dag_run, params) }}"} if commands.about["time"] else {}


DAGS = {
    dag.dag_id: dag
    for dag in (draw(Commands(name, about)) for name, about in use_cases_to_draw("monitor").items())
}
