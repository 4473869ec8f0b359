"""The prediction log: nothing twice, nothing lost, no truth replaced in silence."""

import logging
import math
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from ratchet import values
from ratchet.database import connect
from ratchet.errors import ConfigError, DatabaseError
from ratchet.monitoring import log_table
from ratchet.monitoring.log_table import HASH_HEAD, KEY, PREDICTIONS
from ratchet.monitoring.performance import latest_answers
from ratchet.monitoring.prediction_log import PredictionLog

NOW = datetime(2024, 5, 6, 12)
HOW = {"arm": "champion", "source": "batch", "at": NOW}


def numbers(size=3, first=0):
    keys = [f"row {i}" for i in range(first, first + size)]
    return pd.DataFrame({"prediction": np.arange(float(size))}, index=keys)


def classes():
    return pd.DataFrame(
        {
            "prediction": ["yes", "no"],
            "probability_yes": [0.75, 0.25],
            "probability_no": [0.25, 0.75],
        },
        index=["a", "b"],
    )


def in_memory():
    return PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))


# What goes in comes out.


def test_numbers_come_back_as_they_went_in(log):
    rows = numbers().assign(low=[-math.inf, 0.5, 1.5], high=[0.5, 1.5, math.inf])

    assert log.write("films", "3", {"rating": rows}, latency_ms=1.5, **HOW) == 3

    read = log.rows("films")
    pd.testing.assert_frame_equal(
        read[["prediction", "low", "high"]], rows.rename_axis("row_key"), check_dtype=True
    )
    assert read["latency_ms"].tolist() == [1.5] * 3
    assert read["truth"].isna().all()
    assert not read["failed"].any()
    assert set(read["predicted_at"]) == {pd.Timestamp(NOW)}


def test_classes_come_back_with_their_probabilities(log):
    log.write("films", "3", {"success": classes()}, **HOW)

    read = log.rows("films", "success")

    assert read["prediction"].tolist() == ["yes", "no"]
    assert read[["probability_yes", "probability_no"]].to_numpy().tolist() == [
        [0.75, 0.25],
        [0.25, 0.75],
    ]


def test_terms_of_a_series_come_back(log):
    times = pd.to_datetime(["2024-05-01", "2024-05-02"])
    rows = pd.DataFrame(
        {"prediction": [1.0, 2.0], "series": "a", "time": times, "scale": 0.5, "rms": 0.75},
        index=["a@2024-05-01", "a@2024-05-02"],
    )

    log.write("stock", "1", {"units": rows}, **HOW)

    read = log.rows("stock")
    assert read["row_time"].tolist() == list(times)
    assert read[["scale", "rms"]].to_numpy().tolist() == [[0.5, 0.75]] * 2
    assert set(read["series"]) == {"a"}


def test_a_truth_among_the_predictions_is_left_out(log):
    log.write("films", "3", {"rating": numbers().assign(truth=1.0)}, **HOW)

    assert log.rows("films")["truth"].isna().all()


def test_times_may_come_beside_the_rows(log):
    times = pd.Series({"row 0": NOW, "row 1": pd.NaT})

    log.write("films", "3", {"rating": numbers()}, times=times, **HOW)

    assert log.rows("films")["row_time"].dropna().to_dict() == {"row 0": pd.Timestamp(NOW)}


def test_moments_are_kept_in_utc(log):
    east = timezone(timedelta(hours=2))
    times = pd.Series(pd.Timestamp("2024-05-06 02:00", tz=east), index=["row 0"])

    log.write("films", "3", {"rating": numbers(1)}, times=times, arm="champion", source="batch",
              at=datetime(2024, 5, 6, 14, tzinfo=east))  # fmt: skip

    read = log.rows("films").iloc[0]
    assert read["row_time"] == pd.Timestamp("2024-05-06 00:00")
    assert read["predicted_at"] == pd.Timestamp("2024-05-06 12:00")


