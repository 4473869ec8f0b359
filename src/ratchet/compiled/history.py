"""What is known of the names of a row, looked up in sorted arrays.

``learning.features.history`` describes many rows by many events; here the events are summed up
once, so that a row takes a few binary searches. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ratchet.compiled.store import NotCompilable, program

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.params import History as Parameters

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

STATISTICS = ("mean", "known", "last")


class _Found(NamedTuple):
    """What is known of names before a day: of each value a sum, a count and the last day's mean.

    Arrays of shape (names,) and (values, names).
    """

    events: Floats
    sums: Floats
    counts: Floats
    last: Floats


@program
@dataclass(frozen=True)
class Names:
    """What events told of the names of one entity, a row per name and day with an event.

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
    events: npt.NDArray[np.int32]
    sums: Floats
    counts: npt.NDArray[np.int32]
    last: Floats

    def places(self, names: Hashes) -> Ints:
        """Place of each name; -1 where nothing is known of it."""
        if not len(self.hashes):
            return np.full(len(names), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.hashes, names), len(self.hashes) - 1)
        return np.where(self.hashes[at] == names, at, -1)

    def before(self, places: Ints, days: Ints) -> _Found:
        """What is known of names before days, each of shape (names,)."""
        if not len(self.keys):
            nothing = np.zeros((len(self.sums), len(places)))
            return _Found(np.zeros(len(places)), nothing, nothing, nothing)
        at = np.maximum(np.searchsorted(self.keys, places * self.n_days + days) - 1, 0)
        seen = (self.keys[at] // self.n_days == places) & (self.keys[at] % self.n_days < days)
        return _Found(
            self.events[at] * seen,
            self.sums[:, at] * seen,
            self.counts[:, at] * seen,
            self.last[:, at] * seen,
        )

    def without(self, place: int, day: int, own: int, values: Floats) -> _Found:
        """What is known of a name before a day, without an event of a day before it.

        Args:
            place: place of the name.
            day: the day.
            own: day of the event.
            values: of the event, NaN where it has none, shape (values,).
        """
        first, end = np.searchsorted(self.keys, [place * self.n_days, place * self.n_days + day])
        days = self.keys[first:end] % self.n_days
        has, at = ~np.isnan(values), days == own
        counts = np.diff(self.counts[:, first:end], prepend=0) - np.outer(has, at)
        sums = np.diff(self.sums[:, first:end], prepend=0)
        sums = sums - np.outer(np.where(has, values, 0), at)
        known = np.where(counts > 0, np.arange(len(days)), -1).max(axis=1, initial=-1)
        rows = np.arange(len(values))
        last = np.where(known < 0, 0, sums[rows, known] / np.maximum(counts[rows, known], 1))
        events = float(self.events[end - 1] - 1)
        total = np.where(counts > 0, sums, 0).sum(axis=1)
        return _Found(
            np.array([events]), total[:, None], counts.sum(axis=1)[:, None], last[:, None]
        )


@program
@dataclass(frozen=True)
class Events:
    """The events one by one: a row that is an event itself is described without it.

    Attributes:
        hashes: of the keys, in order, shape (n,).
        days: when each is known, shape (n,).
        values: shape (values, n).
        names: entity -> places of the names of all events, one event after the other.
        starts: entity -> where those of each event start, shape (n + 1,).
    """

    hashes: Hashes
    days: npt.NDArray[np.int32]
    values: Floats
    names: dict[str, npt.NDArray[np.int32]]
    starts: dict[str, npt.NDArray[np.int32]]

    def find(self, key: Any) -> int | None:
        """Number of the event with a key."""
        if not len(self.hashes):
            return None
        found = hash_of(str(key))
        at = int(np.searchsorted(self.hashes, found))
        return at if at < len(self.hashes) and self.hashes[at] == found else None


@program
@dataclass(frozen=True)
class History:
    """What earlier rows tell about the names that a row lists.

    Attributes:
        entities: columns that list names -> what is known of them.
        values: names of the values.
        looked_up: column with the date before which an event has to be known.
        shrinkage: weight of the prior, in events.
        calendar: moments at which events became known, microseconds since 1970 in UTC or of the
            clock, shape (days,).
        sums: sum of each value up to each of them, shape (values, days).
        counts: how many events had it, shape (values, days).
        events: the events themselves.
    """

    entities: dict[str, Names]
    values: list[str]
    looked_up: str
    shrinkage: float
    calendar: Ints
    sums: Floats
    counts: Ints
    events: Events

    @cached_property
    def names(self) -> list[str]:
        """Names of the columns that come out."""
        return list(_column_names(self.entities, self.values))

    def __call__(
        self, lists: Mapping[str, Sequence[Sequence[str] | None]], asked: Ints, keys: Sequence[Any]
    ) -> Floats:
        """Describe rows.

        Args:
            lists: entity -> the names that each of ``n`` rows lists.
            asked: when each row looks, as in ``calendar``, shape (n,).
            keys: of the rows.

        Returns:
            Shape (n, names).
        """
        days = np.searchsorted(self.calendar, asked)
        own = self._own(keys, days)
        prior = self._prior(days, own)
        described = [
            self._describe(entity, lists[entity], days, prior, own) for entity in self.entities
        ]
        return np.concatenate(described, axis=1)

    def _own(self, keys: Sequence[Any], days: Ints) -> dict[int, int]:
        """Row -> the event that it is itself, where it would see that one."""
        found = ((row, self.events.find(key)) for row, key in enumerate(keys))
        return {
            row: event
            for row, event in found
            if event is not None and self.events.days[event] < days[row]
        }

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
        entity: str,
        lists: Sequence[Sequence[str] | None],
        days: Ints,
        prior: Floats,
        own: Mapping[int, int],
    ) -> Floats:
        """The columns of an entity, shape (n, 1 + 3 values)."""
        names = self.entities[entity]
        distinct = [dict.fromkeys(cell or ()) for cell in lists]
        row = np.repeat(np.arange(len(lists)), [len(cell) for cell in distinct])
        hashes = np.array([hash_of(name) for name in chain.from_iterable(distinct)], np.uint64)
        places = names.places(hashes)
        found = names.before(places, days[row])
        for number in np.flatnonzero(np.isin(row, list(own))) if own else ():
            self._leave_out(
                found, entity, int(number), places, int(days[row[number]]), own[row[number]]
            )
        known = found.counts > 0
        expected = prior[:, row]
        excess = (found.sums - found.counts * expected) / (found.counts + self.shrinkage)
        listed = np.maximum(np.bincount(row, minlength=len(lists)), 1)
        columns = [np.bincount(row, found.events, len(lists)) / listed]
        for one, other, is_known in zip(excess, found.last - expected, known, strict=True):
            size = np.maximum(np.bincount(row, is_known, len(lists)), 1)
            columns += [
                np.bincount(row, one, len(lists)) / listed,
                np.bincount(row, one * is_known, len(lists)) / size,
                np.bincount(row, other * is_known, len(lists)) / size,
            ]
        return np.stack(columns, axis=1)

    def _leave_out(
        self, found: _Found, entity: str, number: int, places: Ints, day: int, event: int
    ) -> None:
        """Describe a name without an event that lists it."""
        start, end = self.events.starts[entity][event : event + 2]
        place = int(places[number])
        if place not in self.events.names[entity][start:end]:
            return
        without = self.entities[entity].without(
            place, day, int(self.events.days[event]), self.events.values[:, event]
        )
        for array, value in zip(found, without, strict=True):
            array[..., number] = value[..., 0]


