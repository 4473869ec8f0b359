"""Projects to run in, copies of the configuration in temporary folders; and a PostgreSQL server."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from importlib.metadata import version
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from ratchet.learning.demand.book import DemandBook
    from ratchet.registry.registry import Registry

pytest_plugins = ["tests.stand_ins"]

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "01_raw" / "samples"
FILMS_UP_TO = "1975-12-31"

# Where tests run in the background Ctrl-C is ignored, also by all processes that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["KEDRO_DISABLE_TELEMETRY"] = "1"
os.environ["MPLBACKEND"] = "agg"
# xdist already keeps every core busy. Read when the first OpenMP library is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Programs that train on a few rows take longer to compile than to run: no optimisation, and the
# older generator of kernels, which takes a third of the time. Elsewhere the newer one is used.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def _make_project(folder: Path, use_cases: Collection[str] | None = None) -> Path:
    """A project with our configuration that writes into a folder of its own.

    Args:
        folder: where.
        use_cases: those that it knows, all by default. To read the parameters of all and to build
            their pipelines takes every session and every command a second.
    """
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    if use_cases is not None:
        for path in (folder / "conf").glob("*/parameters/*.yml"):
            if path.stem not in (*use_cases, "run"):
                path.unlink()
    (folder / "conf" / "local").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()  # Kedro wants it; the package is the one under test
    (folder / "data" / "01_raw").mkdir(parents=True)
    (folder / "data" / "01_raw" / "samples").symlink_to(SAMPLES)
    return folder


def _run_kedro(
    project: Path,
    *pipelines: str,
    env: str = "test",
    namespaces: list[str] | None = None,
    to_outputs: list[str] | None = None,
    **params: Any,
) -> None:
    """Run pipelines inside this process; no node that ``to_outputs`` do not need."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        names = list(pipelines) or None
        session.run(pipeline_names=names, namespaces=namespaces, to_outputs=to_outputs)


def _load_catalog(project: Path, env: str = "test") -> Any:
    """The catalog of a project."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env=env) as session:
        return session.load_context().catalog


@pytest.fixture(autouse=True)
def _forget_session() -> Iterator[None]:
    """No test sees the configuration of another one's session."""
    yield
    import sys

    if config := sys.modules.get("ratchet.config.loader"):
        config._config_loader = None


@pytest.fixture(scope="session")
def make_project() -> Callable[..., Path]:
    """Make a project in an empty folder, with all use cases or with those that are named."""
    return _make_project


