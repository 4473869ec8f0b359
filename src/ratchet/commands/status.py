"""``kedro ratchet status``: what serves, since when, how well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.config import MissingConfigException

from ratchet.config import loader_here, read_use_cases
from ratchet.errors import UserError

if TYPE_CHECKING:
    from ratchet.params import UseCase
    from ratchet.pipelines.status.collect import UseCaseStatus
    from ratchet.release.registry import Registry

_LOG_WIDTH = 140


@click.command()
@click.option("--use-case", "-u", help="One use case, in full; all by default.")
@click.option("--env", "-e", help="Environment of the configuration, as for `kedro run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(use_case: str | None, env: str | None, as_json: bool) -> None:
    """Say what serves, since when, how well, and what was decided last.

    The same with charts is in data/08_reporting/status.html.
    """
    try:
        statuses = _look(use_case, env)
    except MissingConfigException as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({each.name: each.to_json() for each in statuses}, indent=2))
        return
    _print(statuses, in_full=use_case is not None)


def _look(use_case: str | None, env: str | None) -> list[UseCaseStatus]:
    from kedro.framework.session import KedroSession

    from ratchet.pipelines.status.collect import collect

    loader, project = loader_here(env)
    use_cases = _chosen(read_use_cases(loader["parameters"]), use_case)
    with KedroSession.create(project, env=env) as session:
        catalog = session.load_context().catalog
        watches = {
            name: catalog.load(f"{name}.watch") if catalog.exists(f"{name}.watch") else None
            for name in use_cases
        }
        registry = catalog.load("registry")
        if not _is_there(registry):
            return collect(None, None, use_cases, watches)
        return collect(registry, catalog.load("prediction_log"), use_cases, watches)


def _chosen(known: Mapping[str, UseCase], use_case: str | None) -> dict[str, UseCase]:
    if use_case is None:
        return dict(known)
    if use_case not in known:
        raise UserError(
            f"--use-case: no use case '{use_case}'; there are {', '.join(sorted(known))}"
        )
    return {use_case: known[use_case]}


def _is_there(registry: Registry) -> bool:
    """Whether anything was ever recorded: an SQLite file that is opened would be made, empty."""
    url = registry.ledger.engine.url
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def _print(statuses: Sequence[UseCaseStatus], *, in_full: bool) -> None:
    from rich import get_console
    from rich.console import Console
    from rich.table import Table

    from ratchet.pipelines.status import words

    table = Table(*words.COLUMNS, title="Status")
    for each in statuses:
        table.add_row(*words.overview(each))
    terminal = get_console()
    # A pipe or a log has no width of its own.
    console = terminal if terminal.is_terminal else Console(width=_LOG_WIDTH)
    console.print(table)
    for each in statuses:
        for line in words.told(each) if in_full else words.urgent(each):
            console.print(line, markup=False, highlight=False)
