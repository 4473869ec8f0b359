"""``kedro ratchet drift``: what it writes, prints and ends with."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet
from ratchet.production.drift_check import importance_of
from ratchet.production.unlearned_rows import latest_windows


def run(*arguments):
    bootstrap_project(Path.cwd())
    return CliRunner().invoke(ratchet, ["drift", *arguments])


def hours(n):
    return pd.DataFrame({"time": pd.date_range("2020-01-01", periods=n, freq="h"), "x": range(n)})


def test_latest_windows_end_with_the_last_row():
    before, current = latest_windows(hours(100), "1D", 2)

    assert current["x"].tolist() == list(range(76, 100))
    assert before["x"].tolist() == list(range(52, 76))


def test_fewer_windows_than_wanted():
    assert [len(part) for part in latest_windows(hours(30), "1D", 3)] == [6, 24]


def test_windows_of_the_calendar():
    before, current = latest_windows(hours(24 * 40), "MS", 2)

    assert (len(before), len(current)) == (31 * 24, 9 * 24)


def test_rows_without_time_are_one_window():
    rows = pd.DataFrame({"x": range(5)})

    (only,) = latest_windows(rows, "7D", 3)

    assert only is rows


def test_importance_goes_to_what_sources_are_made_of():
    made = {"cooling": {"cooling", "temperature"}, "history_director": {"director"}}

    found = importance_of(
        {"cooling": 2.0, "temperature": 1.0, "history_director": 3.0, "noise": -1.0},
        ["temperature", "director", "noise"],
        lambda name: made.get(name, {name}),
    )

    assert found == {"temperature": 3.0, "director": 3.0, "noise": 0.0}


def test_before_anything_was_decided(project):
    result = run("--use-case", "power", "--env", "test")

    assert result.exit_code == 1
    assert "kedro run" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_an_unknown_use_case(project):
    result = run("--use-case", "pwer")

    assert result.exit_code == 1
    assert "no use case 'pwer'; there are" in result.output


@pytest.fixture(scope="module")
def finished(power_project, tmp_path_factory):
    """A copy of the project in which everything was run: the command writes into it."""
    folder = tmp_path_factory.mktemp("drift") / "project"
    shutil.copytree(power_project, folder, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def asked(finished):
    """What comes of a scenario: result and report; each is asked for once."""

    @cache
    def ask(scenario):
        named = ["--scenario", scenario] if scenario else []
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(finished)
            # The second version is the best candidate; a naive one would not mind the weather.
            result = run("--use-case", "power", "--env", "test", "--version", "2", *named)
        return result, json.loads(stem(finished, scenario).with_suffix(".json").read_text())

    return ask


def stem(project, scenario):
    return project / "data" / "test" / "08_reporting" / "power" / f"drift_{scenario or 'window'}"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["temperature_shift", "seasonal", "missing_features", None])
def test_what_comes_of_it(finished, asked, scenario):
    result, report = asked(scenario)

    severity = report["drift"]["severity"]
    assert result.exit_code == {"NONE": 0, "LOW": 0, "MEDIUM": 3, "HIGH": 4}[severity]
    assert severity in result.output
    assert set(report["drift"]["columns"]) == {"demand", "temperature", "workday"}
    assert stem(finished, scenario).with_suffix(".png").stat().st_size > 10_000
    if scenario is None:
        assert report["drift"]["error"] is None  # no row came after those that chose the model
        return
    effect = report["effect"]["demand"]
    assert effect["rows"] > 100
    assert {"rmse", "mae", "r2", "mase"} <= set(effect["metrics"])
    if scenario == "missing_features":  # windows that lack a value get no forecast
        assert effect["unanswered"] > 0
    else:
        assert effect["metrics"]["rmse"]["change"] > 0
        assert effect["unanswered"] == 0


@pytest.mark.slow
def test_a_scenario_changes_nothing_but_what_the_model_sees(asked):
    reports = [asked(name)[1] for name in ("temperature_shift", "seasonal")]

    one, other = (report["effect"]["demand"]["metrics"]["rmse"]["before"] for report in reports)
    assert one == other


@pytest.mark.slow
def test_an_unknown_version(finished, monkeypatch):
    monkeypatch.chdir(finished)

    result = run("--use-case", "power", "--env", "test", "--version", "77")

    assert result.exit_code == 1
    assert "77" in result.output


@pytest.mark.slow
def test_an_unknown_scenario(finished, monkeypatch):
    monkeypatch.chdir(finished)

    result = run("--use-case", "power", "--env", "test", "--scenario", "flood")

    assert result.exit_code == 1
    assert "no scenario 'flood'; there are temperature_shift, seasonal" in result.output
