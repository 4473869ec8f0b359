"""The last steps of series as arrays: their values, and what forecasts see of them.

Everything that does not depend on who asks is computed when a measurement arrives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ratchet.compiled.answers import RequestError
from ratchet.compiled.derived_columns import DerivedColumn, Values, calendar, local_times
from ratchet.compiled.serialization import program
from ratchet.compiled.time_grid import Grid, Moments
from ratchet.learning.holes import Fill, fill_holes

Panel = npt.NDArray[Any]
"""A column of all series, shape (steps, series); NaN, or ``None``, where nothing is known."""


@program
@dataclass(frozen=True)
class PanelColumn:
    """A panel that columns of a forecast look at.

    Attributes:
        column: column of the steps.
        form: the ``value`` itself; ``log1p``, ``change`` or ``log_change``; ``sin`` or ``cos`` of
            its place on a circle; ``mean`` or ``std`` over so many steps.
        length: of the circle, or the steps.
        fill: what holes of the column hold, see ``fill_holes``; ``None`` where they stay.
        limit: steps of a hole up to which it is filled.
        own: whether a step shows nothing where the column has no value of its own.
    """

    column: str
    form: str = "value"
    length: float = 0.0
    fill: Fill | None = None
    limit: int = 0
    own: bool = False

    @property
    def depth(self) -> int:
        """How many steps before its own a value looks."""
        if self.form in ("mean", "std"):
            return int(self.length) - 1 + self.limit
        return int(self.form.endswith("change")) + self.limit

    def of(self, values: Panel) -> Panel:
        """What is shown of steps that follow upon each other; the first ``depth`` do not count."""
        if self.fill is not None:
            shown = replace(self, fill=None, limit=0).of(fill_holes(values, self.fill, self.limit))
            return np.where(np.isfinite(values), shown, np.nan) if self.own else shown
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.form in ("sin", "cos"):
                angle = 2 * np.pi * values / self.length
                projected = np.sin(angle) if self.form == "sin" else np.cos(angle)
                return np.nan_to_num(projected).astype(np.float32).astype(np.float64)
            if self.form in ("mean", "std"):
                return self._rolling(values)
            if self.form == "log1p":
                result = np.log1p(values)
            elif self.form == "change":
                result = values - _before(values)
            elif self.form == "log_change":
                result = np.log(values) - np.log(_before(values))
            else:
                result = values
        return np.where(np.isfinite(result), result, np.nan)

    def _rolling(self, values: Panel) -> Panel:
        result = np.full_like(values, np.nan)
        if len(values) > self.depth:
            windows = np.lib.stride_tricks.sliding_window_view(values, self.depth + 1, axis=0)
            measure = np.mean if self.form == "mean" else np.std
            result[self.depth :] = measure(windows, axis=-1)
        return result


def _before(values: Panel) -> Panel:
    return np.concatenate([np.full_like(values[:1], np.nan), values[:-1]])


@dataclass(frozen=True)
class SeriesRow:
    """A row of a series, typed.

    Attributes:
        moment: its time, see ``Grid``.
        series: name of its series; ``None`` where there is one.
        values: column -> number (NaN where it is missing) or text (``None``); columns that are
            not there stay as they are.
        row: number of the row in the request.
    """

    moment: int
    series: str | None
    values: Mapping[str, Any]
    row: int = 0


@program
@dataclass(frozen=True)
class StepsSpec:
    """What is retained of the steps, and which columns it has.

    Attributes:
        grid: which moment is which step.
        numbers: columns of the contract that hold numbers.
        texts: those that hold something else.
        required: those without which a row says nothing.
        absent: column -> what it holds where a series has no row and another one has a value.
        begins_first: whether all series begin with the first step.
        calendar: parts of the time.
        derived: derived columns, each after those that it is made of.
        shown: what forecasts see of all these.
        target: the column that is forecast.
        above_zero: whether it has to be above 0.
        several: whether there are several series.
        steps: how many steps have to be retained, at least.
        time: column of the time.
        season: steps of a season.
    """

    grid: Grid
    numbers: Sequence[str]
    texts: Sequence[str]
    required: Sequence[str]
    absent: Mapping[str, float | str]
    begins_first: bool
    calendar: Sequence[str]
    derived: Sequence[DerivedColumn]
    shown: Sequence[PanelColumn]
    target: str
    above_zero: bool
    several: bool
    steps: int
    time: str
    season: int


class Steps:
    """The last steps of all series.

    Where there are several, one more series represents those without any row.

    Args:
        spec: what is retained.
        times: moments of the steps, shape (steps,).
        names: names of the series.
        given: where there is a row, shape (steps, series).
        values: column of the contract -> panel.
    """

    def __init__(
        self,
        spec: StepsSpec,
        times: Moments,
        names: Sequence[str],
        given: Panel,
        values: Mapping[str, Panel],
    ) -> None:
        self.spec = spec
        self.times = np.asarray(times, dtype=np.int64)
        self.names = list(names)
        self.first = 0  # number of the first step on the grid
        self.whole_days = all(map(spec.grid.is_midnight, self.times.tolist()))
        more = (given[:, :1] & False,) if spec.several else ()
        self.given = np.concatenate([given, *more], axis=1)
        self.raw = {c: _with_blank(values[c], spec.several) for c in (*spec.numbers, *spec.texts)}
        width = self.given.shape[1]
        self.laid: dict[str, Panel] = {}
        for name in [*self.raw, *spec.calendar, *(column.name for column in spec.derived)]:
            self.laid[name] = np.full(self.given.shape, np.nan)
        for name in spec.texts:
            self.laid[name] = np.full(self.given.shape, None, dtype=object)
        for column in spec.derived:
            if column.is_text:
                self.laid[column.name] = np.full(self.given.shape, None, dtype=object)
        self.shown = np.full((len(spec.shown), *self.given.shape), np.nan)
        # What is known from before the first step.
        self.begun = np.full(width, spec.begins_first)
        self.delivered = int(self.times[-1])  # up to here all rows of all series are there
        self.lacked = np.zeros(width, dtype=np.int64)  # steps since the last row, among these
        self._without_rows: npt.NDArray[np.int64] | None = None  # as they are until rows are taken
        self.held = {c: self.raw[c][:1].copy() for c in spec.absent}
        for c, values_before in self.held.items():
            values_before[:] = None if c in spec.texts else np.nan
        self._places = {name: position for position, name in enumerate(self.names)}
        self.trained = len(self.names)  # the series that are known from the beginning
        self.refresh(0)

    def __len__(self) -> int:
        return len(self.times)

    def series(self, name: str | None) -> int:
        """Place of a series; the last one, of none, for a name that is not known."""
        return 0 if not self.spec.several else self._places.get(str(name), len(self.names))

    def is_known(self, name: str | None) -> bool:
        """Whether a series has rows."""
        return not self.spec.several or str(name) in self._places

    def copy(self) -> Self:
        """The same steps, to try something on."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.given, other.shown, other.begun = (
            self.given.copy(),
            self.shown.copy(),
            self.begun.copy(),
        )
        other.names, other._places = [*self.names], {**self._places}
        for part in ("raw", "laid", "held"):
            setattr(other, part, {c: panel.copy() for c, panel in getattr(self, part).items()})
        return other

    def position(self, moment: int) -> tuple[int, bool]:
        """Position of a moment among the steps, and whether it is one of them or of those to come.

        Where every row is a step, a moment between two of them would be a new one.
        """
        if self.spec.grid.is_open:
            at = int(np.searchsorted(self.times, moment))
            return at, at < len(self) and self.times[at] == moment
        number = self.spec.grid.step(moment)
        return (0, False) if number is None else (number - self.first, True)

    def moment(self, position: int) -> int:
        """Moment of a step, also of one to come."""
        if self.spec.grid.is_open:
            return int(self.times[min(max(position, 0), len(self) - 1)])
        return self.spec.grid.moment(self.first + position)

    def text(self, moment: int) -> str:
        """A moment as keys of rows write it: the day alone, where all steps are days."""
        grid = self.spec.grid
        return grid.text(moment, day_only=self.whole_days and grid.is_midnight(moment))

    def take(self, rows: Sequence[SeriesRow]) -> None:
        """Take rows of steps: new ones, and other values of known ones; order does not matter.

        Rows from before the steps that are retained are left out: nothing looks back at them.
        """
        if not rows:
            return
        self._without_rows = None
        new = dict.fromkeys(str(row.series) for row in rows if not self.is_known(row.series))
        if new:
            self._add_series([*new])
        dirty = len(self)
        partial = self._partial(0)
        partial_moment = None if partial is None else int(self.times[partial])
        if self.spec.grid.is_open:
            for moment in sorted({row.moment for row in rows}):
                at, exists = self.position(moment)
                if not exists:
                    self.times = np.insert(self.times, at, moment)
                    self.whole_days &= self.spec.grid.is_midnight(moment)
                    self._open(at, 1)
                    dirty = min(dirty, at)
        else:
            last = max(self.position(row.moment)[0] for row in rows)
            first, end = self.first, self.first + len(self)
            dirty = self._reach_out_to(last + 1)
            if self.first != first:
                dirty = 0
                self._count_skipped(rows, end)
        dirty = min(dirty, self._write(rows))
        if partial_moment is not None:  # a later row may have made it complete
            dirty = min(dirty, max(self.position(partial_moment)[0], 0))
        if dirty < len(self):
            self.refresh(dirty)
        if len(self) > 2 * self.spec.steps:
            self._drop(len(self) - self.spec.steps)

    def without_rows(self) -> npt.NDArray[np.int64]:
        """How many steps each series lacks a row at since its last one, shape (series,).

        Steps count at which another series has a row, up to the last one with a target.
        """
        if self._without_rows is None:  # every row of every request asks for them
            self._without_rows = self._lacking(len(self))
        return self._without_rows

    def _lacking(self, count: int) -> npt.NDArray[np.int64]:
        """``without_rows`` at the end of the first steps that are retained."""
        if not count:
            return self.lacked
        has_target = np.flatnonzero(is_known(self.laid[self.spec.target]).any(axis=1))
        given = self.given[:count]
        counts = given.any(axis=1) & (np.arange(count) <= has_target.max(initial=-1))
        later = np.cumsum(counts[::-1])[::-1]  # from each step on
        after = np.append(later, 0)[1:]
        last = count - 1 - given[::-1].argmax(axis=0)
        since = later.max(initial=0) + self.lacked
        return np.where(given.any(axis=0), after[last], since)

    def _add_series(self, names: Sequence[str]) -> None:
        """More series, which so far have no row; at once, for every panel is copied."""
        self._places |= {name: position for position, name in enumerate(names, len(self.names))}
        self.names += names

        def wider(panel: Panel) -> Panel:
            return np.concatenate([panel, np.repeat(panel[..., -1:], len(names), axis=-1)], axis=-1)

        self.given, self.shown, self.begun = map(wider, (self.given, self.shown, self.begun))
        self.lacked = wider(self.lacked)
        for part in (self.raw, self.laid, self.held):
            part.update({column: wider(panel) for column, panel in part.items()})

    def _reach_out_to(self, end: int) -> int:
        """Let the steps go on up to one; gives the first that is new."""
        if (skipped := end - self.spec.steps) > len(self):  # nothing looks back over such a gap
            self._skip(skipped)
            end -= skipped
        size = len(self)
        if end > size:
            more = self.spec.grid.moments(self.first + size, self.first + end)
            self.times = np.concatenate([self.times, more])
            self.whole_days &= all(map(self.spec.grid.is_midnight, more.tolist()))
            self._open(size, len(more))
        return size

    def _skip(self, steps: int) -> None:
        """Forget all steps, and begin so many later with an empty one."""
        self._remember(len(self))
        self.first += steps
        self.times = self.spec.grid.moments(self.first, self.first + 1)
        self.given = self.given[:1] & False
        self.raw = {c: _blank(panel[:1]) for c, panel in self.raw.items()}
        self.laid = {c: _blank(panel[:1]) for c, panel in self.laid.items()}
        self.shown = np.full_like(self.shown[:, :1], np.nan)

    def _write(self, rows: Sequence[SeriesRow]) -> int:
        """Write down rows of steps that are there; gives the first one, or how many there are."""
        first = len(self)
        for row in rows:
            at, _ = self.position(row.moment)
            if at < 0:
                continue
            series = self.series(row.series)
            self.given[at, series] = True
            for column in self.raw.keys() & row.values.keys():
                self.raw[column][at, series] = row.values[column]
            first = min(first, at)
        return first

    def _count_skipped(self, rows: Sequence[SeriesRow], first: int) -> None:
        """Count, for ``without_rows``, the steps with rows from one on that were forgotten at once.

        Args:
            rows: rows that are taken.
            first: number on the grid of the first step that is new.
        """
        series_of: dict[int, list[int]] = {}
        for row in rows:
            number = self.first + self.position(row.moment)[0]
            if first <= number < self.first:
                series_of.setdefault(number, []).append(self.series(row.series))
        for number in sorted(series_of):
            self.lacked = self.lacked + 1
            self.lacked[series_of[number]] = 0

    def _open(self, at: int, count: int) -> None:
        """Make room for steps without rows."""

        def longer(panel: Panel, axis: int = 0) -> Panel:
            head, tail = np.split(panel, [at], axis=axis)
            empty = _blank(np.repeat(panel.take([0], axis=axis), count, axis=axis))
            return np.concatenate([head, empty, tail], axis=axis)

        self.given, self.shown = longer(self.given), longer(self.shown, 1)
        for part in (self.raw, self.laid):
            part.update({column: longer(panel) for column, panel in part.items()})

    def _remember(self, count: int) -> None:
        """Keep what has to be known of the first steps when they are forgotten."""
        self.lacked = self._lacking(count)
        self.begun = self.begun | self.given[:count].any(axis=0)
        for column in self.held:
            filled = _forward(self._measured(0)[column][:count], self.held[column])
            self.held[column] = filled[-1:].copy()

    def _drop(self, count: int) -> None:
        """Forget the first steps."""
        self._remember(count)
        self.first += count
        self.times, self.given = self.times[count:], self.given[count:]
        self.shown = self.shown[:, count:]
        for part in (self.raw, self.laid):
            part.update({column: panel[count:] for column, panel in part.items()})

    def refresh(self, first: int) -> None:
        """Compute what follows from the rows of the steps from one on."""
        size, spec = len(self), self.spec
        dirty = dict.fromkeys(self.laid, first)
        for name, values in self._filled(first).items():
            self.laid[name][first:] = values
        if spec.calendar:
            clock = local_times(self.times[first:], spec.grid.zone)
            for part in spec.calendar:
                self.laid[part][first:] = calendar(clock, part)[:, None]
        for column in spec.derived:
            start = max(min((dirty[name] for name in column.sources), default=0) - column.ahead, 0)
            dirty[column.name] = start
            low = max(start - column.back, 0)
            rows = {source: self.laid[source][low:].ravel() for source in column.sources}
            result = column(rows).reshape(size - low, -1)
            self.laid[column.name][start:] = result[start - low :]
        for number, shown in enumerate(spec.shown):
            start = max(dirty[shown.column] - shown.limit, 0)  # a value ends the hole before it
            low = max(start - shown.depth, 0)
            result = shown.of(self.laid[shown.column][low:])
            self.shown[number, start:] = result[start - low :]

    def _measured(self, first: int) -> dict[str, Panel]:
        """Rows from a step on; one that lacks a required value says nothing."""
        rows = {column: panel[first:] for column, panel in self.raw.items()}
        if not self.spec.required:
            return rows
        blank = ~np.logical_and.reduce([is_known(rows[name]) for name in self.spec.required])
        return {column: np.where(blank, _blank(panel), panel) for column, panel in rows.items()}

    def _partial(self, first: int) -> int | None:
        """The latest step, from one on, if it was handed in for some of the series only so far."""
        if not self.spec.absent or not self.spec.several or self.spec.target not in self.raw:
            return None
        measured = self.given & is_known(self.raw[self.spec.target])
        last = int(np.flatnonzero(measured.any(axis=1)).max(initial=-1))
        if last < first or self.times[last] <= self.delivered:
            return None
        return last if is_partial(measured.sum(axis=1)[: last + 1], self.spec.season) else None

    def _filled(self, first: int) -> dict[str, Panel]:
        """Rows from a step on, with what series hold where only others have a row."""
        rows, spec = self._measured(first), self.spec
        if not spec.absent or not spec.several:
            return rows
        has_value = self.given[first:]
        begun = np.logical_or.accumulate(has_value, axis=0) | self.begun
        begun |= self.given[:first].any(axis=0)
        open_ = begun & ~has_value & has_value.any(axis=1, keepdims=True)
        if (partial := self._partial(first)) is not None:
            open_[partial - first] = False
        for column, held in spec.absent.items():
            panel = rows[column]
            exists = open_ & is_known(panel).any(axis=1, keepdims=True)
            if held == "previous":
                whole = _forward(self._measured(0)[column], self.held[column])
                rows[column] = np.where(exists, whole[first:], panel)
            else:
                rows[column] = np.where(exists, held, panel)
        return rows


