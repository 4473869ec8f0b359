"""Functions of the use case ``stock``."""

from __future__ import annotations

import pandas as pd


def daily_sales(
    receipts: pd.DataFrame,
    *,
    product: str,
    date: str,
    units: str,
    amount: str,
    ticket: str,
    group: str,
    at_least: int,
    date_format: str | None = None,
) -> pd.DataFrame:
    """Lines of receipts as one row for every product and day with a sale.

    Lines without units, or with fewer than none, are no sales: goods that are brought back were
    wanted on the day on which they were sold, and no less on the day on which they return.

    Args:
        receipts: one row per line of a receipt.
        product: column that names the product.
        date: column of the day.
        units: column of the units sold.
        amount: column of what the line cost in all.
        ticket: column that tells the receipts of a day apart, such as the customer.
        group: column of the product's group.
        at_least: days on which a product has to be sold to be kept.
        date_format: how the day is written, ISO 8601 by default.

    Returns:
        ``product``, ``group``, ``date``, ``units``, ``price`` (mean price of a unit) and
        ``tickets``, ordered by product and date.

    Raises:
        KeyError: a column is missing.
        ValueError: no product is sold on as many days, or a day cannot be read.
    """
    lines = receipts[[product, date, units, amount, ticket, group]]
    lines = lines.set_axis(["product", "date", "units", "amount", "ticket", "group"], axis=1)
    lines = lines[pd.to_numeric(lines["units"]) > 0]
    lines = lines.assign(date=pd.to_datetime(lines["date"], format=date_format or "ISO8601"))
    days = lines.groupby("product")["date"].nunique()
    sold = lines[lines["product"].isin(days.index[days >= at_least])]
    if sold.empty:
        raise ValueError(f"no product is sold on {at_least} days (at_least)")
    daily = sold.groupby(["product", "date"], as_index=False).agg(
        group=("group", "first"),
        units=("units", "sum"),
        amount=("amount", "sum"),
        tickets=("ticket", "nunique"),
    )
    daily["price"] = daily["amount"] / daily["units"]
    return daily[["product", "group", "date", "units", "price", "tickets"]]
