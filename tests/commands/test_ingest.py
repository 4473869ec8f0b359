"""``kedro ratchet land``: new raw files, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ratchet import ingest
from ratchet.commands import ratchet
from ratchet.learning import atomic_files

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


def test_what_a_killed_landing_has_left_goes_with_the_next_one(shop, monkeypatch):
    deliver(shop, "shop-1.csv", KNOWN)
    if (child := os.fork()) == 0:
        monkeypatch.setattr(ingest, "put_in_place", lambda *_, **__: os.kill(os.getpid(), 9))
        try:
            land()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    folder = raw(shop).parent
    assert not raw(shop).exists()
    assert [path for path in folder.iterdir() if path.name.startswith(".shop.csv.")]
    atomic_files.sweep_once.cache_clear()  # as in a new process

    assert land().exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["samples", "shop.csv"]


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


KNOWN = "day,units\n2026-10-29,1\n2026-10-30,2\n2026-10-31,3\n"


@pytest.mark.parametrize(
    ("text", "word", "told"),
    [
        (
            "day,units\n2026-10-31,3\n2026-11-01,4\n",
            "fewer_rows",
            "2 of 3 known rows are gone, and there are 2 rows now (gone: 2026-10-29, 2026-10-30)",
        ),
        (
            KNOWN.replace(",2", ",5"),
            "changed_rows",
            "1 of 3 known rows have other values, in units (2026-10-30: units 2.0 -> 5.0)",
        ),
        (
            KNOWN + "2026-11-01",
            "cut_line",
            "the last line has 1 values, and the line before it 2 ('2026-11-01')",
        ),
        (
            KNOWN + "2026-11-01,4",
            "cut_line",
            "the last line has no end ('2026-11-01,4'), and that of the file in place has one",
        ),
    ],
)
def test_a_delivery_that_changes_the_past_is_refused_unless_it_is_meant(shop, text, word, told):
    raw(shop).write_text(KNOWN)
    deliver(shop, "shop-2026-11-08.csv", text)

    refused = land()

    assert refused.exit_code == 1
    assert f"{told} [{word}]" in refused.output
    assert f"`kedro ratchet land --use-case shop --allow {word}` takes it" in refused.output
    assert raw(shop).read_text() == KNOWN
    done = land("--allow", word, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["changes"] == {word: told}
    assert raw(shop).read_text() == text


def test_what_the_parameters_allow_is_landed_and_told(shop):
    landing = "{source: deliveries/shop-*.csv, allow: [fewer_rows]}"
    parameters = (shop / "conf/base/parameters/shop.yml").read_text()
    (shop / "conf/base/parameters/shop.yml").write_text(
        parameters.replace("{source: deliveries/shop-*.csv}", landing)
    )
    raw(shop).write_text(KNOWN)
    deliver(shop, "shop-1.csv", "day,units\n2026-10-31,3\n2026-11-01,4\n")

    assert "- 2 of 3 known rows are gone" in land().output
    assert raw(shop).read_text().endswith("2026-11-01,4\n")


def test_a_file_in_place_that_cannot_be_read_gives_way(shop):
    raw(shop).write_text("day\n2026-10-31\n")
    deliver(shop, "shop-1.csv", KNOWN)

    assert "the file that was there cannot be read: columns ['units'] are missing" in land().output
    assert raw(shop).read_text() == KNOWN


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ('a,b\n1,"x\ny"\n2,"z\n', {}, ""),  # the reader says that a quote is open
        ('a,b\n1,"x\ny"\n', {}, ""),
        ('a,b\n1,"x\ny"\n2\n', {}, "the last line has 1 values, and the line before it 2 ('2')"),
        ("a;b\r\n1;2\r\n3\r\n", {"sep": ";"}, "the last line has 1 values"),
        ("a,b\n1,\n\n\n", {}, ""),  # a value that is missing is there
        ("a b\n1\n", {"sep": r"\s+"}, ""),
        ("a,b\n1,2\nthe end\n", {"skipfooter": 1}, ""),
        ("", {}, ""),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_says_that_the_last_line_was_cut_off(tmp_path, text, options, told, packed):
    from ratchet.ingest import _cut_off

    file = tmp_path / ("new.csv.gz" if packed else "new.csv")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    entry = {"type": "pandas.CSVDataset", "load_args": options}

    assert _cut_off(file, tmp_path / "none.csv", entry).startswith(told)
    assert bool(_cut_off(file, tmp_path / "none.csv", entry)) == bool(told)


def test_nothing_was_delivered(shop):
    assert land().output == "shop: there is no file at deliveries/shop-*.csv\n"


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
