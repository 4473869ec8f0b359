"""Rows of a request under the contract of the use case, without pandas."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ratchet.compiled.answers import RequestError, Row
from ratchet.compiled.dates import in_utc
from ratchet.compiled.field_values import LONGEST_SHOWN, Field, Values, shown
from ratchet.compiled.serialization import program

if TYPE_CHECKING:
    from ratchet.config import Column, UseCase

_TOLD = 20  # wrong fields of one row


@program
@dataclass(frozen=True)
class Contract:
    """What a row to be answered may and has to have.

    Attributes:
        fields: by name of the column.
        names_row: columns that no two rows of a request have in common: the key, or the time and
            the name of the series.
        time: column of the row's time.
    """

    fields: dict[str, Field]
    names_row: list[str]
    time: str | None = None

    def read_rows(self, rows: Sequence[Row]) -> list[Values]:
        """Read the rows of a request, see ``read_row``.

        Raises:
            RequestError: the first row that breaks the contract, or is there twice.
        """
        read = [self.read_row(row, number) for number, row in enumerate(rows)]
        first_rows: dict[Hashable, int] = {}
        for number, values in enumerate(read):
            name = [values[column] for column in self.names_row]
            # Times of one zone are compared by their clock, which shows an hour twice in autumn.
            moments = tuple(in_utc(v) if isinstance(v, dt.datetime) else v for v in name)
            if (other := first_rows.setdefault(moments, number)) != number:
                columns = " and ".join(f"'{column}'" for column in self.names_row)
                raise RequestError(
                    f"row {number}: expected no two rows of one {columns}, row {other} has the "
                    f"same: {', '.join(map(str, name))}",
                    field=self.names_row[-1],
                    row=number,
                )
        return read

    def read_row(self, row: Row, number: int = 0) -> Values:
        """Read the fields of a row: types, bounds and allowed values.

        More is asked than of a file, for a mistake in a request is better said than guessed:
        unknown fields, NaN, and lists or objects where text is expected are refused, as are texts
        of more than 1,000 characters and lists of more than 1,000 parts.

        Args:
            row: fields by name, values as JSON has them.
            number: place of the row in the request, from 0.

        Raises:
            RequestError: names the row and the field, and says what was expected; ``others`` says
                the same of the other fields that are wrong.
        """
        if not row.keys() <= self.fields.keys():
            raise self._all_wrong(row, number)
        try:
            return {name: _value(name, field, row, number) for name, field in self._fields}
        except RequestError:
            raise self._all_wrong(row, number) from None

    def _all_wrong(self, row: Row, number: int) -> RequestError:
        """The first thing that is wrong with a row, with all others."""
        wrong = [self._unknown(name, number) for name in row if name not in self.fields][:_TOLD]
        for name, field in self._fields:
            try:
                _value(name, field, row, number)
            except RequestError as error:
                wrong.append(error)
        wrong[0].others = wrong[1:_TOLD]
        return wrong[0]

    def not_given(self, values: Values) -> list[str]:
        """Fields that a model looks at and the row does not have."""
        return [name for name in self._optional if values[name] is None]

    @cached_property
    def _fields(self) -> list[tuple[str, Field]]:
        return list(self.fields.items())

    @cached_property
    def _optional(self) -> list[str]:
        return [name for name, field in self.fields.items() if field.seen and not field.required]

    def _unknown(self, name: Any, number: int) -> RequestError:
        text = str(name)[:LONGEST_SHOWN]
        near = difflib.get_close_matches(text, self.fields, n=1)
        hint = f"; is '{near[0]}' meant?" if near else "."
        return RequestError(
            f"row {number}: unknown field '{text}'{hint} Known are {', '.join(self.fields)}",
            field=text,
            row=number,
        )


def contract_of(use_case: UseCase, *, measured: bool = False) -> Contract:
    """What rows of a use case may and have to have.

    Args:
        use_case: the parameters.
        measured: measurements, as rows of the raw file, instead of rows to be answered. What they
            leave out may follow; only time and series have to be there.
    """
    from ratchet.preparation.required_columns import RequiredColumns, source_columns

    data, required, features = use_case.data, RequiredColumns(use_case), use_case.features
    requested = list(data.columns) if measured else required.columns
    history = features.history
    looked = [*features.encoded, *([*history.entities, history.looked_up] if history else [])]
    used = source_columns(looked, data)
    names = [*data.series.columns, data.time] if data.series else data.identity
    fields = {
        name: _field(
            column,
            required=name in requested and (not column.nullable or name in required.required),
            seen=name in used,
            may_follow=measured and name not in names,
            positive=name in data.positive,
        )
        for name, column in data.columns.items()
    }
    return Contract(fields, [name for name in names if name], data.time)


def _field(
    column: Column, *, required: bool, seen: bool, may_follow: bool, positive: bool
) -> Field:
    dates = column.type == "date"
    low, high = (None if isinstance(end, dt.date) else end for end in (column.low, column.high))
    first, last = (str(end) if dates and end else None for end in (column.low, column.high))
    return Field(
        type=column.type,
        required=required,
        may_follow=may_follow,
        seen=seen,
        separator=column.separator,
        low=low,
        high=high,
        first=first,
        last=last,
        values=column.values,
        format=column.format,
        unit=column.unit,
        dayfirst=column.dayfirst,
        timezone=column.timezone,
        positive=positive,
    )


def _value(name: str, field: Field, row: Row, number: int) -> Any:
    """Read one field of a row."""
    content = row.get(name)
    try:
        value = None if content is None else field.read(content)
    except ValueError as error:
        raise _refused(name, field, content, number, str(error)) from None
    if value is None and field.required and not (field.may_follow and name not in row):
        why = "it cannot be empty" if name in row else "it is missing"
        raise _refused(name, field, None, number, why)
    return value


def _refused(name: str, field: Field, content: Any, number: int, why: str) -> RequestError:
    got = "" if content is None else f", got {shown(content)}"
    return RequestError(
        f"row {number}, field '{name}': expected {field.expected}{got}{f'; {why}' if why else ''}",
        field=name,
        row=number,
    )
