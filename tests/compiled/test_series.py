"""A compiled version of series answers as its bundle does, and goes on with what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.compiled.answers import RequestError
from ratchet.compiled.bundle import check_golden, compile_bundle
from ratchet.compiled.series import SeriesAnswerer
from ratchet.compiled.steps import Steps
from ratchet.compiled.store import dumps, loads
from ratchet.learning.classical import build
from ratchet.params import UseCase
from ratchet.pipelines.finishing import finish
from ratchet.pipelines.preprocessing.nodes import encode_features
from ratchet.pipelines.preprocessing.series import build_windows, select_series
from ratchet.pipelines.terms import learning_rows
from ratchet.preparation import typed_rows
from ratchet.release.bundle import open_bundle
from ratchet.release.contents import Contents
from ratchet.release.reading import Bundle
from ratchet.release.without_past import columns_of_the_row, fit_without_past
from ratchet.release.writing import write_bundle

POWER = "ratchet.use_cases.power."
NAIVE = {name: {"estimator": name} for name in ("persistence", "seasonal")}


def parameters(**changes: Any) -> dict[str, Any]:
    """Hourly load with warmth that is known ahead, seen two steps ahead."""
    found: dict[str, Any] = {
        "about": dict.fromkeys(("title", "question", "source"), "-"),
        "data": {
            "time": "at",
            "columns": {
                "at": {"type": "date", "timezone": "Europe/Berlin"},
                "load": {"type": "number", "nullable": True, "low": 0},
                "warmth": {"type": "number", "nullable": True, "low": -60, "high": 60},
            },
            "series": {"frequency": "h", "season": 24},
            "calendar": ["hour", "dayofweek"],
            "derive": {
                "before": {
                    "function": f"{POWER}earlier",
                    "arguments": {"column": "warmth", "steps": 3},
                },
                "kind": {
                    "function": f"{POWER}together",
                    "arguments": {"columns": ["hour", "dayofweek"]},
                },
            },
        },
        "features": {
            "numeric": ["warmth", "before"],
            "cyclic": {"hour": 24},
            "categorical": ["kind", "dayofweek"],
            "min_count": 1,
            "windows": {
                "lookback": 3,
                "horizon": 2,
                "past": {"load": "value"},
                "known": ["warmth", "hour"],
                "lags": [5],
                "rolling": [4],
            },
        },
        "targets": {
            "demand": {
                "column": "load",
                "task": "forecasting",
                "bounds": [0, float("inf")],
                "baseline": "seasonal",
                "candidates": {**NAIVE, "ridge": {"estimator": "ridge"}},
            }
        },
    }
    for part, values in changes.items():
        found[part] = {**found[part], **values}
    return found


def shops() -> dict[str, Any]:
    """Daily sales of several shops, of which only the day is known ahead."""
    data = {
        "time": "day",
        "columns": {
            "day": {"type": "date"},
            "shop": {"type": "string"},
            "load": {"type": "number", "low": 0},
        },
        "series": {"id": "shop", "frequency": "D", "season": 7, "absent": {"load": 0}},
        "calendar": ["dayofweek"],
        "derive": {},
    }
    features = {
        "numeric": [],
        "cyclic": {"dayofweek": 7},
        "categorical": ["shop"],
        "windows": {
            "lookback": 2,
            "past": {"load": "log1p"},
            "known": ["dayofweek"],
            "lags": [7],
        },
    }
    return parameters(data=data, features=features)


def made(settings: dict[str, Any], raw: pd.DataFrame, folder: Path) -> Bundle:
    """A bundle with a fitted and calibrated ridge."""
    use_case = UseCase.model_validate(settings)
    data, features, targets = use_case.data, use_case.features, dict(use_case.targets)
    typed = typed_rows(raw, data, targets)
    primary, _ = select_series(typed, data, features, targets)
    built, statistics = build_windows(primary, data, features, targets)
    encoder, train, validation, _ = encode_features(built, features, 0)
    target = targets["demand"]
    X, y = learning_rows(train, target, "classical")
    held = learning_rows(validation, target, "classical")[0]
    model = build(target.task, "ridge", seed=0).fit(X, y)
    said = pd.DataFrame({"prediction": model.predict(held)}, held.index)
    contents = Contents(
        use_case=use_case,
        encoder=encoder,
        models={"demand": finish(model, said, validation, target)},
        typed=typed,
        primary=primary,
        features=built,
        statistics=statistics,
        metrics={"demand": {"test": {"rmse": {"value": 1.0}}}},
        importance={"demand": pd.DataFrame({"source": ["a"], "importance": [1], "spread": [0]})},
    )
    contents = replace(contents, without_past=fit_without_past(contents))
    write_bundle(folder, contents, {"use_case": "made", "candidates": {"demand": "ridge"}})
    return open_bundle(folder)


def hours(size: int = 400, start: str = "2020-03-20") -> pd.DataFrame:
    draw = np.random.default_rng(1)
    at = pd.date_range(start, periods=size, freq="h", tz="Europe/Berlin")
    rows = pd.DataFrame({"at": [time.isoformat() for time in at]})
    return rows.assign(load=draw.uniform(1, 9, size), warmth=draw.normal(9, 4, size))


def days(size: int = 160) -> pd.DataFrame:
    draw = np.random.default_rng(2)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=size).strftime("%Y-%m-%d"), ["a", "b", "c"]],
        names=["day", "shop"],
    )
    rows = index.to_frame(index=False).assign(load=draw.integers(0, 9, len(index)).astype(float))
    return rows[draw.uniform(size=len(rows)) > 0.2].reset_index(drop=True)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    base, done = tmp_path_factory.mktemp("bundles"), {}

    def get(kind: str) -> Bundle:
        if kind not in done:
            settings, rows = (parameters(), hours(360)) if kind == "hours" else (shops(), days(140))
            done[kind] = made(settings, rows, base / kind)
        return done[kind]

    return get


@pytest.fixture
def compiled(bundles: Callable[[str], Bundle]) -> Callable[[str], SeriesAnswerer]:
    """A fresh answerer, read from its bytes."""
    return lambda kind: loads(dumps(compile_bundle(bundles(kind))))


def as_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them; what is missing is left out."""
    return [
        {name: value for name, value in row.items() if value is not None and value == value}  # noqa: PLR0124
        for row in frame.astype(object).to_dict("records")
    ]


