"""A database that is locked or may not be written: clients come again, and answers go on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ratchet.config import UseCase
from ratchet.database import connect
from ratchet.monitoring.log_table import LogTable
from ratchet.monitoring.measurements import Measurements
from ratchet.registry.ledger import Ledger
from ratchet.serving.app import create_app
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.store import JobStore
from ratchet.serving.measurements import StoredMeasurements
from ratchet.serving.overview import Overview
from ratchet.serving.protocols import Fixed
from ratchet.serving.settings import Settings
from tests.serving.conftest import serving

ROW = {"time": "2015-01-01T00:00", "demand": 4.5, "temperature": 20.0, "workday": 0}
READS = [
    ("GET", "/monitoring"),
    ("GET", "/jobs"),
    ("GET", "/jobs/a"),
    ("GET", "/advanced-training"),
]
WRITES = [("POST", "/observe/power"), ("POST", "/train-advanced"), ("DELETE", "/jobs/a")]
BODIES = {"/observe/power": ROW, "/train-advanced": {"mode": "fast", "use_case": "power"}}


class Place:
    """A service whose database has all tables."""

    def __init__(self, folder: Path, use_cases: dict[str, UseCase], lock_seconds: float) -> None:
        self.path = folder / "ratchet.db"
        url = f"sqlite:///{self.path}"
        self.engine = engine = connect(url, lock_seconds)
        Ledger(engine).append(
            *("power", "promote"),
            **{"version": "3", "champion": "3", "previous": None, "actor": "a", "reason": "r"},
            expect=0,
        )
        with LogTable(engine).begin():
            pass
        table = Measurements(engine)
        table.last_change("power")
        models = Fixed([serving("power", use_cases["power"])])
        settings = Settings(keys_file=folder / "keys.json", state=folder, database_url=url)
        store, overview = JobStore(url), Overview(url, folder)
        store.newest()
        for reader in (store, overview):
            reader._engine = engine
        self.app = create_app(
            settings,
            models,
            measurements=StoredMeasurements(table, models, lambda _: []),
            runner=Runner(settings, store),
            overview=overview,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process is writing."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    def ask(self, method: str, path: str) -> Any:
        async def ask() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, json=BODIES.get(path))

        return asyncio.run(ask())


@pytest.fixture
def place(tmp_path: Path, use_cases: dict[str, UseCase]) -> Callable[[float], Place]:
    return lambda lock_seconds: Place(tmp_path, use_cases, lock_seconds)


@pytest.mark.parametrize(("method", "path"), READS[1:] + WRITES)
def test_while_the_database_is_locked_clients_are_asked_to_come_again(place, method, path):
    service = place(0.01)
    with service.locked():
        response = service.ask(method, path)

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) <= 5
    assert "sqlite" not in response.text.lower()


def test_while_the_database_is_locked_the_page_of_the_monitoring_says_so(place):
    service = place(0.01)
    with service.locked():
        response = service.ask("GET", "/monitoring")

    assert response.status_code == 200
    assert "the database does not answer" in response.text


def test_requests_that_wait_for_the_database_keep_no_other_waiting(place):
    service = place(60.0)

    async def ask() -> int:
        async with service.client() as client:
            with service.locked():
                waiting = [
                    asyncio.create_task(client.request(method, path, json=BODIES.get(path)))
                    for method, path in READS + WRITES
                ]
                await asyncio.sleep(0.05)
                film = await client.post("/predict/power", json={**ROW, "demand": None})
                live = await client.get("/health/live")
                still = sum(not one.done() for one in waiting)
                assert (film.status_code, live.status_code) == (200, 200)
            await asyncio.gather(*waiting)
        return still

    assert asyncio.run(ask()) == len(READS + WRITES)


def test_the_service_waits_for_a_lock_for_two_seconds_at_most(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'ratchet.db'}")
    with store._engine.connect() as connection:
        milliseconds = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()

    assert 0 < milliseconds <= 2_000


def test_what_would_write_to_a_database_that_may_not_be_is_refused_and_reads_go_on(place):
    service = place(0.01)
    service.engine.dispose()
    sa.event.listen(service.engine, "connect", lambda one, _: one.execute("PRAGMA query_only = 1"))

    assert {service.ask(*each).status_code for each in WRITES[:2]} == {503}
    assert {service.ask(*each).status_code for each in READS[:2]} == {200}
