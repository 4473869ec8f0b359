"""Parameters of a market: what sells where at which price, and what a price is chosen by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ratchet.config.base import Length, Params, Share
from ratchet.config.data import SERIES_KEY

Positive = Annotated[float, Field(gt=0)]

_SEASONS = {"h": 24, "D": 7, "W": 52, "7D": 52, "ME": 12, "MS": 12, "QE": 4, "QS": 4}
"""Steps of a season by the distance of two steps."""

MARKET_ESTIMATORS = ("last_value", "seasonal", "segment_boosting", "demand", "demand_boosting")
"""Estimators that take the columns of a market."""

_PERIODS = {
    "demand": ("period",),
    "segment_boosting": ("estimator__columns__period",),
    "demand_boosting": ("demand__period", "boosting__estimator__columns__period"),
    "seasonal": ("season",),
}
"""Estimators that know a season -> their parameters that say how many steps it has."""


class MarketFeatures(Params):
    """What models see of a row of a market; made from ``Market``, see ``with_market``.

    Attributes:
        merchant: column that names the merchant, such as a region, a shop or an account.
        product: column that names the product.
        price: column of the price.
        time: column of the time.
        covariates: further columns that move demand.
        frequency: distance of two steps.
    """

    merchant: str | None = None
    product: str | None = None
    price: str
    time: str
    covariates: list[str] = []
    frequency: Length = "7D"

    @property
    def names(self) -> list[str]:
        """Columns that name the segment of a row."""
        return [name for name in (self.merchant, self.product) if name]

    @property
    def columns(self) -> list[str]:
        """Columns that models see, but for the time."""
        return [*self.names, self.price, *self.covariates]


class Iterations(Params):
    """How the demand of every segment is trained, see ``demand.iterations.IterationSettings``.

    Attributes:
        iterations: how many at most.
        simulated_rows: rows of a segment that the market's draw counts as; by default as many as
            the spread of the segments says.
        market_trend: whether effects that all segments of a step share are taken out.
        block_length: steps of a block of the bootstrap.
        search_every: iterations after which other hyper-parameters may be chosen; 0 for never.
        checkpoint_every: iterations after which what has been reached is written.
        retained_draws: draws of the coefficients that stay.
        stop_when: mean movement of the ends of the intervals, in widths, at which training stops;
            null for never.
        patience: entries of the history in a row that may not move more.
        engine: where it is trained.
    """

    iterations: Annotated[int, Field(ge=1)] = 2000
    simulated_rows: Annotated[int, Field(ge=1)] | None = None
    market_trend: bool = True
    block_length: Annotated[int, Field(ge=1)] = 4
    search_every: Annotated[int, Field(ge=0)] = 0
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    retained_draws: Annotated[int, Field(ge=100)] = 512
    stop_when: Share | None = 0.01
    patience: Annotated[int, Field(ge=1)] = 2
    engine: Literal["local", "dask"] = "local"


class Market(Params):
    """Rows of merchants and products over time, the target of which is the quantity sold.

    A segment is one product at one merchant.

    Attributes:
        merchant: column that names the merchant, such as a region, a shop or an account; without it
            there is one. A column that holds merchant and product is the merchant.
        product: column that names the product; without it there is one.
        price: column of the price of a unit; rows without a price above 0 are left out.
        covariates: further columns of numbers that move demand, such as promotion and display; a
            missing one counts as their mean.
        frequency: distance of two steps as pandas writes it.
        season: steps of a season, 0 for none; by default a year of weeks, months or quarters, a
            week of days, a day of hours.
        unit_cost: what a unit costs: a number, or the column that holds it. Without it no price is
            recommended.
        capacity: units of a step that there are at most: a number, or the column that holds it.
        price_steps: endings that prices may have, such as ``[0.99]``; any by default.
        bounds: lowest and highest price that may be recommended; within what was tried in any case.
        min_margin: least share of the price that has to remain above the unit cost.
        iterations: how the demand of every segment is trained.
    """

    merchant: str | None = None
    product: str | None = None
    price: str
    covariates: list[str] = []
    frequency: Length = "7D"
    season: Annotated[int, Field(ge=0)] | None = None
    unit_cost: Positive | str | None = None
    capacity: Positive | str | None = None
    price_steps: list[Annotated[float, Field(ge=0, lt=1)]] = []
    bounds: tuple[Positive, Positive] | None = None
    min_margin: Share | None = None
    iterations: Iterations = Iterations()

    @property
    def columns(self) -> list[str]:
        """Columns that models see, but for the time."""
        return [*self.texts.values(), self.price, *self.covariates]

    @model_validator(mode="after")
    def _check_distinct_columns(self) -> Self:
        named = [self.merchant, self.product, self.price, *self.covariates]
        columns = [name for name in named if name is not None]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise ValueError(
                f"{twice}: merchant, product, price and covariates are columns of their own; one "
                f"that holds merchant and product together is given as merchant alone"
            )
        if self.bounds and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds: expected the lowest price first, got {list(self.bounds)}")
        return self

    @property
    def steps_of_season(self) -> int:
        """Steps of a season; 0 for none."""
        if self.season is not None:
            return self.season
        unit = self.frequency.partition("-")[0]  # W-SUN is W
        return _SEASONS.get(re.sub(r"^1(?=\D)", "", unit), 0)  # and 1D is D

    @property
    def numbers(self) -> dict[str, str]:
        """Columns that have to hold numbers, by their place among these parameters."""
        named = {"price": self.price, "unit_cost": self.unit_cost, "capacity": self.capacity}
        columns = {place: name for place, name in named.items() if isinstance(name, str)}
        return columns | {f"covariates.{n}": name for n, name in enumerate(self.covariates)}

    @property
    def texts(self) -> dict[str, str]:
        """Columns that name merchant and product, by their place among these parameters."""
        named = {"merchant": self.merchant, "product": self.product}
        return {place: name for place, name in named.items() if name is not None}


def with_market(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of a use case with what its ``market`` says of features and rows.

    Models see the columns of the market as ``features.market``; rows without a price above 0 are
    left out (``data.positive``, ``data.required``); a key of one column that models see becomes a
    column of its own; candidates that know a season have the one of
    the market, unless their grid says otherwise. Doing this twice changes nothing.

    Args:
        parameters: as YAML has them.

    Returns:
        New parameters; the same where there is no market, or none that can be read.
    """
    data = parameters.get("data")
    if not isinstance(data, Mapping) or not isinstance(parameters.get("market"), Mapping):
        return parameters
    try:
        market = Market.model_validate(parameters["market"])
        features = MarketFeatures(
            time=data.get("time") or "",
            **market.model_dump(include={*MarketFeatures.model_fields} - {"time"}),
        )
    except ValidationError:  # reported where all parameters are read
        return parameters
    columns = {*(data.get("columns") or {}), *(data.get("derive") or {})}
    price = [name for name in [market.price] if name in columns]
    named = [name for name in features.names if name in columns]
    return {
        **parameters,
        "data": {
            **data,
            **_key_beside(data.get("key"), [features.time, *features.columns]),
            "positive": _with(data.get("positive"), price),
            "required": _with(data.get("required"), [*named, *price]),
        },
        "features": {**(parameters.get("features") or {}), "market": features.model_dump()},
        "targets": _with_season(parameters.get("targets"), market.steps_of_season),
    }


