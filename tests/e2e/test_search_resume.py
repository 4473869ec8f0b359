"""A search of real networks that is killed again and again ends as if nobody had disturbed it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ratchet

pytestmark = pytest.mark.slow

SCRIPT = '''
"""python search.py FOLDER STRATEGY N_JOBS: a search that writes down each training."""
import os, sys
from pathlib import Path
import numpy as np
from ratchet.learning.recurrent import training
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Holdout, Search, table

folder = Path(sys.argv[1])
real = training.train_group

def noted(spec, trials, *data):
    with (folder / "trainings.txt").open("a") as log:
        print(spec.units, data[-1].until, *trials, file=log, sep="|", flush=True)
    return real(spec, trials, *data)

training.train_group = noted  # in the workers, too: they import this file

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    X = rng.random((60, 4 * 2))
    y = X.reshape(60, 4, 2)[:, :, 0] @ [0.1, 0.2, 0.3, 0.4] + 0.05 * rng.normal(size=60)
    search = Search(
        RecurrentRegressor(lookback=4, epochs=6, patience=3, batch_size=16, compiled=False),
        {"units": [3, 5], "dropout": [0.0, 0.2], "learning_rate": [3e-2, 1e-2, 3e-3]},
        strategy=sys.argv[2],
        strategy_options={"rungs": [2, 4]} if sys.argv[2] == "halving" else None,
        cv=Holdout(0.2, gap=1),
        refit=False,
        n_jobs=int(sys.argv[3]),
        group_size=2,
        top_k=3,
        folder=folder / "finished",
    ).fit(X, y)
    table(search).to_json(folder / "table.json", double_precision=15)
    forecasts = [model.predict(X[-5:]) for model in search.top_estimators_]
    np.save(folder / "forecasts.npy", forecasts)
'''


def start(folder: Path, strategy: str, n_jobs: int) -> subprocess.Popen[bytes]:
    script = folder / "search.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, script, folder, strategy, str(n_jobs)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(folder.parent / "src"), *filter(None, sys.path)])},
        stdout=(folder / "log.txt").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def groups(folder: Path) -> dict[str, int]:
    """Finished groups -> when they were written."""
    found = (folder / "finished").glob("*/groups/*.gz")
    return {path.name: path.stat().st_mtime_ns for path in found}


def trainings(folder: Path) -> list[str]:
    path = folder / "trainings.txt"
    return path.read_text().splitlines() if path.exists() else []


def outcome(folder: Path) -> pd.DataFrame:
    rows = pd.read_json(folder / "table.json")
    rows = rows.loc[:, ~rows.columns.str.contains("time")]
    return rows.assign(params=rows["params"].astype(str))


@pytest.mark.parametrize("strategy", ["grid", "halving"])
def test_a_killed_search_ends_as_an_undisturbed_one(tmp_path, strategy):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    # A copy of the code: an edit during the test would start the search anew.
    shutil.copytree(Path(ratchet.__file__).parent, tmp_path / "src" / "ratchet")
    seed = f"{strategy}{os.getpid()}"
    told = f"moments of the kills drawn with {seed!r}"
    moments, kills, kept = random.Random(seed), 0, {}
    while kills < 3:
        running = start(killed, strategy, n_jobs=2)
        least = len(groups(killed)) + moments.choice([0, 1, 2])
        pause = moments.random() * 2
        while len(groups(killed)) < least and running.poll() is None:
            time.sleep(0.01)
        time.sleep(pause)
        over = running.poll() is not None
        os.killpg(running.pid, signal.SIGKILL) if not over else None
        running.wait()
        if over:
            break
        kills += 1
        now = groups(killed)
        assert {name: now.get(name) for name in kept} == kept, told
        kept = now
    log = killed / "log.txt"
    assert kills, f"{told}: {log.read_text()[-2000:]}"
    ended = start(killed, strategy, n_jobs=2).wait(300)
    assert ended == 0, f"{told}: {log.read_text()[-2000:]}"

    assert start(whole, strategy, n_jobs=1).wait(300) == 0
    after = groups(killed)
    assert {name: after[name] for name in kept} == kept, told  # read, not made again
    assert after.keys() == groups(whole).keys(), told  # none lost, none made under another name
    assert set(trainings(killed)) == set(trainings(whole)), told
    # What was in hand at a kill, a group per process, is the most that is begun twice.
    assert len(trainings(killed)) <= len(trainings(whole)) + 2 * kills, told
    pd.testing.assert_frame_equal(
        outcome(killed), outcome(whole), rtol=1e-5, check_exact=False, obj=f"table, {told}"
    )
    forecasts = np.load(killed / "forecasts.npy")
    np.testing.assert_allclose(forecasts, np.load(whole / "forecasts.npy"), rtol=1e-5, err_msg=told)
    assert not list((killed / "finished").rglob("states/*")), told
    assert len(list((killed / "finished").rglob("weights/*"))) == 3, told
