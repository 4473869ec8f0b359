"""What is said of a use case, above all of what is absent."""

from __future__ import annotations

import datetime as dt

import pytest

from ratchet.reports.status import text
from ratchet.reports.status.collect import Model, Predicted

SOME = dt.datetime(2026, 11, 15, 23, 30)


def test_all_is_well(status):
    row = dict(zip(text.COLUMNS, text.overview(status()), strict=True))

    assert row == {
        "use case": "Electric load",
        "state": "fine",
        "serves": "version 3: ridge",
        "since": "2026-10-04",
        "at promotion": "MASE 0.500",
        "in production": "0.520, 4.0% worse",
        "inputs": "as usual",
        "last decision": "held back version 4, 2026-10-25",
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("good", "fine")),
        ({"watch": None}, ("good", "fine")),
        ({"champion": None}, ("none", "nothing serves")),
        ({"problems": ["x"]}, ("bad", "needs mending")),
        ({"champion": None, "problems": ["x"]}, ("bad", "needs mending")),
    ],
)
def test_state(status, changed, expected):
    assert text.state_badge(status(**changed)) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"action": "rollback"}, "bad"),
        ({"alerts": [{"level": "critical"}]}, "bad"),
        ({"action": "retrain"}, "doubt"),
        ({"alerts": [{"level": "warning"}]}, "doubt"),
        ({"drift": None}, "good"),
    ],
)
def test_state_by_the_monitoring(status, make_watch, changed, expected):
    assert text.state_badge(status(watch=make_watch(**changed)))[0] == expected


@pytest.mark.parametrize("event", ["rollback", "retrain"])
def test_state_while_something_is_unsettled(status, make_entry, event):
    opened = make_entry(event, "3", 5, "24% worse.")

    assert text.state_badge(status(unsettled=opened, watch=None)) == ("doubt", "look at it")
    assert text.state_badge(status(unsettled=opened)) == ("doubt", "look at it")
    assert text.state_badge(status(unsettled=opened, problems=["x"]))[0] == "bad"


@pytest.mark.parametrize(
    ("event", "expected"),
    [("rollback", "It went back to version 3"), ("retrain", "A new training was asked for")],
)
def test_what_is_unsettled(status, make_entry, make_watch, event, expected):
    opened = make_entry(event, "4", 5, "24% worse.")
    told = f"{expected} on 2026-10-05 04:12 UTC: 24% worse. No model was promoted since."

    for watch in (None, make_watch()):
        assert text.watch_sentence(status(unsettled=opened, watch=watch)) == told
    again = status(unsettled=opened, watch=make_watch(action="retrain", reason="30% worse"))
    assert text.watch_sentence(again) == "A new training is asked for: 30% worse."
    assert text.unsettled_sentence(status()) == ""


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("NONE", "good"), ("LOW", "good"), ("MEDIUM", "doubt"), ("HIGH", "doubt")],
)
def test_state_by_the_inputs(status, make_watch, make_report, severity, expected):
    assert text.state_badge(status(watch=make_watch(drift=make_report(severity))))[0] == expected


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ({}, "version 7"),
        ({"demand": "ridge"}, "version 7: ridge"),
        ({"success": "stack", "rating": "ridge"}, "version 7: stack for success and ridge for"),
    ],
)
def test_a_model(candidates, expected):
    assert text.model_text(Model("7", candidates)).startswith(expected)


def test_nothing_was_predicted(status):
    nothing = status(predicted=Predicted(0, 0, None), watch=None)

    assert text.in_production(nothing) == "Nothing was predicted since the promotion."
    assert text.production_text(nothing) == "nothing predicted yet"


def test_no_truth_is_known(status, make_watch):
    waiting = status(predicted=Predicted(1, 0, SOME), watch=make_watch())

    assert text.in_production(waiting) == (
        "Since the promotion 1 row was predicted, the last on 2026-11-15 23:30 UTC. The truth of "
        "none is known yet, so there is nothing to compare."
    )
    assert text.production_text(waiting) == "truth not known yet"


def test_no_monitoring(status):
    said = text.in_production(status(watch=None))

    assert said.endswith("the truth of 2,000 is known. The monitoring has not run yet.")
    assert text.watch_sentence(status(watch=None)) == ""


def test_the_monitoring_looked_at_another_version(status):
    said = text.in_production(status(watch=None, watched="2"))

    assert said.endswith("The monitoring has not looked at it yet, only at version 2 before it.")


