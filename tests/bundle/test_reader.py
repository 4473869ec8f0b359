"""A bundle answers from raw fields as its models do, is refused when it is not whole, and is
written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.bundle.manifest import BundleError, hash_files, write_manifest
from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.bundle.writer import BundleContents, hash_rows, write_bundle
from ratchet.compiled.serialization import dumps, loads
from ratchet.config import Evaluation, UseCase, read_targets
from ratchet.errors import DataError, UserError
from ratchet.learning.classical import build_estimator
from ratchet.learning.demand.book import DemandBook, Elasticities, ExpectedDemand, SegmentKey
from ratchet.learning.demand.pricing import (
    Form,
    Offer,
    PriceHistory,
    PricingSettings,
    Responses,
)
from ratchet.modelling.calibrate_and_refit import calibrate
from ratchet.modelling.target_scaling import features_and_scaled_target
from ratchet.pipelines.preprocessing import (
    build_features,
    build_windows,
    encode_features,
    select_rows,
    select_series,
)
from ratchet.preparation.contract import typed_rows

ABOUT = {"title": "t", "question": "q", "source": "s"}
SCORE = {"value": 1.0, "low": 0.5, "high": 2.0}
CANDIDATES = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}

FILMS: dict[str, Any] = {
    "about": ABOUT,
    "data": {
        "key": "film",
        "time": "date",
        "required": ["runtime", "rating"],
        "columns": {
            "film": {"type": "integer"},
            "date": {"type": "date"},
            "year": {"type": "integer"},
            "runtime": {"type": "number", "nullable": True},
            "director": {"type": "list", "nullable": True},
            "kind": {"type": "string", "nullable": True},
            "rating": {"type": "number", "nullable": True, "low": 0, "high": 5},
            "reviews": {"type": "number", "nullable": True},
        },
        "derive": {
            "success": {
                "function": "ratchet.use_cases.films.rank_classes",
                "arguments": {
                    "column": "reviews",
                    "within": "year",
                    "shares": {"high": 0.3},
                    "rest": "low",
                },
            }
        },
    },
    "features": {
        "numeric": ["runtime"],
        "categorical": ["kind"],
        "min_count": 1,
        "history": {
            "entities": ["director"],
            "values": {"rating": None},
            "looked_up": "date",
            "available": "date",
        },
    },
    "targets": {
        "success": {
            "column": "success",
            "task": "classification",
            "classes": ["low", "high"],
            "candidates": {**CANDIDATES, "forest": {"estimator": "extra_trees"}},
        },
        "rating": {
            "column": "rating",
            "task": "regression",
            "bounds": [0, 5],
            "candidates": CANDIDATES,
        },
    },
}

SHOPS: dict[str, Any] = {
    "about": ABOUT,
    "data": {
        "time": "day",
        "columns": {
            "day": {"type": "date"},
            "shop": {"type": "string"},
            "sold": {"type": "number", "nullable": True},
            "warm": {"type": "number", "nullable": True},
        },
        "series": {"id": "shop", "frequency": "D", "season": 7},
        "calendar": ["dayofweek"],
        "derive": {
            "warm_before": {
                "function": "ratchet.use_cases.power.earlier",
                "arguments": {"column": "warm", "steps": 60},
            }
        },
    },
    "features": {
        "numeric": ["warm", "warm_before"],
        "cyclic": {"dayofweek": 7},
        "categorical": ["shop"],
        "min_count": 1,
        "windows": {
            "lookback": 3,
            "horizon": 2,
            "past": {"sold": "value"},
            "known": ["dayofweek"],
            "rolling": [4],
        },
    },
    "targets": {
        "sold": {
            "column": "sold",
            "task": "forecasting",
            "bounds": [0, float("inf")],
            "baseline": "seasonal",
            "candidates": {"seasonal": {"estimator": "seasonal"}, "ridge": {"estimator": "ridge"}},
        }
    },
}


def films(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 2000, n)), "D")
    directors = rng.choice(["Ann", "Bob", "Cho", ""], n)
    return pd.DataFrame(
        {
            "film": np.arange(n) + 100,
            "date": days,
            "year": days.year,
            "runtime": rng.uniform(60, 200, n),
            "director": [f"{name}, Dan" if i % 3 else name for i, name in enumerate(directors)],
            "kind": rng.choice(["a", "b", None], n),
            "rating": rng.uniform(0, 5, n).round(1),
            "reviews": rng.integers(0, 500, n).astype(float),
        }
    )


def shops(days: int = 200, names: str = "xyz") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=days), list(names)], names=["day", "shop"]
    )
    rows = pd.DataFrame(rng.uniform(1, 9, (len(index), 2)), index, ["sold", "warm"]).reset_index()
    rows["sold"] += 4 * rows["day"].dt.dayofweek
    return rows


def made(
    name: str, raw: pd.DataFrame, use_case: UseCase, fit: Callable[..., Any]
) -> BundleContents:
    """What a run leaves: rows, features, and a model of every target, fitted and calibrated."""
    data, features, targets = use_case.data, use_case.features, dict(use_case.targets)
    typed = typed_rows(raw, data, targets)
    if data.series:
        primary, _ = select_series(typed, data, features, targets)
        built, statistics = build_windows(primary, data, features, targets)
    else:
        primary, _ = select_rows(typed, data, targets, 0)
        built, statistics = build_features(primary, data, features, targets), None
    encoder, train, validation, _ = encode_features(built, features, 0)
    models = {name: fit(target, train, validation) for name, target in targets.items()}
    scores = {name: {"test": {"rmse": SCORE}} for name in targets}
    importance = pd.DataFrame({"source": ["runtime"], "importance": [0.25], "spread": [0.1]})
    return BundleContents(
        use_case=use_case,
        encoder=encoder,
        models=models,
        typed=typed,
        primary=primary,
        features=built,
        statistics=statistics,
        metrics=scores,
        importance=dict.fromkeys(targets, importance),
    )


def classical(estimator: str | None = None) -> Callable[..., Any]:
    def fit(target: Any, train: pd.DataFrame, validation: pd.DataFrame) -> Any:
        name = estimator or ("extra_trees" if target.is_classes else "ridge")
        model = build_estimator(target.task, name, seed=0)
        if name == "extra_trees":
            model.set_params(n_estimators=8)
        return finished(model, target, train, validation, "classical")

    return fit


def finished(model: Any, target: Any, train: Any, validation: Any, family: Any) -> Any:
    X, y = features_and_scaled_target(train, target, family)
    held = features_and_scaled_target(validation, target, family)[0]
    model.fit(X, y)
    if target.is_classes:
        said = pd.DataFrame(model.predict_proba(held), held.index, list(model.classes_))
    else:
        said = pd.DataFrame({"prediction": model.predict(held)}, held.index)
    return calibrate(model, said, validation, target)


def stacked(target: Any, train: pd.DataFrame, validation: pd.DataFrame) -> Any:
    """Two models, and a linear one on top of what they say."""
    from ratchet.learning.stacking import (
        final_estimator,
        prediction_columns,
        prediction_method,
        stack,
    )

    X, y = features_and_scaled_target(train, target)
    names = ["ridge", "dummy"] if not target.is_classes else ["logistic", "dummy"]
    models = [build_estimator(target.task, name, seed=0).fit(X, y) for name in names]
    said = [getattr(model, prediction_method(model))(X) for model in models]
    columns = [prediction_columns(each, classes=target.is_classes) for each in said]
    combine = final_estimator(classes=target.is_classes).fit(np.hstack(columns), y)
    return finished(stack(models, combine), target, train, validation, "classical")


def network(target: Any, train: pd.DataFrame, validation: pd.DataFrame) -> Any:
    from ratchet.learning.recurrent.regressor import RecurrentRegressor

    model = RecurrentRegressor(units=3, epochs=2, lookback=3, compiled=False)
    return finished(model, target, train, validation, "recurrent")


PLAIN = {
    **FILMS,
    "data": {**FILMS["data"], "derive": {}, "time": None},
    "features": {"numeric": ["runtime", "year"], "categorical": ["kind"], "min_count": 1},
    "targets": {"rating": FILMS["targets"]["rating"]},
}
KINDS: dict[str, tuple[dict[str, Any], Callable[[], pd.DataFrame], Callable[..., Any]]] = {
    "films": (FILMS, films, classical()),
    "plain": (PLAIN, films, classical()),
    "shops": (SHOPS, shops, classical("ridge")),
    "naive": (SHOPS, shops, classical("seasonal")),
    "stack": (FILMS, films, stacked),
}


@pytest.fixture(scope="module")
def contents_of() -> Callable[[str], BundleContents]:
    done: dict[str, BundleContents] = {}

    def get(kind: str) -> BundleContents:
        if kind not in done:
            settings, raw, fit = KINDS.get(kind, (SHOPS, shops, network))
            done[kind] = made(kind, raw(), UseCase.model_validate(settings), fit)
        return done[kind]

    return get


RUN = {"candidates": {"rating": "ridge"}, "mlflow_run": "r1", "code_commit": "abc"}


@pytest.fixture(scope="module")
def written(contents_of, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a bundle; tests share it: read, do not write."""
    base = tmp_path_factory.mktemp("bundles")

    def get(kind: str) -> Path:
        folder = base / kind / "b1"
        if not folder.exists():
            write_bundle(folder, contents_of(kind), {"use_case": kind, **RUN})
        return folder

    return get


