"""Prices that earn more, from draws of the demand response; or the reason why none is recommended.

Profits at prices inside the range that was tried, under three forms of demand. Forecasts cannot
tell the forms apart, profits can: so a price is recommended only where it gains under each of them,
and the interval of the gain is the union of theirs. Responses come from a hierarchy per form
(``fit_responses``), so they lean on other segments and hold what is uncertain about them.

An optimum is claimed only where the lowest and the highest price that were tried, or are allowed,
surely earn less. Any other gain is a direction: there are no data beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ratchet.learning.demand.hierarchy import Hierarchy, HierarchySettings, fit_hierarchy
from ratchet.learning.demand.panel import PRICE, Array, Codes, Flags, Layout, Panel

_CHUNK = 200
"""Segments whose profits are computed together: some 100 MB."""

_MOST = 30.0
"""Largest change of log demand; wild draws of unsure segments would overflow."""


class Form(StrEnum):
    """How log demand depends on x, the log of price over mean price, with the slope b at x = 0."""

    LOG_LOG = "log-log"
    """b x: the same elasticity at all prices."""
    SEMI_LOG = "semi-log"
    """b (e^x - 1): the elasticity grows in proportion to the price."""
    QUADRATIC = "quadratic"
    """b x + c x^2, with c estimated."""


class Outcome(StrEnum):
    """What is said about the price of a segment."""

    OPTIMUM = "optimum"
    RAISE = "raise"
    LOWER = "lower"
    ABSTAIN = "abstain"


class Reason(StrEnum):
    """Why no price is recommended, in the order in which they are looked at."""

    NO_COST = "no unit cost is given"
    FEW_ROWS = "too few rows"
    NOT_SOLD_LATELY = "no rows in the latest steps"
    LITTLE_PRICE_VARIATION = "prices hardly varied"
    MANY_ZERO_SALES = "too many rows without sales"
    WORSE_THAN_NAIVE = "forecasts are no better than naive ones"
    SIGN_UNSURE = "it is not sure that demand falls when the price rises"
    NO_ALLOWED_PRICE = "no price in the range tried is allowed"
    BELOW_COST = "no price that is allowed in the range tried is above the unit cost"
    ALREADY_BEST = "the current price is the best one"
    GAIN_UNSURE = "the gain is not significant"


@dataclass(frozen=True)
class Abstention:
    """A reason with its numbers.

    Attributes:
        reason: why.
        value: what was measured; NaN where there is nothing to measure.
        limit: what it would have to reach (or not exceed, for the share of rows without sales and
            the error relative to the naive forecast); NaN where there is no such number.
    """

    reason: Reason
    value: float
    limit: float

    def __str__(self) -> str:
        """The reason, with its numbers where there are any."""
        if math.isnan(self.limit):
            return self.reason.value
        relation = _RELATIONS.get(self.reason, "at least")
        return f"{self.reason.value} ({self.value:.4g}; needed: {relation} {self.limit:.4g})"


_RELATIONS = {
    Reason.NOT_SOLD_LATELY: "at most",
    Reason.MANY_ZERO_SALES: "at most",
    Reason.WORSE_THAN_NAIVE: "below",
    Reason.GAIN_UNSURE: "above",
}
"""How a value has to be to its limit, where that is not ``at least``."""


@dataclass(frozen=True)
class PriceHistory:
    """Prices of S segments so far.

    Attributes:
        low: 5th percentile, shape (S,).
        high: 95th percentile, shape (S,).
        median: shape (S,).
        current: median of the latest prices, shape (S,).
        rows: rows that a model in logs could use, shape (S,).
        idle: steps since the last of them, until the last step of all segments, shape (S,).
    """

    low: Array
    high: Array
    median: Array
    current: Array
    rows: Codes
    idle: Array


def price_history(panel: Panel, recent: int = 8) -> PriceHistory:
    """Summarise the prices of a panel.

    Args:
        panel: the rows.
        recent: rows whose median is the current price.
    """
    observed = panel.mask > 0
    prices = np.exp(panel.log_price + panel.segments.price_centre[:, None])
    prices = np.where(observed, prices, np.nan)
    from_the_end = observed[:, ::-1].cumsum(axis=1)[:, ::-1]
    low, median, high = np.nanquantile(prices, [0.05, 0.5, 0.95], axis=1)
    current = np.nanmedian(np.where(from_the_end <= recent, prices, np.nan), axis=1)
    last = np.where(observed, panel.steps, -np.inf).max(axis=1)
    return PriceHistory(low, high, median, current, observed.sum(axis=1), panel.steps[-1] - last)


@dataclass(frozen=True)
class Responses:
    """Draws of how the demand of S segments answers prices.

    Attributes:
        centre: log price at which x is 0, shape (S,).
        draws: form -> coefficients of its terms, shape (S, D, 1), for the quadratic form (S, D, 2).
        probability_negative: probability that demand falls when the price rises, shape (S,).
    """

    centre: Array
    draws: Mapping[Form, Array]
    probability_negative: Array

    def log_demand(self, form: Form, prices: Array, part: slice = slice(None)) -> Array:
        """Log demand relative to that at the mean price, shape (S, D, G).

        Args:
            form: of demand.
            prices: shape (S, G), S those of the part.
            part: segments.
        """
        terms = price_terms(form, np.log(prices) - self.centre[part, None])
        log_demand: Array = np.einsum("sdm,sgm->sdg", self.draws[form][part], terms)
        return log_demand


def price_terms(form: Form, x: Array) -> Array:
    """Terms of a form of demand at centred log prices, of the shape of ``x`` with one more axis."""
    if form is Form.LOG_LOG:
        return x[..., None]
    if form is Form.SEMI_LOG:
        return np.expm1(x)[..., None]
    return np.stack([x, x**2], axis=-1)


def fit_responses(
    panel: Panel,
    layout: Layout,
    settings: HierarchySettings | None = None,
    *,
    log_log: Hierarchy | Array | None = None,
    n_draws: int = 512,
    seed: int = 0,
) -> Responses:
    """Estimate how demand answers prices under each form.

    Args:
        panel: the rows.
        layout: columns of time.
        settings: of the hierarchies; all defaults without.
        log_log: the hierarchy of the log-log form if it is estimated already, or draws of its
            elasticities, shape (S, D).
        n_draws: draws of each response, D.
        seed: of the draws.
    """
    settings = settings or HierarchySettings()
    normal = _standard_normal(n_draws, seed)
    draws: dict[Form, Array] = {}
    negative = np.ones(len(panel.mask))
    for form in Form:
        if form is Form.LOG_LOG and isinstance(log_log, np.ndarray):
            draws[form] = np.asarray(log_log, dtype=np.float64)[..., None]
            negative = np.minimum(negative, (draws[form][..., 0] < 0).mean(axis=1))
            continue
        fitted = log_log if form is Form.LOG_LOG and isinstance(log_log, Hierarchy) else None
        hierarchy = fitted or _fit_form(panel, layout, settings, form)
        draws[form] = _draw(hierarchy, [PRICE, -1] if form is Form.QUADRATIC else [PRICE], normal)
        if form is Form.LOG_LOG:
            negative = hierarchy.probability_negative
    return Responses(panel.segments.price_centre, draws, negative)


def _fit_form(panel: Panel, layout: Layout, settings: HierarchySettings, form: Form) -> Hierarchy:
    design = panel.design(layout)
    terms = price_terms(form, panel.log_price) * panel.mask[..., None]
    design[..., PRICE] = terms[..., 0]
    if form is not Form.QUADRATIC:
        return fit_hierarchy(panel, design, settings)
    design = np.concatenate([design, terms[..., 1:]], axis=2)
    # A straight line of elasticity -2 has the curvature -3: ones are no rarity.
    return fit_hierarchy(panel, design, settings, spread={design.shape[2] - 1: 1.0})


def _standard_normal(n: int, seed: int) -> Array:
    """Pairs of normal deviates, shape (n, 2), with mean 0 and covariance 1 exactly.

    The same for all segments: what is said of one does not depend on which others there are.
    """
    z = np.random.default_rng(seed).standard_normal((n, 2))
    z -= z.mean(axis=0)
    white: Array = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T
    return white


def _draw(hierarchy: Hierarchy, columns: list[int], normal: Array) -> Array:
    covariance = hierarchy.covariance[:, columns][:, :, columns]
    factor = np.linalg.cholesky(covariance)
    mean = hierarchy.coefficients[:, None, columns]
    draws: Array = mean + normal[:, : len(columns)] @ np.swapaxes(factor, 1, 2)
    return draws


@dataclass(frozen=True)
class Offer:
    """Costs, expected demand and allowed prices of S segments, each of shape (S,).

    Attributes:
        unit_cost: NaN where it is not known.
        demand: units expected per step at the current price.
        capacity: units per step that can be sold at most; infinite without a limit.
        lowest: lowest allowed price; 0 for none.
        highest: highest allowed price; infinite for none.
        least_margin: share of the price that has to stay above cost; minus infinite for none.
        zero_share: share of the rows without sales, which a model in logs cannot use.
        relative_error: error of the forecasts over that of naive ones; NaN where it is not known.
    """

    unit_cost: Array
    demand: Array
    capacity: Array
    lowest: Array
    highest: Array
    least_margin: Array
    zero_share: Array
    relative_error: Array

    @classmethod
    def of(
        cls,
        n_segments: int,
        *,
        unit_cost: npt.ArrayLike = np.nan,
        demand: npt.ArrayLike = 1.0,
        capacity: npt.ArrayLike = np.inf,
        lowest: npt.ArrayLike = 0.0,
        highest: npt.ArrayLike = np.inf,
        least_margin: npt.ArrayLike = -np.inf,
        zero_share: npt.ArrayLike = 0.0,
        relative_error: npt.ArrayLike = np.nan,
    ) -> Offer:
        """Give each segment its own number, shape (S,), or one for all.

        Raises:
            ValueError: a cost below 0, a capacity that is not above 0, or a margin of the whole
                price or more.
        """
        values = (
            *(unit_cost, demand, capacity, lowest, highest, least_margin),
            *(zero_share, relative_error),
        )
        offer = cls(
            *(np.broadcast_to(np.asarray(v, dtype=np.float64), (n_segments,)) for v in values)
        )
        wrong = {
            "unit_cost must not be below 0": offer.unit_cost < 0,
            "capacity must be above 0": ~(offer.capacity > 0),
            "least_margin must be below 1": ~(offer.least_margin < 1),
        }
        for message, fails in wrong.items():
            if fails.any():
                raise ValueError(f"{message}: it is not for segment {int(fails.argmax())}")
        return offer


@dataclass(frozen=True)
class PricingSettings:
    """How prices are looked for, and when none is recommended.

    Attributes:
        n_prices: prices that are compared.
        confidence: of the intervals; the gain has to be above 0 with half of what is left on top.
        price_step: prices are multiples of it, plus one of ``price_endings``; ``None`` for any
            price.
        price_endings: what prices have beyond multiples of ``price_step``, which is 1 if it is not
            given: 0.49 and 0.99 for 1.49, 1.99, 2.49 and so on; none for nothing.
        least_rows: fewest rows.
        most_idle: most steps without rows at the end: after more of them a segment has ended.
        least_price_ratio: least 95th percentile of prices over the 5th.
        most_zero_share: largest share of rows without sales.
        least_sign: least probability that demand falls when the price rises.
    """

    n_prices: int = 41
    confidence: float = 0.8
    price_step: float | None = None
    price_endings: tuple[float, ...] = ()
    least_rows: int = 20
    most_idle: float = 13.0
    least_price_ratio: float = 1.10
    most_zero_share: float = 0.2
    least_sign: float = 0.95

    def __post_init__(self) -> None:
        if self.n_prices < 3:
            raise ValueError(f"n_prices must be 3 or more, not {self.n_prices}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")
        step = 1.0 if self.price_step is None else self.price_step
        if not step > 0:
            raise ValueError(f"price_step must be above 0, not {step}")
        if not all(0 <= ending < step for ending in self.price_endings):
            raise ValueError(
                f"price_endings must lie from 0 to below the price_step of {step}, not "
                f"{self.price_endings}"
            )


@dataclass(frozen=True)
class Interval:
    """Mean over forms and draws, with the lowest and the highest end of the forms' intervals."""

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for field in fields(self):  # plain numbers, which reports and answers can write
            object.__setattr__(self, field.name, float(getattr(self, field.name)))

    def minus(self, value: float) -> Interval:
        """The same, moved down by a value."""
        return Interval(self.mean - value, self.low - value, self.high - value)

    def over(self, value: float) -> Interval:
        """The same, as a multiple of a value above 0."""
        return Interval(self.mean / value, self.low / value, self.high / value)


