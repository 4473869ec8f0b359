"""Commands of this project: ``kedro run`` with readable errors."""

from __future__ import annotations

from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from ratchet.errors import UserError


@click.group(name="ratchet")
def cli() -> None:
    """Commands of the project."""


def run(*, verbose: bool, **options: Any) -> Any:
    """Run the pipelines; an error ends in a message, not in a traceback."""
    try:
        return kedro_run.callback(**options)  # type: ignore[misc]
    except click.ClickException:
        raise
    except Exception as error:
        if verbose:
            raise
        raise click.ClickException(
            f"{readable(error)}\n(kedro run --verbose shows the traceback)"
        ) from error


def readable(error: BaseException) -> str:
    """What a user needs of an error: the message, and the file it is about."""
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return "\n".join([message, *getattr(error, "__notes__", [])])


cli.add_command(
    click.Command(
        "run",
        callback=run,
        params=[
            *kedro_run.params,
            click.Option(["--verbose", "-v"], is_flag=True, help="Show the traceback of an error."),
        ],
        help="Run the pipelines (all by default).",
    )
)
