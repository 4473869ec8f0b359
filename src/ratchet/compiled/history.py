"""Statistics of the names of a row, looked up in sorted arrays.

``learning.features.history`` describes many rows by many events; here the events are summed up
once, so that a row takes a few binary searches. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ratchet.compiled.serialization import NotCompilable, narrow, program

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.config import History as Parameters

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.signedinteger[Any]]
Hashes = npt.NDArray[np.uint64]

STATISTICS = ("mean", "known", "last")


class _Totals(NamedTuple):
    """Statistics of names before a day: of each value a sum, a count and the last day's mean.

    Arrays of shape (names,) and (values, names).
    """

    events: Floats
    sums: Floats
    counts: Floats
    last: Floats


@program
@dataclass(frozen=True)
class EntityStatistics:
    """Statistics of names from events, a row per name and day with an event.

    Attributes:
        hashes: of the names, in order, shape (m,).
        keys: place of the name among ``hashes`` times ``n_days``, plus the day, in order (k,).
        n_days: days of the calendar, and one more.
        events: events of the name up to that day, shape (k,).
        sums: of each value, shape (values, k).
        counts: how many events have the value, shape (values, k).
        last: mean of the value on the last day that had one, shape (values, k).
    """

    hashes: Hashes
    keys: Ints
    n_days: int
    events: Counts
    sums: Floats
    counts: Counts
    last: Floats

    def before(self, positions: Ints, days: Ints) -> _Totals:
        """Statistics of names before days, each of shape (names,)."""
        if not len(self.keys):
            nothing = np.zeros((len(self.sums), len(positions)))
            return _Totals(np.zeros(len(positions)), nothing, nothing, nothing)
        at = np.maximum(np.searchsorted(self.keys, positions * self.n_days + days) - 1, 0)
        earlier = (self.keys[at] // self.n_days == positions) & (self.keys[at] % self.n_days < days)
        return _Totals(
            self.events[at] * earlier,
            self.sums[:, at] * earlier,
            self.counts[:, at] * earlier,
            self.last[:, at] * earlier,
        )

    def without(self, position: int, day: int, own: int, values: Floats) -> _Totals:
        """Statistics of a name before a day, without an event of a day before it.

        Args:
            position: that of the name.
            day: the day.
            own: day of the event.
            values: of the event, NaN where it has none, shape (values,).
        """
        first, end = np.searchsorted(
            self.keys, [position * self.n_days, position * self.n_days + day]
        )
        days = self.keys[first:end] % self.n_days
        has, at = ~np.isnan(values), days == own
        counts = np.diff(self.counts[:, first:end], prepend=0) - np.outer(has, at)
        sums = np.diff(self.sums[:, first:end], prepend=0)
        sums = sums - np.outer(np.where(has, values, 0), at)
        newest = np.where(counts > 0, np.arange(len(days)), -1).max(axis=1, initial=-1)
        rows = np.arange(len(values))
        last = np.where(newest < 0, 0, sums[rows, newest] / np.maximum(counts[rows, newest], 1))
        events = float(self.events[end - 1] - 1)
        total = np.where(counts > 0, sums, 0).sum(axis=1)
        return _Totals(
            np.array([events]), total[:, None], counts.sum(axis=1)[:, None], last[:, None]
        )


@program
@dataclass(frozen=True)
class EntityEvents:
    """The events one by one: a row that is an event itself is described without it.

    Attributes:
        hashes: of the keys, in order, shape (n,).
        days: when each is known, shape (n,).
        values: shape (values, n).
        names: places of the names of all events, one event after the other.
        starts: where those of each event start, shape (n + 1,).
    """

    hashes: Hashes
    days: npt.NDArray[np.int32]
    values: Floats
    names: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]

    def find(self, keys: Sequence[Any]) -> Ints:
        """Number of the event with each key; -1 where there is none."""
        return _find(self.hashes, hashes_of(map(str, keys)))


@program
@dataclass(frozen=True)
class History:
    """Statistics from earlier rows of the names that a row lists.

    Attributes:
        entities: columns that list names.
        values: names of the values.
        looked_up: column with the date before which an event has to be known.
        shrinkage: weight of the prior, in events.
        names: statistics of the names of all entities.
        calendar: moments at which events became known, microseconds since 1970 in UTC or of the
            clock, shape (days,).
        sums: sum of each value up to each of them, shape (values, days).
        counts: how many events had it, shape (values, days).
        events: the events themselves.
    """

    entities: list[str]
    values: list[str]
    looked_up: str
    shrinkage: float
    names: EntityStatistics
    calendar: Ints
    sums: Floats
    counts: Ints
    events: EntityEvents

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns that come out."""
        return [
            f"{entity}_{column}"
            for entity in self.entities
            for column in ["events", *(f"{v}_{s}" for v in self.values for s in STATISTICS)]
        ]

    def __call__(
        self, lists: Sequence[Sequence[Sequence[str] | None]], moments: Ints, keys: Sequence[Any]
    ) -> Floats:
        """Describe rows.

        Args:
            lists: of each entity the names that each of ``n`` rows lists.
            moments: when each row looks, as in ``calendar``, shape (n,).
            keys: of the rows.

        Returns:
            Shape (n, columns).
        """
        days = np.searchsorted(self.calendar, moments)
        event = self.events.find(keys)
        own = {row: int(event[row]) for row in np.flatnonzero(event >= 0).tolist()}
        own = {row: one for row, one in own.items() if self.events.days[one] < days[row]}
        prior = self._prior(days, own)
        return self._describe(lists, days, prior, own)

    def _prior(self, days: Ints, own: Mapping[int, int]) -> Floats:
        """Mean of all values known before each look-up, shape (values, n); 0 before the first."""
        if not len(self.calendar):
            return np.zeros((len(self.values), len(days)))
        at = np.maximum(days - 1, 0)
        sums, counts = self.sums[:, at] * (days > 0), self.counts[:, at] * (days > 0)
        for row, event in own.items():
            value = self.events.values[:, event]
            counts[:, row] -= ~np.isnan(value)
            sums[:, row] -= np.nan_to_num(value)
        return np.where(counts > 0, sums, 0) / np.maximum(counts, 1)

    def _describe(
        self,
        lists: Sequence[Sequence[Sequence[str] | None]],
        days: Ints,
        prior: Floats,
        own: Mapping[int, int],
    ) -> Floats:
        # A cell is what a row lists of one entity; they are numbered by row, then by entity.
        n, size = len(days), len(self.entities)
        distinct = [dict.fromkeys(lists[e][row] or ()) for row in range(n) for e in range(size)]
        cell = np.repeat(np.arange(n * size), [len(names) for names in distinct])
        texts = (f"{number % size}:{name}" for number, d in enumerate(distinct) for name in d)
        positions, row = _find(self.names.hashes, hashes_of(texts)), cell // size
        totals = self.names.before(positions, days[row])
        for number in np.flatnonzero(np.isin(row, list(own))).tolist() if own else ():
            one = int(row[number])
            self._leave_out(totals, number, int(positions[number]), int(days[one]), own[one])
        has_values = totals.counts > 0
        expected = prior[:, row]
        excess = (totals.sums - totals.counts * expected) / (totals.counts + self.shrinkage)
        columns = [totals.events]
        for one, other, is_known in zip(excess, totals.last - expected, has_values, strict=True):
            columns += [one, one * is_known, other * is_known, is_known]
        summed = np.array([np.bincount(cell, column, n * size) for column in columns])
        listed = np.maximum(np.bincount(cell, minlength=n * size), 1)
        return self._averages(summed, listed).reshape(n, -1)

    def _averages(self, summed: Floats, listed: Ints) -> Floats:
        """Means over names of every cell, shape (cells, 1 + 3 values)."""
        means = np.empty((len(listed), 1 + 3 * len(self.values)))
        means[:, 0] = summed[0] / listed
        if len(self.values):
            excess, weighted, last, n_known = (summed[start::4] for start in (1, 2, 3, 4))
            size = np.maximum(n_known, 1)
            means[:, 1::3] = (excess / listed).T
            means[:, 2::3] = (weighted / size).T
            means[:, 3::3] = (last / size).T
        return means

    def _leave_out(self, totals: _Totals, number: int, position: int, day: int, event: int) -> None:
        """Describe a name without an event that lists it."""
        start, end = self.events.starts[event : event + 2]
        if position not in self.events.names[start:end]:
            return
        own = int(self.events.days[event])
        without = self.names.without(position, day, own, self.events.values[:, event])
        for array, value in zip(totals, without, strict=True):
            array[..., number] = value[..., 0]


