"""``airflow.yml``, typed."""

from __future__ import annotations

import pytest

from ratchet.airflow import read_settings
from ratchet.errors import ConfigError


def test_a_use_case_needs_nothing_of_its_own():
    job = read_settings({}, ["mine"]).job("mine")

    assert (job.retrain, job.monitor, job.backfill_env) == ("0 2 * * 0", "0 6 * * *", "backfill")
    assert not job.require_approval


def test_overrides_of_one_use_case():
    config = {"defaults": {"retries": 5}, "use_cases": {"mine": {"require_approval": True}}}

    settings = read_settings(config, ["mine", "other"])

    assert settings.job("mine").require_approval
    assert not settings.job("other").require_approval
    assert settings.job("mine").retries == settings.job("other").retries == 5


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"timezone": "Mars/Phobos"}, "airflow.timezone: expected a time zone such as"),
        ({"defaults": {"retrain": "weekly"}}, "airflow.defaults.retrain: expected a cron expr"),
        ({"defaults": {"retires": 1}}, "airflow.defaults.retires: unknown key"),
        ({"use_cases": {"mine": {"retries": -1}}}, "airflow.use_cases.mine.retries: Input should"),
        ({"use_cases": {"oops": {}}}, r"airflow.use_cases: no use case \['oops'\]"),
        ({"runner": {"kind": "docker"}}, "airflow.runner: image: docker needs the name"),
        (
            {"defaults": {"env": "backfill"}},
            "airflow.defaults: backfill_env: 'backfill' is also the environment of live runs",
        ),
        (
            {"defaults": {"data_clock": {"run": "2026-11-01"}}},
            "airflow.defaults.data_clock.data: Field required",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(config, told):
    with pytest.raises(ConfigError, match=told):
        read_settings(config, ["mine"])
