"""What all parameter models share."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

_OURS = re.compile(r"ratchet\.use_cases\.[a-z]\w*\.[a-z]\w*")

CHECKED = {"checked": True}
"""Context in which parameters are read that were checked before, such as those of a bundle by the
process that opened it: nothing that takes pandas is checked again, and none is loaded."""

Share = Annotated[float, Field(gt=0, lt=1)]

NOT_SET = Field(json_schema_extra={"readOnly": True})
"""Marks a field that follows from others: parameter files do not set it."""

_NUMBER = re.compile(r"\s*[+-]?[\d._]+(e[+-]?\d+)?\s*", re.IGNORECASE)


def _with_unit(length: str) -> str:
    """A length of time, of which pandas would take a mere number for nanoseconds, or for days."""
    if _NUMBER.fullmatch(length):
        raise ValueError(
            f"expected a length of time with its unit, such as {length.strip()}D or "
            f"{length.strip()}h, got {length!r}"
        )
    return length


Length = Annotated[str, AfterValidator(_with_unit)]
"""A length of time as pandas writes it, with its unit."""


class Params(BaseModel):
    """Parameters of one kind: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Derived(Params):
    """Something computed by a function that YAML names.

    Attributes:
        function: dotted path of a function that takes the frame, and ``arguments`` as keywords.
        arguments: its further arguments.
    """

    function: str
    arguments: dict[str, Any] = {}

    @property
    def is_ours(self) -> bool:
        """Whether it is a function of ``ratchet.use_cases``, the only ones a bundle may name.

        Like its models a bundle could name any other, and have it called.
        """
        return _OURS.fullmatch(self.function) is not None


_MEMBER = re.compile(r"[a-z-]+\[.*\]|constrained-[a-z]+")
"""How pydantic calls a member of a union in the place of an error."""


def explain_errors(error: ValidationError, model: type[BaseModel], *place: str) -> list[str]:
    """Say what is wrong with values, a line for each key: its path, and what was expected.

    Args:
        error: what pydantic has found.
        model: the model that the values are of, whose keys are named beside an unknown one.
        place: keys above those of the model.
    """
    lines = []
    for problem in error.errors():
        location = problem["loc"]
        if location[-1:] == ("[key]",):  # a key is wrong: show it as YAML has read it
            location = (*location[:-2], str(problem["input"]).lower())
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "string_type":
            message += _unquoted(problem["input"])
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; allowed are {_allowed(model, problem['loc'])}"
        path = ".".join([*place, *_keys(model, location)])
        lines.append(f"{path}: {message}" if path else message)
    return lines


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> Iterator[str]:
    """Keys of a place, without what pydantic calls the members of unions on the way."""
    annotations: list[Any] = [model]
    for part in location:
        members = [member for each in annotations for member in _members(each)]
        named = [one for one in members if getattr(one, "__name__", None) == part]
        if _MEMBER.fullmatch(str(part)) or (named and len(members) > 1):
            annotations = named or members
            continue
        yield str(part)
        annotations = [value for one in members for value in _values(one, part)]


def _members(annotation: Any) -> list[Any]:
    """What may stand in a place: the members of a union, but for None, or the annotation itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        inner = [one for one in get_args(annotation) if one is not type(None)]
        return [member for one in inner for member in _members(one)]
    return [annotation]


def _values(annotation: Any, key: int | str) -> list[Any]:
    """What may stand at a key of a model, or in a mapping or a list."""
    if hasattr(annotation, "model_fields"):
        field = annotation.model_fields.get(key)
        return [] if field is None else [field.annotation]
    return list(get_args(annotation)[-1:])


def _unquoted(value: Any) -> str:
    """What YAML makes of a word without quotes that was to be a text."""
    if isinstance(value, bool):
        word, others = ("Yes", "yes, On and True") if value else ("No", "no, Off and False")
        return f"; YAML reads {word}, {others} as {str(value).lower()}: write '{word}', in quotes"
    if value is None:
        return "; YAML reads Null, ~ and nothing as no value: write 'Null', in quotes"
    kinds = {int: "number", float: "number", dt.date: "date", dt.datetime: "time"}
    if type(value) in kinds:
        return f"; YAML reads {value} as a {kinds[type(value)]}: write '{value}', in quotes"
    return ""


def _allowed(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Keys that may stand beside the unknown one at ``location``."""
    annotation: Any = model
    for part in location[:-1]:
        inside = _model_in(annotation)
        # What is no field is a key of a mapping such as dict[str, Target], or a member of a union.
        fields = {} if get_origin(annotation) in (dict, list) else inside.model_fields
        annotation = fields[part].annotation if part in fields else inside
    return ", ".join(_model_in(annotation).model_fields)


def _model_in(annotation: Any) -> Any:
    """The pydantic model inside an annotation such as ``dict[str, Target]`` or ``X | None``."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = [_model_in(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in inner if hasattr(part, "model_fields")), None)
