"""Comparisons that may be looked at every day.

A test at 5 % that is repeated daily and stops at the first "significant" day is wrong in a third of
the cases without a difference. The bounds here hold for all days at once. What they count are
*units*, such as the mean difference of a day: rows of one day are wrong in the same way, and a
sequence over rows would take them for independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import norm
from scipy.stats import t as student

Array = npt.NDArray[np.float64]

LEAST_UNITS = 10
"""Units before which nothing is decided: the bounds are asymptotic."""

TUNED_FOR = 30
"""Unit at which the always-valid bounds are narrowest."""


@dataclass(frozen=True)
class ConfidenceSequence:
    """Mean of the units so far with its bounds, after each unit.

    Attributes:
        mean: shape (n,), in the unit of the differences.
        low: lower bounds, shape (n,); minus infinity while nothing can be decided.
        high: upper bounds, shape (n,).
    """

    mean: Array
    low: Array
    high: Array

    @property
    def decided_at(self) -> int | None:
        """How many units there were when 0 left the bounds for the first time."""
        outside = np.flatnonzero((self.low > 0) | (self.high < 0))
        return int(outside[0]) + 1 if len(outside) else None


def confidence_sequence(
    differences: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    planned: int | None = None,
    tuned_for: int = TUNED_FOR,
) -> ConfidenceSequence:
    """Bound the mean of independent differences at every moment at once.

    Always valid by default: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha,
    Kennedy and Ramdas (2024, "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52), theorem 2.2. With a ``planned`` end the bounds of O'Brien
    and Fleming (1979, Biometrics 35) in continuous time, which have more power before that end and
    say nothing after it.

    Args:
        differences: one per unit, in the order of time, shape (n,).
        alpha: how often, without a difference, 0 may ever lie outside of the bounds.
        planned: number of units at which the comparison ends.
        tuned_for: number of units at which always-valid bounds are narrowest.

    Raises:
        ValueError: values are not finite, or parameters make no sense.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("differences must be finite numbers, one per unit")
    if not 0 < alpha < 1 or tuned_for < 1 or (planned is not None and planned < LEAST_UNITS):
        raise ValueError(
            f"expected alpha between 0 and 1, tuned_for of at least 1 and planned of at least "
            f"{LEAST_UNITS}, got {alpha}, {tuned_for} and {planned}"
        )
    n = np.arange(1, len(values) + 1)
    mean = values.cumsum() / n
    factor = _always_valid(n, alpha, tuned_for) if planned is None else _planned(n, alpha, planned)
    width = _spread(values) * factor * _small_sample(n, alpha)
    width[: LEAST_UNITS - 1] = np.inf
    return ConfidenceSequence(mean, mean - width, mean + width)


def _spread(values: Array) -> Array:
    """Standard deviation of the values so far; 0 of the first."""
    n = np.arange(1, len(values) + 1)
    centred = values - (values.mean() if len(values) else 0.0)  # lest squares of a level cancel
    squares = (centred**2).cumsum() - centred.cumsum() ** 2 / n
    spread: Array = np.sqrt(np.maximum(squares, 0.0) / np.maximum(n - 1, 1))
    return spread


def _small_sample(n: npt.NDArray[np.int64], alpha: float) -> Array:
    """How much wider bounds are while the spread is estimated from few units, as Student's are."""
    factor: Array = student.ppf(1 - alpha / 2, np.maximum(n - 1, 1)) / norm.ppf(1 - alpha / 2)
    return factor


def _planned(n: npt.NDArray[np.int64], alpha: float, planned: int) -> Array:
    return np.where(n <= planned, _brownian_bound(alpha) * math.sqrt(planned) / n, np.inf)


def _always_valid(n: npt.NDArray[np.int64], alpha: float, tuned_for: int) -> Array:
    log = math.log(alpha)
    rho = (-2 * log + math.log(1 - 2 * log)) / tuned_for
    grown = n * rho + 1
    bound: Array = np.sqrt(2 * grown / (n**2 * rho) * np.log(np.sqrt(grown) / alpha))
    return bound


@cache
def _brownian_bound(alpha: float) -> float:
    """What the absolute value of a Brownian motion exceeds until time 1 with this probability."""

    def excess(bound: float) -> float:
        odd = 2 * np.arange(200) + 1
        terms = (-1.0) ** np.arange(200) / odd * np.exp(-((odd * np.pi / bound) ** 2) / 8)
        return float(1 - 4 / np.pi * terms.sum() - alpha)

    bound: float = brentq(excess, 0.1, 20)
    return bound


def sample_ratio_p_values(
    counts: npt.ArrayLike, shares: Sequence[float], *, prior: float = 10_000.0
) -> Array:
    """Whether as many units came into each arm as should, at every moment at once.

    Multinomial e-values with a Dirichlet prior around the shares (Lindon and Malek 2022, "Anytime-
    valid inference for multinomial count data", NeurIPS 35); their running minimum is a p value
    that may be looked at at any time.

    Args:
        counts: units of each arm in every period, shape (n, arms).
        shares: share that each arm should have, above 0, together 1.
        prior: how closely shares are expected to lie around the intended ones, if not at them, in
            units: the larger, the smaller are the deviations that are found.

    Returns:
        The p value after each period, shape (n,): below 0.01 the assignment is broken.

    Raises:
        ValueError: shapes do not fit, shares make no sense or counts are negative.
    """
    expected = np.asarray(shares, dtype=np.float64)
    observed = np.asarray(counts, dtype=np.float64)
    if observed.ndim != 2 or observed.shape[1] != len(expected) or (observed < 0).any():
        raise ValueError(f"counts must have shape (n, {len(expected)}) and not be negative")
    if (expected <= 0).any() or not math.isclose(expected.sum(), 1):
        raise ValueError(f"shares must be above 0 and add up to 1, got {list(shares)}")
    total, weights = observed.cumsum(axis=0), prior * expected
    log_e = (
        gammaln(weights.sum())
        - gammaln(weights.sum() + total.sum(axis=1))
        + (gammaln(weights + total) - gammaln(weights)).sum(axis=1)
        - total @ np.log(expected)
    )
    p_values: Array = np.minimum.accumulate(np.minimum(np.exp(-log_e), 1.0))
    return p_values