@dataclass(frozen=True)
class Curve:
    """Demand and profit per step over the prices compared, each of shape (G,).

    Attributes:
        price: ascending; those that are not allowed are left out.
        demand: units, mean over forms and draws, not above capacity.
        demand_low: lowest end of the forms' intervals.
        demand_high: highest end.
        profit: NaN without a cost, as its ends.
        profit_low: lowest end.
        profit_high: highest end.
        forms: units under each form alone: mean, lower and upper end, shape (3, G).
        unit_cost: NaN without.
    """

    price: Array
    demand: Array
    demand_low: Array
    demand_high: Array
    profit: Array
    profit_low: Array
    profit_high: Array
    forms: Mapping[Form, Array]
    unit_cost: float

    def of_form(self, form: Form, *, profit: bool) -> Array:
        """Mean, lower and upper end of demand or profit under one form, shape (3, G)."""
        units = self.forms[form]
        if not profit:
            return units
        mean, *ends = (self.price - self.unit_cost) * units
        return np.stack([mean, *np.sort(ends, axis=0)])  # below cost more units lose more


@dataclass(frozen=True)
class Recommendation:
    """What is said about the price of one segment; money and units per step.

    Attributes:
        outcome: an optimum inside the range tried, a direction, or nothing.
        abstentions: why nothing, the first reason first; empty otherwise.
        price: recommended price, for a direction often the last one that was tried or is allowed;
            ``None`` for nothing.
        current_price: what it is compared with.
        curve: over all prices compared; ``None`` where no price is allowed.
        demand: units at the price, or at the best one where none is recommended; as all that
            follows ``None`` without a cost or an allowed price.
        profit: at the price.
        gain: profit at the price less that at the current one.
        gain_share: the gain as a share of the current profit; ``None`` where that is less than a
            twentieth of the current revenue, which shares blow up over.
        price_if_cheaper: best price if the cost is 10 % lower than given; ``None`` where no price
            is allowed then.
        price_if_dearer: best price if it is 10 % higher.
    """

    outcome: Outcome
    abstentions: tuple[Abstention, ...]
    price: float | None
    current_price: float
    curve: Curve | None
    demand: Interval | None = None
    profit: Interval | None = None
    gain: Interval | None = None
    gain_share: Interval | None = None
    price_if_cheaper: float | None = None
    price_if_dearer: float | None = None


