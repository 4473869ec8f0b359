"""DAGs ``retrain_<use_case>``: every Sunday a new model is trained, and serves if it is better."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, Asset, Param, TriggerRule, chain

from ratchet_dags.commands import Commands, evidence, has_to_ask, read, refusal, together
from ratchet_dags.drawing import as_of_param, dag_options, hours, use_cases_to_draw
from ratchet_dags.notes import note
from ratchet_dags.tasks import SKIPPED, command_task, phase_task
from ratchet_dags.waiting import earlier_run
from ratchet_dags.words import retrain_page

_ANY = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
_STRATEGIES = ("grid", "random", "bayesian", "halving")


class Approval(HITLBranchOperator):
    """Asks a person, and keeps who has answered."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Go on with what was chosen."""
        ti, answer = context["ti"], {"responded_by_user": event.get("responded_by_user")}
        ti.xcom_push("answer", answer)
        if event.get("chosen_options") == ["Reject"]:
            note(ti, f"**HOLD**: {refusal(answer)}", self.task_id)
        return super().execute_complete(context, event)


def choose_by_rows(ti: Any, params: dict[str, Any]) -> str:
    """Train if there are rows that the champion does not know."""
    rows = read(ti.xcom_pull(task_ids="land"))
    if rows["fresh"]:
        return "preprocess"
    if params["dry_run"]:
        return "dry_run"
    note(ti, f"**HOLD**: {rows['reason']}", "land")
    return "hold_no_new_rows"


def choose_by_verdict(ti: Any, params: dict[str, Any], dag_run: Any) -> str:
    """Do what the gate says, or ask first."""
    verdict = read(ti.xcom_pull(task_ids="gate"))
    note(ti, evidence(verdict), "gate")
    if params["dry_run"]:
        return "dry_run"
    decision = verdict["decision"].lower()
    return "approve" if decision == "promote" and has_to_ask(dag_run, params) else decision


def parameters(commands: Commands) -> dict[str, Param]:
    """What a person may choose when they start a run."""
    params = {
        "as_of": as_of_param(),
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
        params["strategy"] = Param(
            None,
            type=["null", "string"],
            enum=[None, *_STRATEGIES],
            description="How networks are searched; as the parameters say by default.",
        )
    return params


def draw(commands: Commands) -> DAG:
    """Draw the DAG of one use case."""
    with DAG(
        f"retrain_{commands.name}",
        params=parameters(commands),
        doc_md=retrain_page(commands),
        **dag_options(commands, commands.job["retrain"], "retrain"),
    ) as dag:
        new_rows = bring_rows(commands)
        no_rows = command_task(
            "hold_no_new_rows",
            commands.ratchet(
                "hold", "--reason {{ quoted(read(ti.xcom_pull(task_ids='land'))['reason']) }}"
            ),
        )
        dry_run = EmptyOperator(task_id="dry_run", trigger_rule=_ANY)
        preprocess, decide = train(commands)
        decided = carry_out(commands, decide)
        report = phase_task(
            commands,
            "report",
            "reporting",
            trigger_rule=_ANY,
            outlets=[Asset(f"{commands.name}.report")],
        )
        status = command_task("status", commands.status(), trigger_rule=_ANY)
        close = command_task("close_run", commands.close()).as_teardown()

        new_rows >> [no_rows, preprocess, dry_run]
        decide >> dry_run
        decided >> report
        [report, no_rows] >> status
        [status, dry_run] >> close
    return dag


def bring_rows(commands: Commands) -> Any:
    """Bring new raw files in and look for rows that are new; the branch."""
    landing = [commands.ratchet("land")] if commands.about["landing"] else []
    look = commands.ratchet("fresh", "--json {{ as_of_option(dag_run, params) }}")
    land = command_task("land", together(*landing, look), answers=True)
    branch = BranchPythonOperator(task_id="new_rows", python_callable=choose_by_rows)
    earlier_run() >> land >> branch
    return branch


def train(commands: Commands) -> tuple[Any, Any]:
    """Train and judge: the first task, and the branch at the end."""
    job, until = commands.job, commands.about["gate"]["until"]
    cores = {"pool": job["pool"], "pool_slots": job["pool_slots"]}
    preprocess = phase_task(
        *(commands, "preprocess", "understanding", "preprocessing"),
        outlets=[Asset(f"{commands.name}.data")],
    )
    training = [phase_task(commands, "classical", "classical", **cores)]
    if commands.networks:
        training.append(command_task("recurrent", _recurrent(commands), **cores))
    evaluate = phase_task(commands, "evaluate", "evaluation", trigger_rule=_ANY)
    gate = command_task(
        "gate",
        together(
            commands.run("release", part=f"--to-nodes {until}"),
            commands.ratchet("verdict", "--json"),
        ),
        answers=True,
    )
    branch = BranchPythonOperator(task_id="decide", python_callable=choose_by_verdict)
    judged = [evaluate]
    if "pricing" in commands.about["phases"]:
        judged.append(phase_task(commands, "price", "pricing"))
    preprocess >> training
    chain(training, *judged, gate, branch)
    return preprocess, branch


def carry_out(commands: Commands, decide: Any) -> list[Any]:
    """Do what was decided: the tasks of which one is done."""
    job, after = commands.job, commands.about["gate"]["after"]
    release = commands.run("release", part=f"--from-nodes {after}")
    promote = command_task(
        "promote", release, trigger_rule=_ANY, outlets=[Asset(f"{commands.name}.champion")]
    )
    hold, reject = command_task("hold", release), command_task("reject", release)
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
    why = "{{ quoted(refusal(ti.xcom_pull(task_ids='approve', key='answer'))) }}"
    refused = command_task(
        "hold_not_approved", commands.ratchet("hold", f"--judged --reason {why}")
    )
    decide >> [approve, promote, hold, reject]
    approve >> [promote, refused]
    return [promote, hold, reject, refused]


def _recurrent(commands: Commands) -> str:
    """Train networks; skipped where candidates are named and none of these is among them."""
    train = commands.run("recurrent")
    return f"{{% if trains_networks(params) %}}{train}{{% else %}}exit {SKIPPED}{{% endif %}}"


DAGS = {
    dag.dag_id: dag
    for dag in (draw(Commands(name, about)) for name, about in use_cases_to_draw("retrain").items())
}
