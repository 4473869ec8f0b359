"""Projects to run in: copies of the configuration in temporary folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "01_raw" / "samples"

os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MPLBACKEND", "agg")


def make_project(folder: Path) -> Path:
    """A project with our configuration and sources that writes into a folder of its own."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "data" / "01_raw").mkdir(parents=True)
    (folder / "data" / "01_raw" / "samples").symlink_to(SAMPLES)
    return folder


def run_kedro(project: Path, *pipelines: str, env: str = "test", **params: Any) -> None:
    """Run pipelines inside this process."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        session.run(pipeline_names=list(pipelines) or None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh project, which is also the current folder."""
    monkeypatch.chdir(make_project(tmp_path))
    yield tmp_path
    from ratchet import config

    config._config_loader = None


@pytest.fixture(scope="session")
def films_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which everything was run on the films up to 1975, with small grids.

    Tests share it: read, do not write.
    """
    folder = make_project(tmp_path_factory.mktemp("films"))
    here = Path.cwd()
    os.chdir(folder)
    try:
        run_kedro(folder, as_of="1975-12-31")
    finally:
        os.chdir(here)
    return folder


@pytest.fixture(scope="session")
def load(films_project: Path) -> Callable[[str], Any]:
    """Load a dataset of the shared project by its catalog name."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(films_project)
    with KedroSession.create(films_project, env="test") as session:
        catalog = session.load_context().catalog
    return catalog.load
