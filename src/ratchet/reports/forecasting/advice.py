"""What the forecast of a series can be used for."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import count, number, share, unit
from ratchet.reports.regression.results import covered
from ratchet.reports.stock_orders import stock_blocks
from ratchet.reports.target_results import TargetResults

_SHOWN_ROWS = 15
_TENTH = 0.1


def use(case: TargetResults) -> list[Block]:
    """How far a forecast can be trusted, the largest misses, and what to order."""
    return [
        Text(trust_sentence(case), title="How far to trust a forecast"),
        _misses(case),
        *(stock_blocks(case, case.inventory) if case.inventory else []),
    ]


def trust_sentence(case: TargetResults) -> str:
    """The width of the intervals beside the changes that a forecast is to foresee."""
    test = case.test
    size = test["error"].abs()
    text = (
        f"Half of the forecasts are off by {unit(size.median(), case.target.unit)} or less, one in "
        f"ten by {number(size.quantile(0.9))} or more."
    )
    if covered(case) is None:
        return text
    promised = share(case.choice["details"]["confidence"])
    width = ((test["high"] - test["low"]) / test["scale"]).median()
    return (
        f"{text} The interval says how far: in {promised} of the cases the truth should lie "
        f"inside. Half of the intervals are wider than {number(width)} times the "
        f"{case.naive_error}; plan with their ends where being wrong is dear."
    )


def _misses(case: TargetResults) -> Table:
    losses = case.losses(case.test)
    rows = case.test.loc[losses.nlargest(max(1, round(len(losses) * _TENTH))).index]
    shown = ["prediction", *(["low", "high"] if covered(case) is not None else []), "truth"]
    frame = named(case, rows).assign(**{name: rows[name] for name in shown})
    error = "scaled error" if case.has_many_series else "error"
    frame[error] = losses.loc[rows.index]
    formats = dict.fromkeys([*shown, error], "number")
    title = f"The largest misses, {count(len(rows))} of {count(len(losses))} test rows"
    return Table("largest_misses", title, frame, formats, shown=_SHOWN_ROWS)


def named(case: TargetResults, rows: pd.DataFrame) -> pd.DataFrame:
    """What names a row to a reader: the series, where there are several, and the time."""
    whole = (rows["time"].dt.normalize() == rows["time"]).all()
    time = rows["time"].dt.strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M")
    series = {"series": rows["series"].astype(str)} if case.has_many_series else {}
    return pd.DataFrame({**series, "time": time})
