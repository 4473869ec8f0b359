"""``kedro ratchet land``: new raw files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ratchet.commands import ratchet

PARAMETERS = """
shop:
  about: {{title: Shop, question: "How much?", source: made for this test}}
  landing: {{source: {source}}}
  data:
    time: day
    columns: {{day: {{type: date}}, units: {{type: number, nullable: true, low: 0}}}}
    series: {{frequency: D, season: 7}}
  features: {{windows: {{lookback: 7, past: {{units: value}}}}}}
  targets:
    units:
      column: units
      task: forecasting
      baseline: seasonal
      candidates: {{seasonal: {{estimator: seasonal}}, ridge: {{estimator: ridge}}}}
"""
CATALOG = "shop.raw: {type: pandas.CSVDataset, filepath: data/01_raw/shop.csv}\n"


@pytest.fixture
def shop(project: Path, keep_only: Any) -> Path:
    """A project whose only use case gets deliveries."""
    from kedro.framework.startup import bootstrap_project

    keep_only(project, "run")
    (project / "conf/base/globals_candidates.yml").unlink()
    (project / "conf/base/parameters/shop.yml").write_text(
        PARAMETERS.format(source="deliveries/shop-*.csv")
    )
    (project / "conf/base/catalog/01_raw.yml").write_text(CATALOG)
    (project / "deliveries").mkdir()
    bootstrap_project(project)
    return project


def deliver(project: Path, name: str, text: str) -> None:
    (project / "deliveries" / name).write_text(text)


def land(*more: str) -> Result:
    return CliRunner().invoke(ratchet, ["land", "-u", "shop", *more])


def raw(project: Path) -> Path:
    return project / "data/01_raw/shop.csv"


def test_the_last_delivery_by_name_is_landed(shop):
    deliver(shop, "shop-2026-11-01.csv", "day,units\n2026-10-31,3\n")
    deliver(shop, "shop-2026-11-08.csv", "day,units\n2026-10-31,3\n2026-11-07,4\n")

    done = land("--json")

    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert (said["landed"], said["rows"]) == (True, 2)
    assert said["source"] == "deliveries/shop-2026-11-08.csv"
    assert raw(shop).read_text().endswith("2026-11-07,4\n")
    assert json.loads(land("--json").output)["landed"] is False  # it is there already
    assert [path.name for path in raw(shop).parent.iterdir() if path.is_file()] == ["shop.csv"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("day,units\n2026-11-07,-4\n", "column 'units': expected nothing below 0.0; 1 of 1 rows"),
        ("day,price\n2026-11-07,4\n", "columns ['units'] are missing"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_delivery_leaves_the_old_file(shop, text, told):
    raw(shop).write_text("day,units\n2026-10-31,3\n")
    deliver(shop, "shop-2026-11-08.csv", text)

    done = land()

    assert done.exit_code == 1
    assert "deliveries/shop-2026-11-08.csv was not landed" in done.output
    assert told in done.output
    assert raw(shop).read_text() == "day,units\n2026-10-31,3\n"
    assert [path.name for path in raw(shop).parent.iterdir() if path.is_file()] == ["shop.csv"]


def test_nothing_was_delivered(shop):
    assert land().output == "shop: nothing lies at deliveries/shop-*.csv\n"


def test_deliveries_from_elsewhere(shop):
    import fsspec

    (shop / "conf/base/parameters/shop.yml").write_text(
        PARAMETERS.format(source="memory://sales/shop-*.csv")
    )
    with fsspec.open("memory://sales/shop-1.csv", "w") as file:
        file.write("day,units\n2026-10-31,3\n")

    done = land()

    assert done.exit_code == 0, done.output
    assert raw(shop).read_text() == "day,units\n2026-10-31,3\n"


def test_storage_that_cannot_be_reached_is_named(shop):
    (shop / "conf/base/parameters/shop.yml").write_text(
        PARAMETERS.format(source="nowhere://sales/shop-*.csv")
    )

    done = land()

    assert done.exit_code == 1
    assert "landing.source nowhere://sales/shop-*.csv cannot be read: Protocol not" in done.output


def test_a_raw_file_elsewhere_cannot_be_put_into_place(shop):
    deliver(shop, "shop-1.csv", "day,units\n2026-10-31,3\n")
    (shop / "conf/base/catalog/01_raw.yml").write_text(
        "shop.raw: {type: pandas.CSVDataset, filepath: 's3://bucket/shop.csv'}\n"
    )

    assert "it needs a filepath on this machine, found s3://bucket/shop.csv" in land().output