def recommend(
    responses: Responses,
    history: PriceHistory,
    offer: Offer,
    settings: PricingSettings | None = None,
) -> list[Recommendation]:
    """Look for the price of each segment that earns most.

    Recommended is the price with the largest gain under the form that gains least from it.

    Returns:
        One for each segment, in order.
    """
    settings = settings or PricingSettings()
    recommendations: list[Recommendation] = []
    for part in _chunks(len(history.low)):
        recommendations += _recommend(responses, history, offer, settings, part)
    return recommendations


def _chunks(n: int) -> Iterator[slice]:
    for first in range(0, n, _CHUNK):
        yield slice(first, min(first + _CHUNK, n))


def price_grid(
    history: PriceHistory, offer: Offer, settings: PricingSettings
) -> tuple[Array, Flags]:
    """Prices to compare, and which of them are allowed, both of shape (S, G)."""
    at = np.linspace(0, 1, settings.n_prices)
    prices = history.low[:, None] + at * (history.high - history.low)[:, None]
    if settings.price_step is not None or settings.price_endings:
        prices = _rounded(prices, settings.price_step or 1.0, settings.price_endings or (0.0,))
    has_margin = np.isfinite(offer.least_margin)
    margin = np.where(has_margin, offer.least_margin, 0.0)
    floor = np.where(has_margin, offer.unit_cost / (1 - margin), 0.0)
    lowest = np.fmax(np.maximum(history.low, offer.lowest), floor)[:, None]
    highest = np.minimum(history.high, offer.highest)[:, None]
    slack = 1e-9  # of rounding
    allowed = (prices >= lowest * (1 - slack)) & (prices <= highest * (1 + slack)) & (prices > 0)
    return prices, np.asarray(allowed, dtype=np.bool_)


