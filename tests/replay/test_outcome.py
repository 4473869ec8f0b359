"""What is said of policies is what they have done."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ratchet.replay.backtest import backtest
from ratchet.replay.incidents import read_incidents
from ratchet.replay.outcome import build_report, difference
from ratchet.replay.policies import policies

START = pd.Timestamp("2024-01-07")


def week(number):
    return START + pd.Timedelta(weeks=number)


def errs(before, after, since):
    return lambda times: np.where(times >= since + pd.Timedelta(days=1), after, before)


def told(past):
    history = past.history
    return build_report(
        history, [backtest(history, policy) for policy in policies(past.use_case, {})]
    )


def of(found, name):
    return next(one for one in found["policies"] if one["name"].startswith(name))


def test_errors_by_week_and_in_total(made):
    found = told(made({0: 1.0, 1: 0.5, 2: 4.0}, weeks=3))

    assert of(found, "configured")["weekly"] == pytest.approx([1.0, 0.5, 0.5])
    assert of(found, "never")["weekly"] == pytest.approx([1.0, 1.0, 1.0])
    assert of(found, "always")["weekly"] == pytest.approx([1.0, 0.5, 4.0])
    assert of(found, "configured")["total"]["value"] == pytest.approx(math.sqrt(1.5 / 3))
    assert of(found, "configured")["total"]["rows"] == 3 * 56
    assert of(found, "configured")["regret"] == pytest.approx(0)
    assert found["best"] == "configured"


def test_another_policy_may_be_the_best(made):
    # 1 % better every week is never enough for the gate.
    found = told(made({number: 0.99**number for number in range(4)}, weeks=4))

    assert found["best"] == "always promote"
    assert of(found, "always")["against_first"]["value"] < 0
    assert of(found, "configured")["regret"] > 0


def test_a_promotion_is_false_if_the_model_before_would_have_done_better(made):
    # Better on the fresh rows, worse afterwards; and one that is better for good.
    found = told(made({1: errs(0.9, 1.1, week(1)), 3: 0.5}, weeks=4))

    (wrong,) = of(found, "configured")["false_promotions"]
    assert (wrong["version"], wrong["instead"]) == ("2024-01-14", "2024-01-07")
    assert (wrong["value"], wrong["instead_value"]) == pytest.approx((1.1, 1.0))
    assert wrong["sure"]


def test_going_back_is_no_promotion(made):
    found = told(made({1: errs(0.9, 1.2, week(1)), 2: 5.0, 3: 5.0, 4: 5.0}, weeks=5))

    policy = of(found, "configured")
    assert (policy["promotions"], policy["rollbacks"], policy["switches"]) == (2, 1, 2)
    assert [one["version"] for one in policy["false_promotions"]] == ["2024-01-14"]


def test_weeks_without_a_model_are_compared_for_nobody(made):
    past = made({0: 1.0, 1: 1.0}, release={"min_rows": 500}, weeks=3)  # nothing is ever decided

    found = told(past)

    assert of(found, "configured")["weekly"] == [None] * 3
    assert of(found, "configured")["total"]["value"] is None
    assert found["best"] is not None
    assert of(found, "never")["total"]["rows"] == 3 * 56


def test_the_difference_is_paired_by_week(made):
    history = made(weeks=4).history

    found = difference(
        history, [1.0, 2.0, 3.0, 9.0], [1.1, 2.1, 3.1, 0.0], [True, True, True, False]
    )

    assert found["value"] == pytest.approx(-0.1)  # whatever makes a week hard falls out
    assert found["low"] == pytest.approx(-0.1)
    assert found["high"] == pytest.approx(-0.1)
    assert (found["weeks"], found["differ"]) == (3, 3)


def test_a_few_weeks_say_nothing_of_chance(made):
    found = difference(made(weeks=2).history, [1.0, 2.0], [2.0, 2.0], [True, True])

    assert math.isnan(found["low"])


def test_rows_that_one_policy_leaves_unanswered_are_counted(made):
    silent = read_incidents(
        [{"kind": "broken_model", "from": "2024-01-14", "to": "2024-01-14"}], "here"
    )

    found = told(made({1: 0.5, 2: 5.0}, incidents=silent, weeks=3))

    assert of(found, "always")["unanswered"] == 56  # until the next model came
    assert of(found, "always")["weekly"][1] is None
    assert of(found, "configured")["unanswered"] == 0  # answered a day late, by the one before
    assert not found["weeks"][1]["compared"]
