"""What the DAGs are made with, without Airflow: the day of the data, commands, texts."""

from __future__ import annotations

import datetime as dt
import shlex
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("dags_on_the_path")

SUNDAY = dt.datetime(2026, 11, 1, 2, tzinfo=dt.UTC)
CLOCK = {"run": "2026-11-01", "data": "2014-10-05"}


def run(moment: dt.datetime | None = SUNDAY, kind: str = "scheduled", **more: Any) -> Any:
    return SimpleNamespace(logical_date=moment, run_after=moment, run_type=kind, **more)


@pytest.mark.parametrize(
    ("zone", "moment", "expected"),
    [
        ("UTC", SUNDAY, "2026-10-31"),
        ("UTC", dt.datetime(2026, 11, 1, 23, 59, tzinfo=dt.UTC), "2026-10-31"),
        ("Europe/Madrid", dt.datetime(2026, 10, 31, 23, 30, tzinfo=dt.UTC), "2026-10-31"),
        ("America/Lima", dt.datetime(2026, 11, 1, 2, tzinfo=dt.UTC), "2026-10-30"),
    ],
)
def test_the_day_before_in_the_time_zone_of_the_schedule(zone, moment, expected):
    from ratchet_dags.clock import as_of

    assert as_of(run(moment), None, zone) == expected


def test_the_clock_of_the_data_keeps_distances():
    from ratchet_dags.clock import as_of

    assert as_of(run(), None, "UTC", CLOCK) == "2014-10-04"
    assert as_of(run(SUNDAY + dt.timedelta(weeks=3)), None, "UTC", CLOCK) == "2014-10-25"
    assert as_of(run(SUNDAY - dt.timedelta(weeks=1)), None, "UTC", CLOCK) == "2014-09-27"


def test_a_day_that_was_asked_for_is_a_day_of_the_data():
    from ratchet_dags.clock import as_of

    assert as_of(run(), "2013-01-31", "UTC", CLOCK) == "2013-01-31"


def test_a_run_without_a_logical_date_belongs_to_the_moment_it_was_due():
    from ratchet_dags.clock import as_of

    triggered = SimpleNamespace(logical_date=None, run_after=SUNDAY, run_type="asset_triggered")

    assert as_of(triggered, None, "UTC") == "2026-10-31"


def commands(**job: Any) -> Any:
    from ratchet_dags.commands import Commands

    given = {"env": None, "backfill_env": "backfill", "data_clock": None, **job}
    networks = {"candidates": ["ridge"], "networks": ["recurrent"]}
    return Commands("power", {"time": True, "job": given, "targets": {"demand": networks}})


def test_networks_are_trained_where_a_target_keeps_them():
    from ratchet_dags.commands import Commands

    targets = {
        "demand": {"candidates": ["ridge"], "networks": ["recurrent"]},
        "peak": {"candidates": ["logistic"], "networks": []},
    }
    trains = Commands("power", {"targets": targets}).macros()["trains_networks"]

    assert trains({"candidates": []})
    assert trains({"candidates": ["ridge", "recurrent"]})
    assert not trains({"candidates": ["ridge"]})
    # Nothing of demand is named, and so it is trained as a whole.
    assert trains({"candidates": ["logistic"]})


def test_a_back_fill_has_an_environment_of_its_own():
    macros = commands(env="live").macros()

    assert macros["env_option"](run()) == " --env live"
    assert macros["env_option"](run(kind="backfill")) == " --env backfill"
    assert commands().macros()["env_option"](run(kind="manual")) == ""


def test_what_people_type_stays_one_word():
    macros = commands().macros()
    params = {"as_of": "2014-01-31; rm -rf /", "candidates": ["a b", "$(c)"]}

    words = shlex.split(macros["run_options"](run(), params))

    assert words == ["--params", "as_of=2014-01-31; rm -rf /", "--candidates", "a b,$(c)"]


def test_rows_without_time_are_not_cut():
    timeless = commands()
    object.__setattr__(timeless, "about", {**timeless.about, "time": False})

    assert timeless.macros()["run_options"](run(), {}) == ""
    assert timeless.macros()["as_of_option"](run(), {}) == ""


def test_a_search_is_the_command_of_the_service():
    from jinja2 import Template

    from ratchet_dags.commands import search, search_macros

    folder = "data/jobs/0a1b; rm -rf x"
    command = Template(search()).render(params={"folder": folder}, **search_macros())

    assert shlex.split(command)[1:] == ["-m", "kedro", "ratchet", "run-job", "--", folder]


def test_options_of_a_replay():
    from ratchet_dags.commands import replay_options

    params = {
        "use_case": "power",
        "first": "2014-06-01",
        "last": "2014-06-30",
        "every": "7d",
        "policies": ["my policy.yml"],
        "candidates": [],
    }

    assert shlex.split(replay_options(params)) == [
        *("--use-case", "power", "--from", "2014-06-01", "--to", "2014-06-30", "--every", "7d"),
        *("--policy", "my policy.yml"),
    ]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"land": "success", "dry_run": "skipped"}, "FINISHED"),
        ({"land": "success", "classical": "failed", "gate": "upstream_failed"}, "FAILED"),
        ({}, "FINISHED"),
    ],
)
def test_how_the_run_of_mlflow_ends(states, expected):
    from ratchet_dags.commands import outcome

    ti = SimpleNamespace(dag_id="d", run_id="r", get_task_states=lambda **_: {"r": states})

    assert outcome(ti) == expected


def test_evidence_is_a_table():
    from ratchet_dags.commands import evidence

    conditions = [
        {"name": "gain", "passed": True, "reason": "3 % | sure"},
        {"name": "floors", "passed": None, "reason": "later"},
    ]
    verdict = {
        **{"decision": "PROMOTE", "version": "7", "champion": None, "reason": "better"},
        **{"candidates": {"demand": "ridge"}, "conditions": conditions},
        **{"mlflow_url": "http://127.0.0.1:5000/#/x", "report": "data/report.html"},
    }

    text = evidence(verdict)

    assert text.startswith("**PROMOTE** version 7 (demand: ridge)\n")
    assert "Serves now: nothing." in text
    assert "| gain | yes | 3 % / sure |" in text
    assert "| floors | not looked at | later |" in text
    assert text.endswith("MLflow: http://127.0.0.1:5000/#/x\nReport: data/report.html")


@pytest.mark.parametrize(
    ("kind", "required", "asked"),
    [
        ("manual", True, True),
        ("scheduled", True, True),
        ("backfill", True, False),
        ("manual", False, False),
    ],
)
def test_nobody_is_asked_about_the_past(kind, required, asked):
    from ratchet_dags.commands import has_to_ask

    assert has_to_ask(run(kind=kind), {"require_approval": required}) is asked