def _rounded(prices: Array, step: float, endings: tuple[float, ...]) -> Array:
    """The nearest multiples of a step plus one of the endings."""
    ending = np.array(endings)
    near = np.round((prices[..., None] - ending) / step) * step + ending
    nearest = np.abs(near - prices[..., None]).argmin(axis=-1, keepdims=True)
    rounded: Array = np.take_along_axis(near, nearest, axis=-1)[..., 0]
    return rounded


@dataclass(frozen=True)
class _Demand:
    """Units sold at G prices under F forms, for the segments of a chunk.

    Attributes:
        price: shape (S, G).
        allowed: shape (S, G).
        current: current price, shape (S, 1).
        sold_now: at the current price, shape (S, 1).
        mean: over draws, shape (F, S, G).
        ends: lower and upper ends of the intervals, shape (2, F, S, G).
    """

    price: Array
    allowed: Flags
    current: Array
    sold_now: Array
    mean: Array
    ends: Array

    def gain(self, cost: Array) -> Array:
        """Mean gain over the current price for unit costs of shape (S,): shape (F, S, G)."""
        cost = cost[:, None]
        return (self.price - cost) * self.mean - (self.current - cost) * self.sold_now

    def profit_ends(self, cost: Array) -> Array:
        """Ends of the profit's intervals, shape (2, F, S, G), swapped below cost."""
        return np.sort((self.price - cost[:, None]) * self.ends, axis=0)

    def best(self, cost: Array) -> Codes:
        """Position of the best allowed price, shape (S,).

        It is best under the form that gains least from it; on average over the forms where no
        price gains under all of them.
        """
        gain = np.where(self.allowed, self.gain(cost), -np.inf)
        least, mean = gain.min(axis=0), gain.mean(axis=0)
        agreed = least.max(axis=1) > 0
        best: Codes = np.where(agreed, least.argmax(axis=1), mean.argmax(axis=1))
        return best


