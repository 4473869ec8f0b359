"""What a DAG says at its end: to MLflow how it went, to the webhook that it failed."""

from __future__ import annotations

import click

from ratchet.project_context import env_option, use_case_option


@click.command(name="close-run")
@use_case_option
@click.option("--status", type=click.Choice(["FINISHED", "FAILED"]), required=True)
@env_option
def close_run(use_case: str, status: str, env: str | None) -> None:
    """Close the MLflow run of the DAG run that this command is called in."""
    from ratchet.hooks.mlflow_runs import find_project_run

    found = find_project_run(env)
    if found is None:
        click.echo(f"{use_case}: no MLflow run to close")
        return
    found.client.set_terminated(found.run_id, status)
    click.echo(f"{use_case}: MLflow run {found.run_id} is {status}")


@click.command()
@click.argument("text")
@click.option("--event", type=click.Choice(["alert", "failure", "end"]), default="alert")
@env_option
def tell(text: str, event: str, env: str | None) -> None:
    """Send a message to the webhook of the project."""
    from kedro.config import MissingConfigException

    from ratchet import webhook
    from ratchet.config.loader import loader_here

    try:
        credentials = loader_here(env)[0]["credentials"]
    except MissingConfigException:
        credentials = {}
    listener = webhook.configure(credentials)
    if listener.url is None:
        click.echo("nobody listens: docs/how-to/get-messages.md says how to name an address")
        return
    listener.send(event, text)
    listener.wait()
