"""What is found in a window, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Drift
from ratchet.errors import ConfigError, DataError
from ratchet.monitoring.drift import DriftReport, ErrorEvidence, detect

DRIFT = Drift(chunks=100)


def rows(n, seed=0, columns=4):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.standard_normal((n, columns)), columns=list("abcdefgh")[:columns])
    return frame.assign(
        kind=rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1]),
        names=pd.Series(
            [list(rng.choice(["p", "q", "r"], rng.integers(0, 3), replace=False)) for _ in range(n)]
        ),
        flag=rng.random(n) < 0.3,
    )


REFERENCE, WINDOW = rows(2000), rows(200, seed=1)


def test_a_window_like_the_reference_is_no_alarm():
    report = detect(REFERENCE, WINDOW, DRIFT)

    assert report.severity == "NONE"
    assert not report.alarm
    assert report.moved == report.reasons == []
    assert report.p_value > 0.05
    assert report.exit_code == 0
    assert report.rows == {"reference": 2000, "current": 200}
    assert all(column.text == f"{name} is as usual." for name, column in report.columns.items())


def test_the_same_rows_and_seed_give_the_same_report():
    first, second = (detect(REFERENCE, WINDOW, DRIFT, seed=3) for _ in range(2))

    assert first == second
    assert first != detect(REFERENCE, WINDOW, DRIFT, seed=4)


def test_nothing_of_the_rows_is_changed():
    before, now = REFERENCE.copy(deep=True), WINDOW.copy(deep=True)

    detect(before, now, DRIFT)

    pd.testing.assert_frame_equal(before, REFERENCE)
    pd.testing.assert_frame_equal(now, WINDOW)


def test_a_column_that_moved_is_named_and_no_other():
    report = detect(REFERENCE, WINDOW.assign(b=WINDOW["b"] + 0.8), DRIFT)

    assert report.moved == ["b"]
    assert next(iter(report.columns)) == "b"
    assert report.severity == "LOW"
    column = report.columns["b"]
    assert column.p_value <= 0.05
    assert set(column.statistics) == {"missing", "psi", "ks", "wasserstein"}
    moved = column.statistics["wasserstein"]
    assert moved.value == pytest.approx(0.8, abs=0.2)
    assert moved.value > moved.threshold
    assert "b has moved by 0." in report.reasons[0]


def test_thresholds_say_what_moved():
    report = detect(REFERENCE, WINDOW.assign(b=WINDOW["b"] + 0.4, kind="x"), DRIFT)

    for column in [*report.columns.values(), report.joint]:
        for name, statistic in column.statistics.items():
            if name != "missing":  # which also moves by becoming rarer
                assert statistic.moved == (statistic.value > statistic.threshold), name


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_values_that_go_missing(share):
    gone = np.random.default_rng(0).random(200) < share

    report = detect(REFERENCE, WINDOW.assign(a=WINDOW["a"].mask(gone)), DRIFT)

    assert report.moved == ["a"]
    assert report.columns["a"].statistics["missing"].value == pytest.approx(gone.mean())
    assert "of the values are missing, 0.0% were before" in report.columns["a"].text


def test_values_that_are_no_longer_missing():
    lacking = REFERENCE.assign(a=REFERENCE["a"].where(np.arange(2000) % 2 == 0))

    report = detect(lacking, WINDOW, DRIFT)

    assert report.moved == ["a"]
    missing = report.columns["a"].statistics["missing"]
    assert missing.moved
    assert missing.value == 0


def test_a_category_never_seen_before():
    report = detect(
        REFERENCE, WINDOW.assign(kind=WINDOW["kind"].mask(WINDOW.index < 10, "new")), DRIFT
    )

    assert report.moved == ["kind"]
    new_categories = report.columns["kind"].statistics["unseen"]
    assert new_categories.moved
    assert new_categories.value == pytest.approx(0.05)


def test_names_never_seen_before():
    new = pd.Series([["s", "t"] if i < 30 else names for i, names in enumerate(WINDOW["names"])])

    report = detect(REFERENCE, WINDOW.assign(names=new), DRIFT)

    assert report.moved == ["names"]
    assert "'s'" in report.columns["names"].text
    assert "'t'" in report.columns["names"].text


def test_columns_that_no_longer_go_together_are_found_together():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(2000)
    tied = pd.DataFrame({"a": a, "b": a + 0.1 * rng.standard_normal(2000)})
    now = tied.tail(300).reset_index(drop=True)
    loose = now.assign(b=rng.permutation(now["b"]))

    report = detect(tied, loose, DRIFT)

    assert report.moved == []
    assert report.alarm
    assert report.joint.moved
    assert report.severity == "LOW"
    assert "together" in report.reasons[0]


def test_a_column_that_is_absent_is_said_to_be():
    report = detect(REFERENCE, WINDOW.drop(columns="a"), DRIFT)

    assert report.moved == ["a"]
    assert report.columns["a"].text.startswith("a (absent)")
    assert report.columns["a"].statistics["missing"].value == 1


def test_a_new_column_is_left_out():
    report = detect(REFERENCE, WINDOW.assign(new=1.0), DRIFT)

    assert report.left_out == {"new": "not in the reference"}


@pytest.mark.parametrize(
    "values",
    [np.nan, 3.0, np.inf, None, "text", pd.NaT],
    ids=["nan", "constant", "infinite", "none", "text", "nat"],
)
@pytest.mark.parametrize("where", ["reference", "window", "both"])
@pytest.mark.parametrize("column", ["a", "kind"])
def test_strange_columns_give_a_report(values, where, column):
    before = REFERENCE.assign(**{column: values}) if where != "window" else REFERENCE
    now = WINDOW.assign(**{column: values}) if where != "reference" else WINDOW

    report = detect(before, now, DRIFT)

    assert (column in report.moved) == (where != "both")
    json.dumps(report.to_json(), allow_nan=False)


def test_a_constant_that_changes_moved():
    report = detect(REFERENCE.assign(a=1.0), WINDOW.assign(a=1.5), DRIFT)

    assert report.moved == ["a"]


def test_one_row_is_a_window():
    assert detect(REFERENCE, WINDOW.head(1), DRIFT).rows["current"] == 1


def test_a_window_larger_than_the_reference():
    report = detect(WINDOW, REFERENCE, DRIFT)

    assert not report.alarm


def test_dates_are_left_out():
    days = pd.Timestamp("2020-01-01")

    report = detect(REFERENCE.assign(day=days), WINDOW.assign(day=days), DRIFT)

    assert report.left_out == {"day": "a date"}


@pytest.mark.parametrize(
    ("n_reference", "n_window", "told"),
    [(2000, 0, "window has 0 rows"), (19, 200, "reference has 19 rows"), (0, 5, "has 0 rows")],
)
def test_too_few_rows(n_reference, n_window, told):
    with pytest.raises(DataError, match=told):
        detect(REFERENCE.head(n_reference), WINDOW.head(n_window), DRIFT)


def test_unknown_columns():
    with pytest.raises(ConfigError, match=r"monitoring.drift.columns: \['q'\]"):
        detect(REFERENCE, WINDOW, Drift(columns=["a", "q"]))
    with pytest.raises(ConfigError, match="reference has no column 'day'"):
        detect(REFERENCE, WINDOW, DRIFT, time="day")


def test_only_the_columns_that_are_asked_for():
    report = detect(REFERENCE, WINDOW, Drift(columns=["b", "kind"]))

    assert set(report.columns) == {"b", "kind"}


def test_no_column_at_all():
    report = detect(REFERENCE[[]], WINDOW[[]], DRIFT)

    assert not report.alarm
    assert report.columns == {}


def timed(frame, start="2020-01-01", frequency="h"):
    return frame.assign(time=pd.date_range(start, periods=len(frame), freq=frequency))


def test_rows_with_time_are_compared_with_runs_of_rows():
    report = detect(timed(REFERENCE), timed(WINDOW, "2021-01-01"), DRIFT, time="time")

    assert not report.alarm
    assert report.span == ["2021-01-01 00:00:00", "2021-01-09 07:00:00"]
    assert report.calibration["size"] == 200
    assert report.calibration["independent"] == 10
    assert "tail" in report.calibration["threshold"]


def test_the_order_of_the_rows_does_not_matter_where_they_have_time():
    before, now = timed(REFERENCE), timed(WINDOW, "2021-01-01")

    shuffled = detect(before.sample(frac=1, random_state=0), now.iloc[::-1], DRIFT, time="time")

    assert shuffled == detect(before, now, DRIFT, time="time")


def test_a_series_that_wanders_is_not_judged_like_independent_rows():
    rng = np.random.default_rng(5)
    level = np.zeros(6000)
    for i in range(1, 6000):
        level[i] = 0.99 * level[i - 1] + rng.standard_normal()
    wave = pd.DataFrame({"a": level})
    before, now = wave.head(5800), wave.tail(200).reset_index(drop=True)

    assert detect(before, now, DRIFT).alarm
    assert not detect(timed(before), timed(now, "2021-01-01"), DRIFT, time="time").alarm


def test_a_number_that_follows_the_clock_is_left_out():
    before = timed(REFERENCE).assign(year=np.arange(2000) // 100)
    now = timed(WINDOW, "2021-01-01").assign(year=9)

    report = detect(before, now, DRIFT, time="time")

    assert report.left_out == {"year": "only follows 'time'"}


def test_rows_without_time_are_refused():
    before = timed(REFERENCE)

    with pytest.raises(DataError, match="1 of 200 rows of the window have no 'time'"):
        detect(
            before,
            timed(WINDOW).assign(time=lambda f: f["time"].mask(f.index == 3)),
            DRIFT,
            time="time",
        )


def test_a_single_time_gives_no_runs():
    before = REFERENCE.assign(time=pd.Timestamp("2020-01-01"))

    with pytest.raises(DataError, match="expected enough for two runs"):
        detect(before, timed(WINDOW), DRIFT, time="time")


MOVED = WINDOW.assign(b=WINDOW["b"] + 0.8)


def test_an_important_column_is_more_serious():
    report = detect(REFERENCE, MOVED, DRIFT, importance={"a": 3.0, "b": 1.0, "c": -2.0})

    assert report.severity == "MEDIUM"
    assert report.exit_code == 3
    assert report.columns["b"].importance == 0.25
    assert report.columns["c"].importance == 0
    assert "b carries 25% of what the model lives on." in report.reasons


def test_an_unimportant_column_is_not():
    assert detect(REFERENCE, MOVED, DRIFT, importance={"a": 99.0, "b": 1.0}).severity == "LOW"
    assert detect(REFERENCE, MOVED, DRIFT, importance={"a": 0.0, "b": 0.0}).severity == "LOW"


def test_a_drift_that_lasts_is_more_serious():
    calm, moved = detect(REFERENCE, WINDOW, DRIFT), detect(REFERENCE, MOVED, DRIFT)
    saved = json.loads(json.dumps(moved.to_json()))

    def severity(*earlier, persistent=2):
        drift = Drift(chunks=100, persistent=persistent)
        return detect(REFERENCE, MOVED, drift, earlier=earlier).severity

    assert severity(moved) == severity(calm, saved) == "MEDIUM"
    assert severity(moved, calm) == severity() == "LOW"
    assert severity(moved, persistent=3) == "LOW"
    assert severity(saved, moved, persistent=3) == "MEDIUM"
    assert detect(REFERENCE, WINDOW, DRIFT, earlier=[moved, moved]).severity == "NONE"


@pytest.mark.parametrize("kind", ["measured", "estimated"])
def test_worse_predictions_are_most_serious(kind):
    error = ErrorEvidence(worse=True, kind=kind, text=f"RMSE is worse, {kind}.")

    report = detect(REFERENCE, MOVED, DRIFT, error=error)

    assert report.severity == "HIGH"
    assert report.exit_code == 4
    assert report.reasons[-1] == f"RMSE is worse, {kind}."
    assert report.to_json()["error"]["kind"] == kind


def test_worse_predictions_count_although_no_input_moved():
    error = ErrorEvidence(worse=True, kind="measured", text="RMSE is worse.")

    report = detect(REFERENCE, WINDOW, DRIFT, error=error)

    assert report.severity == "HIGH"
    assert not report.alarm
    assert "have not been found to move" in report.reasons[0]


def test_predictions_as_good_as_before_change_nothing():
    error = ErrorEvidence(worse=False, kind="measured", text="RMSE is as it was.")

    assert detect(REFERENCE, WINDOW, DRIFT, error=error).severity == "NONE"
    assert detect(REFERENCE, MOVED, DRIFT, error=error).severity == "LOW"


def test_json_holds_everything():
    report = detect(REFERENCE, MOVED, DRIFT)

    saved = json.loads(json.dumps(report.to_json(), allow_nan=False))

    assert isinstance(report, DriftReport)
    assert saved["severity"] == "LOW"
    assert saved["moved"] == ["b"]
    assert saved["columns"]["b"]["statistics"]["ks"]["moved"] is True
    assert set(saved["joint"]["statistics"]) == {"distance"}
    assert saved["calibration"]["chunks"] == 100
    assert saved["calibration"]["false_alarms"] == 0.05
