"""Features of rows that stand for themselves, with the history of their people."""

from __future__ import annotations

from typing import Any

from ratchet.config import (
    HISTORY_PREFIX,
    SERIES_PREFIX,
    TARGET_PREFIX,
    Data,
    Features,
    History,
    apart,
    in_table,
    read_targets,
)
from ratchet.errors import DataError
from ratchet.frames import DataFrame
from ratchet.preparation.checks import check_numbers


def row_features(
    primary: DataFrame,
    data: Data,
    features: Features,
    targets: dict[str, Any],
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
    from ratchet.dates import utc
    from ratchet.learning.features.history import history_features

    rows = primary.set_index(data.key).rename_axis(in_table(data.key))
    named = [*features.encoded, *(["split"] if "split" in rows else [])]
    gathered = (
        rows[named]
        .rename(columns=apart)
        .assign(
            **{
                f"{TARGET_PREFIX}{target.column}": rows[target.column]
                for target in read_targets(targets).values()
            }
        )
    )
    if any(target.follows_time for target in read_targets(targets).values()):
        gathered[f"{SERIES_PREFIX}time"] = utc(rows[data.time])
    if features.history is None:
        check_numbers(gathered, features)
        return gathered
    known = rows if events is None else events.set_index(data.key)
    _check_order(known, features.history)
    history = history_features(rows, known, **features.history.model_dump())
    gathered = gathered.join(history.add_prefix(HISTORY_PREFIX))
    check_numbers(gathered, features)
    return gathered


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
