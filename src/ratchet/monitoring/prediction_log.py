"""The prediction log: every answer of a model, and what came true.

A table in the database of the project. Batch scoring and the service write to it, monitoring and
the status page read it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from ratchet.database import shown
from ratchet.errors import ConfigError
from ratchet.monitoring.log_rows import (
    KEY,
    PREDICTIONS,
    Record,
    frame_of,
    naive_utc,
    records_of,
    split_values,
)

LOGGER = logging.getLogger(__name__)
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class PredictionLog:
    """Predictions of all use cases, with their truth once it is known.

    Everything that is written may be written again: an answer is told by use case, target, row
    key, version, arm, source and request, and is kept once. Every call is one transaction, so
    that a process killed in the middle leaves all of a call or nothing.

    Moments are kept in UTC; one without time zone is taken to be in UTC.

    Args:
        engine: of SQLite or PostgreSQL, see ``ratchet.database.connect``.

    Raises:
        ConfigError: another database; or, by any method, one that cannot be used.
    """

    def __init__(self, engine: sa.Engine) -> None:
        if engine.dialect.name not in _INSERTS:
            raise ConfigError(
                f"predictions are logged in SQLite or PostgreSQL, not in {engine.dialect.name}"
            )
        self._engine = engine
        self._made = False

    def write(
        self,
        use_case: str,
        version: str,
        predictions: Mapping[str, pd.DataFrame],
        *,
        arm: str,
        source: str,
        latency_ms: float | pd.Series | None = None,
        at: datetime,
        times: pd.Series | None = None,
        request: str = "",
    ) -> int:
        """Write answers of a model down, each once.

        Args:
            use_case: name of the use case.
            version: number of the model version.
            predictions: target -> tidy rows, indexed by row key: ``prediction``, and where there
                are any ``low``, ``high``, ``probability_<class>``, ``time``, ``series``,
                ``scale``, ``rms``. A truth among the columns is left out: it is joined later.
            arm: for what the model answered, such as ``champion`` or ``shadow``.
            source: ``batch`` or ``service``.
            latency_ms: time of one answer in milliseconds, or of each by row key.
            at: when the answers were given.
            times: row key -> time of the row, for rows without a column ``time``.
            request: tells requests for the same row apart; ``""`` where a row is asked once.

        Returns:
            How many were new. An answer that is not finite is written as a failed one.
        """
        common: Record = {"use_case": use_case, "version": version, "arm": arm, "source": source}
        common |= {"request": request, "predicted_at": naive_utc(at)}
        records = []
        for target, rows in predictions.items():
            timed = rows if times is None else rows.assign(time=times.reindex(rows.index))
            records += [
                common | {"target": target} | record for record in records_of(timed, latency_ms)
            ]
        return self._insert(records)

    def write_error(
        self,
        use_case: str,
        version: str,
        row_key: str,
        error: str,
        *,
        arm: str,
        source: str,
        at: datetime,
        target: str = "",
        latency_ms: float | None = None,
        time: datetime | None = None,
        request: str = "",
    ) -> int:
        """Write down that a row got no answer.

        Args:
            use_case: name of the use case.
            version: number of the model version.
            row_key: the row.
            error: what went wrong.
            arm: for what the model should have answered.
            source: ``batch`` or ``service``.
            at: when.
            target: the target; ``""`` if none of the use case's targets was answered.
            latency_ms: how long it took to fail, in milliseconds.
            time: time of the row.
            request: tells requests for the same row apart.

        Returns:
            1, or 0 if it was written before.
        """
        record = {
            **{"use_case": use_case, "target": target, "row_key": row_key, "version": version},
            **{"arm": arm, "source": source, "request": request, "failed": True},
            **{"error": error, "latency_ms": latency_ms, "predicted_at": naive_utc(at)},
            "row_time": None if time is None else naive_utc(time),
        }
        return self._insert([record])

    def join_truth(self, use_case: str, target: str, truth: pd.Series, at: datetime) -> int:
        """Write down what came true, beside every answer for these rows.

        A truth that differs from the one that stands there is a correction: it replaces it, with
        its own ``truth_at``; the first one is kept as ``first_truth``, and a warning is logged.

        Args:
            use_case: name of the use case.
            target: name of the target.
            truth: row key -> truth, a number or the name of a class. Missing and infinite values
                are left out.
            at: when it was learned.

        Returns:
            How many answers got a truth, or another one.
        """
        values, labels = split_values(truth)
        params = [
            {"of": str(key), "value": value, "label": label, "at": naive_utc(at)}
            for key, value, label in zip(truth.index, values, labels, strict=True)
            if value is not None or label is not None
        ]
        if not params:
            return 0
        with self._begin() as connection:
            new = connection.execute(_first_truth(use_case, target), params).rowcount
            mended = connection.execute(_other_truth(use_case, target), params).rowcount
        if mended:
            LOGGER.warning(
                "%s: the truth of %d logged predictions of %s was corrected; the first one is "
                "kept as first_truth",
                *(use_case, mended, target),
            )
        return new + mended

    def rows(
        self,
        use_case: str,
        target: str | None = None,
        version: str | None = None,
        since: datetime | None = None,
        *,
        arm: str | None = None,
    ) -> pd.DataFrame:
        """What was answered.

        Args:
            use_case: name of the use case.
            target: answers for this target only, with the errors that met all targets.
            version: answers of this version only.
            since: rows from this moment on, by their own time, or by that of the answer where
                they have none.
            arm: answers of this arm only.

        Returns:
            Indexed by row key, in the order of their time: the columns of the table, with
            ``prediction``, ``truth`` and ``first_truth`` as numbers or class names, and
            ``probability_<class>``.
        """
        table = PREDICTIONS.c
        moment = sa.func.coalesce(table.row_time, table.predicted_at)
        wanted = sa.select(PREDICTIONS).where(table.use_case == use_case)
        if target is not None:
            wanted = wanted.where(table.target.in_([target, ""]))
        if version is not None:
            wanted = wanted.where(table.version == version)
        if since is not None:
            wanted = wanted.where(moment >= naive_utc(since))
        if arm is not None:
            wanted = wanted.where(table.arm == arm)
        with self._begin() as connection:
            result = connection.execute(wanted.order_by(moment, table.id))
            names = list(result.keys())
            return frame_of([dict(row) for row in result.mappings()], names)

    def prune(
        self, use_case: str, keep_days: int, now: datetime, *, but_version: str | None = None
    ) -> int:
        """Forget answers that were given more than ``keep_days`` days before ``now``.

        Args:
            use_case: name of the use case.
            keep_days: how long answers are kept.
            now: the present moment.
            but_version: a version whose answers are kept however old, such as the champion: what
                it has answered is not to be asked again.

        Returns:
            How many were forgotten.
        """
        oldest = naive_utc(now) - timedelta(days=keep_days)
        table = PREDICTIONS.c
        old = sa.delete(PREDICTIONS).where(table.use_case == use_case, table.predicted_at < oldest)
        if but_version is not None:
            old = old.where(table.version != but_version)
        with self._begin() as connection:
            return connection.execute(old).rowcount

    def _insert(self, records: list[Record]) -> int:
        if not records:
            return 0
        insert = _INSERTS[self._engine.dialect.name](PREDICTIONS)
        # RETURNING gives the rows that were new, which no row count of a driver does reliably.
        once = insert.on_conflict_do_nothing(index_elements=KEY).returning(PREDICTIONS.c.id)
        with self._begin() as connection:
            return len(connection.execute(once, records).all())

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A transaction, in a database that has the table."""
        try:
            self._make_table()
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            where = shown(self._engine.url.render_as_string(hide_password=True))
            raise ConfigError(f"cannot log predictions in {where}: {error.orig}") from error

    def _make_table(self) -> None:
        if self._made:
            return
        try:
            with self._engine.begin() as connection:
                connection.execute(CreateTable(PREDICTIONS, if_not_exists=True))
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            # PostgreSQL: two that make it at once both find it missing.
            if not sa.inspect(self._engine).has_table(PREDICTIONS.name):
                raise
        self._made = True


def _of_row(use_case: str, target: str) -> sa.Update:
    table = PREDICTIONS.c
    return sa.update(PREDICTIONS).where(
        table.use_case == use_case,
        table.target == target,
        table.row_key == sa.bindparam("of"),
    )


def _first_truth(use_case: str, target: str) -> sa.Update:
    table = PREDICTIONS.c
    return _with_truth(_of_row(use_case, target)).where(
        table.truth_value.is_(None), table.truth_label.is_(None)
    )


def _other_truth(use_case: str, target: str) -> sa.Update:
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


def _with_truth(update: sa.Update) -> sa.Update:
    return update.values(
        truth_value=_value(), truth_label=_label(), truth_at=sa.bindparam("at", type_=sa.DateTime)
    )


def _value() -> sa.BindParameter[float]:
    return sa.bindparam("value", type_=sa.Double)


def _label() -> sa.BindParameter[str]:
    return sa.bindparam("label", type_=sa.Text)
