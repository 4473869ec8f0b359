"""Rows of a market between the tables of the line and the arrays of ``learning.demand``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Data, Market, Target
from ratchet.errors import DataError
from ratchet.learning.demand.book import SegmentKey
from ratchet.learning.demand.panel import Array, Codes, Flags, Rows, check_rows
from ratchet.learning.features.market import JOINT, MarketEncoder

COVARIATE = "covariate: "
"""How columns of covariates start."""


@dataclass(frozen=True)
class MarketRows:
    """Rows of S segments, n in all.

    Attributes:
        keys: names of the segments by their codes.
        segment: code of the segment, shape (n,).
        step: shape (n,).
        price: shape (n,).
        quantity: shape (n,).
        unit_cost: NaN where it is not known, shape (n,).
        capacity: infinite without, shape (n,).
        usable: which rows a model in logs can use, shape (n,).
        rows: those, as they are learned.
    """

    keys: tuple[SegmentKey, ...]
    segment: Codes
    step: Array
    price: Array
    quantity: Array
    unit_cost: Array
    capacity: Array
    usable: Flags
    rows: Rows

    def zero_share(self, among: Flags) -> Array:
        """Share of the rows of each segment without sales, shape (S,), among some rows."""
        n = len(self.keys)
        zeros = np.bincount(self.segment[among & (self.quantity == 0)], minlength=n)
        share: Array = zeros / np.maximum(np.bincount(self.segment[among], minlength=n), 1)
        return share

    def latest(self, values: Array, among: Flags) -> Array:
        """The last value that is known of each segment among some rows, shape (S,)."""
        latest = np.full(len(self.keys), np.nan)
        filled = among & ~np.isnan(values)
        latest[self.segment[filled]] = values[filled]  # in order of time: the last one stays
        return latest


def table_of_rows(primary: pd.DataFrame, data: Data, market: Market, quantity: str) -> pd.DataFrame:
    """Code the rows of a market whose quantity is known.

    Args:
        primary: the prepared rows.
        data: key and time.
        market: which column is what.
        quantity: column of the units sold.

    Returns:
        Indexed by the row key, ordered by segment and step: ``merchant`` and ``product`` (names),
        ``segment`` and ``product_code``, ``step``, ``price``, ``quantity``, ``unit_cost``,
        ``capacity``, and the covariates.

    Raises:
        DataError: two rows of a segment are of one step, a cost is below 0, or a capacity is not
            above it.
    """
    rows = primary[primary[quantity].notna()].set_index(data.key)
    encoder = _encoder(data, market).fit(rows)
    coded = encoder.transform(rows).to_numpy(dtype=np.float64)
    names = pd.Series(encoder.segments_[coded[:, 0].astype(int)], index=rows.index)
    parts = names.str.split(JOINT, n=1, expand=True)
    table = pd.DataFrame(
        {
            "merchant": parts[0],
            "product": parts[1],
            "segment": coded[:, 0].astype(np.int64),
            "product_code": coded[:, 1].astype(np.int64),
            "step": coded[:, 2],
            "price": rows[market.price].to_numpy(dtype=np.float64),
            "quantity": rows[quantity].to_numpy(dtype=np.float64),
            "unit_cost": _numbers(rows, market.unit_cost, np.nan),
            "capacity": _numbers(rows, market.capacity, np.inf),
            **{f"{COVARIATE}{name}": coded[:, 4 + n] for n, name in enumerate(market.covariates)},
        },
        index=rows.index.astype(str),
    )
    _check_offers(table, market)
    _check_steps(table, market)
    return table.sort_values(["segment", "step"], kind="stable")


def _encoder(data: Data, market: Market) -> MarketEncoder:
    return MarketEncoder(
        price=market.price,
        time=str(data.time),
        merchant=market.merchant,
        product=market.product,
        covariates=market.covariates,
        frequency=market.frequency,
    )


def _numbers(rows: pd.DataFrame, given: float | str | None, default: float) -> npt.NDArray:
    if isinstance(given, str):
        return rows[given].to_numpy(dtype=np.float64)
    return np.full(len(rows), default if given is None else float(given))


def _check_offers(table: pd.DataFrame, market: Market) -> None:
    """Make sure that costs and capacities are such."""
    expected = {
        "unit_cost": (market.unit_cost, table["unit_cost"] < 0, "0 or more"),
        "capacity": (market.capacity, table["capacity"] <= 0, "more than 0"),
    }
    for place, (column, wrong, words) in expected.items():
        if wrong.any():
            raise DataError(
                f"column '{column}' (market.{place}): expected {words} or nothing, "
                f"{int(wrong.sum())} of {len(table)} rows have another value, the first ones are "
                f"{table.index[wrong][:3].to_list()}"
            )


def _check_steps(table: pd.DataFrame, market: Market) -> None:
    """Make sure that each segment has one row per step."""
    twice = table.duplicated(["segment", "step"], keep=False)
    if twice.any():
        keys = table.index[twice][:3].to_list()
        first = table[twice].iloc[0]
        raise DataError(
            f"{int(twice.sum())} rows share a step of {market.frequency} (market.frequency) with "
            f"another row of their segment, the first ones are {keys} of merchant "
            f"'{first['merchant']}' and product '{first['product']}'; expected one row per segment "
            f"and step: add them up beforehand (data.prepare), or set another frequency"
        )


def read_rows(table: pd.DataFrame) -> MarketRows:
    """Read what ``table_of_rows`` has made.

    Raises:
        DataError: no row can be used by a model in logs.
    """
    first = table.drop_duplicates("segment")  # ordered by segment
    names = ("step", "price", "quantity", "unit_cost", "capacity")
    values = {name: table[name].to_numpy(dtype=np.float64) for name in names}
    check = check_rows(values["quantity"], values["price"])
    if not check.usable.any():
        raise DataError(
            f"none of {len(table)} rows of the market has a quantity and a price above 0: "
            f"{ {reason.value: n for reason, n in check.counts.items()} }"
        )
    used = table[check.usable]
    covariates = table.columns[table.columns.str.startswith(COVARIATE)]
    return MarketRows(
        keys=tuple(map(SegmentKey, first["merchant"], first["product"])),
        segment=table["segment"].to_numpy(dtype=np.int64),
        usable=check.usable,
        rows=Rows(
            segment=used["segment"].to_numpy(dtype=np.int64),
            product=used["product_code"].to_numpy(dtype=np.int64),
            step=used["step"].to_numpy(dtype=np.float64),
            log_price=np.log(values["price"][check.usable]),
            covariates=used[covariates].to_numpy(dtype=np.float64),
            log_quantity=np.log(values["quantity"][check.usable]),
        ),
        **values,
    )


def relative_errors(
    table: pd.DataFrame, predictions: pd.DataFrame, target: Target, candidate: str | None
) -> Array:
    """Error of a candidate over that of the naive one that errs least, on the test rows.

    Args:
        table: as ``table_of_rows`` gives it.
        predictions: tidy rows of every candidate on validation and test rows.
        target: the quantity.
        candidate: whose errors; of none they are not known.

    Returns:
        Of each segment, shape (S,); NaN where there are no test rows, or the naive one is right.
    """
    n = table["segment"].nunique()
    if candidate is None:
        return np.full(n, np.nan)
    test = predictions[predictions["split"] == "test"]
    errors = (test["prediction"] - test["truth"]).abs()
    segment = table["segment"].reindex(test.index.astype(str)).to_numpy()
    sums = errors.groupby([test["candidate"].astype(str).to_numpy(), segment]).sum().unstack(0)
    sums = sums.reindex(range(n))
    naive = min(target.naive_candidates, key=lambda name: sums[name].sum())
    ratio: Array = (sums[candidate] / sums[naive].where(sums[naive] > 0)).to_numpy(dtype=np.float64)
    return ratio