def test_an_empty_log_has_the_columns_of_a_full_one(log):
    empty = log.rows("films")
    log.write("films", "3", {"rating": numbers()}, **HOW)

    assert list(empty.columns) == list(log.rows("films").columns)
    assert empty.empty


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_answer_that_is_not_finite_is_a_failed_one(log, bad):
    log.write("films", "3", {"rating": numbers().assign(prediction=[1.0, bad, 2.0])}, **HOW)

    read = log.rows("films")
    assert read["failed"].tolist() == [False, True, False]
    assert read["error"].dropna().to_dict() == {"row 1": "the model gave no finite answer"}
    assert read["prediction"].isna().tolist() == [False, True, False]


def test_probabilities_that_are_not_finite_are_a_failed_answer(log):
    log.write("films", "3", {"success": classes().assign(probability_no=[0.25, np.nan])}, **HOW)

    assert log.rows("films")["failed"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["1", "2", "3", "4"]),
        ({"target": "rating"}, ["1", "2", "4"]),
        ({"target": "success"}, ["3", "4"]),
        ({"version": "2"}, ["2"]),
        ({"arm": "shadow"}, ["2"]),
        ({"since": NOW}, ["1", "3", "4"]),
    ],
)
def test_rows_are_those_that_were_asked_for(log, wanted, found):
    def write(key, version, target, arm, time):
        rows = pd.DataFrame({"prediction": [1.0], "time": [time]}, index=[key])
        log.write("films", version, {target: rows}, arm=arm, source="batch", at=NOW)

    write("1", "1", "rating", "champion", pd.NaT)
    write("2", "2", "rating", "shadow", NOW - timedelta(days=1))
    write("3", "1", "success", "champion", NOW)
    log.write_error("films", "1", "4", "broken", **HOW)
    write("5", "1", "rating", "champion", NOW)
    with log._table.engine.begin() as connection:  # of another use case
        connection.execute(sa.text("UPDATE ratchet_predictions SET use_case='x' WHERE row_key='5'"))

    assert sorted(log.rows("films", **wanted).index) == found


# Nothing twice.


def test_what_was_written_is_not_written_again(log):
    assert log.write("films", "3", {"rating": numbers(3)}, **HOW) == 3
    later = {**HOW, "at": NOW + timedelta(days=1)}

    assert log.write("films", "3", {"rating": numbers(5) + 1}, **later) == 2

    read = log.rows("films")
    assert read["prediction"].tolist() == [0.0, 1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "other",
    [{"version": "4"}, {"arm": "shadow"}, {"source": "service"}, {"request": "second"}],
)
def test_other_answers_for_the_same_row_are_kept(log, other):
    first = {"version": "3", **HOW}
    log.write("films", predictions={"rating": numbers(1)}, **first)

    assert log.write("films", predictions={"rating": numbers(1)}, **first | other) == 1
    assert len(log.rows("films")) == 2


def test_a_row_that_failed_can_still_be_answered(log):
    assert log.write_error("films", "3", "row 0", "broken", target="rating", **HOW) == 1
    assert log.write_error("films", "3", "row 0", "broken", target="rating", **HOW) == 0

    assert log.write("films", "3", {"rating": numbers(1)}, **HOW) == 1
    assert log.rows("films")["failed"].tolist() == [True, False]


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6))
@settings(max_examples=25, deadline=None)
def test_in_whatever_portions_it_is_written_every_row_is_there_once(portions):
    log = in_memory()
    keys = {key for portion in portions for key in portion}

    new = sum(
        log.write(
            "films",
            "3",
            {"rating": pd.DataFrame({"prediction": 1.0}, index=[str(key) for key in portion])},
            **HOW,
        )
        for portion in portions
    )

    assert new == len(keys)
    assert sorted(log.rows("films").index) == sorted(str(key) for key in keys)


def _write_forever(url, started):
    log = PredictionLog(connect(url))
    for portion in range(1000):
        rows = numbers(200, first=200 * portion)
        log.write("films", "3", {"rating": rows}, **HOW)
        log.join_truth("films", "rating", rows["prediction"] + 1, NOW)
        if portion == 2:
            started.set()


