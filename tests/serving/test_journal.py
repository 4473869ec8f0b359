"""Journals: what was appended comes back, whatever happens to the end of the file."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.serving import journal
from ratchet.serving.journal import (
    Journal,
    JournalPosition,
    LogFullError,
    lock_abandoned,
    read_lines,
)

LINES = st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=12)


def all_lines(folder, owner):
    return [
        line.content
        for number in journal.segments(folder, owner)
        for line in read_lines(journal.segment_of(folder, owner, number), 0, 10**6)
    ]


@given(LINES, st.data())
@settings(max_examples=40, deadline=None)
def test_complete_lines_come_back_wherever_the_file_is_cut(tmp_path_factory, lines, data):
    made = Journal(tmp_path_factory.mktemp("journal"))
    ends = [0]
    for line in lines:
        made.append(line)
        ends.append(made.place.size)
    path = journal.segment_of(made.folder, made.owner, 1)
    cut = data.draw(st.integers(0, made.place.size))

    os.truncate(path, cut)

    whole = sum(end <= cut for end in ends) - 1
    assert all_lines(made.folder, made.owner) == lines[:whole]
    made.close()


@given(LINES.filter(bool), st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_byte_costs_the_lines_that_it_is_part_of(tmp_path_factory, lines, data):
    made = Journal(tmp_path_factory.mktemp("journal"))
    for line in lines:
        made.append(line)
    made.close()
    path = journal.segment_of(made.folder, made.owner, 1)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))

    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    # A line break that goes or comes joins two lines, or makes two of one.
    kept = [line for line in all_lines(made.folder, made.owner) if line is not None]
    assert len(kept) >= len(lines) - 2
    assert set(kept) <= set(lines)


def test_files_follow_each_other(tmp_path):
    made = Journal(tmp_path, segment_bytes=30)
    for number in range(5):
        made.append(b"line %d" % number)

    assert journal.segments(tmp_path, made.owner) == [1, 2, 3]
    assert all_lines(tmp_path, made.owner) == [b"line %d" % number for number in range(5)]
    assert made.place == JournalPosition(3, 16, 1)
    made.sync()
    made.close()


def test_lines_are_read_from_where_one_has_stopped(tmp_path):
    made = Journal(tmp_path)
    for number in range(4):
        made.append(b"%d" % number)
    path = journal.segment_of(tmp_path, made.owner, 1)

    first = list(read_lines(path, 0, 1))
    rest = list(read_lines(path, sum(line.size for line in first), 10**6))

    assert [line.content for line in first] == [b"0"]
    assert [line.content for line in rest] == [b"1", b"2", b"3"]
    made.close()


def test_the_journal_of_the_living_is_not_taken(tmp_path):
    made = Journal(tmp_path)
    made.append(b"one")
    assert journal.owners(tmp_path) == {made.owner}

    with lock_abandoned(tmp_path, made.owner) as is_dead:
        assert not is_dead
    made.close()
    with lock_abandoned(tmp_path, made.owner) as is_dead:
        assert is_dead
        journal.remove(tmp_path, made.owner)

    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_nothing_of_a_line_stays(tmp_path, monkeypatch):
    made = Journal(tmp_path)
    made.append(b"one")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:5]))

    with pytest.raises(LogFullError, match="no space is left"):
        made.append(b"two")
    monkeypatch.undo()
    made.append(b"three")

    assert all_lines(tmp_path, made.owner) == [b"one", b"three"]
    made.close()


def test_without_another_file_nothing_is_taken_and_this_one_goes_on(tmp_path, monkeypatch):
    made = Journal(tmp_path, segment_bytes=5)
    made.append(b"one")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(24, "too many")))

    with pytest.raises(LogFullError, match="too many"):
        made.append(b"two")
    made.sync()  # which closes files that are done with
    monkeypatch.undo()
    made.append(b"three")

    assert all_lines(tmp_path, made.owner) == [b"one", b"three"]
    assert made.place.segment == 2
    made.close()
