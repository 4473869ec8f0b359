"""What a forecast of demand means for the goods on the shelf."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Array = npt.NDArray[np.float64]


def expected_demand(
    forecast: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, steps: float
) -> tuple[Array, Array, Array]:
    """Demand over several steps, from the forecast of one of them with its interval.

    Assumes that this forecast holds for each of the steps, and that its errors are independent
    from step to step. Then the expected demand grows with the number of steps, and each half of
    the interval with its square root. Where errors go together instead, a good day followed by a
    good day, the halves grow up to in proportion: the interval given here is too narrow by at
    most the square root of the number of steps.

    Args:
        forecast: expected demand of a step, shape (n,); below 0 counts as 0.
        low: lower end of its interval, shape (n,), not above the forecast.
        high: upper end, shape (n,), not below the forecast.
        steps: number of steps, above 0.

    Returns:
        Expected demand over the steps, lower and upper end, each of shape (n,) and not below 0.
        The interval covers as often as that of the forecast.

    Raises:
        ValueError: shapes that do not fit, values that are not finite or not in order, or no step.
    """
    mean, below, above = _halves(forecast, low, high)
    if not steps > 0:
        raise ValueError(f"steps must be above 0, not {steps}")
    total, root = mean * steps, np.sqrt(steps)
    return total, np.maximum(total - root * below, 0.0), total + root * above


def steps_of_stock(
    forecast: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, stock: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    """How many steps a stock lasts, under the assumptions of ``expected_demand``.

    The ends are the times at which the upper and the lower end of the demand so far reach the
    stock: with ``m`` the forecast, ``d`` half an interval and ``s`` the stock, the solutions of
    ``m t + d sqrt(t) = s`` and ``m t - d sqrt(t) = s``.

    Args:
        forecast: expected demand of a step, shape (n,); below 0 counts as 0.
        low: lower end of its interval, shape (n,).
        high: upper end, shape (n,).
        stock: units at hand, shape (n,) or one number; NaN where it is not known.

    Returns:
        Expected steps, fewest and most, each of shape (n,); infinite where nothing is expected to
        be sold, NaN where the stock is not known.

    Raises:
        ValueError: as ``expected_demand``, or a stock below 0.
    """
    mean, below, above = _halves(forecast, low, high)
    units = _stock(stock, mean)
    return (
        _until(units, mean, np.zeros_like(mean)),
        _until(units, mean, above),
        _until(units, mean, -below),
    )


def order_quantity(
    forecast: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    stock: npt.ArrayLike,
    *,
    lead_time: float,
    review: float,
    confidence: float,
    service_level: float,
) -> Array:
    """How much to order now, under the assumptions of ``expected_demand``.

    The stock is filled up to what is needed until the order after this one arrives (periodic
    review, order up to a level; Silver, Pyke & Thomas 2017, Inventory and Production Management
    in Supply Chains, ch. 6): the expected demand of lead time and review, and a safety stock that
    lasts in ``service_level`` of the cases. The spread of the errors above the forecast is read
    from the upper half of the interval as if they were normal.

    Args:
        forecast: expected demand of a step, shape (n,); below 0 counts as 0.
        low: lower end of its interval, shape (n,).
        high: upper end, shape (n,).
        stock: units at hand or on order, shape (n,) or one number; NaN where it is not known.
        lead_time: steps from an order to its arrival.
        review: steps from one order to the next.
        confidence: share of the cases that the interval covers, between 0 and 1.
        service_level: share of the cases in which the stock is to last, between 0 and 1.

    Returns:
        Whole units, not below 0, shape (n,); NaN where the stock is not known.

    Raises:
        ValueError: as ``expected_demand``, a stock below 0, or a share that is none.
    """
    mean, _, above = _halves(forecast, low, high)
    for name, share in {"confidence": confidence, "service_level": service_level}.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {share}")
    steps = lead_time + review
    if not steps > 0:
        raise ValueError(f"lead_time + review must be above 0, not {steps}")
    spread = above / norm.ppf((1 + confidence) / 2)
    level = mean * steps + max(norm.ppf(service_level), 0.0) * spread * np.sqrt(steps)
    # Rounding noise of the product is no unit to order.
    missing = np.round(level - _stock(stock, mean), 9)
    units: Array = np.ceil(np.maximum(missing, 0.0))
    return units


def _until(stock: Array, mean: Array, half: Array) -> Array:
    """Time at which ``mean t + half sqrt(t)`` reaches the stock."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # The solution of the quadratic for sqrt(t) in the form that allows a mean of 0.
        root = 2 * stock / (half + np.sqrt(half**2 + 4 * mean * stock))
    idle = (mean == 0) & (half <= 0)
    steps = np.where(stock == 0, 0.0, np.where(idle, np.inf, np.square(root)))
    return np.where(np.isnan(stock), np.nan, steps)


def _halves(
    forecast: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    values = [np.asarray(part, dtype=np.float64) for part in (forecast, low, high)]
    if values[0].ndim != 1 or any(part.shape != values[0].shape for part in values):
        shapes = [part.shape for part in values]
        raise ValueError(f"forecast, low and high must have one shape (n,), not {shapes}")
    if not all(np.isfinite(part).all() for part in values):
        raise ValueError("forecast, low and high must be finite")
    mean, lowest, highest = (np.maximum(part, 0.0) for part in values)
    if (lowest > mean).any() or (highest < mean).any():
        raise ValueError("the forecast must lie between low and high")
    return mean, mean - lowest, highest - mean


def _stock(stock: npt.ArrayLike, like: Array) -> Array:
    units = np.broadcast_to(np.asarray(stock, dtype=np.float64), like.shape)
    if (units < 0).any():
        raise ValueError("stock must not be below 0")
    return units
