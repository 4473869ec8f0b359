"""A service with versions that answer by rule, called without a network."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from ratchet.compiled.answers import Answer, Prediction, RequestError, Row
from ratchet.compiled.contract import Contract, contract_of
from ratchet.config import UseCase
from ratchet.serving.app import create_app
from ratchet.serving.log_entries import Entry
from ratchet.serving.protocols import (
    AnswerBatch,
    Fixed,
    IngestResult,
    QueueFullError,
    Serving,
)
from ratchet.serving.request_context import Assignment
from ratchet.serving.settings import Settings

FILM = {
    "film": 7,
    "title": "A day",
    "runtime": 95,
    "released": "2012-06-08",
    "date": "2012-06-08",
    "year": 2012,
    "month": 6,
    "genres": ["Drama"],
    "countries": ["USA"],
}
OPTIONAL = ("month", "languages", "certificate", "director", "writer", "cast", "studio")


@pytest.fixture(scope="session")
def use_cases() -> dict[str, UseCase]:
    """Those of this project, as its parameters have them."""
    from kedro.config import OmegaConfigLoader

    from ratchet.config.loader import read_use_cases
    from ratchet.settings import CONFIG_LOADER_ARGS

    conf = Path(__file__).parents[2] / "conf"
    arguments: dict[str, Any] = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    return read_use_cases(OmegaConfigLoader(conf_source=str(conf), **arguments)["parameters"])


class Ruled:
    """Answers rows by a rule, and refuses those that are not as they should be."""

    def __init__(self, serving: Callable[[], Serving]) -> None:
        self._serving = serving
        self.observed: list[Row] = []
        self.asked: list[Row] = []

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        self.asked += rows
        self.contract.read_rows(rows)
        return [self._one(number, row) for number, row in enumerate(rows)]

    @cached_property
    def contract(self) -> Contract:
        return contract_of(self._serving().use_case)

    def _one(self, number: int, row: Row) -> Answer:
        serving = self._serving()
        if str(row.get("time", "")) >= "2016":
            raise RequestError("measurements are missing", kind="conflict", row=number)
        data = serving.use_case.data
        key = str(row.get(data.key) or f"{serving.name}@{row.get(data.time or '')}")
        predictions = {
            name: Prediction("Bajo", probabilities={"Alto": 0.1, "Medio": 0.2, "Bajo": 0.7})
            if target.is_classes
            else Prediction(3.5, low=2.5, high=4.25)
            for name, target in serving.use_case.targets.items()
        }
        missing = [name for name in serving.inputs if row.get(name) is None]
        series = serving.name if data.series else None
        time = dt.datetime(2015, 1, 1) if data.series else None
        return Answer(key, predictions, time=time, series=series, not_given=missing)

    def observe(self, rows: Sequence[Row]) -> None:
        self.observed += rows


class Store:
    """Keeps what is handed in, and knows a row again."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.actors: list[str | None] = []

    async def take(self, use_case: str, rows: Sequence[Row], actor: str | None) -> IngestResult:
        for number, row in enumerate(rows):
            if "refuse" in row:
                raise RequestError("cannot be taken", field="refuse", row=number)
        new = [row for row in rows if row not in self.rows]
        self.rows += new
        self.actors.append(actor)
        return IngestResult(len(new), same=len(rows) - len(new))


class Log:
    """Keeps answers; full when it is told so."""

    def __init__(self) -> None:
        self.written: list[AnswerBatch] = []
        self.entries: list[Entry] = []
        self.errors: list[str] = []
        self.arms: list[str] = []
        self.failed_arms: list[str] = []
        self.full = False
        self.problem: str | None = None

    async def start(self) -> None:
        """Nothing was left by anybody."""

    async def stop(self) -> None:
        """Nothing waits."""

    @property
    def waiting(self) -> int:
        return len(self.written)

    def write(self, answered: AnswerBatch, arm: str = "champion") -> None:
        if self.full:
            raise QueueFullError
        self.written.append(answered)
        self.arms.append(arm)

    def append(self, entry: Entry) -> None:
        if self.full:
            raise QueueFullError
        self.entries.append(entry)

    def write_error(
        self,
        serving: Serving,
        rows: Sequence[Row],
        request: str,
        why: str,
        arm: str = "champion",
        assignment: Assignment | None = None,
    ) -> None:
        self.errors.append(request)
        self.failed_arms.append(arm)