def is_partial(counts: npt.NDArray[np.int64], season: int) -> bool:
    """Whether the latest step seems to be handed in for some of the series only so far.

    Args:
        counts: how many series were measured at each step up to the latest.
        season: steps of a season.

    Returns:
        Whether it has fewer than any step with measurements of the season before it.
    """
    before = counts[:-1][counts[:-1] > 0][-season:]
    return bool(len(before)) and bool(counts[-1] < before.min())


def is_known(values: Values) -> npt.NDArray[np.bool_]:
    """Where there is a value."""
    if values.dtype == object:
        has_value: npt.NDArray[np.bool_] = (values != np.array(None)).astype(bool)
        return has_value
    return ~np.isnan(values)


def _forward(panel: Panel, before: Panel) -> Panel:
    """A panel with the last value in place of missing ones."""
    filled = is_known(panel)
    last = np.maximum.accumulate(np.where(filled, np.arange(len(panel))[:, None], -1), axis=0)
    result = np.take_along_axis(panel, np.maximum(last, 0), axis=0)
    return np.where(last < 0, before, result)


def _blank(panel: Panel) -> Panel:
    """A panel of the same shape without any value."""
    if panel.dtype == bool:
        return np.zeros_like(panel)
    return np.full_like(panel, None if panel.dtype == object else np.nan)


def _with_blank(panel: Panel, more: bool) -> Panel:
    """A panel with one series more, without any value."""
    return np.concatenate([panel, _blank(panel[:, :1])], axis=1) if more else panel.copy()


def off_grid(steps: Steps, row: SeriesRow) -> RequestError:
    """Why the time of a row is no step."""
    grid, time = steps.spec.grid, steps.text(row.moment)
    if grid.times is not None and row.moment > grid.times[-1]:
        message = f"{time} is after {steps.text(int(grid.times[-1]))}, the last step"
    else:
        last = steps.text(steps.moment(len(steps) - 1))
        message = f"{time} is no step of {grid.name} from {last} on"
    return RequestError(message, field=steps.spec.time, row=row.row)