def hash_of(text: str) -> int:
    """64 bits of a name: of a million names two are alike once in 40 million times."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _column_names(entities: Mapping[str, Any], values: Sequence[str]) -> Iterator[str]:
    for entity in entities:
        yield f"{entity}_events"
        for value in values:
            yield from (f"{entity}_{value}_{statistic}" for statistic in STATISTICS)


def compile_history(events: pd.DataFrame, parameters: Parameters, key: str) -> History:
    """Sum up events.

    Args:
        events: rows whose values count, with their derived columns.
        parameters: what counts as history.
        key: column that identifies a row.

    Raises:
        NotCompilable: two names cannot be told apart.
    """
    from ratchet.learning.features.history import transform

    events = events[events[parameters.available].notna()]
    moments = microseconds(events[parameters.available])
    calendar, days = np.unique(moments, return_inverse=True)
    columns = [transform(events[name], how) for name, how in parameters.values.items()]
    values = np.array(columns, dtype=np.float64).reshape(len(columns), len(events))
    summed = _cumulated(days, values)
    own = _hashes([str(value) for value in events[key]], key)
    order = np.argsort(own)
    entities, names, starts = {}, {}, {}
    for entity in parameters.entities:
        event, place, hashes = _pairs(events[entity].tolist(), entity)
        entities[entity] = _sum_up(hashes, place, event, days, values, len(calendar) + 1)
        rank = np.argsort(order)[event]
        by_event = np.argsort(rank, kind="stable")
        names[entity] = place[by_event].astype(np.int32)
        bounds = np.searchsorted(rank[by_event], np.arange(len(events) + 1))
        starts[entity] = bounds.astype(np.int32)
    found = Events(own[order], days[order].astype(np.int32), values[:, order], names, starts)
    return History(
        entities=entities,
        values=list(parameters.values),
        looked_up=parameters.looked_up,
        shrinkage=float(parameters.shrinkage),
        calendar=calendar,
        sums=summed[0],
        counts=summed[1].astype(np.int64),
        events=found,
    )


def microseconds(times: pd.Series) -> Ints:
    """Moments as microseconds since 1970: in UTC, or of the clock where there is no time zone."""
    from ratchet.dates import utc

    return np.asarray(utc(times).to_numpy(), dtype="datetime64[us]").astype(np.int64)


def _pairs(cells: list[Any], entity: str) -> tuple[Ints, Ints, Hashes]:
    """Each event and the place of each name that it lists, and the hashes of the names."""
    import pandas as pd

    lists = [() if isinstance(cell, float) or cell is None else cell for cell in cells]
    event = np.repeat(np.arange(len(lists)), [len(cell) for cell in lists])
    flat = np.fromiter(chain.from_iterable(lists), dtype=object, count=len(event))
    code, distinct = pd.factorize(flat)
    hashes = _hashes([str(name) for name in distinct], entity)
    order = np.argsort(hashes)
    listed = code >= 0
    size = max(len(distinct), 1)
    pair = pd.unique(event[listed] * size + np.argsort(order)[code[listed]])
    return pair // size, pair % size, hashes[order]


def _hashes(texts: list[str], column: str) -> Hashes:
    hashes = np.array([hash_of(text) for text in texts], dtype=np.uint64)
    if len(np.unique(hashes)) != len(set(texts)):
        raise NotCompilable(f"column '{column}': two names have one hash")
    return hashes


def _cumulated(days: Ints, values: Floats) -> tuple[Floats, Floats]:
    """Sums and counts of values up to each day, shape (values, days) each."""
    import pandas as pd

    table = pd.DataFrame(values.T).groupby(days)
    return table.sum().cumsum().to_numpy().T, table.count().cumsum().to_numpy().T


def _sum_up(
    hashes: Hashes, place: Ints, event: Ints, days: Ints, values: Floats, n_days: int
) -> Names:
    import pandas as pd

    key = place * n_days + days[event]
    table = pd.DataFrame(values[:, event].T)
    per_day = table.groupby(key)
    size, sums, counts = per_day.size(), per_day.sum(), per_day.count()
    name = sums.index.to_numpy() // n_days
    last = (sums / counts).groupby(name).ffill().fillna(0)
    return Names(
        hashes=hashes,
        keys=sums.index.to_numpy(dtype=np.int64),
        n_days=n_days,
        events=np.asarray(size.groupby(name).cumsum(), dtype=np.int32),
        sums=np.ascontiguousarray(sums.groupby(name).cumsum().to_numpy().T),
        counts=np.ascontiguousarray(counts.groupby(name).cumsum().to_numpy(dtype=np.int32).T),
        last=np.ascontiguousarray(last.to_numpy().T),
    )
