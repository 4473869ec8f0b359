"""The slow path: a process that holds a bundle and answers over a pipe.

``python -m ratchet.serving.bundle_worker`` takes its request as the first line of standard input,
as the version loader does, and says in its first line whether the version has opened; then a line
of rows gets a line of answers. It serves versions that cannot be compiled.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import to_json

from ratchet.compiled.answers import Answer, Prediction, RequestError, Row
from ratchet.compiled.contract import contract_of
from ratchet.compiled.dates import as_microseconds
from ratchet.compiled.field_values import Values
from ratchet.compiled.row_hashes import row_hash
from ratchet.compiled.time_grid import Grid
from ratchet.config import series_name
from ratchet.database import naive_utc
from ratchet.errors import UserError
from ratchet.learning.processes import ProcessLimits, end_with_parent
from ratchet.serving.child_processes import command, end_at_once, environment, own_output
from ratchet.serving.version_loader import LoadRequest

LOGGER = logging.getLogger(__name__)

SECONDS = 30.0
"""How long one request may take."""

START_SECONDS = 600.0
"""How long a bundle may take to open, on a busy machine."""

_LARGEST_LINE = 64_000_000
_ROWS_BETWEEN_TRIMS = 1_000
_ANSWERS = TypeAdapter(list[Answer])


class WorkerError(UserError):
    """The process that answers has died, or did not answer in time."""


@dataclass(frozen=True)
class Retention:
    """How long a version of series needs a measurement.

    Attributes:
        time: column of the time.
        series: columns that name the series, where there are several.
        seconds: how far before the newest measurement a forecast may look back.
    """

    time: str
    series: Sequence[str]
    seconds: float


class RecentRows:
    """Measurements that a process which answers slowly needs, also one that is started later.

    What is older than the retention is dropped, but for the last row of each series: it had begun
    by then. Rows may be added in another thread than they are taken in.
    """

    def __init__(self) -> None:
        self._retention: Retention | None = None
        self._rows: dict[Any, Row] = {}
        self._unsent: dict[Any, Row] = {}
        self._trim_at = _ROWS_BETWEEN_TRIMS
        self._turn = threading.Lock()

    def __len__(self) -> int:
        """How many are retained."""
        return len(self._rows)

    def restart(self, retention: Retention | None) -> None:
        """Give all rows to a process that has just been started."""
        with self._turn:
            self._retention, self._unsent = retention, dict(self._rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Take measurements; one of the same series and time replaces the one before."""
        with self._turn:
            for row in rows:
                key = self._key(row)
                self._rows[key] = self._unsent[key] = row
            if self._retention is not None and len(self._rows) > self._trim_at:
                self._trim(self._retention)

    def take_unsent(self) -> list[Row]:
        """Rows that the process has not been given."""
        with self._turn:
            rows, self._unsent = [*self._unsent.values()], {}
            return rows

    def _key(self, row: Row) -> Any:
        if self._retention is None:
            return object()
        names = self._retention.series
        return tuple(row.get(name) for name in names), row.get(self._retention.time)

    def _trim(self, retention: Retention) -> None:
        times = {key: _moment(row[retention.time]) for key, row in self._rows.items()}
        first = max(times.values()) - timedelta(seconds=retention.seconds)
        in_order = sorted(times, key=lambda key: times[key])
        last_before = {key[0]: key for key in in_order if times[key] < first}
        needed = {*last_before.values(), *(key for key in in_order if times[key] >= first)}
        self._rows = {key: row for key, row in self._rows.items() if key in needed}
        self._unsent = {key: row for key, row in self._unsent.items() if key in needed}
        self._trim_at = 2 * len(self._rows) + _ROWS_BETWEEN_TRIMS


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class SlowAnswerer:
    """Answers of a version by the process that holds its bundle, one request after the other.

    Args:
        request: where the version comes from, and which it is.
        program: command of the process.
        seconds: how long one request may take.
    """

    def __init__(
        self, request: LoadRequest, program: Sequence[str] = (), seconds: float = SECONDS
    ) -> None:
        # The CPU time of one that answers for weeks has no limit.
        limits = ProcessLimits(request.limits.memory_mb, cpu_seconds=0)
        self._request = replace(request, limits=limits)
        self._program = program or command("ratchet.serving.bundle_worker")
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._measured = RecentRows()

    async def start(self) -> None:
        """Have the version opened.

        Raises:
            WorkerError: it does not open; says why.
        """
        async with self._turn:
            await self._running()

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._process = None

    async def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, in their order.

        Raises:
            RequestError: the first row that cannot be answered.
            WorkerError: the process has died or takes too long; the next request starts another.
        """
        reply = await self._request_reply({"rows": list(rows)})
        if "refused" in reply:
            first, *others = [RequestError(each.pop("error"), **each) for each in reply["refused"]]
            first.others = others
            raise first
        return _ANSWERS.validate_python(reply["answers"])

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements of series; the process gets them before it answers next."""
        self._measured.add(rows)

    async def _send_measurements(self, process: asyncio.subprocess.Process) -> None:
        if rows := self._measured.take_unsent():
            reply = await _exchange(process, to_json({"observe": rows}) + b"\n")
            if "failed" in reply:
                LOGGER.warning("%d measurements are left out: %s", len(rows), reply["failed"])

    async def _request_reply(self, request: dict[str, Any]) -> dict[str, Any]:
        line = to_json(request) + b"\n"
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(self._seconds):
                    await self._send_measurements(process)
                    reply = await _exchange(process, line)
            except (TimeoutError, asyncio.CancelledError) as error:
                await self.stop()  # what it says later would be taken for another answer
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise WorkerError(f"no answer came within {self._seconds:.0f} s") from None
            except (EOFError, ConnectionError) as error:
                await self.stop()
                raise WorkerError("the process that answers has died") from error
        if "failed" in reply:
            raise WorkerError(reply["failed"])
        return reply

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        process = self._process = await asyncio.create_subprocess_exec(
            *self._program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=_LARGEST_LINE,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                reply = await _exchange(process, self._request.as_line())
        except (TimeoutError, EOFError, ConnectionError) as error:
            await self.stop()
            raise WorkerError("the process that opens it has died or takes too long") from error
        if "failed" in reply:
            await self.stop()
            raise WorkerError(reply["failed"])
        retention = reply.get("retention")
        self._measured.restart(None if retention is None else Retention(**retention))
        return process


async def _exchange(process: asyncio.subprocess.Process, line: bytes) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    await process.stdin.drain()
    if not (reply := await process.stdout.readline()):
        raise EOFError
    content: dict[str, Any] = json.loads(reply)
    return content


class BundleAnswerer:
    """Answers of a bundle through pandas.

    Args:
        bundle: an open ``bundle.Bundle``.
    """

    def __init__(self, bundle: Any) -> None:
        from ratchet.preparation.fingerprints import hashed_columns

        use_case = bundle.use_case
        hashed = hashed_columns(use_case) if use_case.data.series is None else {}
        self._bundle = bundle
        self._contract = contract_of(use_case)
        self._hashed = {name: column.type for name, column in hashed.items()}
        self._grid = _open_grid(bundle)
        self._known: Any = bundle.context if use_case.data.series is not None else None
        self._delivered = None if self._known is None else self._known[use_case.data.time].max()

    @cached_property
    def retention(self) -> Retention | None:
        """How long measurements are needed: twice what the bundle holds; ``None`` of no series."""
        data, context = self._bundle.use_case.data, self._bundle.context
        if data.series is None or context is None:
            return None
        span = context[data.time].max() - context[data.time].min()
        return Retention(data.time, data.series.columns, 2 * span.total_seconds())

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, in their order.

        Raises:
            RequestError: the first row that cannot be answered.
        """
        read = self._contract.read_rows(rows)  # which names the field that is wrong
        if self._bundle.use_case.features.path and rows:
            return self._together(rows, read)
        return [
            self._one(number, row, values)
            for number, (row, values) in enumerate(zip(rows, read, strict=True))
        ]

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements of series: later rows look back at them.

        Raises:
            DataError: they break the contract; none is taken then.
        """
        import pandas as pd

        from ratchet.preparation.observed_rows import typed_partial_rows

        data, retention = self._bundle.use_case.data, self.retention
        if retention is None:
            return
        names = [retention.time, *retention.series]
        measured = pd.DataFrame([dict(row) for row in rows]).drop_duplicates(names, keep="last")
        typed = typed_partial_rows(measured, data).set_index(names)
        earlier = self._known
        together = typed.combine_first(earlier.set_index(names)).reset_index()[list(earlier)]
        self._known = self._needed(together, retention)
        self.__dict__.pop("_ends", None)
        self._bundle.__dict__["context"] = self._with_unknown(self._known)

    def _with_unknown(self, rows: Any) -> Any:
        """Rows with empty ones of the series that the latest step may still lack.

        Without any row they would count as absent, see ``series_steps.is_partial``. A series that
        has ended gets none, for it would count as one that goes on.
        """
        import pandas as pd

        from ratchet.compiled.series_steps import is_partial

        data = self._bundle.use_case.data
        ((_, target),) = self._bundle.use_case.targets.items()
        if not data.series.absent or data.series.id is None or target.column not in rows:
            return rows
        measured = rows[rows[target.column].notna()]
        counts = measured[data.time].value_counts().sort_index()
        last = counts.index.max()
        if last <= self._delivered or not is_partial(counts.to_numpy(), data.series.season):
            return rows
        given = rows.loc[rows[data.time] == last, data.series.id]
        names = [data.series.id, *(n for n in data.series.columns if n != data.series.id)]
        others = rows.loc[~rows[data.series.id].isin(given), names].drop_duplicates()
        goes_on = [self._ends.lacked[n] <= self._limit(n) for n in others[names[0]].astype(str)]
        others = others[np.array(goes_on, dtype=bool)]
        if others.empty:
            return rows
        return pd.concat([rows, others.assign(**{data.time: last})], ignore_index=True)

    def _needed(self, rows: Any, retention: Retention) -> Any:
        """Rows of the retention, and the last one of every series before: it had begun by then."""
        import pandas as pd

        times = rows[retention.time]
        is_recent = times >= times.max() - pd.Timedelta(seconds=retention.seconds)
        before = rows[~is_recent].sort_values(retention.time)
        if retention.series:
            last = before.drop_duplicates(list(retention.series), keep="last")
        else:
            last = before.tail(1)
        return rows[is_recent | rows.index.isin(last.index)]

    def _check_gap(self, values: Values, row: int) -> None:
        """Make sure that no steps seem to be missing right before a row, see ``Grid.missing``."""
        time, grid = self._contract.time, self._grid
        if grid is None or time is None or self._bundle.context is None:
            return
        from ratchet.compiled.history import microseconds

        moment = as_microseconds(values[time])
        times = np.unique(microseconds(self._bundle.context[time]))
        before = times[times < moment][-1:]
        if (missing := grid.missing(before, moment, grid.text)) is not None:
            raise RequestError(missing, row=row, kind="conflict")

    @cached_property
    def _limits(self) -> tuple[Any, int]:
        from ratchet.compiled.series_compiler import steps_until_ended

        return steps_until_ended(self._bundle.rows, self._bundle.use_case.data)

    def _limit(self, series: str) -> int:
        """Steps without a row after which a series has ended."""
        limits, usual = self._limits
        return int(limits.get(series, usual))

    @cached_property
    def _ends(self) -> _SeriesEnds:
        """Of the rows that are known; ``observe`` drops it."""
        data, ((_, target),) = self._bundle.use_case.data, self._bundle.use_case.targets.items()
        return _series_ends(self._known, data, target.column)

    def _check_ended(self, values: Values, row: int) -> None:
        """Make sure that a series goes on: it would be answered as if it had sold nothing since."""
        data = self._bundle.use_case.data
        if data.series is None or data.series.id is None or self._known is None:
            return
        from ratchet.compiled.forecast_inputs import series_has_ended

        name = str(series_name(values, data.series.columns))
        last = self._ends.last.get(name)
        if last is None or as_microseconds(values[data.time]) <= last:
            return
        lacked, limit = self._ends.lacked[name], self._limit(name)
        if lacked > limit:
            own = (self._known[data.series.id].astype(str) == name).to_numpy()
            time = str(self._known.loc[own, data.time].max()).removesuffix(" 00:00:00")
            reason = series_has_ended(name, f"of {time}", lacked, limit)
            raise RequestError(reason, row=row, kind="conflict")

    def _missing_past(self, values: Values) -> str:
        """Why a row of a series gets no answer: from when to when rows are known, at most."""
        use_case, context = self._bundle.use_case, self._bundle.context
        data, windows = use_case.data, use_case.features.windows
        if data.series is None or windows is None or context is None:
            return "the row gets no answer: the values before it are not known"
        ((_, target),) = use_case.targets.items()
        rows, name = context, ""
        if data.series.id is not None:
            series = series_name(values, data.series.columns)
            name = f" of '{series:.60}'"
            rows = rows[rows[data.series.id].astype(str) == series]
        measured = rows.dropna(subset=[c for c in (target.column,) if c in rows])[data.time]
        latest = (
            f"{target.column}{name} was measured last at {measured.max()}"
            if len(measured)
            else f"nothing was measured{name}"
        )
        return (
            f"the row gets no answer: a forecast reaches {windows.ahead} ahead of what was "
            f"measured, and looks at the steps before that, without gaps; {latest}. Hand in "
            f"what is missing between that and {values[data.time]} first"
        )

    def _together(self, rows: Sequence[Row], read: Sequence[Values]) -> list[Answer]:
        """Answers of the rows of paths: later ones look at what earlier ones say."""
        import pandas as pd

        from ratchet.errors import DataError

        for number, values in enumerate(read):
            self._check_gap(values, number)
            self._check_ended(values, number)
        try:
            answers = self._bundle.answer(pd.DataFrame([dict(row) for row in rows]))
        except DataError as error:
            raise RequestError(str(error)) from error
        ((name, said),) = answers.items()
        places = {
            (str(s), t): n
            for n, (s, t) in enumerate(zip(said["series"], said["time"], strict=True))
        }
        data, result = self._bundle.use_case.data, []
        assert data.series is not None
        assert data.time is not None
        column = self._bundle.use_case.targets[name].column
        for number, values in enumerate(read):
            moment = naive_utc(values[data.time])
            series = series_name(values, data.series.columns) or column
            place = places.get((series, moment))
            if place is None:
                raise RequestError(self._missing_past(values), row=number, kind="conflict")
            answer = _answer({name: said.iloc[[place]]})
            not_given = self._contract.not_given(values)
            result.append(replace(answer, time=moment, not_given=not_given))
        return result

    def _one(self, number: int, row: Row, values: Values) -> Answer:
        import pandas as pd

        from ratchet.errors import DataError

        self._check_gap(values, number)
        self._check_ended(values, number)
        try:
            answers = self._bundle.answer(pd.DataFrame([dict(row)]))
        except DataError as error:
            raise RequestError(str(error), row=number) from error
        if any(rows.empty for rows in answers.values()):
            raise RequestError(self._missing_past(values), row=number, kind="conflict")
        time = self._contract.time
        moment = None if time is None else values[time]
        return replace(
            _answer(answers),
            time=None if moment is None else naive_utc(moment),
            not_given=self._contract.not_given(values),
            row_hash=row_hash(values, self._hashed) if self._hashed else None,
        )


@dataclass(frozen=True)
class _SeriesEnds:
    """Where series that are known end.

    Attributes:
        last: series -> moment of its last row.
        lacked: series -> steps since then at which others have a row, see ``Steps.without_rows``.
    """

    last: Mapping[str, int]
    lacked: Mapping[str, int]


def _series_ends(rows: Any, data: Any, target: str) -> _SeriesEnds:
    import pandas as pd

    from ratchet.compiled.history import microseconds

    moments = microseconds(rows[data.time])
    is_measured = rows[target].notna().to_numpy() if target in rows else np.full(len(rows), True)
    steps = np.unique(moments[moments <= moments[is_measured].max(initial=-1)])
    last = pd.Series(moments).groupby(rows[data.series.id].astype(str).to_numpy()).max()
    lacked = len(steps) - np.searchsorted(steps, last.to_numpy(), side="right")
    names = last.index.tolist()
    return _SeriesEnds(
        dict(zip(names, last.tolist(), strict=True)), dict(zip(names, lacked.tolist(), strict=True))
    )


def _open_grid(bundle: Any) -> Grid | None:
    """Of series without a frequency, how far apart steps may be; ``None`` of others."""
    series = bundle.use_case.data.series
    if series is None or series.frequency is not None:
        return None
    from ratchet.compiled.series_compiler import longest_gap

    return Grid(bundle.use_case.data.timezone, 0, longest=longest_gap(bundle.rows["time"]))


def _answer(answers: dict[str, Any]) -> Answer:
    """The only row of what a bundle says."""
    predictions = {}
    for target, rows in answers.items():
        row = rows.iloc[0]
        odds = {
            str(name).removeprefix("probability_"): float(row[name])
            for name in rows
            if str(name).startswith("probability_")
        }
        value = row["prediction"]
        predictions[target] = (
            Prediction(str(value), probabilities=odds)
            if odds
            else Prediction(float(value), float(row["low"]), float(row["high"]))
        )
    terms = {name: row[name] for name in ("series", "scale", "rms") if name in row}
    return Answer(
        str(rows.index[0]),
        predictions,
        series=str(terms["series"]) if "series" in terms else None,
        scale=float(terms["scale"]) if "scale" in terms else None,
        rms=float(terms["rms"]) if "rms" in terms else None,
        step=int(row["step"]) if "step" in row else None,
    )


def open_bundle_of(request: LoadRequest) -> Any:
    """Open the one version of a request, whole and smoke-tested."""
    from ratchet.serving.version_loader import open_judged_bundle

    bundle = open_judged_bundle(request.source, *request.versions[0])
    bundle.check_contents()
    bundle.check_trees()
    bundle.check_golden()
    return BundleAnswerer(bundle)


def main(open_one: Callable[[LoadRequest], Any] = open_bundle_of) -> None:
    """Open a version, and answer until standard input ends."""
    end_with_parent(os.getppid(), end_at_once)
    output = own_output()
    request = LoadRequest.of_line(sys.stdin.readline())
    request.limits.apply()
    try:
        answerer = open_one(request)
    except Exception as error:  # whatever files raise that may be damaged
        _say(output, {"failed": f"{type(error).__name__}: {error}"})
        return
    retention = getattr(answerer, "retention", None)
    _say(output, {"open": True, "retention": None if retention is None else asdict(retention)})
    for line in sys.stdin:
        _say(output, _reply(answerer, json.loads(line)))


def _reply(answerer: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "observe" in request:
            answerer.observe(request["observe"])
            return {"taken": len(request["observe"])}
        return {"answers": answerer.answer(request["rows"])}
    except RequestError as error:
        return {
            "refused": [
                {"error": str(one), "field": one.field, "row": one.row, "kind": one.kind}
                for one in (error, *error.others)
            ]
        }
    except Exception as error:  # whatever a model raises
        return {"failed": f"{type(error).__name__}: {error}"}


def _say(output: int, content: dict[str, Any]) -> None:
    view = memoryview(to_json(content) + b"\n")
    while view:
        view = view[os.write(output, view) :]


if __name__ == "__main__":
    main()