@pytest.fixture
def copy(written, tmp_path) -> Callable[[str], Path]:
    """A copy of a bundle that a test may spoil."""
    return lambda kind: Path(shutil.copytree(written(kind), tmp_path / "copy" / kind))


ALL = ["films", "plain", "shops", "naive", "stack", pytest.param("network", marks=pytest.mark.slow)]


def pipeline_answers(contents: BundleContents) -> dict[str, pd.DataFrame]:
    """What the models say of the test rows, as evaluation asks them."""
    from ratchet.modelling.rolling_origins import predict_rows

    _, *parts = encode_features(contents.features, contents.use_case.features, 0)
    targets = contents.use_case.targets
    return {
        name: predict_rows(contents.models[name], parts[2], target)
        for name, target in targets.items()
    }


@pytest.mark.parametrize("kind", ALL)
def test_it_answers_as_the_pipelines_do(written, contents_of, kind):
    contents, bundle = contents_of(kind), open_bundle(written(kind))
    test = contents.features[contents.features["split"] == "test"]

    found = bundle.predict(test)

    expected = pipeline_answers(contents)
    assert list(found) == list(expected)
    for name, rows in found.items():
        pd.testing.assert_frame_equal(
            rows, expected[name].drop(columns="truth")[list(rows)], check_exact=kind != "network"
        )
        assert set(rows) == set(expected[name]) - {"truth"}


