"""Which columns are looked at, and how much a model lives on each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ratchet.config import HISTORY_PREFIX, Drift, UseCase, plain


def watched(use_case: UseCase, available: Iterable[str]) -> Drift:
    """The parameters with the columns that are looked at filled in.

    By default these are the features and what windows follow; not the calendar, which is never
    surprised, nor targets that are no inputs.

    Args:
        use_case: the parameters.
        available: columns of the reference.
    """
    drift, features, data = use_case.monitoring.drift, use_case.features, use_case.data
    if drift.columns is not None:
        return drift
    past = list(features.windows.past) if features.windows else []
    there = set(available) - {*data.calendar, data.time}
    columns = [name for name in dict.fromkeys([*features.columns, *past]) if name in there]
    return drift.model_copy(update={"columns": columns})


def importance_of(
    importance: Mapping[str, float],
    columns: Iterable[str],
    made_of: Callable[[str], Collection[str]],
) -> dict[str, float]:
    """Importance of columns, from that of the sources of features.

    Args:
        importance: source -> its importance, as the bundle has it.
        columns: columns that are looked at.
        made_of: all columns that a column is derived from, itself among them.

    Returns:
        Column -> importance of all sources that are made of it.
    """
    sources = {
        plain(source.removeprefix(HISTORY_PREFIX)): max(float(value), 0.0)
        for source, value in importance.items()
    }
    made = {source: set(made_of(source)) for source in sources}
    return {
        name: sum(value for source, value in sources.items() if name in made[source])
        for name in columns
    }
