"""A run that was killed is taken up again where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ratchet

pytestmark = pytest.mark.slow

OPTIONS = [
    *("--env", "test", "--namespaces", "films", "--params", "as_of=1955-12-31"),
    *("--candidates", "logistic,ridge,extra_trees,xgboost"),
]
FIRST, SECOND = "understanding,preprocessing,classical", "evaluation"


@pytest.fixture(scope="module")
def fresh(make_project: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its own copy of the code: an edit during the test must not touch the cache."""
    project = make_project(tmp_path_factory.mktemp("fresh"), ["films"])
    shutil.copytree(Path(ratchet.__file__).parent, project / "src/ratchet")
    return project


class Whole(NamedTuple):
    """A project in which everything was run without a break, and what there was then."""

    project: Path
    work: dict[str, int]
    numbers: list[float]


@pytest.fixture(scope="module")
def whole(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    project = shutil.copytree(fresh, tmp_path_factory.mktemp("whole") / "project", symlinks=True)
    finish(project, f"{FIRST},{SECOND}")
    return Whole(project, finished_work(project), list(numbers(metrics(project))))


def kedro(project: Path, pipelines: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--pipelines", pipelines, *OPTIONS],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["src", *filter(None, sys.path)])},
        stdout=(project / "log.txt").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(project: Path, pipelines: str) -> None:
    assert kedro(project, pipelines).wait(300) == 0, (project / "log.txt").read_text()[-3000:]


def finished_work(project: Path) -> dict[str, int]:
    """Results that were kept -> when they were written."""
    cache = project / "data/test/06_models/search_cache"
    return {
        str(path.parent.relative_to(cache)): path.stat().st_mtime_ns
        for path in cache.rglob("output.pkl")
    }


def candidates(project: Path) -> list[Path]:
    return list((project / "data/test/06_models/films").glob("*/candidates/*.skops"))


def metrics(project: Path) -> dict[str, Any]:
    return json.loads((project / "data/test/07_model_output/films/metrics.json").read_text())


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        for value in content.values():
            yield from numbers(value)
    else:
        yield content


def test_a_killed_run_is_taken_up_again(fresh, whole, tmp_path):
    killed = shutil.copytree(fresh, tmp_path / "killed", symlinks=True)
    running = kedro(killed, FIRST)
    deadline = time.monotonic() + 200
    while len(candidates(killed)) < 2 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)

    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL  # it was in the middle of its work
    kept, done = finished_work(killed), candidates(killed)
    finish(killed, f"{FIRST},{SECOND}")

    again = finished_work(killed)
    assert len(done) >= 2
    assert len(kept) >= 2
    assert {name: again[name] for name in kept} == kept  # read, not made again
    assert set(again) == set(whole.work)  # and nothing made twice under another name
    assert len(again) > len(kept)
    assert list(numbers(metrics(killed))) == whole.numbers


def test_finished_work_is_read_back_and_a_change_is_not(whole):
    project, before = whole.project, whole.work
    models = {path: path.stat().st_mtime_ns for path in candidates(project)}

    finish(project, "classical")
    assert finished_work(project) == before
    assert all(path.stat().st_mtime_ns > then for path, then in models.items())  # all ran

    grids = project / "conf/test/globals_candidates.yml"
    text = grids.read_text()
    assert "model__alpha: [100, 1000]" in text
    grids.write_text(text.replace("model__alpha: [100, 1000]", "model__alpha: [10, 1000]"))
    finish(project, "classical")

    after = finished_work(project)
    assert before.items() < after.items()
    assert len(after) - len(before) <= 6  # ridge with its two folds, and what stands on it
