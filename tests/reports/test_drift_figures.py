"""A window against the reference, drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Drift
from ratchet.monitoring.drift import ErrorEvidence, detect
from ratchet.reports.drift_figures import draw, drift_charts

DRIFT = Drift(chunks=20)


def rows(n, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.standard_normal(n) + shift,
            "kind": rng.choice(["x", "y"], n),
            "names": [["p"] if heads else [] for heads in rng.random(n) < 0.5],
            "flag": rng.random(n) < 0.5,
            "empty": np.nan,
            "infinite": np.inf,
        }
    )


def titles(charts):
    return [chart.title for chart in charts]


def test_every_column_has_a_line_and_the_most_unusual_their_distributions():
    before, now = rows(400), rows(60, 1, shift=1.5)
    report = detect(before, now, DRIFT)

    charts = drift_charts(report, before, now)

    assert titles(charts)[0] == "Drift: LOW (60 rows)"
    assert titles(charts)[1:] == list(report.columns)[:4]
    assert titles(charts)[1] == "a"
    assert [*charts[0].frame["column"].unique()] == ["(together)", *report.columns]


def test_time_stands_in_the_title():
    before = rows(400).assign(day=pd.date_range("2020-01-01", periods=400))
    now = rows(30, 1).assign(day=pd.date_range("2021-03-01", periods=30))

    charts = drift_charts(detect(before, now, DRIFT, time="day"), before, now)

    assert titles(charts)[0].endswith("(30 rows, 2021-03-01 to 2021-03-30)")


def test_what_became_of_the_errors_stands_in_the_title():
    before, now = rows(100)[["a"]], rows(30, 1)[["a"]]
    error = ErrorEvidence(worse=True, kind="measured", text="rmse is 2 where it was 1.")

    charts = drift_charts(detect(before, now, DRIFT, error=error), before, now)

    assert titles(charts)[0] == "Drift: HIGH (30 rows)\nrmse is 2 where it was 1."


@pytest.mark.parametrize("column", ["a", "kind", "names", "flag", "empty", "infinite"])
def test_each_kind_of_column_is_drawn(column):
    before, now = rows(100)[[column]], rows(30, 1)[[column]]
    report = detect(before, now, DRIFT)

    assert titles(drift_charts(report, before, now))[1] == column
    assert draw(report, before, now).startswith(b"\x89PNG")


def test_an_absent_column_has_a_line_only():
    before, now = rows(100)[["a", "kind"]], rows(30, 1)[["kind"]]

    charts = drift_charts(detect(before, now, DRIFT), before, now)

    assert titles(charts)[1:] == ["kind"]
