"""The trial of a challenger that was held back decides at the next release, where it may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.bundle.manifest import bundle_digest
from ratchet.gate.verdict import Verdict
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.pipelines.release import (
    judge_challengers,
    refit_promoted,
    release_challengers,
)
from ratchet.registry import actions
from ratchet.registry.registry import RegistryError
from tests.bundle.test_reader import FILMS

RUN = {"orchestrator_run": None, "mlflow_run": "run 2", "actor": "ada@host"}
BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Line:
    """A weekly line in which version 1 serves and version 2 was held back last week.

    The gate is made up: it says of version 3, and those after it, what the test wants.
    """

    def __init__(self, registry: Any, make_bundle: Any, check: Any, **release: Any) -> None:
        self.registry, self.make_bundle, self.gate = registry, make_bundle, "HOLD"
        self.parameters = {**FILMS, "release": {"target": "rating", "metric": "rmse", **release}}
        for number, decision in ((1, "PROMOTE"), (2, "HOLD")):
            folder = self.register()
            verdict = {"decision": decision, "reason": "so", "digest": bundle_digest(folder)}
            verdict |= {"candidates": {"rating": "ridge"}}
            expect = registry.ledger.state("films").seq
            actions.record_verdict(
                *(registry, "films", str(number), verdict),
                **{"actor": "run 1", "expect": expect, "check": check},
            )

    def register(self) -> Any:
        name = f"b{len(self.registry.versions('films')) + 1}"
        folder = self.make_bundle(self.registry, name)
        self.registry.register("films", folder, {"digest": bundle_digest(folder)})
        return folder

    def answer(self, error: float, n_days: int, version: str = "2") -> None:
        """Let a version answer beside version 1, which errs by 1, for so many days."""
        log, random = PredictionLog(self.registry.ledger.engine), np.random.default_rng(0)
        for day in range(n_days):
            at = BEGIN + timedelta(days=day)
            truth = pd.Series(random.normal(5, 1, 8), [f"{version}-{day}-{i}" for i in range(8)])
            for number, arm, size in (("1", "champion", 1.0), (version, "shadow", error)):
                rows = pd.DataFrame({"prediction": truth + random.normal(0, size, 8)})
                log.write(
                    *("films", number, {"rating": rows}),
                    **{"arm": arm, "source": "service", "at": at, "latency_ms": 3.0},
                )
            log.join_truth("films", "rating", truth, at + timedelta(days=1))

    def judge(self) -> list[dict[str, Any]]:
        """Register a version and put it before the gate."""
        folder = self.register()
        challenger = {
            **{"version": self.registry.versions("films")[-1].number, "bundle": folder.name},
            **{"digest": bundle_digest(folder), "candidates": {"rating": "ridge"}},
        }
        rows: Any = pd.DataFrame({"film": [1]})
        each = {f"{t}/{noun}": None for t in FILMS["targets"] for noun in ("predictions", "choice")}
        return judge_challengers(
            *(self.registry, "films", self.parameters, 0, None, None, rows, [challenger]), **each
        )

    def release(self) -> list[dict[str, Any]]:
        """A week: judge a new version, and write the decisions down."""
        verdicts = self.judge()
        release_challengers(self.registry, RUN, "films", self.parameters, verdicts)
        return verdicts

    def decisions(self) -> list[tuple[str, str]]:
        """Events and versions of the ledger, without those of the first weeks."""
        return [(one.event, one.version) for one in self.registry.ledger.entries("films")][2:]

    @property
    def state(self) -> Any:
        return self.registry.ledger.state("films")


@pytest.fixture
def make_line(registry, make_bundle, check, monkeypatch):
    def make(**release: Any) -> Line:
        line = Line(registry, make_bundle, check, **release)
        monkeypatch.setattr(
            "ratchet.production.gate_evidence.EvidenceCollector.evidence",
            lambda *_: SimpleNamespace(),
        )
        monkeypatch.setattr(
            "ratchet.gate.verdict.judge", lambda *_: Verdict(line.gate, "as the test says", ())
        )
        monkeypatch.setattr("ratchet.bundle.smoke_test.run_smoke_test", check)
        return line

    return make


def test_a_challenger_that_its_trial_calls_better_is_promoted(make_line):
    line = make_line(trial={"days": 30})
    line.answer(0.5, n_days=30)

    (judged,) = line.release()

    assert line.decisions() == [("promote", "2")]
    assert (line.state.champion, line.state.previous) == ("2", "1")
    entry = line.registry.ledger.newest("films")
    assert entry.reason.startswith("Takes over: better in a trial beside version 1: rating, by the")
    assert "gain" in entry.reason
    assert entry.details["numbers"]["trial"]["loss"]["days"] == 30
    assert entry.details["candidates"] == judged["candidates"] == {"rating": "ridge"}


def test_one_that_its_trial_calls_worse_is_rejected_and_the_newer_one_judged(make_line):
    line = make_line(trial={"days": 30})
    line.answer(2.0, n_days=30)

    line.release()

    assert line.decisions() == [("reject", "2"), ("hold", "3")]
    assert (line.state.champion, line.state.held) == ("1", "3")
    assert line.state.rejected == {"2"}


def test_a_trial_goes_on_though_newer_challengers_are_held_back(make_line):
    line = make_line(trial={"days": 30}, keep=0)
    line.answer(0.5, n_days=7)

    line.release()

    assert line.decisions() == [("hold", "3"), ("hold", "2")]
    assert line.state.held == "2"
    reason = line.registry.ledger.newest("films").reason
    assert reason.startswith("its trial beside version 1 goes on (7 of 30 days)")
    line.release()
    assert line.state.held == "2"
    assert line.registry.has_bundle("films", "2")  # though only what is needed is kept
    actions.hold(line.registry, "films", reason="no new rows", actor="ada@host")
    assert line.state.held == "2"


def test_a_newer_challenger_takes_its_turn_when_the_trial_is_over(make_line):
    line = make_line(trial={"days": 12})
    line.answer(1.0, n_days=14)

    line.release()

    assert line.decisions() == [("hold", "3")]
    assert line.state.held == "3"


def test_what_the_gate_promotes_ends_the_trial(make_line):
    line = make_line(trial={"days": 30})
    line.answer(0.5, n_days=7)
    line.gate = "PROMOTE"

    line.release()

    assert line.decisions() == [("promote", "3")]
    assert line.state.held is None


@pytest.mark.parametrize("n_days", [0, 30])
def test_without_the_parameter_or_answers_nothing_changes(make_line, n_days):
    line = make_line(**({} if n_days else {"trial": {"days": 30}}))
    if n_days:
        line.answer(0.5, n_days=n_days)

    line.release()

    assert line.decisions() == [("hold", "3")]
    assert line.state.held == "3"


def test_a_release_that_was_killed_and_is_repeated_decides_once(make_line):
    line = make_line(trial={"days": 30})
    line.answer(0.5, n_days=7)
    verdicts = line.judge()

    for _ in range(2):
        release_challengers(line.registry, RUN, "films", line.parameters, verdicts)

    assert line.decisions() == [("hold", "3"), ("hold", "2")]


def test_what_was_tried_is_not_fitted_again(make_line):
    line = make_line(trial={"days": 30}, refit="all")
    line.answer(0.5, n_days=30)
    verdicts = line.judge()
    nothing: dict[str, Any] = dict.fromkeys(
        ("typed", "primary", "features", "encoder", "train", "validation", "test")
    )

    refitted = refit_promoted(line.registry, RUN, "films", {}, None, verdicts, **nothing)

    assert refitted == verdicts


def test_a_bundle_that_was_changed_during_its_trial_does_not_serve(make_line):
    line = make_line(trial={"days": 30})
    line.answer(0.5, n_days=30)
    verdicts = line.judge()
    (line.registry.bundles / "films" / "b2" / "manifest.json").write_text("[]")

    with pytest.raises(RegistryError, match="is not what was judged"):
        release_challengers(line.registry, RUN, "films", line.parameters, verdicts)

    assert line.state.champion == "1"
