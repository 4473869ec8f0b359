"""The slow path: a process that holds a bundle and answers over a pipe.

``python -m ratchet.serving.worker`` takes its request as the first line of standard input, as the
loader does, and says in its first line whether the version has opened; then a line of rows gets a
line of answers. It serves versions that cannot be compiled.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from ratchet.compiled.answers import Answer, Prediction, RequestError, Row
from ratchet.compiled.fields import Values, contract_of
from ratchet.compiled.hashes import row_hash
from ratchet.errors import UserError
from ratchet.monitoring.log_table import as_naive_utc
from ratchet.serving.children import ProcessLimits, command, environment, follow_parent, own_output
from ratchet.serving.loader import LoadRequest

LOGGER = logging.getLogger(__name__)

SECONDS = 30.0
"""How long one request may take."""

START_SECONDS = 600.0
"""How long a bundle may take to open, on a busy machine."""

_LARGEST_LINE = 64_000_000
_ANSWERS = TypeAdapter(list[Answer])


class WorkerError(UserError):
    """The process that answers has died, or did not answer in time."""


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
        self._program = program or command("ratchet.serving.worker")
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._observed: list[Row] = []
        self._told = 0  # how many of them the process that runs knows

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
        told = await self._ask({"rows": list(rows)})
        if "field" in told:
            raise RequestError(
                told["error"], field=told["field"], row=told["row"], kind=told["kind"]
            )
        return _ANSWERS.validate_python(told["answers"])

    def observe(self, rows: Sequence[Row]) -> None:
        """Take measurements of series; the process is told before it answers next."""
        self._observed = [*self._observed, *rows]

    async def _tell(self, process: asyncio.subprocess.Process) -> None:
        """Tell a process what was measured that it does not know yet."""
        if rows := self._observed[self._told :]:
            told = await _exchange(process, to_json({"observe": rows}) + b"\n")
            self._told += len(rows)
            if "failed" in told:
                LOGGER.warning("%d measurements are left out: %s", len(rows), told["failed"])

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        line = to_json(question) + b"\n"
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(self._seconds):
                    await self._tell(process)
                    told = await _exchange(process, line)
            except (TimeoutError, asyncio.CancelledError) as error:
                await self.stop()  # what it says later would be taken for another answer
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise WorkerError(f"no answer came within {self._seconds:.0f} s") from None
            except (EOFError, ConnectionError) as error:
                await self.stop()
                raise WorkerError("the process that answers has died") from error
        if "failed" in told:
            raise WorkerError(told["failed"])
        return told

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
        self._told = 0
        try:
            async with asyncio.timeout(START_SECONDS):
                told = await _exchange(process, self._request.as_line())
        except (TimeoutError, EOFError, ConnectionError) as error:
            await self.stop()
            raise WorkerError("the process that opens it has died or takes too long") from error
        if "failed" in told:
            await self.stop()
            raise WorkerError(told["failed"])
        return process


async def _exchange(process: asyncio.subprocess.Process, line: bytes) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    await process.stdin.drain()
    if not (told := await process.stdout.readline()):
        raise EOFError
    found: dict[str, Any] = json.loads(told)
    return found


class BundleAnswerer:
    """Answers of a bundle through pandas.

    Args:
        bundle: an open ``release.bundle.Bundle``.
    """

    def __init__(self, bundle: Any) -> None:
        from ratchet.preparation.fingerprints import hashed_columns

        use_case = bundle.use_case
        hashed = hashed_columns(use_case) if use_case.data.series is None else {}
        self._bundle = bundle
        self._contract = contract_of(use_case)
        self._hashed = {name: column.type for name, column in hashed.items()}

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows, in their order.

        Raises:
            RequestError: the first row that cannot be answered.
        """
        read = self._contract.read_rows(rows)  # which names the field that is wrong
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

        from ratchet.preparation import typed_fields

        use_case, known = self._bundle.use_case, self._bundle.context
        data = use_case.data
        if data.series is None or known is None:
            return
        names = [name for name in (data.time, data.series.id) if name]
        told = pd.DataFrame([dict(row) for row in rows]).drop_duplicates(names, keep="last")
        taken = typed_fields(told, use_case).set_index(names)
        both = taken.combine_first(known.set_index(names)).reset_index()
        self._bundle.__dict__["context"] = both[list(known)]

    def _one(self, number: int, row: Row, values: Values) -> Answer:
        import pandas as pd

        from ratchet.errors import DataError

        try:
            found = self._bundle.answer(pd.DataFrame([dict(row)]))
        except DataError as error:
            raise RequestError(str(error), row=number) from error
        if any(rows.empty for rows in found.values()):
            raise RequestError(
                "the row gets no answer: what lies before it is not known, or it lies too far "
                "ahead",
                row=number,
                kind="conflict",
            )
        time = self._contract.time
        moment = None if time is None else values[time]
        return replace(
            _answer(found),
            time=None if moment is None else as_naive_utc(moment),
            not_given=self._contract.not_given(values),
            row_hash=row_hash(values, self._hashed) if self._hashed else None,
        )


def _answer(found: dict[str, Any]) -> Answer:
    """The only row of what a bundle says."""
    predictions = {}
    for target, rows in found.items():
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
    )


def open_bundle_of(request: LoadRequest) -> Any:
    """Open the one version of a request, whole and smoke-tested."""
    from ratchet.serving.loader import find

    bundle = find(request.source, *request.versions[0])
    bundle.check_contents()
    bundle.check_numbers()
    bundle.check_golden()
    return BundleAnswerer(bundle)


def main(open_one: Callable[[LoadRequest], Any] = open_bundle_of) -> None:
    """Open a version, and answer until standard input ends."""
    follow_parent()
    output = own_output()
    request = LoadRequest.of_line(sys.stdin.readline())
    request.limits.apply()
    try:
        answerer = open_one(request)
    except Exception as error:  # whatever files raise that may be damaged
        _say(output, {"failed": f"{type(error).__name__}: {error}"})
        return
    _say(output, {"open": True})
    for line in sys.stdin:
        _say(output, _reply(answerer, json.loads(line)))


def _reply(answerer: Any, question: dict[str, Any]) -> dict[str, Any]:
    try:
        if "observe" in question:
            answerer.observe(question["observe"])
            return {"taken": len(question["observe"])}
        return {"answers": answerer.answer(question["rows"])}
    except RequestError as error:
        place = {"field": error.field, "row": error.row, "kind": error.kind}
        return {"error": str(error), **place}
    except Exception as error:  # whatever a model raises
        return {"failed": f"{type(error).__name__}: {error}"}


def _say(output: int, content: dict[str, Any]) -> None:
    view = memoryview(to_json(content) + b"\n")
    while view:
        view = view[os.write(output, view) :]


if __name__ == "__main__":
    main()
