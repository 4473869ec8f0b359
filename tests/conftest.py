"""Projects to run in: copies of the configuration in temporary folders."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "01_raw" / "samples"
FILMS_UP_TO = "1975-12-31"

os.environ["KEDRO_DISABLE_TELEMETRY"] = "1"
os.environ["MPLBACKEND"] = "agg"
# xdist already keeps every core busy. Read when the first OpenMP library is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _make_project(folder: Path) -> Path:
    """A project with our configuration that writes into a folder of its own."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
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
    **params: Any,
) -> None:
    """Run pipelines inside this process."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        session.run(pipeline_names=list(pipelines) or None, namespaces=namespaces)


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

    if config := sys.modules.get("ratchet.config"):
        config._config_loader = None


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], Path]:
    """Make a project in an empty folder."""
    return _make_project


@pytest.fixture(scope="session")
def run_kedro() -> Callable[..., None]:
    """Run pipelines of a project inside this process, without the command line."""
    return _run_kedro


@pytest.fixture(scope="session")
def load_catalog() -> Callable[..., Any]:
    """Catalog of a project."""
    return _load_catalog


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project, which is also the current folder."""
    monkeypatch.chdir(_make_project(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def films_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which everything was run on the films up to 1975, with small grids.

    Tests share it: read, do not write.
    """
    return _shared_project(tmp_path_factory, "films", as_of=FILMS_UP_TO)


@pytest.fixture(scope="session")
def power_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which everything was run on some weeks of electric load, with small grids.

    Tests share it: read, do not write.
    """
    return _shared_project(tmp_path_factory, "power")


def _shared_project(factory: pytest.TempPathFactory, use_case: str, **params: Any) -> Path:
    """A project in which a use case was run; the first worker of xdist makes it for all."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / use_case, shared / f"{use_case}.done"
    with (shared / f"{use_case}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make_project(folder)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                _run_kedro(folder, namespaces=[use_case], **params)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def load(films_project: Path) -> Callable[[str], Any]:
    """Load a dataset of the shared project by its catalog name."""
    return _load_catalog(films_project).load