def _demand(
    responses: Responses,
    history: PriceHistory,
    offer: Offer,
    settings: PricingSettings,
    part: slice,
) -> _Demand:
    price, allowed = price_grid(history, offer, settings)
    current = history.current[:, None]
    tail = (1 - settings.confidence) / 2
    means, ends = [], []
    for form in Form:
        sold = _sold(responses, form, np.concatenate([price, current], axis=1), offer, part)
        means.append(sold.mean(axis=1))
        ends.append(np.quantile(sold, [tail, 1 - tail], axis=1))
    sold_now = np.minimum(offer.demand, offer.capacity)[:, None]
    return _Demand(price, allowed, current, sold_now, np.stack(means), np.stack(ends, axis=1))


def _sold(responses: Responses, form: Form, prices: Array, offer: Offer, part: slice) -> Array:
    """Draws of units sold at all prices but the last, the current one: shape (S, D, G - 1)."""
    log_demand = responses.log_demand(form, prices, part)
    relative = np.exp(np.minimum(log_demand[..., :-1] - log_demand[..., -1:], _MOST))
    sold: Array = offer.demand[:, None, None] * relative
    return np.minimum(sold, offer.capacity[:, None, None], out=sold)


def _recommend(
    responses: Responses,
    history: PriceHistory,
    offer: Offer,
    settings: PricingSettings,
    part: slice,
) -> list[Recommendation]:
    history, offer = _part_of(history, part), _part_of(offer, part)
    demand = _demand(responses, history, offer, settings, part)
    cost = offer.unit_cost
    rows = np.arange(len(cost))
    best = demand.best(cost)
    if_cheaper, if_dearer = (
        _best_price(demand, history, replace(offer, unit_cost=cost * factor), settings)
        for factor in (0.9, 1.1)
    )
    chosen = _Chosen(
        best=best,
        is_optimum=_is_optimum(responses, demand, offer, settings, part, best),
        if_cheaper=if_cheaper,
        if_dearer=if_dearer,
        profit_ends=demand.profit_ends(cost),
    )
    negative = responses.probability_negative[part]
    abstentions = _abstentions(negative, history, offer, settings, demand, chosen)
    return [_recommendation(s, offer, demand, chosen, abstentions[s]) for s in range(len(rows))]


