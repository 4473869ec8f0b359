"""Compiled models as bytes, and back without copying and without running code that came along.

A program is a tree of frozen dataclasses whose fields are arrays, plain values, other programs, or
lists, tuples and mappings of those. Its bytes are a checksum, a JSON header that describes the
tree, and the arrays one after another. Classes are looked up in a registry: bytes name them, and
cannot bring any along.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

_MAGIC = b"RATCHET1"
_LEAD = struct.Struct("<8sIQ")  # magic, checksum of all that follows it, length of the header
_SUMMED = 12  # bytes of the lead before what the checksum covers
_ALIGNED = 64  # bytes: a cache line
_KINDS = "biufSUMm"  # of array types that are nothing but numbers or text
_MODULE = re.compile(r"ratchet\.compiled\.[a-z_]+")

_REGISTRY: dict[str, type] = {}

Class = TypeVar("Class", bound=type)


class NotCompilable(Exception):  # noqa: N818 - it says what is so, not what went wrong
    """A fitted model, or part of one, has no compiled form; the message says which and why."""


def require(condition: Any, part: Any, reason: str) -> None:
    """Make sure that a part of a fitted model is one that has a compiled form.

    Args:
        condition: whether it is.
        part: the part, whose type is named.
        reason: what is wrong with it otherwise, as ``has several targets``.

    Raises:
        NotCompilable: it is not.
    """
    if not condition:
        raise NotCompilable(f"{type(part).__name__.lstrip('_')} {reason}")


def program(cls: Class) -> Class:
    """Let a frozen dataclass be written and read; below ``@dataclass`` nothing else is needed."""
    if not is_dataclass(cls) or not getattr(cls, "__dataclass_params__").frozen:  # noqa: B009
        raise TypeError(f"{cls.__name__} must be a frozen dataclass to be kept as a program")
    _REGISTRY[_name(cls)] = cls
    return cls


def narrow(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them: of 16 bits, of 32, or as they are."""
    ends = values.min(initial=0), values.max(initial=0)
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= ends[0] and ends[1] <= np.iinfo(kind).max:
            return values.astype(kind)
    return values


def dumps(tree: Any) -> bytes:
    """Give a program as bytes.

    Args:
        tree: a program, or a list, tuple or mapping of some.

    Raises:
        ValueError: something in it is neither a program nor a plain value.
    """
    writer = _Writer()
    described = writer.describe(tree)
    layout, end = [], 0
    for array in writer.arrays:
        layout.append([array.dtype.str, list(array.shape), end])
        end += array.nbytes + _filling(array.nbytes)
    header = json.dumps({"tree": described, "arrays": layout, "bytes": end}).encode()
    header += b" " * _filling(len(header) + _LEAD.size)
    parts = [_LEAD.pack(_MAGIC, 0, len(header))[_SUMMED:], header]
    for array in writer.arrays:
        parts += [array.tobytes(), bytes(_filling(array.nbytes))]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join([_LEAD.pack(_MAGIC, checksum, 0)[:_SUMMED], *parts])


def loads(content: bytes) -> Any:
    """Read a program; its arrays are read-only views of the bytes.

    Args:
        content: what ``dumps`` gave.

    Raises:
        ValueError: the bytes are cut short, altered, or name a class that there is not.
    """
    if len(content) < _LEAD.size:
        raise ValueError(f"a program of {len(content)} bytes is cut short")
    magic, checksum, length = _LEAD.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("these bytes are no program")
    if checksum != zlib.crc32(memoryview(content)[_SUMMED:]):
        raise ValueError("a program was altered or cut short: its checksum is another")
    start = _LEAD.size + length
    if start > len(content):
        raise ValueError("the header of a program is longer than the program")
    try:
        header = json.loads(content[_LEAD.size : start])
        if start + header["bytes"] != len(content):
            raise ValueError("the arrays of a program are of another size than it says")
        arrays = [_view(content, start, *entry) for entry in header["arrays"]]
        return _build(header["tree"], arrays)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"the header of a program makes no sense: {error}") from error


def _filling(size: int) -> int:
    return -size % _ALIGNED


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


class _Writer:
    """Describes a tree, and collects its arrays by identity: one used twice is kept once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.places: dict[int, int] = {}
        self.seen: list[np.ndarray] = []  # alive, so that no id is given twice

    def describe(self, value: Any) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.ndarray | np.generic):
            kind = "array" if isinstance(value, np.ndarray) else "scalar"
            return {kind: self._place(np.asarray(value))}
        if isinstance(value, date):
            kind = "datetime" if isinstance(value, datetime) else "date"
            return {kind: value.isoformat()}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.describe(part) for part in value]}
        if isinstance(value, Mapping):
            pairs = [[self.describe(key), self.describe(part)] for key, part in value.items()]
            return {"dict": pairs}
        return self._program(value)

    def _program(self, value: Any) -> Any:
        name = _name(type(value))
        if name not in _REGISTRY:
            raise ValueError(f"{type(value).__name__} is neither a program nor a plain value")
        parts = {f.name: self.describe(getattr(value, f.name)) for f in fields(value) if f.init}
        return {"program": name, "fields": parts}

    def _place(self, array: np.ndarray) -> int:
        if id(array) not in self.places:
            if array.dtype.kind not in _KINDS:
                raise ValueError(f"an array of {array.dtype} is no part of a program")
            self.places[id(array)] = len(self.arrays)
            self.seen.append(array)
            self.arrays.append(np.asarray(array, order="C"))
        return self.places[id(array)]


def _view(content: bytes, start: int, code: str, shape: list[int], offset: int) -> np.ndarray:
    dtype = np.dtype(code)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype} is no part of a program")
    if any(type(size) is not int or size < 0 for size in [*shape, offset]):
        raise ValueError(f"an array of shape {shape} at {offset} is no part of a program")
    if start + offset + math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError(f"an array of shape {shape} at {offset} reaches beyond its program")
    view = np.ndarray(shape, dtype, buffer=content, offset=start + offset)
    view.flags.writeable = False
    return view


def _build(described: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(described, dict):
        if isinstance(described, list):
            raise ValueError("a list without a name in the header of a program")
        return described
    if "program" in described:
        cls = _class(described["program"])
        values = {name: _build(part, arrays) for name, part in described["fields"].items()}
        if set(values) != {f.name for f in fields(cls) if f.init}:
            raise ValueError(f"{cls.__name__} has other fields than {sorted(values)}")
        return cls(**values)
    [(kind, part)] = described.items()
    if kind in ("array", "scalar"):
        if type(part) is not int or not 0 <= part < len(arrays):
            raise ValueError(f"array {part} of a program is not there")
        return arrays[part] if kind == "array" else arrays[part][()]
    if kind in ("list", "tuple"):
        parts = [_build(one, arrays) for one in part]
        return parts if kind == "list" else tuple(parts)
    if kind == "dict":
        return {_build(key, arrays): _build(value, arrays) for key, value in part}
    if kind in ("date", "datetime"):
        return (date if kind == "date" else datetime).fromisoformat(part)
    raise ValueError(f"'{kind}' is nothing that a program consists of")


def _class(name: str) -> type:
    """A class of the registry; modules of this package are imported when one is asked for."""
    module = name.partition(":")[0]
    if name not in _REGISTRY and _MODULE.fullmatch(module):
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(f"there is no module {module} with programs") from error
    if name not in _REGISTRY:
        raise ValueError(f"there is no program {name}")
    return _REGISTRY[name]
