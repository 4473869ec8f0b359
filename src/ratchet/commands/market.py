"""``kedro ratchet market``: list the segments of a market, and recommend prices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.table import Table
from rich.text import Text

from ratchet import progress
from ratchet.config.loader import project_loader
from ratchet.errors import UserError
from ratchet.project_context import env_option, load_output, open_catalog, open_registry

if TYPE_CHECKING:
    from ratchet.production.market_version import MarketVersion
    from ratchet.reports.chart import Chart
    from ratchet.reports.market_text import TextTable

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 50
"""Segments that are listed unless more are asked for."""
LOG_WIDTH = 140
_ENDINGS = (".png", ".svg", ".html")
_OUTCOMES = ("optimum", "raise", "lower", "abstain")
_SORTS = (
    *("merchant", "product", "elasticity", "probability_negative", "rows", "median_tried"),
    *("outcome", "price", "gain", "gain_share", "current_demand"),
)
_WRAPPED = ("why no price", "")
"""Columns of tables whose texts may take several lines."""


def _ending(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in _ENDINGS:
        raise click.BadParameter(f"{value}: expected a name that ends in {', '.join(_ENDINGS)}")
    return value


class _Aliased(click.Option):
    """An option that has another name as well, which the help does not show."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Name and help."""
        record = super().get_help_record(ctx)
        return record and (re.sub(r", --(comerciante|producto)", "", record[0]), record[1])


def _aliased(option: str, alias: str, name: str, *, many: bool = False) -> Any:
    what = option[2:]
    text = f"Of this {what}; may be repeated." if many else f"Name of the {what}."
    return click.option(option, alias, name, cls=_Aliased, multiple=many, help=text)


def _options(*names: str) -> Callable[[Command], Command]:
    """Options that several commands have."""
    options: dict[str, Callable[[Any], Any]] = {
        "use_case": click.option(
            "--use-case", "-u", help="Name of the use case; by default the only one with a market."
        ),
        "version": click.option(
            "--version", metavar="N", help="Number of the version; by default the one that serves."
        ),
        "merchants": _aliased("--merchant", "--comerciante", "merchants", many=True),
        "products": _aliased("--product", "--producto", "products", many=True),
        "merchant": _aliased("--merchant", "--comerciante", "merchant"),
        "product": _aliased("--product", "--producto", "product"),
        "usar_mercado": click.option("--usar_mercado", "with_market", is_flag=True, hidden=True),
        "plot": click.option(
            "--plot",
            type=click.Path(path_type=Path, dir_okay=False),
            callback=_ending,
            help="Draw it into this file: PNG, SVG or HTML, by its ending.",
        ),
        "env": env_option,
        "json": click.option("--json", "as_json", is_flag=True, help="Print JSON instead."),
    }

    def add(command: Command) -> Command:
        for name in reversed(names):
            command = options[name](command)
        return command

    return add


def open_market(use_case: str | None, version: str | None, env: str | None) -> MarketVersion:
    """Open the version of a market that is asked for.

    Raises:
        UserError: there is no such market or version, or nothing serves yet; says what to do.
    """
    from ratchet.production.market_version import MarketVersion, find_market
    from ratchet.registry.model_versions import DIGEST_TAG
    from ratchet.serving.version_loader import open_judged_bundle
    from ratchet.serving.version_transfer import VersionSource

    name = find_market(project_loader(env)[0]["parameters"], use_case)
    registry = open_registry(env, name)
    number = version or registry.champion(name)
    if number is None:
        raise UserError(
            f"no version of {name} serves yet: `kedro run --pipelines {name}` trains one and "
            f"releases it if it passes the gate"
        )
    # With its digest a bundle is located without MLflow, whose import takes seconds.
    digest = registry.ledger.first_detail(name, number, DIGEST_TAG)
    source = VersionSource(registry.uri, str(registry.bundles), "")
    return MarketVersion(name, number, open_judged_bundle(source, name, number, digest))


