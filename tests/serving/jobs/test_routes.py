"""Searches over HTTP: taken, followed, told, cancelled."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from unittest.mock import Mock

import httpx
import pytest
import sqlalchemy as sa

from ratchet.serving.jobs.specification import FAILURE, SEARCHED
from tests.serving.jobs.conftest import FOUND


def events(text: str) -> list[dict[str, str]]:
    """Events of a stream: the fields of each."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(re.findall(r"^(\w+): (.*)$", block, re.MULTILINE)) for block in blocks]


@pytest.mark.parametrize("path", ["/train-advanced", "/api/train-advanced"])
def test_a_search_is_taken_and_told_when_it_is_done(workshop, path):
    told = workshop.post(path, {"mode": "fast", "model_ids": [6, 1], "use_case": "power"})

    assert told.status_code == 202
    job = told.json()["job_id"]
    assert told.headers["location"] == f"/jobs/{job}"
    assert told.json()["status"] == "queued"
    assert told.json()["request"] == {
        "mode": "fast",
        "model_ids": [1, 6],
        "optimization_strategy": "bayesian",
        "n_trials": 20,
        "lookback": 60,
        "horizon": None,
        "use_case": "power",
    }
    workshop.runner.once()
    workshop.processes[0].trial(1, 2, 0.5)
    state = workshop.ask("GET", f"/jobs/{job}").json()
    assert (state["status"], state["progress"]["stage"]) == ("running", "search")
    assert state["progress"]["trials"]["done"] == 1
    workshop.processes[0].finish()
    workshop.runner.once()
    done = workshop.ask("GET", f"/jobs/{job}").json()
    assert (done["status"], done["mode"], done["total_models"]) == ("completed", "fast", 2)
    assert done["winner"] == {"model_id": 6, "model_name": "gru", "rmse": 3.25}
    assert [each["model_id"] for each in done["results"]] == [6, 1]
    assert done["challenger"]["registered"] is False
    assert [each["job_id"] for each in workshop.ask("GET", "/jobs").json()["jobs"]] == [job]


@pytest.mark.parametrize(
    ("wanted", "field", "told"),
    [
        ({"mode": "slow"}, "mode", "fast"),
        ({"model_ids": [31]}, "model_ids", "1 to 30"),
        ({"model_ids": [0]}, "model_ids.0", "greater"),
        ({"model_ids": []}, "model_ids", "at least 1"),
        ({"model_ids": ["1"]}, "model_ids.0", "integer"),
        ({"optimization_strategy": "luck"}, "optimization_strategy", "grid"),
        ({"n_trials": 0}, "n_trials", "greater"),
        ({"n_trials": 2.5}, "n_trials", "integer"),
        ({"lookback": 10**9}, "lookback", "1000"),
        ({"surprise": 1}, "surprise", "no such field"),
        (
            {"mode": "optimized", "n_trials": 20, "use_case": "power"},
            "n_trials",
            "20 trials x 30 networks are 600 trials; one search may have 100",
        ),
        ({"use_case": "films"}, "use_case", "no series"),
    ],
)
def test_what_cannot_be_searched_is_told_by_field(workshop, wanted, field, told):
    response = workshop.post("/train-advanced", wanted)

    assert response.status_code == 422
    [problem] = response.json()["errors"]
    assert problem["field"] == field
    assert told in problem["message"]


def test_of_very_many_fields_the_first_wrong_ones_are_told(workshop):
    response = workshop.post("/train-advanced", {f"field {n}": 0 for n in range(3_000)})

    assert response.status_code == 422
    assert len(response.json()["errors"]) == 100
    assert "(and 2999 more)" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/jobs"), ("GET", "/jobs/a"), ("DELETE", "/jobs/a"), ("GET", "/advanced-training")],
)
def test_while_the_database_is_locked_a_client_is_told_to_come_again(
    workshop, monkeypatch, method, path
):
    locked = sa.exc.OperationalError("SELECT", {}, Exception("database is locked"))
    monkeypatch.setattr(sa.Engine, "begin", Mock(side_effect=locked))

    response = workshop.ask(method, path)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert "locked" not in response.text