def _key_beside(key: Any, seen: list[str]) -> dict[str, Any]:
    """A key of its own where the only column of the key is one that models see.

    Rows of a single segment are distinguished by their time alone, which must remain a column.
    """
    names = [key] if isinstance(key, str) else key
    if not isinstance(names, list) or len(names) != 1 or names[0] not in seen:
        return {}
    return {"key": SERIES_KEY, "key_columns": names}


def _with(given: Any, names: list[str]) -> list[str]:
    return list(dict.fromkeys([*(given or []), *names]))


def _with_season(targets: Any, season: int) -> Any:
    """Targets with the season in the grids of the candidates that know one."""
    if not isinstance(targets, Mapping):
        return targets
    return {name: _of_target(target, season) for name, target in targets.items()}


def _of_target(target: Any, season: int) -> Any:
    if not isinstance(target, Mapping) or not isinstance(target.get("candidates"), Mapping):
        return target
    candidates = {name: _of_candidate(one, season) for name, one in target["candidates"].items()}
    return {**target, "candidates": candidates}


def _of_candidate(candidate: Any, season: int) -> Any:
    if not isinstance(candidate, Mapping):
        return candidate
    names = _PERIODS.get(str(candidate.get("estimator")), ())
    grid = {**{key: [season] for key in names}, **(candidate.get("param_grid") or {})}
    return {**candidate, "param_grid": grid} if names else candidate