@click.group()
def market() -> None:
    """Look at the segments of a market, and ask for prices.

    A segment is one product at one merchant. A merchant or product that is the only one need not be
    named.
    """


@market.command("list")
@_options("use_case", "version", "merchants", "products")
@click.option("--outcome", type=click.Choice(_OUTCOMES), multiple=True, help="With this outcome.")
@click.option("--sort", type=click.Choice(_SORTS), default="merchant", help="Column to sort by.")
@click.option("--descending", is_flag=True, help="The largest first.")
@click.option("--limit", type=click.IntRange(0), help=f"Segments shown; 0: all, default {_SHOWN}.")
@_options("env", "json")
def list_segments(
    use_case: str | None,
    version: str | None,
    merchants: tuple[str, ...],
    products: tuple[str, ...],
    outcome: tuple[str, ...],
    sort: str,
    descending: bool,
    limit: int | None,
    env: str | None,
    as_json: bool,
) -> None:
    """List segments: elasticities, and the outcome of the search for a price."""
    from ratchet.reports.market_text import segments_table

    opened = open_market(use_case, version, env)
    rows, total = opened.list_segments(
        opened.select(merchants, products),
        outcomes=outcome,
        sort=sort,
        descending=descending,
        shown=limit if limit is not None else 0 if as_json else _SHOWN,
    )
    if as_json:
        _echo(opened, segments=[row.to_json() for row in rows])
        return
    _print(segments_table(f"{opened.title}: {len(rows):,} of {total:,} segments", rows))
    if len(rows) < total:
        click.echo(f"{total - len(rows):,} more: --limit 0, or --merchant and --product")


@market.command()
@_options("use_case", "version", "merchant", "product", "env", "json")
def show(
    use_case: str | None,
    version: str | None,
    merchant: str | None,
    product: str | None,
    env: str | None,
    as_json: bool,
) -> None:
    """Show all values of one segment, and its curve of demand and profit."""
    from ratchet.production.market_version import curve_rows
    from ratchet.reports.market_text import (
        curve_table,
        recommendation_text,
        segment_name,
        segment_table,
    )

    opened = open_market(use_case, version, env)
    key = opened.key(merchant, product)
    recommendation = opened.book.price(key.merchant, key.product)
    row = opened.book.row(key, recommendation)
    if as_json:
        _echo(opened, **row.to_json(), curve=curve_rows(recommendation))
        return
    _print(segment_table(f"{segment_name(row)}: {opened.title}", row))
    click.echo(recommendation_text(row))
    if recommendation.curve is not None:
        _print(curve_table(recommendation.curve))


@market.command()
@_options("use_case", "version", "merchants", "products", "env", "json")
def compare(
    use_case: str | None,
    version: str | None,
    merchants: tuple[str, ...],
    products: tuple[str, ...],
    env: str | None,
    as_json: bool,
) -> None:
    """Compare segments with each other, and with the mean of their product at all merchants."""
    from ratchet.production.market_version import product_mean, quote_segments
    from ratchet.reports.market_text import comparison_table

    if not merchants and not products:
        raise UserError("--merchant, --product: name some; `kedro ratchet market list` lists all")
    opened = open_market(use_case, version, env)
    rows = quote_segments(opened.book, opened.select(merchants, products))
    means = {name: product_mean(opened.book, name) for name in {row.product for row in rows}}
    if as_json:
        _echo(
            opened,
            segments=[{**row.to_json(), "product_mean": means[row.product]} for row in rows],
        )
        return
    _print(comparison_table(f"{opened.title}: against the mean of each product", rows, means))


