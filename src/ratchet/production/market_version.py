"""A version of a market: its segments, and their prices by name, selection and order."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ratchet.bundle.reader import Bundle
from ratchet.errors import UserError
from ratchet.learning.demand.book import (
    DemandBook,
    SegmentKey,
    SegmentPrice,
    UnknownSegmentError,
    nearest,
)
from ratchet.learning.demand.pricing import Recommendation

_PRICED = {"outcome", "price", "gain", "gain_share"}
"""Columns of a segment that its price has to be computed for."""


def find_market(parameters: Mapping[str, Any], use_case: str | None) -> str:
    """Name of the use case that was given, or of the only one with a market.

    Args:
        parameters: all parameters of the project, as the configuration has them.
        use_case: name that was given; None for the only market.

    Raises:
        UserError: there is none, or there are several, or that one has no market.
    """
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

    @property
    def title(self) -> str:
        """Use case and version, as the headings of tables have them."""
        return f"{self.use_case}, version {self.version}"

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
        key = SegmentKey(
            self._one("merchant", merchant, self.book.merchants),
            self._one("product", product, self.book.products),
        )
        try:
            self.book.position(key.merchant, key.product)
        except UnknownSegmentError as error:
            raise UserError(str(error)) from error
        return key

    def _one(self, what: str, name: str | None, names: Sequence[str]) -> str:
        if name is not None or len(names) == 1:
            return names[0] if name is None else name
        raise UserError(f"--{what}: which of {len(names):,}? There are {nearest('', names)}")

    def select(self, merchants: Sequence[str], products: Sequence[str]) -> list[SegmentKey]:
        """Segments of some merchants and products; of all where none are named.

        Raises:
            UserError: there is no such merchant or product, or they have no segment together.
        """
        for what, given, names in (
            ("merchant", merchants, self.book.merchants),
            ("product", products, self.book.products),
        ):
            if missing := [name for name in given if name not in names]:
                near = nearest(missing[0], names)
                raise UserError(f"no {what} '{missing[0]}' in {self.use_case}; there are {near}")
        selected = [
            one
            for one in self.book.segments()
            if (not merchants or one.merchant in merchants)
            and (not products or one.product in products)
        ]
        if not selected:
            raise UserError("these merchants do not sell these products: there is no such segment")
        return selected

    def list_segments(
        self,
        keys: Sequence[SegmentKey],
        *,
        outcomes: Collection[str],
        sort: str,
        descending: bool,
        shown: int,
    ) -> tuple[list[SegmentPrice], int]:
        """The first segments by a column, with their prices.

        Args:
            keys: the segments to choose from.
            outcomes: outcomes of prices that are wanted; empty for all.
            sort: column to sort by.
            descending: whether the largest come first.
            shown: how many are wanted; 0 for all.

        Returns:
            The segments, and how many there are in all.
        """
        if sort not in _PRICED and not outcomes:  # only those that are shown need a price
            first = first_segments(self.book, keys, sort, descending, shown)
            return quote_segments(self.book, first), len(keys)
        priced = quote_segments(self.book, keys)
        rows = [row for row in priced if not outcomes or row.outcome in outcomes]
        return sort_segments(rows, sort, descending)[: shown or None], len(rows)


def quote_segments(book: DemandBook, keys: Sequence[SegmentKey]) -> list[SegmentPrice]:
    """Segments with their prices."""
    if 2 * len(keys) > len(book):  # together they take less
        priced = dict(zip(book.segments(), book.price_all(), strict=True))
        return [book.row(key, priced[key]) for key in keys]
    return [book.quote(key.merchant, key.product) for key in keys]


def sort_segments(rows: list[SegmentPrice], name: str, descending: bool) -> list[SegmentPrice]:
    """Rows by a column; those that have nothing there come last."""
    present = [row for row in rows if not _is_nan(getattr(row, name))]
    ordered = sorted(present, key=lambda row: getattr(row, name), reverse=descending)
    return [*ordered, *(row for row in rows if _is_nan(getattr(row, name)))]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def first_segments(
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
    present = [key for key in keys if not _is_nan(values[key])]
    present.sort(key=lambda key: values[key], reverse=descending)
    return [*present, *(key for key in keys if _is_nan(values[key]))][: shown or None]


def product_mean(book: DemandBook, product: str) -> dict[str, float | None]:
    """Means of a product over all merchants, weighted alike."""
    at = [n for n, key in enumerate(book.keys) if key.product == product]
    if not at:
        return {"segments": 0, "elasticity": None, "current_price": None}
    return {
        "segments": len(at),
        "elasticity": float(book.elasticities.mean[at].mean()),
        "current_price": float(book.history.current[at].mean()),
    }


def curve_rows(recommendation: Recommendation) -> list[dict[str, float | None]] | None:
    """Demand and profit by price, for JSON."""
    curve = recommendation.curve
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
