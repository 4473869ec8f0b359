"""The manifest of the DAGs belongs to the pipelines and settings that there are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ratchet.commands import ratchet

ROOT = Path(__file__).resolve().parents[2]


def manifest(*options: str) -> Result:
    return CliRunner().invoke(ratchet, ["manifest", *options])


@pytest.fixture
def standing(project: Path) -> Path:
    """A project with the manifest that is in the repository."""
    from kedro.framework.startup import bootstrap_project

    (project / "dags").mkdir()
    shutil.copy(ROOT / "dags" / "manifest.json", project / "dags")
    bootstrap_project(project)
    return project


def test_the_manifest_is_up_to_date(standing):
    done = manifest("--check")

    assert done.exit_code == 0, done.output


def test_yaml_alone_adds_a_use_case(standing):
    """And a stale manifest is told from one that is not."""
    conf = standing / "conf" / "base"
    for path in (conf / "parameters").glob("*.yml"):
        if path.name not in ("run.yml", "films.yml"):
            path.unlink()
    text = (conf / "parameters/films.yml").read_text().replace("\nfilms:", "\nmine:")
    (conf / "parameters/films.yml").rename(conf / "parameters/mine.yml").write_text(text)
    for env in ("test", "tetouan"):
        shutil.rmtree(standing / "conf" / env)

    stale = manifest("--check")
    assert stale.exit_code == 1
    assert "dags/manifest.json is stale" in stale.output
    assert manifest().output == "dags/manifest.json is written\n"
    assert manifest().output == "dags/manifest.json is up to date\n"

    found = json.loads((standing / "dags" / "manifest.json").read_text())["use_cases"]
    assert list(found) == ["mine"]
    assert found["mine"]["gate"]["until"] == "mine.judge_challengers"
    assert found["mine"]["files"]["report"] == "data/08_reporting/mine/report.html"
    assert "recurrent" not in found["mine"]["phases"]
    assert "logistic" in found["mine"]["targets"]["success"]["candidates"]
    assert "dummy" not in found["mine"]["targets"]["success"]["candidates"]


def test_another_environment_has_a_manifest_of_its_own(standing):
    done = manifest("--env", "kubernetes", "--output", "build/manifest.json")

    assert done.output == "build/manifest.json is written\n"
    runner = json.loads((standing / "build" / "manifest.json").read_text())["runner"]
    assert runner["kind"] == "kubernetes"
    assert manifest("--check").exit_code == 0  # that of the repository is untouched
    (standing / "build" / "manifest.json").write_text("{}")
    stale = manifest("--env", "kubernetes", "--output", "build/manifest.json", "--check")
    assert "`kedro ratchet manifest --env kubernetes --output build/manifest.json`" in stale.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("paths: {data: data/past}\n", "conf/past/globals.yml sets no tracking_uri"),
        ("tracking_uri: sqlite:///data/past/mlflow.db\n", ""),
        (None, "no environment 'past'; there are"),
    ],
)
def test_backfills_decide_in_a_registry_of_their_own(standing, text, told):
    settings = standing / "conf" / "base" / "airflow.yml"
    settings.write_text("use_cases: {films: {backfill_env: past}}\n")
    if text:
        (standing / "conf" / "past").mkdir()
        (standing / "conf" / "past" / "globals.yml").write_text(text)

    done = manifest()

    assert done.exit_code == bool(told)
    assert told in done.output
