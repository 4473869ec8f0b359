"""The DAGs as they are drawn: which there are, how they hang together, when they start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MANIFEST = json.loads((ROOT / "dags" / "manifest.json").read_text())

Look = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def look(airflow_variables: Callable[..., dict[str, str]], tmp_path_factory: Any) -> Look:
    def parse(dags: Path = ROOT / "dags", **environment: str) -> dict[str, Any]:
        home = tmp_path_factory.mktemp("airflow")
        done = subprocess.run(
            [sys.executable, str(HERE / "look.py"), str(dags)],
            env=airflow_variables(home, dags) | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return parse


@pytest.fixture(scope="module")
def parsed(look: Look) -> dict[str, Any]:
    return look()


@pytest.fixture(scope="module")
def dags(parsed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = parsed["dags"]
    return found


def test_two_dags_for_each_use_case_the_replay_and_the_search(dags):
    names = list(MANIFEST["use_cases"])

    assert set(dags) == {f"{kind}_{n}" for kind in ("retrain", "monitor") for n in names} | {
        *("replay", "search")
    }


def test_a_task_that_starts_draws_its_own_dag_alone(look):
    drawn = look(_AIRFLOW_PARSING_CONTEXT_DAG_ID="monitor_power")["dags"]

    assert set(drawn) == {"monitor_power", "replay", "search"}


def test_parsing_loads_nothing_of_the_project(parsed):
    assert parsed["loaded"] == []


def test_every_dag_says_whose_it_is_and_what_to_do(dags):
    for name, dag in dags.items():
        assert "ratchet" in dag["tags"], name
        assert dag["doc"].strip(), name
        assert dag["max_active_runs"] == 1, name
        assert not dag["catchup"], name
        for task in dag["tasks"].values():
            assert task["owner"] == "ratchet"
            if task["kind"] != "EmptyOperator":
                assert task["backoff"]
                # A search that has failed says why to whoever has asked for it.
                assert (task["retries"] >= 1) == (name != "search")


def test_schedules(dags):
    for name in MANIFEST["use_cases"]:
        assert dags[f"retrain_{name}"]["cron"] == "0 2 * * 0"
        assert dags[f"monitor_{name}"]["cron"] == "0 6 * * *"
        assert dags[f"retrain_{name}"]["deadline"]


def test_a_first_deployment_runs_nothing_of_the_past(dags):
    """Seen first on Wednesday 2026-11-25 at noon."""
    assert dags["retrain_films"]["first"] == "2026-11-29T02:00:00+00:00"
    assert dags["monitor_films"]["first"] == "2026-11-26T06:00:00+00:00"
    assert dags["replay"]["first"] is None


@pytest.mark.parametrize("name", MANIFEST["use_cases"])
def test_topology_of_a_retraining(dags, name):
    tasks = dags[f"retrain_{name}"]["tasks"]
    networks = [n for t in MANIFEST["use_cases"][name]["targets"].values() for n in t["networks"]]
    training = ["classical", *(["recurrent"] if networks else [])]

    def after(task: str) -> list[str]:
        return tasks[task]["downstream"]

    assert after("earlier_run") == ["land"]
    assert after("land") == ["new_rows"]
    assert after("new_rows") == ["dry_run", "hold_no_new_rows", "preprocess"]
    assert after("preprocess") == training
    assert {next_ for task in training for next_ in after(task)} == {"evaluate"}
    if "pricing" in MANIFEST["use_cases"][name]["phases"]:
        assert after("evaluate") == ["price"]
        assert after("price") == ["gate"]
    else:
        assert after("evaluate") == ["gate"]
    assert after("gate") == ["decide"]
    assert after("decide") == ["approve", "dry_run", "hold", "promote", "reject"]
    assert after("approve") == ["hold_not_approved", "promote"]
    for task in ("hold", "hold_not_approved", "promote", "reject"):
        assert after(task) == ["report"]
    assert after("report") == after("hold_no_new_rows") == ["status"]
    assert after("status") == after("dry_run") == ["close_run"]
    assert [task for task in tasks if tasks[task]["teardown"]] == ["close_run"]
    assert {task for task in tasks if tasks[task]["pool"] == "cores"} == set(training)


def test_only_a_promotion_or_a_rollback_gives_out_another_champion(dags):
    givers = {
        (dag, task)
        for dag, found in dags.items()
        for task, about in found["tasks"].items()
        if any(outlet.endswith(".champion") for outlet in about["outlets"])
    }

    names = MANIFEST["use_cases"]
    assert givers == {(f"retrain_{n}", "promote") for n in names} | {
        (f"monitor_{n}", "rolled_back") for n in names
    }


def test_parameters_are_typed(dags):
    params = dags["retrain_power"]["params"]

    assert set(params) == {
        *("as_of", "candidates", "dry_run", "reason", "require_approval", "strategy")
    }
    assert params["as_of"] == {"type": ["null", "string"], "format": "date"}
    assert params["dry_run"]["type"] == params["require_approval"]["type"] == "boolean"
    assert params["strategy"]["enum"] == [None, "grid", "random", "bayesian", "halving"]
    known = params["candidates"]["items"]["enum"]
    assert {"ridge", "recurrent"} <= set(known)
    assert "persistence" not in known
    assert "strategy" not in dags["retrain_films"]["params"]


def test_tasks_stand_in_the_project_and_not_where_airflow_was_started(dags):
    assert dags["retrain_films"]["tasks"]["gate"]["cwd"] == str(ROOT)


@pytest.mark.slow
def test_use_cases_runners_and_deadlines_come_from_the_manifest(
    look, draw_from, small_manifest, tmp_path
):
    changed = json.loads(json.dumps(small_manifest))
    changed["runner"] |= {
        "kind": "docker",
        "image": "ratchet:1",
        "volumes": ["/srv/data:/app/data"],
    }
    changed["use_cases"]["mine"] = {**changed["use_cases"].pop("films"), "title": "Mine"}
    changed["use_cases"]["mine"]["job"] |= {"retrain": None, "start_date": "2027-01-01"}

    found = look(draw_from(tmp_path, changed), STAND_INS="1")["dags"]

    assert set(found) == {
        *("retrain_mine", "monitor_mine", "retrain_power"),
        "monitor_power",
        *("replay", "search"),
    }
    assert found["retrain_mine"]["cron"] is None
    assert found["monitor_mine"]["first"] == "2027-01-01T06:00:00+00:00"
    assert not found["retrain_power"]["deadline"]
    gate = found["retrain_mine"]["tasks"]["gate"]
    assert gate["kind"] == "DockerOperator"
    given = gate["given"]
    assert given["image"] == "ratchet:1"
    assert given["mounts"] == [{"target": "/app/data", "source": "/srv/data", "type": "bind"}]
    assert given["environment"]["AIRFLOW_CTX_DAG_RUN_ID"] == "{{ run_id }}"
    assert given["command"][:2] == ["bash", "-c"]
    assert given["do_xcom_push"] is True
    recurrent = found["retrain_power"]["tasks"]["recurrent"]["given"]
    assert f"exit {recurrent['skip_on_exit_code']}" in recurrent["command"][2]


@pytest.mark.slow
def test_pods(look, draw_from, small_manifest, tmp_path):
    changed = json.loads(json.dumps(small_manifest))
    changed["runner"] |= {"kind": "kubernetes", "image": "ratchet:1", "namespace": "models"}

    tasks = look(draw_from(tmp_path, changed), STAND_INS="1")["dags"]["retrain_films"]["tasks"]

    given = tasks["gate"]["given"]
    assert given["namespace"] == "models"
    assert given["name"] == "gate"
    assert given["arguments"][0].startswith("cd /app && set -o pipefail; { ")
    assert given["arguments"][0].endswith(
        "; } | tee /tmp/output && tail -n 1 /tmp/output > /airflow/xcom/return.json"
    )
    assert given["skip_on_exit_code"] == 99
    assert "tee" not in tasks["classical"]["given"]["arguments"][0]
