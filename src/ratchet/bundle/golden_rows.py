"""Golden rows: raw rows with the answers that a bundle must give, for its smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.bundle.manifest import BundleError
from ratchet.config import SERIES_ID, SERIES_PREFIX, SERIES_STEP, UseCase
from ratchet.dates import utc
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.steps import only_target, steps_to_come

_ROWS = 5
_STEPS = 3

_RTOL, _ATOL = 1e-4, 1e-6
"""Networks compute in single precision, and other processors sum up in another order."""


def golden_keys(features: pd.DataFrame, typed: pd.DataFrame, use_case: UseCase) -> list[Any]:
    """Choose rows of the test part, evenly spread; of series, rows of its last steps.

    Args:
        features: features of all rows, with ``split``; of a path those of its first step are taken,
            see ``later_steps`` for others.
        typed: the typed rows; a step without a row of its own cannot be a golden row.
        use_case: the parameters.
    """
    test = features[features["split"] == "test"]
    if use_case.data.series is None:
        return _spread(test.index, _ROWS)
    time, series = use_case.data.time, use_case.data.series.id
    if SERIES_STEP in test:  # asked for alone, a row is answered from the step before it
        test = test[test[SERIES_STEP] == test[SERIES_STEP].min()]
    step = f"{SERIES_PREFIX}time"
    if series:
        steps = _steps_of(typed, time, series)
        test = test[pd.MultiIndex.from_frame(test[[step, SERIES_ID]]).isin(steps)]
    else:
        test = test[test[step].isin(utc(typed[time]))]
    last = np.sort(test[step].unique())[-_STEPS:]
    return [key for at in last for key in _spread(test.index[test[step] == at], _ROWS - _STEPS)]


def later_steps(typed: pd.DataFrame, use_case: UseCase) -> list[list[dict[str, object]]]:
    """Requests for later steps of a path: each the raw fields of all steps up to the one asked for.

    They follow upon the last known step, for the target of an earlier one is known to the bundle:
    it would be answered from the step before it. What is known ahead is copied from the last rows.

    Args:
        typed: the typed rows.
        use_case: the parameters.

    Returns:
        Of a series that is known up to the end a request for the step in the middle and one for
        the last step; none where one step is forecast, or steps to come are not known.
    """
    data, windows = use_case.data, use_case.features.windows
    if windows is None or windows.path is None or data.series is None or data.time is None:
        return []
    needed = RequiredColumns(use_case).columns
    known = typed[typed[only_target(use_case.targets).column].notna()].sort_values(data.time)
    grid = steps_to_come(typed[data.time], data, known[data.time].max(), windows.last)
    ahead = grid[grid > known[data.time].max()]
    names = [name for name in needed if name in data.series.columns]
    of_series = (known[names] == known[names].iloc[-1]).all(axis=1)
    rows = known.loc[of_series, needed].dropna()
    if data.series.frequency is None or len(ahead) < windows.last or rows.empty:
        return []
    copied = rows.iloc[np.resize(np.arange(len(rows))[-windows.last :], windows.last)]
    fields = json_records(copied.assign(**{data.time: ahead}))
    middle = (windows.first + windows.last) // 2
    return [fields[:step] for step in sorted({middle, windows.last} - {windows.first})]


def _steps_of(typed: pd.DataFrame, time: Any, *series: Any) -> pd.MultiIndex:
    """Time, in UTC, and series of every row."""
    return pd.MultiIndex.from_arrays([utc(typed[time]), *(typed[name] for name in series)])


def _spread(keys: pd.Index, n: int) -> list[Any]:
    positions = np.unique(np.linspace(0, len(keys) - 1, min(n, len(keys))).round().astype(int))
    return [keys[i] for i in positions]


def raw_fields(
    keys: list[Any], features: pd.DataFrame, typed: pd.DataFrame, use_case: UseCase
) -> pd.DataFrame:
    """Raw fields of some rows, as a request for an answer has them.

    Returns:
        The columns that an answer needs, indexed by the given keys: neither targets nor columns
        that become known only with them.
    """
    data, needed = use_case.data, RequiredColumns(use_case).columns
    if data.series is None:
        return typed.set_index(data.key).loc[keys].reset_index()[needed].set_axis(keys, axis=0)
    names = [data.time, data.series.id] if data.series.id else [data.time]
    keys_of_rows = features.loc[keys, [f"{SERIES_PREFIX}time", SERIES_ID][: len(names)]]
    positions = _steps_of(typed, *names).get_indexer(
        pd.MultiIndex.from_frame(keys_of_rows.set_axis(names, axis=1))
    )
    return typed.iloc[positions][needed].set_axis(keys, axis=0)


def json_records(fields: pd.DataFrame) -> list[dict[str, object]]:
    """Rows in JSON types."""
    return [
        {str(name): json_cell(value) for name, value in row.items()}
        for row in fields.astype(object).to_dict("records")
    ]


def json_cell(value: Any) -> Any:
    """A cell in JSON types; None where it is missing."""
    if isinstance(value, list | tuple | np.ndarray):
        return [json_cell(part) for part in value]
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


def row_answers(answers: Mapping[str, pd.DataFrame], key: Any) -> dict[str, dict[str, object]]:
    """Answers for one row: target -> ``prediction``, and probabilities or interval."""
    return {
        target: {
            name: json_cell(value) for name, value in rows.loc[key].items() if _is_answer(name)
        }
        for target, rows in answers.items()
    }


def _is_answer(column: Any) -> bool:
    return str(column).startswith(("prediction", "low", "high", "probability_"))


def compare_answers(
    key: Any,
    actual: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Mapping[str, Any]],
    path: str,
) -> None:
    """Compare the answers for one row with those that it must get.

    Raises:
        BundleError: one differs by more than rounding.
    """
    for target, answers in expected.items():
        for name, value in answers.items():
            answer = actual.get(target, {}).get(name)
            if not _same(answer, value):
                raise BundleError(
                    f"{path}: row {key!r} must get {name} {value!r} for '{target}', got {answer!r}"
                )


def _same(answer: Any, expected: Any) -> bool:
    if isinstance(answer, float | int) and isinstance(expected, float | int):
        return bool(np.isclose(answer, expected, rtol=_RTOL, atol=_ATOL))
    return bool(answer == expected)