@pytest.mark.parametrize("rounds", [3])
def test_killed_in_the_middle_and_run_again_nothing_is_lost_or_twice(tmp_path, rounds):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    context = multiprocessing.get_context("fork")
    for _ in range(rounds):
        started = context.Event()
        writer = context.Process(target=_write_forever, args=(url, started))
        writer.start()
        assert started.wait(60)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    log = PredictionLog(connect(url))
    left = log.rows("films")

    assert len(left) % 200 == 0  # all of a call or nothing
    assert left.index.is_unique
    rows = numbers(len(left) + 100)
    assert log.write("films", "3", {"rating": rows}, **HOW) == 100
    log.join_truth("films", "rating", rows["prediction"] + 1, NOW)
    read = log.rows("films").loc[rows.index]
    assert (read["truth"] == rows["prediction"] + 1).all()


# Truth.


def test_truth_is_joined_to_every_answer_for_the_row(log):
    log.write("films", "3", {"rating": numbers(2)}, **HOW)
    log.write("films", "2", {"rating": numbers(2)}, **HOW | {"arm": "shadow"})

    later = NOW + timedelta(days=7)
    assert log.join_truth("films", "rating", pd.Series({"row 0": 4.5, "row 9": 1.0}), later) == 2

    read = log.rows("films").loc["row 0"]
    assert read["truth"].tolist() == [4.5, 4.5]
    assert set(read["truth_at"]) == {pd.Timestamp(later)}
    assert log.rows("films").loc["row 1", "truth"].isna().all()


def test_truth_of_classes_is_joined(log):
    log.write("films", "3", {"success": classes()}, **HOW)

    assert log.join_truth("films", "success", pd.Series({"a": "no", "b": None}), NOW) == 1

    assert log.rows("films")["truth"].dropna().to_dict() == {"a": "no"}


def test_truth_stays_with_its_target_and_use_case(log):
    log.write("films", "3", {"rating": numbers(1), "other": numbers(1)}, **HOW)
    log.write("books", "3", {"rating": numbers(1)}, **HOW)

    assert log.join_truth("films", "rating", pd.Series({"row 0": 1.0}), NOW) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_truth(log, bad):
    log.write("films", "3", {"rating": numbers(2)}, **HOW)

    assert log.join_truth("films", "rating", pd.Series({"row 0": bad, "row 1": 2.0}), NOW) == 1
    assert log.join_truth("films", "rating", pd.Series({"row 1": bad}), NOW) == 0

    assert log.rows("films")["truth"].dropna().to_dict() == {"row 1": 2.0}


def test_the_same_truth_again_changes_nothing(log, caplog):
    log.write("films", "3", {"rating": numbers(1)}, **HOW)
    truth = pd.Series({"row 0": 0.1 + 0.2})
    log.join_truth("films", "rating", truth, NOW)

    with caplog.at_level(logging.WARNING):
        assert log.join_truth("films", "rating", truth, NOW + timedelta(days=1)) == 0

    assert log.rows("films")["truth_at"].tolist() == [pd.Timestamp(NOW)]
    assert not caplog.records


def test_a_corrected_truth_replaces_the_first_one_and_says_so(log, caplog):
    log.write("films", "3", {"rating": numbers(2)}, **HOW)
    days = [NOW + timedelta(days=day) for day in range(3)]
    log.join_truth("films", "rating", pd.Series({"row 0": 1.0, "row 1": 5.0}), days[0])

    with caplog.at_level(logging.WARNING):
        assert log.join_truth("films", "rating", pd.Series({"row 0": 2.0}), days[1]) == 1
    assert "the truth of 1 logged predictions of rating was corrected" in caplog.text
    log.join_truth("films", "rating", pd.Series({"row 0": 3.0}), days[2])

    read = log.rows("films")
    assert read["truth"].tolist() == [3.0, 5.0]
    assert read["first_truth"].dropna().to_dict() == {"row 0": 1.0}
    assert read["truth_at"].tolist() == [pd.Timestamp(days[2]), pd.Timestamp(days[0])]


