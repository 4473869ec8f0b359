"""Demand of all segments of a market as one object that gives prices on request.

It holds what a price takes and no rows: draws of the response to prices, the prices tried, costs
and limits, and what is expected to be sold. So a segment is priced for another cost or another
current price in a few milliseconds, by NumPy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from io import BytesIO
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from ratchet.learning.demand.panel import Array
from ratchet.learning.demand.pricing import (
    Abstention,
    Curve,
    Form,
    Interval,
    Offer,
    Outcome,
    PriceHistory,
    PricingSettings,
    Reason,
    Recommendation,
    Responses,
    recommend,
)

Values = TypeVar("Values", PriceHistory, Offer)

_FORMAT = 1
_CHUNK = 1000
"""Segments that are priced together."""
_COMPARED = 1000
"""Names that a name is compared with for an error."""
_BEYOND = 1.25
"""Factor by which a current price may lie outside of the range of prices in training."""


class UnknownSegmentError(LookupError):
    """No segment has this merchant and product."""


@dataclass(frozen=True)
class SegmentKey:
    """Names of a segment."""

    merchant: str
    product: str


@dataclass(frozen=True)
class Elasticities:
    """Elasticity of each segment, shape (S,): mean over the iterations and 80 % interval."""

    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class ExpectedDemand:
    """Expected units of S segments in the next step at their current price.

    Attributes:
        mean: shape (S,).
        low: lower end of the conformal 80 % interval, shape (S,).
        high: upper end.
    """

    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class SegmentPrice:
    """One segment as a row: money and units per step, NaN for what is not known.

    Attributes:
        merchant: name.
        product: name.
        outcome: ``optimum``, ``raise``, ``lower`` (directions: the best price is the last one that
            was tried or is allowed) or ``abstain``.
        reason: the first reason of an abstention; empty otherwise.
        reasons: all reasons of it, with their numbers.
        current_price: median of the latest prices.
        price: recommended price.
        price_if_cheaper: best price if the unit cost is 10 % lower.
        price_if_dearer: best price if it is 10 % higher.
        demand: units at the best price, with ``demand_low`` and ``demand_high``.
        profit: at the best price.
        gain: profit at the best price less that at the current one.
        gain_share: the gain as a share of the current profit.
        unit_cost: what a unit costs.
        rows: rows that were learned from.
        zero_share: share of the rows without sales.
        relative_error: error of forecasts over that of naive ones.
        lowest_tried: 5th percentile of the prices so far.
        median_tried: their median.
        highest_tried: 95th percentile.
        elasticity: mean over the iterations, with its 80 % interval.
        probability_negative: probability that demand falls when the price rises.
        current_demand: units expected in the next step at the current price, with the conformal
            80 % interval of a forecast.
    """

    merchant: str
    product: str
    outcome: str
    reason: str
    reasons: str
    current_price: float
    price: float
    price_if_cheaper: float
    price_if_dearer: float
    demand: float
    demand_low: float
    demand_high: float
    profit: float
    profit_low: float
    profit_high: float
    gain: float
    gain_low: float
    gain_high: float
    gain_share: float
    gain_share_low: float
    gain_share_high: float
    unit_cost: float
    rows: float
    zero_share: float
    relative_error: float
    lowest_tried: float
    median_tried: float
    highest_tried: float
    elasticity: float
    elasticity_low: float
    elasticity_high: float
    probability_negative: float
    current_demand: float
    current_demand_low: float
    current_demand_high: float

    def to_json(self) -> dict[str, str | float | None]:
        """The row for JSON, with ``None`` for unknown values.

        Without a recommended price there is neither demand nor profit at one.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        of_price = () if self.outcome != Outcome.ABSTAIN else ("demand", "profit", "gain")
        return {
            name: None
            if name.startswith(of_price) or (isinstance(value, float) and math.isnan(value))
            else value
            for name, value in values.items()
        }


_NO_NUMBERS = {
    **dict.fromkeys(("unit_cost", "zero_share", "relative_error"), math.nan),
    **dict.fromkeys(("lowest_tried", "median_tried", "highest_tried"), math.nan),
    **dict.fromkeys(("elasticity", "elasticity_low", "elasticity_high"), math.nan),
    **dict.fromkeys(("current_demand", "current_demand_low", "current_demand_high"), math.nan),
    "probability_negative": math.nan,
    "rows": 0.0,
}


