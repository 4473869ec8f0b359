"""What is asked and what is answered: plain values, without pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from ratchet.errors import UserError

Row = Mapping[str, Any]
"""Raw fields of a row by column of the contract, as JSON has them."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one target of one row.

    Attributes:
        value: a number in the units of the target, or the most probable class.
        low: lower end of the conformal interval, of a number.
        high: its upper end.
        probabilities: calibrated probability of every class, of classes.
    """

    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a version says of one row.

    Attributes:
        key: key of the row, as the prediction log has it.
        predictions: target -> what is said of it.
        time: time of the row in UTC, without zone, where the use case has one.
        series: name of its series.
        scale: what a typical naive error is there, in units of the target, of series.
        rms: the same as a root mean square.
        not_given: optional columns that the row left out, and that a model would look at.
        basis: what a forecast is based on, where that is not the usual past.
        step: how many steps after the last known value it is, of a path.
        row_hash: hash of what the row says, see ``preparation.fingerprints``; ``None`` of series.
    """

    key: str
    predictions: Mapping[str, Prediction]
    time: datetime | None = None
    series: str | None = None
    scale: float | None = None
    rms: float | None = None
    not_given: Sequence[str] = field(default=())
    basis: str | None = None
    step: int | None = None
    row_hash: str | None = None


class RequestError(UserError):
    """A row cannot be answered: names the row, the field and what was expected.

    Args:
        message: what is wrong and what was expected.
        field: the column; ``None`` where it is no matter of one.
        row: number of the row in the request, from 0.
        kind: ``invalid`` values will always be wrong; a ``conflict`` may be resolved, such as
            measurements that are still missing.

    Attributes:
        others: what else is wrong with the row.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        row: int = 0,
        kind: Literal["invalid", "conflict"] = "invalid",
    ) -> None:
        super().__init__(message)
        self.field = field
        self.row = row
        self.kind = kind
        self.others: Sequence[RequestError] = ()


class Answerer(Protocol):
    """One version of the models of a use case that answers raw fields."""

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, in their order.

        Raises:
            RequestError: the first row that cannot be answered.
        """
        ...

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements of steps that are over, of series; nothing for other use cases.

        A measurement of a step that is known already replaces it; order does not matter.

        Raises:
            RequestError: the first row that breaks the contract. None of the rows is taken then.
        """
        ...
