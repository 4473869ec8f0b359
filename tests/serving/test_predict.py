"""POST /predict/{use_case}: what is answered, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

WEATHER = {"time": "2015-01-01T00:30:00", "temperature": 21.5, "workday": 1}


def test_a_row_gets_an_answer_with_version_time_and_id(stand, film):
    response = stand.post("/predict/films", film, headers={"x-request-id": "mine-1"})

    said = response.json()
    assert response.status_code == 200
    assert said["key"] == "7"
    assert said["model_version"] == "3"
    assert said["request_id"] == response.headers["x-request-id"] == "mine-1"
    assert said["predicted_at"].endswith("Z")
    assert said["predictions"]["success"] == {
        "value": "Bajo",
        "probability": 0.7,
        "probabilities": {"Alto": 0.1, "Medio": 0.2, "Bajo": 0.7},
    }
    assert said["predictions"]["rating"] == {
        "value": 3.5,
        "low": 2.5,
        "high": 4.25,
        "confidence": 0.9,
        "unit": "points of 5",
    }
    assert "certificate" in said["not_given"]
    assert "answer;dur=" in response.headers["server-timing"]


def test_the_answer_is_written_down_with_its_request_and_row(stand, film):
    stand.post("/predict/films", film, headers={"x-request-id": "mine-2"})

    (written,) = stand.log.written
    assert written.request.startswith("mine-2.")  # an id may come twice, and is another request
    assert written.rows == [film]
    assert [answer.key for answer in written.answers] == ["7"]
    assert written.serving.version == "3"
    assert written.latency_ms > 0


@pytest.mark.parametrize("wrap", [lambda rows: {"rows": rows}, lambda rows: rows])
def test_many_rows_get_as_many_answers_in_their_order(stand, film, wrap):
    rows = [{**film, "film": number} for number in (3, 1, 2)]

    said = stand.post("/predict/films", wrap(rows)).json()

    assert [answer["key"] for answer in said["answers"]] == ["3", "1", "2"]
    assert len(stand.log.written) == 1


def test_large_batches_are_answered_in_chunks_and_errors_count_from_the_first_row(make_stand, film):
    stand = make_stand(limits={"chunk_rows": 2})
    rows = [{**film, "film": number} for number in range(5)]
    rows[3]["runtime"] = "long"

    response = stand.post("/predict/films", rows)

    assert response.status_code == 422
    assert response.json()["errors"][0]["row"] == 3
    assert stand.log.written == []


def test_a_series_has_its_time_and_name(stand):
    said = stand.post("/predict/power", WEATHER).json()

    assert said["time"] == "2015-01-01T00:00:00Z"
    assert said["series"] == "power"
    assert said["predictions"]["demand"]["unit"] == "GW"


def _problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["type"] == f"urn:ratchet:{kind}"
    assert told["status"] == status
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["detail"]
    return dict(told)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"runtime": None}, "runtime"),
        ({"runtime": "long"}, "runtime"),
        ({"runtime": 2000}, "runtime"),
        ({"runtime": [95]}, "runtime"),
        ({"genres": {"Drama": 1}}, "genres"),
        ({"title": "\0"}, "title"),
        ({"released": "soon"}, "released"),
        ({"budget": 5}, "budget"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(stand, film, change, field):
    told = _problem(stand.post("/predict/films", {**film, **change}), 422, "invalid-rows")

    assert told["errors"][0]["row"] == 0
    assert told["errors"][0]["field"] == field
    assert told["detail"].startswith(f"row 0, {field}: ")


def test_what_may_come_is_a_conflict(stand):
    response = stand.post("/predict/power", {**WEATHER, "time": "2017-01-01T00:00:00"})

    told = _problem(response, 409, "conflict")
    assert "measurements are missing" in told["detail"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b'{"runtime": NaN}', 400, "malformed"),
        (b'{"runtime": Infinity}', 400, "malformed"),
        (b'{"runtime": 1e999}', 422, "invalid-rows"),
        (b'{"title": "\xff"}', 400, "malformed"),
        (b'{"title": "\\ud800"}', 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b'{"a":' * 50_000, 400, "malformed"),
        (b"3", 422, "invalid-rows"),
        (b"null", 422, "invalid-rows"),
        (b'"films"', 422, "invalid-rows"),
        (b"[]", 422, "invalid-rows"),
        (b'{"rows": []}', 422, "invalid-rows"),
        (b'{"rows": 3}', 422, "invalid-rows"),
        (b"[1]", 422, "invalid-rows"),
        (b'{"rows": [{}], "more": 1}', 422, "invalid-rows"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_body_that_holds_no_rows_is_refused(make_stand, body, status, kind):
    stand = make_stand(limits={"row_bytes": 1_000_000})
    headers = {"content-type": "application/json"}

    _problem(stand.ask("POST", "/predict/films", content=body, headers=headers), status, kind)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_types_are_refused(stand, film, kind):
    response = stand.ask(
        "POST", "/predict/films", content=json.dumps(film), headers={"content-type": kind}
    )

    _problem(response, 415, "media-type")


def test_a_row_that_is_too_large_is_refused(stand, film):
    response = stand.post("/predict/films", {**film, "title": "x" * 70_000})

    _problem(response, 413, "too-large")


def test_too_many_rows_are_refused(make_stand, film):
    stand = make_stand(limits={"batch_rows": 3})

    _problem(stand.post("/predict/films", [film] * 4), 413, "too-large")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(make_stand, declared):
    stand = make_stand(limits={"batch_bytes": 10_000})
    sent = []

    async def chunks() -> Any:
        for _ in range(100):
            sent.append(1)
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    if declared:
        headers["content-length"] = "100000"

    _problem(
        stand.ask("POST", "/predict/films", content=chunks(), headers=headers), 413, "too-large"
    )


def test_an_unknown_use_case_names_those_that_exist(stand, film):
    told = _problem(stand.post("/predict/filme", film), 404, "unknown-use-case")

    assert "films, power, prices" in told["detail"]


def test_a_use_case_without_a_champion_says_what_to_do(stand):
    response = stand.post("/predict/prices", {"date": "2024-01-01"})

    told = _problem(response, 503, "nothing-serves")
    assert "kedro run" in told["detail"]
    assert response.headers["retry-after"]


def test_a_full_queue_is_no_silence(stand, film):
    stand.log.full = True

    response = stand.post("/predict/films", film)

    _problem(response, 503, "busy")
    assert response.headers["retry-after"] == "1"


def test_a_model_that_fails_tells_nothing_of_itself(stand, film, caplog):
    def fail(rows: Any) -> Any:
        raise RuntimeError("weights in /srv/models/films.skops are broken")

    stand.films.answer = fail

    response = stand.post("/predict/films", film)

    told = _problem(response, 500, "failed")
    assert "skops" not in response.text
    assert "Traceback" not in response.text
    assert stand.log.errors == [told["request_id"]]
    assert "weights in /srv/models" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_a_failure(stand, film, value):
    from ratchet.compiled.answers import Answer, Prediction

    said = {"success": Prediction("Bajo", probabilities={"Bajo": 1.0}), "rating": Prediction(value)}
    stand.films.answer = lambda rows: [Answer("7", said)]

    _problem(stand.post("/predict/films", film), 500, "failed")


def test_a_version_that_is_not_compiled_is_waited_for(stand, film):
    answer = stand.films.answer

    async def slowly(rows: Any) -> Any:
        return answer(rows)

    stand.films.answer = slowly

    assert stand.post("/predict/films", film).status_code == 200


def test_messages_that_name_their_place_are_told_once(make_stand, film):
    from ratchet.compiled.answers import RequestError

    stand = make_stand(limits={"chunk_rows": 1})
    answer = stand.films.answer

    def refuse(rows: Any) -> Any:
        if rows[0]["film"] == 2:
            told = "row 0, field 'runtime': expected a finite number, got 'long'"
            raise RequestError(told, field="runtime", row=0)
        return answer(rows)

    stand.films.answer = refuse
    told = stand.post("/predict/films", [film, {**film, "film": 2}]).json()

    assert told["detail"] == "row 1, runtime: expected a finite number, got 'long'"
    assert told["errors"][0]["message"] == "expected a finite number, got 'long'"


def test_the_log_tells_requests_apart_by_their_idempotency_key(stand, film):
    for _ in range(2):
        stand.post("/predict/films", film, headers={"x-request-id": "a", "idempotency-key": "b"})
        stand.post("/predict/films", film, headers={"x-request-id": "a"})
    stand.post("/predict/films", {**film, "runtime": 96}, headers={"idempotency-key": "b"})

    requests = [written.request for written in stand.log.written]
    assert requests[0] == requests[2]
    assert requests[0].startswith("b.")
    assert len({*requests}) == 4


def test_a_batch_is_written_down_in_pieces(stand, film, monkeypatch):
    monkeypatch.setattr("ratchet.serving.answering._WRITTEN_AT_ONCE", 2)
    rows = [{**film, "film": number} for number in range(1, 6)]

    assert stand.post("/predict/films", rows).status_code == 200

    pieces = [[answer.key for answer in written.answers] for written in stand.log.written]
    assert pieces == [["1", "2"], ["3", "4"], ["5"]]
    assert len({written.request for written in stand.log.written}) == 1
    assert [list(written.rows) for written in stand.log.written] == [rows[:2], rows[2:4], rows[4:]]


@pytest.mark.parametrize("chunk", [1, 10])
def test_no_two_rows_of_a_request_have_one_key(make_stand, film, chunk):
    stand = make_stand(limits={"chunk_rows": chunk})

    told = stand.post("/predict/films", [film, {**film, "film": 8}, film]).json()

    assert told["status"] == 422
    assert told["errors"][0]["row"] == 2
    assert stand.log.written == []