@pytest.mark.parametrize("kind", ALL)
def test_golden_rows_get_their_answers(written, kind):
    bundle = open_bundle(written(kind))

    bundle.check_golden()

    test = bundle.rows.index[bundle.rows["part"] == "test"]
    keys = [case["key"] for case in bundle.golden]
    assert len(keys) > 2
    assert set(keys) <= set(test)
    answers = bundle.predict(bundle.features(pd.DataFrame([bundle.golden[0]["fields"]])))
    for name, target in bundle.use_case.targets.items():
        columns = set(bundle.golden[0]["answers"][name])
        assert columns == {"prediction", *bundle.manifest["signature"]["outputs"][name]}
        assert len(answers[name]) == 1
        assert not {target.column, "reviews"} & set(bundle.golden[0]["fields"])


@pytest.mark.parametrize("kind", ["films", "plain", "shops"])
def test_raw_fields_and_features_give_the_same_answers(written, contents_of, kind):
    contents, bundle = contents_of(kind), open_bundle(written(kind))
    features = contents.features
    if kind == "shops":
        key = features.index[-1]
        name, day = key.split("@")
        raw = contents.typed[(contents.typed["shop"] == name) & (contents.typed["day"] == day)]
    else:
        key = features.index[features["split"] == "test"][3]
        raw = contents.typed[contents.typed["film"] == key]

    found = bundle.answer(raw)

    expected = bundle.predict(features.loc[[key]])
    for name, rows in found.items():
        pd.testing.assert_frame_equal(rows, expected[name], rtol=1e-6)


@pytest.mark.parametrize("kind", ["films", "stack"])
def test_neither_the_order_of_columns_nor_other_columns_change_an_answer(
    written, contents_of, kind
):
    bundle, rows = open_bundle(written(kind)), contents_of(kind).features.tail(5)
    expected = bundle.predict(rows)

    found = bundle.predict(rows[rows.columns[::-1]].assign(more="x"))

    for name in expected:
        pd.testing.assert_frame_equal(found[name], expected[name])


def test_whole_numbers_that_were_read_as_fractions_are_the_same_categories(tmp_path):
    settings = {**PLAIN, "features": {"categorical": ["year"], "min_count": 1}}
    contents = made("years", films(), UseCase.model_validate(settings), classical())
    bundle = write_bundle(tmp_path / "b", contents, {"use_case": "years", **RUN})
    rows = contents.features.tail(9)

    found = bundle.predict(rows.assign(year=rows["year"].astype(float)))

    assert len(set(found["rating"]["prediction"])) > 1
    pd.testing.assert_frame_equal(found["rating"], bundle.predict(rows)["rating"])


@pytest.mark.parametrize("name", ["runtime", "history_director_events", "kind"])
def test_features_that_are_missing_are_named(written, contents_of, name):
    bundle, rows = open_bundle(written("films")), contents_of("films").features.tail(2)

    with pytest.raises(BundleError, match=rf"b1: features lack the columns \['{name}'\]"):
        bundle.predict(rows.drop(columns=name))


def test_scores_it_was_released_with(written):
    bundle = open_bundle(written("films"))

    assert bundle.score("rating", "rmse") == SCORE
    assert bundle.score("rating", "mae") is None
    assert bundle.score("none", "rmse") is None


def test_raw_fields_that_are_missing_are_named(written, contents_of):
    raw = contents_of("films").typed.tail(1)

    with pytest.raises(DataError, match=r"columns \['runtime'\] are missing"):
        open_bundle(written("films")).answer(raw.drop(columns="runtime"))


