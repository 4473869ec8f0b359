"""Which source every column of the model input comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ratchet.config import (
    AHEAD_PREFIX,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    SERIES_PREFIX,
    WINDOW_PREFIX,
    Features,
    Target,
    apart,
)

_STEP = re.compile(r"_\d+$")


def columns_by_source(
    columns: Sequence[str], made_of: Mapping[str, str], features: Features, target: Target
) -> dict[str, list[str]]:
    """Columns of each source, for an importance that shuffles them together.

    All that was computed from earlier values of the target counts as one source, called like the
    target; so does every other column that a window follows, with its calendar or known values.

    Args:
        columns: columns that a model sees.
        made_of: column -> the column of the features that it was encoded from.
        features: what those were made of.
        target: what is predicted.

    Returns:
        Source, as ``config.names.apart`` calls it -> its columns. Columns that scale a series are
        no source.
    """
    groups: dict[str, list[str]] = {}
    for column in columns:
        if not column.startswith(SERIES_PREFIX):
            source = _source(made_of.get(column, column), features, target)
            groups.setdefault(source, []).append(column)
    return groups


def _source(column: str, features: Features, target: Target) -> str:
    """Source of a column of the features; a column of no other source is its own source."""
    if column.startswith((*LAG_PREFIXES, NAIVE_PREFIX)):
        return apart(target.column)
    entities = features.history.entities if features.history else []
    past = [*features.windows.past, target.column] if features.windows else []
    for prefix, sources in (
        (WINDOW_PREFIX, past),
        (AHEAD_PREFIX, [*features.columns, *past]),
        (HISTORY_PREFIX, entities),
    ):
        if column.startswith(prefix):
            rest = _STEP.sub("", column.removeprefix(prefix))
            source = _longest(rest, sources)
            if source is not None:
                return f"{prefix}{source}" if prefix == HISTORY_PREFIX else apart(source)
    return column


def _longest(name: str, sources: Sequence[str]) -> str | None:
    """The longest source that a name is, or starts with before a ``_``."""
    fitting = [s for s in sources if name == s or name.startswith(f"{s}_")]
    return max(fitting, key=len, default=None)
