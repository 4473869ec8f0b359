"""Whoever was cut off goes on where it was, and never reads half a line."""

from __future__ import annotations

import errno
import json
import math
import os

import numpy as np
import pytest

from ratchet.serving.jobs import progress
from ratchet.serving.jobs.progress import FILE, Writer, read, read_all, summary


@pytest.fixture
def folder(tmp_path):
    writer = Writer(tmp_path)
    writer.write("stage", name="search")
    for done in range(1, 4):
        writer.write("trial", done=done, total=3, best=np.float32(0.5), score=math.nan, params={})
    writer.write("log", text="trained")
    writer.close()
    return tmp_path


def test_events_come_with_their_positions(folder):
    events = read_all(folder)

    assert [each.kind for each in events] == ["stage", "trial", "trial", "trial", "log"]
    assert events[-1].position == (folder / FILE).stat().st_size
    assert events[1].values["best"] == 0.5
    assert events[1].values["score"] is None
    assert json.loads(events[0].content) == events[0].values


def test_reading_goes_on_after_any_event(folder):
    events = read_all(folder)

    for number, event in enumerate(events):
        assert read_all(folder, event.position) == events[number + 1 :]


def test_a_position_inside_of_a_line_goes_on_with_the_next(folder):
    events = read_all(folder)

    assert read(folder, events[0].position + 3) == events[2:]


def test_on_a_full_disk_events_are_left_out_and_those_after_them_are_whole(tmp_path, monkeypatch):
    writer, write, left = Writer(tmp_path), os.write, iter([5, None])

    def full(file: int, content: bytes) -> int:
        size = next(left, len(content))
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content[:size])

    monkeypatch.setattr(progress.os, "write", full)
    for name in ("half", "none", "whole"):
        writer.write("stage", name=name)

    assert [each.values["name"] for each in read_all(tmp_path)] == ["whole"]


def test_a_position_beyond_the_file_begins_anew(folder):
    assert len(read(folder, 10**9)) == 5


def test_half_a_line_waits_for_its_rest(folder):
    known = read_all(folder)
    with (folder / FILE).open("a") as file:
        file.write('{"event": "tri')
    assert read_all(folder) == known
    with (folder / FILE).open("a") as file:
        file.write('al", "done": 4}\nno json\n{"event": "log"}\n')

    more = read_all(folder, known[-1].position)

    assert [each.kind for each in more] == ["trial", "log"]


def test_long_files_are_read_in_parts(folder, monkeypatch):
    whole = read_all(folder)
    longest = max(len(each.content) for each in whole) + 1

    monkeypatch.setattr(progress, "_CHUNK", longest)

    assert read_all(folder) == whole


def test_the_summary_has_what_is_newest(folder):
    state = summary(folder)

    assert state["stage"] == "search"
    assert state["trials"]["done"] == 3
    assert state["log"] == ["trained"]


def test_a_job_that_has_not_begun_has_no_events(tmp_path):
    assert read_all(tmp_path) == []
    assert summary(tmp_path) == {"stage": None, "trials": None, "log": [], "position": 0}
