"""A compiled version of series answers as its bundle does, and goes on with what is measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Memory

from ratchet.bundle.fallback_model import fit_fallback_models, row_only_columns
from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.bundle.scoring_frame import ScoringFrame
from ratchet.bundle.writer import BundleContents, write_bundle
from ratchet.compiled.answers import RequestError
from ratchet.compiled.bundle_compiler import NotCompilable, check_golden, compile_bundle
from ratchet.compiled.forecast_inputs import Forecasts
from ratchet.compiled.serialization import dumps, loads
from ratchet.compiled.series_answerer import MOST_NEW_SERIES, SeriesAnswerer
from ratchet.compiled.series_steps import Steps
from ratchet.config import Candidate, UseCase
from ratchet.errors import UserError
from ratchet.modelling.calibrate_and_refit import refit
from ratchet.modelling.candidate_search import search_candidate
from ratchet.pipelines.preprocessing import build_windows, encode_features, select_series
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.steps import steps_to_come
from ratchet.production.forecast import forecast_path
from ratchet.serving.bundle_worker import BundleAnswerer

POWER = "ratchet.use_cases.power."
PATHS = {"first": 1, "last": 5}
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


def stores() -> dict[str, Any]:
    """Daily sales of products in stores; both columns together name a series."""
    settings = shops()
    names = {"store": {"type": "integer"}, "product": {"type": "string"}}
    data = settings["data"]
    columns = {name: column for name, column in data["columns"].items() if name != "shop"}
    data |= {"columns": names | columns, "series": data["series"] | {"id": ["store", "product"]}}
    settings["features"] |= {"categorical": ["store", "product"]}
    return settings


def made(
    settings: dict[str, Any], raw: pd.DataFrame, folder: Path, candidate: Candidate | None = None
) -> Bundle:
    """A bundle with a fitted and calibrated candidate."""
    use_case = UseCase.model_validate(settings)
    data, features, targets = use_case.data, use_case.features, dict(use_case.targets)
    typed = typed_rows(raw, data, targets)
    primary, _ = select_series(typed, data, features, targets)
    built, statistics = build_windows(primary, data, features, targets)
    encoder, train, validation, test = encode_features(built, features, 0)
    target = targets["demand"]
    candidate = candidate or Candidate(estimator="ridge")
    model, _, _ = search_candidate(
        train, validation, target, features, candidate, 0, Memory(None, verbose=0)
    )
    model = refit(model, pd.concat([train, validation, test]), target)
    contents = BundleContents(
        use_case=use_case,
        encoder=encoder,
        models={"demand": model},
        typed=typed,
        primary=primary,
        features=built,
        statistics=statistics,
        metrics={"demand": {"test": {"rmse": {"value": 1.0}}}},
        importance={"demand": pd.DataFrame({"source": ["a"], "importance": [1], "spread": [0]})},
    )
    contents = replace(contents, fallback_models=fit_fallback_models(contents))
    write_bundle(
        folder, contents, {"use_case": "made", "candidates": {"demand": candidate.estimator}}
    )
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


def of_stores() -> pd.DataFrame:
    """The shops are products of two stores; the names of some hold the sign that joins them."""
    rows = days(140)
    store = pd.Series({"a": 1, "b": 1, "c": 2})
    product = pd.Series({"a": "tea", "b": "a|b", "c": "tea"})
    names = {"store": rows["shop"].map(store), "product": rows["shop"].map(product)}
    return rows.drop(columns="shop").assign(**names)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    base, done = tmp_path_factory.mktemp("bundles"), {}

    def get(kind: str) -> Bundle:
        if kind not in done:
            settings, rows = {
                "hours": lambda: (parameters(), hours(360)),
                "in units": lambda: (parameters(), hours(360)),
                "shops": lambda: (shops(), days(140)),
                "stores": lambda: (stores(), of_stores()),
            }[kind.removeprefix("paths of ")]()
            candidate = None
            if kind == "in units":
                settings["targets"]["demand"]["learn"] = "change"
                grid = {"estimator__model__max_iter": [9]}
                candidate = Candidate(estimator="unscaled_boosting", param_grid=grid)
            if kind.startswith("paths"):
                settings["features"]["windows"] |= {"horizon": PATHS, "lags": [1, 5, 7, 30]}
                settings["features"]["windows"] |= {"seasons": [24] if "hours" in kind else [2]}
            done[kind] = made(settings, rows, base / kind, candidate)
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


PATH_KINDS = [f"paths of {kind}" for kind in ("hours", "shops", "stores")]


@pytest.mark.parametrize("kind", ["hours", "shops", "stores", "in units", *PATH_KINDS])
def test_golden_rows_get_their_answers(bundles, compiled, kind):
    answerer, bundle = compiled(kind), bundles(kind)

    check_golden(answerer, bundle.golden)
    bundle.check_golden()

    if kind in PATH_KINDS:
        asked = [[*case.get("before", []), case["fields"]] for case in bundle.golden]
        assert {answerer.answer(rows)[-1].step for rows in asked} == {1, 3, 5}
        assert set(bundle.test_rows["demand"]["step"]) == {1, 2, 3, 4, 5}
        wrong = [{**case, "answers": {"demand": {"high": 1e6}}} for case in bundle.golden[-1:]]
        with pytest.raises(NotCompilable, match="high"):
            check_golden(answerer, wrong)


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


def test_a_model_of_units_gets_the_terms_of_the_row(bundles, compiled):
    bundle, answerer, rows = bundles("in units"), compiled("in units"), hours(400)[360:362]

    known = bundle.models["demand"].estimator_.feature_names_in_

    assert {"series_level", "series_scale"} <= {*known}
    expect(bundle, rows, answerer.answer(as_rows(rows.drop(columns="load"))))


def test_a_path_is_answered_from_the_last_known_step(bundles, compiled):
    rows = hours(400)[360:365].drop(columns="load")

    answers = compiled("paths of hours").answer(as_rows(rows))

    assert [answer.step for answer in answers] == [1, 2, 3, 4, 5]
    expect(bundles("paths of hours"), rows, answers)
    halves = [said.high - said.value for a in answers for said in a.predictions.values()]
    assert (np.diff(halves) >= -1e-9).all()  # low ends are cut off at 0
    through_pandas = BundleAnswerer(bundles("paths of hours")).answer(as_rows(rows))
    assert [(a.key, a.step, a.time) for a in through_pandas] == [
        (a.key, a.step, a.time) for a in answers
    ]
    expect(bundles("paths of hours"), rows, through_pandas)
    assert compiled("hours").answer(as_rows(rows[:2]))[0].step is None


def test_paths_of_series_begin_where_each_was_known_last(bundles, compiled):
    answerer, rows = compiled("paths of shops"), days(160)
    later = rows[(rows["day"] >= "2020-05-20") & (rows["day"] < "2020-05-23")]
    asked = pd.MultiIndex.from_product(
        [[f"2020-05-{day}" for day in range(23, 28)], ["a", "c"]], names=["day", "shop"]
    ).to_frame(index=False)

    answerer.observe(as_rows(later))
    answers = answerer.answer(as_rows(asked))

    assert [answer.step for answer in answers] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    expect(bundles("paths of shops"), pd.concat([later, asked]), answers)


def test_what_a_path_lacks_is_named_with_its_step(compiled):
    answerer, rows = compiled("paths of hours"), hours(400)[360:366].drop(columns="load")
    third = rows.assign(warmth=rows["warmth"].mask(rows.index == 362))

    with pytest.raises(RequestError, match=r"a forecast of .* \(step 3\) needs it") as caught:
        answerer.answer(as_rows(third[:3]))
    assert (caught.value.field, caught.value.row) == ("warmth", 2)
    with pytest.raises(RequestError, match=r"warmth from .* \(steps 2 to 3\)\. .* 1 to 5 steps"):
        answerer.answer(as_rows(rows.iloc[[0, 3]]))
    with pytest.raises(RequestError, match=r"needs measurements .* load of .* 1 to 5 steps ahead"):
        answerer.answer(as_rows(rows))


def test_a_path_at_the_first_step_that_is_retained_has_no_past(compiled):
    answerer = compiled("paths of hours")
    first = {"at": answerer.steps.text(int(answerer.steps.times[0])), "warmth": 9.0}

    with pytest.raises(RequestError, match="would look at steps before"):
        answerer.answer([first])


def test_what_is_named_is_all_that_a_path_far_ahead_needs(compiled):
    answerer = compiled("paths of shops")
    asked = [
        {"day": f"{day:%Y-%m-%d}", "shop": "a"} for day in pd.date_range("2020-06-27", "2020-07-01")
    ]

    with pytest.raises(RequestError, match="last step with 'load' is 2020-05-19; the st") as caught:
        answerer.answer(asked[-1:])
    first, last = re.findall(r"load from (\S+) to (\S+)\. ", str(caught.value))[0]
    assert last == "2020-06-26"
    named = pd.date_range("2020-05-20", last).strftime("%Y-%m-%d")
    rows = [{"day": day, "shop": "a", "load": 1.0} for day in named]
    answerer.observe([row for row in rows if row["day"] >= first])
    alone = answerer.answer(asked[-1:])[0]
    assert alone.step == 5  # the calendar of the steps between is known

    answerer.observe(rows)
    answers = answerer.answer(asked)
    assert answers == [answerer.answer([row])[0] for row in asked]
    assert answers[-1] == alone


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


def test_a_question_about_a_series_that_has_ended_is_refused(bundles, compiled):
    """It would be answered as if nothing had been sold since; by its row alone where that can."""
    answerer = compiled("shops")
    through_pandas = BundleAnswerer(open_bundle(bundles("shops").folder))
    later = pd.MultiIndex.from_product(
        [pd.date_range("2020-05-20", "2020-06-08").strftime("%Y-%m-%d"), ["a", "b"]],
        names=["day", "shop"],
    )
    later = later.to_frame(index=False).assign(load=3.0)
    asked = [{"day": "2020-06-09", "shop": "c"}]
    told = (
        r"series 'c' has ended: its last row is (of|before) 2020-05-\d\d, and of 2\d later "
        r"steps at which others have rows it has none, 14 are the most "
        r"\(data\.series\.ends_after\)\. .* hand in"
    )

    for one in (answerer, through_pandas):
        assert one.answer([{"day": "2020-05-20", "shop": "c"}])
        one.observe(as_rows(later))
        with pytest.raises(RequestError, match=told) as caught:
            one.answer([{"day": "2020-06-09", "shop": "a"}, *asked])
        assert (caught.value.kind, caught.value.row) == ("conflict", 1)
        one.observe([{"day": "2020-06-09", "shop": "a", "load": 3.0}])  # others may follow
        with pytest.raises(RequestError, match=told):
            one.answer(asked)
        one.observe([{"day": "2020-06-08", "shop": "c", "load": 4.0}])  # it goes on
        assert one.answer(asked)[0].series == "c"


@pytest.mark.parametrize("kind", ["shops", "paths of shops"])
def test_a_step_of_which_only_some_series_are_measured_yet_makes_none_absent(
    bundles, compiled, kind
):
    """Each shop hands in its own sales: until then the others are unknown."""
    answerers = [compiled(kind), BundleAnswerer(open_bundle(bundles(kind).folder))]
    names, path = ["a", "b", "c"], kind != "shops"
    whole = [
        {"day": f"2020-05-{day}", "shop": shop, "load": 5.0}
        for day in range(20, 28)
        for shop in names
    ]
    asked = [{"day": "2020-05-29", "shop": "b"}]
    said = []
    for one in answerers:
        one.observe(whole)
        one.observe([{"day": "2020-05-28", "shop": "a", "load": 7.0}])
        if path:
            assert one.answer(asked)[0].step == 2  # from the day before, which is known
            assert one.answer([{**asked[0], "shop": "a"}])[0].step == 1
        else:
            with pytest.raises(
                RequestError, match=r"missing: load of 2020-05-28|no answer: .* load"
            ):
                one.answer(asked)
        one.observe([{"day": "2020-05-28", "shop": shop, "load": 7.0} for shop in ("b", "c")])
        said.append(one.answer(asked)[0].predictions["demand"].value)
    assert said[0] == pytest.approx(said[1], rel=1e-6)


def test_a_later_step_makes_an_earlier_one_complete(compiled):
    answerer = compiled("shops")
    names = ["a", "b", "c"]
    days_on = [f"2020-05-{day}" for day in range(20, 28)]
    answerer.observe([{"day": day, "shop": s, "load": 5.0} for day in days_on for s in names])

    answerer.observe([{"day": "2020-05-28", "shop": "a", "load": 7.0}])
    place = answerer.steps.series("b")
    before = answerer.steps.laid["load"][-1, place]
    answerer.observe([{"day": "2020-05-29", "shop": s, "load": 7.0} for s in names])

    assert np.isnan(before)
    assert answerer.steps.laid["load"][-2:, place].tolist() == [0.0, 7.0]


def test_steps_without_a_row_are_counted_over_what_was_forgotten(compiled):
    answerer = compiled("shops")
    retained = answerer.steps.spec.steps
    times = pd.date_range("2020-05-20", periods=3 * retained).strftime("%Y-%m-%d")

    for day in times:
        answerer.observe([{"day": day, "shop": shop, "load": 1.0} for shop in ("a", "b")])

    lacking = dict(zip(answerer.steps.names, answerer.steps.without_rows(), strict=False))
    assert len(answerer.steps) < 3 * retained
    assert lacking["a"] == lacking["b"] == 0
    assert 3 * retained <= lacking["c"] <= 3 * retained + 5


def test_a_series_that_two_columns_name_is_answered_as_one(bundles, compiled):
    """What one column names and what two do is one model, and one answer."""
    answerer, alone = compiled("stores"), compiled("shops")
    days_on = pd.date_range("2020-05-20", periods=2).strftime("%Y-%m-%d").tolist()
    names = {"a": (1, "tea"), "b": (1, "a|b"), "c": (2, "tea")}
    rows = [
        {"day": days_on[0], "store": store, "product": product, "load": 5.0}
        for store, product in names.values()
    ]
    answerer.observe(rows)
    alone.observe([{"day": days_on[0], "shop": shop, "load": 5.0} for shop in names])

    asked = [{**row, "day": days_on[1]} for row in rows]
    answers = answerer.answer([{n: v for n, v in row.items() if n != "load"} for row in asked])

    keys = ["1|tea@2020-05-21", r"1|a\|b@2020-05-21", "2|tea@2020-05-21"]
    assert [answer.key for answer in answers] == keys
    assert [answer.series for answer in answers] == [key.split("@")[0] for key in keys]
    for answer, shop in zip(answers, names, strict=True):
        (other,) = alone.answer([{"day": days_on[1], "shop": shop}])
        assert (answer.scale, answer.rms) == (other.scale, other.rms)
    frame = pd.DataFrame([*rows, *(row | {"load": np.nan} for row in asked)])
    expect(bundles("stores"), frame, answers)
    with pytest.raises(RequestError, match=r"field 'product': expected .* it is missing"):
        answerer.answer([{"day": days_on[1], "store": 1}])
    with pytest.raises(RequestError, match=r"no two rows of one 'store' and 'product' and 'day'"):
        answerer.answer([{"day": days_on[1], "store": 1, "product": "tea"}] * 2)


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
    [name] = answerer.series

    answerer.observe([{**row, name: f"<b>{number}"} for number in range(MOST_NEW_SERIES)])

    assert answerer.steps.given.shape[1] == len(answerer.steps.names) + 1
    assert answerer.steps.series("<b>999") == len(answerer.steps.names) - 1
    assert answerer.steps.given[-1, answerer.steps.series("<b>7")]
    with pytest.raises(RequestError, match="1 series are new, and there is room for 0") as caught:
        answerer.observe([row, {**row, name: "one more"}])
    assert (caught.value.field, caught.value.row) == (name, 1)


def test_names_of_new_shops_are_short(compiled):
    answerer = compiled("shops")
    row = as_rows(days(141)[-1:])[0]

    with pytest.raises(RequestError, match="at most 200 characters, got 201") as caught:
        answerer.observe([{**row, "shop": "x" * 201}])

    assert caught.value.field == "shop"


def test_shops_that_nothing_is_known_of_take_no_memory_in_a_question(compiled):
    answerer = compiled("shops")
    seen = replace(answerer.forecasts, derived=[])
    rows = [
        answerer._typed({"day": datetime(2020, 5, day), "shop": f"new {day}"}, 0)
        for day in (20, 21)
    ]

    assert len(seen.with_rows(answerer.steps, rows).names) == len(answerer.steps.names)


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_without_a_past_the_row_itself_is_answered(bundles, compiled, monkeypatch):
    bundle, answerer = bundles("hours"), compiled("hours")
    second = answerer.with_fallback()
    monkeypatch.setattr(Forecasts, "inputs", raises(RequestError("gaps", kind="conflict")))
    column = next(iter(bundle.fallback_models.values())).feature_names_in_
    assert "before" not in row_only_columns(bundle.use_case)
    assert not [name for name in column if name.startswith(("window_", "lag_", "before"))]

    for case in bundle.golden:
        (answer,) = second.answer([case["fields"]])

        features = bundle.features(pd.DataFrame([case["fields"]]))
        rows = bundle.encoder.transform(features).join(features[["series_level", "series_scale"]])
        said = answer.predictions["demand"]
        expected = bundle.fallback_models["demand"].predict(rows[column])[0]
        assert said.value == pytest.approx(expected, rel=1e-6, abs=1e-6)
        ends = bundle.fallback_models["demand"].predict_interval(rows[column])[0]
        assert (said.low, said.high) == pytest.approx(tuple(ends), rel=1e-6, abs=1e-6)
        assert answer.key == case["key"]
        assert answer.basis.startswith("the row itself, without a past: ")


def test_a_number_that_models_cannot_hold_is_refused(compiled):
    answerer = compiled("hours")
    fields = answerer.contract.fields
    unbounded = fields | {"warmth": replace(fields["warmth"], low=None, high=None)}
    answerer = replace(answerer, contract=replace(answerer.contract, fields=unbounded))

    for ask in (answerer, answerer.with_fallback()):
        with pytest.raises(RequestError, match=r"models hold numbers up to 9.2e\+18") as caught:
            ask.answer([{"at": "2020-04-04T01:00+02:00", "warmth": 1e39}])
        assert (caught.value.field, caught.value.row) == ("warmth", 0)


def test_far_ahead_and_long_ago_there_is_an_answer_without_a_past(compiled):
    second = compiled("hours").with_fallback()

    for at in ("2031-05-05T12:00+02:00", "2010-05-05T12:00+02:00"):
        (answer,) = second.answer([{"at": at, "warmth": 20.0}])
        assert answer.predictions["demand"].low < answer.predictions["demand"].high
    with pytest.raises(RequestError, match="no step of h"):
        second.answer([{"at": "2031-05-05T12:30+02:00", "warmth": 20.0}])


def test_a_version_that_learns_changes_has_no_second_model(bundles, tmp_path):
    settings = parameters()
    settings["targets"]["demand"] = {**settings["targets"]["demand"], "learn": "change"}

    bundle = made(settings, hours(360), tmp_path / "changes")

    assert bundle.fallback_models == {}
    assert bundles("shops").fallback_models == {}  # whose rows say nothing but day and shop
    assert compile_bundle(bundle).with_fallback() is None


def test_the_second_model_answers_only_rows_whose_past_is_missing(compiled):
    answerer = compiled("hours")
    near, far = "2020-04-04T01:00+02:00", "2031-05-05T12:00+02:00"
    rows = [{"at": far, "warmth": 9.0}, {"at": near, "warmth": 9.0}]

    first, second = answerer.with_fallback().answer(rows)

    assert first.basis.startswith("the row itself")
    assert second.basis is None
    assert second == answerer.answer(rows[1:])[0]
    with pytest.raises(RequestError, match="needs measurements that are missing"):
        answerer.answer(rows)
    others = [{"at": f"2031-05-0{day}T0{day}:00+02:00", "warmth": 9.0 + day} for day in range(1, 8)]
    together = answerer.with_fallback().answer(others)
    assert together == [answerer.with_fallback().answer([row])[0] for row in others]
    assert len({each.predictions["demand"].value for each in together}) > 3
    with pytest.raises(RequestError, match="no step of h"):  # which no model answers
        answerer.with_fallback().answer([{**rows[0], "at": "2031-05-05T12:30+02:00"}])


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
    assert "the steps in between may stay missing" in str(error)
    assert len(answerer.steps) == before


def test_a_gap_is_told(compiled):
    answerer = compiled("hours")
    rows = as_rows(hours(400)[360:370])
    plan = {"at": rows[8]["at"], "warmth": 9}
    answerer.observe([*rows[:4], *rows[5:8], plan])

    error = asks(answerer, rows[9]["at"])

    missing = pd.Timestamp(rows[4]["at"]).strftime("%Y-%m-%dT%H:%M:%S%z")
    assert f"load of {missing}" in str(error)


def trading(size: int = 120) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    days = pd.bdate_range("2020-01-01", periods=size).strftime("%Y-%m-%d")
    price = 50 * np.exp(draw.normal(0, 0.02, size).cumsum())
    return pd.DataFrame({"day": days, "load": price, "volume": draw.uniform(1, 9, size)})


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Prices of trading days: every row is a step."""
    settings = parameters(
        data={
            "time": "day",
            "columns": {
                "day": {"type": "date"},
                "load": {"type": "number", "low": 0},
                "volume": {"type": "number", "low": 0},
            },
            "series": {"season": 1},
            "calendar": ["dayofweek"],
            "derive": {},
        },
        features={
            "numeric": ["dayofweek"],
            "cyclic": {},
            "categorical": [],
            "windows": {
                "lookback": 4,
                "past": {"load": "log_change", "volume": "log_change"},
                "known": ["dayofweek"],
                "rolling": [3],
            },
        },
    )
    target = {**settings["targets"]["demand"], "learn": "return", "baseline": "persistence"}
    settings["targets"] = {"demand": target}
    return made(settings, trading(), tmp_path_factory.mktemp("bundles") / "market")