def test_values_that_a_model_cannot_take_are_told(written, contents_of):
    rows = contents_of("films").features.tail(2).assign(runtime=np.inf)

    with pytest.raises(BundleError, match="b1: features cannot be encoded"):
        open_bundle(written("films")).predict(rows)


@pytest.mark.parametrize("kind", ["films", "stack"])
def test_no_rows_get_no_answers(written, contents_of, kind):
    bundle, features = open_bundle(written(kind)), contents_of(kind).features

    found = bundle.predict(features.head(0))

    for name, rows in bundle.predict(features.tail(1)).items():
        assert list(found[name]) == list(rows)
        assert found[name].empty


def test_a_new_film_is_answered_with_the_history_of_its_director(written, contents_of):
    bundle, typed = open_bundle(written("films")), contents_of("films").typed
    new = {"film": 9999, "date": "2010-01-01", "year": 2010, "runtime": 100, "director": "Ann"}

    features = bundle.features(pd.DataFrame([new]))

    known = typed[typed["director"].map(lambda names: "Ann" in names)]
    assert features.index.tolist() == [9999]
    row = features.iloc[0]
    whole = known.dropna(subset=["runtime", "rating"])
    assert row["history_director_events"] == len(whole)
    last = whole.iloc[-1]["rating"]
    assert row["history_director_rating_last"] == pytest.approx(last - typed["rating"].mean())
    assert bundle.answer(pd.DataFrame([new]))["rating"].loc[9999, "prediction"] > 0
    earlier = bundle.features(pd.DataFrame([new]), as_of="2002-01-01").iloc[0]
    before = whole["date"] <= "2002-01-01"
    assert earlier["history_director_events"] == before.sum() < len(whole)


def test_steps_to_come_are_answered_and_those_beyond_the_horizon_are_not(written, contents_of):
    bundle, typed = open_bundle(written("shops")), contents_of("shops").typed
    days = typed["day"].max() + pd.to_timedelta([1, 2, 3], "D")
    raw = pd.DataFrame({"day": days, "shop": "y", "warm": 5.0})

    found = bundle.answer(raw)["sold"]

    assert found.index.tolist() == [f"y@{day:%Y-%m-%d}" for day in days[:2]]
    assert (found["low"] <= found["prediction"]).all()
    assert (found["series"] == "y").all()
    # What was measured in the meantime is given along, and the next day can be answered.
    raw.loc[0, "sold"] = 4.0
    more = bundle.answer(raw)["sold"]
    assert more.index.tolist() == [f"y@{day:%Y-%m-%d}" for day in days]
    pd.testing.assert_frame_equal(more.iloc[:2], found)


def test_a_new_series_takes_the_units_of_the_others(written):
    bundle = open_bundle(written("shops"))
    days = pd.date_range("2021-01-01", periods=20)
    raw = pd.DataFrame({"day": days, "shop": "new", "warm": 5.0, "sold": 3.0})

    found = bundle.features(raw)

    assert len(found) > 5
    assert found["series_scale"].to_numpy() == pytest.approx(bundle.statistics["mean"].mean())


def test_the_context_is_as_long_as_it_has_to_be(written, contents_of):
    """A column derived from 60 rows before, 20 days of three shops, looks further than windows."""
    shop_days = open_bundle(written("shops")).context["day"].nunique()
    assert 20 < shop_days < 100
    assert len(open_bundle(written("films")).context) == len(contents_of("films").typed)
    assert open_bundle(written("plain")).context is None


def test_what_lies_in_it(written, contents_of):
    contents, bundle = contents_of("films"), open_bundle(written("films"))

    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        *("context.parquet", "encoder.skops", "golden.json", "importance.json", "manifest.json"),
        *("metrics.json", "models", "reference.parquet", "rows.parquet", "use_case.json"),
    ]
    assert bundle.use_case == contents.use_case
    assert bundle.metrics == contents.metrics
    assert bundle.importance == {"success": {"runtime": 0.25}, "rating": {"runtime": 0.25}}
    assert bundle.statistics is None
    assert bundle.rows["part"].value_counts().to_dict() == (
        contents.features["split"].value_counts().to_dict()
    )
    train = contents.primary[contents.primary["split"] == "train"]
    assert bundle.reference.index.tolist() == train["film"].tolist()
    assert bundle.reference["time"].tolist() == train["date"].tolist()
    assert {"runtime", "kind", "rating", "success"} <= set(bundle.reference)
    assert 0 < bundle.size_mb < 1
    assert open_bundle(written("shops")).use_case.targets["sold"].bounds == (0, float("inf"))


