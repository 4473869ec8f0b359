"""Forms of the pages: what a browser sends without any script."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from fastapi import Request

from ratchet.serving.errors import Problem

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
