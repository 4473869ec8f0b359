"""The rules: when a champion is worse, for how long, and what is done then."""

import json
import math
from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.config.production import Watch
from ratchet.monitoring.comparison import Comparison
from ratchet.monitoring.evaluate_champion import Assessment, assess, decide, rows_under_review

START = datetime(2024, 1, 1)
WEEK = timedelta(days=7)


def windows(*values, metric="rmse", complete=True, rows=100, width=0.0):
    """A window a week with these scores."""
    table = pd.DataFrame({metric: [float(value) for value in values]})
    table["start"] = pd.date_range(START, periods=len(values), freq="7D")
    table["end"] = table["start"] + WEEK
    table["complete"], table["rows"] = complete, rows
    if width is not None:
        table[f"{metric}_low"], table[f"{metric}_high"] = (
            table[metric] - width / 2,
            table[metric] + width / 2,
        )
    return table


def action(table, watch=None, metric="rmse", promoted=1.0, **how):
    return assess(table, promoted, metric, watch or Watch(), **how).action


# Thresholds and persistence.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], "none"),
        ([1.1, 1.1], "compare"),
        ([1.0, 1.1], "none"),  # one window may be bad luck
        ([1.1, 1.0, 1.0, 1.0, 1.1], "compare"),
        ([1.1, 1.0, 1.0, 1.0, 1.0, 1.1], "none"),  # the first is not among the last five
        ([1.1, 1.1, 1.0], "none"),  # the latest is fine again
        ([1.04, 1.04], "retrain"),
        ([1.1, 1.04], "retrain"),
        ([1.04, 1.1], "retrain"),
        ([1.05, 1.05], "retrain"),  # exactly 5 % is not more than 5 %
        ([1.03, 1.03], "none"),
        ([0.5, 0.5], "none"),
        ([1.1], "none"),
    ],
)
def test_worse_for_long_enough(values, expected):
    assert action(windows(*values)) == expected


def test_windows_of_a_path_are_held_against_the_promotion_at_their_own_steps():
    short = windows(0.6, 0.6).assign(rmse_promoted=0.5)
    long = windows(1.5, 1.5).assign(rmse_promoted=1.5)

    assert action(short) == "compare"  # 20 % worse at these steps, although below 1.0
    assert action(long) == "none"
    assert assess(short, 1.0, "rmse", Watch()).reason.startswith("rmse was 0.5 at the promotion")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 1.1], "compare"), ([1.1, 1.0], "none"), ([1.04], "retrain"), ([1.05], "retrain")],
)
def test_a_single_window_may_be_enough(values, expected):
    assert action(windows(*values), Watch(failing=1, of=1)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.70, 0.70], "compare"), ([0.9, 0.9], "none"), ([0.77, 0.77], "retrain")],
)
def test_metrics_of_which_more_is_better_fall(values, expected):
    table = windows(*values, metric="accuracy")

    assert action(table, metric="accuracy", promoted=0.8) == expected


def test_against_a_perfect_score_everything_is_worse():
    found = assess(windows(0.1, 0.1), 0.0, "rmse", Watch())

    assert found.action == "compare"
    assert "rmse was 0 at the promotion and 0.1 in the latest" in found.reason


@pytest.mark.parametrize("promoted", [math.nan, math.inf])
def test_without_a_score_of_the_promotion_nothing_is_done(promoted):
    assert action(windows(9, 9), promoted=promoted) == "none"


@given(
    st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(0, 4),
)
def test_the_rule_is_its_words(values, failing, more):
    watch = Watch(failing=failing, of=failing + more)
    last = values[-watch.of :]

    def fails(threshold):
        bad = [value - 1 > threshold + 1e-9 for value in last]
        return bad[-1] and sum(bad) >= failing

    mean = sum(last) / len(last)
    expected = "compare" if fails(0.05) else "retrain" if fails(0.03) and mean > 1 else "none"
    if all(abs(value - 1 - at) > 1e-6 for value in values for at in (0.03, 0.05)):
        assert action(windows(*values), watch) == expected


# What does not count.


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_window_without_a_score_is_no_evidence(bad):
    assert action(windows(1.1, bad, bad, bad, bad, 1.1)) == "compare"
    assert action(windows(1.1, 1.1, bad)) == "compare"
    assert action(windows(1.0, bad)) == "none"
    assert action(windows(bad, bad)) == "none"


def test_a_window_that_is_not_over_does_not_count():
    assert action(windows(1.0, 1.1, 1.1, complete=[True, True, False])) == "none"


def test_windows_before_the_champion_served_do_not_count():
    table = windows(1.1, 1.1, 1.1)

    assert action(table, since=START) == "compare"
    assert action(table, since=START + WEEK) == "compare"
    assert action(table, since=START + WEEK + timedelta(seconds=1)) == "none"


def test_nothing_to_look_at_is_said():
    assert "no complete window" in assess(windows(), 1.0, "rmse", Watch()).reason
    assert "no complete window" in assess(windows(1.1), 1.0, "mae", Watch()).reason


@pytest.mark.parametrize(
    ("cooldown", "expected"), [(0, "compare"), (1, "compare"), (2, "none"), (9, "none")]
)
def test_after_a_change_windows_pass_before_anything_is_done(cooldown, expected):
    table = windows(1.1, 1.1, 1.1, 1.1)
    watch = Watch(cooldown=cooldown)

    assert action(table, watch, last_change=START + 2 * WEEK) == expected


def test_a_window_that_began_before_the_change_is_none_after_it():
    table = windows(1.1, 1.1, 1.1)

    assert action(table, last_change=START + timedelta(days=1)) == "compare"
    assert action(table, last_change=START + WEEK + timedelta(days=1)) == "none"


