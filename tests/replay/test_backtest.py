"""Each threshold fires when it should, and only then: truth is made, and errors are exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.replay.backtest import MissingStageError, backtest
from ratchet.replay.incidents import read_incidents
from ratchet.replay.outcome import build_report
from ratchet.replay.policies import policies

START = pd.Timestamp("2024-01-07")


def week(number):
    return START + pd.Timedelta(weeks=number)


def day(number):
    return START + pd.Timedelta(days=number)


def errs(before, after, since):
    """A model whose errors have another size after a day."""
    return lambda times: np.where(times >= since + pd.Timedelta(days=1), after, before)


def backtested(past, name="configured"):
    policy = next(one for one in policies(past.use_case, {}) if one.name.startswith(name))
    return backtest(past.history, policy)


def happened(past, name="configured", *, without=("hold", "reject")):
    """Day from the first Sunday on, event, and what serves after it."""
    return [
        ((event.day - START).days, event.event, event.champion)
        for event in backtested(past, name).events
        if event.event not in without
    ]


def v(number):
    return str(week(number).date())


# What both look at.


def test_windows_of_paths_are_compared_as_in_production(made):
    """With what the steps that were asked for in them scored in the test."""
    history = made().history
    model = history.stages[week(0)].challengers[0]
    steps = model.answers["load"].assign(step=1)
    model = replace(model, answers={"load": steps}, tested={"load": steps.tail(80)})
    watch = history.use_case.monitoring.watch

    windows = history.windows(model, "load", watch, model.decided_until, week(3))

    assert windows["rmse_promoted"].to_numpy() == pytest.approx(1.0)


# The gate.


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0.979, "promote"), (0.981, "hold"), (0.98, "hold"), (1.0, "hold"), (1.03, "reject")],
)
def test_a_new_model_has_to_be_better_by_more_than_the_least_gain(made, size, expected):
    past = made({1: size}, weeks=2)

    assert happened(past, without=()) == [
        (0, "promote", v(0)),
        (7, expected, v(1) if expected == "promote" else v(0)),
    ]


@pytest.mark.parametrize(("least", "expected"), [(0.05, "promote"), (0.07, "hold")])
def test_the_policy_says_how_much(made, least, expected):
    past = made({1: 0.94}, release={"min_gain": least}, weeks=2)

    assert backtested(past).events[-1].event == expected


def test_too_few_fresh_rows_decide_nothing(made):
    past = made({1: 0.5}, release={"min_rows": 57}, weeks=2)

    event = backtested(past).events[-1]
    assert (event.event, event.champion) == ("hold", v(0))
    assert "56 new rows, at least 57 are needed" in event.reason


def test_where_nothing_serves_the_naive_model_may(made):
    worse_than_naive = 3.5
    past = made({0: worse_than_naive, 1: 2.0}, weeks=2)

    assert happened(past, without=()) == [
        (0, "reject", None),
        (0, "promote", f"{v(0)} naive"),
        (7, "promote", v(1)),
    ]


def test_the_naive_model_is_no_way_in_later(made):
    past = made({0: 2.9, 1: 3.5}, weeks=2)

    assert [event.version for event in backtested(past).events] == [v(0), v(1)]


# Rollback.


@pytest.mark.parametrize(
    ("worse", "expected"),
    [(1.051, "rollback"), (1.049, "retrain"), (1.031, "retrain"), (1.029, None), (0.9, None)],
)
def test_a_champion_goes_when_it_is_worse_for_long_enough(made, worse, expected):
    # Promoted for being much better, and soon worse than the one before, which errs by 1.
    size = 0.99 / 1.029
    past = made({0: 1.0, 1: errs(size, size * worse, week(2)), 2: 5.0, 3: 5.0, 4: 5.0}, weeks=5)

    found = [event for event in happened(past) if event[0] > 7]

    # The first week is fine; the second and the third fail.
    first = {"rollback": (28, "rollback", v(0)), "retrain": (28, "retrain", v(1)), None: None}
    assert (found[0] if found else None) == first[expected]


def test_where_the_previous_model_is_no_better_going_back_would_not_help(made):
    both = [errs(1.0, 2.0, week(2)), errs(0.9, 1.8, week(2))]
    past = made({0: both[0], 1: both[1], 2: 5.0, 3: 5.0, 4: 5.0}, weeks=5)

    found = happened(past)

    assert found == [(0, "promote", v(0)), (7, "promote", v(1)), (28, "retrain", v(1))]
    assert "not surely better" in backtested(past).events[-2].reason


@pytest.mark.parametrize(
    ("watch", "expected"),
    [
        ({}, 28),
        ({"failing": 1, "of": 1}, 21),  # the first window that fails
        ({"failing": 3}, 35),
        ({"rollback_above": 0.5}, None),
    ],
)
def test_persistence(made, watch, expected):
    bad = dict.fromkeys(range(2, 7), 5.0)
    past = made({0: 1.0, 1: errs(0.9, 1.2, week(2)), **bad}, watch=watch, weeks=7)

    found = [at for at, event, _ in happened(past) if event == "rollback"]

    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize(("cooldown", "expected"), [(0, 14), (1, 21), (2, 28)])
def test_nothing_is_done_in_the_first_windows(made, cooldown, expected):
    bad = dict.fromkeys(range(2, 7), 5.0)
    past = made(
        {0: 1.0, 1: errs(0.9, 1.2, week(1)), **bad},
        watch={"failing": 1, "of": 1, "cooldown": cooldown},
        weeks=7,
    )

    assert [at for at, event, _ in happened(past) if event == "rollback"] == [expected]


def test_what_was_rolled_back_never_comes_back(made):
    # 1 takes over and fails: back to 0. 2 takes over and fails: back to 0, though 1 served last.
    sizes = {0: 1.0, 1: errs(0.9, 1.2, week(1)), 3: errs(0.9, 1.2, week(3)), 5: 5.0, 6: 5.0}
    past = made(sizes, watch={"failing": 1, "of": 1, "cooldown": 0}, weeks=7)

    found = happened(past)

    assert found == [
        (0, "promote", v(0)),
        (7, "promote", v(1)),
        (14, "rollback", v(0)),
        (21, "promote", v(3)),
        (28, "rollback", v(0)),
    ]


def test_bare_rules_go_back_and_forth(made):
    # Both are worse than at their promotion for ever, and nobody remembers it.
    sizes = {
        0: errs(1.0, 2.0, week(1)),
        1: errs(0.9, 1.9, week(1)),
        **dict.fromkeys(range(2, 5), 5.0),
    }
    past = made(sizes, weeks=5)

    rolled = [champion for _, event, champion in happened(past, "bare") if event == "rollback"]

    assert rolled == [v(0), v(1), v(0), v(1)]


# Requests to retrain.


def test_a_request_between_sundays_trains_a_model(made):
    few = {"min_rows": 20}  # of three days
    watch = {"window": "1D", "min_rows": 5, "cooldown": 0}
    past = made({0: errs(1.0, 1.04, day(1))}, watch=watch, release=few, weeks=2)

    with pytest.raises(MissingStageError, match="2024-01-10"):  # two days that fail
        backtested(past)

    past = made(
        {0: errs(1.0, 1.04, day(1))}, watch=watch, release=few, others={day(3): 0.5}, weeks=2
    )
    assert happened(past)[:3] == [
        (0, "promote", v(0)),
        (3, "retrain", v(0)),
        (3, "promote", "2024-01-10"),
    ]


def test_no_second_request_follows_at_once(made):
    watch = {"window": "1D", "min_rows": 5, "cooldown": 3}
    others = {day(number): 5.0 for number in range(1, 14)}
    past = made({0: errs(1.0, 1.04, day(0))}, watch=watch, others=others, weeks=2)

    requested = [at for at, event, _ in happened(past) if event == "retrain"]

    assert requested == [4, 8, 12]


# Incidents.


def incidents(text):
    return read_incidents(yaml.safe_load(text), "incidents.yml")


def test_a_slow_model_does_not_serve(made):
    slow = incidents("[{kind: latency, from: 2024-01-14, to: 2024-01-14, ms: 101}]")
    quick = incidents("[{kind: latency, from: 2024-01-14, to: 2024-01-14, ms: 99}]")

    assert happened(made({1: 0.5}, incidents=quick, weeks=2))[-1] == (7, "promote", v(1))
    event = backtested(made({1: 0.5}, incidents=slow, weeks=2)).events[-1]
    assert (event.event, event.champion) == ("hold", v(0))
    assert "an answer takes 101 ms" in event.reason


def test_on_a_day_with_a_bad_file_nothing_is_done(made):
    bad = incidents("[{kind: bad_data, from: 2024-01-14, to: 2024-01-16}]")
    past = made({1: 0.5, 2: 0.5}, incidents=bad, weeks=3)

    assert happened(past) == [(0, "promote", v(0)), (7, "failed", v(0)), (14, "promote", v(2))]
    found = backtested(past)
    assert found.trained == (week(0), week(2))
    rows = build_report(past.history, [found])["policies"][0]["total"]["rows"]
    assert rows == 3 * 7 * 8  # those of the bad days were answered when the file was mended


def test_a_model_that_answers_nothing_is_replaced_the_day_after(made):
    silent = incidents("[{kind: broken_model, from: 2024-01-14, to: 2024-01-14}]")
    past = made({1: 0.5, 2: 5.0}, incidents=silent, weeks=3)

    found = happened(past)

    assert found == [(0, "promote", v(0)), (7, "promote", v(1)), (8, "rollback", v(0))]
    assert "did not answer" in backtested(past).events[2].reason


def test_a_model_that_answers_nothing_is_no_way_back(made):
    silent = incidents("[{kind: broken_model, from: 2024-01-07, to: 2024-01-07}]")
    past = made({1: 0.5}, incidents=silent, weeks=2)

    event = backtested(past).events[-1]
    assert (event.event, event.champion) == ("hold", v(0))
    assert "rollback target" in event.reason


def test_a_model_that_answers_wrongly_is_found_out(made):
    wrong = incidents("[{kind: broken_model, from: 2024-01-14, to: 2024-01-14, factor: 1.5}]")
    past = made({1: 0.9, 2: 5.0, 3: 5.0}, incidents=wrong, weeks=4)

    assert happened(past)[1:3] == [(7, "promote", v(1)), (21, "rollback", v(0))]


def test_an_incident_befalls_only_the_models_of_its_days(made):
    wrong = incidents("[{kind: broken_model, from: 2024-01-08, to: 2024-01-13, factor: 9}]")
    past = made({1: 0.9}, incidents=wrong, weeks=4)

    assert happened(past) == [(0, "promote", v(0)), (7, "promote", v(1))]


# Baselines.


def test_never_and_always(made):
    past = made({1: 5.0, 2: 0.1}, weeks=3)

    assert happened(past, "never") == [(0, "promote", v(0))]
    assert [champion for *_, champion in happened(past, "always")] == [v(0), v(1), v(2)]


@pytest.mark.parametrize(("size", "expected"), [(0.979, "promote"), (0.981, "hold")])
def test_the_bare_rule_asks_for_a_gain_alone(made, size, expected):
    past = made({1: size}, release={"max_latency_ms": 0.5}, weeks=2)

    assert backtested(past, "bare").events[-1].event == expected


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4), st.floats(0.5, 2.0))
def test_nobody_is_better_than_hindsight(made, sizes, later):
    past = made({n: errs(size, later * size, week(n + 1)) for n, size in enumerate(sizes)}, weeks=4)

    history = past.history
    told = build_report(
        history, [backtest(history, policy) for policy in policies(past.use_case, {})]
    )

    hindsight = told["policies"][-1]
    for policy in told["policies"]:
        assert policy["regret"] >= -1e-9
        for mine, best in zip(policy["weekly"], hindsight["weekly"], strict=True):
            assert mine >= best - 1e-9


def test_the_same_past_gives_the_same_walk(made):
    past = made({1: errs(0.9, 1.2, week(1)), 3: 0.8}, weeks=4)

    first, second = (
        build_report(past.history, [backtested(past), backtested(past, "best")]) for _ in range(2)
    )

    assert first == second


def test_what_was_fitted_once_more_serves_in_place_of_what_was_judged(made):
    past = made({0: 1.0, 1: 0.8}, weeks=3)
    stages = {}
    for at, stage in past.history.stages.items():
        judged, naive = stage.challengers
        rows = judged.answers["load"]
        better = rows.assign(prediction=(rows["prediction"] + rows["truth"]) / 2)
        again = replace(judged, version=f"{judged.version} refitted", answers={"load": better})
        stages[at] = replace(stage, challengers=(replace(judged, refitted=again), naive))
    history, policy = replace(past.history, stages=stages), policies(past.use_case, {})[0]

    result = backtest(history, policy)

    promoted = [event for event in result.events if event.event == "promote"]
    assert promoted[0].version == f"{v(0)} refitted"
    assert {span.model.version for span in result.spans} <= {f"{v(n)} refitted" for n in range(4)}
    # The second one was judged as it was trained: 0.8 against 0.5 of the champion is worse.
    assert [(one.event, one.version) for one in result.events][1] == ("reject", v(1))
