"""A search that is asked for over HTTP, with a real process: from the order to the gate."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ratchet.serving.jobs.progress import read_all
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.jobs.specification import TrainRequest
from ratchet.serving.jobs.store import ENDED, JobRow, JobStore
from ratchet.serving.settings import Jobs, Settings

pytestmark = pytest.mark.slow

TRAINED = ("ridge", "extra_trees", "hist_gradient_boosting", "xgboost", "kernel")
TRAINED += ("boosted_ridge", "mixture", "unscaled_mixture")
WANTED = TrainRequest(mode="fast", model_ids=[6, 10], lookback=3)


@pytest.fixture(scope="module")
def project(make_project, run_kedro, tmp_path_factory) -> Path:
    """A project in which a naive forecast of prices serves that has seen the older rows alone."""
    folder = make_project(tmp_path_factory.mktemp("search"), ["prices"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        out = {"candidates": dict.fromkeys(TRAINED), "networks": {"recurrent": None}}
        params = {"targets": {"price": out}}
        phases = ("understanding", "preprocessing", "classical", "evaluation", "release")
        run_kedro(folder, *phases, as_of="2021-12-31", prices=params)
    return folder


def settings_of(project: Path) -> Settings:
    database = f"sqlite:///{project / 'data/test/mlflow.db'}"
    return Settings(
        database_url=database,
        project=project,
        env="test",
        jobs=Jobs(folder=project / "data/jobs", processes=1),
    )


def hashes(project: Path) -> dict[str, str]:
    """Files of production that no search may write."""
    return {
        str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((project / "data/test").rglob("*"))
        if path.is_file() and not {"networks", "bundles"} & {*path.parts} and path.suffix != ".db"
    }


def wait(runner: Runner, job: str, seconds: float = 240) -> JobRow:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        runner.once()
        found = runner.store.get(job)
        if found.status in ENDED:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not done: {(runner.folder(job) / 'log.txt').read_text()[-3000:]}")


def test_a_search_ends_at_the_gate_and_leaves_production_alone(project, monkeypatch):
    monkeypatch.chdir(project)
    settings, before = settings_of(project), hashes(project)
    store = JobStore(settings.database_url)
    job, _ = store.add(WANTED.model_dump(mode="json"), "ann")
    Runner(settings, store).once()  # this service ends, and its job does not
    later = Runner(settings, JobStore(settings.database_url))

    done = wait(later, job.id)

    assert done.status == "completed", done.error
    result = done.result["result"]
    assert result["total_models"] == 2
    assert {each["model_id"] for each in result["results"]} == {6, 10}
    errors = [each["rmse"] for each in result["results"]]
    assert errors == sorted(errors)
    assert result["winner"] == {
        name: result["results"][0][name] for name in ("model_id", "model_name", "rmse")
    }
    events = read_all(later.folder(job.id))
    trials = [event.values for event in events if event.kind == "trial"]
    assert [each["done"] for each in trials] == [0, 1, 2]
    assert trials[-1]["params"]["architecture"] in ("gru", "gru_coarse")
    assert hashes(project) == before
    _check_files(project, done)
    _check_decision(settings, done)


def _check_files(project: Path, done: JobRow) -> None:
    """The winner opens wherever Keras is, and its scaling is beside it."""
    import keras

    files = {kind: project / name for kind, name in done.result["files"].items()}
    number = done.result["result"]["winner"]["model_id"]
    assert files["network"].name.startswith(f"prices_{number}_")
    assert files["network"].suffix == ".keras"
    network = keras.models.load_model(files["network"], compile=False, safe_mode=True)
    card = json.loads(files["card"].read_text())
    shape = (1, card["signature"]["lookback"], card["signature"]["features_per_step"])
    assert network.predict(np.zeros(shape), verbose=0).shape == (1, 1)
    assert card["job"] == done.id
    assert json.loads(files["scaler"].read_text())
    for name, digest in card["sha256"].items():
        path = files["card"].with_name(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _check_decision(settings: Settings, done: JobRow) -> None:
    """The gate has judged it on rows that the champion has not seen, and it does not serve."""
    from ratchet.registry.ledger import Ledger

    challenger = done.result["challenger"]
    assert challenger["registered"] is True
    assert challenger["serves"] is False
    engine = sa.create_engine(settings.database_url)
    ledger = Ledger(engine)
    assert ledger.state("prices").champion == "1"
    if challenger["decision"] != "PROMOTE":  # a person would have to say so
        newest = ledger.newest("prices")
        assert (newest.version, newest.actor) == (challenger["version"], "ann")
        assert newest.event == challenger["decision"].lower()
        assert newest.details["numbers"]["rows"]["price"] > 0
    engine.dispose()


def test_a_search_that_cannot_be_done_says_why(project, monkeypatch):
    monkeypatch.chdir(project)
    settings = settings_of(project)
    store = JobStore(settings.database_url)
    wanted = WANTED.model_copy(update={"lookback": 1000, "horizon": 1000})
    job, _ = store.add(wanted.model_dump(mode="json"), None)

    done = wait(Runner(settings, store), job.id)

    assert done.status == "failed"
    assert "Traceback" not in done.error
    assert "nothing is left for ['train', 'validation']" in done.error
    assert "lower features.windows.horizon" in done.error


def test_a_cancelled_search_ends_with_all_its_processes(project, monkeypatch):
    import psutil

    monkeypatch.chdir(project)
    settings = settings_of(project)
    store = JobStore(settings.database_url)
    job, _ = store.add(WANTED.model_dump(mode="json"), None)
    runner = Runner(settings, store)
    runner.once()
    pid = store.get(job.id).pid
    time.sleep(2)
    store.cancel(job.id)

    done = wait(runner, job.id, 30)

    assert done.status == "cancelled"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
