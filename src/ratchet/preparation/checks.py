"""What can be known of features and targets before any search: whether they can be learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ratchet.config import (
    COMPUTED,
    SERIES_PREFIX,
    Features,
    MarketFeatures,
    Target,
    apart,
    plain,
)
from ratchet.dates import local
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.learning.classical import folds
from ratchet.learning.features.encoders import is_coarse
from ratchet.learning.features.market import step_length
from ratchet.learning.features.series import infer_frequency
from ratchet.preparation.raw_schema import show_rows
from ratchet.values import as_numbers

LARGEST = 3.4028234663852886e38
"""Largest number of single precision, in which models hold features."""


def check_numbers(frame: DataFrame, features: Features) -> None:
    """Make sure that features which are to be numbers are finite ones that models can hold.

    Args:
        frame: features of some rows, indexed by the row key.
        features: which columns are numbers; computed ones always are.

    Raises:
        ConfigError: a column holds no numbers.
        DataError: a number is infinite or too large: which rows, and the first of them.
    """
    lines = []
    for name in _doubtful(frame, _numeric(frame, features)):
        values, (numbers, wrong) = frame[name], as_numbers(frame[name])
        column = f"column '{plain(name)}'"
        if wrong.any():
            raise ConfigError(
                f"parameter features: {column} is among the numeric or cyclic ones and has "
                f"to hold numbers; {show_rows(values[wrong], len(values))}; name it among the "
                f"categorical, lists or text features"
            )
        if (large := numbers.abs() > LARGEST).any():
            lines.append(
                f"{column}: expected finite numbers up to {LARGEST:.2g}, the largest that "
                f"models hold; {show_rows(values[large], len(values))}"
            )
    if lines:
        lines.append(
            "Where such a number marks a missing value, say so: na_values in load_args of the "
            "catalog; where it is derived, mend data.derive"
        )
        raise DataError("\n".join(lines))


def check_market(rows: DataFrame, market: MarketFeatures) -> None:
    """Make sure that rows of a market are one of each segment and step.

    Args:
        rows: prepared rows.
        market: its columns and the distance of two steps.

    Raises:
        DataError: a segment has several rows at a time: how many, and the first of them.
        ConfigError: the times are nearer to each other, or farther apart, than the steps.
    """
    named = [*market.names, market.time]
    if (twice := rows.duplicated(named)).any():
        shown = rows.loc[twice, named].astype(str).agg(", ".join, axis=1)
        raise DataError(
            f"columns {named}: expected one row of a segment (one product at one merchant) at a "
            f"time; {show_rows(shown, len(rows))}. Leave out what is there twice, add the rows up "
            f"in data.prepare, or name a further column that tells them apart as market.product"
        )
    _check_distance(rows[market.time], market.frequency)


def _check_distance(times: Series, frequency: str) -> None:
    distinct = local(times).drop_duplicates().sort_values()
    if len(distinct) < 3:
        return
    try:
        length = step_length(frequency)
    except ValueError as error:
        raise ConfigError(f"parameter market.frequency: {error}") from error
    passed = (distinct - distinct.iloc[0]).to_numpy().astype("timedelta64[us]").astype(np.int64)
    apart = np.diff(np.rint(passed / length).astype(np.int64))
    if (apart > 0).all() and np.gcd.reduce(apart) == 1:
        return
    fits = infer_frequency(distinct)
    way_out = f"all times fit {fits}: set market.frequency to it" if fits else "set another one"
    if (same := np.flatnonzero(apart == 0)).size:
        first = " and ".join(str(time) for time in distinct.iloc[same[0] : same[0] + 2])
        wrong = f"{len(same)} of {len(distinct)} times fall on the step of another one, as {first}"
        way_out = f"{way_out}, or give each step one time, such as its first day, in data.prepare"
    else:
        wrong = f"all times are at least {np.gcd.reduce(apart)} steps apart"
    raise ConfigError(f"parameter market.frequency: with steps of {frequency} {wrong}; {way_out}")


def _doubtful(frame: DataFrame, names: list[str]) -> list[str]:
    """Columns that are worth a look one by one: a row of a series has hundreds."""
    kinds = frame.dtypes
    return [name for name in names if kinds[name].kind not in "biuf" or _is_any_large(frame[name])]


def _is_any_large(values: Series) -> bool:
    plain = isinstance(values.dtype, np.dtype)
    numbers = values.to_numpy() if plain else values.to_numpy(dtype=float, na_value=np.nan)
    if not len(numbers):
        return False
    return bool(np.fmax.reduce(numbers) > LARGEST or np.fmin.reduce(numbers) < -LARGEST)


def _numeric(frame: DataFrame, features: Features) -> list[str]:
    market = [features.market.price, *features.market.covariates] if features.market else []
    named = map(apart, [*features.numeric, *features.cyclic, *market])
    return list(dict.fromkeys([*named, *_computed(frame)]))


def check_windows(primary: DataFrame, features: Features, target: Target) -> None:
    """Make sure that windows, which are single precision, tell the values of a series apart.

    Args:
        primary: one row per step and series.
        features: the windows.
        target: what is forecast.

    Raises:
        ConfigError: values are too large for their differences.
    """
    windows = features.windows
    if windows is None:
        return
    shown = [name for name, transformation in windows.past.items() if transformation == "value"]
    numeric_known = [name for name in windows.known if name in features.numeric]
    for name in [*shown, *numeric_known]:
        relative = name == target.column and target.learn != "value"
        if not relative and is_coarse(primary[name].to_numpy(dtype=float, na_value=float("nan"))):
            raise ConfigError(
                f"parameter features.windows: column '{name}' holds numbers so large that windows, "
                f"in single precision, do not tell them apart; give its change "
                f"(past: {{{name}: change}}; of a target also learn: change), or derive a column "
                f"that counts from a nearer beginning"
            )


def check_training(frame: DataFrame, features: Features, targets: Mapping[str, Target]) -> None:
    """Make sure that every family of models has something to learn from.

    ``check_splits`` has counted the rows with truth; here are the features of them.

    Args:
        frame: features and targets of all rows, with ``split``.
        features: the columns that a model may see.
        targets: the columns to predict.

    Raises:
        DataError: a feature has no value in the training rows, or there are too few steps for the
            folds of a series; a line for each.
    """
    train = (frame["split"] == "train").to_numpy()
    lines = [
        f"column '{plain(name)}': none of the {train.sum()} training rows has a value, "
        f"{present.sum()} of the other rows have; leave it out of the features until there is "
        f"something to learn from"
        for name in [*map(apart, features.columns), *_computed(frame)]
        if not (present := _present(frame[name]).to_numpy())[train].any()
    ]
    for name, target in targets.items():
        if target.is_series or target.follows_time:
            times = frame[f"{SERIES_PREFIX}time"][train]
            lines += _too_few_steps(name, target, times, features.horizon)
    if lines:
        raise DataError("\n".join(lines))


def _computed(frame: DataFrame) -> list[str]:
    return list(frame.columns[frame.columns.str.startswith(COMPUTED)])


def _present(values: Series) -> Series:
    """Which rows have a value; an empty list is none."""
    present = values.notna()
    return present & (values.str.len() != 0) if values.dtype == object else present


def _too_few_steps(name: str, target: Target, times: Series, horizon: int) -> Iterator[str]:
    try:
        folds(target.task, target.cv, 0, times=times, horizon=horizon)
    except ValueError as error:
        yield (
            f"column '{target.column}' (target '{name}'): {error}: lower targets.{name}.cv"
            f"{' or features.windows.horizon' if target.is_series else ''}, or gather more"
        )