def test_the_manifest(written, contents_of):
    contents, bundle = contents_of("films"), open_bundle(written("films"))
    parts = contents.primary.groupby("split", observed=True)["date"].max()

    manifest = bundle.manifest

    assert {name: manifest[name] for name in RUN} == RUN
    assert manifest["use_case"] == "films"
    assert manifest["last_row"] == parts["validation"].isoformat()
    assert manifest["decided_until"] == parts["test"].isoformat()
    assert manifest["data_hash"] == hash_rows(contents.typed)
    assert manifest["refit"] == "none"
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["signature"]["inputs"]["director"] == {"type": "list", "nullable": True}
    assert manifest["signature"]["inputs"]["runtime"] == {"type": "number", "nullable": False}
    assert "rating" not in manifest["signature"]["inputs"]
    assert open_bundle(written("plain")).manifest["last_row"] is None
    assert len(bundle.digest) == 64
    assert bundle.digest != open_bundle(written("plain")).digest


def test_the_hash_of_rows_goes_by_what_they_hold():
    rows = films(20)

    assert hash_rows(rows) == hash_rows(rows.copy())
    changed = rows.assign(runtime=rows["runtime"].mask(rows.index == 7, rows["runtime"] + 1e-9))
    assert hash_rows(changed) != hash_rows(rows)


def test_the_hash_of_rows_tells_microseconds_apart():
    one, other = (
        pd.DataFrame({"at": pd.to_datetime([f"2020-01-01 00:00:00.00000{n}"])}) for n in (1, 2)
    )

    assert hash_rows(one) != hash_rows(other)
    days = pd.DataFrame({"at": pd.to_datetime(["2020-01-01"])})
    assert hash_rows(days).startswith("4c0c0ba8e102")  # as bundles of earlier releases have it


def demand_book() -> DemandBook:
    """One segment, twice as dear it sells a quarter."""
    one, draws = np.ones(1), np.full((1, 4, 1), -2.0, dtype=np.float32)
    forms = {Form.LOG_LOG: draws, Form.SEMI_LOG: draws}
    return DemandBook(
        keys=(SegmentKey("shop", "tea"),),
        without_rows=(),
        responses=Responses(0 * one, {**forms, Form.QUADRATIC: draws.repeat(2, axis=2)}, one),
        history=PriceHistory(one, 2 * one, one, one, np.array([50]), 0 * one),
        offer=Offer.of(1, unit_cost=0.5, demand=10.0),
        settings=PricingSettings(),
        elasticities=Elasticities(-2 * one, -3 * one, -1 * one),
        expected=ExpectedDemand(10 * one, 5 * one, 15 * one),
    )


def test_what_prices_a_market_comes_along_and_serves(tmp_path, contents_of):
    plain, book = contents_of("plain"), demand_book()
    written = write_bundle(
        tmp_path / "market", replace(plain, demand_book=book), {"use_case": "plain", **RUN}
    )

    bundle = open_bundle(written.folder)

    assert "demand_book.npz" in bundle.manifest["files"]
    assert bundle.demand_book is not None
    assert str(bundle.demand_book.price("shop", "tea")) == str(book.price("shop", "tea"))
    served = loads(dumps(bundle.compiled))
    assert str(served.prices.book.price("shop", "tea")) == str(book.price("shop", "tea"))


def test_without_a_market_there_are_no_prices(written):
    bundle = open_bundle(written("plain"))

    assert bundle.demand_book is None
    assert bundle.compiled.prices is None


def test_a_book_that_is_none_is_told(tmp_path, contents_of):
    contents = replace(contents_of("plain"), demand_book=demand_book())
    folder = write_bundle(tmp_path / "market", contents, {"use_case": "plain", **RUN}).folder
    (folder / "demand_book.npz").write_bytes(b"PK")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = hash_files(folder)
    write_manifest(folder, manifest)

    with pytest.raises(BundleError, match=r"demand_book\.npz cannot be read"):
        open_bundle(folder).check_contents()


@pytest.mark.parametrize("kind", ["films", "stack"])
def test_latency_is_that_of_the_compiled_answer(written, monkeypatch, kind):
    bundle = open_bundle(written(kind))
    monkeypatch.setattr(Bundle, "answer", lambda *_: pytest.fail("pandas is asked"))

    assert 0 < bundle.latency_ms(n=5) < 60_000


def test_latency_of_what_does_not_compile_is_that_of_pandas(written, monkeypatch):
    bundle = open_bundle(written("plain"))
    bundle.golden[0]["answers"]["rating"]["prediction"] = 99.0  # so that it is refused
    asked = []
    answer = Bundle.answer
    monkeypatch.setattr(Bundle, "answer", lambda *given: asked.append(1) or answer(*given))

    assert bundle.compiled is None
    assert 0 < bundle.latency_ms(n=3) < 60_000
    assert len(asked) == 6


def test_a_compiler_that_fails_leaves_the_answers_to_pandas(written, monkeypatch):
    monkeypatch.setattr("ratchet.compiled.bundle_compiler.compile_bundle", lambda _: 1 / 0)

    assert open_bundle(written("plain")).compiled is None


