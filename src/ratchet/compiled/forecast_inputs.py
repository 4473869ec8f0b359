"""Inputs of the forecast of a row: values of the row itself, and of the steps before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ratchet.compiled.answers import RequestError
from ratchet.compiled.derived_columns import DerivedColumn, Values, calendar, local_times
from ratchet.compiled.encoding import LARGEST
from ratchet.compiled.serialization import program
from ratchet.compiled.series_steps import (
    Panel,
    SeriesRow,
    Steps,
    StepsSpec,
    is_known,
    off_grid,
)
from ratchet.learning.holes import fill_holes

_LONGEST_SHOWN = 60  # characters of a name in a message

TARGET, ORIGIN, STEP = 0, -1, -2
"""What the steps of a view follow, see ``WindowColumns.anchor``."""

LEVEL, SCALE = 1, 2
"""Views in units of the target: relative to level and scale of the row, or to its scale alone."""


@program
@dataclass(frozen=True, eq=False)
class WindowColumns:
    """Columns of a forecast that look at a panel, so many steps before the target.

    Attributes:
        names: names of the columns.
        shown: number of the panel of each, see ``StepsSpec.shown``.
        steps: how many steps before the target it looks, of a path at its last step.
        relative_to: ``LEVEL``, ``SCALE``, or 0 for what is no value of the target.
        anchor: what its steps follow at other steps of a path: ``TARGET``, ``ORIGIN``, or a season
            before the target, by its length; ``STEP`` for a column that holds the step itself.
    """

    names: Sequence[str]
    shown: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    relative_to: npt.NDArray[np.int64]
    anchor: npt.NDArray[np.int64]

    @cached_property
    def is_step(self) -> npt.NDArray[np.bool_]:
        """Which columns hold the step of a path."""
        return self.anchor == STEP

    def looks(self, ahead: npt.NDArray[np.int64], last: int) -> npt.NDArray[np.int64]:
        """How many steps before its target each row looks, shape (rows, views).

        Args:
            ahead: steps from the origin of each row to its target.
            last: the last step of the path.
        """
        season = np.maximum(self.anchor, 1)
        seasons = -(-ahead[:, None] // season) + last // -season
        by_season = np.where(self.anchor > 0, season * seasons, 0)
        return self.steps + np.where(self.anchor == ORIGIN, ahead[:, None] - last, by_season)


@program
@dataclass(frozen=True, eq=False)
class InitialRows:
    """Rows that are known when a version is taken over.

    Attributes:
        times: moments of the steps.
        names: names of the series.
        given: where there is a row, shape (steps, series).
        numbers: column -> numbers, of that shape.
        texts: column -> lists of texts, likewise.
    """

    times: npt.NDArray[np.int64]
    names: Sequence[str]
    given: npt.NDArray[np.bool_]
    numbers: Mapping[str, Panel]
    texts: Mapping[str, Sequence[Sequence[str | None]]]


@dataclass(frozen=True, eq=False)
class ForecastInputs:
    """What a forecast sees of some rows.

    Attributes:
        sources: columns of the rows themselves, by name, shape (rows,) each.
        views: single precision, shape (rows, views).
        static: shape (rows, columns that describe a series).
        level: what their target is relative to, shape (rows,).
        scale: in units of what.
        rms: the same as a root mean square.
        ahead: steps from the origin to the target, of the rows of a path.
    """

    sources: Mapping[str, Values]
    views: npt.NDArray[np.float32]
    static: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    rms: npt.NDArray[np.float64]
    ahead: npt.NDArray[np.int64] | None = None


@program
@dataclass(frozen=True, eq=False)
class Forecasts:
    """What forecasts see, with the steps that they see it of.

    Attributes:
        spec: what is retained of the steps.
        past: the rows that are known at first.
        views: columns that look at the steps.
        horizon: steps from the last known one to the target, at most.
        first: the first step of a path; ``None`` where one step is forecast.
        learn: in what terms the target is learned.
        mean: mean change of every series over a season; the last is that of an unknown one.
        rms: the same as a root mean square.
        static: columns that describe a series, shape (series + 1, columns).
        static_names: what they are called.
        calendar: parts of the time that the rows have.
        derived: derived columns of the rows.
        sources: columns of the rows themselves that models see.
        required: columns of the contract that a row to be answered must have.
        series: column that alone names the series, where there are several.
        limits: steps without a row after which every series has ended; the last is that of an
            unknown one.
    """

    spec: StepsSpec
    past: InitialRows
    views: WindowColumns
    horizon: int
    first: int | None
    learn: str
    mean: npt.NDArray[np.float64]
    rms: npt.NDArray[np.float64]
    static: npt.NDArray[np.float64]
    static_names: Sequence[str]
    calendar: Sequence[str]
    derived: Sequence[DerivedColumn]
    sources: Sequence[str]
    required: Sequence[str]
    series: str | None
    limits: npt.NDArray[np.int64]

    def steps(self) -> Steps:
        """The steps that are known at first."""
        values: dict[str, Panel] = dict(self.past.numbers)
        for name, rows in self.past.texts.items():
            panel = np.empty(self.past.given.shape, dtype=object)
            for position, row in enumerate(rows):
                panel[position] = row
            values[name] = panel
        return Steps(self.spec, self.past.times, self.past.names, self.past.given, values)

    @cached_property
    def looks_ahead(self) -> bool:
        """Whether what is retained of a step depends on later ones."""
        return any(column.ahead for column in self.spec.derived)

    @cached_property
    def _own(self) -> list[tuple[int, int]]:
        """Views of the target's step itself, with the panel of each."""
        positions = np.flatnonzero((self.views.steps == 0) & ~self.views.is_step)
        return [(int(position), int(self.views.shown[position])) for position in positions]

    @cached_property
    def _levels(self) -> npt.NDArray[np.bool_]:
        return self.views.relative_to == LEVEL

    @cached_property
    def _scaled(self) -> npt.NDArray[np.bool_]:
        return self.views.relative_to > 0

    def with_rows(self, steps: Steps, rows: Sequence[SeriesRow]) -> Steps:
        """The steps with rows that are to be answered, where these depend on each other.

        And with the steps up to them, whose part of the calendar windows hold.
        """
        positions = [steps.position(row.moment) for row in rows]
        alone = len({row.moment for row in rows}) == 1 and positions[0][0] <= len(steps)
        between = steps.spec.grid.is_open and any(
            not exists and position < len(steps) for position, exists in positions
        )
        ahead = any(column.ahead for column in self.derived)
        if alone and not self.looks_ahead and not (between and ahead):
            return steps
        # Of others no past is known, whatever the request has beside them.
        end = len(steps) + steps.spec.steps
        beside = [
            row
            for row, (position, _) in zip(rows, positions, strict=True)
            if position < end and steps.is_known(row.series)
        ]
        if not beside:
            return steps
        extended = steps.copy()
        extended.take(beside)
        return extended

    def ended(self, steps: Steps, row: SeriesRow) -> RequestError | None:
        """Why a row after the end of its series is not answered as usual; ``None`` of others.

        A series that has ended would be answered as if it had sold nothing since.
        """
        if not self.spec.several or not steps.is_known(row.series):
            return None
        series = steps.series(row.series)
        limit = int(self.limits[min(series, len(self.limits) - 1)])
        lacked = int(steps.without_rows()[series])
        if lacked <= limit:
            return None
        rows = np.flatnonzero(steps.given[:, series])
        if steps.position(row.moment)[0] <= rows.max(initial=-1):
            return None
        last = f"before {steps.text(steps.moment(0))}"  # and was forgotten
        if len(rows):
            last = f"of {steps.text(steps.moment(int(rows[-1])))}"
        reason = series_has_ended(row.series, last, lacked, limit)
        return RequestError(reason, row=row.row, kind="conflict")

    def is_far(self, steps: Steps, moment: int) -> bool:
        """Whether a moment is so far ahead that no series has a past there."""
        return not self.spec.grid.is_open and steps.position(moment)[0] - self.horizon >= len(steps)

    def inputs(self, steps: Steps, rows: Sequence[SeriesRow]) -> ForecastInputs:
        """What forecasts of some rows of one time see.

        Args:
            steps: the steps, see ``with_rows``.
            rows: the rows, with all columns of the contract.

        Raises:
            RequestError: the first of them that cannot be answered, and what is missing.
        """
        moment = rows[0].moment
        position, exists = steps.position(moment)
        if not exists and not steps.spec.grid.is_open:
            raise off_grid(steps, rows[0])
        if position < 0:
            raise RequestError(self._too_early(steps, rows[0]), row=rows[0].row, kind="conflict")
        if steps.spec.grid.is_open:
            self._check_gaps(steps, rows[0], position)
        series, unit = self._series_positions(steps, rows)
        sources = self._sources(steps, rows, position)
        ahead = self._ahead(steps, rows, position, series)
        looks = np.broadcast_to(self.views.steps, (len(rows), len(self.views.steps)))
        if self.first is not None:
            looks = self.views.looks(ahead, self.horizon)
        views, has_values = self._views(steps, position, series, sources, looks)
        if not has_values.all():
            first = int(np.argmin(has_values.all(axis=1)))
            look = _Look(steps, rows[first], position, int(ahead[first]), looks[first])
            raise self._lacking(look, has_values[first])
        views[:, self.views.is_step] = ahead[:, None]
        level, scale, rms = self._scales(steps, position - ahead, series, unit)
        views[:, self._levels] -= level[:, None]
        views[:, self._scaled] /= scale[:, None]
        if not (np.abs(views) <= LARGEST).all():
            row = rows[int(np.argmin((np.abs(views) <= LARGEST).all(axis=1)))].row
            raise RequestError(f"numbers above {LARGEST:.2g} are more than models hold", row=row)
        return ForecastInputs(
            {name: sources[name] for name in self.sources},
            views.astype(np.float32),
            self.static[unit],
            level,
            scale,
            rms,
            None if self.first is None else ahead,
        )

    def _ahead(
        self,
        steps: Steps,
        rows: Sequence[SeriesRow],
        position: int,
        series: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Steps from the origin of each row to its target: the last one before it that is known.

        Raises:
            RequestError: the first row that is farther ahead than a path reaches.
        """
        if self.first is None:
            return np.full(len(rows), self.horizon, dtype=np.int64)
        begin = max(position - self.horizon, 0)
        known = np.isfinite(steps.laid[self.spec.target][begin:position, series])
        at = np.arange(begin, begin + len(known))[:, None]
        origin = np.where(known, at, -1).max(axis=0, initial=-1)
        ahead = np.maximum(position - origin, self.first)
        ahead[origin < 0] = self.horizon + 1
        if (too_far := ahead > self.horizon).any():
            number = int(np.argmax(too_far))
            looks = self.views.looks(np.array([self.horizon]), self.horizon)[0]
            look = _Look(steps, rows[number], position, self.horizon, looks)
            raise self._unmeasured(look, (looks > 0) & ~self.views.is_step)
        return ahead

    def _check_gaps(self, steps: Steps, row: SeriesRow, position: int) -> None:
        """Make sure that no steps seem to be missing before a row, see ``Grid.missing``."""
        looked_at = steps.times[max(position - self._reach, 0) : position]
        missing = steps.spec.grid.missing(looked_at, row.moment, steps.text)
        if missing is not None:
            raise RequestError(missing, row=row.row, kind="conflict")

    @cached_property
    def _reach(self) -> int:
        """How many steps before its own a row looks at."""
        depths = np.array([shown.depth for shown in self.spec.shown], dtype=np.int64)
        return int((self.views.steps + depths[self.views.shown]).max(initial=0))

    def inputs_alone(self, steps: Steps, rows: Sequence[SeriesRow]) -> ForecastInputs:
        """What can be said of some rows, whatever their times, without the steps before them.

        Views are missing, and columns that look at other steps, too; the level is 0.

        Raises:
            RequestError: a time is no step, or a value is missing that must be there.
        """
        for row in rows:
            if not steps.spec.grid.is_open and not steps.position(row.moment)[1]:
                raise off_grid(steps, row)
        own = self._sources(steps, rows, None)
        _, unit = self._series_positions(steps, rows)
        return ForecastInputs(
            {name: own[name] for name in self.sources},
            np.full((len(rows), len(self.views.names)), np.nan, dtype=np.float32),
            self.static[unit],
            np.zeros(len(rows)),
            self.mean[unit],
            self.rms[unit],
        )

    def _series_positions(
        self, steps: Steps, rows: Sequence[SeriesRow]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where the series of rows stand among those of the steps, and among the units."""
        series = np.array([steps.series(row.series) for row in rows])
        return series, np.minimum(series, len(self.mean) - 1)

    def _sources(
        self, steps: Steps, rows: Sequence[SeriesRow], position: int | None
    ) -> dict[str, Values]:
        """Columns of the rows themselves, which are of one time where they have a place.

        Without one, none that look at other steps.
        """
        own: dict[str, Values] = {}
        for name in rows[0].values:
            values = [row.values[name] for row in rows]
            plain = all(isinstance(value, float | int) for value in values)
            own[name] = np.array(values, dtype=float if plain else object)
        if self.series is not None:
            own[self.series] = np.array([row.series for row in rows], dtype=object)
        for name in self.required:
            has_value = is_known(own[name])
            if not has_value.all():
                row = rows[int(np.argmin(has_value))]
                raise RequestError("expected a value", field=name, row=row.row)
        moments = [row.moment for row in rows] if position is None else [rows[0].moment]
        clock = local_times(moments, self.spec.grid.zone)
        for part in self.calendar:
            own[part] = np.repeat(calendar(clock, part), len(rows) // len(moments))
        for column in self.derived:
            if (column.back or column.ahead) and position is None:
                own[column.name] = np.full(len(rows), np.nan)
            elif column.back or column.ahead:
                own[column.name] = self._of_steps(steps, column, own, position or 0)
            else:
                own[column.name] = column(own)
        self._check_size(own, rows)
        return own

    def _check_size(self, own: Mapping[str, Values], rows: Sequence[SeriesRow]) -> None:
        """Make sure that models can hold the numbers that they see of the rows themselves."""
        for name in self.sources:
            values = own[name]
            if values.dtype == object or not (beyond := np.abs(values) > LARGEST).any():
                continue
            row = rows[int(np.argmax(beyond))].row
            raise RequestError(
                f"expected a number up to {LARGEST:.2g}, the largest that models hold",
                field=name,
                row=row,
            )

    def _of_steps(
        self, steps: Steps, column: DerivedColumn, own: Mapping[str, Values], position: int
    ) -> Values:
        """A derived column of a row that looks at the steps around it."""
        low = max(position - column.back, 0)
        high = min(position + column.ahead, max(len(steps) - 1, position)) + 1
        around = {}
        for name in column.sources:
            values, laid = own[name], steps.laid[name][low:high, 0]
            window = np.full(high - low, None if values.dtype == object else np.nan, values.dtype)
            window[: len(laid)] = laid
            window[position - low] = values[0]
            around[name] = window
        result: Values = column(around)[position - low : position - low + 1]
        return result

    def _views(
        self,
        steps: Steps,
        position: int,
        series: npt.NDArray[np.int64],
        own: Mapping[str, Values],
        looks: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Values that the views show, and which are known, shape (rows, views)."""
        at = position - looks
        within = (at >= 0) & (at < len(steps))
        result = steps.shown[self.views.shown, np.where(within, at, 0), series[:, None]]
        result[~within] = np.nan
        result[:, self.views.is_step] = 0.0
        for view, number in self._own:
            shown = self.spec.shown[number]
            result[:, view] = shown.of(own[shown.column])
        return result, np.isfinite(result)

    def _scales(
        self,
        steps: Steps,
        origins: npt.NDArray[np.int64],
        series: npt.NDArray[np.int64],
        unit: npt.NDArray[np.int64],
    ) -> tuple[Values, Values, Values]:
        """Level, scale and root mean square of rows, as of ``features.windows.target_scaling``."""
        origin = steps.laid[self.spec.target][origins, series]
        size = np.abs(origin) if self.learn == "return" else np.ones_like(origin)
        level = np.zeros_like(origin) if self.learn == "value" else origin
        return level, size * self.mean[unit], size * self.rms[unit]

    def _lacking(self, look: _Look, has_values: npt.NDArray[np.bool_]) -> RequestError:
        """Why a row cannot be answered: a value of its own is missing, or measurements are."""
        steps, row, position = look.steps, look.row, look.position
        own = self.views.shown[~has_values & (look.looks == 0)]
        for number in dict.fromkeys(own.tolist()):
            for column in self._source_columns(self.spec.shown[number].column, 0):
                value = row.values.get(column, 0.0)
                if value is None or (isinstance(value, float) and np.isnan(value)):
                    return RequestError(
                        f"a forecast of {steps.text(row.moment)}{self._step(look, position)} "
                        f"needs it",
                        field=column,
                        row=row.row,
                    )
        return self._unmeasured(look, ~has_values)

    def _unmeasured(self, look: _Look, views: npt.NDArray[np.bool_]) -> RequestError:
        """Which measurements some views, shape (views,), cannot do without."""
        steps, row = look.steps, look.row
        gaps = self._gaps(steps, steps.series(row.series), self._looked_at(look, views))
        reason = self._missing(look, gaps) if gaps else self._undefined(look, views)
        return RequestError(reason, row=row.row, kind="conflict")

    def _looked_at(self, look: _Look, views: npt.NDArray[np.bool_]) -> dict[str, tuple[int, int]]:
        """Of the columns that some views are made of, the first and the last step looked at.

        In a path that is the target at the origin, too.
        """
        position, result = look.position, {}
        panels, looks = self.views.shown[views], look.looks[views]
        if self.first is not None:
            origin = position - look.ahead
            for column, first in self._source_columns(self.spec.target, origin).items():
                result[column] = first, origin
        for number in dict.fromkeys(panels.tolist()):
            shown, steps_back = self.spec.shown[number], looks[panels == number]
            last = position - max(int(steps_back.min()), 1)
            begin = position - int(steps_back.max()) - shown.depth + shown.limit
            for column, first in self._source_columns(shown.column, begin).items():
                low, high = result.get(column, (first, last))
                result[column] = min(low, first), max(high, last)
        return result

    def _step(self, look: _Look, position: int) -> str:
        """Which step of the path one is, in brackets; nothing for one up to the origin."""
        number = position - (look.position - look.ahead)
        return f" (step {number})" if self.first is not None and number > 0 else ""

    def _undefined(self, look: _Look, views: npt.NDArray[np.bool_]) -> str:
        """Which values cannot be computed from what was measured, such as the logarithm of 0."""
        steps, row, position = look.steps, look.row, look.position
        panels, looks = self.views.shown[views], look.looks[views]
        undefined = []
        for number in dict.fromkeys(panels.tolist()):
            shown, at = self.spec.shown[number], position - looks[panels == number]
            name = shown.column if shown.form == "value" else f"{shown.form} of {shown.column}"
            made_of = ", ".join(self._source_columns(shown.column, 0))
            of = f" (made of {made_of})" if made_of and made_of != shown.column else ""
            undefined.append(f"{name}{of} {self._span(steps, int(at.min()), int(at.max()))}")
        return (
            f"a forecast of {steps.text(row.moment)} looks at values that cannot be computed from "
            f"what was measured{f' of {_short(row.series)}' if self.spec.several else ''}: "
            f"{'; '.join(undefined)}. Correct these measurements, such as a 0 of which the "
            f"logarithm is taken"
        )

    def _source_columns(self, column: str, first: int) -> dict[str, int]:
        """Columns of the contract that a column is made of, and from which step on."""
        for derived in self.spec.derived:
            if derived.name == column:
                result: dict[str, int] = {}
                for source in derived.sources:
                    for name, step in self._source_columns(source, first - derived.back).items():
                        result[name] = min(step, result.get(name, step))
                return result
        return {} if column in self.spec.calendar else {column: first}

    def _gaps(
        self, steps: Steps, series: int, required: Mapping[str, tuple[int, int]]
    ) -> dict[str, tuple[int, int]]:
        """Of every column the first and the last step that is missing among the wanted."""
        gaps = {}
        filled = {shown.column: shown for shown in self.spec.shown if shown.fill is not None}
        for column, (first, last) in required.items():
            values = steps.laid[column][:, [series]]
            if column in filled:
                values = fill_holes(values, filled[column].fill or 0.0, filled[column].limit)
            lacking = np.flatnonzero(~is_known(values[max(first, 0) : last + 1, 0])) + max(first, 0)
            ends = [*lacking[:1].tolist(), *lacking[-1:].tolist()]
            ends += [min(first, -1)] if first < 0 else []
            ends += [max(first, len(steps)), last] if last >= len(steps) else []
            if ends:
                gaps[column] = min(ends), max(ends)
        return gaps

    def _missing(self, look: _Look, gaps: Mapping[str, tuple[int, int]]) -> str:
        """Which measurements are missing, and what can be done."""
        steps, row = look.steps, look.row
        name = _short(row.series)
        of = steps.text(row.moment) + (f" of {name}" if self.spec.several else "")
        unknown = "" if steps.is_known(row.series) else f"series {name} is not known; "
        has_target = np.flatnonzero(is_known(steps.laid[self.spec.target]).any(axis=1))
        last = int(has_target[-1]) if len(has_target) else len(steps) - 1
        if any(low < 0 for low, _ in gaps.values()) and not unknown:
            return self._too_early(steps, row)
        missing = "; ".join(
            f"{column} {self._span(steps, low, high)}{self._steps(look, low, high)}"
            for column, (low, high) in gaps.items()
        )
        reach = f"{self.horizon} step{'s' if self.horizon > 1 else ''}"
        if self.first is not None and self.first < self.horizon:
            reach = f"{self.first} to {reach}"
        is_far = min((low for low, _ in gaps.values()), default=0) > last + 1
        between = "; the steps in between may stay missing" if is_far else ""
        return (
            f"{unknown}a forecast of {of} needs measurements that are missing: {missing}. Hand "
            f"them in first; the last step with '{self.spec.target}' is "
            f"{steps.text(steps.moment(last))}{between}, and forecasts reach {reach} ahead"
        )

    def _steps(self, look: _Look, first: int, last: int) -> str:
        """Which steps of the path some are, in brackets; nothing up to the origin."""
        begin = self._step(look, max(first, look.position - look.ahead + 1))
        end = self._step(look, last)
        if not end or begin == end:
            return end
        return f"{begin[:-1].replace('step', 'steps')} to {end[7:]}"

    def _too_early(self, steps: Steps, row: SeriesRow) -> str:
        return (
            f"a forecast of {steps.text(row.moment)} would look at steps before "
            f"{steps.text(steps.moment(0))}, where the past begins that is known"
        )

    def _span(self, steps: Steps, first: int, last: int) -> str:
        """From which step to which, or of which one."""
        if first == last:
            return f"of {self._text(steps, first)}"
        return f"from {self._text(steps, first)} to {self._text(steps, last)}"

    def _text(self, steps: Steps, position: int) -> str:
        if self.spec.grid.is_open and position >= len(steps):
            return "the steps in between"
        return steps.text(steps.moment(max(position, 0)))


@dataclass(frozen=True, eq=False)
class _Look:
    """A row, and the steps that its forecast looks at.

    Attributes:
        steps: the steps.
        row: the row.
        position: its place among the steps.
        ahead: steps from its origin to it.
        looks: how many steps before it each view looks, shape (views,).
    """

    steps: Steps
    row: SeriesRow
    position: int
    ahead: int
    looks: npt.NDArray[np.int64]


def series_has_ended(name: str | None, last: str, lacked: int, limit: int) -> str:
    """Why a question about a series that has ended is refused.

    Args:
        name: name of the series.
        last: when its last row was, such as ``of 2020-05-01``.
        lacked: later steps at which others have rows.
        limit: how many of them it may lack.
    """
    return (
        f"series {_short(name)} has ended: its last row is {last}, and of {lacked} later "
        f"steps at which others have rows it has none, {limit} are the most "
        f"(data.series.ends_after). Where it goes on, hand in what was measured of it since "
        f"(POST /observe)"
    )


def _short(name: str | None) -> str:
    """The name of a series in quotes; the beginning of one that is none."""
    text = str(name)
    return f"'{text}'" if len(text) <= _LONGEST_SHOWN else f"'{text[:_LONGEST_SHOWN]}...'"
