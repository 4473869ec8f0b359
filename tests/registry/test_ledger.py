"""The ledger in its database: append-only, one writer wins, and what can be asked of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from ratchet.database import connect
from ratchet.errors import DataError
from ratchet.registry.ledger import ConflictError, Entry, Ledger, State
from ratchet.registry.ledger_chain import digest_of
from ratchet.registry.ledger_checkpoint import Checkpoint

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    """A day passes whenever someone looks."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        self.at += timedelta(days=1)
        return self.at


def write(
    ledger: Ledger, event: str, version: str, champion: str | None = None, **more: Any
) -> Entry:
    """Append to whatever is newest."""
    use_case = more.pop("use_case", "films")
    known = {"previous": None, "actor": "ada@host", "reason": "so", "details": {"x": 1.5}}
    known["expect"] = ledger.state(use_case).seq
    return ledger.append(
        use_case, event, **{"version": version, "champion": champion, **known, **more}
    )


@pytest.fixture
def ledger(database: str) -> Ledger:
    return Ledger(connect(database), now=Clock())


def test_nothing_was_decided_yet(ledger):
    assert ledger.entries() == []
    assert ledger.use_cases() == []
    assert ledger.newest("films") is None
    assert ledger.serving_since("films") is None
    assert ledger.state("films") == State()
    assert ledger.verify() == []
    assert not sa.inspect(ledger.engine).has_table("ratchet_ledger")  # reading makes nothing


def test_what_was_written_is_read(ledger, database):
    first = write(ledger, "promote", "1", "1")
    second = write(ledger, "hold", "2", "1", reason="few\nrows \0", details={"nan": float("nan")})
    other = write(ledger, "reject", "1", use_case="power", quarantined=["7"])

    again = Ledger(connect(database))
    assert again.entries() == [first, second, other]
    assert again.entries("power") == [other]
    assert again.newest("films") == second
    assert again.use_cases() == ["films", "power"]
    assert again.count() == 3
    assert (first.seq, second.seq, other.seq) == (1, 2, 1)
    assert second.parent == first.digest
    assert second.reason == "few rows"
    assert second.details == {"nan": "nan"}
    assert other.quarantined == ("7",)
    assert again.verify() == []


def test_quarantine_stays_until_it_is_changed(ledger):
    write(ledger, "rollback", "1", "1", quarantined=["3", "2"])

    assert write(ledger, "hold", "4", "1").quarantined == ("3", "2")
    assert write(ledger, "override", "2", "2", quarantined=["3"]).quarantined == ("3",)
    assert write(ledger, "promote", "3", "3", quarantined=[]).quarantined == ()


def test_who_came_first_is_said(ledger):
    write(ledger, "promote", "1", "1")
    write(ledger, "rollback", "9", "9", reason="errors doubled")

    with pytest.raises(ConflictError) as caught:
        write(ledger, "promote", "2", "2", expect=1)

    assert str(caught.value).splitlines()[0] == (
        "films: no promote, since another decision came first: decision 2, rollback version 9, "
        "2026-11-27 12:00:00 UTC by ada@host: errors doubled"
    )
    assert ledger.state("films").champion == "9"


def test_a_decision_on_the_future_is_refused(ledger):
    with pytest.raises(ConflictError, match="no hold"):
        write(ledger, "hold", "1", expect=4)

    assert ledger.entries() == []