@dataclass(frozen=True)
class DemandBook:
    """Demand of S segments and the data needed to price them.

    Attributes:
        keys: the segments.
        without_rows: segments of which no row could be learned from.
        responses: draws of how demand answers prices, in single precision.
        history: prices so far.
        offer: costs, limits and expected demand.
        settings: how prices are looked for.
        elasticities: of the log-log form.
        expected: demand of the next step.
    """

    keys: tuple[SegmentKey, ...]
    without_rows: tuple[SegmentKey, ...]
    responses: Responses
    history: PriceHistory
    offer: Offer
    settings: PricingSettings
    elasticities: Elasticities
    expected: ExpectedDemand

    def __len__(self) -> int:
        """Number of segments, those without rows included."""
        return len(self.keys) + len(self.without_rows)

    def segments(self) -> tuple[SegmentKey, ...]:
        """All segments, those without rows last."""
        return (*self.keys, *self.without_rows)

    def __contains__(self, key: object) -> bool:
        """Whether there is a segment."""
        return key in self._positions

    @cached_property
    def merchants(self) -> tuple[str, ...]:
        """Names of all merchants, in alphabetical order."""
        return tuple(sorted({key.merchant for key in self.segments()}))

    @cached_property
    def products(self) -> tuple[str, ...]:
        """Names of all products, in alphabetical order."""
        return tuple(sorted({key.product for key in self.segments()}))

    def position(self, merchant: str, product: str) -> int | None:
        """Index of a segment; ``None`` for one without rows.

        Raises:
            UnknownSegmentError: there is no such segment.
        """
        key = SegmentKey(merchant, product)
        if key not in self._positions:
            raise UnknownSegmentError(self._unknown(key))
        return self._positions[key]

    def price(
        self,
        merchant: str,
        product: str,
        *,
        unit_cost: float | None = None,
        price: float | None = None,
        capacity: float | None = None,
    ) -> Recommendation:
        """Find the price of one segment with the highest profit.

        Args:
            merchant: name of the merchant.
            product: name of the product.
            unit_cost: instead of the cost that the book has.
            price: current price, instead of the median of the latest ones.
            capacity: units per step, instead of the one that the book has.

        Raises:
            UnknownSegmentError: there is no such segment.
            ValueError: a number is not positive, or the price is far from all that were tried.
        """
        recommendation, _ = self._price(merchant, product, unit_cost, price, capacity)
        return recommendation

    def quote(
        self,
        merchant: str,
        product: str,
        *,
        unit_cost: float | None = None,
        price: float | None = None,
        capacity: float | None = None,
    ) -> SegmentPrice:
        """Price a segment as ``price`` does, and give the result as one row.

        Raises:
            UnknownSegmentError: there is no such segment.
            ValueError: see ``price``.
        """
        recommendation, ratio = self._price(merchant, product, unit_cost, price, capacity)
        row = self.row(SegmentKey(merchant, product), recommendation)
        return replace(
            row,
            unit_cost=row.unit_cost if unit_cost is None else float(unit_cost),
            current_demand=row.current_demand * ratio,
            current_demand_low=row.current_demand_low * ratio,
            current_demand_high=row.current_demand_high * ratio,
        )

    def _price(
        self,
        merchant: str,
        product: str,
        unit_cost: float | None,
        price: float | None,
        capacity: float | None,
    ) -> tuple[Recommendation, float]:
        """A recommendation; and the demand at the current price over that at the latest ones."""
        _check_positive(unit_cost=unit_cost, price=price, capacity=capacity)
        at = self.position(merchant, product)
        if at is None:
            return _without_rows(self.settings), 1.0
        one = slice(at, at + 1)
        responses, history, offer = (
            self._responses(one),
            _part(self.history, one),
            _part(self.offer, one),
        )
        ratio = 1.0
        if price is not None:
            ratio = _demand_ratio(responses, history, price)
            offer = replace(offer, demand=offer.demand * ratio)
            history = replace(history, current=np.array([float(price)]))
        if unit_cost is not None:
            offer = replace(offer, unit_cost=np.array([float(unit_cost)]))
        if capacity is not None:
            offer = replace(offer, capacity=np.array([float(capacity)]))
        return recommend(responses, history, offer, self.settings)[0], ratio

    def curve(self, merchant: str, product: str, **changes: float | None) -> Curve | None:
        """Demand and profit of a segment over the prices tried; ``None`` where none is allowed.

        Args:
            merchant: name of the merchant.
            product: name of the product.
            changes: ``unit_cost``, ``price`` and ``capacity`` as ``price`` takes them.

        Raises:
            UnknownSegmentError: there is no such segment.
            ValueError: see ``price``.
        """
        return self.price(merchant, product, **changes).curve

    def price_all(self) -> list[Recommendation]:
        """Recommendations of all segments in the order of ``segments``."""
        priced: list[Recommendation] = []
        for first in range(0, len(self.keys), _CHUNK):  # draws in double precision take memory
            part = slice(first, first + _CHUNK)
            history, offer = _part(self.history, part), _part(self.offer, part)
            priced += recommend(self._responses(part), history, offer, self.settings)
        return [*priced, *(_without_rows(self.settings) for _ in self.without_rows)]

    def row(self, key: SegmentKey, recommendation: Recommendation) -> SegmentPrice:
        """Give a segment and its price as one row.

        Args:
            key: the segment.
            recommendation: what ``price`` or ``price_all`` gave for it.
        """
        at = self.position(key.merchant, key.product)
        numbers = _NO_NUMBERS if at is None else self._numbers(at)
        first = recommendation.abstentions[0] if recommendation.abstentions else None
        return SegmentPrice(
            merchant=key.merchant,
            product=key.product,
            outcome=recommendation.outcome.value,
            reason=first.reason.value if first else "",
            reasons="; ".join(map(str, recommendation.abstentions)),
            current_price=recommendation.current_price,
            price=_number(recommendation.price),
            price_if_cheaper=_number(recommendation.price_if_cheaper),
            price_if_dearer=_number(recommendation.price_if_dearer),
            **_ends("demand", recommendation.demand),
            **_ends("profit", recommendation.profit),
            **_ends("gain", recommendation.gain),
            **_ends("gain_share", recommendation.gain_share),
            **numbers,
        )

    def _numbers(self, at: int) -> dict[str, float]:
        return {
            "unit_cost": float(self.offer.unit_cost[at]),
            "rows": float(self.history.rows[at]),
            "zero_share": float(self.offer.zero_share[at]),
            "relative_error": float(self.offer.relative_error[at]),
            "lowest_tried": float(self.history.low[at]),
            "median_tried": float(self.history.median[at]),
            "highest_tried": float(self.history.high[at]),
            "elasticity": float(self.elasticities.mean[at]),
            "elasticity_low": float(self.elasticities.low[at]),
            "elasticity_high": float(self.elasticities.high[at]),
            "probability_negative": float(self.responses.probability_negative[at]),
            "current_demand": float(self.expected.mean[at]),
            "current_demand_low": float(self.expected.low[at]),
            "current_demand_high": float(self.expected.high[at]),
        }

    def to_bytes(self) -> bytes:
        """Give the book as an ``npz`` file without pickles."""
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **self.to_arrays())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Self:
        """Read what ``to_bytes`` gave.

        Raises:
            ValueError: it is damaged, or no book.
        """
        try:
            with np.load(BytesIO(content), allow_pickle=False) as file:
                return cls.from_arrays(file)
        except Exception as error:  # a damaged archive raises whatever its broken byte leads to
            raise ValueError(f"{name} cannot be read: {error}") from error

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the book as plain arrays, to be written without pickles."""
        texts = {
            "format": _FORMAT,
            "keys": [[key.merchant, key.product] for key in self.keys],
            "without_rows": [[key.merchant, key.product] for key in self.without_rows],
            "settings": {f.name: getattr(self.settings, f.name) for f in fields(self.settings)},
        }
        return {
            "texts": np.array(json.dumps(texts, ensure_ascii=False)),
            "centre": self.responses.centre,
            "probability_negative": self.responses.probability_negative,
            **{f"draws.{form.value}": draws for form, draws in self.responses.draws.items()},
            **_flat("history", self.history),
            **_flat("offer", self.offer),
            **_flat("elasticities", self.elasticities),
            **_flat("expected", self.expected),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build a book from ``to_arrays``.

        Raises:
            ValueError: something is missing or does not fit.
        """
        try:
            texts = json.loads(str(arrays["texts"]))
            if texts["format"] != _FORMAT:
                raise ValueError(f"format {texts['format']}, expected {_FORMAT}")
            book = cls(
                keys=tuple(SegmentKey(*key) for key in texts["keys"]),
                without_rows=tuple(SegmentKey(*key) for key in texts["without_rows"]),
                responses=Responses(
                    arrays["centre"],
                    {form: arrays[f"draws.{form.value}"] for form in Form},
                    arrays["probability_negative"],
                ),
                history=PriceHistory(**_nested("history", PriceHistory, arrays)),
                offer=Offer(**_nested("offer", Offer, arrays)),
                settings=_settings(texts["settings"]),
                elasticities=Elasticities(**_nested("elasticities", Elasticities, arrays)),
                expected=ExpectedDemand(**_nested("expected", ExpectedDemand, arrays)),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no demand book: {error}") from error
        book._check()
        return book

    def _check(self) -> None:
        n = len(self.keys)
        for name, values in self.to_arrays().items():
            if name != "texts" and (len(values) != n or values.dtype.kind not in "fi"):
                raise ValueError(f"no demand book: {name} does not have a number per segment")

    @cached_property
    def _positions(self) -> dict[SegmentKey, int | None]:
        return {key: at for at, key in enumerate(self.keys)} | dict.fromkeys(self.without_rows)

    def _unknown(self, key: SegmentKey) -> str:
        merchants = {one.merchant for one in self.segments() if one.product == key.product}
        products = {one.product for one in self.segments() if one.merchant == key.merchant}
        text = f"no segment has merchant '{key.merchant}' and product '{key.product}'"
        if products:
            return f"{text}; products of this merchant: {nearest(key.product, products)}"
        if merchants:
            return f"{text}; merchants of this product: {nearest(key.merchant, merchants)}"
        return f"{text}; merchants: {nearest(key.merchant, self.merchants)}"

    def _responses(self, part: slice) -> Responses:
        return Responses(
            self.responses.centre[part],
            {form: draws[part].astype(np.float64) for form, draws in self.responses.draws.items()},
            self.responses.probability_negative[part],
        )


def _demand_ratio(responses: Responses, history: PriceHistory, price: float) -> float:
    """Demand that is expected at another current price of a segment, over that at its own."""
    lowest = min(history.low[0], history.current[0]) / _BEYOND
    highest = max(history.high[0], history.current[0]) * _BEYOND
    if not lowest <= price <= highest:
        raise ValueError(
            f"price {price:g} is far from those that were tried, {history.low[0]:.4g} to "
            f"{history.high[0]:.4g}: what is sold at it is not known"
        )
    both = np.array([[price, history.current[0]]])
    ratios = []
    for form in Form:
        logs = responses.log_demand(form, both)
        ratios.append(np.exp(logs[0, :, 0] - logs[0, :, 1]).mean())
    return float(np.mean(ratios))


def _part(values: Values, part: slice) -> Values:
    return type(values)(**{f.name: getattr(values, f.name)[part] for f in fields(values)})


def _flat(prefix: str, values: Any) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}.{f.name}": np.asarray(getattr(values, f.name)) for f in fields(values)}