@market.command()
@_options("use_case", "plot", "env", "json")
def history(use_case: str | None, plot: Path | None, env: str | None, as_json: bool) -> None:
    """Show how the iterations of the latest training converged, and when they stopped.

    Errors are of log demand: on the rows of the training, and of the training on the first part of
    the steps on the later ones, which it has not seen.
    """
    from ratchet.production.market_version import find_market
    from ratchet.reports.market_chapter import both_histories, convergence_charts
    from ratchet.reports.market_text import convergence_table

    name = find_market(project_loader(env)[0]["parameters"], use_case)
    catalog, parameters = open_catalog(env, name)
    trained, replayed = (
        load_output(catalog, f"{name}.{part}_history", node)
        for part, node in (("training", "iterate_demand"), ("replay", "replay_prices"))
    )
    both = both_histories(trained, replayed)
    if plot is not None:
        _draw(convergence_charts(both), plot)
    assert parameters.market is not None
    budget, done = parameters.market.iterations.iterations, int(trained["iteration"].max())
    stopped = done < budget
    if as_json:
        rows = json.loads(both.to_json(orient="records"))
        content = {"iterations": done, "budget": budget, "stopped_early": stopped, "history": rows}
        click.echo(json.dumps({"use_case": name, **content}))
        return
    _print(convergence_table(f"{name}: convergence of the latest training", both))
    why = "the ends of the intervals stopped moving" if stopped else "the budget was used up"
    click.echo(f"Stopped after {done:,} of {budget:,} iterations: {why}.")


@market.command()
@_options("use_case", "version", "merchant", "product", "usar_mercado")
@click.option("--unit-cost", type=float, help="What a unit costs, instead of the cost in the data.")
@click.option("--price", type=float, help="Current price, instead of the median of the latest.")
@click.option("--capacity", type=float, help="Units of a step that there are at most.")
@_options("plot", "env", "json")
def price(
    use_case: str | None,
    version: str | None,
    merchant: str | None,
    product: str | None,
    with_market: bool,
    unit_cost: float | None,
    price: float | None,
    capacity: float | None,
    plot: Path | None,
    env: str | None,
    as_json: bool,
) -> None:
    """Recommend the price of the highest expected profit, or say why there is none."""
    from ratchet.reports.formatting import number
    from ratchet.reports.market_chapter import curve_charts
    from ratchet.reports.market_text import expected_table, recommendation_text, segment_name

    opened = open_market(use_case, version, env)
    market = opened.bundle.use_case.market
    if with_market and market is not None and not market.iterations.market_trend:
        raise UserError(
            f"--usar_mercado: version {opened.version} was trained without effects of the market "
            f"(market.iterations.market_trend)"
        )
    key = opened.key(merchant, product)
    changes = {"unit_cost": unit_cost, "price": price, "capacity": capacity}
    try:
        row = opened.book.quote(key.merchant, key.product, **changes)
    except ValueError as error:
        raise UserError(str(error)) from error
    if plot is not None:
        priced = opened.book.price(key.merchant, key.product, **changes)
        _draw(curve_charts(segment_name(row), priced, (row.lowest_tried, row.highest_tried)), plot)
    if as_json:
        _echo(opened, **row.to_json())
        return
    click.echo(f"{segment_name(row)}: {opened.title}")
    click.echo(recommendation_text(row))
    if row.outcome != "abstain":
        _print(expected_table(row))
        click.echo(
            f"If a unit costs 10 % less the best price is {number(row.price_if_cheaper)}, "
            f"if it costs 10 % more {number(row.price_if_dearer)}."
        )


def _draw(charts: Sequence[Chart], path: Path) -> None:
    from ratchet.reports.html import write_charts

    try:
        write_charts(charts, path)
    except OSError as error:
        raise UserError(f"--plot: {path} cannot be written: {error.strerror}") from error


def _echo(opened: MarketVersion, **content: Any) -> None:
    """Print JSON, in which missing numbers are null."""
    about = {"use_case": opened.use_case, "version": opened.version}
    click.echo(json.dumps({**about, **content}, allow_nan=False))


def _print(content: TextTable) -> None:
    table = Table(title=Text(content.title), title_justify="left")
    for column in content.columns:
        table.add_column(column, no_wrap=column not in _WRAPPED)
    for row in content.rows:
        table.add_row(*map(Text, row))  # names may look like markup
    progress.console(LOG_WIDTH).print(table)
