"""Columns that are computed from other columns of the rows."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ratchet.config import Data, Derived, read_targets
from ratchet.errors import ConfigError
from ratchet.frames import DataFrame, Series


def add_columns(rows: DataFrame, data: Data, targets: dict[str, Any]) -> DataFrame:
    """Rows with their calendar and derived columns, in which the targets are found right.

    Raises:
        ConfigError: a function that derives a column fails.
        DataError: a target has no value, an unknown class or a number out of bounds.
    """
    from ratchet.preparation.raw_schema import check_target

    primary = derive_columns(rows, data)
    for name, target in read_targets(targets).items():
        check_target(name, primary[target.column], target)
    return primary


def derive_columns(rows: DataFrame, data: Data, leave: Container[str] = ()) -> DataFrame:
    """Rows with their calendar and derived columns.

    Args:
        rows: typed rows.
        data: what is derived, and by which functions.
        leave: derived columns that are left out.

    Raises:
        ConfigError: a function that derives a column fails.
    """
    if data.calendar and data.time:
        from ratchet.learning.features.series import calendar

        rows = rows.assign(**calendar(rows[data.time], data.calendar))
    primary = rows.copy(deep=False)
    for name, derived in data.derive.items():  # one may build on those above it
        if name not in leave:
            primary[name] = _derive(name, derived, primary)
    return primary


def _derive(name: str, derived: Derived, frame: DataFrame) -> Series:
    from kedro.utils import load_obj

    try:
        function = load_obj(derived.function)
        return function(frame, **derived.arguments)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"parameter data.derive.{name}: {derived.function}: {error}") from error
