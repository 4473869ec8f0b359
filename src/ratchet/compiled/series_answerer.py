"""Forecasts by arrays: answers of one version, and measurements that bring it up to date."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ratchet.compiled.answers import Answer, Prediction, RequestError, Row
from ratchet.compiled.contract import Contract
from ratchet.compiled.encoding import Encoding
from ratchet.compiled.field_values import Values
from ratchet.compiled.forecast_inputs import ForecastInputs, Forecasts
from ratchet.compiled.models import Program
from ratchet.compiled.serialization import program
from ratchet.compiled.series_steps import SeriesRow, Steps, off_grid
from ratchet.config import series_name


@program
@dataclass(frozen=True)
class Encoded:
    """From what a forecast sees to the columns of the models, in single precision.

    Attributes:
        places: of the numbers, where each is among sources, views and static columns.
        sources: columns of the rows among the numbers, in that order.
        offset: what is taken away from each number.
        others: the columns that are no numbers.
        marked: name of a column among the features -> its own, where they differ.
    """

    places: npt.NDArray[np.int64]
    sources: Sequence[str]
    offset: npt.NDArray[np.float64]
    others: Encoding
    marked: Mapping[str, str]

    def __call__(self, inputs: ForecastInputs) -> npt.NDArray[np.float32]:
        """Shape (rows, columns)."""
        size = len(inputs.level)
        numbers = np.empty((size, len(self.sources)))
        for position, name in enumerate(self.sources):
            numbers[:, position] = inputs.sources[name]
        everything = np.concatenate([numbers, inputs.views, inputs.static], axis=1)
        encoded = (everything.take(self.places, axis=1) - self.offset).astype(np.float32)
        if not self.others.parts:
            return encoded
        sources: dict[str, Any] = dict(inputs.sources)
        sources |= {name: inputs.sources[own] for name, own in self.marked.items()}
        return np.concatenate([encoded, self.others(sources, size)], axis=1)


@program
@dataclass(frozen=True)
class InUnits:
    """A model of a target relative to a level and in scales, brought to units of the target.

    Attributes:
        model: from encoded columns in single precision to value and ends of the interval, shape
            (n, 3), relative to the level and in scales.
        bounds: least and greatest value; ``None`` for none.
        terms: whether the model sees level and scale after the encoded columns.
    """

    model: Program
    bounds: tuple[float, float] | None
    terms: bool = False

    def __call__(
        self, encoded: npt.NDArray[np.float32], inputs: ForecastInputs
    ) -> npt.NDArray[np.float64]:
        """Value, lower and upper end, shape (n, 3)."""
        columns = np.column_stack([encoded, inputs.level, inputs.scale]) if self.terms else encoded
        relative = self.model(columns).astype(np.float64, copy=False)
        values: npt.NDArray[np.float64] = inputs.level[:, None] + inputs.scale[:, None] * relative
        return values if self.bounds is None else values.clip(*self.bounds)


@program
@dataclass(frozen=True, eq=False)
class SeriesAnswerer:
    """One version of the model of series: it holds their last steps, and answers the next.

    Attributes:
        contract: contract of rows to be answered.
        measured: contract of measurements.
        forecasts: what forecasts see.
        encoded: the columns of the model.
        model: the model.
        target: name of the target.
        column: column of the target.
        time: column of the time.
        series: columns that name the series, where there are several.
        ahead: microseconds after now up to which something may be known; ``None`` for any.
        second: a model that sees the row itself alone; ``None`` where there is none.
        basis: what that one sees, in words.
    """

    contract: Contract
    measured: Contract
    forecasts: Forecasts
    encoded: Encoded
    model: InUnits
    target: str
    column: str
    time: str
    series: Sequence[str]
    ahead: int | None
    second: InUnits | None = None
    basis: str = ""

    def answer(self, rows: Sequence[Row], *, fall_back: bool = False) -> list[Answer]:
        """Answer rows, in their order; see ``Answerer``.

        Rows of several times follow upon each other: what the earlier ones hold is known to the
        later ones.

        Args:
            rows: raw fields.
            fall_back: whether the second model answers rows whose past is not known.
        """
        values = self.contract.read_rows(rows)
        typed = [self._typed(row, number) for number, row in enumerate(values)]
        if not typed:
            return []
        steps = self.forecasts.with_rows(self.steps, typed)
        groups: dict[int, list[int]] = {}
        for number, row in enumerate(typed):
            # Of what is known: a question is no row of its series.
            ended = self.forecasts.ended(self.steps, row)
            if ended is None:
                groups.setdefault(row.moment, []).append(number)
            elif not fall_back or self.second is None:
                raise ended
        answers: list[Answer | None] = [None] * len(typed)
        for numbers in groups.values():
            group = [typed[number] for number in numbers]
            chosen = [values[number] for number in numbers]
            answered = self._answer(steps, group, chosen, fall_back)
            for number, answer in zip(numbers, answered, strict=True):
                answers[number] = answer
        alone = [number for number, answer in enumerate(answers) if answer is None]
        rest = iter(self._answer_alone(steps, alone, typed, values))
        return [next(rest) if answer is None else answer for answer in answers]

    def with_fallback(self) -> WithFallback | None:
        """The same version, whose second model helps out; ``None`` where it has none."""
        return None if self.second is None else WithFallback(self)

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements; see ``Answerer``.

        Answers of other threads see all of them or none.
        """
        if not rows:
            return
        with self._turn:
            accepted = self.check_measured(rows)
            steps = self.steps.copy()
            steps.take(accepted)
            self.__dict__["steps"] = steps

    def check_measured(self, rows: Sequence[Row]) -> list[SeriesRow]:
        """Make sure that measurements can be taken, and read them.

        Raises:
            RequestError: the first row that cannot.
        """
        accepted = self.read_measured(rows)
        now = None if self.ahead is None else time.time_ns() // 1_000 + self.ahead
        check_measurements(self.steps, accepted, now, self.series[0] if self.series else None)
        return accepted

    def read_measured(self, rows: Sequence[Row]) -> list[SeriesRow]:
        """Read measurements under their contract; columns that are left out are not there.

        Raises:
            RequestError: the first row that breaks the contract.
        """
        values = self.measured.read_rows(rows)
        read = [self._typed(row, number) for number, row in enumerate(values)]
        return [
            SeriesRow(
                one.moment,
                one.series,
                {name: value for name, value in one.values.items() if name in given},
                one.row,
            )
            for one, given in zip(read, rows, strict=True)
        ]

    @cached_property
    def steps(self) -> Steps:
        """The steps that are known by now."""
        return self.forecasts.steps()

    @cached_property
    def _turn(self) -> Lock:
        return Lock()

    @cached_property
    def _numbers(self) -> frozenset[str]:
        kinds = ("integer", "number")
        return frozenset(n for n, field in self.contract.fields.items() if field.type in kinds)

    def _typed(self, values: Values, number: int) -> SeriesRow:
        at = values[self.time]
        if at is None:
            raise RequestError("expected a time", field=self.time, row=number)
        own = {
            name: (np.nan if value is None else float(value)) if name in self._numbers else value
            for name, value in values.items()
            if name != self.time and self.series != [name]
        }
        series = series_name(values, self.series)
        return SeriesRow(self.forecasts.spec.grid.moment_of(at), series, own, number)

    def _answer(
        self, steps: Steps, rows: Sequence[SeriesRow], values: Sequence[Values], fall_back: bool
    ) -> Sequence[Answer | None]:
        """Answers of some rows of one time; ``None`` for those that the second model answers."""
        fall_back = fall_back and self.second is not None
        if fall_back and self.forecasts.is_far(steps, rows[0].moment):
            return [None] * len(rows)
        try:
            inputs = self.forecasts.inputs(steps, rows)
        except RequestError as error:
            if not fall_back or error.kind != "conflict":
                raise
            if len(rows) == 1:
                return [None]
            pairs = zip(rows, values, strict=True)  # others may have a past
            return [self._answer(steps, [one], [given], True)[0] for one, given in pairs]
        return self._answers(steps, rows, values, inputs, self.model(self.encoded(inputs), inputs))

    def _answer_alone(
        self,
        steps: Steps,
        numbers: Sequence[int],
        rows: Sequence[SeriesRow],
        values: Sequence[Values],
    ) -> list[Answer]:
        """Answers of the second model to some of the rows, whatever their times."""
        if self.second is None or not numbers:
            return []
        chosen = [rows[number] for number in numbers]
        inputs = self.forecasts.inputs_alone(steps, chosen)
        forecast = self.second(self.encoded(inputs), inputs)
        given = [values[number] for number in numbers]
        return self._answers(steps, chosen, given, inputs, forecast, self.basis)

    def _answers(
        self,
        steps: Steps,
        rows: Sequence[SeriesRow],
        values: Sequence[Values],
        inputs: ForecastInputs,
        forecast: npt.NDArray[np.float64],
        basis: str | None = None,
    ) -> list[Answer]:
        grid = self.forecasts.spec.grid
        texts = {moment: steps.text(moment) for moment in {row.moment for row in rows}}
        return [
            Answer(
                key=f"{row.series if self.series else self.column}@{texts[row.moment]}",
                predictions={self.target: Prediction(value, low, high)},
                time=grid.naive_utc(row.moment),
                series=row.series if self.series else self.column,
                scale=scale,
                rms=rms,
                not_given=self.contract.not_given(given),
                basis=basis,
                step=step,
            )
            for row, given, (value, low, high), scale, rms, step in zip(
                rows,
                values,
                forecast.tolist(),
                inputs.scale.tolist(),
                inputs.rms.tolist(),
                [None] * len(rows) if inputs.ahead is None else inputs.ahead.tolist(),
                strict=True,
            )
        ]


