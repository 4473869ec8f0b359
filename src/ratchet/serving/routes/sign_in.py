"""``/sign-in``: a browser shows a key once, and may use the pages with it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ratchet.serving.answering import service_of
from ratchet.serving.pages import first, page, read_form
from ratchet.serving.sessions import COOKIE, SECONDS, Sessions

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
async def show(request: Request) -> Response:
    """The form."""
    target = safe_redirect(request.query_params.get("next", "/"))
    return page(request, "sign_in.html.j2", next=target, wrong=False)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Take a key, and remember the browser."""
    form = await read_form(request)
    target, key = (
        safe_redirect(first(form, "next")),
        service_of(request).keys.find(first(form, "key")),
    )
    if key is None:
        response = page(request, "sign_in.html.j2", next=target, wrong=True)
        response.status_code = 401
        return response
    sessions: Sessions = request.app.state.sessions
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        COOKIE,
        sessions.make(key),
        max_age=SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out")
async def sign_out() -> Response:
    """Forget the browser."""
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE)
    return response


def safe_redirect(wanted: str) -> str:
    """A page of ours to go on to; what leads elsewhere does not count."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_ours and wanted.isprintable() else "/"