def expect(bundle: Bundle, frame: pd.DataFrame, answers: list[Any]) -> None:
    """Hold answers of the last rows of a frame against those of the bundle."""
    wanted = bundle.answer(frame)["demand"]
    for answer in answers:
        row, said = wanted.loc[answer.key], answer.predictions["demand"]
        for name, value in (("prediction", said.value), ("low", said.low), ("high", said.high)):
            assert value == pytest.approx(row[name], rel=1e-6, abs=1e-6)
        assert answer.series == row["series"]
        assert answer.time == row["time"]
        assert (answer.scale, answer.rms) == pytest.approx((row["scale"], row["rms"]), rel=1e-9)


@pytest.mark.parametrize("kind", ["hours", "shops"])
def test_golden_rows_get_their_answers(bundles, compiled, kind):
    check_golden(compiled(kind), bundles(kind).golden)


def test_what_is_measured_brings_it_up_to_date(bundles, compiled):
    """Whatever the order, and with corrections."""
    answerer, rows = compiled("hours"), hours(400)[360:]
    known = rows[:20]
    wrong = known.iloc[[7]].assign(load=99.0)
    order = np.random.default_rng(3).permutation(20)

    answerer.observe(as_rows(wrong))
    for place in order:
        answerer.observe(as_rows(known.iloc[[place]]))
    ahead = rows.iloc[[20]].drop(columns="load")
    answerer.observe(as_rows(ahead))
    asked = rows.iloc[[21]].drop(columns="load")

    answers = answerer.answer(as_rows(asked))

    expect(bundles("hours"), pd.concat([known, ahead, asked]), answers)


def test_rows_that_follow_upon_each_other_see_the_earlier_ones(bundles, compiled):
    rows = hours(400)[360:362].drop(columns="load")

    answers = compiled("hours").answer(as_rows(rows[::-1]))

    assert [answer.time.hour for answer in answers] == [
        pd.Timestamp(at).tz_convert("UTC").hour for at in rows["at"][::-1]
    ]
    expect(bundles("hours"), rows, answers)


def test_a_shop_without_a_row_sold_nothing(bundles, compiled):
    answerer = compiled("shops")
    rows = days(160)
    later = rows[rows["day"] >= "2020-05-20"]
    later = later[
        (later["day"] < "2020-06-01") & ((later["shop"] != "b") | (later["day"] < "2020-05-25"))
    ]
    asked = pd.DataFrame({"day": "2020-06-01", "shop": ["c", "b", "a"]})

    answerer.observe(as_rows(later))
    answers = answerer.answer(as_rows(asked))

    assert [answer.series for answer in answers] == ["c", "b", "a"]
    assert [answer.key for answer in answers] == [f"{s}@2020-06-01" for s in "cba"]
    expect(bundles("shops"), pd.concat([later, asked]), answers)


