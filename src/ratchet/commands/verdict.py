"""``kedro ratchet verdict`` and ``watch``: what the gate and the monitoring said last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ratchet.hooks.mlflow_runs import find_project_run
from ratchet.kedro_private import file_of
from ratchet.project_context import (
    env_option,
    json_option,
    load_output,
    open_catalog,
    use_case_option,
)
from ratchet.provenance import actor, orchestrator_run
from ratchet.registry.registry import Registry


@click.command()
@use_case_option
@env_option
@json_option
def verdict(use_case: str, env: str | None, as_json: bool) -> None:
    """Print the gate's verdict on the newest challenger, before it is applied."""
    catalog, _ = open_catalog(env, use_case)
    judged = load_output(catalog, f"{use_case}.verdicts", "judge_challengers")[-1]
    result = judged["verdict"]
    answer = {
        **{key: result[key] for key in ("decision", "reason", "numbers")},
        "version": judged["version"],
        "candidates": judged["candidates"],
        "champion": catalog.load("registry").champion(use_case),
        "conditions": [
            {key: one[key] for key in ("name", "passed", "reason")} for one in result["conditions"]
        ],
        "report": _path(catalog, f"{use_case}.report"),
        **_tracked(env),
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(
        f"{result['decision']} version {judged['version']} of {use_case}: {result['reason']}"
    )
    for one in answer["conditions"]:
        met = {True: "met", False: "NOT MET", None: "not looked at"}[one["passed"]]
        click.echo(f"    {one['name']}: {met}; {one['reason']}")


@click.command()
@use_case_option
@env_option
@json_option
def watch(use_case: str, env: str | None, as_json: bool) -> None:
    """Print the latest result of the monitoring, and the action it took."""
    catalog, _ = open_catalog(env, use_case)
    assessment = load_output(catalog, f"{use_case}.watch", "act_on_assessment")
    alerts = [alert["text"] for alert in assessment["alerts"]]
    action = _action_taken(assessment, catalog.load("registry"), use_case)
    answer = {**action, "alerts": alerts, **_tracked(env)}
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo("\n".join([f"{answer['action']}: {answer['reason']}", *alerts]))


def _action_taken(
    assessment: Mapping[str, Any], registry: Registry, use_case: str
) -> Mapping[str, object]:
    """What the monitoring did.

    A task that was killed after it had decided is tried again, and then finds nothing more to do:
    the decision of its DAG run is in the ledger.
    """
    if assessment["decision"] is None and orchestrator_run():
        for entry in reversed(registry.ledger.entries(use_case)):
            if entry.actor == actor() and entry.event in ("rollback", "retrain"):
                return {"action": entry.event, "reason": entry.reason, "decision": entry.seq}
    # Without a row in the ledger nothing was done: another decision came first.
    action = "none" if assessment["decision"] is None else assessment["action"]
    return {"action": action, "reason": assessment["reason"], "decision": assessment["decision"]}


def _path(catalog: Any, name: str) -> str:
    path = file_of(catalog.get(name))
    assert path is not None
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _tracked(env: str | None) -> dict[str, str]:
    """The MLflow run of the DAG run that we work for, if there is one."""
    run = find_project_run(env)
    return {} if run is None else {"mlflow_run": run.run_id, "mlflow_url": run.url}