def test_an_unknown_use_case_is_a_404_that_names_the_others(workshop):
    response = workshop.post("/train-advanced", {"use_case": "weather"})

    assert response.status_code == 404
    assert "films, power, prices" in response.json()["detail"]


def test_the_same_key_is_the_same_job(workshop):
    headers = {"idempotency-key": "k"}
    body = {"mode": "fast", "use_case": "power"}

    first, again = (workshop.post("/train-advanced", body, headers=headers) for _ in range(2))
    other = workshop.post("/train-advanced", {**body, "lookback": 3}, headers=headers)

    assert first.json()["job_id"] == again.json()["job_id"]
    assert other.status_code == 422
    assert len(workshop.ask("GET", "/jobs").json()["jobs"]) == 1


def test_a_client_can_wait(workshop):
    async def both() -> object:
        async with workshop.stand.client() as client:
            body = {"mode": "fast", "use_case": "power"}
            waiting = asyncio.create_task(client.post("/train-advanced?wait=1", json=body))
            while not workshop.processes:
                await asyncio.sleep(0.02)
                workshop.runner.once()
            assert not waiting.done()
            workshop.processes[0].finish()
            workshop.runner.once()
            return await waiting

    told = asyncio.run(both())

    assert told.status_code == 200
    assert told.json()["winner"]["model_id"] == 6


