"""Windows of production: where they lie, and that they are scored as at the promotion."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import Target
from ratchet.config.production import Watch
from ratchet.errors import ConfigError, DataError
from ratchet.learning.metrics import (
    Resampling,
    score_classification,
    score_forecast,
    score_regression,
)
from ratchet.monitoring.performance import (
    cut_windows,
    distributions,
    latest_answers,
    operations,
    promoted_scores,
    score,
    score_windows,
)
from ratchet.monitoring.prediction_log import PredictionLog

START = datetime(2024, 1, 1)
DAY = timedelta(days=1)
SEED = 7

TWO = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
RATING = Target(column="rating", task="regression", candidates=TWO)
SUCCESS = Target(column="success", task="classification", classes=["yes", "no"], candidates=TWO)
UNITS = Target(column="units", task="forecasting", candidates=TWO)


def logged(frames, truth=None, **how):
    """Rows of a log to which frames, and then their truth, were written."""
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    how = {"arm": "champion", "source": "batch", "at": START} | how
    log.write("u", "1", frames, **how)
    for target, frame in frames.items():
        log.join_truth("u", target, frame["truth"] if truth is None else truth, START)
    return log


def numbers(size, seed=0, per_day=1):
    rng = np.random.default_rng(seed)
    truth = rng.normal(5, 2, size)
    frame = pd.DataFrame({"truth": truth, "prediction": truth + rng.normal(size=size)})
    frame["time"] = pd.Timestamp(START) + pd.to_timedelta(np.arange(size) // per_day, unit="D")
    return frame.set_index(pd.Index([f"row {i}" for i in range(size)]))


def odds(size, seed=0):
    rng = np.random.default_rng(seed)
    yes = rng.uniform(0.05, 0.95, size)
    frame = pd.DataFrame({"truth": np.where(rng.uniform(size=size) < yes, "yes", "no")})
    frame["prediction"] = np.where(yes > 0.5, "yes", "no")
    frame["probability_yes"], frame["probability_no"] = yes, 1 - yes
    return frame.set_index(pd.Index([f"row {i}" for i in range(size)]))


def values(scores):
    return {name: score["value"] for name, score in scores.items()}


# Where windows lie.


@given(
    st.integers(1, 40),
    st.lists(st.integers(-2000, 2000), min_size=1, max_size=30),
    st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_windows_hold_their_rows_and_stay_when_rows_are_added(hours, offsets, start):
    times = pd.Series(pd.Timestamp(START) + pd.to_timedelta(offsets, unit="h"))
    begin = START + timedelta(hours=start)

    cut = cut_windows(times, f"{hours}h", start=begin)

    assert ((cut["start"] <= times) & (times < cut["end"])).all()
    assert (cut["end"] - cut["start"] == pd.Timedelta(hours=hours)).all()
    assert (((cut["start"] - begin) % pd.Timedelta(hours=hours)) == pd.Timedelta(0)).all()
    fewer = cut_windows(times.iloc[:1], f"{hours}h", start=begin)
    assert fewer.iloc[0][["start", "end"]].equals(cut.iloc[0][["start", "end"]])


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("7D", "2024-02-12", "2024-02-19"),
        ("MS", "2024-02-01", "2024-03-01"),
        ("W-MON", "2024-02-12", "2024-02-19"),
        ("QS", "2024-01-01", "2024-04-01"),
        ("36h", "2024-02-15", "2024-02-16 12:00"),
    ],
)
def test_lengths_are_those_of_pandas(window, start, end):
    times = pd.Series([pd.Timestamp("2024-02-15 13:00")])

    cut = cut_windows(times, window, start=START).iloc[0]

    assert (cut["start"], cut["end"]) == (pd.Timestamp(start), pd.Timestamp(end))


def test_a_start_with_a_time_zone_is_understood():
    times = pd.Series([pd.Timestamp("2024-01-09")])

    aware = cut_windows(times, "7D", start=START.replace(tzinfo=UTC))

    assert aware.equals(cut_windows(times, "7D", start=START))


@pytest.mark.parametrize("window", ["often", "0D", "-7D"])
def test_what_is_no_length_is_told(window):
    with pytest.raises(ConfigError, match=r"monitoring.watch.window"):
        cut_windows(pd.Series([pd.Timestamp(START)]), window)


@pytest.mark.parametrize(
    ("days", "now", "complete"),
    [
        (14, None, [True, True]),  # a row a day: the day after the last one ends the window
        (13, None, [True, False]),
        (8, None, [True, False]),
        (14, START + 13 * DAY, [True, False]),
        (8, START + 14 * DAY, [True, True]),
    ],
)
def test_the_window_that_is_not_over_is_marked(days, now, complete):
    rows = logged({"rating": numbers(days)}).rows("u")

    windows = score_windows(rows, RATING, Watch(min_rows=1), now=now)

    assert windows["complete"].tolist() == complete


def test_rows_without_time_share_a_window_before_all_others():
    frame = numbers(14)
    frame.loc["row 3":"row 5", "time"] = pd.NaT

    windows = score_windows(logged({"rating": frame}).rows("u"), RATING, Watch(min_rows=1))

    assert windows["rows"].tolist() == [3, 4, 7]
    assert windows["start"].isna().tolist() == [True, False, False]
    assert windows["complete"].tolist() == [True, True, True]


def test_without_any_time_there_is_one_window():
    frame = numbers(30).drop(columns="time")

    windows = score_windows(logged({"rating": frame}).rows("u"), RATING, Watch())

    assert windows["rows"].tolist() == [30]
    assert windows["start"].isna().all()


# Scores.


def test_a_window_of_numbers_is_scored_as_at_the_promotion():
    frame = numbers(140, per_day=10)

    windows = score_windows(
        logged({"rating": frame}).rows("u"), RATING, Watch(), resampling=Resampling(SEED)
    )

    for window, first in ((windows.iloc[0], 0), (windows.iloc[1], 70)):
        part = frame.iloc[first : first + 70]
        expected = score_regression(part["truth"], part["prediction"], resampling=Resampling(SEED))
        assert window[list(expected)].to_dict() == pytest.approx(values(expected))


def test_a_window_of_classes_is_scored_as_at_the_promotion():
    frame = odds(50)

    window = score_windows(logged({"success": frame}).rows("u"), SUCCESS, Watch()).iloc[0]

    probabilities = frame[["probability_yes", "probability_no"]]
    expected = score_classification(
        frame["truth"], probabilities, ["yes", "no"], resampling=Resampling(SEED)
    )
    assert window[list(expected)].to_dict() == pytest.approx(values(expected))


def test_a_window_of_a_series_is_scored_as_at_the_promotion():
    frame = numbers(70).assign(series="a", scale=0.5, rms=0.75)
    watch = Watch(window="70D")

    window = score_windows(
        logged({"units": frame}).rows("u"), UNITS, watch, Resampling(SEED, horizon=2)
    ).iloc[0]

    terms = {"scale": frame["scale"], "rms": frame["rms"], "times": frame["time"]}
    expected = score_forecast(
        frame["truth"],
        frame["prediction"],
        **terms,
        resampling=Resampling(SEED, n_bootstrap=200, horizon=2),
    )
    for end in ("value", "low", "high"):
        ending = "" if end == "value" else f"_{end}"
        found = {name: window[f"{name}{ending}"] for name in expected}
        assert found == pytest.approx({name: score[end] for name, score in expected.items()})


@pytest.mark.parametrize(
    ("known", "told"), [(19, "19 rows with known truth, 20 are needed"), (20, "")]
)
def test_too_few_rows_say_nothing_and_say_so(known, told):
    frame = numbers(30, per_day=30)
    rows = logged({"rating": frame}, truth=frame["truth"].iloc[:known]).rows("u")

    window = score_windows(rows, RATING, Watch(min_rows=20)).iloc[0]

    assert (window["answers"], window["rows"], window["note"]) == (30, known, told)
    assert np.isnan(window["rmse"]) == bool(told)


@pytest.mark.parametrize("target", [RATING, SUCCESS, UNITS])
def test_without_rows_there_are_no_windows_but_their_columns(target):
    empty = logged({}).rows("u")

    windows = score_windows(empty, target, Watch())
    assert windows.empty
    assert {"start", "end", "complete", "rows", "note"} < set(windows.columns)
    assert distributions(empty, target, Watch()).empty
    assert operations(empty, "7D").empty


def test_errors_are_no_answers():
    log = logged({"rating": numbers(5)})
    log.write_error("u", "1", "row 9", "broken", arm="champion", source="batch", at=START)
    log.join_truth("u", "rating", pd.Series({"row 9": 1.0}), START)

    assert "row 9" not in latest_answers(log.rows("u")).index
    windows = score_windows(log.rows("u"), RATING, Watch())
    assert windows["answers"].tolist() == [5]  # and no window of rows without time


def test_a_row_that_was_answered_twice_counts_once_by_the_later_answer():
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    log.write("u", "1", {"rating": numbers(2)}, arm="champion", source="batch", at=START)
    again = numbers(2).assign(prediction=99.0).iloc[:1]
    log.write("u", "1", {"rating": again}, arm="champion", source="service", at=START + DAY)
    log.join_truth("u", "rating", numbers(2)["truth"], START + 2 * DAY)

    rows = latest_answers(log.rows("u"))
    assert len(rows) == 2
    assert rows.loc["row 0", "prediction"] == 99.0


def test_an_answer_from_after_the_truth_was_known_does_not_count_beside_one_from_before():
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    rows = numbers(1)
    how = {"arm": "champion", "source": "service"}
    log.write("u", "1", {"rating": rows.assign(prediction=1.0)}, request="a", at=START, **how)
    log.write("u", "1", {"rating": rows.assign(prediction=2.0)}, request="b", at=START + DAY, **how)
    log.join_truth("u", "rating", rows["truth"], START + 2 * DAY)
    late = {"request": "c", "at": START + 3 * DAY, **how}
    log.write("u", "1", {"rating": rows.assign(prediction=3.0)}, **late)
    log.join_truth("u", "rating", rows["truth"], START + 4 * DAY)

    assert latest_answers(log.rows("u"))["prediction"].tolist() == [2.0]


def test_a_row_that_service_and_batch_have_answered_counts_once():
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    rows = numbers(2)
    log.write("u", "1", {"rating": rows}, arm="champion", source="service", request="a", at=START)
    hashes = pd.Series({"row 0": "abcd:1", "row 1": "abcd:2"})
    batch = {"arm": "champion", "source": "batch", "at": START + DAY, "hashes": hashes}
    log.write("u", "1", {"rating": rows.assign(prediction=9.0)}, **batch)
    log.join_truth("u", "rating", rows["truth"], START + 2 * DAY, hashes)

    scored = latest_answers(log.rows("u"))

    assert scored["prediction"].tolist() == [9.0, 9.0]
    assert scored.index.tolist() == ["row 0", "row 1"]


def path(steps, errors, hour=0):
    """Answers for one row, each at another step; the truth is 10."""
    keys = [f"a@2024-01-02#{step}" for step in steps]
    rows = pd.DataFrame({"prediction": 10.0 + np.array(errors), "series": "a", "step": steps}, keys)
    time = pd.Timestamp(START) + pd.Timedelta(hours=hour)
    return rows.assign(time=time, scale=1.0, rms=1.0, truth=10.0)


def test_a_row_of_a_path_counts_once_at_each_step_by_whichever_key_it_was_logged():
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    how = {"arm": "champion"}
    log.write("u", "1", {"units": path([4, 1], [4.0, 1.0])}, source="batch", at=START, **how)
    for request, step in enumerate([3, 2, 1]):  # of the service: all under the key of the row
        rows = path([step], [0.1 * step]).set_axis(["a@2024-01-02"], axis=0)
        at = START + request * timedelta(minutes=1)
        log.write("u", "1", {"units": rows}, source="service", at=at, request=f"{step}", **how)
    keys = ["a@2024-01-02", *(f"a@2024-01-02#{step}" for step in (1, 4))]
    log.join_truth("u", "units", pd.Series(10.0, keys), START + DAY)

    scored = latest_answers(log.rows("u"))

    assert scored["step"].to_dict() == {f"a@2024-01-02#{step}": step for step in (1, 2, 3, 4)}
    assert sorted(scored["prediction"]) == pytest.approx([10.1, 10.2, 10.3, 14.0])


@given(st.lists(st.integers(1, 5), min_size=3, max_size=40))
@settings(max_examples=40, deadline=None)
def test_windows_of_a_path_are_compared_with_the_test_at_the_same_steps(steps):
    """Whichever steps were asked for: a model that errs as in the test is no better or worse."""
    tested = path([1, 2, 3, 4, 5, 5], [1.0, 2.0, 3.0, 4.0, 5.0, 5.0])
    live = pd.concat(
        path([step], [step], hour).set_axis([f"a@{hour}#{step}"], axis=0)
        for hour, step in enumerate(steps)
    )
    log = logged({"units": live}, pd.Series(10.0, live.index))

    window = score_windows(
        log.rows("u"), UNITS, Watch(window="30D", min_rows=1), tested=tested
    ).iloc[0]

    assert window["mase"] == pytest.approx(np.mean(steps))
    for metric in ("mase", "mae", "rmse"):
        assert window[f"{metric}_promoted"] == pytest.approx(window[metric])


def test_a_window_without_steps_of_the_test_is_compared_with_its_score():
    live = path([9], [9.0])
    log = logged({"units": live}, pd.Series(10.0, live.index))
    tested = path([1, 2], [1.0, 2.0])

    windows = score_windows(log.rows("u"), UNITS, Watch(min_rows=1), tested=tested)

    assert promoted_scores(windows, "mase", 1.5).tolist() == [1.5]


def test_rows_of_paths_from_before_steps_were_logged_have_the_step_of_their_key():
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    rows = path([4, 1], [4.0, 1.0]).drop(columns="step")
    log.write("u", "1", {"units": rows}, arm="champion", source="batch", at=START)
    other = numbers(1).set_axis(["film #7"], axis=0)
    log.write("u", "1", {"rating": other}, arm="champion", source="batch", at=START)

    found = log.rows("u")["step"]

    assert found.dropna().to_dict() == {"a@2024-01-02#4": 4.0, "a@2024-01-02#1": 1.0}
    assert pd.isna(found["film #7"])


def test_a_truth_that_is_none_of_the_classes_is_told():
    frame = odds(30)
    frame.loc["row 0", "truth"] = "perhaps"

    with pytest.raises(DataError, match=r"'success'.*outside the classes.*perhaps"):
        score_windows(logged({"success": frame}).rows("u"), SUCCESS, Watch())


def test_series_without_their_terms_are_told():
    with pytest.raises(DataError, match="logged predictions of 'units'"):
        score(latest_answers(logged({"units": numbers(30)}).rows("u")), UNITS)


# Distributions.


def test_shares_of_classes_stand_beside_those_of_the_truth():
    frame = odds(10).assign(truth=["yes"] * 7 + ["no"] * 3, prediction=["yes"] * 4 + ["no"] * 6)

    found = distributions(logged({"success": frame}).rows("u"), SUCCESS, Watch()).iloc[0]

    assert (found["predicted_yes"], found["true_yes"]) == pytest.approx((0.4, 0.7))
    assert (found["predicted_no"], found["true_no"]) == pytest.approx((0.6, 0.3))
    assert found["distance"] == pytest.approx(0.3)


def test_mean_and_spread_of_numbers_stand_beside_those_of_the_truth():
    frame = numbers(20).assign(prediction=3.0)

    found = distributions(logged({"rating": frame}).rows("u"), RATING, Watch(window="30D")).iloc[0]

    assert (found["predicted_mean"], found["predicted_spread"]) == (3.0, 0.0)
    assert found["true_mean"] == pytest.approx(frame["truth"].mean())
    assert found["true_spread"] == pytest.approx(frame["truth"].std(ddof=0))


# Operations.


def test_requests_are_counted_by_when_they_were_answered():
    log = logged({"rating": numbers(20), "other": numbers(20)}, latency_ms=4.0)
    slow = numbers(10).assign(prediction=0.0)
    log.write("u", "1", {"rating": slow}, arm="champion", source="service",
              latency_ms=pd.Series(100.0, slow.index), at=START + 8 * DAY)  # fmt: skip
    for key in ("a", "b"):
        log.write_error("u", "1", key, "timed out", arm="champion", source="service",
                        at=START + 8 * DAY, latency_ms=500.0)  # fmt: skip

    found = operations(log.rows("u"), "7D", start=START)

    assert found["requests"].tolist() == [20, 12]  # not 40: two targets are one request
    assert found["errors"].tolist() == [0, 2]
    assert found["error_rate"].tolist() == [0, 2 / 12]
    assert found["error"].tolist() == ["", "timed out"]
    assert found["response_p50_ms"].tolist() == [4.0, 100.0]
    assert found["response_ms"].tolist() == [4.0, 500.0]


def test_what_fails_in_the_shadow_is_no_request():
    log = logged({"rating": numbers(4)})
    log.write_error("u", "2", "a", "timed out", arm="shadow", source="service", at=START)

    assert operations(log.rows("u"), "7D")[["requests", "errors"]].to_numpy().tolist() == [[4, 0]]
    assert operations(log.rows("u", version="2"), "7D").empty


def test_a_request_of_which_one_target_failed_counts_as_failed_once():
    log = logged({"rating": numbers(4), "other": numbers(4).assign(prediction=[1, 2, 3, np.nan])})

    found = operations(log.rows("u"), "7D").iloc[0]

    assert (found["requests"], found["errors"]) == (4, 1)


def test_without_times_of_answers_there_is_no_response_time():
    found = operations(logged({"rating": numbers(4)}).rows("u"), "7D").iloc[0]

    assert np.isnan(found["response_ms"])
