"""``kedro ratchet``: look at what serves and why, and change it by hand.

To add a command, write it in a module of this package and name it in ``COMMANDS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from ratchet.errors import UserError, hide_secrets

COMMANDS = {
    "checkout": (
        "commands.dvc:checkout",
        "Restore data and model of a version from DVC, also in a fresh clone.",
    ),
    "close-run": (
        "commands.airflow:close_run",
        "Close the MLflow run of the DAG run that this command is called in.",
    ),
    "drift": (
        "commands.drift:drift",
        "Compare the newest rows with those that the champion was trained on.",
    ),
    "dvc": ("commands.dvc:dvc", "Regenerate dvc.yaml, which says what `dvc repro` runs."),
    "export": (
        "commands.export:export",
        "Copy the models that serve into a folder that a container can serve.",
    ),
    "forecast": (
        "commands.forecast:forecast",
        "Forecast the steps after the last known one, by the version that serves.",
    ),
    "fresh": (
        "commands.ingest:fresh",
        "Report how many rows are new to the version that serves.",
    ),
    "hold": ("commands.release:hold", "Record the decision to keep everything as it is, and why."),
    "keys": ("commands.serve:keys", "Make, list and revoke keys of the service."),
    "land": (
        "commands.ingest:land",
        "Ingest a new raw file, if it is complete, meets its contract and keeps the known rows.",
    ),
    "ledger": ("commands.ledger:ledger", "List the decisions, or verify that the list is whole."),
    "manifest": (
        "commands.airflow:manifest",
        "Regenerate dags/manifest.json, from which Airflow draws the DAGs.",
    ),
    "market": ("commands.market:market", "Look at the segments of a market, and ask for prices."),
    "notify": ("commands.airflow:notify", "Send a message to the webhook of the project."),
    "promote": (
        "commands.release:promote",
        "Let a version serve: the newest candidate, or the one that is named.",
    ),
    "push": (
        "commands.dvc:push",
        "Copy all versions that DVC has to its remote; what is there already is not sent again.",
    ),
    "replay": (
        "replay.command:replay",
        "Backtest release policies on past Sundays: train, judge, serve, watch, roll back.",
    ),
    "reproduce": (
        "commands.reproduce:reproduce",
        "Run a use case twice and compare metrics and predictions bit by bit.",
    ),
    "rollback": (
        "commands.release:rollback",
        "Let an earlier version serve again; the present one goes into quarantine.",
    ),
    "run-job": ("commands.run_job:run_job", ""),
    "serve": ("commands.serve:serve", "Serve the models that the ledger says serve, until Ctrl-C."),
    "status": (
        "commands.status:status",
        "Show the version that serves, since when, its scores and the latest decision.",
    ),
    "trial": (
        "commands.release:trial",
        "Compare a challenger with the champion, by answers whose truth is known.",
    ),
    "verdict": (
        "commands.verdict:verdict",
        "Print the gate's verdict on the newest challenger, before it is applied.",
    ),
    "watch": (
        "commands.verdict:watch",
        "Print the latest result of the monitoring, and the action it took.",
    ),
    "who-served": (
        "commands.ledger:who_served",
        "Print which version served at a time (UTC unless it has a zone), and why.",
    ),
}
"""Name -> the command in its module of ``ratchet``, and the first sentence of its help.

So the list of all commands imports none of them; a test compares the sentences. Without one a
command is not listed.
"""

RENAMED = {"tell": "notify"}
"""Old name of a command, which goes on working -> the name it has now."""

_STORES = ("mlflow", "sqlalchemy", "alembic")


class Commands(click.Group):
    """Commands that are imported when they are called, and whose errors are read by people."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in RENAMED:
            click.echo(
                f"DeprecationWarning: {cmd_name} is called {RENAMED[cmd_name]} now", err=True
            )
            cmd_name = RENAMED[cmd_name]
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"ratchet.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        listed = {name: help_text for name, (_, help_text) in sorted(COMMANDS.items()) if help_text}
        limit = formatter.width - 6 - max(map(len, listed))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(None, help=text).get_short_help_str(limit))
                    for name, text in listed.items()
                ]
            )

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a user can mend ends in a message, not in a traceback."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _STORES:
                raise
            first = hide_secrets(str(error).strip().splitlines()[0])
            message = f"the registry or its database does not answer: {first}"
            raise click.ClickException(message) from error


ratchet = Commands(
    name="ratchet", help="Inspect which versions serve and why, and change that by hand."
)
