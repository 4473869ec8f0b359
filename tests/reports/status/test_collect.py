"""What is said of a use case comes from ledger, registry, prediction log and bundles."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from ratchet.bundle.reader import Bundle
from ratchet.config import UseCase
from ratchet.database import connect
from ratchet.errors import UserError
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.registry.ledger import Ledger
from ratchet.reports.status import text
from ratchet.reports.status.collect import DECISIONS, Model, Predicted, collect

PROMOTED = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
SCORE = {"value": 0.5, "low": 0.4, "high": 0.6}


def use_case(**changed: Any) -> UseCase:
    target = {
        "column": "y",
        "task": "regression",
        "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
    }
    return UseCase.model_validate(
        {
            "about": {"title": "Shop", "question": "?", "source": "s"},
            "data": {
                "key": "id",
                "columns": {n: {"type": "number"} for n in ("id", "x", "y", "z")},
            },
            "features": {"numeric": ["x"]},
            "targets": {"sales": target, "other": {**target, "column": "z"}},
            **changed,
        }
    )


class Registry:
    """A real ledger, with versions and aliases of our own."""

    def __init__(self, folder: Path) -> None:
        self.now = PROMOTED
        self.bundles = folder
        self.ledger = Ledger(connect(f"sqlite:///{folder / 'ledger.db'}"), now=lambda: self.now)
        self.aliases: dict[str, str] = {}
        self.waiting: str | None = None
        self.client = self

    def verify(self) -> list[str]:
        return self.ledger.verify()

    def challenger(self, use_case: str) -> str | None:
        return self.waiting

    def folder(self, use_case: str, version: str) -> Path:
        folder = self.bundles / version
        if not folder.is_dir():
            raise UserError(f"version {version} of {use_case}: its bundle is missing")
        return folder

    def get_registered_model(self, name: str) -> Any:
        assert name.startswith("ratchet-")
        return SimpleNamespace(aliases=self.aliases)

    def decide(self, event: str, version: str, previous: str | None = None) -> None:
        seq = self.ledger.state("shop").seq
        common = {"actor": "ada", "reason": f"reason {seq + 1}", "expect": seq}
        self.ledger.append(
            "shop", event, version=version, champion=version, previous=previous, **common
        )
        self.now += dt.timedelta(days=1)
        self.aliases = {"champion": version} | ({"previous": previous} if previous else {})

    def add_bundle(self, version: str, candidate: str) -> None:
        (self.bundles / version).mkdir()
        content = {"candidates": {"sales": candidate}, "files": {}}
        (self.bundles / version / "bundle.json").write_text(json.dumps(content))


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    def open_bundle(folder: Path) -> Any:
        bundle = Bundle(folder, json.loads((folder / "bundle.json").read_text()))
        bundle.metrics = {"sales": {"test": {"rmse": SCORE}}}
        return bundle

    monkeypatch.setattr("ratchet.reports.status.collect.open_bundle", open_bundle)
    return Registry(tmp_path)


@pytest.fixture
def log(tmp_path) -> PredictionLog:
    return PredictionLog(connect(f"sqlite:///{tmp_path / 'log.db'}"))


@pytest.fixture
def served(registry) -> Registry:
    """Version 1 was promoted, then version 2."""
    for version, candidate in {"1": "ridge", "2": "kernel"}.items():
        registry.add_bundle(version, candidate)
    registry.decide("promote", "1")
    registry.decide("promote", "2", previous="1")
    return registry


def look(registry: Any, log: Any, watch: Any = None, **changed: Any) -> Any:
    (status,) = collect(registry, log, {"shop": use_case(**changed)}, {"shop": watch})
    return status


def predict(log: PredictionLog, version: str, at: dt.datetime, *keys: str) -> None:
    rows = pd.DataFrame({"prediction": 1.0}, index=pd.Index(keys, name="id"))
    log.write("shop", version, {"sales": rows}, arm="champion", source="batch", at=at)


def test_no_database():
    status = look(None, None)

    assert (status.name, status.title, status.target) == ("shop", "Shop", "sales")
    assert status.champion is None
    assert not status.problems
    assert not status.decisions


def test_nothing_was_promoted(registry, log):
    status = look(registry, log)

    assert status.champion is status.previous is status.challenger is status.predicted is None
    assert not status.problems


def test_what_serves(served, log):
    served.waiting = "3"
    served.add_bundle("3", "dummy")

    status = look(served, log)

    assert status.champion == Model("2", {"sales": "kernel"})
    assert status.previous == Model("1", {"sales": "ridge"})
    assert status.challenger == Model("3", {"sales": "dummy"})
    assert status.since == PROMOTED + dt.timedelta(days=1)
    assert status.promoted == SCORE
    assert status.fails_beyond(SCORE["value"]) == pytest.approx(0.525)
    assert status.to_json()["fails_beyond"] == pytest.approx(0.525)
    assert [entry.reason for entry in status.decisions] == ["reason 2", "reason 1"]
    assert not status.problems


def test_only_the_last_decisions(served, log):
    for _ in range(DECISIONS):
        served.decide("promote", "2", previous="1")

    reasons = [entry.reason for entry in look(served, log).decisions]

    assert reasons == [f"reason {seq}" for seq in range(DECISIONS + 2, 2, -1)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        (["hold", "reject"], None),
        (["rollback"], "rollback"),
        (["rollback", "hold", "reject"], "rollback"),  # as after a night without a better one
        (["rollback", "retrain"], "retrain"),
        (["retrain", "hold"] + ["reject"] * DECISIONS, "retrain"),
        (["rollback", "retrain", "promote"], None),
        (["retrain", "override"], None),
    ],
)
def test_what_no_promotion_has_followed_is_unsettled(served, log, events, expected):
    for event in events:
        served.decide(event, "2", previous="1")

    status = look(served, log)

    assert (status.unsettled and status.unsettled.event) == expected
    assert (status.to_json()["unsettled"] or {}).get("event") == expected


def test_what_was_predicted_since_the_promotion(served, log):
    since = served.ledger.state("shop").since
    predict(log, "2", since - dt.timedelta(hours=1), "before")
    predict(log, "1", since + dt.timedelta(hours=1), "other model")
    predict(log, "2", since + dt.timedelta(hours=1), "a", "b", "c")
    predict(log, "2", since + dt.timedelta(hours=2), "d")
    log.write_error("shop", "2", "e", "broken", arm="champion", source="batch", at=since)
    log.join_truth("shop", "sales", pd.Series([1.0, 2.0, 3.0], index=["a", "b", "before"]), since)

    predicted = look(served, log).predicted

    assert predicted == Predicted(4, 2, (since + dt.timedelta(hours=2)).replace(tzinfo=None))


def test_nothing_was_predicted(served, log):
    assert look(served, log).predicted == Predicted(0, 0, None)


@pytest.mark.parametrize(
    ("version", "role"), [("2", "the champion cannot be used"), ("1", "the previous model cannot")]
)
def test_a_missing_bundle(served, log, version, role):
    (served.bundles / version / "bundle.json").unlink()
    (served.bundles / version).rmdir()

    status = look(served, log)

    (problem,) = status.problems
    assert problem.startswith(role)
    assert "its bundle is missing" in problem
    assert (status.promoted is None) == (version == "2")


def test_a_bundle_that_does_not_say_the_metric(served, log):
    status = look(served, log, release={"target": "sales", "metric": "mae"})

    assert status.metric == "mae"
    assert status.promoted is None
    assert status.to_json()["fails_beyond"] is None


def test_an_alias_that_disagrees(served, log):
    served.aliases = {"champion": "1"}

    champion, previous = look(served, log).problems

    assert "the alias 'champion' points to version 1, the ledger says version 2" in champion
    assert "the alias 'previous' points to no version, the ledger says version 1" in previous


def test_a_ledger_that_was_changed(served, log):
    engine = served.ledger.engine
    with engine.begin() as connection:
        for trigger in connection.execute(
            sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger[0]}"))
        connection.execute(sa.text("UPDATE ratchet_ledger SET reason = 'better' WHERE seq = 1"))

    *guards, problem = [x for x in look(served, log).problems if x.startswith("the ledger: ")]

    assert len(guards) == 3
    assert "the trigger ratchet_ledger_no_update is gone" in guards[0]
    assert problem == "the ledger: decision 1 was changed"


def test_a_ledger_that_cannot_be_read(served, log, monkeypatch):
    def broken(use_case: str) -> list:
        raise UserError("decision 1 cannot be read")

    monkeypatch.setattr(served.ledger, "entries", broken)

    status = look(served, log)

    assert status.problems == ["decision 1 cannot be read"]
    assert status.champion is not None


WATCH = {
    "windows": [{"rmse": 0.55, "rows": 30}, {"rmse": None, "rows": 3, "note": "few"}],
    **{"alerts": [], "drift": None, "action": "none", "reason": "", "scored": {"version": "2"}},
}


def test_the_monitoring(served, log):
    status = look(served, log, WATCH)

    assert [window["rmse"] for window in status.windows] == [0.55]
    assert status.worse_by == pytest.approx(0.1)
    assert status.watched is None


def test_as_json(served, log):
    found = json.loads(json.dumps(look(served, log).to_json()))

    assert found["champion"] == {"version": "2", "candidates": {"sales": "kernel"}}
    assert found["since"] == "2026-11-02T12:00:00+00:00"
    assert found["promoted"] == SCORE
    assert found["decisions"][0]["reason"] == "reason 2"
    assert found["watch"] is None


def test_the_monitoring_of_another_version(served, log):
    watch = {**WATCH, "scored": {"version": "1"}}

    status = look(served, log, watch)

    assert status.watch is None
    assert status.watched == "1"
    assert not status.windows


def test_after_it_went_back_it_is_not_fine(served, log):
    """The monitoring has looked at the version that does not serve any more."""
    served.decide("rollback", "1")

    status = look(served, log, {**WATCH, "action": "rollback"})

    assert status.watch is None
    assert text.state_badge(status) == ("doubt", "look at it")
    said = "It went back to version 1 on 2026-11-03 12:00 UTC: reason 3. No model was promoted"
    assert any(line.startswith(said) for line in text.full_text(status))


def test_the_monitoring_before_anything_served(served, log):
    status = look(served, log, {**WATCH, "scored": {"version": None}})

    assert status.watch is status.watched is None


def test_use_cases_stand_by_name(served, log):
    use_cases = {name: use_case() for name in ("shop", "b", "a")}

    assert [status.name for status in collect(served, log, use_cases, {})] == ["a", "b", "shop"]
