"""Bad input ends in one readable error, and earlier outputs stay as they were."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

N_ROWS = 120

Spoil = Callable[["Shop"], object]

CATALOG = {
    "bikes.raw": {
        "type": "pandas.CSVDataset",
        "filepath": "data/01_raw/bikes.csv",
        "metadata": {"kedro-viz": {"layer": "raw"}},
    }
}

PARAMETERS: dict[str, Any] = {
    "bikes": {
        "about": {"title": "Bikes", "question": "What is a bike worth?", "source": "a test"},
        "data": {
            "key": "id",
            "time": "sold",
            "columns": {
                "id": {"type": "integer"},
                "sold": {"type": "date", "low": "2000-01-01", "high": "2030-01-01"},
                "size": {"type": "number", "nullable": True, "low": 10},
                "colour": {"type": "string", "values": ["red", "green"]},
                "price": {"type": "number"},
                "grade": {"type": "string"},
            },
        },
        "features": {"numeric": ["size"], "categorical": ["colour"], "min_count": 2},
        "targets": {
            "price": {
                "column": "price",
                "task": "regression",
                "cv": 2,
                "n_jobs": 1,
                "stack": 0,
                "confidence": 0.8,
                "candidates": {
                    "dummy": {"estimator": "dummy"},
                    "ridge": {"estimator": "ridge", "param_grid": {"model__alpha": [1, 10]}},
                },
            },
            "grade": {
                "column": "grade",
                "task": "classification",
                "classes": ["good", "bad"],
                "cv": 2,
                "n_jobs": 1,
                "stack": 0,
                "candidates": {
                    "dummy": {"estimator": "dummy"},
                    "logistic": {"estimator": "logistic"},
                },
            },
        },
    }
}


def bikes() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.integers(20, 60, N_ROWS)
    return pd.DataFrame(
        {
            "id": np.arange(100, 100 + N_ROWS),
            "sold": pd.date_range("2020-01-01", periods=N_ROWS).strftime("%Y-%m-%d"),
            "size": size,
            "colour": rng.choice(["red", "green"], N_ROWS),
            "price": size * 10 + rng.normal(size=N_ROWS),
            "grade": np.where(np.arange(N_ROWS) % 3, "good", "bad"),
        }
    )


class Shop:
    """A project with one finished run on good data, and ways to spoil the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.csv = folder / "data/01_raw/bikes.csv"
        self.conf = folder / "conf/shop"
        self.conf.mkdir()
        (folder / "conf/base/catalog/01_raw.yml").unlink()
        (self.conf / "mlflow.yml").write_text("enabled: false\n")
        self.repair()

    def repair(self) -> None:
        if self.csv.is_dir():
            self.csv.rmdir()
        bikes().to_csv(self.csv, index=False)
        self.configure("catalog", CATALOG)
        self.configure("parameters", PARAMETERS)

    def configure(self, kind: str, content: Any) -> None:
        (self.conf / f"{kind}.yml").write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, *options: str, pipelines: str = "bikes") -> Result:
        from kedro.framework.startup import bootstrap_project

        from ratchet.cli import cli

        bootstrap_project(self.folder)
        arguments = ["run", "--env", "shop", "--pipelines", pipelines, *options]
        return CliRunner().invoke(cli, arguments)

    def outputs(self) -> dict[str, str]:
        """Hash of every file that a run has left."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((self.folder / "data").glob("0[2-8]_*/**/*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def after_good_run(
    tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path], Path]
) -> Iterator[Shop]:
    folder = make_project(tmp_path_factory.mktemp("shop"), [])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shop = Shop(folder)
        result = shop.run(pipelines="understanding,preprocessing,classical,evaluation")
        assert result.exit_code == 0, result.output
        yield shop


@pytest.fixture
def shop(after_good_run: Shop) -> Iterator[Shop]:
    yield after_good_run
    after_good_run.repair()


def change(column: str, values: dict[int, Any]) -> Spoil:
    """Overwrite cells of a column: row -> value."""

    def spoil(shop: Shop) -> None:
        frame = bikes().astype({column: object})
        for row, value in values.items():
            frame.loc[row, column] = value
        frame.to_csv(shop.csv, index=False)

    return spoil


def write(content: bytes) -> Spoil:
    return lambda shop: shop.csv.write_bytes(content)


def parameter(path: str, value: Any) -> Spoil:
    """Set one parameter of the use case: ``targets.price.cv``."""

    def spoil(shop: Shop) -> None:
        content = copy.deepcopy(PARAMETERS)
        *parents, last = path.split(".")
        place = content["bikes"]
        for name in parents:
            place = place[name]
        place[last] = value
        shop.configure("parameters", content)

    return spoil


BAD_DATA: dict[str, tuple[Spoil, list[str]]] = {
    "missing file": (lambda shop: shop.csv.unlink(), ["bikes.csv", "no such file"]),
    "empty file": (write(b""), ["bikes.csv", "no rows"]),
    "header only": (
        write(b"id,sold,size,colour,price,grade\n"),
        ["bikes.csv", "no rows"],
    ),
    "folder instead of a file": (
        lambda shop: (shop.csv.unlink(), shop.csv.mkdir()),
        ["bikes.csv", "folder"],
    ),
    "missing column": (
        lambda shop: bikes().drop(columns=["size", "colour"]).to_csv(shop.csv, index=False),
        ["bikes.csv", "['size', 'colour']", "missing", "price"],
    ),
    "text among numbers": (
        change("price", {3: "dear", 7: "cheap"}),
        ["bikes.csv", "'price'", "number", f"2 of {N_ROWS}", "row 3: 'dear', row 7: 'cheap'"],
    ),
    "fraction among integers": (
        change("id", {4: 104.5}),
        ["bikes.csv", "'id'", "integer", f"1 of {N_ROWS}", "row 4: '104.5'"],
    ),
    "no date": (
        change("sold", {2: "soon"}),
        ["bikes.csv", "'sold'", "date", f"1 of {N_ROWS}", "row 2: 'soon'"],
    ),
    "dates out of range": (
        change("sold", {0: "1999-12-31", 5: "2031-01-01"}),
        ["bikes.csv", "'sold'", "2000-01-01", "1999-12-31", "2030-01-01", "2031-01-01"],
    ),
    "date beyond every calendar": (
        change("sold", {6: "9999999-01-01"}),
        ["bikes.csv", "'sold'", "date", "row 6: '9999999-01-01'"],
    ),
    "number out of range": (
        change("size", {1: 9}),
        ["bikes.csv", "'size'", "nothing below 10", f"1 of {N_ROWS}", "row 1: 9"],
    ),
    "value that is not allowed": (
        change("colour", {8: "blue"}),
        ["bikes.csv", "'colour'", "['red', 'green']", f"1 of {N_ROWS}", "row 8: 'blue'"],
    ),
    "unknown class": (
        change("grade", {11: "fair", 12: "fair", 13: "odd"}),
        ["bikes.csv", "'grade'", "['good', 'bad']", f"3 of {N_ROWS}", "row 11: 'fair'", "'odd'"],
    ),
    "duplicated key": (
        change("id", {9: 100}),
        ["bikes.csv", "'id'", "no value twice", f"2 of {N_ROWS}", "row 0: 100", "row 9: 100"],
    ),
    "column without values": (
        change("size", dict.fromkeys(range(N_ROWS), np.nan)),
        ["bikes.csv", "'size'", "at least one value", f"none in {N_ROWS} rows"],
    ),
    "target missing": (
        change("price", {14: np.nan}),
        ["bikes.csv", "'price'", "a value in every row", f"1 of {N_ROWS}", "row 14"],
    ),
    "target infinite": (
        change("price", {15: np.inf, 16: -np.inf}),
        ["bikes.csv", "'price'", "finite", f"2 of {N_ROWS}", "row 15: inf", "row 16: -inf"],
    ),
    "class missing": (
        change("grade", {17: np.nan}),
        ["bikes.csv", "'grade'", "a value in every row", f"1 of {N_ROWS}", "row 17"],
    ),
    "not UTF-8": (
        lambda shop: (change("colour", {0: "rød"})(shop), latin1(shop)),
        ["bikes.csv", "UTF-8", "line 2"],
    ),
    "binary": (write(bytes(range(256)) * 4), ["bikes.csv", "UTF-8"]),
    "ragged lines": (write(b"id,sold\n1,2\n1,2,3,4\n"), ["bikes.csv", "line 3"]),
}


def latin1(shop: Shop) -> None:
    shop.csv.write_text(shop.csv.read_text(encoding="utf-8"), encoding="latin-1")


BAD_CONFIGURATION: dict[str, tuple[Spoil, list[str]]] = {
    "unknown parameter in a grid": (
        parameter("targets.price.candidates.ridge.param_grid", {"model__alfa": [1]}),
        ["bikes.targets.price.candidates.ridge.param_grid.model__alfa", "model__alpha"],
    ),
    "empty list in a grid": (
        parameter("targets.price.candidates.ridge.param_grid", {"model__alpha": []}),
        ["bikes.targets.price.candidates.ridge.param_grid.model__alpha", "at least one value"],
    ),
    "unknown estimator": (
        parameter("targets.grade.candidates.logistic.estimator", "oracle"),
        ["bikes.targets.grade.candidates.logistic.estimator", "'oracle'", "extra_trees"],
    ),
    "unknown scorer": (
        parameter("targets.grade.scoring", "guesswork"),
        ["bikes.targets.grade.scoring", "'guesswork'", "neg_log_loss"],
    ),
    "unknown metric": (
        parameter("targets.grade.objectives", {"luck": {"aim": 1}}),
        ["bikes.targets.grade.objectives.luck", "accuracy"],
    ),
    "unknown key": (
        parameter("data.columns.size.lowest", 1),
        ["bikes.data.columns.size.lowest", "unknown key", "low, high, values"],
    ),
    "wrong type": (
        parameter("targets.price.cv", "five"),
        ["bikes.targets.price.cv", "integer"],
    ),
    "wrong kind": (parameter("data", ["id"]), ["bikes.data", "dictionary"]),
    "missing key": (parameter("targets.price", {"task": "regression"}), ["bikes.targets.price"]),
    "feature that is no column": (
        parameter("features.numeric", ["weight"]),
        ["bikes", "'weight'", "colour"],
    ),
    "function that does not exist": (
        parameter("data.derive", {"cheap": {"function": "ratchet.use_cases.nothing.here"}}),
        ["bikes.data.derive.cheap", "ratchet.use_cases.nothing.here"],
    ),
    "use case without raw data": (
        lambda shop: shop.configure("catalog", {}),
        ["bikes.raw"],
    ),
    "broken YAML": (
        lambda shop: (shop.conf / "parameters.yml").write_text("bikes: {about: ["),
        ["parameters.yml"],
    ),
}


def check(result: Result, expected: list[str]) -> None:
    assert result.exit_code not in (0, None)
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    # Without a log before it, where another test has sent logging elsewhere.
    log, _, message = f"\n{result.output}".partition("\nError: ")
    assert "ERROR" not in log
    assert len(message) < 700, message
    for words in expected:
        assert words in message, message


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(shop, name):
    spoil, expected = BAD_DATA[name]
    before = shop.outputs()
    spoil(shop)

    check(shop.run(), expected)

    assert shop.outputs() == before


@pytest.mark.parametrize("name", BAD_CONFIGURATION)
def test_bad_configuration(shop, name):
    spoil, expected = BAD_CONFIGURATION[name]
    before = shop.outputs()
    spoil(shop)

    check(shop.run(), expected)

    assert shop.outputs() == before


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("soon", ["as_of", "date", "'soon'"]),
        ("2020-13-01", ["as_of", "date", "'2020-13-01'"]),
        ("1990-01-01", ["bikes.csv", "'sold'", "1990-01-01", "2020-01-01"]),
    ],
)
def test_as_of(shop, as_of, expected):
    before = shop.outputs()

    check(shop.run("--params", f"as_of={as_of}"), expected)

    assert shop.outputs() == before


def test_impossible_value_in_a_grid(shop):
    """Only a fit can tell: what it would have replaced stays."""
    before = {name: sha for name, sha in shop.outputs().items() if "ridge" in name}
    parameter("targets.price.candidates.ridge.param_grid", {"model__alpha": ["much"]})(shop)

    check(shop.run(), ["bikes.price.ridge", "alpha", "much"])

    assert before.items() <= shop.outputs().items()


def test_unknown_pipeline(shop):
    check(shop.run(pipelines="bike"), ["'bike'", "bikes"])


def test_verbose_shows_the_traceback(shop):
    shop.csv.unlink()

    result = shop.run("--verbose")

    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.output
    assert result.output.rstrip().splitlines()[-2].endswith("bikes.raw: no such file")


def test_all_breaches_are_told_at_once(shop):
    frame = bikes()
    frame.loc[0, "colour"] = "blue"
    frame.loc[1, "size"] = 1
    frame.to_csv(shop.csv, index=False)

    check(shop.run(), ["'colour'", "'size'"])


def test_command_ends_with_an_exit_code(shop):
    """The real command, as a shell sees it."""
    shop.csv.write_bytes(b"")
    before = shop.outputs()

    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env", "shop", "--pipelines", "bikes"],
        cwd=shop.folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "bikes.csv" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert shop.outputs() == before
