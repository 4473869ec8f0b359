"""From the first champion to a rollback: weeks of a small shop, one run after the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PARAMETERS = """
shop:
  about: {title: Shop, question: "How much is sold tomorrow?", source: made for this test}
  data:
    time: day
    columns:
      day: {type: date}
      product: {type: string}
      units: {type: number, nullable: true}
      price: {type: number}
    series: {id: product, frequency: D, season: 7}
    calendar: [dayofweek]
  features:
    numeric: [price]
    categorical: [dayofweek]
    windows: {lookback: 7, past: {units: value}, lags: [14]}
  targets:
    units:
      column: units
      task: forecasting
      cv: 2
      n_jobs: 1
      baseline: seasonal
      candidates:
        persistence: {estimator: persistence}
        seasonal: {estimator: seasonal}
        ridge: {estimator: ridge, param_grid: {model__alpha: [1]}}
  release:
    min_rows: 40
    slices: {columns: [product]}
  monitoring:
    watch: {window: 7D, min_rows: 20, cooldown: 0}
    drift: {columns: [price]}
"""

CATALOG = """
shop.raw:
  type: pandas.CSVDataset
  filepath: data/01_raw/shop.csv
  metadata: {kedro-viz: {layer: raw}}
"""

FIRST = pd.Timestamp("2024-01-01")
PROMOTED = "2024-10-06"  # a Sunday


DAILY = ["monitoring"]
TRAINING = ["understanding", "preprocessing", "classical", "evaluation"]
WEEKLY = [*DAILY, *TRAINING, "release"]
"""Everything but the report."""


def sales(days: int = 400, *, changed: str | None = None) -> pd.DataFrame:
    """Four products whose sales hang on the price; from a day on the other way round."""
    rng = np.random.default_rng(7)
    day = pd.date_range(FIRST, periods=days)
    week = 5 * np.sin(2 * np.pi * np.arange(days) / 7)
    frames = []
    for product in range(4):
        price = rng.uniform(1, 3, days)
        effect = np.where(day < (changed or "2100"), -12.0, 12.0)
        noise = rng.normal(scale=1.0, size=days)
        units = 100 + 10 * product + week + effect * (price - 2) + noise
        frames.append(
            pd.DataFrame({"day": day, "product": f"p{product}", "units": units, "price": price})
        )
    return pd.concat(frames)


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Callable[[Path], Path],
    run_kedro: Callable[..., None],
    empty_mlflow: Callable[[Path], Path],
) -> Path:
    """A project in which the first champion was promoted; tests copy it."""
    folder = make_project(tmp_path_factory.mktemp("shop"), [])
    empty_mlflow(folder / "mlflow.db")
    (folder / "conf/mine").mkdir()
    for name, text in {
        "mlflow": "enabled: false",
        "catalog": CATALOG,
        "parameters": PARAMETERS,
    }.items():
        (folder / "conf/mine" / f"{name}.yml").write_text(text)
    sales().to_csv(folder / "data/01_raw/shop.csv", index=False)
    run(folder, run_kedro, PROMOTED)
    return folder


@pytest.fixture
def shop(first: Path, tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    folder = tmp_path / "shop"
    shutil.copytree(first, folder, symlinks=True)
    return folder


def run(
    folder: Path,
    run_kedro: Callable[..., None],
    as_of: str,
    pipelines: Sequence[str] = WEEKLY,
    **params: Any,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_kedro(folder, *pipelines, env="mine", namespaces=["shop"], as_of=as_of, **params)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"data/07_model_output/shop/{name}.json").read_text())


def registry_of(folder: Path) -> Any:
    from ratchet.registry.registry import Registry

    return Registry(f"sqlite:///{folder / 'mlflow.db'}", folder / "data/06_models/bundles")


def events(folder: Path) -> list[tuple[str, str | None]]:
    return [(one.event, one.version) for one in registry_of(folder).ledger.entries("shop")]


def plant(folder: Path, load_catalog: Callable[..., Any]) -> str:
    """Promote by hand a model that promises what another one has shown."""
    from ratchet.bundle.smoke_test import run_smoke_test
    from ratchet.bundle.writer import BundleContents, write_bundle
    from ratchet.config import UseCase
    from ratchet.registry.actions import promote

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        catalog = load_catalog(folder, env="mine")
        parameters = catalog.load("params:shop")
        contents = BundleContents(
            use_case=UseCase.model_validate(parameters),
            models={"units": catalog.load("shop.units.persistence.model")},
            metrics={"units": catalog.load("shop.units.scores")["ridge"]},
            **{
                part: catalog.load(f"shop.{part}")
                for part in ("encoder", "typed", "primary", "features", "statistics")
            },
        )
    registry = registry_of(folder)
    bundle = registry.bundles / "shop" / "planted"
    write_bundle(bundle, contents, {"use_case": "shop", "candidates": {"units": "planted"}})
    version = registry.register("shop", bundle, {})
    promote(registry, "shop", version, reason="planted", actor="test", check=run_smoke_test)
    return version


def test_the_first_champion_beats_the_naive_forecast(first):
    decision = read(first, "decision")

    assert events(first) == [("promote", decision["champion"])]
    assert read(first, "verdicts")[0]["candidates"] == {"units": "ridge"}
    assert registry_of(first).verify() == []


def test_the_same_data_again_brings_no_new_rows(shop, run_kedro):
    champion = registry_of(shop).champion("shop")

    run(shop, run_kedro, PROMOTED)

    assert read(shop, "decision")["champion"] == champion
    assert [event for event, _ in events(shop)] == ["promote", "hold"]
    assert "no new rows" in read(shop, "decision")["decisions"][0]["reason"]
    assert read(shop, "watch")["scored"]["rows"] == 0


def test_weeks_without_a_change_change_nothing(shop, run_kedro):
    run(shop, run_kedro, "2024-11-03")

    watch = read(shop, "watch")
    assert watch["scored"]["rows"] == watch["joined"]["units"] == 4 * 28
    assert [window["rows"] for window in watch["windows"]] == [28] * 4
    assert watch["action"] == "none"
    assert [event for event, _ in events(shop)] == ["promote", "hold"]
    verdict = read(shop, "verdicts")[0]["verdict"]
    assert verdict["numbers"]["rows"]["units"] == 4 * 28  # all newer than the champion


def test_what_was_answered_is_not_answered_again(shop, run_kedro):
    run(shop, run_kedro, "2024-10-13", DAILY)
    run(shop, run_kedro, "2024-10-20", DAILY)

    assert read(shop, "watch")["scored"]["rows"] == 4 * 7
    assert sum(window["rows"] for window in read(shop, "watch")["windows"]) == 4 * 14


def test_a_champion_that_disappoints_is_rolled_back(shop, run_kedro, load_catalog):
    champion = registry_of(shop).champion("shop")
    planted = plant(shop, load_catalog)

    run(shop, run_kedro, "2024-11-03", DAILY)

    assert read(shop, "watch")["action"] == "rollback"
    state = registry_of(shop).ledger.state("shop")
    assert (state.champion, state.previous) == (champion, None)
    assert planted in state.quarantined
    assert [event for event, _ in events(shop)] == ["promote", "promote", "rollback"]

    run(shop, run_kedro, "2024-11-17", DAILY)  # the old one serves again, and does well

    assert read(shop, "watch")["action"] == "none"
    assert read(shop, "watch")["scored"]["version"] == champion
    assert read(shop, "watch")["scored"]["rows"] == 4 * 14


def test_a_changed_world_asks_for_a_retraining(shop, run_kedro):
    champion = registry_of(shop).champion("shop")
    changed = sales(changed=PROMOTED)
    changed.to_csv(shop / "data/01_raw/shop.csv", index=False)

    run(shop, run_kedro, "2024-11-03", DAILY)

    assert read(shop, "watch")["action"] == "retrain"
    assert registry_of(shop).champion("shop") == champion
    assert [event for event, _ in events(shop)] == ["promote", "retrain"]

    run(shop, run_kedro, "2024-11-03", DAILY)  # asked for once

    assert [event for event, _ in events(shop)] == ["promote", "retrain"]


def test_a_model_of_the_changed_world_takes_over(shop, run_kedro):
    champion = registry_of(shop).champion("shop")
    sales(changed="2024-10-20").to_csv(shop / "data/01_raw/shop.csv", index=False)

    run(shop, run_kedro, "2025-02-03")

    decision = read(shop, "decision")
    assert decision["champion"] != champion
    assert decision["previous"] == champion


def test_what_was_promoted_is_fitted_once_more_where_that_is_asked_for(shop, run_kedro):
    first_champion = registry_of(shop).champion("shop")
    sales(changed="2024-10-20").to_csv(shop / "data/01_raw/shop.csv", index=False)

    run(shop, run_kedro, "2025-02-03", shop={"release": {"refit": "all"}})

    registry = registry_of(shop)
    state = registry.ledger.state("shop")
    assert [event for event, _ in events(shop)] == ["promote", "retrain", "promote"]
    assert state.champion == read(shop, "decision")["champion"]
    assert state.previous == first_champion  # the way back is not its own twin
    judged = registry.ledger.newest("shop").details["judged"]
    known = {
        version: json.loads((registry.folder("shop", version) / "manifest.json").read_text())
        for version in (judged, state.champion)
    }
    assert [known[version]["refit"] for version in (judged, state.champion)] == ["none", "all"]
    assert known[judged]["last_row"] < known[judged]["decided_until"]
    assert known[state.champion]["last_row"] == known[state.champion]["decided_until"]


def test_a_damaged_champion_is_told_and_lets_no_challenger_pass(shop, run_kedro):
    registry = registry_of(shop)
    folder = registry.folder("shop", registry.champion("shop"))
    (folder / "models/units.skops").write_bytes(b"cut off")

    run(shop, run_kedro, "2024-11-03")

    assert [event for event, _ in events(shop)] == ["promote", "hold"]
    assert "units.skops" in read(shop, "decision")["decisions"][0]["reason"]
    watch = read(shop, "watch")
    assert (watch["action"], watch["scored"]["rows"]) == ("none", 0)
    assert [(alert["name"], alert["level"]) for alert in watch["alerts"]] == [
        ("no_answers", "critical")
    ]
    assert "units.skops" in watch["alerts"][0]["text"]


def test_a_damaged_champion_gives_way_to_the_one_before(shop, run_kedro, load_catalog):
    registry = registry_of(shop)
    champion = registry.champion("shop")
    planted = plant(shop, load_catalog)
    (registry.folder("shop", planted) / "manifest.json").unlink()

    run(shop, run_kedro, "2024-10-13", DAILY)

    assert [event for event, _ in events(shop)] == ["promote", "promote", "rollback"]
    assert registry_of(shop).champion("shop") == champion


def test_a_change_by_hand_is_not_judged_on_the_time_before_it(shop, run_kedro, load_catalog):
    """What another model answered before is no production of the one that serves now."""
    from ratchet.bundle.smoke_test import run_smoke_test
    from ratchet.registry.actions import promote

    champion = registry_of(shop).champion("shop")
    planted = plant(shop, load_catalog)
    run(shop, run_kedro, "2024-10-13", DAILY)
    registry = registry_of(shop)
    promote(registry, "shop", champion, reason="by hand", actor="test", check=run_smoke_test)

    run(shop, run_kedro, "2024-10-20", DAILY)

    watch = read(shop, "watch")
    assert watch["action"] == "none"
    assert watch["scored"] == {
        **{"version": champion, "since": "2024-10-13T00:00:00", "rows": 4 * 7, "trouble": None}
    }
    assert [event for event, _ in events(shop)] == ["promote", "promote", "promote"]
    assert planted != champion


def test_a_run_of_an_earlier_day_sees_no_later_answers(shop, run_kedro):
    run(shop, run_kedro, "2024-11-03", DAILY)

    run(shop, run_kedro, "2024-10-20", DAILY)

    assert sum(window["rows"] for window in read(shop, "watch")["windows"]) == 4 * 14