def test_one_who_waits_and_goes_away_leaves_the_job_running_and_no_task(workshop, serve):
    with serve(workshop.stand.app) as address:
        body = {"mode": "fast", "use_case": "power"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/train-advanced?wait=1", json=body, timeout=1.5)
        [job] = httpx.get(f"{address}/jobs").json()["jobs"]
        until = time.monotonic() + 10
        while _is_waited_for() and time.monotonic() < until:
            time.sleep(0.1)

    assert job["status"] == "running"
    assert not _is_waited_for()


def _is_waited_for() -> bool:
    """Whether a request still waits for the end of a job."""
    import gc

    return any(
        getattr(each, "cr_frame", None) is not None
        for each in gc.get_objects()
        if inspect.iscoroutine(each) and each.__name__ == "until_ended"
    )


def test_of_two_who_ask_at_once_each_gets_a_job_and_one_of_them_runs(workshop):
    body = {"mode": "fast", "use_case": "power"}

    async def both() -> list[str]:
        async with workshop.stand.client() as client:
            found = await asyncio.gather(
                *(client.post("/train-advanced", json=body) for _ in range(2))
            )
        return [each.json()["job_id"] for each in found]

    jobs = asyncio.run(both())
    for _ in range(2):
        workshop.runner.once()

    states = {workshop.ask("GET", f"/jobs/{job}").json()["status"] for job in jobs}
    assert states == {"running", "queued"}
    assert len(workshop.processes) == 1


def test_the_page_shows_why_a_job_waits_and_what_was_found_before_one_failed(workshop):
    job, process = workshop.started()
    (process.folder / SEARCHED).write_text(json.dumps(FOUND))
    (process.folder / FAILURE).write_text(json.dumps({"error": "no room on the disk"}))
    process.alive = False
    workshop.runner.once()
    waits, _ = workshop.runner.store.add(workshop.runner.store.get(job).request, None)
    workshop.runner.store.start(waits.id, "here")
    workshop.runner.store.wait_again(waits.id, "Airflow does not answer")

    failed, waiting = (
        workshop.ask("GET", f"/advanced-training?job={each}").text for each in (job, waits.id)
    )
    told = workshop.ask("GET", f"/jobs/{job}").json()

    assert "The search has failed: no room on the disk" in failed
    assert "Winner: gru" in failed
    assert "The search waits: Airflow does not answer" in waiting
    assert (told["status"], told["winner"]["model_name"]) == ("failed", "gru")


def test_of_two_with_one_key_at_once_one_job_comes(workshop):
    body, headers = {"mode": "fast", "use_case": "power"}, {"idempotency-key": "k"}

    async def both() -> set[str]:
        async with workshop.stand.client() as client:
            found = await asyncio.gather(
                *(client.post("/train-advanced", json=body, headers=headers) for _ in range(4))
            )
        return {each.json()["job_id"] for each in found}

    assert len(asyncio.run(both())) == 1


def test_one_that_has_ended_stays_as_it_is_when_it_is_cancelled(workshop):
    job, process = workshop.started()
    process.finish()
    workshop.runner.once()

    told = [workshop.ask("DELETE", f"/jobs/{job}") for _ in range(2)]

    assert [(each.status_code, each.json()["status"]) for each in told] == [(200, "completed")] * 2


def test_one_that_runs_is_cancelled(workshop):
    job, _ = workshop.started()

    asked = workshop.ask("DELETE", f"/jobs/{job}")
    workshop.runner.once()
    workshop.runner.once()

    assert asked.status_code == 202
    again = workshop.ask("DELETE", f"/jobs/{job}")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_events_end_with_the_job_and_go_on_after_any_of_them(workshop):
    job, process = workshop.started()
    process.trial(1, 2, 0.5)
    process.trial(2, 2, 0.25)
    process.finish()
    workshop.runner.once()

    told = workshop.ask("GET", f"/jobs/{job}/events")
    found = events(told.text)
    later = workshop.ask("GET", f"/jobs/{job}/events", headers={"last-event-id": found[1]["id"]})

    assert told.headers["content-type"].startswith("text/event-stream")
    assert [each["event"] for each in found] == ["stage", "trial", "trial", "end"]
    assert json.loads(found[2]["data"])["best"] == 0.25
    assert json.loads(found[3]["data"]) == {"job_id": job, "status": "completed"}
    assert events(later.text) == found[2:]


def test_events_come_while_the_job_runs(workshop):
    job, process = workshop.started()

    async def run() -> str:
        async with workshop.stand.client() as client:
            following = asyncio.create_task(client.get(f"/jobs/{job}/events"))
            await asyncio.sleep(0.2)
            process.trial(1, 1, 0.5)
            await asyncio.sleep(0.2)
            process.finish()
            workshop.runner.once()
            return (await following).text

    found = events(asyncio.run(run()))

    assert [each["event"] for each in found] == ["stage", "status", "trial", "end"]


def test_streams_end_when_the_service_does(workshop):
    job, _ = workshop.started()

    async def run() -> str:
        async with workshop.stand.client() as client:
            following = asyncio.create_task(client.get(f"/jobs/{job}/events"))
            await asyncio.sleep(0.2)
            workshop.stand.app.state.stopping.set()
            async with asyncio.timeout(5):
                return (await following).text

    assert [each["event"] for each in events(asyncio.run(run()))] == ["stage", "status"]


@pytest.mark.parametrize("path", ["/jobs/x", "/jobs/x/events"])
def test_a_job_that_is_not_there_is_a_404(workshop, path):
    assert workshop.ask("GET", path).status_code == 404


@pytest.mark.parametrize("given", ["-1", "x", "9" * 20, "٣"])
def test_a_position_that_is_none_is_refused(workshop, given):
    job, _ = workshop.started()

    headers = {"last-event-id": given.encode()}
    told = workshop.ask("GET", f"/jobs/{job}/events", headers=headers)

    assert told.status_code == 422


def test_a_key_for_something_else_does_not_train(workshop):
    from ratchet.serving.keys import add_key

    token = add_key(workshop.stand.settings.keys_file, "ann", ["predict"])
    trainer = add_key(workshop.stand.settings.keys_file, "bob", ["train"])
    workshop.stand.app.state.service.keys._looked = -10.0

    def ask(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        body = {"mode": "fast", "use_case": "power"}
        return workshop.post("/train-advanced", body, headers=headers).status_code

    assert (ask(token), ask(trainer)) == (403, 202)
    assert workshop.runner.store.newest()[0].actor == "bob"
