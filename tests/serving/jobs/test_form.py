"""What a browser sends without script becomes a job, or is told on the page."""

from __future__ import annotations

import pytest


def form(workshop, **fields):
    values = {"mode": "fast", "optimization_strategy": "grid", "use_case": "power"}
    values |= {"n_trials": "5", "lookback": "3", "horizon": "1", "model_ids": "1"} | fields
    return workshop.ask("POST", "/advanced-training", data=values)


def test_a_form_becomes_a_job(workshop):
    told = form(workshop, model_ids=["2", "1"])

    assert told.status_code == 303
    [job] = workshop.runner.store.newest()
    assert told.headers["location"] == f"/advanced-training?job={job.id}#job"
    assert job.request["model_ids"] == [1, 2]
    assert (job.request["lookback"], job.request["n_trials"]) == (3, 5)


@pytest.mark.parametrize(("horizon", "wanted"), [("", None), ("2", 2)])
def test_an_empty_horizon_is_that_of_the_use_case(workshop, horizon, wanted):
    assert form(workshop, horizon=horizon).status_code == 303

    [job] = workshop.runner.store.newest()
    assert job.request["horizon"] == wanted


def test_a_form_that_is_sent_twice_starts_one_search(workshop):
    first, second = form(workshop, form="a1"), form(workshop, form="a1")
    other = form(workshop, form="a1", lookback="4")

    assert first.headers["location"] == second.headers["location"]
    assert len(workshop.runner.store.newest()) == 2
    assert other.status_code == 303


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lookback": "0"}, "Lookback: expected greater"),
        ({"n_trials": "many"}, "Trials of each network: expected a valid integer"),
        ({"n_trials": "9" * 5000}, "Trials of each network: expected a valid integer"),
        ({"model_ids": ["9" * 5000]}, "Networks: "),
        ({"model_ids": []}, "Networks: "),
        ({"mode": "optimized", "n_trials": "500"}, "500 trials x 1 networks"),
        ({"use_case": "<b>"}, "there is no use case &#39;&lt;b&gt;&#39;"),
    ],
)
def test_what_is_wrong_with_a_form_is_told_on_the_page(workshop, fields, told):
    response = form(workshop, **fields)

    assert response.status_code in (404, 422)
    assert told in response.text
    assert 'role="alert"' in response.text
    assert workshop.runner.store.newest() == []


def test_pages_of_other_sites_start_nothing(workshop):
    told = workshop.ask(
        "POST",
        "/advanced-training",
        data={"mode": "fast"},
        headers={"origin": "http://elsewhere.example"},
    )

    assert told.status_code == 403


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 400), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"1" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused(workshop, body, kind, status):
    told = workshop.ask("POST", "/advanced-training", content=body, headers={"content-type": kind})

    assert told.status_code == status
