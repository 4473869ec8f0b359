"""Tags of a run are such that every store takes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


class Client:
    """Takes tags down."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        self.tags[name] = value

    def log_artifact(self, *_: Any) -> None:
        pass

    log_param = log_artifact

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        self.tags |= tags
        return SimpleNamespace(info=SimpleNamespace(run_id="1"))


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from ratchet.hooks.tracking import TrackingHooks

    monkeypatch.setenv("RATCHET_MLFLOW_RUN", "")  # is put back afterwards
    made: Any = TrackingHooks()
    made._client, made._project, made._settings = Client(), tmp_path, {}
    monkeypatch.setattr("ratchet.hooks.tracking.open_store", lambda *_: (made._client, "0"))
    return made


def test_many_alerts_fit_into_their_tag(hooks):
    alerts = [{"text": f"alert {number}", "advice": "x" * 300} for number in range(40)]
    catalog = SimpleNamespace(
        load=lambda name: {"alerts": alerts}, get=lambda name: SimpleNamespace(_filepath="")
    )

    hooks._log_outputs({"shop.watch"}, catalog)

    told = hooks._client.tags["alerts.shop"]
    assert len(told) == 5000
    assert told.startswith("alert 0: xxx")


@pytest.mark.parametrize(
    ("commit", "expected"), [("0a1b", "0a1b"), ("0a1b-dirty", "0a1b"), (None, None)]
)
def test_the_commit_is_one_that_can_be_looked_up(hooks, monkeypatch, commit, expected):
    monkeypatch.setattr("ratchet.hooks.tracking.code_commit", lambda project: commit)
    parts = ("run_id", "env", "pipeline_names", "namespaces", "runtime_params")

    hooks._open_run(dict.fromkeys(parts))

    assert hooks._client.tags.get("mlflow.source.git.commit") == expected
