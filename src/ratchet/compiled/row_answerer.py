"""Answers for rows that stand for themselves: fields, history, encoding, models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.compiled.answers import Answer, Prediction, RequestError, Row
from ratchet.compiled.contract import Contract, contract_of
from ratchet.compiled.dates import as_microseconds, in_utc
from ratchet.compiled.derived_columns import DerivedColumn, add_columns, derived_columns
from ratchet.compiled.encoding import LARGEST, Encoding, compile_encoder
from ratchet.compiled.field_values import Values
from ratchet.compiled.history import History, compile_history
from ratchet.compiled.models import Array, Program
from ratchet.compiled.prices import CompiledBook
from ratchet.compiled.row_hashes import row_hash
from ratchet.compiled.serialization import NotCompilable, program
from ratchet.config import UseCase, joined_key, plain


@program
@dataclass(frozen=True)
class RowAnswerer:
    """One version of the models of a use case without series.

    Attributes:
        contract: what rows may and have to have.
        parts: calendar columns that features are made of.
        derived: derived columns that features are made of.
        features: columns of the rows -> what they are called among the features.
        history: statistics from earlier rows, where models use them.
        prefix: how columns of the history start among the features.
        encoding: features as numbers.
        models: target -> its model.
        hashed: columns by which a row is identified -> their types.
        prices: what prices the segments of a market, where there is one.
    """

    contract: Contract
    parts: list[str]
    derived: list[DerivedColumn]
    features: dict[str, str]
    history: History | None
    prefix: str
    encoding: Encoding
    models: dict[str, Program]
    hashed: dict[str, str]
    prices: CompiledBook | None = None

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, each by itself: those of one request do not see each other.

        Raises:
            RequestError: the first row that cannot be answered.
        """
        if not rows:
            return []
        read = self.contract.read_rows(rows)
        encoded = self.encoding(self._columns(read), len(read))
        _check_size(encoded, self.encoding)
        answers = {name: predictions(model, encoded) for name, model in self.models.items()}
        time = self.contract.time
        return [
            Answer(
                key=self._key(values),
                predictions={name: column[number] for name, column in answers.items()},
                time=None if time is None or values[time] is None else in_utc(values[time]),
                not_given=self.contract.not_given(values),
                row_hash=row_hash(values, self.hashed),
            )
            for number, values in enumerate(read)
        ]

    def observe(self, rows: Sequence[Row]) -> None:
        """Take nothing: outcomes of rows are used by the next version only."""

    def _key(self, values: Values) -> str:
        names = self.contract.names_row
        if len(names) == 1:
            return str(values[names[0]])
        return joined_key(values[name] for name in names)

    def _columns(self, read: Sequence[Values]) -> dict[str, Any]:
        """Values by feature."""
        derived = self._derive(read) if self.parts or self.derived else {}
        columns: dict[str, Any] = {
            feature: derived[name] if name in derived else [values[name] for values in read]
            for name, feature in self.features.items()
        }
        history = self.history
        if history is not None:
            own_events = [self._own_event(values, row) for row, values in enumerate(read)]
            lists = [[values[name] for values in read] for name in history.entities]
            features = history(lists, np.array(own_events), [self._key(values) for values in read])
            columns |= {
                f"{self.prefix}{name}": features[:, position]
                for position, name in enumerate(history.columns)
            }
        return columns

    def _derive(self, read: Sequence[Values]) -> Mapping[str, Any]:
        """Calendar and derived columns."""
        fields, time = self.contract.fields, self.contract.time
        sources = {name for column in self.derived for name in column.sources if name in fields}
        given = {
            name: np.array(
                [values[name] for values in read],
                dtype=np.float64 if fields[name].type in ("integer", "number") else object,
            )
            for name in sources
        }
        clock = None
        if time is not None:
            shown = [values[time].replace(tzinfo=None) for values in read]
            clock = np.array(shown, dtype="datetime64[us]")
        return add_columns(given, clock, self.parts, self.derived)

    def _own_event(self, values: Values, row: int) -> int:
        name = self.history.looked_up if self.history else ""
        if values[name] is None:
            raise RequestError(
                f"row {row}, field '{name}': expected {self.contract.fields[name].expected}; "
                f"without it, it is not known what came before the row",
                field=name,
                row=row,
            )
        return as_microseconds(values[name])


def predictions(model: Program, encoded: Array) -> list[Prediction]:
    """What a model says of rows.

    Args:
        model: gives value and ends of an interval, shape (n, 3), or probabilities of ``classes``.
        encoded: shape (n, columns).
    """
    output = model(encoded)
    classes: Sequence[str] | None = getattr(model, "classes", None)
    if classes is None:
        return [Prediction(value, low, high) for value, low, high in output.tolist()]
    best = output.argmax(axis=1).tolist()
    return [
        Prediction(classes[position], probabilities=dict(zip(classes, shares, strict=True)))
        for position, shares in zip(best, output.tolist(), strict=True)
    ]


def _check_size(encoded: Array, encoding: Encoding) -> None:
    """Make sure that numbers are finite ones that models can hold."""
    if np.isinf(encoded).any():
        row, column = np.argwhere(np.isinf(encoded))[0]
        name = plain(encoding.names[column])
        raise RequestError(
            f"row {row}, field '{name}': expected a finite number up to {LARGEST:.2g}, the "
            f"largest that models hold",
            field=name,
            row=int(row),
        )


def compile_rows(
    use_case: UseCase,
    encoder: Any,
    models: Mapping[str, Any],
    context: Any,
    types: Mapping[str, str],
) -> RowAnswerer:
    """Compile a version of a use case without series.

    Args:
        use_case: the parameters.
        encoder: the fitted encoder of the features.
        models: target -> its fitted model.
        context: typed rows that later rows look back at; ``None`` where they do not.
        types: feature -> type that the training rows had.

    Raises:
        NotCompilable: something in it has no compiled form.
    """
    from ratchet.compiled.estimators import compile_estimator
    from ratchet.config import HISTORY_PREFIX, apart
    from ratchet.preparation.fingerprints import hashed_columns
    from ratchet.preparation.required_columns import source_columns

    data, features = use_case.data, use_case.features
    contract = contract_of(use_case)
    needed = source_columns(features.encoded, data)
    derived = derived_columns(data, needed)
    if apart_from := [column.name for column in derived if column.back or column.ahead]:
        raise NotCompilable(f"the derived columns {apart_from} look at other rows")
    encoding = compile_encoder(encoder, types)
    return RowAnswerer(
        contract=contract,
        parts=[part for part in data.calendar if part in needed],
        derived=derived,
        features={name: apart(name) for name in features.encoded},
        history=_compile_history(use_case, context),
        prefix=HISTORY_PREFIX,
        encoding=encoding,
        models={name: compile_estimator(models[name], encoding.names) for name in models},
        hashed={name: column.type for name, column in hashed_columns(use_case).items()},
    )


def _compile_history(use_case: UseCase, context: Any) -> History | None:
    from ratchet.preparation.row_features import derive_columns

    history, data = use_case.features.history, use_case.data
    if history is None:
        return None
    if context is None:
        raise NotCompilable("rows with history need the rows before them, and there are none")
    sources = [*history.entities, history.looked_up]
    if derived := [name for name in sources if name not in data.columns]:
        raise NotCompilable(f"history of the derived columns {derived} has no compiled form")
    whole = derive_columns(context.dropna(subset=data.required), data)
    return compile_history(
        whole.sort_values([*([data.time] if data.time else []), data.key]), history, data.key
    )
