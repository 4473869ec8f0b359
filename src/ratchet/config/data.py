"""Parameters of the raw file: where it comes from, and how it becomes rows."""

from __future__ import annotations

import datetime as dt
import math
import re
from calendar import day_abbr, day_name
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ratchet.config.base import CHECKED, NOT_SET, Derived, Length, Params, Share
from ratchet.config.names import SERIES_PREFIX

if TYPE_CHECKING:
    import pandas as pd

SERIES_KEY = "row"
"""Key of a row that is made: of a series from series and time, else from ``Data.key_columns``."""

SERIES_ID = f"{SERIES_PREFIX}id"
"""Column that names the series of a row."""

SERIES_COLUMNS = {
    "series": SERIES_ID,
    "time": f"{SERIES_PREFIX}time",
    "scale": f"{SERIES_PREFIX}scale",
    "rms": f"{SERIES_PREFIX}rms",
}
"""Columns of tidy rows that scores of a series need -> columns of the model input."""


SERIES_STEP = f"{SERIES_PREFIX}step"
"""Column with the step of a row of a path."""


def series_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """What scores of a series need of every row: ``series``, ``time``, ``scale`` and ``rms``.

    Of paths also ``step``.
    """
    names = SERIES_COLUMNS | ({"step": SERIES_STEP} if SERIES_STEP in frame else {})
    return frame[[*names.values()]].set_axis([*names], axis=1)


_JOINED = ("string", "integer", "date")
"""Types of columns that can be joined to a key: those whose values are written in one way."""

CALENDAR: dict[str, float] = {
    "minute": 60,
    "hour": 24,
    "halfhour": 48,
    "dayofweek": 7,
    "day": 31,
    "month": 12,
    "quarter": 4,
    "dayofyear": 366,
    "week": 53,
    "year": math.inf,
    "weekend": 2,
}
"""Calendar columns that a use case may ask for, and how many values each can take."""


class Column(Params):
    """Contract of one column of the raw file.

    Attributes:
        type: what the values must be; ``list`` is text that is split at ``separator``.
        nullable: whether a value may be missing.
        separator: between the parts of a ``list``.
        low: smallest value allowed: a number, or a date for ``date``.
        high: largest value allowed.
        values: the only values allowed; any by default.
        format: for dates: how they are written, as ``strptime`` reads it (``"%d.%m.%Y"``), or
            ``ISO8601``; by default any form that can be read in one way only.
        unit: for dates that are numbers: ``s``, ``ms``, ``us``, ``ns`` since 1970 in UTC, ``D``
            days and ``W`` weeks since 1970, ``excel`` its day numbers; without it numbers are no
            dates.
        dayfirst: for dates such as ``01/02/2020``: whether the day comes before the month; has to
            be given where both can be read.
        timezone: for dates: whose clock they show, a name such as ``Europe/Berlin`` or ``UTC``;
            without it the clock is taken as it is in the file.
        revised: whether a later file may hold another value for a known row, as revised statistics
            and forecasts of weather do: such a change is no reason to refuse a file, and the row is
            the same to the prediction log.
    """

    type: Literal["integer", "number", "string", "date", "list"]
    nullable: bool = False
    separator: str = ", "
    low: float | dt.date | None = None
    high: float | dt.date | None = None
    values: list[str] | None = None
    format: str | None = None
    unit: Literal["s", "ms", "us", "ns", "D", "W", "excel"] | None = None
    dayfirst: bool | None = None
    timezone: str | None = None
    revised: bool = False

    @model_validator(mode="after")
    def _say_once_how_dates_are_written(self) -> Self:
        settings = [
            name for name in ("format", "unit", "dayfirst") if getattr(self, name) is not None
        ]
        of_dates = [*settings, *(["timezone"] if self.timezone is not None else [])]
        if self.type != "date" and of_dates:
            raise ValueError(f"{of_dates}: for columns of type date only, this is a {self.type}")
        if len(settings) > 1:
            raise ValueError(
                f"{settings}: one of them says how dates are written, leave out the others"
            )
        return self

    @model_validator(mode="after")
    def _bound_by_values_of_the_type(self) -> Self:
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is None:
                continue
            if self.type in ("string", "list"):
                raise ValueError(f"{name}: for numbers and dates only, this is a {self.type}")
            if isinstance(bound, dt.date) != (self.type == "date"):
                kind = "date such as 2020-01-31" if self.type == "date" else "number"
                written = f"{bound:g}" if isinstance(bound, float) else bound
                raise ValueError(f"{name}: expected a {kind}, got {written}")
        return self

    @field_validator("format")
    @classmethod
    def _read_a_format(cls, form: str | None, info: ValidationInfo) -> str | None:
        if form is None or form == "ISO8601" or info.context == CHECKED:
            return form
        import pandas as pd

        try:
            pd.to_datetime(pd.Series([], dtype="str"), format=form)
            wrong = "" if re.search(r"%[YyGcx]", form) else ": there is no year"
        except (ValueError, re.error) as error:
            wrong = f": {error}"
        if "%Z" in form:
            wrong = (
                ": names of time zones (%Z) do not tell which is meant; write the name itself into "
                "the format where all dates have the same (%Y-%m-%d CET), and give timezone"
            )
        if wrong:
            raise ValueError(
                f"expected ISO8601 or what strptime reads, with a year (%Y or %y), such as "
                f"%d.%m.%Y; got {form!r}{wrong}"
            )
        return form

    @field_validator("timezone")
    @classmethod
    def _name_a_known_zone(cls, name: str | None) -> str | None:
        try:
            return name if name is None else ZoneInfo(name).key
        except (OSError, ValueError, ZoneInfoNotFoundError):
            raise ValueError(
                f"expected the name of a time zone such as Europe/Berlin or UTC, got {name!r}"
            ) from None