@pytest.mark.parametrize("day", ["9999-12-31", "2120-01-01", "0001-01-01"])
def test_a_time_far_from_all_that_is_known_is_refused_at_once(written, monkeypatch, day):
    bundle = open_bundle(written("shops"))
    monkeypatch.setattr(
        "ratchet.bundle.context_rows.features_of", lambda *_: pytest.fail("laid out")
    )

    with pytest.raises(DataError, match=rf"column 'day': expected times .* row 1: {day}"):
        bundle.answer(
            pd.DataFrame({"day": ["2020-07-18", day], "shop": ["x", "x"], "warm": [1.0, 1.0]})
        )


def test_nothing_is_loaded_before_it_is_needed(written, monkeypatch):
    folder = written("films")
    monkeypatch.setattr(Bundle, "models", property(lambda self: pytest.fail("models are loaded")))
    bundle = open_bundle(folder)

    assert bundle.manifest["use_case"] == "films"
    assert bundle.metrics
    assert len(bundle.reference)


# What is not whole, or not ours, is refused.


def break_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ["encoder.skops", "models/rating.skops", "context.parquet", "golden.json", "use_case.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [break_off, change_byte, lambda path: path.write_bytes(b"")])
def test_a_file_that_was_changed_is_refused(copy, name, spoil):
    folder = copy("films")
    spoil(folder / name)

    with pytest.raises(BundleError, match=rf"^{name} was changed or cut off .*bundle.*films"):
        open_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_refused(copy, name):
    folder = copy("films")
    (folder / name).unlink()

    with pytest.raises(BundleError, match=rf"^{name} is missing in bundle"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["more.txt", "models/extra.skops", ".hidden", "deep/down/x"])
def test_a_file_that_is_extra_is_refused(copy, name):
    folder = copy("films")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")

    with pytest.raises(BundleError, match=rf"^{name} is not in the manifest of bundle"):
        open_bundle(folder)


def test_a_link_is_refused(copy, tmp_path):
    folder = copy("films")
    (folder / "golden.json").rename(tmp_path / "elsewhere.json")
    (folder / "golden.json").symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(BundleError, match=r"golden\.json in bundle .* is no plain file"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["encoder.skops", "models/rating.skops", "context.parquet"])
def test_a_file_that_is_changed_after_the_bundle_was_opened_is_refused(copy, contents_of, name):
    folder = copy("films")
    bundle = open_bundle(folder)
    change_byte(folder / name)

    with pytest.raises(BundleError, match=rf"{name} was changed after it was written"):
        bundle.answer(contents_of("films").typed.tail(1))


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere/manifest\.json cannot be read: No such file"):
        open_bundle(tmp_path / "nowhere")


def put(folder: Path, name: str, content: bytes) -> None:
    """Put a file into a bundle as somebody would who may write anything: with its right hash."""
    from ratchet.bundle.manifest import sha256_hex

    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = sha256_hex(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def hostile(kind: str) -> bytes:
    import gzip
    import pickle

    import skops.io

    pickled = pickle.dumps(Bomb())
    if kind == "foreign":
        return skops.io.dumps({"model": os.mkdir})
    return gzip.compress(pickled) if kind == "gzip" else pickled


@pytest.mark.parametrize("kind", ["pickle", "gzip", "foreign"])
@pytest.mark.parametrize("name", ["encoder.skops", "models/rating.skops"])
def test_a_model_that_is_none_is_refused_and_not_run(
    copy, contents_of, kind, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = copy("films")
    put(folder, name, hostile(kind))
    bundle = open_bundle(folder)

    with pytest.raises(BundleError, match=rf"{name} cannot be loaded"):
        bundle.predict(contents_of("films").features.tail(1))
    with pytest.raises(BundleError, match=rf"{name} cannot be loaded"):
        bundle.check_golden()

    assert not Path("exploded").exists()


@pytest.mark.parametrize("kind", ["pickle", "gzip"])
@pytest.mark.parametrize("name", ["context.parquet", "use_case.json", "golden.json"])
def test_other_files_that_hold_a_pickle_are_refused_and_not_run(
    copy, contents_of, kind, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = copy("films")
    put(folder, name, hostile(kind))

    with pytest.raises(BundleError, match=rf"{name} is no (table|JSON)"):
        open_bundle(folder).check_golden()

    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "function",
    ["os.system", "pandas.eval", "ratchet.use_cases.films.pd.eval", "ratchet.webhook.send"],
)
def test_a_function_that_is_none_of_ours_is_refused_and_not_run(copy, function):
    folder = copy("films")
    named = {"function": function, "arguments": {}}
    for change in ({"derive": {"success": named}}, {"prepare": named}):
        settings = json.loads((folder / "use_case.json").read_text())
        settings["data"] |= change
        put(folder, "use_case.json", json.dumps(settings).encode())

        with pytest.raises(
            BundleError, match=rf"use_case\.json: .*'{function}' is not in ratchet\.use_cases"
        ):
            open_bundle(folder).check_golden()


@pytest.mark.parametrize("content", [b"[]", b'{"about": 1}', b'{"unknown": {}}'])
def test_parameters_that_are_none_are_refused(copy, content):
    folder = copy("films")
    put(folder, "use_case.json", content)

    with pytest.raises(BundleError, match=r"use_case\.json cannot be used"):
        open_bundle(folder).check_golden()


@pytest.mark.parametrize("column", ["prediction", "low"])
def test_an_answer_that_is_another_one_is_told(copy, column):
    folder = copy("films")
    golden = json.loads((folder / "golden.json").read_text())
    golden[1]["answers"]["rating"][column] += 0.01
    put(folder, "golden.json", json.dumps(golden).encode())
    key = golden[1]["key"]

    with pytest.raises(BundleError, match=rf"golden\.json: row {key} must get {column} .*'rating'"):
        open_bundle(folder).check_golden()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cases: cases.clear(), "has no rows"),
        (lambda cases: cases[0]["fields"].update(runtime="x"), "column 'runtime'"),
        (lambda cases: cases[0]["fields"].pop("runtime"), r"\['runtime'\] are missing"),
        (lambda cases: cases[0].update(key=5), "row 5 gets no answer"),
        (lambda cases: cases[0].pop("fields"), r"0\.fields' is missing"),
    ],
)
def test_golden_rows_that_cannot_be_rehearsed_are_told(copy, change, told):
    folder = copy("films")
    golden = json.loads((folder / "golden.json").read_text())
    change(golden)
    put(folder, "golden.json", json.dumps(golden).encode())

    with pytest.raises(BundleError, match=rf"golden\.json.*{told}"):
        open_bundle(folder).check_golden()


