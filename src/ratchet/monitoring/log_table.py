"""The table of predictions: its columns, and how rows are written once and get their truth.

Without pandas: the service writes to it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from ratchet.errors import ConfigError, hide_secrets

Record = dict[str, Any]
"""A row of the table, by column."""

HASH_HEAD = 5
"""Characters of a row's hash that name its columns: hashes of other columns do not compare."""

NO_ANSWER = "the model gave no finite answer"
"""Error of an answer that is no finite number, or whose probabilities are not."""

KEY = ("use_case", "target", "row_key", "version", "arm", "source", "request", "failed")
"""Columns that identify an answer: the same one is stored once."""

CHAMPION, SHADOW, CHALLENGER, WITHOUT_PAST = "champion", "shadow", "challenger", "without_past"
"""Arms: for what a version answered. As the champion; unseen, beside it; in its place, for a share
of a split; or, of a row whose past is not known, by the row alone, which is not scored as usual."""

METADATA = sa.MetaData()
PREDICTIONS = sa.Table(
    "ratchet_predictions",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("use_case", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("row_time", sa.DateTime),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("failed", sa.Boolean, nullable=False),
    sa.Column("predicted_at", sa.DateTime, nullable=False),
    # Numbers and class names stand in columns of their own, so that a database can average.
    sa.Column("prediction_value", sa.Double),
    sa.Column("prediction_label", sa.Text),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
    sa.Column("probabilities", sa.Text),
    sa.Column("series", sa.Text),
    sa.Column("scale", sa.Double),
    sa.Column("rms", sa.Double),
    sa.Column("latency_ms", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("truth_value", sa.Double),
    sa.Column("truth_label", sa.Text),
    sa.Column("truth_at", sa.DateTime),
    sa.Column("first_truth_value", sa.Double),
    sa.Column("first_truth_label", sa.Text),
    sa.Column("row_hash", sa.Text),
    sa.Column("renamed_hash", sa.Text),
    # Of a split: hash of whom the answer is for, and the share of the challenger at that time.
    sa.Column("subject", sa.Text),
    sa.Column("split_share", sa.Double),
    # Of a path: how many steps after its origin the row is.
    sa.Column("step", sa.Integer),
    sa.UniqueConstraint(*KEY, name="ratchet_predictions_once"),
)

PRICE_KEY = ("use_case", "merchant", "product", "version", "arm", "request")
"""Columns that identify a recommended price: the same one is stored once."""

PRICES = sa.Table(
    "ratchet_prices",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("use_case", sa.Text, nullable=False),
    sa.Column("merchant", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("recommended_at", sa.DateTime, nullable=False),
    # As the request gave it: the step that the price is for.
    sa.Column("date", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    *(
        sa.Column(name, sa.Double)
        for name in (
            *("price", "current_price", "unit_cost", "capacity"),
            *("demand", "demand_low", "demand_high", "profit", "profit_low", "profit_high"),
            *("gain", "gain_low", "gain_high", "elasticity", "latency_ms"),
        )
    ),
    sa.Column("subject", sa.Text),
    sa.Column("split_share", sa.Double),
    sa.UniqueConstraint(*PRICE_KEY, name="ratchet_prices_once"),
)
"""Recommended prices, with what was expected of them; money and units per step."""

_KEYS = {PREDICTIONS.name: KEY, PRICES.name: PRICE_KEY}

INSERTS: Mapping[str, Callable[[sa.Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
"""Statements of the supported databases that can skip or update rows that are there already."""


class Truth(NamedTuple):
    """What came true of one target of one row.

    Attributes:
        row_key: the row.
        value: a number, or
        label: the name of a class.
        row_hash: hash of the row, see ``preparation.fingerprints``; empty where it is not known.
    """

    row_key: str
    value: float | None
    label: str | None
    row_hash: str = ""


class LogTable:
    """The table in a database; it is made, or gets the columns that it lacks, when first used.

    Args:
        engine: of SQLite or PostgreSQL.

    Raises:
        ConfigError: another database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        if engine.dialect.name not in INSERTS:
            raise ConfigError(
                f"predictions are logged in SQLite or PostgreSQL, not in {engine.dialect.name}"
            )
        self.engine = engine
        self._made: set[str] = set()

    def insert(self, records: Sequence[Record], table: sa.Table = PREDICTIONS) -> int:
        """Write rows in one transaction, each once.

        Args:
            records: the rows.
            table: ``PREDICTIONS``, or ``PRICES``.

        Returns:
            How many were new.

        Raises:
            ConfigError: the database cannot be reached or changed, or is locked.
        """
        if not records:
            return 0
        insert = INSERTS[self.engine.dialect.name](table)
        # RETURNING gives the rows that were new, which no row count of a driver does reliably.
        once = insert.on_conflict_do_nothing(index_elements=_KEYS[table.name]).returning(table.c.id)
        with self.begin(table) as connection:
            return len(connection.execute(once, list(records)).all())

    def join_truth(
        self, use_case: str, target: str, truths: Sequence[Truth], at: datetime
    ) -> tuple[int, int]:
        """Write truth beside every answer for these rows, in one transaction.

        A truth that differs from the stored one replaces it; the first one remains as well.

        Args:
            use_case: name of the use case.
            target: name of the target.
            truths: of the rows; each has a value or a label.
            at: when it was learned, in UTC, without zone.

        Returns:
            How many answers got a truth, and how many another one.
        """
        if not truths:
            return 0, 0
        params = [
            {"of": one.row_key, "value": one.value, "label": one.label, "at": at}
            | {"hash": one.row_hash}
            for one in truths
        ]
        with self.begin() as connection:
            new = connection.execute(first_truth(use_case, target), params).rowcount
            mended = connection.execute(other_truth(use_case, target), params).rowcount
        return new, mended

    def has_prices(self) -> bool:
        """Whether any price was ever written down."""
        return sa.inspect(self.engine).has_table(PRICES.name)

    @contextmanager
    def begin(self, table: sa.Table = PREDICTIONS) -> Iterator[sa.Connection]:
        """A transaction, in a database that has the table."""
        try:
            self._make(table)
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            where = hide_secrets(self.engine.url.render_as_string(hide_password=True))
            raise ConfigError(f"cannot log predictions in {where}: {error.orig}") from error

    def _make(self, table: sa.Table) -> None:
        if table.name in self._made:
            return
        try:
            with self.engine.begin() as connection:
                connection.execute(CreateTable(table, if_not_exists=True))
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            # PostgreSQL: two that make it at once both find it missing.
            if not sa.inspect(self.engine).has_table(table.name):
                raise
        self._add_columns(table)
        self._made.add(table.name)

    def _add_columns(self, table: sa.Table) -> None:
        """Add the columns that a table of an earlier release lacks."""
        existing = self._columns(table)
        for column in [column for column in table.columns if column.name not in existing]:
            kind = column.type.compile(self.engine.dialect)
            add = sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
            try:
                with self.engine.begin() as connection:
                    connection.execute(add)
            except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
                if column.name in self._columns(table):
                    continue  # another process was quicker
                if isinstance(error, sa.exc.OperationalError):  # such as one that is locked
                    raise
                raise ConfigError(
                    f"the table {table.name} is of an earlier release, and cannot be "
                    f"changed: {error.orig}; let its owner run `{add}`"
                ) from error

    def _columns(self, table: sa.Table) -> set[str]:
        return {one["name"] for one in sa.inspect(self.engine).get_columns(table.name)}


def first_truth(use_case: str, target: str) -> sa.Update:
    """Statement that gives answers without a truth theirs."""
    table = PREDICTIONS.c
    return _with_truth(_of_row(use_case, target)).where(
        table.truth_value.is_(None), table.truth_label.is_(None)
    )


def other_truth(use_case: str, target: str) -> sa.Update:
    """Statement that corrects a truth that differs, and keeps the first one."""
    table = PREDICTIONS.c
    differs = sa.or_(
        table.truth_value.is_distinct_from(_value()), table.truth_label.is_distinct_from(_label())
    )
    # The right sides are the values from before the update.
    first = {
        f"first_{name}": sa.func.coalesce(table[f"first_{name}"], table[name])
        for name in ("truth_value", "truth_label")
    }
    return (
        _with_truth(_of_row(use_case, target))
        .values(first)
        .where(sa.or_(table.truth_value.is_not(None), table.truth_label.is_not(None)), differs)
    )


def _of_row(use_case: str, target: str) -> sa.Update:
    table, text = PREDICTIONS.c, sa.bindparam("hash", type_=sa.Text)
    before = sa.func.coalesce(table.row_hash, text)
    heads = [sa.func.substr(of, 1, HASH_HEAD) for of in (before, text)]
    return sa.update(PREDICTIONS).where(
        table.use_case == use_case,
        table.target == target,
        table.row_key == sa.bindparam("of"),
        # Hashes of other columns say nothing of the row, see ``values.is_other``.
        sa.or_(before == text, heads[0] != heads[1]),
    )


def _with_truth(update: sa.Update) -> sa.Update:
    return update.values(
        truth_value=_value(), truth_label=_label(), truth_at=sa.bindparam("at", type_=sa.DateTime)
    )


def _value() -> sa.BindParameter[float]:
    return sa.bindparam("value", type_=sa.Double)


def _label() -> sa.BindParameter[str]:
    return sa.bindparam("label", type_=sa.Text)