@pytest.mark.parametrize("made", [False, True], ids=["new table", "old table"])
def test_of_many_at_once_one_wins(ledger, database, made):
    if made:
        write(ledger, "promote", "0", "0")
    n, seq = 8, int(made)
    barrier, outcomes = Barrier(n), []

    def decide(number: int) -> None:
        mine = Ledger(connect(database))
        barrier.wait()
        try:
            write(mine, "promote", str(number), str(number), expect=seq)
            outcomes.append(number)
        except ConflictError as error:
            outcomes.append(str(error))
        mine.engine.dispose()

    threads = [Thread(target=decide, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(outcomes) == n
    assert len(winners) == 1
    assert all(f"promote version {winners[0]}," in told for told in outcomes if told != winners[0])
    assert ledger.state("films").champion == str(winners[0])
    assert ledger.count() == seq + 1
    assert ledger.verify() == []


def test_time_never_stands_still(database):
    ledger = Ledger(connect(database), now=lambda: NOON)

    first, second = write(ledger, "hold", "1"), write(ledger, "hold", "1")

    assert second.at - first.at == timedelta(microseconds=1)


def test_who_served_when(ledger):
    write(ledger, "hold", "1")  # 26 November
    write(ledger, "promote", "2", "2")
    write(ledger, "hold", "3", "2")
    write(ledger, "promote", "4", "4")  # the 29th
    write(ledger, "rollback", "2", "2")  # the 30th

    served = [ledger.champion_at("films", NOON + timedelta(days=day)) for day in range(7)]

    assert served == [None, None, "2", "2", "4", "2", "2"]
    assert ledger.champion_at("films", NOON + timedelta(days=4, microseconds=-1)) == "2"
    assert ledger.champion_at("films", datetime(2026, 11, 29, 12)) == "4"
    assert ledger.champion_at("power", NOON) is None
    assert ledger.serving_since("films").seq == 5
    assert ledger.serving_since("films", NOON + timedelta(days=3)).seq == 2
    assert ledger.state("films").since == NOON + timedelta(days=5)


CHANGES = [
    "UPDATE ratchet_ledger SET reason = 'because' WHERE seq = 1",
    "DELETE FROM ratchet_ledger WHERE seq = 2",
    "DELETE FROM ratchet_ledger",
]


@pytest.mark.parametrize(
    "statement",
    [
        *CHANGES,
        "TRUNCATE ratchet_ledger",
        "INSERT OR REPLACE INTO ratchet_ledger SELECT * FROM ratchet_ledger",
    ],
)
def test_the_database_refuses_to_forget(ledger, statement):
    only = {"TRUNCATE": "postgresql", "INSERT": "sqlite"}.get(statement.split()[0])
    if only not in (None, ledger.engine.dialect.name):
        pytest.skip(f"{only} alone knows this statement")
    written = [write(ledger, "promote", "1", "1"), write(ledger, "hold", "2", "1")]

    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        ledger.engine.begin() as connection,
    ):
        connection.exec_driver_sql(statement)

    assert ledger.entries() == written


def unguarded(ledger: Ledger) -> None:
    """Remove the triggers, as whoever owns the table can."""
    with ledger.engine.begin() as connection:
        if ledger.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE ratchet_ledger DISABLE TRIGGER USER")
            return
        for name in ("update", "delete", "replace"):
            connection.exec_driver_sql(f"DROP TRIGGER ratchet_ledger_no_{name}")


def of_rows(findings: list[str]) -> list[str]:
    """Findings about rows; those about triggers are of another test."""
    return [line for line in findings if not line.startswith("the ledger: ")]


def test_triggers_that_are_gone_are_a_finding(ledger):
    write(ledger, "promote", "1", "1")
    assert ledger.verify() == []

    unguarded(ledger)

    found = ledger.verify()
    assert {line.split()[4] for line in found} >= {
        "sqlite": {f"ratchet_ledger_no_{name}" for name in ("update", "delete", "replace")},
        "postgresql": {"ratchet_ledger_no_change", "ratchet_ledger_no_truncate"},
    }[ledger.engine.dialect.name]
    assert all("is gone or changed" in line for line in found)


def test_a_trigger_that_does_nothing_is_a_finding(tmp_path, caplog):
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"))
    write(ledger, "promote", "1", "1")
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ratchet_ledger_no_update")
        connection.exec_driver_sql(
            "CREATE TRIGGER ratchet_ledger_no_update BEFORE UPDATE ON ratchet_ledger "
            "BEGIN SELECT 1; END"
        )

    (found,) = ledger.verify()
    assert found.startswith("the ledger: the trigger ratchet_ledger_no_update is gone or changed")
    write(ledger, "hold", "2", "1")  # makes it anew, and says so
    assert ledger.verify() == []
    assert "ratchet_ledger_no_update" in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seq = 'x'", ["films: a decision has the number 'x'", "films: decision 2 is missing"]),
        ("seq = 1.5", ["films: a decision has the number 1.5", "films: decision 2 is missing"]),
        ("seq = -2", ["films: a decision has the number -2", "films: decision 2 is missing"]),
        ("details = 'no JSON'", ["films: decision 2 was changed"]),
        ("details = x'00ff'", ["films: decision 2 was changed"]),
        ("details = CAST(x'ff' AS TEXT)", ["films: decision 2 was changed"]),
        ("at = 7", ["films: decision 2 was changed"]),
    ],
)
def test_whatever_was_written_into_a_row_is_a_finding(tmp_path, change, told):
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"))
    for version in "123":
        write(ledger, "hold", version)
    unguarded(ledger)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ratchet_ledger SET {change} WHERE seq = 2")

    found = of_rows(ledger.verify())

    assert [line for line in found if "not later" not in line] == told