class Upgraded:
    """A model as it is after an upgrade of its library: it lacks what it is made of."""

    classes_ = ("low", "high")

    def _fail(self, *rows: Any) -> Any:
        raise AttributeError("'Ridge' object has no attribute 'positive'")

    transform = predict = predict_with_interval = predict_proba = _fail


@pytest.mark.parametrize("target", ["success", "rating"])
def test_whatever_a_model_raises_names_the_bundle(written, contents_of, target):
    bundle = open_bundle(written("films"))
    bundle.models[target] = Upgraded()
    told = rf"b1: the model of '{target}' fails: AttributeError: 'Ridge' object has no attribute"

    with pytest.raises(BundleError, match=told):
        bundle.predict(contents_of("films").features.tail(1))
    with pytest.raises(BundleError, match=rf"golden\.json: row \d+: .*{told}"):
        bundle.check_golden()


def test_whatever_the_encoder_raises_names_the_bundle(written, contents_of):
    bundle = open_bundle(written("films"))
    bundle.encoder = Upgraded()

    with pytest.raises(BundleError, match="b1: features cannot be encoded: AttributeError"):
        bundle.predict(contents_of("films").features.tail(1))


def test_whatever_stops_the_features_stops_the_rehearsal(written):
    bundle = open_bundle(written("films"))
    bundle.features = Upgraded().predict

    with pytest.raises(BundleError, match=r"b1/golden\.json: row \d+: AttributeError"):
        bundle.check_golden()


def test_a_naive_model_has_no_importance(contents_of, tmp_path):
    contents = replaced(contents_of("plain"), importance={})

    bundle = write_bundle(tmp_path / "b", contents, {"use_case": "plain", **RUN})

    assert bundle.importance == {}


# Writing.


def test_a_bundle_is_written_once(written, contents_of):
    with pytest.raises(BundleError, match="b1 exists already"):
        write_bundle(written("plain"), contents_of("plain"), {"use_case": "plain", **RUN})


def test_what_the_run_has_to_say_is_asked_for(contents_of, tmp_path):
    with pytest.raises(BundleError, match=r"'use_case' is missing"):
        write_bundle(tmp_path / "b", contents_of("plain"), RUN)

    assert list(tmp_path.iterdir()) == []


def test_a_function_of_somebody_else_is_told_before_anything_is_written(contents_of, tmp_path):
    contents = contents_of("films")
    derive = {"success": contents.use_case.data.derive["success"].model_copy()}
    derive["success"] = derive["success"].model_copy(update={"function": "mine.rank"})
    data = contents.use_case.data.model_copy(update={"derive": derive})
    changed = contents.use_case.model_copy(update={"data": data})

    with pytest.raises(
        UserError, match=r"'mine\.rank' is not in ratchet\.use_cases.*put it into a module"
    ):
        write_bundle(tmp_path / "b", replaced(contents, use_case=changed), RUN)

    assert list(tmp_path.iterdir()) == []


def replaced(contents: BundleContents, **changes: Any) -> BundleContents:
    from dataclasses import replace

    return replace(contents, **changes)


