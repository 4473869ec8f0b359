"""A form that is made of the contract, and its answer: without a browser."""

from __future__ import annotations

import re

import pytest

from ratchet.config import Column
from ratchet.serving.routes.try_page import read_value

FORM = {
    "film": "7",
    "title": "A day",
    "runtime": "95",
    "released": "2012-06-08",
    "date": "2012-06-08",
    "year": "2012",
    "genres": "Drama, War",
    "countries": "USA",
    "month": "",
}


def test_the_form_has_the_fields_of_the_contract_and_an_example(stand):
    told = stand.ask("GET", "/try/films")

    assert told.status_code == 200
    names = re.findall(r'<input id="field-\d+" name="(\w+)"', told.text)
    assert names == list(stand.serving[0].inputs)
    assert 'name="runtime" type="number" value="95"' in told.text
    assert "a number from 1 to 1000" in told.text


def test_the_answer_has_classes_interval_and_version(stand):
    told = stand.ask("POST", "/try/films", data=FORM)

    assert told.status_code == 200
    assert re.search(r"Bajo\s+<span[^>]*>with a probability of 70.0 %", told.text)
    assert "Between 2.5 and 4.25 points of 5 (90 % prediction interval)" in told.text
    [asked] = stand.films.asked
    assert asked == {
        **{"film": 7, "title": "A day", "runtime": 95.0, "released": "2012-06-08"},
        **{"date": "2012-06-08", "year": 2012, "genres": ["Drama", "War"], "countries": ["USA"]},
    }
    assert len(stand.log.written) == 1  # as any request


def test_what_is_wrong_stands_at_its_field(stand):
    told = stand.ask("POST", "/try/films", data={**FORM, "runtime": "long <b>"})

    assert told.status_code == 422
    assert 'aria-invalid="true"' in told.text
    assert re.search(r'<p class="wrong" id="error-\d+">[^<]*\w', told.text)
    assert 'value="long &lt;b&gt;"' in told.text


def test_measurements_that_are_missing_are_told(stand):
    told = stand.ask("POST", "/try/power", data={"time": "2017-01-01T00:00", "workday": "1"})

    assert told.status_code == 409
    assert "There is no answer yet." in told.text
    assert "measurements are missing" in told.text


@pytest.mark.parametrize(("path", "status"), [("/try/nothing", 404), ("/try/prices", 503)])
def test_people_are_told_in_a_page_and_programs_in_json(stand, path, status):
    page = stand.ask("GET", path, headers={"accept": "text/html"})
    told = stand.ask("GET", path)

    assert (page.status_code, told.status_code) == (status, status)
    assert "<h1>" in page.text
    assert told.json()["status"] == status


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", " 1.5 ", 1.5),
        ("number", "nan", "nan"),
        ("number", "1e999", "1e999"),
        ("number", "x", "x"),
        ("integer", "12", 12),
        ("integer", "1.5", 1.5),
        ("string", " a ", "a"),
        ("list", "a, b,,", ["a", "b"]),
        ("date", "2020-01-31", "2020-01-31"),
    ],
)
def test_a_text_becomes_what_json_would_have(kind, text, value):
    found = read_value(Column(type=kind), text)

    assert (found, type(found)) == (value, type(value))