def test_a_day_after_missing_days_is_not_taken_for_the_next_one(market):
    """Where every row is a step they cannot be counted; three days lay between two at most."""
    answerer, slow = compile_bundle(market), BundleAnswerer(market)
    rows = as_rows(trading(130)[120:])  # from Wednesday, 17 June 2020
    assert rows[0]["day"] == "2020-06-17"

    for each in (answerer, slow):
        for day in ("2020-06-17", "2020-06-19"):
            assert each.answer([{"day": day}])[0].predictions["demand"].value > 0
        for day in ("2020-06-20", "2026-11-30"):
            with pytest.raises(RequestError, match="and at most 3 days lay between") as caught:
                each.answer([{"day": day}])
            assert caught.value.kind == "conflict"
            assert f"between 2020-06-16{'' if each is answerer else 'T'}" in str(caught.value)


def test_a_day_behind_missing_days_gets_no_answer_until_they_are_out_of_sight(market):
    answerer = compile_bundle(market)
    later = trading(160)[120:]

    answerer.observe(as_rows(later[1:2]))  # one day is missing, which may have been a holiday
    answerer.answer([{"day": "2020-06-19"}])
    answerer.observe(as_rows(later[12:13]))
    with pytest.raises(RequestError, match="15 days lie between 2020-06-18 and 2020-07-03"):
        answerer.answer([{"day": "2020-07-06"}])
    answerer.observe(as_rows(later[13:20]))

    assert answerer.answer([{"day": later.iloc[20]["day"]}])


