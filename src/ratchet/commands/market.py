"""``kedro ratchet market``: what is known of the segments of a market, and which prices pay."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ratchet.config.loader import loader_here
from ratchet.errors import UserError
from ratchet.project_context import env_option, load_output, open_catalog, open_registry

if TYPE_CHECKING:
    from ratchet.bundle import Bundle
    from ratchet.learning.demand.book import DemandBook, SegmentKey, SegmentPrice
    from ratchet.learning.demand.pricing import Recommendation
    from ratchet.reports.chart import Chart

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 50
"""Segments that are listed unless more are asked for."""
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
    told = f"Of this {what}; may be repeated." if many else f"Name of the {what}."
    return click.option(option, alias, name, cls=_Aliased, multiple=many, help=told)


def _options(*names: str) -> Callable[[Command], Command]:
    """Options that several commands have."""
    known: dict[str, Callable[[Any], Any]] = {
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
            command = known[name](command)
        return command

    return add


@dataclass(frozen=True)
class MarketVersion:
    """A version of a market whose prices are asked for.

    Attributes:
        use_case: name of the use case.
        version: number of the version.
        bundle: its bundle.
    """

    use_case: str
    version: str
    bundle: Bundle

    @cached_property
    def book(self) -> DemandBook:
        """What prices its segments.

        Raises:
            UserError: it holds no prices.
        """
        book = self.bundle.demand_book
        if book is None:
            raise UserError(
                f"version {self.version} of {self.use_case} holds no prices, for it was made "
                f"without the phase pricing: `kedro run --pipelines {self.use_case}` makes one "
                f"that does"
            )
        return book

    def key(self, merchant: str | None, product: str | None) -> SegmentKey:
        """The segment that is meant; a name may be left out where there is one only.

        Raises:
            UserError: there is no such segment, or several could be meant.
        """
        from ratchet.learning.demand.book import SegmentKey, UnknownSegmentError

        key = SegmentKey(
            self._one("merchant", merchant, self.book.merchants),
            self._one("product", product, self.book.products),
        )
        try:
            self.book.position(key.merchant, key.product)
        except UnknownSegmentError as error:
            raise UserError(str(error)) from error
        return key

    def _one(self, what: str, given: str | None, names: Sequence[str]) -> str:
        from ratchet.learning.demand.book import nearest

        if given is not None or len(names) == 1:
            return names[0] if given is None else given
        raise UserError(f"--{what}: which of {len(names):,}? There are {nearest('', names)}")

    def select(self, merchants: Sequence[str], products: Sequence[str]) -> list[SegmentKey]:
        """Segments of some merchants and products; of all where none are named.

        Raises:
            UserError: there is no such merchant or product, or they have no segment together.
        """
        from ratchet.learning.demand.book import nearest

        for what, given, names in (
            ("merchant", merchants, self.book.merchants),
            ("product", products, self.book.products),
        ):
            if missing := [name for name in given if name not in names]:
                near = nearest(missing[0], names)
                raise UserError(f"no {what} '{missing[0]}' in {self.use_case}; there are {near}")
        found = [
            one
            for one in self.book.segments()
            if (not merchants or one.merchant in merchants)
            and (not products or one.product in products)
        ]
        if not found:
            raise UserError("these merchants do not sell these products: there is no such segment")
        return found


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
    from ratchet.registry.model_versions import DIGEST_TAG
    from ratchet.serving.version_loader import find
    from ratchet.serving.version_transfer import Source

    # By its digest a bundle is found without MLflow, whose import takes seconds.
    digest = registry.ledger.first_detail(name, number, DIGEST_TAG)
    return MarketVersion(
        name, number, find(Source(registry.uri, str(registry.bundles), ""), name, number, digest)
    )


def find_market(use_case: str | None, env: str | None) -> str:
    """Name of the use case that is meant: that which was given, or the only one with a market.

    Raises:
        UserError: there is none, or there are several, or that one has no market.
    """
    parameters = loader_here(env)[0]["parameters"]
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
        rows = [row for row in _quotes(opened.book, keys) if not outcome or row.outcome in outcome]
        rows = _ordered(rows, sort, descending)
        total, rows = len(rows), rows[: shown or None]
    else:  # prices of those that are shown only
        total = len(keys)
        rows = _quotes(opened.book, _ordered_keys(opened.book, keys, sort, descending, shown))
    if as_json:
        _echo(opened, segments=[row.to_json() for row in rows])
        return
    _print_table(
        f"{opened.use_case}, version {opened.version}: {len(rows):,} of {total:,} segments",
        *("merchant", "product", "rows", "median price", "elasticity (80 %)", "P(<0)"),
        *("outcome", "price", "why no price"),
        rows=[
            [
                *(row.merchant, row.product, _count(row.rows), _number(row.median_tried)),
                *(_interval(row, "elasticity"), _share(row.probability_negative)),
                *(_ACTS[row.outcome], _number(row.price), row.reason),
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
    found = opened.book.price(key.merchant, key.product)
    row = opened.book.row(key, found)
    if as_json:
        _echo(opened, **row.to_json(), curve=_curve(found))
        return
    _print_table(
        f"{_name(row)}: {opened.use_case}, version {opened.version}",
        *("", "value", "80 % interval"),
        rows=_facts(row),
    )
    click.echo(_decision(row))
    if found.curve is not None:
        curve = found.curve
        at = sorted({round(n) for n in _spread(len(curve.price), 9)})
        _print_table(
            "Demand and profit by price, per step, over three forms of demand",
            *("price", "demand", "80 % interval", "profit", "80 % interval"),
            rows=[
                [
                    *(_number(curve.price[n]), _number(curve.demand[n])),
                    _between(curve.demand_low[n], curve.demand_high[n]),
                    _number(curve.profit[n]),
                    _between(curve.profit_low[n], curve.profit_high[n]),
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
    rows = _quotes(opened.book, opened.select(merchants, products))
    means = {name: _product_mean(opened.book, name) for name in {row.product for row in rows}}
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
                *(row.merchant, row.product, _interval(row, "elasticity")),
                *(_number(means[row.product]["elasticity"]), _number(row.current_price)),
                *(_number(means[row.product]["current_price"]), _number(row.current_demand)),
                *(row.outcome, _number(row.price)),
                *(_if_priced(row, "gain", _number), _if_priced(row, "gain_share", _share)),
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
        told = {"iterations": done, "budget": budget, "stopped_early": stopped, "history": rows}
        click.echo(json.dumps({"use_case": name, **told}))
        return
    _print_table(
        f"{name}: convergence of the latest training",
        *("training", "iterations", "error", "movement of interval ends", "largest"),
        rows=[
            [
                *(training, _count(iteration), _number(error)),
                *(_share(movement), _share(worst)),
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
    """Say which price earns most, what to expect of it, or why none is recommended."""
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

        found = opened.book.price(key.merchant, key.product, **changes)
        draw(curve_charts(_name(row), found, (row.lowest_tried, row.highest_tried)), plot)
    if as_json:
        _echo(opened, **row.to_json())
        return
    click.echo(f"{_name(row)}: {opened.use_case}, version {opened.version}")
    click.echo(_decision(row))
    if row.outcome != "abstain":
        _print_table("Expected per step", "", "value", "80 % interval", rows=_expected(row))
        click.echo(
            f"If a unit costs 10 % less the best price is {_number(row.price_if_cheaper)}, "
            f"if it costs 10 % more {_number(row.price_if_dearer)}."
        )


def draw(charts: Sequence[Chart], path: Path) -> None:
    """Draw charts into a file, one below the other.

    Args:
        charts: what to draw.
        path: file whose ending says how: ``.png``, ``.svg`` or ``.html``.

    Raises:
        UserError: it cannot be written.
    """
    from ratchet.learning.files import atomic_write
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


def _quotes(book: DemandBook, keys: Sequence[SegmentKey]) -> list[SegmentPrice]:
    """Segments with their prices."""
    if 2 * len(keys) > len(book):  # together they take less
        priced = dict(zip(book.segments(), book.price_all(), strict=True))
        return [book.row(key, priced[key]) for key in keys]
    return [book.quote(key.merchant, key.product) for key in keys]


def _ordered(rows: list[SegmentPrice], name: str, descending: bool) -> list[SegmentPrice]:
    """Rows by a column; those that have nothing there come last."""
    known = [row for row in rows if not _is_missing(getattr(row, name))]
    ordered = sorted(known, key=lambda row: getattr(row, name), reverse=descending)
    return [*ordered, *(row for row in rows if _is_missing(getattr(row, name)))]


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _ordered_keys(
    book: DemandBook, keys: Sequence[SegmentKey], name: str, descending: bool, shown: int
) -> list[SegmentKey]:
    """The first segments by a column that takes no price."""
    columns = {
        "elasticity": book.elasticities.mean,
        "probability_negative": book.responses.probability_negative,
        "rows": book.history.rows,
        "median_tried": book.history.median,
        "current_demand": book.expected.mean,
    }

    def value(key: SegmentKey) -> Any:
        if name not in columns:
            return getattr(key, name)
        at = book.position(key.merchant, key.product)
        if at is None:
            return 0.0 if name == "rows" else math.nan
        return float(columns[name][at])

    values = {key: value(key) for key in keys}
    known = [key for key in keys if not _is_missing(values[key])]
    known.sort(key=lambda key: values[key], reverse=descending)
    return [*known, *(key for key in keys if _is_missing(values[key]))][: shown or None]


def _product_mean(book: DemandBook, product: str) -> dict[str, float | None]:
    """Means of a product over all merchants, weighted alike."""
    at = [n for n, key in enumerate(book.keys) if key.product == product]
    if not at:
        return {"segments": 0, "elasticity": None, "current_price": None}
    return {
        "segments": len(at),
        "elasticity": float(book.elasticities.mean[at].mean()),
        "current_price": float(book.history.current[at].mean()),
    }


def _curve(found: Recommendation) -> list[dict[str, float | None]] | None:
    """Demand and profit by price, for JSON."""
    curve = found.curve
    if curve is None:
        return None
    names = ("price", "demand", "demand_low", "demand_high", "profit", "profit_low", "profit_high")
    return [
        {
            name: None if math.isnan(getattr(curve, name)[n]) else float(getattr(curve, name)[n])
            for name in names
        }
        for n in range(len(curve.price))
    ]


def _spread(n: int, most: int) -> list[float]:
    """Positions of some of n values, the first and the last among them."""
    return [0.0] if n == 1 else [i * (n - 1) / (most - 1) for i in range(most)]


def _echo(opened: MarketVersion, **content: Any) -> None:
    """Print JSON, in which what is not known is null."""
    about = {"use_case": opened.use_case, "version": opened.version}
    click.echo(json.dumps({**about, **content}, allow_nan=False))


def _name(row: SegmentPrice) -> str:
    return ", ".join(filter(None, (row.merchant, row.product))) or "all rows"


def _decision(row: SegmentPrice) -> str:
    """What is recommended, in words."""
    if row.outcome == "abstain":
        return f"No price is recommended: {row.reasons}."
    now, new = _number(row.current_price), _number(row.price)
    tried = f"those tried, {_number(row.lowest_tried)} to {_number(row.highest_tried)}"
    if row.outcome == "optimum":
        return f"Price {new} (now {now}): an optimum inside of {tried}."
    return (
        f"{row.outcome.capitalize()} the price from {now} to {new}: a direction and no optimum, "
        f"for it is the last of {tried}, or the last that is allowed."
    )


def _facts(row: SegmentPrice) -> list[list[str]]:
    """All that is known of a segment: name, value, interval."""
    tried = _between(row.lowest_tried, row.highest_tried)
    return [
        ["rows that were learned from", _count(row.rows), ""],
        ["rows without sales", _share(row.zero_share), ""],
        ["median of prices tried (5 % to 95 %)", _number(row.median_tried), tried],
        ["elasticity", _number(row.elasticity), _ends(row, "elasticity")],
        ["P(demand falls when the price rises)", _share(row.probability_negative), ""],
        ["forecast error over that of the naive one", _number(row.relative_error), ""],
        ["price now", _number(row.current_price), ""],
        ["demand now", _number(row.current_demand), _ends(row, "current_demand")],
        ["unit cost", _number(row.unit_cost), ""],
        *(_expected(row) if row.outcome != "abstain" else []),
        ["best price if a unit costs 10 % less", _number(row.price_if_cheaper), ""],
        ["best price if it costs 10 % more", _number(row.price_if_dearer), ""],
    ]


def _expected(row: SegmentPrice) -> list[list[str]]:
    """What to expect of the recommended price."""
    return [
        ["price", _number(row.price), ""],
        ["demand", _number(row.demand), _ends(row, "demand")],
        ["profit", _number(row.profit), _ends(row, "profit")],
        ["gain over the price now", _number(row.gain), _ends(row, "gain")],
        ["gain as a share of profit", _share(row.gain_share), _ends(row, "gain_share", _share)],
    ]


def _if_priced(row: SegmentPrice, name: str, form: Callable[[float], str]) -> str:
    """Something of the recommended price; nothing where there is none."""
    return "–" if row.outcome == "abstain" else form(getattr(row, name))


def _interval(row: SegmentPrice, name: str) -> str:
    if math.isnan(getattr(row, name)):
        return "–"
    return f"{_number(getattr(row, name))} ({_ends(row, name)})"


def _ends(row: SegmentPrice, name: str, form: Callable[[float], str] | None = None) -> str:
    return _between(getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), form)


def _between(low: float, high: float, form: Callable[[float], str] | None = None) -> str:
    form = form or _number
    return "" if math.isnan(low) or math.isnan(high) else f"{form(low)} to {form(high)}"


def _number(value: float | None) -> str:
    from ratchet.reports.formatting import number

    return number(value)


def _share(value: float | None) -> str:
    from ratchet.reports.formatting import share

    return share(value)


def _count(value: float | None) -> str:
    from ratchet.reports.formatting import count

    return count(value)


def _print_table(title: str, *columns: str, rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ratchet.commands.status import wide_console

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=column not in _WRAPPED)
    for row in rows:
        table.add_row(*map(Text, row))  # names may look like markup
    wide_console().print(table)
