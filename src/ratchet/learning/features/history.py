"""Statistics of the names of a row, such as its people, from earlier rows only.

A row (a film to come) lists names per entity (its directors, its cast). Events (films already
out) list names too, carry values (a rating, takings) and become available on a date. The
features of a row summarize the events with its names that became available *strictly before* the
row's look-up date. Three rules keep them free of leakage and stable:

* events of one day do not see each other, whatever their order in the table;
* every statistic is an average over the names listed, and zero both for no name and for names
  never seen. How many names a record lists grows with the fame a film gains later: that number
  is no feature, nor is a sum or a maximum over the names, as both grow with it;
* values are expressed as deviations from the prior, the mean of all events before the look-up. What
  is usual drifts over the decades, and models that learn its level go wrong on newer rows.

The shrunken mean is the posterior mean of a normal model whose prior weighs as much as
``shrinkage`` events (Efron & Morris, 1975), also known as target encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def history_features(
    rows: pd.DataFrame,
    events: pd.DataFrame,
    *,
    entities: Sequence[str],
    values: Mapping[str, str | None],
    looked_up: str,
    available: str,
    shrinkage: float = 3.0,
) -> pd.DataFrame:
    """Describe each row by the earlier events of the names it lists.

    A row may itself be among the events: its own values are not available before its look-up
    as long as its ``available`` is not earlier than its ``looked_up``. To describe new rows,
    pass all known events.

    Args:
        rows: ``n`` rows to describe: the ``entities`` and the date ``looked_up``.
        events: What happened: the ``entities``, the ``values`` (missing ones are skipped) and
            the date ``available``; an event without that date is never available.
        entities: Columns whose cells hold a list of names; an empty cell lists none, and a
            name listed twice counts once.
        values: Value column -> ``"log1p"`` to take its logarithm first, or None.
        looked_up: Column of ``rows``: only events available strictly before this date count.
        available: Column of ``events``: when its values become known.
        shrinkage: Weight of the prior in each name's mean, in events; above zero.

    Returns:
        A frame (n, entities x (1 + 3 x values)) of floats without gaps, indexed like ``rows``.
        Per entity ``<entity>_events``: earlier events per name. Per entity and value, as
        deviation from the prior in the value's (transformed) unit: ``<entity>_<value>_mean``,
        the shrunken mean per name; ``_known``, the same per name that was seen before;
        ``_last``, the value of the last day of each name that was seen before.

    Raises:
        KeyError: A column named in the arguments is missing.
        TypeError: A cell of an entity holds something other than a list of names.
        ValueError: A transformation is unknown or impossible, ``shrinkage`` is not above zero,
            a row has no look-up date, or a value is infinite.
    """
    _check(rows, events, [*entities, looked_up], [*entities, *values, available])
    if not shrinkage > 0:
        raise ValueError(f"shrinkage must be above 0, got {shrinkage}")
    events = events[events[available].notna()]
    days = _rank_days(rows[looked_up], events[available])
    transformed = {name: transform(events[name], how) for name, how in values.items()}
    priors = {name: _prior(value, days) for name, value in transformed.items()}
    columns: dict[str, Floats] = {}
    for entity in entities:
        link = _Link(rows[entity], events[entity], days)
        columns[f"{entity}_events"] = link.count()
        for name, value in transformed.items():
            for statistic, column in link.describe(value, priors[name], shrinkage).items():
                columns[f"{entity}_{name}_{statistic}"] = column
    return pd.DataFrame(columns, index=rows.index)


class _Days(NamedTuple):
    """Dates as ranks on one calendar of ``n`` days: look-ups (rows) and availability (events)."""

    looked_up: Ints
    available: Ints
    n: int


class _Totals:
    """Per name and day: statistics of a name once that day is over.

    Keys are ``name * n_days + day``, so that one binary search finds a name's state before a
    day. Totals restart with each name: no rounding error leaks from one name to the next.
    """

    def __init__(self, key: Ints, value: Floats, n_days: int) -> None:
        self.n_days = n_days
        per_day = pd.DataFrame({"sum": value, "count": 1.0}).groupby(key).sum()
        self.key = per_day.index.to_numpy(dtype=np.int64)
        totals = per_day.groupby(self.key // n_days).cumsum()
        self.sum, self.count = totals["sum"].to_numpy(), totals["count"].to_numpy()
        self.last = (per_day["sum"] / per_day["count"]).to_numpy()

    def before(self, key: Ints) -> tuple[Floats, Floats, Floats]:
        """Sum, count and last day's mean of each key's name before its day; 0 if not seen."""
        if not len(self.key):
            return np.zeros(len(key)), np.zeros(len(key)), np.zeros(len(key))
        at = np.maximum(np.searchsorted(self.key, key, side="left") - 1, 0)
        present = (self.key[at] < key) & (self.key[at] // self.n_days == key // self.n_days)
        return self.sum[at] * present, self.count[at] * present, self.last[at] * present


class _Link:
    """The names of rows looked up among the names of events, one entry per row and name."""

    def __init__(self, rows: pd.Series[Any], events: pd.Series[Any], days: _Days) -> None:
        # Events with none of these names add nothing: a single row looks at few.
        wanted = {name for cell in rows for name in _listed(cell, str(rows.name))}
        lists = _all_listed(events)
        place = _listing(lists, wanted)
        cell, name = _pairs([*rows, *(lists[at] for at in place)], str(rows.name))
        of_row = cell < len(rows)
        self.row, self.event = cell[of_row], place[cell[~of_row] - len(rows)]
        self.key = name[of_row] * days.n + days.looked_up[self.row]
        self.event_key = name[~of_row] * days.n + days.available[self.event]
        self.n_rows, self.n_days = len(rows), days.n

    def count(self) -> Floats:
        """Earlier events per name, whether or not their values are known."""
        totals = _Totals(self.event_key, np.ones(len(self.event)), self.n_days)
        return self._average(totals.before(self.key)[1], np.ones(len(self.key), dtype=bool))

    def describe(self, value: Floats, prior: Floats, shrinkage: float) -> dict[str, Floats]:
        """The statistics of one value, as deviations from each row's prior."""
        use = ~np.isnan(value[self.event])
        totals = _Totals(self.event_key[use], value[self.event[use]], self.n_days)
        total, count, last = totals.before(self.key)
        expected, has_events = prior[self.row], count > 0
        excess = (total - count * expected) / (count + shrinkage)
        return {
            "mean": self._average(excess, np.ones(len(has_events), dtype=bool)),
            "known": self._average(excess, has_events),
            "last": self._average(last - expected, has_events),
        }

    def _average(self, what: Floats, among: NDArray[np.bool_]) -> Floats:
        """Mean per row over those of its names, 0 for a row without any."""
        total = np.bincount(self.row[among], weights=what[among], minlength=self.n_rows)
        size = np.bincount(self.row[among], minlength=self.n_rows)
        return np.asarray(total / np.maximum(size, 1), dtype=float)


