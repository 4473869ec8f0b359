"""The body of Tetouan, answered by a version that was trained on a file of that shape."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from ratchet.bundle.reader import open_bundle
from ratchet.compiled.bundle_compiler import compile_bundle
from ratchet.serving.app import create_app
from ratchet.serving.protocols import Fixed, Serving
from ratchet.serving.settings import Settings

pytestmark = pytest.mark.slow  # a whole run comes first

DAYS = 36
FIRST = "2017-01-01"
NEXT = "2017-02-06T00:00:00"


def as_published() -> pd.DataFrame:
    """Rows every ten minutes, with names and times as the file 849 of UCI has them."""
    draw = np.random.default_rng(5)
    times = pd.date_range(FIRST, periods=DAYS * 144, freq="10min")
    day = 2 * np.pi * (times.hour * 60 + times.minute) / 1440
    warm = 14 - 5 * np.cos(day) + draw.normal(0, 0.5, len(times))
    load = 20_000 - 5_000 * np.cos(day) + 200 * (warm - 14) + draw.normal(0, 200, len(times))
    written = [f"{at.month}/{at.day}/{at.year} {at.hour}:{at.minute:02d}" for at in times]
    return pd.DataFrame(
        {
            "DateTime": written,
            "Temperature": warm.round(3),
            "Humidity": draw.uniform(40, 90, len(times)).round(1),
            "Wind Speed": draw.uniform(0.05, 5, len(times)).round(3),
            "general diffuse flows": np.clip(-400 * np.cos(day), 0.05, None).round(3),
            "diffuse flows": np.clip(-300 * np.cos(day), 0.05, None).round(3),
            "Zone 1 Power Consumption": (1.5 * load).round(5),
            "Zone 2  Power Consumption": load.round(5),
            "Zone 3  Power Consumption": (0.8 * load).round(5),
        }
    )


@pytest.fixture(scope="module")
def ask(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[..., Path],
    run_kedro: Callable[..., None],
) -> Callable[[str, Any], Any]:
    """Ask a service with the version that a run of `--env tetouan` has released."""
    project = make_project(tmp_path_factory.mktemp("tetouan"), ["power"])
    as_published().to_csv(project / "data/01_raw/tetouan.csv", index=False)
    windows = {"lookback": 2, "seasons": [144], "lags": [144, 1008], "rolling": [6], "known": []}
    candidates: dict[str, Any] = dict.fromkeys(
        [
            *("extra_trees", "hist_gradient_boosting", "xgboost", "kernel", "boosted_ridge"),
            *("mixture", "unscaled_mixture"),
        ]
    )
    candidates["ridge"] = {"estimator": "ridge", "param_grid": {"model__alpha": [10]}}
    demand = {"candidates": candidates, "networks": {"recurrent": None}, "cv": 2, "n_jobs": 1}
    power = {"features": {"windows": windows}, "targets": {"demand": demand}}
    run_kedro(
        project,
        env="tetouan",
        namespaces=["power"],
        to_outputs=["power.decision"],
        power={**power, "release": {"max_latency_ms": 20_000}},
    )
    bundles = (project / "data/tetouan/06_models/bundles/power").glob("*/manifest.json")
    bundle = open_bundle(max(bundles).parent)  # after that of a naive forecast, to roll back to
    serving = Serving(
        use_case=bundle.use_case,
        name="power",
        version="1",
        digest=bundle.digest,
        since=datetime(2017, 2, 6, tzinfo=UTC),
        answerer=compile_bundle(bundle),
        inputs=dict.fromkeys(bundle.manifest["signature"]["inputs"], False),
    )
    folder = tmp_path_factory.mktemp("service")
    app = create_app(Settings(keys_file=folder / "keys.json", state=folder), Fixed([serving]))

    def ask(path: str, body: Any) -> Any:
        import asyncio

        async def post() -> httpx.Response:
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
                return await one.post(path, json=body)

        return asyncio.run(post())

    return ask


BODY = {
    "Temperature": 9.1,
    "Humidity": 71.5,
    "WindSpeed": 0.083,
    "GeneralDiffuseFlows": 0.07,
    "DiffuseFlows": 0.085,
    "Timestamp": NEXT,
}


def test_the_next_step_is_answered_from_its_past(ask):
    response = ask("/predict", BODY)

    assert response.status_code == 200, response.text
    said = response.json()
    assert 13_000 < said["predicted_power_consumption_zone2"] < 16_000
    assert said["low"] < said["predicted_power_consumption_zone2"] < said["high"]
    assert (said["unit"], said["confidence"], said["basis"]) == ("kW", 0.9, None)
    assert said["is_zone2_of_tetouan"] is True
    assert said["data"] == "Electric load of Tetouan"
    assert (said["not_used"], said["not_given"]) == ([], [])
    assert (said["use_case"], said["model_version"]) == ("power", "1")
    at = datetime.fromisoformat(said["prediction_timestamp"])
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert said["input_features"] == BODY | {
        "Day": 6,
        "Month": 2,
        "Hour": 0,
        "Minute": 0,
        "DayWeek": 0,
        "QuarterYear": 1,
        "DayYear": 37,
    }


def test_a_later_moment_is_answered_from_weather_and_calendar(ask):
    first = ask("/predict", BODY).json()
    said = ask("/predict", {**BODY, "Timestamp": "2018-12-31T23:50:00"}).json()

    assert said["basis"].startswith("the row itself, without a past: temperature, ")
    assert "humidity" in said["basis"]
    assert said["high"] - said["low"] > first["high"] - first["low"]
    assert [said["input_features"][name] for name in ("QuarterYear", "DayYear")] == [4, 365]


def test_a_moment_between_two_steps_is_refused(ask):
    response = ask("/predict", {**BODY, "Timestamp": "2017-02-06T00:05:00"})

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "Timestamp"
    assert "no step of 10min" in error["message"]