class Stand:
    """A service under test, and what stands behind it."""

    def __init__(
        self,
        use_cases: dict[str, UseCase],
        folder: Path,
        runner: Callable[[Settings], Any] | None = None,
        beside: str | None = None,
        **options: Any,
    ) -> None:
        self.log, self.measurements, self.truths = Log(), Store(), Store()
        self.serving = [serving(name, use_cases[name]) for name in ("films", "power")]
        self.settings = Settings(
            keys_file=folder / "keys.json", state=folder, **{"films": "films", **options}
        )
        self.challengers = [serving("films", use_cases["films"], beside)] if beside else []
        self.models = Fixed(self.serving, ["prices"], challengers=self.challengers)
        self.runner = runner and runner(self.settings)
        self.app = create_app(
            self.settings,
            self.models,
            log=self.log,
            measurements=self.measurements,
            truths=self.truths,
            runner=self.runner,
        )

    @property
    def films(self) -> Ruled:
        answerer: Any = self.serving[0].answerer
        return answerer

    @asynccontextmanager
    async def client(
        self, address: str = "127.0.0.1", **options: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        base = "http://127.0.0.1:8000"
        async with httpx.AsyncClient(transport=transport, base_url=base, **options) as client:
            yield client

    def ask(self, method: str, path: str, address: str = "127.0.0.1", **options: Any) -> Any:
        """One request, from its beginning to its end."""
        import asyncio

        async def ask() -> httpx.Response:
            async with self.client(address) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def post(self, path: str, body: Any, **options: Any) -> Any:
        return self.ask("POST", path, json=body, **options)


def serving(name: str, use_case: UseCase, version: str = "3") -> Serving:
    """A version of a use case that answers by a rule."""
    data = use_case.data
    if data.series:
        inputs = {"time": False, "temperature": True, "workday": False}
    else:
        names = [column for column in data.columns if column not in TRUTH]
        inputs = {column: column in OPTIONAL for column in names}
    made: list[Serving] = []
    made.append(
        Serving(
            use_case=use_case,
            name=name,
            version=version,
            digest=f"{version:0>4}" * 16,
            since=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
            trained_until=dt.datetime(2014, 12, 31),
            answerer=Ruled(lambda: made[0]),
            inputs=inputs,
            examples=[] if data.series else [FILM],
        )
    )
    return made[0]


TRUTH = ("rating", "reviews", "box_office")


@pytest.fixture
def stand(use_cases: dict[str, UseCase], tmp_path: Path) -> Stand:
    """A service without keys, on this machine."""
    return Stand(use_cases, tmp_path)


@pytest.fixture
def make_stand(use_cases: dict[str, UseCase], tmp_path: Path) -> Callable[..., Stand]:
    """Make a service with settings of one's own."""
    return lambda **options: Stand(use_cases, tmp_path, **options)


@pytest.fixture
def film() -> dict[str, Any]:
    """A film, in the fields of the table."""
    return dict(FILM)


@contextmanager
def serving_at(app: Any) -> Iterator[str]:
    """A server in a thread of this process, with all that an application starts; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.stopping.set()
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], Any]:
    """Serve an application to a browser."""
    return serving_at


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; skipped where there is none.

    As long as it runs, its event loop does, and `asyncio.run` cannot: browsers have modules of
    their own.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with playwright.sync_playwright() as driver:
        try:
            # Containers often allow no sandbox; what is opened here is ours.
            found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address; what goes wrong in a script fails the test."""
    contexts, errors = [], []

    def open_page(address: str, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Chromium counts a page that answers with 404 or 422 as a resource that was not loaded.
    assert [error for error in errors if "responded with a status of 4" not in error] == []


LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 800}},
}


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How a page is looked at: light, dark, or on a telephone."""
    return LOOKS[request.param]


@pytest.fixture(scope="session")
def barriers() -> Callable[[Any], list[str]]:
    """What axe-core finds on a page, and whether all of it can be seen without moving sideways."""
    from axe_playwright_python.sync_playwright import Axe

    def find(page: Any) -> list[str]:
        report = Axe().run(page).response["violations"]
        found = [
            f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}" for each in report
        ]
        wide, shown = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        return [*found, *([f"{wide} pixels wide, {shown} shown"] if wide > shown else [])]

    return find