def test_a_new_shop_is_answered_once_it_has_a_past(bundles, compiled):
    answerer = compiled("shops")
    rows = days(160)
    later = rows[(rows["day"] >= "2020-05-20") & (rows["day"] < "2020-06-01")]
    new = later[later["shop"] == "a"].assign(shop="new")
    asked = pd.DataFrame({"day": ["2020-06-01"], "shop": "new"})

    answerer.observe(as_rows(later))
    with pytest.raises(RequestError, match=r"'new' is not known; .* load from 2020-05-25 to 2020"):
        answerer.answer(as_rows(asked))
    answerer.observe(as_rows(new))
    answers = answerer.answer(as_rows(asked))

    expect(bundles("shops"), pd.concat([later, new, asked]), answers)


def test_many_new_shops_are_taken_at_once(compiled):
    """One by one, 10,000 names would copy all panels 10,000 times, which takes minutes."""
    answerer = compiled("shops")
    row = as_rows(days(141)[-1:])[0]
    [name] = [column for column in (answerer.series,) if column]

    answerer.observe([{**row, name: f"<b>{number}"} for number in range(3_000)])

    assert answerer.steps.given.shape[1] == len(answerer.steps.names) + 1
    assert answerer.steps.series("<b>2999") == len(answerer.steps.names) - 1
    assert answerer.steps.given[-1, answerer.steps.series("<b>7")]


def test_without_a_past_the_row_itself_is_answered(bundles, compiled):
    bundle, answerer = bundles("hours"), compiled("hours")
    second = answerer.without_past()
    column = next(iter(bundle.without_past.values())).feature_names_in_
    assert "before" not in columns_of_the_row(bundle.use_case)
    assert not [name for name in column if name.startswith(("window_", "lag_", "before"))]

    for case in bundle.golden:
        (answer,) = second.answer([case["fields"]])

        features = bundle.features(pd.DataFrame([case["fields"]]))
        rows = bundle.encoder.transform(features).join(features[["series_level", "series_scale"]])
        said = answer.predictions["demand"]
        expected = bundle.without_past["demand"].predict(rows[column])[0]
        assert said.value == pytest.approx(expected, rel=1e-6, abs=1e-6)
        ends = bundle.without_past["demand"].predict_interval(rows[column])[0]
        assert (said.low, said.high) == pytest.approx(tuple(ends), rel=1e-6, abs=1e-6)
        assert answer.key == case["key"]
        assert answer.basis.startswith("the row itself, without a past: ")


def test_a_number_that_models_cannot_hold_is_refused(compiled):
    answerer = compiled("hours")
    fields = answerer.asked.fields
    unbounded = fields | {"warmth": replace(fields["warmth"], low=None, high=None)}
    answerer = replace(answerer, asked=replace(answerer.asked, fields=unbounded))

    for ask in (answerer, answerer.without_past()):
        with pytest.raises(RequestError, match="the largest that models hold") as caught:
            ask.answer([{"at": "2020-04-04T01:00+02:00", "warmth": 1e39}])
        assert (caught.value.field, caught.value.row) == ("warmth", 0)


def test_far_ahead_and_long_ago_there_is_an_answer_without_a_past(compiled):
    answerer = compiled("hours")
    second = answerer.without_past()

    for at in ("2031-05-05T12:00+02:00", "2010-05-05T12:00+02:00"):
        (answer,) = second.answer([{"at": at, "warmth": 20.0}])
        assert answer.predictions["demand"].low < answer.predictions["demand"].high
    second.observe([{"at": "2031-05-05T12:00+02:00"}])
    with pytest.raises(RequestError, match="no step of h"):
        second.answer([{"at": "2031-05-05T12:30+02:00", "warmth": 20.0}])


def test_a_version_that_learns_changes_has_no_second_model(bundles, tmp_path):
    settings = parameters()
    settings["targets"]["demand"] = {**settings["targets"]["demand"], "learn": "change"}

    bundle = made(settings, hours(360), tmp_path / "changes")

    assert bundle.without_past == {}
    assert bundles("shops").without_past == {}  # whose rows say nothing but day and shop
    assert compile_bundle(bundle).without_past() is None