def _best_price(
    demand: _Demand, history: PriceHistory, offer: Offer, settings: PricingSettings
) -> Array:
    """Best price of each segment for the costs of the offer; NaN where none keeps the margin."""
    _, allowed = price_grid(history, offer, settings)
    best = replace(demand, allowed=allowed).best(offer.unit_cost)
    return np.where(allowed.any(axis=1), demand.price[np.arange(len(best)), best], np.nan)


def _is_optimum(
    responses: Responses,
    demand: _Demand,
    offer: Offer,
    settings: PricingSettings,
    part: slice,
    best: Codes,
) -> Flags:
    """Whether the lowest and the highest allowed price surely earn less, under each form."""
    rows = np.arange(len(best))
    first = np.where(demand.allowed, demand.price, np.inf).argmin(axis=1)
    last = np.where(demand.allowed, demand.price, -np.inf).argmax(axis=1)
    prices = demand.price[rows[:, None], np.column_stack([first, best, last])]
    prices = np.column_stack([prices, demand.current])
    margin = (prices - offer.unit_cost[:, None])[:, None, :-1]
    sure = np.ones(len(best), dtype=np.bool_)
    for form in Form:
        sold = _sold(responses, form, prices, offer, part)
        ahead = (margin * sold)[..., [1]] - (margin * sold)[..., [0, 2]]
        sure &= (np.quantile(ahead, (1 - settings.confidence) / 2, axis=1) > 0).all(axis=1)
    return sure


_Columns = TypeVar("_Columns", PriceHistory, Offer)


def _part_of(columns: _Columns, part: slice) -> _Columns:
    return replace(columns, **{f.name: getattr(columns, f.name)[part] for f in fields(columns)})


@dataclass(frozen=True)
class _Chosen:
    """The best price of each segment of a chunk."""

    best: Codes
    is_optimum: Flags
    if_cheaper: Array
    if_dearer: Array
    profit_ends: Array


