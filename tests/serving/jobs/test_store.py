"""Jobs are kept once, and change their state from one to the next only."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.serving.jobs.store import JobStore, ReusedKeyError

FAST = {"mode": "fast", "model_ids": [1]}


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")


def test_a_job_goes_from_waiting_to_its_end(store):
    job, new = store.add(FAST, "ann")

    assert (new, job.status, job.request, job.actor) == (True, "queued", FAST, "ann")
    assert store.start(job.id, "here")
    assert not store.start(job.id, "here")  # somebody else was faster
    store.note_process(job.id, 42, "7")
    [running] = store.running()
    assert (running.pid, running.pid_started, running.host) == (42, "7", "here")
    assert store.end(job.id, "completed", result={"winner": 1})
    assert not store.end(job.id, "failed", error="too late")
    done = store.get(job.id)
    assert (done.status, done.result, done.error) == ("completed", {"winner": 1}, None)
    assert done.created_at <= done.started_at <= done.ended_at


def test_another_process_sees_the_same_jobs(store, tmp_path):
    job, _ = store.add(FAST, None)

    other = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")

    assert [each.id for each in other.waiting()] == [job.id]


@pytest.mark.parametrize("actor", ["ann", None])
def test_the_same_key_is_the_same_job(store, actor):
    first, _ = store.add(FAST, actor, "k")

    again, new = store.add(FAST, actor, "k")
    other, _ = store.add(FAST, "bob", "k")

    assert (again.id, new) == (first.id, False)
    assert other.id != first.id
    with pytest.raises(ReusedKeyError):
        store.add({"mode": "optimized"}, actor, "k")


def test_jobs_without_a_key_are_jobs_of_their_own(store):
    ids = [store.add(FAST, None)[0].id for _ in range(3)]

    assert [each.id for each in store.newest()] == ids[::-1]
    assert [each.id for each in store.waiting()] == ids
    assert [each.id for each in store.newest(1)] == ids[-1:]


def test_one_that_waits_is_cancelled_at_once_and_one_that_runs_is_asked_to_end(store):
    waiting, running = (store.add(FAST, None)[0] for _ in range(2))
    store.start(running.id, "here")

    for job in (waiting, running):
        store.cancel(job.id)

    assert store.get(waiting.id).status == "cancelled"
    asked = store.get(running.id)
    assert (asked.status, asked.cancel_requested) == ("running", True)


def test_what_is_not_there_is_none(store):
    assert store.get("x") is None