@pytest.fixture(scope="session")
def empty_mlflow(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Put an empty database of MLflow somewhere: to make its tables takes MLflow five seconds.

    It is made once, and kept in pytest's cache for as long as MLflow stays the same.
    """
    cache = getattr(pytestconfig, "cache", None)  # not there with -p no:cacheprovider
    folder = cache.mkdir("mlflow") if cache else tmp_path_factory.mktemp("mlflow")
    made = folder / f"{version('mlflow')}.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            import mlflow

            uri = f"sqlite:///{made.with_suffix('.part')}"
            mlflow.MlflowClient(uri, uri).search_registered_models()
            made.with_suffix(".part").rename(made)

    def put(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, path))

    return put


@pytest.fixture(scope="session")
def old_registry(empty_mlflow: Callable[[Path], Path]) -> Callable[[Path], Registry]:
    """Copy the registry that commit 09d69bd has written, with ledger and bundles, to a folder."""
    from ratchet.registry.registry import Registry

    fixture = Path(__file__).parent / "fixtures" / "version_09d69bd"

    def copy(folder: Path) -> Registry:
        shutil.copytree(fixture / "bundles", folder / "bundles")
        path = empty_mlflow(folder / "mlflow.db")
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript((fixture / "database.sql").read_text(encoding="utf-8"))
        return Registry(f"sqlite:///{path}", folder / "bundles")

    return copy


@pytest.fixture(scope="session")
def run_kedro() -> Callable[..., None]:
    """Run pipelines of a project inside this process, without the command line."""
    return _run_kedro


@pytest.fixture(scope="session")
def load_catalog() -> Callable[..., Any]:
    """Catalog of a project."""
    return _load_catalog


SHOP = "Zoë & Söhne [red] / 東京 %d"
"""A merchant as nobody calls one, but somebody may."""


@pytest.fixture(scope="session")
def demand_book() -> DemandBook:
    """Three segments whose prices were 2 to 3, at a cost of 1; and one without rows.

    The shop is to raise the price of tea and to lower that of milk; of bread hardly any price was
    tried.
    """
    import numpy as np

    from ratchet.learning.demand import book, pricing

    elasticities, three = np.array([-1.2, -4.0, -2.0]), np.ones(3)
    noise = np.random.default_rng(0).normal(size=(3, 100))
    slopes = (elasticities[:, None] + 0.05 * noise).astype(np.float32)[..., None]
    draws = {
        pricing.Form.LOG_LOG: slopes,
        pricing.Form.SEMI_LOG: slopes,
        pricing.Form.QUADRATIC: np.concatenate([slopes, np.zeros_like(slopes)], axis=-1),
    }
    low, high = np.array([2, 2, 2.45]), np.array([3, 3, 2.5])
    keys = [book.SegmentKey(SHOP, "tea"), book.SegmentKey(SHOP, "milk")]
    return book.DemandBook(
        keys=(*keys, book.SegmentKey("corner", "bread")),
        without_rows=(book.SegmentKey("corner", "milk"),),
        responses=pricing.Responses(np.log(2.5) * three, draws, three),
        history=pricing.PriceHistory(
            low, high, 2.5 * three, 2.5 * three, np.array([80, 90, 70]), 0 * three
        ),
        offer=pricing.Offer.of(3, unit_cost=1.0, demand=100.0),
        settings=pricing.PricingSettings(),
        elasticities=book.Elasticities(elasticities, elasticities - 0.1, elasticities + 0.1),
        expected=book.ExpectedDemand(100 * three, 80 * three, 120 * three),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project, which is also the current folder."""
    monkeypatch.chdir(_make_project(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def films_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the films up to 1975 were learned and reported, with small grids.

    Tests share it: read, do not write.
    """
    phases = ("understanding", "preprocessing", "classical", "evaluation", "reporting")
    return _shared_project(tmp_path_factory, "films", *phases, as_of=FILMS_UP_TO)


@pytest.fixture(scope="session")
def power_project(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Callable[[Path], Path]
) -> Path:
    """A project in which everything was run on some weeks of electric load, with small grids.

    Tests share it: read, do not write.
    """
    return _shared_project(tmp_path_factory, "power", prepare=empty_mlflow)


def _shared_project(
    factory: pytest.TempPathFactory,
    use_case: str,
    *phases: str,
    prepare: Callable[[Path], object] | None = None,
    **params: Any,
) -> Path:
    """A project in which a use case was run; the first worker of xdist makes it for all."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / use_case, shared / f"{use_case}.done"
    with (shared / f"{use_case}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make_project(folder, [use_case])
            if prepare is not None:
                prepare(folder / "data/test/mlflow.db")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                _run_kedro(folder, *phases, namespaces=[use_case], **params)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def load(films_project: Path) -> Callable[[str], Any]:
    """Load a dataset of the shared project by its catalog name."""
    return _load_catalog(films_project).load


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """A PostgreSQL server that ends with the tests; makes an empty database when called."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    if (binaries := postgresql_binaries()) is None:
        pytest.skip("no initdb and pg_ctl on the PATH or in /usr/lib/postgresql")
    folder = Path(mkdtemp(prefix="pg-", dir="/tmp"))  # paths of sockets must be short
    server = Server(binaries, folder)
    server.start()
    numbers = count()

    def make() -> str:
        name = f"ratchet{next(numbers)}"
        engine = sa.create_engine(f"{server.url}/postgres").execution_options(
            isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return f"{server.url}/{name}"

    yield make
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def postgresql_binaries() -> Path | None:
    """Folder of Debian's programs, the newest version first, or of those on the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    folders += [Path(on_path).resolve().parent] if on_path else []
    return next(
        (path for path in folders if all((path / name).exists() for name in PROGRAMS)), None
    )


PROGRAMS = ("initdb", "pg_ctl", "postgres")


class Server:
    """PostgreSQL in a folder, on a free port of this machine."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://ratchet@127.0.0.1:{self._port}"
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("postgres" if _has_user("postgres") else "nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            self._prefix = ["setpriv", *ids, "--"]

    def start(self) -> None:
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "ratchet", "-A", "trust", "-E", "UTF8", "-N")
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._binaries / program), *arguments]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "out").open("a"),  # a pipe would be held by the server
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"PostgreSQL: {program} fails: {(self._folder / 'out').read_text()[-500:]}")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _keep_only(project: Path, *use_cases: str) -> None:
    for path in project.glob("conf/*/parameters/*.yml"):
        if path.stem not in use_cases:
            path.unlink()


@pytest.fixture(scope="session")
def keep_only() -> Callable[..., None]:
    """Remove the parameters of all other use cases from a project: reading them takes a second."""
    return _keep_only
