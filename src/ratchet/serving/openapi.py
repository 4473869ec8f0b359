"""OpenAPI of the versions that serve: generated again when a contract changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ratchet.serving import schemas
from ratchet.serving.answering import Service
from ratchet.serving.errors import ProblemDetails
from ratchet.serving.protocols import Serving

_REFERENCE = "#/components/schemas/{model}"

Schema = dict[str, Any]


class OpenApi:
    """Makes the description of an application, and keeps it as long as the same versions serve.

    Args:
        app: the application.
        service: what serves.
    """

    def __init__(self, app: FastAPI, service: Service) -> None:
        self._app, self._service = app, service
        self._general: Schema | None = None
        self._cached: tuple[tuple[tuple[str, str], ...], Schema] | None = None

    def __call__(self) -> Schema:
        """The description."""
        models = self._service.models
        serving = [version for name in models.use_cases() if (version := models.champion(name))]
        state = tuple((each.name, each.digest) for each in serving)
        if self._cached is None or self._cached[0] != state:
            self._cached = (state, self._describe(serving))
        return self._cached[1]

    def _describe(self, serving: list[Serving]) -> Schema:
        if self._general is None:
            self._general = self._of_routes()
        schema: Schema = copy.deepcopy(self._general)
        for each in serving:
            components = _components(each)
            schema["components"]["schemas"] |= components
            for path, describe in _BY_ROUTE.items():
                general = schema["paths"].get(path, {}).get("post")
                if general and (operation := describe(general, each, self._rows)):
                    schema["paths"][path.replace("{use_case}", each.name)] = {"post": operation}
        return schema

    def _of_routes(self) -> Schema:
        app = self._app
        document: Schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        problem = ProblemDetails.model_json_schema(ref_template=_REFERENCE)
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components |= {**problem.pop("$defs", {}), "ProblemDetails": problem}
        # What FastAPI adds by itself: errors here have another shape.
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                _mend_validation(operation)
        return document

    @property
    def _rows(self) -> int:
        return self._service.settings.limits.batch_rows


def _mend_validation(operation: Schema) -> None:
    content = operation["responses"].get("422", {}).get("content", {})
    if "HTTPValidationError" in str(content.get("application/json", "")):
        operation["responses"]["422"] = schemas.problems(422)[422]


def _components(serving: Serving) -> Schema:
    """Schemas that operations refer to."""
    components = {
        "row": schemas.row_schema(serving),
        "answer": schemas.answer_schema(serving),
        "truth": schemas.truth_schema(serving),
    }
    if serving.use_case.data.series is not None:
        components["measurement"] = schemas.measurement_schema(serving)
    return {f"{serving.name}.{kind}": schema for kind, schema in components.items()}


def _ref(serving: Serving, kind: str) -> Schema:
    return {"$ref": _REFERENCE.format(model=f"{serving.name}.{kind}")}


def _predict(general: Schema, serving: Serving, rows: int) -> Schema | None:
    body = schemas.one_or_many(_ref(serving, "row"), rows)
    answer = schemas.response_schema(schemas.answer_schema(serving), _ref(serving, "answer"))
    title = serving.use_case.about.title
    return schemas.operation(general, serving, body, answer, f"Predict: {title}")


def _observe(general: Schema, serving: Serving, rows: int) -> Schema | None:
    if serving.use_case.data.series is None:
        return None
    body = schemas.one_or_many(_ref(serving, "measurement"), rows)
    title = serving.use_case.about.title
    return schemas.operation(general, serving, body, None, f"Hand in measurements: {title}")


def _truth(general: Schema, serving: Serving, rows: int) -> Schema | None:
    body = schemas.one_or_many(_ref(serving, "truth"), rows)
    title = serving.use_case.about.title
    return schemas.operation(general, serving, body, None, f"Hand in what came true: {title}")


def _price(general: Schema, serving: Serving, _: int) -> Schema | None:
    if serving.prices is None:
        return None
    body, answer = schemas.price_request_schema(serving), schemas.price_schema(serving)
    title = serving.use_case.about.title
    return schemas.operation(general, serving, body, answer, f"Recommend a price: {title}")


_BY_ROUTE: dict[str, Callable[[Schema, Serving, int], Schema | None]] = {
    "/predict/{use_case}": _predict,
    "/observe/{use_case}": _observe,
    "/truth/{use_case}": _truth,
    "/recommend-price/{use_case}": _price,
}
"""Route with a use case in it -> what describes it for one of them."""