def hashes_of(texts: Iterable[str]) -> Hashes:
    """64 bits of each text: of a million texts two are alike once in 40 million times."""
    digests = [md5(text.encode(), usedforsecurity=False).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8")[::2].astype(np.uint64)


def _find(hashes: Hashes, requested: Hashes) -> Ints:
    """Place of each among hashes in order; -1 where it is not."""
    if not len(hashes):
        return np.full(len(requested), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(hashes, requested), len(hashes) - 1)
    return np.where(hashes[at] == requested, at, -1)


def compile_history(events: pd.DataFrame, parameters: Parameters, key: str) -> History:
    """Sum up events.

    Args:
        events: rows whose values count, with their derived columns.
        parameters: what counts as history.
        key: column that identifies a row.

    Raises:
        NotCompilable: two names cannot be distinguished.
    """
    from ratchet.learning.features.history import transform

    events = events[events[parameters.available].notna()]
    moments = microseconds(events[parameters.available])
    calendar, days = np.unique(moments, return_inverse=True)
    columns = [transform(events[name], how) for name, how in parameters.values.items()]
    values = np.array(columns, dtype=np.float64).reshape(len(columns), len(events))
    sums, counts = _cumulated(days, values)
    own = _distinct_hashes([str(value) for value in events[key]])
    order = np.argsort(own)
    days, values = days[order], values[:, order]
    lists = [events[entity].to_numpy()[order].tolist() for entity in parameters.entities]
    event, position, hashes = _pairs(lists)
    starts = np.searchsorted(event, np.arange(len(events) + 1))
    return History(
        entities=list(parameters.entities),
        values=list(parameters.values),
        looked_up=parameters.looked_up,
        shrinkage=float(parameters.shrinkage),
        names=_sum_up(hashes, position, days[event], values[:, event], len(calendar) + 1),
        calendar=calendar,
        sums=sums,
        counts=counts.astype(np.int64),
        events=EntityEvents(
            hashes=own[order],
            days=days.astype(np.int32),
            values=values,
            names=position.astype(np.int32),
            starts=starts.astype(np.int32),
        ),
    )


def microseconds(times: pd.Series) -> Ints:
    """Moments as microseconds since 1970: in UTC, or of the clock where there is no time zone."""
    from ratchet.dates import utc

    return np.asarray(utc(times).to_numpy(), dtype="datetime64[us]").astype(np.int64)


def _pairs(lists: Sequence[Sequence[Any]]) -> tuple[Ints, Ints, Hashes]:
    """Each event and the place of each name that it lists, by event; and hashes of the names."""
    import pandas as pd

    event, texts = [], []
    for entity, cells in enumerate(lists):
        for number, cell in enumerate(cells):
            names = () if cell is None or isinstance(cell, float) else cell
            labels = [f"{entity}:{name}" for name in names if name is not None]
            texts += labels
            event += [number] * len(labels)
    code, distinct = pd.factorize(np.array(texts, dtype=object))
    hashes = _distinct_hashes([str(text) for text in distinct])
    order = np.argsort(hashes)
    size = max(len(distinct), 1)
    pair = np.unique(np.array(event, dtype=np.int64) * size + np.argsort(order)[code])
    return pair // size, pair % size, hashes[order]


def _distinct_hashes(texts: list[str]) -> Hashes:
    hashes = hashes_of(texts)
    if len(np.unique(hashes)) != len(set(texts)):
        raise NotCompilable("two names of the history have one hash")
    return hashes


def _cumulated(days: Ints, values: Floats) -> tuple[Floats, Floats]:
    """Sums and counts of values up to each day, shape (values, days) each."""
    import pandas as pd

    table = pd.DataFrame(values.T).groupby(days)
    return table.sum().cumsum().to_numpy().T, table.count().cumsum().to_numpy().T


def _sum_up(
    hashes: Hashes, position: Ints, days: Ints, values: Floats, n_days: int
) -> EntityStatistics:
    import pandas as pd

    per_day = pd.DataFrame(values.T).groupby(position * n_days + days)
    size, sums, counts = per_day.size(), per_day.sum(), per_day.count()
    name = sums.index.to_numpy() // n_days
    last = (sums / counts).groupby(name).ffill().fillna(0)
    return EntityStatistics(
        hashes=hashes,
        keys=sums.index.to_numpy(dtype=np.int64),
        n_days=n_days,
        events=narrow(size.groupby(name).cumsum().to_numpy()),
        sums=np.ascontiguousarray(sums.groupby(name).cumsum().to_numpy().T),
        counts=narrow(np.ascontiguousarray(counts.groupby(name).cumsum().to_numpy().T)),
        last=np.ascontiguousarray(last.to_numpy().T),
    )
