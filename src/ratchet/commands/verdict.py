"""What the gate and the watch said last, and a decision to leave everything as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ratchet.commands.landing import json_option
from ratchet.commands.release import reason_option
from ratchet.kedro_private import file_of
from ratchet.project_context import env_option, load_output, open_catalog, use_case_option
from ratchet.provenance import actor, orchestrator_run


@click.command()
@use_case_option
@env_option
@json_option
def verdict(use_case: str, env: str | None, as_json: bool) -> None:
    """Say what the gate thinks of the newest challenger, before it is carried out."""
    catalog, _ = open_catalog(env, use_case)
    judged = load_output(catalog, f"{use_case}.verdicts", "judge_challengers")[-1]
    said = judged["verdict"]
    answer = {
        **{key: said[key] for key in ("decision", "reason", "numbers")},
        "version": judged["version"],
        "candidates": judged["candidates"],
        "champion": catalog.load("registry").champion(use_case),
        "conditions": [
            {key: one[key] for key in ("name", "passed", "reason")} for one in said["conditions"]
        ],
        "report": _path(catalog, f"{use_case}.report"),
        **_tracked(env),
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(f"{said['decision']} version {judged['version']} of {use_case}: {said['reason']}")
    for one in answer["conditions"]:
        met = {True: "met", False: "NOT MET", None: "not looked at"}[one["passed"]]
        click.echo(f"    {one['name']}: {met}; {one['reason']}")


@click.command()
@use_case_option
@env_option
@json_option
def watch(use_case: str, env: str | None, as_json: bool) -> None:
    """Say what the monitoring found last, and what it did."""
    catalog, _ = open_catalog(env, use_case)
    found = load_output(catalog, f"{use_case}.watch", "act_on_assessment")
    answer = {
        **_done(found, catalog.load("registry"), use_case),
        "alerts": [alert["text"] for alert in found["alerts"]],
        **_tracked(env),
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo("\n".join([f"{answer['action']}: {answer['reason']}", *answer["alerts"]]))


@click.command()
@use_case_option
@reason_option
@click.option("--judged", is_flag=True, help="About the challenger that the gate has just judged.")
@env_option
def hold(use_case: str, reason: str, judged: bool, env: str | None) -> None:
    """Write down that everything stays as it is, and why."""
    from ratchet.registry import actions

    catalog, _ = open_catalog(env, use_case)
    version, details = None, {}
    if judged:
        one = load_output(catalog, f"{use_case}.verdicts", "judge_challengers")[-1]
        version = one["version"]
        details = {key: one[key] for key in ("verdict", "digest", "candidates")}
    entry = actions.hold(
        catalog.load("registry"),
        use_case,
        version,
        reason=reason,
        actor=actor(),
        details=details,
    )
    _note_decision(use_case, env, f"HOLD: {entry.reason}")
    click.echo(
        f"hold (decision {entry.seq}): version {entry.champion or 'none'} of {use_case} serves"
    )


def _done(found: Mapping[str, Any], registry: Any, use_case: str) -> dict[str, Any]:
    """What the monitoring did.

    A task that was killed after it had decided is tried again, and then finds nothing more to do:
    the decision of its DAG run stands in the ledger.
    """
    if found["decision"] is None and orchestrator_run():
        for entry in reversed(registry.ledger.entries(use_case)):
            if entry.actor == actor() and entry.event in ("rollback", "retrain"):
                return {"action": entry.event, "reason": entry.reason, "decision": entry.seq}
    # Without a row in the ledger nothing was done: somebody else had decided meanwhile.
    action = "none" if found["decision"] is None else found["action"]
    return {"action": action, "reason": found["reason"], "decision": found["decision"]}


def _path(catalog: Any, name: str) -> str:
    path = file_of(catalog.get(name))
    assert path is not None
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _tracked(env: str | None) -> dict[str, str]:
    """The MLflow run of the DAG run that we work for, if there is one."""
    from ratchet.hooks.mlflow_runs import find_project_run

    found = find_project_run(env)
    return {} if found is None else {"mlflow_run": found.run_id, "mlflow_url": found.url}


def _note_decision(use_case: str, env: str | None, text: str) -> None:
    """Let the MLflow run of the DAG run say what was decided; there may be none yet."""
    from ratchet.hooks.mlflow_runs import find_project_run

    if found := find_project_run(env, make=True):
        found.client.set_tag(found.run_id, f"decision.{use_case}", text)
