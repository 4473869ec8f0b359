"""``kedro ratchet``: look at what serves and why, and change it by hand.

To add a command, write it in a module of this package and name it in ``COMMANDS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "checkout": "commands.versions:checkout",
    "close-run": "commands.airflow_callbacks:close_run",
    "drift": "commands.drift:drift",
    "dvc": "commands.dvc:dvc",
    "fresh": "commands.landing:fresh",
    "hold": "commands.verdict:hold",
    "keys": "commands.keys:keys",
    "land": "commands.landing:land",
    "ledger": "commands.release:ledger",
    "manifest": "commands.manifest:manifest",
    "market": "commands.market:market",
    "promote": "commands.release:promote",
    "push": "commands.versions:push",
    "replay": "replay.command:replay",
    "reproduce": "commands.reproduce:reproduce",
    "rollback": "commands.release:rollback",
    "run-job": "commands.run_job:run_job",
    "serve": "commands.serve:serve",
    "status": "commands.status:status",
    "tell": "commands.airflow_callbacks:tell",
    "trial": "commands.trial:trial",
    "verdict": "commands.verdict:verdict",
    "watch": "commands.verdict:watch",
    "who-served": "commands.release:who_served",
}
"""Name of the command -> module of ``ratchet``, and the command in it."""

_STORES = ("mlflow", "sqlalchemy", "alembic")


class Commands(click.Group):
    """Commands that are imported when they are asked for, and whose errors are read by people."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"ratchet.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a user can mend ends in a message, not in a traceback."""
        from ratchet.errors import UserError

        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _STORES:
                raise
            raise click.ClickException(_of_a_store(error)) from error


def _of_a_store(error: Exception) -> str:
    """First line of what a database or a server says, without its password."""
    from ratchet.database import shown

    first = str(error).strip().splitlines()[0]
    return f"the registry or its database does not answer: {shown(first)}"


ratchet = Commands(name="ratchet", help="Look at what serves and why, and change it by hand.")
