"""Changes of the inputs, made on purpose on real rows."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Scenario
from ratchet.errors import ConfigError
from ratchet.monitoring.drift.columns import kind_of, numbers


def apply(
    rows: pd.DataFrame,
    scenario: Scenario,
    *,
    seed: int,
    time: str | None = None,
    series: str | None = None,
    spread: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Change the columns that a scenario names.

    - ``shift`` adds ``amount`` spreads of the column, its standard deviation.
    - ``missing`` empties the share ``amount`` of the rows, each column on draws of its own.
    - ``season`` gives every row the value of ``steps`` rows before in its series, in the order
      of time. The first rows take those of the end: over half a year of a year's data, winter
      meets the values of summer, and the other way round.

    Args:
        rows: source columns, before anything is derived from them.
        scenario: what is changed.
        seed: seed of the rows that are emptied.
        time: column that orders the rows; their own order without it.
        series: column that tells several series apart.
        spread: rows whose spread is meant; those that are changed by default.

    Returns:
        New rows in the same order; the others share their memory with ``rows``.

    Raises:
        ConfigError: a column is not there, or has no numbers to be shifted.
    """
    changed = rows.copy(deep=False)
    rng = np.random.default_rng(seed)
    for name in scenario.columns:
        if name not in rows:
            raise ConfigError(f"scenario: no column '{name}' among {list(rows)}")
        if scenario.kind == "shift":
            changed[name] = _shifted(rows[name], rows if spread is None else spread, scenario)
        elif scenario.kind == "missing":
            changed[name] = _emptied(rows[name], scenario, rng)
        else:
            changed[name] = _earlier(rows, name, scenario.steps, time, series)
    return changed


def _shifted(values: pd.Series, spread: pd.DataFrame, scenario: Scenario) -> pd.Series:
    deviation = float(np.nanstd(numbers(spread[values.name]))) if _is_number(values) else np.nan
    if not np.isfinite(deviation):
        raise ConfigError(f"scenario: column '{values.name}' has no numbers to be shifted")
    return pd.Series(numbers(values) + scenario.amount * deviation, values.index)


def _is_number(values: pd.Series) -> bool:
    return kind_of(values) == "number" and bool(values.notna().any())


def _emptied(values: pd.Series, scenario: Scenario, rng: np.random.Generator) -> pd.Series:
    if not 0 <= scenario.amount <= 1:
        raise ConfigError(
            f"scenario: amount is the share of rows that lack a value, 0 to 1, "
            f"not {scenario.amount}"
        )
    empty = rng.random(len(values)) < scenario.amount
    if kind_of(values) == "list":
        return pd.Series(
            [None if gone else value for gone, value in zip(empty, values, strict=True)],
            values.index,
            dtype=object,
        )
    whole = pd.api.types.is_integer_dtype(values) or pd.api.types.is_bool_dtype(values)
    result = values.astype(float if whole else values.dtype)
    return result.mask(empty)


def _earlier(
    rows: pd.DataFrame, name: str, steps: int, time: str | None, series: str | None
) -> pd.Series:
    order = np.arange(len(rows))
    if time is not None:
        order = np.argsort(rows[time].to_numpy(), kind="stable")
    groups: dict[Hashable, npt.NDArray[np.intp]] = {None: np.arange(len(rows))}
    if series is not None:
        positions_of = rows.iloc[order].groupby(series, sort=False).indices
        groups = {name: np.asarray(positions) for name, positions in positions_of.items()}
    source = np.arange(len(rows))
    for positions in groups.values():
        mine = order[positions]
        source[mine] = np.roll(mine, steps)
    return pd.Series(rows[name].to_numpy()[source], rows.index)
