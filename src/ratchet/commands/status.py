"""``kedro ratchet status``: what serves, since when, how well."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.config import MissingConfigException
from rich.table import Table

from ratchet import progress
from ratchet.config.kedro_loader import only_use_cases
from ratchet.config.loader import project_loader, read_use_cases
from ratchet.kedro_private import make_catalog
from ratchet.project_context import find_use_case, open_context

if TYPE_CHECKING:
    from ratchet.registry.registry import Registry
    from ratchet.reports.status.collect import UseCaseStatus

LOG_WIDTH = 140


@click.command()
@click.option("--use-case", "-u", help="One use case, in full; all by default.")
@click.option("--env", "-e", help="Environment of the configuration, as for `kedro run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--page", is_flag=True, help="Also write the page, of all use cases.")
def status(use_case: str | None, env: str | None, as_json: bool, page: bool) -> None:
    """Show the version that serves, since when, its scores and the latest decision.

    The same with charts is in data/08_reporting/status.html.
    """
    try:
        statuses = _collect(env, page=page)
    except MissingConfigException as error:
        raise click.ClickException(str(error)) from error
    if use_case is not None:
        statuses = {use_case: find_use_case(statuses, use_case)}
    if as_json:
        click.echo(json.dumps({name: each.to_json() for name, each in statuses.items()}, indent=2))
    else:
        _print(list(statuses.values()), in_full=use_case is not None)


def _collect(env: str | None, *, page: bool) -> dict[str, UseCaseStatus]:
    """Use case -> its status; the page is written where it is asked for."""
    from ratchet.config.checks import check_metrics
    from ratchet.reports.status.collect import collect

    loader, project = project_loader(env)
    use_cases = read_use_cases(loader["parameters"])
    check_metrics(use_cases)
    # None of its parameters is loaded: those of a thousand use cases would be 290,000 entries.
    with only_use_cases(list(use_cases)[:1]):
        catalog = make_catalog(open_context(project, env))
    watches = {
        name: catalog.load(f"{name}.watch") if catalog.exists(f"{name}.watch") else None
        for name in use_cases
    }
    registry, log = catalog.load("registry"), catalog.load("prediction_log")
    if not _exists(registry):
        registry = log = None
    statuses = collect(registry, log, use_cases, watches)
    if page:
        from ratchet.reports.status.html import render  # loads what draws charts

        catalog.save("status", render(statuses, dt.datetime.now(dt.UTC)))
    return {status.name: status for status in statuses}


def _exists(registry: Registry) -> bool:
    """Whether the database exists: opening a missing SQLite file would create an empty one."""
    url = registry.ledger.engine.url
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def _print(statuses: Sequence[UseCaseStatus], *, in_full: bool) -> None:
    from ratchet.reports.status import text

    table = Table(*text.COLUMNS, title="Status")
    for each in statuses:
        table.add_row(*text.overview(each))
    console = progress.console(LOG_WIDTH)
    console.print(table)
    for each in statuses:
        for line in text.full_text(each) if in_full else text.problem_lines(each):
            console.print(line, markup=False, highlight=False)
