"""Versions are tried by a child process first: what would end or fill this one is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest

from ratchet.bundle import smoke_test, writer
from ratchet.bundle.manifest import MANIFEST, BundleError, bundle_digest, hash_files, read_manifest
from ratchet.bundle.reader import open_bundle
from ratchet.bundle.smoke_test import SmokeTestLimits, open_tested, run_smoke_test
from ratchet.bundle.writer import write_bundle
from ratchet.config import UseCase
from ratchet.database import connect
from ratchet.learning.classical import build_estimator
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.pipelines import monitoring
from ratchet.production.champion import open_champion
from ratchet.registry import actions
from ratchet.registry.registry import Registry, RegistryError
from tests.bundle.test_reader import FILMS, RUN, films, finished, made

SETTINGS = {
    **FILMS,
    "data": {**FILMS["data"], "derive": {}},
    "features": {"numeric": ["runtime", "year"], "min_count": 1},
    "targets": {"rating": FILMS["targets"]["rating"]},
}


@pytest.fixture(scope="module")
def boosted(tmp_path_factory) -> Path:
    """A bundle with a model of XGBoost."""

    def fit(target, train, validation):
        model = build_estimator("regression", "xgboost", seed=0).set_params(n_estimators=5)
        return finished(model, target, train, validation, "classical")

    contents = made("films", films(), UseCase.model_validate(SETTINGS), fit)
    folder = tmp_path_factory.mktemp("bundles") / "films" / "b1"
    write_bundle(folder, contents, {"use_case": "films", **RUN})
    return folder


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """As if another process had written all bundles."""
    monkeypatch.setattr(smoke_test, "WRITTEN_DIGESTS", set())
    monkeypatch.setattr(smoke_test, "_PASSED", set())


@pytest.fixture
def children(monkeypatch) -> list[str]:
    """The folders that children try."""
    tried: list[str] = []
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run

    def count(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        tried.append(command[4])
        return run(command, **more)

    monkeypatch.setattr(smoke_test.subprocess, "run", count)
    return tried


def seal(folder: Path) -> None:
    """Write the manifest anew, as who changes files on purpose would."""
    manifest = {**read_manifest(folder), "files": hash_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_what_was_written_here_needs_no_child(boosted, children):
    assert run_smoke_test(boosted).digest in writer.WRITTEN_DIGESTS
    assert children == []


@pytest.mark.slow
def test_a_child_tries_each_digest_once(boosted, elsewhere, children):
    for _ in range(2):
        assert run_smoke_test(boosted).manifest["use_case"] == "films"

    assert children == [str(boosted)]


def spoil(path: Path) -> None:
    """Garbage in place of the trees of XGBoost."""
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w") as archive:
        for name, content in parts.items():
            spoiled = content[:40] + b"\xff" * 400 if name.endswith(".bin") else content
            archive.writestr(name, spoiled)


@pytest.mark.slow
def test_garbage_does_not_reach_this_process(boosted, elsewhere, tmp_path, in_memory):
    """Sealed and registered anew, so that every hash fits; XGBoost sees it, or dies of it."""
    registry, folder = in_memory(tmp_path), tmp_path / "films" / "b1"
    shutil.copytree(boosted, folder)
    spoil(folder / "models" / "rating.skops")
    seal(folder)
    registry.register("films", folder, {})

    with pytest.raises(BundleError, match=r"b1.*(has died|rating\.skops cannot be loaded)"):
        registry.open_bundle("films", "1")


def test_a_folder_exchanged_after_its_digest_was_compared_is_refused(
    boosted, tmp_path, in_memory, monkeypatch
):
    registry, folder = in_memory(tmp_path), tmp_path / "films" / "b1"
    shutil.copytree(boosted, folder)
    registry.register("films", folder, {})
    assert registry.open_bundle("films", "1").digest == bundle_digest(boosted)
    compared = registry.folder

    def exchange(use_case: str, version: str) -> Path:
        found = compared(use_case, version)
        change(found, "metrics.json", {})
        return found

    monkeypatch.setattr(registry, "folder", exchange)
    monkeypatch.setattr(smoke_test, "_in_child", lambda *_: None)  # it holds

    with pytest.raises(RegistryError, match="version 1 of films is not what was judged"):
        registry.open_bundle("films", "1")


def test_the_death_of_the_child_is_a_refusal(boosted, elsewhere, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o700)
    monkeypatch.setattr(smoke_test.sys, "executable", str(python))

    for _ in range(2):  # nothing is remembered of it
        with pytest.raises(BundleError, match=r"b1: the process .* has died \(signal SIGSEGV\)"):
            run_smoke_test(boosted)


@pytest.mark.slow
def test_modules_in_the_current_folder_are_not_taken(boosted, elsewhere, tmp_path, monkeypatch):
    (tmp_path / "resource.py").write_text("raise SystemExit(0)")  # all would hold
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"takes more than 60 MB|cannot be tried"):
        open_tested(boosted, SmokeTestLimits(memory_mb=60))


@pytest.mark.slow
def test_limits(boosted, elsewhere):
    with pytest.raises(BundleError, match="b1: it did not open and answer within 1 s"):
        open_tested(boosted, SmokeTestLimits(seconds=1))
    with pytest.raises(BundleError, match=r"b1: it (takes more than 60 MB|cannot be tried)"):
        open_tested(boosted, SmokeTestLimits(memory_mb=60))


def test_a_child_says_why(boosted, tmp_path, monkeypatch, capsys):
    """What runs in the child, called here: another answer than it must give, then a fine bundle."""
    monkeypatch.setattr(smoke_test.SmokeTestLimits, "apply", lambda limits: None)
    monkeypatch.setattr(smoke_test, "end_with_parent", lambda parent, end: None)
    folder = tmp_path / "b1"
    shutil.copytree(boosted, folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden[0]["answers"]["rating"]["prediction"] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    seal(folder)

    assert smoke_test._main(str(folder), "1", "1", "1") == 3
    assert "golden.json: row" in capsys.readouterr().out
    assert smoke_test._main(str(boosted), "1", "1", "1") == 0
    assert capsys.readouterr().out == ""


def change(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))
    seal(folder)


SCORE = {"value": 0.5, "low": 0.4, "high": 0.6}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("metrics.json", [], r"'the whole' cannot be \[\]"),
        ("metrics.json", {"rating": [1]}, r"'rating' cannot be \[1\]"),
        ("metrics.json", {"rating": {"test": {"rmse": {"low": 1}}}}, "'rating.test.rmse.value' is"),
        (
            "metrics.json",
            {"rating": {"test": {"rmse": {**SCORE, "value": float("nan")}}}},
            "rating.test.rmse cannot be nan",
        ),
        ("importance.json", {"rating": {"runtime": "much"}}, "'rating.runtime' cannot be 'much'"),
        ("golden.json", {"key": 1}, "'the whole' cannot be {'key': 1}"),
    ],
)
def test_files_of_other_contents_are_named(boosted, tmp_path, name, content, told):
    folder = tmp_path / "b1"
    shutil.copytree(boosted, folder)
    change(folder, name, content)

    with pytest.raises(BundleError, match=rf"b1/{name}: {told}"):
        open_bundle(folder).check_contents()


@pytest.mark.parametrize(
    ("name", "columns"), [("reference", ["year"]), ("reference", ["time"]), ("rows", ["part"])]
)
def test_a_table_of_something_else_is_named(boosted, tmp_path, name, columns):
    folder = tmp_path / "b1"
    shutil.copytree(boosted, folder)
    path = folder / f"{name}.parquet"
    pd.read_parquet(path).drop(columns=columns).to_parquet(path)
    seal(folder)

    with pytest.raises(BundleError, match=rf"{name}\.parquet: the columns \['{columns[0]}'\] are"):
        open_bundle(folder).check_contents()


def test_a_bundle_without_its_last_moment_is_told(boosted, tmp_path):
    folder = tmp_path / "b1"
    shutil.copytree(boosted, folder)
    manifest = {**read_manifest(folder), "decided_until": None}
    (folder / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="'decided_until' cannot be null"):
        open_bundle(folder).check_contents()


class Watched:
    """Two versions of which the second serves, and the nodes of monitoring."""

    def __init__(self, registry: Registry, boosted: Path, log: PredictionLog) -> None:
        self.registry, self.log = registry, log
        for name in ("b1", "b2"):
            folder = registry.bundles / "films" / name
            shutil.copytree(boosted, folder)
            manifest = {**read_manifest(folder), "created_at": f"2026-01-0{name[1]}"}
            (folder / MANIFEST).write_text(json.dumps(manifest))
            writer.WRITTEN_DIGESTS.add(bundle_digest(folder))
            number = registry.register("films", folder, {})
            known = {"reason": "so", "actor": "ada@host", "check": run_smoke_test}
            actions.promote(registry, "films", number, **known)

    def watch(self, raw: object) -> dict[str, Any]:
        name, settings = "films", SETTINGS
        scored = monitoring.score_period(self.registry, self.log, name, raw, None)
        rows = (name, raw, None)
        joined = monitoring.join_truth(self.registry, self.log, *rows, scored)
        drift = monitoring.check_drift(self.registry, name, settings, raw, None, 0, scored)
        assessment = monitoring.assess_champion(
            self.registry, self.log, name, settings, raw, None, 0, scored, joined, drift
        )
        run = {"orchestrator_run": None, "mlflow_run": None, "actor": "test"}
        return monitoring.act_on_assessment(
            self.registry, self.log, run, name, settings, scored, joined, drift, assessment
        )


@pytest.fixture
def watched(boosted, tmp_path, in_memory, monkeypatch) -> Watched:
    monkeypatch.setattr(smoke_test, "WRITTEN_DIGESTS", writer.WRITTEN_DIGESTS)
    log = PredictionLog(connect(f"sqlite:///{tmp_path / 'log.db'}"))
    return Watched(in_memory(tmp_path / "bundles"), boosted, log)


def test_monitoring_leaves_a_champion_that_was_replaced(watched):
    """Poisoned with better metrics, golden answers and hashes that fit."""
    folder = watched.registry.folder("films", "2")
    change(folder, "metrics.json", {"rating": {"test": {"rmse": SCORE}}})

    found = watched.watch(films())

    assert watched.registry.champion("films") == "1"
    assert [alert["name"] for alert in found["alerts"]] == ["rollback"]
    assert "version 2 of films is not what was judged" in found["alerts"][0]["text"]
    assert found["action"] == "rollback"


def test_monitoring_without_a_way_back_says_so(watched):
    for number in "12":
        folder = watched.registry.folder("films", number)
        change(folder, "metrics.json", {"rating": {"test": {"rmse": SCORE}}})

    found = watched.watch(films())

    assert watched.registry.champion("films") == "2"
    (alert,) = found["alerts"]
    assert (alert["name"], alert["level"]) == ("no_answers", "critical")
    assert "no rollback target: version 1 of films is not what was judged" in alert["text"]


def test_what_nobody_foresaw_is_an_alert_and_no_rollback(watched):
    found = watched.watch(None)

    assert watched.registry.champion("films") == "2"
    (alert,) = found["alerts"]
    assert alert["name"] == "no_answers"
    assert "version 2 did not answer: " in alert["text"]


def test_monitoring_goes_on_after_a_clock_that_was_ahead(watched):
    """A decision of 2099 does not make the answers since then somebody else's."""
    ahead = datetime(2099, 1, 1, tzinfo=UTC)
    watched.registry.ledger._now = lambda: ahead
    folder = watched.registry.folder("films", "1")
    actions.promote(
        watched.registry, "films", "1", reason="so", actor="ada@host", check=lambda _: folder
    )
    champion = open_champion(watched.registry, watched.log, "films")
    later = films().assign(date=lambda rows: rows["date"] + pd.Timedelta(days=3000))

    assert watched.watch(later)["scored"]["rows"] > 0
    again = open_champion(watched.registry, watched.log, "films")

    assert (again.version, again.since) == (champion.version, champion.since)
    assert again.answered.empty


def test_what_was_asked_of_the_service_begins_no_production_until_its_truth_is_known(watched):
    now = datetime.now(UTC)
    before = open_champion(watched.registry, watched.log, "films").since
    asked = pd.DataFrame({"prediction": [3.0], "time": [pd.Timestamp("2026-01-01")]}, ["made up"])
    how = {"arm": "champion", "source": "service", "at": now, "request": "r"}
    watched.log.write("films", "1", {"rating": asked}, **how)

    assert open_champion(watched.registry, watched.log, "films").since == before
    watched.log.join_truth("films", "rating", pd.Series({"made up": 4.0}), now)
    assert open_champion(watched.registry, watched.log, "films").since == "2026-01-01T00:00:00"
