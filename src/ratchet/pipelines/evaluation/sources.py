"""Which source every column of the model input comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ratchet.params import (
    AHEAD_PREFIX,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    SERIES_PREFIX,
    WINDOW_PREFIX,
    Features,
    Target,
)

_STEP = re.compile(r"_\d+$")


def by_source(columns: Sequence[str], features: Features, target: Target) -> dict[str, list[str]]:
    """Columns of each source, for an importance that shuffles them together.

    All that was computed from earlier values of the target counts as one source, called like the
    target; so does every other column that a window follows, with its calendar or known values.

    Args:
        columns: columns that a model sees.
        features: what they were made of.
        target: what is predicted.

    Returns:
        Source -> its columns. The terms in which a series is told are no source.
    """
    from ratchet.learning.importance import group_by_source

    entities = features.history.entities if features.history else []
    past = list(features.windows.past) if features.windows else []
    sources = [*features.columns, *past, *(f"{HISTORY_PREFIX}{entity}" for entity in entities)]
    plain = {column: _plain(column, target) for column in columns}
    kept = [column for column in columns if not column.startswith(SERIES_PREFIX)]
    groups = group_by_source(list(dict.fromkeys(plain[column] for column in kept)), sources)
    return {
        source: [column for column in kept if plain[column] in names]
        for source, names in groups.items()
    }


def _plain(column: str, target: Target) -> str:
    """A column without what says at which step it was seen."""
    if column.startswith((*LAG_PREFIXES, NAIVE_PREFIX)):
        return target.column
    for prefix in (WINDOW_PREFIX, AHEAD_PREFIX):
        if column.startswith(prefix):
            return _STEP.sub("", column.removeprefix(prefix))
    return column
