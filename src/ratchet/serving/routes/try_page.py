"""``/try/{use_case}``: a page to ask for a prediction by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from ratchet.compiled.answers import Answer
from ratchet.config import Column
from ratchet.serving.answering import about, prediction_json, service_of
from ratchet.serving.charts import interval_chart
from ratchet.serving.errors import Problem
from ratchet.serving.pages import page, read_form
from ratchet.serving.protocols import Serving
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import column_schema
from ratchet.serving.security import require_scope

router = APIRouter(
    prefix="/try", include_in_schema=False, dependencies=[Depends(require_scope("predict"))]
)

_ISO = "a date or time as ISO 8601 writes it"
_REFUSED = (404, 409, 422, 503)
"""Statuses that the page shows; with others there is no page."""


@dataclass(frozen=True)
class Input:
    """One field of the form.

    Attributes:
        name: of the column.
        optional: whether it may be left empty.
        kind: ``number``, ``text`` or ``choice``.
        value: its content.
        hint: what it takes.
        low: smallest number.
        high: largest number.
        step: of numbers.
        values: what can be chosen.
        many: whether several can be.
        error: what is wrong with it.
    """

    name: str
    optional: bool
    kind: str
    value: str
    hint: str
    low: float | None = None
    high: float | None = None
    step: str = "any"
    values: tuple[str, ...] = ()
    many: bool = False
    error: str | None = None

    @property
    def chosen(self) -> list[str]:
        """Parts of a list."""
        return [part.strip() for part in self.value.split(",") if part.strip()]


@router.get("/{use_case}")
async def show(use_case: str, request: Request) -> Response:
    """The form, filled with a row that the version was tried on."""
    service = service_of(request)
    serving = service.champion(use_case)
    example = serving.examples[0] if serving.examples else {}
    values = {name: _as_text(example.get(name)) for name in serving.inputs}
    return page(request, "try.html.j2", **_form(serving, values))


@router.post("/{use_case}")
async def ask(use_case: str, request: Request) -> Response:
    """The form with its answer, or with what is wrong."""
    service = service_of(request)
    form = await read_form(request)
    serving = service.chosen(use_case, request)
    columns = serving.use_case.data.columns
    values = {name: ", ".join(filter(None, form.get(name, []))) for name in serving.inputs}
    row = {name: read_value(columns[name], text) for name, text in values.items() if text.strip()}
    try:
        [answer] = await service.answer(request, serving, [row])
    except Problem as problem:
        if problem.status_code not in _REFUSED:
            raise
        response = page(request, "try.html.j2", **_form(serving, values, problem))
        response.status_code = problem.status_code
        return response
    shown = {
        "answer": answer,
        "predictions": _predictions(answer, serving),
        "about": about(serving, call_of(request)),
    }
    return page(request, "try.html.j2", **{**_form(serving, values), **shown})


def read_value(column: Column, text: str) -> Any:
    """What JSON would have in the place of a text; what cannot be read stays as it is.

    The version itself says what is wrong with it then, as it does to every client.
    """
    text = text.strip()
    if column.type == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if column.type not in ("integer", "number"):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number == int(number) and column.type == "integer" else number


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _form(
    serving: Serving, given: Mapping[str, str], problem: Problem | None = None
) -> dict[str, Any]:
    """What the page shows of a use case."""
    columns = serving.use_case.data.columns
    errors = {each.field: each.message for each in problem.errors} if problem else {}
    about_it = serving.use_case.about
    return {
        "name": serving.name,
        "title": about_it.title,
        "question": " ".join(about_it.question.split()),
        "version": serving.version,
        "inputs": [
            _input(name, columns[name], optional, given.get(name, ""), errors.get(name))
            for name, optional in serving.inputs.items()
        ],
        "problem": problem,
        "answer": None,
        "predictions": [],
        "about": {},
    }


def _input(name: str, column: Column, optional: bool, value: str, error: str | None) -> Input:
    schema = column_schema(column, optional=False)
    hint = str(schema.get("description", "")).replace(_ISO, f"{_ISO}, such as 2020-01-31")
    many = column.type == "list"
    low, high = (schema.get(bound) for bound in ("minimum", "maximum"))
    if column.values is not None:
        values = tuple(column.values)
        return Input(name, optional, "choice", value, hint, values=values, many=many, error=error)
    if column.type in ("integer", "number"):
        within = [
            f"{word} {end:g}" for word, end in (("from", low), ("to", high)) if end is not None
        ]
        hint = " ".join(["a whole number" if column.type == "integer" else "a number", *within])
        step = "1" if column.type == "integer" else "any"
        return Input(name, optional, "number", value, hint, low, high, step, error=error)
    if many:
        hint = "several, with commas between"
    return Input(name, optional, "text", value, hint, error=error)


def _predictions(answer: Answer, serving: Serving) -> list[dict[str, Any]]:
    """What is said of each target, with its chart."""
    shown = []
    for name, prediction in answer.predictions.items():
        target = serving.use_case.targets[name]
        content = prediction_json(prediction, target)
        chart: Markup | None = None
        value, low, high = (content.get(part) for part in ("value", "low", "high"))
        if isinstance(value, float | int) and isinstance(low, float) and isinstance(high, float):
            chart = interval_chart(float(value), low, high)
        shown.append({"target": name, "classes": target.is_classes, "chart": chart, **content})
    return shown