def test_a_corrected_class_keeps_the_first_one(log):
    log.write("films", "3", {"success": classes()}, **HOW)
    log.join_truth("films", "success", pd.Series({"a": "no"}), NOW)
    log.join_truth("films", "success", pd.Series({"a": "yes"}), NOW)

    read = log.rows("films").loc["a"]
    assert (read["truth"], read["first_truth"]) == ("yes", "no")


# Retention, and databases that cannot be used.


def test_old_answers_are_forgotten(log):
    for days, key in ((10, "a"), (11, "b"), (0, "c")):
        rows = pd.DataFrame({"prediction": [1.0]}, index=[key])
        log.write("films", "3", {"rating": rows}, arm="champion", source="batch",
                  at=NOW - timedelta(days=days))  # fmt: skip
    log.write("books", "3", {"rating": numbers(1)}, arm="champion", source="batch",
              at=NOW - timedelta(days=999))  # fmt: skip

    assert log.prune("films", 10, NOW) == 1
    assert sorted(log.rows("films").index) == ["a", "c"]
    assert len(log.rows("books")) == 1


def test_the_age_of_an_answer_and_not_of_its_row_counts(log):
    rows = numbers(1).assign(time=pd.Timestamp("1940-01-01"))
    log.write("films", "3", {"rating": rows}, **HOW)

    assert log.prune("films", 1, NOW.replace(tzinfo=UTC)) == 0


def test_a_database_that_cannot_be_opened_is_told(tmp_path):
    log = PredictionLog(connect(f"sqlite:///{tmp_path}"))

    with pytest.raises(DatabaseError, match=r"cannot be opened .unable to open.*permissions"):
        log.rows("films")


def test_other_databases_are_refused():
    engine = sa.create_mock_engine("mysql://", lambda *_: None)

    with pytest.raises(ConfigError, match="SQLite or PostgreSQL, not in mysql"):
        PredictionLog(engine)


def test_two_logs_of_one_database_see_the_same(engine):
    one, other = PredictionLog(engine), PredictionLog(engine)
    one.write("films", "3", {"rating": numbers(1)}, **HOW)

    assert other.write("films", "3", {"rating": numbers(1)}, **HOW) == 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (sa.schema.CreateTable(PREDICTIONS, if_not_exists=True), "id BIGSERIAL NOT NULL"),
        (log_table.first_truth("films", "rating"), "truth_value IS NULL"),
        (log_table.other_truth("films", "rating"), "IS DISTINCT FROM"),
    ],
)
def test_statements_are_postgresql_too(statement, told):
    assert told in str(statement.compile(dialect=postgresql.dialect()))


# A key that was given to another row.


def test_a_key_that_names_another_row_gets_no_truth_of_it_and_is_answered_again(log, caplog):
    before = pd.Series({"row 0": "abcd:1", "row 1": "abcd:2", "row 2": "abcd:3"})
    log.write("films", "3", {"rating": numbers()}, hashes=before, **HOW)
    log.join_truth("films", "rating", pd.Series({"row 2": 9.0}), NOW, before)
    anew = before.replace({"abcd:2": "abcd:7", "abcd:3": "abcd:8"})
    truth = pd.Series({"row 0": 0.5, "row 1": 1.5, "row 2": 2.5})

    with caplog.at_level(logging.WARNING):
        assert log.join_truth("films", "rating", truth, NOW, anew) == 1
    assert (
        "2 keys of logged predictions of rating name other rows now (row 1, row 2)" in caplog.text
    )
    caplog.clear()
    for _ in range(2):  # written again it is left as it stands
        log.write("films", "3", {"rating": numbers() + 10}, hashes=anew, **HOW)
    log.join_truth("films", "rating", truth, NOW, anew)
    assert "name other rows now" not in caplog.text  # which was told
    log.join_truth("films", "rating", truth, NOW, anew.replace({"abcd:8": "abcd:9"}))
    assert "1 keys of logged predictions of rating name other rows now (row 2)" in caplog.text

    read = log.rows("films").sort_values(["row_key", "prediction"])
    assert list(zip(read.index, read["prediction"], read["truth"].fillna(-1), strict=True)) == [
        ("row 0", 0.0, 0.5),  # the same row is answered once
        ("row 1", 1.0, -1.0),
        ("row 1", 11.0, 1.5),
        ("row 2", 2.0, 9.0),  # the truth of the row that it was
        ("row 2", 12.0, 2.5),
    ]
    assert latest_answers(read)["truth"].tolist() == [0.5, 1.5, 9.0, 2.5]