def test_why_nothing_is_done_after_a_change_is_said():
    found = assess(windows(1.1, 1.1), 1.0, "rmse", Watch(), last_change=START + WEEK)

    assert "models changed 1 complete windows ago, and nothing is done in the first 1" in (
        found.reason
    )


def test_without_a_cool_down_nothing_is_waited_for():
    assert action(windows(1.1, 1.1), Watch(cooldown=0), last_change=START + 9 * WEEK) == "compare"


def test_a_second_retraining_waits_but_a_rollback_does_not():
    worse = {"last_request": START + 2 * WEEK}

    assert action(windows(1.04, 1.04, 1.04), **worse) == "none"
    assert action(windows(1.04, 1.04, 1.04, 1.04), **worse) == "retrain"
    fell = assess(windows(1.2, 1.2, 1.2), 1.0, "rmse", Watch(), **worse)
    assert decide(fell, comparison(low=0.01)).action == "rollback"
    assert decide(fell, comparison(low=-0.01)).action == "none"
    assert "a retraining was asked for 1 complete" in decide(fell, None).reason


def test_rows_without_time_are_one_window_that_fails_alone():
    table = windows(1.1).assign(start=pd.NaT, end=pd.NaT)

    found = assess(table, 1.0, "rmse", Watch(), since=START, last_change=START)

    assert found.action == "compare"
    assert "of all rows" in found.reason


# Chance.


def test_a_retraining_is_asked_for_only_beyond_chance():
    noisy = assess(windows(1.04, 1.04, width=0.2), 1.0, "rmse", Watch())

    assert noisy.action == "none"
    assert "no more than chance" in noisy.reason
    assert action(windows(1.04, 1.04, width=0.02)) == "retrain"


def test_the_score_of_the_promotion_is_not_sure_either():
    table = windows(1.04, 1.04, width=0.02)

    assert action(table, promoted_interval=(0.9, 1.1)) == "none"
    assert action(table, promoted_interval=(0.99, 1.01)) == "retrain"


def test_chance_goes_by_all_windows_looked_at():
    lucky = windows(0.9, 0.9, 0.9, 1.04, 1.04, width=0.02)

    assert action(lucky) == "none"


def test_without_intervals_a_window_is_taken_at_its_word():
    assert action(windows(1.04, 1.04, width=None)) == "retrain"


# The decision.


def comparison(low, rows=100):
    return Comparison("rmse", rows, 1.1, 1.1 - low - 0.05, low + 0.05, low, low + 0.1)


FELL = assess(windows(1.2, 1.2, width=0.02), 1.0, "rmse", Watch())
UNSURE = assess(windows(1.2, 1.2, width=2.0), 1.0, "rmse", Watch())


def test_a_previous_model_that_is_better_is_taken_back():
    found = decide(FELL, comparison(low=0.01))

    assert found.action == "rollback"
    assert "on the same 100 rows the previous model has 1.04 against 1.1" in found.reason
    assert "20.0% worse" in found.reason
    assert found.numbers["comparison"]["low"] == 0.01


@pytest.mark.parametrize("low", [0.0, -0.01, math.nan])
def test_one_that_is_not_surely_better_is_not(low):
    found = decide(FELL, comparison(low=low))

    assert found.action == "retrain"
    assert "not surely better" in found.reason


def test_without_a_previous_model_a_retraining_is_asked_for():
    found = decide(FELL, None)

    assert found.action == "retrain"
    assert "no previous model to go back to" in found.reason


def test_too_few_rows_decide_nothing():
    found = decide(FELL, comparison(low=0.01, rows=19), min_rows=20)

    assert found.action == "retrain"
    assert "answered 19 of these rows, 20 are needed" in found.reason


def test_no_more_than_chance_is_no_reason_to_retrain_but_the_same_rows_may_be_one_to_go_back():
    assert decide(UNSURE, comparison(low=-0.01)).action == "none"
    assert decide(UNSURE, None).action == "none"
    assert decide(UNSURE, comparison(low=0.01)).action == "rollback"


@pytest.mark.parametrize("action", ["none", "retrain"])
def test_without_a_question_the_assessment_stands(action):
    found = decide(Assessment(action, "because", {"metric": "rmse"}), comparison(low=1.0))

    assert (found.action, found.reason) == (action, "because")


def test_what_happened_to_the_inputs_is_named():
    found = decide(FELL, None, inputs=["price: 60 % missing"])

    assert found.reason.endswith("inputs moved: price: 60 % missing")


def test_rows_in_question_are_those_since_it_began_to_fail():
    table = windows(1.0, 1.2, 1.0, 1.2)
    times = pd.date_range(START, periods=40, freq="D")
    rows = pd.DataFrame({"time": times}, index=range(40))

    found = rows_under_review(rows, assess(table, 1.0, "rmse", Watch()))

    assert list(found.index) == list(range(7, 28))


def test_without_time_all_rows_are_in_question():
    table = windows(1.1).assign(start=pd.NaT, end=pd.NaT)
    rows = pd.DataFrame({"time": [pd.NaT, pd.NaT]})

    assert len(rows_under_review(rows, assess(table, 1.0, "rmse", Watch()))) == 2


@pytest.mark.parametrize("values", [[1.2, 1.2], [1.0], [math.nan], [0.1, 0.1]])
@pytest.mark.parametrize("promoted", [1.0, 0.0, math.nan])
def test_everything_can_be_written_as_json(values, promoted):
    found = assess(windows(*values), promoted, "rmse", Watch())

    for told in (found, decide(found, comparison(low=math.nan))):
        assert json.loads(json.dumps(told.to_json(), allow_nan=False))["reason"]