class Split(Params):
    """Shares of the rows for validation and test; the rest is for training.

    Rows without the truth of any target are in no part.

    Attributes:
        validation: share of the rows with truth, of series of the steps at which the target is
            known, that are for validation.
        test: share of them that are for the test: the latest, where rows have a time.
    """

    validation: Share = 0.1
    test: Share = 0.1

    @model_validator(mode="after")
    def _leave_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test must leave rows for training, got "
                f"{self.validation} + {self.test}"
            )
        return self


WEEKDAYS = tuple(day_abbr)
"""Days of the week as ``data.series.closed`` names them: ``Mon`` to ``Sun``."""

_SHOWN_DAYS = 5

_SHORT_STEPS = re.compile(r"(\d*\.?\d*(D|B|C|h|min|s))+")
"""Frequencies of a day or less, as pandas writes them."""


def _closed_day(day: Any) -> Any:
    """A day on which a business has no steps, in one form: ``Sun``, ``12-25`` or ``2026-04-03``."""
    text = day.isoformat() if type(day) is dt.date else day
    if not isinstance(text, str):
        return text
    if text.lower() in (name.lower() for names in (day_name, day_abbr) for name in names):
        return text[:3].title()
    with suppress(ValueError):
        if re.fullmatch(r"\d\d-\d\d", text):
            return dt.date.fromisoformat(f"2000-{text}").isoformat()[len("2000-") :]
        return dt.date.fromisoformat(text).isoformat()
    raise ValueError(
        f"expected a day of the week such as Sun, a day of every year such as '12-25', or a date "
        f"such as '2026-04-03', got {text!r}"
    )


ClosedDay = Annotated[str, BeforeValidator(_closed_day)]
"""A day on which a business has no steps."""


