"""``kedro ratchet market``: what is known of the segments of a market, and which prices pay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.table import Table
from rich.text import Text

from ratchet import progress
from ratchet.config.loader import project_loader
from ratchet.errors import UserError
from ratchet.learning.atomic_files import atomic_write
from ratchet.production.market_version import (
    MarketVersion,
    curve_rows,
    first_segments,
    product_mean,
    quote_segments,
    sort_segments,
)
from ratchet.project_context import env_option, load_output, open_catalog, open_registry
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.reports.formatting import count, number, share
from ratchet.reports.market_text import (
    expected_rows,
    if_priced,
    interval,
    recommendation_text,
    segment_facts,
    segment_name,
    value_with_interval,
)
from ratchet.serving.version_loader import find
from ratchet.serving.version_transfer import VersionSource

if TYPE_CHECKING:
    from ratchet.reports.chart import Chart

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 50
"""Segments that are listed unless more are asked for."""
LOG_WIDTH = 140
_ENDINGS = (".png", ".svg", ".html")
_ACTS = {
    "optimum": "optimum",
    "raise": "raise (direction)",
    "lower": "lower (direction)",
    "abstain": "no price",
}
_SORTS = (
    *("merchant", "product", "elasticity", "probability_negative", "rows", "median_tried"),
    *("outcome", "price", "gain", "gain_share", "current_demand"),
)
_WRAPPED = ("why no price", "")
"""Columns of tables whose texts may take several lines."""
_PRICED = {"outcome", "price", "gain", "gain_share"}
"""What is known of a segment only after its price was looked for."""


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
    name = find_market(use_case, env)
    registry = open_registry(env, name)
    number = version or registry.champion(name)
    if number is None:
        raise UserError(
            f"no version of {name} serves yet: `kedro run --pipelines {name}` trains one and "
            f"releases it if it passes the gate"
        )
    # By its digest a bundle is found without MLflow, whose import takes seconds.
    digest = registry.ledger.first_detail(name, number, DIGEST_TAG)
    return MarketVersion(
        name,
        number,
        find(VersionSource(registry.uri, str(registry.bundles), ""), name, number, digest),
    )


def find_market(use_case: str | None, env: str | None) -> str:
    """Name of the use case that is meant: that which was given, or the only one with a market.

    Raises:
        UserError: there is none, or there are several, or that one has no market.
    """
    parameters = project_loader(env)[0]["parameters"]
    use_cases = {name: one for name, one in parameters.items() if isinstance(one, Mapping)}
    markets = sorted(name for name, one in use_cases.items() if one.get("market"))
    listed = f"those with a market are {', '.join(markets)}" if markets else "none has one"
    if use_case is not None:
        if use_case in markets:
            return use_case
        what = "has no section market" if use_case in use_cases else "is no use case"
        raise UserError(f"--use-case: '{use_case}' {what}; {listed}")
    if len(markets) != 1:
        raise UserError(
            f"--use-case: which one? There are {', '.join(markets)}"
            if markets
            else "no use case has a section market: docs/how-to/bring-your-own-market.md"
        )
    return markets[0]


@click.group()
def market() -> None:
    """Look at the segments of a market, and ask for prices.

    A segment is one product at one merchant. A merchant or product that is the only one need not be
    named.
    """


@market.command("list")
@_options("use_case", "version", "merchants", "products")
@click.option("--outcome", type=click.Choice([*_ACTS]), multiple=True, help="With this outcome.")
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
    """List segments: how demand answers the price, and what came of that."""
    opened = open_market(use_case, version, env)
    keys = opened.select(merchants, products)
    shown = limit if limit is not None else 0 if as_json else _SHOWN
    if sort in _PRICED or outcome:
        rows = [
            row
            for row in quote_segments(opened.book, keys)
            if not outcome or row.outcome in outcome
        ]
        rows = sort_segments(rows, sort, descending)
        total, rows = len(rows), rows[: shown or None]
    else:  # prices of those that are shown only
        total = len(keys)
        rows = quote_segments(
            opened.book, first_segments(opened.book, keys, sort, descending, shown)
        )
    if as_json:
        _echo(opened, segments=[row.to_json() for row in rows])
        return
    _print_table(
        f"{opened.use_case}, version {opened.version}: {len(rows):,} of {total:,} segments",
        *("merchant", "product", "rows", "median price", "elasticity (80 %)", "P(<0)"),
        *("outcome", "price", "why no price"),
        rows=[
            [
                *(row.merchant, row.product, count(row.rows), number(row.median_tried)),
                *(value_with_interval(row, "elasticity"), share(row.probability_negative)),
                *(_ACTS[row.outcome], number(row.price), row.reason),
            ]
            for row in rows
        ],
    )
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
    """Show all that is known of one segment."""
    opened = open_market(use_case, version, env)
    key = opened.key(merchant, product)
    recommendation = opened.book.price(key.merchant, key.product)
    row = opened.book.row(key, recommendation)
    if as_json:
        _echo(opened, **row.to_json(), curve=curve_rows(recommendation))
        return
    _print_table(
        f"{segment_name(row)}: {opened.use_case}, version {opened.version}",
        *("", "value", "80 % interval"),
        rows=segment_facts(row),
    )
    click.echo(recommendation_text(row))
    if (curve := recommendation.curve) is not None:
        at = sorted({round(n) for n in _spread(len(curve.price), 9)})
        _print_table(
            "Demand and profit by price, per step, over three forms of demand",
            *("price", "demand", "80 % interval", "profit", "80 % interval"),
            rows=[
                [
                    *(number(curve.price[n]), number(curve.demand[n])),
                    interval(curve.demand_low[n], curve.demand_high[n]),
                    number(curve.profit[n]),
                    interval(curve.profit_low[n], curve.profit_high[n]),
                ]
                for n in at
            ],
        )


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
    if not merchants and not products:
        raise UserError("--merchant, --product: name some; `kedro ratchet market list` lists all")
    opened = open_market(use_case, version, env)
    rows = quote_segments(opened.book, opened.select(merchants, products))
    means = {name: product_mean(opened.book, name) for name in {row.product for row in rows}}
    compared = [{**row.to_json(), "product_mean": means[row.product]} for row in rows]
    if as_json:
        _echo(opened, segments=compared)
        return
    _print_table(
        f"{opened.use_case}, version {opened.version}: against the mean of each product",
        *("merchant", "product", "elasticity (80 %)", "product's\nmean", "price\nnow"),
        *("product's\nmean", "demand\nnow", "outcome", "price", "gain", "share of\nprofit"),
        rows=[
            [
                *(row.merchant, row.product, value_with_interval(row, "elasticity")),
                *(number(means[row.product]["elasticity"]), number(row.current_price)),
                *(number(means[row.product]["current_price"]), number(row.current_demand)),
                *(row.outcome, number(row.price)),
                *(if_priced(row, "gain", number), if_priced(row, "gain_share", share)),
            ]
            for row in rows
        ],
    )


@market.command()
@_options("use_case", "plot", "env", "json")
def history(use_case: str | None, plot: Path | None, env: str | None, as_json: bool) -> None:
    """Show how the iterations of the latest training converged, and when they stopped.

    Errors are of log demand: on the rows of the training, and of the training on the first part of
    the steps on the later ones, which it has not seen.
    """
    from ratchet.reports.market_chapter import both_histories, convergence_charts

    name = find_market(use_case, env)
    catalog, parameters = open_catalog(env, name)
    trained, replayed = (
        load_output(catalog, f"{name}.{part}_history", node)
        for part, node in (("training", "iterate_demand"), ("replay", "replay_prices"))
    )
    both = both_histories(trained, replayed)
    if plot is not None:
        draw(convergence_charts(both), plot)
    assert parameters.market is not None
    budget, done = parameters.market.iterations.iterations, int(trained["iteration"].max())
    stopped = done < budget
    if as_json:
        rows = json.loads(both.to_json(orient="records"))
        content = {"iterations": done, "budget": budget, "stopped_early": stopped, "history": rows}
        click.echo(json.dumps({"use_case": name, **content}))
        return
    _print_table(
        f"{name}: convergence of the latest training",
        *("training", "iterations", "error", "movement of interval ends", "largest"),
        rows=[
            [
                *(training, count(iteration), number(error)),
                *(share(movement), share(worst)),
            ]
            for training, iteration, error, movement, worst in both[
                ["training", "iteration", "error", "movement", "worst_movement"]
            ].itertuples(index=False)
        ],
    )
    why = "the ends of the intervals stood still" if stopped else "the budget was used up"
    click.echo(f"Stopped after {done:,} of {budget:,} iterations: {why}.")


@market.command()
@_options("use_case", "version", "merchant", "product", "usar_mercado")
@click.option("--unit-cost", type=float, help="What a unit costs, instead of the known cost.")
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
        from ratchet.reports.market_chapter import curve_charts

        priced = opened.book.price(key.merchant, key.product, **changes)
        draw(curve_charts(segment_name(row), priced, (row.lowest_tried, row.highest_tried)), plot)
    if as_json:
        _echo(opened, **row.to_json())
        return
    click.echo(f"{segment_name(row)}: {opened.use_case}, version {opened.version}")
    click.echo(recommendation_text(row))
    if row.outcome != "abstain":
        _print_table("Expected per step", "", "value", "80 % interval", rows=expected_rows(row))
        click.echo(
            f"If a unit costs 10 % less the best price is {number(row.price_if_cheaper)}, "
            f"if it costs 10 % more {number(row.price_if_dearer)}."
        )


def draw(charts: Sequence[Chart], path: Path) -> None:
    """Draw charts into a file, one below the other.

    Args:
        charts: what to draw.
        path: file whose ending says how: ``.png``, ``.svg`` or ``.html``.

    Raises:
        UserError: it cannot be written.
    """
    from ratchet.reports.html import render_charts
    from ratchet.reports.vega_lite import to_png, to_svg, vega_lite_sheet

    kind = path.suffix.lower()
    try:
        with atomic_write(path) as partial:
            if kind == ".png":
                partial.write_bytes(to_png(vega_lite_sheet(charts)))
            else:
                text = render_charts(charts) if kind == ".html" else to_svg(vega_lite_sheet(charts))
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--plot: {path} cannot be written: {error.strerror}") from error


def _spread(n: int, most: int) -> list[float]:
    """Positions of some of n values, the first and the last among them."""
    return [0.0] if n == 1 else [i * (n - 1) / (most - 1) for i in range(most)]


def _echo(opened: MarketVersion, **content: Any) -> None:
    """Print JSON, in which what is not known is null."""
    about = {"use_case": opened.use_case, "version": opened.version}
    click.echo(json.dumps({**about, **content}, allow_nan=False))


def _print_table(title: str, *columns: str, rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=column not in _WRAPPED)
    for row in rows:
        table.add_row(*map(Text, row))  # names may look like markup
    progress.console(LOG_WIDTH).print(table)
