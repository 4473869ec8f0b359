"""``kedro ratchet status``, above all where there is little to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet


@pytest.fixture(autouse=True)
def _in_project(project: Path) -> None:
    bootstrap_project(project)


@pytest.fixture
def films_alone(project: Path, keep_only: Callable[..., None]) -> None:
    """A project with one use case."""
    keep_only(project, "films")


def ask(*options: str) -> Result:
    return CliRunner().invoke(ratchet, ["status", "--env", "test", *options])


def test_before_anything_was_run(films_alone):
    done = ask()

    assert done.exit_code == 0, done.output
    assert done.output.count("nothing serves") == 1
    assert "Films" in done.output
    assert not list(Path().rglob("*.db"))  # asking leaves nothing behind


def test_all_use_cases_as_json_and_as_a_page():
    done = ask("--json", "--page")

    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert set(found) == {"films", "stock", "power", "prices", "market"}
    assert found["power"]["metric"] == "mase"
    assert found["power"]["champion"] is None
    assert found["films"]["decisions"] == []
    page = Path("data/test/08_reporting/status.html").read_text(encoding="utf-8")
    assert page.count("Nothing was decided yet.") >= 4
    assert not list(Path().rglob("*.db"))


def test_one_use_case_in_full(project, keep_only):
    keep_only(project, "films", "power")

    done = ask("--use-case", "films")

    assert "Champion: none: no model was promoted yet" in done.output
    assert "Electric" not in done.output


def test_an_unknown_use_case(films_alone):
    done = ask("--use-case", "fims")

    assert done.exit_code == 1
    assert done.output.startswith("Error: no use case 'fims'; there are films")


def test_an_unknown_environment():
    done = CliRunner().invoke(ratchet, ["status", "--env", "tset"])

    assert done.exit_code == 1
    assert "conf/tset" in done.output
