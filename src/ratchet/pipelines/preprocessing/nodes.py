"""Nodes of data preparation."""

from __future__ import annotations

from typing import Any

from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.params import (
    AHEAD_PREFIX,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    SERIES_PREFIX,
    TARGET_PREFIX,
    WINDOW_PREFIX,
    Data,
    Derived,
    Features,
    History,
    Split,
    read_targets,
)

STATIC_PREFIX = "static_"
"""How columns start that describe a series as a whole, as its training part shows it."""

SPLITS = ("train", "validation", "test")

COMPUTED = (
    HISTORY_PREFIX,
    WINDOW_PREFIX,
    AHEAD_PREFIX,
    *LAG_PREFIXES,
    NAIVE_PREFIX,
    STATIC_PREFIX,
)
"""How columns start that are features, but no column of the rows."""


def select_rows(
    typed: DataFrame, data: Data, targets: dict[str, Any], seed: int
) -> tuple[DataFrame, dict[str, Any]]:
    """Leave out incomplete rows, derive columns, order the rows and split them once.

    Rows are ordered by time and key and cut into successive train, validation and test; without
    a time column they are drawn at random.

    Args:
        typed: rows that keep their contract.
        data: required and derived columns, shares of the split.
        targets: the columns to predict.
        seed: seed of the random split.

    Returns:
        The rows with a column ``split``; and what was left out and why, with the size and span of
        every part.

    Raises:
        DataError: no row is complete, a class is unknown, or a part of the split is empty.
    """
    complete = typed.dropna(subset=data.required)
    dropped = {name: int(typed[name].isna().sum()) for name in data.required}
    if complete.empty:
        raise DataError(f"no row has values in all of {data.required}; missing: {dropped}")
    primary = _split_rows(add_columns(complete, data, targets), data, seed)
    selection = {
        "rows": len(typed),
        "kept": len(primary),
        "missing": dropped,
        "parts": {part: describe(rows, data) for part, rows in primary.groupby("split")},
    }
    return primary, selection


def add_columns(rows: DataFrame, data: Data, targets: dict[str, Any]) -> DataFrame:
    """Rows with their calendar and derived columns, in which the targets are found right.

    Raises:
        ConfigError: a function that derives a column fails.
        DataError: a target has no value, an unknown class or a number out of bounds.
    """
    from ratchet.schemas import check_target

    if data.calendar and data.time:
        from ratchet.learning.features.series import calendar

        rows = rows.assign(**calendar(rows[data.time], data.calendar))
    primary = rows.copy(deep=False)
    for name, derived in data.derive.items():  # one may build on those above it
        primary[name] = _derive(name, derived, primary)
    for name, target in read_targets(targets).items():
        check_target(name, primary[target.column], target)
    return primary


def _derive(name: str, derived: Derived, frame: DataFrame) -> Series:
    from kedro.utils import load_obj

    try:
        function = load_obj(derived.function)
        return function(frame, **derived.arguments)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"parameter data.derive.{name}: {derived.function}: {error}") from error


def part_of(n: int, split: Split) -> Any:
    """Part of each of ``n`` rows or steps in their order, as its place in ``SPLITS``."""
    import numpy as np

    bounds = np.cumsum([1 - split.validation - split.test, split.validation])
    ends = (bounds * n + 1e-9).astype(int)  # the slack is for rounding: 1 - 0.3 - 0.2
    return np.searchsorted(ends, np.arange(n), "right")


def _split_rows(frame: DataFrame, data: Data, seed: int) -> DataFrame:
    import pandas as pd

    # By key in any case: the order of the file is no information.
    ordered = frame.sort_values([*([data.time] if data.time else []), data.key], ignore_index=True)
    if not data.time:
        ordered = ordered.sample(frac=1, random_state=seed, ignore_index=True)
    part = part_of(len(ordered), data.split)
    ordered["split"] = pd.Categorical.from_codes(part, dtype=pd.CategoricalDtype(list(SPLITS)))
    empty = [name for name, rows in ordered.groupby("split", observed=False) if rows.empty]
    if empty:
        raise DataError(f"{len(ordered)} rows are too few: nothing is left for {empty}")
    return ordered


def describe(rows: DataFrame, data: Data) -> dict[str, Any]:
    """Size and span of a part."""
    description: dict[str, Any] = {"rows": len(rows)}
    if data.time:
        description["span"] = [str(day.date()) for day in rows[data.time].agg(["min", "max"])]
    return description


def build_features(
    primary: DataFrame, data: Data, features: Features, targets: dict[str, Any]
) -> DataFrame:
    """Gather what a model may see of each row, with the history of its people.

    Returns:
        Frame indexed by the row key: source columns of the features, history columns
        (``history_*``), ``split``, and one column ``target_*`` per target.

    Raises:
        DataError: rows are known before they are looked up.
    """
    from ratchet.learning.features.history import history_features

    rows = primary.set_index(data.key)
    gathered = rows[[*features.columns, "split"]].assign(
        **{
            f"{TARGET_PREFIX}{target.column}": rows[target.column]
            for target in read_targets(targets).values()
        }
    )
    if features.history is None:
        return gathered
    _check_order(rows, features.history)
    history = history_features(rows, rows, **features.history.model_dump())
    return gathered.join(history.add_prefix(HISTORY_PREFIX))


def _check_order(rows: DataFrame, history: History) -> None:
    """Make sure that no row counts among its own earlier rows, with its target."""
    early = rows[rows[history.available] < rows[history.looked_up]]
    if not early.empty:
        first = ", ".join(
            f"row {key!r}: {known.date()} and {asked.date()}"
            for key, known, asked in early[[history.available, history.looked_up]]
            .head()
            .itertuples()
        )
        raise DataError(
            f"features.history: expected no '{history.available}' (available) before "
            f"'{history.looked_up}' (looked_up), or a row would learn from itself; "
            f"{len(early)} of {len(rows)} rows differ ({first})"
        )


def encode_features(
    features_frame: DataFrame, features: Features, seed: int
) -> tuple[Any, DataFrame, DataFrame, DataFrame]:
    """Turn features into numbers; what the encoder learns, it learns from the training rows.

    Returns:
        The fitted encoder, and train, validation and test: indexed by the row key, columns are
        the encoded features, the terms of a series and the targets.
    """
    from ratchet.learning.features.encoders import feature_encoder

    columns = features_frame.columns
    encoder = feature_encoder(
        numeric=[*features.numeric, *columns[columns.str.startswith(COMPUTED)]],
        **features.model_dump(exclude={"numeric", "history", "windows"}),
        random_state=seed,
    )
    encoder.fit(features_frame[features_frame["split"] == "train"])
    kept = features_frame.loc[:, columns.str.startswith((SERIES_PREFIX, TARGET_PREFIX))]
    encoded = encoder.transform(features_frame).join(kept)
    parts = [encoded[features_frame["split"] == name] for name in SPLITS]
    return encoder, parts[0], parts[1], parts[2]