def test_no_window_has_enough_rows(status, make_watch, make_window):
    few = status(watch=make_watch(make_window(0, None, note="12 rows, 20 are needed")))

    assert text.in_production(few).endswith("No window can be scored yet: 12 rows, 20 are needed.")
    assert text.production_text(few) == "too few rows yet"
    assert text.latest_window(status(watch=make_watch())) == "No window can be scored yet."


def test_the_latest_window(status):
    assert text.latest_window(status()) == (
        "In the latest window, from 2026-11-09 to 2026-11-16, it was 0.520 on 336 rows: 4.0% worse "
        "than at the promotion."
    )


def test_a_window_without_time(status, make_watch, make_window):
    whole = status(watch=make_watch(make_window(0, 0.5, start=None, end=None)))

    assert text.latest_window(whole) == (
        "In the latest window, it was 0.500 on 336 rows: the same as at the promotion."
    )


@pytest.mark.parametrize(
    ("greater", "value", "expected"),
    [(False, 0.55, "10.0% worse"), (False, 0.45, "10.0% better"), (True, 0.45, "10.0% worse")],
)
def test_the_direction_of_a_metric(status, make_watch, make_window, greater, value, expected):
    found = status(watch=make_watch(make_window(0, value)), greater_is_better=greater)

    assert text.change_text(found) == expected


def test_a_negative_r2_that_falls_is_worse(status, make_watch, make_window):
    fell = status(
        promoted={"value": -0.1, "low": -0.2, "high": 0.0},
        watch=make_watch(make_window(0, -0.2)),
        greater_is_better=True,
    )

    assert text.change_text(fell) == "100.0% worse"


def test_a_promotion_that_cannot_be_compared_with(status):
    unknown, zero = status(promoted=None), status(promoted={"value": 0.0, "low": 0.0, "high": 0.1})

    assert "not known" in text.at_promotion(unknown)
    assert text.change_text(unknown) == text.change_text(zero) == ""
    assert text.latest_window(unknown).endswith("it was 0.520 on 336 rows.")


def test_what_is_done(status, make_watch):
    asked = status(watch=make_watch(action="retrain", reason="24% worse"))

    assert text.watch_sentence(asked) == "A new training is asked for: 24% worse."


def test_inputs(status, make_watch, make_report):
    moved = status(watch=make_watch(drift=make_report("MEDIUM", ("temperature",))))

    assert text.inputs_text(status(watch=make_watch(drift=None)))[0].endswith(
        "not been compared with those of the training yet."
    )
    assert text.inputs_text(status())[0].startswith("The inputs are as they were in the training")
    assert text.inputs_text(moved) == [
        "Severity MEDIUM, on 336 rows from 2026-11-09 to 2026-11-15. Moved: temperature.",
        "temperature has moved by 1.2 spreads, 0.3 would be usual.",
    ]


@pytest.mark.parametrize(
    ("event", "version", "expected"),
    [
        ("promote", "4", "promoted version 4"),
        ("hold", "4", "held back version 4"),
        ("reject", "4", "rejected version 4"),
        ("rollback", "4", "rolled back to version 3"),
        ("override", "3", "promoted by hand: version 3"),
        ("retrain", None, "asked for a new training; champion is version 3"),
    ],
)
def test_decisions(make_entry, event, version, expected):
    assert text.decision_text(make_entry(event, version, 5, "why")) == expected


def test_conditions_of_a_decision(status):
    held, promoted = status().decisions

    assert [mark for mark, _, _ in text.conditions(held)] == ["yes", "no", "doubt"]
    assert text.conditions(promoted) == []


def test_what_is_urgent_comes_first(every_condition):
    films = every_condition[2]

    lines = text.full_text(films)

    assert lines[0].startswith("films: the previous model cannot be used")
    assert lines[1].endswith(
        '-> kedro ratchet rollback --use-case films --reason "version 7 fails"'
    )
    assert lines[2].startswith("Champion: version 7")
    assert text.problem_lines(every_condition[0]) == []


def test_a_use_case_without_anything(every_condition):
    assert text.full_text(every_condition[3]) == [
        "Champion: none: no model was promoted yet",
        "Previous: none: there is no version to roll back to",
        "Challenger: none waits",
    ]
    assert text.overview(every_condition[3])[1:] == [
        *("nothing serves", "nothing", "–", "–", "–", "–", "none yet"),
    ]