class Series(Params):
    """Rows that are steps of one or several time series.

    Attributes:
        id: column that names the series of a row; without it all rows are one series. A list of
            columns, such as ``[store, product]``, names a series together: they are joined to the
            column ``series_id``, as in ``A|7``.
        frequency: distance of two steps as pandas writes it: ``15min``, ``h``, ``D``, ``B``
            (Monday to Friday), ``W-SUN`` (weeks named by their Sunday), ``MS`` and ``ME`` (months
            by their first or last day), ``QS-FEB`` (quarters that begin in February); without it
            every time is a step, however far apart (trading days).
        season: steps of a season, for the seasonal naive forecast and the unit of the errors.
        absent: column -> what it holds at a step at which other series have a value and this one
            has no row: a number, or ``previous`` for the value before. A step at which no series
            has a row is a hole, and stays one; so do the steps before a series begins and after it
            has ended.
        fill: column of ``features.windows.past`` -> what forecasts see in its holes, steps without
            a value of at most one season between two with one: a number, ``previous`` for the
            value before, or ``interpolate`` for the line to the value after. Without a rule no
            forecast looks into a hole. What is filled is only looked at: it is no truth, neither
            learned nor scored. No forecast sees a hole that is not over at its origin: the column
            has to have a value of its own there.
        begins: ``first_row``: a series begins with its first row; ``first_step``: all begin with
            the first step of the file, as where it starts in the middle of their life.
        ends_after: a series has ended with its last row when it lacks one at more of the later
            steps than this; a number beyond the length of the file for never. By default two
            seasons, or twice what it ever lacked between two rows if that is more.
        closed: days on which the business has no steps, by the clock of ``time``: days of the week
            (``Sun``), of every year (``"12-25"``) and single ones (``"2026-04-03"``). They are no
            holes: windows, lags, ``season`` and ``horizon`` count open steps, and a row on a closed
            day is refused. Goes with a ``frequency`` of a day, or of less.
        holidays: more closed days: ``US`` for the federal holidays of the United States, or the
            path of a CSV file, from the folder of the project, whose column ``date`` lists them.
            Have it list those to come: until the next training a service takes other days for open.
        id_columns: columns that are joined to the name of a series; give them as a list in ``id``.
    """

    id: str | None = None
    frequency: Length | None = None
    season: Annotated[int, Field(ge=1)]
    absent: dict[str, float | Literal["previous"]] = {}
    fill: dict[str, float | Literal["previous", "interpolate"]] = {}
    begins: Literal["first_row", "first_step"] = "first_row"
    ends_after: Annotated[int, Field(ge=0)] | None = None
    closed: list[ClosedDay] = []
    holidays: str | list[ClosedDay] | None = None
    id_columns: Annotated[list[str], NOT_SET] = []

    @model_validator(mode="after")
    def _close_days_of_a_frequency(self) -> Self:
        if not self.closed_days:
            return self
        if self.frequency is None:
            raise ValueError(
                "closed, holidays: without a frequency every row is a step, and a day without rows "
                "is none; leave them out, or set frequency"
            )
        if not _SHORT_STEPS.fullmatch(self.frequency):
            raise ValueError(
                f"closed, holidays: days are closed of a frequency such as D, B, h or 30min, and "
                f"not of {self.frequency}"
            )
        if {*WEEKDAYS} <= {*self.closed}:
            raise ValueError("closed: all days of the week are, and no step is left")
        return self

    @property
    def closed_days(self) -> list[str]:
        """Closed days in one list: ``closed``, and ``US`` or the dates of the holidays."""
        holidays = [self.holidays] if isinstance(self.holidays, str) else self.holidays or []
        return [*self.closed, *holidays]

    @property
    def closed_text(self) -> str:
        """Closed days in words; of many the first."""
        days = self.closed_days
        more = f" and {len(days) - _SHOWN_DAYS} more" if len(days) > _SHOWN_DAYS else ""
        return f"{', '.join(days[:_SHOWN_DAYS])}{more}"

    @model_validator(mode="before")
    @classmethod
    def _join_columns(cls, given: Any) -> Any:
        """A list in the place of the id names the columns that are joined to it."""
        return _joined(given, "id", SERIES_ID, "id_columns")

    @property
    def columns(self) -> list[str]:
        """Columns of the file that name the series of a row together; none where there is one."""
        return self.id_columns or ([self.id] if self.id else [])

    @property
    def label(self) -> str:
        """What names a series, in words."""
        return " and ".join(self.columns)


