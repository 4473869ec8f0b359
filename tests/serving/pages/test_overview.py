"""The database makes the sums, and what is not there is not shown."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.monitoring.log_table import PREDICTIONS, LogTable
from ratchet.registry.ledger import Ledger
from ratchet.serving.overview import Classes, Overview, Score

NOW = dt.datetime.now(dt.UTC).replace(tzinfo=None)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'all.db'}"


def answer(number: int, **values: object) -> dict[str, object]:
    names = [column.name for column in PREDICTIONS.columns if column.name != "id"]
    return {
        **dict.fromkeys(names),
        "use_case": "films",
        "target": "rating",
        "row_key": str(number),
        "version": "3",
        "arm": "champion",
        "source": "service",
        "request": str(number),
        "failed": False,
        "predicted_at": NOW,
        **values,
    }


def write(url: str, *rows: dict[str, object]) -> None:
    engine = sa.create_engine(url)
    LogTable(engine).insert(list(rows))
    engine.dispose()


def test_classes_are_counted_by_target(url, tmp_path):
    labels = ["Alto", "Bajo", "Bajo"]
    rows = [answer(n, target="success", prediction_label=name) for n, name in enumerate(labels)]
    old = answer(9, prediction_label="Alto", predicted_at=NOW - dt.timedelta(days=8))
    shadow = answer(10, target="success", prediction_label="Alto", arm="shadow", version="4")
    write(url, *rows, old, shadow)

    found = Overview(url, tmp_path).read(["films"])

    assert found.classes == [Classes("films", "success", {"Bajo": 2, "Alto": 1})]
    assert found.classes[0].total == 3


def test_scores_are_those_of_rows_whose_truth_is_known(url, tmp_path):
    known = {"truth_at": NOW, "low": 2.0, "high": 4.0}
    write(
        url,
        answer(1, prediction_value=3.0, truth_value=3.5, **known),
        answer(2, prediction_value=3.0, truth_value=4.5, **known),
        answer(3, prediction_value=3.0),
        answer(4, target="success", prediction_label="A", truth_label="A", truth_at=NOW),
        answer(5, target="success", prediction_label="A", truth_label="B", truth_at=NOW),
        answer(
            6,
            target="success",
            arm="shadow",
            truth_at=NOW,
            prediction_label="A",
            truth_label="A",
            version="4",
        ),
    )

    found = Overview(url, tmp_path).read(["films"])

    assert found.scores == [
        Score("films", "rating", "3", "champion", 2, None, 1.0, 0.5),
        Score("films", "success", "4", "shadow", 1, 1.0, None, None),
        Score("films", "success", "3", "champion", 2, 0.5, None, None),
    ]


def test_decisions_come_newest_first(url, tmp_path):
    engine = sa.create_engine(url)
    ledger = Ledger(engine)
    for number, event in enumerate(("promote", "hold")):
        ledger.append(
            "films",
            event,
            version=str(number),
            champion="0",
            previous=None,
            actor=("feee9352c8f449118ff214c673778ed6", "ann")[number],
            reason="because",
            details={},
            expect=number,
        )

    found = Overview(url, tmp_path).read(["films"])

    assert [each["event"] for each in found.decisions] == ["hold", "promote"]
    assert [each["actor"] for each in found.decisions] == ["ann", "run feee9352"]
    engine.dispose()


WATCH = {
    "action": "none",
    "reason": "as it should be",
    "numbers": {},
    "alerts": [{"name": "x", "level": "warning", "text": "slow", "advice": "look", "value": 1}],
    "drift": {
        "columns": {"a": {"text": "a moved", "moved": True}, "b": {"text": "b", "moved": False}},
        "joint": {"text": "together", "moved": False},
    },
}


def test_what_the_monitoring_wrote_is_shown(url, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "watch.json").write_text(json.dumps(WATCH))

    [found] = Overview(url, tmp_path).read(["films", "power"]).watched

    assert (found.use_case, found.reason) == ("films", "as it should be")
    assert found.alerts == [{"level": "warning", "text": "slow", "advice": "look"}]
    assert (found.drifted, found.compared) == (["a moved"], True)


@pytest.mark.parametrize("content", ["", "[]", '{"action": 1}', '{"alerts": null, "drift": 7}'])
def test_a_file_that_cannot_be_read_is_left_out(url, tmp_path, content):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "watch.json").write_text(content)

    assert Overview(url, tmp_path).read(["films"]).watched == []


def test_an_empty_database_and_one_that_is_not_there_are_no_failure(url, tmp_path):
    assert Overview(url, tmp_path).read([]).trouble is None
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be looked at" * 30)

    found = Overview(f"sqlite:///{damaged}", tmp_path).read([])

    assert found.trouble.startswith("the database does not answer")
    assert str(tmp_path) not in found.trouble


def test_it_is_read_once_in_a_while(url, tmp_path):
    now = [0.0]
    overview = Overview(url, tmp_path, clock=lambda: now[0])
    before = overview.read([])
    write(url, answer(1, prediction_label="A"))

    assert overview.read([]) is before
    now[0] = 6.0
    assert len(overview.read([]).classes) == 1