@pytest.mark.parametrize("details", ["no JSON", "[]", "7"])
def test_a_row_that_nobody_can_read_is_a_finding_though_its_digest_fits(tmp_path, details):
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"))
    write(ledger, "hold", "1")
    unguarded(ledger)
    row = {**ledger._rows()[0], "details": details}
    with ledger.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ratchet_ledger SET details = :details, digest = :digest"),
            {"details": details, "digest": digest_of(row)},
        )

    (found,) = of_rows(ledger.verify())
    assert found.startswith("films: decision 1 cannot be read: ")
    with pytest.raises(DataError, match="decision 1 about films"):
        ledger.entries()


@pytest.mark.parametrize(
    "change",
    [
        "seq = 'x'",
        "seq = 2.5",
        "seq = CAST(x'ff' AS TEXT)",
        "at = '2026-01-01'",  # of no zone, so that it cannot be compared
        "at = CAST(x'ff' AS TEXT)",
        "at = '9999-12-31T23:59:59.999999+00:00'",  # nothing can come after it
        "quarantined = '5'",
        "quarantined = 'null'",
        "quarantined = printf('%.*c', 100000, '[')",
        "details = printf('%.*c', 100000, '[')",
        "details = CAST(x'ff' AS TEXT)",
        "digest = CAST(x'ff' AS TEXT)",
        "reason = CAST(x'ff' AS TEXT)",
    ],
)
def test_no_row_ends_in_anything_but_a_message(tmp_path, change):
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"))
    for version in "12":
        write(ledger, "promote", version, version)
    unguarded(ledger)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ratchet_ledger SET {change} WHERE seq = 2")
    serving = {"version": "3", "champion": "3", "previous": None, "actor": "a", "reason": "so"}

    unreadable = 0
    for ask in (
        lambda: ledger.state("films"),
        lambda: ledger.newest("films"),
        lambda: ledger.serving_since("films"),
        lambda: ledger.clock_warning("films"),
        lambda: ledger.first_detail("films", "2", "digest"),
        lambda: [entry.to_json() for entry in ledger.entries()],
        lambda: [*Checkpoint(tmp_path, ledger).update("films")],
        lambda: ledger.append("films", "promote", **serving, expect=2),
    ):
        try:
            ask()
        except (DataError, ConflictError):
            unreadable += 1

    assert unreadable >= (0 if change.startswith("reason") else 1)
    assert of_rows(ledger.verify())


def test_a_clock_that_was_ahead_is_told_and_keeps_the_order(tmp_path, caplog):
    times = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)]
    times += [datetime(2026, 1, 2, tzinfo=UTC)] * 3
    clock = iter(times)
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"), now=lambda: next(clock))
    write(ledger, "promote", "1", "1")
    write(ledger, "promote", "2", "2")
    assert "decision 2 is dated 2099-01-01 00:00 UTC, which is yet" in ledger.clock_warning("films")

    write(ledger, "promote", "3", "3")

    assert ledger.state("films").champion == "3"
    assert ledger.verify() == []
    assert "is behind decision 2 (2099-01-01" in caplog.text


@pytest.mark.parametrize(
    ("statement", "told"),
    zip(
        CHANGES,
        (
            "films: decision 1 was changed",
            "films: decision 2 is missing",
            "films: the end is missing: the registry knows decision 3, the ledger ends with 0",
        ),
        strict=True,
    ),
)
def test_what_was_done_without_the_triggers_is_seen(ledger, statement, told):
    for version in "123":
        newest = write(ledger, "hold", version)
    unguarded(ledger)

    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(statement)

    assert of_rows(ledger.verify({"films": (3, newest.digest)})) == [told]


def test_a_row_that_cannot_be_read_is_named(ledger):
    write(ledger, "promote", "1", "1")
    unguarded(ledger)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ratchet_ledger SET details = '{'")

    with pytest.raises(DataError, match=r"decision 1 about films cannot be read.*--verify"):
        ledger.entries()
    assert of_rows(ledger.verify()) == ["films: decision 1 was changed"]


def test_an_unknown_event(ledger):
    with pytest.raises(ValueError, match="event: unknown 'praise'; allowed are"):
        write(ledger, "praise", "1")


def test_guards_lost_to_a_kill_come_back(tmp_path):
    """SQLite commits the table before its triggers."""
    ledger = Ledger(connect(f"sqlite:///{tmp_path / 'x.db'}"))
    write(ledger, "promote", "1", "1")
    unguarded(ledger)

    write(ledger, "hold", "2", "1")

    with pytest.raises(sa.exc.DBAPIError), ledger.engine.begin() as connection:
        connection.exec_driver_sql(CHANGES[0])
