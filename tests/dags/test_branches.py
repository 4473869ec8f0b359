"""Each way through the DAGs, with a stand-in for Kedro: which tasks run, and what they call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STAND_IN = HERE / "kedro_stand_in.py"
SUNDAY = "2026-11-22T02:00:00+00:00"
VERDICT = {
    "reason": "3.1 % better | surely",
    "version": "7",
    "champion": "6",
    "candidates": {"demand": "ridge"},
    "conditions": [{"name": "gain", "passed": True, "reason": "3.1 %"}],
}
NEW = {"fresh": True, "rows": 5, "reason": "5 new rows"}
NONE = {"fresh": False, "rows": 0, "reason": "no new rows since '14, the last; that it knows"}
WATCH = {"reason": "worse by 4 %", "alerts": ["accuracy fell"], "decision": 8}


def scenario(
    dag_id: str,
    *,
    fresh: dict[str, Any] = NEW,
    decision: str = "HOLD",
    action: str = "none",
    fails: tuple[str, ...] = (),
    approval: str | None = None,
    **conf: Any,
) -> dict[str, Any]:
    answers = {
        "fresh": fresh,
        "verdict": {**VERDICT, "decision": decision},
        "watch": {**WATCH, "action": action},
    }
    return {
        "file": f"{dag_id.split('_', maxsplit=1)[0]}.py",
        "dag_id": dag_id,
        "date": SUNDAY,
        "conf": conf,
        "approval": approval,
        "environment": {
            "STAND_IN_ANSWERS": json.dumps(answers),
            "STAND_IN_FAILS": json.dumps(fails),
        },
    }


SCENARIOS = {
    "promote": scenario("retrain_power", decision="PROMOTE"),
    "reject": scenario("retrain_films", decision="REJECT", as_of="2010-01-31"),
    "no rows": scenario("retrain_films", fresh=NONE),
    "dry run": scenario(
        "retrain_power",
        decision="PROMOTE",
        dry_run=True,
        candidates=["ridge"],
        strategy="halving",
    ),
    "approved": scenario(
        "retrain_films", decision="PROMOTE", require_approval=True, approval="Approve"
    ),
    "rejected": scenario(
        "retrain_films", decision="PROMOTE", require_approval=True, approval="Reject"
    ),
    "too late": scenario("retrain_films", decision="PROMOTE", require_approval=True),
    "failed": scenario("retrain_films", fails=("pipelines classical",)),
    "quiet": scenario("monitor_films"),
    "retrain": scenario("monitor_films", action="retrain"),
    "rolled back": scenario("monitor_films", action="rollback"),
}


@pytest.fixture(scope="module")
def ways(
    tmp_path_factory: pytest.TempPathFactory,
    drive: Callable[..., list[dict[str, Any]]],
    draw_from: Callable[..., Path],
    small_manifest: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """What became of every scenario, and the commands that were called in it."""
    folder = tmp_path_factory.mktemp("ways")
    manifest = json.loads(json.dumps(small_manifest))
    manifest["runner"]["python"] = str(STAND_IN)
    manifest["use_cases"]["power"]["landing"] = True
    manifest["use_cases"]["power"]["job"]["data_clock"] = {
        "run": "2026-11-01",
        "data": "2014-10-05",
    }
    dags, found = draw_from(folder, manifest), {}
    given = []
    for name, one in SCENARIOS.items():
        log = {"STAND_IN_LOG": str(folder / f"{name}.log")}
        given.append({**one, "environment": {**one["environment"], **log}})
    for name, one in zip(SCENARIOS, drive(dags, folder / "airflow", *given), strict=True):
        found[name] = {**one, "log": (folder / f"{name}.log").read_text().splitlines()}
    return found


pytestmark = pytest.mark.slow  # a minute for all


def done(way: dict[str, Any]) -> set[str]:
    """Tasks that were run with success."""
    return {name for name, state in way["tasks"].items() if state == "success"}


def called(way: dict[str, Any], task: str) -> list[str]:
    return [line.partition(": ")[2] for line in way["log"] if line.startswith(f"{task}: ")]


BEFORE = {"earlier_run", "land", "new_rows"}
TRAINED = BEFORE | {"preprocess", "classical", "evaluate", "gate", "decide"}
AFTER = {"report", "status", "close_run"}


def test_promoted(ways):
    way = ways["promote"]

    assert way["state"] == "success"
    assert done(way) == TRAINED | {"recurrent", "promote"} | AFTER
    assert called(way, "promote") == [
        "run --pipelines release --namespaces power --from-nodes power.release_challengers "
        "--params as_of=2014-10-25"
    ]
    assert called(way, "close_run") == [
        "ratchet close-run --use-case power --status FINISHED",
    ]


def test_the_clock_of_the_data_moves_every_task(ways):
    days = [line for line in ways["promote"]["log"] if "as_of=" in line or "--as-of" in line]

    assert len(days) == 8
    assert all("2014-10-25" in line for line in days)


def test_new_files_are_landed_first(ways):
    assert called(ways["promote"], "land") == [
        "ratchet land --use-case power",
        "ratchet fresh --use-case power --json --as-of 2014-10-25",
    ]
    assert called(ways["reject"], "land") == [
        "ratchet fresh --use-case films --json --as-of 2010-01-31"
    ]


def test_rejected_by_the_gate(ways):
    way = ways["reject"]

    assert done(way) == TRAINED | {"reject"} | AFTER
    assert "as_of=2010-01-31" in called(way, "reject")[0]
    assert way["answers"]["gate"]["reason"] == VERDICT["reason"]


def test_nothing_is_trained_without_new_rows(ways):
    way = ways["no rows"]

    assert done(way) == BEFORE | {"hold_no_new_rows", "status", "close_run"}
    assert called(way, "hold_no_new_rows") == [
        "ratchet hold --use-case films --reason "
        "no new rows since '14, the last; that it knows"  # one word of the shell
    ]


def test_a_dry_run_stops_after_the_gate(ways):
    way = ways["dry run"]

    assert done(way) == TRAINED | {"dry_run", "close_run"}
    assert way["tasks"]["recurrent"] == "skipped"  # no network is among the candidates
    strategy = "power.targets.demand.networks.recurrent.strategy=halving"
    assert called(way, "evaluate") == [
        "run --pipelines evaluation --namespaces power "
        f"--params as_of=2014-10-25,{strategy} --candidates ridge"
    ]


def test_approved(ways):
    assert done(ways["approved"]) == TRAINED | {"approve", "promote"} | AFTER


@pytest.mark.parametrize(
    ("name", "why"),
    [("rejected", "rejected by Ann"), ("too late", "nobody answered in time")],
)
def test_not_approved(ways, name, why):
    way = ways[name]

    assert done(way) == TRAINED | {"approve", "hold_not_approved"} | AFTER
    assert called(way, "hold_not_approved") == [
        f"ratchet hold --use-case films --judged --reason promotion not approved: {why}"
    ]


def test_a_failure_reaches_no_decision(ways):
    way = ways["failed"]

    assert way["state"] == "failed"
    assert way["tasks"]["classical"] == "failed"
    assert done(way) == BEFORE | {"preprocess", "close_run"}
    assert called(way, "close_run")[0] == "ratchet close-run --use-case films --status FAILED"
    (told,) = [line for line in way["log"] if "ratchet notify --event failure" in line]
    assert f"retrain_films: run {way['run_id']} failed" in told


def test_a_quiet_day(ways):
    way = ways["quiet"]

    assert done(way) == {"earlier_run", "monitor", "act", "quiet", "status", "close_run"}
    assert called(way, "monitor") == [
        "run --pipelines monitoring --namespaces films --params as_of=2026-11-21",
        "ratchet watch --use-case films --json",
    ]


def test_a_rollback_is_shown(ways):
    assert "rolled_back" in done(ways["rolled back"])
    assert "retrain" not in done(ways["rolled back"])


def test_monitoring_starts_a_retraining(ways):
    assert "retrain" in done(ways["retrain"])
