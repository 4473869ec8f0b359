"""Process that brings journals into the prediction log: ``python -m ratchet.serving.log_writer``.

It is a child of the process that serves, so that a slow or locked database takes nothing from
answers. It reads the journals from their files, and reports by lines of JSON how far it has come.
Killed at any moment it, or its successor, begins the file again: the log takes nothing twice.
When its parent is gone it writes down what is left, and ends.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet.database import SERVICE_LOCK_SECONDS, connect, naive_utc
from ratchet.errors import DataError, UserError
from ratchet.monitoring.log_table import (
    PREDICTIONS,
    PRICES,
    LogTable,
    Record,
    Truth,
)
from ratchet.serving import journal
from ratchet.serving.journal import JournalPosition, Line
from ratchet.serving.log_entries import (
    Entry,
    clean,
    of_line,
    price_record_of,
    records_of,
    truths_of,
)

LOGGER = logging.getLogger(__name__)

BATCH_BYTES = 400_000
"""Bytes of a journal that are written in one transaction."""

PAUSE = 0.5
"""Seconds between two looks at the journal."""

ADOPT_EVERY = 60.0
"""Seconds between two looks for journals of dead processes."""

LAST_TRY = 60.0
"""Seconds for which what is left is tried to be written when the parent is gone."""

_KEYS_AT_ONCE = 500  # databases limit the values of one statement


@dataclass(frozen=True)
class Report:
    """How far the journal of the parent is written.

    Attributes:
        segment: the file.
        size: bytes of it that are in the database.
        rows: answers of it.
        error: why it does not go on at present.
        lost: lines that were damaged, or that the database refused.
    """

    segment: int
    size: int
    rows: int
    error: str | None
    lost: int


@dataclass(frozen=True)
class JoinResult:
    """Result of writing the truth of rows.

    Attributes:
        new: rows of which some answer had no truth yet.
        changed: other rows of which some answer had another truth.
        same: other rows that were answered.
        unknown: rows that no answer in the log is about.
    """

    new: int = 0
    changed: int = 0
    same: int = 0
    unknown: int = 0


class Writer:
    """Brings journals into the table.

    Args:
        folder: folder of the journals.
        table: where to.
    """

    def __init__(self, folder: Path, table: LogTable) -> None:
        self.folder = folder
        self.table = table
        self.lost = 0
        self._places: dict[str, JournalPosition] = {}

    def position(self, owner: str) -> JournalPosition:
        """How far the journal of an owner is written."""
        return self._places.get(owner, JournalPosition())

    def write_all(self, owner: str, on_batch: Callable[[], None] = lambda: None) -> None:
        """Write what there is of a journal, batch by batch, and remove what is done with.

        Args:
            owner: whose.
            on_batch: called after each batch.

        Raises:
            UserError: the database cannot be reached or changed, or is locked.
        """
        numbers = journal.segments(self.folder, owner)
        for number in numbers:
            if number > self.position(owner).segment:
                self._places[owner] = JournalPosition(number)
            while batch := self._batch(owner):
                self._write(owner, batch)
                on_batch()
            if number != numbers[-1]:  # complete, since another one was begun
                journal.segment_of(self.folder, owner, number).unlink(missing_ok=True)

    def adopt(self) -> int:
        """Write and remove the journals of processes that are dead.

        Returns:
            How many there were.

        Raises:
            UserError: see ``write_all``.
        """
        count = 0
        for owner in journal.owners(self.folder):
            with journal.lock_abandoned(self.folder, owner) as is_dead:
                if is_dead:
                    self.write_all(owner)
                    journal.remove(self.folder, owner)
                    self._places.pop(owner, None)
                    count += 1
        return count

    def join_truth(
        self, use_case: str, rows: Sequence[Mapping[str, Any]], at: datetime
    ) -> JoinResult:
        """Write down what came true beside the answers.

        Args:
            use_case: of which.
            rows: as ``log_entries.truths_of`` takes them.
            at: when it was learned.

        Raises:
            UserError: see ``write_all``.
        """
        by_state: dict[str, set[str]] = {"new": set(), "changed": set(), "same": set()}
        for target, truths in truths_of(rows).items():
            for state, keys in self._states(use_case, target, truths).items():
                by_state[state] |= keys
            self.table.join_truth(use_case, target, truths, naive_utc(at))
        new = by_state["new"]
        changed = by_state["changed"] - new
        same = by_state["same"] - new - changed
        keys = {clean(row["key"]) for row in rows}
        unknown = keys - new - changed - same
        return JoinResult(len(new), len(changed), len(same), len(unknown))

    def _states(self, use_case: str, target: str, truths: Sequence[Truth]) -> dict[str, set[str]]:
        """Keys of rows that were answered, by what the truth is to their answers."""
        truth_of = {one.row_key: (one.value, one.label) for one in truths}
        keys, table = list(truth_of), PREDICTIONS.c
        by_state: dict[str, set[str]] = {"new": set(), "changed": set(), "same": set()}
        with self.table.begin() as connection:
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                query = sa.select(table.row_key, table.truth_value, table.truth_label).where(
                    *(table.use_case == use_case, table.target == target),
                    table.row_key.in_(keys[start : start + _KEYS_AT_ONCE]),
                )
                for key, *truth in connection.execute(query.distinct()):
                    is_new, is_same = truth == [None, None], tuple(truth) == truth_of[key]
                    by_state["new" if is_new else "same" if is_same else "changed"].add(key)
        return by_state

    def _batch(self, owner: str) -> list[Line]:
        position = self.position(owner)
        path = journal.segment_of(self.folder, owner, position.segment)
        try:
            return list(journal.read_lines(path, position.size, BATCH_BYTES))
        except FileNotFoundError:  # the successor of a dead process has written it meanwhile
            return []

    def _write(self, owner: str, batch: Sequence[Line]) -> None:
        read = [self._read(line) for line in batch]
        entries = [entry for entry in read if entry is not None]
        self._insert([record for entry in entries for record in records_of(entry)], PREDICTIONS)
        self._insert([one for entry in entries if (one := price_record_of(entry))], PRICES)
        position = self.position(owner)
        size = position.size + sum(line.size for line in batch)
        rows = position.rows + sum(1 if entry is None else entry.rows for entry in read)
        self._places[owner] = JournalPosition(position.segment, size, rows)

    def _insert(self, records: Sequence[Record], table: sa.Table) -> None:
        try:
            self.table.insert(records, table)
        except sa.exc.StatementError as error:  # some value in it is none for the database
            LOGGER.warning("a batch is written row by row, since it was refused: %s", error.orig)
            for record in records:
                self._insert_one(record, table)

    def _insert_one(self, record: Record, table: sa.Table) -> None:
        try:
            self.table.insert([record], table)
        except sa.exc.StatementError as error:
            self.lost += 1
            LOGGER.error("an answer was refused by the database: %s: %s", error.orig, record)

    def _read(self, line: Line) -> Entry | None:
        """The entry of a line that can become rows of the tables; ``None`` where it is damaged."""
        try:
            if line.content is None:
                raise ValueError("its checksum is wrong")
            entry = of_line(line.content)
            records_of(entry)
        except Exception as error:  # one line, whatever is in it, must not keep all others
            self.lost += 1
            LOGGER.error("a line of a journal is damaged and left out: %s", error)
            return None
        return entry


class _Service:
    """What the process does until its parent is gone."""

    def __init__(self, writer: Writer, owner: str) -> None:
        self._writer, self._owner = writer, owner
        self._error: str | None = None
        self._adopted_at = -ADOPT_EVERY
        self._input = b""

    def run(self) -> None:
        """Write and answer questions until standard input ends; then write what is left."""
        is_open = True
        while is_open:
            self._try(self._write)
            self._report()
            is_open = self._listen()
        end = time.monotonic() + LAST_TRY
        while not self._try(self._write_last) and time.monotonic() < end:
            time.sleep(PAUSE)

    def _write(self) -> None:
        if not journal.segments(self._writer.folder, self._owner):
            raise DataError(
                f"{self._writer.folder}: the journal that is being written is gone; put its folder "
                f"back where it was, or answers are lost"
            )
        self._writer.write_all(self._owner, self._report)
        if time.monotonic() - self._adopted_at >= ADOPT_EVERY:
            self._writer.adopt()
            self._adopted_at = time.monotonic()

    def _write_last(self) -> None:
        self._writer.write_all(self._owner)
        self._writer.adopt()

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether the database has taken it."""
        try:
            write()
        except UserError as error:
            if self._error is None:
                LOGGER.warning("answers wait in the journal: %s", error)
            self._error = str(error)
            return False
        self._error = None
        return True

    def _listen(self) -> bool:
        """Wait for a moment, or for a question; false when no more will come."""
        ready, _, _ = select.select([0], [], [], PAUSE)
        if not ready:
            return True
        content = os.read(0, 1 << 20)
        *lines, self._input = (self._input + content).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))
        return bool(content)

    def _answer(self, question: dict[str, Any]) -> None:
        try:
            self._writer.write_all(self._owner)  # answers first, for truth is about them
            rows, at = question["rows"], datetime.now(UTC)
            joined = self._writer.join_truth(question["use_case"], rows, at)
        except Exception as error:  # the answer says it; the process goes on
            if not isinstance(error, UserError):
                LOGGER.exception("truth could not be joined")
            _say({"id": question["id"], "error": str(error)})
        else:
            _say({"id": question["id"], "joined": asdict(joined)})

    def _report(self) -> None:
        position = self._writer.position(self._owner)
        _say(asdict(Report(**asdict(position), error=self._error, lost=self._writer.lost)))


def _say(content: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, which standard input says as well
        os.write(1, json.dumps(content).encode() + b"\n")


def main(folder: str, owner: str) -> None:
    """Serve a parent; the URL of the database is the first line of standard input.

    There it is not seen by other users of the machine, as arguments are.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s ratchet writer: %(message)s")
    url = b""
    while not url.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return
        url += byte
    table = LogTable(connect(url.decode().strip(), SERVICE_LOCK_SECONDS))
    _Service(Writer(Path(folder), table), owner).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
