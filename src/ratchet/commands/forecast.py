"""``kedro ratchet forecast``: the next steps of series, by the version that serves."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ratchet.config.loader import project_loader
from ratchet.errors import UserError
from ratchet.learning.atomic_files import atomic_write
from ratchet.project_context import env_option, open_context, open_registry, use_case_option

_NUMBERS = ("step", "prediction", "low", "high")


@click.command()
@use_case_option
@click.option("--until", metavar="TIME", help="Last time; by default as far as forecasts reach.")
@click.option("--origin", metavar="TIME", help="Forecast as if no later target were known.")
@click.option("--version", metavar="VERSION", help="A version; by default the one that serves.")
@click.option(
    "--csv", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write a file."
)
@env_option
def forecast(
    use_case: str,
    until: str | None,
    origin: str | None,
    version: str | None,
    path: Path | None,
    env: str | None,
) -> None:
    """Forecast the steps after the last known one, by the version that serves.

    One row for each series and step: series, origin (the last step that is known), time, step,
    prediction, low and high. What is known ahead is taken from rows of steps to come in the raw
    file, and from those that the service was handed in; a value that is missing is named.
    """
    from ratchet.preparation.contract import typed_rows
    from ratchet.production.forecast import forecast_path

    registry = open_registry(env, use_case)
    number = version or registry.champion(use_case)
    if number is None:
        raise UserError(f"{use_case}: no version serves; `kedro run` ends with the first")
    bundle = registry.open_bundle(use_case, number)
    context = open_context(project_loader(env)[1], env)
    params, catalog = context.params, context.catalog
    raw, measured = catalog.load(f"{use_case}.raw"), catalog.load(f"{use_case}.measured")
    parameters = bundle.use_case
    typed = typed_rows(
        *(raw, parameters.data, dict(parameters.targets), params.get("as_of"), measured)
    )
    rows = forecast_path(bundle, typed, until, origin)
    if path is not None:
        with atomic_write(path) as partial:
            rows.to_csv(partial, index=False)
        click.echo(f"{len(rows)} rows of {use_case}, version {number}, in {path}")
        return
    table = Table(title=f"{use_case}: version {number}", title_justify="left")
    for name in rows:
        numbers = name in _NUMBERS
        table.add_column(str(name), justify="right" if numbers else "left", overflow="fold")
    times = ["origin", "time"]
    if all((rows[name] == rows[name].dt.normalize()).all() for name in times):
        rows[times] = rows[times].apply(lambda moments: moments.dt.strftime("%Y-%m-%d"))
    for row in rows.itertuples(index=False):
        table.add_row(*(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row))
    Console(soft_wrap=True).print(table)
