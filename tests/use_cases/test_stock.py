"""Receipts become daily sales."""

from __future__ import annotations

import pandas as pd
import pytest

from ratchet.use_cases.stock import daily_sales

LINES = pd.DataFrame(
    [
        ("1/2/2001", 7, "tea", 1, 2, 10),
        ("1/2/2001", 7, "tea", 2, 1, 8),
        ("1/2/2001", 7, "tea", 2, 1, 6),
        ("1/3/2001", 7, "tea", 1, 1, 5),
        ("1/3/2001", 8, "salt", 1, 4, 4),
    ],
    columns=["day", "item", "kind", "customer", "pieces", "paid"],
)
NAMES = {
    **{"product": "item", "date": "day", "units": "pieces", "amount": "paid"},
    **{"ticket": "customer", "group": "kind", "date_format": "%m/%d/%Y"},
}


def test_one_row_for_a_product_and_day():
    sales = daily_sales(LINES, **NAMES, at_least=1)

    assert sales.to_dict("list") == {
        "product": [7, 7, 8],
        "group": ["tea", "tea", "salt"],
        "date": list(pd.to_datetime(["2001-01-02", "2001-01-03", "2001-01-03"])),
        "units": [4, 1, 4],
        "price": [6, 5, 1],
        "tickets": [2, 1, 1],
    }


def test_products_that_sell_too_rarely_are_left_out():
    assert set(daily_sales(LINES, **NAMES, at_least=2)["product"]) == {7}
    with pytest.raises(ValueError, match="no product is sold on 3 days"):
        daily_sales(LINES, **NAMES, at_least=3)


def test_a_day_that_cannot_be_read():
    with pytest.raises(ValueError, match="13/13/2001"):
        daily_sales(LINES.assign(day="13/13/2001"), **NAMES, at_least=1)


def test_what_is_brought_back_is_no_sale():
    """Nor is it less of a sale on the day on which it was bought."""
    back = pd.DataFrame(
        [("1/2/2001", 7, "tea", 1, -2, -10), ("1/4/2001", 8, "salt", 1, -4, -4)],
        columns=LINES.columns,
    )

    sales = daily_sales(pd.concat([LINES, back]), **NAMES, at_least=1)

    pd.testing.assert_frame_equal(sales, daily_sales(LINES, **NAMES, at_least=1))