def test_features_that_raw_fields_do_not_give_are_told(contents_of, tmp_path):
    contents = contents_of("films")
    features = contents.features.assign(runtime=contents.features["runtime"] + 1)

    with pytest.raises(BundleError, match=r"do not give the features .*\['runtime'\] differ"):
        write_bundle(tmp_path / "b", replaced(contents, features=features), RUN)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_a_whole_bundle_or_none(contents_of, tmp_path):
    """Killed at any opening, making and renaming of a file.

    What there is at each is copied while one writer works; every sixth time another writer is
    killed there for good, and leaves the same.
    """
    contents, seen = contents_of("plain"), {"none": 0, "whole": 0}
    steps = copy_each_step(tmp_path / "calm" / "b", contents, tmp_path / "copies")

    for step, copied in enumerate(steps):
        place = copied
        if step % 6 == 0 or step == len(steps) - 1:
            place = tmp_path / str(step)
            assert dies_at(step, place / "b", contents)
            assert shape(place) == shape(copied)
        if (place / "b").exists():
            open_bundle(place / "b").check_golden()
            seen["whole"] += 1
        else:
            seen["none"] += 1
            left = place

    assert not dies_at(len(steps), tmp_path / "whole" / "b", contents)
    assert seen["none"] > 20
    assert seen["whole"] > 0
    assert [path.name[:3] for path in left.iterdir()] == [".b."]
    write_bundle(left / "b", contents, {"use_case": "plain", **RUN})  # what is left is in no way
    open_bundle(left / "b").check_golden()


def shape(folder: Path) -> dict[str, bool]:
    """Whether each file has content; names that start with a dot are random."""
    return {
        re.sub(r"(^|/)(\.[\w.]+)\.\w+(?=/)", r"\1\2", path.relative_to(folder).as_posix()): (
            path.stat().st_size > 0
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def copy_each_step(folder: Path, contents: BundleContents, copies: Path) -> list[Path]:
    """Write in a child that copies what there is before each step; the copies in their order."""

    def copy(step: int) -> None:
        shutil.copytree(folder.parent, copies / str(step))

    assert in_child(copy, folder, contents) == 0
    return sorted(copies.iterdir(), key=lambda path: int(path.name))


def dies_at(step: int, folder: Path, contents: BundleContents) -> bool:
    """Write in a child that is killed at a step; whether it was."""

    def kill(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return os.WIFSIGNALED(in_child(kill, folder, contents))


def in_child(act: Callable[[int], None], folder: Path, contents: BundleContents) -> int:
    """Write in a child that does something before each step; how it ended."""
    child = os.fork()
    if child == 0:
        steps, busy, code = count(), False, 1

        def watch(event: str, arguments: Any) -> None:
            nonlocal busy
            watched = event in ("open", "os.mkdir", "os.rename")
            if watched and not busy and str(folder.parent) in str(arguments):
                busy = True
                act(next(steps))
                busy = False

        folder.parent.mkdir()
        sys.addaudithook(watch)
        try:
            write_bundle(folder, contents, {"use_case": "plain", **RUN})
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def test_targets_are_read_as_they_were(contents_of, written):
    for kind in ("films", "shops"):
        targets = dict(contents_of(kind).use_case.targets)
        assert dict(open_bundle(written(kind)).use_case.targets) == read_targets(targets)


def test_a_bundle_has_the_test_rows_and_scores_of_the_model_that_serves(contents_of, tmp_path):
    """The scores of the run may be of models that were fitted again for each window."""
    contents = contents_of("shops")
    use_case = contents.use_case.model_copy(update={"evaluation": Evaluation(windows=2, refit=1)})
    metrics = {"sold": {"test": {"rmse": SCORE, "mase": SCORE}}}
    contents = replaced(contents, use_case=use_case, metrics=metrics)

    bundle = write_bundle(tmp_path / "b", contents, {"use_case": "shops", **RUN})

    test = contents.features[contents.features["split"] == "test"].dropna(subset=["target_sold"])
    rows = bundle.test_rows["sold"]
    errors = (rows["truth"] - rows["prediction"]).abs()
    assert rows.index.equals(test.index)
    assert rows["truth"].tolist() == test["target_sold"].tolist()
    assert rows["prediction"].equals(bundle.predict(test)["sold"]["prediction"])
    assert bundle.metrics["sold"]["test"]["mase"] == SCORE
    assert bundle.score("sold", "mase")["value"] == pytest.approx((errors / rows["scale"]).mean())

    learned = replaced(contents, test_rows={"sold": rows.assign(prediction=0.0)})
    again = write_bundle(tmp_path / "again", learned, {"use_case": "shops", **RUN})
    assert (again.test_rows["sold"]["prediction"] == 0.0).all()  # not of what learned from them


def test_a_bundle_whose_scores_are_of_its_own_model_has_no_test_rows(written):
    bundle = open_bundle(written("shops"))

    assert bundle.test_rows == {}
    assert bundle.score("sold", "rmse") == SCORE
