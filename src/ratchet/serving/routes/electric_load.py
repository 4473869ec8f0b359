"""``POST /predict``: electric load, in the words of the data of Tetouan (UCI 849).

The body has the weather of a moment and no earlier load: the service gets that by
``/observe``. Without it the second model of the bundle answers, which sees weather and calendar
alone: ``basis`` says so, and the interval is wider. A path is asked for one moment at a time: its
next step is answered from the past, and a later one (``step`` says which) where ``/observe`` was
handed the weather of the steps between, or else by the second model. Where another file of load
serves than that of Tetouan, the answer says so.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.responses import Response

from ratchet.serving.answering import (
    Service,
    about,
    json_response,
    moment,
    prediction_json,
    service_of,
)
from ratchet.serving.errors import Problem, of_validation
from ratchet.serving.json_bodies import read_rows
from ratchet.serving.protocols import Serving
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import problems
from ratchet.serving.security import require_scope

router = APIRouter(
    tags=["predictions"],
    dependencies=[Depends(require_scope("predict"))],
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)

FIELDS = {
    "temperature": "Temperature",
    "humidity": "Humidity",
    "wind": "WindSpeed",
    "flows_general": "GeneralDiffuseFlows",
    "flows_diffuse": "DiffuseFlows",
    "time": "Timestamp",
}
"""Column of the contract -> field of the body."""

_NUMBER = re.compile(r"[+-]?[\d.]+")
_WEEKEND = 5  # Saturday, from Monday as 0


class Weather(BaseModel):
    """The weather at a moment whose load is asked for."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "Temperature": 14.2,
                    "Humidity": 71.5,
                    "WindSpeed": 0.083,
                    "GeneralDiffuseFlows": 0.07,
                    "DiffuseFlows": 0.085,
                    "Timestamp": "2018-01-01T00:00:00",
                }
            ]
        },
    )

    Temperature: Annotated[float, Field(ge=-60, le=60, description="degrees Celsius")]
    Humidity: Annotated[float, Field(ge=0, le=110, description="per cent")]
    WindSpeed: Annotated[float, Field(ge=0, le=1000)]
    GeneralDiffuseFlows: Annotated[float, Field(ge=0, le=100_000)]
    DiffuseFlows: Annotated[float, Field(ge=0, le=100_000)]
    Timestamp: Annotated[
        dt.datetime,
        Field(strict=False, description="a step of the series, by the clock of its file"),
    ]

    @field_validator("Timestamp", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """Refuse numbers: whether they count seconds or spell a date is a guess."""
        if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()):
            raise ValueError("expected a date and time, such as 2018-01-01T00:00:00")
        return value


class InputFeatures(Weather):
    """What was asked, and the parts of the moment."""

    Day: int
    Month: int
    Hour: int
    Minute: int
    DayWeek: Annotated[int, Field(description="0 for Monday")]
    QuarterYear: int
    DayYear: int


class Load(BaseModel):
    """The load of a step."""

    model_config = ConfigDict(protected_namespaces=())

    predicted_power_consumption_zone2: float
    low: float | None
    high: float | None
    confidence: float | None
    unit: str | None
    data: Annotated[str, Field(description="which file of load the model has learned from")]
    is_zone2_of_tetouan: bool
    not_used: Annotated[list[str], Field(description="fields that this model has no use for")]
    not_given: list[str]
    basis: Annotated[str | None, Field(description="what the forecast is based on")]
    step: Annotated[
        int | None,
        Field(description="of a path: how many steps it lies after the last known load"),
    ] = None
    use_case: str
    model_version: str
    prediction_timestamp: dt.datetime
    request_id: str
    input_features: InputFeatures


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Weather.model_json_schema()}},
    }
}


@router.post("/predict", response_model=Load, openapi_extra=_BODY)
async def predict_load(request: Request) -> Response:
    """Say what the load of a step will be, by its weather and by what was measured before."""
    service = service_of(request)
    serving, target = _load(service, request)
    body = await read_rows(request, service.settings.limits, ["rows"])
    if body.many:
        raise Problem(
            422, "invalid-rows", f"expected one moment; /predict/{serving.name} takes many"
        )
    try:
        weather = Weather.model_validate(body.rows[0])
    except ValidationError as error:
        raise of_validation(error, fields=[*Weather.model_fields]) from None
    row = row_of(weather, serving.inputs)
    names = {**FIELDS, "workday": "Timestamp"}
    (answer,) = await service.answer(request, serving, [row], names)
    prediction = prediction_json(answer.predictions[target], serving.use_case.targets[target])
    head = about(serving, call_of(request))
    unused = [field for column, field in FIELDS.items() if column not in serving.inputs]
    return json_response(
        {
            "predicted_power_consumption_zone2": prediction.pop("value"),
            **prediction,
            "data": serving.use_case.about.title,
            "is_zone2_of_tetouan": not unused,
            "not_used": unused,
            "not_given": list(answer.not_given),
            "basis": answer.basis,
            **({} if answer.step is None else {"step": answer.step}),
            "prediction_timestamp": head.pop("predicted_at"),
            **head,
            "input_features": features_of(weather),
        }
    )


def row_of(weather: Weather, inputs: Mapping[str, bool]) -> dict[str, object]:
    """The fields of the contract; working days are Monday to Friday, as in the file."""
    values = {column: getattr(weather, field) for column, field in FIELDS.items()}
    row = {name: value for name, value in values.items() if name in inputs}
    if "time" in row:
        row["time"] = weather.Timestamp.isoformat()
    if "workday" in inputs:
        row["workday"] = int(weather.Timestamp.weekday() < _WEEKEND)
    return row


def features_of(weather: Weather) -> dict[str, object]:
    """What was asked, and the parts of the moment."""
    at = weather.Timestamp
    return {
        **weather.model_dump(exclude={"Timestamp"}),
        "Timestamp": at.isoformat() if at.tzinfo is None else moment(at),
        "Day": at.day,
        "Month": at.month,
        "Hour": at.hour,
        "Minute": at.minute,
        "DayWeek": at.weekday(),
        "QuarterYear": (at.month - 1) // 3 + 1,
        "DayYear": at.timetuple().tm_yday,
    }


def _load(service: Service, request: Request) -> tuple[Serving, str]:
    name = service.settings.power
    serving = service.chosen(name, request)
    if not {"time", "temperature"} <= {*serving.inputs}:
        raise Problem(
            404,
            "unknown-use-case",
            f"{name} is not about electric load here; /predict/{name} takes its own fields",
        )
    return serving, next(iter(serving.use_case.targets))
