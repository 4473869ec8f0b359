"""DAGs ``retrain_<use_case>``: every Sunday a new model is trained, and serves if it is better."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, Asset, BaseSensorOperator, Param, TriggerRule

from ratchet_dags.commands import BACKFILL, Commands, read, together
from ratchet_dags.drawing import dag_options, hours
from ratchet_dags.manifest import manifest
from ratchet_dags.tasks import command_task
from ratchet_dags.words import AS_OF, retrain_page

_ANY = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
_UNDECIDED = ("queued", "running")
_STRATEGIES = ("grid", "random", "bayesian", "halving")


class EarlierWeek(BaseSensorOperator):
    """Lets a back-fill take one week after the other: each is judged against the one before.

    Airflow starts ten runs of a back-fill at once unless it is told otherwise.
    """

    def poke(self, context: Any) -> bool:
        """Whether no earlier run is under way; other runs do not ask."""
        if context["dag_run"].run_type != BACKFILL:
            return True
        return not any(context["ti"].get_previous_dagrun(state=state) for state in _UNDECIDED)


class Approval(HITLBranchOperator):
    """Asks a person, and keeps who has answered."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Go on with what was chosen."""
        context["ti"].xcom_push("answer", {"responded_by_user": event.get("responded_by_user")})
        return super().execute_complete(context, event)


def choose_by_rows(ti: Any, params: dict[str, Any]) -> str:
    """Train if there are rows that the champion does not know."""
    if read(ti.xcom_pull(task_ids="land"))["fresh"]:
        return "preprocess"
    return "dry_run" if params["dry_run"] else "hold_no_new_rows"


def choose_by_verdict(ti: Any, params: dict[str, Any]) -> str:
    """Do what the gate says, or ask first."""
    if params["dry_run"]:
        return "dry_run"
    decision = read(ti.xcom_pull(task_ids="gate"))["decision"].lower()
    return "approve" if decision == "promote" and params["require_approval"] else decision


def parameters(commands: Commands) -> dict[str, Param]:
    """What a person may choose when they start a run."""
    found = {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            description=AS_OF,
        ),
        "candidates": Param(
            [],
            type="array",
            items={"type": "string", "enum": commands.candidates},
            examples=commands.candidates,
            description="Candidates and networks to try; all by default. Naive ones stay.",
        ),
        "dry_run": Param(
            False, type="boolean", description="Stop after the gate; nothing is decided."
        ),
        "require_approval": Param(
            commands.job["require_approval"],
            type="boolean",
            description="Ask a person before a new model serves.",
        ),
        "reason": Param(
            None, type=["null", "string"], description="Why this run was started, for its readers."
        ),
    }
    if commands.networks:
        found["strategy"] = Param(
            None,
            type=["null", "string"],
            enum=[None, *_STRATEGIES],
            description="How networks are searched; as the parameters say by default.",
        )
    return found


def draw(commands: Commands) -> DAG:
    """Draw the DAG of one use case."""
    name, job, gate = commands.name, commands.job, commands.about["gate"]
    cores = {"pool": job["pool"], "pool_slots": job["pool_slots"]}
    with DAG(
        f"retrain_{name}",
        params=parameters(commands),
        doc_md=retrain_page(commands),
        **dag_options(commands, job["retrain"], "retrain"),
    ) as dag:
        earlier = EarlierWeek(task_id="earlier_week", mode="reschedule", poke_interval=60)
        land = command_task(
            "land",
            together(
                commands.ratchet("land"),
                commands.ratchet("fresh", "--json {{ as_of_option(dag_run, params) }}"),
            ),
            answers=True,
        )
        rows = BranchPythonOperator(task_id="new_rows", python_callable=choose_by_rows)
        no_rows = command_task(
            "hold_no_new_rows",
            commands.ratchet(
                "hold", "--reason {{ quoted(read(ti.xcom_pull(task_ids='land'))['reason']) }}"
            ),
        )
        preprocess = command_task(
            "preprocess",
            commands.run("understanding", "preprocessing"),
            outlets=[Asset(f"{name}.data")],
        )
        training = [command_task("classical", commands.run("classical"), **cores)]
        if commands.networks:
            training.append(command_task("recurrent", _recurrent(commands), **cores))
        evaluate = command_task("evaluate", commands.run("evaluation"), trigger_rule=_ANY)
        judge = command_task(
            "gate",
            together(
                commands.run("release", part=f"--to-nodes {gate['until']}"),
                commands.ratchet("verdict", "--json"),
            ),
            answers=True,
        )
        decide = BranchPythonOperator(task_id="decide", python_callable=choose_by_verdict)
        approve = Approval(
            task_id="approve",
            subject=f"{commands.about['title']}: may the new model serve?",
            body="{{ evidence(read(ti.xcom_pull(task_ids='gate'))) }}",
            options=["Approve", "Reject"],
            options_mapping={"Approve": "promote", "Reject": "hold_not_approved"},
            defaults="Reject",
            response_timeout=hours(job["approval_hours"]),
            # An answer that comes while the task is being parked can be lost once.
            retries=max(1, job["retries"]),
        )
        release = commands.run("release", part=f"--from-nodes {gate['after']}")
        outcomes = {
            "promote": command_task(
                "promote", release, trigger_rule=_ANY, outlets=[Asset(f"{name}.champion")]
            ),
            "hold": command_task("hold", release),
            "reject": command_task("reject", release),
            "hold_not_approved": command_task(
                "hold_not_approved",
                commands.ratchet(
                    "hold",
                    "--judged --reason "
                    "{{ quoted(refusal(ti.xcom_pull(task_ids='approve', key='answer'))) }}",
                ),
            ),
        }
        dry_run = EmptyOperator(task_id="dry_run", trigger_rule=_ANY)
        report = command_task(
            "report",
            commands.run("reporting"),
            trigger_rule=_ANY,
            outlets=[Asset(f"{name}.report")],
        )
        status = command_task("status", commands.status(), trigger_rule=_ANY)
        close = command_task(
            "close_run", commands.ratchet("close-run", "--status {{ outcome(ti) }}")
        ).as_teardown()

        earlier >> land >> rows >> [no_rows, preprocess, dry_run]
        preprocess >> training >> evaluate >> judge >> decide
        decide >> [approve, *(outcomes[one] for one in ("promote", "hold", "reject")), dry_run]
        approve >> [outcomes["promote"], outcomes["hold_not_approved"]]
        list(outcomes.values()) >> report >> status
        no_rows >> status
        [status, dry_run] >> close
    return dag


def _recurrent(commands: Commands) -> str:
    """Train networks; skipped where candidates are named and none of these is among them."""
    networks = commands.networks
    none = (
        f"{{% if params.candidates and not params.candidates | select('in', {networks}) | list %}}"
    )
    return f"{none}exit 99{{% else %}}{commands.run('recurrent')}{{% endif %}}"


DAGS = {
    dag.dag_id: dag
    for dag in (draw(Commands(name, about)) for name, about in manifest()["use_cases"].items())
}
