from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ratchet.compiled.models import Chain, Linear, Pick
from ratchet.compiled.serialization import dumps, loads, narrow, program

LEAD = struct.Struct("<8sIQ")


@program
@dataclass(frozen=True)
class Leaf:
    values: np.ndarray
    name: str = "a"


@program
@dataclass(frozen=True)
class Branch:
    parts: Any
    made: int = field(default=7, init=False)


def same(one: Any, other: Any) -> bool:
    """Trees of one shape and with the same values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        alike = (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Leaf | Branch):
        return same(vars(one), vars(other))
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN


numbers = st.sampled_from(["f8", "f4", "i8", "u2", "?", ">f8", "M8[ns]", "U3", "S2"]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dates(date(1, 1, 1))
    | st.datetimes(datetime(1, 1, 1))
)
trees = st.recursive(
    plain | numbers | st.builds(Leaf, numbers, st.text(max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.builds(Branch, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_a_tree_comes_back_as_it_was(tree):
    assert same(loads(dumps(tree)), tree)


def test_arrays_are_read_only_views_of_the_bytes():
    content = dumps(Leaf(np.arange(10.0)))
    values = loads(content).values
    assert not values.flags.writeable
    assert not values.flags.owndata
    assert np.shares_memory(values, np.frombuffer(content, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1


def test_an_array_that_is_used_twice_is_kept_once():
    values = np.zeros(1000)
    assert len(dumps([Leaf(values), Leaf(values)])) < 10_000


def test_arrays_in_any_order_of_memory():
    values = np.arange(12.0).reshape(3, 4)
    for view in (values.T, values[::-1], values[:, ::2]):
        assert np.array_equal(loads(dumps(view)), view)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**16), 2**16), max_size=4))
def test_whole_numbers_take_no_more_room_than_they_need(values):
    found = narrow(np.array(values, dtype=np.int64))

    assert found.tolist() == values
    fits = [bits for bits in (16, 32, 64) if all(-(2**bits) <= 2 * v < 2**bits for v in values)]
    assert found.itemsize * 8 == fits[0]


def test_numbers_of_numpy_stay_what_they_are():
    found = loads(dumps(np.float32(1.5)))
    assert type(found) is np.float32
    assert found == 1.5


@pytest.mark.parametrize(
    "value", [object(), np.array([object()]), {1, 2}, np.zeros(2, "f4,f8"), np.zeros(2, complex)]
)
def test_what_is_no_plain_value_is_not_written(value):
    with pytest.raises(ValueError, match=r"neither a program nor|no part of a program"):
        dumps(Branch(value))


def test_only_frozen_dataclasses_are_programs():
    with pytest.raises(TypeError, match="frozen dataclass"):
        program(dataclass(type("Loose", (), {})))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_bit_that_changed_is_noticed(data):
    content = bytearray(dumps(Branch([Leaf(np.arange(5.0)), {"a": 1}])))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"altered|no program"):
        loads(bytes(content))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300))
def test_what_is_cut_short_is_noticed(kept):
    content = dumps(Leaf(np.arange(20.0)))
    with pytest.raises(ValueError, match="cut short"):
        loads(content[: min(kept, len(content) - 1)])


def forged(content: bytes, **changes: Any) -> bytes:
    """With another header, and a checksum that fits it."""
    _, _, length = LEAD.unpack_from(content)
    header = {**json.loads(content[LEAD.size : LEAD.size + length]), **changes}
    written = json.dumps(header).encode()
    rest = struct.pack("<Q", len(written)) + written + content[LEAD.size + length :]
    return content[:8] + struct.pack("<I", zlib.crc32(rest)) + rest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrays": [["<f8", [5], 8 * 5]]}, "beyond"),
        ({"arrays": [["<f8", [5], -8]]}, "no part"),
        ({"arrays": [["<f8", [-5], 0]]}, "no part"),
        ({"arrays": [["<f8", [10**30], 0]]}, "beyond"),
        ({"arrays": [["<f8", [2.5], 0]]}, "no part"),
        ({"arrays": [["|O", [5], 0]]}, "no part"),
        ({"arrays": [["|V8", [5], 0]]}, "no part"),
        ({"arrays": [["nonsense", [5], 0]]}, "makes no sense"),
        ({"arrays": []}, "not there"),
        ({"bytes": 1}, "another size"),
        ({"tree": {"array": -1}}, "not there"),
        ({"tree": {"array": True}}, "not there"),
        ({"tree": {"nothing": 1}}, "nothing that a program"),
        ({"tree": [1, 2]}, "without a name"),
        ({"tree": {}}, "unpack|values"),
        ({"tree": {"date": "tomorrow"}}, "isoformat"),
        ({"tree": {"dict": [[{"list": []}, 1]]}}, "makes no sense"),
        ({"tree": {"program": "os:system", "fields": {}}}, "no program"),
        ({"tree": {"program": "ratchet.compiled.nowhere:A", "fields": {}}}, "no module"),
        ({"tree": {"program": "ratchet.compiled.models:Program", "fields": {}}}, "no program"),
        ({"tree": {"program": "test_store:Leaf", "fields": {}}}, "no program"),
    ],
)
def test_a_header_that_lies(changes, message):
    content = dumps(np.arange(5.0))
    assert np.array_equal(loads(forged(content)), np.arange(5.0))
    with pytest.raises(ValueError, match=message):
        loads(forged(content, **changes))


def test_other_fields_than_a_class_has():
    content = dumps(Leaf(np.zeros(1)))
    name = f"{Leaf.__module__}:Leaf"
    with pytest.raises(ValueError, match="other fields"):
        loads(forged(content, tree={"program": name, "fields": {"values": 1, "extra": 2}}))


READ = """
import sys
import numpy as np
from ratchet.compiled.serialization import loads
print(loads(sys.stdin.buffer.read())(np.arange(8.0).reshape(2, 4)).tolist())
heavy = {"pandas", "sklearn", "scipy", "xgboost", "keras", "tensorflow", "skops", "mlflow"}
sys.exit(", ".join(heavy & set(sys.modules)) or None)
"""


def test_another_process_reads_with_nothing_but_numpy():
    content = dumps(Chain((Pick(np.arange(3)), Linear(np.ones(3), np.array(1.0)))))
    done = subprocess.run(
        [sys.executable, "-c", READ], input=content, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == b"[4.0, 16.0]"