def _prior(value: Floats, days: _Days) -> Floats:
    """Mean of all values available before each look-up; 0 before the first."""
    use = ~np.isnan(value)
    total, count, _ = _Totals(days.available[use], value[use], days.n).before(days.looked_up)
    return np.asarray(total / np.maximum(count, 1), dtype=float)


def _rank_days(looked_up: pd.Series[Any], available: pd.Series[Any]) -> _Days:
    if looked_up.isna().any():
        first = looked_up.index[looked_up.isna()][0]
        raise ValueError(f"column {looked_up.name!r} has no date in row {first!r}")
    dates = pd.concat([_dates(looked_up), _dates(available)])
    rank, calendar = pd.factorize(dates, sort=True)
    rank = rank.astype(np.int64)
    return _Days(rank[: len(looked_up)], rank[len(looked_up) :], max(len(calendar), 1))


def _dates(values: pd.Series[Any]) -> pd.Series[Any]:
    """Dates; pandas would look through those that are dates already."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values
    return pd.to_datetime(values)


def _pairs(cells: Sequence[Any], column: str) -> tuple[Ints, Ints]:
    """Distinct (cell, name) pairs as the cell's position and the name's code."""
    lists = [_listed(cell, column) for cell in cells]
    position = np.repeat(np.arange(len(lists)), [len(names) for names in lists])
    flat = np.fromiter(chain.from_iterable(lists), dtype=object, count=len(position))
    code, names = pd.factorize(flat)
    listed = code >= 0  # A gap inside a list is no name.
    size = max(len(names), 1)
    pair = pd.unique(position[listed] * size + code[listed])
    return pair // size, pair % size


def _listing(lists: Sequence[Sequence[Any] | NDArray[Any]], wanted: set[Any]) -> Ints:
    """Places of the lists that hold one of the wanted names."""
    sizes = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    names = map(wanted.__contains__, chain.from_iterable(lists))
    is_wanted = np.fromiter(names, dtype=bool, count=int(sizes.sum()))
    return np.unique(np.repeat(np.arange(len(lists)), sizes)[is_wanted])


def _all_listed(cells: pd.Series[Any]) -> list[Sequence[Any] | NDArray[Any]]:
    """What each cell lists; there are many, and few kinds of them."""
    given = cells.tolist()
    if {*map(type, given)} <= {list, tuple, np.ndarray, type(None)}:
        return [() if cell is None else cell for cell in given]
    return [_listed(cell, str(cells.name)) for cell in given]


def _listed(cell: Any, column: str) -> Sequence[Any] | NDArray[Any]:
    if isinstance(cell, list | tuple | np.ndarray):
        return cell
    if cell is None or pd.isna(cell):
        return ()
    raise TypeError(f"column {column!r} must hold lists of names, got {cell!r}")


def transform(values: pd.Series[Any], how: str | None) -> Floats:
    """Numbers of a column, NaN where there is none.

    Args:
        values: the column.
        how: ``"log1p"`` for their logarithm, or None.

    Raises:
        ValueError: the transformation is unknown or impossible, or a number is infinite.
    """
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if how not in (None, "log1p"):
        raise ValueError(f"column {values.name!r}: unknown transformation {how!r}, use log1p")
    if np.isinf(numbers).any():
        raise ValueError(f"column {values.name!r} is infinite in places")
    if how == "log1p" and (numbers <= -1).any():
        raise ValueError(f"column {values.name!r}: log1p needs values above -1")
    return np.log1p(numbers) if how == "log1p" else numbers


def _check(
    rows: pd.DataFrame, events: pd.DataFrame, of_rows: list[str], of_events: list[str]
) -> None:
    for frame, needed, what in ((rows, of_rows, "rows"), (events, of_events, "events")):
        if missing := [name for name in needed if name not in frame]:
            raise KeyError(f"the {what} lack the columns {missing}")
