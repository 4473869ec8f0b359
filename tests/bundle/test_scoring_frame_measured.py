"""Monitoring and training see what the service was handed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ratchet.bundle.reader import Bundle
from ratchet.bundle.scoring_frame import scoring_frame, training_cutoff
from ratchet.database import connect
from ratchet.monitoring.measurements import Measurement, Measurements
from tests.compiled.test_series_answerer import hours, made, parameters


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(parameters(), hours(380)[:360], tmp_path_factory.mktemp("bundles") / "hours")


def measured(rows: pd.DataFrame) -> list[Measurement]:
    times = pd.to_datetime(rows["at"], utc=True).dt.tz_localize(None)
    return [
        Measurement(time.to_pydatetime(), "", {"load": row["load"], "warmth": row["warmth"]})
        for time, row in zip(times, rows.to_dict("records"), strict=True)
    ]


def test_they_are_rows_to_be_answered_and_truth_to_be_joined(bundle):
    rows, until = hours(380), training_cutoff(bundle.manifest)

    without = scoring_frame(bundle, rows[:360])
    now = scoring_frame(bundle, rows[:360], None, measured(rows[360:]))

    more = now.new_keys(until).difference(without.new_keys(until))
    assert len(more) == 20
    answers = now.predict(more)["demand"]
    assert len(answers) == 20
    truth = now.truth(bundle.use_case.targets["demand"])
    assert truth[answers.index].tolist() == pytest.approx(rows["load"][360:].tolist())
    expected = scoring_frame(bundle, rows).predict(more)["demand"]
    pd.testing.assert_frame_equal(answers, expected)
    assert now.past_changes().findings == {}


def test_a_run_reads_them_beside_the_file(
    tmp_path: Path, make_project: Callable[..., Path], run_kedro: Any, load_catalog: Any
):
    project = make_project(tmp_path / "project", {"power"})
    store = Measurements(connect(f"sqlite:///{project / 'data/test/mlflow.db'}"))
    fields = {"demand": 4.5, "temperature": 20.0, "workday": 1}
    time = datetime(2015, 1, 1, 0, 0)
    row = Measurement(time, "", fields)
    store.write("power", [row], at=datetime.now(UTC), source="a test")

    run_kedro(project, "understanding")

    typed = load_catalog(project).load("power.typed")
    assert typed["time"].max() == pd.Timestamp(time)
    assert typed["demand"].iloc[-1] == 4.5
