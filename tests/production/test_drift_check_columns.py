"""Which columns are looked at."""

from __future__ import annotations

import pytest
from kedro.framework.startup import bootstrap_project

from ratchet.config import Drift
from ratchet.config.loader import project_parameters, read_use_cases
from ratchet.production.drift_check import watched


@pytest.fixture(scope="module")
def use_cases(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("inputs"))
    bootstrap_project(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return read_use_cases(project_parameters())


@pytest.fixture
def power(use_cases):
    return use_cases["power"]


def with_drift(use_case, **options):
    monitoring = use_case.monitoring.model_copy(update={"drift": Drift(**options)})
    return use_case.model_copy(update={"monitoring": monitoring})


def test_columns_that_are_named(power):
    drift = watched(with_drift(power, columns=["temperature"]), ["demand"])

    assert drift.columns == ["temperature"]


def test_features_by_default_but_for_the_calendar(power):
    available = ["demand", "temperature", "cooling", "halfhour", "dayofweek", "time", "other"]

    drift = watched(with_drift(power, chunks=50), available)

    assert drift.columns == ["temperature", "cooling", "demand"]
    assert drift.chunks == 50


def test_every_use_case_has_a_scenario_of_missing_features(use_cases):
    for name, use_case in use_cases.items():
        assert "missing_features" in use_case.monitoring.drift.scenarios, name
