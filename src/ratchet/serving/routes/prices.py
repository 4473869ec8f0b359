"""``/recommend-price/{use_case}``: the price of a segment that earns most, or why none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from ratchet.config import joined_key
from ratchet.serving.answering import about, json_response, moment, no_prices, service_of
from ratchet.serving.errors import FieldProblem, Problem, of_validation
from ratchet.serving.json_bodies import read_json
from ratchet.serving.log_entries import PriceRecord
from ratchet.serving.protocols import Serving
from ratchet.serving.request_context import call_of
from ratchet.serving.schemas import PriceRequest, problems
from ratchet.serving.security import require_scope

if TYPE_CHECKING:
    from ratchet.learning.demand.book import DemandBook, SegmentPrice

router = APIRouter(
    prefix="/recommend-price",
    tags=["prices"],
    dependencies=[Depends(require_scope("predict"))],
)
_LOGGED = [field.name for field in fields(PriceRecord)]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": PriceRequest.model_json_schema()}},
    }
}


@router.post(
    "/{use_case}",
    responses=problems(400, 401, 403, 404, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
async def recommend_price(use_case: str, request: Request) -> Response:
    """Recommend a price for a product at a merchant, or say why none is recommended.

    What is expected of it (demand, profit and gain per step, with 80 % intervals over three forms
    of demand) is null where no price is recommended; `reasons` says why. `raise` and `lower` are
    directions: the price is the last one that was tried, or is allowed.
    """
    content, size = await read_json(request)
    limit = service_of(request).settings.limits.row_bytes
    if size > limit:
        raise Problem(413, "too-large", f"a request may have {limit:,} bytes, got {size:,}")
    try:
        quantities = PriceRequest.model_validate(content, strict=True)
    except ValidationError as error:
        raise of_validation(error, fields=[*PriceRequest.model_fields]) from None
    return _recommend(use_case, quantities, request)


@router.get("/{use_case}", responses=problems(401, 403, 404, 422, 429, 503))
async def recommend_price_of(
    use_case: str, quantities: Annotated[PriceRequest, Query()], request: Request
) -> Response:
    """Recommend a price as `POST` does."""
    return _recommend(use_case, quantities, request)


def _recommend(use_case: str, quantities: PriceRequest, request: Request) -> Response:
    service = service_of(request)
    champion = service.champion(use_case)
    if champion.use_case.market is None:
        raise Problem(404, "no-market", _without_market(use_case, _markets(service.models)))
    merchant, product = _segment(_book(champion), quantities)
    serving = service.chosen(use_case, request, joined_key([merchant, product]))
    if serving is not champion and not _knows(serving.prices, merchant, product):
        serving, call_of(request).assignment = champion, None
    book, shown = _book(serving), dict[str, Any]()

    def make() -> PriceRecord:
        row = _quote(book, merchant, product, quantities)
        shown.update(row.to_json(), date=quantities.date, capacity=quantities.capacity)
        return PriceRecord(**{name: shown[name] for name in _LOGGED})

    service.recommend(request, serving, make)
    until = serving.trained_until
    return json_response(
        {
            **about(serving, call_of(request)),
            **shown,
            "confidence": book.settings.confidence,
            "trained_until": None if until is None else moment(until),
        }
    )


def _quote(book: DemandBook, merchant: str, product: str, quantities: PriceRequest) -> SegmentPrice:
    """A segment with its price.

    Raises:
        Problem: the current price is far from all that were tried.
    """
    changes = {
        "unit_cost": quantities.unit_cost,
        "price": quantities.price,
        "capacity": quantities.capacity,
    }
    try:
        return book.quote(merchant, product, **changes)
    except ValueError as error:
        raise _wrong("price", str(error)) from None


def _book(serving: Serving) -> DemandBook:
    """What prices the segments of a version.

    Raises:
        Problem: there is nothing that could.
    """
    if serving.prices is None:
        raise Problem(503, "nothing-serves", no_prices(serving), headers={"retry-after": "60"})
    return serving.prices


def _segment(book: DemandBook, quantities: PriceRequest) -> tuple[str, str]:
    """Names of the segment that is meant.

    Raises:
        Problem: there is no such segment, or several could be meant.
    """
    from ratchet.learning.demand.book import UnknownSegmentError

    merchant = _one("merchant", quantities.merchant, book)
    product = _one("product", quantities.product, book)
    try:
        book.position(merchant, product)
    except UnknownSegmentError as error:
        raise Problem(404, "unknown-segment", str(error)) from None
    return merchant, product


def _one(what: str, name: str | None, book: DemandBook) -> str:
    from ratchet.learning.demand.book import nearest

    if name is not None:
        return name
    names = book.merchants if what == "merchant" else book.products
    if len(names) == 1:
        return names[0]
    raise _wrong(what, f"expected one of {len(names):,}: {nearest('', names)}")


def _knows(book: DemandBook | None, merchant: str, product: str) -> bool:
    from ratchet.learning.demand.book import SegmentKey

    return book is not None and SegmentKey(merchant, product) in book


def _wrong(field: str, message: str) -> Problem:
    problems = [FieldProblem(field=field, message=message)]
    return Problem(422, "invalid-rows", f"{field}: {message}", errors=problems)


def _markets(models: Any) -> Sequence[str]:
    served = ((name, models.champion(name)) for name in models.use_cases())
    return [name for name, one in served if one is not None and one.use_case.market is not None]


def _without_market(use_case: str, markets: Sequence[str]) -> str:
    existing = f"prices are recommended for {', '.join(markets)}" if markets else "none has one"
    return f"{use_case} has no market: {existing}; its answers are at /predict/{use_case}"
