"""``kedro ratchet reproduce``: run a use case twice and compare the results."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from kedro.config import MissingConfigException
from rich.table import Table

from ratchet import progress
from ratchet.errors import UserError

if TYPE_CHECKING:
    from ratchet.reproducibility import Difference, Reproduction

PIPELINES = "understanding,preprocessing,classical,recurrent,evaluation"

_SHOWN = 10  # differences on the screen


class NotComparedError(click.ClickException):
    """There are no two results to compare."""

    exit_code = 2


@click.command()
@click.option("--use-case", "-u", required=True, help="Use case to run twice.")
@click.option("--env", "-e", help="Environment of the configuration, as for `kedro run`.")
@click.option(
    "--pipelines", default=PIPELINES, show_default=True, help="What to run; ends in evaluation."
)
@click.option("--params", default="", help="Parameters of the run, as for `kedro run`.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Empty folder for what the runs write; without it they write into a temporary one.",
)
def reproduce(
    use_case: str, env: str | None, pipelines: str, params: str, keep: Path | None
) -> None:
    """Run a use case twice and compare metrics and predictions bit by bit.

    The runs are processes of their own and share no search. The exit code is 0 where both came out
    the same, 1 where they differ, and 2 where they could not be compared.
    """
    from ratchet.reproducibility import RunRequest, run_twice

    request = RunRequest(use_case, env or os.environ.get("KEDRO_ENV") or "local", pipelines, params)
    try:
        with TemporaryDirectory(prefix="ratchet-") as temporary:
            folder = _empty(keep) if keep else Path(temporary)
            result = run_twice(request, folder.resolve())
    except (UserError, MissingConfigException) as error:
        raise NotComparedError(str(error)) from error
    _show(use_case, result)
    raise SystemExit(1 if result.differences else 0)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"--keep: {folder} is not empty")
    return folder


def _show(use_case: str, result: Reproduction) -> None:
    hashes = [run.results.hashes() for run in result.runs]
    chosen = [run.results.chosen for run in result.runs]
    rows: dict[str, list[str | None]] = {
        **{what: [each[what][:16] for each in hashes] for what in ("metrics", "predictions")},
        **{f"chosen for {name}": [each.get(name) for each in chosen] for name in chosen[0]},
    }
    table = Table("", "first run", "second run", "same", title=f"{use_case}, run twice")
    for name, (first, second) in rows.items():
        table.add_row(name, first, second, "yes" if first == second else "NO")
    progress.console(120).print(table, highlight=False)
    for difference in result.differences[:_SHOWN]:
        click.echo(f"  {_describe(difference)}")
    if len(result.differences) > _SHOWN:
        click.echo(f"  ... and {len(result.differences) - _SHOWN} more, see the report")
    click.echo(f"Report: {os.path.relpath(result.report)}")


def _describe(difference: Difference) -> str:
    size = "" if difference.size is None else f", {difference.size:.3g} apart"
    rows = "" if difference.rows is None else f" ({difference.rows} rows, most in {difference.row})"
    return f"{difference.where}: {difference.first} and {difference.second}{size}{rows}"
