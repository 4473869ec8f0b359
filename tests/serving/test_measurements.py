"""Measurements that are handed in are written down, and seen by every version."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.compiled.answers import RequestError
from ratchet.compiled.bundle_compiler import compile_bundle
from ratchet.compiled.series_answerer import SeriesAnswerer
from ratchet.database import connect
from ratchet.monitoring.measurements import Measurements
from ratchet.serving.bundle_worker import (
    BundleAnswerer,
    RecentRows,
    Retention,
    SlowAnswerer,
)
from ratchet.serving.measurements import StoredMeasurements, take
from ratchet.serving.protocols import Fixed, IngestResult, Serving, UnavailableError
from ratchet.serving.version_loader import LoadRequest
from ratchet.serving.version_transfer import VersionSource
from tests.compiled.test_series_answerer import as_rows, days, hours, made, parameters, shops


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(parameters(), hours(360), tmp_path_factory.mktemp("bundles") / "hours")


def serving_of(bundle: Bundle, version: str = "1") -> Serving:
    answerer = compile_bundle(bundle)
    since = datetime(2024, 1, 1, tzinfo=UTC)
    return Serving(bundle.use_case, "power", version, "", since, answerer, {})


class Place:
    """A serving process: its versions, and the store that it shares with others."""

    def __init__(self, folder: Path, versions: Sequence[Serving]) -> None:
        self.versions = list(versions)
        self.table = Measurements(connect(f"sqlite:///{folder / 'store.db'}"))
        self.store = StoredMeasurements(self.table, Fixed(versions[:1]), lambda _: self.versions)

    def take(self, rows: Sequence[dict[str, Any]]) -> IngestResult:
        return asyncio.run(self.store.take("power", rows, "key of the meter"))

    def answers(self, row: dict[str, Any]) -> list[float | str]:
        return [
            version.answerer.answer([row])[0].predictions["demand"].value  # type: ignore[union-attr,index]
            for version in self.versions
        ]


ROWS = as_rows(hours(400)[360:370])
ASKED = {"at": ROWS[8]["at"], "warmth": 9.0}
PLAN = {"at": ROWS[7]["at"], "warmth": 9.0}


def test_every_version_of_every_process_sees_them(bundle, tmp_path):
    here = Place(tmp_path, [serving_of(bundle), serving_of(bundle, "2")])
    there = Place(tmp_path, [serving_of(bundle)])

    assert here.take(ROWS[:4]) == IngestResult(new=4)
    assert there.take([*ROWS[2:7], PLAN]) == IngestResult(new=4, same=2)
    here.store.catch_up("power")

    first, second = here.answers(ASKED)
    assert first == second == there.answers(ASKED)[0]
    (row, *_) = here.table.rows("power")
    assert row.source == "key of the meter"
    assert row.fields == {"load": ROWS[0]["load"], "warmth": ROWS[0]["warmth"]}


def test_an_older_copy_of_the_database_hides_no_later_measurement(bundle, tmp_path):
    here, there = (Place(tmp_path / name, [serving_of(bundle)]) for name in ("here", "there"))
    path, copy = tmp_path / "here" / "store.db", tmp_path / "copy.db"
    here.take(ROWS[:2])
    shutil.copy(path, copy)
    here.take(ROWS[2:6])
    copy.rename(path)

    assert here.take([ROWS[6], PLAN]) == IngestResult(new=2)
    there.take([*ROWS[:7], PLAN])
    assert here.answers(ASKED) == there.answers(ASKED)


def test_a_version_that_comes_later_is_brought_up_to_date(bundle, tmp_path):
    place = Place(tmp_path, [serving_of(bundle)])
    place.take([*ROWS[:7], PLAN])
    later = serving_of(bundle, "2")
    with pytest.raises(RequestError, match="measurements that are missing"):
        later.answerer.answer([ASKED])  # type: ignore[union-attr]

    place.store.prepare(later)
    place.versions.append(replace(later, since=datetime(2025, 1, 1, tzinfo=UTC)))

    first, second = place.answers(ASKED)
    assert first == second


def test_a_correction_is_seen(bundle, tmp_path):
    place = Place(tmp_path, [serving_of(bundle)])
    place.take([*ROWS[:7], PLAN])
    before = place.answers(ASKED)

    assert place.take([{**ROWS[6], "load": 99.0}]) == IngestResult(new=0, changed=1)

    assert place.answers(ASKED) != before


def test_nothing_is_written_where_a_row_is_wrong(bundle, tmp_path):
    place = Place(tmp_path, [serving_of(bundle)])
    wrong = [{**ROWS[1], "load": -1}, {**ROWS[1], "at": "2020-04-04T03:30+02:00"}, {"load": 1}]

    for row in wrong:
        with pytest.raises(RequestError) as caught:
            place.take([ROWS[0], row])
        assert caught.value.row == 1

    assert place.table.rows("power") == []


def test_what_a_version_cannot_take_is_left_out(bundle, tmp_path, caplog):
    """It was handed in under another contract."""
    place = Place(tmp_path, [serving_of(bundle)])
    data = bundle.use_case.data
    free = data.columns["load"].model_copy(update={"low": None})
    other = bundle.use_case.model_copy(
        update={"data": data.model_copy(update={"columns": {**data.columns, "load": free}})}
    )
    slow = replace(place.versions[0], use_case=other, answerer=object())  # type: ignore[arg-type]
    store = StoredMeasurements(place.table, Fixed([slow]), lambda _: place.versions)

    asyncio.run(store.take("power", [ROWS[0], {**ROWS[1], "load": -1}, *ROWS[2:7], PLAN], None))

    assert "a measurement is left out" in caplog.text
    answerer = place.versions[0].answerer
    assert isinstance(answerer, SeriesAnswerer)
    assert len(answerer.steps) > 0
    known = answerer.steps.laid["load"][-8:, 0]
    assert known[0] == ROWS[0]["load"]
    assert known[1] != known[1]


def test_one_on_which_a_version_fails_keeps_no_other_from_it(caplog):
    seen: list[dict[str, Any]] = []

    class Failing:
        def answer(self, rows: Sequence[Any]) -> list[Any]:
            return []

        def observe(self, rows: Sequence[Any]) -> None:
            if any(row["load"] in (7, 8, 3_000) for row in rows):
                raise ValueError("cannot reshape")
            seen.extend(rows)

    rows = [{"load": number} for number in range(5_000)]
    take(Failing(), rows)

    assert seen == [row for row in rows if row["load"] not in (7, 8, 3_000)]  # in their order
    assert caplog.text.count("a measurement is left out") == 3


def test_series_are_told_apart_by_name(tmp_path):
    bundle = made(shops(), days(140), tmp_path / "shops")
    place = Place(tmp_path, [replace(serving_of(bundle), name="power")])
    rows = as_rows(days(150))
    later = [row for row in rows if row["day"] >= "2020-05-20"]

    assert place.take(later) == IngestResult(new=len(later))

    assert {row.series for row in place.table.rows("power")} == {"a", "b", "c"}
    assert place.take(later) == IngestResult(new=0, same=len(later))


def test_a_version_on_the_slow_path_sees_them_too(bundle, tmp_path):
    compiled = serving_of(bundle)
    place = Place(tmp_path, [compiled])
    place.take([*ROWS[:7], PLAN])
    slow = BundleAnswerer(open_bundle(bundle.folder))
    with pytest.raises(RequestError, match=r"load was measured last at 2020-04-04 00:00.* between"):
        slow.answer([ASKED])

    slow.observe([{**ROWS[0], "load": 99.0}])
    slow.observe([*ROWS[:7], PLAN])

    (answer,) = slow.answer([ASKED])
    assert answer.predictions["demand"].value == pytest.approx(place.answers(ASKED)[0], rel=1e-6)


def test_a_process_that_answers_is_told_once(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys\n"
        "from ratchet.compiled.answers import Answer, Prediction\n"
        "from ratchet.serving import bundle_worker\n"
        "class Counts:\n"
        "    seen = 0\n"
        "    def observe(self, rows): self.seen += len(rows)\n"
        "    def answer(self, rows): return [Answer('a', {'t': Prediction(float(self.seen))})]\n"
        "bundle_worker.main(lambda request: Counts())\n"
    )
    request = LoadRequest(VersionSource("", "", ""), [("power", "1", None)])

    async def ask() -> list[Any]:
        slow = SlowAnswerer(request, [sys.executable, str(program)])
        slow.observe(ROWS[:3])
        first = await slow.answer([ASKED])
        slow.observe(ROWS[3:5])
        second = await slow.answer([ASKED])
        await slow.stop()  # another process has to be told all of it
        third = await slow.answer([ASKED])
        await slow.stop()
        return [answers[0].predictions["t"].value for answers in (first, second, third)]

    assert asyncio.run(ask()) == [3.0, 5.0, 5.0]


def test_the_slow_path_retains_what_forecasts_look_back_at(bundle):
    slow, retained = BundleAnswerer(open_bundle(bundle.folder)), RecentRows()
    retention = slow.retention
    retained.restart(retention)
    *rows, next_row = as_rows(hours(6_001)[360:])

    for start in range(0, len(rows), 1_880):
        retained.add(rows[start : start + 1_880])
        slow.observe(rows[start : start + 1_880])

    hour = 3_600
    assert len(slow._bundle.context) <= retention.seconds / hour + 2
    assert len(retained) <= retention.seconds / hour + 2 + 1_880
    assert retained.take_unsent()[-1] == rows[-1]
    retained.restart(retention)
    assert len(retained.take_unsent()) == len(retained)  # for a process that is started anew
    expected = compile_bundle(bundle)
    expected.observe(rows)
    asked = {"at": next_row["at"], "warmth": 9.0}
    (slowly,), (quickly,) = slow.answer([asked]), expected.answer([asked])
    value = quickly.predictions["demand"].value
    assert slowly.predictions["demand"].value == pytest.approx(value, rel=1e-6)


def test_the_last_row_of_a_series_that_has_ended_is_retained():
    retained = RecentRows()
    retained.restart(Retention("day", ["shop"], 10 * 86_400))
    days = [f"20{year}-01-{day:02}" for year in range(10, 60) for day in range(1, 29)]

    retained.add([{"day": "2009-01-01", "shop": "b"}, {"day": "2009-01-02", "shop": "b"}])
    retained.add([{"day": day, "shop": "a"} for day in days])

    left = [(row["shop"], row["day"]) for row in retained.take_unsent()]
    assert left[0] == ("b", "2009-01-02")
    assert {shop for shop, _ in left[1:]} == {"a"}
    assert left[-1] == ("a", "2059-01-28")
    assert len(left) == 1 + 1 + 11


def test_without_the_database_they_can_be_handed_in_again_later(bundle, tmp_path):
    place = Place(tmp_path, [serving_of(bundle)])
    (tmp_path / "store.db").write_text("something else than a database, and long enough for it")

    with pytest.raises(UnavailableError, match="again later") as caught:
        place.take(ROWS[:4])

    assert str(tmp_path) not in str(caught.value)


def test_any_number_of_measurements_may_be_left_out():
    """They are many where a version has another contract; the others are taken."""
    taken: list[dict[str, Any]] = []

    class Refuses:
        def observe(self, rows: list[dict[str, Any]]) -> None:
            for number, row in enumerate(rows):
                if row["load"] % 10:
                    raise RequestError("expected tens", row=number)
            taken.extend(rows)

    take(Refuses(), [{"load": load} for load in range(2_000)])  # type: ignore[arg-type]

    assert [row["load"] for row in taken] == list(range(0, 2_000, 10))