def test_a_conflict_says_which_values_cannot_be_computed(market):
    answerer = compile_bundle(market)
    rows = as_rows(trading(125)[120:])

    answerer.observe([*rows[:2], {**rows[2], "volume": 0.0}])
    with pytest.raises(RequestError) as caught:
        answerer.answer([{"day": rows[3]["day"]}])

    assert caught.value.kind == "conflict"
    assert "log_change of volume of 2020-06-19" in str(caught.value)


@pytest.mark.parametrize("value", [1e19, -1e300, 10**30])
def test_measurements_that_models_cannot_hold_are_refused(market, value):
    answerer = compile_bundle(market)

    with pytest.raises(RequestError) as caught:
        answerer.observe([{"day": "2020-06-17", "load": 50.0, "volume": value}])

    assert (caught.value.field, caught.value.kind) == ("volume", "invalid")


def test_what_is_left_out_of_a_measurement_may_follow(market):
    whole, parts = compile_bundle(market), compile_bundle(market)
    row = as_rows(trading(121)[120:])[0]

    whole.observe([row])
    parts.observe([{"day": row["day"], "load": row["load"]}])
    with pytest.raises(RequestError, match="volume of 2020-06-17"):
        parts.answer([{"day": "2020-06-18"}])
    parts.observe([{"day": row["day"], "volume": row["volume"]}])

    assert parts.answer([{"day": "2020-06-18"}]) == whole.answer([{"day": "2020-06-18"}])
    with pytest.raises(RequestError, match=r"'volume': .* it cannot be empty"):
        parts.observe([{"day": row["day"], "volume": None}])