def _joined(given: Any, place: str, name: str, columns: str) -> Any:
    """Parameters in which a list of columns is a column that is joined of them."""
    if not isinstance(given, Mapping) or not isinstance(given.get(place), list | tuple):
        return given
    listed = list(given[place])
    if len(listed) == 1:
        return {**given, place: listed[0]}
    return {**given, place: name, columns: listed}


def _fixed_length(length: str) -> str:
    import pandas as pd

    try:
        known = pd.Timedelta(length)
    except ValueError:
        known = pd.Timedelta(0)
    if not known > pd.Timedelta(0):
        raise ValueError(f"expected a length of time above 0, such as 30D or 12h, got {length!r}")
    return length


class Evaluation(Params):
    """From which points in time candidates are scored: rolling origins.

    The test part is cut into windows. What is predicted in a window is predicted by models that
    have seen nothing of it; the cutoff before it is the last time that they may have seen. With
    ``refit`` this is what a retraining at every cutoff would have predicted. The validation rows,
    by which candidates are chosen and calibrated, are treated in the same way. For series, and for
    other targets whose folds follow the time.

    Attributes:
        windows: windows of the test part.
        step: steps of a window, from one cutoff to the next; of rows that are no steps of a series,
            different times. The last ``windows * step`` steps are then the test part in the place
            of ``data.split.test``, and the validation part before it has as many windows of this
            length, up to ``windows``, as leave 60 % of all steps to the training, but no less than
            ``data.split.validation``. Without it the shares of ``data.split`` stay, and the test
            part is cut into ``windows`` windows of the same length.
        refit: whether every candidate is fitted again before each later window, with the same
            hyper-parameters and calibration, on all rows whose truth was known by then; a number k:
            before every k-th window. Networks are trained on from the weights that they have.
            Otherwise one fit predicts all windows.
        delay: time from the time of a row to when its truth is known, such as ``30D``; of rows that
            are no steps of a series, whose horizon says it. Rows whose truth was not known yet when
            the first row of a later part or window came are not learned from for it; between two
            parts they are in neither. Folds of searches do not reckon with it.
    """

    windows: Annotated[int, Field(ge=1)] = 1
    step: Annotated[int, Field(ge=1)] | None = None
    refit: bool | Annotated[int, Field(ge=1)] = False
    delay: Annotated[Length, AfterValidator(_fixed_length)] | None = None

    @property
    def refits(self) -> bool:
        """Whether candidates are fitted again for later windows."""
        return self.windows > 1 and bool(self.refit)


ONE_WINDOW = Evaluation()
"""The parts are shares of the rows, and one fit of every candidate predicts the test."""