def test_the_table_and_frames_compare_the_same_part_of_a_hash():
    assert HASH_HEAD == values.HASH_HEAD


def test_answers_without_a_hash_or_with_that_of_other_columns_get_their_truth(log):
    hashes = pd.Series({"row 0": "abcd:1"})
    log.write("films", "3", {"rating": numbers(2)}, hashes=hashes, **HOW)
    truth = pd.Series({"row 0": 1.0, "row 1": 1.0})

    assert (
        log.join_truth("films", "rating", truth.iloc[:1], NOW, pd.Series({"row 0": "efgh:2"})) == 1
    )
    assert log.join_truth("films", "rating", truth + 1, NOW) == 2


def test_a_log_of_an_earlier_release_gets_the_column(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    old_table(engine := sa.create_engine(url))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO {PREDICTIONS.name} (use_case, target, row_key, version, arm, source, "
                "request, failed, predicted_at, prediction_value) VALUES ('films', 'rating', "
                "'row 0', '3', 'champion', 'batch', '', 0, '2024-05-06 00:00:00.000000', 4.0)"
            )
        )
    log = PredictionLog(connect(url))

    log.write("films", "3", {"rating": numbers(2)}, hashes=pd.Series({"row 0": "abcd:1"}), **HOW)

    assert log.rows("films")["prediction"].tolist() == [4.0, 1.0]
    assert log.join_truth("films", "rating", pd.Series({"row 0": 5.0}), NOW) == 1


def old_table(engine):
    """The table as a release made it that had no hashes of rows."""
    columns = [column.copy() for column in PREDICTIONS.columns if column.name != "row_hash"]
    unique = sa.UniqueConstraint(*KEY, name="ratchet_predictions_once")
    sa.Table(PREDICTIONS.name, sa.MetaData(), *columns, unique).create(engine)
    return sa.insert(sa.table(PREDICTIONS.name, *(sa.column(one.name) for one in columns)))


def test_many_that_find_a_table_of_an_earlier_release_at_once_and_that_release_go_on(engine):
    insert = old_table(engine)
    start = threading.Barrier(4)

    def write(number):
        log = PredictionLog(engine)
        start.wait()
        hashes = pd.Series({f"row {number}": "abcd:1"})
        return log.write("films", "3", {"rating": numbers(1, number)}, hashes=hashes, **HOW)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [1] * 4
    old = {"use_case": "films", "target": "rating", "row_key": "old", "version": "3"}
    old |= {"arm": "champion", "source": "batch", "request": "", "failed": False}
    with engine.begin() as connection:  # the earlier release names its columns
        connection.execute(insert.values(id=99, predicted_at=NOW, prediction_value=1.0, **old))

    assert PredictionLog(engine).rows("films")["row_hash"].isna().sum() == 1


@pytest.mark.slow
def test_who_may_not_change_the_table_is_told_what_its_owner_has_to_run(postgresql):
    url = postgresql()
    engine = connect(url)
    old_table(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE writer LOGIN"))
        connection.execute(sa.text(f"GRANT ALL ON {PREDICTIONS.name} TO writer"))
    log = PredictionLog(connect(url.replace("//ratchet@", "//writer@")))

    with pytest.raises(ConfigError, match=r"owner.*ALTER TABLE .* ADD COLUMN row_hash"):
        log.rows("films")
