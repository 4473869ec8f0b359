"""Overview of the models that serve, from the database and the files of the monitoring.

Read without pandas, by sums that the database makes, and cached for some seconds: many people may
look at the same page.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet.database import SERVICE_LOCK_SECONDS, connect
from ratchet.monitoring.log_table import PREDICTIONS as P
from ratchet.monitoring.log_table import SHADOW
from ratchet.registry.ledger import TABLE as LEDGER

DAYS_OF_ANSWERS, DAYS_OF_TRUTH = 7, 30
DECISIONS = 12
_CACHE_SECONDS = 5.0
_DRIFTED = 6
_RUN = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Classes:
    """How often each class was returned to clients: answers of a shadow do not count.

    Attributes:
        use_case: of which use case.
        target: of which target.
        counts: class -> rows, the most frequent first.
    """

    use_case: str
    target: str
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Rows of all classes."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Score:
    """How well a version has answered rows whose truth is known.

    Attributes:
        use_case: of which use case.
        target: of which target.
        version: of which version.
        arm: what it answered as.
        rows: how many.
        accuracy: share that was right, of classes.
        error: mean absolute error, of numbers.
        covered: share inside of the intervals, of numbers.
    """

    use_case: str
    target: str
    version: str
    arm: str
    rows: int
    accuracy: float | None
    error: float | None
    covered: float | None


@dataclass(frozen=True)
class MonitoringReport:
    """What the monitoring found last in a use case.

    Attributes:
        use_case: its name.
        at: when (UTC).
        action: what it did.
        reason: why.
        alerts: what operators have to look at: ``level``, ``text`` and ``advice``.
        drifted: sentences about inputs that have moved.
        compared: whether inputs were compared at all.
        severity: how serious the drift is: NONE, LOW, MEDIUM or HIGH; ``None`` where nothing was
            compared.
    """

    use_case: str
    at: datetime
    action: str
    reason: str
    alerts: list[dict[str, str]]
    drifted: list[str]
    compared: bool
    severity: str | None = None


@dataclass(frozen=True)
class OverviewData:
    """All of it.

    Attributes:
        classes: predictions by class.
        scores: scores with truth.
        watched: what the monitoring found last.
        decisions: the newest rows of the ledger.
        trouble: why the database gave nothing.
    """

    classes: list[Classes] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    watched: list[MonitoringReport] = field(default_factory=list)
    decisions: list[dict[str, object]] = field(default_factory=list)
    trouble: str | None = None


class Overview:
    """Reads it, at most every few seconds.

    Args:
        url: of the database.
        folder: ``<use_case>/watch.json``, as the monitoring writes them.
        ledger_url: of the database of the decisions, where it is another one.
        clock: seconds.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        ledger_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = connect(url, SERVICE_LOCK_SECONDS)
        self._ledger = connect(ledger_url or url, SERVICE_LOCK_SECONDS)
        self._folder, self._clock = folder, clock
        self._cached: tuple[float, OverviewData] | None = None
        self._reports: dict[str, tuple[int, MonitoringReport | None]] = {}

    def read(self, use_cases: Sequence[str]) -> OverviewData:
        """The present data of the overview; waits for the database."""
        now = self._clock()
        if self._cached is None or now - self._cached[0] > _CACHE_SECONDS:
            self._cached = (now, self._read(use_cases))
        return self._cached[1]

    def _read(self, use_cases: Sequence[str]) -> OverviewData:
        watched = [report for name in use_cases if (report := self.report(name))]
        try:
            with self._engine.connect() as connection:
                tables = sa.inspect(connection).get_table_names()
                answered = P.name in tables
                classes = _classes(connection) if answered else []
                scores = _scores(connection) if answered else []
            with self._ledger.connect() as connection:
                decided = sa.inspect(connection).has_table(LEDGER.name)
                decisions = _decisions(connection) if decided else []
            return OverviewData(classes, scores, watched, decisions)
        except Exception as error:  # the page shows what else there is
            return OverviewData(
                watched=watched, trouble=f"the database does not answer: {_kind(error)}"
            )

    def report(self, use_case: str) -> MonitoringReport | None:
        """What the monitoring wrote; ``None`` where it wrote nothing that can be read.

        A file that has not changed is not read again.
        """
        path = self._folder / use_case / "watch.json"
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        if (cached := self._reports.get(use_case)) is None or cached[0] != changed:
            cached = self._reports[use_case] = (changed, _read_report(path, use_case, changed))
        return cached[1]


