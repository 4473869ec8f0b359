"""How many consecutive time stamps are drawn together."""

from __future__ import annotations

import math


def block_length(n_times: int, horizon: int = 1) -> int:
    """Give the number of consecutive time stamps that are drawn together.

    The cube root of the number of time stamps, the order that suits the variance of a mean best
    (Hall, Horowitz & Jing 1995, Biometrika 82), and at least twice the horizon: errors of
    forecasts h steps ahead are correlated over h - 1 steps even when nothing better can be known
    (Diebold & Mariano 1995), and if the correlation falls in a line, blocks of h would miss a
    third of the variance, blocks of 2 h a sixth. At most the bound that goes with the rule of
    Politis & White (2004), the smaller of 3 sqrt(n) and n / 3, so that several blocks are left to
    draw from. That rule itself looks at the errors, and so would give each model draws of its own.

    Args:
        n_times: number of different time stamps.
        horizon: steps of time between the origin of a forecast and its row.

    Returns:
        A number of time stamps, 1 or more.

    Raises:
        ValueError: a number below 1.
    """
    return _within(math.cbrt(n_times), n_times, horizon)


def long_block_length(n_times: int, horizon: int = 1) -> int:
    """Give the number of time stamps that are drawn together where a bound has to be right.

    1.3 times the root of the number of time stamps, and at least twice the horizon, with the
    upper end of ``block_length``. Blocks that suit the variance of a mean best are too short for
    a decision: where errors are alike over many steps, they make a difference look surer than it
    is. Longer ones leave few blocks, which the t distribution of ``bounds`` makes up for (Lazarus,
    Lewis, Stock & Watson 2018, Journal of Business & Economic Statistics 36: this length for
    tests of means of series, with critical values that know it).

    Args:
        n_times: number of different time stamps.
        horizon: steps of time between the origin of a forecast and its row.

    Returns:
        A number of time stamps, 1 or more.

    Raises:
        ValueError: a number below 1.
    """
    return _within(1.3 * math.sqrt(max(n_times, 0)), n_times, horizon)


def _within(length: float, n_times: int, horizon: int) -> int:
    if n_times < 1 or horizon < 1:
        raise ValueError(f"n_times and horizon must be at least 1, not {n_times} and {horizon}")
    longest = math.ceil(min(3 * math.sqrt(n_times), n_times / 3))
    return min(max(math.ceil(length), 2 * horizon), longest)