def asks(answerer: SeriesAnswerer, at: str, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        answerer.answer([{"at": at, "warmth": 9.0, **fields}])
    return caught.value


def test_what_is_missing_is_told(compiled):
    """The last measurement is of 3 April, 23:00 (clocks went forward on 29 March)."""
    answerer = compiled("hours")
    assert answerer.answer([{"at": "2020-04-04T01:00+02:00", "warmth": 9}])

    error = asks(answerer, "2020-04-04T04:00+02:00")

    assert (error.kind, error.row) == ("conflict", 0)
    text = str(error)
    assert "between" not in text
    assert "load from 2020-04-04T01:00:00+0200 to 2020-04-04T02:00:00+0200" in text
    assert "warmth from 2020-04-04T02:00:00+0200 to 2020-04-04T03:00:00+0200" in text


@pytest.mark.parametrize("year", [2021, 2100, 9998])
def test_a_time_far_away_is_told_at_once(compiled, year):
    answerer = compiled("hours")
    before = len(answerer.steps)

    error = asks(answerer, f"{year}-12-31T23:00Z")

    assert error.kind == "conflict"
    assert f"load from {year}-12-3" in str(error)
    assert "what lies between that and them may stay missing" in str(error)
    assert len(answerer.steps) == before


def test_a_gap_is_told(compiled):
    answerer = compiled("hours")
    rows = as_rows(hours(400)[360:370])
    plan = {"at": rows[8]["at"], "warmth": 9}
    answerer.observe([*rows[:4], *rows[5:8], plan])

    error = asks(answerer, rows[9]["at"])

    missing = pd.Timestamp(rows[4]["at"]).strftime("%Y-%m-%dT%H:%M:%S%z")
    assert f"load of {missing}" in str(error)


def test_other_times_are_refused(compiled):
    answerer = compiled("hours")

    assert "no step of h" in str(asks(answerer, "2020-04-04T01:30+02:00"))
    assert asks(answerer, "2020-04-04T01:30+02:00").kind == "invalid"
    early = asks(answerer, "2019-01-01T00:00+01:00")
    assert "where the past begins" in str(early)
    assert early.kind == "conflict"
    asks(answerer, "9999-12-31T23:00Z")
    asks(answerer, "0001-01-01T00:00Z")


def test_a_missing_value_of_the_row_itself_is_told(compiled):
    error = asks(compiled("hours"), "2020-04-04T01:00+02:00", warmth=None)

    assert (error.field, error.kind) == ("warmth", "invalid")


def test_none_is_taken_where_one_is_wrong(compiled):
    answerer = compiled("hours")
    rows = as_rows(hours(400)[360:363])
    before = answerer.answer([{"at": rows[0]["at"], "warmth": 9}])
    wrong = [
        {**rows[1], "load": -1.0},
        {**rows[1], "at": "2020-04-04T01:30+02:00"},
        {**rows[1], "at": "2999-01-01T00:00+01:00"},
        {"at": "2999-01-01T00:00+01:00", "warmth": 1.0},
    ]

    for row in wrong:
        with pytest.raises(RequestError) as caught:
            answerer.observe([rows[0], row])
        assert caught.value.row == 1

    assert answerer.answer([{"at": rows[0]["at"], "warmth": 9}]) == before
    answerer.observe([])
    assert answerer.answer([]) == []


def test_measurements_after_a_long_time_are_enough(bundles, compiled):
    """Nothing looks back over years without any."""
    answerer = compiled("hours")
    rows = hours(60, "2021-07-01")

    asked = rows.iloc[[58]].drop(columns="load")
    ahead = rows.iloc[[59]].drop(columns="load")
    answerer.observe(as_rows(pd.concat([ahead, rows[:58]])))
    answers = answerer.answer(as_rows(pd.concat([asked, ahead])))

    expect(bundles("hours"), pd.concat([rows[:58], asked, ahead]), answers)
    assert len(answerer.steps) < 2 * answerer.forecasts.kept.steps


def test_a_measurement_from_long_ago_changes_nothing(compiled, monkeypatch):
    """There is no step from which on anything would have to be computed anew."""
    answerer = compiled("hours")
    row = as_rows(hours(400)[360:361])[0]
    answerer.observe([row])
    before = answerer.steps.shown.copy()
    monkeypatch.setattr(Steps, "refresh", lambda *_: pytest.fail("nothing is new"))

    answerer.observe([{**row, "at": f"{year}-01-01T00:00:00"} for year in (1950, 2001)])

    np.testing.assert_array_equal(answerer.steps.shown, before)


def test_old_steps_are_forgotten(bundles, compiled):
    answerer = compiled("hours")
    rows = hours(2_000)[360:]

    for start in range(0, 1_500, 50):
        answerer.observe(as_rows(rows[start : start + 50]))
    asked = rows[1_500:1_502].drop(columns="load")
    answers = answerer.answer(as_rows(asked))

    assert len(answerer.steps) <= 2 * answerer.forecasts.kept.steps + 50
    expect(bundles("hours"), pd.concat([rows[1_400:1_500], asked]), answers)
