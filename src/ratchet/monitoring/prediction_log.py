"""The prediction log: every answer of a model, and what came true.

A table in the database of the project. Batch scoring and the service write to it, monitoring and
the status page read it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ratchet.database import naive_utc
from ratchet.monitoring.log_table import NO_ANSWER, PREDICTIONS, PRICES, LogTable, Record, Truth
from ratchet.values import is_among, is_other

LOGGER = logging.getLogger(__name__)


class PredictionLog:
    """Predictions of all use cases, with their truth once it is known.

    Everything may be written again: an answer is identified by use case, target, row
    key, version, arm, source and request, and is kept once. Every call is one transaction, so
    that a process killed in the middle leaves all of a call or nothing.

    Moments are kept in UTC; one without time zone is taken to be in UTC.

    Args:
        engine: of SQLite or PostgreSQL, see ``ratchet.database.connect``.

    Raises:
        ConfigError: another database; or, by any method, one that cannot be reached or changed.
        DatabaseError: by any method: a file of SQLite that cannot be opened, read or written.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._table = LogTable(engine)

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
        hashes: pd.Series | None = None,
    ) -> int:
        """Write answers of a model down, each once.

        Args:
            use_case: name of the use case.
            version: number of the model version.
            predictions: target -> tidy rows, indexed by row key: ``prediction``, and where there
                are any ``low``, ``high``, ``probability_<class>``, ``time``, ``series``,
                ``scale``, ``rms``, of a path ``step``. A truth among the columns is left out: it is
                joined later.
            arm: for what the model answered, such as ``champion`` or ``shadow``.
            source: ``batch`` or ``service``.
            latency_ms: time of one answer in milliseconds, or of each by row key.
            at: when the answers were given.
            times: row key -> time of the row, for rows without a column ``time``.
            request: tells requests for the same row apart; ``""`` where a row is asked once.
            hashes: row key, as text -> hash of the row, see ``preparation.fingerprints``. Where the
                version has answered another row of the same key, the hash is the request.

        Returns:
            How many were new. An answer that is not finite is written as a failed one.
        """
        common: Record = {"use_case": use_case, "version": version, "arm": arm, "source": source}
        common |= {"request": request, "predicted_at": naive_utc(at)}
        records = []
        for target, rows in predictions.items():
            answers = rows if times is None else rows.assign(time=times.reindex(rows.index))
            if hashes is not None and len(hashes):
                keys = rows.index.astype(str)
                answers = answers.assign(row_hash=hashes.reindex(keys).to_numpy())
                earlier = self._hashes(use_case, target, version=version)
                new = ~is_among(answers["row_hash"].set_axis(keys), earlier)
                again = new & keys.isin(earlier.index)
                answers = answers.assign(request=np.where(again, answers["row_hash"], request))
            records += [
                common | {"target": target} | record for record in records_of(answers, latency_ms)
            ]
        return self._table.insert(records)

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
        return self._table.insert([record])

    def join_truth(
        self,
        use_case: str,
        target: str,
        truth: pd.Series,
        at: datetime,
        hashes: pd.Series | None = None,
    ) -> int:
        """Write down what came true, beside every answer for these rows.

        An answer whose row was another one, by its hash, gets no truth: its key was given to a row
        that it was not asked about. A warning says that once, and ``renamed_hash`` keeps the hash
        of the row that the key names now.

        A truth that differs from the stored one is a correction: it replaces it, with
        its own ``truth_at``; the first one is kept as ``first_truth``, and a warning is logged.

        Args:
            use_case: name of the use case.
            target: name of the target.
            truth: row key -> truth, a number or the name of a class. Missing and infinite values
                are left out.
            at: when it was learned.
            hashes: row key, as text -> hash of the row, see ``preparation.fingerprints``.

        Returns:
            How many answers got a truth, or another one.
        """
        logged = self._hashes(use_case, target)
        truth = truth.set_axis(truth.index.astype(str))
        truth = truth[truth.index.isin(logged.index)]
        now = (pd.Series(dtype="str") if hashes is None else hashes).reindex(truth.index)
        values, labels = split_values(truth)
        truths = [
            Truth(key, value, label, text)
            for key, value, label, text in zip(
                truth.index, values, labels, now.fillna(""), strict=True
            )
            if value is not None or label is not None
        ]
        if not truths:
            return 0
        self._warn_of_renamed(use_case, target, logged, now)
        new, mended = self._table.join_truth(use_case, target, truths, naive_utc(at))
        if mended:
            LOGGER.warning(
                "%s: the truth of %d logged predictions of %s was corrected; the first one is "
                "kept as first_truth",
                *(use_case, mended, target),
            )
        return new + mended

    def _hashes(self, use_case: str, target: str, version: str | None = None) -> pd.Series:
        """Hashes of the rows that were answered, by row key, each pair once."""
        table = PREDICTIONS.c
        query = sa.select(table.row_key, table.row_hash).distinct()
        query = query.where(table.use_case == use_case, table.target == target, ~table.failed)
        if version is not None:
            query = query.where(table.version == version)
        with self._table.begin() as connection:
            pairs = connection.execute(query).all()
        return pd.Series([text for _, text in pairs], [key for key, _ in pairs], dtype="str")

    def _warn_of_renamed(
        self, use_case: str, target: str, logged: pd.Series, now: pd.Series
    ) -> None:
        """Warn of answers whose keys name other rows now, once of each such row."""
        same = logged[logged.index.isin(now.index)]
        other = same.index[is_other(same, now.reindex(same.index))].unique()
        if not len(other):
            return
        table = PREDICTIONS.c
        of_target = sa.and_(table.use_case == use_case, table.target == target)
        warned = sa.select(table.row_key, table.renamed_hash).distinct().where(of_target)
        rename = sa.update(PREDICTIONS).values(renamed_hash=sa.bindparam("hash", type_=sa.Text))
        rename = rename.where(of_target, table.row_key == sa.bindparam("of"))
        with self._table.begin() as connection:
            warned_pairs = {tuple(pair) for pair in connection.execute(warned)}
            new = [
                {"of": key, "hash": now[key]}
                for key in other
                if (key, now[key]) not in warned_pairs
            ]
            if new:
                connection.execute(rename, new)
        if new:
            LOGGER.warning(
                "%s: %d keys of logged predictions of %s name other rows now (%s): these answers "
                "get no truth of the new rows; where values of a row are revised later, "
                "data.columns.<name>.revised says so",
                *(use_case, len(new), target, ", ".join(each["of"] for each in new[:5])),
            )

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
            ``probability_<class>``; ``step`` is NaN of what is no path.
        """
        table = PREDICTIONS.c
        moment = sa.func.coalesce(table.row_time, table.predicted_at)
        query = sa.select(PREDICTIONS).where(table.use_case == use_case)
        if target is not None:
            query = query.where(table.target.in_([target, ""]))
        if version is not None:
            query = query.where(table.version == version)
        if since is not None:
            query = query.where(moment >= naive_utc(since))
        if arm is not None:
            query = query.where(table.arm == arm)
        with self._table.begin() as connection:
            result = connection.execute(query.order_by(moment, table.id))
            names = list(result.keys())
            return frame_of([dict(row) for row in result.mappings()], names)

    def prune(
        self, use_case: str, keep_days: int, now: datetime, *, but_version: str | None = None
    ) -> int:
        """Forget answers, and recommended prices, of more than ``keep_days`` days before ``now``.

        Args:
            use_case: name of the use case.
            keep_days: how long answers are kept.
            now: the present moment.
            but_version: a version whose answers are kept however old, such as the champion: what
                it has answered is not to be asked again.

        Returns:
            How many answers were forgotten.
        """
        oldest = naive_utc(now) - timedelta(days=keep_days)
        table = PREDICTIONS.c
        old = sa.delete(PREDICTIONS).where(table.use_case == use_case, table.predicted_at < oldest)
        if but_version is not None:
            old = old.where(table.version != but_version)
        if self._table.has_prices():
            prices = sa.delete(PRICES).where(
                PRICES.c.use_case == use_case, PRICES.c.recommended_at < oldest
            )
            with self._table.begin(PRICES) as connection:
                connection.execute(prices)
        with self._table.begin() as connection:
            return connection.execute(old).rowcount


_MOMENTS = ("row_time", "predicted_at", "truth_at")
_NUMBERS = ("low", "high", "scale", "rms", "latency_ms", "step")
_MERGED = ("prediction", "truth", "first_truth")
_PROBABILITY = "probability_"


def records_of(rows: pd.DataFrame, latency_ms: float | pd.Series | None) -> list[Record]:
    """Answers of one target as rows of the table.

    An answer that is no finite number, or whose probabilities are not, becomes a failed one.

    Args:
        rows: tidy rows of the target; the column ``time``, where there is one, is that of the row,
            and ``row_hash`` and ``request`` are what the log has of these names. The truth, if it
            should be there, is left out: it is joined later.
        latency_ms: time of one answer, or of each by row key.
    """
    size = len(rows)
    columns: dict[str, list[Any]] = {
        "row_key": [str(key) for key in rows.index],
        "row_time": times_of(rows["time"]) if "time" in rows else [None] * size,
        "latency_ms": _latencies(rows, latency_ms),
        "probabilities": _probabilities(rows),
        "series": [str(name) for name in rows["series"]] if "series" in rows else [None] * size,
        **{name: _column(rows, name) for name in ("low", "high", "scale", "rms")},
        "row_hash": _texts(rows, "row_hash"),
        "step": [None if one is None else int(one) for one in _column(rows, "step")],
    }
    if "request" in rows:
        columns["request"] = rows["request"].tolist()
    values, labels = split_values(rows["prediction"])
    records = []
    for value, label, *others in zip(values, labels, *columns.values(), strict=True):
        record = dict(zip(columns, others, strict=True))
        odds = record["probabilities"]
        failed = (value is None and label is None) or odds == ""
        record |= {"prediction_value": value, "prediction_label": label, "failed": failed}
        record |= {"error": NO_ANSWER if failed else None, "probabilities": odds or None}
        records.append(record)
    return records


def split_values(values: pd.Series) -> tuple[list[float | None], list[str | None]]:
    """Numbers and class names apart; None for what is missing or not finite."""
    nothing: list[None] = [None] * len(values)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return [_finite(value) for value in values.astype(float).tolist()], [*nothing]
    exist = values.notna().tolist()
    return [*nothing], [
        str(value) if exists else None for value, exists in zip(values.tolist(), exist, strict=True)
    ]


def times_of(times: pd.Series) -> list[datetime | None]:
    """Times of rows in UTC and without zone; None for what is missing."""
    stamps = pd.to_datetime(times)
    if stamps.dt.tz is not None:
        stamps = stamps.dt.tz_convert(UTC).dt.tz_localize(None)
    moments = stamps.dt.floor("us").dt.to_pydatetime()
    return [None if pd.isna(moment) else moment for moment in moments]


def frame_of(records: Sequence[Record], names: list[str]) -> pd.DataFrame:
    """Rows of the table as a frame, indexed by row key.

    ``prediction``, ``truth`` and ``first_truth`` are numbers where no class names are among them;
    ``probability_<class>`` means the probabilities.
    """
    frame = pd.DataFrame(records, columns=names)
    for name in _MOMENTS:
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    for name in _NUMBERS:
        frame[name] = frame[name].astype(float)
    for name in _MERGED:
        values, labels = frame.pop(f"{name}_value"), frame.pop(f"{name}_label")
        frame[name] = labels.astype(object).where(labels.notna(), values)
        if labels.isna().all():
            frame[name] = values.astype(float)
    odds = [json.loads(row["probabilities"] or "{}") for row in records]
    if any(odds):
        table = pd.DataFrame(odds, index=frame.index).add_prefix(_PROBABILITY)
        frame = pd.concat([frame, table.astype(float)], axis=1)
    frame["step"] = frame["step"].fillna(_steps_in_keys(frame))
    return frame.drop(columns=["id", "probabilities"]).set_index("row_key")


def _steps_in_keys(frame: pd.DataFrame) -> pd.Series:
    """Steps of the rows of paths that were logged before there was a column for them."""
    steps = frame["row_key"].astype("str").str.extract(r"#(\d+)$", expand=False)
    return steps.where(frame["series"].notna()).astype(float)


def _probabilities(rows: pd.DataFrame) -> list[str | None]:
    """JSON of each row's probabilities; empty for a row whose are not all finite."""
    columns = [name for name in rows.columns if str(name).startswith(_PROBABILITY)]
    if not columns:
        return [None] * len(rows)
    classes = [str(name).removeprefix(_PROBABILITY) for name in columns]
    return [
        json.dumps(dict(zip(classes, odds, strict=True))) if all(map(math.isfinite, odds)) else ""
        for odds in rows[columns].to_numpy(dtype=float).tolist()
    ]


def _texts(rows: pd.DataFrame, name: str) -> list[str | None]:
    """Text of a column that may be absent."""
    if name not in rows:
        return [None] * len(rows)
    return [None if pd.isna(value) else str(value) for value in rows[name]]


def _column(rows: pd.DataFrame, name: str) -> list[float | None]:
    """Numbers of a column that may be absent; an interval may be open, so infinity stays."""
    if name not in rows:
        return [None] * len(rows)
    return [None if math.isnan(value) else value for value in rows[name].astype(float).tolist()]


def _latencies(rows: pd.DataFrame, latency_ms: float | pd.Series | None) -> list[float | None]:
    if isinstance(latency_ms, pd.Series):
        return [_finite(value) for value in latency_ms.reindex(rows.index).astype(float).tolist()]
    return [None if latency_ms is None else _finite(float(latency_ms))] * len(rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
