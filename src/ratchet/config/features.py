"""Parameters of what a model may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from ratchet.config.base import NOT_SET, Params
from ratchet.config.market import MarketFeatures
from ratchet.config.names import row_keys

if TYPE_CHECKING:
    import pandas as pd

Transformation = Literal["value", "log1p", "change", "log_change"]


class History(Params):
    """What earlier rows of the same people (or shops, or machines) did.

    Attributes:
        entities: list columns that name them.
        values: column to average -> null, or ``log1p`` for what is applied first.
        looked_up: date at which a row asks; only what was known strictly before counts.
        available: date from which a row's own values are known to later rows.
        shrinkage: weight of the overall mean, in rows.
    """

    entities: list[str]
    values: dict[str, Literal["log1p"] | None]
    looked_up: str
    available: str
    shrinkage: Annotated[float, Field(ge=0)] = 3.0


class ForecastPath(Params):
    """Steps that a forecast covers: its path.

    A row of the model input is a series, a target time and a step: how many steps before the target
    its origin is. One model learns all steps, with the step among its features.

    Attributes:
        first: first step that is forecast.
        last: last step that is forecast.
        every: steps between the origins of a series whose paths are scored in the test part; other
            series begin at other steps. Training and validation have as many rows of each time,
            of steps that are drawn: 1 takes every origin, and makes as many rows of each time as
            there are steps. By default about one row of each time, as a forecast of one step has;
            without a divisor in common with the season, or a step would always meet the same
            parts of it.
    """

    first: Annotated[int, Field(ge=1)] = 1
    last: Annotated[int, Field(ge=1)]
    every: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last: expected at least first, {self.first}, got {self.last}")
        return self


class Windows(Params):
    """What a forecast may see of its series.

    Attributes:
        lookback: steps of the window, which ends at the origin of the forecast.
        horizon: steps from the origin to what is forecast; ``{first: 1, last: 48}`` for a path of
            all of these steps.
        past: column -> transformation (changes are those from the step before); seen up to the
            origin. The target must be among them.
        known: numeric or cyclic features that windows carry too: each step shows what holds
            ``horizon`` steps later, the last one what holds at the target.
        seasons: further views of the target in windows: its value so many steps before the step
            that is to be forecast, at least ``horizon``; also naive forecasts. In a path the steps
            beyond a season look back as many seasons as they need.
        lags: earlier values of the target as columns, counted from the target. Those shorter
            than the horizon are not known yet and are left out; in a path those shorter than its
            last step are counted from the step after the origin, so that 1 is the last known value.
        rolling: lengths over which mean and spread of the target up to the origin are columns.
    """

    lookback: Annotated[int, Field(ge=1)]
    horizon: Annotated[int, Field(ge=1)] | ForecastPath = 1
    past: dict[str, Transformation]
    known: list[str] = []
    seasons: list[Annotated[int, Field(ge=1)]] = []
    lags: list[Annotated[int, Field(ge=1)]] = []
    rolling: list[Annotated[int, Field(ge=2)]] = []

    @model_validator(mode="after")
    def _look_back_far_enough(self) -> Self:
        if not self.past:
            raise ValueError("past: at least the column to forecast is needed")
        early = [steps for steps in self.seasons if steps < self.last]
        if early and self.path is None:
            raise ValueError(
                f"seasons: {early} steps before the target are after the origin; "
                f"expected at least the horizon, {self.last}"
            )
        return self

    @property
    def path(self) -> ForecastPath | None:
        """The steps of a path; ``None`` where one step is forecast."""
        return self.horizon if isinstance(self.horizon, ForecastPath) else None

    @property
    def ahead(self) -> str:
        """How far ahead a forecast reaches, in words: ``1 step``, or ``1 to 48 steps``."""
        if self.first < self.last:
            return f"{self.first} to {self.last} steps"
        return f"{self.last} step{'s' if self.last > 1 else ''}"

    @property
    def first(self) -> int:
        """The first step that is forecast."""
        return self.horizon.first if isinstance(self.horizon, ForecastPath) else self.horizon

    @property
    def last(self) -> int:
        """The last step that is forecast."""
        return self.horizon.last if isinstance(self.horizon, ForecastPath) else self.horizon


class Features(Params):
    """Columns that a model may see, by how they are encoded.

    Attributes:
        numeric: columns taken as they are; one that single precision would round by much of its
            range, such as seconds since 1970, as the difference from its median.
        cyclic: column -> period (``month: 12``), as sine and cosine; missing is neutral.
        categorical: columns of text or integers; a feature per value that at least ``min_count``
            training rows have.
        lists: columns of lists; likewise.
        text: columns of short texts, as ``text_components`` directions of their weighted words.
        min_count: rows that a value needs for a feature of its own.
        text_components: directions per text column.
        history: what earlier rows of the same people did.
        windows: for series: what a forecast sees of the past. The columns above are then those
            known ahead, taken at the time that is forecast.
        market: what models see of a market; follows from its parameters, see
            ``market.with_market``.
    """

    numeric: list[str] = []
    cyclic: dict[str, float] = {}
    categorical: list[str] = []
    lists: list[str] = []
    text: list[str] = []
    min_count: Annotated[int, Field(ge=1)] = 20
    text_components: Annotated[int, Field(ge=1)] = 20
    history: History | None = None
    windows: Windows | None = None
    market: Annotated[MarketFeatures | None, NOT_SET] = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.market and self.windows:
            raise ValueError("windows: a market has rows, and no windows of series")
        if not (self.columns or self.history or self.windows):
            raise ValueError("no feature is named")
        if self.history and self.windows:
            raise ValueError("history: series have windows instead")
        if self.windows:
            unknown = [name for name in self.windows.known if name not in self.columns]
            if unknown:
                raise ValueError(
                    f"windows.known: {unknown} is not among the features {self.columns}"
                )
        return self

    @property
    def horizon(self) -> int:
        """Steps from what is known to the last that is predicted; 1 where there are no steps."""
        return self.windows.last if self.windows else 1

    @property
    def path(self) -> ForecastPath | None:
        """The steps of a path; ``None`` where one step is forecast, or rows are no steps."""
        return self.windows.path if self.windows else None

    def row_keys(self, keys: pd.Index) -> pd.Index:
        """Keys of the rows that the rows of the model input are about, see ``path_keys``.

        Of a path several rows of the model input are about one row, seen from other origins.
        """
        return row_keys(keys) if self.path else keys

    @property
    def columns(self) -> list[str]:
        """Source columns that are encoded (history and windows apart)."""
        market = self.market.columns if self.market else []
        named = [*self.numeric, *self.cyclic, *self.categorical, *self.lists, *self.text, *market]
        return list(dict.fromkeys(named))

    @property
    def encoded(self) -> list[str]:
        """Source columns of what the encoder makes, with the time where it makes steps of it."""
        return list(dict.fromkeys([*self.columns, *([self.market.time] if self.market else [])]))