def _abstentions(
    negative: Array,
    history: PriceHistory,
    offer: Offer,
    settings: PricingSettings,
    demand: _Demand,
    chosen: _Chosen,
) -> list[tuple[Abstention, ...]]:
    """All reasons against a price of each segment, the first reason first."""
    none = np.full(len(negative), np.nan)
    at = np.arange(len(negative)), chosen.best
    no_cost = ~np.isfinite(offer.unit_cost)
    no_price = np.logical_not(demand.allowed.any(axis=1))
    spacing = (history.high - history.low) / (settings.n_prices - 1)
    same = np.abs(demand.price[at] - history.current) <= spacing / 2 * (1 + 1e-9)
    profit_now = (history.current - offer.unit_cost) * demand.sold_now[:, 0]
    least_gain = chosen.profit_ends[0].min(axis=0)[at] - profit_now
    ratio = history.high / history.low
    least = settings.least_price_ratio
    rows = history.rows.astype(np.float64)
    highest = np.where(demand.allowed, demand.price, -np.inf).max(axis=1)
    below_cost = ~no_price & (highest <= offer.unit_cost)
    undecided = no_cost | no_price | below_cost
    tests: list[tuple[Reason, Flags, Array, float]] = [
        (Reason.NO_COST, no_cost, none, np.nan),
        (Reason.FEW_ROWS, rows < settings.least_rows, rows, settings.least_rows),
        (
            Reason.NOT_SOLD_LATELY,
            history.idle > settings.most_idle,
            history.idle,
            settings.most_idle,
        ),
        (Reason.LITTLE_PRICE_VARIATION, ratio < least, ratio, least),
        (
            Reason.MANY_ZERO_SALES,
            offer.zero_share > settings.most_zero_share,
            offer.zero_share,
            settings.most_zero_share,
        ),
        (Reason.WORSE_THAN_NAIVE, offer.relative_error >= 1, offer.relative_error, 1.0),
        (Reason.SIGN_UNSURE, negative < settings.least_sign, negative, settings.least_sign),
        (Reason.NO_ALLOWED_PRICE, no_price, none, np.nan),
        # The best of these would only be the one at which least is sold at a loss.
        (Reason.BELOW_COST, below_cost, highest, np.nan),
        (Reason.ALREADY_BEST, same & ~undecided, history.current, np.nan),
        (Reason.GAIN_UNSURE, ~(least_gain > 0) & ~same & ~undecided, least_gain, 0.0),
    ]
    return [
        tuple(
            Abstention(reason, float(values[s]), float(limit))
            for reason, fails, values, limit in tests
            if fails[s]
        )
        for s in range(len(negative))
    ]


def _recommendation(
    s: int,
    offer: Offer,
    demand: _Demand,
    chosen: _Chosen,
    abstentions: tuple[Abstention, ...],
) -> Recommendation:
    at, current = chosen.best[s], float(demand.current[s, 0])
    price, cost = float(demand.price[s, at]), float(offer.unit_cost[s])
    direction = Outcome.RAISE if price > current else Outcome.LOWER
    outcome = Outcome.OPTIMUM if chosen.is_optimum[s] else direction
    curve = _curve(s, cost, demand, chosen) if demand.allowed[s].any() else None
    result = Recommendation(
        outcome=Outcome.ABSTAIN if abstentions else outcome,
        abstentions=abstentions,
        price=None if abstentions else price,
        current_price=current,
        curve=curve,
    )
    if curve is None or not np.isfinite(cost):
        return result
    here = int(np.searchsorted(curve.price, price))
    profit = Interval(curve.profit[here], curve.profit_low[here], curve.profit_high[here])
    profit_now = (current - cost) * float(demand.sold_now[s, 0])
    gain = profit.minus(profit_now)
    return replace(
        result,
        demand=Interval(curve.demand[here], curve.demand_low[here], curve.demand_high[here]),
        profit=profit,
        gain=gain,
        gain_share=gain.over(profit_now) if current - cost > 0.05 * current else None,
        price_if_cheaper=_or_none(chosen.if_cheaper[s]),
        price_if_dearer=_or_none(chosen.if_dearer[s]),
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _curve(s: int, cost: float, demand: _Demand, chosen: _Chosen) -> Curve:
    allowed = np.flatnonzero(demand.allowed[s])
    price, first = np.unique(demand.price[s, allowed], return_index=True)
    at = allowed[first]
    sold = demand.mean[:, s, at].mean(axis=0)
    return Curve(
        price=price,
        demand=sold,
        demand_low=demand.ends[0][:, s, at].min(axis=0),
        demand_high=demand.ends[1][:, s, at].max(axis=0),
        profit=(price - cost) * sold,
        profit_low=chosen.profit_ends[0][:, s, at].min(axis=0),
        profit_high=chosen.profit_ends[1][:, s, at].max(axis=0),
        forms={
            form: np.stack([demand.mean[n, s, at], *demand.ends[:, n, s, at]])
            for n, form in enumerate(Form)
        },
        unit_cost=cost,
    )
