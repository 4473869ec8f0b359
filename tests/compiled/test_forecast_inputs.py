"""What compiled forecasts see is what the preparation makes of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.bundle.context_rows import features_in_context
from ratchet.compiled.answers import RequestError
from ratchet.compiled.forecast_inputs import Forecasts
from ratchet.compiled.series_compiler import compile_forecasts
from ratchet.compiled.series_steps import SeriesRow
from ratchet.config import UseCase
from ratchet.learning.features.series import on_closed_days
from ratchet.preparation.row_features import derive_columns
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.preparation.window_columns import series_statistics

POWER = "ratchet.use_cases.power."


def use_case_of(
    *,
    frequency: str | None = "h",
    horizon: int = 1,
    learn: str = "value",
    several: bool = False,
    zone: str | None = None,
    known: bool = True,
    start: str = "",
    **series: Any,
) -> UseCase:
    """A use case with a target, a column of the past and, where it is known ahead, one more."""
    columns: dict[str, Any] = {
        "time": {"type": "date", "timezone": zone},
        "load": {"type": "number", "nullable": True},
        "flow": {"type": "number", "nullable": True},
        "warmth": {"type": "number", "nullable": True},
        "kind": {"type": "string", "nullable": True},
    }
    derive: dict[str, Any] = {
        "cold": {"function": f"{POWER}beyond", "arguments": {"column": "warmth", "below": 0}}
    }
    if several:
        columns["shop"] = {"type": "string"}
        series["id"] = "shop"
    else:
        derive |= {
            "recent": {
                "function": f"{POWER}recent_mean",
                "arguments": {"column": "cold", "steps": 3},
            },
            "before": {
                "function": f"{POWER}earlier",
                "arguments": {"column": "recent", "steps": 2},
            },
            "after": {
                "function": f"{POWER}earlier",
                "arguments": {"column": "warmth", "steps": -2},
            },
            "change": {"function": f"{POWER}change", "arguments": {"column": "warmth", "steps": 4}},
        }
    seen = ["dayofweek", "week", "year", *(["warmth", *derive] if known else [])]
    return UseCase.model_validate(
        {
            "about": dict.fromkeys(("title", "question", "source"), "-"),
            "data": {
                "time": "time",
                "columns": columns,
                "series": {"frequency": frequency, "season": 3, **series},
                "calendar": ["hour", "dayofweek", "week", "year"],
                "derive": derive if known else {},
            },
            "features": {
                "numeric": seen,
                "cyclic": {"hour": 24},
                "categorical": ["kind", "dayofweek"],
                "windows": {
                    "lookback": 2,
                    "horizon": horizon,
                    "past": {"load": "value", "flow": "log_change"},
                    "known": (["warmth", "cold"] if known else []) + ["hour"],
                    "seasons": [5],
                    "lags": [1, 4, 6],
                    "rolling": [2, 3],
                },
            },
            "targets": {
                "load": {
                    "column": "load",
                    "task": "forecasting",
                    "learn": learn,
                    "candidates": {
                        name: {"estimator": name} for name in ("persistence", "seasonal")
                    },
                    "baseline": "seasonal",
                }
            },
        }
    )


def rows_of(
    use_case: UseCase, size: int, seed: int, shops: int = 1, start: str = "2020-03-20"
) -> pd.DataFrame:
    """Made rows, typed; the last steps of each shop, in the order of time."""
    draw = np.random.default_rng(seed)
    series = use_case.data.series
    assert series is not None
    zone = use_case.data.timezone
    frequency = series.frequency or "B"
    times = pd.date_range(start, periods=3 * size, freq=frequency, tz=zone).as_unit("us")
    times = times[~on_closed_days(times, series.closed_days)][:size]
    parts = []
    for shop in range(shops if series.id else 1):
        part = pd.DataFrame(
            {
                "time": times,
                "load": draw.uniform(1, 9, size),
                "flow": draw.uniform(1, 9, size),
                "warmth": draw.normal(0, 5, size),
                "kind": draw.choice(["a", "b"], size),
            }
        )
        parts.append(part.assign(shop=f"s{shop}") if series.id else part)
    rows = pd.concat(parts, ignore_index=True)
    return rows.sort_values("time", kind="stable").reset_index(drop=True)


def statistics_of(use_case: UseCase, rows: pd.DataFrame) -> pd.DataFrame:
    target = only_target(dict(use_case.targets))
    primary = derive_columns(lay_out_steps(rows, use_case.data, target, []).rows, use_case.data)
    return series_statistics(primary, use_case.data, dict(use_case.targets))


def measured(rows: pd.DataFrame, use_case: UseCase, forecasts: Forecasts) -> list[SeriesRow]:
    """Typed rows as the steps take them."""
    series = use_case.data.series
    assert series is not None
    names = [name for name in use_case.data.columns if name not in ("time", "shop")]
    grid = forecasts.spec.grid
    return [
        SeriesRow(
            moment=grid.moment_of(row["time"].to_pydatetime()),
            series=row["shop"] if series.id else None,
            values={
                name: (None if row[name] is None or row[name] != row[name] else row[name])
                if name == "kind"
                else float(row[name])
                for name in names
            },
            row=number,
        )
        for number, row in enumerate(rows.to_dict("records"))
    ]


def check(
    use_case: UseCase,
    statistics: pd.DataFrame,
    context: pd.DataFrame,
    later: pd.DataFrame,
    asked: pd.DataFrame,
    order: Any = None,
) -> int:
    """Compare what is seen of the asked rows on both ways; gives how many were answered.

    Args:
        use_case: the parameters.
        statistics: units of the series.
        context: rows that the bundle has.
        later: rows that are handed in later.
        asked: rows of one time.
        order: in which the later rows come.
    """
    forecasts = compile_forecasts(use_case, statistics, context)
    steps = forecasts.steps()
    handed = measured(later, use_case, forecasts)
    for place in range(len(handed)) if order is None else order:
        steps.take([handed[place]])
    named = ["time", *(["shop"] if use_case.data.series.id else [])]
    before = pd.concat([context, later]).drop_duplicates(named, keep="last")
    rows = measured(asked, use_case, forecasts)
    expected = features_in_context(asked, use_case, statistics, before)
    answered = 0
    for row in rows:
        name = f"{row.series or 'load'}@"
        alone = expected[expected.index.str.startswith(name)]
        try:
            seen = forecasts.inputs(forecasts.with_rows(steps, [row]), [row])
        except RequestError:
            assert alone.empty
            continue
        assert len(alone) == 1
        compare(seen, alone, forecasts, 0)
        answered += 1
    if 1 < answered == len(rows):
        seen = forecasts.inputs(forecasts.with_rows(steps, rows), rows)
        for place, row in enumerate(rows):
            name = f"{row.series}@"
            compare(seen, expected[expected.index.str.startswith(name)], forecasts, place)
    return answered


def compare(seen: Any, expected: pd.DataFrame, forecasts: Forecasts, place: int) -> None:
    (row,) = expected.to_dict("records")
    for name, value in zip(forecasts.views.names, seen.views[place], strict=True):
        assert value == pytest.approx(row[name], rel=1e-6, abs=1e-6, nan_ok=True), name
    for name, value in zip(forecasts.static_names, seen.static[place], strict=True):
        assert value == pytest.approx(row[name], rel=1e-12), name
    for name in ("level", "scale", "rms"):
        assert getattr(seen, name)[place] == pytest.approx(row[f"series_{name}"], rel=1e-12), name
    for name in forecasts.sources:
        value, wanted = seen.sources[name][place], row[name]
        if isinstance(value, str):
            assert value == wanted, name
        elif pd.isna(value):
            assert pd.isna(wanted), name
        else:
            assert float(value) == pytest.approx(float(wanted), rel=1e-9, abs=1e-12), name


CASES: list[dict[str, Any]] = [
    {},
    {"horizon": 3},
    {"learn": "return"},
    {"learn": "change", "frequency": "30min", "zone": "Europe/Berlin"},
    {"frequency": "D", "zone": "Europe/Berlin"},
    {"frequency": "B"},
    {"frequency": "W-MON", "horizon": 2},
    *({"frequency": name} for name in ("W-SUN", "W-WED", "MS", "ME", "QS-FEB", "QE", "15min")),
    {"frequency": "ME", "zone": "Europe/Berlin"},
    {"frequency": "h", "zone": "Europe/Berlin", "start": "2020-03-28 12:00"},
    {"frequency": "h", "zone": "Europe/Berlin", "start": "2020-10-24 08:00", "horizon": 2},
    {"frequency": "15min", "zone": "Europe/Berlin", "start": "2020-10-24 20:00"},
    {"frequency": "D", "closed": ["Sun", "03-25"], "holidays": ["2020-04-10"]},
    {"frequency": "B", "holidays": "US", "start": "2020-12-15"},
    {"frequency": "6h", "closed": ["Sat", "Sun"], "zone": "Europe/Berlin"},
    {"several": True, "frequency": "D", "closed": ["Sun"], "absent": {"load": 0}},
    {"frequency": "h", "fill": {"load": "previous"}},
    {"frequency": None},
    {"frequency": None, "horizon": 3, "zone": "America/Sao_Paulo"},
    {"several": True, "absent": {"load": 0, "flow": "previous", "kind": "previous"}},
    {"several": True, "begins": "first_step", "absent": {"load": 0, "flow": 1, "warmth": 0}},
    {"several": True, "horizon": 2, "frequency": None},
    {"several": True, "known": False, "frequency": "D", "absent": {"flow": 2}},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())) or "h")
def test_whole_series_are_seen_alike(case):
    use_case = use_case_of(**case)
    rows = rows_of(use_case, 40, 0, 3, **{k: v for k, v in case.items() if k == "start"})
    times = rows["time"].drop_duplicates()
    statistics = statistics_of(use_case, rows)
    horizon = use_case.features.horizon

    def until(step: int) -> pd.DataFrame:
        return rows[rows["time"] <= times.iloc[step]]

    answered = 0
    for last, handed in ((39, 0), (30, 5)):
        start = last - horizon - handed
        context = until(start)
        later = rows[(rows["time"] > times.iloc[start]) & (rows["time"] < times.iloc[last])]
        ahead = later["time"] > times.iloc[last - horizon]
        later = later.assign(load=later["load"].mask(ahead), flow=later["flow"].mask(ahead))
        asked = rows[rows["time"] == times.iloc[last]].assign(load=np.nan, flow=np.nan)
        order = np.random.default_rng(last).permutation(len(later))
        if use_case.data.series.frequency is None:
            order = None  # a time in between would be another step
        answered += check(use_case, statistics, context, later, asked, order)
    assert answered == 2 * (3 if case.get("several") else 1)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(
        [
            {"horizon": 3},
            {"frequency": "B"},
            {"fill": {"load": "interpolate", "flow": "previous"}},
            {"fill": {"load": 2.0, "flow": "interpolate"}, "several": True, "horizon": 2},
            {"frequency": None, "learn": "change"},
            {"several": True, "absent": {"load": 0, "flow": "previous"}},
            {"several": True, "ends_after": 0, "absent": {"load": 0, "flow": "previous"}},
            {"several": True, "begins": "first_step", "absent": {"load": 0, "flow": 1}},
        ]
    ),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.integers(0, 6),
    st.integers(0, 4),
)
def test_gaps_and_missing_values_are_seen_alike(case, seed, share, handed, ahead):
    """Rows that lack are no rows, values that lack are none, whoever looks."""
    use_case = use_case_of(**case)
    draw = np.random.default_rng(seed)
    rows = rows_of(use_case, 30, seed, shops=3)
    times = rows["time"].drop_duplicates()
    statistics = statistics_of(use_case, rows)
    last = times.iloc[24]
    asked = rows[rows["time"] == times.iloc[min(24 + ahead, 29)]].assign(load=np.nan, flow=np.nan)
    for name in ("load", "flow", "warmth"):
        rows[name] = rows[name].mask(draw.uniform(size=len(rows)) < share)
    rows = rows[draw.uniform(size=len(rows)) >= share]
    start = times.iloc[24 - handed]
    context = rows[rows["time"] < start]
    later = rows[(rows["time"] >= start) & (rows["time"] <= last)]
    order = draw.permutation(len(later)) if use_case.data.series.frequency else None

    check(use_case, statistics, context, later, asked, order)


def test_closed_days_are_no_steps_of_the_service_either():
    """Christmas of every year, Sundays, and the holidays of a country are known ahead."""
    use_case = use_case_of(frequency="D", closed=["Sun", "12-25"], holidays="US", known=False)
    rows = rows_of(use_case, 40, 0, start="2020-11-02")
    forecasts = compile_forecasts(use_case, statistics_of(use_case, rows), rows)
    grid, steps = forecasts.spec.grid, forecasts.steps()

    def step(day: str) -> int | None:
        return grid.step(grid.moment_of(pd.Timestamp(day).to_pydatetime()))

    assert step("2020-12-26") == step("2020-12-24") + 1
    assert [step(day) for day in ("2020-11-26", "2020-12-25", "2027-12-25", "2026-07-03")] == [
        None
    ] * 4
    assert step("2021-01-02") == step("2020-12-31") + 1
    (sunday,) = measured(rows[-1:].assign(time=pd.Timestamp("2020-12-20")), use_case, forecasts)
    with pytest.raises(RequestError, match="2020-12-20 is no step of D without Sun, 12-25, US"):
        forecasts.inputs(steps, [sunday])


@pytest.mark.parametrize("rule", ["previous", "interpolate", 0.5, None])
@pytest.mark.parametrize(("hole", "is_filled"), [(slice(20, 23), True), (slice(19, 23), False)])
def test_a_hole_of_at_most_a_season_is_seen_alike(rule, hole, is_filled):
    """It ends with what is handed in later; a longer one stays, as does one without a rule."""
    fill = {} if rule is None else {"load": rule, "flow": rule}
    use_case = use_case_of(frequency="D", fill=fill)
    rows = rows_of(use_case, 26, 0)
    statistics = statistics_of(use_case, rows)
    asked = rows[25:].assign(load=np.nan, flow=np.nan)
    rows = rows.assign(
        **{name: rows[name].mask(rows.index.isin(rows.index[hole])) for name in fill}
    )
    if rule is None:
        rows = rows.drop(rows.index[hole])

    answered = check(use_case, statistics, rows[:21], rows[21 : len(rows) - 1], asked)

    assert answered == (rule is not None and is_filled)
