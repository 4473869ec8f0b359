"""Films, load, measurements and truth, health, metrics, and what serves."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.serving.routes.films import released

CLIENT_FILM = {"minute": 117, "date": "2012-06-08", "genres": ["Drama"], "countries": ["USA"]}
WEATHER = {
    "Temperature": 14.2,
    "Humidity": 71.5,
    "WindSpeed": 0.083,
    "GeneralDiffuseFlows": 0.07,
    "DiffuseFlows": 0.085,
    "Timestamp": "2015-01-01T00:30:00",
}


def test_a_film_gets_its_success_level(stand):
    said = stand.post("/predict/classification", CLIENT_FILM).json()

    assert (said["success_level"], said["probability"]) == ("Bajo", 0.7)
    assert said["probabilities"] == {"Alto": 0.1, "Medio": 0.2, "Bajo": 0.7}
    assert said["model_version"] == "3"
    assert "director" in said["not_given"]
    (row,) = stand.films.asked
    assert row["runtime"] == 117
    assert (row["released"], row["year"], row["month"]) == ("2012-06-08", 2012, 6)


def test_a_film_gets_its_rating(stand):
    film = {"runtime": 90, **CLIENT_FILM, "film": 12}
    del film["minute"]

    said = stand.post("/predict/regression", film).json()

    assert (said["rating"], said["low"], said["high"]) == (3.5, 2.5, 4.25)
    assert said["confidence"] == 0.9
    assert said["key"] == "12"


def test_films_without_a_number_get_different_keys(stand):
    keys = {stand.post("/predict/regression", CLIENT_FILM).json()["key"] for _ in range(3)}

    assert len(keys) == 3
    assert all(int(key) < 0 for key in keys)


@pytest.mark.parametrize(
    ("text", "start", "end", "month"),
    [
        ("2012-06-08", "2012-06-08", "2012-06-08", 6),
        ("2012-02", "2012-02-01", "2012-02-29", 2),
        ("2012-01", "2012-01-01", "2012-01-31", 1),
        ("2012", "2012-01-01", "2012-12-31", None),
        ("2012-01-01", "2012-01-01", "2012-12-31", None),  # as in the data: the year alone
    ],
)
def test_a_date_says_as_much_as_is_known(text, start, end, month):
    assert released(text) == {"released": start, "date": end, "year": 2012, "month": month}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"date": "2012-02-30"}, "date"),
        ({"date": "soon"}, "date"),
        ({"date": "1700"}, "date"),
        ({"genres": []}, "genres"),
        ({"genres": "Drama"}, "genres"),
        ({"countries": ["x" * 201]}, "countries.0"),
        ({"minute": "long"}, "minute"),
        ({"minute": 0}, "minute"),
        ({"budget": 1}, "budget"),
        ({"film": -3}, "film"),
    ],
    ids=str,
)
def test_a_bad_field_of_a_film_is_named(stand, change, field):
    response = stand.post("/predict/classification", {**CLIENT_FILM, **change})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"minutes": 90}, "there is no such field; is 'minute' meant?"),
        ({"minute": "117"}, "expected a valid number, got '117'"),
        ({"minute": True}, "expected a valid number, got true"),
        ({"countries": None}, "expected a valid list, got null"),
        ({"countries": ["x"] * 65}, "expected at most 64 items"),
        ({"genres": []}, "expected at least 1 item"),
        ({"genres": [""]}, "expected at least 1 character, got ''"),
        (
            {"genres": "Drama"},
            "expected a list, in brackets, got 'Drama'",
        ),
        ({"date": "08.06.1984"}, "such as 2012-06-08, got '08.06.1984'"),
    ],
)
def test_a_bad_field_of_a_film_is_told_with_what_was_found(stand, change, said):
    told = stand.post("/predict/classification", {**CLIENT_FILM, **change}).json()

    assert said in told["errors"][0]["message"]


def test_a_missing_field_is_told(stand):
    told = stand.post("/predict/regression", {"minute": 90, "genres": ["War"], "countries": []})

    assert told.json()["detail"] == "date: expected a value; it is missing"


@pytest.mark.parametrize("minutes", [{}, {"minute": 90, "runtime": 90}])
def test_the_running_time_is_given_once(stand, minutes):
    film = {name: value for name, value in CLIENT_FILM.items() if name != "minute"}

    response = stand.post("/predict/classification", {**film, **minutes})

    assert response.status_code == 422
    assert "as minute or as runtime" in response.json()["detail"]


def test_errors_of_the_contract_name_the_field_of_the_client(stand):
    from ratchet.compiled.answers import RequestError

    def refuse(rows):
        raise RequestError("'runtime' is out of range", field="runtime")

    stand.films.answer = refuse

    told = stand.post("/predict/classification", CLIENT_FILM).json()

    assert told["errors"] == [{"row": 0, "field": "minute", "message": "'minute' is out of range"}]


def test_a_moment_gets_its_load_and_says_which_file_it_is_from(stand):
    said = stand.post("/predict", WEATHER).json()

    assert said["predicted_power_consumption_zone2"] == 3.5
    assert said["model_version"] == "3"
    assert said["prediction_timestamp"].endswith("Z")
    assert said["is_zone2_of_tetouan"] is False
    assert said["data"] == "Electric load"
    assert said["not_used"] == ["Humidity", "WindSpeed", "GeneralDiffuseFlows", "DiffuseFlows"]
    assert said["input_features"] == {
        **WEATHER,
        "Day": 1,
        "Month": 1,
        "Hour": 0,
        "Minute": 30,
        "DayWeek": 3,
        "QuarterYear": 1,
        "DayYear": 1,
    }
    (row,) = stand.serving[1].answerer.asked
    assert row == {"time": "2015-01-01T00:30:00", "temperature": 14.2, "workday": 1}
    assert "step" not in said


def test_a_moment_of_a_path_says_as_which_step_it_was_answered(stand):
    answerer = stand.serving[1].answerer
    answer = answerer.answer
    answerer.answer = lambda rows: [replace(one, step=2) for one in answer(rows)]

    assert stand.post("/predict", WEATHER).json()["step"] == 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Humidity": 300}, 422),
        ({"Temperature": None}, 422),
        ({"Timestamp": "never"}, 422),
        ({"Timestamp": 1514764800}, 422),
        ({"Timestamp": "1514764800"}, 422),
        ({"Wind": 1}, 422),
        ({"Timestamp": "2100-01-01T00:00:00"}, 409),
    ],
    ids=str,
)
def test_a_moment_that_cannot_be_answered_names_the_field(stand, change, status):
    response = stand.post("/predict", {**WEATHER, **change})

    assert response.status_code == status
    if status == 422:
        assert response.json()["errors"][0]["field"] == next(iter(change))


def test_without_measurements_a_moment_is_answered_by_its_weather(stand):
    from ratchet.compiled.answers import Answer, Prediction

    ruled = stand.serving[1].answerer

    class Fallback:
        def answer(self, rows):
            if rows[0]["time"] < "2016":
                return ruled.answer(rows)
            said = Prediction(4.5, 1.0, 8.0)
            (target,) = stand.serving[1].use_case.targets
            return [Answer("demand@then", {target: said}, basis="weather") for _ in rows]

    far = {**WEATHER, "Timestamp": "2100-01-01T00:00:00"}
    ruled.with_fallback = lambda: None
    assert stand.post("/predict", far).status_code == 409
    ruled.with_fallback = Fallback
    row = {"time": "2100-01-01T00:00:00", "temperature": 14.2, "workday": 1}

    assert stand.post("/predict/power", row).json()["basis"] == "weather"
    assert stand.post("/predict/power?past=required", row).status_code == 409
    assert stand.post("/predict/power?past=never", row).status_code == 422

    said = stand.post("/predict", far).json()

    assert said["predicted_power_consumption_zone2"] == 4.5
    assert (said["low"], said["high"], said["basis"]) == (1.0, 8.0, "weather")
    assert stand.post("/predict", WEATHER).json()["basis"] is None


def test_measurements_are_taken_once(stand):
    rows = [{"time": "2015-01-01T00:00:00", "demand": 4.1}]

    first = stand.post("/observe/power", {"rows": rows}).json()
    second = stand.post("/observe/power", {"rows": rows}).json()

    assert (first["new"], first["same"]) == (1, 0)
    assert (second["new"], second["same"]) == (0, 1)
    assert stand.measurements.rows == rows


def test_a_measurement_that_breaks_the_contract_is_named(stand):
    response = stand.post("/observe/power", [{"time": "2015"}, {"refuse": 1}])

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"row": 1, "field": "refuse", "message": "cannot be taken"}
    ]


def test_truth_is_taken(stand):
    said = stand.post("/truth/films", {"key": "7", "rating": 3.5}).json()

    assert said["new"] == 1
    assert stand.truths.rows == [{"key": "7", "rating": 3.5}]


def test_the_same_idempotency_key_gets_the_same_response(stand):
    headers = {"idempotency-key": "once"}

    first = stand.post("/truth/films", {"key": "7", "rating": 3.5}, headers=headers)
    again = stand.post("/truth/films", {"key": "7", "rating": 3.5}, headers=headers)
    other = stand.post("/truth/films", {"key": "8", "rating": 3.5}, headers=headers)

    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(stand.truths.actors) == 1
    assert other.status_code == 422


def test_what_has_failed_may_be_sent_again_with_the_same_key(stand):
    headers = {"idempotency-key": "twice"}
    store = stand.truths.take

    async def fail(*_):
        raise RuntimeError

    stand.truths.take = fail
    assert (
        stand.post("/truth/films", {"key": "7", "rating": 3.5}, headers=headers).status_code == 500
    )
    stand.truths.take = store

    assert (
        stand.post("/truth/films", {"key": "7", "rating": 3.5}, headers=headers).status_code == 200
    )


def test_health_says_what_serves(stand):
    response = stand.ask("GET", "/health")

    said = response.json()
    assert response.status_code == 200
    assert (said["status"], said["ready"]) == ("ok", True)
    assert said["use_cases"]["films"]["model_version"] == "3"
    assert said["use_cases"]["films"]["trained_until"] == "2014-12-31T00:00:00Z"
    assert said["use_cases"]["films"]["age_seconds"] > 0
    assert stand.ask("GET", "/health/live").status_code == 200
    assert stand.ask("GET", "/health/ready").json()["ready"] is True


def test_health_is_degraded_where_a_version_is_not_compiled(stand):
    from dataclasses import replace

    stand.models._champions["films"] = replace(stand.serving[0], degraded="no rule for a kernel")

    said = stand.ask("GET", "/health").json()

    assert (said["status"], said["ready"], said["degraded"]) == ("degraded", True, ["films"])
    assert said["use_cases"]["films"]["degraded"] == "no rule for a kernel"


def test_a_champion_that_does_not_open_is_not_ready(stand):
    stand.models._troubles["prices"] = "version 2 does not open"

    response = stand.ask("GET", "/health/ready")

    assert response.status_code == 503
    assert response.json()["problems"] == {"prices": "version 2 does not open"}
    assert "version 2 does not open" in stand.post("/predict/prices", {}).json()["detail"]


def test_reasons_are_for_whoever_runs_the_service(stand, film):
    from dataclasses import replace

    stand.models._troubles["prices"] = "version 2 does not open: /srv/bundles/x/encoder.skops"
    stand.models._champions["films"] = replace(stand.serving[0], degraded="KernelRidge of sklearn")

    for path in ("/", "/health", "/health/ready"):
        assert "skops" in stand.ask("GET", path).text
        told = stand.ask("GET", path, address="192.0.2.7").text
        assert "version 2 does not open" in told
        assert "skops" not in told
        assert "KernelRidge" not in told
    assert "skops" not in stand.post("/predict/prices", {}).text


def test_home_is_json_for_programs_and_a_page_for_people(stand):
    said = stand.ask("GET", "/").json()
    page = stand.ask("GET", "/", headers={"accept": "text/html,*/*"})

    films, power, prices = said["use_cases"]
    assert films["serves"]["model_version"] == "3"
    assert films["targets"][0]["classes"] == ["Alto", "Medio", "Bajo"]
    assert power["targets"][0]["unit"] == "GW"
    assert prices["serves"] is None
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /predict/films" in page.text
    assert '<a href="/try/films">films</a>' in page.text


def test_metrics_count_requests_rows_classes_and_versions(stand, film):
    stand.post("/predict/films", [film, {**film, "film": 8}])
    stand.post("/predict/films", {})
    stand.ask("GET", "/nowhere")

    told = stand.ask("GET", "/metrics").text

    for line in (
        'ratchet_requests_total{method="POST",route="/predict/{use_case}",status="200"} 1.0',
        'ratchet_requests_total{method="POST",route="/predict/{use_case}",status="422"} 1.0',
        'ratchet_requests_total{method="GET",route="none",status="404"} 1.0',
        'ratchet_rows_total{use_case="films",version="3"} 2.0',
        'ratchet_predicted_classes_total{label="Bajo",target="success",use_case="films",'
        'version="3"} 2.0',
        'ratchet_predicted_values_sum{target="rating",use_case="films"} 7.0',
        'ratchet_refused_total{use_case="films"} 1.0',
        'ratchet_model_info{digest="000300030003",use_case="films",version="3"} 1.0',
        'ratchet_model_since_timestamp_seconds{use_case="films",version="3"} 1.7934912e+09',
        "ratchet_log_waiting_rows 1.0",
    ):
        assert line in told
    assert 'ratchet_answer_seconds_bucket{le="0.005",use_case="films"}' in told
    assert "_created" not in told


def test_metrics_of_several_workers_are_not_behind_one_port(make_stand):
    stand = make_stand(workers=2)

    response = stand.ask("GET", "/metrics")

    assert response.status_code == 404
    assert "9464, 9465" in response.json()["detail"]


def test_models_info_lists_thirty_networks_by_family(stand):
    said = stand.ask("GET", "/models-info").json()

    assert said["total"] == 30
    ids = [each["id"] for family in said["families"] for each in family["architectures"]]
    assert ids == list(range(1, 31))
    assert len(said["families"]) == 6
    assert len(said["activations"]) == 15


def test_the_pages_of_the_api_need_nothing_from_elsewhere(stand):
    for path in ("/docs", "/redoc", "/"):
        response = stand.ask("GET", path, headers={"accept": "text/html"})
        assert response.status_code == 200
        assert "http://" not in response.text
        assert "https://" not in response.text
        for script in re.findall(r"<script[^>]*>", response.text):
            assert "src=" in script
        for source in re.findall(r'(?:src|href)="(/static[^"]+)"', response.text):
            assert stand.ask("GET", source).status_code == 200, source
        assert "script-src 'self';" in response.headers["content-security-policy"]


def test_openapi_shows_the_fields_of_the_contract(stand):
    described = stand.ask("GET", "/openapi.json").json()

    paths, schemas = described["paths"], described["components"]["schemas"]
    body = paths["/predict/films"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["anyOf"][0] == {"$ref": "#/components/schemas/films.row"}
    row = schemas["films.row"]
    assert row["properties"]["runtime"] == {"type": "number", "minimum": 1, "maximum": 1000}
    assert row["properties"]["certificate"]["type"] == ["string", "null"]
    assert row["properties"]["released"]["description"].startswith("a date or time")
    assert row["examples"][0]["title"] == "A day"
    assert "runtime" in row["required"]
    assert "certificate" not in row["required"]
    assert "rating" not in row["properties"]
    told = json.dumps(paths["/predict/films"])
    assert "Alto" in told
    assert "points of 5" in told
    assert "/observe/films" not in paths  # rows that are no series have no measurements
    assert "demand" in schemas["power.measurement"]["properties"]
    assert schemas["films.truth"]["properties"]["rating"]["maximum"] == 5
    assert "/predict/prices" not in paths


def test_openapi_follows_a_new_contract(stand):
    from dataclasses import replace

    before = stand.ask("GET", "/openapi.json").json()
    inputs = {name: False for name in stand.serving[0].inputs if name != "month"}
    stand.models._champions["films"] = replace(stand.serving[0], inputs=inputs, digest="1" * 64)

    after = stand.ask("GET", "/openapi.json").json()

    assert "month" in before["components"]["schemas"]["films.row"]["properties"]
    assert "month" not in after["components"]["schemas"]["films.row"]["properties"]


def test_files_of_the_code_are_not_served(stand):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert stand.ask("GET", path).status_code == 404


def test_monitors_may_ask_how_the_service_is_by_head(stand):
    for path in ("/health", "/health/live", "/health/ready"):
        assert stand.ask("HEAD", path).status_code == stand.ask("GET", path).status_code == 200
    assert "head" not in stand.ask("GET", "/openapi.json").json()["paths"]["/health"]


def test_what_is_nowhere_is_a_problem(stand):
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/predict/films", 405)):
        response = stand.ask(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


def test_the_shipped_list_is_where_the_package_says() -> None:
    from ratchet.serving.jobs.specification import ARCHITECTURES

    assert (Path(__file__).parents[2] / "src" / "ratchet" / ARCHITECTURES).is_file()


def test_all_that_is_wrong_with_a_row_is_told_at_once(stand, film):
    from ratchet.compiled.answers import RequestError

    def refuse(rows):
        first, second = (
            RequestError(f"row 0, field '{x}': {x}!", field=x) for x in ("year", "film")
        )
        first.others = [second]
        raise first

    stand.films.answer = refuse

    told = stand.post("/predict/films", film).json()

    assert told["detail"] == "row 0, year: year! (and 1 more)"
    assert [(each["field"], each["message"]) for each in told["errors"]] == [
        ("year", "year!"),
        ("film", "film!"),
    ]
