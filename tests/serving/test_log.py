"""The log of the service: nothing that was sent is lost, nothing is written twice."""

import asyncio
import errno
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import pandas as pd
import pytest

from ratchet.compiled.answers import Answer, Prediction, RequestError
from ratchet.database import connect
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.serving import log as log_module
from ratchet.serving.log import JournaledLog, TruthJoiner, read_truth
from ratchet.serving.log_entries import Entry, as_line, of_line, records_of
from ratchet.serving.log_writer import JoinResult
from ratchet.serving.protocols import AnswerBatch, Fixed, QueueFullError, Serving
from ratchet.serving.request_context import Assignment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RATING = Prediction(6.5, 5.0, math.inf)
SUCCESS = Prediction("hit", probabilities={"hit": 0.75, "flop": 0.25})


def entry(request="r1", key="tt1", version="3", value=RATING, **other):
    answers = [Answer(key, {"rating": value, "success": SUCCESS}, not_given=["people"])]
    return Entry("films", version, "champion", request, NOW, 1.5, answers, **other)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ratchet.db'}"


@asynccontextmanager
async def running(tmp_path, url, **options):
    log = JournaledLog(tmp_path / "journal", url, **options)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        await asyncio.sleep(0.02)


def logged(url):
    return PredictionLog(connect(url)).rows("films")


# What an answer becomes.


def test_an_entry_comes_back_from_its_line():
    made = entry(error="it failed", row_key="tt2")

    line = as_line(made)

    assert b"\n" not in line
    assert of_line(line) == made


def test_an_answer_is_written_as_batch_scoring_writes_it(url):
    """The same answers, from a frame and from the service, become the same rows."""
    time_of_row = datetime(2026, 11, 30, 10)
    answer = Answer(
        "a@10",
        {"rating": RATING, "success": SUCCESS},
        time=time_of_row,
        series="a",
        scale=2.0,
        rms=3.0,
    )
    terms = {"time": pd.Timestamp(time_of_row), "series": "a", "scale": 2.0, "rms": 3.0}
    ratings = pd.DataFrame([{"prediction": 6.5, "low": 5.0, "high": math.inf} | terms], ["a@10"])
    odds = {"probability_hit": 0.75, "probability_flop": 0.25}
    successes = pd.DataFrame([{"prediction": "hit"} | odds | terms], ["a@10"])
    log = PredictionLog(connect(url))
    log.write(
        *("films", "3", {"rating": ratings, "success": successes}),
        **{"arm": "champion", "source": "batch", "latency_ms": 1.5, "at": NOW, "request": "r1"},
    )

    log._table.insert(records_of(Entry("films", "3", "champion", "r1", NOW, 1.5, [answer])))

    rows = log.rows("films")
    of_batch = rows[rows["source"] == "batch"].drop(columns="source")
    of_service = rows[rows["source"] == "service"].drop(columns="source")
    pd.testing.assert_frame_equal(of_batch, of_service)


@pytest.mark.parametrize(
    "value",
    [
        Prediction(math.nan, 1.0, 2.0),
        Prediction(math.inf, 1.0, 2.0),
        Prediction("hit", probabilities={"hit": math.nan, "flop": 0.5}),
    ],
)
def test_an_answer_that_is_not_finite_is_a_failed_one(value):
    record = records_of(of_line(as_line(entry(value=value))))[0]

    assert record["failed"]
    assert record["error"] == "the model gave no finite answer"


def test_text_that_no_database_takes_is_made_one_that_all_take():
    record = records_of(entry(request="r\0", key="\ud800"))[0]

    assert (record["request"], record["row_key"]) == ("r\N{REPLACEMENT CHARACTER}", "?")


# The way into the database.