def _nested(
    prefix: str, cls: Any, arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    return {field.name: arrays[f"{prefix}.{field.name}"] for field in fields(cls)}


def _settings(values: Mapping[str, Any]) -> PricingSettings:
    return PricingSettings(**{**values, "price_endings": tuple(values["price_endings"])})


def nearest(name: str, names: Collection[str], at_most: int = 8) -> str:
    """Names similar to a given one, ignoring case; the first names where none is similar."""
    distinct = sorted(set(names))
    begin = name[:1].casefold()
    alike = [each for each in distinct if each[:1].casefold() == begin] if begin else distinct
    # To compare with many takes long, and a service does it for every request.
    some = distinct if len(distinct) <= _COMPARED else alike[:_COMPARED]
    by_case = {each.casefold(): each for each in some}
    near = get_close_matches(name[:200].casefold(), [*by_case], at_most)
    if near and len(distinct) > at_most:
        return f"{', '.join(by_case[each] for each in near)} and others"
    rest = len(distinct) - at_most
    return ", ".join(distinct[:at_most]) + (f" and {rest} more" if rest > 0 else "")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _ends(name: str, interval: Interval | None) -> dict[str, float]:
    values = (interval.mean, interval.low, interval.high) if interval else (math.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a number above 0, not {value}")


def _without_rows(settings: PricingSettings) -> Recommendation:
    """Recommendation for a segment without usable training rows."""
    return Recommendation(
        outcome=Outcome.ABSTAIN,
        abstentions=(Abstention(Reason.FEW_ROWS, 0.0, float(settings.least_rows)),),
        price=None,
        current_price=float("nan"),
        demand=None,
        profit=None,
        gain=None,
        gain_share=None,
        price_if_cheaper=None,
        price_if_dearer=None,
        curve=None,
    )
