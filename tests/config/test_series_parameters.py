"""The parameter file of a time series: what may stand there, and how mistakes are answered."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

import pytest
import yaml

from ratchet.config import Series, Target, UseCase
from ratchet.config.checks import check_functions, check_searches
from ratchet.config.loader import read_use_cases
from ratchet.errors import ConfigError

LOAD = yaml.safe_load(
    """
    about: {title: Load, question: "How much?", source: a test}
    data:
      time: time
      columns:
        zone: {type: string}
        time: {type: date}
        load: {type: number}
        heat: {type: number}
      series: {id: zone, frequency: h, season: 24}
      calendar: [hour]
    features:
      numeric: [heat]
      cyclic: {hour: 24}
      windows: {lookback: 6, horizon: 2, past: {load: value}, known: [hour], seasons: [24]}
    targets:
      load:
        column: load
        task: forecasting
        baseline: seasonal
        candidates:
          seasonal: {estimator: seasonal}
          ridge: {estimator: ridge}
        networks:
          small: {architectures: [gru], base: ridge, param_grid: {units: [8]}}
    """
)


def changed(path: str = "", value: Any = None) -> dict[str, Any]:
    """The parameters with one value changed; ``None`` removes it."""
    content: dict[str, Any] = {"load": copy.deepcopy(LOAD)}
    *steps, last = ["load", *path.split(".")] if path else ["about"]
    place = content
    for step in steps:
        place = place[step]
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return content


def test_a_series_is_forecast():
    (use_case,) = read_use_cases({"load": LOAD}).values()
    target = use_case.targets["load"]

    assert use_case.data.key == "row"
    assert use_case.features.horizon == 2
    assert target.is_series
    assert not target.is_classes
    assert target.stacked == 0
    assert target.scorer == "neg_mean_absolute_error"
    made = ["seasonal", "ridge", "small", "small_ensemble", "weighted_ensemble"]
    assert target.all_candidates == made
    assert target.ensemble_members == ["ridge", "small", "small_ensemble"]
    assert target.cross_validated_candidates == ["seasonal", "ridge"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("evaluation", {"windows": 0}, "load.evaluation.windows: "),
        ("evaluation", {"refit": -1}, "load.evaluation.refit: Input should be greater"),
        ("data.series", None, "data: key: expected the column that identifies a row"),
        ("features.windows", None, "missing: ['features.windows']"),
        ("data.key", "zone", "rows of series are named by series and time"),
        ("data.time", None, "series: time series need a 'time' column"),
        ("data.series.id", "zon", "series.id: 'zon' is not among the columns"),
        ("data.series.id", ["zone", "zon"], "series.id: 'zon' is not among the columns"),
        ("data.series.id", ["zone", "zone"], "series.id: ['zone', 'zone'] names a column twice"),
        ("data.series.id", ["zone", "heat"], "series.id: column 'heat' must have one of the types"),
        ("data.series.id", ["zone", "time"], "series.id: 'time' is the time, which names no ser"),
        (
            "data.series.closed",
            ["Sunny"],
            "closed.0: expected a day of the week such as Sun",
        ),
        (
            "data.series.closed",
            ["02-30"],
            "closed.0: expected a day of the week such as Sun",
        ),
        (
            "data.series",
            {"season": 6, "closed": ["Sun"]},
            "without a frequency every row is a step",
        ),
        (
            "data.series",
            {"season": 6, "frequency": "W-SUN", "holidays": "US"},
            "days are closed of a frequency such as D, B, h or 30min, and not of W-SUN",
        ),
        (
            "data.series.closed",
            ["Mon", "tuesday", "Wed", "Thu", "Fri", "Sat", "Sun"],
            "closed: all days of the week are",
        ),
        (
            "data.series.holidays",
            "no/such.csv",
            "load.data.series.holidays: no/such.csv: expected US",
        ),
        ("data.series.fill", {"heat": 0}, "data.series.fill: ['heat'] is not among features.win"),
        ("data.series.fill", {"load": "next"}, "load.data.series.fill.load"),
        ("data.columns.row", {"type": "integer"}, "'row' is kept for the key of a row"),
        ("data.columns.series_id", {"type": "string"}, "'series_id' is kept for the name of a"),
        ("data.series.season", 0, "load.data.series.season: "),
        ("data.series.absent", {"rain": 0}, "series.absent: 'rain' is not among the columns"),
        ("data.series.absent", {"load": "next"}, "load.data.series.absent.load"),
        ("data.calendar", ["fortnight"], "calendar: unknown ['fortnight']; known are"),
        ("data.columns.hour", {"type": "integer"}, "the column name 'hour' is kept for a part of"),
        ("features.windows.lookback", 0, "load.features.windows.lookback: "),
        ("features.windows.horizon", 25, "seasons: [24] steps before the target are after"),
        (
            "features.windows.horizon",
            {"last": 4, "evry": 2},
            "load.features.windows.horizon.evry: unknown key; allowed are first, last, every",
        ),
        ("features.windows.horizon", {"first": 2}, "load.features.windows.horizon.last: Field req"),
        ("features.windows.past", {}, "past: at least the column to forecast"),
        ("features.windows.past", {"heat": "value"}, "the target 'load' is not among ['heat']"),
        ("features.windows.past", {"load": "sqrt"}, "load.features.windows.past.load: "),
        ("features.windows.past", {"load": "value", "rain": "value"}, "'rain' is not among"),
        ("features.windows.known", ["zone"], "['zone'] is not among the features"),
        ("features.windows.rolling", [1], "load.features.windows.rolling.0: "),
        ("targets.other", LOAD["targets"]["load"], "a series has one target"),
        ("targets.load.task", "regression", "'networks' goes with forecasting"),
        ("targets.load.stack", 2, "no out-of-fold predictions to stack"),
        ("targets.load.learn", "logs", "'value', 'change', 'return' or 'log'"),
        ("targets.load.learn", "log", "learn: 'log' does not go with forecasting"),
        ("targets.load.folds", "time", "'folds' goes with regression"),
        ("targets.load.networks.ridge", {"ensemble": 0}, "networks: ['ridge'] is the name of"),
        ("targets.load.networks.small.strategy", "luck", "'grid', 'random', 'bayesian' or 'halv"),
        ("targets.load.networks.small.top_k", 3, "the weights of the best 3 are kept (top_k), 5"),
        ("targets.load.networks.small.holdout", 1.0, "load.targets.load.networks.small.holdout: "),
        ("targets.load.candidates.seasonal.estimator", "ridge", "'persistence' or 'seasonal'"),
        ("targets.load.engine", "spark", "'local' or 'dask'"),
    ],
)
def test_mistakes_are_told(path, value, told):
    with pytest.raises(ConfigError) as error:
        read_use_cases(changed(path, value))

    assert told in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("architectures", ["gru", "grru"], "architectures: unknown architecture 'grru'; known"),
        ("param_grid", {"lookback": [3]}, "['lookback'] cannot be searched; allowed are ['units'"),
        ("param_grid", {"activation": ["relu", "rulu"]}, "unknown activation 'rulu'; known: "),
        ("param_grid", {"dropout": [0.1, 1.0]}, "param_grid: dropout must be"),
        ("param_grid", {"learning_rate": [0]}, "param_grid: learning_rate must be"),
        ("param_grid", {"units": []}, "param_grid: units: expected at least one value"),
        ("param_grid", {"width": [1]}, "param_grid: width: no such parameter; allowed are"),
        ("base", "rigde", "base: estimator: unknown 'rigde'; forecasting has"),
        ("base", "unscaled_xgboost", "base: 'unscaled_xgboost' learns the target in its units"),
        ("base_params", {"alpha": 1}, "base: param_grid.alpha: no such parameter"),
    ],
)
def test_networks_that_cannot_be_searched_are_told(path, value, told):
    use_cases = read_use_cases(changed(f"targets.load.networks.small.{path}", value))

    with pytest.raises(ConfigError) as error:
        check_searches(use_cases)

    assert str(error.value).startswith("parameter load.targets.load.networks.small.")
    assert told in str(error.value)


def test_the_function_that_prepares_has_to_exist():
    prepare = {"function": "ratchet.use_cases.power.no_such_function"}

    with pytest.raises(ConfigError, match=r"load\.data\.prepare\.function: no such function"):
        check_functions(read_use_cases(changed("data.prepare", prepare)))


def test_the_column_that_names_a_series_may_be_called_so():
    content = changed("data.series.id", "series_id")
    content["load"]["data"]["columns"]["series_id"] = {"type": "string"}

    assert read_use_cases(content)["load"].data.row_time == "time"


def test_defaults_of_other_tasks_stay():
    target = Target.model_validate(
        {
            "column": "load",
            "task": "regression",
            "baseline": "dummy",
            "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
        }
    )

    assert target.stacked == 3
    assert target.all_candidates == ["dummy", "ridge", "stack", "weighted_ensemble"]
    assert UseCase.model_validate(LOAD).data.series is not None


def test_closed_days_are_kept_in_one_form():
    given = ["sunday", "12-25", "20260403", "2026-W15-1", dt.date(2026, 5, 1)]

    series = Series(season=6, frequency="D", closed=given)

    assert series.closed == ["Sun", "12-25", "2026-04-03", "2026-04-06", "2026-05-01"]


def test_holidays_are_read_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "holidays.csv"
    file.write_text("name,date\nGood Friday,2026-04-03\nNew Year,2026-01-01\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    series = read_use_cases(changed("data.series.holidays", "holidays.csv"))["load"].data.series

    assert series.closed_days == ["2026-01-01", "2026-04-03"]
    for text, told in [
        ("date\n3.4.2026\n", r"expected a date such as .*, got '3\.4\.2026' in line 2"),
        ("day\n2026-04-03\n", "in the column 'date' of every line, got None in line 2"),
        ("date\n", "expected a column 'date' with a day in every line, got none"),
    ]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=told):
            read_use_cases(changed("data.series.holidays", "holidays.csv"))
