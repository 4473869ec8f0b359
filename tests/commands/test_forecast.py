"""``kedro ratchet forecast``; what it forecasts is tested with the answers of the service."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet


def test_before_anything_was_run(project: Path) -> None:
    bootstrap_project(project)

    done = CliRunner().invoke(ratchet, ["forecast", "--use-case", "power", "--env", "test"])

    assert done.exit_code == 1
    assert "nothing was decided yet" in done.output
    assert not list(Path().rglob("*.db"))