def _read_report(path: Path, use_case: str, changed: int) -> MonitoringReport | None:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        report = content.get("drift")
        looks = [*report["columns"].values(), report["joint"]] if report else []
        return MonitoringReport(
            use_case,
            datetime.fromtimestamp(changed / 1e9, UTC),
            str(content["action"]),
            str(content["reason"]),
            [
                {key: str(alert[key]) for key in ("level", "text", "advice")}
                for alert in content["alerts"]
            ],
            [str(one["text"]) for one in looks if one["moved"]][:_DRIFTED],
            report is not None,
            report.get("severity") if report else None,
        )
    return None


def _kind(error: Exception) -> str:
    """What went wrong, without addresses and passwords."""
    return type(error).__name__


def _since(days: int) -> datetime:
    return (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)


def _classes(connection: sa.Connection) -> list[Classes]:
    names = (P.c.use_case, P.c.target, P.c.prediction_label)
    query = (
        sa.select(*names, sa.func.count())
        .where(
            P.c.prediction_label.is_not(None),
            P.c.arm != SHADOW,
            P.c.predicted_at >= _since(DAYS_OF_ANSWERS),
        )
        .group_by(*names)
        .order_by(P.c.use_case, P.c.target, sa.func.count().desc(), P.c.prediction_label)
    )
    counts_of: dict[tuple[str, str], dict[str, int]] = {}
    for use_case, target, label, count in connection.execute(query):
        counts_of.setdefault((use_case, target), {})[label] = int(count)
    return [Classes(*key, counts) for key, counts in counts_of.items()]


def _scores(connection: sa.Connection) -> list[Score]:
    columns = (P.c.use_case, P.c.target, P.c.version, P.c.arm)

    def share(condition: Any, among: Any) -> Any:
        return sa.func.avg(sa.case((sa.not_(among), None), (condition, 1.0), else_=0.0))

    right = P.c.prediction_label == P.c.truth_label
    bounded = sa.and_(P.c.low.is_not(None), P.c.high.is_not(None), P.c.truth_value.is_not(None))
    query = (
        sa.select(
            *columns,
            sa.func.count().label("rows"),
            share(right, P.c.truth_label.is_not(None)).label("accuracy"),
            sa.func.avg(sa.func.abs(P.c.prediction_value - P.c.truth_value)).label("error"),
            share(P.c.truth_value.between(P.c.low, P.c.high), bounded).label("covered"),
        )
        .where(P.c.truth_at.is_not(None), P.c.predicted_at >= _since(DAYS_OF_TRUTH))
        .group_by(*columns)
        .order_by(P.c.use_case, P.c.target, P.c.version.desc(), P.c.arm)
    )
    return [
        Score(
            use_case=row["use_case"],
            target=row["target"],
            version=row["version"],
            arm=row["arm"],
            rows=int(row["rows"]),
            accuracy=_number(row["accuracy"]),
            error=_number(row["error"]),
            covered=_number(row["covered"]),
        )
        for row in connection.execute(query).mappings()
    ]


def _number(value: Any) -> float | None:
    """A number as Python's own: databases have kinds of their own for means."""
    return None if value is None else float(value)


def _decisions(connection: sa.Connection) -> list[dict[str, object]]:
    names = ("at", "use_case", "event", "version", "actor", "reason")
    query = (
        sa.select(*(LEDGER.c[name] for name in names))
        .order_by(LEDGER.c.at.desc(), LEDGER.c.seq.desc())
        .limit(DECISIONS)
    )
    decisions = connection.execute(query).mappings()
    return [{**row, "actor": _who(row["actor"])} for row in decisions]


def _who(actor: str) -> str:
    """Who decided; of a run as long a part of its id in MLflow as distinguishes it."""
    return f"run {actor[:8]}" if _RUN.fullmatch(actor) else actor
