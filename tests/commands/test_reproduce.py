"""``kedro ratchet reproduce``: equal runs, planted differences, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from ratchet import reproducibility, sandbox
from ratchet.commands.reproduce import reproduce
from ratchet.database import connect
from ratchet.monitoring.measurements import Measurement, Measurements

REPORT = "data/test/08_reporting/films/reproducibility.json"


@pytest.fixture(autouse=True)
def _in_project(
    project: Path, keep_only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_only(project, "films", "run")
    bootstrap_project(project)
    # Whoever edits the code while tests run is not what they are about.
    monkeypatch.setattr(reproducibility, "CODE", project / "src")


def ask(*options: str) -> Result:
    return CliRunner().invoke(reproduce, ["--use-case", "films", "--env", "test", *options])


CANDIDATES = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
FILMS = {
    "about": {"title": "t", "question": "q", "source": "s"},
    "data": {
        "key": "film",
        "columns": {
            "film": {"type": "integer"},
            "runtime": {"type": "number"},
            "rating": {"type": "number"},
        },
    },
    "features": {"numeric": ["runtime"]},
    "targets": {"rating": {"column": "rating", "task": "regression", "candidates": CANDIDATES}},
}


def _simplify(conf: Path) -> None:
    """Leave what runs that only write results are asked about: the rest takes seconds to read."""
    kept = ("01_raw.yml", "07_model_output.yml", "run.yml")
    for path in (*conf.glob("*/*/*.yml"), *conf.glob("*/globals_candidates.yml")):
        if path.name not in kept:
            path.unlink()
    (conf / "base/parameters/films.yml").write_text(yaml.safe_dump({"films": FILMS}))


def pretend(monkeypatch: pytest.MonkeyPatch, plant: Callable[[int, dict], None]) -> list[list[str]]:
    """Runs that only write results; ``plant`` changes those of a run by its hash seed."""
    commands = []

    def run(place: sandbox.Sandbox, command: list[str], *, hash_seed: int) -> float:
        commands.append(command)
        content = {
            "metrics": {"rating": {"ridge": {"test": {"rmse": {"value": 0.5}}}}},
            "evaluation": {"best": {"rating": "ridge"}},
            "predictions": {
                "film": [1, 2],
                "target": ["rating"] * 2,
                "candidate": ["ridge"] * 2,
                "prediction": [3.0, 3.5],
            },
        }
        plant(hash_seed, content)
        folder = place.path("model_output") / "films"
        folder.mkdir(parents=True)
        for name in ("metrics", "evaluation"):
            (folder / f"{name}.json").write_text(json.dumps(content[name]))
        pd.DataFrame(content["predictions"]).to_parquet(folder / "predictions.parquet")
        return 1.0

    _simplify(Path("conf"))
    monkeypatch.setattr(sandbox, "run", run)
    return commands


def report() -> dict:
    return json.loads(Path(REPORT).read_text())


def test_equal_runs(monkeypatch):
    commands = pretend(monkeypatch, lambda hash_seed, content: None)

    done = ask("--params", "as_of=1950-12-31,seed=3")

    assert done.exit_code == 0, done.output
    assert REPORT in done.output
    found = report()
    assert found["equal"] is True
    assert found["differences"] == []
    assert (found["use_case"], found["env"], found["seed"]) == ("films", "test", 3)
    assert found["params"] == "as_of=1950-12-31,seed=3"
    assert found["packages"]["scikit-learn"]
    assert len(found["code_sha256"]) == len(found["data_sha256"]) == 64
    first, second = found["runs"]
    assert first["predictions_sha256"] == second["predictions_sha256"]
    assert first["hash_seed"] != second["hash_seed"]
    assert all(command[-1] == "as_of=1950-12-31,seed=3" for command in commands)
    assert commands[0] != commands[1]  # each with a configuration of its own


def test_both_runs_see_what_the_service_was_handed_in(monkeypatch):
    measured = [
        Measurement(datetime(2026, 1, 1), "", {"load": 3.0}, first={"load": 2.0}),
        Measurement(datetime(2026, 1, 2), "", {"load": 4.0}),
    ]
    engine = connect("sqlite:///data/test/mlflow.db")  # see conf/test/globals.yml
    first = [replace(measured[0], fields={"load": 2.0}), measured[1]]
    for rows in (first, measured[:1]):
        Measurements(engine).write("films", rows, at=datetime(2026, 1, 3), source="ann")
    seen = []
    commands = pretend(monkeypatch, lambda hash_seed, content: None)
    entry = {
        "type": "ratchet.datasets.MeasurementsDataset",
        **{"use_case": "{use_case}", "path": ".", "tracking_uri": "${globals:tracking_uri}"},
    }
    Path("conf/base/catalog/02_measured.yml").write_text(
        yaml.safe_dump({"{use_case}.measured": entry})
    )
    run = sandbox.run

    def look(place, command, *, hash_seed):
        seen.append(Measurements(connect(place.database_url)).rows("films"))
        return run(place, command, hash_seed=hash_seed)

    monkeypatch.setattr(sandbox, "run", look)

    done = ask()

    assert done.exit_code == 0, done.output
    assert "both runs see 2 measurements" in done.output
    assert len(commands) == len(seen) == 2
    for rows in seen:
        assert [(one.time, one.fields, one.first) for one in rows] == [
            (one.time, one.fields, one.first) for one in measured
        ]
    assert report()["measurements"]["rows"] == 2
    assert len(report()["measurements"]["sha256"]) == 64


def test_a_planted_difference_is_named(monkeypatch):
    def plant(hash_seed, content):
        if hash_seed == 2:
            content["predictions"]["prediction"][1] += 2**-51
            content["metrics"]["rating"]["ridge"]["test"]["rmse"]["value"] = 0.75
            content["evaluation"]["best"]["rating"] = "kernel"

    pretend(monkeypatch, plant)

    done = ask()

    assert done.exit_code == 1
    assert "metrics.rating.ridge.test.rmse.value: 0.5 and 0.75, 0.25 apart" in done.output
    assert "NO" in done.output
    found = report()
    assert found["equal"] is False
    assert found["n_differences"] == 3
    assert [each["where"] for each in found["differences"]] == [
        "chosen.rating",
        "metrics.rating.ridge.test.rmse.value",
        "predictions.rating.ridge.prediction",
    ]
    assert found["differences"][2] == {
        "where": "predictions.rating.ridge.prediction",
        "first": 3.5,
        "second": 3.5 + 2**-51,
        "size": 2**-51,
        "rows": 1,
        "row": "2",
    }


def test_many_differences_are_cut_off(monkeypatch):
    def plant(hash_seed, content):
        scores = {f"m{i}": {"value": float(i * hash_seed)} for i in range(1, 400)}
        content["metrics"]["rating"]["ridge"]["test"] = scores

    pretend(monkeypatch, plant)

    done = ask()

    assert "and 389 more" in done.output
    assert report()["n_differences"] == 399
    assert report()["differences"][0]["size"] == 399.0


@pytest.mark.parametrize("changed", ["conf/base/parameters/films.yml", "src/node.py"])
def test_a_change_between_the_runs(monkeypatch, changed):
    def plant(hash_seed, content):
        with Path(changed).open("a") as file:
            file.write("# changed\n")

    pretend(monkeypatch, plant)

    done = ask()

    assert done.exit_code == 2
    assert "changed during the runs" in done.output
    assert not Path(REPORT).exists()


def test_what_the_runs_wrote_can_be_kept(monkeypatch, tmp_path):
    pretend(monkeypatch, lambda hash_seed, content: None)

    assert ask("--keep", str(tmp_path / "kept")).exit_code == 0
    again = ask("--keep", str(tmp_path / "kept"))

    assert len(list((tmp_path / "kept").rglob("metrics.json"))) == 2
    assert again.exit_code == 2
    assert "is not empty" in again.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--use-case", "fims"], "no use case 'fims'; there are films"),
        (["--pipelines", "clasical"], "Failed to find the pipeline named 'clasical'"),
        (["--env", "tset"], "conf/tset"),
    ],
)
def test_wrong_arguments(options, told):
    _simplify(Path("conf"))

    done = ask(*options)

    assert done.exit_code == 2
    assert told in done.output
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_films_are_reproducible():
    done = ask("--params", "as_of=1950-12-31")

    assert done.exit_code == 0, done.output
    first, second = report()["runs"]
    assert first["rows"] > 100
    assert set(first["chosen"]) == {"success", "rating"}
    assert first["predictions_sha256"] == second["predictions_sha256"]
    assert not Path("data/test/07_model_output").exists()  # nothing was written but the report