class WithFallback:
    """A version that answers rows whose past is not known by what they say themselves.

    Args:
        answerer: the version; it has a second model.
    """

    def __init__(self, answerer: SeriesAnswerer) -> None:
        self._answerer = answerer

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, in their order; ``Answer.basis`` marks those of the second model."""
        return self._answerer.answer(rows, fall_back=True)

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements; see ``Answerer``."""
        self._answerer.observe(rows)


MOST_NEW_SERIES = 1_000
"""Series that a version takes measurements of beyond those that it was trained on."""
LONGEST_NAME = 200
"""Characters of the name of a new series."""


def check_measurements(
    steps: Steps, rows: Sequence[SeriesRow], now: int | None, named: str | None = None
) -> None:
    """Make sure that rows can be taken.

    Args:
        steps: the steps.
        rows: the rows.
        now: the moment after which nothing can be known; ``None`` where any is right.
        named: column that names the series.

    Raises:
        RequestError: a time is no step, is too far ahead, a value is not above 0, or there are
            too many new series.
    """
    _check_names(steps, rows, named)
    grid, target = steps.spec.grid, steps.spec.target
    derived = target not in steps.raw  # requests do not contain it
    measured = [
        steps.position(row.moment)[0] for row in rows if derived or _is_measured(row, target)
    ]
    last = max([len(steps) - 1, *measured]) + steps.spec.steps
    ends = [row.moment for row in rows if derived or _is_measured(row, target)]
    for row in rows:
        at, exists = steps.position(row.moment)
        if not grid.is_open and not exists:
            raise off_grid(steps, row)
        has_value = _is_measured(row, target)
        if has_value and now is not None and row.moment > now:
            raise RequestError(
                f"{steps.text(row.moment)} is still to come: '{target}' cannot be known yet",
                field=target,
                row=row.row,
            )
        if not has_value and grid.is_open and grid.longest is not None:
            end = max([int(steps.times[-1]), *ends])
            if row.moment > end + grid.longest * steps.spec.steps:
                raise RequestError(
                    f"{steps.text(row.moment)} is too far after {steps.text(end)}, the last step "
                    f"with '{target}'",
                    field=steps.spec.time,
                    row=row.row,
                )
        if not has_value and at > last:
            raise RequestError(
                f"{steps.text(row.moment)} is more than {steps.spec.steps} steps after "
                f"{steps.text(steps.moment(len(steps) - 1))}, the last one with a row",
                field=steps.spec.time,
                row=row.row,
            )
        value = row.values.get(target)
        if has_value and steps.spec.above_zero and float(value or 0) <= 0:
            raise RequestError(f"expected a number above 0, got {value}", field=target, row=row.row)


def _check_names(steps: Steps, rows: Sequence[SeriesRow], named: str | None) -> None:
    """Make sure that new series fit into memory: every one adds a column to every panel."""
    new = {row.series: row.row for row in reversed(rows) if not steps.is_known(row.series)}
    for name, row in new.items():
        if len(str(name)) > LONGEST_NAME:
            raise RequestError(
                f"expected the name of a series of at most {LONGEST_NAME} characters, got "
                f"{len(str(name))}",
                field=named,
                row=row,
            )
    room = steps.trained + MOST_NEW_SERIES - len(steps.names)
    if len(new) > room:
        raise RequestError(
            f"{len(new)} series are new, and there is room for {max(room, 0)}: until the next "
            f"training a version takes {MOST_NEW_SERIES:,} beside the {steps.trained:,} that it "
            f"knows",
            field=named,
            row=min(new.values()),
        )


def _is_measured(row: SeriesRow, target: str) -> bool:
    """Whether a row has the target; otherwise it says what is known ahead."""
    value = row.values.get(target)
    return value is not None and not math.isnan(value)
