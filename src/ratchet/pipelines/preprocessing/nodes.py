"""Nodes of data preparation."""

from __future__ import annotations

from typing import Any

from ratchet.config import (
    COMPUTED,
    HISTORY_PREFIX,
    RESERVED,
    SERIES_PREFIX,
    TARGET_PREFIX,
    Data,
    Features,
    Target,
    apart,
    read_targets,
)
from ratchet.errors import DataError
from ratchet.frames import DataFrame
from ratchet.preparation import (
    SPLITS,
    add_columns,
    assign_splits,
    check_market,
    check_splits,
    check_training,
    count_not_learned,
    count_truth,
    has_truth,
    row_features,
)

__all__ = [
    "HISTORY_PREFIX",
    "SPLITS",
    "build_features",
    "describe",
    "encode_features",
    "select_rows",
]


_MARKET_NAMES = ("merchant", "product", "price", "time")


def select_rows(
    typed: DataFrame, data: Data, targets: dict[str, Any], seed: int
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
    known = read_targets(targets)
    primary = _split_rows(add_columns(complete, data, targets), data, known, seed)
    check_splits(primary, known)
    selection = {
        "rows": len(typed),
        "kept": len(primary),
        "missing": dropped,
        "parts": {part: describe(rows, data) for part, rows in primary.groupby("split")},
        "truth": count_truth(primary, known),
        "not_learned": count_not_learned(primary, known),
    }
    return primary, selection


def _split_rows(frame: DataFrame, data: Data, targets: dict[str, Target], seed: int) -> DataFrame:
    import numpy as np
    import pandas as pd

    # By key in any case: the order of the file is no information.
    ordered = frame.sort_values([*([data.time] if data.time else []), data.key], ignore_index=True)
    if not data.time:
        ordered = ordered.sample(frac=1, random_state=seed, ignore_index=True)
    truth = has_truth(ordered, targets).to_numpy()
    places = assign_splits(truth, data.split)
    if data.time and any(target.follows_time for target in targets.values()):
        # No moment is cut in two: all of its rows are in the part of the first of them.
        places = pd.Series(places).groupby(ordered[data.time]).transform("min").to_numpy()
    part = np.where(truth.any(axis=1), places, -1)
    ordered["split"] = pd.Categorical.from_codes(part, dtype=pd.CategoricalDtype(list(SPLITS)))
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
    """
    if features.market is not None:
        check_market(primary, features.market)
    return row_features(primary, data, features, targets)


def _market(features: Features) -> dict[str, Any] | None:
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
    targets: dict[str, Any] | None = None,
) -> tuple[Any, DataFrame, DataFrame, DataFrame]:
    """Turn features into numbers; what the encoder learns, it learns from the training rows.

    Returns:
        The fitted encoder, and train, validation and test: indexed by the row key, columns are
        the encoded features, the terms of a series and the targets.

    Raises:
        DataError: there is too little to learn ``targets`` from; whatever the family of models.
    """
    from ratchet.learning.features.encoders import feature_encoder

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
    encoder.fit(features_frame[features_frame["split"] == "train"])
    kept = features_frame.loc[:, columns.str.startswith((SERIES_PREFIX, TARGET_PREFIX))]
    encoded = encoder.transform(features_frame).join(kept)
    parts = [encoded[features_frame["split"] == name] for name in SPLITS]
    return encoder, parts[0], parts[1], parts[2]
