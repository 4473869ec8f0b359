"""Scoring frame: rows as delivered, with the features and the history of one bundle."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ratchet.bundle.manifest import Manifest
from ratchet.bundle.reader import IN_FILE, ROW_HASH, Bundle
from ratchet.config import (
    SERIES_STEP,
    TARGET_PREFIX,
    Features,
    Landing,
    Target,
    in_table,
    path_keys,
)
from ratchet.dates import on_clock, utc
from ratchet.errors import DataError
from ratchet.learning.features.series import SeriesPanel
from ratchet.preparation.answering import features_of
from ratchet.preparation.contract import read_day, typed_rows
from ratchet.preparation.fingerprints import row_hashes
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.revisions import Revisions, concat_changes, find_revisions
from ratchet.preparation.row_features import derive_columns
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.values import as_text, is_other


@dataclass(frozen=True, eq=False)
class ScoringFrame:
    """Typed rows under the contract of a bundle, with its features and its units."""

    bundle: Bundle
    typed: pd.DataFrame

    @cached_property
    def features(self) -> pd.DataFrame:
        """Features of every row that can be answered, by row key.

        Of a path several are of one row, seen from other origins, see ``rows_of``.
        """
        return features_of(self.typed, self.bundle.use_case, self.bundle.statistics)

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """Source columns of the rows by row key, as ``Bundle.reference`` has them.

        Where rows have a time, it is in ``Data.row_time`` in UTC, and they are in its order.
        """
        use_case = self.bundle.use_case
        data, required = use_case.data, RequiredColumns(use_case)
        if data.series is None:
            rows = derive_columns(self.typed, data, required.derived_for_targets)
            rows = rows.dropna(subset=required.required)
        else:
            rows = derive_columns(self._laid.rows, data)[self._laid.under_way.ravel()]
        rows = rows.set_index(data.key)
        if data.time is None:
            return rows
        timed = rows.rename_axis(in_table(data.key)).assign(**{data.row_time: utc(rows[data.time])})
        return timed.sort_values(data.row_time, kind="stable")

    @cached_property
    def keys_in_file(self) -> pd.Index:
        """Keys of the rows that are in the file; series have others for its empty steps."""
        data = self.bundle.use_case.data
        if data.series is None:
            return pd.Index(self.typed[data.key])
        return pd.Index(self._laid.rows.loc[self._laid.given.ravel(), data.key])

    @cached_property
    def _laid(self) -> SeriesPanel:
        use_case = self.bundle.use_case
        target = only_target(use_case.targets)
        return lay_out_steps(self.typed, use_case.data, target, RequiredColumns(use_case).required)

    @property
    def times(self) -> pd.Series | None:
        """Time of every row, by row key, where rows have one."""
        data = self.bundle.use_case.data
        return self.inputs[data.row_time] if data.time else None

    def rows_of(self, keys: pd.Index) -> pd.Index:
        """Keys in ``inputs`` of the rows that keys of ``features`` are about, in their order."""
        return self.bundle.use_case.features.row_keys(keys)

    def keys_for(self, features: Features) -> pd.Index:
        """Keys of ``features`` as a use case of another horizon calls them; missing where none.

        A forecast of one step, and the same step of a path, are about the same row.
        """
        keys, own = self.features.index, self.bundle.use_case.features
        if (own.path is None) == (features.path is None):
            return keys
        if own.path is None:
            return path_keys(keys, [own.horizon] * len(keys)).rename(keys.name)
        is_step = self.features[SERIES_STEP] == features.horizon
        return self.rows_of(keys).where(is_step.to_numpy())

    def times_of(self, keys: pd.Index) -> pd.Series:
        """Time of some rows, by their keys in ``features``; rows must have a time."""
        assert self.times is not None
        return self.times.reindex(self.rows_of(keys)).set_axis(keys)

    def new_inputs(self, cutoff: Any) -> pd.DataFrame:
        """``inputs`` of the rows that are new after a cutoff, see ``new_rows``."""
        keys = self.inputs.index
        times = pd.Series(pd.NaT, keys) if self.times is None else self.times
        is_known_row = np.ones(len(keys), dtype=bool)
        timeless = cutoff is None or times.isna().all()
        # Keys and hashes take a while; for rows of other times the time is enough.
        undecided = is_known_row.copy() if timeless else (times == pd.Timestamp(cutoff)).to_numpy()
        is_known_row[undecided] = self.is_known(keys[undecided])
        return self.inputs[new_rows(times, cutoff, is_known_row)]

    def is_known(self, keys: pd.Index) -> np.ndarray:
        """Which of some rows the bundle knows: by their keys, unless these name other rows now."""
        rows = self.bundle.rows
        is_row = keys.isin(rows.index)
        if IN_FILE in rows:  # a step that was empty is known until the file has a row for it
            is_row &= ~keys.isin(self.keys_in_file.difference(rows_in_file(self.bundle).index))
        if ROW_HASH in rows:
            now = self.row_hashes(keys[is_row]).reindex(keys[is_row].astype(str))
            is_row[is_row] = ~is_other(rows[ROW_HASH].reindex(keys[is_row]), now)
        return is_row

    def row_hashes(self, keys: pd.Index) -> pd.Series:
        """Hashes that show whether a key still names the same row: key as text -> hash."""
        data = self.bundle.use_case.data
        if data.series is not None:
            return pd.Series(dtype="str")
        positions = pd.Index(self.typed[data.key]).get_indexer(keys)
        return row_hashes(self.typed.iloc[positions[positions >= 0]], self.bundle.use_case)

    def past_changes(self, as_of: Any = None) -> Revisions:
        """Changes of the file to the rows that the bundle was made from.

        Changed values are found as far as the bundle has the old ones: of rows by a hash of each,
        and in its reference rows; of series in its context rows.

        Args:
            as_of: last day whose rows are seen; later ones do not count as missing.
        """
        data, bundle_rows = self.bundle.use_case.data, rows_in_file(self.bundle)
        if as_of is not None and data.time:
            days = on_clock(bundle_rows["time"], data.timezone).dt.normalize()
            bundle_rows = bundle_rows[days <= read_day(as_of)]
        return Revisions(
            known=len(bundle_rows),
            new=len(self.typed),
            gone=bundle_rows.index.difference(self.keys_in_file, sort=False),
            values=self._changed_steps(as_of) if data.series else self._changed_rows(bundle_rows),
            time=None if data.series else data.time,
        )

    def _changed_rows(self, bundle_rows: pd.DataFrame) -> pd.DataFrame:
        data = self.bundle.use_case.data
        now = self.typed.set_index(data.key)
        now = now.loc[bundle_rows.index.intersection(now.index, sort=False)]
        bundle_rows, moved = bundle_rows.loc[now.index], np.zeros(len(now), dtype=bool)
        times = concat_changes()
        if data.time and not data.columns[data.time].revised:
            pair = {"before": bundle_rows["time"], "after": utc(now[data.time])}
            moved = (pair["before"] != pair["after"]).to_numpy()
            times = pd.DataFrame({"column": data.time, **pair})[moved]
        if ROW_HASH not in bundle_rows:
            return times
        hashes = self.row_hashes(now.index).reindex(now.index.astype(str))
        other = bundle_rows.index[is_other(bundle_rows[ROW_HASH], hashes) & ~moved]
        before = self.bundle.reference.reindex(
            columns=RequiredColumns(self.bundle.use_case).columns
        )
        before = before.drop(columns=data.key, errors="ignore").dropna(axis=1, how="all")
        before = before.loc[before.index.intersection(other)].rename_axis(data.key).reset_index()
        after = now[now.index.isin(other)].rename_axis(data.key).reset_index()
        values = find_revisions(before, after, data.model_copy(update={"time": None})).values
        unknown = pd.DataFrame({"column": None}, index=other.difference(values.index, sort=False))
        return concat_changes(times, values, unknown.assign(before=None, after=None))

    def _changed_steps(self, as_of: Any) -> pd.DataFrame:
        data, context = self.bundle.use_case.data, self.bundle.context
        if context is None or data.time is None:
            return concat_changes()
        if as_of is not None:
            days = context[data.time].dt.tz_localize(None).dt.normalize()
            context = context[days <= read_day(as_of)]
        return find_revisions(context, self.typed, data).values

    def new_keys(self, cutoff: Any) -> pd.Index:
        """Keys of the rows that can be answered and are new after a cutoff, see ``new_rows``."""
        keys = self.features.index
        return keys[self.rows_of(keys).isin(self.new_inputs(cutoff).index)]

    def awaiting_truth(self) -> pd.Index:
        """Keys of rows from the test part on that the bundle does not know and that have no truth.

        Truth does not always come in the order of the rows: a row may wait for it longer than newer
        ones, by which the bundle was chosen.
        """
        bundle_rows, use_case = self.bundle.rows, self.bundle.use_case
        if self.times is None:  # all that are not known are new
            return self.features.index[:0]
        columns = [f"{TARGET_PREFIX}{target.column}" for target in use_case.targets.values()]
        keys = self.features.index[self.features[columns].isna().all(axis=1)]
        rows = self.rows_of(keys)
        keys = keys[rows.isin(self.keys_in_file) & ~rows.isin(bundle_rows.index)]
        first = bundle_rows.loc[bundle_rows["part"] == "test", "time"].min()
        return keys[(self.times_of(keys) >= first).to_numpy()]

    def first_new_time(self, cutoff: Any) -> dt.datetime | None:
        """Time of the first row that is new after a cutoff; None where there is none, or no time.

        See ``new_rows``.
        """
        if self.times is None or cutoff is None:
            return None
        later = self.new_inputs(cutoff)[self.bundle.use_case.data.row_time]
        return None if later.empty else later.min().to_pydatetime()

    def predict(self, keys: pd.Index) -> dict[str, pd.DataFrame]:
        """Answers of the bundle for some of the rows, by target."""
        return self.bundle.predict(self.features.loc[keys])

    def truth(self, target: Target, logged: pd.Index | None = None) -> pd.Series:
        """Known values of a target by row key: numbers, or names of classes.

        Args:
            target: the target.
            logged: keys of logged answers, which of a path name rows of other origins than
                ``features`` has today, or the row alone, as answers of the service do; they are
                added.
        """
        values = self.features[f"{TARGET_PREFIX}{target.column}"].dropna()
        if self.bundle.use_case.features.path and logged is not None:
            keys, known = values.index.union(logged, sort=False), self.inputs[target.column]
            values = known.reindex(self.rows_of(keys)).set_axis(keys).dropna()
        return as_text(values) if target.is_classes else values.astype(float)


def scoring_frame(
    bundle: Bundle, raw: pd.DataFrame, as_of: Any = None, measured: Sequence[Any] = ()
) -> ScoringFrame:
    """Check raw rows by the contract of a bundle.

    Args:
        bundle: has the contract.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        measured: measurements sent to the service since, see ``observed_rows.add_measured_rows``.

    Raises:
        DataError: the rows break the contract that the bundle was made under.
    """
    data, targets = bundle.use_case.data, dict(bundle.use_case.targets)
    return ScoringFrame(bundle, typed_rows(raw, data, targets, as_of, measured))


def describe_changed_past(now: ScoringFrame, landing: Landing | None, as_of: Any = None) -> str:
    """Changes to known rows by a raw file that was put in place by hand, if not allowed.

    Args:
        now: the rows, as the champion sees them.
        landing: the changes that are allowed, and what is done about others.
        as_of: last day whose rows are seen.

    Returns:
        A sentence with the numbers; empty where there is nothing to report.

    Raises:
        DataError: there are such changes, and ``landing.by_hand`` is ``refuse``.
    """
    landing = landing or Landing()
    if landing.by_hand == "ignore":
        return ""
    changes = now.past_changes(as_of).findings
    changes = {kind: text for kind, text in changes.items() if kind not in landing.allow}
    if not changes:
        return ""
    # Without brackets, which a log would take for its markup.
    listed = "; ".join(f"{kind}: {text}" for kind, text in changes.items())
    message = (
        f"the raw file differs from the rows that the model that serves was made by: {listed}. Put "
        f"the whole file back, or name {', '.join(changes)} in landing.allow where this is meant"
    )
    if landing.by_hand == "refuse":
        raise DataError(message)
    return message


def rows_in_file(bundle: Bundle) -> pd.DataFrame:
    """Rows that a bundle knows, without steps of series that were empty in its file."""
    bundle_rows = bundle.rows
    return bundle_rows[bundle_rows[IN_FILE]] if IN_FILE in bundle_rows else bundle_rows


def new_rows(times: pd.Series, cutoff: Any, known: np.ndarray | None) -> np.ndarray:
    """Which rows are new to a model: one rule for new rows, monitoring and the gate.

    Rows after the cutoff are new, and those of the cutoff itself that the model does not know: a
    day that was delivered in two halves ends with rows of the same time.

    Args:
        times: time of every row by its key, in UTC; missing values where rows have no time.
        cutoff: time of the last row by which the model was trained or chosen; None without time:
            then every row that the model does not know is new.
        known: which rows the model knows, shape (n,); None where it knows all of the cutoff.

    Returns:
        Which rows are new, shape (n,).
    """
    if known is None:
        known = np.full(len(times), cutoff is not None)
    if cutoff is None or times.isna().all():
        return ~known
    at = pd.Timestamp(cutoff)
    return (times > at).to_numpy() | ((times == at).to_numpy() & ~known)


def training_cutoff(manifest: Manifest) -> str | None:
    """Time of the last row by which a model was trained or chosen; None without time."""
    return manifest["decided_until"] or manifest["last_row"]
