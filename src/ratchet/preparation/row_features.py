"""Derived columns and features of rows, with the history of their entities."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import (
    COMPUTED,
    HISTORY_PREFIX,
    ONE_WINDOW,
    RESERVED,
    SERIES_PREFIX,
    TARGET_PREFIX,
    Data,
    Derived,
    Evaluation,
    Features,
    History,
    Target,
    apart,
    in_table,
)
from ratchet.dates import utc
from ratchet.errors import ConfigError, DataError
from ratchet.frames import DataFrame, Series
from ratchet.learning.features.encoders import feature_encoder
from ratchet.learning.features.history import history_features
from ratchet.learning.features.series import calendar
from ratchet.preparation.checks import check_numbers, check_training
from ratchet.preparation.raw_schema import check_target
from ratchet.preparation.splits import (
    SPLITS,
    assign_splits,
    check_splits,
    count_not_learned,
    count_truth,
    describe,
    has_truth,
)


def row_features(
    primary: DataFrame,
    data: Data,
    features: Features,
    targets: Mapping[str, Target],
    events: DataFrame | None = None,
) -> DataFrame:
    """Gather what a model may see of each row, with the history of its people.

    Args:
        primary: rows with their derived columns, ordered by time and key.
        data: which column is the key.
        features: the source columns, and what counts as history.
        targets: the columns to predict.
        events: rows whose values count as history, in the same order; the rows themselves by
            default.

    Returns:
        Frame indexed by the row key: source columns of the features, ``split`` where the rows have
        it, one column ``target_*`` per target, and history columns (``history_*``);
        ``series_time`` where folds follow the time.

    Raises:
        ConfigError: a column that is to be a number is none.
        DataError: events are known before they are looked up, or a number cannot be held.
    """
    rows = primary.set_index(data.key).rename_axis(in_table(data.key))
    named = [*features.encoded, *(["split"] if "split" in rows else [])]
    gathered = (
        rows[named]
        .rename(columns=apart)
        .assign(
            **{
                f"{TARGET_PREFIX}{target.column}": rows[target.column]
                for target in targets.values()
            }
        )
    )
    if any(target.follows_time for target in targets.values()):
        gathered[f"{SERIES_PREFIX}time"] = utc(rows[data.time])
    if features.history is None:
        check_numbers(gathered, features)
        return gathered
    events_by_key = rows if events is None else events.set_index(data.key)
    _check_order(events_by_key, features.history)
    history = history_features(rows, events_by_key, **features.history.model_dump())
    gathered = gathered.join(history.add_prefix(HISTORY_PREFIX))
    check_numbers(gathered, features)
    return gathered


def _check_order(rows: DataFrame, history: History) -> None:
    """Make sure that no row counts among its own earlier rows, with its target."""
    early = rows[rows[history.available] < rows[history.looked_up]]
    if not early.empty:
        first = ", ".join(
            f"row {key!r}: {available.date()} and {looked_up.date()}"
            for key, available, looked_up in early[[history.available, history.looked_up]]
            .head()
            .itertuples()
        )
        raise DataError(
            f"features.history: expected no '{history.available}' (available) before "
            f"'{history.looked_up}' (looked_up), or a row would learn from itself; "
            f"{len(early)} of {len(rows)} rows differ ({first})"
        )


def add_columns(rows: DataFrame, data: Data, targets: Mapping[str, Target]) -> DataFrame:
    """Rows with their calendar and derived columns, in which the targets are found right.

    Raises:
        ConfigError: a function that derives a column fails.
        DataError: a target has no value, an unknown class or a number out of bounds.
    """
    primary = derive_columns(rows, data)
    for name, target in targets.items():
        check_target(name, primary[target.column], target)
    return primary


def derive_columns(rows: DataFrame, data: Data, leave: Container[str] = ()) -> DataFrame:
    """Rows with their calendar and derived columns.

    Args:
        rows: typed rows.
        data: what is derived, and by which functions.
        leave: derived columns that are left out.

    Raises:
        ConfigError: a function that derives a column fails.
    """
    if data.calendar and data.time:
        rows = rows.assign(**calendar(rows[data.time], data.calendar))
    primary = rows.copy(deep=False)
    given = _as_text(rows) if data.derive else rows
    for name, derived in data.derive.items():  # one may build on those above it
        if name not in leave:
            primary[name] = given[name] = _derive(name, derived, given)
    return primary


def _as_text(rows: DataFrame) -> DataFrame:
    """Rows with categories, such as names of series, as what they name: functions expect that."""
    kinds = rows.dtypes[rows.dtypes == "category"]
    return rows.astype({name: kind.categories.dtype for name, kind in kinds.items()})


def _derive(name: str, derived: Derived, frame: DataFrame) -> Series:
    try:
        function = resolve_name(derived.function)
        return function(frame, **derived.arguments)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"parameter data.derive.{name}: {derived.function}: {error}") from error


def select_rows(
    typed: DataFrame,
    data: Data,
    targets: Mapping[str, Target],
    seed: int,
    evaluation: Evaluation = ONE_WINDOW,
) -> tuple[DataFrame, dict[str, Any]]:
    """Leave out incomplete rows, derive columns, order the rows and split them once.

    Rows are ordered by time and key and cut into successive train, validation and test; without
    a time column they are drawn at random. Parts are counted over rows with truth; a row without
    the truth of any target is in none, and waits for it.

    Args:
        typed: rows that keep their contract.
        data: required and derived columns, shares of the split.
        targets: the columns to predict.
        seed: seed of the random split.
        evaluation: the windows of the test part.

    Returns:
        The rows with a column ``split``, missing where no target is known; and what was left out
        and why, with the size and span of every part, and of every target how many rows have
        truth; of a target that is learned as a logarithm how many have none above 0.

    Raises:
        DataError: no row is complete, a class is unknown, or a part has too few rows with truth.
    """
    complete = typed.dropna(subset=data.required)
    dropped = {name: int(typed[name].isna().sum()) for name in data.required}
    if complete.empty:
        raise DataError(f"no row has values in all of {data.required}; missing: {dropped}")
    primary = _split_rows(add_columns(complete, data, targets), data, targets, seed, evaluation)
    check_splits(primary, targets)
    selection = {
        "rows": len(typed),
        "kept": len(primary),
        "missing": dropped,
        "parts": {part: describe(rows, data) for part, rows in primary.groupby("split")},
        "truth": count_truth(primary, targets),
        "not_learned": count_not_learned(primary, targets),
    }
    return primary, selection


def _split_rows(
    frame: DataFrame,
    data: Data,
    targets: Mapping[str, Target],
    seed: int,
    evaluation: Evaluation,
) -> DataFrame:
    # By key in any case: the order of the file is no information.
    ordered = frame.sort_values([*([data.time] if data.time else []), data.key], ignore_index=True)
    if not data.time:
        ordered = ordered.sample(frac=1, random_state=seed, ignore_index=True)
    truth = has_truth(ordered, targets).to_numpy()
    if evaluation.step is None:
        parts = assign_splits(truth, data.split)
    else:  # windows have so many different times, and not rows
        codes = ordered[data.time].factorize()[0]
        of_times = pd.DataFrame(truth).groupby(codes).any().to_numpy()
        parts = assign_splits(of_times, data.split, evaluation)[codes]
    if data.time and any(target.follows_time for target in targets.values()):
        # No moment is cut in two: all of its rows are in the part of the first of them.
        parts = pd.Series(parts).groupby(ordered[data.time]).transform("min").to_numpy()
    part = np.where(truth.any(axis=1), parts, -1)
    if evaluation.delay and data.time:
        part[_truth_comes_late(ordered[data.time], part, evaluation.delay)] = -1
    ordered["split"] = pd.Categorical.from_codes(part, dtype=pd.CategoricalDtype(list(SPLITS)))
    return ordered


def _truth_comes_late(times: Series, part: Any, delay: str) -> Any:
    """Rows whose truth was not known yet when the first row of the next part came."""
    late = np.zeros(len(times), dtype=bool)
    for place in range(1, len(SPLITS)):
        first = times[part == place].min()
        late |= ((part == place - 1) & (times + pd.Timedelta(delay) >= first)).to_numpy()
    return late


_MARKET_NAMES = ("merchant", "product", "price", "time")


def _market(features: Features) -> dict[str, object] | None:
    """Columns of the market as the model input calls them."""
    if features.market is None:
        return None
    market = features.market.model_dump()
    names = {name: market[name] and apart(market[name]) for name in _MARKET_NAMES}
    return market | names | {"covariates": [apart(name) for name in market["covariates"]]}


def encode_features(
    features_frame: DataFrame,
    features: Features,
    seed: int,
    targets: Mapping[str, Target] | None = None,
) -> tuple[Any, DataFrame, DataFrame, DataFrame]:
    """Turn features into numbers; what the encoder learns, it learns from the training rows.

    Returns:
        The fitted encoder, and train, validation and test: indexed by the row key, columns are
        the encoded features, the terms of a series and the targets.

    Raises:
        DataError: there is too little to learn ``targets`` from; whatever the family of models.
    """
    if targets is not None:
        check_training(features_frame, features, targets)
    columns = features_frame.columns
    encoder = feature_encoder(
        numeric=[*map(apart, features.numeric), *columns[columns.str.startswith(COMPUTED)]],
        cyclic={apart(name): period for name, period in features.cyclic.items()},
        categorical=[apart(name) for name in features.categorical],
        lists=[apart(name) for name in features.lists],
        text=[apart(name) for name in features.text],
        min_count=features.min_count,
        text_components=features.text_components,
        random_state=seed,
        market=_market(features),
        reserved=RESERVED,
    )
    passed_on = columns[columns.str.startswith((SERIES_PREFIX, TARGET_PREFIX))]
    parts: list[DataFrame] = []
    for name in SPLITS:
        rows = _rows_of_part(features_frame, name)
        encoded = encoder.transform(rows) if parts else encoder.fit_transform(rows)
        parts.append(pd.concat([encoded, rows[passed_on]], axis=1))
    return encoder, parts[0], parts[1], parts[2]


def _rows_of_part(frame: DataFrame, part: str) -> DataFrame:
    """Rows of a part; those that stand one after another, as they do in time, are not copied."""
    chosen = (frame["split"] == part).to_numpy()
    places = np.flatnonzero(chosen)
    if not len(places) or places[-1] - places[0] + 1 != len(places):
        return frame[chosen]
    return frame.iloc[places[0] : places[-1] + 1]
