"""Days of stock left and order quantities from forecasts, with their backtest on the test time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.config import Inventory
from ratchet.errors import DataError
from ratchet.learning.inventory import expected_demand, order_quantity, steps_of_stock
from ratchet.reports.blocks import Block, Finding, Points, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import count, counted, number, plain, share
from ratchet.reports.intervals import share_interval
from ratchet.reports.regression import covered
from ratchet.reports.target_results import TargetResults

_SHOWN = 20


def stock_blocks(results: TargetResults, inventory: Inventory) -> list[Block]:
    """Days of stock left and what to order, for each series, and how far that held."""
    frame = orders(results, inventory)
    step = step_name(results)
    urgent = frame.head(_SHOWN).replace([np.inf, -np.inf], np.nan)
    chart = Chart(
        name="stock_left",
        kind="dots",
        title=f"{results.name}: {step}s of stock left, the most urgent {count(len(urgent))}",
        frame=urgent,
        x=f"{step}s left",
        y="series",
        low="fewest",
        high="most",
        x_title=f"{step}s until the stock is sold, with {_confidence_text(results)} interval",
        reference=float(inventory.lead_time),
        reference_title=f"lead time, {counted(inventory.lead_time, step)}",
    )
    formats = dict.fromkeys(frame.columns[1:], "number") | {"order": "count"}
    title = (
        f"Stock left and what to order; forecast: {_forecast_step(results)}; demand: until the "
        f"next order arrives, {counted(inventory.lead_time + inventory.review, step)}"
    )
    table = Table("orders", title, frame, formats, shown=_SHOWN)
    return [
        Text(orders_sentence(results, inventory, frame), title="What to order"),
        chart,
        table,
        Points(assumptions(results, inventory), title="What this rests on"),
    ]


def step_name(results: TargetResults) -> str:
    """What a step of the series is called."""
    frequency = results.data.series.frequency if results.data.series else None
    return "day" if frequency in ("D", "1D") else "step"


def _forecast_step(results: TargetResults) -> str:
    """Which step a forecast is for, seen from the one at which it was made."""
    step = step_name(results)
    if results.features.path:
        return f"a mean {step} until the next order arrives"
    ahead = f"the {step} {counted(results.horizon, step)} ahead"
    return f"the next {step}" if results.horizon == 1 else ahead


def _confidence_text(results: TargetResults) -> str:
    return share(results.choice["details"]["confidence"])


def orders(results: TargetResults, inventory: Inventory) -> pd.DataFrame:
    """The last forecast of each series, and what follows from it for stock and order.

    Stock and order are those of the origin, the step at which the forecast was made.

    Returns:
        ``series``, ``stock``, ``days left`` (or ``steps left``) with ``fewest`` and ``most``,
        ``order``, ``forecast`` with ``low`` and ``high`` for one step, and ``demand`` over lead
        time and review with the ends ``at least`` and ``at most``; the first to run out on top.
        Empty where forecasts carry no intervals.

    Raises:
        DataError: a stock is no number or below 0.
    """
    rows = forecasts_of_demand(results, inventory)
    last = rows.sort_values("time").groupby("series", observed=True).tail(1)
    last = last if covered(results) is not None else last.iloc[:0].assign(low=0.0, high=0.0)
    ends = _ends(last)
    stock = _stock(results, inventory, last)
    left = steps_of_stock(*ends, stock)
    needed = expected_demand(*ends, inventory.lead_time + inventory.review)
    frame = pd.DataFrame(
        {
            "series": last["series"].astype(str),
            "stock": stock,
            **dict(zip((f"{step_name(results)}s left", "fewest", "most"), left, strict=True)),
            "order": order_quantity(*ends, stock, **_rules(results, inventory)),
            **dict(zip(("forecast", "low", "high"), ends, strict=True)),
            **dict(zip(("demand", "at least", "at most"), needed, strict=True)),
        }
    )
    return frame.sort_values("fewest", ignore_index=True)


def _ends(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forecast and interval, in this order of size."""
    mean, low, high = (rows[part].to_numpy(float) for part in ("prediction", "low", "high"))
    return mean, np.minimum(low, mean), np.maximum(high, mean)


def _stock(results: TargetResults, inventory: Inventory, rows: pd.DataFrame) -> np.ndarray:
    """Units at hand at the origins of some forecasts; NaN where they are not known."""
    column = inventory.stock
    if not isinstance(column, str):
        return np.full(len(rows), float(column))
    stock = results.primary[column].reindex(results.origins(rows))
    units = pd.to_numeric(stock, errors="coerce")
    wrong = stock[stock.notna() & ~(units >= 0)]
    if len(wrong):
        raise DataError(
            f"column '{column}' (inventory.stock): expected a number of units, 0 or more; "
            f"{len(wrong)} of {len(stock)} are not, row {wrong.index[0]} has {wrong.iloc[0]}"
        )
    return units.to_numpy(float)


