"""Pages for people: templates and static files of all routes, in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

import ratchet
from ratchet.errors import DatabaseError
from ratchet.serving.errors import HANDLED, Problem, problem_of
from ratchet.serving.request_context import call_of
from ratchet.serving.security import DOCS_POLICY

STATIC = "/static"
_DAY = "public, max-age=86400"
_CODE = re.compile("`([^`]+)`")
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"


class _Files(StaticFiles):
    """Files that browsers may keep for a day."""

    def file_response(self, *args: Any, **options: Any) -> Any:
        """A file, which is no secret and seldom changes."""
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = _DAY
        return response


def mount(app: FastAPI) -> None:
    """Let an application serve our static files, and those of the pages of its documentation."""
    folder = Path(str(files("ratchet.serving") / "static"))
    vendored = Path(str(files("fastapi_offline") / "static"))
    app.mount(f"{STATIC}/docs", _Files(directory=vendored), name="docs-assets")
    app.add_route(f"{STATIC}/redoc.js", _redoc_script, include_in_schema=False)
    app.mount(STATIC, _Files(directory=folder), name="static")
    for path, template in (("/docs", "docs.html.j2"), ("/redoc", "redoc.html.j2")):
        app.add_route(path, _documentation(template), include_in_schema=False)


async def _redoc_script(_: Request) -> Response:
    return Response(_redoc(), media_type="text/javascript", headers={"cache-control": _DAY})


@cache
def _redoc() -> bytes:
    """ReDoc with an image of our own where it would load the logo of its makers from elsewhere."""
    script = (files("fastapi_offline") / "static" / "redoc.standalone.js").read_bytes()
    return script.replace(_LOGO, f"{STATIC}/docs/favicon.png".encode())


def _documentation(template: str) -> Any:
    async def show(request: Request) -> HTMLResponse:
        response = page(request, template)
        response.headers["content-security-policy"] = DOCS_POLICY
        return response

    return show


def show_problems(app: FastAPI) -> None:
    """Return errors as pages to browsers, and as JSON to other clients."""

    async def show(request: Request, error: Exception) -> Response:
        problem = problem_of(request, error)
        if not wants_html(request):
            return problem.response(call_of(request).request_id)
        is_away = isinstance(error, DatabaseError)
        title = "The database cannot be used" if is_away else problem.title
        response = page(request, "problem.html.j2", problem=problem, problem_title=title)
        response.status_code = problem.status_code
        response.headers.update(problem.headers or {})
        return response

    for kind in HANDLED:
        app.add_exception_handler(kind, show)


def wants_html(request: Request) -> bool:
    """Whether a browser asks: it names HTML before anything else."""
    return request.headers.get("accept", "").lstrip().startswith(("text/html", "application/xhtml"))


def page(request: Request, template: str, **content: Any) -> HTMLResponse:
    """A page.

    Args:
        request: what asks for it.
        template: file in ``templates``.
        content: what the template shows.
    """
    rendered = _templates().get_template(template)
    return HTMLResponse(
        rendered.render(
            **content,
            ratchet_version=ratchet.__version__,
            path=request.url.path,
            address=_address(request),
            request_id=call_of(request).request_id,
            signed_in=call_of(request).actor,
            keys_needed=request.app.state.service.keys.needed,
        )
    )


def _address(request: Request) -> str:
    """Path and query of the page, or of the form that was sent: to go on there after signing in."""
    is_form = request.method == "POST"
    url = urlsplit(request.headers.get("referer", "/") if is_form else str(request.url))
    return f"{url.path}?{url.query}" if url.query else url.path


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("ratchet.serving", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static
    environment.filters["code"] = with_code
    return environment


def with_code(text: str) -> Markup:
    """A message in HTML; text between backticks is code, as in Markdown."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


@cache
def static(name: str) -> str:
    """Address of one of our static files; another content has another one, for browsers keep it."""
    content = (files("ratchet.serving") / "static" / name).read_bytes()
    return f"{STATIC}/{name}?v={sha256(content).hexdigest()[:12]}"


_KIND = "application/x-www-form-urlencoded"
_FIELDS = 300
_BYTES = 64 * 1024


async def read_form(request: Request) -> dict[str, list[str]]:
    """Fields of a form, each with its values; those left empty are there with an empty text.

    Raises:
        Problem: it is no form, or a very large one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _KIND:
        raise Problem(415, "media-type", f"expected Content-Type: {_KIND}")
    body = await request.body()
    if len(body) > _BYTES:
        raise Problem(413, "too-large", f"a form may have {_BYTES:,} bytes, got {len(body):,}")
    try:
        return parse_qs(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"
        )
    except ValueError:
        raise Problem(400, "malformed", f"expected a form of up to {_FIELDS} fields") from None


def first(form: Mapping[str, list[str]], name: str) -> str:
    """The first value of a field, without the blanks around it; empty where there is none."""
    return form.get(name, [""])[0].strip()
