"""``kedro ratchet land`` and ``fresh``: bring new raw rows in, and say whether there are any."""

from __future__ import annotations

import json

import click

from ratchet.config import FINDINGS
from ratchet.project_context import env_option, json_option, open_catalog, use_case_option


@click.command()
@use_case_option
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(FINDINGS),
    help="What the file may do to known rows, this once; may be repeated.",
)
@env_option
@json_option
def land(use_case: str, allow: tuple[str, ...], env: str | None, as_json: bool) -> None:
    """Ingest a new raw file, if it is complete, meets its contract and keeps the known rows.

    Where it comes from is the parameter `landing.source` of the use case. A file that lacks known
    rows, has other values for them or gives their keys to rows of another time is refused, and so
    is one whose last line was cut off, unless `landing.allow` or --allow say that it is meant.
    """
    from ratchet.ingest import ingest_file

    result = ingest_file(use_case, env, allow)
    click.echo(json.dumps(result.to_json()) if as_json else result.text)


@click.command()
@use_case_option
@click.option("--as-of", metavar="DATE", help="Last day whose rows are seen; all by default.")
@env_option
@json_option
def fresh(use_case: str, as_of: str | None, env: str | None, as_json: bool) -> None:
    """Report how many rows are new to the version that serves."""
    from ratchet.production.new_rows import count_new_rows

    catalog, parameters = open_catalog(env, use_case)
    raw, measured = catalog.load(f"{use_case}.raw"), catalog.load(f"{use_case}.measured")
    registry = catalog.load("registry")
    new_rows = count_new_rows(registry, use_case, parameters, raw, as_of, measured)
    answer = {**new_rows.to_json(), "as_of": as_of}
    click.echo(json.dumps(answer) if as_json else new_rows.reason)