class Data(Params):
    """The raw file and how it becomes rows.

    Attributes:
        key: column that identifies a row; left out for series, whose rows are identified by series
            and time. A list of columns, such as ``[shop, product, week]``, identifies a row
            together: they are joined to the column ``row``, as in ``A|7|2015-01-04`` (a day as
            such, other times as ISO 8601).
        time: date column that orders the rows; without it the split is random.
        prepare: makes of the raw file a table with one row per case, before the contract.
        columns: name -> contract of a column of the file; others are dropped.
        required: columns without which a row is left out; a step of a series is then missing, not
            filled.
        positive: columns of numbers that have to be above 0: others count as missing, and the
            service refuses them; of a market its price.
        derive: name -> function of a further column, e.g. a target: one value per row. One may
            build on those above it.
        series: makes the rows steps of time series.
        calendar: parts of ``time`` that become columns: ``minute``, ``hour``, ``halfhour`` (of the
            day), ``dayofweek``, ``day``, ``month``, ``quarter``, ``dayofyear``, ``week`` (of ISO
            8601, 1 to 53: ``cyclic: {week: 53}``), ``year``, ``weekend``.
        split: shares of the rows for validation and test; the rest is for training. Rows without
            the truth of any target are in no part.
        train_rows: of series, how many training rows are learned from at most: as many are drawn at
            random, by the seed, where there are more. Windows still look at all rows, and so do the
            units of each series; validation and test rows are never left out.
        ahead: how far after now a row may lie whose truth is known, as pandas writes it, with a
            unit; null for any, where the clock of the data is not that of the world. A row further
            ahead is refused by name: as the last one that a model knows it would hold back all that
            follow. Rows of the future without truth are plans, and are answered.
        key_columns: columns that are joined to the key; give them as a list in ``key``.
    """

    key: str = SERIES_KEY
    time: str | None = None
    prepare: Derived | None = None
    columns: dict[str, Column]
    required: list[str] = []
    positive: list[str] = []
    derive: dict[str, Derived] = {}
    series: Series | None = None
    calendar: list[str] = []
    split: Split = Split()
    train_rows: Annotated[int, Field(ge=1)] | None = None
    ahead: Length | None = "1D"
    key_columns: Annotated[list[str], NOT_SET] = []

    @model_validator(mode="before")
    @classmethod
    def _join_columns(cls, given: Any) -> Any:
        """A list in the place of the key names the columns that are joined to it."""
        return _joined(given, "key", SERIES_KEY, "key_columns")

    @model_validator(mode="after")
    def _join_what_can_be_joined(self) -> Self:
        if self.key_columns and (self.series or self.key != SERIES_KEY):
            raise ValueError("key: expected one column, or several as a list; not of series")
        id_columns = self.series.id_columns if self.series else []
        for place, what, names in (
            ("key", "a row", self.key_columns),
            ("series.id", "a series", id_columns),
        ):
            if len({*names}) < len(names):
                raise ValueError(f"{place}: {names} names a column twice")
            for name in names:
                column = self.columns.get(name)
                if column and (column.type not in _JOINED or column.nullable):
                    raise ValueError(
                        f"{place}: column '{name}' must have one of the types {list(_JOINED)} and "
                        f"not be nullable, to name {what} together with others"
                    )
        if self.time and self.time in id_columns:
            raise ValueError(f"series.id: '{self.time}' is the time, which names no series")
        return self

    @model_validator(mode="after")
    def _name_known_columns(self) -> Self:
        lacking = not self.series and not self.key_columns
        if lacking and self.key == SERIES_KEY not in self.columns:
            raise ValueError(
                "key: expected the column that identifies a row, or a list of columns that do so "
                "together"
            )
        for place, names in {
            "key": [] if self.series else self.identity,
            "time": [self.time] if self.time else [],
            "required": self.required,
            "positive": self.positive,
            "series.id": self.series.columns if self.series else [],
            "series.absent": list(self.series.absent) if self.series else [],
        }.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(
                        f"{place}: '{name}' is not among the columns {list(self.columns)}"
                    )
        if self.time and self.columns[self.time].type != "date":
            raise ValueError(f"time: column '{self.time}' must have type 'date'")
        if self.time and self.columns[self.time].nullable and self.time not in self.required:
            raise ValueError(
                f"time: column '{self.time}' must not be nullable, or be among the required ones: "
                f"rows without a date have no place in the split"
            )
        return self

    @field_validator("ahead")
    @classmethod
    def _read_a_length(cls, length: str | None, info: ValidationInfo) -> str | None:
        if info.context == CHECKED:
            return length
        import pandas as pd

        try:
            right = length is None or pd.Timedelta(length) >= pd.Timedelta(0)
        except ValueError:
            right = False
        if not right:
            raise ValueError(f"expected a length of time such as 1D or 12h, got {length!r}")
        return length

    @model_validator(mode="after")
    def _order_series(self) -> Self:
        if self.series and self.key != SERIES_KEY:
            raise ValueError("key: rows of series are named by series and time; leave it out")
        if self.series and self.time is None:
            raise ValueError("series: time series need a 'time' column")
        if self.train_rows is not None and not self.series:
            raise ValueError("train_rows: for time series only (data.series)")
        if self.calendar and self.time is None:
            raise ValueError("calendar: needs a 'time' column")
        if unknown := [name for name in self.calendar if name not in CALENDAR]:
            raise ValueError(f"calendar: unknown {unknown}; known are {list(CALENDAR)}")
        return self

    @model_validator(mode="after")
    def _check_distinct_columns(self) -> Self:
        ours = {"split": "the part of a row"}
        if self.series:
            ours |= dict.fromkeys(self.calendar, "a part of the time (data.calendar)")
            ours |= {SERIES_KEY: "the key of a row", SERIES_ID: "the name of a series"}
        elif self.key_columns:
            ours |= {SERIES_KEY: "the key of a row (data.key)"}
        if self.series and not self.series.id_columns:
            ours.pop(self.series.id or "", None)
        for place, names in (("columns", self.columns), ("derive", self.derive)):
            for name in names:
                if name in ours:
                    raise ValueError(
                        f"{place}: the column name '{name}' is kept for {ours[name]}; leave the "
                        f"column out, or call it otherwise in the file or in data.prepare"
                    )
        return self

    @property
    def identity(self) -> list[str]:
        """Columns that identify a row together, of rows that are no steps of a series."""
        return self.key_columns or [self.key]

    @property
    def timezone(self) -> str | None:
        """Whose clock the time of the rows shows; ``None`` where it is as in the file."""
        return self.columns[self.time].timezone if self.time else None

    @property
    def functions(self) -> dict[str, Derived]:
        """What prepares the file and derives columns, by its place among these parameters."""
        named = {f"derive.{column}": derived for column, derived in self.derive.items()}
        return named | ({"prepare": self.prepare} if self.prepare else {})

    @property
    def row_time(self) -> str:
        """Column with the time of a row in tables of ours: ``time``, if no other is called so."""
        label, others = "time", {*self.known_columns} - {self.time}
        while label in others:
            label = f"_{label}"
        return label

    @property
    def known_columns(self) -> list[str]:
        """Columns that rows have before features are made of them."""
        return [*self.columns, *self.derive, *self.calendar]


