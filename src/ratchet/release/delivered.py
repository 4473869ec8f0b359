"""Rows as they are delivered, the way one bundle sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ratchet.params import TARGET_PREFIX, Target
from ratchet.preparation import (
    Needs,
    derive_columns,
    features_of,
    lay_out_steps,
    only_target,
    typed_rows,
)
from ratchet.release.reading import Bundle


@dataclass(frozen=True, eq=False)
class Delivered:
    """Rows under the contract of a bundle, with its features and its units.

    Attributes:
        bundle: the bundle.
        typed: all typed rows.
    """

    bundle: Bundle
    typed: pd.DataFrame

    @cached_property
    def features(self) -> pd.DataFrame:
        """Features of every row that can be answered, by row key."""
        return features_of(self.typed, self.bundle.use_case, self.bundle.statistics)

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """Source columns of the rows by row key, as ``Bundle.reference`` has them.

        With ``time``, in its order, where rows have one.
        """
        use_case = self.bundle.use_case
        data, needs = use_case.data, Needs(use_case)
        if data.series is None:
            rows = derive_columns(self.typed, data, needs.derived_for_targets)
            rows = rows.dropna(subset=needs.required)
        else:
            target = only_target(dict(use_case.targets))
            laid, there = lay_out_steps(self.typed, data, target, needs.required)
            rows = derive_columns(laid, data)[there.any(axis=1).repeat(there.shape[1])]
        rows = rows.set_index(data.key)
        if data.time is None:
            return rows
        return rows.assign(time=rows[data.time]).sort_values("time", kind="stable")

    @property
    def times(self) -> pd.Series | None:
        """Time of every row, by row key, where rows have one."""
        return self.inputs["time"] if self.bundle.use_case.data.time else None

    def newer_than(self, moment: Any) -> pd.Index:
        """Keys of the rows that can be answered and are newer than a moment.

        Rows without time are new when the bundle does not know them.
        """
        keys = self.features.index
        if self.times is None or moment is None:
            return keys[~keys.isin(self.bundle.rows.index)]
        return keys[(self.times.reindex(keys) > pd.Timestamp(moment)).to_numpy()]

    def first_after(self, moment: Any) -> Any:
        """Time of the first row after a moment; None where there is none, or no time."""
        if self.times is None or moment is None:
            return None
        later = self.times[self.times > pd.Timestamp(moment)]
        return None if later.empty else later.min().to_pydatetime()

    def predict(self, keys: pd.Index) -> dict[str, pd.DataFrame]:
        """Answers of the bundle for some of the rows, by target."""
        return self.bundle.predict(self.features.loc[keys])

    def truth(self, target: Target) -> pd.Series:
        """What is known of a target by row key: numbers, or names of classes."""
        known = self.features[f"{TARGET_PREFIX}{target.column}"].dropna()
        return known.astype(str if target.is_classes else float)


def delivered(bundle: Bundle, raw: pd.DataFrame, as_of: Any = None) -> Delivered:
    """Put rows under the contract of a bundle.

    Args:
        bundle: the bundle.
        raw: rows as delivered.
        as_of: last day whose rows are seen.

    Raises:
        DataError: the rows break the contract that the bundle was made under.
    """
    use_case = bundle.use_case
    return Delivered(bundle, typed_rows(raw, use_case.data, dict(use_case.targets), as_of))


def decided_until(manifest: Mapping[str, Any]) -> str | None:
    """Time of the last row by which a model was made or chosen; None without time."""
    until: str | None = manifest["decided_until"] or manifest["last_row"]
    return until
