"""Compiled versions of rows answer as the bundle does."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.bundle.golden_rows import row_answers as told_by
from ratchet.bundle.reader import ROW_HASH, Bundle
from ratchet.bundle.writer import write_bundle
from ratchet.compiled import serialization
from ratchet.compiled.answers import RequestError
from ratchet.compiled.bundle_compiler import (
    as_row,
    check_answer,
    check_golden,
    compile_bundle,
)
from ratchet.compiled.row_answerer import compile_rows
from ratchet.compiled.serialization import NotCompilable
from ratchet.config import UseCase
from ratchet.learning.classical import build_estimator
from ratchet.preparation.contract import typed_fields
from ratchet.preparation.fingerprints import row_hashes
from tests.bundle.test_reader import (
    CANDIDATES,
    FILMS,
    RUN,
    classical,
    films,
    finished,
    made,
    stacked,
)

EVERYTHING: dict[str, Any] = {
    "about": {"title": "t", "question": "q", "source": "s"},
    "data": {
        "key": "id",
        "time": "seen",
        "required": ["price"],
        "columns": {
            "id": {"type": "string"},
            "seen": {"type": "date", "timezone": "Europe/Berlin", "nullable": False},
            "size": {"type": "number", "nullable": True, "low": 0},
            "serial": {"type": "integer"},
            "rooms": {"type": "integer", "nullable": True},
            "hour": {"type": "number", "nullable": True},
            "kind": {"type": "string", "values": ["flat", "house", "tent"]},
            "extras": {"type": "list", "nullable": True, "separator": ";"},
            "note": {"type": "string", "nullable": True},
            "history_length": {"type": "number"},
            "owner": {"type": "list", "nullable": True},
            "sold": {"type": "date", "timezone": "Europe/Berlin"},
            "price": {"type": "number", "nullable": True},
        },
        "calendar": ["month", "weekend", "dayofweek"],
        "derive": {
            "roomy": {
                "function": "ratchet.use_cases.power.beyond",
                "arguments": {"column": "size", "above": 100, "below": 50},
            },
            "time of day": {
                "function": "ratchet.use_cases.power.together",
                "arguments": {"columns": ["hour", "weekend"]},
            },
        },
    },
    "features": {
        "numeric": ["size", "serial", "history_length", "roomy", "weekend"],
        "cyclic": {"hour": 24, "month": 12},
        "categorical": ["rooms", "time of day", "dayofweek"],
        "lists": ["extras"],
        "text": ["note"],
        "min_count": 3,
        "text_components": 3,
        "history": {
            "entities": ["owner", "extras"],
            "values": {"price": "log1p", "size": None},
            "looked_up": "seen",
            "available": "sold",
        },
    },
    "targets": {
        "price": {"column": "price", "task": "regression", "candidates": CANDIDATES},
        "kind of price": {
            "column": "kind",
            "task": "classification",
            "classes": ["flat", "house", "tent"],
            "candidates": {**CANDIDATES, "forest": {"estimator": "extra_trees"}},
        },
    },
}

JOINED = EVERYTHING | {"data": EVERYTHING["data"] | {"key": ["id", "serial", "seen"]}}

WORDS = ["old mill", "at the old sea", "Sea view", "ground floor, view", "", "x", "mill at sea"]
OWNERS = ["Ann", "Bob", "Cho", "Dan"]


def houses(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    seen = pd.Timestamp("2015-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 900, n)), "D")

    def gaps(values: Any, share: float = 0.2) -> list[Any]:
        blank = rng.random(n) < share
        return [None if gap else value for value, gap in zip(values, blank, strict=True)]

    owners = [", ".join(rng.choice(OWNERS, rng.integers(0, 3))) for _ in range(n)]
    extras = [";".join(rng.choice(["lift", "pool", "sea"], rng.integers(0, 3))) for _ in range(n)]
    return pd.DataFrame(
        {
            "id": [f"h{i}" for i in range(n)],
            "seen": seen,
            "size": gaps(rng.uniform(20, 300, n).round(1)),
            "serial": 10**9 + np.arange(n),
            "rooms": pd.array(gaps(rng.integers(1, 4, n).tolist()), "Int64"),
            "hour": gaps(rng.integers(0, 24, n).astype(float)),
            "kind": rng.choice(["flat", "house", "tent"], n),
            "extras": extras,
            "note": gaps(rng.choice(WORDS, n)),
            "history_length": rng.normal(size=n),
            "owner": gaps(owners),
            "sold": seen + pd.to_timedelta(rng.integers(0, 60, n), "D"),
            "price": gaps(rng.uniform(1, 9, n), 0.05),
        }
    )


MARKET: dict[str, Any] = {
    "about": EVERYTHING["about"],
    "data": {
        "key": ["shop", "article", "week"],
        "time": "week",
        "columns": {
            "shop": {"type": "string"},
            "article": {"type": "integer"},
            "week": {"type": "date", "timezone": "Europe/Berlin"},
            "price": {"type": "number"},
            "leaflet": {"type": "number", "nullable": True},
            "kind": {"type": "string"},
            "sold": {"type": "number"},
        },
    },
    "features": {"categorical": ["kind"], "min_count": 3},
    "market": {
        "merchant": "shop",
        "product": "article",
        "price": "price",
        "covariates": ["leaflet"],
        "season": 12,
    },
    "targets": {
        "sold": {
            "column": "sold",
            "task": "regression",
            "learn": "log",
            "bounds": [0, math.inf],
            "confidence": 0.8,
            "baseline": "last",
            "candidates": {
                "last": {"estimator": "last_value"},
                "both": {"estimator": "demand_boosting"},
            },
        }
    },
}


def sales() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    weeks = pd.date_range("2019-12-30", periods=60, freq="7D")  # over both changes of the clock
    rows = pd.DataFrame(
        [(shop, article, week) for week in weeks for shop in "abc" for article in (1, 20)],
        columns=["shop", "article", "week"],
    )
    rows["price"] = rng.uniform(1, 4, len(rows)).round(2)
    rows["leaflet"] = np.where(rng.random(len(rows)) < 0.1, np.nan, rng.random(len(rows)) < 0.3)
    rows["kind"] = rng.choice(["x", "y"], len(rows))
    noise = rng.normal(scale=0.2, size=len(rows))
    rows["sold"] = np.exp(4 - 2 * np.log(rows["price"]) + noise).round(1)
    rows.loc[::50, "sold"] = 0.0
    rows.loc[7::60, "price"] = -1.0
    return rows


def demand(target: Any, train: pd.DataFrame, validation: pd.DataFrame) -> Any:
    sizes = {
        "demand__search": False,
        "demand__period": 12,
        "boosting__estimator__model__max_iter": 9,
    }
    model = build_estimator("regression", "demand_boosting", 0).set_params(**sizes)
    return finished(model, target, train, validation, "classical")


KINDS: dict[str, tuple[dict[str, Any], Callable[[], pd.DataFrame], Callable[..., Any]]] = {
    "films": (FILMS, films, classical()),
    "stack": (FILMS, films, stacked),
    "everything": (EVERYTHING, houses, classical()),
    "joined": (JOINED, houses, classical()),
    "market": (MARKET, sales, demand),
}


@pytest.fixture(scope="module")
def version(tmp_path_factory) -> Callable[[str], tuple[Bundle, Any]]:
    base = tmp_path_factory.mktemp("bundles")

    @cache
    def get(kind: str) -> tuple[Bundle, Any]:
        parameters, raw, fit = KINDS[kind]
        contents = made(kind, raw(), UseCase.model_validate(parameters), fit)
        folder: Path = base / kind
        bundle = write_bundle(folder, contents, {"use_case": kind, **RUN})
        return bundle, serialization.loads(serialization.dumps(compile_bundle(bundle)))

    return get


def hold(bundle: Bundle, answerer: Any, row: dict[str, Any], key: Any) -> None:
    """Hold the answer for a row, and the hash of the row, against those of the bundle."""
    (answer,) = answerer.answer([row])
    typed = typed_fields(pd.DataFrame([row]), bundle.use_case)
    assert answer.row_hash == row_hashes(typed, bundle.use_case)[str(key)]
    check_answer(answer, key, told_by(bundle.answer(pd.DataFrame([row])), key), 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_golden_rows_get_their_answers(version, kind):
    bundle, answerer = version(kind)

    check_golden(answerer, bundle.golden)
    known = bundle.rows[ROW_HASH].set_axis(bundle.rows.index.astype(str))
    for case in bundle.golden:
        (answer,) = answerer.answer([case["fields"]])
        assert answer.row_hash == known[str(case["key"])]


def _readable(moment: dt.datetime) -> str:
    """A time of the clock of Berlin that there is."""
    return (moment.replace(hour=0) if moment.hour == 2 else moment).isoformat()


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "shop": st.sampled_from(["a", "b", "new", "a|b"]),
            "article": st.sampled_from([1, 20, 3]),
            "week": st.datetimes(dt.datetime(2019, 1, 1), dt.datetime(2023, 1, 1)).map(_readable),
            "price": st.floats(0.01, 1e3),
            "kind": st.sampled_from(["x", "y", "z"]),
        },
        optional={"leaflet": st.one_of(st.none(), st.floats(0, 1))},
    )
)
def test_any_row_of_a_market_is_answered_as_by_the_bundle(version, row):
    moment = dt.datetime.fromisoformat(row["week"])
    zoned = pd.Timestamp(moment, tz="Europe/Berlin").isoformat()
    day = row["week"][:10] if moment.time() == dt.time() else zoned
    shop = row["shop"].replace("|", "\\|")

    hold(*version("market"), row, f"{shop}|{row['article']}|{day}")


@pytest.mark.parametrize("price", [0, -1.5, 0.0])
def test_a_price_that_has_no_logarithm_is_refused(version, price):
    bundle, answerer = version("market")
    row = dict(bundle.golden[0]["fields"]) | {"price": price}

    with pytest.raises(RequestError, match="field 'price': expected a finite number above 0"):
        answerer.answer([row])


names = st.lists(st.sampled_from([*OWNERS, "Eve", "lift"]), max_size=5)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["h1", "h30", "h200", "new"]),
            "seen": st.datetimes(dt.datetime(2014, 1, 1), dt.datetime(2019, 1, 1)).map(_readable),
            "serial": st.integers(10**9 - 5, 10**9 + 500),
            "history_length": st.floats(-9e18, 9e18),
        },
        optional={
            "size": st.one_of(st.none(), st.floats(0, 1e6), st.integers(0, 50)),
            "rooms": st.one_of(st.none(), st.integers(-1, 5), st.sampled_from(["2", 3.0, "9"])),
            "hour": st.one_of(st.none(), st.integers(-5, 50).map(float)),
            "extras": st.one_of(st.none(), names, names.map(";".join)),
            "note": st.one_of(
                st.none(),
                st.sampled_from(WORDS),
                st.text(alphabet="sea mil vOLDÄß-_1", max_size=30),
            ),
            "owner": st.one_of(st.none(), names, names.map(", ".join)),
        },
    )
)
def test_any_row_is_answered_as_by_the_bundle(version, row):
    hold(*version("everything"), row, row["id"])


def test_a_row_that_several_columns_name_is_answered_by_its_joined_key(version):
    bundle, answerer = version("joined")
    row = dict(bundle.golden[0]["fields"])
    changes = [{}, {"seen": "2017-06-01T12:30:00"}, {"id": "a|b\\", "serial": 7}]

    keys = [answer.key for answer in answerer.answer([row | change for change in changes])]

    day = row["seen"][:10]
    assert keys == [
        f"{row['id']}|{row['serial']}|{day}",
        f"{row['id']}|{row['serial']}|2017-06-01T12:30:00+02:00",
        f"a\\|b\\\\|7|{day}",
    ]
    for key, change in zip(keys, changes, strict=True):
        hold(bundle, answerer, row | change, key)
    with pytest.raises(RequestError, match="no two rows of one 'id' and 'serial' and 'seen'"):
        answerer.answer([row, row])


def test_rows_of_a_request_are_answered_each_by_itself(version):
    bundle, answerer = version("everything")
    rows = [case["fields"] for case in bundle.golden]

    together = answerer.answer(rows)

    assert [answer.key for answer in together] == [case["key"] for case in bundle.golden]
    for answer, row in zip(together, rows, strict=True):
        (alone,) = answerer.answer([row])
        told = {name: as_row(prediction) for name, prediction in alone.predictions.items()}
        check_answer(answer, alone.key, told)
    assert answerer.answer([]) == []


def test_an_answer_tells_its_time_in_utc_and_what_was_not_given(version):
    bundle, answerer = version("everything")
    row = dict(bundle.golden[0]["fields"]) | {"seen": "2016-06-01T12:00:00", "note": None}
    del row["hour"]

    (answer,) = answerer.answer([row])

    assert answer.time == dt.datetime(2016, 6, 1, 10)
    assert {"hour", "note"} <= set(answer.not_given)
    assert "price" not in answer.not_given
    (full,) = answerer.answer([row | {"hour": 3, "note": "x", "size": 9, "rooms": 2, "owner": "A"}])
    assert not {"hour", "note", "size", "rooms", "owner"} & set(full.not_given)


def test_a_number_that_models_cannot_hold_is_refused(version):
    bundle, answerer = version("everything")
    row = dict(bundle.golden[0]["fields"]) | {"history_length": 1e39}

    with pytest.raises(RequestError, match="models hold numbers up to") as refused:
        answerer.answer([row])

    assert refused.value.field == "history_length"


def test_another_answer_is_not_taken_for_the_golden_one(version):
    bundle, answerer = version("films")
    case = bundle.golden[0]
    answers = case["answers"] | {"rating": case["answers"]["rating"] | {"low": 0.1234}}

    with pytest.raises(NotCompilable, match=r"must get low 0.1234 for 'rating'"):
        check_golden(answerer, [case | {"answers": answers}])


def test_a_derived_feature_without_a_compiled_form_is_named():
    use_case = UseCase.model_validate(FILMS | {"features": {"categorical": ["success"]},
        "targets": {"rating": FILMS["targets"]["rating"]}})  # fmt: skip

    with pytest.raises(NotCompilable, match="success"):
        compile_rows(use_case, None, {}, None, {})


CHILD = """
import json, sys
from pathlib import Path
from ratchet.compiled.serialization import loads
answerer = loads(Path(sys.argv[1]).read_bytes())
(answer,) = answerer.answer([json.loads(sys.argv[2])])
heavy = ("pandas", "sklearn", "scipy", "xgboost", "pandera", "keras", "tensorflow")
print(answer.key, *(name for name in heavy if name in sys.modules))
"""


def test_answering_loads_none_of_the_libraries(version, tmp_path):
    bundle, answerer = version("everything")
    (tmp_path / "version").write_bytes(serialization.dumps(answerer))
    case = bundle.golden[0]
    command = [sys.executable, "-c", CHILD, str(tmp_path / "version"), json.dumps(case["fields"])]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [case["key"]]
