"""Made windows with a signal worth learning."""

from __future__ import annotations

from typing import Any

import numpy as np

SERIES = 10
WARM_UP = 30  # steps that nobody sees, until a series has forgotten how it began


def windows(n: int, lookback: int = 7, features: int = 10, seed: int = 0) -> tuple[Any, ...]:
    """Windows of a few series, by time: 80 % to train on, the next 10 % to validate on.

    A series hangs on its own past, on the day of the week, and on the other channels, of which
    some count and some do not; a third of its steps is noise.

    Returns:
        ``X, y, X_val, y_val``, float32 and scaled 0-1: windows of shape (n, lookback, features)
        and the first channel one step later, shape (n, 1).
    """
    steps = -(-n // SERIES)
    series = np.stack(
        [_series(steps + lookback, features, seed, number) for number in range(SERIES)]
    )
    low, high = series.min(axis=(0, 1)), series.max(axis=(0, 1))
    scaled = ((series - low) / (high - low)).astype(np.float32)
    X = np.stack([scaled[:, t : t + lookback] for t in range(steps)])
    y = scaled[:, lookback:, :1].swapaxes(0, 1)
    X, y = X.reshape(-1, lookback, features)[:n], y.reshape(-1, 1)[:n]
    train, validation = slice(0, n * 8 // 10), slice(n * 8 // 10, n * 9 // 10)
    return X[train], y[train], X[validation], y[validation]


def _series(steps: int, features: int, seed: int, number: int) -> Any:
    """One series of shape (steps, features), its target first."""
    rng = np.random.default_rng([seed, number])
    total = steps + WARM_UP
    others = np.empty((total, features - 1))
    shocks = rng.normal(size=others.shape)
    others[0] = shocks[0]
    for t in range(1, total):
        others[t] = 0.7 * others[t - 1] + shocks[t]
    if features > 1:
        others[:, 0] = np.sin(2 * np.pi * np.arange(total) / 7)
    effects = np.where(np.arange(features - 1) < 4, 0.5, 0.0)
    noise, level = rng.normal(scale=0.5, size=total), rng.normal(scale=0.5)
    target = np.zeros(total)
    for t in range(2, total):
        past = 0.5 * target[t - 1] - 0.2 * target[t - 2]
        target[t] = level + past + np.tanh(others[t - 1] @ effects) + noise[t]
    return np.column_stack([target, others])[WARM_UP:]
