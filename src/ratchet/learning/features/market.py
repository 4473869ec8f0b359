"""Rows of a market as numbers: codes of segments and products, steps of time, log prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ratchet.learning.features.base import Encoder, unique_names

JOINT = "\x1f"
"""Between merchant and product in the name of a segment."""

_PERIODS = 48
"""Steps by which the mean length of one is measured: months have several."""


class MarketEncoder(Encoder):
    """Columns of a market as float32: codes, the number of the step, the log price, covariates.

    A segment is one product at one merchant. Codes count segments and products of the fitted rows
    from 0, in alphabetical order; those of others are -1. Steps are counted from the first fitted
    row, to the nearest one. A missing covariate is the mean of the fitted rows; a price that is
    missing or not above 0 is NaN.

    Args:
        price: column of the price.
        time: column of the time, by the local clock.
        merchant: column that names the merchant, if any.
        product: column that names the product, if any.
        covariates: columns of numbers that are passed on.
        frequency: distance of two steps as pandas writes it.
        taken: see ``unique_names``.
        reserved: see ``unique_names``.

    Attributes:
        segments_: names of merchant and product of each segment, ``JOINT`` between, shape (S,).
        products_: names of the products, shape (P,).
        origin_: time of step 0, in microseconds since 1970.
        length_: microseconds of a step.
        means_: of the covariates, shape (C,).
    """

    def __init__(
        self,
        *,
        price: str,
        time: str,
        merchant: str | None = None,
        product: str | None = None,
        covariates: Sequence[str] = (),
        frequency: str = "7D",
        taken: Sequence[str] = (),
        reserved: Sequence[str] = (),
    ) -> None:
        self.price = price
        self.time = time
        self.merchant = merchant
        self.product = product
        self.covariates = covariates
        self.frequency = frequency
        self.taken = taken
        self.reserved = reserved

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn segments, products and where steps are counted from.

        Raises:
            ValueError: pandas does not know the frequency.
        """
        names, products = self._named(X)
        self.segments_ = np.unique(names)
        self.products_ = np.unique(products)
        self.length_ = step_length(self.frequency)
        self.origin_ = int(_microseconds(X[self.time]).min())
        covariates = X[list(self.covariates)].to_numpy(dtype=np.float64)
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(covariates)
            self.means_ = np.where(finite, covariates, 0.0).sum(axis=0) / np.maximum(
                finite.sum(axis=0), 1
            )
        self.n_features_in_ = X.shape[1]
        self.names_ = unique_names(self._names_out(), self.taken, self.reserved)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return (n, 4 + covariates), in the order of ``market_columns``."""
        check_is_fitted(self)
        names, products = self._named(X)
        steps = np.rint((_microseconds(X[self.time]) - self.origin_) / self.length_)
        covariates = X[list(self.covariates)].to_numpy(dtype=np.float64)
        columns = [
            _codes(self.segments_, names),
            _codes(self.products_, products),
            steps,
            log_price(X[self.price].to_numpy(dtype=np.float64)),
            np.where(np.isfinite(covariates), covariates, self.means_),
        ]
        return self._frame(X, np.column_stack(columns))

    def sources(self) -> list[str]:
        """For each column that `transform` returns, the one that it was made of."""
        segment = self.merchant or self.product or self.time
        return [segment, self.product or segment, self.time, self.price, *self.covariates]

    def _names_out(self) -> list[str]:
        return market_columns(self.covariates)

    def _named(self, X: pd.DataFrame) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Names of segments and of products of all rows."""
        nothing = np.full(len(X), "")
        parts = [nothing if c is None else _texts(X[c]) for c in (self.merchant, self.product)]
        return np.char.add(np.char.add(parts[0], JOINT), parts[1]), parts[1]


def market_columns(covariates: Iterable[str]) -> list[str]:
    """Columns made of a market: codes of segment and product, step, log price, covariates."""
    return ["segment", "product", "step", "log_price", *covariates]


def log_price(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms; NaN where there is none."""
    logs: NDArray[np.float64] = np.log(np.where(price > 0, price, np.nan))
    return logs


def step_length(frequency: str) -> int:
    """Microseconds from one step to the next; of months and quarters on average.

    Raises:
        ValueError: pandas does not know the frequency.
    """
    steps = pd.date_range("2000-01-01", periods=_PERIODS + 1, freq=frequency)
    return int((steps[-1] - steps[0]) / _PERIODS / pd.Timedelta(microseconds=1))


def _microseconds(times: pd.Series) -> NDArray[np.int64]:
    clock = times.dt.tz_localize(None) if times.dt.tz is not None else times
    since: NDArray[np.int64] = clock.to_numpy().astype("datetime64[us]").astype(np.int64)
    return since


def _texts(values: pd.Series) -> NDArray[np.str_]:
    return np.array([str(value) for value in values], dtype=np.str_)


def _codes(fitted: NDArray[np.str_], names: NDArray[np.str_]) -> NDArray[np.float64]:
    at = np.minimum(np.searchsorted(fitted, names), len(fitted) - 1)
    return np.where(fitted[at] == names, at, -1).astype(np.float64)
