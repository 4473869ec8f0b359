"""A replay on some weeks of electric load: killed, taken up again, and held against production."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ratchet
from ratchet.config.loader import candidate_overrides, project_loader, read_use_cases

pytestmark = pytest.mark.slow

SUNDAYS = ("2014-02-09", "2014-02-16", "2014-02-23")
OPTIONS = ["--env", "test", "--use-case", "power", "--from", SUNDAYS[0], "--to", "2014-03-02"]
TRAINING = ("understanding", "preprocessing", "classical", "evaluation", "release")


@pytest.fixture(scope="module")
def project(make_project: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with electric load alone, and its own copy of the code: nobody edits that."""
    project = make_project(tmp_path_factory.mktemp("replay"), ["power"])
    shutil.copytree(Path(ratchet.__file__).parent, project / "src/ratchet")
    return project


def replay(project: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kedro", "ratchet", "replay", *OPTIONS, *options]
    return subprocess.Popen(
        [*command, "--candidates", "ridge", "--jobs", "1"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["src", *filter(None, sys.path)])},
        stdout=(project / "log.txt").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def log(project: Path) -> str:
    return (project / "log.txt").read_text(encoding="utf-8")


def finish(project: Path, *options: str) -> dict[str, Any]:
    """Replay, and give what the report says."""
    assert replay(project, *options).wait(300) == 0, log(project)[-3000:]
    return json.loads((project / "data/test/replay/power/report.json").read_text())


def trained(project: Path) -> dict[str, int]:
    """Days on which models were trained -> when that was written."""
    folder = project / "data/test/replay/power/stages"
    return {path.parent.name[:10]: path.stat().st_mtime_ns for path in folder.glob("2*/stage.json")}


@pytest.fixture(scope="module")
def report(project: Path) -> dict[str, Any]:
    """What comes of a replay that was killed in the middle and started again."""
    process = replay(project)
    while not trained(project):
        assert process.poll() is None, log(project)[-3000:]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = trained(project)
    assert 0 < len(before) < len(SUNDAYS)

    found = finish(project)

    after = trained(project)
    assert sorted(after) == sorted(SUNDAYS)
    assert {day: after[day] for day in before} == before  # not trained twice
    return found


def test_the_report_is_whole(project, report):
    assert [policy["name"] for policy in report["policies"]] == [
        *("configured", "never retrain", "always promote", "bare 2 / 3 / 5 %"),
        "best in hindsight",
    ]
    assert [week["end"] for week in report["weeks"]] == [*SUNDAYS[1:], "2014-03-02"]
    for policy in report["policies"]:
        assert policy["total"]["rows"] == 3 * 7 * 48
        assert policy["regret"] >= 0
    page = (project / "data/test/replay/power/report.html").read_text(encoding="utf-8")
    assert "Electric load: policy replay" in page
    assert not (project / "data/test/mlflow.db").exists()  # nothing is tracked or registered


def test_another_policy_trains_nothing(project, report):
    (project / "lax.yml").write_text("release: {min_gain: 0, confidence: 0.5}")
    before = trained(project)

    found = finish(project, "--policy", "lax.yml")

    assert trained(project) == before
    assert "trained as of" not in log(project)
    assert [policy["name"] for policy in found["policies"]][1] == "lax"
    assert found["policies"][0] == report["policies"][0]
    assert found["policies"][-1] == report["policies"][-1]


def test_production_would_have_done_the_same(
    project, report, run_kedro, load_catalog, empty_mlflow, monkeypatch
):
    from kedro.framework.startup import bootstrap_project

    monkeypatch.chdir(project)
    bootstrap_project(project)
    use_cases = read_use_cases(project_loader("test")[0]["parameters"])
    params = candidate_overrides(use_cases, ["ridge"])

    empty_mlflow(project / "data/test/mlflow.db")

    for day in SUNDAYS:
        run_kedro(project, "monitoring", namespaces=["power"], as_of=day, **params)
        run_kedro(project, *TRAINING, namespaces=["power"], as_of=day, **params)

    entries = load_catalog(project, env="test").load("registry").ledger.entries("power")
    events = report["policies"][0]["events"]
    assert [event["event"] for event in events] == [entry.event for entry in entries]
    for event, entry in zip(events, entries, strict=True):
        replayed, live = event["numbers"], entry.details["numbers"]
        assert replayed["rows"] == live["rows"]
        if live.get("gain"):
            # The last day's rows see the next working day in a replay, and guess it in production.
            assert replayed["gain"]["value"] == pytest.approx(live["gain"]["value"], abs=0.01)
            assert replayed["challenger"]["value"] == pytest.approx(
                live["challenger"]["value"], rel=0.01
            )
