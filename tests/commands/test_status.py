"""``kedro ratchet status``, above all where there is little to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet


@pytest.fixture(autouse=True)
def _in_project(project: Path) -> None:
    bootstrap_project(project)


def ask(*options: str) -> Result:
    return CliRunner().invoke(ratchet, ["status", "--env", "test", *options])


def test_before_anything_was_run():
    done = ask()

    assert done.exit_code == 0, done.output
    assert done.output.count("nothing serves") >= 4
    assert "Films" in done.output
    assert not Path("mlflow.db").exists()  # asking leaves nothing behind


def test_the_page():
    done = ask("--page")

    assert done.exit_code == 0, done.output
    page = Path("data/test/08_reporting/status.html").read_text(encoding="utf-8")
    assert page.count("Nothing was decided yet.") >= 4


def test_one_use_case_in_full():
    done = ask("--use-case", "films")

    assert "Champion: none: no model was promoted yet" in done.output
    assert "Electric" not in done.output


def test_as_json():
    found = json.loads(ask("--json").output)

    assert set(found) == {"films", "stock", "power", "prices"}
    assert found["power"]["metric"] == "mase"
    assert found["power"]["champion"] is None
    assert found["films"]["decisions"] == []


def test_an_unknown_use_case():
    done = ask("--use-case", "fims")

    assert done.exit_code == 1
    assert done.output.startswith("Error: --use-case: no use case 'fims'; there are films, ")


def test_an_unknown_environment():
    done = CliRunner().invoke(ratchet, ["status", "--env", "tset"])

    assert done.exit_code == 1
    assert "conf/tset" in done.output
