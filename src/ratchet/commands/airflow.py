"""``kedro ratchet manifest``, ``close-run`` and ``notify``: what the DAGs of Airflow need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException

from ratchet import webhook
from ratchet.airflow import build_manifest, manifest_text, read_settings
from ratchet.commands.generated_files import bring_up_to_date
from ratchet.config.loader import project_loader, read_use_cases, remember
from ratchet.errors import ConfigError
from ratchet.hooks.mlflow_runs import find_project_run
from ratchet.pipeline_registry import register_pipelines
from ratchet.project_context import check_environment, env_option, use_case_option

MANIFEST = "dags/manifest.json"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; say whether the file is up to date.")
@click.option("--output", default=MANIFEST, help="File to write, by default dags/manifest.json.")
@env_option
def manifest(check: bool, output: str, env: str | None) -> None:
    """Regenerate dags/manifest.json, from which Airflow draws the DAGs.

    Needed after a change of use cases, of candidates or of airflow.yml. Another environment may
    have a manifest of its own (--env, --output), which Airflow finds by RATCHET_MANIFEST.
    """
    text, project = _text(env)
    options = "" if output == MANIFEST else f" --output {output}"
    options = f" --env {env}{options}" if env else options
    bring_up_to_date(project, output, text, check=check, command=f"kedro ratchet manifest{options}")


def _text(env: str | None) -> tuple[str, Path]:
    loader, project = project_loader(env)
    try:
        config = loader["airflow"]
    except MissingConfigException:
        raise ConfigError("there is no airflow.yml in conf/: docs/reference/dags.md") from None
    use_cases = read_use_cases(loader["parameters"])
    settings = read_settings(config, use_cases)
    for name in dict.fromkeys(settings.job(use_case).backfill_env for use_case in use_cases):
        _check_backfill(name)
    remember(loader, project)
    catalog = {
        name: str(entry["filepath"])
        for name, entry in loader["catalog"].items()
        if isinstance(entry, dict) and "filepath" in entry
    }
    return manifest_text(
        build_manifest(settings, use_cases, register_pipelines(), catalog)
    ), project


def _check_backfill(env: str) -> None:
    """Make sure that back-fills have a registry of their own.

    Raises:
        UserError: there is no such environment, or it has none.
    """
    loader: Any = project_loader(env)[0]
    check_environment(loader)
    if "tracking_uri" not in loader.own_globals():
        raise ConfigError(
            f"airflow: backfill_env: conf/{env}/globals.yml sets no tracking_uri: back-fills "
            f"would decide in the registry of live runs and move what serves to the past: set one "
            f"there, as conf/backfill/globals.yml does"
        )


@click.command(name="close-run")
@use_case_option
@click.option(
    "--status",
    type=click.Choice(["FINISHED", "FAILED"]),
    required=True,
    help="How the DAG run has ended.",
)
@env_option
def close_run(use_case: str, status: str, env: str | None) -> None:
    """Close the MLflow run of the DAG run that this command is called in."""
    run = find_project_run(env)
    if run is None:
        click.echo(f"{use_case}: no MLflow run to close")
        return
    run.client.set_terminated(run.run_id, status)
    click.echo(f"{use_case}: MLflow run {run.run_id} is {status}")


@click.command()
@click.argument("text")
@click.option(
    "--event",
    type=click.Choice(["alert", "failure", "end"]),
    default="alert",
    help="What it is about; alert by default.",
)
@env_option
def notify(text: str, event: str, env: str | None) -> None:
    """Send a message to the webhook of the project."""
    try:
        credentials = project_loader(env)[0]["credentials"]
    except MissingConfigException:
        credentials = {}
    receiver = webhook.configure(credentials)
    if receiver.url is None:
        click.echo("no webhook is configured: docs/how-to/get-messages.md says how to name one")
        return
    receiver.send(event, text)
    receiver.wait()
