"""An export answers without the project and its database, by packages of the image alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratchet.bundle.smoke_test import run_smoke_test
from ratchet.errors import UserError
from ratchet.registry import EXPORTED_BUNDLES, EXPORTED_LEDGER
from ratchet.registry.actions import hold, promote
from ratchet.registry.export import export_models
from ratchet.registry.registry import Registry

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

USE_CASES = {"films": ["2"], "nights": ["2", "1"], "weather": ["2", "1"]}
"""Use case -> versions that an export has: the champion and its rollback target."""

ONLY_LOCKED = '''
"""Finds no package whose distribution is not in requirements/serve.txt."""
import json, sys
from importlib.machinery import PathFinder
from pathlib import Path

HIDDEN = set(json.loads(Path(__file__).with_name("hidden.json").read_text()))

class OnlyLocked(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = OnlyLocked
'''


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory, old_registry: Callable[[Path], Registry]
) -> Registry:
    """Version 2 of all serves: of weather with 1 as rollback target, of nights a network."""
    made = decided(old_registry(tmp_path_factory.mktemp("project")))
    for version in ("1", "2"):
        let_serve(made, version, "nights")
    return made


def decided(registry: Registry) -> Registry:
    """Decide once more: what was decided by hand at that commit has no digest in the ledger."""
    for version in ("2", "1", "2"):
        let_serve(registry, version)
    return registry


def let_serve(registry: Registry, version: str, use_case: str = "weather") -> None:
    promote(
        *(registry, use_case, version),
        reason="For the test",
        actor="test",
        check=run_smoke_test,
        need_rollback_target=False,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """An export of them, by a user who closes files to others. Tests share it: only read."""
    folder = tmp_path_factory.mktemp("export") / "models"
    before = os.umask(0o077)
    try:
        export_models(registry, folder, [*USE_CASES])
    finally:
        os.umask(before)
    return folder


@pytest.fixture
def only_locked(tmp_path: Path) -> dict[str, str]:
    """Environment of processes that find what the image `serve` has, and no other package."""
    lock = (ROOT / "requirements/serve.txt").read_text()
    names = {_normal(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    hidden = [
        package
        for package, distributions in packages_distributions().items()
        if not names & set(map(_normal, distributions))
    ]
    assert {"kedro", "mlflow", "tensorflow", "keras", "airflow", "dvc"} <= set(hidden)
    folder = tmp_path / "only_locked"
    folder.mkdir()
    (folder / "hidden.json").write_text(json.dumps(hidden))
    (folder / "sitecustomize.py").write_text(ONLY_LOCKED)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@contextmanager
def service(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """A serving process, configured by its environment alone; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    own = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ratchet.serving"],
        env={**own, "RATCHET_PORT": str(port), **environ},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "Ratchet serves at" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def state_of(address: str, until: Callable[[Any], bool], seconds: float = 120) -> Any:
    """What /health says, as soon as a condition holds."""
    end = time.monotonic() + seconds
    while True:
        state = httpx.get(f"{address}/health", timeout=10).json()
        if until(state):
            return state
        assert time.monotonic() < end, state
        time.sleep(0.2)


def golden_row(folder: Path, use_case: str = "films", version: str = "") -> dict[str, Any]:
    path = next((folder / EXPORTED_BUNDLES / use_case).glob(f"*{version}/golden.json"))
    row: dict[str, Any] = json.loads(path.read_text())[0]
    return row


def test_an_export_has_what_serves_and_the_decisions_about_it(registry, exported):
    copied = Registry("sqlite://", exported / EXPORTED_BUNDLES, f"sqlite:///{exported}/ledger.db")

    assert copied.ledger.verify() == []
    assert copied.ledger.use_cases() == [*USE_CASES]
    assert copied.ledger.entries("films") == registry.ledger.entries("films")
    for name, versions in USE_CASES.items():
        assert copied.champion(name) == "2"
        folders = {path.name: path for path in (exported / EXPORTED_BUNDLES / name).iterdir()}
        assert {*folders} == {registry.folder(name, version).name for version in versions}
    for path in (exported, *exported.rglob("*")):
        expected = 0o755 if path.is_dir() else 0o644
        assert path.stat().st_mode & 0o777 == expected, path


