"""Windows and targets from the units of the data to 0-1 and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ROWS = 4096  # scaled at a time: in double precision, without a double of all windows


@dataclass(frozen=True)
class WindowScaler:
    """Scales windows per channel, and targets, so that those it was fitted on fill 0 to 1.

    Others may lie outside: they are not clipped, since a value above all known ones is news.
    What is constant becomes 0.

    Attributes:
        lookback: time steps of a window.
        low: lowest value of each channel over all windows and steps, shape (features,).
        span: highest less lowest value, or 1 for a constant channel, shape (features,).
        target_low: lowest target over all steps of the horizon.
        target_span: highest less lowest target, or 1.
    """

    lookback: int
    low: Array
    span: Array
    target_low: float
    target_span: float

    @classmethod
    def fit(cls, X: ArrayLike, y: ArrayLike, lookback: int) -> Self:
        """Take the ranges from training rows.

        Args:
            X: flattened windows, shape (n, lookback x features), oldest step first.
            y: targets, shape (n,) or (n, horizon).
            lookback: time steps of a window.

        Raises:
            ValueError: ``lookback`` does not divide the columns.
        """
        windows, target = np.asarray(X), np.asarray(y, dtype=np.float64)
        by_channel = windows.reshape(-1, count_features(windows.shape[1], lookback))
        low = by_channel.min(axis=0).astype(np.float64)
        span = by_channel.max(axis=0).astype(np.float64) - low
        target_span = float(np.ptp(target))
        return cls(
            lookback, low, np.where(span > 0, span, 1.0), float(target.min()), target_span or 1.0
        )

    @property
    def features(self) -> int:
        """Values per time step."""
        return len(self.low)

    def windows(self, X: ArrayLike) -> NDArray[np.float32]:
        """Scale flattened windows.

        Args:
            X: shape (n, lookback x features), in the units of the data.

        Returns:
            Shape (n, lookback, features).

        Raises:
            ValueError: another number of columns than when fitted.
        """
        values = np.asarray(X)
        shape = (self.lookback, self.features)
        if values.ndim != 2 or values.shape[1] != shape[0] * shape[1]:
            raise ValueError(
                f"expected windows of {shape[0]} steps x {shape[1]} features, that is "
                f"{shape[0] * shape[1]} columns, got shape {values.shape}"
            )
        scaled = np.empty((len(values), *shape), dtype=np.float32)
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            scaled[rows] = (values[rows].reshape(-1, *shape) - self.low) / self.span
        return scaled

    def targets(self, y: ArrayLike) -> NDArray[np.float32]:
        """Scale targets of shape (n,) or (n, horizon); gives (n, horizon)."""
        values = np.asarray(y, dtype=np.float64)
        scaled = (values.reshape(len(values), -1) - self.target_low) / self.target_span
        return scaled.astype(np.float32)

    def restore(self, scaled: ArrayLike) -> Array:
        """Give targets or predictions back in their own units, same shape."""
        values: Array = np.asarray(scaled, dtype=np.float64)
        return values * self.target_span + self.target_low

    def as_dict(self) -> Mapping[str, int | float | list[float]]:
        """Give the state as plain numbers and lists, exactly."""
        return asdict(self) | {"low": self.low.tolist(), "span": self.span.tolist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make the scaler that ``as_dict`` described."""
        arrays = {name: np.asarray(state[name], dtype=np.float64) for name in ("low", "span")}
        return cls(**{**state, **arrays})


def count_features(columns: int, lookback: int) -> int:
    """Give the values per time step of flattened windows with so many columns.

    Raises:
        ValueError: ``lookback`` does not divide the columns.
    """
    if columns % lookback:
        raise ValueError(
            f"X has {columns} columns, which lookback={lookback} does not divide: a row is a "
            "window of lookback x features values, oldest step first"
        )
    return columns // lookback
