"""``kedro ratchet watch``: what the monitoring did, also where its task had to be tried again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from ratchet.commands import verdict
from ratchet.provenance import ORCHESTRATOR_DAG, ORCHESTRATOR_RUN

ENTRIES = [
    SimpleNamespace(seq=4, event="retrain", actor="monitor_films/sunday", reason="of last week"),
    SimpleNamespace(seq=5, event="retrain", actor="monitor_films/monday", reason="5 % worse"),
    SimpleNamespace(seq=6, event="hold", actor="ana@host", reason="not now"),
]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the command for what the monitoring has written down."""

    def call(action: str, decision: int | None) -> dict[str, Any]:
        found = {"action": action, "reason": "as found", "decision": decision, "alerts": []}
        registry = SimpleNamespace(ledger=SimpleNamespace(entries=lambda use_case: ENTRIES))
        catalog = SimpleNamespace(
            exists=lambda name: True, load={"films.watch": found, "registry": registry}.get
        )
        monkeypatch.setattr(verdict, "open_catalog", lambda env, use_case: (catalog, None))
        monkeypatch.setattr(verdict, "_tracked", lambda env: {})
        done = CliRunner().invoke(verdict.watch, ["-u", "films", "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.output))

    for name in (ORCHESTRATOR_DAG, ORCHESTRATOR_RUN):
        monkeypatch.delenv(name, raising=False)
    return call


def test_without_a_row_in_the_ledger_nothing_was_done(watch):
    assert watch("rollback", 7)["action"] == "rollback"
    assert watch("rollback", None)["action"] == "none"


def test_a_second_try_says_what_the_first_has_decided(watch, monkeypatch):
    monkeypatch.setenv(ORCHESTRATOR_DAG, "monitor_films")
    monkeypatch.setenv(ORCHESTRATOR_RUN, "monday")

    told = watch("none", None)

    assert told == {"action": "retrain", "reason": "5 % worse", "decision": 5, "alerts": []}
    monkeypatch.setenv(ORCHESTRATOR_RUN, "tuesday")
    assert watch("none", None)["action"] == "none"
