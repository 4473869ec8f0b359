"""The book that prices segments."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest

from ratchet.learning.demand.book import (
    DemandBook,
    Elasticities,
    ExpectedDemand,
    SegmentKey,
    UnknownSegmentError,
    nearest,
)
from ratchet.learning.demand.pricing import (
    Form,
    Offer,
    Outcome,
    PriceHistory,
    PricingSettings,
    Reason,
    Responses,
    recommend,
)

ELASTICITIES = np.array([-1.2, -4.0, -2.0])
KEYS = (SegmentKey("north", "tea"), SegmentKey("north", "milk"), SegmentKey("south", "tea"))


def make_book(**changes: Any) -> DemandBook:
    """Three segments, prices from 2 to 3, now 2.5, at a cost of 1; and one without rows."""
    random = np.random.default_rng(0)
    slopes = (ELASTICITIES[:, None] + 0.05 * random.normal(size=(3, 200))).astype(np.float32)
    curved = np.stack([slopes, np.zeros_like(slopes)], axis=-1)
    three = np.ones(3)
    book = DemandBook(
        keys=KEYS,
        without_rows=(SegmentKey("south", "milk"),),
        responses=Responses(
            np.log(2.5) * three,
            {
                Form.LOG_LOG: slopes[..., None],
                Form.SEMI_LOG: slopes[..., None],
                Form.QUADRATIC: curved,
            },
            three,
        ),
        history=PriceHistory(
            2 * three, 3 * three, 2.5 * three, 2.5 * three, 80 * np.ones(3, int), 0 * three
        ),
        offer=Offer.of(3, unit_cost=1.0, demand=100.0),
        settings=PricingSettings(),
        elasticities=Elasticities(ELASTICITIES, ELASTICITIES - 0.1, ELASTICITIES + 0.1),
        expected=ExpectedDemand(100 * three, 80 * three, 120 * three),
    )
    return replace(book, **changes)


@pytest.fixture(scope="module")
def book() -> DemandBook:
    return make_book()


def same(one: Any, other: Any) -> bool:
    """Whether recommendations are equal, NaN and arrays included."""
    values = [str(asdict(each)) for each in (one, other)]
    return values[0] == values[1]


def test_one_segment_gets_the_price_that_all_of_them_get(book):
    together = book.price_all()

    assert len(together) == len(book.segments()) == len(book) == 4
    for key, result in zip(book.segments(), together, strict=True):
        assert same(book.price(key.merchant, key.product), result)
    assert [result.outcome for result in together[:2]] == [Outcome.RAISE, Outcome.LOWER]


def test_prices_are_those_of_the_arrays_in_double_precision(book):
    draws = {form: values.astype(float) for form, values in book.responses.draws.items()}
    direct = recommend(replace(book.responses, draws=draws), book.history, book.offer)

    assert all(map(same, direct, book.price_all()))


def test_another_cost_is_as_if_it_had_been_the_cost(book):
    costly = make_book(offer=Offer.of(3, unit_cost=2.4, demand=100.0))

    result = book.price("north", "milk", unit_cost=2.4)

    assert same(result, costly.price("north", "milk"))
    assert result.price > book.price("north", "milk").price


def test_another_current_price_sells_what_the_response_says(book):
    result = book.price("north", "milk", price=2.4)
    curve = book.curve("north", "milk")

    assert result.current_price == 2.4
    at_present = np.interp(2.4, curve.price, curve.demand)
    assert result.curve is not None
    np.testing.assert_allclose(
        np.interp(2.4, result.curve.price, result.curve.demand), at_present, rtol=0.01
    )
    assert result.gain.mean < book.price("north", "milk").gain.mean


def test_no_more_is_sold_than_there_is(book):
    assert book.curve("north", "milk", capacity=50.0).demand.max() == 50.0


def test_a_segment_without_rows_is_abstained_from(book):
    result = book.price("south", "milk")

    assert result.outcome is Outcome.ABSTAIN
    assert [each.reason for each in result.abstentions] == [Reason.FEW_ROWS]
    row = book.row(SegmentKey("south", "milk"), result)
    assert (row.rows, row.reason) == (0.0, Reason.FEW_ROWS.value)
    assert np.isnan(row.elasticity)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"unit_cost": 0.0}, "unit_cost must be a number above 0, not 0"),
        ({"unit_cost": float("nan")}, "unit_cost must be a number above 0"),
        ({"price": -1.0}, "price must be a number above 0"),
        ({"capacity": float("inf")}, "capacity must be a number above 0"),
        ({"price": 9.0}, "price 9 is far from those that were tried, 2 to 3"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(book, changes, match):
    with pytest.raises(ValueError, match=match):
        book.price("north", "tea", **changes)


@pytest.mark.parametrize(
    ("merchant", "product", "match"),
    [
        ("north", "beer", "products of this merchant: milk, tea"),
        ("west", "tea", "merchants of this product: north, south"),
        ("west", "beer", "merchants: north, south"),
    ],
)
def test_a_segment_that_there_is_not_is_named_with_those_that_there_are(
    book, merchant, product, match
):
    with pytest.raises(UnknownSegmentError, match=match):
        book.price(merchant, product)


def test_a_row_says_what_is_known_of_a_segment(book):
    result = book.price("north", "tea")
    row = book.row(KEYS[0], result)

    assert (row.merchant, row.product, row.outcome) == ("north", "tea", "raise")
    assert (row.price, row.current_price, row.unit_cost) == (result.price, 2.5, 1.0)
    assert (row.gain_low, row.gain, row.gain_high) == (
        result.gain.low,
        result.gain.mean,
        result.gain.high,
    )
    assert (row.elasticity, row.lowest_tried, row.highest_tried) == (-1.2, 2.0, 3.0)
    assert row.price_if_cheaper == result.price_if_cheaper


def test_bytes_hold_all_of_the_book(book):
    again = DemandBook.from_bytes(book.to_bytes(), "book")

    assert (again.keys, again.without_rows, again.settings) == (
        book.keys,
        book.without_rows,
        book.settings,
    )
    assert all(map(same, again.price_all(), book.price_all()))
    assert again.responses.draws[Form.LOG_LOG].dtype == np.float32
    assert again.to_bytes() == book.to_bytes()


@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
def test_damaged_bytes_are_refused(book, damage):
    content = book.to_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "changed": content[:200] + b"\0" * 100 + content[300:],
        "other": b"something else",
    }[damage]

    with pytest.raises(ValueError, match=r"book\.npz cannot be read"):
        DemandBook.from_bytes(damaged, "book.npz")


def test_arrays_that_do_not_fit_are_refused(book):
    arrays = book.to_arrays()
    for name, wrong in {
        "centre": arrays["centre"][:2],
        "offer.demand": np.array(["a"] * 3),
    }.items():
        with pytest.raises(ValueError, match=rf"no demand book: {name} does not have a number"):
            DemandBook.from_arrays({**arrays, name: wrong})
    missing = {name: values for name, values in arrays.items() if name != "centre"}
    with pytest.raises(ValueError, match="no demand book: 'centre'"):
        DemandBook.from_arrays(missing)


def test_a_price_takes_no_pandas():
    code = (
        "import sys\n"
        "from ratchet.learning.demand.book import DemandBook\n"
        "assert not {'pandas', 'sklearn', 'pydantic'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_have_every_field(book):
    result = book.price_all()
    rows = [book.row(*each) for each in zip(book.segments(), result, strict=True)]

    assert {type(getattr(row, f.name)) for row in rows for f in fields(row)} == {str, float}


def test_the_curve_is_the_union_of_those_of_the_forms(book):
    curve = book.curve("north", "milk", unit_cost=2.4)

    for profit, name in ((False, "demand"), (True, "profit")):
        forms = np.stack([curve.of_form(form, profit=profit) for form in Form])
        mean, low, high = forms[:, 0].mean(axis=0), forms[:, 1].min(axis=0), forms[:, 2].max(axis=0)
        np.testing.assert_allclose(mean, getattr(curve, name), atol=1e-9)
        np.testing.assert_allclose(low, getattr(curve, f"{name}_low"), atol=1e-9)
        np.testing.assert_allclose(high, getattr(curve, f"{name}_high"), atol=1e-9)
        assert (forms[:, 1] <= forms[:, 2]).all()  # also below cost


def test_a_quote_is_the_row_of_a_price_for_what_was_given(book):
    quoted = book.quote("north", "tea", unit_cost=1.5, price=2.0)
    plain = book.row(KEYS[0], book.price("north", "tea", unit_cost=1.5, price=2.0))

    assert (quoted.unit_cost, plain.unit_cost) == (1.5, 1.0)
    assert quoted.current_demand > plain.current_demand == 100
    assert quoted.current_demand_low / quoted.current_demand == pytest.approx(0.8)
    assert (quoted.price, quoted.gain) == (plain.price, plain.gain)
    assert quoted.to_json()["merchant"] == "north"
    assert quoted.to_json()["relative_error"] is None


def test_among_many_names_those_like_another_one_are_told_quickly():
    names = [f"shop {n}" for n in range(5_000)] + ["Bäckerei"]

    assert nearest("bäckerei", names).startswith("Bäckerei and others")
    assert nearest("", names).endswith("and 4993 more")
    assert nearest("zz", ["a", "b"]) == "a, b"