def test_a_row_far_ahead_is_no_step(market):
    with pytest.raises(RequestError, match="is too far after"):
        compile_bundle(market).observe([{"day": "2099-01-01", "volume": 5.0}])


def test_other_times_are_refused(compiled):
    answerer = compiled("hours")

    between = asks(answerer, "2020-04-04T01:30+02:00")
    assert "no step of h" in str(between)
    assert between.field == "at"
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
    assert len(answerer.steps) < 2 * answerer.forecasts.spec.steps


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

    assert len(answerer.steps) <= 2 * answerer.forecasts.spec.steps + 50
    expect(bundles("hours"), pd.concat([rows[1_400:1_500], asked]), answers)


ODD_TIMES = [
    *("0001-01-01T00:00:00", "1600-01-01", "1677-09-21T00:12:43", "2262-04-12", "2300-01-01"),
    *("9999-12-31T23:00:00", "9999-12-31T23:59:59.999999", "2020-04-04T01:00:00+23:59"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2016-12-31T23:59:60Z"),
    *("2020-03-29T02:30:00", "2020-10-25T02:30:00", "2020-W01-1", "0000-01-01", "10000-01-01"),
    *("\ud800", "\u0662\u0660\u0662\u0660-01-01", "2020-04-04T01:00:00.123456789Z", "", " "),
    *(True, -(10**400), 1e308, [], {}, [["2020"]]),
]


@pytest.mark.parametrize("kind", ["hours", "shops", "market"])
def test_whatever_the_time_is_it_is_answered_or_refused(request, bundles, kind):
    bundle = request.getfixturevalue("market") if kind == "market" else bundles(kind)
    answerer = compile_bundle(bundle)
    row = dict(bundle.golden[0]["fields"])
    before, time = answerer.answer([row]), answerer.time
    fallback = answerer.with_fallback()
    for ask in (answerer.answer, fallback and fallback.answer, answerer.check_measured):
        for odd in ODD_TIMES if ask else []:
            with suppress(RequestError):
                ask([{**row, time: odd}])

    assert answerer.answer([row]) == before


LAST_DAY = pd.Timestamp("2020-05-19")


def scoring(bundle: Bundle, raw: pd.DataFrame) -> ScoringFrame:
    data, targets = bundle.use_case.data, dict(bundle.use_case.targets)
    return ScoringFrame(bundle, typed_rows(raw, data, targets))


def forecast(bundle: Bundle, raw: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return forecast_path(bundle, scoring(bundle, raw).typed, **options)


def test_the_command_forecasts_what_the_service_answers(bundles, compiled):
    later = hours(400)[360:365].assign(load=np.nan)
    rows = pd.concat([hours(360), later], ignore_index=True)

    result = forecast(bundles("paths of hours"), rows)

    answers = compiled("paths of hours").answer(as_rows(rows[360:].drop(columns="load")))
    assert result["step"].tolist() == [1, 2, 3, 4, 5]
    assert result["time"].tolist() == list(pd.to_datetime(rows["at"][360:]))
    assert result["origin"].unique().tolist() == [pd.Timestamp(rows["at"][359])]
    said = [answer.predictions["demand"] for answer in answers]
    for name, values in {
        "prediction": [one.value for one in said],
        "low": [one.low for one in said],
        "high": [one.high for one in said],
    }.items():
        assert result[name].tolist() == pytest.approx(values, rel=1e-6, abs=1e-6)
    shorter = forecast(bundles("paths of hours"), rows, until=str(rows["at"][361]))
    pd.testing.assert_frame_equal(shorter, result[:2])
    one_step = forecast(bundles("hours"), rows)
    assert one_step["step"].tolist() == [2, 2]
    assert one_step["origin"].tolist() == list(pd.to_datetime(rows["at"][358:360]))


def test_steps_to_come_need_no_rows_where_nothing_has_to_be_known_ahead(bundles, caplog):
    rows = days(140)
    rows = rows[(rows["shop"] != "c") | (rows["day"] < "2020-03-01")]  # which has ended

    result = forecast(bundles("paths of shops"), rows)

    last = pd.Timestamp(rows["day"].max())
    assert result["series"].tolist() == ["a"] * 5 + ["b"] * 5
    assert "1 series has ended and is not forecast: c (last row 2020-02-" in caplog.text
    assert result["time"].tolist() == [last + pd.Timedelta(days=n) for n in range(1, 6)] * 2
    assert set(result["origin"]) == {last}


def test_from_an_earlier_origin_nothing_later_is_seen(bundles):
    rows, bundle = hours(360), bundles("paths of hours")
    origin = rows["at"][350]

    result = forecast(bundle, rows, origin=origin)

    changed = rows.assign(load=rows["load"].where(rows.index <= 350, 5.0))
    pd.testing.assert_frame_equal(forecast(bundle, changed, origin=origin), result)
    assert result["time"].tolist() == list(pd.to_datetime(rows["at"][351:356]))


def test_closed_days_are_no_steps_to_come(bundles):
    rows, bundle = days(140), bundles("paths of shops")
    data = bundle.use_case.data
    closed = data.series.model_copy(update={"closed": ["Wed"], "holidays": ["2020-05-23"]})
    open_days = steps_to_come(
        pd.to_datetime(rows["day"]), data.model_copy(update={"series": closed}), LAST_DAY, 5
    )

    assert list(open_days[open_days > LAST_DAY]) == [
        pd.Timestamp(f"2020-05-{day}") for day in (21, 22, 24, 25, 26)
    ]


def test_a_step_of_a_path_is_the_row_of_a_forecast_of_that_step(bundles):
    """So that the gate can compare versions of either kind."""
    path, one = (scoring(bundles(kind), hours(360)) for kind in ("paths of hours", "hours"))

    as_path = one.keys_for(path.bundle.use_case.features)
    as_one = path.keys_for(one.bundle.use_case.features)

    assert set(as_path.str[-2:]) == {"#2"}
    assert as_path.isin(path.features.index).sum() == (path.features["series_step"] == 2).sum()
    assert set(as_one.dropna()) == set(path.rows_of(as_path[as_path.isin(path.features.index)]))
    assert path.keys_for(path.bundle.use_case.features) is path.features.index


def test_logged_answers_of_a_path_get_their_truth_whatever_its_origins_are_today(bundles):
    now = scoring(bundles("paths of hours"), hours(360))
    target, row = now.bundle.use_case.targets["demand"], now.inputs.index[300]
    logged = pd.Index([row, *(f"{row}#{step}" for step in range(1, 6)), "demand@2031-01-01#1"])
    assert not logged.isin(now.features.index).all()

    truth = now.truth(target, logged)

    assert truth[logged[:6]].tolist() == [hours(360)["load"][300]] * 6
    assert logged[6] not in truth
    plain = now.truth(target)
    pd.testing.assert_series_equal(truth[plain.index], plain, check_names=False)


@pytest.mark.parametrize("kind", ["hours", "paths of hours"])
def test_answers_of_no_rows_have_the_columns_of_others(bundles, kind):
    features = scoring(bundles(kind), hours(360)).features

    none, one = (bundles(kind).predict(rows)["demand"] for rows in (features[:0], features[:1]))

    assert (list(none), len(none)) == (list(one), 0)


def test_what_cannot_be_forecast_is_said(bundles):
    rows, bundle = hours(364), bundles("paths of hours")
    rows["load"] = rows["load"].where(rows.index < 360)
    rows.loc[362, "warmth"] = np.nan

    with pytest.raises(UserError, match=r"'warmth': step 3 \(2020-04-04 .* 2 of 5 .* --until '20"):
        forecast(bundle, rows)
    assert len(forecast(bundle, rows, until=rows["at"][361])) == 2
    with pytest.raises(UserError, match=r"--until 2020-06-01: .* forecasts reach 1 to 5 steps"):
        forecast(bundle, rows, until="2020-06-01")
    with pytest.raises(UserError, match="--origin 'soon': expected a time such as 2020-04-0"):
        forecast(bundle, rows, origin="soon")
    told = r"--origin 2019-01-01: expected a time from 2020-03-20 .* a value in column 'load'"
    with pytest.raises(UserError, match=told):
        forecast(bundle, rows, origin="2019-01-01")
    hole = rows.assign(load=rows["load"].mask(rows.index == 358), warmth=1.0)
    told = r"'load': no series has a value at 2020-04-03 .* 1 of 360 steps .* an --origin before 20"
    with pytest.raises(UserError, match=told):
        forecast(bundle, hole, until=rows["at"][363])
    assert len(forecast(bundle, hole, origin=rows["at"][357])) == 5
    with pytest.raises(UserError, match=r"there are 20 steps .* raw file$"):
        forecast(bundle, hours(21).assign(load=hours(21)["load"].head(20)), until=rows["at"][20])