def forecasts_of_demand(results: TargetResults, inventory: Inventory) -> pd.DataFrame:
    """Test rows with the forecast of one step, and what was sold until the next order arrived.

    The steps of a path until then are put together to a row, that of the first of them: their mean,
    with an interval as wide as errors make it that are independent from step to step. Left out are
    origins of which the test time has not all of these steps.

    Returns:
        Test rows, with ``demand``; missing where it is not known.
    """
    steps, rows = inventory.lead_time + inventory.review, results.test
    if "step" not in rows:
        rows = rows.sort_values(["series", "time"])
        # From the step after the origin, which is horizon - 1 steps before that of the forecast.
        sums = rows.groupby("series", observed=True)["truth"].transform(
            lambda values: values[::-1].rolling(steps).sum()[::-1].shift(results.horizon - 1)
        )
        return rows.assign(demand=sums)
    path = results.features.path
    assert path is not None
    rows = rows[rows["step"] < path.first + steps].sort_values(["series", "time", "step"])
    used = min(steps, path.last - path.first + 1)
    names = ["prediction", "truth"]
    if covered(results) is not None:
        rows = rows.assign(
            below=(rows["prediction"] - rows["low"]) ** 2,
            above=(rows["high"] - rows["prediction"]) ** 2,
        )
        names += ["below", "above"]
    groups = rows.groupby([rows["series"].astype(str), results.origins(rows)], observed=True)
    whole = groups["truth"].transform("size") == used
    means = groups[names].transform("mean")
    demand = means["truth"] * steps if path.first == 1 and used == steps else np.nan
    first = whole & (rows["step"] == path.first)
    rows = rows.assign(prediction=means["prediction"], demand=demand)
    if covered(results) is not None:
        rows["low"] = rows["prediction"] - np.sqrt(means["below"])
        rows["high"] = rows["prediction"] + np.sqrt(means["above"])
    return rows[first]


def _rules(results: TargetResults, inventory: Inventory) -> dict[str, float]:
    return {
        "lead_time": inventory.lead_time,
        "review": inventory.review,
        "confidence": results.choice["details"]["confidence"],
        "service_level": inventory.service_level,
    }


def orders_sentence(results: TargetResults, inventory: Inventory, frame: pd.DataFrame) -> str:
    """How many series run out before an order arrives, and how much to order in all."""
    step = step_name(results)
    if frame.empty:
        return "The forecasts carry no intervals, so nothing can be said of stock and orders."
    stock = (
        f"column {inventory.stock}"
        if isinstance(inventory.stock, str)
        else f"{plain(inventory.stock)} {results.target.unit or 'units'} of each series, as set in "
        "the parameters"
    )
    sure = int((frame[f"{step}s left"] < inventory.lead_time).sum())
    maybe = int((frame["fewest"] < inventory.lead_time).sum()) - sure
    text = (
        f"{_forecast_dates(results, inventory)}: with a stock of {stock} at that time, an order "
        f"that takes {counted(inventory.lead_time, step)} to arrive and another one "
        f"{counted(inventory.review, step)} later, {count(sure)} of "
        f"{counted(len(frame), 'series', 'series')} are expected to run out before an order "
        f"placed at that time arrives, and {count(maybe)} more may, if demand is at the upper end "
        "of its interval. Filling up for a service level of "
        f"{share(inventory.service_level)} takes {count(frame['order'].sum())} "
        f"{results.target.unit or 'units'} for "
        f"{counted(int((frame['order'] > 0).sum()), 'series', 'series')}."
    )
    unknown = int(frame["stock"].isna().sum())
    return text + (
        f" Of {counted(unknown, 'series', 'series')} the stock is not known." if unknown else ""
    )


def _forecast_dates(results: TargetResults, inventory: Inventory) -> str:
    """Dates of the last forecasts, and how long before they were made."""
    rows = forecasts_of_demand(results, inventory)
    last = rows.groupby("series", observed=True)["time"].max()
    whole = (results.test["time"].dt.normalize() == results.test["time"]).all()
    first, final = (
        f"{time:%Y-%m-%d}" if whole else f"{time:%Y-%m-%d %H:%M}"
        for time in (last.min(), last.max())
    )
    steps = results.features.path.first if results.features.path else results.horizon
    ahead = counted(steps, step_name(results))
    if first == final:
        return f"By the forecast for {final}, made {ahead} before"
    return (
        f"By the last forecast of each series, for times from {first} to {final}, each made "
        f"{ahead} before"
    )