def test_the_service_answers_from_an_export_by_packages_of_the_image(
    tmp_path, exported, only_locked
):
    row, night = golden_row(exported), golden_row(exported, "nights", "2127f5f7")
    before = sorted(path.stat().st_mtime_ns for path in exported.rglob("*"))

    with service(tmp_path, {**only_locked, "RATCHET_MODELS": str(exported)}) as address:
        state = state_of(address, lambda state: state["ready"])
        answer = httpx.post(f"{address}/predict/films", json=row["fields"], timeout=20)
        forecast = httpx.post(f"{address}/predict/nights", json=night["fields"], timeout=20)
        search = httpx.post(f"{address}/train-advanced", json={"use_case": "weather"}, timeout=20)
        pages = {
            page: httpx.get(f"{address}{page}", headers={"accept": "text/html"}, timeout=20)
            for page in ("/", "/monitoring", "/models-info", "/docs", "/openapi.json", "/metrics")
        }

    assert state["status"] == "ok", state
    served = {name: one["model_version"] for name, one in state["use_cases"].items()}
    assert served == dict.fromkeys(USE_CASES, "2")
    assert answer.status_code == 200, answer.text
    rating = answer.json()["predictions"]["rating"]
    assert rating["value"] == pytest.approx(row["answers"]["rating"]["prediction"], abs=1e-4)
    assert forecast.status_code == 200, forecast.text
    low = forecast.json()["predictions"]["low"]
    assert low["value"] == pytest.approx(night["answers"]["low"]["prediction"], abs=1e-4)
    assert {page: found.status_code for page, found in pages.items()} == dict.fromkeys(pages, 200)
    assert search.status_code == 503
    assert "searches take Kedro" in search.json()["detail"]
    assert sorted(path.stat().st_mtime_ns for path in exported.rglob("*")) == before


def test_a_new_export_takes_effect_in_a_service_that_runs(
    tmp_path, tmp_path_factory, old_registry, exported
):
    registry = decided(old_registry(tmp_path_factory.mktemp("project")))
    folder = tmp_path / "models"
    shutil.copytree(exported, folder)
    export_models(registry, folder, ["weather"])
    assert sorted(path.name for path in (folder / EXPORTED_BUNDLES).iterdir()) == ["weather"]

    with service(tmp_path, {"RATCHET_MODELS": str(folder)}) as address:
        state_of(address, lambda state: state["ready"])
        let_serve(registry, "1")
        export_models(registry, folder, ["weather"])
        state = state_of(
            address, lambda state: state["use_cases"]["weather"]["model_version"] == "1", seconds=60
        )

    assert state["problems"] == {}


def test_a_folder_of_something_else_is_left_alone(tmp_path, registry):
    (tmp_path / EXPORTED_BUNDLES / "films" / "1").mkdir(parents=True)

    with pytest.raises(UserError, match="is not empty and is no export"):
        export_models(registry, tmp_path, ["films"])
    assert (tmp_path / EXPORTED_BUNDLES / "films" / "1").is_dir()


def test_nothing_is_exported_where_nothing_serves_or_a_bundle_is_damaged(
    tmp_path, tmp_path_factory, old_registry
):
    registry = old_registry(tmp_path_factory.mktemp("project"))
    hold(registry, "power", None, reason="Nothing yet", actor="test")
    with pytest.raises(UserError, match="nothing serves yet of power"):
        export_models(registry, tmp_path / "models", ["power"])

    decided(registry)
    (registry.folder("weather", "2") / "context.parquet").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"context\.parquet"):
        export_models(registry, tmp_path / "models", ["weather"])
    assert not (tmp_path / "models" / EXPORTED_LEDGER).exists()
