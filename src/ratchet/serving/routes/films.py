"""``POST /predict/classification`` and ``/predict/regression``: films, in the words of a client.

The table of films has its own fields for what is known of a date. Here a film has one date, as much
of it as is known, and may leave out its number.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ratchet.compiled.answers import Answer
from ratchet.config import Target
from ratchet.serving.answering import Service, about, json_response, prediction_json, service_of
from ratchet.serving.errors import Problem, of_validation
from ratchet.serving.json_bodies import read_rows
from ratchet.serving.protocols import Serving
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(
    tags=["predictions"],
    dependencies=[Depends(require_scope("predict"))],
    responses=problems(400, 401, 403, 404, 413, 415, 422, 429, 503),
)
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_NEW_YEAR = (1, 1)

Text = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Text], Field(max_length=64)]


class Film(BaseModel):
    """A film before its release. Whatever is not known is left out."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "minute": 117,
                    "date": "2012-06-08",
                    "genres": ["Drama", "Thriller"],
                    "countries": ["USA"],
                }
            ]
        },
    )

    minute: Annotated[float | None, Field(gt=0, le=1000, description="running time")] = None
    runtime: Annotated[float | None, Field(gt=0, le=1000, description="the same as minute")] = None
    date: Annotated[
        str,
        Field(description="day, month or year of release: 2012-06-08, 2012-06, 2012"),
    ]
    genres: Annotated[Names, Field(min_length=1)]
    countries: Names
    languages: Names | None = None
    certificate: Text | None = None
    director: Names | None = None
    writer: Names | None = None
    cast: Names | None = None
    studio: Names | None = None
    title: Annotated[str, Field(max_length=200)] = ""
    film: Annotated[
        int | None,
        Field(ge=0, le=2**53, description="its number, by which the truth is joined later"),
    ] = None

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, text: str) -> str:
        released(text)
        return text

    @model_validator(mode="after")
    def _last_once(self) -> Self:
        if (self.minute is None) == (self.runtime is None):
            raise ValueError("minute: expected the running time, once: as minute or as runtime")
        return self

    def row(self, number: int) -> dict[str, object]:
        """The fields of the table.

        Args:
            number: that of a film that has none.
        """
        values = self.model_dump(exclude_none=True, exclude={"minute", "runtime", "date", "film"})
        runtime = self.runtime if self.minute is None else self.minute
        key = number if self.film is None else self.film
        return {"film": key, "runtime": runtime, **values, **released(self.date)}

    @property
    def names(self) -> dict[str, str]:
        """Column of the table -> field of this body, where they differ."""
        dates = dict.fromkeys(("released", "year", "month"), "date")
        return dates if self.minute is None else {"runtime": "minute", **dates}


def released(text: str) -> dict[str, object]:
    """What the table of films says of a date of release, as far as it is known.

    A film of which the year alone is known counts as released at its end, and is described by what
    was known at its start. The data have the first of January for that, and so does this route.

    Raises:
        ValueError: it is no date.
    """
    date = _DATE.fullmatch(text)
    if not date or not 1888 <= int(date[1]) < 2100:
        raise ValueError("expected a day, month or year from 1888 to 2099, such as 2012-06-08")
    year, month, day = int(date[1]), int(date[2] or 1), int(date[3] or 1)
    try:
        start = dt.date(year, month, day)
    except ValueError as error:
        raise ValueError(f"there is no such day: {error}") from None
    if (month, day) == _NEW_YEAR and (date[3] or not date[2]):
        end, known_month = dt.date(year, 12, 31), None
    else:
        last = calendar.monthrange(year, month)[1] if date[3] is None else day
        end, known_month = dt.date(year, month, last), month
    return {
        "released": start.isoformat(),
        "date": end.isoformat(),
        "year": year,
        "month": known_month,
    }


class FilmResponse(BaseModel):
    """What both answers about films have."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    use_case: str
    model_version: str
    predicted_at: dt.datetime
    request_id: str
    key: str
    not_given: list[str]


class SuccessLevel(FilmResponse):
    """How successful a film will be."""

    success_level: str
    probability: float
    probabilities: dict[str, float]


class Rating(FilmResponse):
    """How critics will rate a film."""

    rating: float
    low: float | None
    high: float | None
    confidence: float | None
    unit: str | None


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Film.model_json_schema()}},
    }
}


@router.post("/predict/classification", response_model=SuccessLevel, openapi_extra=_BODY)
async def classification(request: Request) -> Any:
    """Say how successful a film will be: the class, and the probability of each class."""
    serving, target, answer = await _ask(request, classes=True)
    prediction = prediction_json(answer.predictions[target], serving.use_case.targets[target])
    return json_response(
        {
            "success_level": prediction["value"],
            "probability": prediction["probability"],
            "probabilities": prediction["probabilities"],
            **_rest(serving, request, answer),
        }
    )


@router.post("/predict/regression", response_model=Rating, openapi_extra=_BODY)
async def regression(request: Request) -> Any:
    """Say how critics will rate a film: the rating, and an interval that holds it mostly."""
    serving, target, answer = await _ask(request, classes=False)
    prediction = prediction_json(answer.predictions[target], serving.use_case.targets[target])
    number = prediction.pop("value")
    return json_response({"rating": number, **prediction, **_rest(serving, request, answer)})


def _rest(serving: Serving, request: Request, answer: Answer) -> dict[str, object]:
    return {
        **about(serving, call_of(request)),
        "key": answer.key,
        "not_given": list(answer.not_given),
    }


async def _ask(request: Request, *, classes: bool) -> tuple[Serving, str, Answer]:
    """The version, the target that is asked for, and the answer."""
    service = service_of(request)
    serving, target = _films(service, request, classes=classes)
    body = await read_rows(request, service.settings.limits, ["rows"])
    if body.many:
        raise Problem(
            422,
            "invalid-rows",
            f"expected one film; /predict/{serving.name} takes many, in the fields of the table",
        )
    try:
        film = Film.model_validate(body.rows[0])
    except ValidationError as error:
        raise of_validation(error, fields=[*Film.model_fields]) from None
    row = film.row(-(uuid4().int >> 75))
    inputs = {name: value for name, value in row.items() if name in serving.inputs}
    (answer,) = await service.answer(request, serving, [inputs], film.names)
    return serving, target, answer


def _films(service: Service, request: Request, *, classes: bool) -> tuple[Serving, str]:
    name = service.settings.films
    serving = service.chosen(name, request)
    target = _target(serving.use_case.targets, classes=classes)
    if target is None or not {"runtime", "released", "genres"} <= {*serving.inputs}:
        raise Problem(
            404,
            "unknown-use-case",
            f"{name} is not about films here; /predict/{name} takes its own fields",
        )
    return serving, target


def _target(targets: Mapping[str, Target], *, classes: bool) -> str | None:
    return next((name for name, each in targets.items() if each.is_classes is classes), None)
