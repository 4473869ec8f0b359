"""Errors as clients get them: problem details of RFC 9457, in JSON.

Nothing of models, files or traces is in them. Each has the id of its request, by which the details
are found in the log of the service.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ratchet.compiled.answers import RequestError
from ratchet.compiled.field_values import shown
from ratchet.errors import DatabaseError

LOGGER = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

TITLES = {
    "invalid-rows": "A row cannot be answered",
    "conflict": "Something is missing that may come",
    "malformed": "The body cannot be read",
    "too-large": "The request is too large",
    "media-type": "The body is not JSON",
    "unknown-use-case": "There is no such use case",
    "unknown-segment": "There is no such merchant or product",
    "no-market": "The use case has no market",
    "unknown-job": "There is no such job",
    "nothing-serves": "Nothing serves yet",
    "busy": "Too much is waiting already",
    "key-needed": "A key is needed",
    "not-allowed": "This is not allowed",
    "wrong-host": "The service has another name",
    "too-many-requests": "Too many requests",
    "too-slow": "The request took too long",
    "reused-key": "The Idempotency-Key cannot be used",
    "failed": "The service has failed",
}
"""Kind of a problem -> what it is called."""


_PLACE = re.compile(r"^row \d+(, field '[^']*')?: ")
"""What a message begins with that says itself where it is; numbers there count within a chunk."""


_SIZE = re.compile(r"^\w+ should have (at (?:least|most) \d+ \w+)(?: after validation, not \d+)?")
"""How pydantic says that a list or text is too short or too long."""

_MOST_FIELDS = 100
"""Most fields of a body that an error lists; of more the first ones suffice."""


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    row: int | None = None
    """Number of the row in the request, from 0."""
    field: str | None = None
    message: str


class ProblemDetails(BaseModel):
    """Why there is no answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str | None = None


class Problem(HTTPException):
    """A request that gets no answer.

    Args:
        status: HTTP status.
        kind: one of ``TITLES``.
        detail: the actual and the expected value, and the way out.
        errors: the same by row and field.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind
        self.errors = errors

    @property
    def title(self) -> str:
        """What this kind of problem is called."""
        return TITLES.get(self.kind, self.kind)

    def response(self, request_id: str | None) -> Response:
        """The HTTP response of the problem."""
        content = ProblemDetails(
            type=f"urn:ratchet:{self.kind}" if self.kind in TITLES else "about:blank",
            title=self.title,
            status=self.status_code,
            detail=str(self.detail),
            errors=list(self.errors),
            request_id=request_id,
        )
        body = to_json(content)
        return Response(body, self.status_code, dict(self.headers or {}), MEDIA_TYPE)


def of_row(error: RequestError, names: Mapping[str, str] | None = None, first: int = 0) -> Problem:
    """The problem of a row that cannot be answered.

    Args:
        error: what is wrong.
        names: column -> how the request called it.
        first: number of the row that the error counts from.
    """
    problems = [_of_field(each, names or {}, first) for each in (error, *error.others)]
    first_problem = problems[0]
    position = f"row {first_problem.row}" + (
        f", {first_problem.field}" if first_problem.field else ""
    )
    status, kind = (409, "conflict") if error.kind == "conflict" else (422, "invalid-rows")
    return Problem(
        status, kind, f"{position}: {first_problem.message}{_more(problems)}", errors=problems
    )


def _of_field(error: RequestError, names: Mapping[str, str], first: int) -> FieldProblem:
    name = names.get(error.field or "", error.field)
    message = _PLACE.sub("", str(error))
    if error.field and name and name != error.field:
        message = message.replace(f"'{error.field}'", f"'{name}'")
    return FieldProblem(row=first + error.row, field=name, message=message)


def _more(problems: Sequence[FieldProblem]) -> str:
    return f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""


def of_validation(
    error: ValidationError | RequestValidationError,
    row: int | None = None,
    fields: Sequence[str] = (),
) -> Problem:
    """The problem of a body that is not as its schema says.

    Args:
        error: what is wrong.
        row: number of the row, of many.
        fields: the fields that there are, for a hint where one is misspelt.
    """
    problems = error.errors()
    shown_problems = [_field(problem, row, fields) for problem in problems[:_MOST_FIELDS]]
    first = shown_problems[0]
    detail = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Problem(422, "invalid-rows", f"{detail}{more}", errors=shown_problems)


def _field(problem: Mapping[str, Any], row: int | None, fields: Sequence[str]) -> FieldProblem:
    path = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    return FieldProblem(
        row=row, field=".".join(path) or None, message=_message(problem, path, fields)
    )


def _message(problem: Mapping[str, Any], path: Sequence[str], fields: Sequence[str]) -> str:
    """What pydantic says, in the words of the other errors, and what it has found."""
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return "expected a value; it is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], fields, n=1) if path else []
        return "there is no such field" + (f"; is '{near[0]}' meant?" if near else "")
    if kind == "list_type" and isinstance(value, str):
        return f"expected a list, in brackets, got {shown(value)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = _SIZE.sub(r"expected \1", message)
    message = message.replace("Input should be", "expected", 1)
    is_plain = value is None or isinstance(value, str | int | float)
    return f"{message}, got {_as_json(value)}" if path and is_plain else message


def _as_json(value: Any) -> str:
    """A value as the client wrote it."""
    constants = {None: "null", True: "true", False: "false"}
    return constants[value] if value is None or isinstance(value, bool) else shown(value)


HANDLED: tuple[type[Exception], ...] = (
    HTTPException,
    DatabaseError,
    RequestError,
    RequestValidationError,
)
"""Errors of routes that become problems."""


def add_handlers(app: FastAPI) -> None:
    """Let every error of a route become a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        return problem_of(request, error).response(request_id(request.scope))

    for kind in HANDLED:
        app.add_exception_handler(kind, answer)


def problem_of(request: Request, error: Exception) -> Problem:
    """The problem that an error of a route is, one of ``HANDLED``."""
    if isinstance(error, RequestError):
        return of_row(error)
    if isinstance(error, RequestValidationError):
        return of_validation(error)
    if isinstance(error, DatabaseError):
        LOGGER.error(
            "Request %s: the database cannot be used: %s", request_id(request.scope), error
        )
        detail = "the database cannot be used at present; try again later"
        return Problem(503, "busy", detail, headers={"retry-after": "5"})
    assert isinstance(error, HTTPException)
    return as_problem(error, request.url.path)


def as_problem(error: HTTPException, path: str) -> Problem:
    """The problem details of an error of the framework."""
    if isinstance(error, Problem):
        return error
    details = {
        404: f"nothing is at {path[:200]}; /docs lists what there is",
        405: f"{path[:200]} does not take this method; /docs lists what there is",
    }
    phrase = HTTPStatus(error.status_code).phrase
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, phrase, detail, headers=error.headers)


def request_id(scope: Mapping[str, Any]) -> str | None:
    """Id of the request, where the middleware has given one."""
    call = scope.get("ratchet.call")
    return None if call is None else str(call.request_id)
