"""Alerts: above the threshold and not at it, with numbers and something to do."""

import json
import math

import pandas as pd
import pytest

from ratchet.config.production import Alerts
from ratchet.monitoring.alerts import find_alerts


def scored(metric, *values):
    return pd.DataFrame({metric: values, "rows": 100})


def requests(error_rate=0.0, response_ms=10.0, week=0):
    row = {"requests": 1000, "errors": int(1000 * error_rate), "error_rate": error_rate}
    row |= {"error": "timed out", "response_ms": response_ms}
    start = pd.Timestamp("2024-01-01") + pd.Timedelta(weeks=week)
    return pd.DataFrame([{"start": start, "end": start + pd.Timedelta(weeks=1), **row}])


def found(**evidence):
    return find_alerts("films", Alerts(), **evidence)


def falls(metric, now, promoted=0.8):
    return found(windows={"t": scored(metric, now)}, promoted={"t": {metric: promoted}})


@pytest.mark.parametrize("metric", ["accuracy", "r2"])
@pytest.mark.parametrize(("now", "alerts"), [(0.75, 0), (0.7499, 1), (0.8, 0), (0.9, 0)])
def test_a_score_that_falls(metric, now, alerts):
    assert [alert.name for alert in falls(metric, now)] == [f"{metric}_drop"] * alerts


def test_r2_falls_in_points_and_not_in_shares():
    assert not falls("r2", -0.03, promoted=0.01)
    assert falls("r2", -0.05, promoted=0.01)


@pytest.mark.parametrize(("rate", "alerts"), [(0.02, 0), (0.0201, 1), (0.0, 0)])
def test_requests_that_fail(rate, alerts):
    names = [alert.name for alert in found(operations=requests(error_rate=rate))]

    assert names == ["error_rate"] * alerts


@pytest.mark.parametrize(("response", "alerts"), [(500.0, 0), (500.1, 1), (math.nan, 0)])
def test_answers_that_take_long(response, alerts):
    names = [alert.name for alert in found(operations=requests(response_ms=response))]

    assert names == ["response_ms"] * alerts


@pytest.mark.parametrize(("rate", "alerts"), [(0.05, 0), (0.0501, 1)])
def test_a_model_that_fails(rate, alerts):
    names = [alert.name for alert in found(models={"7": requests(error_rate=rate)})]

    assert names == ["failing_model"] * alerts


def test_every_alert_says_what_happened_with_numbers_and_what_to_do():
    alerts = found(
        windows={"success": scored("accuracy", 0.7), "rating": scored("r2", 0.3)},
        promoted={"success": {"accuracy": 0.8}, "rating": {"r2": 0.4}},
        operations=requests(error_rate=0.1, response_ms=900.0),
        models={"7": requests(error_rate=0.1)},
    )

    told = {alert.name: (alert.text, alert.advice) for alert in alerts}
    assert told["accuracy_drop"][0] == (
        "films: accuracy of success fell by 0.100, from 0.800 at the promotion to 0.700 on 100 "
        "rows (alert above 0.05)"
    )
    assert told["error_rate"] == (
        "films: 10.0% of 1000 requests failed (alert above 2%)",
        "mend the commonest error first: timed out",
    )
    assert told["response_ms"][0].startswith("films: 5 % of 1000 answers took 900 ms or more")
    assert told["failing_model"][1] == (
        'kedro ratchet rollback --use-case films --reason "version 7 fails"'
    )
    assert set(told) == {*Alerts.model_fields}
    for alert in alerts:
        assert alert.advice
        assert "\n" not in alert.advice
        assert alert.value > alert.threshold


def test_a_model_that_failed_long_ago_is_past():
    old = {"6": requests(error_rate=0.5, week=0)}

    assert not found(models=old, operations=requests(week=1))
    assert found(models=old, operations=requests(week=0))


def test_of_a_failing_challenger_no_rollback_is_a_way_out():
    (alert,) = found(models={"8": requests(error_rate=0.5)}, champion="7")

    assert alert.advice.startswith("version 7 serves by now")
    assert "rollback" not in alert.advice


def test_a_failing_model_comes_first():
    alerts = found(operations=requests(error_rate=0.1), models={"7": requests(error_rate=0.1)})

    assert [alert.level for alert in alerts] == ["critical", "warning"]


def test_the_latest_window_that_says_something_counts():
    promoted = {"t": {"accuracy": 0.8}}

    assert found(windows={"t": scored("accuracy", 0.5, math.nan)}, promoted=promoted)
    assert not found(windows={"t": scored("accuracy", 0.5, 0.8)}, promoted=promoted)
    assert not found(windows={"t": scored("accuracy", math.nan)}, promoted=promoted)


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"operations": requests().iloc[:0], "models": {"7": requests().iloc[:0]}},
        {"windows": {"t": scored("rmse", 9.0)}, "promoted": {"t": {"rmse": 1.0}}},
        {"windows": {"t": scored("accuracy", 0.1)}},
    ],
)
def test_without_evidence_there_is_no_alert(evidence):
    assert found(**evidence) == []


def test_thresholds_are_those_of_the_parameters():
    calm = Alerts(accuracy_drop=0.5)
    evidence = {"windows": {"t": scored("accuracy", 0.5)}, "promoted": {"t": {"accuracy": 0.8}}}

    assert find_alerts("films", calm, **evidence) == []
    assert find_alerts("films", Alerts(), **evidence)


def test_alerts_can_be_written_as_json():
    (alert,) = found(operations=requests(error_rate=0.1))

    assert json.loads(json.dumps(alert.to_json(), allow_nan=False))["value"] == 0.1