def assumptions(results: TargetResults, inventory: Inventory) -> list[str]:
    """Assumptions of the calculation, and how far it held in the test time."""
    step, steps = step_name(results), inventory.lead_time + inventory.review
    path = results.features.path
    used = (
        f"The forecast of {_forecast_step(results)} is used for each of the {counted(steps, step)} "
        "from the time it was made until the next order arrives: a weekday or a season that sells "
        "otherwise is not in it."
    )
    if path and path.first == 1 and path.last >= steps:
        used = (
            f"The forecasts of the {counted(steps, step)} until the next order arrives are added "
            f"up; a stock that lasts longer is used up at their mean."
        )
    return [
        used,
        f"Errors are taken as independent from {step} to {step}, so that the interval grows with "
        f"the square root of the {step}s. Where errors go together, the interval for "
        f"{counted(steps, step)} should be up to {number(np.sqrt(steps))} times as wide, and the "
        "safety stock as much larger.",
        "What was sold is taken for what was wanted; the demand that an empty shelf turned away is "
        "not in the data.",
        backtest_sentence(results, inventory),
    ]


def order_backtest(results: TargetResults, inventory: Inventory) -> pd.DataFrame:
    """Demand until the next arrival in the test time, against its forecast.

    Returns:
        One row for each forecast with enough test rows after its origin: ``demand``, ``mean``,
        ``low`` and ``high``, ``level`` (what is expected and a safety stock), ``inside`` and
        ``enough``.
    """
    steps = inventory.lead_time + inventory.review
    rows = forecasts_of_demand(results, inventory)
    rows = rows[rows["demand"].notna()]
    if rows.empty:
        return pd.DataFrame(columns=["demand", "mean", "low", "high", "level", "inside", "enough"])
    mean, low, high = expected_demand(*_ends(rows), steps)
    level = order_quantity(*_ends(rows), 0.0, **_rules(results, inventory))
    values = {"mean": mean, "low": low, "high": high, "level": level}
    frame = rows[["demand"]].assign(**values)
    return frame.assign(
        inside=frame["demand"].between(frame["low"], frame["high"]),
        enough=frame["demand"] <= frame["level"],
    )


def backtest_sentence(results: TargetResults, inventory: Inventory) -> str:
    """How often interval and order would have been right in the test time."""
    step, steps = step_name(results), inventory.lead_time + inventory.review
    backtest = (
        order_backtest(results, inventory) if covered(results) is not None else pd.DataFrame()
    )
    if backtest.empty:
        return f"The test time is too short to see how far this held over {counted(steps, step)}."
    n = len(backtest)
    ends = [share_interval(backtest[name].sum(), n) for name in ("inside", "enough")]
    return (
        f"In the test time the demand of {counted(steps, step)} lay inside of the interval in "
        f"{share(backtest['inside'].mean())} of {counted(n, 'case')} ({_ends_text(ends[0])}; "
        f"promised {_confidence_text(results)}), and the order would have been enough in "
        f"{share(backtest['enough'].mean())} ({_ends_text(ends[1])}; promised "
        f"{share(inventory.service_level)}). The cases overlap in time, so that the intervals of "
        f"these shares are too narrow. {_needed_text(backtest, inventory)}"
    ).strip()


def safety_factor(backtest: pd.DataFrame, inventory: Inventory) -> float:
    """Factor of the safety stock that would have kept the service level in the test time.

    NaN where there is no safety stock. ``backtest`` is what ``order_backtest`` returns.
    """
    safety = (backtest["level"] - backtest["mean"]).where(lambda units: units > 0)
    return float(
        ((backtest["demand"] - backtest["mean"]) / safety).quantile(inventory.service_level)
    )


def _needed_text(backtest: pd.DataFrame, inventory: Inventory) -> str:
    factor = safety_factor(backtest, inventory)
    if backtest["enough"].mean() >= inventory.service_level or not factor > 1:
        return ""
    return f"A safety stock {number(factor)} times as large would have kept the service level."


def orders_fall_short(results: TargetResults) -> list[Finding]:
    """Orders would have met demand less often than the service level."""
    if results.inventory is None or covered(results) is None:
        return []
    backtest = order_backtest(results, results.inventory)
    if backtest.empty or backtest["enough"].mean() >= results.inventory.service_level:
        return []
    factor = safety_factor(backtest, results.inventory)
    return [
        Finding(
            f"Orders by these forecasts would have been enough in "
            f"{share(backtest['enough'].mean())} of the cases in the test time, not in "
            f"{share(results.inventory.service_level)}: the forecast of {_forecast_step(results)} "
            "does not stand for the others, or its errors go together.",
            f"Order with a safety stock {number(factor)} times as large, or with a higher service "
            "level, until there are more rows."
            if factor > 1
            else "",
        )
    ]


def _ends_text(ends: tuple[float, float]) -> str:
    return f"{share(ends[0])} to {share(ends[1])}"