Finding = Literal["fewer_rows", "reused_keys", "changed_rows", "cut_line"]
"""What a new file may do to rows that were known, or how it may end."""

FINDINGS: tuple[str, ...] = get_args(Finding)


class Landing(Params):
    """Where new raw files come from, and what they may do to rows that are known.

    Attributes:
        source: path of a file or a pattern such as ``/mnt/deliveries/sales-*.csv``, on this
            machine or wherever fsspec reads (``s3://bucket/sales-*.csv``). Of several files the
            last one by name is taken: put the date into the name. A relative path belongs to the
            project. Without it files are put in place by hand.
        storage_options: options of fsspec; secrets belong into the environment.
        allow: findings that are no reason to refuse a file: ``fewer_rows`` (known rows are gone),
            ``reused_keys`` (a key names a row of another time), ``changed_rows`` (known values are
            others now) and ``cut_line`` (the last line of a CSV file seems to be cut off).
        by_hand: what is done where a raw file that was put in place without landing does to the
            rows of the champion what is not allowed: ``warn`` (in the log of a run, in the answer
            of ``kedro ratchet fresh``, as an alert of the monitoring), ``refuse`` (a run that reads
            it and ``fresh`` end with an error), or ``ignore`` it.
    """

    source: str | None = None
    storage_options: dict[str, str | int | float | bool] = {}
    allow: list[Finding] = []
    by_hand: Literal["warn", "refuse", "ignore"] = "warn"