def test_answers_reach_the_database_and_the_journal_goes(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            for number in range(50):
                log.append(entry(f"r{number}"))
            assert log.waiting == 50
            await until(lambda: log.waiting == 0)
            assert log.status().state == "ok"

    asyncio.run(serve())

    assert len(logged(url)) == 100
    assert list((tmp_path / "journal").iterdir()) == []


def test_a_writer_that_dies_is_followed_by_another_one(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            for number in range(60):
                log.append(entry(f"r{number}"))
                if number % 20 == 10:
                    await until(lambda: log._process and log._process.returncode is None)
                    os.kill(log._process.pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
            await until(lambda: log.waiting == 0)

    asyncio.run(serve())

    rows = logged(url)
    assert sorted(rows["request"].unique()) == sorted(f"r{number}" for number in range(60))
    assert len(rows) == 120


SENDER = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from ratchet.compiled.answers import Answer, Prediction
from ratchet.serving.log import JournaledLog
from ratchet.serving.log_entries import Entry

async def main():
    log = JournaledLog(Path(sys.argv[1]), sys.argv[2])
    await log.start()
    number = 0
    while True:
        answers = [Answer("tt1", {"rating": Prediction(1.0)})]
        log.append(Entry("films", "3", "champion", str(number), datetime.now(UTC), 1.0, answers))
        os.write(1, b"%d\\n" % number)
        number += 1
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


@pytest.mark.parametrize("seconds", [0.05, 0.9])
def test_what_was_sent_is_in_the_database_after_a_kill(tmp_path, url, seconds):
    program = [sys.executable, "-c", SENDER, str(tmp_path / "journal"), url]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as sender:
        first = sender.stdout.readline()
        time.sleep(seconds)
        sender.kill()
        sent = (first + sender.stdout.read()).decode().split()
    assert sent

    async def start_again():
        async with running(tmp_path, url):
            await until(lambda: len(list((tmp_path / "journal").glob("*.lock"))) == 1)

    asyncio.run(start_again())

    rows = logged(url)
    assert set(sent) <= set(rows["request"])
    assert not rows["request"].duplicated().any()


def test_while_the_database_is_locked_answers_go_on_until_too_many_wait(tmp_path, url, monkeypatch):
    monkeypatch.setattr(log_module, "QUIET_SECONDS", 0.3)

    async def serve():
        async with running(tmp_path, url, queue_rows=20) as log:
            log.append(entry("first"))
            await until(lambda: log.waiting == 0)
            with closing(sqlite3.connect(tmp_path / "ratchet.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                log.append(entry("second"))
                await until(lambda: log.status().state == "behind")
                while log.waiting < 20:
                    log.append(entry(f"r{log.waiting}"))
                with pytest.raises(QueueFullError, match="wait for the database"):
                    log.append(entry("too much"))
                assert log.status().state == "full"
                other.execute("ROLLBACK")
            await until(lambda: log.waiting == 0)
            log.append(entry("last"))
            await until(lambda: log.waiting == 0)
            assert log.status().state == "ok"

    asyncio.run(serve())

    assert {"first", "second", "last"} <= set(logged(url)["request"])


def test_a_journal_that_was_moved_is_a_problem_until_it_is_back(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            log.append(entry("first"))
            await until(lambda: log.waiting == 0)
            (tmp_path / "journal").rename(tmp_path / "moved")
            log.append(entry("second"))
            await until(lambda: "is gone; put its folder back" in (log.problem or ""))
            (tmp_path / "journal").mkdir()
            await asyncio.sleep(0.6)
            assert log.status().state == "behind"
            (tmp_path / "journal").rmdir()
            (tmp_path / "moved").rename(tmp_path / "journal")
            await until(lambda: log.waiting == 0)
            assert log.status().state == "ok"

    asyncio.run(serve())

    assert set(logged(url)["request"]) == {"first", "second"}


def test_on_a_full_disk_the_file_that_is_written_goes(tmp_path, url, monkeypatch):
    """On a small disk nothing else may be there to make room."""

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def serve():
        async with running(tmp_path, url) as log:
            log.append(entry("first"))
            await until(lambda: log.waiting == 0)
            [full] = (tmp_path / "journal").glob("*.jsonl")
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", fail)
                for _ in range(3):
                    with pytest.raises(QueueFullError, match="cannot be written"):
                        log.append(entry("refused"))
            await until(lambda: not full.exists())
            assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 1
            log.append(entry("second"))
            await until(lambda: log.waiting == 0)

    asyncio.run(serve())

    assert set(logged(url)["request"]) == {"first", "second"}


def test_a_line_that_is_damaged_is_counted_and_the_others_are_written(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            log._journal.append(b"no entry")
            log._journal.append(as_line(entry()).replace(b'"predictions"', b'"said"'))
            log.append(entry())
            await until(lambda: log.waiting == 0)
            assert log.status().lost == 2

    asyncio.run(serve())

    assert len(logged(url)) == 2


# What came true.


def truth(key="tt1", **values):
    return {"key": key, "values": values}


def test_truth_is_joined_to_answers_that_were_given_a_moment_ago(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            log.append(entry("r1"))
            log.append(entry("r2"))
            first = await log.join_truth("films", [truth(rating=7.0), truth("tt9", rating=1.0)])
            again = await log.join_truth("films", [truth(rating=7.0)])
            log.append(entry("r3"))
            other = await log.join_truth("films", [truth(rating=6.0, success="hit")])
            corrected = await log.join_truth("films", [truth(rating=5.0)])
            return first, again, other, corrected

    first, again, other, corrected = asyncio.run(serve())

    assert first == JoinResult(new=1, unknown=1)
    assert again == JoinResult(same=1)
    assert other == JoinResult(new=1)  # an answer had none, whatever the others had
    assert corrected == JoinResult(changed=1)
    rows = logged(url)
    ratings = rows[rows["target"] == "rating"]
    assert ratings["truth"].tolist() == [5.0, 5.0, 5.0]
    assert ratings["first_truth"].tolist() == [7.0, 7.0, 6.0]


def test_truth_waits_for_a_process_that_has_died(tmp_path, url):
    async def serve():
        async with running(tmp_path, url) as log:
            log.append(entry())
            await until(lambda: log.waiting == 0)
            log._process.kill()
            return await log.join_truth("films", [truth(rating=7.0)])

    assert asyncio.run(serve()).new == 1


@pytest.fixture
def films(use_cases):
    films = use_cases["films"]
    return Serving(films, "films", "3", "0" * 64, NOW, answerer=None, inputs={})


def test_what_a_request_got_is_written_down_with_its_share_of_the_time(tmp_path, url, films):
    answers = [Answer(key, {"rating": RATING}) for key in ("7", "8")]

    async def serve():
        async with running(tmp_path, url) as log:
            log.write(AnswerBatch(films, [], answers, "r1", NOW, 3.0))
            log.write(AnswerBatch(films, [], answers, "r1", NOW, 3.0), arm="shadow")
            of_split = Assignment("some hash", 0.2)
            log.write_error(
                *(films, [{films.use_case.data.key: 9}], "r2", "ValueError"), assignment=of_split
            )
            assert log.waiting == 5
            joined = TruthJoiner(log, Fixed([films]))
            return await joined.take("films", [{"key": 7, "rating": 4}], None)

    taken = asyncio.run(serve())

    assert (taken.new, taken.unknown) == (1, 0)
    rows = logged(url)
    assert rows["latency_ms"].tolist()[:4] == [1.5] * 4
    assert math.isnan(rows["latency_ms"].iloc[-1])  # a failure is not fast
    assert rows["arm"].tolist() == ["champion"] * 2 + ["shadow"] * 2 + ["champion"]
    assert rows["error"].tolist()[-1] == "ValueError"
    assert rows["subject"].tolist()[-1] == "some hash"
    assert rows["split_share"].dropna().tolist() == [0.2]
    assert rows.index.tolist() == ["7", "8", "7", "8", "9"]
    assert rows["truth"].tolist()[:3:2] == [4.0, 4.0]


def test_answers_of_the_second_model_have_an_arm_of_their_own(tmp_path, url, films):
    answers = [Answer("7", {"rating": RATING}), Answer("8", {"rating": RATING}, basis="itself")]

    async def serve():
        async with running(tmp_path, url) as log:
            log.write(AnswerBatch(films, [], answers, "r1", NOW, 3.0), arm="challenger")
            await until(lambda: log.waiting == 0)

    asyncio.run(serve())

    rows = logged(url)
    assert rows["arm"].to_dict() == {"7": "challenger", "8": "without_past"}
    assert rows["latency_ms"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize(
    ("row", "field", "told"),
    [
        ({"rating": 6.0}, "key", "expected the key of the answer"),
        ({"key": True, "rating": 6.0}, "key", "expected the key of the answer"),
        ({"key": "7"}, None, "expected what came true: success, rating"),
        ({"key": "7", "rating": None}, None, "expected what came true"),
        ({"key": "7", "rating": "6"}, "rating", "expected a finite number"),
        ({"key": "7", "rating": True}, "rating", "expected a finite number"),
        ({"key": "7", "rating": math.nan}, "rating", "expected a finite number"),
        ({"key": "7", "rating": 10**400}, "rating", "from 0 to 5, got a number of many digits"),
        ({"key": "7", "rating": 5.1}, "rating", "from 0 to 5, got 5.1"),
        ({"key": "7", "rating": -1}, "rating", "from 0 to 5, got -1"),
        ({"key": "7", "success": "hit"}, "success", "expected one of Alto, Medio, Bajo"),
        ({"key": "7", "success": 1}, "success", "expected one of"),
        ({"key": "7", "ratings": 1}, "ratings", "there are key, success, rating"),
    ],
)
def test_truth_that_cannot_be_one_is_refused(films, row, field, told):
    with pytest.raises(RequestError, match=told) as caught:
        read_truth(row, films.use_case.targets, 3)

    assert (caught.value.field, caught.value.row) == (field, 3)


@pytest.mark.parametrize("value", [1e308, -1e19, 10**20])
def test_truth_that_no_model_can_hold_is_refused(films, value):
    rating = films.use_case.targets["rating"].model_copy(update={"bounds": None})

    with pytest.raises(RequestError, match="models hold numbers up to 9") as caught:
        read_truth({"key": "7", "rating": value}, {"rating": rating})

    assert caught.value.field == "rating"
